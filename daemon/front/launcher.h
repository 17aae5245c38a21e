/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The launcher: a small process that main forks before it holds any key or has opened any socket,
 * and that starts, watches and kills the workers for the front. So the front can give up execve and
 * fork for good (MM_DUTY_FRONT), and the workers inherit neither its filter nor its secrets.
 *
 * It can run the programs that it was given at the start and nothing else, and opens for the front
 * the files that it was given at the start and no others (daemon/front/files.h). It hands each
 * worker what the front shall not have, or not choose (daemon/ipc/handed.h). When the front goes
 * away it ends, and all workers with it. docs/adr/0002-launcher.md has the reasons.
 */
#pragma once

#include "daemon/front/files.h"

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <uv.h>

enum mm_program { MM_PROGRAM_TOKEN, MM_PROGRAM_STORE, MM_PROGRAM_ISSUER, MM_PROGRAMS };

/* Forks the launcher; *ret_fd is the front's end of its socket. paths are absolute. config is the
 * configuration that workers take (mm_seal_config), until a reload has another one checked. With
 * files it also opens those for the front, on the socket *ret_files_fd; NULL and NULL: none. Only
 * while the process has one thread. */
int mm_launcher_fork(const char *const paths[MM_PROGRAMS], const uint8_t config[MM_HANDED_DIGEST],
                     const struct mm_files_plan *files, int *ret_fd, int *ret_files_fd,
                     struct mm_errinfo *ei) MM_MUST_USE;

struct mm_launcher;

/* The front's side on its loop. Takes fd. lost is called once when the launcher is gone, and with
 * it every worker. */
int mm_launcher_new(uv_loop_t *loop, int fd, void (*lost)(void *arg), void *arg,
                    struct mm_launcher **ret_launcher, struct mm_errinfo *ei) MM_MUST_USE;
/* Ends the launcher; the memory goes when the loop has run its close callbacks. */
void mm_launcher_free(struct mm_launcher *l);

/* One process to be; embedded in what owns it, zero before its first start. */
struct mm_process {
    LIST_ENTRY(mm_process) link;
    uint64_t id;
    pid_t pid;  /* 0 until it has started */
    bool alive; /* asked for, and not gone yet */
    /* It is gone, by itself or because it could not be started: the status is waitpid's, or
     * spawn_errno is not 0. */
    void (*exited)(struct mm_process *p, int status, int spawn_errno);
};

/* Starts a program with the descriptor as its descriptor 3; stderr is ours. exited follows if this
 * returns MM_OK, and not otherwise. The caller still owns channel_fd. */
int mm_launcher_start(struct mm_launcher *l, struct mm_process *p, enum mm_program program,
                      int channel_fd, struct mm_errinfo *ei) MM_MUST_USE;
/* SIGKILL; exited follows. */
void mm_launcher_kill(struct mm_launcher *l, const struct mm_process *p);
