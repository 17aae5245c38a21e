/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/ask.h"

#include "daemon/ipc/descriptor.h"

#include <errno.h>
#include <sys/socket.h>

/* ---- the asker's end --------------------------------------------------------------------- */

static int receive(const struct mm_asker *a, struct mm_answer *answer, int *ret_fd,
                   struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    ssize_t n;

    do {
        n = mm_descriptor_receive(a->fd, answer, sizeof(*answer), &fd);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "LAUNCHER_STUCK",
                       "the launcher has not answered in time: does a file system hang?");
    if (n <= 0)
        return mm_fail_errno(ei, n < 0 ? errno : ECONNRESET, "the launcher does not answer");
    if (n != (ssize_t)sizeof(*answer) || answer->id > a->last_id)
        return mm_fail_errno(ei, EBADMSG, "what came is no answer of the launcher");
    *ret_fd = fd;
    fd = -1;
    return MM_OK;
}

/* An answer that comes after its time is dropped here, by its number. */
static int receive_last(const struct mm_asker *a, uint64_t *ret_value, int *ret_fd,
                        struct mm_errinfo *ei)
{
    struct mm_answer answer;

    for (;;) {
        MM_CLOSE int fd = -1;
        const int r = receive(a, &answer, &fd, ei);

        if (r < 0)
            return r;
        if (answer.id != a->last_id)
            continue;
        if (answer.ei.code != MM_OK) {
            *ei = answer.ei;
            return ei->code;
        }
        *ret_value = answer.value;
        *ret_fd = fd;
        fd = -1;
        return MM_OK;
    }
}

int mm_ask(struct mm_asker *a, uint32_t what, uint64_t *ret_value, int *ret_fd,
           struct mm_errinfo *ei)
{
    const struct mm_question question = {.id = ++a->last_id, .what = what};

    if (mm_descriptor_send(a->fd, &question, sizeof(question), -1, MSG_DONTWAIT) < 0)
        return mm_fail_errno(ei, errno, "cannot ask the launcher");
    return receive_last(a, ret_value, ret_fd, ei);
}

int mm_ask_first(const struct mm_asker *a, int *ret_fd, struct mm_errinfo *ei)
{
    uint64_t ignored;

    return receive_last(a, &ignored, ret_fd, ei);
}

/* ---- the launcher's end ------------------------------------------------------------------ */

int mm_ask_receive(int socket_fd, struct mm_question *ret_question)
{
    struct mm_question question;
    const ssize_t n = recv(socket_fd, &question, sizeof(question), MSG_DONTWAIT | MSG_TRUNC);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return MM_ERR_AGAIN;
    if (n != (ssize_t)sizeof(question))
        return MM_ERR_EOF;
    *ret_question = question;
    return MM_OK;
}

int mm_ask_answer(int socket_fd, const struct mm_answer *answer, int fd, struct mm_errinfo *ei)
{
    if (mm_descriptor_send(socket_fd, answer, sizeof(*answer), fd, MSG_DONTWAIT) < 0)
        return mm_fail_errno(ei, errno, "cannot answer");
    return MM_OK;
}
