/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/interop/testservice.h"

#include "proto/grpc/status.h"

#include "grpc/testing/test.pb-c.h"
#include "mintmark/testing/probe.pb-c.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef Grpc__Testing__StreamingOutputCallRequest output_request;
typedef Grpc__Testing__EchoStatus echo_status;

static struct test_app *app_of(const struct mm_call *call)
{
    return mm_call_app(call);
}

static bool has_status(const echo_status *status)
{
    return status && status->code != MM_GRPC_OK;
}

static void finish_with(struct mm_call *call, enum mm_grpc_status status, const char *text)
{
    mm_call_finish_status(call, status, text, (struct mm_bytes){NULL, 0});
}

static void finish_no_memory(struct mm_call *call)
{
    struct mm_errinfo ei = {0};

    mm_fail_memory(&ei);
    mm_call_finish(call, &ei);
}

/* What the client asks back by metadata. */
static void echo_metadata(struct mm_call *call)
{
    static const char initial[] = "x-grpc-test-echo-initial",
                      trailing[] = "x-grpc-test-echo-trailing-bin";
    struct mm_metadata m;
    size_t pos = 0;
    int r = MM_OK;

    while (r == MM_OK && mm_call_next_metadata(call, &pos, &m)) {
        if (m.name.len == strlen(initial) && memcmp(m.name.data, initial, m.name.len) == 0)
            r = mm_call_add_header(call, initial, m.value);
        if (m.name.len == strlen(trailing) && memcmp(m.name.data, trailing, m.name.len) == 0)
            r = mm_call_add_trailer(call, trailing, m.value);
    }
    if (r < 0)
        fprintf(stderr, "testserver: metadata cannot be echoed\n");
}

static bool is_wanted(const Grpc__Testing__BoolValue *value)
{
    return value && value->value;
}

/* False: the message came plain although it should not have, and ei says so. */
static bool came_as_expected(const struct mm_call *call, const Grpc__Testing__BoolValue *expected,
                             struct mm_errinfo *ei)
{
    if (!is_wanted(expected) || mm_call_was_compressed(call))
        return true;
    mm_fail(ei, MM_ERR_INVALID, "", "the message was to be compressed");
    return false;
}

/* Unary. */

static void empty_call(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    const Grpc__Testing__Empty response = GRPC__TESTING__EMPTY__INIT;

    mm_call_reply(call, &response.base);
}

static void unary_call(struct mm_call *call, const ProtobufCMessage *message)
{
    const Grpc__Testing__SimpleRequest *request = (const Grpc__Testing__SimpleRequest *)message;
    Grpc__Testing__SimpleResponse response;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;
    MM_FREE uint8_t *zeros = NULL;
    struct mm_errinfo ei = {0};

    echo_metadata(call);
    if (!came_as_expected(call, request->expect_compressed, &ei)) {
        mm_call_finish(call, &ei);
        return;
    }
    if (has_status(request->response_status)) {
        finish_with(call, (enum mm_grpc_status)request->response_status->code,
                    request->response_status->message);
        return;
    }
    mm_call_compress(call, is_wanted(request->response_compressed));
    payload.body.len = request->response_size > 0 ? (size_t)request->response_size : 0;
    zeros = payload.body.len <= MM_GRPC_MESSAGE_MAX ? calloc(1, payload.body.len + 1) : NULL;
    if (!zeros) {
        finish_no_memory(call);
        return;
    }
    payload.body.data = zeros;
    grpc__testing__simple_response__init(&response);
    response.payload = &payload;
    mm_call_reply(call, &response.base);
}

/* Streams. */

struct wanted {
    int32_t size;
    int32_t interval_us;
    bool compressed;
};

/* A stream of responses that are still to be sent. */
struct stream {
    struct mm_call *call; /* NULL: over, and waits for its timer to close */
    uv_timer_t timer;
    struct wanted *wanted;
    size_t n_wanted, next;
    bool waiting; /* for the timer */
    bool full;    /* mm_call_send said stop */
    bool last;    /* nothing more will be wanted */
    struct mm_errinfo end;
    enum mm_grpc_status status; /* if not OK, it counts instead of end */
    char *status_text;
    uint64_t received; /* StreamingInputCall */
};

static void on_stream_closed(uv_handle_t *handle)
{
    struct stream *s = handle->data;

    free(s->status_text);
    free(s->wanted);
    free(s);
}

static void drop_stream(struct stream *s)
{
    s->call = NULL;
    uv_close((uv_handle_t *)&s->timer, on_stream_closed);
}

static void finish_stream(struct stream *s)
{
    if (s->status != MM_GRPC_OK)
        finish_with(s->call, s->status, s->status_text ? s->status_text : "");
    else
        mm_call_finish(s->call, &s->end);
    drop_stream(s);
}

static int send_zeros(struct stream *s, const struct wanted *wanted)
{
    static uint8_t zeros[MM_GRPC_MESSAGE_MAX];
    Grpc__Testing__StreamingOutputCallResponse response =
        GRPC__TESTING__STREAMING_OUTPUT_CALL_RESPONSE__INIT;
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    mm_call_compress(s->call, wanted->compressed);
    payload.body.len = wanted->size > 0 ? (size_t)wanted->size : 0;
    if (payload.body.len > sizeof(zeros))
        return MM_ERR_TOO_BIG;
    payload.body.data = zeros;
    response.payload = &payload;
    return mm_call_send(s->call, &response.base);
}

static void go_on(struct stream *s);

static void on_interval(uv_timer_t *timer)
{
    struct stream *s = timer->data;

    s->waiting = false;
    s->wanted[s->next].interval_us = 0;
    go_on(s);
}

static void go_on(struct stream *s)
{
    while (s->next < s->n_wanted && !s->full && !s->waiting) {
        const struct wanted *w = &s->wanted[s->next];
        int r;

        if (w->interval_us > 0) {
            s->waiting = true;
            uv_timer_start(&s->timer, on_interval, (uint64_t)w->interval_us / 1000 + 1, 0);
            return;
        }
        r = send_zeros(s, w);
        s->next++;
        s->full = r == MM_ERR_AGAIN;
        if (r < 0 && r != MM_ERR_AGAIN) {
            mm_fail(&s->end, (enum mm_err)r, "", "the response is too big");
            finish_stream(s);
            return;
        }
    }
    if (s->last && s->next == s->n_wanted)
        finish_stream(s);
}

static void stream_cancelled(struct mm_call *call, void *user)
{
    app_of(call)->cancelled++;
    drop_stream(user);
}

static void stream_writable(MM_UNUSED struct mm_call *call, void *user)
{
    struct stream *s = user;

    s->full = false;
    go_on(s);
}

static struct stream *new_stream(struct mm_call *call)
{
    static const struct mm_call_ops ops = {stream_cancelled, stream_writable};
    struct stream *s = calloc(1, sizeof(*s));

    if (!s) {
        finish_no_memory(call);
        return NULL;
    }
    s->call = call;
    uv_timer_init(app_of(call)->loop, &s->timer);
    s->timer.data = s;
    mm_call_set(call, &ops, s);
    mm_call_compress(call, true); /* some message may want it, and the headers must say so before */
    echo_metadata(call);
    return s;
}

static void want(struct stream *s, const output_request *request)
{
    const size_t n = s->n_wanted + request->n_response_parameters;
    struct wanted *wanted = realloc(s->wanted, (n + 1) * sizeof(*wanted));

    if (!wanted) {
        mm_fail_memory(&s->end);
        finish_stream(s);
        return;
    }
    s->wanted = wanted;
    for (size_t i = 0; i < request->n_response_parameters; i++) {
        const Grpc__Testing__ResponseParameters *p = request->response_parameters[i];

        s->wanted[s->n_wanted++] =
            (struct wanted){p->size, p->interval_us, is_wanted(p->compressed)};
    }
    if (has_status(request->response_status) && !s->status_text) {
        s->status = (enum mm_grpc_status)request->response_status->code;
        s->status_text = strdup(request->response_status->message);
        s->last = true;
    }
    go_on(s);
}

static void streaming_output_call(struct mm_call *call, const ProtobufCMessage *message)
{
    struct stream *s = new_stream(call);

    if (!s)
        return;
    s->last = true;
    want(s, (const output_request *)message);
}

static void start_stream(struct mm_call *call)
{
    new_stream(call);
}

static void full_duplex_message(struct mm_call *call, const ProtobufCMessage *message)
{
    want(mm_call_user(call), (const output_request *)message);
}

static void full_duplex_half_closed(struct mm_call *call)
{
    struct stream *s = mm_call_user(call);

    s->last = true;
    go_on(s);
}

static void input_message(struct mm_call *call, const ProtobufCMessage *message)
{
    const Grpc__Testing__StreamingInputCallRequest *request =
        (const Grpc__Testing__StreamingInputCallRequest *)message;
    struct stream *s = mm_call_user(call);

    if (!came_as_expected(call, request->expect_compressed, &s->end))
        finish_stream(s);
    else if (request->payload)
        s->received += request->payload->body.len;
}

static void input_half_closed(struct mm_call *call)
{
    struct stream *s = mm_call_user(call);
    Grpc__Testing__StreamingInputCallResponse response =
        GRPC__TESTING__STREAMING_INPUT_CALL_RESPONSE__INIT;

    response.aggregated_payload_size = (int32_t)s->received;
    mm_call_reply(call, &response.base);
    drop_stream(s);
}

/* Probe. */

static uint64_t resident_kb(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long total = 0, resident = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%lu %lu", &total, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void get_counts(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    Mintmark__Testing__Counts response = MINTMARK__TESTING__COUNTS__INIT;
    struct mm_server_stats stats;

    mm_server_stats(app_of(call)->server, &stats);
    response.connections = stats.connections;
    response.calls_in_flight = stats.calls_in_flight;
    response.calls_total = stats.calls_total;
    response.handshakes_failed = stats.handshakes_failed;
    response.cancelled = app_of(call)->cancelled;
    response.resident_kb = resident_kb();
    mm_call_reply(call, &response.base);
}

static void who_am_i(struct mm_call *call, MM_UNUSED const ProtobufCMessage *message)
{
    Mintmark__Testing__Caller response;

    mintmark__testing__caller__init(&response);
    response.name = (char *)(uintptr_t)mm_call_peer(call)->name;
    response.request_id = (char *)(uintptr_t)mm_call_id(call);
    mm_call_reply(call, &response.base);
}

#define TEST  "/grpc.testing.TestService/"
#define PROBE "/mintmark.testing.Probe/"
#define EMPTY &grpc__testing__empty__descriptor
const struct mm_rpc test_rpcs[] = {
    {TEST "EmptyCall", MM_RPC_UNARY, 0, EMPTY, NULL, empty_call, NULL, false},
    {TEST "UnaryCall", MM_RPC_UNARY, 0, &grpc__testing__simple_request__descriptor, NULL,
     unary_call, NULL, true},
    {TEST "StreamingOutputCall", MM_RPC_SERVER_STREAM, 0,
     &grpc__testing__streaming_output_call_request__descriptor, NULL, streaming_output_call, NULL,
     true},
    {TEST "StreamingInputCall", MM_RPC_CLIENT_STREAM, 0,
     &grpc__testing__streaming_input_call_request__descriptor, start_stream, input_message,
     input_half_closed, true},
    {TEST "FullDuplexCall", MM_RPC_BIDI, 0,
     &grpc__testing__streaming_output_call_request__descriptor, start_stream, full_duplex_message,
     full_duplex_half_closed, true},
    {PROBE "GetCounts", MM_RPC_UNARY, 0, EMPTY, NULL, get_counts, NULL, false},
    {PROBE "StationOnly", MM_RPC_UNARY, MM_ROLE_STATION, EMPTY, NULL, who_am_i, NULL, false},
    {PROBE "OfficerOnly", MM_RPC_UNARY, MM_ROLE_OFFICER, EMPTY, NULL, who_am_i, NULL, false},
};
const size_t test_n_rpcs = MM_ARRAY_SIZE(test_rpcs);
