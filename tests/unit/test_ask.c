/* SPDX-License-Identifier: Apache-2.0 */
/* Questions and answers, with answers that lie in the socket before they are asked for: late ones,
 * such as are none, and what becomes of the descriptors that they bring. */
#include "daemon/ipc/ask.h"
#include "daemon/ipc/descriptor.h"
#include "tests/unit/check_main.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WHAT = 5, VALUE = 42 };

static struct mm_asker asker;
static struct mm_errinfo ei;
static int launcher;        /* its end */
static int watched, handed; /* a pipe; whoever has `handed` open keeps `watched` from its end */

static void setup(void)
{
    static const struct timeval soon = {0, 1000};
    int fd[2];

    ei = (struct mm_errinfo){0};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    asker = (struct mm_asker){.fd = fd[0]};
    launcher = fd[1];
    ck_assert_int_eq(setsockopt(asker.fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
    ck_assert_int_eq(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
    watched = fd[0];
    handed = fd[1];
}

/* Every copy of `handed` is closed by then. */
static void teardown(void)
{
    char byte;

    close(handed);
    ck_assert_int_eq(read(watched, &byte, 1), 0);
    close(watched);
    close(launcher);
    close(asker.fd);
}

static void answer(uint64_t id, int fd)
{
    const struct mm_answer a = {.id = id, .value = VALUE};

    ck_assert_int_eq(mm_ask_answer(launcher, &a, fd, &ei), MM_OK);
}

static void expect_question(uint64_t id)
{
    struct mm_question q;

    ck_assert_int_eq(mm_ask_receive(launcher, &q), MM_OK);
    ck_assert_uint_eq(q.id, id);
    ck_assert_uint_eq(q.what, WHAT);
}

/* Nothing is returned beside the failure. */
static int fail_to_ask(void)
{
    uint64_t value = 1;
    int fd = -2;
    const int r = mm_ask(&asker, WHAT, &value, &fd, &ei);

    ck_assert_int_lt(r, 0);
    ck_assert_int_eq(ei.code, r);
    ck_assert_uint_eq(value, 1);
    ck_assert_int_eq(fd, -2);
    return r;
}

static void refused_as_no_answer(void)
{
    ck_assert_int_eq(fail_to_ask(), MM_ERR_IO);
    ck_assert_uint_eq(ei.detail, EBADMSG);
}

START_TEST(ask_gives_value_and_descriptor_of_the_answer)
{
    uint64_t value;
    int fd;

    answer(1, handed);
    ck_assert_int_eq(mm_ask(&asker, WHAT, &value, &fd, &ei), MM_OK);
    expect_question(1);
    ck_assert_uint_eq(value, VALUE);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(write(fd, "x", 1), 1);
    close(fd);
    ck_assert_int_eq(read(watched, &(char){0}, 1), 1);
    answer(2, -1);
    ck_assert_int_eq(mm_ask(&asker, WHAT, &value, &fd, &ei), MM_OK);
    expect_question(2);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(first_is_the_answer_to_no_question)
{
    int fd;

    answer(0, -1);
    ck_assert_int_eq(mm_ask_first(&asker, &fd, &ei), MM_OK);
    ck_assert_int_eq(fd, -1);
    answer(1, handed);
    ck_assert_int_eq(mm_ask_first(&asker, &fd, &ei), MM_ERR_IO);
}
END_TEST

START_TEST(ask_drops_answers_that_are_late_and_their_descriptors)
{
    uint64_t value;
    int fd;

    answer(0, handed);
    ck_assert_int_eq(fail_to_ask(), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "LAUNCHER_STUCK");
    ck_assert_int_eq(fail_to_ask(), MM_ERR_UNAVAILABLE);
    answer(1, handed);
    answer(2, handed);
    answer(3, -1);
    ck_assert_int_eq(mm_ask(&asker, WHAT, &value, &fd, &ei), MM_OK);
    ck_assert_int_eq(fd, -1);
    expect_question(1);
    expect_question(2);
    expect_question(3);
}
END_TEST

START_TEST(ask_a_refusal_is_returned_and_its_descriptor_closed)
{
    struct mm_answer no = {.id = 1, .value = VALUE};

    ck_assert_int_lt(mm_fail(&no.ei, MM_ERR_NOT_FOUND, "NO_SUCH_THING", "it is gone"), 0);
    ck_assert_int_eq(mm_ask_answer(launcher, &no, handed, &ei), MM_OK);
    ck_assert_int_eq(fail_to_ask(), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.reason, "NO_SUCH_THING");
    ck_assert_str_eq(ei.text, "it is gone");
}
END_TEST

START_TEST(ask_an_answer_of_another_length_is_refused)
{
    static const uint8_t bytes[sizeof(struct mm_answer) + 1];
    static const size_t lengths[] = {1, sizeof(bytes) - 2, sizeof(bytes)};

    for (size_t i = 0; i < MM_ARRAY_SIZE(lengths); i++) {
        ck_assert_int_eq(mm_descriptor_send(launcher, bytes, lengths[i], handed, 0),
                         (ssize_t)lengths[i]);
        refused_as_no_answer();
    }
}
END_TEST

START_TEST(ask_an_answer_to_what_was_not_asked_is_refused)
{
    answer(2, handed);
    refused_as_no_answer();
    answer(UINT64_MAX, handed);
    refused_as_no_answer();
}
END_TEST

static void send_with_two(const void *data, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {.bytes = {0}};
    const int two[2] = {handed, handed};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(two));
    memcpy(CMSG_DATA(c), two, sizeof(two));
    ck_assert_int_eq(sendmsg(launcher, &msg, 0), (ssize_t)len);
}

START_TEST(ask_an_answer_with_two_descriptors_is_refused_and_none_stays)
{
    const struct mm_answer a = {.id = 1};

    send_with_two(&a, sizeof(a));
    refused_as_no_answer();
}
END_TEST

START_TEST(ask_with_no_launcher_fails)
{
    close(launcher);
    launcher = -1;
    ck_assert_int_eq(fail_to_ask(), MM_ERR_IO);
}
END_TEST

START_TEST(ask_of_a_launcher_that_goes_fails)
{
    ck_assert_int_eq(shutdown(launcher, SHUT_WR), 0);
    ck_assert_int_eq(fail_to_ask(), MM_ERR_IO);
    ck_assert_uint_eq(ei.detail, ECONNRESET);
}
END_TEST

START_TEST(receive_takes_questions_only)
{
    static const struct {
        struct mm_question q;
        char more;
    } longer = {.q = {.id = 1}};
    static const size_t lengths[] = {1, sizeof(struct mm_question) - 1, sizeof(longer)};
    struct mm_question q;

    ck_assert_int_eq(mm_ask_receive(launcher, &q), MM_ERR_AGAIN);
    for (size_t i = 0; i < MM_ARRAY_SIZE(lengths); i++) {
        ck_assert_int_eq(mm_descriptor_send(asker.fd, &longer, lengths[i], handed, 0),
                         (ssize_t)lengths[i]);
        ck_assert_int_eq(mm_ask_receive(launcher, &q), MM_ERR_EOF);
    }
    ck_assert_int_eq(mm_descriptor_send(asker.fd, &longer, sizeof(q), handed, 0),
                     (ssize_t)sizeof(q));
    ck_assert_int_eq(mm_ask_receive(launcher, &q), MM_OK);
    close(asker.fd);
    asker.fd = -1;
    ck_assert_int_eq(mm_ask_receive(launcher, &q), MM_ERR_EOF);
}
END_TEST

START_TEST(answer_to_an_asker_that_does_not_read_does_not_block)
{
    const struct mm_answer a = {.id = 1};
    int sent = 0;

    while (mm_ask_answer(launcher, &a, -1, &ei) == MM_OK)
        sent++;
    ck_assert_int_gt(sent, 0);
    ck_assert_uint_eq(ei.detail, EAGAIN);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ask");
    TCase *tc = tcase_create("ask");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ask_gives_value_and_descriptor_of_the_answer);
    tcase_add_test(tc, first_is_the_answer_to_no_question);
    tcase_add_test(tc, ask_drops_answers_that_are_late_and_their_descriptors);
    tcase_add_test(tc, ask_a_refusal_is_returned_and_its_descriptor_closed);
    tcase_add_test(tc, ask_an_answer_of_another_length_is_refused);
    tcase_add_test(tc, ask_an_answer_to_what_was_not_asked_is_refused);
    tcase_add_test(tc, ask_an_answer_with_two_descriptors_is_refused_and_none_stays);
    tcase_add_test(tc, ask_with_no_launcher_fails);
    tcase_add_test(tc, ask_of_a_launcher_that_goes_fails);
    tcase_add_test(tc, receive_takes_questions_only);
    tcase_add_test(tc, answer_to_an_asker_that_does_not_read_does_not_block);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
