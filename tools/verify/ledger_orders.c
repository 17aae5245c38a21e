/* SPDX-License-Identifier: Apache-2.0 */
/* What records say of production orders, and what an order lets be done (docs/orders.md). */
#include "tools/verify/ledger.h"

#include <stdlib.h>
#include <string.h>

/* ---- in ---------------------------------------------------------------------------------- */

static char *join_stations(char *const *names, size_t n)
{
    size_t len = 2;
    char *text;

    for (size_t i = 0; i < n; i++)
        len += strlen(names[i]) + 1;
    text = allocate(1, len);
    if (n > 0)
        text[0] = ',';
    len = n > 0;
    for (size_t i = 0; i < n; i++) {
        const size_t name = strlen(names[i]);

        memcpy(text + len, names[i], name);
        text[len + name] = ',';
        len += name + 1;
    }
    return text;
}

static void replace(char **text, char *by)
{
    free(*text);
    *text = by;
}

static void take_terms(struct order *o, const Mintmark__V1__ProductionOrder *t)
{
    o->per_batch_max = t->per_batch_max;
    o->per_day_max = t->per_day_max;
    o->unreported_max = t->unreported_devices_max;
    o->report_hours = t->report_within_hours;
    o->replacements_max = t->replacements_max;
    replace(&o->stations, join_stations(t->stations, t->n_stations));
}

/* A signed document may follow, and then it must be this. */
static void expect_document(struct ledger *l, int kind, const ProtobufCMessage *content,
                            const ProtobufCBinaryData *sha256, const char *signer, int64_t time_ms)
{
    l->due.sequence = l->at.sequence;
    l->due.time_ms = time_ms;
    l->due.kind = kind;
    l->due.has_sha256 = sha256 && sha256->len == SHA256_LEN;
    if (l->due.has_sha256)
        memcpy(l->due.sha256, sha256->data, SHA256_LEN);
    if (content)
        digest_message(l, content, l->due.content);
    snprintf(l->due.signer, sizeof(l->due.signer), "%s", signer);
    l->documents_missing++; /* until it comes */
}

static bool uses_nonce(struct ledger *l, const ProtobufCBinaryData *nonce)
{
    const int64_t before = see(l, SEEN_NONCE_USED, nonce->data, nonce->len, 1);

    if (before != 0)
        wrong(l, "ORDER_NONCE_USED", "its nonce was used by an order before");
    else if (!l->partial && !seen_has(&l->seen, SEEN_NONCE, nonce->data, nonce->len))
        wrong(l, "ORDER_NONCE_UNKNOWN", "its nonce is of no request that was made here");
    return before == 0;
}

static void judge_terms(struct ledger *l, const Mintmark__V1__OrderImported *e)
{
    const Mintmark__V1__ProductionOrder *t = e->terms;
    char why[TEXT_MAX];
    const char *code = order_terms_fault(t, why);
    uint8_t identity[SHA256_LEN];
    bool ours = !l->identity.path;

    if (code)
        wrong(l, code, "order %s: %s", e->order_id, why);
    if (strcmp(t->order_id, e->order_id) != 0 || strcmp(t->profile, e->profile) != 0 ||
        t->quantity != e->quantity || t->not_before_time_ms != e->not_before_time_ms ||
        t->not_after_time_ms != e->not_after_time_ms || e->used != 0)
        wrong(l, "ORDER_NOT_AS_SIGNED", "order %s: the record and the signed terms in it differ",
              e->order_id);
    for (int i = 0; !ours && i < sk_X509_num(l->identity.certificates); i++)
        ours = certificate_key_hash(sk_X509_value(l->identity.certificates, i), identity) &&
               same_bytes(&t->appliance_sha256, identity, sizeof(identity));
    if (!ours)
        wrong(l, "ORDER_OTHER_APPLIANCE", "order %s is for another appliance", e->order_id);
    uses_nonce(l, &t->nonce);
    if (e->added_time_ms >= e->not_after_time_ms)
        wrong(l, "ORDER_EXPIRED", "order %s was over when it came in", e->order_id);
}

void order_imported(struct ledger *l, const Mintmark__V1__OrderImported *e, int64_t time_ms)
{
    struct order *o = order_find(l, e->order_id);

    if (o) {
        wrong(l, "ORDER_EXISTS", "order %s is imported a second time", e->order_id);
        return;
    }
    o = order_add(l, e->order_id);
    o->complete = true;
    replace(&o->profile, copy_text(e->profile));
    o->quantity = e->quantity;
    o->used = e->used;
    o->not_before_ms = e->not_before_time_ms;
    o->not_after_ms = e->not_after_time_ms;
    o->added_ms = e->added_time_ms;
    if (o->used > o->quantity)
        wrong(l, "QUOTA_EXHAUSTED", "order %s comes with more units used than it has", o->id);
    if (e->added_time_ms > time_ms)
        wrong(l, "LEDGER_EDITED", "order %s came in later than its record", o->id);
    if (!e->terms) {
        l->orders_unsigned++;
        if (!l->adopting)
            wrong(l, "ORDER_NOT_SIGNED", "order %s came without what the OEM signed", o->id);
        return;
    }
    take_terms(o, e->terms);
    judge_terms(l, e);
    expect_document(l, MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER, &e->terms->base,
                    &e->document_sha256, e->signer, time_ms);
}

void request_made(struct ledger *l, const Mintmark__V1__RequestMade *e)
{
    if (e->nonce.len != sizeof(l->due.nonce)) {
        wrong(l, "LEDGER_EDITED", "a nonce has not 16 bytes");
        return;
    }
    if (see(l, SEEN_NONCE, e->nonce.data, e->nonce.len, 1) != 0)
        wrong(l, "ORDER_NONCE_USED", "the nonce was made before");
    expect_document(l, MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST, NULL, NULL, "",
                    l->at.time_ms);
    memcpy(l->due.nonce, e->nonce.data, e->nonce.len);
}

/* ---- changes ----------------------------------------------------------------------------- */

/* An order that a record speaks of; one from before the export is made up as far as is known. */
static struct order *known_order(struct ledger *l, const char *id)
{
    struct order *o = order_find(l, id);

    if (!o && l->partial && !l->seeded) {
        o = order_add(l, id);
        o->quantity = UINT64_MAX;
        o->not_after_ms = INT64_MAX;
        return o;
    }
    if (!o)
        wrong(l, "ORDER_UNKNOWN", "order %s was never imported", id);
    return o;
}

static void lower_limit(struct ledger *l, uint64_t *limit, uint64_t to, const char *what)
{
    if (to == 0)
        return;
    if (*limit > 0 && to > *limit)
        wrong(l, "ORDER_RAISED", "an officer raises %s from %llu to %llu", what,
              (unsigned long long)*limit, (unsigned long long)to);
    *limit = to;
}

static void lower(struct ledger *l, struct order *o, const Mintmark__V1__OrderLimits *to)
{
    if (!to) {
        wrong(l, "LEDGER_EDITED", "it lowers nothing");
        return;
    }
    lower_limit(l, &o->quantity, to->quantity, "the quantity");
    lower_limit(l, &o->per_batch_max, to->per_batch_max, "the limit for a batch");
    lower_limit(l, &o->per_day_max, to->per_day_max, "the limit for a day");
    if (to->not_after_time_ms > o->not_after_ms)
        wrong(l, "ORDER_RAISED", "an officer lets order %s last longer", o->id);
    if (to->not_after_time_ms > 0)
        o->not_after_ms = to->not_after_time_ms;
    if (o->used > o->quantity)
        wrong(l, "LEDGER_EDITED", "the quantity is lowered below what is used");
}

void order_changed(struct ledger *l, const Mintmark__V1__OrderChanged *e)
{
    struct order *o = known_order(l, e->order_id);

    if (!o)
        return;
    if (o->hold >= HOLD_CLOSED)
        wrong(l, "ORDER_CLOSED", "order %s was over, and is changed", o->id);
    switch (e->action) {
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND:
        o->hold = HOLD_SUSPENDED;
        return;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_RESUME:
        if (o->complete && o->hold != HOLD_SUSPENDED)
            wrong(l, "ORDER_NOT_SUSPENDED", "order %s was not suspended, and is resumed", o->id);
        o->hold = HOLD_NONE;
        return;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_CLOSE:
        o->hold = HOLD_CLOSED;
        return;
    case MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER:
        lower(l, o, e->limits);
        return;
    default:
        wrong(l, "LEDGER_EDITED", "it does nothing that this program knows to order %s", o->id);
    }
}

static void take_receipt(struct ledger *l, struct order *o, const Mintmark__V1__ReportReceipt *r,
                         int64_t time_ms)
{
    if (strcmp(r->order_id, o->id) != 0)
        wrong(l, "LEDGER_EDITED", "the receipt is for another order than the record");
    if (r->time_ms <= o->reported_ms || r->devices < o->reported)
        wrong(l, "RECEIPT_STALE", "a newer receipt for order %s was taken before", o->id);
    if (r->time_ms > time_ms + TOLERANCE_MS)
        wrong(l, "RECEIPT_IN_FUTURE", "the receipt for order %s is from the future", o->id);
    if (o->complete && r->devices > o->used + o->refunded)
        wrong(l, "RECEIPT_AHEAD",
              "the receipt is for %llu devices of order %s, of which %llu were "
              "made",
              (unsigned long long)r->devices, o->id, (unsigned long long)(o->used + o->refunded));
    o->reported = r->devices;
    o->reported_ms = r->time_ms;
}

void document_accepted(struct ledger *l, const Mintmark__V1__DocumentAccepted *e, int64_t time_ms)
{
    struct order *o = known_order(l, e->order_id);

    if (!o)
        return;
    switch (e->document_case) {
    case MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_ORDER_REVOCATION:
        if (strcmp(e->order_revocation->order_id, o->id) != 0)
            wrong(l, "LEDGER_EDITED", "the revocation is of another order than the record");
        o->hold = HOLD_REVOKED;
        expect_document(l, MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION,
                        &e->order_revocation->base, &e->document_sha256, e->signer, time_ms);
        return;
    case MINTMARK__V1__DOCUMENT_ACCEPTED__DOCUMENT_REPORT_RECEIPT:
        take_receipt(l, o, e->report_receipt, time_ms);
        expect_document(l, MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT,
                        &e->report_receipt->base, &e->document_sha256, e->signer, time_ms);
        return;
    default:
        wrong(l, "LEDGER_EDITED", "it accepts no document that this program knows");
    }
}

/* ---- what is allowed --------------------------------------------------------------------- */

static void check_hold(struct ledger *l, const struct order *o)
{
    static const char *const codes[] = {[HOLD_SUSPENDED] = "ORDER_SUSPENDED",
                                        [HOLD_CLOSED] = "ORDER_CLOSED",
                                        [HOLD_REVOKED] = "ORDER_REVOKED"};
    static const char *const words[] = {
        [HOLD_SUSPENDED] = "suspended", [HOLD_CLOSED] = "closed", [HOLD_REVOKED] = "revoked"};

    if (o->hold != HOLD_NONE)
        wrong(l, codes[o->hold], "order %s was %s, and was drawn on", o->id, words[o->hold]);
}

static void check_time(struct ledger *l, const struct order *o, int64_t time_ms)
{
    char text[TIME_TEXT];

    if (time_ms < o->not_before_ms)
        wrong(l, "ORDER_NOT_YET_VALID", "order %s was drawn on before it began, at %s", o->id,
              time_text(o->not_before_ms, text));
    if (time_ms >= o->not_after_ms)
        wrong(l, "ORDER_EXPIRED", "order %s was drawn on after it ended, at %s", o->id,
              time_text(o->not_after_ms, text));
}

static void check_station(struct ledger *l, const struct order *o, const char *station)
{
    const size_t len = strlen(station);
    const char *at = o->stations;

    if (!*at)
        return;
    while ((at = strstr(at, station))) {
        if (len > 0 && at > o->stations && at[-1] == ',' && at[len] == ',')
            return;
        at++;
    }
    wrong(l, "ORDER_STATION", "order %s is not for station %s", o->id, station);
}

static void check_reports(struct ledger *l, const struct order *o, uint64_t n, int64_t time_ms)
{
    const uint64_t made = o->used + o->refunded;
    const uint64_t unreported = made > o->reported ? made - o->reported : 0;
    int64_t due = o->reported_ms;

    if (due < o->added_ms)
        due = o->added_ms;
    if (due < o->not_before_ms)
        due = o->not_before_ms;
    if (o->report_hours > 0 && time_ms - due >= (int64_t)o->report_hours * HOUR_MS)
        wrong(l, "ORDER_REPORT_DUE", "order %s was drawn on, but no receipt came within %u hours",
              o->id, o->report_hours);
    if (o->complete && n > 0 && o->unreported_max > 0 && unreported + n > o->unreported_max)
        wrong(l, "ORDER_REPORT_DUE",
              "%llu devices of order %s are without a receipt then, and %llu may be",
              (unsigned long long)(unreported + n), o->id, (unsigned long long)o->unreported_max);
}

void order_allows(struct ledger *l, const struct order *o, const char *station, uint64_t n,
                  int64_t time_ms)
{
    check_hold(l, o);
    check_time(l, o, time_ms);
    check_station(l, o, station);
    check_reports(l, o, n, time_ms);
}
