/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: which RPC; the rest: its request from a stranger. It is unpacked and given to the
 * RPC, with a store that is away: what passes the RPC's checks ends as UNAVAILABLE, the rest as its
 * own mistake, and each call ends exactly once. The transport is played here. */
#include "tests/fuzz/fuzz.h"

#include "daemon/front/app.h"
#include "proto/grpc/unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mm_call {
    struct mm_app *app;
    struct mm_peer peer;
    unsigned ended;
    struct mm_errinfo ei;
};

void mm_call_set(struct mm_call *call, const struct mm_call_ops *ops, void *user)
{
    (void)call;
    (void)ops;
    (void)user; /* kept, some are, and ended all the same */
}

void *mm_call_user(const struct mm_call *call)
{
    (void)call;
    return NULL;
}

void mm_call_pause(struct mm_call *call)
{
    (void)call;
}

void mm_call_resume(struct mm_call *call)
{
    (void)call;
    abort(); /* a call that cannot go on takes no more */
}

const struct mm_peer *mm_call_peer(const struct mm_call *call)
{
    return &call->peer;
}

const char *mm_call_id(const struct mm_call *call)
{
    (void)call;
    return "r-fuzz";
}

int64_t mm_call_deadline_us(const struct mm_call *call)
{
    (void)call;
    return INT64_MAX;
}

void *mm_call_app(const struct mm_call *call)
{
    return call->app;
}

int mm_call_send(struct mm_call *call, const ProtobufCMessage *message)
{
    (void)call;
    assert(protobuf_c_message_get_packed_size(message) <= MM_GRPC_MESSAGE_MAX);
    return MM_OK;
}

void mm_call_finish(struct mm_call *call, const struct mm_errinfo *ei)
{
    call->ended++;
    if (ei)
        call->ei = *ei;
}

void mm_call_reply(struct mm_call *call, const ProtobufCMessage *message)
{
    assert(mm_call_send(call, message) == MM_OK);
    mm_call_finish(call, NULL);
}

void mm_server_stats(const struct mm_server *s, struct mm_server_stats *ret_stats)
{
    (void)s;
    *ret_stats = (struct mm_server_stats){0};
}

void mm_server_set_health(struct mm_server *s, const char *service, bool serving)
{
    (void)s;
    (void)service;
    (void)serving;
}

void mm_server_replace_health(struct mm_server *s, const struct mm_health_state *states, size_t n)
{
    (void)s;
    (void)states;
    (void)n;
}

static bool may_plan(void *arg)
{
    (void)arg;
    return true;
}

static void changed(void *arg)
{
    (void)arg;
}

static void sized(void *arg)
{
    (void)arg;
}

static struct mm_pool *store(void *arg)
{
    (void)arg;
    return NULL;
}

static void issuer_changed(void *arg, const char *section)
{
    (void)arg;
    (void)section;
}

/* The application as it stands while its store is away. */
static struct mm_app *application(void)
{
    static const struct mm_mints_ops ops = {
        .may_plan = may_plan, .changed = changed, .sized = sized};
    static const struct mm_issuers_ops issuers = {.changed = issuer_changed};
    static struct mm_conf_profile profile = {.name = (char *)(uintptr_t) "dac",
                                             .token = (char *)(uintptr_t) "main"};
    static const struct mm_conf conf = {
        .profiles = &profile, .n_profiles = 1, .limits = {.calls_per_client = 4}};
    static struct mm_app app;
    struct mm_errinfo ei;

    if (app.conf)
        return &app;
    app.conf = &conf;
    app.loop = uv_default_loop();
    LIST_INIT(&app.provisions);
    assert(mm_accounts_new(&app.accounts) == MM_OK);
    assert(mm_store_queue_new(app.accounts, store, NULL, &app.store_queue) == MM_OK);
    assert(mm_mints_new(NULL, NULL, app.accounts, &ops, &app, &app.mints, &ei) == MM_OK);
    assert(mm_enrolling_new(&app, &app.enrolling) == MM_OK);
    assert(mm_issuers_new(NULL, NULL, &issuers, &app, &app.issuers, &ei) == MM_OK);
    assert(mm_view_new(&app.view) == MM_OK);
    return &app;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_arena arena = MM_ARENA_INIT;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *request;
    const struct mm_rpc *rpc;

    if (size < 1)
        return 0;
    rpc = &mm_rpcs[data[0] % mm_n_rpcs];
    if (mm_grpc_unpack(rpc->request, data + 1, size - 1, &arena, &request, &ei) == MM_OK) {
        struct mm_call call = {.app = application()};

        snprintf(call.peer.name, sizeof(call.peer.name), "line-1");
        rpc->message(&call, request);
        assert(call.ended == 1);
        assert(call.ei.code == MM_OK || (call.ei.reason[0] && call.ei.text[0]));
    }
    mm_arena_done(&arena);
    return 0;
}
