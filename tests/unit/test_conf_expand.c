/* SPDX-License-Identifier: Apache-2.0 */
/* Variables of exchange packages in the configuration's text. */
#include "daemon/base/io.h"
#include "daemon/conf/conf.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64], variables[90], config[90];
static struct mm_errinfo ei;

static void write_file(const char *path, const char *text)
{
    ck_assert_int_eq(mm_io_write_file(path, 0600, text, strlen(text), &ei), MM_OK);
}

static void variable(const char *name, const char *value)
{
    char path[200];

    snprintf(path, sizeof(path), "%s/%s", variables, name);
    write_file(path, value);
}

static void setup(void)
{
    char sub[70];

    snprintf(folder, sizeof(folder), "/tmp/mintmark-expand-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(sub, sizeof(sub), "%s/x", folder);
    snprintf(variables, sizeof(variables), "%s/variables", sub);
    snprintf(config, sizeof(config), "%s/mintmark.conf", folder);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    ck_assert_int_eq(mkdir(variables, 0700), 0);
}

static void teardown(void)
{
    static const char *const names[] = {"/x/variables/HOST",
                                        "/x/variables/V",
                                        "/x/variables/empty",
                                        "/x/variables",
                                        "/x",
                                        "/mintmark.conf",
                                        ""};
    char path[200];

    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s%s", folder, names[i]);
        (void)remove(path); /* what a test has not made is not there */
    }
    ck_assert_int_ne(access(folder, F_OK), 0);
}

#define APPLIANCE "appliance { exchange_folder = 'x' }\n"

static void expect(const char *text, const char *expanded)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(MM_CONF_FILE_MAX);

    write_file(config, text);
    ck_assert_msg(mm_conf_read(config, MM_UNSET_REFUSED, &b, &ei) == MM_OK, "%s", ei.text);
    ck_assert_str_eq(mm_buf_cstr(&b), expanded);
}

static void expect_refused(const char *text, const char *why)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(MM_CONF_FILE_MAX);

    write_file(config, text);
    ck_assert_int_eq(mm_conf_read(config, MM_UNSET_REFUSED, &b, &ei), MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, why), "%s", ei.text);
}

START_TEST(read_fills_in_what_packages_brought)
{
    variable("HOST", "ejbca.example.com\n");
    variable("empty", "\n");
    expect("site = 'no $, no { and no ${number}'\n", "site = 'no $, no { and no ${number}'\n");
    expect(APPLIANCE "issuer 'a' { nodes = {'https://${exchange:HOST}/e', '${exchange:empty}'} }\n",
           APPLIANCE "issuer 'a' { nodes = {'https://ejbca.example.com/e', ''} }\n");
    /* in a comment it is none */
    expect(APPLIANCE "# ${exchange:nobody}\nsite = 'a${exchange:HOST}${exchange:HOST}'\n",
           APPLIANCE "                    \nsite = 'aejbca.example.comejbca.example.com'\n");
}
END_TEST

/* Whatever is in it, a value is a text within quotes. */
START_TEST(read_value_stays_within_its_quotes)
{
    variable("V", "it's \\ # // { } \"\n");
    expect(APPLIANCE "site = '${exchange:V}'\n", APPLIANCE "site = 'it\\'s \\\\ # // { } \"'\n");
}
END_TEST

START_TEST(read_refuses_what_is_no_variable_or_no_value)
{
    static char long_value[MM_PACKAGE_VALUE_MAX + 3];

    expect_refused(APPLIANCE "\nsite = '${exchange:HOST}'\n",
                   "mintmark.conf:3: no exchange package has brought the variable HOST: there is "
                   "no /tmp/");
    expect_refused("\nsite = '${exchange:HOST}'\n",
                   ":2: ${exchange:HOST} needs the setting exchange_folder of section appliance");
    expect_refused(APPLIANCE "site = '${exchange:}'\n", ":2: after ${exchange: comes the name");
    expect_refused(APPLIANCE "site = '${exchange:A'\n", ":2: after ${exchange: comes the name");
    expect_refused(APPLIANCE "site = '${exchange:../../pin}'\n", ":2: after ${exchange: comes");
    expect_refused(APPLIANCE "site = ${exchange:HOST}\n", "may stand in single quotes only");
    expect_refused(APPLIANCE "site = \"${exchange:HOST}\"\n", "in double quotes");
    expect_refused("appliance { exchange_folder = '${exchange:X}' }\n", "cannot have variables");
    variable("V", "a${exchange:V}\n");
    expect_refused(APPLIANCE "site = '${exchange:V}'\n", "variable V has ${ in it");
    variable("V", "two\nlines\n");
    expect_refused(APPLIANCE "site = '${exchange:V}'\n", "variable V is not one line of text");
    variable("V", "\xff\n");
    expect_refused(APPLIANCE "site = '${exchange:V}'\n", "variable V is not UTF-8");
    memset(long_value, 'a', sizeof(long_value) - 1);
    variable("V", long_value);
    expect_refused(APPLIANCE "site = '${exchange:V}'\n", "variable V: ");
}
END_TEST

START_TEST(read_grows_no_further_than_a_file_may)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_CONF_FILE_MAX);
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(MM_CONF_FILE_MAX);
    char value[MM_PACKAGE_VALUE_MAX + 1];

    memset(value, 'a', sizeof(value) - 1);
    value[sizeof(value) - 1] = 0;
    variable("V", value);
    mm_buf_append_str(&text, APPLIANCE "site = '");
    for (int i = 0; i <= MM_CONF_FILE_MAX / MM_PACKAGE_VALUE_MAX; i++)
        mm_buf_append_str(&text, "${exchange:V}");
    mm_buf_append_str(&text, "'\n");
    write_file(config, mm_buf_cstr(&text));
    ck_assert_int_eq(mm_conf_read(config, MM_UNSET_REFUSED, &b, &ei), MM_ERR_TOO_BIG);
    ck_assert_msg(strstr(ei.text, "bytes with its variables"), "%s", ei.text);
}
END_TEST

START_TEST(load_for_tools_keeps_what_is_unset)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(MM_CONF_FILE_MAX);
    static const char text[] = APPLIANCE "site = '${exchange:HOST}'\n";

    write_file(config, text);
    ck_assert_int_eq(mm_conf_read(config, MM_UNSET_KEPT, &b, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&b), text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf_expand");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, read_fills_in_what_packages_brought);
    tcase_add_test(t, read_value_stays_within_its_quotes);
    tcase_add_test(t, read_refuses_what_is_no_variable_or_no_value);
    tcase_add_test(t, read_grows_no_further_than_a_file_may);
    tcase_add_test(t, load_for_tools_keeps_what_is_unset);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
