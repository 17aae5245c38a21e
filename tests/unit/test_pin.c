/* SPDX-License-Identifier: Apache-2.0 */
/* Where a PIN may come from, and what is refused there. */
#include "pkcs11/token.h"
#include "tests/unit/check_main.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char folder[32];
static struct mm_errinfo ei;

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/mm-pin-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    unlink("pin");
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_pin(const char *text, mode_t mode)
{
    FILE *f = fopen("pin", "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod("pin", mode), 0);
}

static void assert_pin(struct mm_secret *pin, const char *text)
{
    ck_assert_uint_eq(mm_secret_len(pin), strlen(text));
    ck_assert_mem_eq(mm_secret_data(pin), text, strlen(text));
    mm_secret_free(pin);
}

START_TEST(file_gives_its_one_line)
{
    static const char *const good[] = {"12 34", "12 34\n"};
    struct mm_secret *pin = NULL;

    for (size_t i = 0; i < 2; i++) {
        write_pin(good[i], 0400);
        ck_assert_int_eq(mm_pin_from_file("pin", &pin, &ei), MM_OK);
        assert_pin(pin, "12 34");
    }
}
END_TEST

START_TEST(file_is_refused_when_malformed_or_exposed)
{
    char endless[300];
    static const struct {
        const char *text;
        mode_t mode;
        int err;
        const char *reason;
    } cases[] = {
        {"1234\n", 0640, MM_ERR_PERMISSION, "PIN_FILE_EXPOSED"},
        {"1234\n", 0604, MM_ERR_PERMISSION, "PIN_FILE_EXPOSED"},
        {"1234\n", 0620, MM_ERR_PERMISSION, "PIN_FILE_EXPOSED"},
        {"1234\r\n", 0600, MM_ERR_INVALID, "PIN_MALFORMED"},
        {"1234\nmore", 0600, MM_ERR_INVALID, "PIN_MALFORMED"},
        {"1234\n\n", 0600, MM_ERR_INVALID, "PIN_MALFORMED"},
        {"", 0600, MM_ERR_INVALID, "SECRET_EMPTY"},
        {"\n", 0600, MM_ERR_INVALID, "SECRET_EMPTY"},
    };
    struct mm_secret *pin = NULL;

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        write_pin(cases[i].text, cases[i].mode);
        ck_assert_int_eq(mm_pin_from_file("pin", &pin, &ei), cases[i].err);
        ck_assert_str_eq(ei.reason, cases[i].reason);
        ck_assert_ptr_null(strstr(ei.text, "1234"));
    }
    memset(endless, '1', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = 0;
    write_pin(endless, 0600);
    ck_assert_int_eq(mm_pin_from_file("pin", &pin, &ei), MM_ERR_TOO_BIG);
    ck_assert_int_eq(mm_pin_from_file("nothing", &pin, &ei), MM_ERR_NOT_FOUND);
    ck_assert_int_eq(mm_pin_from_file("/tmp", &pin, &ei), MM_ERR_INVALID);
    ck_assert_ptr_null(pin);
}
END_TEST

START_TEST(credential_is_found_by_its_name_alone)
{
    struct mm_secret *pin = NULL;

    write_pin("1234", 0440);
    unsetenv("CREDENTIALS_DIRECTORY");
    ck_assert_int_eq(mm_pin_from_credential("pin", &pin, &ei), MM_ERR_UNAVAILABLE);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    ck_assert_int_eq(mm_pin_from_credential("pin", &pin, &ei), MM_OK);
    assert_pin(pin, "1234");
    pin = NULL;
    ck_assert_int_eq(mm_pin_from_credential("../pin", &pin, &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_pin_from_credential("other", &pin, &ei), MM_ERR_NOT_FOUND);
    write_pin("1234", 0444);
    ck_assert_int_eq(mm_pin_from_credential("pin", &pin, &ei), MM_ERR_PERMISSION);
    ck_assert_ptr_null(pin);
}
END_TEST

START_TEST(descriptor_gives_one_line_after_the_other)
{
    struct mm_secret *pin = NULL;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(write(fds[1], "first\nsecond", 12), 12);
    close(fds[1]);
    ck_assert_int_eq(mm_pin_from_fd(fds[0], &pin, &ei), MM_OK);
    assert_pin(pin, "first");
    ck_assert_int_eq(mm_pin_from_fd(fds[0], &pin, &ei), MM_OK);
    assert_pin(pin, "second");
    ck_assert_int_eq(mm_pin_from_fd(fds[0], &pin, &ei), MM_ERR_INVALID);
    close(fds[0]);
}
END_TEST

/* ---- the terminal ------------------------------------------------------------------------ */

/* In the child: 0 when the PIN is "s3cret" and the echo is back on, else what went wrong. */
static int ask(void)
{
    struct mm_secret *pin = NULL;
    struct termios now;
    int r = mm_pin_from_terminal("PIN: ", &pin, &ei);

    if (r < 0)
        return -r;
    if (mm_secret_len(pin) != 6 || memcmp(mm_secret_data(pin), "s3cret", 6) != 0)
        return 101;
    mm_secret_free(pin);
    if (tcgetattr(STDIN_FILENO, &now) < 0 || !(now.c_lflag & ECHO))
        return 102;
    return 0;
}

/* Starts ask on a terminal of its own and waits for the prompt. */
static pid_t start_asking(int *ret_master)
{
    const struct termios *as_default = NULL;
    char seen[64];
    ssize_t n;
    const pid_t pid = forkpty(ret_master, NULL, as_default, NULL);

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGINT, SIG_DFL); /* not Check's handler, which kills the group */
        _exit(ask());
    }
    n = read(*ret_master, seen, sizeof(seen) - 1);
    ck_assert_int_gt(n, 0);
    seen[n] = 0;
    ck_assert_str_eq(seen, "PIN: ");
    return pid;
}

START_TEST(terminal_asks_without_echo)
{
    char seen[64];
    int master, status;
    ssize_t n;
    const pid_t pid = start_asking(&master);

    ck_assert_int_eq(write(master, "s3cret\n", 7), 7);
    n = read(master, seen, sizeof(seen) - 1);
    ck_assert_int_gt(n, 0);
    seen[n] = 0;
    ck_assert_str_eq(seen, "\r\n");
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
    close(master);
}
END_TEST

START_TEST(terminal_interrupted_gives_the_echo_back)
{
    struct termios after;
    int master, status;
    const pid_t pid = start_asking(&master);

    ck_assert_int_eq(write(master, "s3\003", 3), 3);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT, "status 0x%x", status);
    ck_assert_int_eq(tcgetattr(master, &after), 0);
    ck_assert(after.c_lflag & ECHO);
    close(master);
}
END_TEST

START_TEST(terminal_missing_is_said)
{
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setsid();
        _exit(-mm_pin_from_terminal("PIN: ", &(struct mm_secret *){NULL}, &ei));
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == -MM_ERR_UNAVAILABLE, "status 0x%x",
                  status);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pin");
    TCase *files = tcase_create("files");
    TCase *terminal = tcase_create("terminal");

    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, file_gives_its_one_line);
    tcase_add_test(files, file_is_refused_when_malformed_or_exposed);
    tcase_add_test(files, credential_is_found_by_its_name_alone);
    tcase_add_test(terminal, descriptor_gives_one_line_after_the_other);
    tcase_add_test(terminal, terminal_asks_without_echo);
    tcase_add_test(terminal, terminal_interrupted_gives_the_echo_back);
    tcase_add_test(terminal, terminal_missing_is_said);
    suite_add_tcase(suite, files);
    suite_add_tcase(suite, terminal);
    return run_suite(suite);
}
