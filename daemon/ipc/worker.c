/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/worker.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/secret.h"
#include "daemon/ipc/trusted.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { READ_BYTES = 64 * 1024, FRAME_MAX = MM_IPC_MESSAGE_MAX + 5 };

/* What mm_worker_main owns while the worker lives. */
struct life {
    struct mm_worker worker;
    Mintmark__Internal__WorkerStart *start;
    struct mm_handed handed;
    struct mm_conf *conf;
    struct mm_buf in;
    bool started; /* ops->start has succeeded, so ops->stop is due */
};

int mm_worker_reply(struct mm_worker *w, const ProtobufCMessage *message)
{
    return mm_channel_pack(&w->out, message);
}

static int become_worker(struct life *l, enum mm_duty duty, struct mm_errinfo *ei)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGHUP};
    int r = mm_secret_harden_process(ei);

    if (r < 0)
        return r;
    for (size_t i = 0; i < MM_ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    signal(SIGTERM, SIG_DFL);
    /* A worker that hangs in a vendor's module never sees its channel close. If the parent has died
     * already, the channel says so. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return mm_fail_errno(ei, errno, "cannot tie the worker's life to its parent's");
    r = mm_handed_read(MM_HANDED_FD, &l->handed, ei);
    closefrom((duty == MM_DUTY_STORE ? MM_TRUSTED_FD : MM_WORKER_FD) + 1);
    l->worker.seal = l->handed.key;
    return r;
}

/* Without this, whoever takes the front over could have a worker of his own: a store with another
 * database, a token worker that reads some file. */
static int check_config(const struct life *l, struct mm_errinfo *ei)
{
    const struct mm_bytes text = {l->start->config.data, l->start->config.len};
    uint8_t digest[MM_HANDED_DIGEST];
    int r = mm_seal_config(l->start->config_path, text, digest, ei);

    if (r < 0 || mm_handed_knows(&l->handed, digest))
        return r;
    return mm_fail(ei, MM_ERR_PERMISSION, "CONFIG_NOT_CHECKED",
                   "the front sent a configuration that the launcher has not checked");
}

static int read_start(struct life *l, struct mm_errinfo *ei)
{
    int r = mm_channel_read(MM_WORKER_FD, &l->in, ei);

    if (r < 0)
        return r;
    l->start = mintmark__internal__worker_start__unpack(NULL, l->in.len, l->in.data);
    mm_buf_reset(&l->in);
    if (!l->start)
        return mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the first message is no WorkerStart");
    l->worker.name = l->start->name;
    l->worker.section = l->start->section;
    mm_log_setup(l->worker.name, MM_LOG_INFO);
    r = check_config(l, ei);
    if (r < 0)
        return r;
    r = mm_conf_parse(l->start->config_path, (const char *)l->start->config.data,
                      l->start->config.len, &l->conf, ei);
    if (r < 0)
        return r;
    l->worker.conf = l->conf;
    mm_log_setup(l->worker.name, l->conf->log_level);
    return MM_OK;
}

/* Answers may hold keys in clear ("plain" profiles), so they do not linger in the buffer. */
int mm_worker_send(struct mm_worker *w, struct mm_errinfo *ei)
{
    int r;

    if (w->out.err)
        return mm_fail(ei, w->out.err, "CHANNEL_FRAME", "cannot pack an answer: %s",
                       mm_err_name(w->out.err));
    r = mm_io_write_all(MM_WORKER_FD, w->out.data, w->out.len, ei);
    mm_buf_reset(&w->out);
    return r;
}

static int flush(const struct mm_worker_ops *ops, struct mm_worker *w, struct mm_errinfo *ei)
{
    int r = ops->flush ? ops->flush(w, ei) : MM_OK;

    if (r < 0)
        return r;
    return w->out.len > 0 ? mm_worker_send(w, ei) : MM_OK;
}

/* Does every job that has come in whole. */
static int handle_frames(const struct mm_worker_ops *ops, struct life *l, struct mm_errinfo *ei)
{
    for (;;) {
        struct mm_bytes payload;
        size_t frame_len;
        int r = mm_channel_next(&l->in, &payload, &frame_len);

        if (r == MM_ERR_AGAIN)
            return MM_OK;
        if (r < 0)
            return mm_fail(ei, r, "CHANNEL_FRAME", "the front sent no proper frame");
        r = ops->handle(&l->worker, payload, ei);
        if (r < 0)
            return r;
        mm_buf_consume(&l->in, frame_len);
        /* Without a flush there is nothing to gain from keeping an answer back. */
        if (!ops->flush || l->worker.out.len >= MM_IPC_MESSAGE_MAX) {
            r = flush(ops, &l->worker, ei);
            if (r < 0)
                return r;
        }
    }
}

/* Is there more to read at this moment? */
static bool readable(void)
{
    struct pollfd p = {.fd = MM_WORKER_FD, .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* MM_ERR_EOF when the front has closed the channel between frames. */
static int read_more(struct life *l, struct mm_errinfo *ei)
{
    const size_t room = l->in.max - l->in.len;
    const size_t len = room < READ_BYTES ? room : READ_BYTES;
    uint8_t *to = mm_buf_reserve(&l->in, len);
    ssize_t n;

    if (!to)
        return mm_fail_memory(ei);
    do {
        n = read(MM_WORKER_FD, to, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return mm_fail_errno(ei, errno, "cannot read from the front");
    if (n == 0 && l->in.len > 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the channel closed inside a frame");
    if (n == 0)
        return MM_ERR_EOF;
    mm_buf_grew(&l->in, (size_t)n);
    return MM_OK;
}

/* Jobs, until the channel closes (MM_OK) or something fails. */
static int serve(const struct mm_worker_ops *ops, struct life *l, struct mm_errinfo *ei)
{
    for (;;) {
        bool can_read = true;
        int r = MM_OK;

        if (ops->wait)
            r = ops->wait(&l->worker, MM_WORKER_FD, &can_read, ei);
        if (r == MM_OK && (ops->wait || !readable()))
            r = flush(ops, &l->worker, ei);
        if (r < 0)
            return r;
        if (!can_read)
            continue;
        r = read_more(l, ei);
        if (r == MM_ERR_EOF)
            return flush(ops, &l->worker, ei);
        if (r < 0)
            return r;
        r = handle_frames(ops, l, ei);
        if (r < 0)
            return r;
    }
}

/* Network sockets only where the token section says that its module needs them; a module's calls
 * only where an issuer's key is in a token. */
static enum mm_duty duty_of(const struct mm_worker_ops *ops, const struct mm_worker *w)
{
    const struct mm_conf_token *token = mm_conf_token_get(w->conf, w->section);
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(w->conf, w->section);

    if (ops->duty == MM_DUTY_ISSUER && issuer && *issuer->client_key)
        return MM_DUTY_ISSUER_TOKEN;
    if (ops->duty == MM_DUTY_TOKEN && token && token->network)
        return MM_DUTY_TOKEN_NETWORK;
    return ops->duty;
}

/* The database may be behind a symbolic link, and what SQLite keeps beside it is where it really
 * is. The service goes on without where the kernel cannot: it is a second fence. */
static int confine(const char *database, struct mm_errinfo *ei)
{
    MM_FREE char *folder = realpath(database, NULL);
    int r;

    if (!folder)
        return mm_fail_errno(ei, errno, "%s", database);
    r = mm_sandbox_confine(dirname(folder), ei);
    if (r != MM_ERR_UNSUPPORTED)
        return r;
    mm_log(MM_LOG_WARNING, "files_not_confined", MM_STR("why", ei->text));
    return MM_OK;
}

static int start(const struct mm_worker_ops *ops, struct life *l, struct mm_errinfo *ei)
{
    int r = ops->start(&l->worker, ei);

    if (r < 0)
        return r;
    l->started = true;
    if (ops->duty == MM_DUTY_STORE)
        r = confine(l->conf->store.path, ei);
    if (r == MM_OK)
        r = mm_sandbox_enter(duty_of(ops, &l->worker), ei);
    if (r < 0)
        return r;
    return mm_worker_send(&l->worker, ei);
}

static int exit_code(int r)
{
    switch (r) {
    case MM_OK:
        return MM_EXIT_OK;
    case MM_ERR_PIN:
        return MM_EXIT_PIN;
    case MM_ERR_CORRUPT:
    case MM_ERR_EOF:
        return MM_EXIT_CHANNEL;
    default:
        return MM_EXIT_FAILED;
    }
}

/* The front learns why, in place of the ready message; the log is told by the caller. */
static void refuse(const struct mm_worker_ops *ops, struct life *l, const struct mm_errinfo *ei)
{
    struct mm_errinfo ignored = {0};

    mm_buf_reset(&l->worker.out);
    ops->refuse(&l->worker, ei);
    if (mm_worker_send(&l->worker, &ignored) < 0)
        mm_log_error("refusal_not_sent", NULL, &ignored);
}

/* The PIN was refused. Waiting needs no more rights than serving. */
static int await_pin(const struct mm_worker_ops *ops, struct life *l, struct mm_errinfo *ei)
{
    bool again;
    int r = MM_OK;

    if (l->started)
        refuse(ops, l, ei);
    else
        r = mm_sandbox_enter(duty_of(ops, &l->worker), ei);
    l->started = false;
    if (r < 0) {
        ops->stop(&l->worker);
        return MM_EXIT_FAILED;
    }
    again = ops->barred(&l->worker, MM_WORKER_FD);
    return again ? MM_EXIT_PIN_NEW : MM_EXIT_PIN;
}

int mm_worker_main(const struct mm_worker_ops *ops)
{
    struct life l = {
        .in = MM_BUF_INIT(FRAME_MAX),
        .worker = {.name = "worker", .out = MM_BUF_INIT((size_t)2 * FRAME_MAX)},
    };
    struct mm_errinfo ei = {0};
    int code, r = become_worker(&l, ops->duty, &ei);

    if (r == MM_OK)
        r = read_start(&l, &ei);
    if (r == MM_OK)
        r = start(ops, &l, &ei);
    if (r < 0)
        refuse(ops, &l, &ei);
    else
        r = serve(ops, &l, &ei);
    if (r < 0)
        mm_log_error("worker_failed", NULL, &ei);
    code = exit_code(r);
    if (r == MM_ERR_PIN && ops->barred && l.worker.state)
        code = await_pin(ops, &l, &ei);
    if (l.started)
        ops->stop(&l.worker);
    mm_log_setup("worker", MM_LOG_INFO);
    mm_handed_done(&l.handed);
    mm_buf_done(&l.in);
    mm_buf_done(&l.worker.out);
    mm_conf_free(l.conf);
    if (l.start)
        mintmark__internal__worker_start__free_unpacked(l.start, NULL);
    return code;
}
