/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/message.h"

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
