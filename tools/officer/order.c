/* SPDX-License-Identifier: Apache-2.0 */
/* order add and list, and status: what the running service is asked. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/date.h"
#include "tools/officer/service.h"

#include <string.h>

enum { PAGE_SIZE = 1000 };

static const struct mm_method add_order = {
    .path = "/mintmark.v1.OfficerService/AddOrder",
    .response = &mintmark__v1__add_order_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method list_orders = {
    .path = "/mintmark.v1.OfficerService/ListOrders",
    .response = &mintmark__v1__list_orders_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};
static const struct mm_method get_status = {
    .path = "/mintmark.v1.OfficerService/GetStatus",
    .response = &mintmark__v1__get_status_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

static json_t *text(const char *from_service)
{
    return mm_out_string(from_service, strlen(from_service));
}

static json_t *time_text(int64_t ms)
{
    char buf[MM_CLOCK_TEXT];

    return json_string(ms ? mm_clock_text(ms, buf) : "");
}

static const char *order_state(Mintmark__V1__OrderState state)
{
    switch (state) {
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_LIVE:
        return "live";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_NOT_YET_VALID:
        return "not yet valid";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_EXPIRED:
        return "expired";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_USED_UP:
        return "used up";
    default:
        return "unknown";
    }
}

static json_t *describe_order(const Mintmark__V1__Order *order)
{
    const uint64_t left = order->used < order->quantity ? order->quantity - order->used : 0;

    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:s, s:I, s:o, s:I, s:o, s:I, s:o}", "order_id",
                     text(order->order_id), "profile", text(order->profile), "quantity",
                     (json_int_t)order->quantity, "used", (json_int_t)order->used, "left",
                     (json_int_t)left, "state", order_state(order->state), "not_before_time_ms",
                     (json_int_t)order->not_before_time_ms, "not_before",
                     time_text(order->not_before_time_ms), "not_after_time_ms",
                     (json_int_t)order->not_after_time_ms, "not_after",
                     time_text(order->not_after_time_ms), "added_time_ms",
                     (json_int_t)order->added_time_ms, "added_by", text(order->added_by));
}

/* ---- order add --------------------------------------------------------------------------- */

static int read_order(struct mm_officer *o, Mintmark__V1__AddOrderRequest *request,
                      struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    int r;

    r = mm_officer_name(o, MM_OPT_id, a->id, ei);
    if (r < 0)
        return r;
    r = mm_officer_name(o, MM_OPT_profile, a->profile, ei);
    if (r < 0)
        return r;
    if (mm_text_to_u64(a->quantity, 1, MM_ORDER_QUANTITY_MAX, &request->quantity) < 0)
        return mm_officer_usage(o, ei, "--quantity is a number from 1 to %d",
                                MM_ORDER_QUANTITY_MAX);
    r = mm_date_parse(a->not_after, MM_DATE_END, &request->not_after_time_ms, ei);
    if (r < 0)
        return r;
    if (a->not_before)
        r = mm_date_parse(a->not_before, MM_DATE_START, &request->not_before_time_ms, ei);
    request->order_id = a->id;
    request->profile = a->profile;
    return r;
}

static int ask_order(struct mm_officer *o, const Mintmark__V1__AddOrderRequest *request,
                     struct mm_errinfo *ei)
{
    char from[MM_CLOCK_TEXT];
    char until[MM_CLOCK_TEXT];

    return mm_ceremony_confirm(
        o, ei, "Add order '%s': %s devices of profile '%s', from %s until %s? It cannot be raised.",
        request->order_id, o->args.quantity, request->profile,
        request->not_before_time_ms ? mm_clock_text(request->not_before_time_ms, from) : "now",
        mm_clock_text(request->not_after_time_ms, until));
}

int mm_cmd_order_add(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__AddOrderRequest request;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    const Mintmark__V1__AddOrderResponse *response;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r;

    mintmark__v1__add_order_request__init(&request);
    r = read_order(o, &request, ei);
    if (r < 0)
        return r;
    r = mm_service_open(o, &client, ei);
    if (r < 0)
        return r;
    r = ask_order(o, &request, ei);
    if (r < 0)
        return r;
    r = mm_service_call(client, &add_order, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__AddOrderResponse *)message;
    if (!response->order || strcmp(response->order->order_id, request.order_id) != 0)
        return mm_fail(ei, MM_ERR_INTERNAL, "ANSWER", "the service answered with another order");
    mm_ceremony_say(o, "order", "%s, %s devices of profile %s, %s", response->order->order_id,
                    o->args.quantity, response->order->profile,
                    order_state(response->order->state));
    return mm_officer_answer(o, "order", describe_order(response->order), ei);
}

/* ---- order list -------------------------------------------------------------------------- */

/* Appends one page; *page_token (owned) is that of the next, NULL after the last. */
static int list_page(struct mintmark *client, char **page_token, json_t *orders,
                     struct mm_errinfo *ei)
{
    Mintmark__V1__ListOrdersRequest request;
    const Mintmark__V1__ListOrdersResponse *response;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r;

    mintmark__v1__list_orders_request__init(&request);
    request.page_size = PAGE_SIZE;
    if (*page_token)
        request.page_token = *page_token;
    r = mm_service_call(client, &list_orders, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__ListOrdersResponse *)message;
    for (size_t i = 0; i < response->n_orders && r == MM_OK; i++)
        if (json_array_append_new(orders, describe_order(response->orders[i])) < 0)
            r = mm_fail_memory(ei);
    free(*page_token);
    *page_token = NULL;
    if (r == MM_OK && response->next_page_token && *response->next_page_token) {
        *page_token = strdup(response->next_page_token);
        if (!*page_token)
            r = mm_fail_memory(ei);
    }
    return r;
}

int mm_cmd_order_list(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {
        {"order_id", "order"}, {"profile", "profile"}, {"quantity", "quantity"}, {"used", "used"},
        {"left", "left"},      {"state", "state"},     {"not_after", "until"}};
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    json_t *const orders = json_array();
    MM_FREE char *page_token = NULL;
    int r;

    r = mm_officer_answer(o, "orders", orders, ei);
    if (r < 0)
        return r;
    r = mm_service_open(o, &client, ei);
    if (r < 0)
        return r;
    do
        r = list_page(client, &page_token, orders, ei);
    while (r == MM_OK && page_token);
    if (r == MM_OK && !o->args.json)
        mm_out_table(stdout, orders, columns, MM_ARRAY_SIZE(columns));
    return r;
}

/* ---- status ------------------------------------------------------------------------------ */

static const char *worker_state(Mintmark__V1__WorkerState state)
{
    switch (state) {
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_STARTING:
        return "starting";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_READY:
        return "ready";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_BUSY:
        return "busy";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_DOWN:
        return "down";
    default:
        return "unknown";
    }
}

static json_t *describe_workers(const Mintmark__V1__GetStatusResponse *status)
{
    json_t *const list = json_array();

    for (size_t i = 0; i < status->n_workers; i++) {
        const Mintmark__V1__WorkerStatus *const w = status->workers[i];
        json_t *const row = json_pack(
            "{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "name", text(w->name), "state",
            worker_state(w->state), "pid", (json_int_t)w->pid, "restarts", (json_int_t)w->restarts,
            "jobs_done", (json_int_t)w->jobs_done, "jobs_failed", (json_int_t)w->jobs_failed,
            "last_error", text(w->last_error), "token_cpu_us", (json_int_t)w->token_cpu_us,
            "sampled_devices", (json_int_t)w->sampled_devices);

        if (json_array_append_new(list, row) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *describe_status(const Mintmark__V1__GetStatusResponse *status)
{
    return json_pack(
        "{s:o, s:b, s:o, s:I, s:o, s:I, s:o, s:I, s:I, s:I, s:o}", "version", text(status->version),
        "ready", status->ready, "detail", text(status->detail), "started_time_ms",
        (json_int_t)status->started_time_ms, "started", time_text(status->started_time_ms),
        "time_ms", (json_int_t)status->time_ms, "time", time_text(status->time_ms), "connections",
        (json_int_t)status->connections, "calls_in_flight", (json_int_t)status->calls_in_flight,
        "devices_issued", (json_int_t)status->devices_issued, "workers", describe_workers(status));
}

static void print_service(const json_t *status)
{
    static const struct mm_column fields[] = {{"version", "version"},
                                              {"ready", "ready"},
                                              {"detail", "because"},
                                              {"started", "started"},
                                              {"time", "time"},
                                              {"connections", "connections"},
                                              {"calls_in_flight", "calls in flight"},
                                              {"devices_issued", "devices since the start"}};
    static const struct mm_column workers[] = {
        {"name", "worker"},          {"state", "state"},    {"pid", "pid"},
        {"restarts", "restarts"},    {"jobs_done", "done"}, {"jobs_failed", "failed"},
        {"last_error", "last error"}};

    mm_out_fields(stdout, status, fields, MM_ARRAY_SIZE(fields));
    putchar('\n');
    mm_out_table(stdout, json_object_get(status, "workers"), workers, MM_ARRAY_SIZE(workers));
}

int mm_cmd_status(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__GetStatusRequest request;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    json_t *description;
    int r;

    mintmark__v1__get_status_request__init(&request);
    r = mm_service_open(o, &client, ei);
    if (r < 0)
        return r;
    r = mm_service_call(client, &get_status, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    description = describe_status((const Mintmark__V1__GetStatusResponse *)message);
    if (!description || json_object_update(o->answer, description) < 0)
        r = mm_fail_memory(ei);
    json_decref(description);
    if (r == MM_OK && !o->args.json)
        print_service(o->answer);
    return r;
}
