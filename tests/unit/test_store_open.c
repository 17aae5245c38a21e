/* SPDX-License-Identifier: Apache-2.0 */
/* Opening: what is refused, in which words, and that it is left as it was. */
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

/* By another connection, while the store is closed. */
static void change(const char *sql)
{
    sqlite3 *db;
    char *error = NULL;

    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    sqlite3_exec(db, sql, NULL, NULL, &error);
    ck_assert_msg(!error, "%s: %s", sql, error);
    sqlite3_close(db);
}

static void refused(int code, const char *reason, const char *part_of_text)
{
    MM_BUF_CLEANUP struct mm_buf before = MM_BUF_INIT(1 << 20), after = MM_BUF_INIT(1 << 20);
    struct mm_errinfo ei = {0};
    struct mm_store *s = NULL;
    int r;

    ck_assert_int_eq(mm_io_read_file(f.path, 1 << 20, &before, &ei), MM_OK);
    r = mm_store_open(f.path, &s, &ei);
    ck_assert_msg(r == code, "%s: %s", mm_err_name(r), ei.text);
    ck_assert_ptr_null(s);
    ck_assert_str_eq(ei.reason, reason);
    ck_assert_msg(strstr(ei.text, part_of_text) && strstr(ei.text, f.path), "%s", ei.text);
    ck_assert_int_eq(mm_io_read_file(f.path, 1 << 20, &after, &ei), MM_OK);
    ck_assert_uint_eq(before.len, after.len);
    if (before.len > 0)
        ck_assert_mem_eq(before.data, after.data, before.len);
    mm_buf_done(&after);
}

START_TEST(open_makes_a_file_for_the_owner_alone)
{
    struct stat st;

    ck_assert_int_eq(stat(f.path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(fixture_int(&f, "PRAGMA synchronous"), 2);
    ck_assert_int_eq(fixture_int(&f, "PRAGMA foreign_keys"), 1);
    ck_assert_int_eq(fixture_int(&f, "PRAGMA secure_delete"), 1);
}
END_TEST

START_TEST(open_again_finds_what_was_there)
{
    char *before, *after;

    fixture_populate(&f, 10);
    before = fixture_dump(&f);
    fixture_close(&f);
    fixture_open(&f);
    after = fixture_dump(&f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}
END_TEST

START_TEST(open_a_file_that_others_may_read_is_refused)
{
    fixture_close(&f);
    ck_assert_int_eq(chmod(f.path, 0640), 0);
    refused(MM_ERR_PERMISSION, "STORE_PERMISSIONS", "mode 0640");
}
END_TEST

START_TEST(open_a_newer_version_is_refused)
{
    fixture_close(&f);
    change("PRAGMA user_version = 9");
    refused(MM_ERR_UNSUPPORTED, "STORE_TOO_NEW", "database is of version 9, this program knows 8");
}
END_TEST

START_TEST(open_another_programs_database_is_refused)
{
    fixture_close(&f);
    change("PRAGMA application_id = 1");
    refused(MM_ERR_UNSUPPORTED, "STORE_FOREIGN", "another program's database");
}
END_TEST

START_TEST(open_a_database_without_application_id_is_refused)
{
    fixture_close(&f);
    unlink(f.path);
    change("CREATE TABLE t (a)");
    ck_assert_int_eq(chmod(f.path, 0600), 0);
    refused(MM_ERR_UNSUPPORTED, "STORE_FOREIGN", "another program's database");
}
END_TEST

START_TEST(open_a_file_that_is_no_database_is_refused)
{
    struct mm_errinfo ei = {0};
    char junk[4096];

    fixture_close(&f);
    memset(junk, 'x', sizeof(junk));
    ck_assert_int_eq(mm_io_write_file(f.path, 0600, junk, sizeof(junk), &ei), MM_OK);
    refused(MM_ERR_UNSUPPORTED, "STORE_FOREIGN", "not an SQLite database");
}
END_TEST

START_TEST(open_an_empty_file_makes_a_database)
{
    fixture_close(&f);
    ck_assert_int_eq(truncate(f.path, 0), 0);
    fixture_open(&f);
    fixture_populate(&f, 10);
}
END_TEST

START_TEST(open_a_folder_or_a_missing_place_is_refused)
{
    struct mm_errinfo ei = {0};
    struct mm_store *s = NULL;

    ck_assert_int_eq(mm_store_open("/nowhere/at/all/store.db", &s, &ei), MM_ERR_IO);
    ck_assert_ptr_nonnull(strstr(ei.text, "No such file"));
    ck_assert_int_eq(mm_store_open("/dev/null", &s, &ei), MM_ERR_INVALID);
    ck_assert_ptr_null(s);
}
END_TEST

START_TEST(open_counters_that_do_not_add_up_is_refused)
{
    static const char *const tampered[] = {
        "UPDATE orders SET used = used - 1",
        "UPDATE orders SET used = used - 1; UPDATE batches SET issued = issued - 1",
        "DELETE FROM devices WHERE row = (SELECT max(row) FROM devices)",
    };
    struct spend_job j;

    fixture_populate(&f, 10);
    make_spend(&j, 1, "r1", 5, 1, 5);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    fixture_close(&f);
    change(tampered[_i]);
    refused(MM_ERR_CORRUPT, "STORE_CORRUPT", "units spent");
}
END_TEST

START_TEST(open_damaged_pages_is_refused)
{
    static const uint8_t zero[100];
    int64_t page;
    int fd;

    fixture_populate(&f, 10);
    page = fixture_int(&f, "SELECT rootpage FROM sqlite_schema WHERE name = 'batches'");
    fixture_close(&f);
    fd = open(f.path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, zero, sizeof(zero), (page - 1) * 4096), sizeof(zero));
    close(fd);
    refused(MM_ERR_CORRUPT, "STORE_CORRUPT", "");
}
END_TEST

/* Damage that the check at start does not read is met later: from then on nothing is written, and
 * what can be read is. */
START_TEST(damage_met_later_stops_all_writing)
{
    static const uint8_t zero[100];
    struct spend_job j;
    struct order_job order;
    struct small_job get;
    int64_t page;
    int fd;

    fixture_populate(&f, 10);
    make_spend(&j, 1, "r1", 5, 1, 5);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    page = fixture_int(&f, "SELECT rootpage FROM sqlite_schema WHERE name = 'failures'");
    fixture_close(&f);
    fd = open(f.path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(pwrite(fd, zero, sizeof(zero), (page - 1) * 4096), sizeof(zero));
    close(fd);
    fixture_open(&f);
    make_release(&get, 1);
    ck_assert_int_eq(fixture_do(&f, &get.job), MM_ERR_CORRUPT);
    ck_assert_str_eq(fixture_reason(&f, 0), "STORE_CORRUPT");
    make_order(&order, "new", 5);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_ERR_CORRUPT);
    make_get_device(&get, 1);
    ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
}
END_TEST

START_TEST(open_by_a_second_process_is_refused)
{
    int status;
    pid_t pid;

    fixture_populate(&f, 10);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct mm_errinfo ei = {0};
        struct mm_store *s = NULL;
        const int r = mm_store_open(f.path, &s, &ei);

        if (r != MM_ERR_UNAVAILABLE || strcmp(ei.reason, "STORE_IN_USE") != 0)
            fprintf(stderr, "%s: %s\n", mm_err_name(r), ei.text);
        _exit(r == MM_ERR_UNAVAILABLE && strcmp(ei.reason, "STORE_IN_USE") == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    fixture_check_invariants(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_open");
    TCase *opening = tcase_create("open");

    tcase_set_timeout(opening, 60); /* on a busy machine */
    tcase_add_checked_fixture(opening, setup, teardown);
    tcase_add_test(opening, open_makes_a_file_for_the_owner_alone);
    tcase_add_test(opening, open_again_finds_what_was_there);
    tcase_add_test(opening, open_a_file_that_others_may_read_is_refused);
    tcase_add_test(opening, open_a_newer_version_is_refused);
    tcase_add_test(opening, open_another_programs_database_is_refused);
    tcase_add_test(opening, open_a_database_without_application_id_is_refused);
    tcase_add_test(opening, open_a_file_that_is_no_database_is_refused);
    tcase_add_test(opening, open_an_empty_file_makes_a_database);
    tcase_add_test(opening, open_a_folder_or_a_missing_place_is_refused);
    tcase_add_loop_test(opening, open_counters_that_do_not_add_up_is_refused, 0, 3);
    tcase_add_test(opening, open_damaged_pages_is_refused);
    tcase_add_test(opening, damage_met_later_stops_all_writing);
    tcase_add_test(opening, open_by_a_second_process_is_refused);
    suite_add_tcase(suite, opening);
    return run_suite(suite);
}
