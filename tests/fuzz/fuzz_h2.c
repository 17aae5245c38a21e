/* SPDX-License-Identifier: Apache-2.0 */
/* A whole connection, from the first byte after the preface, without its socket. First byte: into
 * pieces of what size the rest is cut; between two of them output is taken, and time passes. No
 * call is left behind, whatever comes. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/h2.h"

#include "grpc/health/v1/health.pb-c.h"
#include <stdlib.h>

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
    mm_call_compress(call, true);
    echo(call, message);
    mm_call_finish(call, NULL);
}

static void finish(struct mm_call *call)
{
    mm_call_finish(call, NULL);
}

#define REQUEST &grpc__health__v1__health_check_request__descriptor
static const struct mm_rpc rpcs[] = {
    {"/f/U", MM_RPC_UNARY, 0, REQUEST, NULL, echo_all, NULL, true},
    {"/f/S", MM_RPC_SERVER_STREAM, MM_ROLE_STATION, REQUEST, NULL, echo_all, NULL, true},
    {"/f/C", MM_RPC_CLIENT_STREAM, MM_ROLE_OFFICER, REQUEST, NULL, echo, finish, true},
    {"/f/B", MM_RPC_BIDI, 0, REQUEST, NULL, echo, finish, true},
};

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

static void talk(struct mm_h2 *h2, const uint8_t *data, size_t size, size_t piece)
{
    if (mm_h2_recv(h2, (const uint8_t *)preface, sizeof(preface) - 1) < 0)
        return;
    for (size_t at = 0; at < size && !mm_h2_is_over(h2); at += piece) {
        if (mm_h2_recv(h2, data + at, size - at < piece ? size - at : piece) < 0)
            return;
        take_output(h2);
        now_us += 1000;
        if (mm_h2_next_us(h2) <= now_us)
            mm_h2_tick(h2);
    }
    mm_h2_drain(h2, "end");
    take_output(h2);
    mm_h2_cancel_calls(h2);
    take_output(h2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct mm_peer peer = {.name = "fuzz", .roles = MM_ROLE_STATION};
    const struct mm_core_options core_options = {
        .rpcs = rpcs, .n_rpcs = MM_ARRAY_SIZE(rpcs), .descriptors = &mm_descriptors_mintmark};
    struct mm_h2_options options = {.peer = &peer, .wake = ignore};
    struct mm_core *core = NULL;
    struct mm_h2 *h2 = NULL;
    struct mm_errinfo ei;

    if (size < 1)
        return 0;
    now_us = 1000000;
    mm_clock_replace(fake_ms, fake_us);
    mm_log_setup("fuzz", MM_LOG_ERROR);
    if (mm_core_new(&core_options, &core, &ei) < 0)
        abort();
    options.core = core;
    if (mm_h2_new(&options, &h2) < 0)
        abort();
    talk(h2, data + 1, size - 1, 1U + 16U * data[0]);
    mm_h2_free(h2);
    assert(core->stats.calls_in_flight == 0);
    mm_core_free(core);
    return 0;
}
