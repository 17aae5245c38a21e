/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tracer that sees every system call of a service and of all processes below it, numbers those
 * that are points of a request's way, and kills at one of them. Nothing in the traced programs
 * knows of it, and nothing is built into them for it. What a point is: docs/crash-safety.md.
 */
#ifndef MM_TESTS_CRASH_TRACER_H
#define MM_TESTS_CRASH_TRACER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    TRACEES_MAX = 64,
    POINT_MAX = 128, /* bytes of a point's name, with its zero */
    COUNTERS_MAX = 1024,
    PATH_BYTES = 512,
};

/* One traced process. */
struct tracee {
    pid_t pid; /* 0: free */
    char role[24];
    bool in_call;              /* between a call's entry and its exit */
    bool receives;             /* the call waits for something to come */
    bool skipped;              /* the call was made to do nothing; it shall return result */
    int64_t result;            /* of a skipped call */
    char point[POINT_MAX];     /* of the call that it is in; empty: no point */
    unsigned k;                /* its number in this phase; 0: none */
    bool kill_after;           /* this call is the one, and it is to happen first */
    char path[2 * PATH_BYTES]; /* file or folder of a call that makes things durable, or "" */
};

/* A system call at its entry. */
struct entry {
    uint64_t nr;
    uint64_t args[6];
};

/*
 * Is the call a point? Its name is written to t->point as ROLE/CALL/WHAT, without blanks: WHAT is
 * the kind of the file or socket. Empty for a call that is none. Points are:
 *   - whatever changes a file or a folder's entries, or makes them durable
 *   - whatever is sent to or received from another process or a station
 * Writing to a log, to /dev, to pipes and to event counters is none. t->path is set for fsync and
 * fdatasync, t->receives for what may wait for long.
 */
void points_name(struct tracee *t, const struct entry *e);

/* The role of a process that has just begun a program: front, store, token, or the program's name.
 */
void points_role(struct tracee *t);

/* Reads a path from the process's memory; false when there is none. */
bool points_read_path(pid_t pid, uint64_t address, char *to, size_t size);

/*
 * The disk as a power cut would leave it. Under `durable` stands a copy of `folder` with what each
 * file held when it was last synced, and those files whose entries the folder held when that was
 * last synced. Only plain files directly in the folder are known. Both paths are without links.
 */
struct disk {
    const char *folder; /* NULL: no power cuts */
    const char *durable;
};

/* fsync or fdatasync of that file or folder has returned. */
void disk_synced(const struct disk *d, const char *path);

/* Nobody uses the folder now: makes it what would be left of it. */
void disk_cut(const struct disk *d);

/* False for calls that this model of a disk knows nothing of, and that would make it lie: renaming,
 * or mapping a file of the folder to write to it. */
bool disk_knows(const struct disk *d, pid_t pid, const struct entry *e);

/* The tracer cannot go on: says why, and ends; the kernel kills all that is traced. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
