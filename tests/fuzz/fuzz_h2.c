/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole connection, from the first byte after the preface, without its socket. First byte: into
 * pieces of what size the rest is cut, and how much time passes between two of them, while output
 * is taken. The services answer at once or later, take metadata and give it back, and wait for a
 * slow reader, or pause. Whatever comes, no call and no byte of it is left behind, and the next
 * connection on the same server is served.
 */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/h2.h"

#include "grpc/health/v1/health.pb-c.h"
#include <stdlib.h>
#include <string.h>

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static int64_t now_us;

static int64_t fake_us(void)
{
    return now_us;
}

static int64_t fake_ms(void)
{
    return now_us / 1000;
}

/* ---- services ---------------------------------------------------------------------------- */

/* Metadata comes back, in headers and trailers, as far as it may. */
static void echo_metadata(struct mm_call *call)
{
    struct mm_metadata m;
    char name[64];
    size_t pos = 0;

    while (mm_call_next_metadata(call, &pos, &m)) {
        if (m.name.len >= sizeof(name))
            continue;
        memcpy(name, m.name.data, m.name.len);
        name[m.name.len] = 0;
        if (mm_call_add_header(call, name, m.value) < 0 ||
            mm_call_add_trailer(call, name, m.value) < 0)
            return;
    }
}

/* Says the request's text back, as often as it has bytes, for as long as it may. */
static void echo(struct mm_call *call, const ProtobufCMessage *message)
{
    const Grpc__Health__V1__HealthCheckRequest *request =
        (const Grpc__Health__V1__HealthCheckRequest *)message;

    for (const char *p = request->service; *p; p++) {
        if (mm_call_send(call, message) != MM_OK)
            return;
    }
}

static void echo_all(struct mm_call *call, const ProtobufCMessage *message)
{
    echo_metadata(call);
    mm_call_compress(call, true);
    echo(call, message);
    mm_call_finish(call, NULL);
}

static void finish(struct mm_call *call)
{
    mm_call_finish(call, NULL);
}

/* Large answers, to more than a reader may let wait: the rest when he has read. */
struct large {
    unsigned left;
};

static void large_cancelled(struct mm_call *call, void *user)
{
    (void)call;
    free(user);
}

static void large_go_on(struct mm_call *call, void *user)
{
    static char text[100000];
    Grpc__Health__V1__HealthCheckRequest message;
    struct large *large = user;
    int r = MM_OK;

    grpc__health__v1__health_check_request__init(&message);
    memset(text, 'x', sizeof(text) - 1);
    message.service = text;
    while (large->left > 0 && r == MM_OK) {
        r = mm_call_send(call, &message.base);
        assert(r == MM_OK || r == MM_ERR_AGAIN);
        large->left--;
    }
    if (large->left > 0)
        return;
    free(large);
    mm_call_finish(call, NULL);
}

static void send_large(struct mm_call *call, const ProtobufCMessage *message)
{
    static const struct mm_call_ops ops = {large_cancelled, large_go_on};
    struct large *large = calloc(1, sizeof(*large));

    (void)message;
    assert(large);
    large->left = 10;
    mm_call_set(call, &ops, large);
    large_go_on(call, large);
}

/* One call at a time takes a message only when time has passed. */
static struct mm_call *pausing;

static void pausing_cancelled(struct mm_call *call, void *user)
{
    (void)user;
    assert(call == pausing);
    pausing = NULL;
}

static void pause_message(struct mm_call *call, const ProtobufCMessage *message)
{
    static const struct mm_call_ops ops = {pausing_cancelled, NULL};

    if (!pausing) {
        pausing = call;
        mm_call_set(call, &ops, NULL);
    }
    if (pausing == call)
        mm_call_pause(call);
    echo(call, message);
}

static void pause_half_closed(struct mm_call *call)
{
    if (pausing == call)
        pausing = NULL;
    mm_call_finish(call, NULL);
}

#define REQUEST &grpc__health__v1__health_check_request__descriptor
static const struct mm_rpc rpcs[] = {
    {"/f/U", MM_RPC_UNARY, 0, REQUEST, NULL, echo_all, NULL, true},
    {"/f/S", MM_RPC_SERVER_STREAM, MM_ROLE_STATION, REQUEST, NULL, send_large, NULL, true},
    {"/f/C", MM_RPC_CLIENT_STREAM, 0, REQUEST, echo_metadata, echo, finish, true},
    {"/f/B", MM_RPC_BIDI, 0, REQUEST, NULL, echo, finish, true},
    {"/f/P", MM_RPC_BIDI, 0, REQUEST, NULL, pause_message, pause_half_closed, false},
    {"/f/O", MM_RPC_CLIENT_STREAM, MM_ROLE_OFFICER, REQUEST, NULL, echo, finish, false},
};

/* ---- the connection ---------------------------------------------------------------------- */

static void ignore(void *arg)
{
    (void)arg;
}

static void take_output(struct mm_h2 *h2)
{
    static uint8_t out[MM_H2_SEND_MIN];

    for (int i = 0; i < 100 && mm_h2_send(h2, out, sizeof(out)) > 0; i++)
        mm_h2_run_writable(h2);
}

static void talk(struct mm_h2 *h2, const uint8_t *data, size_t size, size_t piece, int64_t pass_us)
{
    if (mm_h2_recv(h2, (const uint8_t *)preface, sizeof(preface) - 1) < 0)
        return;
    for (size_t at = 0; at < size && !mm_h2_is_over(h2); at += piece) {
        if (mm_h2_recv(h2, data + at, size - at < piece ? size - at : piece) < 0)
            return;
        take_output(h2);
        now_us += pass_us;
        if (mm_h2_next_us(h2) <= now_us)
            mm_h2_tick(h2);
        if (pausing)
            mm_call_resume(pausing);
    }
    mm_h2_drain(h2, MM_DRAIN_SHUTDOWN);
    take_output(h2);
    mm_h2_cancel_calls(h2);
    take_output(h2);
}

static struct mm_h2 *connect_to(struct mm_core *core)
{
    static const struct mm_peer peer = {.name = "fuzz", .roles = MM_ROLE_STATION};
    const struct mm_h2_options options = {.core = core, .peer = &peer, .wake = ignore};
    struct mm_h2 *h2 = NULL;

    if (mm_h2_new(&options, &h2) < 0)
        abort();
    return h2;
}

/* Whoever was there before: a call is answered. */
static void check_serves(struct mm_core *core)
{
    static const uint8_t one_call[] = {/* SETTINGS; HEADERS: POST, http, /f/U, a, content-type */
                                       0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 29, 1, 4, 0, 0, 0, 1, 0x83,
                                       0x86, 0x44, 4, '/', 'f', '/', 'U', 0x41, 1, 'a', 0x5f, 16,
                                       'a', 'p', 'p', 'l', 'i', 'c', 'a', 't', 'i', 'o', 'n', '/',
                                       'g', 'r', 'p', 'c',
                                       /* DATA with END_STREAM: a message of field 1, "x" */
                                       0, 0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 3, 10, 1, 'x'};
    const struct mm_method *method = mm_core_method(core, "/f/U", 4);
    const uint64_t before = method->statuses[MM_GRPC_OK];
    struct mm_h2 *h2 = connect_to(core);

    talk(h2, one_call, sizeof(one_call), sizeof(one_call), 0);
    mm_h2_free(h2);
    assert(method->statuses[MM_GRPC_OK] == before + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mm_core_options options = {
        .rpcs = rpcs, .n_rpcs = MM_ARRAY_SIZE(rpcs), .descriptors = &mm_descriptors_mintmark};
    struct mm_core *core = NULL;
    struct mm_errinfo ei;
    struct mm_h2 *h2;

    if (size < 1)
        return 0;
    now_us = 1000000;
    mm_clock_replace(fake_ms, fake_us);
    mm_log_setup("fuzz", MM_LOG_ERROR);
    if (mm_core_new(&options, &core, &ei) < 0)
        abort();
    core->max_streams = 8;
    core->keepalive_ms = 5000;
    core->keepalive_timeout_ms = 2000;
    core->ping_interval_ms = 1000;
    core->idle_timeout_ms = 20000;
    core->connection_age_ms = 60000;
    core->request_timeout_ms = 10000;
    h2 = connect_to(core);
    /* Pieces of 1 to 993 bytes, or all at once; 1 ms to 8 s between them. */
    talk(h2, data + 1, size - 1, (data[0] & 31) == 31 ? size : 1U + 32U * (data[0] & 31),
         INT64_C(1000) << (data[0] >> 5 << 1));
    mm_h2_free(h2);
    assert(!pausing);
    assert(core->stats.calls_in_flight == 0 && core->receiving == 0);
    check_serves(core);
    assert(core->stats.calls_in_flight == 0 && core->receiving == 0);
    mm_core_free(core);
    return 0;
}
