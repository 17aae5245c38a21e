/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/link.h"

#include "daemon/base/limits.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, FRAME_MAX = MM_IPC_MESSAGE_MAX + 5 };

struct mm_link {
    uv_poll_t poll;
    uv_idle_t flush; /* runs once, before the loop waits again, when something is to go out */
    int handles;     /* of the two, that are not closed */
    int fd;
    struct mm_buf in;
    struct mm_buf out;
    size_t out_done; /* bytes of out that the socket has taken */
    int events;      /* what the poll waits for */
    bool reading;    /* in on_poll or drained: closing is put off until it returns */
    bool draining;
    bool closed;
    bool broken;
    const struct mm_link_ops *ops;
    void *arg;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct mm_link *l, int events)
{
    if (l->events == events || l->closed || l->broken)
        return;
    l->events = events;
    uv_poll_start(&l->poll, events, on_poll);
}

static void fail(struct mm_link *l, const struct mm_errinfo *ei)
{
    if (l->closed || l->broken)
        return;
    l->broken = true;
    uv_poll_stop(&l->poll);
    if (!l->draining)
        l->ops->broken(l->arg, ei);
}

/* The part that has gone out is dropped when it is more than half, so that each byte is moved once
 * at the most on average. */
static void compact(struct mm_link *l)
{
    if (l->out_done == 0 || l->out_done < l->out.len / 2)
        return;
    mm_buf_consume(&l->out, l->out_done);
    l->out_done = 0;
}

static bool is_gone(int error)
{
    return error == EPIPE || error == ECONNRESET;
}

static void write_some(struct mm_link *l)
{
    struct mm_errinfo ei;

    while (l->out_done < l->out.len) {
        const ssize_t n = send(l->fd, l->out.data + l->out_done, l->out.len - l->out_done,
                               MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && !is_gone(errno)) {
            mm_fail_errno(&ei, errno, "cannot write to the worker");
            fail(l, &ei);
            return;
        }
        /* A worker that is gone may have said why: its last frames are read, then its end. */
        l->out_done = n < 0 ? l->out.len : l->out_done + (size_t)n;
    }
    compact(l);
    watch(l, l->out.len > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

/* Hands on every frame that is there whole. */
static void deliver(struct mm_link *l)
{
    while (!l->closed && !l->broken) {
        struct mm_errinfo ei;
        struct mm_bytes payload;
        size_t frame_len;
        int r = mm_channel_next(&l->in, &payload, &frame_len);

        if (r == MM_ERR_AGAIN)
            return;
        if (r < 0) {
            mm_fail(&ei, r, "CHANNEL_FRAME", "the worker sent no proper frame");
            fail(l, &ei);
            return;
        }
        l->ops->frame(l->arg, payload);
        mm_buf_consume(&l->in, frame_len);
    }
}

/* False when nothing more can be read now. */
static bool read_some(struct mm_link *l)
{
    const size_t room = l->in.max - l->in.len;
    const size_t len = room < READ_BYTES ? room : READ_BYTES;
    uint8_t *to = mm_buf_reserve(&l->in, len);
    struct mm_errinfo ei = {0};
    ssize_t n;

    if (!to) {
        mm_fail_memory(&ei);
        fail(l, &ei);
        return false;
    }
    n = recv(l->fd, to, len, MSG_DONTWAIT);
    if (n > 0) {
        mm_buf_grew(&l->in, (size_t)n);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0 && !is_gone(errno))
        mm_fail_errno(&ei, errno, "cannot read from the worker");
    else
        mm_fail(&ei, MM_ERR_EOF, MM_LINK_CLOSED, "the worker closed its channel");
    fail(l, &ei);
    return false;
}

static void on_closed(uv_handle_t *handle)
{
    struct mm_link *l = handle->data;

    if (--l->handles > 0)
        return;
    close(l->fd);
    mm_buf_done(&l->in);
    mm_buf_done(&l->out);
    free(l);
}

static void close_handles(struct mm_link *l)
{
    uv_close((uv_handle_t *)&l->poll, on_closed);
    uv_close((uv_handle_t *)&l->flush, on_closed);
}

static void end_reading(struct mm_link *l)
{
    l->reading = false;
    if (l->closed)
        close_handles(l);
}

/* Outside of whatever queued it: a link that breaks here may be closed at once. */
static void on_flush(uv_idle_t *flush)
{
    struct mm_link *l = flush->data;

    uv_idle_stop(flush);
    if (!l->broken)
        write_some(l);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct mm_link *l = poll->data;

    l->reading = true;
    if (events & UV_WRITABLE)
        write_some(l);
    /* Bounded: each round takes one read's worth, and the loop comes back for the rest. */
    if ((events & UV_READABLE || status < 0) && !l->closed && !l->broken && read_some(l))
        deliver(l);
    end_reading(l);
}

void mm_link_drain(struct mm_link *l)
{
    l->reading = l->draining = true;
    /* Bounded: nobody is left to send more than the socket holds. */
    while (!l->closed && !l->broken && read_some(l))
        deliver(l);
    end_reading(l);
}

int mm_link_new(uv_loop_t *loop, int fd, const struct mm_link_ops *ops, void *arg,
                struct mm_link **ret_link, struct mm_errinfo *ei)
{
    struct mm_link *l = calloc(1, sizeof(*l));
    int r;

    if (!l) {
        close(fd);
        return mm_fail_memory(ei);
    }
    *l = (struct mm_link){.fd = fd, .ops = ops, .arg = arg};
    l->in = MM_BUF_INIT((size_t)FRAME_MAX + READ_BYTES);
    l->out = MM_BUF_INIT((size_t)2 * MM_LINK_QUEUE_MAX + FRAME_MAX);
    r = uv_poll_init(loop, &l->poll, fd);
    if (r < 0) {
        close(fd);
        free(l);
        return mm_fail_errno(ei, -r, "cannot watch a worker's channel");
    }
    uv_idle_init(loop, &l->flush);
    l->handles = 2;
    l->poll.data = l->flush.data = l;
    watch(l, UV_READABLE);
    *ret_link = l;
    return MM_OK;
}

void mm_link_close(struct mm_link *l)
{
    if (!l || l->closed)
        return;
    l->closed = true;
    uv_poll_stop(&l->poll);
    uv_idle_stop(&l->flush);
    /* The worker must see it now, not when the loop comes round. */
    shutdown(l->fd, SHUT_RDWR);
    if (!l->reading)
        close_handles(l);
}

int mm_link_send(struct mm_link *l, const ProtobufCMessage *message)
{
    int r;

    if (l->broken)
        return MM_ERR_UNAVAILABLE;
    if (l->out.len - l->out_done >= MM_LINK_QUEUE_MAX)
        return MM_ERR_AGAIN;
    r = mm_channel_pack(&l->out, message);
    if (r < 0) {
        l->out.err = MM_OK; /* nothing was appended */
        return r;
    }
    if (l->events == UV_READABLE) /* else it goes out when the socket takes it */
        uv_idle_start(&l->flush, on_flush);
    return MM_OK;
}
