/* SPDX-License-Identifier: Apache-2.0 */
/* The mintmark command's parts that need no service: command line, folder, request, reports. */
#include "client/cmd/cmd.h"
#include "client/cmd/folder.h"
#include "client/cmd/reports.h"
#include "client/cmd/request.h"
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UID "0193537b-1f4c-7abc-8def-001122334455"

static char dir[64], out[96], file[96];

static void setup(void)
{
    snprintf(dir, sizeof(dir), "/tmp/test_client_cmd.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(out, sizeof(out), "%s/out", dir);
    snprintf(file, sizeof(file), "%s/file", dir);
    /* What the command prints about errors is not this test's output. */
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    (void)where;
    return remove(path);
}

static void teardown(void)
{
    ck_assert_int_eq(nftw(dir, remove_one, 4, FTW_DEPTH | FTW_PHYS), 0);
}

static void write_text(const char *path, const char *text)
{
    ck_assert_int_eq(mm_io_write_file(path, 0600, text, strlen(text), NULL), MM_OK);
}

static int parse(struct mm_cmd *cmd, const char *line)
{
    static char copy[256];
    static char *argv[32];
    int argc = 0;
    char *rest = copy, *word;

    *cmd = (struct mm_cmd){.command = NULL};
    snprintf(copy, sizeof(copy), "mintmark %s", line);
    while ((word = strsep(&rest, " ")) && argc < 31)
        if (*word)
            argv[argc++] = word;
    argv[argc] = NULL;
    return mm_cmd_parse(cmd, argc, argv);
}

START_TEST(parse_takes_options_before_and_after_the_command)
{
    struct mm_cmd cmd;

    ck_assert_int_eq(parse(&cmd, "--target h:1 --json batch show UID --timeout=5"), 0);
    ck_assert_str_eq(cmd.command->name, "show");
    ck_assert_str_eq(cmd.value[MM_OPT_TARGET], "h:1");
    ck_assert_str_eq(cmd.value[MM_OPT_TIMEOUT], "5");
    ck_assert(mm_cmd_wants_json(&cmd));
    ck_assert_uint_eq(cmd.n_args, 1);
    ck_assert_str_eq(cmd.args[0], "UID");
    ck_assert_int_eq(parse(&cmd, "device report --batch B --ok U1 U2 U3"), 0);
    ck_assert_uint_eq(cmd.n_args, 3);
    ck_assert_str_eq(cmd.args[2], "U3");
    ck_assert_int_eq(parse(&cmd, "device report --batch B --ko U1 -- --odd"), 0);
    ck_assert_str_eq(cmd.args[1], "--odd");
}
END_TEST

START_TEST(parse_refuses_what_is_wrong)
{
    static const char *const lines[] = {
        "",           "nothing",         "batch",        "batch nothing",       "ping --batch x",
        "ping x",     "--target",        "batch show",   "batch show a b",      "unwrap a b",
        "ping --j=x", "provision --out", "--frobnicate", "batch open --name x", "-x ping",
    };
    struct mm_cmd cmd;

    for (size_t i = 0; i < MM_ARRAY_SIZE(lines); i++)
        ck_assert_msg(parse(&cmd, lines[i]) == MM_CMD_USAGE + 1, "%s", lines[i]);
}
END_TEST

START_TEST(number_keeps_to_its_range)
{
    struct mm_cmd cmd;
    uint64_t value = 7;

    ck_assert_int_eq(parse(&cmd, "--timeout 86401 ping"), 0);
    ck_assert_int_eq(mm_cmd_number(&cmd, MM_OPT_TIMEOUT, 1, 86400, &value), MM_CMD_USAGE);
    ck_assert_uint_eq(value, 7);
    ck_assert_int_eq(mm_cmd_number(&cmd, MM_OPT_TIMEOUT, 1, 86401, &value), 0);
    ck_assert_uint_eq(value, 86401);
}
END_TEST

START_TEST(folder_keeps_what_is_the_same_and_refuses_what_differs)
{
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    struct mm_folder *second = NULL;
    char path[128];
    struct mm_errinfo ei;
    struct stat st;

    ck_assert_int_eq(mm_folder_open(out, &folder, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_open(out, &second, &ei), MM_ERR_PRECONDITION);
    ck_assert_int_eq(mm_folder_put(folder, "a", 0600, "hello", 5, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_put(folder, "a", 0600, "hello", 5, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_put(folder, "a", 0600, "hallo", 5, &ei), MM_ERR_EXISTS);
    ck_assert_int_eq(mm_folder_put(folder, "a", 0600, "hell", 4, &ei), MM_ERR_EXISTS);
    /* Its beginning, as after a power failure. */
    ck_assert_int_eq(mm_folder_put(folder, "a", 0600, "hello!", 6, &ei), MM_OK);
    snprintf(path, sizeof(path), "%s/a", out);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq((int)st.st_size, 6);
    ck_assert_int_eq((int)(st.st_mode & 07777), 0600);
    /* A temporary file that a killed run has left is no obstacle. */
    snprintf(path, sizeof(path), "%s/.b.tmp", out);
    write_text(path, "left");
    ck_assert_int_eq(mm_folder_put(folder, "b", 0644, "", 0, &ei), MM_OK);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(folder_lists_devices_by_number)
{
    struct mintmark_bundle bundle = {
        .device_uid = UID,
        .hw_serial = "",
        .number = 12,
        .certificate = {(const uint8_t *)"cert", 4},
        .key_delivery = MINTMARK_KEY_RETAINED,
        .key_id = "pkcs11:object=x",
    };
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(4096);
    struct mm_errinfo ei;
    const char *list;

    ck_assert_int_eq(mm_folder_open(out, &folder, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_add(folder, &bundle, &ei), MM_OK);
    bundle.device_uid = "0193537b-1f4c-7abc-8def-001122334456";
    bundle.number = 9;
    ck_assert_int_eq(mm_folder_add(folder, &bundle, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_read(folder, "devices.jsonl", &text, &ei), MM_ERR_NOT_FOUND);
    ck_assert_int_eq(mm_folder_finish(folder, &ei), MM_OK);
    ck_assert_int_eq(mm_folder_read(folder, "devices.jsonl", &text, &ei), MM_OK);
    list = mm_buf_cstr(&text);
    ck_assert_ptr_nonnull(strstr(list, "\"number\": 9"));
    ck_assert(strstr(list, "\"number\": 9") < strstr(list, "\"number\": 12"));
}
END_TEST

static int put_list(struct mm_folder *folder, const char *name, const char *lines)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(4096);
    struct mm_errinfo ei;

    mm_buf_append_str(&text, lines);
    return mm_folder_put_list(folder, name, &text, &ei);
}

START_TEST(folder_replaces_a_list_for_devices_that_were_withheld_alone)
{
    static const struct {
        const char *then, *now;
        int r;
    } lists[] = {
        {"{\"a\": 1}\n{\"b\": 1}\n", "{\"a\": 1}\n{\"b\": 1}\n", MM_OK},
        {"{\"a\": 1}\n{\"b\": 1}\n", "{\"a\": 1}\n{\"c\": 1}\n{\"b\": 1}\n", MM_OK},
        {"{\"a\": 1}\n{\"b\": 1}\n", "{\"b\": 1}\n{\"a\": 1}\n", MM_ERR_EXISTS},
        {"{\"a\": 1}\n{\"b\": 1}\n", "{\"b\": 1}\n", MM_ERR_EXISTS},
        {"{\"a\": 1}\n{\"a\": 1}\n", "{\"a\": 1}\n", MM_ERR_EXISTS},
        {"{\"a\": 1, \"state\": \"WAITING\"}\n{\"b\": 1}\n", "{\"a\": 1}\n{\"b\": 1}\n", MM_OK},
        {"{\"a\": 1, \"state\": \"WAITING\"}\n", "", MM_OK},
        {"", "{\"a\": 1}\n", MM_OK},
        {"{\"a\": 1}\n{\"b", "{\"a\": 1}\n{\"b\": 1}\n", MM_OK}, /* torn */
        {"{\"a\": 1}\n{\"b", "{\"a\": 1}\n{\"c\": 1}\n", MM_ERR_EXISTS},
        {"mine", "{\"a\": 1}\n", MM_ERR_EXISTS},
        {"[\"state\"]\n", "{\"a\": 1}\n", MM_ERR_EXISTS},
    };
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    char name[8], path[128];
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_folder_open(out, &folder, &ei), MM_OK);
    for (size_t i = 0; i < MM_ARRAY_SIZE(lists); i++) {
        MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(4096);
        const char *due = lists[i].r == MM_OK ? lists[i].now : lists[i].then;

        snprintf(name, sizeof(name), "%zu", i);
        snprintf(path, sizeof(path), "%s/%s", out, name);
        write_text(path, lists[i].then);
        ck_assert_msg(put_list(folder, name, lists[i].now) == lists[i].r, "%zu", i);
        ck_assert_int_eq(mm_folder_read(folder, name, &text, &ei), MM_OK);
        ck_assert_str_eq(mm_buf_cstr(&text), due);
    }
}
END_TEST

static int settle(struct mm_request *request)
{
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = NULL;
    struct mm_errinfo ei;

    ck_assert_int_eq(mm_folder_open(out, &folder, &ei), MM_OK);
    return mm_request_settle(request, folder, &ei);
}

START_TEST(request_is_kept_and_taken_again)
{
    MM_CLEANUP(mm_request_done) struct mm_request first = {.batch_uid = UID};
    MM_CLEANUP(mm_request_done) struct mm_request again = {.batch_uid = UID};
    MM_CLEANUP(mm_request_done) struct mm_request other = {.batch_uid = UID, .count = 3};
    struct mm_errinfo ei;

    ck_assert_int_eq(settle(&first), MM_ERR_INVALID); /* no count anywhere */
    write_text(file, "SN-1\nSN-2\n");
    ck_assert_int_eq(mm_request_read_serials(&first, file, &ei), MM_OK);
    ck_assert_uint_eq(first.count, 2);
    ck_assert_int_eq(settle(&first), MM_OK);
    ck_assert_uint_eq(strlen(first.request_id), 32);
    ck_assert_int_eq(settle(&again), MM_OK);
    ck_assert_str_eq(again.request_id, first.request_id);
    ck_assert_uint_eq(again.count, 2);
    ck_assert_str_eq(again.hw_serials[1], "SN-2");
    ck_assert_int_eq(settle(&other), MM_ERR_PRECONDITION);
}
END_TEST

START_TEST(request_file_that_is_damaged_is_refused)
{
    static const char *const texts[] = {
        "",
        "[]",
        "{\"format\":\"mintmark-request\",\"version\":2,\"batch_uid\":\"" UID
        "\",\"count\":1,\"request_id\":\"x\"}",
        "{\"format\":\"mintmark-request\",\"version\":1,\"batch_uid\":\"../x\",\"count\":1,"
        "\"request_id\":\"x\"}",
        "{\"format\":\"mintmark-request\",\"version\":1,\"batch_uid\":\"" UID
        "\",\"count\":-1,\"request_id\":\"x\"}",
        "{\"format\":\"mintmark-request\",\"version\":1,\"batch_uid\":\"" UID
        "\",\"count\":2,\"request_id\":\"x\",\"hw_serials\":[\"a\"]}",
        "{\"format\":\"mintmark-request\",\"version\":1,\"batch_uid\":\"" UID
        "\",\"count\":1,\"request_id\":\"x\",\"hw_serials\":[7]}",
        "{\"format\":\"mintmark-request\",\"version\":1,\"batch_uid\":\"" UID
        "\",\"count\":1,\"request_id\":\"\"}",
    };
    struct mm_request request = {.batch_uid = UID, .count = 1};
    char path[128];

    ck_assert_int_eq(mkdir(out, 0700), 0);
    snprintf(path, sizeof(path), "%s/request.json", out);
    for (size_t i = 0; i < MM_ARRAY_SIZE(texts); i++) {
        write_text(path, texts[i]);
        ck_assert_msg(settle(&request) == MM_ERR_CORRUPT, "case %zu", i);
    }
}
END_TEST

START_TEST(serials_are_held_against_the_count)
{
    MM_CLEANUP(mm_request_done) struct mm_request request = {.batch_uid = UID, .count = 3};
    struct mm_errinfo ei;

    write_text(file, "a\nb");
    ck_assert_int_eq(mm_request_read_serials(&request, file, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "BAD_COUNT");
    write_text(file, "a\n\nb");
    ck_assert_int_eq(mm_request_read_serials(&request, file, &ei), MM_ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(ei.text, "file:2:"));
}
END_TEST

START_TEST(reports_name_the_line_that_is_wrong)
{
    struct mm_reports reports;
    struct mm_errinfo ei;

    write_text(file, "{\"device_uid\": \"a\", \"state\": \"OK\"}\n\n"
                     "{\"device_uid\": \"b\", \"state\": \"KO\", \"reason\": \"why\"}");
    ck_assert_int_eq(mm_reports_read(file, &reports, &ei), MM_OK);
    ck_assert_uint_eq(reports.n, 2);
    ck_assert(reports.list[0].ok && !reports.list[1].ok);
    ck_assert_str_eq(reports.list[1].reason, "why");
    mm_reports_done(&reports);
    write_text(file, "{\"device_uid\": \"a\", \"state\": \"OK\"}\n{\"state\": \"OK\"}\n");
    ck_assert_int_eq(mm_reports_read(file, &reports, &ei), MM_ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(ei.text, "file:2:"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_cmd");
    TCase *tcase = tcase_create("cmd");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, parse_takes_options_before_and_after_the_command);
    tcase_add_test(tcase, parse_refuses_what_is_wrong);
    tcase_add_test(tcase, number_keeps_to_its_range);
    tcase_add_test(tcase, folder_keeps_what_is_the_same_and_refuses_what_differs);
    tcase_add_test(tcase, folder_lists_devices_by_number);
    tcase_add_test(tcase, folder_replaces_a_list_for_devices_that_were_withheld_alone);
    tcase_add_test(tcase, request_is_kept_and_taken_again);
    tcase_add_test(tcase, request_file_that_is_damaged_is_refused);
    tcase_add_test(tcase, serials_are_held_against_the_count);
    tcase_add_test(tcase, reports_name_the_line_that_is_wrong);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
