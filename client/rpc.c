/* SPDX-License-Identifier: Apache-2.0 */
#include "client/rpc.h"

#include "client/call.h"
#include "client/retry.h"
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "proto/grpc/unpack.h"

#include <openssl/rand.h>

/* Smaller requests gain too little. */
enum { COMPRESS_BYTES = 4 * 1024 };

struct call {
    struct mintmark *client;
    const struct mm_method *method;
    const struct mm_rpc_sink *sink;
    const struct mm_rpc_source *source; /* NULL: the one request is there */
    struct mm_buf request;              /* with a source: the next one, not sent yet */
    bool half_closed;
    int64_t deadline_us; /* INT64_MAX: the wait for each message is limited instead */
    unsigned failures;   /* in a row */
};

static int64_t from_now(const struct call *call)
{
    return mm_clock_mono_us() + (int64_t)call->client->timeout_ms * 1000;
}

/* When this wait has to be over. */
static int64_t wait_limit(const struct call *call)
{
    return call->deadline_us == INT64_MAX ? from_now(call) : call->deadline_us;
}

/* One message to the sink. */
static int deliver(struct call *call, const struct mm_bytes *message, struct mintmark_error *error)
{
    int progress = 0;
    int r = call->sink->message(call->sink->arg, message, &progress, error);

    if (progress)
        call->failures = 0;
    return r;
}

/* Sends what can be sent now. */
static int feed(struct call *call, struct mm_client_call *running, struct mintmark_error *error)
{
    while (!call->half_closed) {
        const struct mm_bytes request = {call->request.data, call->request.len};
        int r = 0;

        if (call->source && request.len == 0) {
            r = call->source->next(call->source->arg, &call->request, error);
            if (r < 0)
                return r;
            if (call->request.len > 0)
                continue;
        } else {
            r = mm_client_call_send(running, &request, request.len >= COMPRESS_BYTES);
            if (r == MM_ERR_AGAIN || r == MM_ERR_EOF)
                return 0; /* later; or the call has ended, and says how */
            if (r < 0)
                return mm_client_fail_memory(error);
            if (call->source) {
                mm_buf_reset(&call->request);
                continue;
            }
        }
        mm_client_call_half_close(running);
        call->half_closed = true;
    }
    return 0;
}

/* A cancellation is forgotten where it was heeded: by a number it could not be told from what a
 * callback returned, or the server answered. */
static int heed_cancel(struct call *call, int r)
{
    if (r == -MINTMARK_CANCELLED)
        mm_client_clear_cancel(call->client);
    return r;
}

/* Runs a call to its end: 0, and *ret_end says how it ended. Or what ends all attempts: the
 * deadline for the next message, a cancellation, the sink's own word. */
static int run_call(struct call *call, struct mm_client_call *running,
                    struct mm_stream_end *ret_end, struct mintmark_error *error)
{
    int64_t limit_us = wait_limit(call);

    for (;;) {
        const struct mm_stream_end *end;
        struct mm_bytes message;
        int r = feed(call, running, error);

        if (r != 0)
            return r;
        r = mm_client_call_next(running, &message, &end);

        if (r == MM_ERR_EOF) {
            *ret_end = *end;
            return 0;
        }
        if (r == MM_OK) {
            r = deliver(call, &message, error);
            if (r != 0)
                return r;
            limit_us = wait_limit(call);
            continue;
        }
        if (mm_clock_mono_us() >= limit_us)
            return mm_client_fail_deadline(error);
        r = heed_cancel(call, mm_client_wait(call->client, limit_us, error));
        if (r < 0 && r != -MINTMARK_DEADLINE_EXCEEDED)
            return r;
    }
}

/* One try. As run_call. */
static int attempt(struct call *call, struct mm_stream_end *ret_end, struct mintmark_error *error)
{
    MM_CLEANUP(mm_client_call_free_p) struct mm_client_call *running = NULL;
    const struct mm_client_call_options options = {
        .stream = {.path = call->method->path,
                   .single = !call->method->streams,
                   .gzip = call->client->compress},
        .deadline_us = call->deadline_us,
    };
    int r = mm_client_call_new(call->client, &options, &running, error);

    if (r < 0)
        return r;
    call->half_closed = false;
    if (call->source)
        mm_buf_reset(&call->request);
    if (call->sink->begin)
        call->sink->begin(call->sink->arg);
    return run_call(call, running, ret_end, error);
}

/* 0: after a pause, the call shall be tried again. */
static int pause_before_retry(struct call *call, const struct mm_stream_end *end,
                              struct mintmark_error *error)
{
    uint32_t random = 0, ms;

    *error = end->error;
    call->failures++;
    if (!mm_retry_wanted(end, call->method->repeat) || call->failures >= call->client->attempts)
        return -(int)end->error.status;
    /* Without randomness the pause is just shorter. */
    (void)RAND_bytes((unsigned char *)&random, sizeof(random));
    ms = mm_retry_pause_ms(call->failures, end->error.retry_ms, random);
    if (mm_clock_mono_us() + (int64_t)ms * 1000 >= wait_limit(call))
        return -(int)end->error.status;
    return heed_cancel(call, mm_client_sleep(call->client, ms, error));
}

static bool is_wanted(const struct call *call)
{
    return !call->source || call->source->wanted(call->source->arg);
}

/* model: RETRY */
static int run_attempts(struct call *call, struct mintmark_error *error)
{
    while (is_wanted(call)) {
        struct mm_stream_end end;
        int r = attempt(call, &end, error);

        if (r != 0)
            return r;
        if (end.error.status == MINTMARK_OK)
            break;
        r = pause_before_retry(call, &end, error);
        if (r < 0)
            return r;
    }
    *error = (struct mintmark_error){.status = MINTMARK_OK};
    return 0;
}

int mm_rpc_pack(const ProtobufCMessage *request, struct mm_buf *out, struct mintmark_error *error)
{
    size_t len = protobuf_c_message_get_packed_size(request);
    uint8_t *to;

    if (len > MM_GRPC_MESSAGE_MAX)
        return mm_client_fail(error, MINTMARK_RESOURCE_EXHAUSTED, "MESSAGE_TOO_BIG",
                              "the request is larger than a message may be");
    to = mm_buf_reserve(out, len);
    if (!to)
        return mm_client_fail_memory(error);
    mm_buf_grew(out, protobuf_c_message_pack(request, to));
    return 0;
}

static int start(struct call *call, struct mintmark_error *error)
{
    call->deadline_us = call->method->streams ? INT64_MAX : from_now(call);
    return run_attempts(call, error);
}

int mm_rpc_call(struct mintmark *client, const struct mm_method *method,
                const ProtobufCMessage *request, const struct mm_rpc_sink *sink,
                struct mintmark_error *error)
{
    struct call call = {.client = client,
                        .method = method,
                        .sink = sink,
                        .request = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX)};
    struct mintmark_error ignored;
    int r = mm_rpc_pack(request, &call.request, error);

    if (r == 0)
        r = start(&call, error ? error : &ignored);
    mm_buf_done(&call.request);
    return r;
}

int mm_rpc_stream(struct mintmark *client, const struct mm_method *method,
                  const struct mm_rpc_source *source, const struct mm_rpc_sink *sink,
                  struct mintmark_error *error)
{
    struct call call = {.client = client,
                        .method = method,
                        .source = source,
                        .sink = sink,
                        .request = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX)};
    struct mintmark_error ignored;
    const int r = start(&call, error ? error : &ignored);

    mm_buf_done(&call.request);
    return r;
}

struct unary {
    const ProtobufCMessageDescriptor *descriptor;
    struct mm_arena *arena;
    ProtobufCMessage *response;
};

static void begin_unary(void *arg)
{
    struct unary *unary = arg;

    mm_arena_reset(unary->arena);
    unary->response = NULL;
}

static int take_unary(void *arg, const struct mm_bytes *message, int *ret_progress,
                      struct mintmark_error *error)
{
    struct unary *unary = arg;

    (void)ret_progress;
    return mm_rpc_unpack(unary->descriptor, message, unary->arena, &unary->response, error);
}

int mm_rpc_unary(struct mintmark *client, const struct mm_method *method,
                 const ProtobufCMessage *request, struct mm_arena *arena,
                 ProtobufCMessage **ret_response, struct mintmark_error *error)
{
    struct unary unary = {.descriptor = method->response, .arena = arena};
    const struct mm_rpc_sink sink = {begin_unary, take_unary, &unary};
    int r = mm_rpc_call(client, method, request, &sink, error);

    if (r < 0)
        return r;
    *ret_response = unary.response;
    return 0;
}

int mm_rpc_unpack(const ProtobufCMessageDescriptor *descriptor, const struct mm_bytes *message,
                  struct mm_arena *arena, ProtobufCMessage **ret_message,
                  struct mintmark_error *error)
{
    struct mm_errinfo ei = {.code = MM_OK};

    if (mm_grpc_unpack(descriptor, message->data, message->len, arena, ret_message, &ei) == MM_OK)
        return 0;
    return mm_client_fail_response(error, "the server sent a message that can't be read: %s",
                                   ei.text);
}
