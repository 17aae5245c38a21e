/* SPDX-License-Identifier: Apache-2.0 */
/* AddOrder and ListOrders. */
#include "daemon/base/clock.h"
#include "daemon/front/service/service.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/officer.pb-c.h"

/* ---- AddOrder ---------------------------------------------------------------------------- */

static int check_times(const Mintmark__V1__AddOrderRequest *r, int64_t now_ms,
                       struct mm_errinfo *ei)
{
    if (r->not_before_time_ms < 0)
        return mm_fail_field(ei, "not_before_time_ms", "not_before_time_ms cannot be negative");
    if (r->not_after_time_ms <= now_ms)
        return mm_fail_field(ei, "not_after_time_ms", "not_after_time_ms must lie in the future");
    if (r->not_after_time_ms <= r->not_before_time_ms)
        return mm_fail_field(ei, "not_after_time_ms",
                             "not_after_time_ms must be after not_before_time_ms");
    return MM_OK;
}

static int check_add(const struct mm_app *app, const Mintmark__V1__AddOrderRequest *r,
                     int64_t now_ms, struct mm_errinfo *ei)
{
    int rc = mm_check_name("order_id", r->order_id, ei);

    if (rc == MM_OK)
        rc = mm_check_name("profile", r->profile, ei);
    if (rc == MM_OK)
        rc = mm_check_range("quantity", r->quantity, 1, MM_ORDER_QUANTITY_MAX, ei);
    if (rc == MM_OK)
        rc = check_times(r, now_ms, ei);
    if (rc == MM_OK && !mm_conf_profile_get(app->conf, r->profile))
        rc = mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "no profile %s", r->profile);
    return rc;
}

static void learn_order(struct mm_app *app, const char *call_id,
                        const Mintmark__Internal__StoreResult *result)
{
    const Mintmark__V1__Order *o = result->order;

    mm_log(MM_LOG_INFO, "order_added", MM_STR("request", call_id), MM_STR("order", o->order_id),
           MM_STR("profile", o->profile), MM_UINT("quantity", o->quantity),
           MM_STR("by", o->added_by));
    if (mm_view_put_order(app->view, o) < 0)
        mm_log(MM_LOG_ERROR, "view_behind", MM_STR("request", call_id),
               MM_STR("order", o->order_id));
}

static void reply_order(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__AddOrderResponse response;

    mintmark__v1__add_order_response__init(&response);
    response.order = result->order;
    response.order->state = mm_order_state(result->order, mm_clock_wall_ms());
    mm_call_reply(call, &response.base);
}

void mm_rpc_add_order(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER, learn_order,
                                      reply_order};
    const Mintmark__V1__AddOrderRequest *r = (const Mintmark__V1__AddOrderRequest *)request;
    const int64_t now_ms = mm_clock_wall_ms();
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__AddOrder body;
    Mintmark__V1__Order order;
    struct mm_errinfo ei;

    if (check_add(mm_call_app(call), r, now_ms, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    mintmark__internal__store_job__init(&job);
    mintmark__internal__add_order__init(&body);
    mintmark__v1__order__init(&order);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_ORDER;
    job.add_order = &body;
    body.order = &order;
    order.order_id = r->order_id;
    order.profile = r->profile;
    order.quantity = r->quantity;
    order.not_before_time_ms = r->not_before_time_ms ? r->not_before_time_ms : now_ms;
    order.not_after_time_ms = r->not_after_time_ms;
    order.added_time_ms = now_ms;
    order.added_by = mm_for_packing(mm_call_peer(call)->name);
    mm_app_ask(call, &job, &ask);
}

/* ---- ListOrders -------------------------------------------------------------------------- */

static void reply_orders(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    const int64_t now_ms = mm_clock_wall_ms();
    Mintmark__V1__ListOrdersResponse response;

    mintmark__v1__list_orders_response__init(&response);
    response.orders = result->orders->orders;
    response.n_orders = result->orders->n_orders;
    response.next_page_token = result->orders->next_page_token;
    for (size_t i = 0; i < response.n_orders; i++)
        response.orders[i]->state = mm_order_state(response.orders[i], now_ms);
    mm_call_reply(call, &response.base);
}

void mm_rpc_list_orders(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDERS, NULL,
                                      reply_orders};
    const Mintmark__V1__ListOrdersRequest *r = (const Mintmark__V1__ListOrdersRequest *)request;
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__ListOrders body;
    struct mm_errinfo ei;

    mintmark__internal__store_job__init(&job);
    mintmark__internal__list_orders__init(&body);
    if (mm_check_page_size(r->page_size, &body.page_size, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS;
    job.list_orders = &body;
    body.page_token = r->page_token;
    mm_app_ask(call, &job, &ask);
}
