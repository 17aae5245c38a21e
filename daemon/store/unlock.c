/* SPDX-License-Identifier: Apache-2.0 */
/* How a lock ends: by an officer's word that the store may work again, and by nothing less. */
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "daemon/store/sqlite.h"

#include <string.h>

int mm_guard_check_lock(struct mm_store *s, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const struct mm_ledger_head *head = &s->ledger.now;
    const Mintmark__V1__ServiceLocked *locked;
    Mintmark__V1__LedgerRecord *record;
    int r;

    if (head->event != (int)MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_LOCKED)
        return MM_OK;
    r = mm_ledger_record_at(s, head->sequence, &arena, &record, ei);
    if (r < 0)
        return r;
    locked = record->service_locked;
    return locked->by_walk ? mm_fail(ei, MM_ERR_CORRUPT, locked->reason, "%s", locked->text)
                           : MM_OK;
}

static bool same(const ProtobufCBinaryData *a, const void *b, size_t len)
{
    return a->len == len && (len == 0 || memcmp(a->data, b, len) == 0);
}

/* The state that the officer looked at is the one that the store is in: no other is unlocked. */
static int check(const struct mm_store *s, const Mintmark__V1__Unlock *u, struct mm_errinfo *ei)
{
    const struct mm_guard *g = &s->guard;
    const struct mm_ledger_head *head = &s->ledger.now;

    if (strlen(u->reason) < 1 || strlen(u->reason) > MM_REASON_TEXT_MAX || u->nonce.len != 16)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_CONTENT",
                       "the unlock wants a reason of 1 to %d bytes, and a nonce of 16",
                       MM_REASON_TEXT_MAX);
    if (!same(&u->ledger_id, s->ledger.id, sizeof(s->ledger.id)) ||
        u->database_sequence != head->sequence ||
        !same(&u->database_head, head->hash, sizeof(head->hash)) ||
        u->anchor_sequence != g->anchor.sequence ||
        !same(&u->anchor_head, g->anchor.hash, g->anchor.sequence ? sizeof(g->anchor.hash) : 0) ||
        strcmp(u->lock_reason, g->reason) != 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "UNLOCK_STALE",
                       "the unlock is for another state of the ledger than this one");
    return MM_OK;
}

static int enter(struct mm_store *s, const Mintmark__V1__Unlock *u, char *officer,
                 const ProtobufCBinaryData *document, struct mm_errinfo *ei)
{
    Mintmark__V1__ServiceUnlocked event = MINTMARK__V1__SERVICE_UNLOCKED__INIT;
    Mintmark__V1__LedgerRecord record =
        MM_LEDGER_RECORD(SERVICE_UNLOCKED, service_unlocked, &event);

    event.lock_reason = u->lock_reason;
    event.officer = officer;
    event.reason = u->reason;
    event.document = *document;
    return mm_ledger_append(s, &record, ei);
}

static int unlock(struct mm_store *s, const Mintmark__Internal__UnlockLedger *job,
                  struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_guard *g = &s->guard;
    const struct mm_bytes der = {job->document.data, job->document.len};
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    int r;

    if (!g->conf || g->state != MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_LOCKED)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_LOCKED", "the ledger is not locked");
    if (!s->site.officers)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_OFFICERS",
                       "the configuration names no officer_certificates: nobody can unlock");
    if (der.len > MM_UNLOCK_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG",
                       "the unlock has %zu bytes; at most %d are taken", der.len, MM_UNLOCK_MAX);
    r = mm_document_open(der, &arena, &document, ei);
    if (r == MM_OK)
        r = mm_document_check_signer(&document, s->site.officers, mm_clock_wall_ms(), ei);
    if (r < 0)
        return r;
    if (document.content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_UNLOCK)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_CONTENT", "the document is no unlock");
    r = check(s, document.content->unlock, ei);
    if (r == MM_OK)
        r = enter(s, document.content->unlock, document.signer_name, &job->document, ei);
    if (r < 0)
        return r;
    g->state = MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_ANCHORING;
    g->anchored = (struct mm_ledger_head){.devices = s->ledger.now.devices};
    g->unclean_starts = 0;
    g->baseline = true;
    g->reason[0] = g->text[0] = 0;
    s->ledger.damage.code = MM_OK;
    return MM_OK;
}

/* model: UNLOCK */
int mm_store_unlock(struct mm_store *s, const Mintmark__Internal__UnlockLedger *job,
                    Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    const int r = mm_sql_verb_begin(s, ei);

    return r < 0 ? r : mm_guard_finish(s, unlock(s, job, ei), ret_guard, ei);
}
