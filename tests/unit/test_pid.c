/* SPDX-License-Identifier: Apache-2.0 */
#include "check_main.h"
#include "daemon/token/pid.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first thread's id is the process's, and is nobody's to keep. */
static bool is_own(void)
{
    return getpid() == gettid();
}

/* From here on the kernel tells nobody. */
static void forbid_asking(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

    ck_assert_ptr_nonnull(ctx);
    ck_assert_int_eq(seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(getpid), 0), 0);
    ck_assert_int_eq(seccomp_load(ctx), 0);
    seccomp_release(ctx);
    ck_assert_int_eq(syscall(SYS_getpid), -1);
}

static void must_end_well(pid_t child)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Apart, and ended at once: a sanitizer asks, too, when it looks for leaks. */
START_TEST(pid_is_asked_for_once)
{
    const pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        mm_pid_keep();
        ck_assert(is_own());
        forbid_asking();
        _exit(is_own() ? 0 : 1);
    }
    must_end_well(child);
}
END_TEST

START_TEST(pid_is_asked_for_again_in_a_fork)
{
    const bool raw = _i;
    pid_t child;

    mm_pid_keep();
    ck_assert(is_own());
    /* Past the C library, too: no handler of pthread_atfork(3) runs. */
    child = raw ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(is_own() && getppid() != getpid() ? 0 : 1);
    must_end_well(child);
    ck_assert(is_own());
}
END_TEST

START_TEST(pid_that_is_not_kept_is_asked_for)
{
    const pid_t child = fork();

    ck_assert_int_ge(child, 0);
    if (child == 0) {
        ck_assert(is_own());
        forbid_asking();
        _exit(getpid() == -1 ? 0 : 1);
    }
    must_end_well(child);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pid");
    TCase *t = tcase_create("all");

    tcase_add_test(t, pid_is_asked_for_once);
    tcase_add_loop_test(t, pid_is_asked_for_again_in_a_fork, 0, 2);
    tcase_add_test(t, pid_that_is_not_kept_is_asked_for);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
