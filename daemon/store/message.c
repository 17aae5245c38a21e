/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/message.h"

#include "proto/grpc/unpack.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *mm_message_new(const ProtobufCMessageDescriptor *descriptor)
{
    void *message = malloc(descriptor->sizeof_message);

    if (message)
        protobuf_c_message_init(descriptor, message);
    return message;
}

static void wipe(MM_UNUSED void *data, void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void mm_message_free(void *message)
{
    static ProtobufCAllocator wiping = {.free = wipe};

    if (message)
        protobuf_c_message_free_unpacked(message, &wiping);
}

void *mm_message_room(void *array, size_t n, size_t item_size)
{
    /* Doubles at each power of two, so that the count alone tells the capacity. */
    if (n > 0 && (n & (n - 1)) != 0)
        return array;
    return reallocarray(array, n ? 2 * n : 1, item_size);
}

int mm_bundle_unpack(struct mm_bytes data, struct mm_arena *arena,
                     Mintmark__V1__Bundle **ret_bundle, struct mm_errinfo *ei)
{
    ProtobufCMessage *message;
    const int r =
        mm_grpc_unpack(&mintmark__v1__bundle__descriptor, data.data, data.len, arena, &message, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    if (r < 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a device's bundle is none");
    *ret_bundle = (Mintmark__V1__Bundle *)message;
    return MM_OK;
}
