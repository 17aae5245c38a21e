/* SPDX-License-Identifier: Apache-2.0 */
/* A call's way in: headers, messages, the service's functions, its end. */
#include "daemon/front/call.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/front/h2_impl.h"
#include "proto/grpc/gzip.h"
#include "proto/grpc/unpack.h"

#include <inttypes.h>
#include <string.h>

enum { US_PER_MS = 1000 };

static bool streams_in(const struct mm_call *call)
{
    return call->rpc->shape == MM_RPC_CLIENT_STREAM || call->rpc->shape == MM_RPC_BIDI;
}

/* What has begun of the request is to be whole in time. */
static void expect_rest(struct mm_call *call)
{
    struct mm_h2 *h2 = call->h2;

    if (call->late_us != INT64_MAX || h2->core->request_timeout_ms == 0)
        return;
    call->late_us = h2->received_us + (int64_t)h2->core->request_timeout_ms * US_PER_MS;
    if (call->late_us < h2->deadline_us)
        h2->deadline_us = call->late_us;
}

struct mm_call *mm_call_new(struct mm_h2 *h2, int32_t stream_id)
{
    struct mm_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->h2 = h2;
    call->stream_id = stream_id;
    call->deadline_us = INT64_MAX;
    call->timeout_us = INT64_MAX;
    call->late_us = INT64_MAX;
    call->number = ++h2->core->last_call;
    call->method = &h2->core->methods[h2->core->n_methods];
    call->began_us = h2->received_us;
    mm_grpc_deframer_init(&call->deframer, h2->core->message_max);
    call->held = MM_BUF_INIT(MM_H2_STREAM_WINDOW);
    /* The mark, and one message on top of it: more only from a service that does not stop. */
    call->out = MM_BUF_INIT(MM_CALL_QUEUE_MARK + MM_GRPC_MESSAGE_MAX + MM_GRPC_PREFIX_LEN);
    call->message = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    call->details = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    call->metadata = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    call->headers = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    call->trailers = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    expect_rest(call);
    TAILQ_INSERT_TAIL(&h2->calls, call, entry);
    h2->n_calls++;
    h2->core->stats.calls_in_flight++;
    h2->core->stats.calls_total++;
    return call;
}

static void count_receiving(struct mm_call *call, size_t bytes)
{
    call->h2->receiving += bytes - call->receiving;
    call->h2->core->receiving += bytes - call->receiving;
    call->receiving = bytes;
}

/* The end has been decided outside; the service, if it holds the pointer, hears it here. */
static void tell_cancelled(struct mm_call *call)
{
    if (!call->in_service)
        return;
    call->in_service = false;
    if (call->ops && call->ops->on_cancel)
        call->ops->on_cancel(call, call->user);
}

static void count_closed(struct mm_call *call)
{
    const int64_t now = mm_clock_mono_us();
    struct mm_h2 *h2 = call->h2;

    /* A stream that is closed before its status is known was cancelled, or its connection lost. */
    call->method->statuses[call->state == MM_CALL_FINISHED ? call->status : MM_GRPC_CANCELLED]++;
    mm_histogram_add(&call->method->latency, now - call->began_us);
    h2->core->stats.calls_in_flight--;
    if (--h2->n_calls == 0)
        h2->idle_us = now;
}

static void set_resumed(struct mm_call *call, bool resumed)
{
    if (call->resumed == resumed)
        return;
    call->resumed = resumed;
    call->h2->n_resumed += resumed ? 1U : -1U;
}

void mm_call_closed(struct mm_call *call)
{
    struct mm_h2 *h2 = call->h2;

    count_closed(call);
    call->state = MM_CALL_FINISHED;
    tell_cancelled(call);
    count_receiving(call, 0);
    mm_call_set_blocked(call, false);
    set_resumed(call, false);
    h2->queued -= call->out.len - call->out_sent;
    mm_h2_consume(h2, call->stream_id, call->held.len);
    TAILQ_REMOVE(&h2->calls, call, entry);
    mm_grpc_deframer_done(&call->deframer);
    mm_buf_done(&call->held);
    mm_buf_done(&call->out);
    mm_buf_done(&call->message);
    mm_buf_done(&call->details);
    mm_buf_done(&call->metadata);
    mm_buf_done(&call->headers);
    mm_buf_done(&call->trailers);
    free(call);
}

void mm_call_abort(struct mm_call *call, const struct mm_errinfo *ei)
{
    if (call->state == MM_CALL_FINISHED)
        return;
    mm_call_drop_queue(call);
    mm_call_end(call, ei);
    tell_cancelled(call);
    /* What has come of the request serves nobody any more. */
    mm_grpc_deframer_done(&call->deframer);
    count_receiving(call, 0);
}

static void hit(struct mm_call *call, enum mm_limit limit)
{
    call->h2->core->stats.limits[limit]++;
}

/* The transport itself finds fault with the call. */
static void fail(struct mm_call *call, enum mm_err code, const char *reason, const char *text)
{
    struct mm_errinfo ei = {0};

    mm_fail(&ei, code, reason, "%s", text);
    mm_call_abort(call, &ei);
}

/* Headers. */

static bool is(nghttp2_vec name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.base, text, name.len) == 0;
}

static void set_method(struct mm_call *call, nghttp2_vec path)
{
    call->method = mm_core_method(call->h2->core, (const char *)path.base, path.len);
    call->rpc = call->method->rpc;
}

void mm_call_header(struct mm_call *call, nghttp2_vec name, nghttp2_vec value)
{
    call->header_bytes += name.len + value.len + 32;
    if (call->state != MM_CALL_HEADERS || call->header_bytes > MM_HEADER_LIST_MAX)
        return;
    if (is(name, ":path"))
        set_method(call, value);
    else if (is(name, ":method"))
        call->is_post = is(value, "POST");
    else if (is(name, "content-type"))
        call->content = mm_grpc_content_parse(value.base, value.len);
    else if (is(name, "grpc-timeout"))
        call->bad_timeout = mm_grpc_timeout_parse(value.base, value.len, &call->timeout_us) < 0;
    else if (is(name, "grpc-encoding"))
        call->coding = mm_grpc_coding_parse(value.base, value.len);
    else if (is(name, "grpc-accept-encoding"))
        call->accepts_gzip = mm_grpc_accepts_gzip(value.base, value.len);
    else
        mm_call_take_metadata(call, (struct mm_bytes){name.base, name.len},
                              (struct mm_bytes){value.base, value.len});
}

static void set_deadline(struct mm_call *call)
{
    struct mm_h2 *h2 = call->h2;

    if (call->timeout_us == INT64_MAX)
        return;
    if (__builtin_add_overflow(mm_clock_mono_us(), call->timeout_us, &call->deadline_us))
        call->deadline_us = INT64_MAX;
    if (call->deadline_us < h2->deadline_us)
        h2->deadline_us = call->deadline_us;
}

static void reject(struct mm_call *call, enum mm_call_reject why)
{
    call->state = MM_CALL_REJECTED;
    call->reject = why;
}

/* RFC and gRPC rules in the order in which they make sense to a client; false: answered, or
 * to be at its end. */
static bool well_formed(struct mm_call *call)
{
    if (call->header_bytes > MM_HEADER_LIST_MAX || mm_buf_err(&call->metadata) == MM_ERR_TOO_BIG) {
        hit(call, MM_LIMIT_HEADER_LIST);
        fail(call, MM_ERR_TOO_BIG, "HEADERS_TOO_BIG", "the request headers are too big");
    } else if (!call->is_post)
        reject(call, MM_REJECT_METHOD);
    else if (call->content == MM_GRPC_CONTENT_OTHER)
        reject(call, MM_REJECT_MEDIA);
    else if (call->content == MM_GRPC_CONTENT_SUBTYPE)
        fail(call, MM_ERR_UNSUPPORTED, "UNKNOWN_SUBTYPE", "only application/grpc+proto is spoken");
    else if (call->coding == MM_GRPC_CODING_OTHER)
        fail(call, MM_ERR_UNSUPPORTED, "UNKNOWN_ENCODING", "grpc-encoding is not supported");
    else if (call->bad_timeout)
        fail(call, MM_ERR_INTERNAL, "BAD_TIMEOUT", "grpc-timeout is malformed");
    else if (call->bad_metadata)
        fail(call, MM_ERR_INTERNAL, "BAD_METADATA", "a -bin header is not in base64");
    else if (mm_buf_err(&call->metadata) == MM_ERR_MEMORY)
        fail(call, MM_ERR_MEMORY, "OUT_OF_MEMORY", "out of memory");
    else if (!call->rpc)
        fail(call, MM_ERR_UNSUPPORTED, "UNKNOWN_METHOD", "no such service or method");
    else
        return true;
    return false;
}

static bool allowed(struct mm_call *call)
{
    const struct mm_peer *peer = call->h2->peer;

    if (call->rpc->roles == 0)
        return true;
    if (!peer->name[0])
        fail(call, MM_ERR_UNAUTHENTICATED, "UNKNOWN_CLIENT",
             "the certificate belongs to no configured client");
    else if (!(call->rpc->roles & peer->roles))
        fail(call, MM_ERR_PERMISSION, "ROLE_MISSING", "the client has no role for this method");
    else
        return true;
    return false;
}

void mm_call_headers_done(struct mm_call *call)
{
    if (call->state != MM_CALL_HEADERS)
        return;
    if (!well_formed(call) || !allowed(call))
        return;
    set_deadline(call);
    if (call->timeout_us == 0) {
        fail(call, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED", "the deadline had passed on arrival");
        return;
    }
    call->state = MM_CALL_OPEN;
    if (!streams_in(call))
        return;
    call->late_us = INT64_MAX; /* a stream may be silent between its messages */
    call->in_service = true;
    if (call->rpc->start)
        call->rpc->start(call);
}

/* Messages. */

/* A message that is no protobuf is INTERNAL in gRPC; what is wrong inside it keeps its code. */
static void unpack_failed(struct mm_call *call, struct mm_errinfo *ei)
{
    if (ei->code == MM_ERR_INVALID)
        hit(call, MM_LIMIT_STRINGS);
    else if (ei->code != MM_ERR_CORRUPT)
        hit(call, MM_LIMIT_MESSAGE_FIELDS);
    if (ei->code == MM_ERR_CORRUPT)
        ei->code = MM_ERR_INTERNAL;
    mm_call_abort(call, ei);
}

static void message_failed(struct mm_call *call, int err)
{
    if (err == MM_ERR_TOO_BIG) {
        hit(call, MM_LIMIT_MESSAGE_SIZE);
        fail(call, MM_ERR_TOO_BIG, "MESSAGE_TOO_BIG", "the message is too big");
    } else if (err == MM_ERR_MEMORY) {
        fail(call, MM_ERR_MEMORY, "OUT_OF_MEMORY", "out of memory");
    } else {
        fail(call, MM_ERR_INTERNAL, "MALFORMED_MESSAGE",
             "a message prefix has an unknown flag, or a message is no gzip");
    }
}

static void give_plain(struct mm_call *call, struct mm_bytes payload)
{
    struct mm_arena *arena = &call->h2->core->arena;
    struct mm_errinfo ei = {0};
    ProtobufCMessage *message;

    if (mm_grpc_unpack(call->rpc->request, payload.data, payload.len, arena, &message, &ei) < 0) {
        unpack_failed(call, &ei);
    } else {
        call->in_service = true;
        call->rpc->message(call, message);
    }
    mm_arena_reset(arena);
}

static void give_message(struct mm_call *call, struct mm_bytes payload)
{
    MM_BUF_CLEANUP struct mm_buf plain = MM_BUF_INIT(call->h2->core->message_max);
    struct mm_gzip_stats *stats = &call->h2->core->stats.gzip;
    int r;

    if (!call->compressed) {
        give_plain(call, payload);
        return;
    }
    r = mm_grpc_gunzip(payload, &plain);
    if (r < 0) {
        stats->refused++;
        message_failed(call, r);
        return;
    }
    stats->inflated++;
    stats->received_saved_bytes += plain.len > payload.len ? plain.len - payload.len : 0;
    give_plain(call, (struct mm_bytes){.data = plain.data, .len = plain.len});
}

static void take_frame(struct mm_call *call, const struct mm_grpc_frame *frame)
{
    call->compressed = frame->compressed;
    if (streams_in(call))
        call->late_us = INT64_MAX;
    if (frame->compressed && call->coding != MM_GRPC_CODING_GZIP)
        fail(call, MM_ERR_INTERNAL, "UNEXPECTED_COMPRESSION",
             "a message is compressed, but grpc-encoding names nothing");
    else if (streams_in(call))
        give_message(call, frame->payload);
    else
        call->has_message = true;
}

static bool may_take(const struct mm_call *call)
{
    return call->state == MM_CALL_OPEN && !call->blocked && !call->paused;
}

static void check_receiving(struct mm_call *call)
{
    if (call->state != MM_CALL_OPEN)
        return;
    if (call->h2->core->receiving > MM_RECEIVE_MAX && call->h2->receiving > MM_RECEIVE_SHARE) {
        hit(call, MM_LIMIT_RECEIVE_TOTAL);
        fail(call, MM_ERR_UNAVAILABLE, "TOO_MUCH_IN_FLIGHT",
             "too many unfinished request messages on the server");
    } else if (call->h2->receiving > MM_CONNECTION_RECEIVE_MAX) {
        hit(call, MM_LIMIT_RECEIVE);
        fail(call, MM_ERR_EXHAUSTED, "TOO_MUCH_IN_FLIGHT",
             "too many unfinished request messages on this connection");
    }
}

/* Takes messages out of *data until it is empty, or the call is over, or may not send. */
static void feed(struct mm_call *call, struct mm_bytes *data)
{
    struct mm_grpc_frame frame;
    int r;

    while (data->len > 0 && may_take(call)) {
        if (call->has_message) {
            fail(call, MM_ERR_UNSUPPORTED, "TOO_MANY_MESSAGES",
                 "the method takes one request message");
            return;
        }
        r = mm_grpc_deframer_feed(&call->deframer, data, &frame);
        if (r == MM_OK)
            take_frame(call, &frame);
        else if (r != MM_ERR_AGAIN)
            message_failed(call, r);
        count_receiving(call, call->deframer.message.len);
    }
    if (!mm_grpc_deframer_at_boundary(&call->deframer))
        expect_rest(call);
    check_receiving(call);
}

static void end_of_messages(struct mm_call *call)
{
    if (!call->half_closed || call->ended || call->held.len > 0 || !may_take(call))
        return;
    call->ended = true;
    if (!mm_grpc_deframer_at_boundary(&call->deframer)) {
        fail(call, MM_ERR_INTERNAL, "TRUNCATED_MESSAGE", "the stream ended inside a message");
    } else if (streams_in(call)) {
        if (call->rpc->half_closed)
            call->rpc->half_closed(call);
    } else if (call->has_message) {
        give_message(call, (struct mm_bytes){.data = call->deframer.message.data,
                                             .len = call->deframer.message.len});
        mm_grpc_deframer_done(&call->deframer);
        count_receiving(call, 0);
    } else {
        fail(call, MM_ERR_UNSUPPORTED, "NO_MESSAGE", "the method takes one request message");
    }
}

void mm_call_data(struct mm_call *call, const uint8_t *data, size_t len)
{
    struct mm_bytes in = {.data = data, .len = len};

    /* What was held comes first. Held bytes are not given back to the window until they are taken,
     * so a stream holds at most its window. */
    if (call->held.len == 0)
        feed(call, &in);
    if (call->state == MM_CALL_OPEN && in.len > 0) {
        mm_buf_append(&call->held, in.data, in.len);
        len -= in.len;
        if (mm_buf_err(&call->held) < 0)
            fail(call, MM_ERR_EXHAUSTED, "TOO_MUCH_IN_FLIGHT", "too much sent ahead");
    }
    mm_h2_consume(call->h2, call->stream_id, len);
}

void mm_call_half_close(struct mm_call *call)
{
    call->half_closed = true;
    call->late_us = INT64_MAX;
    if (call->state == MM_CALL_REJECTED)
        mm_call_reject(call, call->reject);
    else
        end_of_messages(call);
}

static void take_held(struct mm_call *call)
{
    struct mm_bytes in = {.data = call->held.data, .len = call->held.len};
    size_t taken;

    feed(call, &in);
    taken = call->state == MM_CALL_OPEN ? call->held.len - in.len : call->held.len;
    mm_buf_consume(&call->held, taken);
    mm_h2_consume(call->h2, call->stream_id, taken);
    end_of_messages(call);
}

void mm_call_writable(struct mm_call *call)
{
    mm_call_set_blocked(call, false);
    if (call->state != MM_CALL_OPEN)
        return;
    if (call->in_service && call->ops && call->ops->on_writable)
        call->ops->on_writable(call, call->user);
    if (may_take(call))
        take_held(call);
}

void mm_call_take_up(struct mm_call *call)
{
    set_resumed(call, false);
    if (may_take(call))
        take_held(call);
}

/* What services ask. */

void mm_call_pause(struct mm_call *call)
{
    call->paused = true;
    set_resumed(call, false);
}

void mm_call_resume(struct mm_call *call)
{
    if (!call->paused)
        return;
    call->paused = false;
    set_resumed(call, true);
    mm_h2_wake(call->h2);
}

void mm_call_set(struct mm_call *call, const struct mm_call_ops *ops, void *user)
{
    call->ops = ops;
    call->user = user;
}

void *mm_call_user(const struct mm_call *call)
{
    return call->user;
}

const struct mm_peer *mm_call_peer(const struct mm_call *call)
{
    return call->h2->peer;
}

const char *mm_call_id(const struct mm_call *call)
{
    /* Written when first asked for, since few calls are logged. */
    char *id = ((struct mm_call *)(uintptr_t)call)->id;

    if (!id[0])
        snprintf(id, sizeof(call->id), "r-%08" PRIx32 "-%" PRIx64, call->h2->core->epoch,
                 call->number);
    return id;
}

bool mm_call_was_compressed(const struct mm_call *call)
{
    return call->compressed;
}

int64_t mm_call_deadline_us(const struct mm_call *call)
{
    return call->deadline_us;
}

struct mm_core *mm_call_core(const struct mm_call *call)
{
    return call->h2->core;
}

void *mm_call_app(const struct mm_call *call)
{
    return call->h2->core->app;
}
