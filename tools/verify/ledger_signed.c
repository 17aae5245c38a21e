/* SPDX-License-Identifier: Apache-2.0 */
/* What of an export is signed: documents, checkpoints, unlocks, and the statement at its end. */
#include "tools/verify/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Opens a document, and asks whether its signer is trusted. NULL, or a finding was made of it. */
static const Mintmark__V1__SignedDocument *take_document(struct ledger *l, struct signature *s,
                                                         struct slice cms,
                                                         const struct trust *trust, int64_t time_ms,
                                                         const char *code, const char *what)
{
    const Mintmark__V1__SignedDocument *d = NULL;
    char why[TEXT_MAX];
    const char *fault = document_open(s, &l->document_arena, cms.data, cms.len, &d, why);

    if (!fault && trust->path)
        fault = trust_check(trust, s->signer, s->certificates, time_ms, why);
    if (!fault)
        return d;
    wrong(l, code, "%s: %s: %s", what, fault, why);
    return NULL;
}

/* ---- documents that records name ----------------------------------------------------------- */

/* The message inside, whatever its kind: all members of the union are pointers to messages. */
static const ProtobufCMessage *inside(const Mintmark__V1__SignedDocument *d)
{
    return &d->production_order->base;
}

static bool content_right(struct ledger *l, const Mintmark__V1__SignedDocument *d)
{
    uint8_t hash[SHA256_LEN];

    if ((int)d->document_case != l->due.kind)
        return false;
    if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST)
        return same_bytes(&d->order_request->nonce, l->due.nonce, sizeof(l->due.nonce));
    digest_message(l, inside(d), hash);
    return memcmp(hash, l->due.content, sizeof(hash)) == 0;
}

static const struct trust *trust_for(const struct ledger *l, int kind)
{
    if (kind == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST)
        return &l->identity;
    return kind == DUE_REPORT ? &l->audit : &l->oem;
}

static void report_signature(struct ledger *l, struct slice cms)
{
    struct signature s;
    char why[TEXT_MAX];
    const char *fault = signature_open_digest(&s, cms.data, cms.len, l->due.content, why);

    if (!fault && l->audit.path)
        fault = audit_key_check(l, s.signer, s.certificates,
                                l->due.released ? l->due.released : l->at.sequence, l->at.sequence,
                                l->due.time_ms, why);
    if (fault)
        wrong(l, "REPORT_NOT_SIGNED", "the report's signature: %s: %s", fault, why);
    else
        l->reports_signed++;
    signature_done(&s);
}

static void named_document(struct ledger *l, struct slice cms)
{
    const struct trust *trust = trust_for(l, l->due.kind);
    struct signature s;
    const Mintmark__V1__SignedDocument *d = take_document(
        l, &s, cms, trust, l->due.time_ms, "ORDER_NOT_AS_SIGNED", "the document that it names");

    if (d && !content_right(l, d))
        wrong(l, "ORDER_NOT_AS_SIGNED", "it says something else than the document that was signed");
    else if (d && *l->due.signer && strcmp(l->due.signer, s.signer_name) != 0)
        wrong(l, "ORDER_NOT_AS_SIGNED", "the document was signed by %s, and not by %s",
              s.signer_name, l->due.signer);
    else if (d && trust->path)
        l->documents_signed++;
    signature_done(&s);
}

/* The store has had these documents as long as records name them, so one that is not there was left
 * out: an order or a receipt that whoever has the audit key made up looks like that. Who names no
 * OEM cannot be told more than that nobody looked. */
void ledger_document_due(struct ledger *l)
{
    if (l->due.sequence > 0 && l->due.sequence == l->at.sequence && l->oem.path &&
        trust_for(l, l->due.kind) == &l->oem)
        wrong(l, "ORDER_NOT_SIGNED", "what the OEM signed for it is not in the export");
    l->due.sequence = 0;
}

void ledger_document(struct ledger *l, const Mintmark__V1__LedgerExportDocument *d)
{
    const struct slice cms = {d->document.data, d->document.len};
    uint8_t hash[SHA256_LEN];

    if (l->due.sequence == 0 || d->sequence != l->due.sequence) {
        wrong(l, "EXPORT_FORM", "a document follows that it does not name");
        return;
    }
    l->due.sequence = 0;
    l->documents_missing--;
    digest_of(l, cms.data, cms.len, hash);
    if (l->due.has_sha256 && memcmp(hash, l->due.sha256, sizeof(hash)) != 0)
        wrong(l, "ORDER_NOT_AS_SIGNED", "the document that follows is not the one that it names");
    else if (l->due.kind == DUE_REPORT)
        report_signature(l, cms);
    else
        named_document(l, cms);
}

/* ---- checkpoints ------------------------------------------------------------------------- */

static void take_total(struct ledger *l, const Mintmark__V1__OrderTotal *t)
{
    struct order *o = order_find(l, t->order_id);

    if (!o)
        o = order_add(l, t->order_id);
    o->complete = true;
    o->quantity = t->quantity;
    o->used = t->used;
    o->refunded = t->refunded;
    o->hold = t->hold >= HOLD_NONE && t->hold <= HOLD_REVOKED ? (enum hold)t->hold : HOLD_REVOKED;
    o->not_before_ms = t->not_before_time_ms;
    o->not_after_ms = t->not_after_time_ms;
    o->added_ms = t->added_time_ms;
    o->per_batch_max = t->per_batch_max;
    o->per_day_max = t->per_day_max;
    o->unreported_max = t->unreported_devices_max;
    o->reported = t->reported;
    o->reported_ms = t->reported_time_ms;
    o->report_hours = t->report_within_hours;
    o->replacements_max = t->replacements_max;
    o->day = t->day;
    o->day_used = t->day_used;
    free(o->stations);
    o->stations = copy_text(t->stations);
}

/* Where an export begins later, the checkpoint before its first record says how things stood. */
static void seed(struct ledger *l, const Mintmark__V1__Checkpoint *c,
                 const Mintmark__V1__OrderTotals *totals)
{
    if (!totals)
        return;
    for (size_t i = 0; i < totals->n_orders; i++)
        take_total(l, totals->orders[i]);
    l->seeded = true;
    l->adopting = false; /* a service that has run made it */
    l->devices = c->devices;
    l->epoch = c->epoch;
    l->at.time_ms = c->highest_time_ms;
}

static int by_id(const void *a, const void *b)
{
    const Mintmark__V1__OrderTotal *const *one = a, *const *other = b;

    return strcmp((*one)->order_id, (*other)->order_id);
}

static Mintmark__V1__OrderTotal total_of(struct order *o)
{
    Mintmark__V1__OrderTotal t = MINTMARK__V1__ORDER_TOTAL__INIT;

    t.order_id = o->id;
    t.stations = o->stations;
    t.quantity = o->quantity;
    t.used = o->used;
    t.refunded = o->refunded;
    t.hold = (uint32_t)o->hold;
    t.not_before_time_ms = o->not_before_ms;
    t.not_after_time_ms = o->not_after_ms;
    t.added_time_ms = o->added_ms;
    t.per_batch_max = o->per_batch_max;
    t.per_day_max = o->per_day_max;
    t.unreported_devices_max = o->unreported_max;
    t.reported = o->reported;
    t.reported_time_ms = o->reported_ms;
    t.report_within_hours = o->report_hours;
    t.replacements_max = o->replacements_max;
    t.day = o->day;
    t.day_used = o->day_used;
    return t;
}

static bool total_right(struct ledger *l, struct order *o, const Mintmark__V1__OrderTotal *t)
{
    const Mintmark__V1__OrderTotal own = total_of(o);
    uint8_t a[SHA256_LEN], b[SHA256_LEN];

    digest_message(l, &own.base, a);
    digest_message(l, &t->base, b);
    return memcmp(a, b, sizeof(a)) == 0;
}

/* The list has one serialised form, so what comes out of the records has the hash that is signed,
 * whether the list is in the export or not. */
static void own_totals(struct ledger *l, uint8_t ret_sha256[SHA256_LEN])
{
    Mintmark__V1__OrderTotals totals = MINTMARK__V1__ORDER_TOTALS__INIT;
    Mintmark__V1__OrderTotal *all = allocate(l->n_orders + 1, sizeof(*all));
    Mintmark__V1__OrderTotal **sorted = allocate(l->n_orders + 1, sizeof(*sorted));

    for (size_t i = 0; i < 1 << TABLE_BITS; i++) {
        for (struct order *o = l->orders[i]; o; o = o->next) {
            all[totals.n_orders] = total_of(o);
            sorted[totals.n_orders] = &all[totals.n_orders];
            totals.n_orders++;
        }
    }
    qsort(sorted, totals.n_orders, sizeof(struct order *), by_id);
    totals.orders = sorted;
    digest_message(l, &totals.base, ret_sha256);
    free(sorted);
    free(all);
}

/* Says which order it is, if the list is there. */
static void name_totals(struct ledger *l, const Mintmark__V1__OrderTotals *totals)
{
    size_t named = 0;

    for (size_t i = 0; totals && i < totals->n_orders; i++) {
        struct order *o = order_find(l, totals->orders[i]->order_id);

        if (o && total_right(l, o, totals->orders[i]))
            continue;
        wrong(l, "CHECKPOINT_BAD", "its checkpoint has other totals of order %s",
              totals->orders[i]->order_id);
        named++;
    }
    if (named == 0)
        wrong(l, "CHECKPOINT_BAD", "its checkpoint has other totals of orders");
}

static void compare_totals(struct ledger *l, const Mintmark__V1__Checkpoint *c,
                           const Mintmark__V1__OrderTotals *totals)
{
    uint8_t own[SHA256_LEN];

    if (l->partial && !l->seeded)
        return;
    own_totals(l, own);
    if (!same_bytes(&c->orders_sha256, own, sizeof(own)))
        name_totals(l, totals);
    else if (c->orders != l->n_orders)
        wrong(l, "CHECKPOINT_BAD", "its checkpoint counts %llu orders; there are %zu",
              (unsigned long long)c->orders, l->n_orders);
}

/* The list beside a checkpoint, if it is there, and the one that is signed. */
static const Mintmark__V1__OrderTotals *read_totals(struct ledger *l,
                                                    const Mintmark__V1__LedgerExportCheckpoint *e,
                                                    const Mintmark__V1__Checkpoint *c)
{
    ProtobufCMessage *message;
    uint8_t hash[SHA256_LEN];

    digest_of(l, e->order_totals.data, e->order_totals.len, hash);
    if (!same_bytes(&c->orders_sha256, hash, sizeof(hash))) {
        /* An empty list may be one that the export has not. */
        if (e->order_totals.len > 0)
            wrong(l, "CHECKPOINT_BAD",
                  "the totals beside its checkpoint are not those that it signs");
        return NULL;
    }
    if (message_read(&l->total_arena, &mintmark__v1__order_totals__descriptor, e->order_totals.data,
                     e->order_totals.len, &message) != MESSAGE_GOOD) {
        wrong(l, "CHECKPOINT_BAD", "the totals beside its checkpoint cannot be read");
        return NULL;
    }
    return (const Mintmark__V1__OrderTotals *)message;
}

static void judge_checkpoint(struct ledger *l, const Mintmark__V1__Checkpoint *c,
                             const Mintmark__V1__OrderTotals *totals)
{
    const bool first = l->records == 0;

    if (!same_bytes(&c->ledger_id, l->id, sizeof(l->id))) {
        wrong(l, "LEDGER_FOREIGN", "its checkpoint is of another ledger");
        return;
    }
    if (first && c->sequence < l->at.sequence)
        return; /* what lies between is not in the export */
    if (c->sequence != l->at.sequence) {
        wrong(l, "EXPORT_FORM", "a checkpoint of record %llu follows it",
              (unsigned long long)c->sequence);
        return;
    }
    if (!same_bytes(&c->head, l->at.hash, SHA256_LEN)) {
        wrong(l, "LEDGER_FORKED", "its checkpoint signs another record in its place");
        return;
    }
    if (first) {
        seed(l, c, totals);
    } else {
        /* A start that ended in a lock counts, and has no record. */
        if (c->devices != l->devices || c->epoch < l->epoch || c->highest_time_ms != l->at.time_ms)
            wrong(l, "CHECKPOINT_BAD", "its checkpoint has other sums");
        l->epoch = c->epoch;
        compare_totals(l, c, totals);
    }
    l->checkpoints++;
    l->checkpoint_last = c->sequence;
}

/* A checkpoint has its record's time, which is not known where the export begins with it. */
static bool checkpoint_signed(struct ledger *l, const struct signature *s,
                              const Mintmark__V1__Checkpoint *c)
{
    char why[TEXT_MAX];
    const char *fault = audit_key_check(l, s->signer, s->certificates, c->sequence, c->sequence,
                                        c->highest_time_ms, why);

    if (fault && strcmp(fault, "AUDIT_KEY_UNJUSTIFIED") == 0)
        wrong(l, fault, "its checkpoint is signed by another key: %s", why);
    else if (fault)
        wrong(l, "CHECKPOINT_BAD", "its checkpoint: %s: %s", fault, why);
    return !fault;
}

void ledger_checkpoint(struct ledger *l, const Mintmark__V1__LedgerExportCheckpoint *c)
{
    const struct slice cms = {c->document.data, c->document.len};
    const struct trust nobody = {.path = NULL};
    struct signature s;
    const Mintmark__V1__SignedDocument *d =
        take_document(l, &s, cms, &nobody, 0, "CHECKPOINT_BAD", "its checkpoint");

    ledger_document_due(l);
    if (d && d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT)
        wrong(l, "CHECKPOINT_BAD", "its checkpoint is another document");
    else if (d && d->checkpoint->sequence != c->sequence)
        wrong(l, "CHECKPOINT_BAD", "its checkpoint is of another record than it says");
    else if (d && checkpoint_signed(l, &s, d->checkpoint))
        judge_checkpoint(l, d->checkpoint, read_totals(l, c, d->checkpoint));
    signature_done(&s);
}

/* ---- the statement ----------------------------------------------------------------------- */

static void judge_statement(struct ledger *l, const Mintmark__V1__LedgerExport *e,
                            const uint8_t before[SHA256_LEN])
{
    if (!same_bytes(&e->ledger_id, l->id, sizeof(l->id)))
        finding(l->v, "LEDGER_FOREIGN", "end", "the statement is about another ledger");
    if (!same_bytes(&e->sha256, before, SHA256_LEN))
        finding(l->v, "EXPORT_CHANGED", "end",
                "the file is not the one that the statement at its end signs");
    if (e->last_sequence > l->at.sequence)
        finding(l->v, "LEDGER_TRUNCATED", "end",
                "the statement signs record %llu, and the last one here is %llu",
                (unsigned long long)e->last_sequence, (unsigned long long)l->at.sequence);
    else if (e->last_sequence < l->at.sequence || e->first_sequence != l->first_sequence ||
             e->records != l->records || e->devices != l->exported_devices)
        finding(l->v, "EXPORT_CHANGED", "end",
                "the statement signs another number of records or "
                "devices than are here");
    else if (!same_bytes(&e->head, l->at.hash, SHA256_LEN))
        finding(l->v, "LEDGER_FORKED", "end", "the statement signs another last record");
    else
        l->statement = e->last_sequence;
    fact_time(l->v, "statement", e->time_ms);
    fact_text(l->v, "asked_for_by", e->by);
}

void ledger_statement(struct ledger *l, struct slice cms, const uint8_t before[SHA256_LEN])
{
    const Mintmark__V1__SignedDocument *d = NULL;
    struct signature s;
    char why[TEXT_MAX];
    const char *fault = document_open(&s, &l->document_arena, cms.data, cms.len, &d, why);

    if (!fault && d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_LEDGER_EXPORT) {
        fault = "DOCUMENT_KIND";
        snprintf(why, sizeof(why), "it is no statement on an export");
    }
    if (!fault)
        fault = audit_key_check(l, s.signer, s.certificates, l->at.sequence, l->at.sequence,
                                d->ledger_export->time_ms, why);
    if (fault)
        finding(l->v, fault, "end", "the statement at the end: %s", why);
    else
        judge_statement(l, d->ledger_export, before);
    signature_done(&s);
}

/* ---- unlocks ----------------------------------------------------------------------------- */

static bool unlock_right(const struct ledger *l, const Mintmark__V1__Unlock *u,
                         const Mintmark__V1__ServiceUnlocked *e, const struct place *before)
{
    return same_bytes(&u->ledger_id, l->id, sizeof(l->id)) &&
           u->database_sequence == before->sequence &&
           same_bytes(&u->database_head, before->hash, SHA256_LEN) &&
           strcmp(u->lock_reason, e->lock_reason) == 0 && strcmp(u->reason, e->reason) == 0;
}

void service_unlocked(struct ledger *l, const Mintmark__V1__ServiceUnlocked *e,
                      const struct place *before, int64_t time_ms)
{
    const struct slice cms = {e->document.data, e->document.len};
    struct signature s;
    const Mintmark__V1__SignedDocument *d =
        take_document(l, &s, cms, &l->officers, time_ms, "UNLOCK_BAD", "the unlock");

    l->unlocks++;
    l->locked = false;
    audit_keys_unlocked(l);
    l->unclean_starts = 0;
    if (d && d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_UNLOCK)
        wrong(l, "UNLOCK_BAD", "the document in it is no unlock");
    else if (d &&
             (!unlock_right(l, d->unlock, e, before) || strcmp(e->officer, s.signer_name) != 0))
        wrong(l, "UNLOCK_BAD", "the officer signed an unlock for another state of the ledger");
    else if (d && l->officers.path)
        l->unlocks_proved++;
    if (d)
        unproved(l->v,
                 "That the database was right at record %llu: it was locked (%s), and %s "
                 "unlocked it: %s. What the token's anchor knew was record %llu.",
                 (unsigned long long)l->at.sequence, e->lock_reason, s.signer_name, e->reason,
                 d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_UNLOCK
                     ? (unsigned long long)d->unlock->anchor_sequence
                     : 0ULL);
    signature_done(&s);
}

/* ---- what was kept elsewhere --------------------------------------------------------------- */

static bool add_witness(struct ledger *l, const char *path, uint64_t sequence,
                        const ProtobufCBinaryData *head)
{
    struct witness *w = &l->witnesses[l->n_witnesses];

    if (head->len != SHA256_LEN || l->n_witnesses == WITNESSES_MAX)
        return false;
    w->name = copy_text(path);
    w->sequence = sequence;
    memcpy(w->head, head->data, SHA256_LEN);
    l->n_witnesses++;
    return true;
}

/* A checkpoint, or the statement of an export. It must be the audit key's, or it is no witness. */
static bool take_witness(struct ledger *l, const char *path, struct slice cms, char why[TEXT_MAX])
{
    const Mintmark__V1__SignedDocument *d = NULL;
    struct signature s;
    bool good = !document_open(&s, &l->document_arena, cms.data, cms.len, &d, why);
    int64_t time_ms = 0;

    if (good) {
        snprintf(why, TEXT_MAX, "it is neither a checkpoint nor an export");
        if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT)
            time_ms = d->checkpoint->highest_time_ms;
        else if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_LEDGER_EXPORT)
            time_ms = d->ledger_export->time_ms;
        else
            good = false;
    }
    if (good)
        good = !trust_check(&l->audit, s.signer, s.certificates, time_ms, why);
    if (good && d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT)
        good = add_witness(l, path, d->checkpoint->sequence, &d->checkpoint->head);
    else if (good)
        good = add_witness(l, path, d->ledger_export->last_sequence, &d->ledger_export->head);
    signature_done(&s);
    return good;
}

static bool statement_of(struct ledger *l, struct export_file *e, const char *path,
                         char why[TEXT_MAX])
{
    const Mintmark__V1__LedgerExportItem *item;
    ProtobufCMessage *message;

    while (export_next(e) > 0) {
        if (message_read(&l->item_arena, &mintmark__v1__ledger_export_item__descriptor, e->item,
                         e->item_len, &message) == MESSAGE_BAD)
            return false;
        item = (const Mintmark__V1__LedgerExportItem *)message;
        if (item->item_case == MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_END)
            return take_witness(l, path, (struct slice){item->end.data, item->end.len}, why);
    }
    return false;
}

/* The statement at the end of an older export. */
static bool witness_of_export(struct ledger *l, const char *path, char why[TEXT_MAX])
{
    struct export_file e;
    FILE *file = fopen(path, "re");
    bool good;

    snprintf(why, TEXT_MAX, "it is neither a checkpoint nor an export that is whole");
    if (!file)
        return false;
    good = export_begin(&e, file) && statement_of(l, &e, path, why);
    export_close(&e);
    fclose(file);
    return good;
}

bool witness_load(struct ledger *l, const char *path)
{
    char why[TEXT_MAX];
    size_t len = 0;
    uint8_t *data = file_read(NULL, path, &len);
    bool good;

    if (!data && errno != EFBIG) {
        unreadable(path, strerror(errno));
        return false;
    }
    /* A document in DER begins with a SEQUENCE; an export with a length below 16 MiB. */
    if (data && len > 0 && data[0] == 0x30)
        good = take_witness(l, path, (struct slice){data, len}, why);
    else
        good = witness_of_export(l, path, why);
    free(data);
    if (!good)
        unreadable(path, why);
    return good;
}
