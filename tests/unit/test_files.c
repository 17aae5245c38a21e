/* SPDX-License-Identifier: Apache-2.0 */
/* Files by number, from a real launcher; and its end. */
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/log.h"
#include "daemon/front/launcher.h"
#include "daemon/ipc/seal.h"
#include "daemon/ipc/trusted.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char config[96], paths[MM_FILES][96];
static struct mm_files files;
static struct mm_errinfo ei;
static int launcher_fd;

/* The content of the configuration says what becomes of the check; what is trusted stands in the
 * place of another file. */
static int read_config(const char *path, struct mm_buf *text, struct mm_buf *trusted,
                       struct mm_errinfo *error)
{
    MM_BUF_CLEANUP struct mm_buf certificates = MM_BUF_INIT(100);
    int r = mm_io_read_file(path, 100, text, error);

    if (r == MM_OK)
        r = mm_io_read_file(paths[MM_FILE_CLIENT_CA], 100, &certificates, error);
    if (r < 0)
        return r;
    if (!strcmp(mm_buf_cstr(text), "crash"))
        _exit(9);
    if (!strcmp(mm_buf_cstr(text), "bad"))
        return mm_fail(error, MM_ERR_INVALID, "BAD_CONFIG", "as it was told");
    mm_buf_append_str(text, ", filled in");
    mm_buf_append_str(trusted, mm_buf_cstr(&certificates));
    return mm_buf_err(&certificates);
}

static void put_config(const char *text)
{
    ck_assert_int_eq(mm_io_write_file(config, 0600, text, strlen(text), &ei), MM_OK);
}

static void put(enum mm_file file, const char *text)
{
    ck_assert_int_eq(mm_io_write_file(paths[file], 0600, text, strlen(text), &ei), MM_OK);
}

static void setup(void)
{
    static const char *const names[MM_FILES] = {"crt", "key", "ca"};
    const char *const programs[MM_PROGRAMS] = {"/nowhere", "/nowhere"};
    static const uint8_t none[MM_HANDED_DIGEST];
    static struct mm_files_plan plan;

    snprintf(folder, sizeof(folder), "/tmp/mintmark-files-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (size_t i = 0; i < MM_FILES; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", folder, names[i]);
        plan.paths[i] = paths[i];
    }
    snprintf(config, sizeof(config), "%s/conf", folder);
    plan.config = config;
    plan.read_config = read_config;
    plan.trusted = (struct mm_bytes){(const uint8_t *)"a", 1};
    files = (struct mm_files){.launcher.fd = -1, .timeout_ms = 20000};
    ei = (struct mm_errinfo){0};
    ck_assert_int_eq(mm_launcher_fork(programs, none, &plan, &launcher_fd, &files.launcher.fd, &ei),
                     MM_OK);
}

static void teardown(void)
{
    close(launcher_fd);
    close(files.launcher.fd);
    for (size_t i = 0; i < MM_FILES; i++)
        (void)remove(paths[i]);
    (void)remove(config);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void expect(enum mm_file file, const char *text)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);

    ck_assert_msg(mm_files_read(&files, file, 100, &b, &ei) == MM_OK, "%s", ei.text);
    ck_assert_str_eq(mm_buf_cstr(&b), text);
}

static void expect_failure(enum mm_file file, size_t max, int code, const char *reason,
                           const char *text)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);

    ck_assert_int_eq(mm_files_read(&files, file, max, &b, &ei), code);
    ck_assert_str_eq(ei.reason, reason);
    ck_assert_msg(strstr(ei.text, text), "%s", ei.text);
}

START_TEST(read_gives_each_file_as_it_is_now)
{
    put(MM_FILE_CERTIFICATE, "one");
    put(MM_FILE_KEY, "two");
    put(MM_FILE_CLIENT_CA, "");
    expect(MM_FILE_CERTIFICATE, "one");
    expect(MM_FILE_CERTIFICATE, "one");
    expect(MM_FILE_KEY, "two");
    expect(MM_FILE_CLIENT_CA, "");
    put(MM_FILE_CERTIFICATE, "another"); /* by rename */
    expect(MM_FILE_CERTIFICATE, "another");
    ck_assert_int_eq(unlink(paths[MM_FILE_KEY]), 0);
    ck_assert_int_eq(symlink(paths[MM_FILE_CERTIFICATE], paths[MM_FILE_KEY]), 0);
    expect(MM_FILE_KEY, "another");
}
END_TEST

START_TEST(read_of_no_file_says_why)
{
    expect_failure(MM_FILE_KEY, 100, MM_ERR_IO, "SYSTEM_ERROR", paths[MM_FILE_KEY]);
    ck_assert_int_eq(mkdir(paths[MM_FILE_KEY], 0700), 0);
    expect_failure(MM_FILE_KEY, 100, MM_ERR_INVALID, "NOT_A_FILE", paths[MM_FILE_KEY]);
    ck_assert_int_eq(mkfifo(paths[MM_FILE_CERTIFICATE], 0600), 0);
    expect_failure(MM_FILE_CERTIFICATE, 100, MM_ERR_INVALID, "NOT_A_FILE", "crt");
    put(MM_FILE_CLIENT_CA, "123456789");
    expect_failure(MM_FILE_CLIENT_CA, 8, MM_ERR_TOO_BIG, "FILE_TOO_BIG", "listen.client_ca");
    expect(MM_FILE_CLIENT_CA, "123456789");
}
END_TEST

static bool trusted;

static int read_it(void)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(100);
    const int r = mm_files_read_config(&files, &text, &trusted, &ei);

    if (r == MM_OK)
        ck_assert_str_eq(mm_buf_cstr(&text), "good, filled in");
    return r;
}

START_TEST(read_config_gives_what_was_checked_or_says_what_is_wrong)
{
    put(MM_FILE_CLIENT_CA, "a");
    put_config("good");
    ck_assert_int_eq(read_it(), MM_OK);
    put_config("bad");
    ck_assert_int_eq(read_it(), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "as it was told");
    put_config("crash");
    ck_assert_int_eq(read_it(), MM_ERR_INTERNAL);
    ck_assert_str_eq(ei.reason, "CHECK_FAILED");
    put_config("good");
    ck_assert_int_eq(read_it(), MM_OK);
}
END_TEST

START_TEST(read_config_says_whether_others_are_trusted)
{
    static const char *const sets[] = {"a", "b", "ab", ""};

    put_config("good");
    for (size_t i = 0; i < MM_ARRAY_SIZE(sets); i++) {
        put(MM_FILE_CLIENT_CA, sets[i]);
        ck_assert_int_eq(read_it(), MM_OK);
        ck_assert_int_eq(trusted, i != 0);
    }
}
END_TEST

/* The launcher's side, in this process: asks for the configuration, and drops the answer. */
static void serve_config(const struct mm_files_plan *plan, struct mm_handed *handed)
{
    struct mm_trusted_keeper keeper;
    int set, fd[2];
    const struct mm_question request = {.id = 1, .what = MM_FILES};

    ck_assert_int_eq(mm_trusted_make(&set, &ei), MM_OK);
    mm_trusted_keep(&keeper, set);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    ck_assert_int_eq(send(fd[0], &request, sizeof(request), 0), (ssize_t)sizeof(request));
    ck_assert(mm_files_serve(plan, &keeper, handed, fd[1]));
    mm_trusted_offer(&keeper, -1);
    close(set);
    close(fd[0]);
    close(fd[1]);
}

START_TEST(serve_of_a_good_configuration_has_workers_take_it)
{
    static const char good[] = "good, filled in";
    const struct mm_bytes text = {(const uint8_t *)good, strlen(good)};
    const struct mm_files_plan plan = {.config = config, .read_config = read_config};
    struct mm_handed handed = {0};
    uint8_t digest[MM_HANDED_DIGEST];

    ck_assert_int_eq(mm_seal_config(config, text, digest, &ei), MM_OK);
    put(MM_FILE_CLIENT_CA, "a");
    put_config("bad");
    serve_config(&plan, &handed);
    put_config("crash");
    serve_config(&plan, &handed);
    ck_assert_uint_eq(handed.n_configs, 0);
    put_config("good");
    serve_config(&plan, &handed);
    serve_config(&plan, &handed);
    ck_assert_uint_eq(handed.n_configs, 1);
    ck_assert(mm_handed_knows(&handed, digest));
}
END_TEST

/* What a front that has been taken over might send. */
START_TEST(serve_opens_nothing_but_its_files)
{
    static const uint32_t numbers[] = {MM_FILES + 1, 1000, UINT32_MAX};

    for (size_t i = 0; i < MM_ARRAY_SIZE(numbers); i++) {
        const struct mm_question request = {.id = 1, .what = numbers[i]};
        struct mm_answer answer;
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = {.iov_base = &answer, .iov_len = sizeof(answer)};
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};

        ck_assert_int_eq(send(files.launcher.fd, &request, sizeof(request), 0),
                         (ssize_t)sizeof(request));
        ck_assert_int_eq(recvmsg(files.launcher.fd, &msg, 0), (ssize_t)sizeof(answer));
        ck_assert_int_eq(answer.ei.code, MM_ERR_PERMISSION);
        ck_assert_str_eq(answer.ei.reason, "NO_SUCH_FILE");
        ck_assert_uint_eq(msg.msg_controllen, 0);
    }
}
END_TEST

START_TEST(serve_ends_the_launcher_over_a_malformed_request)
{
    char byte;

    ck_assert_int_eq(send(files.launcher.fd, "/etc/passwd", 11, 0), 11);
    ck_assert_int_eq(recv(launcher_fd, &byte, 1, 0), 0);
    expect_failure(MM_FILE_KEY, 100, MM_ERR_IO, "SYSTEM_ERROR", "launcher");
}
END_TEST

START_TEST(read_drops_an_answer_that_is_late)
{
    const struct mm_question early = {.id = 77, .what = MM_FILE_KEY};

    put(MM_FILE_KEY, "key");
    put(MM_FILE_CERTIFICATE, "certificate");
    ck_assert_int_eq(send(files.launcher.fd, &early, sizeof(early), 0), (ssize_t)sizeof(early));
    files.launcher.last_id = early.id;
    expect(MM_FILE_CERTIFICATE, "certificate");
}
END_TEST

START_TEST(read_gives_up_on_a_launcher_that_is_stuck)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);
    struct mm_files stuck;
    int fd[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    stuck = (struct mm_files){.launcher.fd = fd[0], .timeout_ms = 1};
    ck_assert_int_eq(mm_files_read(&stuck, MM_FILE_KEY, 100, &b, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "LAUNCHER_STUCK");
    close(fd[0]);
    close(fd[1]);
}
END_TEST

static void on_lost(void *arg)
{
    *(bool *)arg = true;
}

START_TEST(launcher_says_when_it_is_lost)
{
    uv_loop_t loop;
    struct mm_launcher *l;
    bool lost = false;
    int fd[2];

    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    ck_assert_int_eq(mm_launcher_new(&loop, fd[0], on_lost, &lost, &l, &ei), MM_OK);
    close(fd[1]);
    uv_run(&loop, UV_RUN_ONCE);
    ck_assert(lost);
    mm_launcher_free(l);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("files");
    TCase *tc = tcase_create("files");

    mm_log_setup("test", MM_LOG_ERROR);
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, read_gives_each_file_as_it_is_now);
    tcase_add_test(tc, read_of_no_file_says_why);
    tcase_add_test(tc, read_config_gives_what_was_checked_or_says_what_is_wrong);
    tcase_add_test(tc, read_config_says_whether_others_are_trusted);
    tcase_add_test(tc, serve_of_a_good_configuration_has_workers_take_it);
    tcase_add_test(tc, serve_opens_nothing_but_its_files);
    tcase_add_test(tc, serve_ends_the_launcher_over_a_malformed_request);
    tcase_add_test(tc, read_drops_an_answer_that_is_late);
    tcase_add_test(tc, read_gives_up_on_a_launcher_that_is_stuck);
    tcase_add_test(tc, launcher_says_when_it_is_lost);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
