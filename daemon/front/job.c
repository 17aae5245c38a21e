/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/job.h"

#include <stdlib.h>

void *mm_message_dup(const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(len + 1);
    void *copy = NULL;

    if (packed) {
        protobuf_c_message_pack(message, packed);
        copy = protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
    }
    free(packed);
    return copy;
}
