/* SPDX-License-Identifier: Apache-2.0 */
/* A compressed message from a stranger: never more than the limit comes out of it, and what comes
 * out survives being compressed and inflated again. Then the input as a message of our own. */
#include "tests/fuzz/fuzz.h"

#include "proto/grpc/gzip.h"

#include <string.h>

enum { LIMIT = 64 * 1024 };

static void try_round_trip(struct mm_bytes plain)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(LIMIT), again = MM_BUF_INIT(LIMIT);
    MM_BUF_CLEANUP struct mm_buf tight = MM_BUF_INIT(plain.len > 0 ? plain.len - 1 : 0);

    if (mm_grpc_gzip(plain, &packed) < 0) {
        assert(packed.len == 0 && packed.err == MM_OK);
        return;
    }
    assert(packed.len < plain.len);
    assert(mm_grpc_gunzip((struct mm_bytes){packed.data, packed.len}, &again) == MM_OK);
    assert(again.len == plain.len && memcmp(again.data, plain.data, plain.len) == 0);
    /* One byte less of room, and it does not fit. */
    assert(mm_grpc_gunzip((struct mm_bytes){packed.data, packed.len}, &tight) == MM_ERR_TOO_BIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MM_BUF_CLEANUP struct mm_buf plain = MM_BUF_INIT(LIMIT);
    const struct mm_bytes input = {data, size};
    const int r = mm_grpc_gunzip(input, &plain);

    assert(plain.len <= LIMIT);
    assert(r == MM_OK || r == MM_ERR_TOO_BIG || r == MM_ERR_CORRUPT);
    if (r == MM_OK)
        try_round_trip((struct mm_bytes){plain.data, plain.len});
    if (size <= LIMIT)
        try_round_trip(input);
    return 0;
}
