/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/files.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/ipc/ask.h"
#include "daemon/ipc/seal.h"
#include "daemon/ipc/trusted.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* What is asked for: a file's number, or this. Its answer's value is 1 when the certificates are
 * others than those in force. */
enum { CONFIG = MM_FILES };

/* ---- the front ----------------------------------------------------------------------------- */

static int ask(struct mm_files *f, uint32_t what, uint64_t *ret_value, int *ret_file,
               struct mm_errinfo *ei)
{
    const struct timeval patience = {f->timeout_ms / 1000,
                                     (suseconds_t)(f->timeout_ms % 1000) * 1000};

    if (setsockopt(f->launcher.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
        return mm_fail_errno(ei, errno, "cannot ask the launcher for a file");
    return mm_ask(&f->launcher, what, ret_value, ret_file, ei);
}

int mm_files_read(struct mm_files *f, enum mm_file file, size_t max, struct mm_buf *buf,
                  struct mm_errinfo *ei)
{
    static const char *const names[MM_FILES] = {"listen.certificate", "listen.key",
                                                "listen.client_ca"};
    MM_CLOSE int fd = -1;
    uint64_t ignored;
    int r = ask(f, (uint32_t)file, &ignored, &fd, ei);

    return r < 0 ? r : mm_io_read_fd(fd, names[file], max, buf, ei);
}

int mm_files_read_config(struct mm_files *f, struct mm_buf *text, bool *ret_trusted,
                         struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    uint64_t trusted;
    int r = ask(f, CONFIG, &trusted, &fd, ei);

    if (r == MM_OK)
        r = mm_io_read_fd(fd, "the configuration", MM_CONF_FILE_MAX, text, ei);
    if (r < 0)
        return r;
    *ret_trusted = trusted != 0;
    return MM_OK;
}

/* ---- the launcher -------------------------------------------------------------------------- */

/* Symbolic links are followed: it is how tools that renew certificates put a new one in place.
 * Nothing but regular files is handed out, since a folder's descriptor would open what is in it. */
static int open_file(const char *path, int *ret_fd, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_FILE", "%s: not a regular file", path);
    *ret_fd = fd;
    fd = -1;
    return MM_OK;
}

/* What was checked, not what may be on the disk by now; and with its variables filled in. */
static int hold_text(const struct mm_buf *text, int *ret_fd, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = memfd_create("mintmark-configuration", MFD_CLOEXEC);
    int r;

    if (fd < 0)
        return mm_fail_errno(ei, errno, "cannot hold the configuration");
    r = mm_io_write_all(fd, text->data, text->len, ei);
    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return mm_fail_errno(ei, errno, "cannot hold the configuration");
    *ret_fd = fd;
    fd = -1;
    return MM_OK;
}

/* What the process that checks has of the launcher, and what it leaves to it. */
struct check {
    const struct mm_files_plan *plan;
    const struct mm_trusted_keeper *keeper;
    int next;        /* a set, to be filled */
    uint8_t *digest; /* MM_HANDED_DIGEST bytes that both have, to be filled */
};

/* The certificates go into `next`, which the launcher has too. */
static int check_config(const struct check *c, struct mm_answer *answer, int *ret_file)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_CONF_FILE_MAX);
    MM_BUF_CLEANUP struct mm_buf trusted = MM_BUF_INIT(MM_TRUSTED_MAX);
    int r = c->plan->read_config(c->plan->config, &text, &trusted, &answer->ei);
    const struct mm_bytes set = {trusted.data, trusted.len};

    if (r == MM_OK)
        r = mm_seal_config(c->plan->config, (struct mm_bytes){text.data, text.len}, c->digest,
                           &answer->ei);
    if (r < 0)
        return r;
    answer->value = mm_trusted_differs(c->keeper, set);
    if (mm_trusted_fill(c->next, set, &answer->ei) < 0)
        return answer->ei.code;
    return hold_text(&text, ret_file, &answer->ei);
}

/* How the process that checks ends, when it has answered. */
enum { CHECKED = 0, REFUSED = 2 };

static int answer_with_config(const struct check *c, int socket_fd, struct mm_answer *answer)
{
    MM_CLOSE int file = -1;
    const int r = check_config(c, answer, &file);

    (void)mm_ask_answer(socket_fd, answer, file, NULL);
    return r < 0 ? REFUSED : CHECKED;
}

static int run_apart(const struct check *c, int socket_fd, struct mm_answer *answer,
                     int *ret_status)
{
    const pid_t pid = fork();

    if (pid < 0)
        return mm_fail_errno(&answer->ei, errno, "cannot fork to check the configuration");
    if (pid == 0)
        _exit(answer_with_config(c, socket_fd, answer));
    while (waitpid(pid, ret_status, 0) < 0 && errno == EINTR)
        continue;
    return MM_OK;
}

/* In a process of its own, which answers itself: the launcher stays as small as it is, and a parser
 * that fails takes nothing with it. What it has read for the store is kept, or what it read before
 * is forgotten. */
static int read_apart(struct check *c, struct mm_trusted_keeper *keeper, struct mm_handed *handed,
                      int socket_fd, struct mm_answer *answer)
{
    int status = 0;
    int r = mm_trusted_make(&c->next, &answer->ei);

    if (r == MM_OK)
        r = run_apart(c, socket_fd, answer, &status);
    if (r == MM_OK && WIFEXITED(status) && WEXITSTATUS(status) == CHECKED) {
        mm_trusted_offer(keeper, c->next);
        mm_handed_add(handed, c->digest);
        return MM_OK;
    }
    mm_trusted_offer(keeper, -1);
    if (c->next >= 0)
        close(c->next);
    if (r < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == REFUSED))
        return r;
    return mm_fail(&answer->ei, MM_ERR_INTERNAL, "CHECK_FAILED",
                   "the process that checks the configuration ended with status %#x",
                   (unsigned)status);
}

static void serve_config(const struct mm_files_plan *plan, struct mm_trusted_keeper *keeper,
                         struct mm_handed *handed, int fd, struct mm_answer *answer)
{
    struct check c = {.plan = plan, .keeper = keeper, .next = -1};
    int r;

    c.digest =
        mmap(NULL, MM_HANDED_DIGEST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    r = c.digest == MAP_FAILED ? mm_fail_memory(&answer->ei)
                               : read_apart(&c, keeper, handed, fd, answer);
    if (r < 0)
        (void)mm_ask_answer(fd, answer, -1, NULL);
    if (c.digest != MAP_FAILED)
        munmap(c.digest, MM_HANDED_DIGEST);
}

bool mm_files_serve(const struct mm_files_plan *plan, struct mm_trusted_keeper *keeper,
                    struct mm_handed *handed, int fd)
{
    struct mm_answer answer = {0};
    struct mm_question question;
    MM_CLOSE int file = -1;
    const int r = mm_ask_receive(fd, &question);

    if (r < 0)
        return r == MM_ERR_AGAIN;
    answer.id = question.id;
    if (question.what == CONFIG && plan->read_config) {
        serve_config(plan, keeper, handed, fd, &answer);
        return true;
    }
    if (question.what >= MM_FILES || !plan->paths[question.what])
        mm_fail(&answer.ei, MM_ERR_PERMISSION, "NO_SUCH_FILE", "the launcher opens no file %u",
                (unsigned)question.what);
    else
        (void)open_file(plan->paths[question.what], &file, &answer.ei);
    (void)mm_ask_answer(fd, &answer, file, NULL);
    return true;
}
