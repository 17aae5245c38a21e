/* SPDX-License-Identifier: Apache-2.0 */
/* OpenBatch, GetBatch, ListBatches. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/station.pb-c.h"

#include <openssl/rand.h>
#include <string.h>

/* ---- OpenBatch --------------------------------------------------------------------------- */

static int check_open(const struct mm_app *app, const Mintmark__V1__OpenBatchRequest *r,
                      struct mm_errinfo *ei)
{
    int rc = mm_check_name("name", r->name, ei);

    if (rc == MM_OK)
        rc = mm_check_name("profile", r->profile, ei);
    if (rc == MM_OK)
        rc = mm_check_name("device_type", r->device_type, ei);
    if (rc == MM_OK)
        rc = mm_check_range("quantity", r->quantity, 1, MM_BATCH_QUANTITY_MAX, ei);
    if (rc == MM_OK)
        rc = mm_check_range("heads", r->heads, 0, MM_HEADS_MAX, ei);
    if (rc == MM_OK && r->order_id[0])
        rc = mm_check_name("order_id", r->order_id, ei);
    if (rc == MM_OK && !mm_conf_profile_get(app->conf, r->profile))
        rc = mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "no profile %s", r->profile);
    return rc;
}

/* The order to draw on, from the cached view. One that was named but is not in the view is left to
 * the store, which knows those that have expired or are used up. */
static int choose_order(const struct mm_app *app, const Mintmark__V1__OpenBatchRequest *r,
                        const char *station, int64_t now_ms, const char **ret_order_id,
                        struct mm_errinfo *ei)
{
    struct mm_view_order order;
    int rc;

    *ret_order_id = r->order_id;
    if (r->order_id[0]) {
        if (!mm_view_find_order(app->view, r->order_id, &order))
            return MM_OK;
    } else {
        rc = mm_view_live_order(app->view, r->profile, station, now_ms, &order, ei);
        if (rc < 0)
            return rc;
    }
    if (strcmp(order.profile, r->profile) != 0)
        return mm_fail_field(ei, "order_id", "order %s is for profile %s", order.order_id,
                             order.profile);
    rc = mm_view_check_order(&order, station, 0, now_ms, ei);
    if (rc == MM_OK)
        rc = mm_order_check_batch(&order.terms, r->quantity, ei);
    if (rc < 0)
        return rc;
    if (order.left < r->quantity) {
        mm_fail(ei, MM_ERR_EXHAUSTED, "QUOTA_EXHAUSTED",
                "a batch of %llu asked for, but order %s has %llu left",
                (unsigned long long)r->quantity, order.order_id, (unsigned long long)order.left);
        return mm_err_subject(ei, "order", order.order_id);
    }
    *ret_order_id = order.order_id;
    return MM_OK;
}

/* What one station may hold of the batches that can be open, so that there is always room for the
 * others. The store counts again: it sees calls that came at once. */
static uint32_t share(const struct mm_conf *conf)
{
    size_t stations = 0;

    for (size_t i = 0; i < conf->n_clients; i++)
        stations += (conf->clients[i].roles & MM_ROLE_STATION) != 0;
    return mm_order_open_share(stations);
}

static int new_uid(int64_t now_ms, char out[MM_UID_LEN + 1], struct mm_errinfo *ei)
{
    uint8_t uid[16];

    if (RAND_bytes(uid, sizeof(uid)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "NO_RANDOM", "no random bytes");
    mm_uuid7_stamp(uid, now_ms);
    mm_uuid_format(uid, out);
    return MM_OK;
}

static void learn_batch(struct mm_app *app, const char *call_id,
                        const Mintmark__Internal__StoreResult *result)
{
    const Mintmark__V1__Batch *b = result->batch;

    mm_log(MM_LOG_INFO, "batch_opened", MM_STR("request", call_id), MM_STR("batch", b->batch_uid),
           MM_STR("profile", b->profile), MM_STR("order", b->order_id),
           MM_UINT("quantity", b->quantity), MM_STR("station", b->station));
    if (mm_view_put_batch(app->view, b) < 0)
        mm_log(MM_LOG_ERROR, "view_behind", MM_STR("request", call_id),
               MM_STR("batch", b->batch_uid));
}

static void reply_open(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__OpenBatchResponse response;

    mintmark__v1__open_batch_response__init(&response);
    response.batch = result->batch;
    mm_call_reply(call, &response.base);
}

static void open_batch(struct mm_call *call, const Mintmark__V1__OpenBatchRequest *r,
                       int64_t now_ms, const char *order_id, uint32_t station_max, char *uid)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH, learn_batch,
                                      reply_open};
    Mintmark__Internal__OpenBatch body = MINTMARK__INTERNAL__OPEN_BATCH__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(OPEN_BATCH, open_batch, &body);
    Mintmark__V1__Batch batch = MINTMARK__V1__BATCH__INIT;

    body.batch = &batch;
    body.station_max = station_max;
    batch.batch_uid = uid;
    batch.name = r->name;
    batch.profile = r->profile;
    batch.device_type = r->device_type;
    batch.quantity = r->quantity;
    batch.heads = r->heads ? r->heads : 1;
    batch.order_id = mm_for_packing(order_id);
    batch.station = mm_for_packing(mm_call_peer(call)->name);
    batch.opened_time_ms = now_ms;
    mm_app_ask(call, &job, &ask);
}

void mm_rpc_open_batch(struct mm_call *call, const ProtobufCMessage *request)
{
    const Mintmark__V1__OpenBatchRequest *r = (const Mintmark__V1__OpenBatchRequest *)request;
    const struct mm_app *app = mm_call_app(call);
    const char *station = mm_call_peer(call)->name;
    const int64_t now_ms = mm_clock_wall_ms();
    const uint32_t station_max = share(app->conf);
    char uid[MM_UID_LEN + 1];
    const char *order_id = NULL;
    struct mm_errinfo ei;
    int rc = check_open(app, r, &ei);

    if (rc == MM_OK)
        rc = mm_app_check_store(app, &ei);
    if (rc == MM_OK)
        rc = mm_order_check_open(station, mm_view_station_batches(app->view, station), station_max,
                                 &ei);
    if (rc == MM_OK)
        rc = choose_order(app, r, station, now_ms, &order_id, &ei);
    if (rc == MM_OK)
        rc = new_uid(now_ms, uid, &ei);
    if (rc < 0)
        mm_call_finish(call, &ei);
    else
        open_batch(call, r, now_ms, order_id, station_max, uid);
}

/* ---- GetBatch ---------------------------------------------------------------------------- */

static void reply_get(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__GetBatchResponse response;

    mintmark__v1__get_batch_response__init(&response);
    response.batch = result->batch;
    mm_call_reply(call, &response.base);
}

void mm_rpc_get_batch(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCH, NULL,
                                      reply_get};
    const Mintmark__V1__GetBatchRequest *r = (const Mintmark__V1__GetBatchRequest *)request;
    Mintmark__Internal__GetBatch body = MINTMARK__INTERNAL__GET_BATCH__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(GET_BATCH, get_batch, &body);
    struct mm_errinfo ei;

    if (mm_check_uid("batch_uid", r->batch_uid, NULL, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.batch_uid = r->batch_uid;
    mm_app_ask(call, &job, &ask);
}

/* ---- ListBatches ------------------------------------------------------------------------- */

static void reply_list(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    Mintmark__V1__ListBatchesResponse response;

    mintmark__v1__list_batches_response__init(&response);
    response.batches = result->batches->batches;
    response.n_batches = result->batches->n_batches;
    response.next_page_token = result->batches->next_page_token;
    mm_call_reply(call, &response.base);
}

void mm_rpc_list_batches(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_BATCHES, NULL,
                                      reply_list};
    const Mintmark__V1__ListBatchesRequest *r = (const Mintmark__V1__ListBatchesRequest *)request;
    Mintmark__Internal__ListBatches body = MINTMARK__INTERNAL__LIST_BATCHES__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(LIST_BATCHES, list_batches, &body);
    struct mm_errinfo ei;

    if (mm_check_page_size(r->page_size, &body.page_size, &ei) < 0) {
        mm_call_finish(call, &ei);
        return;
    }
    body.page_token = r->page_token;
    body.open_only = r->open_only;
    mm_app_ask(call, &job, &ask);
}
