/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/frame.h"

#include <string.h>

enum { FLAG_COMPRESSED = 1 };

void mm_grpc_deframer_init(struct mm_grpc_deframer *d, size_t max_bytes)
{
    *d = (struct mm_grpc_deframer){.message = MM_BUF_INIT(max_bytes)};
}

void mm_grpc_deframer_done(struct mm_grpc_deframer *d)
{
    mm_buf_done(&d->message);
    mm_grpc_deframer_init(d, d->message.max);
}

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int take_prefix(struct mm_grpc_deframer *d, struct mm_bytes *data)
{
    const size_t n = at_most(data->len, (size_t)(MM_GRPC_PREFIX_LEN - d->prefix_len));

    if (n > 0)
        memcpy(d->prefix + d->prefix_len, data->data, n);
    d->prefix_len = (uint8_t)(d->prefix_len + n);
    data->data += n;
    data->len -= n;
    if (d->prefix_len > 0 && d->prefix[0] > FLAG_COMPRESSED)
        return MM_ERR_CORRUPT;
    if (d->prefix_len < MM_GRPC_PREFIX_LEN)
        return MM_ERR_AGAIN;
    d->payload_len = (uint32_t)d->prefix[1] << 24 | (uint32_t)d->prefix[2] << 16 |
                     (uint32_t)d->prefix[3] << 8 | d->prefix[4];
    if (d->payload_len > d->message.max)
        return MM_ERR_TOO_BIG;
    mm_buf_reset(&d->message);
    d->in_payload = true;
    return MM_OK;
}

int mm_grpc_deframer_feed(struct mm_grpc_deframer *d, struct mm_bytes *data,
                          struct mm_grpc_frame *ret_frame)
{
    size_t n;
    int r;

    if (!d->in_payload) {
        r = take_prefix(d, data);
        if (r < 0)
            return r;
    }
    n = at_most(data->len, d->payload_len - d->message.len);
    mm_buf_append(&d->message, data->data, n);
    r = mm_buf_err(&d->message);
    if (r < 0)
        return r;
    data->data += n;
    data->len -= n;
    if (d->message.len < d->payload_len)
        return MM_ERR_AGAIN;
    d->in_payload = false;
    d->prefix_len = 0;
    *ret_frame = (struct mm_grpc_frame){
        .compressed = d->prefix[0] == FLAG_COMPRESSED,
        .payload = {.data = d->message.data, .len = d->message.len},
    };
    return MM_OK;
}

bool mm_grpc_deframer_at_boundary(const struct mm_grpc_deframer *d)
{
    return d->prefix_len == 0;
}

void mm_grpc_prefix(bool compressed, uint32_t payload_len, uint8_t ret_prefix[MM_GRPC_PREFIX_LEN])
{
    ret_prefix[0] = compressed ? FLAG_COMPRESSED : 0;
    ret_prefix[1] = (uint8_t)(payload_len >> 24);
    ret_prefix[2] = (uint8_t)(payload_len >> 16);
    ret_prefix[3] = (uint8_t)(payload_len >> 8);
    ret_prefix[4] = (uint8_t)payload_len;
}
