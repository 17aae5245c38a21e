/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The written record of a ceremony: a text file that is only ever appended to, one line an entry:
 *
 *   2026-11-21T18:16:56.123Z question: Make a new token key pair? (operator Alice)
 *   2026-11-21T18:16:59.004Z answer: yes
 *
 * A record may hold several commands; each begins with the SHA-256 of all that stood before it, and
 * ends with the SHA-256 of the file being shown, to be noted on paper. Values are escaped, so that
 * an entry is always one line. PINs never come here: no function takes a secret.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdbool.h>

struct mm_transcript;

enum { MM_TRANSCRIPT_SHA256_TEXT = 65 };

/* Opens path for appending, or makes it (mode 0640), and locks it for this process. With
 * must_be_new a file that is there is MM_ERR_EXISTS. MM_ERR_INVALID for a file that is not a
 * transcript, MM_ERR_UNAVAILABLE while another command writes to it. */
int mm_transcript_open(const char *path, bool must_be_new, struct mm_transcript **ret_transcript,
                       struct mm_errinfo *ei) MM_MUST_USE;
/* Closes; nothing is removed. NULL is fine. */
void mm_transcript_free(struct mm_transcript *t);
MM_DEFINE_CLEANUP(struct mm_transcript *, mm_transcript_free)
#define MM_TRANSCRIPT_CLEANUP MM_CLEANUP(mm_transcript_free_p)

/* Appends one entry. The first error sticks, and is told by mm_transcript_sync. t may be NULL:
 * nothing happens. */
void mm_transcript_add(struct mm_transcript *t, const char *key, const char *fmt, ...)
    MM_PRINTF(3, 4);

/* Its outcome, from a thread that must not wait for any other (pkcs11/watch.h); the process ends.
 * The text has no control characters. t may be NULL. */
void mm_transcript_last_words(const struct mm_transcript *t, const char *outcome);

/* Everything so far is on disk. To be called before anything is changed. */
int mm_transcript_sync(struct mm_transcript *t, struct mm_errinfo *ei) MM_MUST_USE;

/* As sync; then the SHA-256 of the whole file, in lower-case hexadecimal. */
int mm_transcript_digest(struct mm_transcript *t, char sha256[MM_TRANSCRIPT_SHA256_TEXT],
                         struct mm_errinfo *ei) MM_MUST_USE;

const char *mm_transcript_path(const struct mm_transcript *t);
