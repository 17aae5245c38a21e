/* SPDX-License-Identifier: Apache-2.0 */
/* The line between launcher and store: what is handed out, what is in force after it, and what a
 * store that has been taken over might send. The whole of it: test_store_worker, service_reload. */
#include "daemon/ipc/descriptor.h"
#include "daemon/ipc/trusted.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { NEXT, TAKE };

static struct mm_trusted_keeper keeper;
static struct mm_errinfo ei;
static size_t line;
static int peer; /* the store's end */

static int make_set(const char *text)
{
    int set;

    ck_assert_int_eq(mm_trusted_make(&set, &ei), MM_OK);
    ck_assert_int_eq(
        mm_trusted_fill(set, (struct mm_bytes){(const uint8_t *)text, strlen(text)}, &ei), MM_OK);
    return set;
}

static void expect_set(int set, const char *text)
{
    MM_BUF_CLEANUP struct mm_buf got = MM_BUF_INIT(MM_TRUSTED_MAX);

    ck_assert_int_eq(mm_trusted_read(set, &got, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&got), text);
}

static void open_line(void)
{
    ck_assert_msg(mm_trusted_open(&keeper, &line, &peer, &ei) == MM_OK, "%s", ei.text);
}

static void expect_first(const char *text)
{
    MM_BUF_CLEANUP struct mm_buf got = MM_BUF_INIT(MM_TRUSTED_MAX);
    struct mm_asker l = {.fd = peer};

    ck_assert_int_eq(mm_trusted_first(&l, &got, &ei), MM_OK);
    ck_assert_str_eq(mm_buf_cstr(&got), text);
}

static void setup(void)
{
    ei = (struct mm_errinfo){0};
    mm_trusted_keep(&keeper, make_set("first"));
    open_line();
    expect_first("first");
}

static void teardown(void)
{
    close(peer);
    for (size_t i = 0; i < MM_TRUSTED_LINES; i++) {
        if (keeper.lines[i].used)
            mm_trusted_close(&keeper, i);
    }
    mm_trusted_offer(&keeper, -1);
    close(keeper.in_force);
}

/* One request by hand, and its answer; the code in it. A set that comes is NULL or so. */
static int request(uint32_t what, const char *set)
{
    static uint64_t id;
    const struct mm_question asked = {.id = ++id, .what = what};
    struct mm_answer answer;
    int fd;

    ck_assert_int_eq(send(peer, &asked, sizeof(asked), 0), (ssize_t)sizeof(asked));
    mm_trusted_serve(&keeper, line);
    ck_assert_int_eq(mm_descriptor_receive(peer, &answer, sizeof(answer), &fd),
                     (ssize_t)sizeof(answer));
    ck_assert_uint_eq(answer.id, asked.id);
    ck_assert_int_eq(fd >= 0, set != NULL);
    if (set)
        expect_set(fd, set);
    if (fd >= 0)
        close(fd);
    ei = answer.ei;
    return ei.code;
}

START_TEST(fill_is_the_last_that_is_written)
{
    const int set = make_set("it");

    ck_assert_int_lt(write(set, "x", 1), 0);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_lt(ftruncate(set, 0), 0);
    expect_set(set, "it");
    expect_set(set, "it"); /* wherever the descriptor stands */
    close(set);
}
END_TEST

START_TEST(read_of_too_much_is_refused)
{
    MM_BUF_CLEANUP struct mm_buf got = MM_BUF_INIT(MM_TRUSTED_MAX);
    int set;

    ck_assert_int_eq(mm_trusted_make(&set, &ei), MM_OK);
    ck_assert_int_eq(ftruncate(set, MM_TRUSTED_MAX + 1), 0);
    ck_assert_int_eq(mm_trusted_read(set, &got, &ei), MM_ERR_TOO_BIG);
    ck_assert_int_eq(ftruncate(set, MM_TRUSTED_MAX), 0);
    ck_assert_int_eq(mm_trusted_read(set, &got, &ei), MM_OK);
    close(set);
    ck_assert_int_eq(mm_trusted_read(set, &got, &ei), MM_ERR_IO);
}
END_TEST

START_TEST(take_puts_in_force_what_this_store_was_given)
{
    ck_assert_int_eq(request(NEXT, NULL), MM_ERR_PRECONDITION);
    ck_assert_int_eq(request(TAKE, NULL), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "NOTHING_TO_TRUST");
    mm_trusted_offer(&keeper, make_set("second"));
    ck_assert_int_eq(request(TAKE, NULL), MM_ERR_PRECONDITION);
    ck_assert_int_eq(request(NEXT, "second"), MM_OK);
    expect_set(keeper.in_force, "first");
    /* Another reload comes between. */
    mm_trusted_offer(&keeper, make_set("third"));
    ck_assert_int_eq(request(TAKE, NULL), MM_OK);
    expect_set(keeper.in_force, "second");
    ck_assert_int_eq(request(TAKE, NULL), MM_ERR_PRECONDITION);
    ck_assert_int_eq(request(NEXT, "third"), MM_OK);
    ck_assert_int_eq(request(TAKE, NULL), MM_OK);
    close(peer);
    open_line();
    expect_first("third");
}
END_TEST

/* And then nothing has changed, for the launcher: the front must know better (test_trusting). */
START_TEST(take_that_the_store_does_not_hear_of_is_done_and_may_be_repeated)
{
    static const struct timeval soon = {0, 1000};
    struct mm_asker l = {.fd = peer, .last_id = 1000};
    struct mm_answer late;
    int fd;

    mm_trusted_offer(&keeper, make_set("second"));
    ck_assert_int_eq(request(NEXT, "second"), MM_OK);
    ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    ck_assert_int_eq(mm_trusted_take(&l, &ei), MM_ERR_UNAVAILABLE);
    mm_trusted_serve(&keeper, line);
    expect_set(keeper.in_force, "second");
    ck_assert(!mm_trusted_differs(&keeper, (struct mm_bytes){(const uint8_t *)"second", 6}));
    ck_assert_int_eq(mm_descriptor_receive(peer, &late, sizeof(late), &fd), (ssize_t)sizeof(late));
    ck_assert_int_eq(request(NEXT, "second"), MM_OK);
    ck_assert_int_eq(request(TAKE, NULL), MM_OK);
    expect_set(keeper.in_force, "second");
}
END_TEST

START_TEST(offer_of_nothing_forgets_what_was_there)
{
    mm_trusted_offer(&keeper, make_set("second"));
    mm_trusted_offer(&keeper, -1);
    ck_assert_int_eq(request(NEXT, NULL), MM_ERR_PRECONDITION);
    expect_set(keeper.in_force, "first");
}
END_TEST

START_TEST(differs_compares_with_what_is_in_force)
{
    static const char *const others[] = {"", "firs", "First", "first!"};

    ck_assert(!mm_trusted_differs(&keeper, (struct mm_bytes){(const uint8_t *)"first", 5}));
    for (size_t i = 0; i < MM_ARRAY_SIZE(others); i++)
        ck_assert(mm_trusted_differs(
            &keeper, (struct mm_bytes){(const uint8_t *)others[i], strlen(others[i])}));
}
END_TEST

START_TEST(serve_hangs_up_over_a_malformed_request)
{
    static const uint32_t unknown[4] = {1, 0, 2, 0};
    char byte;

    ck_assert_int_eq(send(peer, "x", 1, 0), 1);
    mm_trusted_serve(&keeper, line);
    ck_assert_int_eq(recv(peer, &byte, 1, 0), 0);
    ck_assert_int_eq(keeper.lines[line].fd, -1);
    close(peer);
    open_line();
    expect_first("first");
    ck_assert_int_eq(send(peer, unknown, sizeof(unknown), 0), (ssize_t)sizeof(unknown));
    mm_trusted_serve(&keeper, line);
    ck_assert_int_eq(recv(peer, &byte, 1, 0), 0);
    /* The place is the store's until it has ended. */
    ck_assert(keeper.lines[line].used);
}
END_TEST

START_TEST(open_has_a_limit_of_stores)
{
    int fds[MM_TRUSTED_LINES];
    size_t n = 0, last = 0;

    while (mm_trusted_open(&keeper, &last, &fds[n], &ei) == MM_OK)
        n++;
    ck_assert_uint_eq(n, MM_TRUSTED_LINES - 1);
    ck_assert_str_eq(ei.reason, "TOO_MANY_STORES");
    mm_trusted_close(&keeper, line);
    ck_assert_int_eq(mm_trusted_open(&keeper, &last, &fds[n], &ei), MM_OK);
    ck_assert_uint_eq(last, line);
    for (size_t i = 0; i <= n; i++)
        close(fds[i]);
}
END_TEST

START_TEST(next_gives_up_on_a_launcher_that_is_stuck)
{
    static const struct timeval soon = {0, 1000};
    MM_BUF_CLEANUP struct mm_buf got = MM_BUF_INIT(MM_TRUSTED_MAX);
    struct mm_asker l = {.fd = peer};

    ck_assert_int_eq(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    ck_assert_int_eq(mm_trusted_next(&l, &got, &ei), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "LAUNCHER_STUCK");
    /* Its answer comes late, and is dropped for that of the next request. */
    mm_trusted_offer(&keeper, make_set("second"));
    mm_trusted_serve(&keeper, line);
    ck_assert_int_eq(mm_trusted_take(&l, &ei), MM_ERR_UNAVAILABLE);
    mm_trusted_close(&keeper, line);
    ck_assert_int_eq(mm_trusted_next(&l, &got, &ei), MM_ERR_IO);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trusted");
    TCase *tc = tcase_create("trusted");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, fill_is_the_last_that_is_written);
    tcase_add_test(tc, read_of_too_much_is_refused);
    tcase_add_test(tc, take_puts_in_force_what_this_store_was_given);
    tcase_add_test(tc, take_that_the_store_does_not_hear_of_is_done_and_may_be_repeated);
    tcase_add_test(tc, offer_of_nothing_forgets_what_was_there);
    tcase_add_test(tc, differs_compares_with_what_is_in_force);
    tcase_add_test(tc, serve_hangs_up_over_a_malformed_request);
    tcase_add_test(tc, open_has_a_limit_of_stores);
    tcase_add_test(tc, next_gives_up_on_a_launcher_that_is_stuck);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
