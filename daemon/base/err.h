/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: a small closed set of codes, and an explicit struct for what a person or a program needs
 * to know beyond the code. Functions return MM_OK (0) or a negative code; libraries do not log.
 */
#pragma once

#include "daemon/base/macros.h"

#include <stdint.h>

enum mm_err {
    MM_OK = 0,
    MM_ERR_INVALID = -1,         /* the input is wrong whatever the state: INVALID_ARGUMENT */
    MM_ERR_NOT_FOUND = -2,       /* the named thing does not exist: NOT_FOUND */
    MM_ERR_EXISTS = -3,          /* the thing exists already: ALREADY_EXISTS */
    MM_ERR_PERMISSION = -4,      /* known, but not allowed: PERMISSION_DENIED */
    MM_ERR_UNAUTHENTICATED = -5, /* not known: UNAUTHENTICATED */
    MM_ERR_PRECONDITION = -6, /* the state forbids it, e.g. batch released: FAILED_PRECONDITION */
    MM_ERR_EXHAUSTED = -7,    /* quota, batch or a limit used up: RESOURCE_EXHAUSTED */
    MM_ERR_UNAVAILABLE = -8,  /* try again later: UNAVAILABLE */
    MM_ERR_TIMEOUT = -9,      /* deadline passed: DEADLINE_EXCEEDED */
    MM_ERR_CANCELLED = -10,   /* the caller went away: CANCELLED */
    MM_ERR_ABORTED = -11,     /* overtaken by something concurrent: ABORTED */
    MM_ERR_TOO_BIG = -12,     /* over a named limit of base/limits.h: RESOURCE_EXHAUSTED */
    MM_ERR_MEMORY = -13,      /* allocation failed: RESOURCE_EXHAUSTED */
    MM_ERR_IO = -14,          /* a system call failed; detail is errno: UNAVAILABLE */
    MM_ERR_CORRUPT = -15,     /* stored or received data contradict themselves: DATA_LOSS */
    MM_ERR_PIN = -16,         /* PIN wrong, locked or on its last try; never tried again */
    MM_ERR_UNSUPPORTED = -17, /* known, but not offered here: UNIMPLEMENTED */
    MM_ERR_EOF = -18,         /* the peer closed in an orderly way */
    MM_ERR_AGAIN = -19,       /* nothing to do now: not an error, never leaves a module */
    MM_ERR_INTERNAL = -20,    /* a bug or a broken promise of a library: INTERNAL */
};

enum {
    MM_ERR_TEXT_MAX = 256,   /* bytes with the NUL */
    MM_ERR_REASON_MAX = 40,  /* bytes with the NUL */
    MM_ERR_FIELD_MAX = 40,   /* bytes with the NUL */
    MM_ERR_SUBJECT_MAX = 80, /* bytes with the NUL: "client:" and a name */
};

/*
 * What went wrong. A plain value: zero-initialise, pass its address, copy freely.
 * reason is a constant in UPPER_SNAKE_CASE that programs may test (google.rpc.ErrorInfo.reason);
 * text is one sentence for a person, without secrets; detail is CK_RV, errno, SQLite or HTTP code;
 * field names the request's field at fault, if one is (google.rpc.BadRequest); retry_ms says when
 * to come back, 0 for no advice (google.rpc.RetryInfo); subject names what a limit or quota belongs
 * to, if one is used up: "client:NAME", "order:ID", "batch:UID" (google.rpc.QuotaFailure).
 */
struct mm_errinfo {
    enum mm_err code;
    uint32_t retry_ms;
    uint64_t detail;
    char field[MM_ERR_FIELD_MAX];
    char subject[MM_ERR_SUBJECT_MAX];
    char reason[MM_ERR_REASON_MAX];
    char text[MM_ERR_TEXT_MAX];
};

/* Fills *ei (which may be NULL) and returns code, so that `return mm_fail(…)` reads well.
 * A text that does not fit is cut. */
int mm_fail(struct mm_errinfo *ei, enum mm_err code, const char *reason, const char *fmt, ...)
    MM_PRINTF(4, 5);

/* MM_ERR_INVALID for one field of a request, with reason INVALID_FIELD. */
int mm_fail_field(struct mm_errinfo *ei, const char *field, const char *fmt, ...) MM_PRINTF(3, 4);

/* Says what the limit or quota belongs to: kind is "client", "order" or "batch". Returns ei->code.
 */
int mm_err_subject(struct mm_errinfo *ei, const char *kind, const char *name);

/* As mm_fail with MM_ERR_IO, detail = errno_value, and ": strerror" added to the text. */
int mm_fail_errno(struct mm_errinfo *ei, int errno_value, const char *fmt, ...) MM_PRINTF(3, 4);

/* MM_ERR_MEMORY, with its text. */
int mm_fail_memory(struct mm_errinfo *ei);

/* Puts "context: " before the text that is there already; returns ei->code. */
int mm_err_prefix(struct mm_errinfo *ei, const char *fmt, ...) MM_PRINTF(2, 3);

/* "MM_ERR_INVALID" and so on; "MM_ERR_?" for a number that is none of ours. */
const char *mm_err_name(int code);
