/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front's end of a channel (daemon/ipc/channel.h) on its loop: frames go out as fast as the
 * worker reads them, and come in whole. Never blocks. Both buffers are bounded.
 */
#pragma once

#include "daemon/ipc/channel.h"

#include <stddef.h>
#include <uv.h>

struct mm_link;

#define MM_LINK_CLOSED "CHANNEL_CLOSED" /* the reason when the worker's end has closed */

struct mm_link_ops {
    /* A whole message; the payload is valid during the call. The link may be closed in it. */
    void (*frame)(void *arg, struct mm_bytes payload);
    /* The worker's end has closed (MM_ERR_EOF, MM_LINK_CLOSED), or what came is no frame, or a
     * system call failed. Called once; nothing follows it. The link may be closed in it. */
    void (*broken)(void *arg, const struct mm_errinfo *ei);
};

/* Takes fd, one end of a stream socket pair, also on failure. */
int mm_link_new(uv_loop_t *loop, int fd, const struct mm_link_ops *ops, void *arg,
                struct mm_link **ret_link, struct mm_errinfo *ei) MM_MUST_USE;
/* No callback follows; what has not gone out is lost, and both buffers are wiped. The memory goes
 * when the loop has run its close callbacks. NULL is fine. */
void mm_link_close(struct mm_link *l);

/* The worker has ended: hands on the frames that it sent before. Its closed end is not told. */
void mm_link_drain(struct mm_link *l);

/* Queues a message. It goes out when the loop comes round, together with all that are queued until
 * then, so that the store can commit them as one. MM_ERR_AGAIN, with nothing queued, when
 * MM_LINK_QUEUE_MAX bytes are waiting already; other errors: it cannot be packed. */
int mm_link_send(struct mm_link *l, const ProtobufCMessage *message) MM_MUST_USE;
