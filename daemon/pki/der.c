/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/der.h"

#include "daemon/base/limits.h"

#include <openssl/asn1.h>
#include <openssl/err.h>
#include <string.h>

enum { CONSTRUCTED = 0x20, CLASS = 0xc0 };

bool mm_der_take(struct mm_bytes *in, struct mm_der *ret)
{
    const uint8_t *at = in->data;
    long len = 0;
    int tag = 0, class = 0, found, header;

    if (in->len == 0)
        return false;
    found = ASN1_get_object(&at, &len, &tag, &class, (long)in->len);
    if (found & 0x80) {
        ERR_clear_error();
        return false;
    }
    header = (int)(at - in->data);
    /* 1: of indefinite length. ASN1_object_size is that of the shortest encoding. */
    if ((found & 1) || ASN1_object_size(0, (int)len, tag) != header + (int)len)
        return false;
    *ret = (struct mm_der){
        .id = in->data[0],
        .whole = {in->data, (size_t)header + (size_t)len},
        .content = {at, (size_t)len},
    };
    in->data += ret->whole.len;
    in->len -= ret->whole.len;
    return true;
}

bool mm_der_part(struct mm_bytes *in, uint8_t id, struct mm_der *ret)
{
    return mm_der_take(in, ret) && ret->id == id;
}

/* A leading zero stands only before a set top bit, and so never alone: zero is not positive. */
bool mm_der_positive(struct mm_bytes *in, size_t max, struct mm_bytes *ret)
{
    struct mm_der e;
    struct mm_bytes n;

    if (!mm_der_part(in, MM_DER_INTEGER, &e) || e.content.len < 1 || e.content.len > max ||
        (e.content.data[0] & 0x80))
        return false;
    n = e.content;
    if (n.data[0] == 0) {
        n.data++;
        n.len--;
        if (n.len == 0 || !(n.data[0] & 0x80))
            return false;
    }
    *ret = n;
    return true;
}

/* X.690 sections 8.9 to 8.12, 10.2: of the universal types SEQUENCE and SET are constructed, and
 * no other. Tag 0 ends what is of indefinite length. */
static bool shape_is_der(uint8_t id)
{
    if ((id & CLASS) != 0)
        return true;
    if (id == 0)
        return false;
    return (id & CONSTRUCTED)
               ? id == MM_DER_SEQUENCE || id == MM_DER_SET
               : id != (MM_DER_SEQUENCE & ~CONSTRUCTED) && id != (MM_DER_SET & ~CONSTRUCTED);
}

static bool well_formed(struct mm_bytes in, unsigned depth)
{
    struct mm_der e;

    while (in.len > 0) {
        if (!mm_der_take(&in, &e) || !shape_is_der(e.id))
            return false;
        if (!(e.id & CONSTRUCTED))
            continue;
        if (depth == MM_CSR_DEPTH_MAX || !well_formed(e.content, depth + 1))
            return false;
    }
    return true;
}

bool mm_der_well_formed(struct mm_bytes in)
{
    return well_formed(in, 0);
}

/* ---- putting together ---------------------------------------------------------------------- */

enum { HEADER_MAX = 2 + sizeof(size_t) };

/* Identifier and length octets, the shortest (X.690 sections 8.1.3 and 10.1); how many. */
static size_t put_header(uint8_t header[HEADER_MAX], uint8_t id, size_t len)
{
    size_t n = 0;

    header[0] = id;
    if (len < 0x80) {
        header[1] = (uint8_t)len;
        return 2;
    }
    for (size_t rest = len; rest > 0; rest >>= 8)
        n++;
    header[1] = (uint8_t)(0x80 | n);
    for (size_t i = 0; i < n; i++)
        header[2 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
    return 2 + n;
}

void mm_der_append(struct mm_buf *b, uint8_t id, const void *content, size_t len)
{
    uint8_t header[HEADER_MAX];

    mm_buf_append(b, header, put_header(header, id, len));
    mm_buf_append(b, content, len);
}

void mm_der_append_unsigned(struct mm_buf *b, const uint8_t *magnitude, size_t len)
{
    const size_t start = b->len;

    while (len > 0 && *magnitude == 0) {
        magnitude++;
        len--;
    }
    if (len == 0 || (*magnitude & 0x80)) /* zero itself, or what would be negative */
        mm_buf_append_u8(b, 0);
    mm_buf_append(b, magnitude, len);
    mm_der_wrap(b, start, MM_DER_INTEGER);
}

void mm_der_wrap(struct mm_buf *b, size_t start, uint8_t id)
{
    const size_t len = b->len - start;
    uint8_t header[HEADER_MAX];
    const size_t n = put_header(header, id, len);

    if (!mm_buf_reserve(b, n))
        return;
    memmove(b->data + start + n, b->data + start, len);
    memcpy(b->data + start, header, n);
    mm_buf_grew(b, n);
}

/* ---- comparing ----------------------------------------------------------------------------- */

bool mm_bytes_equal(struct mm_bytes a, struct mm_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool mm_der_is_ed25519(struct mm_bytes algorithm)
{
    static const uint8_t ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};

    return mm_bytes_equal(algorithm, (struct mm_bytes){ed25519, sizeof(ed25519)});
}

const EVP_MD *mm_der_ecdsa_hash(struct mm_bytes algorithm)
{
    static const uint8_t prefix[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                     0x48, 0xce, 0x3d, 0x04, 0x03};

    if (algorithm.len != sizeof(prefix) + 1 || memcmp(algorithm.data, prefix, sizeof(prefix)) != 0)
        return NULL;
    switch (algorithm.data[sizeof(prefix)]) {
    case 2:
        return EVP_sha256();
    case 3:
        return EVP_sha384();
    case 4:
        return EVP_sha512();
    default:
        return NULL;
    }
}
