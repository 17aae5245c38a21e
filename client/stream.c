/* SPDX-License-Identifier: Apache-2.0 */
#include "client/stream.h"

#include "daemon/base/limits.h"
#include "proto/grpc/gzip.h"
#include "proto/grpc/text.h"

#include <string.h>

enum {
    /* Requests that wait to be sent: with more, the caller has to wait, too. */
    SEND_MARK = 256 * 1024,
    /* Requests that are kept for another try: the largest message fits. */
    REPLAY_MAX = MM_GRPC_MESSAGE_MAX + 64 * 1024,
    REQUEST_MAX = REPLAY_MAX + 2 * SEND_MARK,
    FIELD_OVERHEAD = 32, /* RFC 9113 section 6.5.2: what a field counts beyond name and value */
    OWN_FIELDS = 12,
};

void mm_stream_end_with(struct mm_stream *stream, const struct mintmark_error *error,
                        bool unprocessed)
{
    if (stream->ended)
        return;
    stream->ended = true;
    stream->end = (struct mm_stream_end){.error = *error, .unprocessed = unprocessed};
}

void mm_stream_reset(struct mm_stream *stream, uint32_t error_code,
                     const struct mintmark_error *error)
{
    mm_stream_end_with(stream, error, false);
    /* Fails only for want of memory; the stream's window then stays closed, which is enough. */
    (void)nghttp2_submit_rst_stream(stream->session->http2, NGHTTP2_FLAG_NONE, stream->id,
                                    error_code);
}

void mm_stream_fail(struct mm_stream *stream, enum mintmark_status status, const char *reason,
                    const char *text)
{
    struct mintmark_error error;

    mm_client_fail(&error, status, reason, "%s", text);
    if (stream->session)
        mm_stream_reset(stream, NGHTTP2_CANCEL, &error);
    else
        mm_stream_end_with(stream, &error, false);
}

static size_t metadata_bytes(const struct mm_stream *stream, size_t *ret_count)
{
    struct mm_bytes name, value;
    size_t pos = 0, bytes = 0;

    for (*ret_count = 0; mm_fields_next(&stream->metadata, &pos, &name, &value); ++*ret_count)
        bytes += name.len + value.len + FIELD_OVERHEAD;
    return bytes;
}

static int fail_metadata(int code, struct mintmark_error *error)
{
    if (code == MM_ERR_INVALID)
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_METADATA",
                              "metadata with a name or value that is not allowed");
    if (code == MM_ERR_TOO_BIG)
        return mm_client_fail(error, MINTMARK_RESOURCE_EXHAUSTED, "METADATA_TOO_BIG",
                              "more metadata than the limit");
    return mm_client_fail_memory(error);
}

static void release(struct mm_stream *stream)
{
    free(stream->path);
    mm_buf_done(&stream->metadata);
    mm_buf_done(&stream->request);
    mm_buf_done(&stream->pending);
    mm_response_done(&stream->response);
    mm_grpc_deframer_done(&stream->deframer);
    mm_buf_done(&stream->plain);
    free(stream);
}

int mm_stream_new(const struct mm_stream_options *options, struct mm_stream **ret_stream,
                  struct mintmark_error *error)
{
    MM_CLEANUP(mm_stream_free_p) struct mm_stream *stream = calloc(1, sizeof(*stream));
    size_t count;
    int r;

    if (!stream)
        return mm_client_fail_memory(error);
    stream->single = options->single;
    stream->gzip = options->gzip;
    stream->receive_max = options->receive_max ? options->receive_max : MM_GRPC_MESSAGE_MAX;
    stream->metadata = MM_BUF_INIT(MM_HEADER_LIST_MAX);
    stream->request = MM_BUF_INIT(REQUEST_MAX);
    stream->pending = MM_BUF_INIT(MM_STREAM_WINDOW);
    stream->plain = MM_BUF_INIT(stream->receive_max);
    mm_response_init(&stream->response);
    mm_grpc_deframer_init(&stream->deframer, stream->receive_max);
    stream->path = strdup(options->path);
    if (!stream->path)
        return mm_client_fail_memory(error);
    r = mm_fields_encode(&stream->metadata, options->metadata, options->n_metadata);
    if (r == MM_OK && metadata_bytes(stream, &count) > MM_HEADER_LIST_MAX)
        r = MM_ERR_TOO_BIG;
    if (r < 0)
        return fail_metadata(r, error);
    *ret_stream = MM_TAKE(stream);
    return 0;
}

/* From its session, which forgets it. */
static void leave(struct mm_stream *stream)
{
    nghttp2_session *http2;

    if (!stream->session)
        return;
    http2 = stream->session->http2;
    if (!stream->closed) {
        (void)nghttp2_session_set_stream_user_data(http2, stream->id, NULL);
        /* Also when the server has answered before it had read everything. */
        (void)nghttp2_submit_rst_stream(http2, NGHTTP2_FLAG_NONE, stream->id,
                                        stream->ended ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL);
    }
    LIST_REMOVE(stream, entry);
    stream->session = NULL;
}

void mm_stream_free(struct mm_stream *stream)
{
    if (!stream)
        return;
    leave(stream);
    release(stream);
}

/* Starting. */

bool mm_stream_restartable(const struct mm_stream *stream)
{
    return stream->ended && stream->end.unprocessed && !stream->end.final && !stream->headers_in &&
           !stream->dropped;
}

void mm_stream_rewind(struct mm_stream *stream)
{
    leave(stream);
    stream->id = 0;
    stream->sent = stream->deferred = stream->ended = stream->closed = false;
    stream->request_at = 0;
    mm_response_reset(&stream->response);
    mm_buf_reset(&stream->pending);
    stream->pending_at = 0;
    mm_grpc_deframer_done(&stream->deframer);
    mm_grpc_deframer_init(&stream->deframer, stream->receive_max);
}

static ssize_t take_request(struct mm_stream *stream, uint8_t *to, size_t size, uint32_t *flags)
{
    size_t n = stream->request.len - stream->request_at;

    if (n > size)
        n = size;
    if (n > 0)
        memcpy(to, stream->request.data + stream->request_at, n);
    stream->request_at += n;
    if (stream->request_at < stream->request.len)
        return (ssize_t)n;
    if (stream->headers_in || stream->dropped) {
        stream->dropped |= stream->request.len > 0;
        mm_buf_reset(&stream->request);
        stream->request_at = 0;
    }
    if (stream->half_closed) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (n == 0) {
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static ssize_t read_request(nghttp2_session *http2, int32_t id, uint8_t *to, size_t size,
                            uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct mm_stream *stream = nghttp2_session_get_stream_user_data(http2, id);

    (void)source;
    (void)arg;
    return stream ? take_request(stream, to, size, flags) : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 copies names and values when the request is submitted. */
static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

static size_t add_metadata(const struct mm_stream *stream, nghttp2_nv *fields, size_t n)
{
    struct mm_bytes name, value;
    size_t pos = 0;

    while (mm_fields_next(&stream->metadata, &pos, &name, &value))
        fields[n++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.data,
                                   .value = (uint8_t *)(uintptr_t)value.data,
                                   .namelen = name.len,
                                   .valuelen = value.len,
                                   .flags = NGHTTP2_NV_FLAG_NONE};
    return n;
}

static size_t list_bytes(const nghttp2_nv *fields, size_t n)
{
    size_t bytes = 0;

    for (size_t i = 0; i < n; i++)
        bytes += fields[i].namelen + fields[i].valuelen + FIELD_OVERHEAD;
    return bytes;
}

/* The stream's id; or MM_ERR_MEMORY, or MM_ERR_TOO_BIG for the server. */
static int submit(struct mm_stream *stream, int64_t timeout_us)
{
    const nghttp2_data_provider provider = {.read_callback = read_request};
    nghttp2_session *http2 = stream->session->http2;
    char timeout[MM_GRPC_TIMEOUT_TEXT] = "";
    MM_FREE nghttp2_nv *fields = NULL;
    size_t count, n = 0;
    int32_t id;

    (void)metadata_bytes(stream, &count);
    fields = calloc(OWN_FIELDS + count, sizeof(*fields));
    if (!fields)
        return MM_ERR_MEMORY;
    fields[n++] = field(":method", "POST");
    fields[n++] = field(":scheme", stream->session->scheme);
    fields[n++] = field(":path", stream->path);
    fields[n++] = field(":authority", stream->session->authority);
    if (timeout_us != INT64_MAX)
        fields[n++] = field("grpc-timeout", mm_grpc_timeout_format(timeout_us, timeout));
    fields[n++] = field("te", "trailers");
    fields[n++] = field("content-type", "application/grpc");
    fields[n++] = field("user-agent", "grpc-c-mintmark/" MM_VERSION);
    fields[n++] = field("grpc-accept-encoding", "identity,gzip");
    if (stream->gzip)
        fields[n++] = field("grpc-encoding", "gzip");
    n = add_metadata(stream, fields, n);
    /* nghttp2 does not look at it. Servers need not say a limit. */
    if (list_bytes(fields, n) >
        nghttp2_session_get_remote_settings(http2, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE))
        return MM_ERR_TOO_BIG;
    id = nghttp2_submit_request(http2, NULL, fields, n, &provider, stream);
    return id > 0 ? id : MM_ERR_MEMORY;
}

int mm_stream_start(struct mm_stream *stream, struct mm_session *session, int64_t timeout_us,
                    struct mintmark_error *error)
{
    stream->session = session;
    stream->id = submit(stream, timeout_us);
    if (stream->id > 0) {
        LIST_INSERT_HEAD(&session->streams, stream, entry);
        return 0;
    }
    stream->session = NULL;
    if (stream->id == MM_ERR_TOO_BIG)
        return fail_metadata(stream->id, error);
    /* Only memory and stream numbers can run out. */
    session->unusable = true;
    return mm_client_fail_memory(error);
}

/* Requests. */

static void drop_sent(struct mm_stream *stream)
{
    stream->dropped |= stream->request_at > 0;
    mm_buf_consume(&stream->request, stream->request_at);
    stream->request_at = 0;
}

static int add_frame(struct mm_stream *stream, const struct mm_bytes *message, bool compressed)
{
    uint8_t prefix[MM_GRPC_PREFIX_LEN];

    if (stream->dropped || stream->request.len + sizeof(prefix) + message->len > (size_t)REPLAY_MAX)
        drop_sent(stream);
    mm_grpc_prefix(compressed, (uint32_t)message->len, prefix);
    mm_buf_append(&stream->request, prefix, sizeof(prefix));
    mm_buf_append(&stream->request, message->data, message->len);
    return mm_buf_err(&stream->request);
}

static int add_message(struct mm_stream *stream, const struct mm_bytes *message, bool compress)
{
    MM_BUF_CLEANUP struct mm_buf small = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    int r = MM_ERR_TOO_BIG;

    if (compress && stream->gzip)
        r = mm_grpc_gzip(*message, &small);
    if (r == MM_OK)
        return add_frame(stream, &(struct mm_bytes){small.data, small.len}, true);
    return r == MM_ERR_TOO_BIG ? add_frame(stream, message, false) : r;
}

/* nghttp2 asks again for what it was told to wait for. */
static void resume(struct mm_stream *stream)
{
    if (!stream->deferred)
        return;
    stream->deferred = false;
    (void)nghttp2_session_resume_data(stream->session->http2, stream->id);
}

int mm_stream_send(struct mm_stream *stream, const struct mm_bytes *message, bool compress)
{
    int r;

    if (stream->ended || stream->half_closed)
        return MM_ERR_EOF;
    if (message->len > MM_GRPC_MESSAGE_MAX)
        return MM_ERR_TOO_BIG;
    if (stream->request.len - stream->request_at >= SEND_MARK)
        return MM_ERR_AGAIN;
    r = add_message(stream, message, compress);
    if (r < 0)
        mm_stream_fail(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
    else
        resume(stream);
    return r;
}

void mm_stream_half_close(struct mm_stream *stream)
{
    if (stream->half_closed)
        return;
    stream->half_closed = true;
    if (!stream->ended)
        resume(stream);
}

void mm_stream_refuse(struct mm_stream *stream, const struct mintmark_error *why)
{
    mm_stream_end_with(stream, why, true);
}

bool mm_stream_ended(const struct mm_stream *stream)
{
    return stream->ended;
}

void mm_stream_cancel(struct mm_stream *stream, const struct mintmark_error *why)
{
    if (stream->ended)
        return;
    if (stream->session)
        mm_stream_reset(stream, NGHTTP2_CANCEL, why);
    else
        mm_stream_end_with(stream, why, false);
    /* Nobody waits for the rest. */
    mm_buf_reset(&stream->pending);
    stream->pending_at = 0;
    mm_grpc_deframer_done(&stream->deframer);
    mm_grpc_deframer_init(&stream->deframer, stream->receive_max);
}

/* Responses. */

/* What was received can't be a sequence of messages, or not the one that is due: whatever status
 * came after it, the call has failed, and nothing more is read. */
static int fail_late(struct mm_stream *stream, enum mintmark_status status, const char *reason,
                     const char *text, const struct mm_stream_end **ret_end)
{
    stream->ended = false;
    mm_stream_fail(stream, status, reason, text);
    *ret_end = &stream->end;
    return MM_ERR_EOF;
}

static int fail_framing(struct mm_stream *stream, int code, const struct mm_stream_end **ret_end)
{
    if (code == MM_ERR_TOO_BIG)
        return fail_late(stream, MINTMARK_RESOURCE_EXHAUSTED, "MESSAGE_TOO_BIG",
                         "the server sent a message larger than the limit", ret_end);
    if (code == MM_ERR_MEMORY)
        return fail_late(stream, MINTMARK_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory",
                         ret_end);
    return fail_late(stream, MINTMARK_INTERNAL, "BAD_RESPONSE",
                     "the server sent a message that is malformed or no gzip", ret_end);
}

/* The call has ended, and all that came was read: was it whole? */
static int finish(struct mm_stream *stream, const struct mm_stream_end **ret_end)
{
    struct mintmark_error *error = &stream->end.error;

    if (error->status == MINTMARK_OK && !mm_grpc_deframer_at_boundary(&stream->deframer))
        mm_client_fail(error, MINTMARK_INTERNAL, "BAD_RESPONSE",
                       "the server ended the response inside a message");
    if (error->status == MINTMARK_OK && stream->single && stream->messages == 0)
        mm_client_fail(error, MINTMARK_UNIMPLEMENTED, "BAD_RESPONSE",
                       "the server sent no message where one is due");
    *ret_end = &stream->end;
    return MM_ERR_EOF;
}

static struct mm_bytes unread(const struct mm_stream *stream)
{
    if (stream->pending.len == 0)
        return (struct mm_bytes){.len = 0};
    return (struct mm_bytes){.data = stream->pending.data + stream->pending_at,
                             .len = stream->pending.len - stream->pending_at};
}

/* The message of a frame. MM_ERR_CORRUPT when it is compressed and should not be. */
static int unfold(struct mm_stream *stream, const struct mm_grpc_frame *frame,
                  struct mm_bytes *ret_message)
{
    int r;

    mm_buf_done(&stream->plain);
    stream->compressed = frame->compressed;
    if (!frame->compressed) {
        *ret_message = frame->payload;
        return MM_OK;
    }
    if (stream->response.coding != MM_GRPC_CODING_GZIP)
        return MM_ERR_CORRUPT;
    r = mm_grpc_gunzip(frame->payload, &stream->plain);
    if (r < 0)
        return r;
    *ret_message = (struct mm_bytes){.data = stream->plain.data, .len = stream->plain.len};
    return MM_OK;
}

/* Opens the window by what was taken. Without memory it stays closed, and the deadline rules. */
static void consume(struct mm_stream *stream, size_t taken)
{
    stream->pending_at += taken;
    if (stream->session && !stream->closed)
        (void)nghttp2_session_consume_stream(stream->session->http2, stream->id, taken);
    if (stream->pending_at == stream->pending.len) {
        mm_buf_reset(&stream->pending);
        stream->pending_at = 0;
    }
}

int mm_stream_next(struct mm_stream *stream, struct mm_bytes *ret_message,
                   const struct mm_stream_end **ret_end)
{
    struct mm_bytes data = unread(stream);
    struct mm_grpc_frame frame = {.compressed = false};
    const size_t before = data.len;
    int r = MM_ERR_AGAIN;

    if (data.len > 0)
        r = mm_grpc_deframer_feed(&stream->deframer, &data, &frame);
    consume(stream, before - data.len);
    if (r == MM_OK)
        r = unfold(stream, &frame, ret_message);
    if (r == MM_OK && stream->single && stream->messages > 0)
        return fail_late(stream, MINTMARK_UNIMPLEMENTED, "BAD_RESPONSE",
                         "the server sent several messages where one is due", ret_end);
    if (r == MM_OK) {
        stream->messages += stream->messages < 2;
        return MM_OK;
    }
    if (r != MM_ERR_AGAIN)
        return fail_framing(stream, r, ret_end);
    return stream->ended ? finish(stream, ret_end) : MM_ERR_AGAIN;
}

const struct mm_buf *mm_stream_headers(const struct mm_stream *stream)
{
    return &stream->response.headers;
}

const struct mm_buf *mm_stream_trailers(const struct mm_stream *stream)
{
    return &stream->response.block;
}

struct mm_bytes mm_stream_status_text(const struct mm_stream *stream)
{
    return (struct mm_bytes){stream->response.message.data, stream->response.message.len};
}

struct mm_bytes mm_stream_status_details(const struct mm_stream *stream)
{
    return (struct mm_bytes){stream->response.details.data, stream->response.details.len};
}

bool mm_stream_was_compressed(const struct mm_stream *stream)
{
    return stream->compressed;
}
