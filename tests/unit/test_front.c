/* SPDX-License-Identifier: Apache-2.0 */
/* The front's bookkeeping: cached view, sets of texts, validation. */
#include "daemon/base/limits.h"
#include "daemon/front/service/provision.h"
#include "daemon/front/texts.h"
#include "daemon/front/validate.h"
#include "daemon/front/view.h"
#include "tests/unit/check_main.h"

#include <stdio.h>
#include <string.h>

/* ---- view -------------------------------------------------------------------------------- */

#define BATCH "0192f0c1-2b3c-7d4e-8f50-0123456789ab"

static struct mm_view *view;
static struct mm_errinfo ei;

static void put_order(const char *id, uint64_t quantity, uint64_t used, int64_t from, int64_t until)
{
    Mintmark__V1__Order o;

    mintmark__v1__order__init(&o);
    o.order_id = (char *)(uintptr_t)id;
    o.profile = (char *)(uintptr_t) "dac";
    o.quantity = quantity;
    o.used = used;
    o.not_before_time_ms = from;
    o.not_after_time_ms = until;
    ck_assert_int_eq(mm_view_put_order(view, &o), MM_OK);
}

static void put_batch(const char *uid, const char *order, uint64_t quantity)
{
    Mintmark__V1__Batch b;

    mintmark__v1__batch__init(&b);
    b.batch_uid = (char *)(uintptr_t)uid;
    b.order_id = (char *)(uintptr_t)order;
    b.profile = (char *)(uintptr_t) "dac";
    b.quantity = quantity;
    ck_assert_int_eq(mm_view_put_batch(view, &b), MM_OK);
}

static void view_setup(void)
{
    ck_assert_int_eq(mm_view_new(&view), MM_OK);
    memset(&ei, 0, sizeof(ei));
}

static void view_teardown(void)
{
    mm_view_free(view);
}

static void refused(const char *batch, uint64_t n, int64_t now, enum mm_err code,
                    const char *reason)
{
    struct mm_reservation r;

    ck_assert_int_eq(mm_view_reserve(view, batch, "s1", n, now, &r, &ei), code);
    ck_assert_str_eq(ei.reason, reason);
}

START_TEST(view_reserve_refuses_what_is_not_left)
{
    struct mm_reservation r1, r2;
    Mintmark__Internal__Recorded recorded;

    put_order("o", 100, 10, 0, 1000);
    put_batch(BATCH, "o", 80);
    refused("another", 1, 5, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    refused(BATCH, 81, 5, MM_ERR_EXHAUSTED, "BATCH_FULL");
    refused(BATCH, 1, 1000, MM_ERR_PRECONDITION, "ORDER_EXPIRED");
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 50, 5, &r1, &ei), MM_OK);
    refused(BATCH, 31, 5, MM_ERR_EXHAUSTED, "BATCH_FULL");
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 30, 5, &r2, &ei), MM_OK);
    mm_view_release(view, &r2, 30);
    mintmark__internal__recorded__init(&recorded);
    recorded.order_used = 60;
    recorded.batch_issued = 50;
    mm_view_recorded(view, &r1, 50, &recorded);
    ck_assert_uint_eq(r1.n, 0);
    refused(BATCH, 31, 5, MM_ERR_EXHAUSTED, "BATCH_FULL");
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 30, 5, &r2, &ei), MM_OK);
}
END_TEST

START_TEST(view_reserve_counts_an_orders_batches_together)
{
    struct mm_reservation r;

    put_order("o", 100, 0, 10, 1000);
    put_batch(BATCH, "o", 80);
    put_batch("0192f0c1-2b3c-7d4e-8f50-0123456789ac", "o", 80);
    refused(BATCH, 1, 9, MM_ERR_PRECONDITION, "ORDER_NOT_YET_VALID");
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 80, 10, &r, &ei), MM_OK);
    refused("0192f0c1-2b3c-7d4e-8f50-0123456789ac", 21, 10, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED");
    /* The batch goes; what was set aside of its order comes back all the same. */
    mm_view_drop_batch(view, BATCH);
    mm_view_release(view, &r, 80);
    ck_assert_int_eq(
        mm_view_reserve(view, "0192f0c1-2b3c-7d4e-8f50-0123456789ac", "s1", 80, 10, &r, &ei),
        MM_OK);
}
END_TEST

static void put_batch_of(const char *uid, const char *station)
{
    Mintmark__V1__Batch b;

    mintmark__v1__batch__init(&b);
    b.batch_uid = (char *)(uintptr_t)uid;
    b.order_id = (char *)(uintptr_t) "o";
    b.profile = (char *)(uintptr_t) "dac";
    b.station = (char *)(uintptr_t)station;
    b.quantity = 1;
    ck_assert_int_eq(mm_view_put_batch(view, &b), MM_OK);
}

START_TEST(view_station_batches_counts_those_that_are_open)
{
    Mintmark__Internal__StoreReady ready;

    ck_assert_uint_eq(mm_view_station_batches(view, "s1"), 0);
    put_batch_of(BATCH, "s1");
    put_batch_of("0192f0c1-2b3c-7d4e-8f50-0123456789ac", "s1");
    put_batch_of("0192f0c1-2b3c-7d4e-8f50-0123456789ad", "s2");
    put_batch_of(BATCH, "s1"); /* again, changed */
    ck_assert_uint_eq(mm_view_station_batches(view, "s1"), 2);
    ck_assert_uint_eq(mm_view_station_batches(view, "s2"), 1);
    mm_view_drop_batch(view, BATCH);
    mm_view_drop_batch(view, BATCH);
    ck_assert_uint_eq(mm_view_station_batches(view, "s1"), 1);
    mm_view_drop_batch(view, "0192f0c1-2b3c-7d4e-8f50-0123456789ac");
    ck_assert_uint_eq(mm_view_station_batches(view, "s1"), 0);
    mintmark__internal__store_ready__init(&ready);
    ck_assert_int_eq(mm_view_load(view, &ready), MM_OK);
    ck_assert_uint_eq(mm_view_station_batches(view, "s2"), 0);
}
END_TEST

START_TEST(order_open_share_leaves_room_for_others)
{
    ck_assert_uint_eq(mm_order_open_share(1), MM_OPEN_BATCHES_MAX / 2);
    for (size_t n = 1; n <= MM_CLIENTS_MAX; n++) {
        const uint32_t share = mm_order_open_share(n);

        ck_assert_uint_ge(share, 1);
        ck_assert_uint_le(n * share, MM_OPEN_BATCHES_MAX - share);
    }
    ck_assert_int_eq(mm_order_check_open("s1", 6, 7, &ei), MM_OK);
    ck_assert_int_eq(mm_order_check_open("s1", 7, 7, &ei), MM_ERR_EXHAUSTED);
    ck_assert_str_eq(ei.reason, "TOO_MANY_OWN_BATCHES");
    ck_assert_str_eq(ei.subject, "client:s1");
    ck_assert_uint_eq(ei.retry_ms, MM_OPEN_BATCHES_RETRY_MS);
}
END_TEST

START_TEST(view_load_forgets_reservations)
{
    Mintmark__Internal__StoreReady ready;
    Mintmark__Internal__NextNumber number;
    Mintmark__Internal__NextNumber *numbers = &number;
    struct mm_reservation old, new;
    uint64_t first;

    put_order("o", 100, 0, 0, 1000);
    put_batch(BATCH, "o", 100);
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 100, 5, &old, &ei), MM_OK);
    mintmark__internal__store_ready__init(&ready);
    mintmark__internal__next_number__init(&number);
    number.profile = (char *)(uintptr_t) "dac";
    number.next = 77;
    ready.next_numbers = &numbers;
    ready.n_next_numbers = 1;
    ck_assert_int_eq(mm_view_load(view, &ready), MM_OK);
    ck_assert_ptr_null(mm_view_batch_profile(view, BATCH));
    put_order("o", 100, 0, 0, 1000);
    put_batch(BATCH, "o", 100);
    ck_assert_int_eq(mm_view_reserve(view, BATCH, "s1", 100, 5, &new, &ei), MM_OK);
    mm_view_release(view, &old, 100);
    refused(BATCH, 1, 5, MM_ERR_EXHAUSTED, "BATCH_FULL");
    ck_assert_int_eq(mm_view_take_numbers(view, "dac", 3, &first), MM_OK);
    ck_assert_uint_eq(first, 77);
    ck_assert_int_eq(mm_view_take_numbers(view, "dac", 1, &first), MM_OK);
    ck_assert_uint_eq(first, 80);
    ck_assert_int_eq(mm_view_take_numbers(view, "other", 1, &first), MM_OK);
    ck_assert_uint_eq(first, 1);
}
END_TEST

START_TEST(view_live_order_is_the_one_that_expires_first)
{
    struct mm_view_order o;

    put_order("late", 100, 0, 0, 2000);
    put_order("soon", 100, 0, 0, 1000);
    put_order("future", 100, 0, 500, 900);
    put_order("used-up", 100, 100, 0, 800);
    ck_assert_int_eq(mm_view_live_order(view, "dac", "s1", 5, &o, &ei), MM_OK);
    ck_assert_str_eq(o.order_id, "soon");
    ck_assert_int_eq(mm_view_live_order(view, "dac", "s1", 600, &o, &ei), MM_OK);
    ck_assert_str_eq(o.order_id, "future");
    ck_assert_int_eq(mm_view_live_order(view, "dac", "s1", 1000, &o, &ei), MM_OK);
    ck_assert_str_eq(o.order_id, "late");
    ck_assert_int_eq(mm_view_live_order(view, "dac", "s1", 2000, &o, &ei), MM_ERR_PRECONDITION);
    ck_assert_int_eq(mm_view_live_order(view, "other", "s1", 5, &o, &ei), MM_ERR_PRECONDITION);
    ck_assert(!mm_view_find_order(view, "none", &o));
}
END_TEST

/* ---- texts and validation ---------------------------------------------------------------- */

START_TEST(texts_find_every_duplicate)
{
    static char text[5000][16];
    struct mm_texts *t;

    ck_assert_int_eq(mm_texts_new(5000, &t), MM_OK);
    for (int i = 0; i < 5000; i++) {
        snprintf(text[i], sizeof(text[i]), "SN-%d", i);
        ck_assert_int_eq(mm_texts_add(t, text[i]), MM_OK);
    }
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(mm_texts_add(t, text[i]), MM_ERR_EXISTS);
    ck_assert(!mm_texts_has(t, "SN-5000"));
    ck_assert(!mm_texts_has(t, ""));
    mm_texts_free(t);
}
END_TEST

START_TEST(check_functions_name_the_field)
{
    uint32_t size = 0;
    char serial[MM_HW_SERIAL_MAX + 2];

    ck_assert_int_eq(mm_check_name("name", "", &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "name");
    ck_assert_int_eq(mm_check_uid("batch_uid", "no", NULL, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "batch_uid");
    ck_assert_int_eq(mm_check_uid("batch_uid", BATCH, NULL, &ei), MM_OK);
    ck_assert_int_eq(mm_check_range("count", 0, 1, 5, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.text, "count takes 1 to 5, not 0");
    ck_assert_int_eq(mm_check_page_size(0, &size, &ei), MM_OK);
    ck_assert_uint_eq(size, 100);
    ck_assert_int_eq(mm_check_page_size(1001, &size, &ei), MM_ERR_INVALID);
    memset(serial, 'x', sizeof(serial) - 1);
    serial[sizeof(serial) - 1] = 0;
    ck_assert_int_eq(mm_check_hw_serial("hw_serials", serial, &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_check_hw_serial("hw_serials", "", &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_check_hw_serial("hw_serials", "a\tb", &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_check_hw_serial("hw_serials", "\xc3\xa9", &ei), MM_ERR_INVALID);
    ck_assert_int_eq(mm_check_hw_serial("hw_serials", "A b/1", &ei), MM_OK);
}
END_TEST

/* ---- the arguments of Provision ---------------------------------------------------------- */

static Mintmark__V1__ProvisionRequest provision_request(uint32_t count)
{
    Mintmark__V1__ProvisionRequest r;

    mintmark__v1__provision_request__init(&r);
    r.batch_uid = (char *)(uintptr_t)BATCH;
    r.request_id = (char *)(uintptr_t) "r-1";
    r.count = count;
    return r;
}

static void args_refused(const Mintmark__V1__ProvisionRequest *r, enum mm_err code,
                         const char *field)
{
    struct mm_provision_args args;

    ck_assert_int_eq(mm_provision_args_take(r, &args, &ei), code);
    ck_assert_str_eq(ei.field, field);
}

START_TEST(provision_args_refuse_bad_fields)
{
    Mintmark__V1__ProvisionRequest r = provision_request(0);
    char *serials[] = {(char *)(uintptr_t) "a", (char *)(uintptr_t) "b", (char *)(uintptr_t) "a"};

    args_refused(&r, MM_ERR_INVALID, "count");
    r.count = MM_PROVISION_MAX + 1;
    args_refused(&r, MM_ERR_INVALID, "count");
    r.count = 3;
    r.request_id = (char *)(uintptr_t) "";
    args_refused(&r, MM_ERR_INVALID, "request_id");
    r.request_id = (char *)(uintptr_t) "r";
    r.batch_uid = (char *)(uintptr_t) "x";
    args_refused(&r, MM_ERR_INVALID, "batch_uid");
    r.batch_uid = (char *)(uintptr_t)BATCH;
    r.hw_serials = serials;
    r.n_hw_serials = 2;
    args_refused(&r, MM_ERR_INVALID, "hw_serials");
    r.n_hw_serials = 3;
    args_refused(&r, MM_ERR_EXISTS, "hw_serials");
    ck_assert_str_eq(ei.reason, "DUPLICATE_HW_SERIAL");
}
END_TEST

static void digest_of(const Mintmark__V1__ProvisionRequest *r, uint8_t out[32])
{
    struct mm_provision_args args;

    ck_assert_int_eq(mm_provision_args_take(r, &args, &ei), MM_OK);
    memcpy(out, args.digest, 32);
    mm_provision_args_done(&args);
}

START_TEST(provision_args_digest_covers_all_but_the_request_id)
{
    Mintmark__V1__ProvisionRequest r = provision_request(2);
    char *serials[] = {(char *)(uintptr_t) "ab", (char *)(uintptr_t) "c"};
    char *shifted[] = {(char *)(uintptr_t) "a", (char *)(uintptr_t) "bc"};
    uint8_t plain[32], same[32], other[32];

    digest_of(&r, plain);
    r.request_id = (char *)(uintptr_t) "r-2";
    r.batch_uid = (char *)(uintptr_t) "0192F0C1-2B3C-7D4E-8F50-0123456789AB";
    digest_of(&r, same);
    ck_assert_mem_eq(plain, same, 32);
    r.count = 3;
    digest_of(&r, other);
    ck_assert_mem_ne(plain, other, 32);
    r.count = 2;
    r.hw_serials = serials;
    r.n_hw_serials = 2;
    digest_of(&r, same);
    ck_assert_mem_ne(plain, same, 32);
    r.hw_serials = shifted;
    digest_of(&r, other);
    ck_assert_mem_ne(same, other, 32);
}
END_TEST

START_TEST(provision_args_drop_leaves_what_is_not_recorded)
{
    Mintmark__V1__ProvisionRequest r = provision_request(4);
    char *serials[] = {(char *)(uintptr_t) "a", (char *)(uintptr_t) "b", (char *)(uintptr_t) "c",
                       (char *)(uintptr_t) "d"};
    char *recorded[] = {(char *)(uintptr_t) "c", (char *)(uintptr_t) "a"};
    char *strangers[] = {(char *)(uintptr_t) "x"};
    struct mm_provision_args args;

    r.hw_serials = serials;
    r.n_hw_serials = 4;
    ck_assert_int_eq(mm_provision_args_take(&r, &args, &ei), MM_OK);
    ck_assert_int_eq(mm_provision_args_drop(&args, recorded, 2, &ei), MM_OK);
    ck_assert_str_eq(args.hw_serials[0], "b");
    ck_assert_str_eq(args.hw_serials[1], "d");
    mm_provision_args_done(&args);
    ck_assert_int_eq(mm_provision_args_take(&r, &args, &ei), MM_OK);
    ck_assert_int_eq(mm_provision_args_drop(&args, strangers, 1, &ei), MM_ERR_CORRUPT);
    mm_provision_args_done(&args);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front");
    TCase *views = tcase_create("view");
    TCase *checks = tcase_create("checks");

    tcase_add_checked_fixture(views, view_setup, view_teardown);
    tcase_add_test(views, view_reserve_refuses_what_is_not_left);
    tcase_add_test(views, view_reserve_counts_an_orders_batches_together);
    tcase_add_test(views, view_load_forgets_reservations);
    tcase_add_test(views, view_station_batches_counts_those_that_are_open);
    tcase_add_test(views, order_open_share_leaves_room_for_others);
    tcase_add_test(views, view_live_order_is_the_one_that_expires_first);
    tcase_add_test(checks, texts_find_every_duplicate);
    tcase_add_test(checks, check_functions_name_the_field);
    tcase_add_test(checks, provision_args_refuse_bad_fields);
    tcase_add_test(checks, provision_args_digest_covers_all_but_the_request_id);
    tcase_add_test(checks, provision_args_drop_leaves_what_is_not_recorded);
    suite_add_tcase(s, views);
    suite_add_tcase(s, checks);
    return run_suite(s);
}
