/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking the launcher. Question and answer are one datagram each, on a seqpacket socket between two
 * programs of one build: the structs are their own wire format. An answer may bring a descriptor
 * (daemon/ipc/descriptor.h). One question is under way at a time; an answer that comes after its
 * asker has given up is known by its number, and dropped.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

struct mm_question {
    uint64_t id;   /* from 1, and one more each time */
    uint32_t what; /* the users of this header say */
    uint32_t zero;
};

struct mm_answer {
    uint64_t id;          /* of the question; 0: nobody asked, it is the first */
    struct mm_errinfo ei; /* code MM_OK: it is done, and the descriptor comes, if it has one */
    uint64_t value;       /* likewise */
};

/* ---- the asker's end --------------------------------------------------------------------- */

struct mm_asker {
    int fd;           /* the one who made it says whose it is */
    uint64_t last_id; /* of the questions so far */
};

/* Asks, and blocks until the answer is there, or for the socket's SO_RCVTIMEO. *ret_fd is the
 * caller's, or -1 when the answer has none. What the launcher has refused is returned as it says
 * it. MM_ERR_UNAVAILABLE LAUNCHER_STUCK; MM_ERR_IO when there is no launcher, or what comes is no
 * answer to this question or one before. Every descriptor that is not returned is closed. */
int mm_ask(struct mm_asker *a, uint32_t what, uint64_t *ret_value, int *ret_fd,
           struct mm_errinfo *ei) MM_MUST_USE;
/* The same for the answer that comes before any question. */
int mm_ask_first(const struct mm_asker *a, int *ret_fd, struct mm_errinfo *ei) MM_MUST_USE;

/* ---- the launcher's end ------------------------------------------------------------------ */

/* Never blocks. MM_ERR_AGAIN: there is no question now; MM_ERR_EOF: there will be none, since the
 * asker is gone, or has sent what is none. */
int mm_ask_receive(int socket_fd, struct mm_question *ret_question) MM_MUST_USE;
/* With fd, which stays the caller's; -1: none. Never blocks: an asker that does not read gets no
 * answer. One that is gone shows with the next mm_ask_receive. */
int mm_ask_answer(int socket_fd, const struct mm_answer *answer, int fd, struct mm_errinfo *ei);
