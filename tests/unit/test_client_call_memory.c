/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of a client, its connection and its calls fails in turn: the call ends and says
 * so, the client can be used again, and nothing leaks. */
#include "client/rpc.h"
#include "tests/unit/client_server.h"
#include "tests/unit/memory.h"

/* A client, two calls at once, and a third that moves to another connection. MINTMARK_OK when all
 * went well, else how the first that did not ended. */
static enum mintmark_status converse(void)
{
    static const struct mm_field metadata[] = {{"x-a", {(const uint8_t *)"a", 1}},
                                               {"x-b-bin", {(const uint8_t *)"b", 1}}};
    enum mintmark_status status = MINTMARK_OK;
    struct mm_client_call *calls[3] = {NULL};
    struct mintmark_error error;
    int r = client_make((struct mintmark_options){.timeout_ms = 0}, &error);

    for (size_t i = 0; i < MM_ARRAY_SIZE(calls) && r == 0; i++) {
        const struct mm_client_call_options options = {
            .stream = {.path = "/S/M", .metadata = metadata, .n_metadata = 2, .gzip = true},
            .deadline_us = INT64_MAX};

        r = mm_client_call_new(client, &options, &calls[i], &error);
        if (r < 0)
            break;
        /* A failure shows when the call is asked for its end. */
        (void)!mm_client_call_send(calls[i], &(struct mm_bytes){(const uint8_t *)"hello", 5}, i);
        mm_client_call_half_close(calls[i]);
    }
    if (r < 0)
        status = (enum mintmark_status) - r;
    for (size_t i = 0; i < MM_ARRAY_SIZE(calls); i++) {
        const enum mintmark_status ended =
            calls[i] ? call_finish(calls[i]).error.status : MINTMARK_OK;

        if (status == MINTMARK_OK)
            status = ended;
    }
    mintmark_free(client);
    client = NULL;
    return status;
}

static void sweep(enum manner manner, unsigned least)
{
    enum mintmark_status status = MINTMARK_OK;
    unsigned failures = 0, n = 1;
    bool failed;

    do {
        server_start(manner);
        memory_fail_at(n++);
        status = converse();
        failed = memory_failed();
        memory_fail_at(0);
        server_stop();
        failures += failed && status != MINTMARK_OK;
        if (status != MINTMARK_OK && manner == ANSWER)
            ck_assert_int_eq(status, MINTMARK_RESOURCE_EXHAUSTED);
    } while (failed);
    ck_assert_int_eq(status, manner == ANSWER ? MINTMARK_OK : MINTMARK_UNAVAILABLE);
    ck_assert_uint_ge(failures, least);
}

START_TEST(calls_without_memory_say_so)
{
    sweep(ANSWER, 20);
}
END_TEST

START_TEST(calls_that_move_without_memory_end)
{
    sweep(REFUSE, 20);
}
END_TEST

START_TEST(calls_on_lost_connections_without_memory_end)
{
    sweep(HANG_UP, 10);
}
END_TEST

START_TEST(unreachable_server_without_memory_ends_calls)
{
    enum mintmark_status status;
    bool failed;

    server_start(ANSWER);
    server_shut();
    for (unsigned n = 1;; n++) {
        memory_fail_at(n);
        status = converse();
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert(status == MINTMARK_UNAVAILABLE || status == MINTMARK_RESOURCE_EXHAUSTED);
        if (!failed)
            break;
    }
    ck_assert_int_eq(status, MINTMARK_UNAVAILABLE);
    server_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_call_memory");
    TCase *tcase = tcase_create("memory");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, calls_without_memory_say_so);
    tcase_add_test(tcase, calls_that_move_without_memory_end);
    tcase_add_test(tcase, calls_on_lost_connections_without_memory_end);
    tcase_add_test(tcase, unreachable_server_without_memory_ends_calls);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
