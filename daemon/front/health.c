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

static void list(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    const struct mm_core *core = mm_call_core(call);
    const size_t n = core->n_services + 1;
    Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    MM_FREE list_entry *entries = calloc(n, sizeof(*entries));
    MM_FREE list_entry **pointers = calloc(n, sizeof(list_entry *));
    MM_FREE check_response *values = calloc(n, sizeof(*values));
    struct mm_errinfo ei = {0};

    if (!entries || !pointers || !values) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        grpc__health__v1__health_list_response__statuses_entry__init(&entries[i]);
        values[i] = response_of(&core->health[i]);
        entries[i].key = (char *)(uintptr_t)core->health[i].service;
        entries[i].value = &values[i];
        pointers[i] = &entries[i];
    }
    response.n_statuses = n;
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

void mm_health_done(struct mm_core *core)
{
    free(core->health);
}

void mm_health_set(struct mm_core *core, const char *service, bool serving)
{
    struct mm_health_entry *entry = find(core, service);
    struct mm_health_watcher *w, *next;

    if (!entry || entry->serving == serving)
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

void mm_health_shutdown(struct mm_core *core)
{
    for (size_t i = 0; i <= core->n_services; i++)
        mm_health_set(core, core->health[i].service, false);
}
