/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/buf.h"
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/json.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "tests/unit/check_main.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(buf_append_over_max_sticks_and_keeps_content)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(4);

    mm_buf_append(&b, "abc", 3);
    mm_buf_append(&b, "de", 2);
    ck_assert_int_eq(mm_buf_err(&b), MM_ERR_TOO_BIG);
    mm_buf_append(&b, "f", 1);
    ck_assert_int_eq(mm_buf_err(&b), MM_ERR_TOO_BIG);
    ck_assert_uint_eq(b.len, 3);
    mm_buf_reset(&b);
    mm_buf_append(&b, "wxyz", 4);
    ck_assert_int_eq(mm_buf_err(&b), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&b), "wxyz");
}
END_TEST

START_TEST(buf_consume_keeps_the_rest)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);

    mm_buf_printf(&b, "%s-%d", "hello", 7);
    mm_buf_append_be32(&b, 0x01020304);
    mm_buf_consume(&b, 7);
    ck_assert_uint_eq(b.len, 4);
    ck_assert_mem_eq(b.data, "\1\2\3\4", 4);
}
END_TEST

START_TEST(buf_consume_and_reset_leave_nothing_behind)
{
    static const uint8_t nothing[11] = {0};
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(1000);

    mm_buf_append_str(&b, "private key");
    mm_buf_consume(&b, 8); /* less is left than goes */
    ck_assert_mem_eq(b.data, "key", 3);
    ck_assert_mem_eq(b.data + 3, nothing, 8);
    mm_buf_append_str(&b, "s of all"); /* more is left than goes */
    mm_buf_consume(&b, 2);
    ck_assert_mem_eq(b.data, "ys of all", 9);
    ck_assert_mem_eq(b.data + 9, nothing, 2);
    mm_buf_reset(&b);
    ck_assert_mem_eq(b.data, nothing, 11);
}
END_TEST

START_TEST(text_to_u64_takes_digits_only)
{
    uint64_t v = 42;
    static const char *const bad[] = {"", " 1", "+1", "-1", "1 ", "0x1", "18446744073709551616",
                                      "9"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(mm_text_to_u64(bad[i], 0, i == 7 ? 8 : UINT64_MAX, &v), MM_ERR_INVALID);
    ck_assert_uint_eq(v, 42);
    ck_assert_int_eq(mm_text_to_u64("18446744073709551615", 0, UINT64_MAX, &v), MM_OK);
    ck_assert_uint_eq(v, UINT64_MAX);
}
END_TEST

START_TEST(utf8_valid_refuses_nul_overlong_and_surrogates)
{
    static const struct {
        const char *text;
        size_t len;
        bool valid;
    } cases[] = {
        {"", 0, true},
        {"plain", 5, true},
        {"\xc3\xa9", 2, true},
        {"\xf0\x9f\x94\x91", 4, true},
        {"a\0b", 3, false},
        {"\xc0\x80", 2, false},
        {"\xe0\x80\x80", 3, false},
        {"\xed\xa0\x80", 3, false},
        {"\xf4\x90\x80\x80", 4, false},
        {"\xc3", 1, false},
        {"\x80", 1, false},
        {"\xf8\x88\x80\x80\x80", 5, false},
        {"\xe2\x82", 2, false},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++)
        ck_assert_msg(mm_utf8_valid(cases[i].text, cases[i].len) == cases[i].valid, "case %zu", i);
}
END_TEST

START_TEST(text_hide_paths_leaves_the_sentence)
{
    static const struct {
        const char *text, *hidden;
    } cases[] = {
        {"", ""},
        {"token main is away: C_Login: CKR_PIN_LOCKED",
         "token main is away: C_Login: CKR_PIN_LOCKED"},
        {"/etc/mintmark/pin: no such file", "[path]: no such file"},
        {"main-0: /etc/my pins/a: no such file", "main-0: [path]: no such file"},
        {"cannot load '/usr/lib/a b.so': it's gone", "cannot load '[path]': it's gone"},
        {"folder \"/a/b\" is full", "folder \"..\" is full"},
        {"/a/b.so: open /c/d: no", "[path]: open ..: no"},
        {"x (/srv/db) is away", "x ([path]"}, /* rather too much */
        {"/etc/m.conf:12: no 'x'", "[path]: no 'x'"},
        {"./pin: x", "..: x"},
        {"../a/pin: x", "[path]: x"},
        {"URI 'pkcs11:pin-source=file:/etc/pin': x", "URI 'pkcs11:pin-source=file:[path]: x"},
        {"file:///etc/pin: x", "file:[path]: x"},
        {"/a: file:///etc/pin", "..: file:[path]"},
        {"pkcs11:module-path=%2Fusr%2flib: x", "pkcs11:module-path=[path]: x"},
        {"https://ejbca.example/ejbca: 404", "https://ejbca.example/ejbca: 404"},
        {"OK/KO, 3 / 4, and so on... n/a /", "OK/KO, 3 / 4, and so on... n/a /"},
        {"k\xc3\xb6/x", "k\xc3\xb6/x"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(cases); i++) {
        char text[MM_ERR_TEXT_MAX];

        snprintf(text, sizeof(text), "%s", cases[i].text);
        mm_text_hide_paths(text);
        ck_assert_str_eq(text, cases[i].hidden);
    }
}
END_TEST

START_TEST(name_valid_knows_its_form)
{
    ck_assert(mm_name_valid("line-1.batch_7", 64));
    ck_assert(mm_name_valid("a", 1));
    ck_assert(!mm_name_valid("", 64));
    ck_assert(!mm_name_valid("ab", 1));
    ck_assert(!mm_name_valid("-a", 64));
    ck_assert(!mm_name_valid("a b", 64));
    ck_assert(!mm_name_valid("a/../b", 64));
}
END_TEST

START_TEST(uuid_round_trips_and_refuses_other_forms)
{
    uint8_t uuid[16], back[16];
    char text[37];

    memset(uuid, 0xab, sizeof(uuid));
    mm_uuid7_stamp(uuid, 0x0123456789ab);
    mm_uuid_format(uuid, text);
    ck_assert_str_eq(text, "01234567-89ab-7bab-abab-abababababab");
    ck_assert_int_eq(mm_uuid_parse(text, back), MM_OK);
    ck_assert_mem_eq(uuid, back, 16);
    ck_assert_int_eq(mm_uuid_parse("0123456789ab-7bab-abab-abababababab-", back), MM_ERR_INVALID);
    ck_assert_int_eq(mm_uuid_parse("01234567-89ab-7bab-abab-ababababab", back), MM_ERR_INVALID);
    ck_assert_int_eq(mm_uuid_parse("g1234567-89ab-7bab-abab-abababababab", back), MM_ERR_INVALID);
}
END_TEST

START_TEST(hex_decode_wants_the_exact_length)
{
    uint8_t out[2];

    ck_assert_int_eq(mm_hex_decode("a1B2", out, 2), MM_OK);
    ck_assert_mem_eq(out, "\xa1\xb2", 2);
    ck_assert_int_eq(mm_hex_decode("a1b", out, 2), MM_ERR_INVALID);
    ck_assert_int_eq(mm_hex_decode("a1b2c", out, 2), MM_ERR_INVALID);
    ck_assert_int_eq(mm_hex_decode("", out, 1), MM_ERR_INVALID);
}
END_TEST

START_TEST(json_has_one_form_for_each_value)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(256);

    mm_json_string(&b, "a\"b\\c\x01\n\x1f/\x7f\xc3\xa9");
    mm_json_string(&b, "");
    mm_json_string(&b, NULL);
    mm_json_hex(&b, (struct mm_bytes){(const uint8_t *)"\x00\xff", 2});
    mm_json_hex(&b, (struct mm_bytes){NULL, 0});
    mm_json_time(&b, 1);
    mm_json_time(&b, 0);
    ck_assert_str_eq(mm_buf_cstr(&b),
                     "\"a\\\"b\\\\c\\u0001\\u000a\\u001f/\x7f\xc3\xa9\"\"\"null\"00ff\"null"
                     "\"1970-01-01T00:00:00.001Z\"null");
}
END_TEST

/* RFC 4648 section 10. */
START_TEST(json_base64_pads_or_does_not)
{
    static const char *const wanted[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

    for (size_t len = 0; len < MM_ARRAY_SIZE(wanted); len++) {
        const struct mm_bytes foobar = {(const uint8_t *)"foobar", len};
        MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(64);

        mm_json_base64(&b, foobar);
        ck_assert_str_eq(mm_buf_cstr(&b), wanted[len]);
        mm_buf_reset(&b);
        mm_json_base64url(&b, foobar);
        ck_assert_uint_eq(b.len, strcspn(wanted[len], "="));
        ck_assert_int_eq(memcmp(mm_buf_cstr(&b), wanted[len], b.len), 0);
        mm_buf_reset(&b);
        mm_json_base64url(&b, (struct mm_bytes){(const uint8_t *)"\xff\xef\xfe", 3});
        mm_json_base64(&b, (struct mm_bytes){(const uint8_t *)"\xff\xef\xfe", 3});
        ck_assert_str_eq(mm_buf_cstr(&b), "_-_-/+/+");
    }
}
END_TEST

START_TEST(json_that_does_not_fit_says_so)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(8);

    mm_json_hex(&b, (struct mm_bytes){(const uint8_t *)"12345678", 8});
    ck_assert_int_eq(mm_buf_err(&b), MM_ERR_TOO_BIG);
}
END_TEST

static char folder[] = "/tmp/mm-base-XXXXXX";

static void make_folder(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void remove_folder(void)
{
    unlink("file");
    ck_assert_int_eq(rmdir(folder), 0);
}

/* What the linker calls them with --wrap: a file system without the flag, or without hard links. */
static bool no_flags, no_links;
int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __real_link(const char *from, const char *to);
int __wrap_link(const char *from, const char *to);

int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    errno = EINVAL;
    return no_flags ? -1 : __real_renameat2(from_dir, from, to_dir, to, flags);
}

int __wrap_link(const char *from, const char *to)
{
    errno = EPERM;
    return no_links ? -1 : __real_link(from, to);
}

static unsigned files_here(void)
{
    DIR *dir = opendir(".");
    unsigned n = 0;

    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

START_TEST(create_file_does_without_the_flag_or_without_links)
{
    struct mm_errinfo ei = {0};
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);

    no_flags = _i & 1;
    no_links = _i & 2;
    if (no_flags && no_links) {
        ck_assert_int_eq(mm_io_create_file("file", 0600, "one", 3, &ei), MM_ERR_IO);
        ck_assert_uint_eq(ei.detail, EPERM);
        ck_assert_uint_eq(files_here(), 0);
        return;
    }
    ck_assert_int_eq(mm_io_create_file("file", 0600, "one", 3, &ei), MM_OK);
    ck_assert_uint_eq(files_here(), 1);
    ck_assert_int_eq(mm_io_create_file("file", 0600, "two", 3, &ei), MM_ERR_EXISTS);
    ck_assert_uint_eq(files_here(), 1);
    ck_assert_int_eq(mm_io_read_file("file", 100, &b, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&b), "one");
}
END_TEST

START_TEST(create_file_names_the_file_that_it_is_for)
{
    struct mm_errinfo ei = {0};

    ck_assert_int_lt(mm_io_create_file("missing/file", 0600, "one", 3, &ei), 0);
    ck_assert_str_eq(ei.text, "missing/file: No such file or directory");
}
END_TEST

START_TEST(create_file_never_overwrites)
{
    struct mm_errinfo ei = {0};
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);
    struct stat st;

    ck_assert_int_eq(mm_io_create_file("file", 0600, "one", 3, &ei), MM_OK);
    ck_assert_int_eq(mm_io_create_file("file", 0600, "two", 3, &ei), MM_ERR_EXISTS);
    ck_assert_int_eq(mm_io_read_file("file", 100, &b, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&b), "one");
    ck_assert_int_eq(stat("file", &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_int_eq(mm_io_write_file("file", 0640, "three", 5, &ei), MM_OK);
    mm_buf_reset(&b);
    ck_assert_int_eq(mm_io_read_file("file", 4, &b, &ei), MM_ERR_TOO_BIG);
    mm_buf_reset(&b);
    ck_assert_int_eq(mm_io_read_file("file", 5, &b, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&b), "three");
}
END_TEST

START_TEST(read_file_names_what_is_missing)
{
    struct mm_errinfo ei = {0};
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(100);

    ck_assert_int_eq(mm_io_read_file("nowhere", 100, &b, &ei), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.text, "nowhere: no such file");
    ck_assert_int_eq(mm_io_read_file(".", 100, &b, &ei), MM_ERR_INVALID);
}
END_TEST

START_TEST(read_secret_takes_one_line_within_bounds)
{
    struct mm_errinfo ei = {0};
    MM_SECRET_CLEANUP struct mm_secret *s = NULL;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(write(fds[1], "1234\nrest\n\n123456", 17), 17);
    close(fds[1]);
    ck_assert_int_eq(mm_io_read_secret(fds[0], 5, &s, &ei), MM_OK);
    ck_assert_uint_eq(mm_secret_len(s), 4);
    ck_assert_mem_eq(mm_secret_data(s), "1234", 4);
    mm_secret_free(MM_TAKE(s));
    ck_assert_int_eq(mm_io_read_secret(fds[0], 5, &s, &ei), MM_OK);
    mm_secret_free(MM_TAKE(s));
    ck_assert_int_eq(mm_io_read_secret(fds[0], 5, &s, &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_io_read_secret(fds[0], 5, &s, &ei), MM_ERR_TOO_BIG);
    ck_assert_ptr_null(s);
    close(fds[0]);
}
END_TEST

static int run_without_standard_descriptors(void)
{
    struct mm_errinfo ei;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        close(fd);
    if (mm_secret_harden_process(&ei) < 0)
        return 1;
    if (open("/dev/null", O_RDWR) <= STDERR_FILENO)
        return 2;
    if (write(STDOUT_FILENO, "x", 1) == 1 || write(STDERR_FILENO, "x", 1) == 1)
        return 3;
    return 0;
}

START_TEST(harden_process_leaves_no_standard_descriptor_to_a_file)
{
    const pid_t child = fork();
    int status;

    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(run_without_standard_descriptors());
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(fail_cuts_long_texts_and_prefixes)
{
    struct mm_errinfo ei = {0};
    char lots[400];

    memset(lots, 'x', sizeof(lots) - 1);
    lots[sizeof(lots) - 1] = 0;
    ck_assert_int_eq(mm_fail(&ei, MM_ERR_EXISTS, "SOME_REASON", "%s", lots), MM_ERR_EXISTS);
    ck_assert_uint_eq(strlen(ei.text), MM_ERR_TEXT_MAX - 1);
    ck_assert_int_eq(mm_fail_field(&ei, "count", "%d is too many", 7), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "count");
    mm_err_prefix(&ei, "file:%d", 3);
    ck_assert_str_eq(ei.text, "file:3: 7 is too many");
    ck_assert_str_eq(mm_err_name(MM_ERR_INTERNAL), "MM_ERR_INTERNAL");
    ck_assert_str_eq(mm_err_name(-99), "MM_ERR_?");
    ck_assert_str_eq(mm_err_name(1), "MM_ERR_?");
}
END_TEST

static int64_t fixed_wall_ms(void)
{
    return 1795285016123;
}

START_TEST(log_escapes_values_into_one_line)
{
    char line[1024];
    int fds[2];
    const int saved = dup(STDERR_FILENO);
    ssize_t n;

    mm_clock_replace(fixed_wall_ms, NULL);
    mm_log_setup("unit", MM_LOG_INFO);
    ck_assert_int_eq(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    mm_log(MM_LOG_DEBUG, "hidden");
    mm_log(MM_LOG_WARNING, "seen", MM_STR("a", "two words\n"), MM_INT("b", -1), MM_STR("c", NULL),
           MM_HEX("d", 255), MM_STR("e", "plain"), MM_STR("f", "\xc2\x9bZ\xc3\xbcZ"));
    dup2(saved, STDERR_FILENO);
    n = read(fds[0], line, sizeof(line) - 1);
    ck_assert_int_gt(n, 0);
    line[n] = 0;
    ck_assert_str_eq(line, "<4>ts=2026-11-21T18:16:56.123Z level=warning module=unit event=seen "
                           "a=\"two words\\x0a\" b=-1 c=\"\" d=0xff e=plain "
                           "f=\"\\xc2\\x9bZ\xc3\xbcZ\"\n");
    mm_clock_replace(NULL, NULL);
    close(saved);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *plain = tcase_create("values");
    TCase *files = tcase_create("files");

    tcase_add_test(plain, buf_append_over_max_sticks_and_keeps_content);
    tcase_add_test(plain, buf_consume_keeps_the_rest);
    tcase_add_test(plain, buf_consume_and_reset_leave_nothing_behind);
    tcase_add_test(plain, text_to_u64_takes_digits_only);
    tcase_add_test(plain, text_hide_paths_leaves_the_sentence);
    tcase_add_test(plain, utf8_valid_refuses_nul_overlong_and_surrogates);
    tcase_add_test(plain, name_valid_knows_its_form);
    tcase_add_test(plain, uuid_round_trips_and_refuses_other_forms);
    tcase_add_test(plain, hex_decode_wants_the_exact_length);
    tcase_add_test(plain, read_secret_takes_one_line_within_bounds);
    tcase_add_test(plain, harden_process_leaves_no_standard_descriptor_to_a_file);
    tcase_add_test(plain, fail_cuts_long_texts_and_prefixes);
    tcase_add_test(plain, json_has_one_form_for_each_value);
    tcase_add_test(plain, json_base64_pads_or_does_not);
    tcase_add_test(plain, json_that_does_not_fit_says_so);
    tcase_add_test(plain, log_escapes_values_into_one_line);
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, create_file_names_the_file_that_it_is_for);
    tcase_add_test(files, create_file_never_overwrites);
    tcase_add_loop_test(files, create_file_does_without_the_flag_or_without_links, 0, 4);
    tcase_add_test(files, read_file_names_what_is_missing);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, files);
    return run_suite(suite);
}
