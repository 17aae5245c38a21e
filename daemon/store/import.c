/* SPDX-License-Identifier: Apache-2.0 */
/* Signed production orders come in. Nobody but the OEM's signature says what may be made: the front
 * hands the bytes on, and the store believes none of it. */
#include "daemon/document/document.h"
#include "daemon/store/message.h"
#include "daemon/store/rows.h"

#include <string.h>

/* ---- nonces ------------------------------------------------------------------------------ */

static int check_nonce_room(struct mm_store *s, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_NONCES_COUNT);
    const int r = mm_sql_step(&q, ei);

    if (r < 0)
        return r;
    if (mm_sql_int(&q, 0) >= MM_ORDER_REQUESTS_MAX)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_ORDER_REQUESTS",
                       "%d requests for production orders wait for their order",
                       MM_ORDER_REQUESTS_MAX);
    return MM_OK;
}

static int add_nonce(struct mm_store *s, const Mintmark__Internal__AddNonce *job,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_NONCE_ADD);
    Mintmark__V1__RequestMade event = MINTMARK__V1__REQUEST_MADE__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(REQUEST_MADE, request_made, &event);
    int r = check_nonce_room(s, ei);

    if (r < 0)
        return r;
    mm_sql_bind_blob(&q, job->nonce.data, job->nonce.len);
    mm_sql_bind_int(&q, job->now_ms);
    mm_sql_bind_text(&q, job->by);
    mm_sql_bind_blob(&q, job->document.data, job->document.len);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "ORDER_NONCE_USED", "the token made a nonce twice");
    event.nonce = job->nonce;
    event.by = job->by;
    return mm_ledger_append(s, &record, ei);
}

int mm_store_add_nonce(struct mm_store *s, const Mintmark__Internal__AddNonce *job,
                       Mintmark__Internal__NonceAdded **ret_added, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__NonceAdded *added =
        mm_message_new(&mintmark__internal__nonce_added__descriptor);
    uint8_t *document = malloc(job->document.len);
    int r;

    if (!added || !document) {
        free(document);
        return mm_fail_memory(ei);
    }
    memcpy(document, job->document.data, job->document.len);
    added->document = (ProtobufCBinaryData){job->document.len, document};
    r = mm_sql_verb_begin(s, ei);
    if (r == MM_OK)
        r = mm_sql_verb_finish(s, add_nonce(s, job, ei), ei);
    if (r == MM_OK)
        *ret_added = MM_TAKE(added);
    return r;
}

/* Made here, and no order has come for it. */
static int check_nonce(struct mm_store *s, const ProtobufCBinaryData *nonce, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_NONCE_FIND);
    char order_id[MM_NAME_MAX + 1];
    int r;

    mm_sql_bind_blob(&q, nonce->data, nonce->len);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_NONCE_UNKNOWN",
                       "the order answers no request that was made here");
    if (mm_sql_int(&q, 0) == 0)
        return mm_sql_end(&q, ei);
    mm_sql_copy_text(&q, 1, order_id, sizeof(order_id));
    r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_NONCE_USED",
                   "the request that the order answers has had production order %s", order_id);
}

static int use_nonce(struct mm_store *s, const ProtobufCBinaryData *nonce, int64_t order_row,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_NONCE_USE);

    mm_sql_bind_blob(&q, nonce->data, nonce->len);
    mm_sql_bind_int(&q, order_row);
    return mm_sql_run(&q, ei);
}

/* ---- what the site says ------------------------------------------------------------------ */

void mm_store_set_site(struct mm_store *s, const struct mm_store_site *site)
{
    s->site = *site;
}

int mm_document_take(struct mm_store *s, const ProtobufCBinaryData *cms, int64_t now_ms,
                     struct mm_arena *arena, struct mm_document *ret_document,
                     struct mm_errinfo *ei)
{
    int r = mm_document_open((struct mm_bytes){cms->data, cms->len}, arena, ret_document, ei);

    return r < 0 ? r : mm_document_check_signer(ret_document, s->site.oem, now_ms, ei);
}

int mm_document_check_appliance(struct mm_store *s, const ProtobufCBinaryData *appliance_sha256,
                                struct mm_errinfo *ei)
{
    if (!s->site.has_identity)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                       "this appliance has no identity: set appliance.identity_certificate");
    if (appliance_sha256->len != sizeof(s->site.identity) ||
        memcmp(appliance_sha256->data, s->site.identity, sizeof(s->site.identity)) != 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_OTHER_APPLIANCE",
                       "the document is for another appliance");
    return MM_OK;
}

int mm_document_fail_kind(const char *wanted, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_KIND", "the document is no %s", wanted);
}

/* ---- the order --------------------------------------------------------------------------- */

/* The row of the profile, which its first order makes. */
static int profile_row(struct mm_store *s, const char *name, int64_t *ret_row,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql find = mm_sql_start(s, MM_SQL_PROFILE_FIND);
    MM_SQL_CLEANUP struct mm_sql add = mm_sql_start(s, MM_SQL_PROFILE_ADD);
    int r;

    mm_sql_bind_text(&find, name);
    r = mm_sql_step(&find, ei);
    if (r < 0)
        return r;
    if (r == 1) {
        *ret_row = mm_sql_int(&find, 0);
        return MM_OK;
    }
    mm_sql_bind_text(&add, name);
    r = mm_sql_run(&add, ei);
    if (r < 0)
        return r;
    *ret_row = sqlite3_last_insert_rowid(s->db);
    return MM_OK;
}

static int check_room(struct mm_store *s, int64_t now_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDERS_COUNT_LIVE);
    int r;

    mm_sql_bind_int(&q, now_ms);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (mm_sql_int(&q, 0) >= MM_LIVE_ORDERS_MAX)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_ORDERS",
                       "%d production orders are live already", MM_LIVE_ORDERS_MAX);
    return MM_OK;
}

/* Terms that could be kept, here and now. */
static int check_terms(struct mm_store *s, const Mintmark__V1__ProductionOrder *o, int64_t now_ms,
                       struct mm_errinfo *ei)
{
    int r = mm_order_terms_check(o, ei);

    if (r == MM_OK)
        r = mm_document_check_appliance(s, &o->appliance_sha256, ei);
    if (r == MM_OK && s->site.profile_known && !s->site.profile_known(s->site.user, o->profile))
        r = mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "no profile %s", o->profile);
    if (r == MM_OK && o->not_after_time_ms <= now_ms)
        r = mm_fail(ei, MM_ERR_PRECONDITION, "ORDER_EXPIRED",
                    "the production order is over already");
    return r;
}

static int insert(struct mm_store *s, const Mintmark__V1__ProductionOrder *o, int64_t profile,
                  const Mintmark__Internal__ImportOrder *job, const char *signer,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ORDER_ADD);
    char stations[MM_ORDER_STATIONS_TEXT];
    int r;

    if (!mm_order_stations_join(o->stations, o->n_stations, stations))
        return mm_fail_field(ei, "stations", "too many stations");
    mm_sql_bind_text(&q, o->order_id);
    mm_sql_bind_int(&q, profile);
    mm_sql_bind_uint(&q, o->quantity);
    mm_sql_bind_int(&q, o->not_before_time_ms);
    mm_sql_bind_int(&q, o->not_after_time_ms);
    mm_sql_bind_int(&q, job->now_ms);
    mm_sql_bind_text(&q, job->by);
    mm_sql_bind_uint(&q, o->per_batch_max);
    mm_sql_bind_uint(&q, o->per_day_max);
    mm_sql_bind_uint(&q, o->unreported_devices_max);
    mm_sql_bind_uint(&q, o->report_within_hours);
    mm_sql_bind_uint(&q, o->replacements_max);
    mm_sql_bind_text(&q, stations);
    mm_sql_bind_text(&q, o->oem);
    mm_sql_bind_text(&q, o->product);
    mm_sql_bind_text(&q, signer);
    mm_sql_bind_blob(&q, job->document.data, job->document.len);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "ORDER_EXISTS", "production order %s is there already",
                       o->order_id);
    return MM_OK;
}

static int enter_in_ledger(struct mm_store *s, Mintmark__V1__ProductionOrder *o,
                           const Mintmark__Internal__ImportOrder *job, char *signer,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__OrderImported event = MINTMARK__V1__ORDER_IMPORTED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(ORDER_IMPORTED, order_imported, &event);
    uint8_t hash[MM_SHA256_BYTES];
    int r = mm_ledger_hash(s, (struct mm_bytes){job->document.data, job->document.len}, hash, ei);

    if (r < 0)
        return r;
    event.order_id = o->order_id;
    event.profile = o->profile;
    event.quantity = o->quantity;
    event.not_before_time_ms = o->not_before_time_ms;
    event.not_after_time_ms = o->not_after_time_ms;
    event.by = job->by;
    event.added_time_ms = job->now_ms;
    event.terms = o;
    event.signer = signer;
    event.document_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    return mm_ledger_append(s, &record, ei);
}

static int import_document(struct mm_store *s, const Mintmark__Internal__ImportOrder *job,
                           struct mm_document *document, Mintmark__V1__Order **ret_order,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__ProductionOrder *o;
    int64_t profile = 0;
    int r;

    if (document->content->document_case !=
        MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER)
        return mm_document_fail_kind("production order", ei);
    o = document->content->production_order;
    r = check_terms(s, o, job->now_ms, ei);
    if (r == MM_OK)
        r = check_room(s, job->now_ms, ei);
    if (r == MM_OK)
        r = profile_row(s, o->profile, &profile, ei);
    if (r == MM_OK)
        r = insert(s, o, profile, job, document->signer_name, ei);
    if (r < 0)
        return r;
    profile = sqlite3_last_insert_rowid(s->db);
    r = check_nonce(s, &o->nonce, ei);
    if (r == MM_OK)
        r = use_nonce(s, &o->nonce, profile, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, o, job, document->signer_name, ei);
    return r < 0 ? r : mm_order_get(s, o->order_id, job->now_ms, ret_order, ei);
}

static int import(struct mm_store *s, const Mintmark__Internal__ImportOrder *job,
                  Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    int r = mm_document_take(s, &job->document, job->now_ms, &arena, &document, ei);

    return r < 0 ? r : import_document(s, job, &document, ret_order, ei);
}

int mm_store_import_order(struct mm_store *s, const Mintmark__Internal__ImportOrder *job,
                          Mintmark__V1__Order **ret_order, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Order *order = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, import(s, job, &order, ei), ei);
    if (r < 0)
        return r;
    *ret_order = MM_TAKE(order);
    return MM_OK;
}
