/* SPDX-License-Identifier: Apache-2.0 */
/* The front's side of the launcher. */
#include "daemon/front/launcher_wire.h"
#include "daemon/ipc/descriptor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct mm_launcher {
    uv_poll_t poll;
    int fd;
    uint64_t next_id;
    LIST_HEAD(, mm_process) processes;
    void (*lost)(void *arg);
    void *arg;
};

static struct mm_process *find(struct mm_launcher *l, uint64_t id)
{
    struct mm_process *p;

    LIST_FOREACH(p, &l->processes, link) {
        if (p->id == id)
            return p;
    }
    return NULL;
}

static void handle_event(struct mm_launcher *l, const struct mm_launch_event *e)
{
    struct mm_process *p = find(l, e->id);

    if (!p)
        return;
    if (e->kind == MM_LAUNCH_STARTED) {
        p->pid = e->pid;
        return;
    }
    LIST_REMOVE(p, link);
    p->alive = false;
    p->pid = 0;
    p->exited(p, e->status, e->error);
}

static void go(struct mm_launcher *l)
{
    uv_poll_stop(&l->poll);
    l->lost(l->arg);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct mm_launcher *l = poll->data;
    struct mm_launch_event e;

    (void)status;
    (void)events;
    for (;;) {
        const ssize_t n = recv(l->fd, &e, sizeof(e), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n != (ssize_t)sizeof(e)) {
            go(l);
            return;
        }
        handle_event(l, &e);
    }
}

int mm_launcher_new(uv_loop_t *loop, int fd, void (*lost)(void *arg), void *arg,
                    struct mm_launcher **ret_launcher, struct mm_errinfo *ei)
{
    struct mm_launcher *l = calloc(1, sizeof(*l));
    int r;

    if (!l) {
        close(fd);
        return mm_fail_memory(ei);
    }
    l->fd = fd;
    l->lost = lost;
    l->arg = arg;
    LIST_INIT(&l->processes);
    r = uv_poll_init(loop, &l->poll, fd);
    if (r < 0) {
        close(fd);
        free(l);
        return mm_fail_errno(ei, -r, "cannot watch the launcher");
    }
    l->poll.data = l;
    uv_poll_start(&l->poll, UV_READABLE, on_poll);
    *ret_launcher = l;
    return MM_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct mm_launcher *l = handle->data;

    close(l->fd);
    free(l);
}

void mm_launcher_free(struct mm_launcher *l)
{
    if (l)
        uv_close((uv_handle_t *)&l->poll, on_closed);
}

/* A datagram of a few bytes into a socket that holds thousands of them: what does not fit at once
 * means that the launcher is stuck. */
static int ask(struct mm_launcher *l, const struct mm_launch_request *request, int channel_fd,
               struct mm_errinfo *ei)
{
    if (mm_descriptor_send(l->fd, request, sizeof(*request), channel_fd, MSG_DONTWAIT) < 0)
        return mm_fail_errno(ei, errno, "cannot reach the launcher");
    return MM_OK;
}

int mm_launcher_start(struct mm_launcher *l, struct mm_process *p, enum mm_program program,
                      int channel_fd, struct mm_errinfo *ei)
{
    const struct mm_launch_request request = {
        .kind = MM_LAUNCH_START, .program = (uint32_t)program, .id = ++l->next_id};
    int r = ask(l, &request, channel_fd, ei);

    if (r < 0)
        return r;
    p->id = request.id;
    p->pid = 0;
    p->alive = true;
    LIST_INSERT_HEAD(&l->processes, p, link);
    return MM_OK;
}

void mm_launcher_kill(struct mm_launcher *l, const struct mm_process *p)
{
    const struct mm_launch_request request = {.kind = MM_LAUNCH_KILL, .id = p->id};
    struct mm_errinfo ei;

    /* Should it fail, the launcher is gone, and its workers with it. */
    if (p->alive && ask(l, &request, -1, &ei) < 0)
        go(l);
}
