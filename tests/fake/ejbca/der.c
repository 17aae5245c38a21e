/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/der.h"

#include <openssl/objects.h>
#include <string.h>
#include <time.h>

size_t der_begin(struct mm_buf *b, uint8_t tag)
{
    mm_buf_append_u8(b, tag);
    return b->len;
}

void der_end(struct mm_buf *b, size_t at)
{
    const size_t len = b->len - at;
    uint8_t head[5];
    size_t n = 0;

    if (len < 0x80) {
        head[n++] = (uint8_t)len;
    } else {
        const size_t bytes = len < 0x100 ? 1 : len < 0x10000 ? 2 : 3;

        head[n++] = (uint8_t)(0x80 | bytes);
        for (size_t i = bytes; i > 0; i--)
            head[n++] = (uint8_t)(len >> 8 * (i - 1));
    }
    mm_buf_append(b, head, n);
    if (mm_buf_err(b) < 0)
        return;
    memmove(b->data + at + n, b->data + at, len);
    memcpy(b->data + at, head, n);
}

void der_put(struct mm_buf *b, uint8_t tag, const void *content, size_t len)
{
    const size_t at = der_begin(b, tag);

    mm_buf_append(b, content, len);
    der_end(b, at);
}

void der_put_number(struct mm_buf *b, const uint8_t *bytes, size_t len)
{
    const size_t at = der_begin(b, DER_INTEGER);

    while (len > 1 && bytes[0] == 0) {
        bytes++;
        len--;
    }
    if (bytes[0] & 0x80)
        mm_buf_append_u8(b, 0);
    mm_buf_append(b, bytes, len);
    der_end(b, at);
}

void der_put_small(struct mm_buf *b, unsigned value)
{
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value};

    der_put_number(b, bytes, sizeof(bytes));
}

void der_put_oid(struct mm_buf *b, const char *dotted)
{
    ASN1_OBJECT *object = OBJ_txt2obj(dotted, 1);

    if (object)
        der_put(b, DER_OID, OBJ_get0_data(object), OBJ_length(object));
    ASN1_OBJECT_free(object);
}

void der_put_time(struct mm_buf *b, int64_t unix_s)
{
    const time_t when = (time_t)unix_s;
    struct tm tm;
    char text[32];
    size_t len;

    gmtime_r(&when, &tm);
    len = strftime(text, sizeof(text), "%Y%m%d%H%M%SZ", &tm);
    if (tm.tm_year < 150)
        der_put(b, DER_UTC_TIME, text + 2, len - 2);
    else
        der_put(b, DER_GENERALIZED_TIME, text, len);
}

/* The length octets at in[1]; how many octets tag and length take, 0 when they are wrong. */
static size_t read_length(struct mm_bytes in, size_t *ret_len)
{
    size_t bytes, len = 0;

    if (in.len < 2 || (in.data[0] & 0x1f) == 0x1f)
        return 0;
    if (in.data[1] < 0x80) {
        *ret_len = in.data[1];
        return 2;
    }
    bytes = in.data[1] & 0x7f;
    if (bytes < 1 || bytes > 3 || in.len < 2 + bytes)
        return 0;
    for (size_t i = 0; i < bytes; i++)
        len = len << 8 | in.data[2 + i];
    *ret_len = len;
    return 2 + bytes;
}

bool der_next(struct mm_bytes *in, uint8_t *ret_tag, struct mm_bytes *ret_content,
              struct mm_bytes *ret_whole)
{
    size_t len = 0;
    const size_t head = read_length(*in, &len);

    if (head == 0 || len > in->len - head)
        return false;
    if (ret_tag)
        *ret_tag = in->data[0];
    if (ret_content)
        *ret_content = (struct mm_bytes){in->data + head, len};
    if (ret_whole)
        *ret_whole = (struct mm_bytes){in->data, head + len};
    in->data += head + len;
    in->len -= head + len;
    return true;
}

bool der_take(struct mm_bytes *in, uint8_t tag, struct mm_bytes *ret_content,
              struct mm_bytes *ret_whole)
{
    return in->len > 0 && in->data[0] == tag && der_next(in, NULL, ret_content, ret_whole);
}

bool der_read_time(struct mm_bytes *in, int64_t *ret_unix_s)
{
    struct mm_bytes content;
    struct tm tm = {0};
    uint8_t tag;
    char text[20];

    if (!der_next(in, &tag, &content, NULL) || content.len > 15)
        return false;
    snprintf(text, sizeof(text), "%s%.*s",
             tag == DER_GENERALIZED_TIME            ? ""
             : content.len && content.data[0] < '5' ? "20"
                                                    : "19",
             (int)content.len, (const char *)content.data);
    if (!strptime(text, "%Y%m%d%H%M%SZ", &tm))
        return false;
    *ret_unix_s = timegm(&tm);
    return true;
}
