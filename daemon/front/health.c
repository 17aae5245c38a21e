/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.health.v1.Health (grpc/grpc doc/health-checking.md), a service like any other. */
#include "daemon/front/core.h"

#include "grpc/health/v1/health.pb-c.h"
#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;
typedef Grpc__Health__V1__HealthListResponse__StatusesEntry list_entry;

struct mm_health_watcher {
    TAILQ_ENTRY(mm_health_watcher) entry;
    struct mm_health_entry *on; /* NULL: a service that nobody knows; it is in no list */
    struct mm_call *call;
    bool full;  /* mm_call_send said stop */
    bool stale; /* something changed since then */
};

static struct mm_health_entry *find(const struct mm_core *core, const char *service)
{
    struct mm_health_entry *entry;

    TAILQ_FOREACH(entry, &core->more_health, link) {
        if (strcmp(entry->service, service) == 0)
            return entry;
    }
    for (size_t i = 0; i <= core->n_services; i++) {
        if (strcmp(core->health[i].service, service) == 0)
            return &core->health[i];
    }
    return NULL;
}

static check_response response_of(const struct mm_health_entry *entry)
{
    check_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name
    response.status = !entry           ? STATUS(SERVICE_UNKNOWN)
                      : entry->serving ? STATUS(SERVING)
                                       : STATUS(NOT_SERVING);
#undef STATUS
    return response;
}

static void check(struct mm_call *call, const ProtobufCMessage *message)
{
    const check_request *request = (const check_request *)message;
    const struct mm_health_entry *entry = find(mm_call_core(call), request->service);
    check_response response = response_of(entry);
    struct mm_errinfo ei = {0};

    if (entry) {
        mm_call_reply(call, &response.base);
        return;
    }
    mm_fail(&ei, MM_ERR_NOT_FOUND, "UNKNOWN_SERVICE", "no such service");
    mm_call_finish(call, &ei);
}

/* The answer of List, and what it is made of. */
struct listing {
    list_entry *entries, **pointers;
    check_response *values;
    size_t n;
};

static void add(struct listing *l, const struct mm_health_entry *entry)
{
    grpc__health__v1__health_list_response__statuses_entry__init(&l->entries[l->n]);
    l->values[l->n] = response_of(entry);
    l->entries[l->n].key = (char *)(uintptr_t)entry->service;
    l->entries[l->n].value = &l->values[l->n];
    l->pointers[l->n] = &l->entries[l->n];
    l->n++;
}

static void list(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    const struct mm_core *core = mm_call_core(call);
    const size_t n = core->n_services + 1 + core->n_more_health;
    Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    MM_FREE list_entry *entries = calloc(n, sizeof(*entries));
    MM_FREE list_entry **pointers = calloc(n, sizeof(list_entry *));
    MM_FREE check_response *values = calloc(n, sizeof(*values));
    struct listing l = {entries, pointers, values, 0};
    const struct mm_health_entry *entry;
    struct mm_errinfo ei = {0};

    if (!entries || !pointers || !values) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    for (size_t i = 0; i <= core->n_services; i++)
        add(&l, &core->health[i]);
    TAILQ_FOREACH(entry, &core->more_health, link) {
        add(&l, entry);
    }
    response.n_statuses = l.n;
    response.statuses = pointers;
    mm_call_reply(call, &response.base);
}

static void forget(struct mm_health_watcher *w)
{
    if (w->on)
        TAILQ_REMOVE(&w->on->watchers, w, entry);
    free(w);
}

static void tell(struct mm_health_watcher *w)
{
    check_response response = response_of(w->on);
    struct mm_errinfo ei = {0};
    const int r = mm_call_send(w->call, &response.base);

    w->stale = false;
    w->full = r == MM_ERR_AGAIN;
    if (r == MM_OK || r == MM_ERR_AGAIN)
        return;
    mm_fail_memory(&ei);
    mm_call_finish(w->call, &ei);
    forget(w);
}

static void watch_cancelled(MM_UNUSED struct mm_call *call, void *user)
{
    forget(user);
}

static void watch_writable(MM_UNUSED struct mm_call *call, void *user)
{
    struct mm_health_watcher *w = user;

    w->full = false;
    if (w->stale)
        tell(w);
}

static void watch(struct mm_call *call, const ProtobufCMessage *message)
{
    static const struct mm_call_ops ops = {watch_cancelled, watch_writable};
    const check_request *request = (const check_request *)message;
    struct mm_health_watcher *w = calloc(1, sizeof(*w));
    struct mm_errinfo ei = {0};

    if (!w) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    w->call = call;
    w->on = find(mm_call_core(call), request->service);
    if (w->on)
        TAILQ_INSERT_TAIL(&w->on->watchers, w, entry);
    mm_call_set(call, &ops, w);
    tell(w);
}

#define SERVICE "/grpc.health.v1.Health/"
const struct mm_rpc mm_health_rpcs[] = {
    {.path = SERVICE "Check",
     .shape = MM_RPC_UNARY,
     .request = &grpc__health__v1__health_check_request__descriptor,
     .message = check},
    {.path = SERVICE "List",
     .shape = MM_RPC_UNARY,
     .request = &grpc__health__v1__health_list_request__descriptor,
     .message = list},
    {.path = SERVICE "Watch",
     .shape = MM_RPC_SERVER_STREAM,
     .request = &grpc__health__v1__health_check_request__descriptor,
     .message = watch},
};
const size_t mm_n_health_rpcs = MM_ARRAY_SIZE(mm_health_rpcs);

int mm_health_init(struct mm_core *core)
{
    TAILQ_INIT(&core->more_health);
    core->health = calloc(core->n_services + 1, sizeof(*core->health));
    if (!core->health)
        return MM_ERR_MEMORY;
    for (size_t i = 0; i <= core->n_services; i++) {
        core->health[i].service = i == 0 ? "" : core->services[i - 1];
        TAILQ_INIT(&core->health[i].watchers);
        core->health[i].serving = mm_core_is_builtin_service(core->health[i].service);
    }
    return MM_OK;
}

static void drop(struct mm_core *core, struct mm_health_entry *entry)
{
    TAILQ_REMOVE(&core->more_health, entry, link);
    core->n_more_health--;
    free(entry->name);
    free(entry);
}

void mm_health_done(struct mm_core *core)
{
    struct mm_health_entry *entry;

    while (core->health && (entry = TAILQ_FIRST(&core->more_health)))
        drop(core, entry);
    free(core->health);
}

static void set(struct mm_health_entry *entry, bool serving)
{
    struct mm_health_watcher *w, *next;

    if (entry->serving == serving)
        return;
    entry->serving = serving;
    for (w = TAILQ_FIRST(&entry->watchers); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->full)
            w->stale = true;
        else
            tell(w);
    }
}

void mm_health_set(struct mm_core *core, const char *service, bool serving)
{
    struct mm_health_entry *entry = find(core, service);

    if (entry)
        set(entry, serving);
}

static void put(struct mm_core *core, const struct mm_health_state *state)
{
    struct mm_health_entry *entry = find(core, state->name);

    if (!entry) {
        entry = calloc(1, sizeof(*entry));
        if (entry)
            entry->name = strdup(state->name);
        if (!entry || !entry->name) {
            free(entry);
            return;
        }
        entry->service = entry->name;
        TAILQ_INIT(&entry->watchers);
        TAILQ_INSERT_TAIL(&core->more_health, entry, link);
        core->n_more_health++;
    }
    entry->wanted = true;
    set(entry, state->serving);
}

void mm_health_replace(struct mm_core *core, const struct mm_health_state *states, size_t n)
{
    struct mm_health_entry *entry, *next;

    TAILQ_FOREACH(entry, &core->more_health, link) {
        entry->wanted = false;
    }
    for (size_t i = 0; i < n; i++)
        put(core, &states[i]);
    for (entry = TAILQ_FIRST(&core->more_health); entry; entry = next) {
        next = TAILQ_NEXT(entry, link);
        if (entry->wanted)
            continue;
        set(entry, false);
        if (TAILQ_EMPTY(&entry->watchers))
            drop(core, entry);
    }
}

void mm_health_shutdown(struct mm_core *core)
{
    struct mm_health_entry *entry;

    for (size_t i = 0; i <= core->n_services; i++)
        set(&core->health[i], false);
    TAILQ_FOREACH(entry, &core->more_health, link) {
        set(entry, false);
    }
}
