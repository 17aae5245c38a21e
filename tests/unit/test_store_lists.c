/* SPDX-License-Identifier: Apache-2.0 */
/* Listings in pages, and what the front begins with. */
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f);
}

static void teardown(void)
{
    fixture_check_invariants(&f);
    fixture_teardown(&f);
}

START_TEST(add_order_then_list_shows_newest_first_in_pages)
{
    struct order_job order;
    struct small_job list = {.job = MINTMARK__INTERNAL__STORE_JOB__INIT};
    char id[16], token[32];
    unsigned seen = 0;

    for (unsigned i = 0; i < 5; i++) {
        snprintf(id, sizeof(id), "order-%u", i);
        make_order(&order, id, 10 + i);
        ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
        ck_assert_str_eq(f.results[0]->order->order_id, id);
        ck_assert_int_eq(f.results[0]->order->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_LIVE);
    }
    list.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS;
    list.job.list_orders = &list.list_orders;
    mintmark__internal__list_orders__init(&list.list_orders);
    list.list_orders.page_size = 2;
    do {
        const Mintmark__Internal__Orders *page;

        ck_assert_int_eq(fixture_do(&f, &list.job), MM_OK);
        page = f.results[0]->orders;
        for (size_t i = 0; i < page->n_orders; i++, seen++) {
            snprintf(id, sizeof(id), "order-%u", 4 - seen);
            ck_assert_str_eq(page->orders[i]->order_id, id);
            ck_assert_str_eq(page->orders[i]->profile, PROFILE);
            ck_assert_str_eq(page->orders[i]->added_by, "officer-1");
            ck_assert_uint_eq(page->orders[i]->quantity, 14 - seen);
        }
        snprintf(token, sizeof(token), "%s", page->next_page_token);
        list.list_orders.page_token = token;
    } while (token[0]);
    ck_assert_uint_eq(seen, 5);
}
END_TEST

START_TEST(list_orders_tells_their_state)
{
    struct order_job order;
    struct small_job list = {.job = MINTMARK__INTERNAL__STORE_JOB__INIT};

    fixture_populate(&f, 3);
    fixture_spend(&f, 1, "r1", 3, 1, 3);
    make_order(&order, "expired", 10);
    order.order.not_after_time_ms = T0 + 200;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    fixture_clock_ms = T0 + 200;
    list.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS;
    list.job.list_orders = &list.list_orders;
    mintmark__internal__list_orders__init(&list.list_orders);
    ck_assert_int_eq(fixture_do(&f, &list.job), MM_OK);
    ck_assert_int_eq(f.results[0]->orders->orders[0]->state,
                     MINTMARK__V1__ORDER_STATE__ORDER_STATE_EXPIRED);
    ck_assert_int_eq(f.results[0]->orders->orders[1]->state,
                     MINTMARK__V1__ORDER_STATE__ORDER_STATE_USED_UP);
}
END_TEST

START_TEST(list_with_a_strange_page_token_is_refused)
{
    static char tokens[][32] = {"x",
                                "o",
                                "b0000000000000001",
                                "o0000000000000000",
                                "o8000000000000000",
                                "o00000000000000010",
                                "o000000000000000g"};
    struct small_job list = {.job = MINTMARK__INTERNAL__STORE_JOB__INIT};

    list.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS;
    list.job.list_orders = &list.list_orders;
    mintmark__internal__list_orders__init(&list.list_orders);
    for (size_t i = 0; i < MM_ARRAY_SIZE(tokens); i++) {
        list.list_orders.page_token = tokens[i];
        fixture_refused(&f, &list.job, MM_ERR_INVALID, "INVALID_FIELD");
        ck_assert_str_eq(f.results[0]->error->field, "page_token");
    }
    list.list_orders.page_token = tokens[0];
    tokens[0][0] = 0;
    list.list_orders.page_size = MM_PAGE_MAX + 1;
    fixture_refused(&f, &list.job, MM_ERR_INVALID, "INVALID_FIELD");
    ck_assert_str_eq(f.results[0]->error->field, "page_size");
}
END_TEST

START_TEST(list_batches_open_only_leaves_released_ones_out)
{
    struct batch_job batch;
    struct small_job release, list = {.job = MINTMARK__INTERNAL__STORE_JOB__INIT};
    const Mintmark__Internal__Batches *page;
    char token[32];

    fixture_populate(&f, 10);
    for (unsigned i = 2; i <= 4; i++) {
        make_batch(&batch, i, 5);
        ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    }
    make_release(&release, 3);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    list.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_BATCHES;
    list.job.list_batches = &list.list_batches;
    mintmark__internal__list_batches__init(&list.list_batches);
    list.list_batches.open_only = true;
    list.list_batches.page_size = 2;
    ck_assert_int_eq(fixture_do(&f, &list.job), MM_OK);
    page = f.results[0]->batches;
    ck_assert_uint_eq(page->n_batches, 2);
    ck_assert_str_eq(page->batches[0]->batch_uid, batch_uid(4));
    ck_assert_str_eq(page->batches[1]->batch_uid, batch_uid(2));
    snprintf(token, sizeof(token), "%s", page->next_page_token);
    list.list_batches.page_token = token;
    ck_assert_int_eq(fixture_do(&f, &list.job), MM_OK);
    page = f.results[0]->batches;
    ck_assert_uint_eq(page->n_batches, 1);
    ck_assert_str_eq(page->batches[0]->batch_uid, batch_uid(1));
    ck_assert_str_eq(page->next_page_token, "");
    list.list_batches.open_only = false;
    list.list_batches.page_size = 0;
    list.list_batches.page_token = TEXT("");
    ck_assert_int_eq(fixture_do(&f, &list.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->batches->n_batches, 4);
}
END_TEST

START_TEST(ready_has_what_can_still_be_worked_on)
{
    struct order_job order;
    struct batch_job batch;
    struct small_job release;
    struct mm_errinfo ei = {0};
    Mintmark__Internal__StoreReady *ready;

    fixture_populate(&f, 5);
    fixture_spend(&f, 1, "r1", 5, 1, 5); /* used up, but its batch is open */
    make_order(&order, "expired", 10);
    order.order.not_after_time_ms = T0 + 200;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_order(&order, "later", 10);
    order.order.not_before_time_ms = T0 + 300;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_order(&order, "live", 10);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    make_batch(&batch, 2, 10);
    batch.batch.order_id = TEXT("live");
    ck_assert_int_eq(fixture_do(&f, &batch.job), MM_OK);
    make_release(&release, 2);
    ck_assert_int_eq(fixture_do(&f, &release.job), MM_OK);
    fixture_clock_ms = T0 + 200;
    ck_assert_int_eq(mm_store_ready(f.store, &ready, &ei), MM_OK);
    ck_assert_uint_eq(ready->n_orders, 3);
    ck_assert_str_eq(ready->orders[0]->order_id, ORDER);
    ck_assert_int_eq(ready->orders[0]->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_USED_UP);
    ck_assert_int_eq(ready->orders[1]->state, MINTMARK__V1__ORDER_STATE__ORDER_STATE_NOT_YET_VALID);
    ck_assert_str_eq(ready->orders[2]->order_id, "live");
    ck_assert_uint_eq(ready->n_batches, 1);
    ck_assert_uint_eq(ready->n_next_numbers, 1);
    ck_assert_str_eq(ready->next_numbers[0]->profile, PROFILE);
    ck_assert_uint_eq(ready->next_numbers[0]->next, 6);
    mintmark__internal__store_ready__free_unpacked(ready, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_lists");
    TCase *lists = tcase_create("lists");

    tcase_add_checked_fixture(lists, setup, teardown);
    tcase_add_test(lists, add_order_then_list_shows_newest_first_in_pages);
    tcase_add_test(lists, list_orders_tells_their_state);
    tcase_add_test(lists, list_with_a_strange_page_token_is_refused);
    tcase_add_test(lists, list_batches_open_only_leaves_released_ones_out);
    tcase_add_test(lists, ready_has_what_can_still_be_worked_on);
    suite_add_tcase(suite, lists);
    return run_suite(suite);
}
