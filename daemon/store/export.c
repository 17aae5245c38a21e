/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The items of an audit export (docs/export.md): the records as they are stored, and after each
 * what it refers to. No column that could hold a key is read here.
 */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/document/document.h"
#include "daemon/store/audit_key.h"
#include "daemon/store/message.h"
#include "daemon/store/rows.h"
#include "daemon/store/vouch.h"
#include "mintmark/v1/account.pb-c.h"
#include "proto/grpc/unpack.h"

#include <stdio.h>
#include <string.h>

enum {
    FORMAT = 1,
    TOTALS_MAX = 256 * 1024,     /* of the orders beside a checkpoint; longer ones are left out */
    PIECE_BYTES = 512 * 1024,    /* then a piece ends, */
    PIECE_MAX = 2 * PIECE_BYTES, /* with the last record's items beyond it */
};

#define ITEM(FIELD, field_, value)                                                                 \
    ((Mintmark__V1__LedgerExportItem){                                                             \
        .base = PROTOBUF_C_MESSAGE_INIT(&mintmark__v1__ledger_export_item__descriptor),            \
        .item_case = MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_##FIELD,                               \
        .field_ = (value)})

static void put(struct mm_buf *to, const Mintmark__V1__LedgerExportItem *item)
{
    const size_t len = mintmark__v1__ledger_export_item__get_packed_size(item);
    uint8_t *room;

    mm_buf_append_be32(to, (uint32_t)len);
    room = mm_buf_reserve(to, len);
    if (room)
        mm_buf_grew(to, mintmark__v1__ledger_export_item__pack(item, room));
}

static ProtobufCBinaryData binary(struct mm_bytes bytes)
{
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
}

static int copy(const struct mm_buf *from, ProtobufCBinaryData *to, struct mm_errinfo *ei)
{
    if (mm_buf_err(from) < 0)
        return mm_fail_memory(ei);
    if (from->len == 0)
        return MM_OK;
    to->data = malloc(from->len);
    if (!to->data)
        return mm_fail_memory(ei);
    memcpy(to->data, from->data, from->len);
    to->len = from->len;
    return MM_OK;
}

/* ---- what follows a record --------------------------------------------------------------- */

static int add_device(struct mm_sql *q, Mintmark__V1__LedgerExportDevices *devices,
                      struct mm_errinfo *ei)
{
    Mintmark__V1__LedgerExportDevice **room =
        mm_message_room(devices->devices, devices->n_devices, sizeof(*room));
    Mintmark__V1__LedgerExportDevice *d;

    if (!room)
        return mm_fail_memory(ei);
    devices->devices = room;
    d = mm_message_new(&mintmark__v1__ledger_export_device__descriptor);
    if (!d)
        return mm_fail_memory(ei);
    room[devices->n_devices++] = d;
    d->uid = mm_sql_dup_blob(q, 0);
    d->spki_sha256 = mm_sql_dup_blob(q, 1);
    d->number = mm_sql_uint(q, 2);
    d->serial = mm_sql_dup_blob(q, 3);
    d->hw_serial = mm_sql_dup_text(q, 4);
    d->state = (Mintmark__V1__DeviceState)mm_sql_int(q, 5);
    d->reason = mm_sql_dup_text(q, 6);
    d->reported_time_ms = mm_sql_int(q, 7);
    return mm_sql_end(q, ei);
}

static int put_devices(struct mm_store *s, const Mintmark__V1__Spent *event, struct mm_buf *to,
                       uint64_t *ret_n, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__LedgerExportDevices *devices =
        mm_message_new(&mintmark__v1__ledger_export_devices__descriptor);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_EXPORT_DEVICES);
    int r;

    if (!devices)
        return mm_fail_memory(ei);
    /* An edited record is exported as it is; it names no more devices than one can. */
    if (event->count == 0 || event->count > MM_CHUNK_DEVICES || event->first_row > INT64_MAX / 2)
        return MM_OK;
    devices->first_row = event->first_row;
    mm_sql_bind_uint(&q, event->first_row);
    mm_sql_bind_uint(&q, event->first_row + event->count - 1);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = add_device(&q, devices, ei);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    *ret_n += devices->n_devices;
    put(to, &ITEM(DEVICES, devices, devices));
    return MM_OK;
}

/* q gives the document, or no row. */
static int put_document(struct mm_sql *q, uint64_t sequence, struct mm_buf *to,
                        struct mm_errinfo *ei)
{
    Mintmark__V1__LedgerExportDocument document = MINTMARK__V1__LEDGER_EXPORT_DOCUMENT__INIT;
    int r = mm_sql_step(q, ei);

    if (r <= 0)
        return r;
    document.sequence = sequence;
    document.document = binary(mm_sql_blob(q, 0));
    put(to, &ITEM(DOCUMENT, document, &document));
    return mm_sql_end(q, ei);
}

static int put_report(struct mm_store *s, const Mintmark__V1__LedgerRecord *record,
                      struct mm_buf *to, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_EXPORT_REPORT);
    uint8_t uid[16];

    if (mm_uuid_parse(record->report_signed->batch_uid, uid) < 0)
        return MM_OK;
    mm_sql_bind_blob(&q, uid, sizeof(uid));
    return put_document(&q, record->sequence, to, ei);
}

static int put_request(struct mm_store *s, const Mintmark__V1__LedgerRecord *record,
                       struct mm_buf *to, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_EXPORT_REQUEST);

    mm_sql_bind_blob(&q, record->request_made->nonce.data, record->request_made->nonce.len);
    return put_document(&q, record->sequence, to, ei);
}

static int put_order(struct mm_store *s, const Mintmark__V1__LedgerRecord *record,
                     struct mm_buf *to, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_EXPORT_ORDER);

    mm_sql_bind_text(&q, record->order_imported->order_id);
    return put_document(&q, record->sequence, to, ei);
}

static int put_accepted(struct mm_store *s, uint64_t sequence, struct mm_buf *to,
                        struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_EXPORT_DOCUMENT);

    mm_sql_bind_uint(&q, sequence);
    return put_document(&q, sequence, to, ei);
}

static int put_what_follows(struct mm_store *s, const Mintmark__V1__LedgerRecord *record,
                            struct mm_buf *to, uint64_t *ret_devices, struct mm_errinfo *ei)
{
    switch (record->event_case) {
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SPENT:
        return put_devices(s, record->spent, to, ret_devices, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_IMPORTED:
        return put_order(s, record, to, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_DOCUMENT_ACCEPTED:
        return put_accepted(s, record->sequence, to, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REQUEST_MADE:
        return put_request(s, record, to, ei);
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REPORT_SIGNED:
        return put_report(s, record, to, ei);
    default:
        return MM_OK;
    }
}

static int put_checkpoint(struct mm_store *s, enum mm_sql_id which, uint64_t sequence,
                          struct mm_buf *to, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, which);
    Mintmark__V1__LedgerExportCheckpoint checkpoint = MINTMARK__V1__LEDGER_EXPORT_CHECKPOINT__INIT;
    struct mm_bytes totals;
    int r;

    mm_sql_bind_uint(&q, sequence);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    checkpoint.sequence = mm_sql_uint(&q, 0);
    checkpoint.document = binary(mm_sql_blob(&q, 1));
    totals = mm_sql_blob(&q, 2);
    if (totals.len <= TOTALS_MAX)
        checkpoint.order_totals = binary(totals);
    put(to, &ITEM(CHECKPOINT, checkpoint, &checkpoint));
    return mm_sql_end(&q, ei);
}

/* ---- records ----------------------------------------------------------------------------- */

struct piece {
    struct mm_store *s;
    struct mm_buf data;
    struct mm_arena arena;
    Mintmark__Internal__ExportPiece *message;
};

/* What cannot be read is exported as it is: the reader will say so. */
static int put_record(struct piece *p, uint64_t sequence, struct mm_bytes record,
                      struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    ProtobufCMessage *message = NULL;
    int r;

    put(&p->data, &ITEM(RECORD, record, binary(record)));
    p->message->records++;
    p->message->last = sequence;
    r = mm_grpc_unpack(&mintmark__v1__ledger_record__descriptor, record.data, record.len, &p->arena,
                       &message, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r == MM_OK)
        r = put_what_follows(p->s, (const Mintmark__V1__LedgerRecord *)message, &p->data,
                             &p->message->devices, ei);
    mm_arena_reset(&p->arena);
    if (r == MM_OK || message == NULL)
        r = put_checkpoint(p->s, MM_SQL_EXPORT_CHECKPOINT, sequence, &p->data, ei);
    return r;
}

static int put_records(struct piece *p, const Mintmark__Internal__ExportPage *job,
                       struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_LEDGER_PAGE);
    uint64_t next = job->after + 1;
    int r = 1;

    mm_sql_bind_uint(&q, next);
    mm_sql_bind_uint(&q, job->last - job->after);
    while (p->data.len < PIECE_BYTES && next <= job->last && (r = mm_sql_step(&q, ei)) > 0) {
        if (mm_sql_uint(&q, 0) != next)
            break;
        r = put_record(p, next, mm_sql_blob(&q, 1), ei);
        if (r < 0)
            return r;
        next++;
    }
    if (r < 0)
        return r;
    if (next > job->last || p->data.len >= PIECE_BYTES)
        return MM_OK;
    return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_GAP", "record %llu of the ledger is missing",
                   (unsigned long long)next);
}

/* ---- what is to be signed ---------------------------------------------------------------- */

/* What was hashed is the export from its header on, and so far. */
static int find_tally(struct mm_store *s, const Mintmark__Internal__ExportPage *job,
                      struct mm_tally **ret_tally, struct mm_errinfo *ei)
{
    struct mm_tally *tally;
    int r = mm_tally_find(&s->tallies, MM_TALLY_EXPORT, job->tally, &tally, ei);

    if (r < 0)
        return r;
    if (tally->export.after != job->after || tally->export.last != job->last)
        return mm_tally_lost(ei);
    *ret_tally = tally;
    return MM_OK;
}

static int state(struct mm_store *s, struct mm_tally *tally, Mintmark__Internal__ExportPiece *piece,
                 struct mm_errinfo *ei)
{
    Mintmark__V1__SignedDocument document = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__LedgerExport statement = MINTMARK__V1__LEDGER_EXPORT__INIT;
    struct mm_export_tally *export = &tally->export;
    uint8_t sha256[MM_TALLY_HASH];
    int r = mm_tally_hash(tally, sha256, ei);

    if (r < 0)
        return r;
    document.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_LEDGER_EXPORT;
    document.ledger_export = &statement;
    statement.ledger_id = (ProtobufCBinaryData){sizeof(s->ledger.id), s->ledger.id};
    statement.first_sequence = export->first;
    statement.last_sequence = export->last;
    statement.head = (ProtobufCBinaryData){sizeof(export->head), export->head};
    statement.records = export->records;
    statement.devices = export->devices;
    statement.sha256 = (ProtobufCBinaryData){sizeof(sha256), sha256};
    statement.time_ms = mm_clock_wall_ms();
    statement.by = export->by;
    piece->statement.data = malloc(mintmark__v1__signed_document__get_packed_size(&document));
    if (!piece->statement.data)
        return mm_fail_memory(ei);
    piece->statement.len = mintmark__v1__signed_document__pack(&document, piece->statement.data);
    return MM_OK;
}

/* By the key that the header names, though another may have come since. */
static int vouch(const struct mm_store *s, const struct mm_tally *tally,
                 Mintmark__Internal__ExportPiece *piece, struct mm_errinfo *ei)
{
    const struct mm_bytes statement = {piece->statement.data, piece->statement.len};
    const struct mm_sealed what = {
        .use = MM_SEAL_DOCUMENT, .signer = tally->export.signer, .parts = &statement, .n_parts = 1};

    return mm_store_vouch(s, &what, &piece->proof, ei);
}

static int count(struct mm_store *s, struct mm_tally *tally, Mintmark__Internal__ExportPiece *piece,
                 struct mm_errinfo *ei)
{
    int r = mm_tally_add(tally, (struct mm_bytes){piece->data.data, piece->data.len}, ei);

    tally->export.after = piece->last;
    tally->export.records += piece->records;
    tally->export.devices += piece->devices;
    if (r < 0 || piece->last < tally->export.last)
        return r;
    r = state(s, tally, piece, ei);
    return r < 0 ? r : vouch(s, tally, piece, ei);
}

static int count_piece(struct mm_store *s, struct mm_tally *tally,
                       Mintmark__Internal__ExportPiece *piece, struct mm_errinfo *ei)
{
    const int r = count(s, tally, piece, ei);

    if (r < 0 || piece->statement.len > 0)
        mm_tally_end(&s->tallies, tally);
    return r;
}

/* The header counts; the records come page by page. */
static int begin_tally(struct mm_store *s, const Mintmark__Internal__BeginExport *job,
                       Mintmark__Internal__ExportBegun *begun, struct mm_errinfo *ei)
{
    struct mm_export_tally *export;
    struct mm_tally *tally;
    int r = mm_tally_begin(&s->tallies, MM_TALLY_EXPORT, &tally, ei);

    if (r < 0)
        return r;
    export = &tally->export;
    export->first = begun->first_sequence;
    export->after = begun->first_sequence - 1;
    export->last = begun->last_sequence;
    memcpy(export->head, begun->head.data, sizeof(export->head));
    memcpy(export->signer, s->guard.keys->key, sizeof(export->signer));
    snprintf(export->by, sizeof(export->by), "%s", job->by);
    r = mm_tally_add(tally, (struct mm_bytes){begun->data.data, begun->data.len}, ei);
    if (r < 0)
        mm_tally_end(&s->tallies, tally);
    else
        begun->tally = tally->id;
    return r;
}

int mm_store_export_page(struct mm_store *s, const Mintmark__Internal__ExportPage *job,
                         Mintmark__Internal__ExportPiece **ret_piece, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ExportPiece *message =
        mm_message_new(&mintmark__internal__export_piece__descriptor);
    struct piece p = {
        .s = s, .data = MM_BUF_INIT(PIECE_MAX), .arena = MM_ARENA_INIT, .message = message};
    struct mm_tally *tally = NULL;
    int r;

    if (!message)
        return mm_fail_memory(ei);
    r = job->tally ? find_tally(s, job, &tally, ei) : MM_OK;
    if (r == MM_OK)
        r = put_records(&p, job, ei);
    if (r == MM_OK)
        r = copy(&p.data, &message->data, ei);
    if (r == MM_OK && tally)
        r = count_piece(s, tally, message, ei);
    mm_buf_done(&p.data);
    mm_arena_done(&p.arena);
    if (r < 0)
        return r;
    *ret_piece = MM_TAKE(message);
    return MM_OK;
}

/* ---- the header -------------------------------------------------------------------------- */

static int put_header(struct mm_store *s, const Mintmark__Internal__BeginExport *job,
                      uint64_t first, struct mm_buf *to, struct mm_errinfo *ei)
{
    static char version[] = MM_VERSION;
    Mintmark__V1__LedgerExportHeader header = MINTMARK__V1__LEDGER_EXPORT_HEADER__INIT;
    uint8_t previous[MM_SHA256_BYTES] = {0}, *audit = NULL;
    int len, r = first > 1 ? mm_ledger_hash_at(s, first - 1, previous, ei) : MM_OK;

    if (r < 0)
        return r;
    if (!s->guard.audit)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                       "the configuration has no section appliance: nobody signs exports");
    len = i2d_X509(sk_X509_value(mm_trust_certificates(s->guard.audit), 0), &audit);
    if (len < 0)
        return mm_fail_memory(ei);
    header.format = FORMAT;
    header.ledger_id = (ProtobufCBinaryData){sizeof(s->ledger.id), s->ledger.id};
    header.first_sequence = first;
    header.last_sequence = s->ledger.committed.sequence;
    header.previous = (ProtobufCBinaryData){sizeof(previous), previous};
    header.audit_certificate = (ProtobufCBinaryData){(size_t)len, audit};
    header.identity_certificate = binary(s->site.identity_certificate);
    header.version = version;
    header.time_ms = job->now_ms;
    if (s->site.name)
        header.site = (char *)(uintptr_t)s->site.name;
    put(to, &ITEM(HEADER, header, &header));
    OPENSSL_free(audit);
    return MM_OK;
}

static int begin(struct mm_store *s, const Mintmark__Internal__BeginExport *job,
                 Mintmark__Internal__ExportBegun *begun, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf data = MM_BUF_INIT(PIECE_MAX);
    const struct mm_ledger_head *head = &s->ledger.committed;
    const uint64_t first = job->first_sequence ? job->first_sequence : 1;
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    if (first > head->sequence)
        return mm_fail_field(ei, "first_sequence", "the ledger ends at record %llu",
                             (unsigned long long)head->sequence);
    /* As it is on disk, also when the ledger is damaged and locked. */
    r = mm_ledger_hash_at(s, head->sequence, hash, ei);
    if (r == MM_OK)
        r = put_header(s, job, first, &data, ei);
    if (r == MM_OK && first > 1)
        r = put_checkpoint(s, MM_SQL_EXPORT_CHECKPOINT_BEFORE, first, &data, ei);
    if (r == MM_OK)
        r = copy(&data, &begun->data, ei);
    begun->head.data = malloc(sizeof(hash));
    begun->ledger_id.data = malloc(sizeof(s->ledger.id));
    if (r == MM_OK && (!begun->head.data || !begun->ledger_id.data))
        r = mm_fail_memory(ei);
    if (r < 0)
        return r;
    begun->first_sequence = first;
    begun->last_sequence = head->sequence;
    memcpy(begun->head.data, hash, sizeof(hash));
    begun->head.len = sizeof(hash);
    memcpy(begun->ledger_id.data, s->ledger.id, sizeof(s->ledger.id));
    begun->ledger_id.len = sizeof(s->ledger.id);
    return MM_OK;
}

int mm_store_begin_export(struct mm_store *s, const Mintmark__Internal__BeginExport *job,
                          Mintmark__Internal__ExportBegun **ret_begun, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ExportBegun *begun =
        mm_message_new(&mintmark__internal__export_begun__descriptor);
    int r;

    if (!begun)
        return mm_fail_memory(ei);
    r = begin(s, job, begun, ei);
    if (r == MM_OK)
        r = begin_tally(s, job, begun, ei);
    if (r < 0)
        return r;
    *ret_begun = MM_TAKE(begun);
    return MM_OK;
}
