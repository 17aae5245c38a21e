/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconcile: the comparison (reconcile.h), fed by the store and by the issuers, one question at a
 * time; what each step finds is sent before the next one begins, at the client's pace.
 *
 *   DEVICES (pages of the store) --> for each group of profiles: LIST (a page of EJBCA) --> MATCH
 *   (the store) --> LIST … --> REST (pages of the store, if any device is left) --> over
 */
#include "daemon/front/service/reconcile.h"

#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIES = 6, /* of one page of EJBCA, in a row */
    WAIT_MIN_MS = 200,
    WAIT_MAX_MS = 10000,
};

enum state { DEVICES, LIST, MATCH, REST };

/* Profiles that share their settings in EJBCA: their certificates come in one list. */
struct group {
    char issuer[MM_NAME_MAX + 1];
    char profile[MM_NAME_MAX + 1]; /* the first of them */
};

struct reconcile {
    struct mm_app *app;
    struct mm_call *call; /* NULL: nobody waits any more */
    struct mm_account *account;
    char client[MM_NAME_MAX + 1];
    char call_id[32];
    int64_t began_us, deadline_us;
    enum state state;
    struct mm_store_job store;
    struct mm_job issuer;
    struct mm_arena arena; /* of EJBCA's page, while it is matched */
    const Mintmark__Internal__Listed *listed;
    bool store_runs, issuer_runs;
    bool blocked; /* the client takes nothing for now */
    uv_timer_t timer;
    unsigned tries;
    struct mm_compare *compare;
    struct mm_found found;
    uint64_t differences, after; /* row */
    uint32_t page;
    size_t group, n_groups;
    struct group groups[];
};

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error);
static void on_issuer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error);

/* ---- the end ----------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *timer)
{
    struct reconcile *c = timer->data;

    free(c);
}

static void end(struct reconcile *c, const struct mm_errinfo *ei)
{
    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "reconcile_ended" : "reconcile_done",
           MM_STR("request", c->call_id), MM_STR("client", c->client),
           MM_UINT("devices", c->compare->devices),
           MM_UINT("certificates", c->compare->certificates),
           MM_UINT("differences", c->differences),
           MM_INT("ms", (mm_clock_mono_us() - c->began_us) / 1000),
           MM_STR("reason", ei ? ei->reason : ""), MM_STR("text", ei ? ei->text : ""));
    if (c->call)
        mm_call_finish(c->call, ei);
    c->app->reconciling = false;
    mm_found_clear(&c->found);
    mm_compare_free(c->compare);
    mm_arena_done(&c->arena);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void end_gone(struct reconcile *c)
{
    struct mm_errinfo ei;

    mm_fail(&ei, MM_ERR_CANCELLED, "CANCELLED", "the client went away or its deadline passed");
    end(c, &ei);
}

static void on_cancel(struct mm_call *call, void *user)
{
    struct reconcile *c = user;

    (void)call;
    c->call = NULL;
    if (c->store_runs && mm_store_cancel(c->app->store_queue, &c->store))
        c->store_runs = false;
    if (!c->store_runs && !c->issuer_runs)
        end_gone(c);
}

/* ---- sending ----------------------------------------------------------------------------- */

/* What the step has found; with the counts, when it was the last. */
static int give(struct reconcile *c, bool last, struct mm_errinfo *ei)
{
    Mintmark__V1__ReconcileResponse response = MINTMARK__V1__RECONCILE_RESPONSE__INIT;
    Mintmark__V1__ReconciledProfile *profiles[MM_PROFILES_MAX];
    int r;

    response.differences = c->found.list;
    response.n_differences = c->found.n;
    response.devices = c->compare->devices;
    response.certificates = c->compare->certificates;
    response.profiles = profiles;
    for (; last && response.n_profiles < c->compare->n_profiles; response.n_profiles++)
        profiles[response.n_profiles] = &c->compare->profiles[response.n_profiles].counts;
    r = mm_call_send(c->call, &response.base);
    c->blocked = r == MM_ERR_AGAIN;
    c->differences += c->found.n;
    mm_found_clear(&c->found);
    if (r < 0 && !c->blocked)
        return mm_fail(ei, (enum mm_err)r, "NOT_SENT", "a step could not be sent");
    return MM_OK;
}

/* ---- asking ------------------------------------------------------------------------------ */

static int ask_store(struct reconcile *c, Mintmark__Internal__StoreJob *job, struct mm_errinfo *ei)
{
    int r = mm_app_check_store(c->app, ei);

    c->store = (struct mm_store_job){.job.done = on_store};
    if (r == MM_OK)
        r = mm_store_submit(c->app->store_queue, &c->store, job, c->account, MM_SCHED_BULK,
                            MM_RECONCILE_PAGE_MAX, c->deadline_us, ei);
    c->store_runs = r == MM_OK;
    return r;
}

static int ask_devices(struct reconcile *c, bool brief, struct mm_errinfo *ei)
{
    Mintmark__Internal__PageEnrolments body = MINTMARK__INTERNAL__PAGE_ENROLMENTS__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(PAGE_ENROLMENTS, page_enrolments, &body);

    body.after_row = c->after;
    body.limit = MM_RECONCILE_PAGE_MAX;
    body.brief = brief;
    return ask_store(c, &job, ei);
}

static int ask_matches(struct reconcile *c, struct mm_errinfo *ei)
{
    Mintmark__Internal__MatchCertificates body = MINTMARK__INTERNAL__MATCH_CERTIFICATES__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(MATCH_CERTIFICATES, match_certificates, &body);
    Mintmark__Internal__MatchCertificates__Certificate all[MM_ISSUER_PAGE_MAX];
    Mintmark__Internal__MatchCertificates__Certificate *list[MM_ISSUER_PAGE_MAX];

    body.certificates = list;
    for (; body.n_certificates < c->listed->n_entries; body.n_certificates++) {
        const Mintmark__Internal__Listed__Entry *e = c->listed->entries[body.n_certificates];
        Mintmark__Internal__MatchCertificates__Certificate *to = &all[body.n_certificates];

        mintmark__internal__match_certificates__certificate__init(to);
        to->username = e->username;
        to->serial = e->serial;
        to->spki_sha256 = e->spki_sha256;
        list[body.n_certificates] = to;
    }
    c->state = MATCH;
    return ask_store(c, &job, ei);
}

/* An answer comes, or it is asked again when the time has come. */
static bool has_asked(const struct reconcile *c)
{
    return c->store_runs || c->issuer_runs || uv_is_active((const uv_handle_t *)&c->timer);
}

static int go_on(struct reconcile *c, struct mm_errinfo *ei);

static void on_timer(uv_timer_t *timer)
{
    struct reconcile *c = timer->data;
    struct mm_errinfo ei = {0};

    if (go_on(c, &ei) < 0)
        end(c, &ei);
}

/* The same question a little later; or why not, when it has been asked often enough. */
static int ask_later(struct reconcile *c, uint32_t ms, const struct mm_errinfo *why,
                     struct mm_errinfo *ei)
{
    if (++c->tries >= TRIES) {
        *ei = *why;
        return ei->code;
    }
    ms = ms < WAIT_MIN_MS ? WAIT_MIN_MS : ms > WAIT_MAX_MS ? WAIT_MAX_MS : ms;
    uv_timer_start(&c->timer, on_timer, ms, 0);
    return MM_OK;
}

static int ask_list(struct reconcile *c, struct mm_errinfo *ei)
{
    Mintmark__Internal__ListJob body = MINTMARK__INTERNAL__LIST_JOB__INIT;
    Mintmark__Internal__IssuerJob job = MM_ISSUER_JOB(LIST, list, &body);
    const struct group *g = &c->groups[c->group];
    struct mm_errinfo why = {0};
    int r = mm_app_check_open(c->app, ei);

    if (r < 0)
        return r;
    body.profile = mm_for_packing(g->profile);
    body.page = c->page;
    body.page_size = MM_ISSUER_PAGE_MAX;
    mm_arena_done(&c->arena);
    c->arena = MM_ARENA_INIT;
    c->issuer = (struct mm_job){.arena = &c->arena, .done = on_issuer};
    r = mm_issuers_submit(c->app->issuers, g->issuer, &c->issuer, &job, c->deadline_us, &why);
    c->issuer_runs = r == MM_OK;
    if (r == MM_ERR_AGAIN)
        mm_fail(&why, MM_ERR_UNAVAILABLE, "ISSUER_UNAVAILABLE", "the issuer takes no more jobs");
    if (r == MM_ERR_AGAIN || r == MM_ERR_UNAVAILABLE)
        return ask_later(c, why.retry_ms, &why, ei);
    if (r < 0)
        *ei = why;
    return r;
}

/* ---- the steps --------------------------------------------------------------------------- */

/* Asks the next question of the state; or it was the last. */
static int go_on(struct reconcile *c, struct mm_errinfo *ei)
{
    if (c->blocked)
        return MM_OK;
    switch (c->state) {
    case DEVICES:
        return ask_devices(c, true, ei);
    case LIST:
        return ask_list(c, ei);
    case MATCH:
        return ask_matches(c, ei);
    default:
        c->after = mm_compare_next(c->compare, c->after);
        if (c->after == 0)
            return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave other devices");
        c->after--;
        return ask_devices(c, false, ei);
    }
}

/* To the certificates of the next group, or to the devices that are left. */
static int begin_group(struct reconcile *c, struct mm_errinfo *ei)
{
    c->page = 1;
    c->tries = 0;
    c->state = c->group < c->n_groups ? LIST : REST;
    if (c->state == LIST)
        return MM_OK;
    c->after = 0;
    return mm_compare_listed(c->compare, &c->found, ei);
}

static int take_devices(struct reconcile *c, const Mintmark__Internal__EnrolmentsPage *page,
                        struct mm_errinfo *ei)
{
    int r = MM_OK;

    if (c->state == REST && page->n_enrolments == 0)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave other devices");
    for (size_t i = 0; r == MM_OK && i < page->n_enrolments; i++) {
        const Mintmark__Internal__EnrolmentRow *e = page->enrolments[i];

        r = c->state == DEVICES ? mm_compare_device(c->compare, e, ei)
                                : mm_compare_rest(c->compare, e, &c->found, ei);
        c->after = e->row;
    }
    if (r == MM_OK && c->state == DEVICES && page->n_enrolments < MM_RECONCILE_PAGE_MAX)
        r = begin_group(c, ei);
    return r;
}

static int take_matches(struct reconcile *c, const Mintmark__Internal__MatchedCertificates *matched,
                        struct mm_errinfo *ei)
{
    int r =
        mm_compare_page(c->compare, c->groups[c->group].profile, c->listed, matched, &c->found, ei);

    c->tries = 0;
    c->state = LIST;
    c->page++;
    if (r < 0 || c->listed->more)
        return r;
    c->group++;
    return begin_group(c, ei);
}

/* Tells what was found, and goes on; the counts go with the last. */
static void next(struct reconcile *c, int r, struct mm_errinfo *ei)
{
    const bool last = c->state == REST && mm_compare_next(c->compare, 0) == 0;

    if (r == MM_OK)
        r = give(c, last, ei);
    if (r == MM_OK && last)
        end(c, NULL);
    else if (r < 0 || go_on(c, ei) < 0)
        end(c, ei);
}

static int take_store(struct reconcile *c, const Mintmark__Internal__StoreResult *result,
                      struct mm_errinfo *ei)
{
    if (c->state != MATCH &&
        result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLMENTS_PAGE)
        return take_devices(c, result->enrolments_page, ei);
    if (c->state == MATCH &&
        result->result_case == MINTMARK__INTERNAL__STORE_RESULT__RESULT_MATCHED_CERTIFICATES)
        return take_matches(c, result->matched_certificates, ei);
    return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store gave another kind of answer");
}

static void on_store(struct mm_job *job, const ProtobufCMessage *result,
                     const struct mm_errinfo *error)
{
    struct reconcile *c = (struct reconcile *)((char *)job - offsetof(struct reconcile, store.job));
    struct mm_errinfo ei = {0};

    c->store_runs = false;
    if (!c->call)
        end_gone(c);
    else if (error)
        end(c, error);
    else
        next(c, take_store(c, (const Mintmark__Internal__StoreResult *)result, &ei), &ei);
}

static int take_failure(struct reconcile *c, const Mintmark__Internal__IssuerFailure *f,
                        struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};

    if (mm_issuer_fail(f, &why) == MM_ERR_UNAVAILABLE)
        return ask_later(c, f->retry_ms, &why, ei);
    *ei = why;
    return ei->code;
}

static int take_issuer(struct reconcile *c, const Mintmark__Internal__IssuerResult *result,
                       struct mm_errinfo *ei)
{
    if (result->result_case == MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_FAILURE)
        return take_failure(c, result->failure, ei);
    if (result->result_case != MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_LISTED ||
        result->listed->n_entries > MM_ISSUER_PAGE_MAX)
        return mm_fail(ei, MM_ERR_INTERNAL, "ISSUER_ANSWER",
                       "the issuer gave another kind of answer");
    c->listed = result->listed;
    if (c->listed->n_entries > 0)
        return ask_matches(c, ei);
    c->group++;
    return begin_group(c, ei);
}

static void on_issuer(struct mm_job *job, const ProtobufCMessage *result,
                      const struct mm_errinfo *error)
{
    struct reconcile *c = (struct reconcile *)((char *)job - offsetof(struct reconcile, issuer));
    struct mm_errinfo ei = {0};
    int r;

    c->issuer_runs = false;
    if (!c->call) {
        end_gone(c);
        return;
    }
    if (error && error->code == MM_ERR_UNAVAILABLE) {
        r = ask_later(c, error->retry_ms, error, &ei);
    } else if (error) {
        ei = *error;
        r = ei.code;
    } else {
        r = take_issuer(c, (const Mintmark__Internal__IssuerResult *)result, &ei);
    }
    if (r < 0)
        end(c, &ei);
    else if (!has_asked(c))
        next(c, r, &ei);
}

static void on_writable(struct mm_call *call, void *user)
{
    struct reconcile *c = user;
    struct mm_errinfo ei = {0};

    (void)call;
    if (!c->blocked)
        return;
    c->blocked = false;
    if (!has_asked(c) && go_on(c, &ei) < 0)
        end(c, &ei);
}

/* ---- receive ----------------------------------------------------------------------------- */

static bool same_settings(const struct mm_conf_profile *a, const struct mm_conf_profile *b)
{
    return strcmp(a->issuer, b->issuer) == 0 && strcmp(a->ca, b->ca) == 0 &&
           strcmp(a->certificate_profile, b->certificate_profile) == 0 &&
           strcmp(a->end_entity_profile, b->end_entity_profile) == 0;
}

static bool is_of(const struct mm_conf_profile *p, const char *issuer)
{
    return p && p->ejbca && (!*issuer || strcmp(p->issuer, issuer) == 0);
}

static bool is_wanted(const struct mm_conf *conf, const struct mm_conf_profile *p,
                      const Mintmark__V1__ReconcileRequest *m)
{
    return is_of(p, m->issuer) &&
           (!*m->profile || same_settings(p, mm_conf_profile_get(conf, m->profile)));
}

static int check(struct mm_app *app, const struct mm_peer *peer,
                 const Mintmark__V1__ReconcileRequest *m, struct mm_account **ret_account,
                 struct mm_errinfo *ei)
{
    size_t n = 0;
    int r = mm_app_check_open(app, ei);

    if (r < 0)
        return r;
    for (size_t i = 0; i < app->conf->n_profiles; i++)
        n += is_of(&app->conf->profiles[i], m->issuer);
    if (n == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ISSUER",
                       "no profile has its certificates from an issuer%s%.64s of kind ejbca",
                       *m->issuer ? " " : "", m->issuer);
    if (*m->profile && !is_of(mm_conf_profile_get(app->conf, m->profile), m->issuer))
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "profile %.64s has no certificates from that issuer, or from any EJBCA",
                       m->profile);
    if (app->reconciling)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "RECONCILE_BUSY",
                       "another comparison is under way; there is one at a time");
    return mm_app_admit(app, peer, ret_account, ei);
}

static void add_group(struct reconcile *c, const struct mm_conf_profile *p)
{
    for (size_t i = 0; i < c->n_groups; i++) {
        if (same_settings(mm_conf_profile_get(c->app->conf, c->groups[i].profile), p))
            return;
    }
    snprintf(c->groups[c->n_groups].issuer, sizeof(c->groups[0].issuer), "%s", p->issuer);
    snprintf(c->groups[c->n_groups].profile, sizeof(c->groups[0].profile), "%s", p->name);
    c->n_groups++;
}

static struct reconcile *new_reconcile(struct mm_call *call,
                                       const Mintmark__V1__ReconcileRequest *m)
{
    struct mm_app *app = mm_call_app(call);
    const struct mm_conf *conf = app->conf;
    const char *names[MM_PROFILES_MAX];
    struct reconcile *c = calloc(1, sizeof(*c) + MM_PROFILES_MAX * sizeof(c->groups[0]));
    size_t n = 0;

    if (!c)
        return NULL;
    c->app = app;
    for (size_t i = 0; i < conf->n_profiles; i++) {
        if (!is_wanted(conf, &conf->profiles[i], m))
            continue;
        names[n++] = conf->profiles[i].name;
        add_group(c, &conf->profiles[i]);
    }
    if (mm_compare_new(names, n, &c->compare) < 0 || uv_timer_init(app->loop, &c->timer) < 0) {
        mm_compare_free(c->compare);
        free(c);
        return NULL;
    }
    c->timer.data = c;
    c->arena = MM_ARENA_INIT;
    c->call = call;
    c->began_us = mm_clock_mono_us();
    c->deadline_us = mm_call_deadline_us(call);
    snprintf(c->client, sizeof(c->client), "%s", mm_call_peer(call)->name);
    snprintf(c->call_id, sizeof(c->call_id), "%s", mm_call_id(call));
    return c;
}

void mm_rpc_reconcile(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_call_ops ops = {.on_cancel = on_cancel, .on_writable = on_writable};
    const Mintmark__V1__ReconcileRequest *m = (const Mintmark__V1__ReconcileRequest *)request;
    struct mm_app *app = mm_call_app(call);
    struct mm_account *account = NULL;
    struct mm_errinfo ei = {0};
    struct reconcile *c;
    int r = check(app, mm_call_peer(call), m, &account, &ei);

    c = r == MM_OK ? new_reconcile(call, m) : NULL;
    if (!c) {
        if (r == MM_OK)
            mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    c->account = account;
    app->reconciling = true;
    mm_call_set(call, &ops, c);
    if (go_on(c, &ei) < 0)
        end(c, &ei);
}
