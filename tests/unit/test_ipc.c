/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/limits.h"
#include "daemon/ipc/channel.h"
#include "daemon/ipc/worker.h"
#include "internal/ipc.pb-c.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static Mintmark__Internal__WorkerStart hello(void)
{
    Mintmark__Internal__WorkerStart m;
    static char name[] = "token.0";

    mintmark__internal__worker_start__init(&m);
    m.name = name;
    return m;
}

static void make_pair(int fd[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
}

START_TEST(pack_then_next_gives_the_message_back)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);
    Mintmark__Internal__WorkerStart m = hello();
    struct mm_bytes payload;
    size_t frame_len;

    ck_assert_int_eq(mm_channel_pack(&b, &m.base), MM_OK);
    ck_assert_int_eq(mm_channel_pack(&b, &m.base), MM_OK);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_OK);
    ck_assert_uint_eq(frame_len * 2, b.len);
    ck_assert_uint_eq(payload.len, protobuf_c_message_get_packed_size(&m.base));
    mm_buf_consume(&b, frame_len);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_OK);
}
END_TEST

START_TEST(pack_into_a_full_buffer_fails)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(6);
    Mintmark__Internal__WorkerStart m = hello();

    ck_assert_int_eq(mm_channel_pack(&b, &m.base), MM_ERR_TOO_BIG);
}
END_TEST

START_TEST(next_of_every_truncation_asks_for_more)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);
    Mintmark__Internal__WorkerStart m = hello();
    struct mm_bytes payload;
    size_t frame_len;
    size_t whole;

    ck_assert_int_eq(mm_channel_pack(&b, &m.base), MM_OK);
    whole = b.len;
    for (b.len = 0; b.len < whole; b.len++)
        ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_ERR_AGAIN);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_OK);
}
END_TEST

START_TEST(next_of_a_wrong_flag_is_corrupt)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);
    struct mm_bytes payload;
    size_t frame_len;

    mm_buf_append(&b, "\1\0\0\0\0", 5);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_ERR_CORRUPT);
}
END_TEST

START_TEST(next_of_an_oversized_frame_is_too_big_before_it_is_read)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);
    struct mm_bytes payload;
    size_t frame_len;

    mm_buf_append_u8(&b, 0);
    mm_buf_append_be32(&b, MM_IPC_MESSAGE_MAX + 1);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_ERR_TOO_BIG);
    mm_buf_reset(&b);
    mm_buf_append_u8(&b, 0);
    mm_buf_append_be32(&b, MM_IPC_MESSAGE_MAX);
    ck_assert_int_eq(mm_channel_next(&b, &payload, &frame_len), MM_ERR_AGAIN);
}
END_TEST

START_TEST(write_then_read_gives_the_payload)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);
    Mintmark__Internal__WorkerStart m = hello();
    Mintmark__Internal__WorkerStart *back;
    struct mm_errinfo ei = {0};
    int fd[2];

    make_pair(fd);
    ck_assert_int_eq(mm_channel_write(fd[0], &m.base, &ei), MM_OK);
    ck_assert_int_eq(mm_channel_read(fd[1], &b, &ei), MM_OK);
    back = mintmark__internal__worker_start__unpack(NULL, b.len, b.data);
    ck_assert_ptr_nonnull(back);
    ck_assert_str_eq(back->name, "token.0");
    mintmark__internal__worker_start__free_unpacked(back, NULL);
    close(fd[0]);
    ck_assert_int_eq(mm_channel_read(fd[1], &b, &ei), MM_ERR_EOF);
    close(fd[1]);
}
END_TEST

/* Sends raw bytes, closes, and says what a reader with room for max bytes makes of them. */
static int read_raw(const char *bytes, size_t len, size_t max)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(max);
    struct mm_errinfo ei = {0};
    int fd[2];
    int r;

    make_pair(fd);
    ck_assert_int_eq(write(fd[0], bytes, len), (ssize_t)len);
    close(fd[0]);
    r = mm_channel_read(fd[1], &b, &ei);
    close(fd[1]);
    return r;
}

START_TEST(read_of_bad_frames_fails_precisely)
{
    ck_assert_int_eq(read_raw("", 0, 100), MM_ERR_EOF);
    ck_assert_int_eq(read_raw("\0\0", 2, 100), MM_ERR_CORRUPT);
    ck_assert_int_eq(read_raw("\0\0\0\0\3", 5, 100), MM_ERR_CORRUPT);
    ck_assert_int_eq(read_raw("\0\0\0\0\3ab", 7, 100), MM_ERR_CORRUPT);
    ck_assert_int_eq(read_raw("\1\0\0\0\0", 5, 100), MM_ERR_CORRUPT);
    ck_assert_int_eq(read_raw("\0\xff\xff\xff\xff", 5, 100), MM_ERR_TOO_BIG);
    ck_assert_int_eq(read_raw("\0\0\0\0\3abc", 8, 2), MM_ERR_TOO_BIG);
    ck_assert_int_eq(read_raw("\0\0\0\0\0", 5, 100), MM_OK);
}
END_TEST

START_TEST(errors_survive_the_wire)
{
    struct mm_errinfo ei = {0};
    struct mm_errinfo back;
    Mintmark__Internal__Error m;

    mm_fail_field(&ei, "quantity", "too many");
    ei.retry_ms = 250;
    mm_err_subject(&ei, "client", "line-1");
    ei.detail = 0x123456789aULL;
    mm_channel_error_to(&ei, &m);
    mm_channel_error_from(&m, &back);
    ck_assert_mem_eq(&ei, &back, sizeof(ei));
}
END_TEST

START_TEST(errors_with_unknown_codes_and_endless_texts_are_tamed)
{
    Mintmark__Internal__Error m;
    char endless[1000];
    struct mm_errinfo back;

    mintmark__internal__error__init(&m);
    memset(endless, 'x', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = 0;
    m.code = 7;
    m.reason = endless;
    m.text = endless;
    mm_channel_error_from(&m, &back);
    ck_assert_int_eq(back.code, MM_ERR_INTERNAL);
    ck_assert_uint_eq(strlen(back.reason), MM_ERR_REASON_MAX - 1);
    ck_assert_uint_eq(strlen(back.text), MM_ERR_TEXT_MAX - 1);
    m.code = -1000;
    mm_channel_error_from(&m, &back);
    ck_assert_int_eq(back.code, MM_ERR_INTERNAL);
}
END_TEST

/* ---- the sandbox: each case in a child, since it cannot be undone ---------------------------- */

static int try_execve(void)
{
    char *argv[] = {NULL};

    execve("/bin/true", argv, argv);
    return errno;
}

static int try_socket(int family)
{
    return socket(family, SOCK_STREAM, 0) < 0 ? errno : 0;
}

static int try_fork(void)
{
    const pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid < 0 ? errno : 0;
}

static int try_open(const char *path, int flags)
{
    const int fd = open(path, flags, 0600);

    return fd < 0 ? errno : 0;
}

static void *nothing(void *arg)
{
    return arg;
}

static int try_thread(void)
{
    pthread_t thread;
    const int r = pthread_create(&thread, NULL, nothing, NULL);

    return r == 0 ? pthread_join(thread, NULL) : r;
}

/* What a sandboxed process may do, by duty: 0, or the errno that it must meet. */
struct expectation {
    enum mm_duty duty;
    int unix_socket, inet_socket, read_file, write_file, thread;
};

#ifdef MM_SANITIZED
#define MAY_FORK true /* the leak sanitizer needs it: see sandbox.c */
#else
#define MAY_FORK false
#endif

static bool refused(long result)
{
    return result < 0 && errno == EPERM;
}

/* To nobody, in any of TCP's ways. */
static bool may_connect(int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    char byte = 0;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {
        .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &iov, .msg_iovlen = 1};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return !refused(connect(fd, (struct sockaddr *)&to, sizeof(to))) ||
           !refused(sendto(fd, &byte, 1, MSG_FASTOPEN, (struct sockaddr *)&to, sizeof(to))) ||
           !refused(sendmsg(fd, &msg, MSG_FASTOPEN));
}

/* What the front's work is: to listen, and to talk to its workers. */
static bool may_serve(int fd)
{
    int pair[2], one = 1;

    return listen(fd, 1) == 0 && ioctl(fd, FIONBIO, &one) == 0 &&
           socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 &&
           send(pair[0], "x", 1, MSG_NOSIGNAL) == 1;
}

/* The front: 0, or which expectation was not met. */
static int try_ways_out(void)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char byte = 0;
    int pair[2];

    if (fd < 0 || !may_serve(fd))
        return 20;
    if (may_connect(fd))
        return 21;
    if (!refused(socket(AF_INET, SOCK_DGRAM, 0)) ||
        !refused(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)))
        return 22;
    return refused(ioctl(0, TIOCSTI, &byte)) ? 0 : 23;
}

/* 0, or which expectation was not met. */
static int try_sockets(const struct expectation *e)
{
    if (try_socket(AF_UNIX) != e->unix_socket)
        return 4;
    if (try_socket(AF_INET) != e->inet_socket || try_socket(AF_INET6) != e->inet_socket)
        return 5;
    if (try_socket(AF_PACKET) != EPERM)
        return 6;
    return e->duty == MM_DUTY_FRONT ? try_ways_out() : 0;
}

/* Every way to a file by its name meets this errno, or 0. */
static bool reads_as(int expected)
{
    struct stat st;
    char buf[8];

    return try_open("/etc/passwd", O_RDONLY) == expected &&
           try_open("/", O_RDONLY | O_DIRECTORY) == expected &&
           try_open("/etc/passwd", O_PATH) == expected &&
           try_open("/dev/null", O_RDONLY) == expected &&
           (stat("/etc/passwd", &st) < 0 ? errno : 0) == expected &&
           (access("/etc/passwd", R_OK) < 0 ? errno : 0) == expected &&
           (readlink("/proc/self/exe", buf, sizeof(buf)) < 0 ? errno : 0) == expected;
}

static int child(const struct expectation *e)
{
    struct mm_errinfo ei = {0};
    char spare[] = "/tmp/mintmark-sandbox-XXXXXX";
    const int fd = mkstemp(spare);
    int r;

    if (fd < 0 || unlink(spare) < 0 || mm_sandbox_enter(e->duty, &ei) < 0)
        return 1;
    if (try_execve() != EPERM)
        return 2;
    if (!MAY_FORK && (try_fork() != EPERM || ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0))
        return 3;
    r = try_sockets(e);
    if (r != 0)
        return r;
    if (!MAY_FORK && try_open(spare, O_CREAT | O_WRONLY) != e->write_file)
        return 7;
    (void)unlink(spare);
    if (!MAY_FORK && !reads_as(e->read_file))
        return 8;
    if (!MAY_FORK && try_thread() != e->thread)
        return 9;
    return 0;
}

START_TEST(sandbox_refuses_what_is_no_duty)
{
    static const struct expectation all[] = {
        {MM_DUTY_TOKEN, 0, EPERM, 0, 0, 0},
        {MM_DUTY_TOKEN_NETWORK, 0, 0, 0, 0, 0},
        {MM_DUTY_STORE, EPERM, EPERM, 0, 0, EPERM},
        {MM_DUTY_FRONT, EPERM, 0, EPERM, EPERM, EPERM},
    };
    const struct expectation *e = &all[_i];
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(child(e));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "duty %d: status %x", (int)e->duty, (unsigned)status);
    ck_assert_msg(WEXITSTATUS(status) == 0, "duty %d: expectation %d", (int)e->duty,
                  WEXITSTATUS(status));
}
END_TEST

/* ---- Landlock, where the kernel has it ------------------------------------------------------- */

struct confined {
    char inside[64], inside_file[80], other_file[80];
    const char *folder;
};

static bool may_work_inside(const struct confined *c)
{
    return try_open(c->inside_file, O_CREAT | O_RDWR) == 0 &&
           try_open(c->inside_file, O_RDWR | O_TRUNC) == 0 && unlink(c->inside_file) == 0 &&
           try_open(c->inside, O_RDONLY | O_DIRECTORY) == 0;
}

static bool may_change_outside(const struct confined *c)
{
    return try_open(c->other_file, O_WRONLY) != EACCES || unlink(c->other_file) == 0 ||
           rename(c->other_file, c->inside_file) == 0;
}

static bool may_read_outside(const struct confined *c)
{
    return try_open(c->other_file, O_RDONLY) != EACCES ||
           try_open("/etc/passwd", O_RDONLY) != EACCES ||
           try_open(c->folder, O_RDONLY | O_DIRECTORY) != EACCES;
}

/* 0, 77 without Landlock, or which expectation was not met. */
static int confined_child(const char *folder)
{
    struct confined c = {.folder = folder};
    struct mm_errinfo ei = {0};
    int r;

    snprintf(c.inside, sizeof(c.inside), "%s/in", folder);
    snprintf(c.inside_file, sizeof(c.inside_file), "%s/file", c.inside);
    snprintf(c.other_file, sizeof(c.other_file), "%s/file", folder);
    if (try_open(c.other_file, O_CREAT | O_WRONLY) != 0)
        return 1;
    r = mm_sandbox_confine(c.inside, &ei);
    if (r == MM_ERR_UNSUPPORTED)
        return 77;
    if (r < 0 || mm_sandbox_enter(MM_DUTY_STORE, &ei) < 0)
        return 2;
    if (!may_work_inside(&c) || try_open("/dev/urandom", O_RDONLY) != 0)
        return 3;
    if (may_change_outside(&c))
        return 4;
    return !MAY_FORK && may_read_outside(&c) ? 5 : 0;
}

START_TEST(confine_leaves_one_folder)
{
    char folder[] = "/tmp/mintmark-confine-XXXXXX";
    char path[128];
    int status;
    pid_t pid;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/in", folder);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(confined_child(folder));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/file", folder);
    unlink(path);
    rmdir(folder);
    ck_assert_msg(WIFEXITED(status), "status %x", (unsigned)status);
    if (WEXITSTATUS(status) == 77)
        puts("this kernel has no Landlock: confine_leaves_one_folder saw only that it says so");
    else
        ck_assert_msg(WEXITSTATUS(status) == 0, "expectation %d", WEXITSTATUS(status));
}
END_TEST

START_TEST(confine_to_a_folder_that_is_none_fails)
{
    const pid_t pid = fork();
    struct mm_errinfo ei = {0};
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        const int r = mm_sandbox_confine("/nowhere/at/all", &ei);

        _exit(r == MM_ERR_IO || r == MM_ERR_UNSUPPORTED ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ipc");
    TCase *channel = tcase_create("channel");
    TCase *sandbox = tcase_create("sandbox");

    tcase_add_test(channel, pack_then_next_gives_the_message_back);
    tcase_add_test(channel, pack_into_a_full_buffer_fails);
    tcase_add_test(channel, next_of_every_truncation_asks_for_more);
    tcase_add_test(channel, next_of_a_wrong_flag_is_corrupt);
    tcase_add_test(channel, next_of_an_oversized_frame_is_too_big_before_it_is_read);
    tcase_add_test(channel, write_then_read_gives_the_payload);
    tcase_add_test(channel, read_of_bad_frames_fails_precisely);
    tcase_add_test(channel, errors_survive_the_wire);
    tcase_add_test(channel, errors_with_unknown_codes_and_endless_texts_are_tamed);
    tcase_add_loop_test(sandbox, sandbox_refuses_what_is_no_duty, 0, 4);
    tcase_add_test(sandbox, confine_leaves_one_folder);
    tcase_add_test(sandbox, confine_to_a_folder_that_is_none_fails);
    suite_add_tcase(s, channel);
    suite_add_tcase(s, sandbox);
    return run_suite(s);
}
