/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messenger between store and token for the ledger (docs/ledger.md). At the start it brings the
 * token's anchor to the store, which checks and may lock; then, again and again, it has the store
 * say what the next anchor is, the token sign a checkpoint if one is due, and the token write the
 * anchor, and tells the store. One step at a time: never are two anchors under way.
 *
 * A cycle begins when half of anchor_devices stand beyond the last anchor, after a release or an
 * order, anchor_seconds after the one before, and at the end of the service. Where the store then
 * has no record beyond the anchor, nothing is written. What fails is tried again after a second.
 * The store does not work before the first anchor of its run.
 */
#pragma once

#include "daemon/front/audit_name.h"
#include "daemon/front/mint.h"

#include "internal/store.pb-c.h"

struct mm_app;

/* What is under way. */
enum mm_anchoring_step {
    MM_ANCHORING_IDLE,
    MM_ANCHORING_READ,    /* the token's anchor */
    MM_ANCHORING_CHECK,   /* by the store */
    MM_ANCHORING_PREPARE, /* by the store */
    MM_ANCHORING_SIGN,    /* the checkpoint, by the token */
    MM_ANCHORING_ADD,     /* the checkpoint, to the store */
    MM_ANCHORING_WRITE,   /* by the token */
    MM_ANCHORING_CONFIRM, /* to the store */
    MM_ANCHORING_VERIFY,  /* a page, by the store */
    MM_ANCHORING_KEY,     /* the next audit key, by the token */
    MM_ANCHORING_CHANGE,  /* the change of it, by the store */
};

/* A plain value in struct mm_app; zeroed it is one that has not begun. */
struct mm_anchoring {
    struct mm_app *app;
    struct mm_job job;
    bool running; /* a step is under way */
    enum mm_anchoring_step step;
    bool checked;             /* since the store was started last */
    int64_t close_by_us;      /* then nothing more is waited for */
    bool final;               /* the cycle under way is the service's last */
    unsigned tries;           /* of the last one, that failed */
    bool wanted;              /* a cycle is due */
    bool checkpoint;          /* with a checkpoint */
    bool signing;             /* the cycle under way was to have one */
    bool verify;              /* a walk over the whole ledger is wanted */
    uint64_t run;             /* counts the stores: what an earlier one was told does not count */
    uint64_t job_run;         /* for which the step under way is */
    int64_t not_before_us;    /* something failed: no step until then */
    uint64_t unanchored;      /* devices beyond the anchor, as the store said last */
    uint64_t outstanding;     /* devices given to workers or the store that are not recorded yet */
    uint64_t anchors;         /* written in this run of the service */
    int64_t cycle_mono_us;    /* when the last cycle ended */
    int64_t verified_mono_us; /* when the last walk ended */
    Mintmark__Internal__Guard *guard;    /* as the store said last; NULL before it said anything */
    Mintmark__Internal__Guard *prepared; /* what a cycle carries */
    struct mm_audit_name audit;          /* the key that signs; as the store has it */
    struct mm_audit_name next;           /* that shall, while changed is set */
    int64_t change_by_us;                /* then no worker is waited for any more */
    void (*changed)(void *arg, const struct mm_errinfo *ei);
    void *changed_arg;
    uv_timer_t timer;
    void (*closed)(void *arg); /* the service ends: called after the last anchor, or its failure */
    void *closed_arg;
};

int mm_anchoring_start(struct mm_anchoring *a, struct mm_app *app) MM_MUST_USE;
/* No tick any more; done when the loop has closed the timer. */
void mm_anchoring_stop(struct mm_anchoring *a);
void mm_anchoring_done(struct mm_anchoring *a);

/* The store has been started, and says how its ledger is; or it is gone. */
void mm_anchoring_store_ready(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard);
void mm_anchoring_store_lost(struct mm_anchoring *a);
/* A token worker may have come; the store has room. */
void mm_anchoring_kick(struct mm_anchoring *a);

/* Does the store work? It also does when nothing guards it. */
bool mm_anchoring_is_open(const struct mm_anchoring *a);
/* Locked: why; NULL otherwise. Borrowed. */
const char *mm_anchoring_lock(const struct mm_anchoring *a, const char **ret_text);

/* Devices were given to a worker, and later recorded or given up; would n more find room before the
 * next anchor? If not, one is begun, and the minting goes on after it. */
void mm_anchoring_begin_devices(struct mm_anchoring *a, uint64_t n);
void mm_anchoring_end_devices(struct mm_anchoring *a, uint64_t n);
bool mm_anchoring_has_room(struct mm_anchoring *a, uint64_t n);
/* The store has recorded devices; it said how many stand beyond the anchor. */
void mm_anchoring_recorded(struct mm_anchoring *a, uint64_t unanchored);
/* Something that should be anchored at once has happened. */
void mm_anchoring_want(struct mm_anchoring *a, bool checkpoint);
/* An officer's unlock was taken. */
void mm_anchoring_unlocked(struct mm_anchoring *a, const Mintmark__Internal__Guard *guard);
/* A reload names another audit key: the token looks whether it can sign, and the store enters the
 * change (docs/ledger.md). changed is called once, perhaps at once: with NULL when it is a record
 * and a->audit is the new one; or with why nothing has changed. Should the store end before it
 * answers, it is as if it had: started anew by the new configuration, it enters what it has not.
 * One change at a time. */
void mm_anchoring_change_key(struct mm_anchoring *a, const struct mm_conf_appliance *next,
                             void (*changed)(void *arg, const struct mm_errinfo *ei), void *arg);
/* Walk over the whole ledger now, or go on with the walk that is under way. MM_ERR_PRECONDITION
 * LEDGER_NOT_GUARDED; MM_ERR_UNAVAILABLE LEDGER_LOCKED, LEDGER_UNVERIFIED. */
int mm_anchoring_verify(struct mm_anchoring *a, struct mm_errinfo *ei) MM_MUST_USE;

/* The last anchor of the service, once what is on its way is recorded; closed is called when it is
 * written, or cannot be: perhaps at once. */
void mm_anchoring_close(struct mm_anchoring *a, void (*closed)(void *arg), void *arg);
