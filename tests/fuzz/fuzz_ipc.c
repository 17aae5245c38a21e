/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker gone mad may write into its channel: frames are found and results unpacked within
 * bounds, and errors that come with them are tamed. First byte: which kind of result. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/limits.h"
#include "daemon/front/pool.h"
#include "daemon/ipc/channel.h"
#include "proto/grpc/unpack.h"

#include <string.h>

static void take_result(const struct mm_pool_kind *kind, struct mm_bytes payload)
{
    struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__Internal__Error *error = NULL;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;

    if (mm_grpc_unpack(kind->result, payload.data, payload.len, &arena, &message, &ei) == MM_OK) {
        (void)kind->read(message, &error);
        if (error) {
            mm_channel_error_from(error, &ei);
            assert(ei.code <= MM_OK && ei.code >= MM_ERR_INTERNAL);
            assert(strlen(ei.text) < sizeof(ei.text) && strlen(ei.reason) < sizeof(ei.reason));
        }
    } else {
        assert(ei.code < MM_OK);
    }
    mm_arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_buf in = MM_BUF_INIT(MM_IPC_MESSAGE_MAX + 5);
    struct mm_bytes payload;
    size_t frame_len;

    if (size < 1)
        return 0;
    mm_buf_append(&in, data + 1, size - 1);
    while (mm_buf_err(&in) == MM_OK && mm_channel_next(&in, &payload, &frame_len) == MM_OK) {
        assert(frame_len <= in.len && payload.len + 5 == frame_len);
        take_result(data[0] & 1 ? &mm_pool_store : &mm_pool_token, payload);
        mm_buf_consume(&in, frame_len);
    }
    mm_buf_done(&in);
    return 0;
}
