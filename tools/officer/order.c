/* SPDX-License-Identifier: Apache-2.0 */
/* order request, import, show, list, suspend, resume, close and lower: what the running service is
 * asked. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/date.h"
#include "tools/officer/paper.h"
#include "tools/officer/service.h"

#include <string.h>

enum { PAGE_SIZE = 1000 };

static const struct mm_method make_request = {
    .path = "/mintmark.v1.OfficerService/MakeOrderRequest",
    .response = &mintmark__v1__make_order_request_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method import_order = {
    .path = "/mintmark.v1.OfficerService/ImportOrder",
    .response = &mintmark__v1__import_order_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method import_document = {
    .path = "/mintmark.v1.OfficerService/ImportDocument",
    .response = &mintmark__v1__import_document_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method change_order = {
    .path = "/mintmark.v1.OfficerService/ChangeOrder",
    .response = &mintmark__v1__change_order_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method get_order = {
    .path = "/mintmark.v1.OfficerService/GetOrder",
    .response = &mintmark__v1__get_order_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};
static const struct mm_method list_orders = {
    .path = "/mintmark.v1.OfficerService/ListOrders",
    .response = &mintmark__v1__list_orders_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

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
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_SUSPENDED:
        return "suspended";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_CLOSED:
        return "closed";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_REVOKED:
        return "revoked";
    case MINTMARK__V1__ORDER_STATE__ORDER_STATE_REPORT_DUE:
        return "report due";
    default:
        return "unknown";
    }
}

static json_t *names(char *const *list, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++)
        json_array_append_new(array, mm_out_text(list[i]));
    return array;
}

static json_t *describe_terms(const Mintmark__V1__Order *order)
{
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "oem",
                     mm_out_text(order->oem), "product", mm_out_text(order->product), "stations",
                     names(order->stations, order->n_stations), "per_batch_max",
                     (json_int_t)order->per_batch_max, "per_day_max",
                     (json_int_t)order->per_day_max, "unreported_devices_max",
                     (json_int_t)order->unreported_devices_max, "report_within_hours",
                     (json_int_t)order->report_within_hours, "replacements_max",
                     (json_int_t)order->replacements_max, "refunded", (json_int_t)order->refunded,
                     "reported", (json_int_t)order->reported, "reported_time",
                     mm_out_time(order->reported_time_ms), "signer", mm_out_text(order->signer));
}

static json_t *describe_order(const Mintmark__V1__Order *order)
{
    const uint64_t left = order->used < order->quantity ? order->quantity - order->used : 0;
    json_t *const terms = describe_terms(order);
    json_t *d = json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:s, s:I, s:o, s:I, s:o, s:I, s:o, s:o, s:o, s:o}", "order_id",
        mm_out_text(order->order_id), "profile", mm_out_text(order->profile), "quantity",
        (json_int_t)order->quantity, "used", (json_int_t)order->used, "left", (json_int_t)left,
        "state", order_state(order->state), "not_before_time_ms",
        (json_int_t)order->not_before_time_ms, "not_before", mm_out_time(order->not_before_time_ms),
        "not_after_time_ms", (json_int_t)order->not_after_time_ms, "not_after",
        mm_out_time(order->not_after_time_ms), "added_time_ms", (json_int_t)order->added_time_ms,
        "added_by", mm_out_text(order->added_by), "changed", mm_out_time(order->changed_time_ms),
        "changed_by", mm_out_text(order->changed_by), "change_reason",
        mm_out_text(order->change_reason));

    if (d && (!terms || json_object_update(d, terms) < 0)) {
        json_decref(d);
        d = NULL;
    }
    json_decref(terms);
    return d;
}

static void print_order(const json_t *order)
{
    static const struct mm_column fields[] = {{"state", "state"},
                                              {"used", "used"},
                                              {"left", "left"},
                                              {"refunded", "given back"},
                                              {"reported", "reported"},
                                              {"reported_time", "last receipt"},
                                              {"signer", "signed by"},
                                              {"added_by", "imported by"},
                                              {"changed", "changed"},
                                              {"changed_by", "changed by"},
                                              {"change_reason", "because"}};

    mm_paper_print(order);
    mm_out_fields(stdout, order, fields, MM_ARRAY_SIZE(fields));
}

/* The order that an answer shows; it must be the one that was asked about. */
static int show_order(struct mm_officer *o, const Mintmark__V1__Order *order, const char *order_id,
                      struct mm_errinfo *ei)
{
    int r;

    if (!order || strcmp(order->order_id, order_id) != 0)
        return mm_fail(ei, MM_ERR_INTERNAL, "ANSWER", "the service answered with another order");
    if (o->transcript)
        mm_ceremony_say(o, "order", "%s, %llu devices of profile %s, %s", order->order_id,
                        (unsigned long long)order->quantity, order->profile,
                        order_state(order->state));
    r = mm_officer_answer(o, "order", describe_order(order), ei);
    if (r == MM_OK && !o->args.json && !o->transcript)
        print_order(json_object_get(o->answer, "order"));
    return r;
}

/* ---- order request ----------------------------------------------------------------------- */

int mm_cmd_order_request(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__MakeOrderRequestRequest request = MINTMARK__V1__MAKE_ORDER_REQUEST_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    const Mintmark__V1__MakeOrderRequestResponse *response;
    ProtobufCMessage *message = NULL;
    json_t *description;
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_service_call(client, &make_request, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__MakeOrderRequestResponse *)message;
    r = mm_io_create_file(o->args.out, 0644, response->document.data, response->document.len, ei);
    if (r == MM_OK)
        r = mm_paper_read(o->args.out, &paper, ei);
    if (r < 0)
        return r;
    description = mm_paper_describe(paper.content);
    r = mm_officer_answer(o, "document", description, ei);
    if (r == MM_OK && !o->args.json)
        mm_paper_print(description);
    return r;
}

/* ---- order import ------------------------------------------------------------------------ */

static int send_order(struct mm_officer *o, struct mintmark *client, const struct mm_paper *paper,
                      struct mm_errinfo *ei)
{
    Mintmark__V1__ImportOrderRequest request = MINTMARK__V1__IMPORT_ORDER_REQUEST__INIT;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r;

    request.document = (ProtobufCBinaryData){paper->bytes.len, paper->bytes.data};
    r = mm_service_call(client, &import_order, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    return show_order(o, ((const Mintmark__V1__ImportOrderResponse *)message)->order,
                      paper->content->production_order->order_id, ei);
}

static int send_document(struct mm_officer *o, struct mintmark *client,
                         const struct mm_paper *paper, const char *order_id, struct mm_errinfo *ei)
{
    Mintmark__V1__ImportDocumentRequest request = MINTMARK__V1__IMPORT_DOCUMENT_REQUEST__INIT;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r;

    request.document = (ProtobufCBinaryData){paper->bytes.len, paper->bytes.data};
    r = mm_service_call(client, &import_document, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    return show_order(o, ((const Mintmark__V1__ImportDocumentResponse *)message)->order, order_id,
                      ei);
}

/* The order that the document is, or is about; NULL for one that cannot be imported. */
static const char *order_of(const Mintmark__V1__SignedDocument *d)
{
    switch (d->document_case) {
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER:
        return d->production_order->order_id;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION:
        return d->order_revocation->order_id;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT:
        return d->report_receipt->order_id;
    default:
        return NULL;
    }
}

static int ask_import(struct mm_officer *o, const struct mm_paper *paper, const char *order_id,
                      struct mm_errinfo *ei)
{
    json_t *const description = mm_paper_describe(paper->content);
    int r = mm_officer_answer(o, "document", description, ei);

    if (r < 0)
        return r;
    if (!o->args.json)
        mm_paper_print(description);
    return mm_ceremony_confirm(o, ei, "Import this %s, '%s', signed by %s?",
                               json_string_value(json_object_get(description, "kind")), order_id,
                               paper->document.signer_name);
}

int mm_cmd_order_import(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    const char *order_id = NULL;
    int r = mm_paper_read(o->args.in, &paper, ei);

    if (r == MM_OK)
        order_id = order_of(paper.content);
    if (r == MM_OK && !paper.is_signed)
        r = mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_NOT_CMS", "%.180s: not signed", o->args.in);
    if (r == MM_OK && !order_id)
        r = mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_KIND",
                    "%.160s: no production order, revocation or receipt", o->args.in);
    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = ask_import(o, &paper, order_id, ei);
    if (r < 0)
        return r;
    if (paper.content->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER)
        return send_order(o, client, &paper, ei);
    return send_document(o, client, &paper, order_id, ei);
}

/* ---- order show -------------------------------------------------------------------------- */

static int show_in_service(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__GetOrderRequest request = MINTMARK__V1__GET_ORDER_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__GetOrderResponse *response;
    ProtobufCMessage *message = NULL;
    int r = o->args.out ? mm_officer_absent(o->args.out, ei) : MM_OK;

    request.order_id = o->args.id;
    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_service_call(client, &get_order, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__GetOrderResponse *)message;
    if (o->args.out)
        r = mm_io_create_file(o->args.out, 0644, response->document.data, response->document.len,
                              ei);
    return r < 0 ? r : show_order(o, response->order, o->args.id, ei);
}

int mm_cmd_order_show(struct mm_officer *o, struct mm_errinfo *ei)
{
    if (o->args.operand && !o->args.site && !o->args.id && !o->args.out)
        return mm_order_show_file(o, ei);
    if (!o->args.operand && o->args.site && o->args.id && !o->args.trust)
        return show_in_service(o, ei);
    return mm_officer_usage(o, ei, "order show takes a FILE (and --trust), or --site and --id");
}

/* ---- order suspend, resume, close, lower ------------------------------------------------- */

static int change(struct mm_officer *o, Mintmark__V1__OrderAction action,
                  Mintmark__V1__OrderLimits *limits, const char *question, struct mm_errinfo *ei)
{
    Mintmark__V1__ChangeOrderRequest request = MINTMARK__V1__CHANGE_ORDER_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r = mm_officer_name(o, MM_OPT_id, o->args.id, ei);

    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei, "%s production order '%s'?", question, o->args.id);
    if (r < 0)
        return r;
    request.order_id = o->args.id;
    request.action = action;
    request.limits = limits;
    if (o->args.reason)
        request.reason = o->args.reason;
    r = mm_service_call(client, &change_order, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    return show_order(o, ((const Mintmark__V1__ChangeOrderResponse *)message)->order, o->args.id,
                      ei);
}

int mm_cmd_order_suspend(struct mm_officer *o, struct mm_errinfo *ei)
{
    return change(o, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND, NULL, "Suspend", ei);
}

int mm_cmd_order_resume(struct mm_officer *o, struct mm_errinfo *ei)
{
    return change(o, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME, NULL, "Resume", ei);
}

int mm_cmd_order_close(struct mm_officer *o, struct mm_errinfo *ei)
{
    return change(o, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE, NULL, "Close, for good,", ei);
}

int mm_cmd_order_lower(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__OrderLimits limits = MINTMARK__V1__ORDER_LIMITS__INIT;
    const struct mm_args *const a = &o->args;
    int r = mm_order_number(o, MM_OPT_quantity, a->quantity, &limits.quantity, ei);

    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_per_batch, a->per_batch, &limits.per_batch_max, ei);
    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_per_day, a->per_day, &limits.per_day_max, ei);
    if (r == MM_OK && a->not_after)
        r = mm_date_parse(a->not_after, MM_DATE_END, &limits.not_after_time_ms, ei);
    if (r < 0)
        return r;
    if (!a->quantity && !a->per_batch && !a->per_day && !a->not_after)
        return mm_officer_usage(o, ei,
                                "say what to lower: --quantity, --not-after, --per-batch, "
                                "--per-day");
    return change(o, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER, &limits,
                  "Lower, and never raise again,", ei);
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
