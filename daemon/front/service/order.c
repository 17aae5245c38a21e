/* SPDX-License-Identifier: Apache-2.0 */
/* ImportOrder, ImportDocument, ChangeOrder, GetOrder and ListOrders. What is signed is handed on to
 * the store, which alone reads it: the front can neither add an order nor change one by itself. */
#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/officer.pb-c.h"

#include <string.h>

void mm_learn_order(struct mm_app *app, const char *call_id, const char *event,
                    const Mintmark__V1__Order *o)
{
    mm_log(MM_LOG_INFO, event, MM_STR("request", call_id), MM_STR("order", o->order_id),
           MM_STR("profile", o->profile), MM_UINT("quantity", o->quantity),
           MM_UINT("used", o->used), MM_STR("by", *o->changed_by ? o->changed_by : o->added_by));
    if (mm_view_put_order(app->view, o) < 0)
        mm_log(MM_LOG_ERROR, "view_behind", MM_STR("request", call_id),
               MM_STR("order", o->order_id));
    /* A database put back to before it could take the order in once more. */
    mm_anchoring_want(&app->anchoring, false);
}

/* Looked at before the store has to carry it. */
static int check_document(const ProtobufCBinaryData *document, struct mm_errinfo *ei)
{
    if (document->len == 0)
        return mm_fail_field(ei, "document", "document is empty");
    if (document->len > MM_DOCUMENT_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG",
                       "the document has %zu bytes; at most %d are read", document->len,
                       MM_DOCUMENT_MAX);
    return MM_OK;
}

/* ---- ImportOrder ------------------------------------------------------------------------- */

static void learn_import(struct mm_app *app, const char *call_id,
                         const Mintmark__Internal__StoreResult *result)
{
    mm_learn_order(app, call_id, "order_imported", result->order);
}

static void reply_import(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ImportOrderResponse response;

    mintmark__v1__import_order_response__init(&response);
    response.order = result->order;
    mm_call_reply(call, &response.base);
}

void mm_rpc_import_order(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER, learn_import,
                                      reply_import};
    const Mintmark__V1__ImportOrderRequest *r = (const Mintmark__V1__ImportOrderRequest *)request;
    Mintmark__Internal__ImportOrder body = MINTMARK__INTERNAL__IMPORT_ORDER__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(IMPORT_ORDER, import_order, &body);
    struct mm_errinfo ei;

    if (check_document(&r->document, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.document = r->document;
    body.now_ms = mm_clock_wall_ms();
    body.by = mm_for_packing(mm_call_peer(call)->name);
    mm_app_ask(call, &job, &ask);
}

/* ---- ImportDocument ---------------------------------------------------------------------- */

static void learn_document(struct mm_app *app, const char *call_id,
                           const Mintmark__Internal__StoreResult *result)
{
    mm_learn_order(app, call_id, "document_imported", result->order);
}

static void reply_document(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ImportDocumentResponse response;

    mintmark__v1__import_document_response__init(&response);
    response.order = result->order;
    mm_call_reply(call, &response.base);
}

void mm_rpc_import_document(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER,
                                      learn_document, reply_document};
    const Mintmark__V1__ImportDocumentRequest *r =
        (const Mintmark__V1__ImportDocumentRequest *)request;
    Mintmark__Internal__ImportDocument body = MINTMARK__INTERNAL__IMPORT_DOCUMENT__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(IMPORT_DOCUMENT, import_document, &body);
    struct mm_errinfo ei;

    if (check_document(&r->document, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.document = r->document;
    body.now_ms = mm_clock_wall_ms();
    body.by = mm_for_packing(mm_call_peer(call)->name);
    mm_app_ask(call, &job, &ask);
}

/* ---- ChangeOrder ------------------------------------------------------------------------- */

static int check_limits(const Mintmark__V1__OrderLimits *l, struct mm_errinfo *ei)
{
    int rc;

    if (!l || (!l->quantity && !l->not_after_time_ms && !l->per_batch_max && !l->per_day_max))
        return mm_fail_field(ei, "limits", "limits has nothing to lower to");
    rc = mm_check_range("limits.quantity", l->quantity, 0, MM_ORDER_QUANTITY_MAX, ei);
    if (rc == MM_OK)
        rc = mm_check_range("limits.per_batch_max", l->per_batch_max, 0, MM_ORDER_QUANTITY_MAX, ei);
    if (rc == MM_OK)
        rc = mm_check_range("limits.per_day_max", l->per_day_max, 0, MM_ORDER_QUANTITY_MAX, ei);
    if (rc == MM_OK && l->not_after_time_ms < 0)
        rc = mm_fail_field(ei, "limits.not_after_time_ms",
                           "limits.not_after_time_ms cannot be negative");
    return rc;
}

static int check_change(const Mintmark__V1__ChangeOrderRequest *r, struct mm_errinfo *ei)
{
    int rc = mm_check_name("order_id", r->order_id, ei);

    if (rc == MM_OK && (r->action < MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND ||
                        r->action > MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER))
        rc = mm_fail_field(ei, "action", "action is none of SUSPEND, RESUME, CLOSE, LOWER");
    if (rc == MM_OK && r->action == MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER)
        rc = check_limits(r->limits, ei);
    if (rc == MM_OK && strlen(r->reason) > MM_REASON_TEXT_MAX)
        rc = mm_fail_field(ei, "reason", "reason is longer than %d bytes", MM_REASON_TEXT_MAX);
    return rc;
}

static void learn_change(struct mm_app *app, const char *call_id,
                         const Mintmark__Internal__StoreResult *result)
{
    mm_learn_order(app, call_id, "order_changed", result->order);
}

static void reply_change(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ChangeOrderResponse response;

    mintmark__v1__change_order_response__init(&response);
    response.order = result->order;
    mm_call_reply(call, &response.base);
}

void mm_rpc_change_order(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER, learn_change,
                                      reply_change};
    const Mintmark__V1__ChangeOrderRequest *r = (const Mintmark__V1__ChangeOrderRequest *)request;
    Mintmark__Internal__ChangeOrder body = MINTMARK__INTERNAL__CHANGE_ORDER__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(CHANGE_ORDER, change_order, &body);
    struct mm_errinfo ei;

    if (check_change(r, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.order_id = r->order_id;
    body.action = r->action;
    body.limits = r->action == MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER ? r->limits : NULL;
    body.reason = r->reason;
    body.now_ms = mm_clock_wall_ms();
    body.by = mm_for_packing(mm_call_peer(call)->name);
    mm_app_ask(call, &job, &ask);
}

/* ---- GetOrder ---------------------------------------------------------------------------- */

static void reply_get(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__GetOrderResponse response;

    mintmark__v1__get_order_response__init(&response);
    response.order = result->order_found->order;
    response.document = result->order_found->document;
    mm_call_reply(call, &response.base);
}

void mm_rpc_get_order(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDER_FOUND, NULL,
                                      reply_get};
    const Mintmark__V1__GetOrderRequest *r = (const Mintmark__V1__GetOrderRequest *)request;
    Mintmark__Internal__GetOrder body = MINTMARK__INTERNAL__GET_ORDER__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_ORDER, get_order, &body);
    struct mm_errinfo ei;

    if (mm_check_name("order_id", r->order_id, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.order_id = r->order_id;
    body.now_ms = mm_clock_wall_ms();
    mm_app_ask(call, &job, &ask);
}

/* ---- ListOrders -------------------------------------------------------------------------- */

static void reply_orders(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ListOrdersResponse response;

    mintmark__v1__list_orders_response__init(&response);
    response.orders = result->orders->orders;
    response.n_orders = result->orders->n_orders;
    response.next_page_token = result->orders->next_page_token;
    mm_call_reply(call, &response.base);
}

void mm_rpc_list_orders(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_ORDERS, NULL,
                                      reply_orders};
    const Mintmark__V1__ListOrdersRequest *r = (const Mintmark__V1__ListOrdersRequest *)request;
    Mintmark__Internal__ListOrders body = MINTMARK__INTERNAL__LIST_ORDERS__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(LIST_ORDERS, list_orders, &body);
    struct mm_errinfo ei;

    if (mm_check_page_size(r->page_size, &body.page_size, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.page_token = r->page_token;
    mm_app_ask(call, &job, &ask);
}
