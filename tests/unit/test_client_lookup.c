/* SPDX-License-Identifier: Apache-2.0 */
/* Finding the server's addresses, with the C library's resolver in the test's hand. */
#include "tests/unit/client_server.h"

#include <netdb.h>

static struct {
    bool hangs;
    int error;
    unsigned asked, cancelled;
} resolver;

int __wrap_getaddrinfo_a(int mode, struct gaicb *list[], int n, struct sigevent *event);
int __wrap_gai_error(struct gaicb *block);
int __wrap_gai_cancel(struct gaicb *block);

int __wrap_getaddrinfo_a(int mode, struct gaicb *list[], int n, struct sigevent *event)
{
    ck_assert_int_eq(mode, GAI_NOWAIT);
    ck_assert_int_eq(n, 1);
    ck_assert_ptr_null(event);
    ck_assert_str_eq(list[0]->ar_name, "factory.example");
    resolver.asked++;
    return 0;
}

int __wrap_gai_error(struct gaicb *block)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};

    if (resolver.hangs)
        return EAI_INPROGRESS;
    if (resolver.error)
        return resolver.error;
    ck_assert_int_eq(getaddrinfo("127.0.0.1", block->ar_service, &hints, &block->ar_result), 0);
    return 0;
}

int __wrap_gai_cancel(MM_UNUSED struct gaicb *block)
{
    resolver.cancelled++;
    return resolver.hangs ? EAI_CANCELED : EAI_ALLDONE;
}

static void begin_by_name(void)
{
    struct mintmark_options options = {.timeout_ms = 0};
    char target[64];

    memset(&resolver, 0, sizeof(resolver));
    server_start(ANSWER);
    snprintf(target, sizeof(target), "factory.example:%u", server.port);
    options.target = target;
    ck_assert_int_eq(mm_client_new(&options, MM_CLIENT_CLEARTEXT, &client, NULL), 0);
}

START_TEST(name_is_looked_up)
{
    begin_by_name();
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(resolver.asked, 1);
    ck_assert_uint_eq(server.accepted, 1);
}
END_TEST

START_TEST(name_that_is_not_there_fails)
{
    begin_by_name();
    resolver.error = EAI_NONAME;
    ck_assert(expect(call(), MINTMARK_UNAVAILABLE, "NO_ADDRESS").unprocessed);
}
END_TEST

START_TEST(look_up_keeps_to_the_deadline_and_serves_the_next_call)
{
    begin_by_name();
    resolver.hangs = true;
    stop_time();
    expect(call_make(test_now_us, NULL), MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
    ck_assert_uint_eq(resolver.asked, 1);
    resolver.hangs = false;
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(resolver.asked, 1);
}
END_TEST

START_TEST(look_up_that_takes_too_long_fails_and_goes_on)
{
    struct mm_client_call *waiting;

    begin_by_name();
    resolver.hangs = true;
    stop_time();
    waiting = call();
    turn();
    test_now_us += 10000000;
    expect(waiting, MINTMARK_UNAVAILABLE, "NO_ADDRESS");
    test_now_us += 1000000;
    resolver.hangs = false;
    expect(call(), MINTMARK_OK, "");
    ck_assert_uint_eq(resolver.asked, 1);
}
END_TEST

START_TEST(look_up_under_way_is_told_to_stop)
{
    begin_by_name();
    resolver.hangs = true;
    stop_time();
    expect(call_make(test_now_us, NULL), MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED");
    mintmark_free(client);
    client = NULL;
    ck_assert_uint_eq(resolver.cancelled, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_lookup");
    TCase *tcase = tcase_create("lookup");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, name_is_looked_up);
    tcase_add_test(tcase, name_that_is_not_there_fails);
    tcase_add_test(tcase, look_up_keeps_to_the_deadline_and_serves_the_next_call);
    tcase_add_test(tcase, look_up_that_takes_too_long_fails_and_goes_on);
    tcase_add_test(tcase, look_up_under_way_is_told_to_stop);
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
