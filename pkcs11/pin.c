/* SPDX-License-Identifier: Apache-2.0 */
/* Where a PIN may come from. */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "pkcs11/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { HOLD_MS = 5000, HOLD_PAUSE_MS = 5 };

/* A carriage return or the like that an editor left behind would be sent to the token as a wrong
 * PIN, and cost one of few tries. */
static int check_pin(struct mm_secret *pin, struct mm_errinfo *ei)
{
    const uint8_t *p = mm_secret_data(pin);

    for (size_t i = 0; i < mm_secret_len(pin); i++) {
        if (p[i] < ' ' || p[i] == 0x7f)
            return mm_fail(ei, MM_ERR_INVALID, "PIN_MALFORMED",
                           "the PIN has a control character in it (a DOS line end?)");
    }
    return MM_OK;
}

int mm_pin_from_fd(int fd, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    int r = mm_io_read_secret(fd, MM_PIN_MAX, &pin, ei);

    if (r == MM_OK)
        r = check_pin(pin, ei);
    if (r < 0)
        return r;
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

static int only_one_line(int fd, const char *path, struct mm_errinfo *ei)
{
    char more;
    const ssize_t n = read(fd, &more, 1);

    if (n < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (n > 0)
        return mm_fail(ei, MM_ERR_INVALID, "PIN_MALFORMED", "%s: more than one line", path);
    return MM_OK;
}

static int read_pin_file(const char *path, mode_t refused_mode, struct mm_secret **ret_pin,
                         struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    struct stat st;
    int r;

    if (fd < 0 && errno == ENOENT)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "FILE_NOT_FOUND", "%s: no such file", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_FILE", "%s: not a regular file", path);
    if (st.st_mode & refused_mode)
        return mm_fail(ei, MM_ERR_PERMISSION, "PIN_FILE_EXPOSED",
                       "%s: others may read it (mode %04o); chmod 600", path,
                       (unsigned)st.st_mode & 07777);
    r = mm_pin_from_fd(fd, &pin, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s", path);
    r = only_one_line(fd, path, ei);
    if (r < 0)
        return r;
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

int mm_pin_from_file(const char *path, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    return read_pin_file(path, S_IRWXG | S_IRWXO, ret_pin, ei);
}

int mm_pin_credential_path(const char *name, char *path, size_t size, struct mm_errinfo *ei)
{
    const char *directory = secure_getenv("CREDENTIALS_DIRECTORY");

    if (!mm_name_valid(name, MM_NAME_MAX))
        return mm_fail(ei, MM_ERR_INVALID, "CREDENTIAL_NAME", "not the name of a credential");
    if (!directory)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "NO_CREDENTIALS",
                       "credential %s: not started by systemd with LoadCredential=", name);
    if (snprintf(path, size, "%s/%s", directory, name) >= (int)size)
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "credential %s: path too long", name);
    return MM_OK;
}

int mm_pin_from_credential(const char *name, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    char path[PATH_MAX];
    int r = mm_pin_credential_path(name, path, sizeof(path), ei);

    /* systemd gives the service access by an ACL, whose mask shows as the group's bits. */
    return r < 0 ? r : read_pin_file(path, S_IRWXO, ret_pin, ei);
}

/* Not one that has been renamed over since it was opened. */
static bool is_still(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

int mm_pin_hold(const char *path, int *ret_held, struct mm_errinfo *ei)
{
    const struct timespec pause = {.tv_nsec = (long)HOLD_PAUSE_MS * 1000000};

    for (int i = 0; i < HOLD_MS / HOLD_PAUSE_MS; i++) {
        MM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        bool held;

        if (fd < 0)
            return mm_fail_errno(ei, errno, "%s", path);
        held = flock(fd, LOCK_EX | LOCK_NB) == 0;
        if (held ? is_still(fd, path) : errno != EWOULDBLOCK && errno != EINTR) {
            *ret_held = fd;
            fd = -1;
            return MM_OK;
        }
        if (!held)
            nanosleep(&pause, NULL);
    }
    return mm_fail(ei, MM_ERR_TIMEOUT, "PIN_FILE_BUSY",
                   "%s: others have logged in with it for %d s", path, HOLD_MS / 1000);
}

/* ---- the terminal ------------------------------------------------------------------------ */

static void fatal_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGTSTP);
}

/* Waits until a line can be read from the terminal or one of the signals is pending. */
static int wait_for_line(int tty, const sigset_t *signals, struct mm_errinfo *ei)
{
    MM_CLOSE int sfd = signalfd(-1, signals, SFD_CLOEXEC);
    struct pollfd fds[2] = {{.fd = tty, .events = POLLIN}, {.fd = sfd, .events = POLLIN}};
    int n;

    if (sfd < 0)
        return mm_fail_errno(ei, errno, "signalfd");
    do
        n = poll(fds, 2, -1);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return mm_fail_errno(ei, errno, "poll");
    if (fds[1].revents)
        return mm_fail(ei, MM_ERR_CANCELLED, "PIN_PROMPT_CANCELLED", "interrupted");
    return MM_OK;
}

static int prompt_without_echo(int tty, const char *prompt, const sigset_t *signals,
                               struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    struct termios old, quiet;
    int r;

    if (tcgetattr(tty, &old) < 0)
        return mm_fail_errno(ei, errno, "the terminal");
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
    quiet.c_lflag |= ICANON;
    if (tcsetattr(tty, TCSAFLUSH, &quiet) < 0)
        return mm_fail_errno(ei, errno, "the terminal's echo cannot be turned off");
    r = mm_io_write_all(tty, prompt, strlen(prompt), ei);
    if (r == MM_OK)
        r = wait_for_line(tty, signals, ei);
    if (r == MM_OK)
        r = mm_pin_from_fd(tty, ret_pin, ei);
    tcsetattr(tty, TCSAFLUSH, &old);
    if (r == MM_OK)
        r = mm_io_write_all(tty, "\n", 1, ei);
    return r;
}

int mm_pin_from_terminal(const char *prompt, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_CLOSE int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    sigset_t signals, before;
    int r;

    if (tty < 0)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "NO_TERMINAL", "no terminal to ask for a PIN");
    /* Held back while the echo is off: a pending one ends the wait, and takes its effect once the
     * terminal is as it was. */
    fatal_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, &before);
    r = prompt_without_echo(tty, prompt, &signals, &pin, ei);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0)
        return r;
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}
