/* SPDX-License-Identifier: Apache-2.0 */
/* Custom metadata of a call. Kept as entries in one buffer: two bytes of name length, four of value
 * length, both big-endian; name; value. */
#include "daemon/front/h2_impl.h"

#include <string.h>

enum { NAME_LEN = 2, VALUE_LEN = 4, ENTRY_OVERHEAD = NAME_LEN + VALUE_LEN };

static bool is_name(struct mm_bytes name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.data, text, name.len) == 0;
}

static bool begins(struct mm_bytes name, const char *text)
{
    return name.len >= strlen(text) && memcmp(name.data, text, strlen(text)) == 0;
}

static bool is_binary(struct mm_bytes name)
{
    return name.len > 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0;
}

/* HTTP's and gRPC's own names, which no application sees or sets. */
static bool is_reserved(struct mm_bytes name)
{
    return begins(name, ":") || begins(name, "grpc-") || is_name(name, "te") ||
           is_name(name, "content-type") || is_name(name, "content-length") ||
           is_name(name, "user-agent") || is_name(name, "host");
}

static bool is_good_name(struct mm_bytes name)
{
    if (name.len == 0 || name.len > UINT16_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        const uint8_t c = name.data[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

static bool is_printable(struct mm_bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 0x20 || value.data[i] > 0x7e)
            return false;
    return true;
}

static void append_entry(struct mm_buf *to, struct mm_bytes name, struct mm_bytes value)
{
    mm_buf_append_u8(to, (uint8_t)(name.len >> 8));
    mm_buf_append_u8(to, (uint8_t)name.len);
    mm_buf_append_be32(to, (uint32_t)value.len);
    mm_buf_append(to, name.data, name.len);
    mm_buf_append(to, value.data, value.len);
}

static bool next_entry(const struct mm_buf *from, size_t *pos, struct mm_metadata *ret)
{
    const uint8_t *p;

    if (*pos >= from->len)
        return false;
    p = from->data + *pos;
    ret->name = (struct mm_bytes){p + ENTRY_OVERHEAD, (size_t)p[0] << 8 | p[1]};
    ret->value =
        (struct mm_bytes){ret->name.data + ret->name.len,
                          (size_t)p[2] << 24 | (size_t)p[3] << 16 | (size_t)p[4] << 8 | p[5]};
    *pos += ENTRY_OVERHEAD + ret->name.len + ret->value.len;
    return true;
}

/* What HTTP allows and gRPC does not, a service never sees; the call goes on all the same. */
static void keep(struct mm_call *call, struct mm_bytes name, struct mm_bytes value)
{
    if (!call->rpc || !call->rpc->wants_metadata)
        return;
    if (is_good_name(name) && (is_binary(name) || is_printable(value)))
        append_entry(&call->metadata, name, value);
}

/* Several values may have been joined by commas on the way. */
static void take_binary(struct mm_call *call, struct mm_bytes name, struct mm_bytes value)
{
    MM_BUF_CLEANUP struct mm_buf data = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    const uint8_t *at = value.data, *const end = at + value.len;

    for (;;) {
        const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
        const uint8_t *stop = comma ? comma : end;
        int r;

        while (at < stop && *at == ' ')
            at++;
        r = mm_grpc_base64_decode(&data, at, (size_t)(stop - at));
        if (r == MM_ERR_INVALID)
            call->bad_metadata = true;
        else if (r < 0)
            call->metadata.err = (enum mm_err)r;
        if (r < 0)
            return;
        keep(call, name, (struct mm_bytes){data.data, data.len});
        mm_buf_reset(&data);
        if (!comma)
            return;
        at = comma + 1;
    }
}

void mm_call_take_metadata(struct mm_call *call, struct mm_bytes name, struct mm_bytes value)
{
    if (is_reserved(name))
        return;
    if (is_binary(name))
        take_binary(call, name, value);
    else
        keep(call, name, value);
}

bool mm_call_next_metadata(const struct mm_call *call, size_t *pos, struct mm_metadata *ret)
{
    return next_entry(&call->metadata, pos, ret);
}

/* The way out. What is kept is what goes into the headers. */

static bool is_good_text(struct mm_bytes value)
{
    /* Blanks at the ends would be lost on the way. */
    return is_printable(value) &&
           (value.len == 0 || (value.data[0] != ' ' && value.data[value.len - 1] != ' '));
}

static int add(struct mm_buf *to, unsigned *count, const char *name, struct mm_bytes value)
{
    const struct mm_bytes n = {(const uint8_t *)name, strlen(name)};
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    const size_t before = to->len;
    int r;

    if (!is_good_name(n) || is_reserved(n) || (!is_binary(n) && !is_good_text(value)))
        return MM_ERR_INVALID;
    if (*count == MM_METADATA_MAX)
        return MM_ERR_TOO_BIG;
    if (is_binary(n))
        mm_grpc_base64_encode(&text, value.data, value.len);
    else
        mm_buf_append(&text, value.data, value.len);
    r = mm_buf_err(&text);
    if (r < 0)
        return r;
    append_entry(to, n, (struct mm_bytes){text.data, text.len});
    r = mm_buf_err(to);
    if (r < 0) {
        to->len = before;
        to->err = MM_OK;
        return r;
    }
    ++*count;
    return MM_OK;
}

int mm_call_add_header(struct mm_call *call, const char *name, struct mm_bytes value)
{
    if (call->headers_sent || call->state == MM_CALL_FINISHED)
        return MM_ERR_PRECONDITION;
    return add(&call->headers, &call->n_headers, name, value);
}

int mm_call_add_trailer(struct mm_call *call, const char *name, struct mm_bytes value)
{
    if (call->state == MM_CALL_FINISHED)
        return MM_ERR_PRECONDITION;
    return add(&call->trailers, &call->n_trailers, name, value);
}

size_t mm_call_put_metadata(const struct mm_buf *metadata, nghttp2_nv *nv)
{
    struct mm_metadata m;
    size_t n = 0, pos = 0;

    /* Values differ from call to call, and are kept out of the HPACK table. */
    while (next_entry(metadata, &pos, &m))
        nv[n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)m.name.data,
                               .namelen = m.name.len,
                               .value = (uint8_t *)(uintptr_t)m.value.data,
                               .valuelen = m.value.len,
                               .flags = NGHTTP2_NV_FLAG_NO_INDEX};
    return n;
}
