/* SPDX-License-Identifier: Apache-2.0 */
/* Requests: what a station asked for under one request_id, and what is recorded of it. */
#include "daemon/store/chains.h"
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <stdio.h>
#include <string.h>

int mm_request_fail_reused(const char *request_id, struct mm_errinfo *ei)
{
    const int r = mm_fail(ei, MM_ERR_INVALID, "REQUEST_ID_REUSED",
                          "request_id %s came with other arguments before", request_id);

    snprintf(ei->field, sizeof(ei->field), "request_id");
    return r;
}

int mm_request_find(struct mm_store *s, const char *station, const char *request_id,
                    const ProtobufCBinaryData *digest, struct mm_request_row *ret_request,
                    struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_FIND);
    struct mm_request_row request;
    struct mm_bytes recorded_digest;
    int r;

    mm_sql_bind_text(&q, station);
    mm_sql_bind_text(&q, request_id);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    request = (struct mm_request_row){
        .row = mm_sql_int(&q, 0),
        .batch = mm_sql_int(&q, 1),
        .count = mm_sql_uint(&q, 3),
        .recorded = mm_sql_uint(&q, 4),
        .waiting = mm_sql_uint(&q, 5),
        .parked = mm_sql_uint(&q, 6),
    };
    recorded_digest = mm_sql_blob(&q, 2);
    r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    if (digest && (recorded_digest.len != digest->len ||
                   memcmp(recorded_digest.data, digest->data, digest->len) != 0))
        return mm_request_fail_reused(request_id, ei);
    *ret_request = request;
    return 1;
}

/* All devices of a request have a hardware serial number, or none has. */
static int add_serials(struct mm_store *s, int64_t row, Mintmark__Internal__RequestFound *found,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_SERIALS);
    char **room;
    int r;

    mm_sql_bind_int(&q, row);
    while ((r = mm_sql_step(&q, ei)) > 0 && !mm_sql_is_null(&q, 0)) {
        room = mm_message_room(found->hw_serials, found->n_hw_serials, sizeof(*room));
        if (!room)
            return mm_fail_memory(ei);
        found->hw_serials = room;
        room[found->n_hw_serials++] = mm_sql_dup_text(&q, 0);
    }
    return r < 0 ? r : mm_sql_end(&q, ei);
}

static int add_profile(struct mm_store *s, int64_t batch, Mintmark__Internal__RequestFound *found,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_PROFILE);
    int r;

    mm_sql_bind_int(&q, batch);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a request has no batch");
    found->profile = mm_sql_dup_text(&q, 0);
    return mm_sql_end(&q, ei);
}

/* own: the row of the request itself, 0 when it is new. */
static int check_serials(struct mm_store *s, const Mintmark__Internal__FindRequest *job,
                         int64_t own, struct mm_errinfo *ei)
{
    struct mm_batch_row batch;
    int64_t owner;
    int r = mm_batch_find(s, job->batch_uid, &batch, ei);

    for (size_t i = 0; r >= 0 && i < job->n_hw_serials; i++) {
        r = mm_hw_serial_find(s, batch.order.profile, job->hw_serials[i], &owner, ei);
        if (r == 1 && owner != own)
            return mm_hw_serial_fail(job->hw_serials[i], ei);
    }
    return r < 0 ? r : MM_OK;
}

/* model: FIND */
int mm_store_find_request(struct mm_store *s, const Mintmark__Internal__FindRequest *job,
                          Mintmark__Internal__RequestFound **ret_found, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__RequestFound *found =
        mm_message_new(&mintmark__internal__request_found__descriptor);
    struct mm_request_row request = {0};
    int r;

    if (!found)
        return mm_fail_memory(ei);
    r = mm_request_find(s, job->station, job->request_id, &job->digest, &request, ei);
    if (r >= 0 && job->n_hw_serials > 0)
        r = check_serials(s, job, request.row, ei);
    if (r >= 0 && request.recorded > 0 && !job->count_only)
        r = add_serials(s, request.row, found, ei);
    if (r >= 0 && request.recorded > 0)
        r = add_profile(s, request.batch, found, ei);
    if (r < 0)
        return r;
    found->recorded = request.recorded;
    found->request = (uint64_t)request.row;
    *ret_found = MM_TAKE(found);
    return MM_OK;
}

static int add_bundle(struct mm_sql *q, Mintmark__Internal__Fetched *fetched, struct mm_errinfo *ei)
{
    ProtobufCBinaryData *room =
        mm_message_room(fetched->bundles, fetched->n_bundles, sizeof(*room));

    if (!room)
        return mm_fail_memory(ei);
    fetched->bundles = room;
    room[fetched->n_bundles++] = mm_sql_dup_blob(q, 1);
    return MM_OK;
}

/* Columns: where the next page begins, the bundle, and (but for the first kind) why it is withheld,
 * if it is; whether its key is deleted, and its chain. 0: it has another chain than the bundles
 * before, whose row is *chain. */
static int add_fetched(struct mm_sql *q, enum mm_sql_id kind, Mintmark__Internal__Fetched *fetched,
                       int64_t *chain, struct mm_errinfo *ei)
{
    enum { STATE_COLUMN = 5, DELETED_COLUMN = 9, DELETED_COLUMN_OF_BUNDLES = 2 };
    const int deleted = kind == MM_SQL_REQUEST_BUNDLES ? DELETED_COLUMN_OF_BUNDLES : DELETED_COLUMN;
    const int64_t its = mm_chain_column(q, deleted + 1);
    const bool withheld =
        kind != MM_SQL_REQUEST_BUNDLES &&
        mm_sql_int(q, STATE_COLUMN) != MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_ISSUED;
    int r;

    if (!withheld && mm_sql_int(q, deleted))
        return mm_keys_fail_deleted(ei);
    if (!withheld && fetched->n_bundles > 0 && its != *chain)
        return 0;
    fetched->last_row = mm_sql_uint(q, 0);
    if (!withheld)
        *chain = its;
    r = withheld ? mm_withheld_append(q, 2, &fetched->n_withheld, &fetched->withheld, ei)
                 : add_bundle(q, fetched, ei);
    return r < 0 ? r : 1;
}

static int fetch(struct mm_store *s, const struct mm_request_row *request,
                 const Mintmark__Internal__FetchRequest *job, Mintmark__Internal__Fetched *fetched,
                 struct mm_errinfo *ei)
{
    const enum mm_sql_id kind = job->settled    ? MM_SQL_REQUEST_SETTLED
                                : job->withheld ? MM_SQL_REQUEST_WITHHELD
                                                : MM_SQL_REQUEST_BUNDLES;
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, kind);
    int64_t chain = 0;
    int r;

    fetched->waiting = request->waiting;
    fetched->parked = request->parked;
    mm_sql_bind_int(&q, request->row);
    mm_sql_bind_uint(&q, job->after_row);
    mm_sql_bind_int(&q, (int64_t)job->limit + 1);
    while ((r = mm_sql_step(&q, ei)) > 0 && fetched->n_bundles + fetched->n_withheld < job->limit) {
        r = add_fetched(&q, kind, fetched, &chain, ei);
        if (r < 0)
            return r;
        if (r == 0) {
            r = 1;
            break;
        }
    }
    fetched->more = r > 0;
    if (r >= 0)
        r = mm_sql_end(&q, ei);
    return r < 0 ? r : mm_chain_get(s, chain, &fetched->chain, ei);
}

/* model: FETCH */
int mm_store_fetch_request(struct mm_store *s, const Mintmark__Internal__FetchRequest *job,
                           Mintmark__Internal__Fetched **ret_fetched, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Fetched *fetched =
        mm_message_new(&mintmark__internal__fetched__descriptor);
    struct mm_request_row request;
    int r;

    if (!fetched)
        return mm_fail_memory(ei);
    r = mm_request_find(s, job->station, job->request_id, NULL, &request, ei);
    if (r == 0)
        r = mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_REQUEST", "nothing is recorded under %s",
                    job->request_id);
    if (r == 1)
        r = fetch(s, &request, job, fetched, ei);
    if (r < 0)
        return r;
    *ret_fetched = MM_TAKE(fetched);
    return MM_OK;
}
