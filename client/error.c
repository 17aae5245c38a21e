/* SPDX-License-Identifier: Apache-2.0 */
#include "client/error.h"

#include "daemon/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The length of the printable character at text, 0 if there is none. */
static size_t printable(const char *text)
{
    const unsigned char *u = (const unsigned char *)text;
    size_t len = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;

    if (u[0] < 0x20 || u[0] == 0x7f || strnlen(text, len) < len || !mm_utf8_valid(text, len))
        return 0;
    /* U+0080 to U+009F are control characters too. */
    if (len == 2 && u[0] == 0xc2 && u[1] < 0xa0)
        return 0;
    return len;
}

void mm_client_copy_text(char *to, size_t size, const char *text)
{
    size_t used = 0;

    while (*text) {
        size_t len = printable(text);
        size_t step = len ? len : 1;

        if (used + step >= size)
            break;
        if (len)
            memcpy(to + used, text, len);
        else
            to[used] = '?';
        used += step;
        text += step;
    }
    to[used] = 0;
}

MM_PRINTF(4, 0)
static int fail(struct mintmark_error *error, enum mintmark_status status, const char *reason,
                const char *fmt, va_list ap)
{
    char text[sizeof(error->message)];

    if (error) {
        *error = (struct mintmark_error){.status = status};
        vsnprintf(text, sizeof(text), fmt, ap);
        mm_client_copy_text(error->reason, sizeof(error->reason), reason);
        mm_client_copy_text(error->message, sizeof(error->message), text);
    }
    return -(int)status;
}

int mm_client_fail(struct mintmark_error *error, enum mintmark_status status, const char *reason,
                   const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = fail(error, status, reason, fmt, ap);
    va_end(ap);
    return r;
}

int mm_client_fail_field(struct mintmark_error *error, const char *field, const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = fail(error, MINTMARK_INVALID_ARGUMENT, "INVALID_FIELD", fmt, ap);
    va_end(ap);
    if (error)
        mm_client_copy_text(error->field, sizeof(error->field), field);
    return r;
}

int mm_client_fail_response(struct mintmark_error *error, const char *fmt, ...)
{
    va_list ap;
    int r;

    va_start(ap, fmt);
    r = fail(error, MINTMARK_DATA_LOSS, "BAD_RESPONSE", fmt, ap);
    va_end(ap);
    return r;
}

int mm_client_fail_memory(struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
}

static enum mintmark_status status_of(int code)
{
    static const unsigned char status[] = {
        [-MM_OK] = MINTMARK_OK,
        [-MM_ERR_INVALID] = MINTMARK_INVALID_ARGUMENT,
        [-MM_ERR_NOT_FOUND] = MINTMARK_NOT_FOUND,
        [-MM_ERR_EXISTS] = MINTMARK_ALREADY_EXISTS,
        [-MM_ERR_PERMISSION] = MINTMARK_PERMISSION_DENIED,
        [-MM_ERR_UNAUTHENTICATED] = MINTMARK_UNAUTHENTICATED,
        [-MM_ERR_PRECONDITION] = MINTMARK_FAILED_PRECONDITION,
        [-MM_ERR_EXHAUSTED] = MINTMARK_RESOURCE_EXHAUSTED,
        [-MM_ERR_UNAVAILABLE] = MINTMARK_UNAVAILABLE,
        [-MM_ERR_TIMEOUT] = MINTMARK_DEADLINE_EXCEEDED,
        [-MM_ERR_CANCELLED] = MINTMARK_CANCELLED,
        [-MM_ERR_ABORTED] = MINTMARK_ABORTED,
        [-MM_ERR_TOO_BIG] = MINTMARK_RESOURCE_EXHAUSTED,
        [-MM_ERR_MEMORY] = MINTMARK_RESOURCE_EXHAUSTED,
        /* A file on this side, not the service: waiting does not help. */
        [-MM_ERR_IO] = MINTMARK_FAILED_PRECONDITION,
        [-MM_ERR_CORRUPT] = MINTMARK_DATA_LOSS,
        [-MM_ERR_PIN] = MINTMARK_PERMISSION_DENIED,
        [-MM_ERR_UNSUPPORTED] = MINTMARK_UNIMPLEMENTED,
        [-MM_ERR_EOF] = MINTMARK_UNAVAILABLE,
        [-MM_ERR_AGAIN] = MINTMARK_UNAVAILABLE,
        [-MM_ERR_INTERNAL] = MINTMARK_INTERNAL,
    };

    if (code > 0 || (size_t)-code >= MM_ARRAY_SIZE(status))
        return MINTMARK_INTERNAL;
    return status[-code];
}

int mm_client_fail_base(struct mintmark_error *error, const struct mm_errinfo *ei)
{
    int r = mm_client_fail(error, status_of(ei->code), ei->reason, "%s", ei->text);

    if (error) {
        error->retry_ms = ei->retry_ms;
        mm_client_copy_text(error->field, sizeof(error->field), ei->field);
    }
    return r;
}
