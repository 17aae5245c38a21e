/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/interop/testclient.h"

#include "daemon/base/limits.h"
#include "proto/grpc/text.h"

#include "grpc/testing/test.pb-c.h"
#include <string.h>

typedef Grpc__Testing__SimpleRequest simple_request;
typedef Grpc__Testing__SimpleResponse simple_response;
typedef Grpc__Testing__StreamingOutputCallRequest output_request;
typedef Grpc__Testing__StreamingOutputCallResponse output_response;

enum { LARGE_REQUEST = 271828, LARGE_RESPONSE = 314159 };

static Grpc__Testing__BoolValue yes = {
    PROTOBUF_C_MESSAGE_INIT(&grpc__testing__bool_value__descriptor), 1};
static Grpc__Testing__BoolValue no = {
    PROTOBUF_C_MESSAGE_INIT(&grpc__testing__bool_value__descriptor), 0};
static uint8_t zeros[LARGE_REQUEST];

static Grpc__Testing__Payload payload_of(size_t size)
{
    Grpc__Testing__Payload payload = GRPC__TESTING__PAYLOAD__INIT;

    payload.body = (ProtobufCBinaryData){.len = size, .data = zeros};
    return payload;
}

static void check_payload(const Grpc__Testing__Payload *payload, size_t size)
{
    EXPECT(payload && payload->body.len == size);
    for (size_t i = 0; i < size; i++)
        EXPECT(payload->body.data[i] == 0);
}

static void send_empty(struct mm_client_call *call)
{
    const Grpc__Testing__Empty empty = GRPC__TESTING__EMPTY__INIT;

    call_send(call, &empty.base, false);
    mm_client_call_half_close(call);
}

/* Unary. */

static void empty_unary(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "EmptyCall", NULL, 0, 0);
    ProtobufCMessage *response;

    send_empty(call);
    response = call_receive(call, &grpc__testing__empty__descriptor);
    protobuf_c_message_free_unpacked(response, NULL);
    call_expect_end(call, MINTMARK_OK);
}

static simple_request large_request(Grpc__Testing__Payload *payload)
{
    simple_request request = GRPC__TESTING__SIMPLE_REQUEST__INIT;

    *payload = payload_of(LARGE_REQUEST);
    request.response_size = LARGE_RESPONSE;
    request.payload = payload;
    return request;
}

static void expect_large_response(struct mm_client_call *call)
{
    simple_response *response =
        (simple_response *)call_receive(call, &grpc__testing__simple_response__descriptor);

    check_payload(response->payload, LARGE_RESPONSE);
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

/* With the request's expectation, and what it meets. */
static void large(struct mintmark *client, Grpc__Testing__BoolValue *expected, bool compress,
                  enum mintmark_status status)
{
    struct mm_client_call *call = call_open(client, "UnaryCall", NULL, 0, 0);
    Grpc__Testing__Payload payload;
    simple_request request = large_request(&payload);

    request.expect_compressed = expected;
    call_send(call, &request.base, compress);
    mm_client_call_half_close(call);
    if (status == MINTMARK_OK)
        expect_large_response(call);
    call_expect_end(call, status);
}

static void large_unary(struct mintmark *client)
{
    large(client, NULL, false, MINTMARK_OK);
}

static void client_compressed_unary_noprobe(struct mintmark *client)
{
    large(client, &yes, true, MINTMARK_OK);
    large(client, &no, false, MINTMARK_OK);
}

static void client_compressed_unary(struct mintmark *client)
{
    large(client, &yes, false, MINTMARK_INVALID_ARGUMENT);
    client_compressed_unary_noprobe(client);
}

static void server_compressed_unary(struct mintmark *client)
{
    Grpc__Testing__BoolValue *wanted[] = {&yes, &no};

    for (size_t i = 0; i < 2; i++) {
        struct mm_client_call *call = call_open(client, "UnaryCall", NULL, 0, 0);
        Grpc__Testing__Payload payload;
        simple_request request = large_request(&payload);

        request.response_compressed = wanted[i];
        call_send(call, &request.base, false);
        mm_client_call_half_close(call);
        expect_large_response(call);
        EXPECT(mm_stream_was_compressed(mm_client_call_stream(call)) == (wanted[i] == &yes));
        call_expect_end(call, MINTMARK_OK);
    }
}

/* Many calls at once on one connection, the last begun ended first. */
static void concurrent_large_unary(struct mintmark *client)
{
    struct mm_client_call *calls[20]; /* 5 MiB of requests: our server takes 8 */
    Grpc__Testing__Payload payload;
    const simple_request request = large_request(&payload);

    for (size_t i = 0; i < MM_ARRAY_SIZE(calls); i++) {
        calls[i] = call_open(client, "UnaryCall", NULL, 0, 0);
        call_send(calls[i], &request.base, i % 2);
        mm_client_call_half_close(calls[i]);
    }
    for (size_t i = MM_ARRAY_SIZE(calls); i-- > 0;) {
        expect_large_response(calls[i]);
        call_expect_end(calls[i], MINTMARK_OK);
    }
}

/* Streams. */

static const int32_t request_sizes[] = {27182, 8, 1828, 45904};
static const int32_t response_sizes[] = {31415, 9, 2653, 58979};

static void expect_sum(struct mm_client_call *call, int32_t sum)
{
    Grpc__Testing__StreamingInputCallResponse *response =
        (Grpc__Testing__StreamingInputCallResponse *)call_receive(
            call, &grpc__testing__streaming_input_call_response__descriptor);

    EXPECT(response->aggregated_payload_size == sum);
    protobuf_c_message_free_unpacked(&response->base, NULL);
    call_expect_end(call, MINTMARK_OK);
}

static void send_input(struct mm_client_call *call, int32_t size,
                       Grpc__Testing__BoolValue *expected, bool compress)
{
    Grpc__Testing__StreamingInputCallRequest request =
        GRPC__TESTING__STREAMING_INPUT_CALL_REQUEST__INIT;
    Grpc__Testing__Payload payload = payload_of((size_t)size);

    request.payload = &payload;
    request.expect_compressed = expected;
    call_send(call, &request.base, compress);
}

static void client_streaming(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "StreamingInputCall", NULL, 0, 0);

    for (size_t i = 0; i < MM_ARRAY_SIZE(request_sizes); i++)
        send_input(call, request_sizes[i], NULL, false);
    mm_client_call_half_close(call);
    expect_sum(call, 74922);
}

static void client_compressed_streaming_noprobe(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "StreamingInputCall", NULL, 0, 0);

    send_input(call, 27182, &yes, true);
    send_input(call, 45904, &no, false);
    mm_client_call_half_close(call);
    expect_sum(call, 73086);
}

static void client_compressed_streaming(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "StreamingInputCall", NULL, 0, 0);

    send_input(call, 27182, &yes, false);
    call_expect_end(call, MINTMARK_INVALID_ARGUMENT);
    client_compressed_streaming_noprobe(client);
}

static void send_wanted(struct mm_client_call *call, size_t request_size, const int32_t *sizes,
                        size_t n, Grpc__Testing__BoolValue *const *compressed)
{
    output_request request = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    Grpc__Testing__Payload payload = payload_of(request_size);
    Grpc__Testing__ResponseParameters wanted[4], *pointers[4];

    for (size_t i = 0; i < n; i++) {
        grpc__testing__response_parameters__init(&wanted[i]);
        wanted[i].size = sizes[i];
        wanted[i].compressed = compressed ? compressed[i] : NULL;
        pointers[i] = &wanted[i];
    }
    request.response_parameters = pointers;
    request.n_response_parameters = n;
    request.payload = request_size ? &payload : NULL;
    call_send(call, &request.base, false);
}

static void expect_output(struct mm_client_call *call, int32_t size)
{
    output_response *response = (output_response *)call_receive(
        call, &grpc__testing__streaming_output_call_response__descriptor);

    check_payload(response->payload, (size_t)size);
    protobuf_c_message_free_unpacked(&response->base, NULL);
}

static void server_streaming(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "StreamingOutputCall", NULL, 0, 0);

    send_wanted(call, 0, response_sizes, 4, NULL);
    mm_client_call_half_close(call);
    for (size_t i = 0; i < 4; i++)
        expect_output(call, response_sizes[i]);
    call_expect_end(call, MINTMARK_OK);
}

static void server_compressed_streaming(struct mintmark *client)
{
    static const int32_t sizes[] = {31415, 92653};
    Grpc__Testing__BoolValue *const compressed[] = {&yes, &no};
    struct mm_client_call *call = call_open(client, "StreamingOutputCall", NULL, 0, 0);

    send_wanted(call, 0, sizes, 2, compressed);
    mm_client_call_half_close(call);
    for (size_t i = 0; i < 2; i++) {
        expect_output(call, sizes[i]);
        EXPECT(mm_stream_was_compressed(mm_client_call_stream(call)) == (i == 0));
    }
    call_expect_end(call, MINTMARK_OK);
}

static void ping_pong(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "FullDuplexCall", NULL, 0, 0);

    for (size_t i = 0; i < 4; i++) {
        send_wanted(call, (size_t)request_sizes[i], &response_sizes[i], 1, NULL);
        expect_output(call, response_sizes[i]);
    }
    mm_client_call_half_close(call);
    call_expect_end(call, MINTMARK_OK);
}

static void empty_stream(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "FullDuplexCall", NULL, 0, 0);

    mm_client_call_half_close(call);
    call_expect_end(call, MINTMARK_OK);
}

/* Cancellation, deadlines. */

static void cancel_after_begin(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "StreamingInputCall", NULL, 0, 0);

    (void)mm_client_wait(client, 0, NULL);
    mm_client_call_cancel(call);
    call_expect_end(call, MINTMARK_CANCELLED);
}

static void cancel_after_first_response(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "FullDuplexCall", NULL, 0, 0);

    send_wanted(call, (size_t)request_sizes[0], response_sizes, 1, NULL);
    expect_output(call, response_sizes[0]);
    mm_client_call_cancel(call);
    call_expect_end(call, MINTMARK_CANCELLED);
}

static void timeout_on_sleeping_server(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "FullDuplexCall", NULL, 0, 1);

    send_wanted(call, 27182, NULL, 0, NULL);
    call_expect_end(call, MINTMARK_DEADLINE_EXCEEDED);
}

/* Metadata, statuses. */

static void expect_echo(struct mm_client_call *call)
{
    const struct mm_stream *stream = mm_client_call_stream(call);
    MM_BUF_CLEANUP struct mm_buf bytes = MM_BUF_INIT(64);
    struct mm_bytes value;

    EXPECT(mm_fields_find(mm_stream_headers(stream), "x-grpc-test-echo-initial", &value));
    EXPECT(value.len == 27 && memcmp(value.data, "test_initial_metadata_value", 27) == 0);
    EXPECT(mm_fields_find(mm_stream_trailers(stream), "x-grpc-test-echo-trailing-bin", &value));
    EXPECT(mm_grpc_base64_decode(&bytes, value.data, value.len) == MM_OK);
    EXPECT(bytes.len == 3 && memcmp(bytes.data, "\xab\xab\xab", 3) == 0);
}

static void custom_metadata(struct mintmark *client)
{
    static const struct mm_field metadata[] = {
        {"x-grpc-test-echo-initial", {(const uint8_t *)"test_initial_metadata_value", 27}},
        {"x-grpc-test-echo-trailing-bin", {(const uint8_t *)"\xab\xab\xab", 3}}};
    struct mm_client_call *call = call_open(client, "UnaryCall", metadata, 2, 0);
    static const int32_t size = LARGE_RESPONSE;
    Grpc__Testing__Payload payload;
    const simple_request request = large_request(&payload);

    call_send(call, &request.base, false);
    mm_client_call_half_close(call);
    expect_large_response(call);
    EXPECT(call_end(call)->error.status == MINTMARK_OK);
    expect_echo(call);
    mm_client_call_free(call);
    call = call_open(client, "FullDuplexCall", metadata, 2, 0);
    send_wanted(call, LARGE_REQUEST, &size, 1, NULL);
    mm_client_call_half_close(call);
    expect_output(call, size);
    EXPECT(call_end(call)->error.status == MINTMARK_OK);
    expect_echo(call);
    mm_client_call_free(call);
}

static void expect_status(struct mm_client_call *call, enum mintmark_status status,
                          const char *text)
{
    EXPECT(call_end(call)->error.status == status);
    EXPECT(mm_stream_status_text(mm_client_call_stream(call)).len == strlen(text));
    EXPECT(memcmp(mm_stream_status_text(mm_client_call_stream(call)).data, text, strlen(text)) ==
           0);
    mm_client_call_free(call);
}

static void unary_status(struct mintmark *client, Grpc__Testing__EchoStatus *status)
{
    struct mm_client_call *call = call_open(client, "UnaryCall", NULL, 0, 0);
    simple_request request = GRPC__TESTING__SIMPLE_REQUEST__INIT;

    request.response_status = status;
    call_send(call, &request.base, false);
    mm_client_call_half_close(call);
    expect_status(call, (enum mintmark_status)status->code, status->message);
}

static void status_code_and_message(struct mintmark *client)
{
    Grpc__Testing__EchoStatus status = GRPC__TESTING__ECHO_STATUS__INIT;
    output_request request = GRPC__TESTING__STREAMING_OUTPUT_CALL_REQUEST__INIT;
    static char text[] = "test status message";
    struct mm_client_call *call;

    status.code = MINTMARK_UNKNOWN;
    status.message = text;
    unary_status(client, &status);
    call = call_open(client, "FullDuplexCall", NULL, 0, 0);
    request.response_status = &status;
    call_send(call, &request.base, false);
    mm_client_call_half_close(call);
    expect_status(call, MINTMARK_UNKNOWN, text);
}

static void special_status_message(struct mintmark *client)
{
    static char text[] = "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP "
                         "\xf0\x9f\x98\x88\t\n";
    Grpc__Testing__EchoStatus status = GRPC__TESTING__ECHO_STATUS__INIT;

    status.code = MINTMARK_UNKNOWN;
    status.message = text;
    unary_status(client, &status);
}

static void unimplemented_method(struct mintmark *client)
{
    struct mm_client_call *call = call_open(client, "UnimplementedCall", NULL, 0, 0);

    send_empty(call);
    call_expect_end(call, MINTMARK_UNIMPLEMENTED);
}

static void unimplemented_service(struct mintmark *client)
{
    struct mm_client_call *call =
        call_open(client, "/grpc.testing.UnimplementedService/UnimplementedCall", NULL, 0, 0);

    send_empty(call);
    call_expect_end(call, MINTMARK_UNIMPLEMENTED);
}

#define CASE(name)                                                                                 \
    {                                                                                              \
#name, name                                                                                \
    }
const struct test_case test_cases[] = {
    CASE(cancel_after_begin),
    CASE(cancel_after_first_response),
    CASE(client_compressed_streaming),
    CASE(client_compressed_streaming_noprobe),
    CASE(client_compressed_unary),
    CASE(client_compressed_unary_noprobe),
    CASE(client_streaming),
    CASE(concurrent_large_unary),
    CASE(custom_metadata),
    CASE(empty_stream),
    CASE(empty_unary),
    CASE(large_unary),
    CASE(ping_pong),
    CASE(server_compressed_streaming),
    CASE(server_compressed_unary),
    CASE(server_streaming),
    CASE(special_status_message),
    CASE(status_code_and_message),
    CASE(timeout_on_sleeping_server),
    CASE(unimplemented_method),
    CASE(unimplemented_service),
};
const size_t test_n_cases = MM_ARRAY_SIZE(test_cases);
