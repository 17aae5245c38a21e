/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/memory.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned wanted, left;
static bool failed;

void memory_fail_at(unsigned n)
{
    wanted = left = n;
    failed = false;
}

void memory_fail_next(void)
{
    memory_fail_at(wanted + 1);
}

bool memory_failed(void)
{
    return failed;
}

static bool fails(void)
{
    if (left == 0 || --left > 0)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

/* What the linker calls them with --wrap. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
int __wrap_asprintf(char **ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* asprintf under _FORTIFY_SOURCE */
int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
    return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails() ? NULL : __real_strndup(s, n);
}

/* glibc leaves *ret undefined when it fails: so does this. */
static int print(char **ret, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static int print(char **ret, const char *fmt, va_list ap)
{
    if (fails()) {
        *ret = (char *)(void *)&failed;
        return -1;
    }
    return vasprintf(ret, fmt, ap);
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = print(ret, fmt, ap);
    va_end(ap);
    return n;
}

int __wrap___asprintf_chk(char **ret, int flag, const char *fmt, ...)
{
    va_list ap;
    int n;

    (void)flag;
    va_start(ap, fmt);
    n = print(ret, fmt, ap);
    va_end(ap);
    return n;
}
