/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/message.h"

#include <stdlib.h>

void *mm_message_new(const ProtobufCMessageDescriptor *descriptor)
{
    void *message = malloc(descriptor->sizeof_message);

    if (message)
        protobuf_c_message_init(descriptor, message);
    return message;
}

void mm_message_free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

void *mm_message_room(void *array, size_t n, size_t item_size)
{
    /* Doubles at each power of two, so that the count alone tells the capacity. */
    if (n > 0 && (n & (n - 1)) != 0)
        return array;
    return reallocarray(array, n ? 2 * n : 1, item_size);
}
