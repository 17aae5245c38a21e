/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/core.h"

#include "daemon/base/clock.h"

#include <string.h>

enum { LOG_BURST = 50, LOG_PER_S = 5 };

static int by_path(const void *a, const void *b)
{
    const struct mm_method *x = a, *y = b;

    return strcmp(x->rpc->path, y->rpc->path);
}

static int gather_rpcs(struct mm_core *core, const struct mm_core_options *o, struct mm_errinfo *ei)
{
    const struct mm_rpc *const tables[] = {o->rpcs, mm_health_rpcs, mm_reflection_rpcs};
    const size_t sizes[] = {o->n_rpcs, mm_n_health_rpcs, mm_n_reflection_rpcs};

    core->methods = calloc(sizes[0] + sizes[1] + sizes[2] + 1, sizeof(*core->methods));
    if (!core->methods)
        return mm_fail_memory(ei);
    for (size_t t = 0; t < MM_ARRAY_SIZE(tables); t++) {
        for (size_t i = 0; i < sizes[t]; i++)
            core->methods[core->n_methods++].rpc = &tables[t][i];
    }
    qsort(core->methods, core->n_methods, sizeof(*core->methods), by_path);
    for (size_t i = 1; i < core->n_methods; i++) {
        if (by_path(&core->methods[i - 1], &core->methods[i]) == 0)
            return mm_fail(ei, MM_ERR_INTERNAL, "DUPLICATE_RPC", "%s is in the table twice",
                           core->methods[i].rpc->path);
    }
    return MM_OK;
}

/* "/pkg.Service/Method" → "pkg.Service"; neighbours in the sorted table share it. */
static int gather_services(struct mm_core *core, struct mm_errinfo *ei)
{
    core->services = calloc(core->n_methods, sizeof(*core->services));
    if (!core->services)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < core->n_methods; i++) {
        const char *name = core->methods[i].rpc->path + 1;
        const char *last = core->n_services > 0 ? core->services[core->n_services - 1] : NULL;
        const size_t len = strcspn(name, "/");

        if (last && strlen(last) == len && strncmp(last, name, len) == 0)
            continue;
        core->services[core->n_services] = strndup(name, len);
        if (!core->services[core->n_services++])
            return mm_fail_memory(ei);
    }
    return MM_OK;
}

const char *const mm_drain_names[MM_DRAINS] = {
    [MM_DRAIN_SHUTDOWN] = "shutdown",
    [MM_DRAIN_MAX_AGE] = "max_age",
    [MM_DRAIN_MAX_IDLE] = "max_idle",
    [MM_DRAIN_CERTIFICATE_EXPIRED] = "certificate_expired",
    [MM_DRAIN_CLIENT_CHANGED] = "client_changed",
};

int mm_core_new(const struct mm_core_options *o, struct mm_core **ret_core, struct mm_errinfo *ei)
{
    MM_CORE_CLEANUP struct mm_core *core = calloc(1, sizeof(*core));
    int r;

    if (!core)
        return mm_fail_memory(ei);
    core->arena = MM_ARENA_INIT;
    core->app = o->app;
    core->descriptors = o->descriptors;
    core->bare_errors = o->bare_errors;
    core->message_max = o->message_max ? o->message_max : MM_GRPC_MESSAGE_MAX;
    core->max_streams = MM_STREAMS_PER_CONNECTION;
    core->epoch = (uint32_t)(mm_clock_wall_ms() / 1000);
    core->log_bucket = (struct mm_bucket)MM_BUCKET_INIT(LOG_BURST, LOG_PER_S);
    r = gather_rpcs(core, o, ei);
    if (r < 0)
        return r;
    r = gather_services(core, ei);
    if (r < 0)
        return r;
    if (mm_health_init(core) < 0)
        return mm_fail_memory(ei);
    *ret_core = MM_TAKE(core);
    return MM_OK;
}

void mm_core_free(struct mm_core *core)
{
    if (!core)
        return;
    mm_health_done(core);
    for (size_t i = 0; i < core->n_services; i++)
        free((char *)(uintptr_t)core->services[i]);
    free(core->services);
    free(core->methods);
    mm_arena_done(&core->arena);
    free(core);
}

static int compare_path(const char *candidate, const char *path, size_t len)
{
    const size_t n = strlen(candidate);
    const int order = memcmp(candidate, path, n < len ? n : len);

    return order != 0 ? order : n < len ? -1 : n > len;
}

struct mm_method *mm_core_method(const struct mm_core *core, const char *path, size_t len)
{
    size_t low = 0, high = core->n_methods;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const int order = compare_path(core->methods[mid].rpc->path, path, len);

        if (order == 0)
            return &core->methods[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return &core->methods[core->n_methods];
}

static bool within(const struct mm_rpc *rpc, const struct mm_rpc *table, size_t n)
{
    return (uintptr_t)rpc >= (uintptr_t)table && (uintptr_t)rpc < (uintptr_t)(table + n);
}

bool mm_core_is_builtin(const struct mm_rpc *rpc)
{
    return within(rpc, mm_health_rpcs, mm_n_health_rpcs) ||
           within(rpc, mm_reflection_rpcs, mm_n_reflection_rpcs);
}

bool mm_core_is_builtin_service(const char *service)
{
    const size_t len = strlen(service);

    for (size_t i = 0; i < mm_n_health_rpcs + mm_n_reflection_rpcs; i++) {
        const struct mm_rpc *rpc =
            i < mm_n_health_rpcs ? &mm_health_rpcs[i] : &mm_reflection_rpcs[i - mm_n_health_rpcs];

        if (strncmp(rpc->path + 1, service, len) == 0 && rpc->path[1 + len] == '/')
            return true;
    }
    return false;
}

bool mm_core_may_log(struct mm_core *core, uint64_t *ret_suppressed)
{
    if (!mm_bucket_take(&core->log_bucket, mm_clock_mono_us())) {
        core->log_suppressed++;
        return false;
    }
    *ret_suppressed = core->log_suppressed;
    core->log_suppressed = 0;
    return true;
}
