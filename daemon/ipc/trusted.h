/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificates of those whose signatures count at a site, from the launcher, which reads their
 * files, to the store, which judges by them. They go over a line of their own, a socket that the
 * front has no end of: it can say when they are to be read again, never what they are
 * (docs/adr/0034-trusted-certificates-past-the-front.md).
 *
 * A set is a packed mintmark.internal.TrustedFiles of at most MM_TRUSTED_MAX bytes, in a memory
 * file that nobody can write any more. The launcher keeps the set in force and, once a reload has
 * read and checked another, that one; the store asks for the other, and says when it has taken it.
 * From then on it is the one in force, which each store is started with.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "daemon/ipc/ask.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MM_TRUSTED_FD = 4,                         /* the store's end, beside MM_WORKER_FD */
    MM_TRUSTED_MAX = 2 * MM_PEM_FILE_MAX + 64, /* bytes of a set */
    MM_TRUSTED_LINES = 4,                      /* stores at a time: one, and those that end */
};

/* ---- sets -------------------------------------------------------------------------------- */

/* An empty memory file, to be filled once. */
int mm_trusted_make(int *ret_set, struct mm_errinfo *ei) MM_MUST_USE;
/* Writes the set, and ends all writing to it, by whoever has it. */
int mm_trusted_fill(int set, struct mm_bytes bytes, struct mm_errinfo *ei) MM_MUST_USE;
/* Appends it to buf. MM_ERR_TOO_BIG over MM_TRUSTED_MAX. */
int mm_trusted_read(int set, struct mm_buf *buf, struct mm_errinfo *ei) MM_MUST_USE;

/* ---- the store's end --------------------------------------------------------------------- */

/* Each blocks for as long as the launcher set when it made the line, and fails as mm_ask does; or
 * the set is too big. */

/* The set in force, with which the launcher begins the line. */
int mm_trusted_first(struct mm_asker *line, struct mm_buf *set, struct mm_errinfo *ei) MM_MUST_USE;
/* The set that the last reload has read. MM_ERR_PRECONDITION NOTHING_TO_TRUST when there is none.
 */
int mm_trusted_next(struct mm_asker *line, struct mm_buf *set, struct mm_errinfo *ei) MM_MUST_USE;
/* The set that mm_trusted_next gave last is to be the one in force; it is once this returns MM_OK.
 */
int mm_trusted_take(struct mm_asker *line, struct mm_errinfo *ei) MM_MUST_USE;

/* ---- the launcher's end ------------------------------------------------------------------ */

struct mm_trusted_keeper {
    int in_force; /* a set */
    int next;     /* likewise; -1: none */
    struct {
        bool used;
        int fd;    /* -1: the store has closed it, or said what it must not */
        int given; /* the set that this store was given last; -1: none */
    } lines[MM_TRUSTED_LINES];
};

/* Keeps a set, which it takes. */
void mm_trusted_keep(struct mm_trusted_keeper *k, int set);
/* What a reload has read, in place of what one had before; takes it. -1: nothing that would do. */
void mm_trusted_offer(struct mm_trusted_keeper *k, int set);
/* Is the set in force another than these bytes? True as well when it cannot be read. */
bool mm_trusted_differs(const struct mm_trusted_keeper *k, struct mm_bytes bytes);

/* A line for a store that is about to be started, with the set in force in it; *ret_peer is its
 * end. MM_ERR_EXHAUSTED TOO_MANY_STORES. */
int mm_trusted_open(struct mm_trusted_keeper *k, size_t *ret_line, int *ret_peer,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Answers one request. */
void mm_trusted_serve(struct mm_trusted_keeper *k, size_t line);
/* The store is gone. */
void mm_trusted_close(struct mm_trusted_keeper *k, size_t line);
