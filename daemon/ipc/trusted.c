/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/trusted.h"

#include "daemon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

/* What a store asks. */
enum { NEXT, TAKE };

/* ---- sets -------------------------------------------------------------------------------- */

int mm_trusted_make(int *ret_set, struct mm_errinfo *ei)
{
    const int set = memfd_create("mintmark-trusted", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (set < 0)
        return mm_fail_errno(ei, errno, "cannot hold the trusted certificates");
    *ret_set = set;
    return MM_OK;
}

int mm_trusted_fill(int set, struct mm_bytes bytes, struct mm_errinfo *ei)
{
    const int r = mm_io_write_all(set, bytes.data, bytes.len, ei);

    if (r < 0)
        return r;
    if (fcntl(set, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return mm_fail_errno(ei, errno, "cannot seal the trusted certificates");
    return MM_OK;
}

/* By positions of its own: where the descriptor stands is shared with others who have it. */
int mm_trusted_read(int set, struct mm_buf *buf, struct mm_errinfo *ei)
{
    struct stat st;
    uint8_t *to;
    size_t len, done = 0;

    if (fstat(set, &st) < 0)
        return mm_fail_errno(ei, errno, "cannot read the trusted certificates");
    if (st.st_size > MM_TRUSTED_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "TRUST_INVALID",
                       "the trusted certificates have %lld bytes; at most %d are taken",
                       (long long)st.st_size, MM_TRUSTED_MAX);
    len = (size_t)st.st_size;
    if (len == 0)
        return MM_OK;
    to = mm_buf_reserve(buf, len);
    if (!to)
        return mm_fail_memory(ei);
    while (done < len) {
        const ssize_t n = pread(set, to + done, len - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mm_fail_errno(ei, n < 0 ? errno : EIO, "cannot read the trusted certificates");
        done += (size_t)n;
    }
    mm_buf_grew(buf, len);
    return MM_OK;
}

/* ---- the store's end --------------------------------------------------------------------- */

int mm_trusted_first(struct mm_asker *line, struct mm_buf *set, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    const int r = mm_ask_first(line, &fd, ei);

    return r < 0 ? r : mm_trusted_read(fd, set, ei);
}

int mm_trusted_next(struct mm_asker *line, struct mm_buf *set, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    uint64_t ignored;
    const int r = mm_ask(line, NEXT, &ignored, &fd, ei);

    return r < 0 ? r : mm_trusted_read(fd, set, ei);
}

int mm_trusted_take(struct mm_asker *line, struct mm_errinfo *ei)
{
    MM_CLOSE int none = -1;
    uint64_t ignored;

    return mm_ask(line, TAKE, &ignored, &none, ei);
}

/* ---- the launcher's end ------------------------------------------------------------------ */

/* Puts one descriptor in another's place. */
static void replace(int *fd, int by)
{
    if (*fd >= 0)
        close(*fd);
    *fd = by;
}

void mm_trusted_keep(struct mm_trusted_keeper *k, int set)
{
    *k = (struct mm_trusted_keeper){.in_force = set, .next = -1};
}

void mm_trusted_offer(struct mm_trusted_keeper *k, int set)
{
    replace(&k->next, set);
}

bool mm_trusted_differs(const struct mm_trusted_keeper *k, struct mm_bytes bytes)
{
    MM_BUF_CLEANUP struct mm_buf now = MM_BUF_INIT(MM_TRUSTED_MAX);
    struct mm_errinfo ignored;

    return mm_trusted_read(k->in_force, &now, &ignored) < 0 || now.len != bytes.len ||
           (bytes.len > 0 && memcmp(now.data, bytes.data, bytes.len) != 0);
}

/* How long either side waits for the other is set here: the store's sandbox has no call for it. */
static int make_line(int in_force, int *ret_fd, int *ret_peer, struct mm_errinfo *ei)
{
    static const struct timeval patience = {MM_FILES_TIMEOUT_MS / 1000,
                                            (suseconds_t)(MM_FILES_TIMEOUT_MS % 1000) * 1000};
    const struct mm_answer first = {.id = 0};
    MM_CLOSE int own = -1, peer = -1;
    int fd[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
        return mm_fail_errno(ei, errno, "cannot make the store's line to the launcher");
    own = fd[0];
    peer = fd[1];
    if (setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
        return mm_fail_errno(ei, errno, "cannot make the store's line to the launcher");
    r = mm_ask_answer(own, &first, in_force, ei);
    if (r < 0)
        return r;
    *ret_fd = own;
    *ret_peer = peer;
    own = peer = -1;
    return MM_OK;
}

int mm_trusted_open(struct mm_trusted_keeper *k, size_t *ret_line, int *ret_peer,
                    struct mm_errinfo *ei)
{
    for (size_t i = 0; i < MM_TRUSTED_LINES; i++) {
        int fd, r;

        if (k->lines[i].used)
            continue;
        r = make_line(k->in_force, &fd, ret_peer, ei);
        if (r < 0)
            return r;
        k->lines[i].used = true;
        k->lines[i].fd = fd;
        k->lines[i].given = -1;
        *ret_line = i;
        return MM_OK;
    }
    return mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_STORES", "%d stores run already",
                   MM_TRUSTED_LINES);
}

static void hang_up(struct mm_trusted_keeper *k, size_t line)
{
    replace(&k->lines[line].fd, -1);
    replace(&k->lines[line].given, -1);
}

void mm_trusted_close(struct mm_trusted_keeper *k, size_t line)
{
    hang_up(k, line);
    k->lines[line].used = false;
}

/* What this store was given, not what a reload may have read since. */
static void take(struct mm_trusted_keeper *k, size_t line, struct mm_answer *answer)
{
    if (k->lines[line].given < 0) {
        mm_fail(&answer->ei, MM_ERR_PRECONDITION, "NOTHING_TO_TRUST",
                "this store was given no other certificates");
        return;
    }
    replace(&k->in_force, k->lines[line].given);
    k->lines[line].given = -1;
}

static void give(struct mm_trusted_keeper *k, size_t line, struct mm_answer *answer)
{
    const int copy = k->next < 0 ? -1 : fcntl(k->next, F_DUPFD_CLOEXEC, 0);

    replace(&k->lines[line].given, copy);
    if (k->next < 0)
        mm_fail(&answer->ei, MM_ERR_PRECONDITION, "NOTHING_TO_TRUST",
                "no reload has read other certificates");
    else if (copy < 0)
        mm_fail_errno(&answer->ei, errno, "cannot hand the trusted certificates out");
}

void mm_trusted_serve(struct mm_trusted_keeper *k, size_t line)
{
    struct mm_answer answer = {0};
    struct mm_question question;
    const int r = mm_ask_receive(k->lines[line].fd, &question);

    if (r == MM_ERR_AGAIN)
        return;
    if (r < 0 || question.what > TAKE) {
        hang_up(k, line);
        return;
    }
    answer.id = question.id;
    if (question.what == TAKE)
        take(k, line, &answer);
    else
        give(k, line, &answer);
    (void)mm_ask_answer(k->lines[line].fd, &answer,
                        question.what == NEXT ? k->lines[line].given : -1, NULL);
}
