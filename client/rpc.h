/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of any service over a client's connection: what the mintmark_* functions and the officer's
 * tool are made of. A call makes the connection if there is none, waits, and repeats what may be
 * repeated, within the client's deadline and number of attempts.
 *
 * Return values are those of mintmark.h: 0, or minus the status with *error filled.
 */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/buf.h"
#include "proto/grpc/arena.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum mm_repeat {
    MM_REPEAT_UNPROCESSED, /* only when the service certainly did not act on the call */
    MM_REPEAT_SAFE,        /* also when it may have: reads, and calls with a request id */
};

struct mm_method {
    const char *path; /* "/mintmark.v1.StationService/Ping" */
    const ProtobufCMessageDescriptor *response;
    enum mm_repeat repeat;
    bool streams; /* the server: any number of messages. The client's timeout then rules the wait
                   * for each of them, and the call as a whole has no deadline */
};

/* One request, one response, which lives in the arena. */
int mm_rpc_unary(struct mintmark *client, const struct mm_method *method,
                 const ProtobufCMessage *request, struct mm_arena *arena,
                 ProtobufCMessage **ret_response, struct mintmark_error *error);

/* Where the messages of a call go. */
struct mm_rpc_sink {
    /* A response begins: the first, or one that takes the place of a response that broke off. */
    void (*begin)(void *arg);
    /* One message in its serialised form, valid during the call. 0: go on. Anything else cancels
     * the call and is handed on: minus a status with *error filled, or the word of a caller's
     * callback, which may be any number, so that nothing is read from it here. *ret_progress is set
     * when the message brought what none before had brought: attempts are then counted anew. Other
     * calls of the client may be made from here. */
    int (*message)(void *arg, const struct mm_bytes *message, int *ret_progress,
                   struct mintmark_error *error);
    void *arg;
};

/* One request, and as many messages as the method gives. */
int mm_rpc_call(struct mintmark *client, const struct mm_method *method,
                const ProtobufCMessage *request, const struct mm_rpc_sink *sink,
                struct mintmark_error *error);

/* Where the requests of a call come from. */
struct mm_rpc_source {
    /* Is there anything to ask for, or has it all been answered? Asked before every try, so also
     * before one that is to take the place of a try that broke off: if not, the call has
     * succeeded. */
    bool (*wanted)(void *arg);
    /* Appends the next request, in serialised form, to out, which is empty; what stays empty ends
     * the requests. 0, or minus the status, which cancels the call. After the sink's begin the
     * requests begin anew: those that are still to be sent. */
    int (*next)(void *arg, struct mm_buf *out, struct mintmark_error *error);
    void *arg;
};

/* Many requests, and as many messages as the method gives; requests are asked for as fast as the
 * service takes them. */
int mm_rpc_stream(struct mintmark *client, const struct mm_method *method,
                  const struct mm_rpc_source *source, const struct mm_rpc_sink *sink,
                  struct mintmark_error *error);

/* Appends a request in serialised form, at most MM_GRPC_MESSAGE_MAX. */
int mm_rpc_pack(const ProtobufCMessage *request, struct mm_buf *out, struct mintmark_error *error);

/* A response message, unpacked within bounds into the arena; DATA_LOSS if it can't be. */
int mm_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, const struct mm_bytes *message,
                  struct mm_arena *arena, ProtobufCMessage **ret_message,
                  struct mintmark_error *error);
