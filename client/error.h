/* SPDX-License-Identifier: Apache-2.0 */
/* Filling struct mintmark_error. Every function returns what a failing mintmark_* call returns:
 * minus the status. error may be NULL. */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/err.h"

/* A failure seen on this side. reason is a constant in UPPER_SNAKE_CASE. */
int mm_client_fail(struct mintmark_error *error, enum mintmark_status status, const char *reason,
                   const char *fmt, ...) MM_PRINTF(4, 5);
int mm_client_fail_memory(struct mintmark_error *error);
/* INVALID_ARGUMENT: that field of the caller's request. */
int mm_client_fail_field(struct mintmark_error *error, const char *field, const char *fmt, ...)
    MM_PRINTF(3, 4);
/* DATA_LOSS: what the server sent cannot be. */
int mm_client_fail_response(struct mintmark_error *error, const char *fmt, ...) MM_PRINTF(2, 3);

/* From what base/ reports about files and values. */
int mm_client_fail_base(struct mintmark_error *error, const struct mm_errinfo *ei);

/* Copies text that a peer sent to a buffer of size bytes: cut to fit at a character's border, and
 * with a '?' for whatever is not UTF-8 or would steer a terminal. */
void mm_client_copy_text(char *to, size_t size, const char *text);
