/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of the configuration's loader fails in turn. */
#include "daemon/conf/conf.h"
#include "tests/unit/check_main.h"
#include "tests/unit/memory.h"

#include <string.h>

static char example[4096];

START_TEST(load_without_memory_fails_cleanly)
{
    struct mm_conf *conf = NULL;
    struct mm_errinfo ei;
    unsigned failures = 0;
    int r;

    for (memory_fail_at(1); (r = mm_conf_load(example, &conf, &ei)) < 0; memory_fail_next()) {
        ck_assert_int_eq(r, MM_ERR_MEMORY);
        ck_assert_int_eq(ei.code, MM_ERR_MEMORY);
        ck_assert_ptr_null(conf);
        failures++;
    }
    ck_assert(!memory_failed());
    memory_fail_at(0);
    ck_assert_uint_gt(failures, 100);
    mm_conf_free(conf);
}
END_TEST

START_TEST(check_files_without_memory_fails_cleanly)
{
    static const char text[] =
        "listen { certificate = '/' key = '/' client_ca = '/' }\n"
        "store { path = '/tmp/m.db' }\n"
        "token 't' { module = '/' uri = 'pkcs11:token=t' pin_credential = 'p' }";
    MM_CONF_CLEANUP struct mm_conf *conf = NULL;
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_conf_parse("/m.conf", text, strlen(text), &conf, &ei), MM_OK);
    /* Only the credential is to be looked at. */
    conf->listen.certificate[0] = conf->listen.key[0] = conf->listen.client_ca[0] = 0;
    conf->tokens[0].module[0] = 0;
    ck_assert_int_eq(setenv("CREDENTIALS_DIRECTORY", "/nowhere", 1), 0);
    ck_assert_int_eq(mm_conf_check_files(conf, &ei), MM_ERR_IO);
    for (unsigned n = 1; n <= 2; n++) {
        memory_fail_at(n);
        ck_assert_int_eq(mm_conf_check_files(conf, &ei), MM_ERR_MEMORY);
    }
    memory_fail_at(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf_memory");
    TCase *tc = tcase_create("memory");

    snprintf(example, sizeof(example), "%s/docs/examples/mintmark.conf", getenv("MM_SOURCE_ROOT"));
    tcase_add_test(tc, load_without_memory_fails_cleanly);
    tcase_add_test(tc, check_files_without_memory_fails_cleanly);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
