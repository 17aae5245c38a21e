/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/transcript.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char first_line[] = "mintmark ceremony transcript, version 1\n";

enum { ENTRY_MAX = 4096, SHA256_BYTES = 32 };

struct mm_transcript {
    int fd;
    char *path;
    EVP_MD_CTX *sha256; /* over every byte of the file */
    struct mm_errinfo first_error;
};

void mm_transcript_free(struct mm_transcript *t)
{
    if (!t)
        return;
    if (t->fd >= 0)
        close(t->fd);
    EVP_MD_CTX_free(t->sha256);
    free(t->path);
    free(t);
}

const char *mm_transcript_path(const struct mm_transcript *t)
{
    return t->path;
}

static int new_transcript(const char *path, struct mm_transcript **ret_transcript,
                          struct mm_errinfo *ei)
{
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *t = calloc(1, sizeof(*t));

    if (!t)
        return mm_fail_memory(ei);
    t->fd = -1;
    t->path = strdup(path);
    t->sha256 = EVP_MD_CTX_new();
    if (!t->path || !t->sha256)
        return mm_fail_memory(ei);
    if (EVP_DigestInit_ex(t->sha256, EVP_sha256(), NULL) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 is not available");
    *ret_transcript = MM_TAKE(t);
    return MM_OK;
}

static int open_and_lock(struct mm_transcript *t, bool must_be_new, struct mm_errinfo *ei)
{
    struct stat st;

    t->fd = open(t->path,
                 O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
                     (must_be_new ? O_EXCL : 0),
                 0640);
    if (t->fd < 0 && errno == EEXIST)
        return mm_fail(ei, MM_ERR_EXISTS, "FILE_EXISTS", "%s: exists already, not overwritten",
                       t->path);
    if (t->fd < 0)
        return mm_fail_errno(ei, errno, "%s: cannot write the transcript", t->path);
    if (fstat(t->fd, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", t->path);
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_FILE", "%s: not a regular file", t->path);
    if (flock(t->fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? mm_fail(ei, MM_ERR_UNAVAILABLE, "TRANSCRIPT_BUSY",
                             "%s: another command is writing to this transcript", t->path)
                   : mm_fail_errno(ei, errno, "%s: cannot lock the transcript", t->path);
    return MM_OK;
}

static int not_a_transcript(const struct mm_transcript *t, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_INVALID, "NOT_A_TRANSCRIPT",
                   "%s: is not a transcript of mintmark-officer; nothing was added to it", t->path);
}

/* Hashes what the file holds already. */
static int read_existing(struct mm_transcript *t, size_t *ret_len, struct mm_errinfo *ei)
{
    char block[4096];
    size_t total = 0;
    char last = '\n';

    for (;;) {
        const ssize_t n = pread(t->fd, block, sizeof(block), (off_t)total);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "%s", t->path);
        if (n == 0)
            break;
        if (total == 0 && ((size_t)n < sizeof(first_line) - 1 ||
                           memcmp(block, first_line, sizeof(first_line) - 1) != 0))
            return not_a_transcript(t, ei);
        if (EVP_DigestUpdate(t->sha256, block, (size_t)n) != 1)
            return mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
        last = block[n - 1];
        total += (size_t)n;
    }
    if (last != '\n')
        return not_a_transcript(t, ei);
    *ret_len = total;
    return MM_OK;
}

static void append(struct mm_transcript *t, const char *text, size_t len)
{
    if (t->first_error.code != MM_OK)
        return;
    if (mm_io_write_all(t->fd, text, len, &t->first_error) < 0)
        mm_err_prefix(&t->first_error, "%s", t->path);
    else if (EVP_DigestUpdate(t->sha256, text, len) != 1)
        mm_fail(&t->first_error, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
}

/* The digest of what was written so far; the running one goes on. */
static int digest_so_far(const struct mm_transcript *t, char *text, struct mm_errinfo *ei)
{
    uint8_t md[SHA256_BYTES];
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    const bool ok =
        copy && EVP_MD_CTX_copy_ex(copy, t->sha256) == 1 && EVP_DigestFinal_ex(copy, md, NULL) == 1;

    EVP_MD_CTX_free(copy);
    if (!ok)
        return mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
    mm_hex_encode(md, sizeof(md), text);
    return MM_OK;
}

int mm_transcript_open(const char *path, bool must_be_new, struct mm_transcript **ret_transcript,
                       struct mm_errinfo *ei)
{
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *t = NULL;
    char before[MM_TRANSCRIPT_SHA256_TEXT];
    size_t len;
    int r;

    r = new_transcript(path, &t, ei);
    if (r < 0)
        return r;
    r = open_and_lock(t, must_be_new, ei);
    if (r < 0)
        return r;
    r = read_existing(t, &len, ei);
    if (r < 0)
        return r;
    r = digest_so_far(t, before, ei);
    if (r < 0)
        return r;
    if (len == 0)
        append(t, first_line, sizeof(first_line) - 1);
    else
        mm_transcript_add(t, "sha256-before", "%s", before);
    *ret_transcript = MM_TAKE(t);
    return MM_OK;
}

/* Control characters would let a name or a label forge an entry: "\n2026-…Z answer: yes". U+0085 is
 * a line end to some, and the others of U+0080 to U+009F move a terminal's cursor. */
static void append_escaped(struct mm_buf *line, const char *text)
{
    for (const char *c = text; *c; c++) {
        const unsigned char u = (unsigned char)c[0], next = (unsigned char)c[1];

        if (u == 0xc2 && next >= 0x80 && next < 0xa0)
            mm_buf_printf(line, "\\x%02x\\x%02x", u, (unsigned char)*++c);
        else if (u < 0x20 || u == 0x7f || u == '\\')
            mm_buf_printf(line, "\\x%02x", u);
        else
            mm_buf_append_u8(line, u);
    }
}

void mm_transcript_add(struct mm_transcript *t, const char *key, const char *fmt, ...)
{
    MM_BUF_CLEANUP struct mm_buf line = MM_BUF_INIT(4 * ENTRY_MAX + 128);
    char value[ENTRY_MAX];
    char when[MM_CLOCK_TEXT];
    va_list ap;

    if (!t)
        return;
    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    mm_buf_printf(&line, "%s %s: ", mm_clock_text(mm_clock_wall_ms(), when), key);
    append_escaped(&line, value);
    mm_buf_append_u8(&line, '\n');
    if (mm_buf_err(&line) < 0) {
        if (t->first_error.code == MM_OK)
            mm_fail_memory(&t->first_error);
        return;
    }
    append(t, (const char *)line.data, line.len);
}

void mm_transcript_last_words(const struct mm_transcript *t, const char *outcome)
{
    char line[ENTRY_MAX], when[MM_CLOCK_TEXT];
    int n;

    if (!t || t->first_error.code != MM_OK)
        return;
    n = snprintf(line, sizeof(line), "%s outcome: failed: %s\n",
                 mm_clock_text(mm_clock_wall_ms(), when), outcome);
    /* The process ends: nobody is left to tell of a disk that is full. */
    if (n < 0 || (size_t)n >= sizeof(line) || write(t->fd, line, (size_t)n) < 0)
        return;
    (void)fsync(t->fd);
}

int mm_transcript_sync(struct mm_transcript *t, struct mm_errinfo *ei)
{
    if (t->first_error.code == MM_OK && fsync(t->fd) < 0)
        mm_fail_errno(&t->first_error, errno, "%s", t->path);
    if (t->first_error.code != MM_OK && ei)
        *ei = t->first_error;
    return t->first_error.code;
}

int mm_transcript_digest(struct mm_transcript *t, char sha256[MM_TRANSCRIPT_SHA256_TEXT],
                         struct mm_errinfo *ei)
{
    const int r = mm_transcript_sync(t, ei);

    return r < 0 ? r : digest_so_far(t, sha256, ei);
}
