/* SPDX-License-Identifier: Apache-2.0 */
#include "client/response.h"

#include "client/fields.h"
#include "daemon/base/limits.h"
#include "proto/grpc/status.h"

#include <string.h>

/* RFC 9113 section 6.5.2: what a field counts beyond its name and value. */
enum { FIELD_OVERHEAD = 32 };

void mm_response_init(struct mm_response *response)
{
    *response = (struct mm_response){
        .message = MM_BUF_INIT(MM_HEADER_LIST_MAX),
        .details = MM_BUF_INIT(MM_HEADER_LIST_MAX),
        .headers = MM_BUF_INIT(MM_HEADER_LIST_MAX),
        .block = MM_BUF_INIT(MM_HEADER_LIST_MAX),
    };
}

void mm_response_done(struct mm_response *response)
{
    mm_buf_done(&response->message);
    mm_buf_done(&response->details);
    mm_buf_done(&response->headers);
    mm_buf_done(&response->block);
}

void mm_response_reset(struct mm_response *response)
{
    mm_response_done(response);
    mm_response_init(response);
}

void mm_response_block(struct mm_response *response)
{
    response->block_bytes = 0;
    response->has_status = false;
    response->has_pushback = false;
    mm_buf_reset(&response->message);
    mm_buf_reset(&response->details);
    mm_buf_reset(&response->block);
}

static int take_http_status(struct mm_response *response, const struct mm_bytes *value)
{
    /* nghttp2 has made sure of three digits. */
    response->http_status = 0;
    for (size_t i = 0; i < value->len && i < 3; i++)
        response->http_status = response->http_status * 10 + (unsigned)(value->data[i] - '0');
    return MM_OK;
}

static int take_content_type(struct mm_response *response, const struct mm_bytes *value)
{
    response->is_grpc = mm_grpc_content_parse(value->data, value->len) == MM_GRPC_CONTENT_PROTO;
    return MM_OK;
}

static int take_encoding(struct mm_response *response, const struct mm_bytes *value)
{
    response->coding = mm_grpc_coding_parse(value->data, value->len);
    return MM_OK;
}

static int take_status(struct mm_response *response, const struct mm_bytes *value)
{
    response->has_status = true;
    response->status = (enum mintmark_status)mm_grpc_status_parse(value->data, value->len);
    return MM_OK;
}

static int take_message(struct mm_response *response, const struct mm_bytes *value)
{
    mm_buf_reset(&response->message);
    mm_grpc_percent_decode(&response->message, value->data, value->len);
    return mm_buf_err(&response->message);
}

static int take_details(struct mm_response *response, const struct mm_bytes *value)
{
    mm_buf_reset(&response->details);
    /* What is no base64 says nothing; the status stands all the same. */
    if (mm_grpc_base64_decode(&response->details, value->data, value->len) == MM_ERR_INVALID)
        mm_buf_reset(&response->details);
    return mm_buf_err(&response->details);
}

static int take_pushback(struct mm_response *response, const struct mm_bytes *value)
{
    int64_t ms = 0;
    bool valid = value->len > 0 && value->len <= 9;

    for (size_t i = 0; valid && i < value->len; i++) {
        valid = value->data[i] >= '0' && value->data[i] <= '9';
        ms = ms * 10 + (value->data[i] - '0');
    }
    /* gRFC A6: what is no number counts as negative. */
    response->has_pushback = true;
    response->pushback_ms = valid ? ms : -1;
    return MM_OK;
}

/* What the protocol says to the client itself is no metadata. */
static bool is_metadata(const struct mm_bytes *name)
{
    return name->len > 0 && name->data[0] != ':' &&
           (name->len < 5 || memcmp(name->data, "grpc-", 5) != 0) &&
           (name->len != 12 || memcmp(name->data, "content-type", 12) != 0);
}

int mm_response_field(struct mm_response *response, const struct mm_bytes *name,
                      const struct mm_bytes *value)
{
    static const struct {
        const char *name;
        int (*take)(struct mm_response *response, const struct mm_bytes *value);
    } fields[] = {
        {":status", take_http_status},
        {"content-type", take_content_type},
        {"grpc-encoding", take_encoding},
        {"grpc-status", take_status},
        {"grpc-message", take_message},
        {"grpc-status-details-bin", take_details},
        {"grpc-retry-pushback-ms", take_pushback},
    };

    response->block_bytes += name->len + value->len + FIELD_OVERHEAD;
    if (response->block_bytes > MM_HEADER_LIST_MAX)
        return MM_ERR_TOO_BIG;
    for (size_t i = 0; i < MM_ARRAY_SIZE(fields); i++)
        if (name->len == strlen(fields[i].name) &&
            memcmp(name->data, fields[i].name, name->len) == 0)
            return fields[i].take(response, value);
    if (is_metadata(name))
        mm_fields_add(&response->block, name, value);
    return mm_buf_err(&response->block);
}

bool mm_response_is_interim(const struct mm_response *response)
{
    return response->http_status >= 100 && response->http_status < 200;
}

/* The response did not come from a gRPC service. */
static int fail_http(const struct mm_response *response, struct mintmark_error *error)
{
    return mm_client_fail(
        error, (enum mintmark_status)mm_grpc_status_of_http(response->http_status), "NOT_GRPC",
        "the server answered with HTTP status %u and no gRPC status", response->http_status);
}

int mm_response_check(struct mm_response *response, struct mintmark_error *error)
{
    const struct mm_buf headers = response->headers;

    response->headers = response->block;
    response->block = headers;
    if (response->http_status != 200 || !response->is_grpc)
        return fail_http(response, error);
    if (response->coding == MM_GRPC_CODING_OTHER)
        return mm_client_fail(error, MINTMARK_INTERNAL, "BAD_RESPONSE",
                              "the server compresses in a way that this client did not offer");
    return 0;
}

/* What a google.rpc.Status says beside status and message. */
static void read_details(const struct mm_buf *details, struct mintmark_error *error)
{
    struct mm_errinfo ei = {.code = MM_OK};

    if (details->len == 0 || mm_grpc_details_unpack(details->data, details->len, &ei) < 0)
        return;
    mm_client_copy_text(error->reason, sizeof(error->reason), ei.reason);
    mm_client_copy_text(error->field, sizeof(error->field), ei.field);
    error->retry_ms = ei.retry_ms;
}

void mm_response_end(struct mm_response *response, struct mintmark_error *ret_error)
{
    const char *message;

    if (!response->has_status) {
        (void)fail_http(response, ret_error);
        return;
    }
    *ret_error = (struct mintmark_error){.status = response->status};
    if (response->status == MINTMARK_OK)
        return;
    message = mm_buf_cstr(&response->message);
    mm_client_copy_text(
        ret_error->message, sizeof(ret_error->message),
        message && *message ? message : mm_grpc_status_name((enum mm_grpc_status)response->status));
    read_details(&response->details, ret_error);
    if (response->has_pushback && response->pushback_ms > 0)
        ret_error->retry_ms = (uint32_t)response->pushback_ms;
}

int mm_response_status(const Google__Rpc__Status *status, struct mintmark_error *ret_error)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX);
    struct mintmark_error error = {.status = MINTMARK_OK};
    uint8_t *to = mm_buf_reserve(&packed, google__rpc__status__get_packed_size(status));

    if (!to)
        return mm_client_fail_memory(ret_error);
    if (status->code < MINTMARK_OK || status->code > MINTMARK_UNAUTHENTICATED)
        return mm_client_fail(ret_error, MINTMARK_DATA_LOSS, "BAD_RESPONSE",
                              "the server sent a status that there is not: %d", status->code);
    mm_buf_grew(&packed, google__rpc__status__pack(status, to));
    error.status = (enum mintmark_status)status->code;
    mm_client_copy_text(error.message, sizeof(error.message), status->message);
    read_details(&packed, &error);
    *ret_error = error;
    return 0;
}
