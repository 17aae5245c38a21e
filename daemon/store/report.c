/* SPDX-License-Identifier: Apache-2.0 */
/* Reports on released batches: whether there is one, and its signature. */
#include "daemon/store/report.h"

#include "daemon/document/detached.h"
#include "daemon/store/message.h"
#include "proto/grpc/unpack.h"

#include <string.h>

int mm_released_find(struct mm_store *s, const char *batch_uid, struct mm_released *ret_released,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REPORT_HEAD);
    struct mm_released released = {0};
    int r = mm_batch_find(s, batch_uid, &released.batch, ei);

    if (r < 0)
        return r;
    if (released.batch.state != MINTMARK__V1__BATCH_STATE__BATCH_STATE_RELEASED)
        return mm_fail(ei, MM_ERR_PRECONDITION, "BATCH_OPEN",
                       "batch %s is open: it has a report once it is released", batch_uid);
    mm_sql_bind_int(&q, released.batch.row);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    released.opened_sequence = mm_sql_uint(&q, 11);
    released.released_sequence = mm_sql_uint(&q, 12);
    r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    if (released.released_sequence == 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "REPORT_TOO_OLD",
                       "batch %s was released by a version that made no reports", batch_uid);
    *ret_released = released;
    return MM_OK;
}

int mm_report_next_request(struct mm_store *s, int64_t batch,
                           Mintmark__Internal__ReportPlace *place, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REPORT_REQUEST);
    int r;

    mm_sql_bind_int(&q, batch);
    mm_sql_bind_uint(&q, place->request);
    r = mm_sql_step(&q, ei);
    if (r > 0) {
        place->request = mm_sql_uint(&q, 0);
        place->row = 0;
    }
    return r;
}

/* 1: it is signed; 0: not yet. */
static int take_signed(struct mm_store *s, int64_t batch, Mintmark__Internal__ReportFound *found,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REPORT_FIND);
    int r;

    mm_sql_bind_int(&q, batch);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    found->sha256 = mm_sql_dup_blob(&q, 0);
    found->size = mm_sql_uint(&q, 1);
    found->document = mm_sql_dup_blob(&q, 2);
    r = mm_sql_end(&q, ei);
    return r < 0 ? r : 1;
}

static int take_releaser(struct mm_store *s, uint64_t sequence,
                         Mintmark__Internal__ReportFound *found, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__LedgerRecord *record = NULL;
    int r = mm_ledger_record_at(s, sequence, &arena, &record, ei);

    if (r < 0)
        return r;
    if (record->event_case != MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_RELEASED)
        return mm_ledger_edited(ei, sequence, "it does not release the batch");
    found->released_by = strdup(record->batch_released->station);
    return found->released_by ? MM_OK : mm_fail_memory(ei);
}

static int find(struct mm_store *s, const char *batch_uid, const struct mm_released *released,
                Mintmark__Internal__ReportFound **ret_found, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ReportFound *found =
        mm_message_new(&mintmark__internal__report_found__descriptor);
    int r;

    if (!found)
        return mm_fail_memory(ei);
    r = mm_batch_get(s, batch_uid, &found->batch, ei);
    if (r == MM_OK)
        r = take_releaser(s, released->released_sequence, found, ei);
    if (r == MM_OK)
        r = take_signed(s, released->batch.row, found, ei);
    if (r < 0)
        return r;
    *ret_found = MM_TAKE(found);
    return MM_OK;
}

int mm_store_get_report(struct mm_store *s, const Mintmark__Internal__GetReport *job,
                        Mintmark__Internal__ReportFound **ret_found, struct mm_errinfo *ei)
{
    struct mm_released released;
    int r = mm_released_find(s, job->batch_uid, &released, ei);

    return r < 0 ? r : find(s, job->batch_uid, &released, ret_found, ei);
}

/* ---- the signature ----------------------------------------------------------------------- */

static int insert(struct mm_store *s, int64_t batch, const Mintmark__Internal__AddReport *job,
                  struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REPORT_ADD);

    mm_sql_bind_int(&q, batch);
    mm_sql_bind_blob(&q, job->sha256.data, job->sha256.len);
    mm_sql_bind_uint(&q, job->size);
    mm_sql_bind_blob(&q, job->document.data, job->document.len);
    return mm_sql_run(&q, ei);
}

static int enter_in_ledger(struct mm_store *s, const Mintmark__Internal__AddReport *job,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__ReportSigned event = MINTMARK__V1__REPORT_SIGNED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(REPORT_SIGNED, report_signed, &event);
    uint8_t hash[MM_SHA256_BYTES];
    int r = mm_ledger_hash(s, (struct mm_bytes){job->document.data, job->document.len}, hash, ei);

    if (r < 0)
        return r;
    event.batch_uid = job->batch_uid;
    event.report_sha256 = job->sha256;
    event.size = job->size;
    event.document_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    return mm_ledger_append(s, &record, ei);
}

/* The signature is the audit key's, over that hash, and so the hash is of a report that this store
 * gave out. Of which, and how long it is, is the front's word here: GetReport compares, and whoever
 * has the report and the ledger can tell. */
static int check_signature(struct mm_store *s, const Mintmark__Internal__AddReport *job,
                           struct mm_errinfo *ei)
{
    const struct mm_bytes cms = {job->document.data, job->document.len};

    if (!s->guard.audit)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                       "the configuration has no section appliance: nobody signs reports");
    return mm_detached_check(cms, s->guard.audit, job->sha256.data, ei);
}

static int add(struct mm_store *s, const Mintmark__Internal__AddReport *job,
               Mintmark__Internal__ReportFound **ret_found, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ReportFound *found = NULL;
    struct mm_released released;
    int r = mm_released_find(s, job->batch_uid, &released, ei);

    if (r == MM_OK)
        r = find(s, job->batch_uid, &released, &found, ei);
    if (r < 0)
        return r;
    if (found->document.len > 0) {
        *ret_found = MM_TAKE(found);
        return MM_OK;
    }
    r = check_signature(s, job, ei);
    if (r == MM_OK)
        r = insert(s, released.batch.row, job, ei);
    if (r == MM_OK)
        r = enter_in_ledger(s, job, ei);
    if (r == MM_OK)
        r = take_signed(s, released.batch.row, found, ei);
    if (r < 0)
        return r;
    *ret_found = MM_TAKE(found);
    return MM_OK;
}

int mm_store_add_report(struct mm_store *s, const Mintmark__Internal__AddReport *job,
                        Mintmark__Internal__ReportFound **ret_found, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ReportFound *found = NULL;
    int r = mm_sql_verb_begin(s, ei);

    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, add(s, job, &found, ei), ei);
    if (r < 0)
        return r;
    *ret_found = MM_TAKE(found);
    return MM_OK;
}
