/* SPDX-License-Identifier: Apache-2.0 */
/* Small macros used everywhere: attributes, cleanup and moving ownership. No hidden control flow.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>

/* The caller must look at the result. */
#define MM_MUST_USE          __attribute__((warn_unused_result))
#define MM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MM_UNUSED            __attribute__((unused))
/* Visible outside a shared library; everything else is hidden. */
#define MM_PUBLIC __attribute__((visibility("default")))

#define MM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Runs fn(&variable) when the variable leaves its scope. */
#define MM_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of a variable that has a cleanup: yields it and leaves NULL behind. */
#define MM_TAKE(p)                                                                                 \
    ({                                                                                             \
        __typeof__(p) mm_taken_ = (p);                                                             \
        (p) = NULL;                                                                                \
        mm_taken_;                                                                                 \
    })

/* Defines fn_p(type **), for MM_CLEANUP, from fn(type *); fn must accept NULL. */
#define MM_DEFINE_CLEANUP(type, fn)                                                                \
    MM_UNUSED static inline void fn##_p(type *p)                                                   \
    {                                                                                              \
        if (*p)                                                                                    \
            fn(*p);                                                                                \
    }

MM_UNUSED static inline void mm_free_p(void *p)
{
    free(*(void **)p);
}

void mm_close_p(int *fd);

#define MM_FREE  MM_CLEANUP(mm_free_p)
#define MM_CLOSE MM_CLEANUP(mm_close_p)

/* A build with the address sanitizer, whose leak check needs more than the program does. */
#if defined(__SANITIZE_ADDRESS__)
#define MM_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MM_SANITIZED 1
#endif
#endif
