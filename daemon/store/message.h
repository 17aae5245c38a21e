/* SPDX-License-Identifier: Apache-2.0 */
/* Messages built on the heap as protobuf-c's unpack would, for its free_unpacked; and bundles as
 * they are kept. */
#pragma once

#include "daemon/base/buf.h"
#include "mintmark/v1/types.pb-c.h"
#include "proto/grpc/arena.h"

/* A message with nothing set; NULL when out of memory. */
void *mm_message_new(const ProtobufCMessageDescriptor *descriptor);
/* Wipes and frees a message and all that it holds, for bundles of "plain" profiles have keys in
 * clear. NULL is fine. */
void mm_message_free(void *message);

MM_UNUSED static inline void mm_message_free_p(void *p)
{
    mm_message_free(*(void **)p);
}
#define MM_MESSAGE_CLEANUP MM_CLEANUP(mm_message_free_p)

/* The array of a repeated field of n pointers or structs, moved so that one more fits; NULL when
 * out of memory, and then it is where it was. Only for arrays that grow by this from n = 0. */
void *mm_message_room(void *array, size_t n, size_t item_size) MM_MUST_USE;

/* A device's bundle, in the arena. MM_ERR_CORRUPT STORE_CORRUPT when it is none. */
int mm_bundle_unpack(struct mm_bytes data, struct mm_arena *arena,
                     Mintmark__V1__Bundle **ret_bundle, struct mm_errinfo *ei) MM_MUST_USE;
