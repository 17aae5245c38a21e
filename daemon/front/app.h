/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application behind the transport: what the services share. One a process; it comes to the
 * RPCs by mm_call_app. Everything runs on one loop, so nothing here is locked.
 */
#pragma once

#include "daemon/front/anchoring.h"
#include "daemon/front/enrolling.h"
#include "daemon/front/issuers.h"
#include "daemon/front/mint.h"
#include "daemon/front/retention.h"
#include "daemon/front/server.h"
#include "daemon/front/store_queue.h"
#include "daemon/front/view.h"

struct mm_provision;

struct mm_app {
    uv_loop_t *loop;
    const struct mm_conf *conf;   /* in force; borrowed, replaced by a reload */
    struct mm_server *server;     /* NULL until it listens */
    struct mm_accounts *accounts; /* what each client has running */
    struct mm_mints *mints;
    struct mm_issuers *issuers;     /* the EJBCAs */
    struct mm_enrolling *enrolling; /* devices on their way to certificates from them */
    struct mm_pool *store;
    struct mm_store_queue *store_queue;
    struct mm_pool_stats store_stats;
    bool store_ready; /* the store has said what it holds, so the view stands */
    struct mm_view *view;
    struct mm_anchoring anchoring; /* the ledger in the token */
    struct mm_retention retention; /* private keys that are due to be deleted */
    LIST_HEAD(, mm_provision) provisions;
    unsigned recording; /* chunks that await the store */
    int64_t started_ms, started_mono_us;
    uint64_t devices_issued;   /* recorded by calls of this run */
    uint64_t devices_replayed; /* sent again, having been recorded before their call */
    uint64_t signatures_made;  /* by Sign calls of this run, delivered or not */
    uint64_t random_bytes;     /* drawn for Random calls of this run */
    bool reconciling;          /* a Reconcile call is under way */
    size_t signing_bytes;      /* messages of the Sign calls under way */
    bool draining;
    void (*on_status)(void *arg); /* readiness may have changed; may be NULL */
    void *on_status_arg;
    bool store_in_use; /* another service has the database open, time and again */
    void (*on_stopped)(void *arg);
    void *on_stopped_arg;
    bool ready; /* as told last */
    struct {
        const struct mm_conf *conf; /* compared, never followed */
        uint64_t turns;             /* of mm_mints_turns */
        bool open;
    } told; /* when profiles' health was told last */
    bool mints_stopped, issuers_stopped;
};

/* Starts the workers of the configuration. app is zeroed memory; conf and conf_text (the file's
 * bytes) are borrowed, conf until mm_app_reconfigure. */
int mm_app_start(struct mm_app *app, uv_loop_t *loop, struct mm_launcher *launcher,
                 const struct mm_conf *conf, struct mm_bytes conf_text,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* Does this configuration name the audit key that is in force? Otherwise mm_anchoring_change_key
 * comes before mm_app_reconfigure. */
bool mm_app_keeps_key(const struct mm_app *app, const struct mm_conf *conf);
/* A new configuration: token workers are replaced one by one. On failure nothing has changed. */
int mm_app_reconfigure(struct mm_app *app, const struct mm_conf *conf, struct mm_bytes conf_text,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Token and store answer. Otherwise detail says in a sentence why not; it may also say what is
 * missing of a service that is ready. */
enum { MM_DETAIL_MAX = MM_ERR_TEXT_MAX + MM_NAME_MAX + 32 };
bool mm_app_is_ready(const struct mm_app *app, char detail[MM_DETAIL_MAX]);
/* Something about readiness may have changed: health is set, on_status called. */
void mm_app_update(struct mm_app *app);

/* From now on not ready, and no new calls that take a while. */
void mm_app_drain(struct mm_app *app);

/* Ends the workers: tokens' and issuers' first, then the store, when their jobs are done or at
 * once. stopped follows. */
void mm_app_stop(struct mm_app *app, bool at_once, void (*stopped)(void *arg), void *arg);
/* Only after stopped. */
void mm_app_done(struct mm_app *app);

/* May a new call begin what takes a while? MM_ERR_UNAVAILABLE SHUTTING_DOWN when draining. */
int mm_app_check_open(const struct mm_app *app, struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_UNAVAILABLE STORE_UNAVAILABLE when the store is away. */
int mm_app_check_store(const struct mm_app *app, struct mm_errinfo *ei) MM_MUST_USE;
/* Is the ledger waiting for a token that is away? Then MM_ERR_UNAVAILABLE TOKEN_UNAVAILABLE: the
 * store could only say that it waits. */
int mm_app_check_ledger(const struct mm_app *app, struct mm_errinfo *ei) MM_MUST_USE;

/* May this client have one more job, while it is not about token time: is it, and are all stations,
 * within limits.jobs_per_client and limits.jobs? The latter binds stations only. MM_ERR_EXHAUSTED
 * STATION_BUSY, MM_ERR_UNAVAILABLE SERVICE_BUSY, MM_ERR_MEMORY. */
int mm_app_admit(const struct mm_app *app, const struct mm_peer *peer,
                 struct mm_account **ret_account, struct mm_errinfo *ei) MM_MUST_USE;
/* When to come back for a client that has too much running: by what waits and runs. */
uint32_t mm_app_retry_ms(const struct mm_app *app);
/* Sets the limits on jobs by the configuration in force. */
void mm_app_limit_jobs(struct mm_app *app);

/* Has the store do a job on behalf of a unary call. When it succeeds, learn (may be NULL) is called
 * first, whatever has become of the call, with the id that its log lines carry; then reply, unless
 * the call is gone. All errors end the call with their status. The job is packed during this call.
 */
struct mm_ask {
    Mintmark__Internal__StoreResult__ResultCase expected;
    void (*learn)(struct mm_app *app, const char *call_id,
                  const Mintmark__Internal__StoreResult *result);
    void (*reply)(struct mm_call *call, const Mintmark__Internal__StoreResult *result);
};
void mm_app_ask(struct mm_call *call, Mintmark__Internal__StoreJob *job, const struct mm_ask *ask);

/* The table of all RPCs (service/table.c). */
extern const struct mm_rpc mm_rpcs[];
extern const size_t mm_n_rpcs;
