/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/channel.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"

#include <string.h>

enum { PREFIX_LEN = 5 };

/* The prefix's flag must be 0 (nothing is compressed between our own processes). */
static int parse_prefix(const uint8_t prefix[PREFIX_LEN], size_t *ret_len)
{
    const size_t len = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 |
                       (size_t)prefix[4];

    if (prefix[0] != 0)
        return MM_ERR_CORRUPT;
    if (len > MM_IPC_MESSAGE_MAX)
        return MM_ERR_TOO_BIG;
    *ret_len = len;
    return MM_OK;
}

int mm_channel_pack(struct mm_buf *out, const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *to;

    if (len > MM_IPC_MESSAGE_MAX)
        return MM_ERR_TOO_BIG;
    to = mm_buf_reserve(out, PREFIX_LEN + len);
    if (!to)
        return mm_buf_err(out);
    to[0] = 0;
    to[1] = (uint8_t)(len >> 24);
    to[2] = (uint8_t)(len >> 16);
    to[3] = (uint8_t)(len >> 8);
    to[4] = (uint8_t)len;
    protobuf_c_message_pack(message, to + PREFIX_LEN);
    mm_buf_grew(out, PREFIX_LEN + len);
    return MM_OK;
}

int mm_channel_next(const struct mm_buf *in, struct mm_bytes *ret_payload, size_t *ret_frame_len)
{
    size_t len;
    int r;

    if (in->len < PREFIX_LEN)
        return MM_ERR_AGAIN;
    r = parse_prefix(in->data, &len);
    if (r < 0)
        return r;
    if (in->len - PREFIX_LEN < len)
        return MM_ERR_AGAIN;
    *ret_payload = (struct mm_bytes){in->data + PREFIX_LEN, len};
    *ret_frame_len = PREFIX_LEN + len;
    return MM_OK;
}

int mm_channel_read(int fd, struct mm_buf *payload, struct mm_errinfo *ei)
{
    uint8_t prefix[PREFIX_LEN];
    uint8_t *to;
    size_t len;
    int r;

    mm_buf_reset(payload);
    r = mm_io_read_all(fd, prefix, sizeof(prefix), ei);
    if (r < 0)
        return r;
    r = parse_prefix(prefix, &len);
    if (r < 0)
        return mm_fail(ei, r, "CHANNEL_FRAME", "a frame with flag %u and %u bytes", prefix[0],
                       (unsigned)prefix[1] << 24 | (unsigned)prefix[2] << 16 |
                           (unsigned)prefix[3] << 8 | (unsigned)prefix[4]);
    to = mm_buf_reserve(payload, len);
    if (!to)
        return mm_fail(ei, payload->err, "CHANNEL_FRAME", "no room for a frame of %zu bytes", len);
    if (len == 0)
        return MM_OK;
    r = mm_io_read_all(fd, to, len, ei);
    if (r == MM_ERR_EOF)
        return mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the channel closed inside a frame");
    if (r < 0)
        return r;
    mm_buf_grew(payload, len);
    return MM_OK;
}

int mm_channel_write(int fd, const ProtobufCMessage *message, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(PREFIX_LEN + (size_t)MM_IPC_MESSAGE_MAX);
    int r = mm_channel_pack(&out, message);

    if (r < 0)
        return mm_fail(ei, r, "CHANNEL_FRAME", "cannot pack a message: %s", mm_err_name(r));
    return mm_io_write_all(fd, out.data, out.len, ei);
}

/* protobuf-c has no const strings; packing only reads them. */
static char *for_packing(const char *s)
{
    return (char *)(uintptr_t)s;
}

void mm_channel_error_to(const struct mm_errinfo *ei, Mintmark__Internal__Error *ret_message)
{
    mintmark__internal__error__init(ret_message);
    ret_message->code = ei->code;
    ret_message->retry_ms = ei->retry_ms;
    ret_message->detail = ei->detail;
    ret_message->field = for_packing(ei->field);
    ret_message->subject = for_packing(ei->subject);
    ret_message->reason = for_packing(ei->reason);
    ret_message->text = for_packing(ei->text);
}

static void copy_text(char *to, size_t size, const char *from)
{
    const size_t len = strnlen(from, size - 1);

    memcpy(to, from, len);
    to[len] = 0;
}

void mm_channel_error_from(const Mintmark__Internal__Error *message, struct mm_errinfo *ret_ei)
{
    *ret_ei = (struct mm_errinfo){
        .code = (enum mm_err)message->code,
        .retry_ms = message->retry_ms,
        .detail = message->detail,
    };
    /* A code that is none of ours comes from a worker that has lost its mind. */
    if (message->code > MM_OK || message->code < MM_ERR_INTERNAL)
        ret_ei->code = MM_ERR_INTERNAL;
    copy_text(ret_ei->field, sizeof(ret_ei->field), message->field);
    copy_text(ret_ei->subject, sizeof(ret_ei->subject), message->subject);
    copy_text(ret_ei->reason, sizeof(ret_ei->reason), message->reason);
    copy_text(ret_ei->text, sizeof(ret_ei->text), message->text);
}
