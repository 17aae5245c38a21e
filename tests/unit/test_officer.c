/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tests/unit/check_main.h"
#include "tools/officer/date.h"
#include "tools/officer/officer.h"

#include <errno.h>
#include <openssl/evp.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- dates ------------------------------------------------------------------------------- */

START_TEST(date_parse_forms_that_exist_yields_milliseconds)
{
    static const struct {
        const char *text;
        enum mm_date_edge edge;
        int64_t ms;
    } dates[] = {
        {"1970-01-01", MM_DATE_START, 0},
        {"1970-01-01", MM_DATE_END, 86399999},
        {"2024-02-29", MM_DATE_START, 1709164800000},
        {"9999-12-31", MM_DATE_END, 253402300799999},
        {"2026-11-21T18:16:56Z", MM_DATE_END, 1795285016000},
        {"2026-11-21T18:16:56.5Z", MM_DATE_END, 1795285016500},
        {"2026-11-21T18:16:56.123456Z", MM_DATE_START, 1795285016123},
        {"2026-11-21T20:16:56+02:00", MM_DATE_START, 1795285016000},
        {"2026-11-21T12:46:56-05:30", MM_DATE_START, 1795285016000},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(dates); i++) {
        int64_t ms = -1;

        ck_assert_int_eq(mm_date_parse(dates[i].text, dates[i].edge, &ms, NULL), MM_OK);
        ck_assert_int_eq(ms, dates[i].ms);
    }
}
END_TEST

START_TEST(date_parse_anything_else_fails_and_says_what_would_do)
{
    static const char *const bad[] = {"",
                                      "2026",
                                      "2026-11",
                                      "2026-11-21T",
                                      "2026-1-21",
                                      "2026-13-01",
                                      "2026-00-10",
                                      "2026-04-31",
                                      "2025-02-29",
                                      "1969-12-31",
                                      "21.11.2026",
                                      " 2026-11-21",
                                      "2026-11-21 ",
                                      "2026-11-21T18:16:56",
                                      "2026-11-21T24:00:00Z",
                                      "2026-11-21T18:60:00Z",
                                      "2026-11-21T18:16:60Z",
                                      "2026-11-21T18:16:56.Z",
                                      "2026-11-21T18:16:56+2:00",
                                      "2026-11-21T18:16:56Zx",
                                      "2026-11-21t18:16:56z",
                                      "1970-01-01T00:00:00+01:00",
                                      "+026-11-21"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        struct mm_errinfo ei = {0};
        int64_t ms = 7;

        ck_assert_int_eq(mm_date_parse(bad[i], MM_DATE_START, &ms, &ei), MM_ERR_INVALID);
        ck_assert_int_eq(ms, 7);
        ck_assert_ptr_nonnull(strstr(ei.text, "2027-12-31"));
    }
}
END_TEST

/* ---- transcripts ------------------------------------------------------------------------- */

static char folder[64];
static char path[80];

static int64_t fixed_wall(void)
{
    return 1795285016123;
}

static void make_folder(void)
{
    snprintf(folder, sizeof(folder), "/tmp/mintmark-test-officer.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/t.txt", folder);
    mm_clock_replace(fixed_wall, NULL);
}

static void remove_folder(void)
{
    mm_clock_replace(NULL, NULL);
    unlink(path);
    rmdir(folder);
}

static void read_text(struct mm_buf *text)
{
    mm_buf_reset(text);
    ck_assert_int_eq(mm_io_read_file(path, 65536, text, NULL), MM_OK);
}

static void sha256_of(const struct mm_buf *text, char hex[MM_TRANSCRIPT_SHA256_TEXT])
{
    uint8_t md[32];

    ck_assert_int_eq(EVP_Digest(text->data, text->len, md, NULL, EVP_sha256(), NULL), 1);
    mm_hex_encode(md, sizeof(md), hex);
}

START_TEST(transcript_entries_are_dated_lines_and_the_digest_is_the_files)
{
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *t = NULL;
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(65536);
    char said[MM_TRANSCRIPT_SHA256_TEXT], counted[MM_TRANSCRIPT_SHA256_TEXT];
    struct stat st;

    ck_assert_int_eq(mm_transcript_open(path, true, &t, NULL), MM_OK);
    mm_transcript_add(t, "operator", "%s", "Alice");
    ck_assert_int_eq(mm_transcript_digest(t, said, NULL), MM_OK);
    read_text(&text);
    ck_assert_str_eq(mm_buf_cstr(&text), "mintmark ceremony transcript, version 1\n"
                                         "2026-11-21T18:16:56.123Z operator: Alice\n");
    sha256_of(&text, counted);
    ck_assert_str_eq(said, counted);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777 & 0007, 0);
}
END_TEST

START_TEST(transcript_value_with_line_ends_cannot_forge_an_entry)
{
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *t = NULL;
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(65536);

    ck_assert_int_eq(mm_transcript_open(path, true, &t, NULL), MM_OK);
    mm_transcript_add(t, "answer", "%s", "no\r\n2026 answer: yes\x1b[2J\\x\xc2\x85Z\xc3\xbc");
    read_text(&text);
    ck_assert_ptr_nonnull(strstr(mm_buf_cstr(&text),
                                 "answer: no\\x0d\\x0a2026 answer: yes\\x1b[2J\\x5cx"
                                 "\\xc2\\x85Z\xc3\xbc\n"));
}
END_TEST

START_TEST(transcript_reopened_names_the_digest_of_what_was_before)
{
    struct mm_transcript *t = NULL;
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(65536);
    char before[MM_TRANSCRIPT_SHA256_TEXT];

    ck_assert_int_eq(mm_transcript_open(path, false, &t, NULL), MM_OK);
    mm_transcript_add(t, "outcome", "done");
    ck_assert_int_eq(mm_transcript_digest(t, before, NULL), MM_OK);
    mm_transcript_free(t);
    ck_assert_int_eq(mm_transcript_open(path, false, &t, NULL), MM_OK);
    ck_assert_int_eq(mm_transcript_sync(t, NULL), MM_OK);
    mm_transcript_free(t);
    read_text(&text);
    ck_assert_ptr_nonnull(strstr(mm_buf_cstr(&text), before));
    ck_assert_ptr_nonnull(strstr(mm_buf_cstr(&text), " sha256-before: "));
}
END_TEST

START_TEST(transcript_open_of_what_is_there_as_new_fails_and_changes_nothing)
{
    struct mm_transcript *t = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_transcript_open(path, true, &t, NULL), MM_OK);
    mm_transcript_free(t);
    t = NULL;
    ck_assert_int_eq(mm_transcript_open(path, true, &t, &ei), MM_ERR_EXISTS);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(transcript_open_of_another_file_fails_and_changes_nothing)
{
    static const char *const others[] = {"root:x:0:0\n", "mintmark ceremony transcript",
                                         "mintmark ceremony transcript, version 1\ncut off"};
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(65536);

    for (size_t i = 0; i < MM_ARRAY_SIZE(others); i++) {
        struct mm_transcript *t = NULL;
        struct mm_errinfo ei = {0};

        ck_assert_int_eq(mm_io_write_file(path, 0600, others[i], strlen(others[i]), NULL), MM_OK);
        ck_assert_int_eq(mm_transcript_open(path, false, &t, &ei), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, "NOT_A_TRANSCRIPT");
        read_text(&text);
        ck_assert_str_eq(mm_buf_cstr(&text), others[i]);
    }
}
END_TEST

START_TEST(transcript_open_while_another_command_writes_fails)
{
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *first = NULL;
    struct mm_transcript *second = NULL;

    ck_assert_int_eq(mm_transcript_open(path, false, &first, NULL), MM_OK);
    ck_assert_int_eq(mm_transcript_open(path, false, &second, NULL), MM_ERR_UNAVAILABLE);
}
END_TEST

START_TEST(transcript_open_where_none_can_be_fails)
{
    struct mm_transcript *t = NULL;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_transcript_open("/dev/full", false, &t, &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_transcript_open("/nonexistent/t", false, &t, &ei), MM_ERR_IO);
}
END_TEST

/* As on a full disk: the limit makes write fail once the first line is in. */
START_TEST(transcript_write_failure_is_told_by_sync)
{
    const struct rlimit small = {48, 48};
    MM_TRANSCRIPT_CLEANUP struct mm_transcript *t = NULL;
    struct mm_errinfo ei = {0};

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    ck_assert_int_eq(mm_transcript_open(path, true, &t, NULL), MM_OK);
    mm_transcript_add(t, "operator", "Alice");
    ck_assert_int_eq(mm_transcript_sync(t, &ei), MM_ERR_IO);
    ck_assert_uint_eq(ei.detail, EFBIG);
}
END_TEST

/* ---- the command line -------------------------------------------------------------------- */

START_TEST(commands_are_unique_and_complete)
{
    for (size_t i = 0; i < mm_commands_count; i++) {
        const struct mm_command *const c = &mm_commands[i];

        ck_assert_ptr_nonnull(c->run);
        ck_assert_ptr_nonnull(c->summary);
        for (size_t j = i + 1; j < mm_commands_count; j++)
            ck_assert_str_ne(c->words, mm_commands[j].words);
    }
}
END_TEST

static bool offers(const struct mm_command *c, enum mm_option option)
{
    for (const enum mm_option *o = c->required; *o; o++)
        if (*o == option)
            return true;
    for (const enum mm_option *o = c->optional; *o; o++)
        if (*o == option)
            return true;
    return false;
}

START_TEST(commands_name_an_option_once_and_ceremonies_offer_the_persons)
{
    for (size_t i = 0; i < mm_commands_count; i++) {
        const struct mm_command *const c = &mm_commands[i];
        unsigned seen[MM_OPT_COUNT] = {0};

        for (const enum mm_option *o = c->required; *o; o++)
            ck_assert_uint_eq(seen[*o]++, 0);
        for (const enum mm_option *o = c->optional; *o; o++)
            ck_assert_uint_eq(seen[*o]++, 0);
        ck_assert_int_eq(offers(c, MM_OPT_operator_name), c->ceremony);
        ck_assert_int_eq(offers(c, MM_OPT_witness), c->ceremony);
        ck_assert_int_eq(offers(c, MM_OPT_transcript), c->ceremony);
        ck_assert(offers(c, MM_OPT_json));
    }
}
END_TEST

START_TEST(options_offer_no_pin_itself)
{
    ck_assert_str_eq(mm_cli_option_name(MM_OPT_pin_file), "pin-file");
    for (int o = MM_OPT_NONE + 1; o < MM_OPT_COUNT; o++) {
        ck_assert_str_ne(mm_cli_option_name((enum mm_option)o), "pin");
        ck_assert_str_ne(mm_cli_option_name((enum mm_option)o), "so-pin");
    }
}
END_TEST

START_TEST(cli_find_takes_the_longest_command)
{
    char *const argv[] = {(char[]){"x"}, (char[]){"key"}, (char[]){"transport"}, (char[]){"export"},
                          (char[]){"--yes"}};
    char *const wrong[] = {(char[]){"x"}, (char[]){"key"}, (char[]){"transport"}};
    int used = 0;
    const struct mm_command *const c = mm_cli_find(5, argv, &used);

    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->words, "key transport export");
    ck_assert_int_eq(used, 3);
    ck_assert_ptr_null(mm_cli_find(3, wrong, &used));
    ck_assert_ptr_null(mm_cli_find(1, wrong, &used));
}
END_TEST

/* Parses "key create" with these words after it. */
static int parse(int n, const char *const words[], struct mm_args *args, struct mm_errinfo *ei)
{
    static char store[8][64];
    char *argv[9];
    int used;
    char *const line[] = {(char[]){"x"}, (char[]){"key"}, (char[]){"create"}};
    const struct mm_command *const c = mm_cli_find(3, line, &used);

    snprintf(store[0], sizeof(store[0]), "create");
    argv[0] = store[0];
    for (int i = 0; i < n; i++) {
        snprintf(store[i + 1], sizeof(store[0]), "%s", words[i]);
        argv[i + 1] = store[i + 1];
    }
    argv[n + 1] = NULL;
    return mm_cli_parse(c, n + 1, argv, args, ei);
}

START_TEST(cli_parse_good_line_fills_the_fields)
{
    static const char *const words[] = {"--config", "c", "--use=ca", "--label", "l", "--json"};
    struct mm_args args = {0};

    ck_assert_int_eq(parse(6, words, &args, NULL), MM_OK);
    ck_assert_str_eq(args.config, "c");
    ck_assert_str_eq(args.use, "ca");
    ck_assert_str_eq(args.label, "l");
    ck_assert(args.json);
    ck_assert(!args.yes);
    ck_assert_ptr_null(args.token);
}
END_TEST

START_TEST(cli_parse_wrong_line_names_the_word_at_fault)
{
    static const struct {
        const char *words[6];
        int n;
        const char *says;
    } lines[] = {
        {{"--config", "c", "--use", "ca"}, 4, "--label"},
        {{"--config", "c", "--use", "ca", "--label"}, 5, "--label needs a value"},
        {{"--config", "c", "--use", "ca", "--label", ""}, 6, "--label needs a value"},
        {{"--pin", "1234"}, 2, "--pin"},
        {{"--seconds", "1"}, 2, "--seconds"},
        {{"--config=c", "--use=ca", "--label=l", "more"}, 4, "'more'"},
        {{"-x"}, 1, "-x"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(lines); i++) {
        struct mm_args args;
        struct mm_errinfo ei = {0};

        ck_assert_int_eq(parse(lines[i].n, lines[i].words, &args, &ei), MM_ERR_INVALID);
        ck_assert_msg(strstr(ei.text, lines[i].says), "%s", ei.text);
    }
}
END_TEST

START_TEST(cli_exit_follows_the_documented_codes)
{
    ck_assert_int_eq(mm_cli_exit(MM_OK), 0);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_EXISTS), 1);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_CANCELLED), 1);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_INVALID), 65);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_UNAVAILABLE), 69);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_INTERNAL), 70);
    ck_assert_int_eq(mm_cli_exit(MM_ERR_PIN), 77);
}
END_TEST

/* ---- output ------------------------------------------------------------------------------ */

START_TEST(out_table_aligns_and_shows_no_control_characters)
{
    static const struct mm_column columns[] = {{"a", "first"}, {"b", "second"}};
    json_t *const rows = json_pack("[{s:s, s:i}, {s:s, s:b}]", "a", "\xc3\xa4\x1b[2Jlonger", "b", 7,
                                   "a", "\xc2\x9bx", "b", 1);
    char *text = NULL;
    size_t len;
    FILE *const out = open_memstream(&text, &len);

    mm_out_table(out, rows, columns, 2);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(text, "first        second\n"
                           "\xc3\xa4?[2Jlonger  7\n"
                           "??x          yes\n");
    free(text);
    json_decref(rows);
}
END_TEST

int main(void)
{
    Suite *const suite = suite_create("officer");
    TCase *const dates = tcase_create("dates");
    TCase *const transcripts = tcase_create("transcripts");
    TCase *const cli = tcase_create("cli");

    tcase_add_test(dates, date_parse_forms_that_exist_yields_milliseconds);
    tcase_add_test(dates, date_parse_anything_else_fails_and_says_what_would_do);
    suite_add_tcase(suite, dates);
    tcase_add_checked_fixture(transcripts, make_folder, remove_folder);
    tcase_add_test(transcripts, transcript_entries_are_dated_lines_and_the_digest_is_the_files);
    tcase_add_test(transcripts, transcript_value_with_line_ends_cannot_forge_an_entry);
    tcase_add_test(transcripts, transcript_reopened_names_the_digest_of_what_was_before);
    tcase_add_test(transcripts, transcript_open_of_what_is_there_as_new_fails_and_changes_nothing);
    tcase_add_test(transcripts, transcript_open_of_another_file_fails_and_changes_nothing);
    tcase_add_test(transcripts, transcript_open_while_another_command_writes_fails);
    tcase_add_test(transcripts, transcript_open_where_none_can_be_fails);
    tcase_add_test(transcripts, transcript_write_failure_is_told_by_sync);
    suite_add_tcase(suite, transcripts);
    tcase_add_test(cli, commands_are_unique_and_complete);
    tcase_add_test(cli, commands_name_an_option_once_and_ceremonies_offer_the_persons);
    tcase_add_test(cli, options_offer_no_pin_itself);
    tcase_add_test(cli, cli_find_takes_the_longest_command);
    tcase_add_test(cli, cli_parse_good_line_fills_the_fields);
    tcase_add_test(cli, cli_parse_wrong_line_names_the_word_at_fault);
    tcase_add_test(cli, cli_exit_follows_the_documented_codes);
    tcase_add_test(cli, out_table_aligns_and_shows_no_control_characters);
    suite_add_tcase(suite, cli);
    return run_suite(suite);
}
