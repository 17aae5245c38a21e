/* SPDX-License-Identifier: Apache-2.0 */
/* The chain: every record follows the one before, and says what it may say. */
#include "tools/verify/ledger.h"

#include <string.h>

static void genesis(struct ledger *l, const Mintmark__V1__Genesis *e)
{
    if (l->at.sequence != 1)
        wrong(l, "LEDGER_EDITED", "it begins the ledger again");
    if (!same_bytes(&e->ledger_id, l->id, sizeof(l->id)))
        wrong(l, "LEDGER_FOREIGN", "it begins another ledger than the header names");
    l->devices = e->devices;
    l->adopting = l->at.sequence == 1;
    if (e->devices > 0)
        unproved(l->v, "%llu devices that were made before the ledger began.",
                 (unsigned long long)e->devices);
}

/* ---- the service ------------------------------------------------------------------------- */

static void service_started(struct ledger *l, const Mintmark__V1__ServiceStarted *e)
{
    if (e->epoch <= l->epoch)
        wrong(l, "LEDGER_EDITED", "start %llu follows start %llu", (unsigned long long)e->epoch,
              (unsigned long long)l->epoch);
    l->epoch = e->epoch;
    if (l->locked && l->locked_by_walk)
        wrong(l, "LEDGER_LOCKED", "the service was locked (%s), and started without an unlock",
              l->lock_reason);
    l->locked = false;
    if (e->unclean)
        l->unclean_starts++;
    if (e->unclean_starts_max > 0 && l->unclean_starts > e->unclean_starts_max)
        wrong(l, "TOO_MANY_UNCLEAN_STARTS",
              "%u starts after an end that was not orderly, since the last unlock; %u may be",
              l->unclean_starts, e->unclean_starts_max);
    l->unclean_max = e->unclean_starts_max;
    fact_number(l->v, "anchor_devices", e->anchor_devices);
    fact_number(l->v, "unclean_starts_max", e->unclean_starts_max);
}

static void service_locked(struct ledger *l, const Mintmark__V1__ServiceLocked *e)
{
    l->locked = true;
    l->locked_by_walk = e->by_walk;
    snprintf(l->lock_reason, sizeof(l->lock_reason), "%s", e->reason);
    unproved(l->v, "What happened before record %llu: the service locked itself, %s (%s).",
             (unsigned long long)l->at.sequence, e->reason, e->text);
}

/* A locked service only starts again, or is unlocked. */
static void check_lock(struct ledger *l, Mintmark__V1__LedgerRecord__EventCase event)
{
    if (l->locked && event != MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_STARTED &&
        event != MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_LOCKED &&
        event != MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_UNLOCKED) {
        wrong(l, "LEDGER_LOCKED", "the service was locked (%s), and went on without an unlock",
              l->lock_reason);
        l->locked = false;
    }
}

/* ---- events ------------------------------------------------------------------------------ */

static void station_event(struct ledger *l, const Mintmark__V1__LedgerRecord *r)
{
    switch (r->event_case) {
    case MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_OPENED:
        batch_opened(l, r->batch_opened, &l->at);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SPENT:
        spent(l, r->spent, l->at.time_ms);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_DEVICES_REPORTED:
        devices_reported(l, r->devices_reported);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_DEVICE_FAILED:
        device_failed(l, r->device_failed);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REFUNDED:
        refunded(l, r->refunded);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_BATCH_RELEASED:
        batch_released(l, r->batch_released, &l->at);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REPORT_SIGNED:
        report_signed(l, r->report_signed, r->sequence);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_CERTIFIED:
        certified(l, r->certified);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_KEYS_DELETED:
        keys_deleted(l, r->keys_deleted);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT__NOT_SET:
        wrong(l, "LEDGER_EDITED", "it says nothing that this program knows");
        return;
    default:
        l->passed_over++; /* of the format, but nothing follows from it for orders and devices */
    }
}

static void take_event(struct ledger *l, const Mintmark__V1__LedgerRecord *r,
                       const struct place *before)
{
    check_lock(l, r->event_case);
    l->adopting = l->adopting &&
                  r->event_case == MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_IMPORTED &&
                  !r->order_imported->terms;
    switch (r->event_case) {
    case MINTMARK__V1__LEDGER_RECORD__EVENT_GENESIS:
        genesis(l, r->genesis);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_STARTED:
        service_started(l, r->service_started);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_LOCKED:
        service_locked(l, r->service_locked);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_UNLOCKED:
        service_unlocked(l, r->service_unlocked, before, l->at.time_ms);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_AUDIT_KEY_CHANGED:
        audit_key_changed(l, r->audit_key_changed);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_IMPORTED:
        order_imported(l, r->order_imported, l->at.time_ms);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_ORDER_CHANGED:
        order_changed(l, r->order_changed);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_DOCUMENT_ACCEPTED:
        document_accepted(l, r->document_accepted, l->at.time_ms);
        return;
    case MINTMARK__V1__LEDGER_RECORD__EVENT_REQUEST_MADE:
        request_made(l, r->request_made);
        return;
    default:
        station_event(l, r);
    }
}

/* ---- links ------------------------------------------------------------------------------- */

/* The last record again, or another in its place. */
static bool is_fork(struct ledger *l, const Mintmark__V1__LedgerRecord *r,
                    const uint8_t hash[SHA256_LEN])
{
    if (l->records == 0 || r->sequence != l->at.sequence)
        return false;
    wrong(l, "LEDGER_FORKED", "it is there twice%s",
          memcmp(hash, l->at.hash, SHA256_LEN) == 0 ? "" : ", and is not the same");
    l->records++;
    return true;
}

/* Number and place in the chain, against the record before. */
static void check_link(struct ledger *l, const Mintmark__V1__LedgerRecord *r,
                       const struct place *before)
{
    if (r->sequence > before->sequence + 1) {
        wrong(l, "LEDGER_GAP", "%llu records before it are missing",
              (unsigned long long)(r->sequence - before->sequence - 1));
    } else if (r->sequence != before->sequence + 1) {
        wrong(l, "LEDGER_EDITED", "it follows record %llu", (unsigned long long)before->sequence);
    } else if (l->records == 0 && r->sequence != l->first_sequence) {
        wrong(l, "LEDGER_EDITED", "the export begins with it, but should with %llu",
              (unsigned long long)l->first_sequence);
    } else if (!same_bytes(&r->previous, before->hash, SHA256_LEN)) {
        wrong(l, "LEDGER_EDITED", "record %llu is not the one that it was written after",
              (unsigned long long)before->sequence);
    }
    if (r->time_ms < before->time_ms)
        wrong(l, "TIME_WENT_BACK", "it is older than the record before it");
    if (r->time_ms > TIME_MAX_MS)
        wrong(l, "TIME_WENT_BACK", "its time cannot be");
    if (r->sequence == 1 && r->event_case != MINTMARK__V1__LEDGER_RECORD__EVENT_GENESIS)
        wrong(l, "LEDGER_EDITED",
              "a ledger begins with a record of its own kind, and not with this");
}

static void meet_witnesses(struct ledger *l, uint64_t sequence, const uint8_t hash[SHA256_LEN])
{
    for (size_t i = 0; i < l->n_witnesses; i++) {
        struct witness *w = &l->witnesses[i];

        if (w->sequence != sequence || w->met)
            continue;
        w->met = memcmp(w->head, hash, SHA256_LEN) == 0;
        if (!w->met)
            wrong(l, "LEDGER_FORKED", "it is not the record that %s knows", w->name);
    }
}

/* What stands before the first record of an export that begins later. */
static void begin(struct ledger *l)
{
    if (l->records == 0 && l->partial)
        meet_witnesses(l, l->at.sequence, l->at.hash);
}

void ledger_record(struct ledger *l, const uint8_t *data, size_t len)
{
    const struct place before = l->at;
    const Mintmark__V1__LedgerRecord *r;
    ProtobufCMessage *message;
    uint8_t hash[SHA256_LEN];
    enum message_fault fault;

    begin(l);
    ledger_document_due(l);
    fault = message_read(&l->record_arena, &mintmark__v1__ledger_record__descriptor, data, len,
                         &message);
    digest_of(l, data, len, hash);
    l->spent_batch = NULL;
    if (fault == MESSAGE_BAD) {
        l->at.sequence++;
        wrong(l, "LEDGER_EDITED", "it is no record");
        memcpy(l->at.hash, hash, sizeof(hash));
        l->records++;
        return;
    }
    r = (const Mintmark__V1__LedgerRecord *)message;
    if (is_fork(l, r, hash))
        return;
    l->at.sequence = r->sequence;
    if (r->time_ms > before.time_ms && r->time_ms <= TIME_MAX_MS)
        l->at.time_ms = r->time_ms;
    check_link(l, r, &before);
    memcpy(l->at.hash, hash, sizeof(hash));
    l->event = (int)r->event_case;
    if (fault == MESSAGE_UNKNOWN)
        wrong(l, "RECORD_UNKNOWN", "it has a field or an event that this program does not know");
    else
        take_event(l, r, &before);
    l->records++;
    meet_witnesses(l, r->sequence, hash);
}
