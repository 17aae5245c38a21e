/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/interop/conformance/service.h"

#include "daemon/base/clock.h"
#include "proto/grpc/text.h"

#include "connectrpc/conformance/v1/service.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Connectrpc__Conformance__V1__UnaryRequest unary_request;
typedef Connectrpc__Conformance__V1__IdempotentUnaryRequest idempotent_request;
typedef Connectrpc__Conformance__V1__ServerStreamRequest server_stream_request;
typedef Connectrpc__Conformance__V1__ClientStreamRequest client_stream_request;
typedef Connectrpc__Conformance__V1__BidiStreamRequest bidi_request;
typedef Connectrpc__Conformance__V1__UnaryResponseDefinition unary_definition;
typedef Connectrpc__Conformance__V1__StreamResponseDefinition stream_definition;
typedef Connectrpc__Conformance__V1__ConformancePayload payload;
typedef Connectrpc__Conformance__V1__ConformancePayload__RequestInfo request_info;
typedef Connectrpc__Conformance__V1__Header header;
typedef Connectrpc__Conformance__V1__Error error;
typedef Google__Protobuf__Any any;

enum { REQUESTS_MAX = 64, HEADERS_MAX = 64 };

/* A call under way. Its definition is a copy of its own, for messages are wiped after their turn.
 */
struct work {
    struct mm_call *call; /* NULL: over, and waits for its timer to close */
    uv_timer_t timer;
    ProtobufCMessage *definition; /* one of the two, or NULL: nothing was said */
    const ProtobufCBinaryData *data;
    size_t n_data; /* responses to give; an undefined unary one has no data */
    unsigned delay_ms;
    const error *error;
    bool defined; /* the first request has come */
    bool full_duplex;
    size_t due, sent; /* responses */
    bool waiting;     /* for the timer: it is the next response's, or the error's */
    bool waited;
    bool full; /* mm_call_send said stop */
    bool last; /* of the requests */
    any *requests[REQUESTS_MAX];
    size_t n_requests; /* since the response before */
};

/* A test program has nothing better to do without memory. */
static void *needed(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

static void *copied(const void *data, size_t len)
{
    uint8_t *copy = needed(malloc(len + 1));

    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = 0;
    return copy;
}

/* Requests, and headers, as they are told back. */

static any *any_of(const ProtobufCMessage *message)
{
    any *a = needed(malloc(sizeof(*a)));
    char url[128];

    google__protobuf__any__init(a);
    snprintf(url, sizeof(url), "type.googleapis.com/%s", message->descriptor->name);
    a->type_url = copied(url, strlen(url));
    a->value.len = protobuf_c_message_get_packed_size(message);
    a->value.data = needed(malloc(a->value.len + 1));
    protobuf_c_message_pack(message, a->value.data);
    return a;
}

static void forget_requests(struct work *w)
{
    while (w->n_requests > 0)
        google__protobuf__any__free_unpacked(w->requests[--w->n_requests], NULL);
}

static bool is_binary(const char *name)
{
    const size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, "-bin") == 0;
}

static char *value_text(const struct mm_metadata *m, const char *name)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_HEADER_LIST_MAX * 2);

    if (!is_binary(name))
        return copied(m->value.data, m->value.len);
    mm_grpc_base64_encode(&text, m->value.data, m->value.len);
    return copied(text.data, text.len);
}

static header *header_of(header **all, size_t *n, char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(all[i]->name, name) == 0) {
            free(name);
            return all[i];
        }
    all[*n] = needed(malloc(sizeof(header)));
    connectrpc__conformance__v1__header__init(all[*n]);
    all[*n]->name = name;
    return all[(*n)++];
}

static size_t take_headers(const struct mm_call *call, header **all)
{
    struct mm_metadata m;
    size_t n = 0, pos = 0;

    while (n < HEADERS_MAX && mm_call_next_metadata(call, &pos, &m)) {
        char *name = copied(m.name.data, m.name.len), *value = value_text(&m, name);
        header *h = header_of(all, &n, name);

        h->value = needed(realloc(h->value, (h->n_value + 1) * sizeof(*h->value)));
        h->value[h->n_value++] = value;
    }
    return n;
}

static void free_headers(header **all, size_t n)
{
    while (n > 0)
        connectrpc__conformance__v1__header__free_unpacked(all[--n], NULL);
}

static void fill_info(struct work *w, request_info *info, header **headers)
{
    const int64_t deadline = mm_call_deadline_us(w->call);
    const int64_t left = deadline - mm_clock_mono_us();

    connectrpc__conformance__v1__conformance_payload__request_info__init(info);
    info->requests = w->requests;
    info->n_requests = w->n_requests;
    if (w->sent > 0)
        return;
    info->request_headers = headers;
    info->n_request_headers = take_headers(w->call, headers);
    if (deadline == INT64_MAX)
        return;
    info->_timeout_ms_case =
        CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__REQUEST_INFO___TIMEOUT_MS_TIMEOUT_MS;
    info->timeout_ms = left > 0 ? left / 1000 : 0;
}

/* Answers. */

static void on_closed(uv_handle_t *handle)
{
    struct work *w = handle->data;

    forget_requests(w);
    if (w->definition)
        protobuf_c_message_free_unpacked(w->definition, NULL);
    free(w);
}

static void drop(struct work *w)
{
    w->call = NULL;
    uv_close((uv_handle_t *)&w->timer, on_closed);
}

static void finish_with_error(struct work *w)
{
    const char *text = w->error->message ? w->error->message : "";
    MM_BUF_CLEANUP struct mm_buf details = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    const size_t n = w->error->n_details;
    any **all = needed(calloc(n + 1, sizeof(*all))), *own = NULL;
    Google__Rpc__Status status = GOOGLE__RPC__STATUS__INIT;
    header *headers[HEADERS_MAX];
    request_info info;
    uint8_t *to;

    for (size_t i = 0; i < n; i++)
        all[i] = w->error->details[i];
    if (w->sent == 0) {
        fill_info(w, &info, headers);
        own = all[n] = any_of(&info.base);
        free_headers(headers, info.n_request_headers);
    }
    status.code = (int32_t)w->error->code;
    status.message = (char *)(uintptr_t)text;
    status.details = all;
    status.n_details = n + (own ? 1 : 0);
    to = mm_buf_reserve(&details, google__rpc__status__get_packed_size(&status));
    if (to)
        mm_buf_grew(&details, google__rpc__status__pack(&status, to));
    mm_call_finish_status(w->call, (enum mm_grpc_status)w->error->code, text,
                          (struct mm_bytes){details.data, details.len});
    if (own)
        google__protobuf__any__free_unpacked(own, NULL);
    free(all);
}

static void finish(struct work *w)
{
    if (w->error && w->error->code != CONNECTRPC__CONFORMANCE__V1__CODE__CODE_UNSPECIFIED)
        finish_with_error(w);
    else
        mm_call_finish(w->call, NULL);
    drop(w);
}

/* All responses are a payload and nothing else, as field 1. */
static int send_next(struct work *w)
{
    Connectrpc__Conformance__V1__UnaryResponse response =
        CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE__INIT;
    payload p = CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__INIT;
    header *headers[HEADERS_MAX];
    request_info info = {.n_request_headers = 0};
    int r;

    response.payload = &p;
    if (w->data)
        p.data = w->data[w->sent];
    if (w->sent == 0 || w->full_duplex) {
        fill_info(w, &info, headers);
        p.request_info = &info;
    }
    r = mm_call_send(w->call, &response.base);
    free_headers(headers, info.n_request_headers);
    forget_requests(w);
    w->sent++;
    return r;
}

static void go_on(struct work *w);

static void on_timer(uv_timer_t *timer)
{
    struct work *w = timer->data;

    w->waiting = false;
    w->waited = true;
    go_on(w);
}

/* The pause before a response, or before an error that stands in for the first. */
static bool must_wait(struct work *w)
{
    if (w->waited || w->delay_ms == 0) {
        w->waited = false;
        return false;
    }
    w->waiting = true;
    uv_timer_start(&w->timer, on_timer, w->delay_ms, 0);
    return true;
}

static void go_on(struct work *w)
{
    while (w->call && !w->waiting && !w->full && w->sent < w->due) {
        int r;

        if (must_wait(w))
            return;
        r = send_next(w);
        w->full = r == MM_ERR_AGAIN;
        if (r < 0 && r != MM_ERR_AGAIN) {
            mm_call_finish_status(w->call, MM_GRPC_INTERNAL, "a response could not be sent",
                                  (struct mm_bytes){NULL, 0});
            drop(w);
            return;
        }
    }
    if (w->last && !w->waiting && !w->full && w->sent == w->due) {
        if (w->n_data == 0 && w->error && must_wait(w))
            return;
        finish(w);
    }
}

/* Definitions. */

static void add_metadata(struct work *w, header *const *all, size_t n,
                         int (*add)(struct mm_call *, const char *, struct mm_bytes))
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < all[i]->n_value; j++) {
            MM_BUF_CLEANUP struct mm_buf raw = MM_BUF_INIT(MM_HEADER_LIST_MAX);
            const char *text = all[i]->value[j];
            MM_FREE char *name = needed(strdup(all[i]->name));

            for (char *c = name; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                    *c = (char)(*c | 0x20);
            if (!is_binary(name))
                mm_buf_append(&raw, text, strlen(text));
            else if (mm_grpc_base64_decode(&raw, text, strlen(text)) < 0)
                continue;
            if (add(w->call, name, (struct mm_bytes){raw.data, raw.len}) < 0)
                fprintf(stderr, "conformance server: %s cannot be sent\n", name);
        }
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *message)
{
    any *a = any_of(message);
    ProtobufCMessage *copy =
        protobuf_c_message_unpack(message->descriptor, NULL, a->value.len, a->value.data);

    google__protobuf__any__free_unpacked(a, NULL);
    return copy;
}

static void define_unary(struct work *w, const unary_definition *definition)
{
    const unary_definition *d;

    w->n_data = 1;
    if (!definition)
        return;
    w->definition = copy_of(&definition->base);
    d = (const unary_definition *)w->definition;
    add_metadata(w, d->response_headers, d->n_response_headers, mm_call_add_header);
    add_metadata(w, d->response_trailers, d->n_response_trailers, mm_call_add_trailer);
    w->delay_ms = d->response_delay_ms;
    if (d->response_case ==
        CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_ERROR) {
        w->error = d->error;
        w->n_data = 0;
    } else if (d->response_case ==
               CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_RESPONSE_DATA) {
        w->data = &d->response_data;
    }
}

static void define_stream(struct work *w, const stream_definition *definition)
{
    const stream_definition *d;

    if (!definition)
        return;
    w->definition = copy_of(&definition->base);
    d = (const stream_definition *)w->definition;
    add_metadata(w, d->response_headers, d->n_response_headers, mm_call_add_header);
    add_metadata(w, d->response_trailers, d->n_response_trailers, mm_call_add_trailer);
    w->delay_ms = d->response_delay_ms;
    w->error = d->error;
    w->data = d->response_data;
    w->n_data = d->n_response_data;
}

/* The RPCs. */

static void on_cancel(MM_UNUSED struct mm_call *call, void *user)
{
    drop(user);
}

static void on_writable(MM_UNUSED struct mm_call *call, void *user)
{
    struct work *w = user;

    w->full = false;
    go_on(w);
}

static void start(struct mm_call *call)
{
    static const struct mm_call_ops ops = {on_cancel, on_writable};
    const struct conformance_app *app = mm_call_app(call);
    struct work *w = needed(calloc(1, sizeof(*w)));

    w->call = call;
    uv_timer_init(app->loop, &w->timer);
    w->timer.data = w;
    mm_call_set(call, &ops, w);
    mm_call_compress(call, true);
}

static void keep_request(struct work *w, const ProtobufCMessage *message)
{
    if (w->n_requests == REQUESTS_MAX)
        forget_requests(w);
    w->requests[w->n_requests++] = any_of(message);
}

static void all_requests_in(struct mm_call *call)
{
    struct work *w = mm_call_user(call);

    if (!w->defined)
        define_unary(w, NULL);
    w->last = true;
    w->due = w->n_data;
    go_on(w);
}

static void stream_half_closed(struct mm_call *call)
{
    struct work *w = mm_call_user(call);

    w->last = true;
    w->due = w->n_data;
    go_on(w);
}

static struct work *begin(struct mm_call *call, const ProtobufCMessage *message)
{
    struct work *w;

    start(call);
    w = mm_call_user(call);
    keep_request(w, message);
    w->defined = true;
    return w;
}

static void unary(struct mm_call *call, const ProtobufCMessage *message)
{
    define_unary(begin(call, message), ((const unary_request *)message)->response_definition);
    all_requests_in(call);
}

static void idempotent_unary(struct mm_call *call, const ProtobufCMessage *message)
{
    define_unary(begin(call, message), ((const idempotent_request *)message)->response_definition);
    all_requests_in(call);
}

static void server_stream(struct mm_call *call, const ProtobufCMessage *message)
{
    define_stream(begin(call, message),
                  ((const server_stream_request *)message)->response_definition);
    stream_half_closed(call);
}

static void client_stream_message(struct mm_call *call, const ProtobufCMessage *message)
{
    struct work *w = mm_call_user(call);

    keep_request(w, message);
    if (!w->defined)
        define_unary(w, ((const client_stream_request *)message)->response_definition);
    w->defined = true;
}

static void bidi_message(struct mm_call *call, const ProtobufCMessage *message)
{
    const bidi_request *request = (const bidi_request *)message;
    struct work *w = mm_call_user(call);

    keep_request(w, message);
    if (!w->defined) {
        define_stream(w, request->response_definition);
        w->full_duplex = request->full_duplex;
    }
    w->defined = true;
    if (!w->full_duplex)
        return;
    if (w->due < w->n_data)
        w->due++;
    else
        w->last = true; /* asked for more than there is: the end */
    go_on(w);
}

#define PATH "/connectrpc.conformance.v1.ConformanceService/"
const struct mm_rpc conformance_rpcs[] = {
    {PATH "Unary", MM_RPC_UNARY, 0, &connectrpc__conformance__v1__unary_request__descriptor, NULL,
     unary, NULL, true},
    {PATH "IdempotentUnary", MM_RPC_UNARY, 0,
     &connectrpc__conformance__v1__idempotent_unary_request__descriptor, NULL, idempotent_unary,
     NULL, true},
    {PATH "ServerStream", MM_RPC_SERVER_STREAM, 0,
     &connectrpc__conformance__v1__server_stream_request__descriptor, NULL, server_stream, NULL,
     true},
    {PATH "ClientStream", MM_RPC_CLIENT_STREAM, 0,
     &connectrpc__conformance__v1__client_stream_request__descriptor, start, client_stream_message,
     all_requests_in, true},
    {PATH "BidiStream", MM_RPC_BIDI, 0,
     &connectrpc__conformance__v1__bidi_stream_request__descriptor, start, bidi_message,
     stream_half_closed, true},
};
const size_t conformance_n_rpcs = MM_ARRAY_SIZE(conformance_rpcs);
