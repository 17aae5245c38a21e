/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/guard.h"

#include "daemon/base/clock.h"
#include "daemon/store/audit_key.h"
#include "daemon/store/checkpoint.h"
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"
#include "daemon/store/vouch.h"
#include "proto/grpc/unpack.h"

#include <stdio.h>
#include <string.h>

#define STATE(name) MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_##name

enum {
    WALK_PAGE = 4096,                  /* records, at a start */
    IDLE_PAGE = 64,                    /* records while the service runs, or so many as */
    IDLE_DEVICES = 1024,               /* have so many devices: a millisecond, which calls wait */
    CLOCK_BACK_MAX_MS = 5 * 60 * 1000, /* what a clock may be put right by */
    CHECKPOINT_RECORDS = 20000,        /* between two checkpoints, about */
};

int mm_store_guard(struct mm_store *s, const struct mm_conf_appliance *conf, struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;
    int r = mm_audit_keys_read(conf->audit_certificate, &s->audit_keys, ei);

    if (r < 0)
        return r;
    g->keys = s->audit_keys;
    g->audit = g->keys->trust;
    g->conf = conf;
    g->state = STATE(UNVERIFIED);
    return MM_OK;
}

/* Whoever takes the section out of the configuration does not take the guard off with it. The first
 * anchor of a ledger comes with a checkpoint. */
int mm_store_unguarded(struct mm_store *s, struct mm_errinfo *ei)
{
    int64_t checkpoints;
    int r;

    if (s->ledger.damage.code != MM_OK) {
        *ei = s->ledger.damage;
        return ei->code;
    }
    r = mm_sql_get_int(s, "SELECT count(*) FROM checkpoints", &checkpoints, ei);
    if (r == MM_OK && checkpoints > 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_GUARD_OFF",
                       "the ledger has been anchored in a token, but the configuration has no "
                       "section appliance");
    return r;
}

void mm_guard_done(struct mm_store *s)
{
    mm_audit_keys_free(s->audit_keys);
    mm_ledger_walk_done(&s->guard.walk);
    free(s->guard.totals.data);
}

/* ---- what is let through ----------------------------------------------------------------- */

/* The guard's own verbs, and listings, which give nothing away that could be used twice. */
static bool always(const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_AUDIT_KEY:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_TRUSTED:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_BATCHES:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_BATCH:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_REPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_PAGE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MANIFEST_PAGE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_BEGIN_EXPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_EXPORT_PAGE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_WITHHELD:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PAGE_ENROLMENTS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MATCH_CERTIFICATES:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_ENROLMENT:
        return true;
    default:
        return false;
    }
}

int mm_guard_check(const struct mm_store *s, const Mintmark__Internal__StoreJob *job,
                   struct mm_errinfo *ei)
{
    const struct mm_guard *g = &s->guard;

    if (!g->conf || g->state == STATE(OPEN) || always(job))
        return MM_OK;
    if (g->state == STATE(LOCKED)) {
        mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_LOCKED",
                "the ledger is locked and waits for an officer's unlock: %s: %.150s", g->reason,
                g->text);
        ei->retry_ms = 30000;
    } else if (g->state == STATE(CLOSED)) {
        mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_CLOSED", "the ledger is closed: the service ends");
        ei->retry_ms = 1000;
    } else {
        mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_UNVERIFIED",
                "the ledger has not been held against the token's anchor yet");
        ei->retry_ms = 1000;
    }
    return ei->code;
}

int mm_guard_check_spend(const struct mm_store *s, size_t n, struct mm_errinfo *ei)
{
    const struct mm_guard *g = &s->guard;
    const struct mm_ledger_head *now = &s->ledger.now;

    if (!g->conf)
        return MM_OK;
    if (mm_clock_wall_ms() + CLOCK_BACK_MAX_MS < now->time_ms)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "CLOCK_WENT_BACK",
                       "the clock is behind the ledger's last record");
    if (now->devices + n - g->anchored.devices <= g->conf->anchor_devices)
        return MM_OK;
    mm_fail(ei, MM_ERR_UNAVAILABLE, "LEDGER_NOT_ANCHORED",
            "%llu devices stand beyond the token's anchor, %u may",
            (unsigned long long)(now->devices - g->anchored.devices), g->conf->anchor_devices);
    ei->retry_ms = 200;
    return ei->code;
}

uint64_t mm_guard_unanchored(const struct mm_store *s)
{
    return s->guard.conf ? s->ledger.now.devices - s->guard.anchored.devices : 0;
}

static ProtobufCBinaryData dup_bytes(const void *data, size_t len)
{
    uint8_t *copy = malloc(len + 1);

    if (copy)
        memcpy(copy, data, len);
    return (ProtobufCBinaryData){.len = copy ? len : 0, .data = copy};
}

Mintmark__Internal__Guard *mm_guard_message(const struct mm_store *s)
{
    const struct mm_guard *g = &s->guard;
    const struct mm_ledger_head *head = &s->ledger.now; /* it is on disk when this is sent */
    Mintmark__Internal__Guard *m = mm_message_new(&mintmark__internal__guard__descriptor);

    if (!m)
        return NULL;
    m->state = g->state;
    m->reason = strdup(g->reason);
    m->text = strdup(g->text);
    m->ledger_id = dup_bytes(s->ledger.id, sizeof(s->ledger.id));
    m->sequence = head->sequence;
    m->head = dup_bytes(head->hash, sizeof(head->hash));
    m->devices = head->devices;
    m->unanchored = mm_guard_unanchored(s);
    m->anchored_sequence = g->anchored.sequence;
    m->anchor_sequence = g->anchor.sequence;
    m->anchor_head = dup_bytes(g->anchor.hash, g->anchor.sequence ? sizeof(g->anchor.hash) : 0);
    m->epoch = g->epoch;
    m->unclean_starts = g->unclean_starts;
    m->verifying = g->walking;
    m->verified_sequence = g->walk.at.sequence;
    if (!m->reason || !m->text || !m->ledger_id.data || !m->head.data || !m->anchor_head.data) {
        mm_message_free(m);
        return NULL;
    }
    return m;
}

static int answer(const struct mm_store *s, Mintmark__Internal__Guard **ret_guard,
                  struct mm_errinfo *ei)
{
    Mintmark__Internal__Guard *m = mm_guard_message(s);

    if (!m)
        return mm_fail_memory(ei);
    *ret_guard = m;
    return MM_OK;
}

int mm_guard_finish(struct mm_store *s, int r, Mintmark__Internal__Guard **ret_guard,
                    struct mm_errinfo *ei)
{
    r = mm_sql_verb_finish(s, r, ei);
    return r < 0 ? r : answer(s, ret_guard, ei);
}

/* ---- locking ----------------------------------------------------------------------------- */

/* Once for each lock, however often the service starts in it. */
static int enter_lock(struct mm_store *s, bool by_walk, struct mm_errinfo *ei)
{
    Mintmark__V1__ServiceLocked event = MINTMARK__V1__SERVICE_LOCKED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(SERVICE_LOCKED, service_locked, &event);

    if (s->ledger.now.event == (int)MINTMARK__V1__LEDGER_RECORD__EVENT_SERVICE_LOCKED)
        return MM_OK;
    event.reason = s->guard.reason;
    event.text = s->guard.text;
    event.by_walk = by_walk;
    return mm_ledger_append(s, &record, ei);
}

/* by_walk: the walk over the whole ledger found it, and not a start. model: LOCK */
static int lock(struct mm_store *s, const struct mm_errinfo *why, bool by_walk,
                struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;

    g->state = STATE(LOCKED);
    g->pending = (struct mm_ledger_head){0};
    snprintf(g->reason, sizeof(g->reason), "%s", why->reason);
    snprintf(g->text, sizeof(g->text), "%s", why->text);
    mm_ledger_walk_done(&g->walk);
    g->walking = false;
    return enter_lock(s, by_walk, ei);
}

void mm_guard_undo(struct mm_store *s)
{
    struct mm_guard *g = &s->guard;
    const struct mm_ledger_walk walk = g->walk;
    const bool walking = g->walking;

    if (g->state == STATE(LOCKED))
        return;
    *g = s->guard_before;
    s->ledger.damage = s->damage_before;
    g->walk = walk;
    g->walking = walking;
}

/* ---- the check at a start ---------------------------------------------------------------- */

/* All of it is against the ledger: the store locks, and the job is done. */
static bool is_verdict(const struct mm_errinfo *ei)
{
    return ei->code == MM_ERR_CORRUPT && strcmp(ei->reason, "STORE_CORRUPT") != 0;
}

static int check_chain(struct mm_store *s, struct mm_ledger_walk *walk, struct mm_errinfo *ei)
{
    int r;

    if (s->ledger.damage.code != MM_OK) {
        *ei = s->ledger.damage;
        return ei->code;
    }
    r = mm_checkpoint_begin_walk(s, false, walk, ei);
    if (r < 0)
        return r;
    s->guard.checkpointed = walk->at.sequence;
    do
        r = mm_ledger_walk(s, walk, WALK_PAGE, UINT64_MAX, ei);
    while (r > 0);
    return r;
}

static int check_identity(struct mm_store *s, const struct mm_ledger_walk *walk,
                          const Mintmark__V1__Anchor *a, struct mm_errinfo *ei)
{
    if (a->ledger_id.len == sizeof(s->ledger.id) &&
        memcmp(a->ledger_id.data, s->ledger.id, sizeof(s->ledger.id)) == 0)
        return MM_OK;
    if (walk->epoch == 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_ROLLED_BACK",
                       "the database is new, but the token knows of %llu records and %llu devices",
                       (unsigned long long)a->sequence, (unsigned long long)a->devices);
    return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_FOREIGN",
                   "the database's ledger is not the one that the token knows");
}

static int check_position(struct mm_store *s, const Mintmark__V1__Anchor *a, struct mm_errinfo *ei)
{
    const struct mm_ledger_head *head = &s->ledger.now;
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    if (head->sequence < a->sequence)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_ROLLED_BACK",
                       "the database ends at record %llu with %llu devices, the token knows of "
                       "record %llu and %llu devices",
                       (unsigned long long)head->sequence, (unsigned long long)head->devices,
                       (unsigned long long)a->sequence, (unsigned long long)a->devices);
    r = mm_ledger_hash_at(s, a->sequence, hash, ei);
    if (r < 0)
        return r;
    if (a->head.len != sizeof(hash) || memcmp(a->head.data, hash, sizeof(hash)) != 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "LEDGER_FORKED",
                       "record %llu is not the one that the token knows",
                       (unsigned long long)a->sequence);
    return MM_OK;
}

static int check_clock(struct mm_store *s, const Mintmark__V1__Anchor *a, struct mm_errinfo *ei)
{
    const int64_t now_ms = mm_clock_wall_ms();
    int64_t highest_ms = s->ledger.now.time_ms;
    char now[MM_CLOCK_TEXT], highest[MM_CLOCK_TEXT];

    if (a && a->highest_time_ms > highest_ms)
        highest_ms = a->highest_time_ms;
    if (now_ms + CLOCK_BACK_MAX_MS >= highest_ms)
        return MM_OK;
    return mm_fail(ei, MM_ERR_CORRUPT, "CLOCK_WENT_BACK", "the clock says %s, the ledger was at %s",
                   mm_clock_text(now_ms, now), mm_clock_text(highest_ms, highest));
}

/* a is NULL when the token has none. */
static int check_anchor(struct mm_store *s, const struct mm_ledger_walk *walk,
                        const Mintmark__V1__Anchor *a, struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;
    int r;

    g->epoch = (a && a->epoch > walk->epoch ? a->epoch : walk->epoch) + 1;
    g->unclean_starts = 0;
    if (!a && walk->epoch > 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_MISSING",
                       "the token has no anchor, but the ledger has been anchored %llu times",
                       (unsigned long long)walk->epoch);
    if (!a)
        return check_clock(s, NULL, ei);
    r = check_identity(s, walk, a, ei);
    if (r == MM_OK)
        r = check_position(s, a, ei);
    if (r == MM_OK)
        r = check_clock(s, a, ei);
    if (r < 0)
        return r;
    g->unclean_starts = a->unclean_starts + (a->clean ? 0 : 1);
    if (g->unclean_starts > g->conf->unclean_starts_max)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOO_MANY_UNCLEAN_STARTS",
                       "%u starts after an end that was not orderly, since the last unlock; %u may "
                       "be",
                       g->unclean_starts, g->conf->unclean_starts_max);
    return MM_OK;
}

/* Where the ledger has another audit key than the configuration: does a change lead there? */
static int check_audit_key(struct mm_store *s, const struct mm_ledger_walk *walk,
                           struct mm_errinfo *ei)
{
    int r = walk->key_known ? mm_audit_keys_lead(s, s->guard.keys, walk->key, false, ei) : MM_OK;

    if (r == MM_ERR_INVALID || r == MM_ERR_PRECONDITION)
        ei->code = r = MM_ERR_CORRUPT;
    return r;
}

static int unpack_anchor(const Mintmark__Internal__CheckAnchor *job, struct mm_arena *arena,
                         const Mintmark__V1__Anchor **ret_anchor, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    ProtobufCMessage *message;
    int r;

    *ret_anchor = NULL;
    if (*job->reason)
        return mm_fail(ei, MM_ERR_CORRUPT, job->reason, "%s", job->text);
    if (job->anchor.len == 0)
        return MM_OK;
    r = mm_grpc_unpack(&mintmark__v1__anchor__descriptor, job->anchor.data, job->anchor.len, arena,
                       &message, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_BAD", "the token's anchor is none");
    *ret_anchor = (const Mintmark__V1__Anchor *)message;
    return MM_OK;
}

static void remember_anchor(struct mm_guard *g, const Mintmark__V1__Anchor *a)
{
    g->anchor = (struct mm_ledger_head){0};
    if (!a || a->head.len != sizeof(g->anchor.hash))
        return;
    g->anchor.sequence = a->sequence;
    memcpy(g->anchor.hash, a->head.data, sizeof(g->anchor.hash));
    g->anchor.devices = a->devices;
}

static int enter_start(struct mm_store *s, bool unclean, struct mm_errinfo *ei)
{
    static char version[] = MM_VERSION;
    Mintmark__V1__ServiceStarted event = MINTMARK__V1__SERVICE_STARTED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(SERVICE_STARTED, service_started, &event);

    event.version = version;
    event.epoch = s->guard.epoch;
    event.unclean = unclean;
    event.anchor_devices = s->guard.conf->anchor_devices;
    event.unclean_starts_max = s->guard.conf->unclean_starts_max;
    return mm_ledger_append(s, &record, ei);
}

static int check(struct mm_store *s, const Mintmark__Internal__CheckAnchor *job,
                 struct mm_errinfo *ei)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {0};
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_errinfo why = {0};
    const Mintmark__V1__Anchor *a = NULL;
    int r = check_chain(s, &walk, &why);

    if (r < 0 && !is_verdict(&why)) {
        *ei = why;
        return r;
    }
    if (r == MM_OK)
        r = unpack_anchor(job, &arena, &a, &why);
    else
        (void)unpack_anchor(job, &arena, &a, &(struct mm_errinfo){0});
    remember_anchor(&s->guard, a);
    if (r == MM_OK)
        r = check_anchor(s, &walk, a, &why);
    if (r == MM_OK)
        r = mm_guard_check_lock(s, &why);
    if (r == MM_OK)
        r = check_audit_key(s, &walk, &why);
    if (r < 0 && !is_verdict(&why)) {
        *ei = why;
        return r;
    }
    if (r < 0)
        return lock(s, &why, false, ei);
    s->guard.state = STATE(ANCHORING);
    /* Until a new one is confirmed, the token has no more than this. */
    s->guard.anchored = (struct mm_ledger_head){.sequence = s->guard.anchor.sequence,
                                                .devices = s->ledger.now.devices};
    r = enter_start(s, a && !a->clean, ei);
    if (r == MM_OK && walk.key_known)
        r = mm_audit_keys_lead(s, s->guard.keys, walk.key, true, ei);
    return r;
}

/* model: CHECK */
int mm_store_check_anchor(struct mm_store *s, const Mintmark__Internal__CheckAnchor *job,
                          Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    int r;

    if (!s->guard.conf)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_GUARDED",
                       "the configuration has no section appliance");
    r = mm_sql_verb_begin(s, ei);
    return r < 0 ? r : mm_guard_finish(s, check(s, job, ei), ret_guard, ei);
}

/* ---- anchors ----------------------------------------------------------------------------- */

static int pack_anchor(const struct mm_store *s, Mintmark__Internal__Guard *m,
                       struct mm_errinfo *ei)
{
    const struct mm_guard *g = &s->guard;
    uint8_t id[MM_LEDGER_ID_BYTES], hash[MM_SHA256_BYTES];
    Mintmark__V1__Anchor a = MINTMARK__V1__ANCHOR__INIT;

    memcpy(id, s->ledger.id, sizeof(id));
    memcpy(hash, g->pending.hash, sizeof(hash));
    a.ledger_id = (ProtobufCBinaryData){sizeof(id), id};
    a.sequence = g->pending.sequence;
    a.head = (ProtobufCBinaryData){sizeof(hash), hash};
    a.highest_time_ms = g->pending.time_ms;
    a.devices = g->pending.devices;
    a.epoch = g->epoch;
    a.unclean_starts = g->unclean_starts;
    a.clean = g->closing;
    m->anchor.len = mintmark__v1__anchor__get_packed_size(&a);
    m->anchor.data = malloc(m->anchor.len + 1);
    if (!m->anchor.data)
        return mm_fail_memory(ei);
    mintmark__v1__anchor__pack(&a, m->anchor.data);
    return MM_OK;
}

/* model: PREPARE, CLOSE */
int mm_store_prepare_anchor(struct mm_store *s, const Mintmark__Internal__PrepareAnchor *job,
                            Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;
    MM_MESSAGE_CLEANUP Mintmark__Internal__Guard *m = NULL;
    const bool first = g->state == STATE(ANCHORING);
    int r;

    if (!g->conf || (!first && g->state != STATE(OPEN) && g->state != STATE(CLOSED)))
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_OPEN",
                       "the ledger is not one that may be anchored");
    if (job->clean && g->state == STATE(OPEN)) {
        g->closing = true;
        g->state = STATE(CLOSED);
    }
    g->pending = s->ledger.committed;
    m = mm_guard_message(s);
    if (!m)
        return mm_fail_memory(ei);
    r = pack_anchor(s, m, ei);
    if (r == MM_OK && (first || job->checkpoint || g->baseline ||
                       g->pending.sequence - g->checkpointed >= CHECKPOINT_RECORDS))
        r = mm_checkpoint_pack(s, &m->checkpoint, ei);
    if (r == MM_OK)
        r = mm_store_vouch_guard(s, m, ei);
    if (r < 0)
        return r;
    *ret_guard = MM_TAKE(m);
    return MM_OK;
}

/* model: CONFIRM */
int mm_store_anchored(struct mm_store *s, const Mintmark__Internal__Anchored *job,
                      Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;

    if (!g->conf || g->pending.sequence == 0 || job->sequence != g->pending.sequence)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_OPEN",
                       "no anchor of that record was asked for");
    g->anchored = g->pending;
    g->anchor = g->pending;
    g->pending = (struct mm_ledger_head){0};
    if (g->state == STATE(ANCHORING))
        g->state = STATE(OPEN);
    return answer(s, ret_guard, ei);
}

int mm_store_add_checkpoint(struct mm_store *s, const Mintmark__Internal__AddCheckpoint *job,
                            Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    const struct mm_bytes document = {job->document.data, job->document.len};
    int r;

    if (!s->guard.conf)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_GUARDED",
                       "the configuration has no section appliance");
    r = mm_sql_verb_begin(s, ei);
    return r < 0 ? r : mm_guard_finish(s, mm_checkpoint_add(s, document, ei), ret_guard, ei);
}

/* ---- the whole ledger, by and by --------------------------------------------------------- */

static int verify_page(struct mm_store *s, struct mm_errinfo *ei)
{
    struct mm_guard *g = &s->guard;
    struct mm_errinfo why = {0};
    int r = MM_OK;

    if (!g->walking) {
        r = mm_checkpoint_begin_walk(s, true, &g->walk, &why);
        g->walk.devices = true;
        g->walking = r == MM_OK;
    }
    if (r == MM_OK)
        r = mm_ledger_walk(s, &g->walk, IDLE_PAGE, IDLE_DEVICES, &why);
    if (r == 0) {
        const uint64_t verified = g->walk.at.sequence;

        mm_ledger_walk_done(&g->walk);
        g->walk.at.sequence = verified;
        g->walking = false;
    }
    if (r >= 0)
        return MM_OK;
    if (g->conf && is_verdict(&why))
        return lock(s, &why, true, ei);
    *ei = why;
    return r;
}

int mm_store_verify_ledger(struct mm_store *s, Mintmark__Internal__Guard **ret_guard,
                           struct mm_errinfo *ei)
{
    const int r = mm_sql_verb_begin(s, ei);

    return r < 0 ? r : mm_guard_finish(s, verify_page(s, ei), ret_guard, ei);
}
