/* SPDX-License-Identifier: Apache-2.0 */
/* A call's way out: response headers, messages, status. */
#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/front/h2_impl.h"
#include "proto/grpc/gzip.h"

#include <stdio.h>
#include <string.h>

/* nghttp2 neither copies nor changes what these flags are on. */
#define NV(name_, value_, value_len, flags_)                                                       \
    ((nghttp2_nv){.name = (uint8_t *)(uintptr_t)(name_),                                           \
                  .namelen = strlen(name_),                                                        \
                  .value = (uint8_t *)(uintptr_t)(value_),                                         \
                  .valuelen = (value_len),                                                         \
                  .flags = (flags_)})
#define NV_STATIC(name, value)                                                                     \
    NV(name, value, strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)
/* Values that differ from call to call would only push better ones out of the HPACK table. */
#define NV_CALL(name, buf)                                                                         \
    NV(name, (buf)->data, (buf)->len, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX)

enum { NV_MAX = 8 + 2 * MM_METADATA_MAX };

static const char *status_text(enum mm_grpc_status status)
{
    static const char *const texts[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                        "9", "10", "11", "12", "13", "14", "15", "16"};

    return texts[status];
}

static size_t add_status(const struct mm_call *call, nghttp2_nv *nv)
{
    size_t n = 0;

    nv[n++] = NV_STATIC("grpc-status", status_text(call->status));
    if (call->message.len > 0)
        nv[n++] = NV_CALL("grpc-message", &call->message);
    if (call->details.len > 0)
        nv[n++] = NV_CALL("grpc-status-details-bin", &call->details);
    if (call->pushback[0])
        nv[n++] = NV("grpc-retry-pushback-ms", call->pushback, strlen(call->pushback),
                     NGHTTP2_NV_FLAG_NO_COPY_NAME);
    return n + mm_call_put_metadata(&call->trailers, nv + n);
}

static size_t add_headers(const struct mm_call *call, nghttp2_nv *nv)
{
    size_t n = 0;

    nv[n++] = NV_STATIC(":status", "200");
    nv[n++] = NV_STATIC("content-type", "application/grpc");
    if (call->announced)
        nv[n++] = NV_STATIC("grpc-encoding", "gzip");
    return n + mm_call_put_metadata(&call->headers, nv + n);
}

static void submit_trailer(struct mm_call *call)
{
    nghttp2_nv nv[NV_MAX];

    mm_h2_check(call->h2, nghttp2_submit_trailer(call->h2->session, call->stream_id, nv,
                                                 add_status(call, nv)));
}

/* Without a body: Trailers-Only when it is gRPC's. */
static void submit_only(struct mm_call *call, const nghttp2_nv *nv, size_t n)
{
    call->headers_sent = true;
    mm_h2_check(call->h2, nghttp2_submit_response(call->h2->session, call->stream_id, nv, n, NULL));
    mm_h2_wake(call->h2);
}

static void submit_trailers_only(struct mm_call *call)
{
    nghttp2_nv nv[NV_MAX];
    size_t n = add_headers(call, nv);

    if (call->coding == MM_GRPC_CODING_OTHER)
        nv[n++] = NV_STATIC("grpc-accept-encoding", "identity,gzip");
    n += add_status(call, nv + n);
    submit_only(call, nv, n);
}

static void submit_headers(struct mm_call *call)
{
    const nghttp2_data_provider provider = {.source.ptr = call, .read_callback = mm_call_read};
    nghttp2_nv nv[NV_MAX];

    call->headers_sent = true;
    mm_h2_check(call->h2, nghttp2_submit_response(call->h2->session, call->stream_id, nv,
                                                  add_headers(call, nv), &provider));
}

void mm_call_reject(struct mm_call *call, enum mm_call_reject why)
{
    nghttp2_nv nv[NV_MAX];
    size_t n = 0;

    call->state = MM_CALL_FINISHED;
    if (why == MM_REJECT_MEDIA) {
        call->status = MM_GRPC_UNKNOWN; /* what a gRPC client makes of a 415 */
        nv[n++] = NV_STATIC(":status", "415");
    } else {
        call->status = MM_GRPC_UNIMPLEMENTED;
        nv[n++] = NV_STATIC(":status", "405");
        nv[n++] = NV_STATIC("allow", "POST");
        nv[n++] = NV_STATIC("content-type", "application/grpc");
        n += add_status(call, nv + n);
    }
    submit_only(call, nv, n);
}

/* The queue. */

static uint32_t frame_len(const struct mm_call *call, size_t at)
{
    const uint8_t *p = call->out.data + at;

    return MM_GRPC_PREFIX_LEN +
           ((uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4]);
}

static void find_leaving_frame(struct mm_call *call)
{
    while (call->out_frame < call->out_sent &&
           call->out_frame + frame_len(call, call->out_frame) <= call->out_sent)
        call->out_frame += frame_len(call, call->out_frame);
}

/* Forgets what has left, when that is worth the move. */
static void compact(struct mm_call *call)
{
    if (call->out_sent == call->out.len) {
        mm_buf_reset(&call->out);
        call->out_frame = call->out_sent = 0;
    } else if (call->out_sent > call->out.len / 2) {
        find_leaving_frame(call);
        mm_buf_consume(&call->out, call->out_frame);
        call->out_sent -= call->out_frame;
        call->out_frame = 0;
    }
}

void mm_call_drop_queue(struct mm_call *call)
{
    size_t keep;

    find_leaving_frame(call);
    keep = call->out_frame;
    if (call->out_frame < call->out_sent)
        keep += frame_len(call, call->out_frame);
    call->h2->queued -= call->out.len - keep;
    call->out.len = keep;
}

static size_t waiting(const struct mm_call *call)
{
    return call->out.len - call->out_sent;
}

static bool over_mark(const struct mm_call *call)
{
    return waiting(call) >= MM_CALL_QUEUE_MARK ||
           (call->h2->queued >= MM_CONNECTION_QUEUE_MARK && waiting(call) >= MM_CALL_QUEUE_LOW);
}

void mm_call_set_blocked(struct mm_call *call, bool blocked)
{
    if (call->blocked == blocked)
        return;
    call->blocked = blocked;
    call->h2->core->stats.waits += blocked;
    call->h2->n_blocked += blocked ? 1U : -1U;
}

bool mm_call_has_room(const struct mm_call *call)
{
    return waiting(call) < MM_CALL_QUEUE_LOW || (waiting(call) < MM_CALL_QUEUE_MARK / 2 &&
                                                 call->h2->queued < MM_CONNECTION_QUEUE_MARK / 2);
}

ssize_t mm_call_read(MM_UNUSED nghttp2_session *session, MM_UNUSED int32_t stream_id, uint8_t *buf,
                     size_t len, uint32_t *flags, nghttp2_data_source *source, MM_UNUSED void *user)
{
    struct mm_call *call = source->ptr;
    const size_t n = len < waiting(call) ? len : waiting(call);

    if (n == 0 && call->state != MM_CALL_FINISHED) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n > 0)
        memcpy(buf, call->out.data + call->out_sent, n);
    call->out_sent += n;
    call->h2->queued -= n;
    compact(call);
    if (waiting(call) == 0 && call->state == MM_CALL_FINISHED) {
        /* Trailers end the stream, not this frame. Submitted from here, they cannot overtake it. */
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        submit_trailer(call);
    }
    return (ssize_t)n;
}

static void resume(struct mm_call *call)
{
    if (call->deferred) {
        call->deferred = false;
        mm_h2_check(call->h2, nghttp2_session_resume_data(call->h2->session, call->stream_id));
    }
    mm_h2_wake(call->h2);
}

void mm_call_compress(struct mm_call *call, bool on)
{
    call->compress = on;
    call->may_compress |= on;
}

/* The headers, which leave after the first message was packed, say that some may be compressed. */
static void announce(struct mm_call *call)
{
    if (!call->headers_sent)
        call->announced = call->may_compress && call->accepts_gzip;
}

/* Compresses a message in its place, if it gets smaller; returns its new length. */
static size_t shrink(struct mm_call *call, uint8_t *message, size_t len)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(len);
    struct mm_gzip_stats *stats = &call->h2->core->stats.gzip;

    if (!call->announced || !call->compress)
        return len;
    if (mm_grpc_gzip((struct mm_bytes){.data = message, .len = len}, &packed) < 0) {
        stats->plain++;
        return len;
    }
    stats->compressed++;
    stats->sent_saved_bytes += len - packed.len;
    memcpy(message, packed.data, packed.len);
    return packed.len;
}

/* Returns MM_OK with the message in the queue. */
static int append(struct mm_call *call, const ProtobufCMessage *message, size_t len)
{
    size_t sent_len;
    uint8_t *to;

    to = mm_buf_reserve(&call->out, MM_GRPC_PREFIX_LEN + len);
    if (!to) {
        const int err = mm_buf_err(&call->out);

        call->out.err = MM_OK; /* what is queued is whole, and goes out */
        return err;
    }
    protobuf_c_message_pack(message, to + MM_GRPC_PREFIX_LEN);
    sent_len = shrink(call, to + MM_GRPC_PREFIX_LEN, len);
    mm_grpc_prefix(sent_len < len, (uint32_t)sent_len, to);
    mm_buf_grew(&call->out, MM_GRPC_PREFIX_LEN + sent_len);
    call->h2->queued += MM_GRPC_PREFIX_LEN + sent_len;
    return MM_OK;
}

int mm_call_send(struct mm_call *call, const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    int r;

    if (call->state == MM_CALL_FINISHED)
        return MM_ERR_CANCELLED;
    if (len > MM_GRPC_MESSAGE_MAX)
        return MM_ERR_TOO_BIG;
    announce(call);
    r = append(call, message, len);
    if (r < 0)
        return r;
    if (!call->headers_sent)
        submit_headers(call);
    resume(call);
    if (!over_mark(call))
        return MM_OK;
    mm_call_set_blocked(call, true);
    return MM_ERR_AGAIN;
}

/* The status. */

static void encode_status(struct mm_call *call, const char *text, struct mm_bytes details)
{
    mm_grpc_percent_encode(&call->message, text, strlen(text));
    mm_grpc_base64_encode(&call->details, details.data, details.len);
    /* Out of memory here costs the client the explanation, not the status. */
    if (mm_buf_err(&call->message) < 0)
        call->message.len = 0;
    if (mm_buf_err(&call->details) < 0)
        call->details.len = 0;
}

static void encode_error(struct mm_call *call, const struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf details = MM_BUF_INIT(4096);
    struct mm_errinfo told = *ei;

    /* What is wrong with a field is about what the client has sent. */
    if (!told.field[0] && !mm_peer_sees_paths(call->h2->peer))
        mm_text_hide_paths(told.text);
    if (told.retry_ms)
        snprintf(call->pushback, sizeof(call->pushback), "%u", told.retry_ms);
    if (!call->h2->core->bare_errors)
        mm_grpc_details_pack(&told, &details);
    if (mm_buf_err(&details) < 0)
        details.len = 0;
    encode_status(call, told.text, (struct mm_bytes){details.data, details.len});
}

static void log_error(struct mm_call *call, const struct mm_errinfo *ei)
{
    uint64_t suppressed;

    if (!mm_core_may_log(call->h2->core, &suppressed))
        return;
    mm_log(MM_LOG_INFO, "call_failed", MM_STR("request", mm_call_id(call)),
           MM_STR("client", call->h2->peer->name), MM_STR("address", call->h2->peer->address),
           MM_STR("method", call->rpc ? call->rpc->path : ""),
           MM_STR("status", mm_grpc_status_name(call->status)), MM_STR("reason", ei->reason),
           MM_UINT("detail", ei->detail), MM_STR("text", ei->text),
           MM_UINT("suppressed", suppressed));
}

/* The status is known: sends it, after what is queued. */
static void submit_end(struct mm_call *call)
{
    /* Metadata of the service's must come first: clients take a Trailers-Only as trailers alone. */
    if (!call->headers_sent && call->status != MM_GRPC_OK && call->n_headers == 0) {
        submit_trailers_only(call);
        return;
    }
    if (!call->headers_sent)
        submit_headers(call); /* no messages */
    resume(call);
}

void mm_call_end(struct mm_call *call, const struct mm_errinfo *ei)
{
    call->state = MM_CALL_FINISHED;
    if (ei && ei->code != MM_OK) {
        call->status = mm_grpc_status_of(ei->code);
        encode_error(call, ei);
        log_error(call, ei);
    }
    submit_end(call);
}

void mm_call_finish(struct mm_call *call, const struct mm_errinfo *ei)
{
    struct mm_errinfo none = {0};

    call->in_service = false;
    if (call->state == MM_CALL_FINISHED)
        return;
    if ((!ei || ei->code == MM_OK) && call->rpc->shape == MM_RPC_UNARY && !call->headers_sent) {
        mm_fail(&none, MM_ERR_INTERNAL, "NO_RESPONSE", "the method gave no response");
        ei = &none;
    }
    mm_call_end(call, ei);
}

void mm_call_finish_status(struct mm_call *call, enum mm_grpc_status status, const char *text,
                           struct mm_bytes details)
{
    struct mm_errinfo ei = {0};

    if (status == MM_GRPC_OK || call->state == MM_CALL_FINISHED) {
        mm_call_finish(call, NULL);
        return;
    }
    call->in_service = false;
    call->state = MM_CALL_FINISHED;
    call->status = status <= MM_GRPC_UNAUTHENTICATED ? status : MM_GRPC_UNKNOWN;
    encode_status(call, text, details);
    mm_fail(&ei, (enum mm_err)mm_grpc_status_err(status), "", "%s", text); /* for the log alone */
    log_error(call, &ei);
    submit_end(call);
}

void mm_call_reply(struct mm_call *call, const ProtobufCMessage *message)
{
    struct mm_errinfo ei = {0};
    const int r = mm_call_send(call, message);

    if (r < 0 && r != MM_ERR_AGAIN)
        mm_fail(&ei, (enum mm_err)r, "RESPONSE_NOT_SENT", "the response does not fit");
    mm_call_finish(call, &ei);
}
