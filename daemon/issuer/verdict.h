/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer, or none, means for the job and for the node that gave it. A table of EJBCA's own
 * texts, since its status codes say little: nearly every failure of an enrolment is a 400, an
 * off-line token of the CA too.
 *
 * A device fails for good only by what is its own fault. What is wrong in a configuration (a
 * profile that is not there, a right that is missing) waits until it has been put right.
 */
#pragma once

#include "daemon/base/limits.h"

#include <stdbool.h>
#include <stdint.h>

/* What was asked: an enrolment that is cut off may have happened, and nothing else leaves doubt. */
enum mm_call_kind {
    MM_CALL_ENROL,
    MM_CALL_REVOKE,
    MM_CALL_READ, /* search, status, lists */
};

/* How it went, as the transport saw it. */
struct mm_reply {
    bool sent;               /* something of the request may have reached the node */
    bool timed_out;          /* no answer in time */
    unsigned status;         /* HTTP; 0: no whole answer came */
    bool is_error_json;      /* the body is EJBCA's own kind of error, and text is from it */
    const char *text;        /* of the error, or the transport's; never NULL */
    uint32_t retry_after_ms; /* 0: not said */
};

enum mm_verdict_class { MM_VERDICT_DONE, MM_VERDICT_PERMANENT, MM_VERDICT_RETRY };

struct mm_verdict {
    enum mm_verdict_class class;
    const char *reason; /* NULL when done */
    bool uncertain;     /* an enrolment may have happened all the same */
    bool blame;         /* counts against the node */
    bool overload;      /* the node has too much to do */
    bool general;       /* not about this device: every other one would fare the same */
    uint32_t retry_ms;  /* without jitter */
};

struct mm_verdict mm_verdict(enum mm_call_kind kind, const struct mm_reply *reply);

/* A 200 or 201 whose body was not what it should be. */
struct mm_verdict mm_verdict_bad_answer(enum mm_call_kind kind);
