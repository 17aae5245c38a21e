/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/interop/conformance/exchange.h"

#include "client/call.h"
#include "daemon/base/clock.h"
#include "proto/grpc/text.h"

#include "connectrpc/conformance/v1/client_compat.pb-c.h"
#include "google/rpc/status.pb-c.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef Connectrpc__Conformance__V1__ClientCompatRequest compat_request;
typedef Connectrpc__Conformance__V1__ClientCompatResponse compat_response;

enum { EXCHANGE_MAX = 256 /* headers, trailers, responses; more are not kept */ };

struct exchange {
    const compat_request *request;
    struct mintmark *client;
    struct mm_client_call *call;
    int64_t deadline_us;
    bool ended;
    compat_response response; /* to be sent; borrows from all that follows */
    Connectrpc__Conformance__V1__ClientResponseResult result;
    Connectrpc__Conformance__V1__ClientErrorResult failure;
    Connectrpc__Conformance__V1__Error error;
    struct mintmark_error why;
    char text[4096];
    Google__Rpc__Status *status;
    size_t n_messages;
    Connectrpc__Conformance__V1__UnaryResponse *messages[EXCHANGE_MAX];
    Connectrpc__Conformance__V1__ConformancePayload *payloads[EXCHANGE_MAX];
    Connectrpc__Conformance__V1__ConformancePayload empty;
    struct exchange_headers {
        size_t n;
        Connectrpc__Conformance__V1__Header headers[EXCHANGE_MAX], *pointers[EXCHANGE_MAX];
    } headers, trailers;
};

typedef Connectrpc__Conformance__V1__ClientCompatRequest__Cancel cancel_timing;
typedef Connectrpc__Conformance__V1__Header header;

enum { METADATA_MAX = 64, DECODED_MAX = 64 * 1024 };

#define STREAM(name) CONNECTRPC__CONFORMANCE__V1__STREAM_TYPE__STREAM_TYPE_##name
#define TIMING(name)                                                                               \
    CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_REQUEST__CANCEL__CANCEL_TIMING_##name

/* The call can't be made. */
static bool fail(struct exchange *x, const char *text)
{
    snprintf(x->text, sizeof(x->text), "%s", text);
    x->failure.message = x->text;
    x->response.error = &x->failure;
    x->response.result_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__RESULT_ERROR;
    return false;
}

/* Making the client: its files are in memory. */

struct files {
    int fds[3];
    char paths[3][32];
};

static const char *file_of(struct files *files, unsigned i, const ProtobufCBinaryData *data)
{
    if (data->len == 0)
        return NULL;
    files->fds[i] = memfd_create("credential", MFD_CLOEXEC);
    if (files->fds[i] < 0 || write(files->fds[i], data->data, data->len) != (ssize_t)data->len)
        return NULL;
    snprintf(files->paths[i], sizeof(files->paths[i]), "/proc/self/fd/%d", files->fds[i]);
    return files->paths[i];
}

static bool make_client(struct exchange *x)
{
    const compat_request *request = x->request;
    const bool tls = request->server_tls_cert.len > 0;
    struct files files = {.fds = {-1, -1, -1}};
    struct mintmark_options options = {.target = NULL};
    struct mintmark_error error;
    char target[300];
    int r;

    snprintf(target, sizeof(target), strchr(request->host, ':') ? "[%s]:%u" : "%s:%u",
             request->host, request->port);
    options.target = target;
    if (tls)
        options.ca_file = file_of(&files, 0, &request->server_tls_cert);
    if (request->client_tls_creds) {
        options.certificate_file = file_of(&files, 1, &request->client_tls_creds->cert);
        options.key_file = file_of(&files, 2, &request->client_tls_creds->key);
    }
    r = mm_client_new(&options, tls ? MM_CLIENT_TLS : MM_CLIENT_CLEARTEXT, &x->client, &error);
    for (unsigned i = 0; i < 3; i++)
        if (files.fds[i] >= 0)
            close(files.fds[i]);
    return r == 0 || fail(x, error.message);
}

/* Making the call. */

static bool add_metadata(const header *from, struct mm_field *fields, size_t *n,
                         struct mm_buf *decoded)
{
    const size_t len = strlen(from->name);
    const bool binary = len > 4 && strcmp(from->name + len - 4, "-bin") == 0;

    for (size_t i = 0; i < from->n_value; i++) {
        const char *value = from->value[i];
        const size_t at = decoded->len;

        if (*n == METADATA_MAX)
            return false;
        fields[*n] = (struct mm_field){from->name, {(const uint8_t *)value, strlen(value)}};
        if (binary) {
            if (mm_grpc_base64_decode(decoded, value, strlen(value)) < 0)
                return false;
            fields[*n].value = (struct mm_bytes){decoded->data + at, decoded->len - at};
        }
        ++*n;
    }
    return true;
}

/* HTTP/2 writes names so (RFC 9113 section 8.2); the suite writes them as HTTP/1 does. */
static void lower(char *name)
{
    for (; *name; name++)
        *name = (char)tolower((unsigned char)*name);
}

static bool make_call(struct exchange *x)
{
    const compat_request *request = x->request;
    MM_BUF_CLEANUP struct mm_buf decoded = MM_BUF_INIT(DECODED_MAX);
    struct mm_field fields[METADATA_MAX];
    struct mm_client_call_options options = {.deadline_us = INT64_MAX};
    struct mintmark_error error;
    char path[512];
    size_t n = 0;

    /* It must not move while fields point into it. */
    if (!mm_buf_reserve(&decoded, DECODED_MAX))
        return fail(x, "out of memory");
    for (size_t i = 0; i < request->n_request_headers; i++) {
        lower(request->request_headers[i]->name);
        if (!add_metadata(request->request_headers[i], fields, &n, &decoded))
            return fail(x, "metadata that can't be sent");
    }
    if (!request->service || !request->method)
        return fail(x, "no method");
    snprintf(path, sizeof(path), "/%s/%s", request->service, request->method);
    if (request->_timeout_ms_case != 0)
        options.deadline_us = mm_clock_mono_us() + (int64_t)request->timeout_ms * 1000;
    x->deadline_us = options.deadline_us;
    options.stream = (struct mm_stream_options){
        .path = path,
        .metadata = fields,
        .n_metadata = n,
        .receive_max = request->message_receive_limit,
        .single =
            request->stream_type == STREAM(UNARY) || request->stream_type == STREAM(CLIENT_STREAM),
        .gzip = request->compression == CONNECTRPC__CONFORMANCE__V1__COMPRESSION__COMPRESSION_GZIP,
    };
    return mm_client_call_new(x->client, &options, &x->call, &error) == 0 || fail(x, error.message);
}

/* Running it. */

/* Lets the connection go on for so long. */
static void pause_ms(struct exchange *x, uint32_t ms)
{
    const int64_t until_us = mm_clock_mono_us() + (int64_t)ms * 1000;
    int64_t now_us;

    while ((now_us = mm_clock_mono_us()) < until_us)
        if (now_us >= x->deadline_us)
            (void)mm_client_sleep(x->client, (uint32_t)((until_us - now_us) / 1000 + 1), NULL);
        else
            (void)mm_client_wait(x->client, until_us, NULL);
}

/* false: the call has ended before. */
static bool send_request(struct exchange *x, size_t i)
{
    const ProtobufCBinaryData *value = &x->request->request_messages[i]->value;
    const struct mm_bytes message = {value->data, value->len};
    int r;

    while ((r = mm_client_call_send(x->call, &message, true)) == MM_ERR_AGAIN) {
        if (mm_clock_mono_us() >= x->deadline_us)
            return false;
        (void)mm_client_wait(x->client, INT64_MAX, NULL);
    }
    return r == MM_OK;
}

static bool keep_payload(struct exchange *x, const struct mm_bytes *bytes)
{
    Connectrpc__Conformance__V1__UnaryResponse *message;

    if (x->n_messages == EXCHANGE_MAX)
        return false;
    /* The responses of all methods look the same. */
    message = connectrpc__conformance__v1__unary_response__unpack(NULL, bytes->len, bytes->data);
    if (!message)
        return false;
    x->payloads[x->n_messages] = message->payload ? message->payload : &x->empty;
    x->messages[x->n_messages++] = message;
    return true;
}

static void note_end(struct exchange *x, const struct mm_stream_end *end);

/* Waits for the next response. false: the call has ended. */
static bool receive(struct exchange *x)
{
    const cancel_timing *cancel = x->request->cancel;
    const struct mm_stream_end *end;
    struct mm_bytes message;
    int r;

    while ((r = mm_client_call_next(x->call, &message, &end)) == MM_ERR_AGAIN)
        (void)mm_client_wait(x->client, INT64_MAX, NULL);
    if (r == MM_ERR_EOF) {
        note_end(x, end);
        return false;
    }
    if (!keep_payload(x, &message)) {
        struct mm_stream_end bad = {.unprocessed = false};

        mm_client_fail(&bad.error, MINTMARK_INTERNAL, "BAD_RESPONSE", "unreadable response");
        note_end(x, &bad);
        return false;
    }
    if (cancel && cancel->cancel_timing_case == TIMING(AFTER_NUM_RESPONSES) &&
        cancel->after_num_responses == x->n_messages)
        mm_client_call_cancel(x->call);
    return true;
}

static bool is_stream_of_requests(const compat_request *request)
{
    return request->stream_type != STREAM(UNARY) && request->stream_type != STREAM(SERVER_STREAM);
}

static void send_requests(struct exchange *x)
{
    const compat_request *request = x->request;
    const bool in_turn = request->stream_type == STREAM(FULL_DUPLEX_BIDI_STREAM);

    for (size_t i = 0; i < request->n_request_messages && !x->ended; i++) {
        if (is_stream_of_requests(request))
            pause_ms(x, request->request_delay_ms);
        if (!send_request(x, i)) {
            x->result.num_unsent_requests = (int32_t)(request->n_request_messages - i);
            return;
        }
        if (in_turn && !receive(x))
            x->result.num_unsent_requests = (int32_t)(request->n_request_messages - i - 1);
    }
}

static void close_requests(struct exchange *x)
{
    const cancel_timing *cancel = x->request->cancel;

    if (cancel && cancel->cancel_timing_case == TIMING(BEFORE_CLOSE_SEND)) {
        pause_ms(x, 1);
        mm_client_call_cancel(x->call);
    }
    mm_client_call_half_close(x->call);
    if (cancel && (cancel->cancel_timing_case == TIMING(AFTER_CLOSE_SEND_MS) ||
                   cancel->cancel_timing_case == TIMING(_NOT_SET))) {
        pause_ms(x, cancel->after_close_send_ms);
        mm_client_call_cancel(x->call);
    }
}

/* Telling of it. */

static char *dup_bytes(const struct mm_bytes *bytes)
{
    char *text = strndup((const char *)bytes->data, bytes->len);

    if (!text)
        abort();
    return text;
}

/* The header of that name, a new one if need be; NULL when there are too many. */
static header *find_header(struct exchange_headers *headers, const struct mm_bytes *name)
{
    header *h;

    for (size_t i = 0; i < headers->n; i++)
        if (strlen(headers->headers[i].name) == name->len &&
            memcmp(headers->headers[i].name, name->data, name->len) == 0)
            return &headers->headers[i];
    if (headers->n == EXCHANGE_MAX)
        return NULL;
    h = headers->pointers[headers->n] = &headers->headers[headers->n];
    headers->n++;
    connectrpc__conformance__v1__header__init(h);
    h->name = dup_bytes(name);
    return h;
}

static void note_fields(const struct mm_buf *fields, struct exchange_headers *to)
{
    struct mm_bytes name, value;
    size_t pos = 0;

    while (mm_fields_next(fields, &pos, &name, &value)) {
        header *h = find_header(to, &name);
        char **values = h ? reallocarray(h->value, h->n_value + 1, sizeof(*values)) : NULL;

        if (!values)
            return;
        h->value = values;
        h->value[h->n_value++] = dup_bytes(&value);
    }
}

static void note_error(struct exchange *x, const struct mintmark_error *error)
{
    const struct mm_stream *stream = mm_client_call_stream(x->call);
    const struct mm_bytes text = mm_stream_status_text(stream);
    const struct mm_bytes details = mm_stream_status_details(stream);

    x->why = *error;
    if (text.len > 0)
        snprintf(x->text, sizeof(x->text), "%.*s", (int)text.len, (const char *)text.data);
    else
        snprintf(x->text, sizeof(x->text), "%s", error->reason[0] ? error->message : "");
    x->error.code = (Connectrpc__Conformance__V1__Code)error->status;
    x->error.message = x->text;
    x->error._message_case = CONNECTRPC__CONFORMANCE__V1__ERROR___MESSAGE_MESSAGE;
    if (details.len > 0)
        x->status = google__rpc__status__unpack(NULL, details.len, details.data);
    if (x->status) {
        x->error.n_details = x->status->n_details;
        x->error.details = x->status->details;
    }
    x->result.error = &x->error;
}

static void note_end(struct exchange *x, const struct mm_stream_end *end)
{
    const struct mm_stream *stream = mm_client_call_stream(x->call);
    const bool single = x->request->stream_type == STREAM(UNARY) ||
                        x->request->stream_type == STREAM(CLIENT_STREAM);

    x->ended = true;
    note_fields(mm_stream_headers(stream), &x->headers);
    note_fields(mm_stream_trailers(stream), &x->trailers);
    x->result.response_headers = x->headers.pointers;
    x->result.n_response_headers = x->headers.n;
    x->result.response_trailers = x->trailers.pointers;
    x->result.n_response_trailers = x->trailers.n;
    if (end->error.status != MINTMARK_OK)
        note_error(x, &end->error);
    x->result.payloads = x->payloads;
    x->result.n_payloads = single && x->result.error ? 0 : x->n_messages;
    x->response.response = &x->result;
    x->response.result_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__RESULT_RESPONSE;
}

static void run(const compat_request *request, struct exchange *x)
{
    memset(x, 0, sizeof(*x));
    x->request = request;
    connectrpc__conformance__v1__client_compat_response__init(&x->response);
    connectrpc__conformance__v1__client_response_result__init(&x->result);
    connectrpc__conformance__v1__client_error_result__init(&x->failure);
    connectrpc__conformance__v1__error__init(&x->error);
    connectrpc__conformance__v1__conformance_payload__init(&x->empty);
    x->response.test_name = request->test_name;
    if (!make_client(x) || !make_call(x))
        return;
    send_requests(x);
    if (!x->ended)
        close_requests(x);
    while (!x->ended)
        (void)receive(x);
}

static void done(struct exchange *exchange)
{
    struct exchange_headers *both[] = {&exchange->headers, &exchange->trailers};

    for (size_t i = 0; i < 2; i++)
        for (size_t n = 0; n < both[i]->n; n++) {
            header *h = &both[i]->headers[n];

            for (size_t v = 0; v < h->n_value; v++)
                free(h->value[v]);
            free(h->value);
            free(h->name);
        }
    for (size_t i = 0; i < exchange->n_messages; i++)
        connectrpc__conformance__v1__unary_response__free_unpacked(exchange->messages[i], NULL);
    google__rpc__status__free_unpacked(exchange->status, NULL);
    mm_client_call_free(exchange->call);
    mintmark_free(exchange->client);
}

bool exchange_run(const uint8_t *data, size_t len, struct mm_buf *out)
{
    compat_request *request =
        connectrpc__conformance__v1__client_compat_request__unpack(NULL, len, data);
    struct exchange x;
    uint8_t *to;

    if (!request)
        return false;
    run(request, &x);
    len = connectrpc__conformance__v1__client_compat_response__get_packed_size(&x.response);
    to = mm_buf_reserve(out, len);
    if (to)
        mm_buf_grew(out,
                    connectrpc__conformance__v1__client_compat_response__pack(&x.response, to));
    done(&x);
    connectrpc__conformance__v1__client_compat_request__free_unpacked(request, NULL);
    return true;
}
