/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The application without memory: each allocation fails in turn while a call is served, with fake
 * token workers and the real store, and the transport played here. Each call ends exactly once;
 * whatever was lost is started again; and in the end the account is right.
 */
#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/app.h"
#include "daemon/front/service/service.h"
#include "daemon/ipc/seal.h"
#include "mintmark/v1/officer.pb-c.h"
#include "mintmark/v1/station.pb-c.h"
#include "tests/unit/check_main.h"
#include "tests/unit/memory.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, COUNT = 20 };

struct mm_call {
    struct mm_peer peer;
    const struct mm_call_ops *ops;
    void *user;
    unsigned ended;
    struct mm_errinfo ei;
    char batch_uid[MM_UID_LEN + 1]; /* of an answer that has one */
    size_t bundles;
    bool paused;
};

static uv_loop_t loop;
static uv_timer_t patience;
static struct mm_launcher *launcher;
static struct mm_conf *conf;
static struct mm_app app;
static char folder[64];
static bool impatient, stopped;
static char profile[] = "dac"; /* or "own" */

void mm_call_set(struct mm_call *call, const struct mm_call_ops *ops, void *user)
{
    call->ops = ops;
    call->user = user;
}

void *mm_call_user(const struct mm_call *call)
{
    return call->user;
}

void mm_call_pause(struct mm_call *call)
{
    call->paused = true;
}

void mm_call_resume(struct mm_call *call)
{
    call->paused = false;
}

const struct mm_peer *mm_call_peer(const struct mm_call *call)
{
    return &call->peer;
}

const char *mm_call_id(const struct mm_call *call)
{
    (void)call;
    return "r-memory";
}

int64_t mm_call_deadline_us(const struct mm_call *call)
{
    (void)call;
    return INT64_MAX;
}

void *mm_call_app(const struct mm_call *call)
{
    (void)call;
    return &app;
}

int mm_call_send(struct mm_call *call, const ProtobufCMessage *message)
{
    if (message->descriptor == &mintmark__internal__raw_delivery__descriptor)
        call->bundles += ((const Mintmark__Internal__RawDelivery *)message)->n_bundles;
    if (message->descriptor == &mintmark__internal__raw_enroll_response__descriptor)
        call->bundles += ((const Mintmark__Internal__RawEnrollResponse *)message)->n_results;
    if (message->descriptor == &mintmark__v1__open_batch_response__descriptor)
        snprintf(call->batch_uid, sizeof(call->batch_uid), "%s",
                 ((const Mintmark__V1__OpenBatchResponse *)message)->batch->batch_uid);
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
    ck_assert_int_eq(mm_call_send(call, message), MM_OK);
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

static void on_patience(uv_timer_t *timer)
{
    (void)timer;
    impatient = true;
}

#define await(condition)                                                                           \
    do {                                                                                           \
        impatient = false;                                                                         \
        uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);                                    \
        while (!(condition) && !impatient)                                                         \
            uv_run(&loop, UV_RUN_ONCE);                                                            \
        uv_timer_stop(&patience);                                                                  \
        ck_assert_msg(condition, "waited in vain for " #condition);                                \
    } while (0)

static void on_lost(void *arg)
{
    (void)arg;
    ck_abort_msg("the launcher is lost");
}

static void on_stopped(void *arg)
{
    (void)arg;
    stopped = true;
}

static bool all_ready(void)
{
    return app.store_ready && mm_mints_ready(app.mints) == 2;
}

/* A database with a production order, before the store's process opens it. */
static void add_order(const char *for_profile)
{
    struct fixture f = {.store = NULL};
    struct order_job order;

    snprintf(f.path, sizeof(f.path), "%s/m.db", folder);
    fixture_open(&f);
    make_order(&order, "order", 1000000);
    order.order.profile = TEXT(for_profile);
    order.order.not_after_time_ms = 1LL << 44;
    sign_order(&order);
    ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    fixture_done(&f);
}

static void setup_profile(const char *name)
{
    const char *const paths[MM_PROGRAMS] = {
        [MM_PROGRAM_TOKEN] = getenv("MM_FAKE_WORKER"), [MM_PROGRAM_STORE] = getenv("MM_STORE")};
    struct mm_errinfo ei = {0};
    char path[128];
    char text[2048];
    uint8_t digest[MM_HANDED_DIGEST];
    int fd;

    memcpy(profile, name, sizeof(profile));
    mm_log_setup("test", MM_LOG_ERROR);
    snprintf(folder, sizeof(folder), "/tmp/mintmark-memory-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    add_order(name);
    snprintf(path, sizeof(path), "%s/m.conf", folder);
    snprintf(text, sizeof(text),
             "listen { certificate = 'c' key = 'k' client_ca = 'a' }\n"
             "store { path = 'm.db' }\n"
             "token 'main' { module = '/m' uri = 'pkcs11:token=t' pin_file = 'p' workers = 2 }\n"
             "issuer 'ca' { token = 'main' key = 'pkcs11:object=ca' certificate = 'ca' }\n"
             "profile 'dac' { issuer = 'ca' delivery = 'retained' subject = 'CN=x' "
             "validity = '1y' }\n"
             "profile 'own' { issuer = 'ca' delivery = 'on-device' subject = 'CN=x' "
             "validity = '1y' }\n"
             "# fake profile=%s\n",
             profile);
    ck_assert_int_eq(mm_conf_parse(path, text, strlen(text), &conf, &ei), MM_OK);
    ck_assert_int_eq(
        mm_seal_config(path, (struct mm_bytes){(const uint8_t *)text, strlen(text)}, digest, &ei),
        MM_OK);
    ck_assert_int_eq(mm_launcher_fork(paths, digest, NULL, &fd, NULL, &ei), MM_OK);
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &patience);
    ck_assert_int_eq(mm_launcher_new(&loop, fd, on_lost, NULL, &launcher, &ei), MM_OK);
    memset(&app, 0, sizeof(app));
    stopped = false;
    ck_assert_int_eq(mm_app_start(&app, &loop, launcher, conf,
                                  (struct mm_bytes){(const uint8_t *)text, strlen(text)}, &ei),
                     MM_OK);
    await(all_ready());
}

static void setup(void)
{
    setup_profile("dac");
}

static void setup_own(void)
{
    setup_profile("own");
}

static void teardown(void)
{
    static const char *const files[] = {"m.db", "m.db-wal", "m.db-shm"};
    char path[128];

    mm_app_stop(&app, false, on_stopped, NULL);
    await(stopped);
    mm_app_done(&app);
    mm_launcher_free(launcher);
    uv_close((uv_handle_t *)&patience, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    mm_conf_free(conf);
    for (size_t i = 0; i < MM_ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

static struct mm_call new_call(void)
{
    struct mm_call call = {.ended = 0};

    snprintf(call.peer.name, sizeof(call.peer.name), "line-1");
    return call;
}

static void open_batch(char batch_uid[MM_UID_LEN + 1], uint64_t quantity)
{
    static char name[] = "b";
    Mintmark__V1__OpenBatchRequest r;
    struct mm_call call = new_call();

    mintmark__v1__open_batch_request__init(&r);
    r.name = name;
    r.profile = profile;
    r.device_type = name;
    r.quantity = quantity;
    mm_rpc_open_batch(&call, &r.base);
    await(call.ended);
    ck_assert_int_eq(call.ei.code, MM_OK);
    memcpy(batch_uid, call.batch_uid, sizeof(call.batch_uid));
}

/* One Provision call with an allocation that fails; MM_OK, or how it ended. */
static int provision(char *batch_uid, unsigned request, unsigned fail_at, size_t *ret_bundles,
                     bool *ret_failed)
{
    Mintmark__V1__ProvisionRequest r;
    struct mm_call call = new_call();
    char serials[COUNT][24];
    char *pointers[COUNT];
    char id[16];

    mintmark__v1__provision_request__init(&r);
    snprintf(id, sizeof(id), "r-%u", request);
    for (unsigned i = 0; i < COUNT; i++) {
        snprintf(serials[i], sizeof(serials[i]), "SN-%u-%u", request, i);
        pointers[i] = serials[i];
    }
    r.batch_uid = batch_uid;
    r.request_id = id;
    r.count = COUNT;
    r.hw_serials = pointers;
    r.n_hw_serials = COUNT;
    /* Check allocates too, so nothing is asserted until it is over. */
    impatient = false;
    uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    memory_fail_at(fail_at);
    mm_rpc_provision(&call, &r.base);
    while ((!call.ended || !LIST_EMPTY(&app.provisions)) && !impatient)
        uv_run(&loop, UV_RUN_ONCE);
    *ret_failed = memory_failed();
    memory_fail_at(0);
    uv_timer_stop(&patience);
    ck_assert_uint_eq(call.ended, 1);
    ck_assert(LIST_EMPTY(&app.provisions));
    *ret_bundles = call.bundles;
    return call.ei.code;
}

static void run_until_resumed(const struct mm_call *call)
{
    while (call->paused && !call->ended && !impatient)
        uv_run(&loop, UV_RUN_ONCE);
}

/* The same for Enroll: one message, one half-close. */
static int enroll(char *batch_uid, unsigned request, unsigned fail_at, size_t *ret_bundles,
                  bool *ret_failed)
{
    Mintmark__V1__EnrollRequest r;
    Mintmark__V1__DeviceCsr devices[COUNT], *list[COUNT];
    struct mm_call call = new_call();
    char keys[COUNT][40], id[16];

    mintmark__v1__enroll_request__init(&r);
    snprintf(id, sizeof(id), "r-%u", request);
    for (unsigned i = 0; i < COUNT; i++) {
        mintmark__v1__device_csr__init(&devices[i]);
        snprintf(keys[i], sizeof(keys[i]), "key %u of request %u", i, request);
        devices[i].csr = (ProtobufCBinaryData){strlen(keys[i]), (uint8_t *)keys[i]};
        list[i] = &devices[i];
    }
    r.batch_uid = batch_uid;
    r.request_id = id;
    r.devices = list;
    r.n_devices = COUNT;
    impatient = false;
    uv_timer_start(&patience, on_patience, PATIENCE_MS, 0);
    memory_fail_at(fail_at);
    mm_rpc_enroll(&call, &r.base);
    run_until_resumed(&call);
    if (!call.ended)
        mm_rpc_enroll_half_closed(&call);
    while ((!call.ended || !LIST_EMPTY(&app.provisions)) && !impatient)
        uv_run(&loop, UV_RUN_ONCE);
    *ret_failed = memory_failed();
    memory_fail_at(0);
    uv_timer_stop(&patience);
    ck_assert_uint_eq(call.ended, 1);
    ck_assert(LIST_EMPTY(&app.provisions));
    *ret_bundles = call.bundles;
    return call.ei.code;
}

static void sweep(int (*make)(char *batch_uid, unsigned request, unsigned fail_at,
                              size_t *ret_bundles, bool *ret_failed),
                  unsigned least)
{
    char batch_uid[MM_UID_LEN + 1];
    unsigned n, failures = 0;
    size_t bundles;
    bool failed;

    open_batch(batch_uid, 1000000);
    for (n = 1; n < COUNT; n++) {
        const int r = make(batch_uid, n, n, &bundles, &failed);

        await(all_ready());
        failures += r != MM_OK;
        if (r == MM_OK && !failed)
            break;
        ck_assert_int_eq(make(batch_uid, n, 0, &bundles, &failed), MM_OK);
        ck_assert_uint_eq(bundles, COUNT);
    }
    ck_assert_uint_ge(failures, least);
    /* Allocations are for a call, a chunk, a list: never for a device. */
    ck_assert_uint_lt(n, COUNT);
}

START_TEST(provision_without_memory_ends_once_and_its_retry_completes)
{
    sweep(provision, 5);
}
END_TEST

START_TEST(enroll_without_memory_ends_once_and_its_retry_completes)
{
    sweep(enroll, 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("front_memory");
    TCase *tc = tcase_create("provision"), *own = tcase_create("enroll");

    tcase_set_timeout(tc, 240);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, provision_without_memory_ends_once_and_its_retry_completes);
    tcase_set_timeout(own, 240);
    tcase_add_checked_fixture(own, setup_own, teardown);
    tcase_add_test(own, enroll_without_memory_ends_once_and_its_retry_completes);
    suite_add_tcase(s, tc);
    suite_add_tcase(s, own);
    return run_suite(s);
}
