/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages from strangers. protobuf-c by itself has no bound on depth (32 KB of nesting
 * overruns a stack), multiplies memory up to 56 times, and takes strings that are not UTF-8 or that
 * hide a NUL. So the bytes are walked first, with the message's descriptor in hand and without
 * allocating; then they are unpacked into an arena with a budget.
 */
#pragma once

#include "daemon/base/err.h"
#include "proto/grpc/arena.h"

#include <protobuf-c/protobuf-c.h>

/* Walks a serialised message without allocating. MM_OK when it is well formed, is no deeper than
 * MM_PROTO_DEPTH_MAX, has at most MM_PROTO_FIELDS_MAX fields and elements in all (their number goes
 * to *ret_fields, which may be NULL), and all its string fields are UTF-8 without NUL. Groups are
 * refused. MM_ERR_INVALID names the field at fault; MM_ERR_TOO_BIG; MM_ERR_CORRUPT when the bytes
 * are no protobuf (gRPC: INTERNAL). */
int mm_grpc_scan(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len,
                 size_t *ret_fields, struct mm_errinfo *ei) MM_MUST_USE;

/* Scans, then unpacks into the arena, which it lets grow by an amount that follows from the
 * message's length and number of fields. The message lives until the arena is reset; it is never
 * freed by itself. Errors as above, and MM_ERR_MEMORY. */
int mm_grpc_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len,
                   struct mm_arena *arena, ProtobufCMessage **ret_message,
                   struct mm_errinfo *ei) MM_MUST_USE;
