/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log lines on stderr, one write each:
 *   <6>ts=2026-11-21T18:16:56.123Z level=info module=front event=batch_opened request=… batch=…
 * Values are escaped, so one event is always one line. No secret type has a printer. Libraries are
 * silent; the place that decides logs once.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

enum mm_log_level { MM_LOG_ERROR, MM_LOG_WARNING, MM_LOG_INFO, MM_LOG_DEBUG };

struct mm_kv {
    const char *key; /* NULL ends the list */
    enum { MM_KV_STR, MM_KV_INT, MM_KV_UINT, MM_KV_HEX } type;
    union {
        const char *str;
        int64_t i;
        uint64_t u;
    };
};

#define MM_STR(k, v)  ((struct mm_kv){.key = (k), .type = MM_KV_STR, .str = (v)})
#define MM_INT(k, v)  ((struct mm_kv){.key = (k), .type = MM_KV_INT, .i = (int64_t)(v)})
#define MM_UINT(k, v) ((struct mm_kv){.key = (k), .type = MM_KV_UINT, .u = (uint64_t)(v)})
#define MM_HEX(k, v)  ((struct mm_kv){.key = (k), .type = MM_KV_HEX, .u = (uint64_t)(v)})

/* mm_log(MM_LOG_INFO, "batch_opened", MM_STR("request", id), MM_UINT("quantity", n)); */
#define mm_log(level, event, ...)                                                                  \
    mm_log_emit((level), (event), (const struct mm_kv[]){__VA_ARGS__ __VA_OPT__(, ){.key = NULL}})

void mm_log_emit(enum mm_log_level level, const char *event, const struct mm_kv *kv);

/* Logs an error with its code, reason, detail and text under `event`. */
void mm_log_error(const char *event, const char *request_id, const struct mm_errinfo *ei);

/* Who speaks ("front", "token.0"); the string is borrowed for ever. Least severe level shown. */
void mm_log_setup(const char *module, enum mm_log_level level);
