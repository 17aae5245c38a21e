/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void mm_close_p(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static void set(struct mm_errinfo *ei, enum mm_err code, const char *reason, uint64_t detail)
{
    *ei = (struct mm_errinfo){.code = code, .detail = detail};
    snprintf(ei->reason, sizeof(ei->reason), "%s", reason);
}

int mm_fail(struct mm_errinfo *ei, enum mm_err code, const char *reason, const char *fmt, ...)
{
    va_list ap;

    if (!ei)
        return code;
    set(ei, code, reason, 0);
    va_start(ap, fmt);
    vsnprintf(ei->text, sizeof(ei->text), fmt, ap);
    va_end(ap);
    return code;
}

int mm_fail_field(struct mm_errinfo *ei, const char *field, const char *fmt, ...)
{
    va_list ap;

    if (!ei)
        return MM_ERR_INVALID;
    set(ei, MM_ERR_INVALID, "INVALID_FIELD", 0);
    snprintf(ei->field, sizeof(ei->field), "%s", field);
    va_start(ap, fmt);
    vsnprintf(ei->text, sizeof(ei->text), fmt, ap);
    va_end(ap);
    return MM_ERR_INVALID;
}

int mm_fail_errno(struct mm_errinfo *ei, int errno_value, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (!ei)
        return MM_ERR_IO;
    set(ei, MM_ERR_IO, "SYSTEM_ERROR", (uint64_t)errno_value);
    va_start(ap, fmt);
    n = vsnprintf(ei->text, sizeof(ei->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(ei->text))
        snprintf(ei->text + n, sizeof(ei->text) - (size_t)n, ": %s", strerror(errno_value));
    return MM_ERR_IO;
}

int mm_err_subject(struct mm_errinfo *ei, const char *kind, const char *name)
{
    snprintf(ei->subject, sizeof(ei->subject), "%s:%s", kind, name);
    return ei->code;
}

int mm_fail_memory(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_MEMORY, "OUT_OF_MEMORY", "out of memory");
}

int mm_err_prefix(struct mm_errinfo *ei, const char *fmt, ...)
{
    char old[MM_ERR_TEXT_MAX];
    va_list ap;
    int n;

    memcpy(old, ei->text, sizeof(old));
    va_start(ap, fmt);
    n = vsnprintf(ei->text, sizeof(ei->text), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(ei->text))
        snprintf(ei->text + n, sizeof(ei->text) - (size_t)n, ": %s", old);
    return ei->code;
}

const char *mm_err_name(int code)
{
    static const char *const names[] = {
        "MM_OK",
        "MM_ERR_INVALID",
        "MM_ERR_NOT_FOUND",
        "MM_ERR_EXISTS",
        "MM_ERR_PERMISSION",
        "MM_ERR_UNAUTHENTICATED",
        "MM_ERR_PRECONDITION",
        "MM_ERR_EXHAUSTED",
        "MM_ERR_UNAVAILABLE",
        "MM_ERR_TIMEOUT",
        "MM_ERR_CANCELLED",
        "MM_ERR_ABORTED",
        "MM_ERR_TOO_BIG",
        "MM_ERR_MEMORY",
        "MM_ERR_IO",
        "MM_ERR_CORRUPT",
        "MM_ERR_PIN",
        "MM_ERR_UNSUPPORTED",
        "MM_ERR_EOF",
        "MM_ERR_AGAIN",
        "MM_ERR_INTERNAL",
    };

    if (code > 0 || code < -(int)MM_ARRAY_SIZE(names) + 1)
        return "MM_ERR_?";
    return names[-code];
}
