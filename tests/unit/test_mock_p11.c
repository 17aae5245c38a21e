/* SPDX-License-Identifier: Apache-2.0 */
/* The mock token's own promises to tests of whole programs: rules from the environment, rules that
 * hang on files, and keys that the next process finds. */
#include "tests/unit/mock_token.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[32];

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/mm-mock-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    unlink("state");
    unlink("pulled");
    unlink("fuse");
    ck_assert_int_eq(rmdir(folder), 0);
}

static void touch(const char *name)
{
    FILE *f = fopen(name, "w");

    ck_assert_ptr_nonnull(f);
    fclose(f);
}

/* Runs f in a process of its own; its exit status, or -signal. */
static int in_child(int (*f)(void))
{
    const pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(f());
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int log_in(struct mm_token **ret_token)
{
    struct mm_secret *pin;
    int r = mm_token_open(&how, ret_token, &ei);

    if (r < 0)
        return r;
    if (mm_secret_new(4, &pin) < 0)
        return MM_ERR_MEMORY;
    memcpy(mm_secret_data(pin), MOCK_PIN, 4);
    return mm_token_login(*ret_token, &pin, &ei);
}

static int make_keys(void)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    mm_handle key;

    return log_in(&t) < 0 || mm_token_create_ca_key(t, "ca", MM_CURVE_P384, &key, &ei) < 0 ||
           mm_token_create_transport_key(t, "kek", &key, &ei) < 0;
}

static int use_keys(void)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    uint8_t digest[48] = {3}, signature[MM_SIGNATURE_MAX], value[8];
    mm_handle ca, kek;
    size_t len;

    return log_in(&t) < 0 || mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &ca, &ei) < 0 ||
           mm_token_find(t, "pkcs11:object=kek", MM_KEY_SECRET, &kek, &ei) < 0 ||
           mm_token_check_policy(t, ca, MM_USE_CA, &ei) < 0 ||
           mm_token_sign(t, ca, digest, sizeof(digest), signature, &len, &ei) < 0 ||
           mm_token_check_value(t, kek, value, &ei) < 0;
}

START_TEST(state_goes_from_process_to_process)
{
    ck_assert_int_eq(setenv("MM_MOCK_P11_STATE", "state", 1), 0);
    ck_assert_int_eq(in_child(use_keys), 1);
    ck_assert_int_eq(in_child(make_keys), 0);
    ck_assert_int_eq(in_child(use_keys), 0);
    ck_assert_int_eq(in_child(make_keys), 1);
    ck_assert_int_eq(truncate("state", 100), 0);
    ck_assert_int_eq(in_child(use_keys), 1);
    unsetenv("MM_MOCK_P11_STATE");
}
END_TEST

static int random_byte(void)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    uint8_t byte;

    return log_in(&t) < 0 || mm_token_random(t, &byte, 1, &ei) < 0;
}

START_TEST(environment_rules_hang_on_files)
{
    setenv("MM_MOCK_P11_RULES", "C_GenerateRandom=0x30?pulled;C_Login:1=crash!fuse", 1);
    ck_assert_int_eq(in_child(random_byte), 0);
    touch("pulled");
    ck_assert_int_eq(in_child(random_byte), 1);
    unlink("pulled");
    ck_assert_int_eq(in_child(random_byte), 0);
    touch("fuse");
    ck_assert_int_eq(in_child(random_byte), -SIGABRT);
    ck_assert_int_eq(in_child(random_byte), 0);
    setenv("MM_MOCK_P11_RULES", "nonsense", 1);
    ck_assert_int_eq(in_child(random_byte), 1);
    unsetenv("MM_MOCK_P11_RULES");
}
END_TEST

static int hang(void)
{
    const struct itimerval soon = {.it_value = {.tv_usec = 100000}};

    signal(SIGALRM, SIG_DFL); /* not Check's handler, which kills the group */
    setitimer(ITIMER_REAL, &soon, NULL);
    return random_byte();
}

START_TEST(calls_can_hang)
{
    setenv("MM_MOCK_P11_RULES", "C_GenerateRandom:1=hang", 1);
    ck_assert_int_eq(in_child(hang), -SIGALRM);
    unsetenv("MM_MOCK_P11_RULES");
}
END_TEST

START_TEST(rules_count_calls_and_refuse_nonsense)
{
    static const char *const bad[] = {"C_Sign",    "C_Sign:0=0x5", "C_Sign:x=0x5",   "C_Sign=later",
                                      "pin=happy", "attr:=1",      "C_Sign:1=delay:"};
    bool (*set)(const char *) = (bool (*)(const char *))mock_function("mm_mock_p11_rules");
    struct mm_token *t = open_and_login();
    uint8_t byte;

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_msg(!set(bad[i]), "%s", bad[i]);
    mock_rules("C_GenerateRandom:2=0x5;C_GenerateRandom:4+=0x6;C_GenerateRandom=delay:1");
    ck_ok(mm_token_random(t, &byte, 1, &ei));
    ck_assert_int_lt(mm_token_random(t, &byte, 1, &ei), 0);
    ck_ok(mm_token_random(t, &byte, 1, &ei));
    ck_assert_int_lt(mm_token_random(t, &byte, 1, &ei), 0);
    ck_assert_uint_eq(ei.detail, 6);
    ck_assert_int_lt(mm_token_random(t, &byte, 1, &ei), 0);
    ck_assert_uint_eq(mock_calls("C_GenerateRandom"), 5);
    ck_assert_str_eq(mock_failed(), "C_GenerateRandom");
    mm_token_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mock_p11");
    TCase *tc = tcase_create("mock");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, make_folder, remove_folder);
    tcase_add_test(tc, state_goes_from_process_to_process);
    tcase_add_test(tc, environment_rules_hang_on_files);
    tcase_add_test(tc, calls_can_hang);
    tcase_add_test(tc, rules_count_calls_and_refuse_nonsense);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
