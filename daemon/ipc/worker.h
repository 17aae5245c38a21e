/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a worker process, the same for all kinds. The launcher starts it with the channel on
 * descriptor 3, the store with its line to the launcher on 4 (daemon/ipc/trusted.h), what it hands
 * each worker on 5 (daemon/ipc/handed.h), and nothing else; main calls mm_worker_main, which
 *   hardens the process, ignores SIGPIPE, SIGINT and SIGHUP (the front decides), leaves SIGTERM to
 *   end it, and dies with its parent (PR_SET_PDEATHSIG);
 *   reads what it was handed, and WorkerStart; refuses a configuration that the launcher has not
 *   checked (MM_ERR_PERMISSION CONFIG_NOT_CHECKED), parses it, sets the log up;
 *   calls ops->start, applies the sandbox of ops->duty (the store's also keeps it in the folder of
 *   its database), sends the ready message that start packed;
 *   then takes job after job: handle; and flush whenever nothing more is waiting (so that the store
 *   can commit what came in together as one transaction);
 *   and returns when the channel closes: stop, exit 0.
 * When the PIN was refused, then or in a job, the worker says so (refuse) and waits in ops->barred,
 * sandboxed, until there is another; it ends with MM_EXIT_PIN_NEW. Without ops->barred, or once the
 * channel closes, it ends with MM_EXIT_PIN, and the front does not try again.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/ipc/channel.h"
#include "daemon/ipc/seal.h"

enum { MM_WORKER_FD = 3 };

enum mm_worker_exit {
    MM_EXIT_OK = 0,
    MM_EXIT_FAILED = 1,
    MM_EXIT_PIN = 3,
    MM_EXIT_CHANNEL = 4,
    MM_EXIT_PIN_NEW = 5, /* there is another PIN than the one refused: start again */
};

/* What a worker's process may do once it serves; ipc/sandbox.c has the system calls. A token worker
 * may open sockets of the Unix family (local daemons of modules), and network sockets only when its
 * token section says that the module needs them. */
enum mm_duty {
    MM_DUTY_TOKEN,
    MM_DUTY_TOKEN_NETWORK,
    MM_DUTY_STORE,
    MM_DUTY_FRONT,
    MM_DUTY_ISSUER,       /* connects to the outside, and reads files */
    MM_DUTY_ISSUER_TOKEN, /* the same, with a module in it that has its TLS key */
};

struct mm_worker {
    const struct mm_conf *conf; /* owned by mm_worker_main */
    const char *name;           /* "token.0" */
    const char *section;
    struct mm_secret
        *seal;         /* the key of proofs; owned by mm_worker_main. NULL: issuers have none */
    void *state;       /* of the kind */
    struct mm_buf out; /* frames to send; mm_worker_reply appends */
};

struct mm_worker_ops {
    enum mm_duty duty;
    /* Opens what the worker needs and packs its ready message with mm_worker_reply. On failure the
     * error is sent as the ready message by `refuse`, and the process ends. */
    int (*start)(struct mm_worker *w, struct mm_errinfo *ei);
    /* Packs the kind's result message (id 0) that carries ei. */
    void (*refuse)(struct mm_worker *w, const struct mm_errinfo *ei);
    /* Does one job and packs its answer now or in flush. A negative return ends the process. */
    int (*handle)(struct mm_worker *w, struct mm_bytes payload, struct mm_errinfo *ei);
    /* Nothing more is waiting (or MM_IPC_MESSAGE_MAX of answers are): finish. May be NULL. */
    int (*flush)(struct mm_worker *w, struct mm_errinfo *ei);
    /* For workers with work of their own between jobs: sleeps until fd, the channel, is readable or
     * something was done, doing what there is to do and packing its answers. NULL: the worker
     * sleeps in read. */
    int (*wait)(struct mm_worker *w, int fd, bool *ret_readable, struct mm_errinfo *ei);
    /* After MM_ERR_PIN, in place of stop: frees what the worker has, and sleeps until another PIN
     * may be tried (true) or the channel fd is closed. May be NULL; else a start that fails with
     * MM_ERR_PIN leaves w->state to it. */
    bool (*barred)(struct mm_worker *w, int fd);
    void (*stop)(struct mm_worker *w);
};

/* Appends one answer to w->out. */
int mm_worker_reply(struct mm_worker *w, const ProtobufCMessage *message) MM_MUST_USE;

/* Sends the answers that wait in w->out now: for a handle or flush that makes many big ones. */
int mm_worker_send(struct mm_worker *w, struct mm_errinfo *ei) MM_MUST_USE;

int mm_worker_main(const struct mm_worker_ops *ops);

/* Lets the process do its duty's system calls and no others: unknown ones fail with EPERM and are
 * logged by the kernel; execve, new processes and ptrace are refused to all, network sockets to all
 * but the front, issuers and MM_DUTY_TOKEN_NETWORK, and files, by any path, to the front. Cannot be
 * undone. Called by mm_worker_main, and by the front after it has started its workers' launcher. */
int mm_sandbox_enter(enum mm_duty duty, struct mm_errinfo *ei) MM_MUST_USE;

/* Lets the process open files of this folder and below and no others (daemon/ipc/landlock.h), as
 * far as the kernel can: MM_ERR_UNSUPPORTED when it cannot. Before mm_sandbox_enter. */
int mm_sandbox_confine(const char *folder, struct mm_errinfo *ei) MM_MUST_USE;
