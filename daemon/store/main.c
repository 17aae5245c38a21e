/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-store: the only process that opens the database. */
#include "daemon/ipc/trusted.h"
#include "daemon/ipc/worker.h"
#include "daemon/store/group.h"
#include "daemon/store/guard.h"
#include "daemon/store/message.h"
#include "daemon/store/site.h"
#include "daemon/store/trusted.h"

#include <openssl/crypto.h>

struct state {
    struct mm_store *store;
    struct mm_store_site site;
    struct mm_group group;
};

static int start(struct mm_worker *w, struct mm_errinfo *ei)
{
    static struct state state;
    MM_MESSAGE_CLEANUP Mintmark__Internal__StoreReady *ready = NULL;
    Mintmark__Internal__StoreResult result = MINTMARK__INTERNAL__STORE_RESULT__INIT;
    int r = mm_site_read(w->conf, &state.site, ei);

    if (r == MM_OK)
        r = mm_store_open(w->conf->store.path, &state.store, ei);
    if (r == MM_OK)
        r = mm_store_warm(state.store, ei);
    if (r < 0)
        return r;
    mm_store_set_site(state.store, &state.site);
    mm_store_set_seal(state.store, w->seal);
    r = mm_store_trust(state.store, MM_TRUSTED_FD, ei);
    if (r < 0)
        return r;
    mm_store_watch_clock(state.store);
    w->state = &state;
    r = w->conf->appliance.given ? mm_store_guard(state.store, &w->conf->appliance, ei)
                                 : mm_store_unguarded(state.store, ei);
    if (r < 0)
        return r;
    r = mm_store_ready(state.store, &ready, ei);
    if (r < 0)
        return r;
    result.result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT_READY;
    result.ready = ready;
    r = mm_worker_reply(w, &result.base);
    return r < 0 ? mm_fail(ei, r, "CHANNEL_FRAME", "cannot pack the ready message") : MM_OK;
}

static void refuse(struct mm_worker *w, const struct mm_errinfo *ei)
{
    Mintmark__Internal__StoreResult result = MINTMARK__INTERNAL__STORE_RESULT__INIT;
    Mintmark__Internal__Error error;

    mm_channel_error_to(ei, &error);
    result.error = &error;
    if (mm_worker_reply(w, &result.base) < 0)
        mm_log_error("refusal_not_packed", NULL, ei);
}

/* An answer is at most MM_IPC_MESSAGE_MAX, and w->out holds two of them. */
static int answer(void *user, const Mintmark__Internal__StoreResult *result, struct mm_errinfo *ei)
{
    struct mm_worker *w = user;
    int r = mm_worker_reply(w, &result->base);

    if (r < 0)
        return mm_fail(ei, r, "CHANNEL_FRAME", "cannot pack the answer to job %llu",
                       (unsigned long long)result->id);
    return w->out.len >= MM_IPC_MESSAGE_MAX ? mm_worker_send(w, ei) : MM_OK;
}

static int flush(struct mm_worker *w, struct mm_errinfo *ei)
{
    struct state *state = w->state;

    return mm_group_run(&state->group, state->store, answer, w, ei);
}

static int handle(struct mm_worker *w, struct mm_bytes payload, struct mm_errinfo *ei)
{
    struct state *state = w->state;
    const int r = mm_group_add(&state->group, payload, ei);

    if (r < 0)
        return r;
    return mm_group_full(&state->group) ? flush(w, ei) : MM_OK;
}

static void stop(struct mm_worker *w)
{
    struct state *state = w->state;

    mm_group_done(&state->group);
    mm_store_free(state->store);
    mm_site_done(&state->site);
}

int main(void)
{
    static const struct mm_worker_ops ops = {
        .duty = MM_DUTY_STORE,
        .start = start,
        .refuse = refuse,
        .handle = handle,
        .flush = flush,
        .stop = stop,
    };

    /* A host-wide openssl.cnf has no say in what hashes the ledger. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        return MM_EXIT_FAILED;
    return mm_worker_main(&ops);
}
