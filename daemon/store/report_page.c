/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a production report, piece by piece; docs/report.md has them. They come from rows
 * that do not change after the release and from two records of the ledger, so that they are the
 * same at any time. What is to be signed is hashed here, from beginning to end.
 */
#include "daemon/base/json.h"
#include "daemon/store/message.h"
#include "daemon/store/report.h"
#include "daemon/store/vouch.h"

#include <string.h>

enum part { PART_HEAD, PART_DEVICES, PART_FAILURES, PART_END, PART_DONE };
enum { ROWS_MAX = 256, PIECE_MAX = 1024 * 1024 };

struct piece {
    struct mm_store *s;
    const struct mm_released *released;
    struct mm_buf text;
    unsigned rows;
    Mintmark__Internal__ReportPlace *at;
};

static void put(struct piece *p, const char *text)
{
    mm_buf_append_str(&p->text, text);
}

static void put_number(struct piece *p, const char *key, uint64_t value)
{
    mm_buf_printf(&p->text, "%s%llu", key, (unsigned long long)value);
}

static void put_time(struct piece *p, const char *key, int64_t value)
{
    put(p, key);
    mm_json_time(&p->text, value);
}

static void put_hex(struct piece *p, const char *key, const void *data, size_t len)
{
    put(p, key);
    mm_json_hex(&p->text, (struct mm_bytes){data, len});
}

static void put_string(struct piece *p, const char *key, const char *value)
{
    put(p, key);
    mm_json_string(&p->text, value);
}

/* NULL is null. */
static void put_column(struct piece *p, const char *key, struct mm_sql *q, int column)
{
    MM_FREE char *value = mm_sql_is_null(q, column) ? NULL : mm_sql_dup_text(q, column);

    put_string(p, key, value);
}

/* ---- the head ---------------------------------------------------------------------------- */

static int find_released(struct piece *p, struct mm_arena *arena,
                         Mintmark__V1__BatchReleased **ret_event, struct mm_errinfo *ei)
{
    const uint64_t sequence = p->released->released_sequence;
    Mintmark__V1__LedgerRecord *record = NULL;
    int r = mm_ledger_record_at(p->s, sequence, arena, &record, ei);

    if (r < 0)
        return r;
    if (record->event_case != MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_RELEASED)
        return mm_ledger_edited(ei, sequence, "it does not release the batch");
    *ret_event = record->batch_released;
    return MM_OK;
}

static void put_batch(struct piece *p, struct mm_sql *q, const Mintmark__V1__BatchReleased *event)
{
    put_string(p, ",\n\"batch\":{\"uid\":", event->batch_uid);
    put_column(p, ",\"name\":", q, 0);
    put_column(p, ",\"profile\":", q, 1);
    put_column(p, ",\"device_type\":", q, 2);
    put_number(p, ",\"quantity\":", mm_sql_uint(q, 3));
    put_number(p, ",\"heads\":", mm_sql_uint(q, 4));
    put_column(p, ",\"station\":", q, 5);
    put_time(p, ",\"opened\":", mm_sql_int(q, 6));
    put_time(p, ",\"released\":", mm_sql_int(q, 7));
    put_string(p, ",\"released_by\":", event->station);
}

static void put_order(struct piece *p, struct mm_sql *q, const Mintmark__V1__BatchReleased *event)
{
    put_column(p, "},\n\"order\":{\"id\":", q, 8);
    put_column(p, ",\"oem\":", q, 9);
    put_column(p, ",\"product\":", q, 10);
    put_column(p, ",\"profile\":", q, 1);
    put_number(p, ",\"quantity\":", event->order_quantity);
    put_number(p, ",\"used\":", event->order_used);
    put_number(p, ",\"refunded\":", event->order_refunded);
}

static int put_place(struct piece *p, const char *key, uint64_t sequence, struct mm_errinfo *ei)
{
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    put(p, key);
    if (sequence == 0) {
        put(p, "null");
        return MM_OK;
    }
    r = mm_ledger_hash_at(p->s, sequence, hash, ei);
    if (r < 0)
        return r;
    put_number(p, "{\"sequence\":", sequence);
    put_hex(p, ",\"head\":", hash, sizeof(hash));
    put(p, "}");
    return MM_OK;
}

/* What begins and ends a report: the record of the release, and q, of MM_SQL_REPORT_HEAD, on the
 * batch's row. */
static int find_head(struct piece *p, struct mm_sql *q, struct mm_arena *arena,
                     Mintmark__V1__BatchReleased **ret_event, struct mm_errinfo *ei)
{
    int r = find_released(p, arena, ret_event, ei);

    if (r < 0)
        return r;
    mm_sql_bind_int(q, p->released->batch.row);
    r = mm_sql_step(q, ei);
    return r < 0 ? r : MM_OK;
}

static int put_head(struct piece *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_HEAD);
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__BatchReleased *event = NULL;
    int r = find_head(p, &q, &arena, &event, ei);

    if (r < 0)
        return r;
    put_string(p, "{\"schema\":\"mintmark-report-1\",\n\"service\":", event->version);
    put_hex(p, ",\n\"appliance\":", event->appliance_sha256.data, event->appliance_sha256.len);
    put_hex(p, ",\"ledger_id\":", p->s->ledger.id, sizeof(p->s->ledger.id));
    put_batch(p, &q, event);
    put_order(p, &q, event);
    r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        r = put_place(p, "},\n\"ledger\":{\"opened\":", p->released->opened_sequence, ei);
    if (r == MM_OK)
        r = put_place(p, ",\"released\":", p->released->released_sequence, ei);
    put(p, "},\n\"devices\":[\n");
    p->at->part = PART_DEVICES;
    return r;
}

/* ---- devices ----------------------------------------------------------------------------- */

/* When the identity was made is in the bundle only. */
static int made_ms(struct mm_bytes bundle, struct mm_arena *arena, int64_t *ret_ms,
                   struct mm_errinfo *ei)
{
    Mintmark__V1__Bundle *b;
    int r = mm_bundle_unpack(bundle, arena, &b, ei);

    if (r < 0)
        return r;
    *ret_ms = b->issued_time_ms;
    mm_arena_reset(arena);
    return MM_OK;
}

static const char *state_name(int64_t state)
{
    switch (state) {
    case MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK:
        return "ok";
    case MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO:
        return "ko";
    default:
        return "unreported";
    }
}

static int put_device(struct piece *p, struct mm_sql *q, struct mm_arena *arena,
                      struct mm_errinfo *ei)
{
    const struct mm_bytes serial = mm_sql_blob(q, 4), spki = mm_sql_blob(q, 5);
    const struct mm_bytes certified = mm_sql_blob(q, 10); /* of a CA elsewhere */
    MM_FREE char *uid = mm_sql_dup_uuid(q, 1);
    int64_t made = 0;
    int r = made_ms(mm_sql_blob(q, 9), arena, &made, ei);

    if (r < 0)
        return r;
    put_number(p, p->at->items ? ",\n{\"row\":" : "{\"row\":", mm_sql_uint(q, 0));
    put_string(p, ",\"uid\":", uid);
    put_number(p, ",\"number\":", mm_sql_uint(q, 2));
    put_column(p, ",\"hw_serial\":", q, 3);
    put_hex(p, ",\"certificate_serial\":", serial.data, serial.len);
    put_hex(p, ",\"spki_sha256\":", spki.data, spki.len);
    put_string(p, ",\"state\":", state_name(mm_sql_int(q, 6)));
    put_column(p, ",\"reason\":", q, 7);
    put_time(p, ",\"made\":", made);
    put_time(p, ",\"reported\":", mm_sql_int(q, 8));
    if (certified.len > 0)
        put_hex(p, ",\"certified_serial\":", certified.data, certified.len);
    put(p, "}");
    p->at->row = mm_sql_uint(q, 0);
    p->at->items++;
    p->rows++;
    return mm_sql_end(q, ei);
}

/* Devices of the request that the place is in, as many as there is room for. */
static int put_request(struct piece *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_DEVICES);
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    int r;

    mm_sql_bind_uint(&q, p->at->request);
    mm_sql_bind_uint(&q, p->at->row);
    mm_sql_bind_int(&q, ROWS_MAX - (int64_t)p->rows);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = put_device(p, &q, &arena, ei);
        if (r < 0)
            return r;
    }
    return r;
}

/* 1 and the place is in the batch's next request; 0: there is none. */
static int put_devices(struct piece *p, struct mm_errinfo *ei)
{
    int r = p->at->request ? put_request(p, ei) : MM_OK;

    while (r == MM_OK && p->rows < ROWS_MAX) {
        r = mm_report_next_request(p->s, p->released->batch.row, p->at, ei);
        if (r <= 0)
            break;
        r = put_request(p, ei);
    }
    if (r < 0 || p->rows == ROWS_MAX)
        return r;
    put(p, p->at->items ? "\n],\n\"failures\":[\n" : "],\n\"failures\":[\n");
    p->at->part = PART_FAILURES;
    p->at->items = 0;
    return MM_OK;
}

/* ---- failures and the end ---------------------------------------------------------------- */

static int put_failure(struct piece *p, struct mm_sql *q, struct mm_errinfo *ei)
{
    MM_FREE char *reason = mm_sql_dup_text(q, 0);
    int r = mm_sql_end(q, ei);

    if (r < 0)
        return r;
    put_string(p, p->at->items ? ",\n{\"reason\":" : "{\"reason\":", reason);
    put_number(p, ",\"devices\":", mm_sql_uint(q, 1));
    put(p, "}");
    free(p->at->reason == protobuf_c_empty_string ? NULL : p->at->reason);
    p->at->reason = MM_TAKE(reason);
    p->at->items++;
    p->rows++;
    return MM_OK;
}

static int put_failures(struct piece *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_FAILURES);
    MM_FREE char *after = strdup(p->at->reason);
    int r;

    if (!after)
        return mm_fail_memory(ei);
    mm_sql_bind_int(&q, p->released->batch.row);
    mm_sql_bind_text(&q, after);
    mm_sql_bind_int(&q, ROWS_MAX - (int64_t)p->rows);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = put_failure(p, &q, ei);
        if (r < 0)
            return r;
    }
    if (r < 0 || p->rows == ROWS_MAX)
        return r;
    put(p, p->at->items ? "\n],\n" : "],\n");
    p->at->part = PART_END;
    return MM_OK;
}

static int put_end(struct piece *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_HEAD);
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__BatchReleased *event = NULL;
    int r = find_head(p, &q, &arena, &event, ei);

    if (r < 0)
        return r;
    put_number(p, "\"totals\":{\"issued\":", event->issued);
    put_number(p, ",\"ok\":", event->ok);
    put_number(p, ",\"ko\":", event->ko);
    put_number(p, ",\"unreported\":", event->issued - event->ok - event->ko);
    put_number(p, ",\"refunded\":", event->refunded);
    put_time(p, ",\"first_recorded\":", mm_sql_int(&q, 13));
    put_time(p, ",\"last_recorded\":", mm_sql_int(&q, 14));
    put(p, "}}\n");
    p->at->part = PART_DONE;
    return mm_sql_end(&q, ei);
}

/* ---- pieces ------------------------------------------------------------------------------ */

static int put_part(struct piece *p, struct mm_errinfo *ei)
{
    switch (p->at->part) {
    case PART_HEAD:
        return put_head(p, ei);
    case PART_DEVICES:
        return put_devices(p, ei);
    case PART_FAILURES:
        return put_failures(p, ei);
    default:
        return put_end(p, ei);
    }
}

static int copy_place(const Mintmark__Internal__ReportPlace *from,
                      Mintmark__Internal__ReportPlace *to, struct mm_errinfo *ei)
{
    if (!from)
        return MM_OK;
    to->part = from->part;
    to->request = from->request;
    to->row = from->row;
    to->items = from->items;
    if (!from->reason[0])
        return MM_OK;
    to->reason = strdup(from->reason);
    return to->reason ? MM_OK : mm_fail_memory(ei);
}

static int write_text(struct piece *p, struct mm_errinfo *ei)
{
    int r = MM_OK;

    while (r == MM_OK && p->rows < ROWS_MAX && p->at->part != PART_DONE)
        r = put_part(p, ei);
    if (r == MM_OK && mm_buf_err(&p->text) < 0)
        r = mm_fail_memory(ei);
    return r;
}

static int give_text(const struct piece *p, Mintmark__Internal__ReportPiece *piece,
                     struct mm_errinfo *ei)
{
    piece->data.data = malloc(p->text.len);
    if (!piece->data.data)
        return mm_fail_memory(ei);
    piece->data.len = p->text.len;
    memcpy(piece->data.data, p->text.data, p->text.len);
    return MM_OK;
}

/* ---- what is to be signed ---------------------------------------------------------------- */

static int find_tally(struct mm_store *s, const Mintmark__Internal__ReportPage *job,
                      struct mm_tally **ret_tally, struct mm_errinfo *ei)
{
    struct mm_tally *tally = NULL;
    int r;

    if (!s->guard.audit)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                       "the configuration has no section appliance: nobody signs reports");
    r = job->tally ? mm_tally_find(&s->tallies, MM_TALLY_REPORT, job->tally, &tally, ei)
                   : mm_tally_begin(&s->tallies, MM_TALLY_REPORT, &tally, ei);
    if (r < 0)
        return r;
    if (!job->tally)
        /* It is a UUID. */
        memcpy(tally->report.batch_uid, job->batch_uid, sizeof(tally->report.batch_uid));
    else if (strcmp(tally->report.batch_uid, job->batch_uid) != 0)
        return mm_tally_lost(ei);
    *ret_tally = tally;
    return MM_OK;
}

/* The whole is hashed: for the signature. */
static int finish_hash(struct mm_store *s, struct mm_tally *tally,
                       Mintmark__Internal__ReportPiece *piece, struct mm_errinfo *ei)
{
    int r;

    piece->sha256.data = malloc(MM_TALLY_HASH);
    if (!piece->sha256.data)
        return mm_fail_memory(ei);
    r = mm_tally_hash(tally, piece->sha256.data, ei);
    if (r < 0)
        return r;
    piece->sha256.len = MM_TALLY_HASH;
    piece->size = tally->bytes;
    return mm_store_vouch_audit(s, MM_SEAL_DETACHED,
                                (struct mm_bytes){piece->sha256.data, MM_TALLY_HASH}, &piece->proof,
                                ei);
}

/* The next piece of it goes into the hash, and the place where it ends is kept here. */
static int hash_piece(struct piece *p, struct mm_tally *tally,
                      Mintmark__Internal__ReportPiece *piece, struct mm_errinfo *ei)
{
    int r = copy_place(tally->report.place, p->at, ei);

    if (r == MM_OK)
        r = write_text(p, ei);
    if (r == MM_OK)
        r = mm_tally_add(tally, (struct mm_bytes){p->text.data, p->text.len}, ei);
    if (r < 0)
        return r;
    if (p->at->part == PART_DONE)
        return finish_hash(p->s, tally, piece, ei);
    mm_message_free(tally->report.place);
    tally->report.place = MM_TAKE(piece->next);
    piece->next = mm_message_new(&mintmark__internal__report_place__descriptor);
    piece->tally = tally->id;
    return piece->next ? MM_OK : mm_fail_memory(ei);
}

static int hash(struct piece *p, const Mintmark__Internal__ReportPage *job,
                Mintmark__Internal__ReportPiece *piece, struct mm_errinfo *ei)
{
    struct mm_tally *tally = NULL;
    int r = find_tally(p->s, job, &tally, ei);

    if (!tally)
        return r;
    r = hash_piece(p, tally, piece, ei);
    /* One that failed half way is of no use to anybody. */
    if (r < 0 || piece->sha256.len > 0)
        mm_tally_end(&p->s->tallies, tally);
    return r;
}

static int give(struct piece *p, const Mintmark__Internal__ReportPage *job,
                Mintmark__Internal__ReportPiece *piece, struct mm_errinfo *ei)
{
    int r = copy_place(job->place, p->at, ei);

    if (r == MM_OK)
        r = write_text(p, ei);
    return r < 0 ? r : give_text(p, piece, ei);
}

int mm_store_report_page(struct mm_store *s, const Mintmark__Internal__ReportPage *job,
                         Mintmark__Internal__ReportPiece **ret_piece, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ReportPiece *piece =
        mm_message_new(&mintmark__internal__report_piece__descriptor);
    struct mm_released released;
    struct piece p = {.s = s, .released = &released, .text = MM_BUF_INIT(PIECE_MAX)};
    int r = mm_released_find(s, job->batch_uid, &released, ei);

    if (r < 0)
        return r;
    if (piece)
        piece->next = mm_message_new(&mintmark__internal__report_place__descriptor);
    if (!piece || !piece->next)
        return mm_fail_memory(ei);
    p.at = piece->next;
    r = job->hash ? hash(&p, job, piece, ei) : give(&p, job, piece, ei);
    mm_buf_done(&p.text);
    if (r < 0)
        return r;
    if (job->hash ? piece->tally == 0 : p.at->part == PART_DONE) {
        mm_message_free(piece->next);
        piece->next = NULL;
    }
    *ret_piece = MM_TAKE(piece);
    return MM_OK;
}
