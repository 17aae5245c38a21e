/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the person at the terminal (/dev/tty, so that pipes do not answer). */
#pragma once

#include "daemon/base/err.h"

#include <stddef.h>

enum { MM_PROMPT_LINE_MAX = 128 };

/* Writes text to the terminal and reads a line; line holds size bytes with the NUL, without the
 * newline. MM_ERR_UNAVAILABLE without a terminal, MM_ERR_CANCELLED at its end, MM_ERR_TOO_BIG when
 * the line does not fit. */
int mm_prompt_line(const char *text, char *line, size_t size, struct mm_errinfo *ei) MM_MUST_USE;

/* Asks for the word "yes", all of it. MM_ERR_CANCELLED for any other answer; line (as above) holds
 * what was typed. */
int mm_prompt_yes(const char *text, char *line, size_t size, struct mm_errinfo *ei) MM_MUST_USE;
