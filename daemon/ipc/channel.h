/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel between front and worker: one end of a stream socket pair, on which each message is one
 * protobuf behind the gRPC five-byte prefix (flag 0, big-endian length). At most MM_IPC_MESSAGE_MAX
 * bytes a message; anything else on the wire is MM_ERR_CORRUPT, and ends the worker.
 *
 * The worker's side blocks. The front's side (daemon/front/pool.c) uses the same framing on libuv.
 */
#pragma once

#include "daemon/base/buf.h"
#include "internal/ipc.pb-c.h"

#include <protobuf-c/protobuf-c.h>

/* Appends prefix and packed message. */
int mm_channel_pack(struct mm_buf *out, const ProtobufCMessage *message) MM_MUST_USE;

/* Looks at the front of in: MM_OK and the payload (borrowed from in; consume *ret_frame_len bytes
 * when done), MM_ERR_AGAIN when more must be read, MM_ERR_CORRUPT or MM_ERR_TOO_BIG. */
int mm_channel_next(const struct mm_buf *in, struct mm_bytes *ret_payload,
                    size_t *ret_frame_len) MM_MUST_USE;

/* Blocking read and write of one message. MM_ERR_EOF when the other side closed between messages.
 */
int mm_channel_read(int fd, struct mm_buf *payload, struct mm_errinfo *ei) MM_MUST_USE;
int mm_channel_write(int fd, const ProtobufCMessage *message, struct mm_errinfo *ei) MM_MUST_USE;

/* struct mm_errinfo to and from its message; the message borrows from *ei. */
void mm_channel_error_to(const struct mm_errinfo *ei, Mintmark__Internal__Error *ret_message);
void mm_channel_error_from(const Mintmark__Internal__Error *message, struct mm_errinfo *ret_ei);
