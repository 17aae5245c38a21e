/* SPDX-License-Identifier: Apache-2.0 */
/* libprotobuf-c allocates by itself what it unpacks without an allocator: by this program's malloc
 * instead, so that it runs out with ours. */
#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>

/* What the linker calls them with --wrap. */
ProtobufCMessage *__real_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data);
ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data);

static void *allocate(void *data, size_t size)
{
    (void)data;
    return malloc(size);
}

static void release(void *data, void *p)
{
    (void)data;
    free(p);
}

ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t len,
                                                   const uint8_t *data)
{
    static ProtobufCAllocator ours = {.alloc = allocate, .free = release};

    return __real_protobuf_c_message_unpack(descriptor, allocator ? allocator : &ours, len, data);
}
