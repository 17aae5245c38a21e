/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/status.h"

#include "daemon/base/text.h"
#include "proto/grpc/unpack.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include <stdio.h>
#include <string.h>

#define TYPE_PREFIX    "type.googleapis.com/"
#define TYPE_URL(name) TYPE_PREFIX "google.rpc." name

/* Indexed by minus the code. */
static const enum mm_grpc_status status_of_err[] = {
    [-MM_OK] = MM_GRPC_OK,
    [-MM_ERR_INVALID] = MM_GRPC_INVALID_ARGUMENT,
    [-MM_ERR_NOT_FOUND] = MM_GRPC_NOT_FOUND,
    [-MM_ERR_EXISTS] = MM_GRPC_ALREADY_EXISTS,
    [-MM_ERR_PERMISSION] = MM_GRPC_PERMISSION_DENIED,
    [-MM_ERR_UNAUTHENTICATED] = MM_GRPC_UNAUTHENTICATED,
    [-MM_ERR_PRECONDITION] = MM_GRPC_FAILED_PRECONDITION,
    [-MM_ERR_EXHAUSTED] = MM_GRPC_RESOURCE_EXHAUSTED,
    [-MM_ERR_UNAVAILABLE] = MM_GRPC_UNAVAILABLE,
    [-MM_ERR_TIMEOUT] = MM_GRPC_DEADLINE_EXCEEDED,
    [-MM_ERR_CANCELLED] = MM_GRPC_CANCELLED,
    [-MM_ERR_ABORTED] = MM_GRPC_ABORTED,
    [-MM_ERR_TOO_BIG] = MM_GRPC_RESOURCE_EXHAUSTED,
    [-MM_ERR_MEMORY] = MM_GRPC_RESOURCE_EXHAUSTED,
    [-MM_ERR_IO] = MM_GRPC_UNAVAILABLE,
    [-MM_ERR_CORRUPT] = MM_GRPC_DATA_LOSS,
    [-MM_ERR_PIN] = MM_GRPC_UNAVAILABLE,
    [-MM_ERR_UNSUPPORTED] = MM_GRPC_UNIMPLEMENTED,
    [-MM_ERR_EOF] = MM_GRPC_UNAVAILABLE,
    [-MM_ERR_AGAIN] = MM_GRPC_INTERNAL,
    [-MM_ERR_INTERNAL] = MM_GRPC_INTERNAL,
};

static const struct {
    int err;
    const char *name;
} statuses[] = {
    [MM_GRPC_OK] = {MM_OK, "OK"},
    [MM_GRPC_CANCELLED] = {MM_ERR_CANCELLED, "CANCELLED"},
    [MM_GRPC_UNKNOWN] = {MM_ERR_INTERNAL, "UNKNOWN"},
    [MM_GRPC_INVALID_ARGUMENT] = {MM_ERR_INVALID, "INVALID_ARGUMENT"},
    [MM_GRPC_DEADLINE_EXCEEDED] = {MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED"},
    [MM_GRPC_NOT_FOUND] = {MM_ERR_NOT_FOUND, "NOT_FOUND"},
    [MM_GRPC_ALREADY_EXISTS] = {MM_ERR_EXISTS, "ALREADY_EXISTS"},
    [MM_GRPC_PERMISSION_DENIED] = {MM_ERR_PERMISSION, "PERMISSION_DENIED"},
    [MM_GRPC_RESOURCE_EXHAUSTED] = {MM_ERR_EXHAUSTED, "RESOURCE_EXHAUSTED"},
    [MM_GRPC_FAILED_PRECONDITION] = {MM_ERR_PRECONDITION, "FAILED_PRECONDITION"},
    [MM_GRPC_ABORTED] = {MM_ERR_ABORTED, "ABORTED"},
    [MM_GRPC_OUT_OF_RANGE] = {MM_ERR_INVALID, "OUT_OF_RANGE"},
    [MM_GRPC_UNIMPLEMENTED] = {MM_ERR_UNSUPPORTED, "UNIMPLEMENTED"},
    [MM_GRPC_INTERNAL] = {MM_ERR_INTERNAL, "INTERNAL"},
    [MM_GRPC_UNAVAILABLE] = {MM_ERR_UNAVAILABLE, "UNAVAILABLE"},
    [MM_GRPC_DATA_LOSS] = {MM_ERR_CORRUPT, "DATA_LOSS"},
    [MM_GRPC_UNAUTHENTICATED] = {MM_ERR_UNAUTHENTICATED, "UNAUTHENTICATED"},
};

enum mm_grpc_status mm_grpc_status_of(int err)
{
    if (err > 0 || err < -(int)MM_ARRAY_SIZE(status_of_err) + 1)
        return MM_GRPC_UNKNOWN;
    return status_of_err[-err];
}

int mm_grpc_status_err(enum mm_grpc_status status)
{
    return (size_t)status < MM_ARRAY_SIZE(statuses) ? statuses[status].err : MM_ERR_INTERNAL;
}

const char *mm_grpc_status_name(enum mm_grpc_status status)
{
    return statuses[(size_t)status < MM_ARRAY_SIZE(statuses) ? status : MM_GRPC_UNKNOWN].name;
}

enum mm_grpc_status mm_grpc_status_parse(const void *text, size_t len)
{
    const char *s = text;
    unsigned value;

    if (len < 1 || len > 2 || s[0] < '0' || s[0] > '9')
        return MM_GRPC_UNKNOWN;
    value = (unsigned)(s[0] - '0');
    if (len == 2) {
        if (value == 0 || s[1] < '0' || s[1] > '9')
            return MM_GRPC_UNKNOWN;
        value = value * 10 + (unsigned)(s[1] - '0');
    }
    return value < MM_ARRAY_SIZE(statuses) ? (enum mm_grpc_status)value : MM_GRPC_UNKNOWN;
}

enum mm_grpc_status mm_grpc_status_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return MM_GRPC_INTERNAL;
    case 401:
        return MM_GRPC_UNAUTHENTICATED;
    case 403:
        return MM_GRPC_PERMISSION_DENIED;
    case 404:
        return MM_GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return MM_GRPC_UNAVAILABLE;
    default:
        return MM_GRPC_UNKNOWN;
    }
}

enum mm_grpc_status mm_grpc_status_of_h2(uint32_t h2_error)
{
    /* PROTOCOL-HTTP2.md, "Errors"; indexed by the codes of RFC 9113 section 7. */
    static const enum mm_grpc_status of[] = {
        MM_GRPC_INTERNAL,           /* NO_ERROR */
        MM_GRPC_INTERNAL,           /* PROTOCOL_ERROR */
        MM_GRPC_INTERNAL,           /* INTERNAL_ERROR */
        MM_GRPC_INTERNAL,           /* FLOW_CONTROL_ERROR */
        MM_GRPC_INTERNAL,           /* SETTINGS_TIMEOUT */
        MM_GRPC_UNKNOWN,            /* STREAM_CLOSED */
        MM_GRPC_INTERNAL,           /* FRAME_SIZE_ERROR */
        MM_GRPC_UNAVAILABLE,        /* REFUSED_STREAM */
        MM_GRPC_CANCELLED,          /* CANCEL */
        MM_GRPC_INTERNAL,           /* COMPRESSION_ERROR */
        MM_GRPC_INTERNAL,           /* CONNECT_ERROR */
        MM_GRPC_RESOURCE_EXHAUSTED, /* ENHANCE_YOUR_CALM */
        MM_GRPC_PERMISSION_DENIED,  /* INADEQUATE_SECURITY */
    };

    return h2_error < MM_ARRAY_SIZE(of) ? of[h2_error] : MM_GRPC_UNKNOWN;
}

/* protobuf strings must be UTF-8: many clients drop the whole message otherwise. */
static void mend_utf8(char *text)
{
    for (size_t i = 0; text[i];) {
        const unsigned char c = (unsigned char)text[i];
        const size_t len = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        if (strnlen(text + i, len) == len && mm_utf8_valid(text + i, len))
            i += len;
        else
            text[i++] = '?';
    }
}

static size_t add_detail(Google__Protobuf__Any *any, const char *type_url,
                         const ProtobufCMessage *message, struct mm_buf *bytes)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *to = mm_buf_reserve(bytes, len);

    if (!to)
        return 0;
    protobuf_c_message_pack(message, to);
    mm_buf_grew(bytes, len);
    google__protobuf__any__init(any);
    any->type_url = (char *)(uintptr_t)type_url;
    any->value.len = len;
    return 1;
}

static size_t add_bad_request(Google__Protobuf__Any *any, struct mm_errinfo *ei,
                              struct mm_buf *bytes)
{
    Google__Rpc__BadRequest__FieldViolation violation;
    Google__Rpc__BadRequest__FieldViolation *violations[] = {&violation};
    Google__Rpc__BadRequest bad = GOOGLE__RPC__BAD_REQUEST__INIT;

    google__rpc__bad_request__field_violation__init(&violation);
    violation.field = ei->field;
    violation.description = ei->text;
    bad.n_field_violations = 1;
    bad.field_violations = violations;
    return add_detail(any, TYPE_URL("BadRequest"), &bad.base, bytes);
}

static size_t add_quota_failure(Google__Protobuf__Any *any, struct mm_errinfo *ei,
                                struct mm_buf *bytes)
{
    Google__Rpc__QuotaFailure__Violation violation;
    Google__Rpc__QuotaFailure__Violation *violations[] = {&violation};
    Google__Rpc__QuotaFailure quota = GOOGLE__RPC__QUOTA_FAILURE__INIT;

    google__rpc__quota_failure__violation__init(&violation);
    violation.subject = ei->subject;
    violation.description = ei->text;
    quota.n_violations = 1;
    quota.violations = violations;
    return add_detail(any, TYPE_URL("QuotaFailure"), &quota.base, bytes);
}

static size_t add_retry_info(Google__Protobuf__Any *any, uint32_t retry_ms, struct mm_buf *bytes)
{
    Google__Protobuf__Duration delay = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Rpc__RetryInfo retry = GOOGLE__RPC__RETRY_INFO__INIT;

    delay.seconds = retry_ms / 1000;
    delay.nanos = (int32_t)(retry_ms % 1000) * 1000000;
    retry.retry_delay = &delay;
    return add_detail(any, TYPE_URL("RetryInfo"), &retry.base, bytes);
}

static size_t add_error_info(Google__Protobuf__Any *any, struct mm_errinfo *ei,
                             struct mm_buf *bytes)
{
    static char domain[] = "mintmark";
    Google__Rpc__ErrorInfo info;

    google__rpc__error_info__init(&info);
    info.reason = ei->reason;
    info.domain = domain;
    return add_detail(any, TYPE_URL("ErrorInfo"), &info.base, bytes);
}

static void pack_status(const struct mm_errinfo *ei, Google__Protobuf__Any **details,
                        size_t n_details, struct mm_buf *out)
{
    Google__Rpc__Status status;
    uint8_t *to;
    size_t len;

    google__rpc__status__init(&status);
    status.code = (int32_t)mm_grpc_status_of(ei->code);
    status.message = (char *)(uintptr_t)ei->text;
    status.n_details = n_details;
    status.details = details;
    len = google__rpc__status__get_packed_size(&status);
    to = mm_buf_reserve(out, len);
    if (!to)
        return;
    google__rpc__status__pack(&status, to);
    mm_buf_grew(out, len);
}

void mm_grpc_details_pack(const struct mm_errinfo *ei, struct mm_buf *out)
{
    struct mm_errinfo clean = *ei;
    Google__Protobuf__Any any[4];
    Google__Protobuf__Any *details[] = {&any[0], &any[1], &any[2], &any[3]};
    MM_BUF_CLEANUP struct mm_buf bytes = MM_BUF_INIT(2 * sizeof(clean));
    size_t n = 0, at = 0;

    mend_utf8(clean.text);
    mend_utf8(clean.field);
    mend_utf8(clean.subject);
    mend_utf8(clean.reason);
    if (clean.reason[0])
        n += add_error_info(&any[n], &clean, &bytes);
    if (clean.field[0])
        n += add_bad_request(&any[n], &clean, &bytes);
    if (clean.subject[0])
        n += add_quota_failure(&any[n], &clean, &bytes);
    if (clean.retry_ms)
        n += add_retry_info(&any[n], clean.retry_ms, &bytes);
    for (size_t i = 0; i < n; i++) { /* now that bytes moves no more */
        any[i].value.data = bytes.data + at;
        at += any[i].value.len;
    }
    if (mm_buf_err(&bytes) < 0) {
        out->err = bytes.err;
        return;
    }
    pack_status(&clean, details, n, out);
}

static void read_error_info(const ProtobufCMessage *message, struct mm_errinfo *ei)
{
    const Google__Rpc__ErrorInfo *info = (const Google__Rpc__ErrorInfo *)message;

    snprintf(ei->reason, sizeof(ei->reason), "%s", info->reason);
}

static void read_bad_request(const ProtobufCMessage *message, struct mm_errinfo *ei)
{
    const Google__Rpc__BadRequest *bad = (const Google__Rpc__BadRequest *)message;

    if (bad->n_field_violations > 0)
        snprintf(ei->field, sizeof(ei->field), "%s", bad->field_violations[0]->field);
}

static void read_quota_failure(const ProtobufCMessage *message, struct mm_errinfo *ei)
{
    const Google__Rpc__QuotaFailure *quota = (const Google__Rpc__QuotaFailure *)message;

    if (quota->n_violations > 0)
        snprintf(ei->subject, sizeof(ei->subject), "%s", quota->violations[0]->subject);
}

static void read_retry_info(const ProtobufCMessage *message, struct mm_errinfo *ei)
{
    const Google__Rpc__RetryInfo *retry = (const Google__Rpc__RetryInfo *)message;
    const Google__Protobuf__Duration *delay = retry->retry_delay;

    if (!delay || delay->seconds < 0 || delay->nanos < 0 || delay->nanos > 999999999)
        return;
    ei->retry_ms = delay->seconds > UINT32_MAX / 1000 - 1
                       ? UINT32_MAX
                       : (uint32_t)delay->seconds * 1000 + (uint32_t)(delay->nanos / 1000000);
}

static const struct {
    const char *type_url;
    const ProtobufCMessageDescriptor *descriptor;
    void (*read)(const ProtobufCMessage *message, struct mm_errinfo *ei);
} readers[] = {
    {TYPE_URL("ErrorInfo"), &google__rpc__error_info__descriptor, read_error_info},
    {TYPE_URL("BadRequest"), &google__rpc__bad_request__descriptor, read_bad_request},
    {TYPE_URL("QuotaFailure"), &google__rpc__quota_failure__descriptor, read_quota_failure},
    {TYPE_URL("RetryInfo"), &google__rpc__retry_info__descriptor, read_retry_info},
};

static void read_detail(const Google__Protobuf__Any *any, struct mm_arena *arena,
                        struct mm_errinfo *ei)
{
    ProtobufCMessage *message;

    for (size_t i = 0; i < MM_ARRAY_SIZE(readers); i++) {
        if (strcmp(any->type_url, readers[i].type_url) != 0)
            continue;
        if (mm_grpc_unpack(readers[i].descriptor, any->value.data, any->value.len, arena, &message,
                           NULL) == MM_OK)
            readers[i].read(message, ei);
        return;
    }
}

int mm_grpc_details_unpack(const void *data, size_t len, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Google__Rpc__Status *status;
    ProtobufCMessage *message;

    if (mm_grpc_unpack(&google__rpc__status__descriptor, data, len, &arena, &message, NULL) < 0)
        return MM_ERR_CORRUPT;
    status = (const Google__Rpc__Status *)message;
    for (size_t i = 0; i < status->n_details; i++)
        read_detail(status->details[i], &arena, ei);
    return MM_OK;
}
