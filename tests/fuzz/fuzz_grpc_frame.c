/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: into pieces of what size the rest is cut. However it is cut, the messages are those
 * of the whole, and an error comes at the same one. */
#include "tests/fuzz/fuzz.h"

#include "proto/grpc/frame.h"

enum { LIMIT = 1000 };

/* A digest of all messages, and how the stream ended. */
static uint64_t feed(const uint8_t *data, size_t size, size_t piece)
{
    struct mm_grpc_deframer d;
    struct mm_grpc_frame frame;
    uint64_t digest = 14695981039346656037U;
    int r = MM_ERR_AGAIN;

    mm_grpc_deframer_init(&d, LIMIT);
    for (size_t at = 0; at < size && r == MM_ERR_AGAIN; at += piece) {
        struct mm_bytes in = {data + at, size - at < piece ? size - at : piece};

        while ((r = mm_grpc_deframer_feed(&d, &in, &frame)) == MM_OK) {
            assert(frame.payload.len <= LIMIT);
            for (size_t i = 0; i < frame.payload.len; i++)
                digest = (digest ^ frame.payload.data[i]) * 1099511628211U;
            digest = (digest ^ (frame.compressed ? 257U : 256U)) * 1099511628211U;
        }
        assert(r != MM_ERR_AGAIN || in.len == 0);
    }
    if (r == MM_ERR_AGAIN)
        digest += mm_grpc_deframer_at_boundary(&d);
    mm_grpc_deframer_done(&d);
    return digest ^ (uint64_t)(uint32_t)r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    assert(feed(data + 1, size - 1, size) == feed(data + 1, size - 1, 1U + data[0]));
    return 0;
}
