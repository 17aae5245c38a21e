/* SPDX-License-Identifier: Apache-2.0 */
/* Whole calls, which wait: so the server runs in a process of its own. */
#include "client/rpc.h"
#include "tests/unit/client_server.h"

#include "mintmark/v1/station.pb-c.h"
#include <limits.h>
#include <sys/wait.h>

static const struct mm_method stream = {"/S/Stream", NULL, MM_REPEAT_SAFE, true};

static void serve_until_closed(void)
{
    while (!server.accepted || server.connections[0].fd >= 0) {
        struct pollfd fds[] = {{.fd = server.fd, .events = POLLIN},
                               {.fd = server.connections[0].fd, .events = POLLIN}};

        (void)poll(fds, server.accepted ? 2 : 1, 1000);
        server_turn();
    }
    _exit((int)(10 * server.accepted + server.calls));
}

static void begin(enum manner manner)
{
    server_start(manner);
    ck_assert_int_eq(client_make((struct mintmark_options){.timeout_ms = 0}, NULL), 0);
}

static pid_t serve(void)
{
    const pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        serve_until_closed();
    return pid;
}

/* Closes the connection; the server has seen so many of them, and so many calls. */
static void end_server(pid_t pid, int connections, int calls)
{
    int status;

    mintmark_free(client);
    client = NULL;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 10 * connections + calls);
}

static int take_inner(void *arg, MM_UNUSED const struct mm_bytes *message,
                      MM_UNUSED int *ret_progress, MM_UNUSED struct mintmark_error *error)
{
    ++*(unsigned *)arg;
    return 0;
}

static int take_outer(void *arg, MM_UNUSED const struct mm_bytes *message,
                      MM_UNUSED int *ret_progress, struct mintmark_error *error)
{
    static const struct mm_method inner = {"/S/Inner", NULL, MM_REPEAT_SAFE, false};
    const Mintmark__V1__PingRequest request = MINTMARK__V1__PING_REQUEST__INIT;
    const struct mm_rpc_sink sink = {NULL, take_inner, arg};

    return mm_rpc_call(client, &inner, &request.base, &sink, error);
}

START_TEST(callback_makes_calls_of_its_own_on_the_same_connection)
{
    const Mintmark__V1__PingRequest request = MINTMARK__V1__PING_REQUEST__INIT;
    unsigned taken = 0;
    const struct mm_rpc_sink sink = {NULL, take_outer, &taken};
    struct mintmark_error error;
    pid_t pid;

    begin(ANSWER);
    pid = serve();
    ck_assert_int_eq(mm_rpc_call(client, &stream, &request.base, &sink, &error), 0);
    ck_assert_uint_eq(taken, 1);
    end_server(pid, 1, 2);
}
END_TEST

/* What a caller's callback may say, and a source that has one request. */

struct talk {
    int word;
    unsigned requests; /* that were asked for */
    bool answered;
};

static bool is_unanswered(void *arg)
{
    const struct talk *talk = arg;

    return !talk->answered;
}

static int next_request(void *arg, struct mm_buf *out, MM_UNUSED struct mintmark_error *error)
{
    struct talk *talk = arg;

    if (talk->requests++ == 0)
        mm_buf_append_str(out, "hello");
    return 0;
}

static int take_word(void *arg, MM_UNUSED const struct mm_bytes *message,
                     MM_UNUSED int *ret_progress, MM_UNUSED struct mintmark_error *error)
{
    struct talk *talk = arg;

    talk->answered = true;
    mintmark_cancel(client);
    return talk->word;
}

START_TEST(number_of_a_callback_is_handed_on_and_means_nothing)
{
    static const int words[] = {
        1,
        2,
        INT_MAX,
        INT_MIN,
        -MINTMARK_CANCELLED,
        -MINTMARK_DEADLINE_EXCEEDED,
        -MINTMARK_UNAVAILABLE,
        MM_ERR_AGAIN,
        MM_ERR_EOF,
    };
    struct talk talk = {.word = words[_i]};
    const struct mm_rpc_source source = {is_unanswered, next_request, &talk};
    const struct mm_rpc_sink sink = {NULL, take_word, &talk};
    struct mintmark_error error;
    pid_t pid;

    begin(ANSWER);
    pid = serve();
    ck_assert_int_eq(mm_rpc_stream(client, &stream, &source, &sink, &error), words[_i]);
    /* Nor is a cancellation forgotten over it that nobody has heeded. */
    ck_assert(mm_client_cancelled(client));
    end_server(pid, 1, 1);
}
END_TEST

START_TEST(source_of_which_nothing_is_wanted_makes_no_call)
{
    struct talk talk = {.answered = true};
    const struct mm_rpc_source source = {is_unanswered, next_request, &talk};
    const struct mm_rpc_sink sink = {NULL, take_word, &talk};
    struct mintmark_error error = {.status = MINTMARK_UNKNOWN};

    begin(ANSWER);
    ck_assert_int_eq(mm_rpc_stream(client, &stream, &source, &sink, &error), 0);
    ck_assert_int_eq(error.status, MINTMARK_OK);
    ck_assert_uint_eq(talk.requests, 0);
    ck_assert(LIST_EMPTY(&client->links));
}
END_TEST

START_TEST(cancelled_call_forgets_the_cancellation)
{
    struct talk talk = {.word = 0};
    const struct mm_rpc_source source = {is_unanswered, next_request, &talk};
    const struct mm_rpc_sink sink = {NULL, take_word, &talk};
    struct mintmark_error error;

    begin(ANSWER);
    mintmark_cancel(client);
    ck_assert_int_eq(mm_rpc_stream(client, &stream, &source, &sink, &error), -MINTMARK_CANCELLED);
    ck_assert_int_eq(error.status, MINTMARK_CANCELLED);
    ck_assert(!mm_client_cancelled(client));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_rpc");
    TCase *tcase = tcase_create("rpc");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, callback_makes_calls_of_its_own_on_the_same_connection);
    tcase_add_loop_test(tcase, number_of_a_callback_is_handed_on_and_means_nothing, 0, 9);
    tcase_add_test(tcase, source_of_which_nothing_is_wanted_makes_no_call);
    tcase_add_test(tcase, cancelled_call_forgets_the_cancellation);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
