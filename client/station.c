/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of StationService that have one answer. */
#include "client/station.h"
#include "client/error.h"
#include "client/rpc.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <openssl/rand.h>
#include <string.h>

enum { REQUEST_ID_BYTES = 16 };

static const struct mm_method method_ping = {
    MM_STATION "Ping", &mintmark__v1__ping_response__descriptor, MM_REPEAT_SAFE, false};
static const struct mm_method method_open_batch = {MM_STATION "OpenBatch",
                                                   &mintmark__v1__open_batch_response__descriptor,
                                                   MM_REPEAT_UNPROCESSED, false};
static const struct mm_method method_get_batch = {
    MM_STATION "GetBatch", &mintmark__v1__get_batch_response__descriptor, MM_REPEAT_SAFE, false};
static const struct mm_method method_list_batches = {
    MM_STATION "ListBatches", &mintmark__v1__list_batches_response__descriptor, MM_REPEAT_SAFE,
    false};
/* Taking the same report again is fine, says the service. */
static const struct mm_method method_report_devices = {
    MM_STATION "ReportDevices", &mintmark__v1__report_devices_response__descriptor, MM_REPEAT_SAFE,
    false};
static const struct mm_method method_release_batch = {
    MM_STATION "ReleaseBatch", &mintmark__v1__release_batch_response__descriptor,
    MM_REPEAT_UNPROCESSED, false};

char *mm_station_text(const char *text)
{
    static char empty[] = "";

    return text ? (char *)(uintptr_t)text : empty;
}

/* protobuf-c has no const bytes, and packing only reads them. */
ProtobufCBinaryData mm_station_bytes(const struct mintmark_data *data)
{
    return (ProtobufCBinaryData){data->len, (uint8_t *)(uintptr_t)data->data};
}

struct mintmark_data mm_station_data(const ProtobufCBinaryData *data)
{
    return (struct mintmark_data){.data = data->data, .len = data->len};
}

int mm_station_request_id(const char *given, char ret_id[MM_REQUEST_ID_MAX + 1],
                          struct mintmark_error *error)
{
    uint8_t random[REQUEST_ID_BYTES];

    if (given && strlen(given) > MM_REQUEST_ID_MAX)
        return mm_client_fail_field(error, "request_id", "request_id is longer than %d characters",
                                    MM_REQUEST_ID_MAX);
    if (given) {
        memcpy(ret_id, given, strlen(given) + 1);
        return 0;
    }
    if (RAND_bytes(random, sizeof(random)) != 1)
        return mm_client_fail(error, MINTMARK_INTERNAL, "NO_RANDOM", "no random bytes");
    mm_hex_encode(random, sizeof(random), ret_id);
    return 0;
}

static int fail_missing(const char *what, struct mintmark_error *error)
{
    return mm_client_fail_response(error, "the server's answer lacks %s", what);
}

#define COPY_TEXT(to, from) mm_client_copy_text((to), sizeof(to), (from))

static struct mintmark_counts counts_of(const Mintmark__V1__BatchCounts *counts)
{
    if (!counts)
        return (struct mintmark_counts){.issued = 0};
    return (struct mintmark_counts){.issued = counts->issued,
                                    .ok = counts->ok,
                                    .ko = counts->ko,
                                    .unreported = counts->unreported};
}

static int batch_of(const Mintmark__V1__Batch *batch, struct mintmark_batch *ret_batch,
                    struct mintmark_error *error)
{
    struct mintmark_batch b = {.quantity = 0};

    if (!batch)
        return fail_missing("the batch", error);
    COPY_TEXT(b.uid, batch->batch_uid);
    COPY_TEXT(b.name, batch->name);
    COPY_TEXT(b.profile, batch->profile);
    COPY_TEXT(b.device_type, batch->device_type);
    COPY_TEXT(b.order_id, batch->order_id);
    COPY_TEXT(b.station, batch->station);
    b.quantity = batch->quantity;
    b.heads = batch->heads;
    b.released = batch->state == MINTMARK__V1__BATCH_STATE__BATCH_STATE_RELEASED;
    b.opened_time_ms = batch->opened_time_ms;
    b.released_time_ms = batch->released_time_ms;
    b.counts = counts_of(batch->counts);
    *ret_batch = b;
    return 0;
}

int mintmark_ping(struct mintmark *client, struct mintmark_ping *ret_ping,
                  struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__PingRequest request;
    const Mintmark__V1__PingResponse *response;
    ProtobufCMessage *message;
    int r;

    mintmark__v1__ping_request__init(&request);
    r = mm_rpc_unary(client, &method_ping, &request.base, &arena, &message, error);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__PingResponse *)message;
    ret_ping->time_ms = response->time_ms;
    ret_ping->ready = response->ready;
    COPY_TEXT(ret_ping->version, response->version);
    COPY_TEXT(ret_ping->detail, response->detail);
    COPY_TEXT(ret_ping->client, response->client);
    return 0;
}

int mintmark_open_batch(struct mintmark *client, const struct mintmark_open_batch *request,
                        struct mintmark_batch *ret_batch, struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__OpenBatchRequest open;
    ProtobufCMessage *message;
    int r;

    mintmark__v1__open_batch_request__init(&open);
    open.name = mm_station_text(request->name);
    open.profile = mm_station_text(request->profile);
    open.device_type = mm_station_text(request->device_type);
    open.order_id = mm_station_text(request->order_id);
    open.quantity = request->quantity;
    open.heads = request->heads;
    r = mm_rpc_unary(client, &method_open_batch, &open.base, &arena, &message, error);
    if (r < 0)
        return r;
    return batch_of(((const Mintmark__V1__OpenBatchResponse *)message)->batch, ret_batch, error);
}

int mintmark_get_batch(struct mintmark *client, const char *batch_uid,
                       struct mintmark_batch *ret_batch, struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__GetBatchRequest request;
    ProtobufCMessage *message;
    int r;

    mintmark__v1__get_batch_request__init(&request);
    request.batch_uid = mm_station_text(batch_uid);
    r = mm_rpc_unary(client, &method_get_batch, &request.base, &arena, &message, error);
    if (r < 0)
        return r;
    return batch_of(((const Mintmark__V1__GetBatchResponse *)message)->batch, ret_batch, error);
}

static int each_of_page(const Mintmark__V1__ListBatchesResponse *page,
                        int (*each)(void *arg, const struct mintmark_batch *batch), void *arg,
                        struct mintmark_error *error)
{
    for (size_t i = 0; i < page->n_batches; i++) {
        struct mintmark_batch batch;
        int r = batch_of(page->batches[i], &batch, error);

        if (r == 0)
            r = each(arg, &batch);
        if (r != 0)
            return r;
    }
    return 0;
}

int mintmark_list_batches(struct mintmark *client, int open_only,
                          int (*each)(void *arg, const struct mintmark_batch *batch), void *arg,
                          struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_FREE char *token = NULL;
    int r;

    do {
        Mintmark__V1__ListBatchesRequest request;
        const Mintmark__V1__ListBatchesResponse *page;
        ProtobufCMessage *message;

        mintmark__v1__list_batches_request__init(&request);
        request.open_only = open_only != 0;
        request.page_token = mm_station_text(token);
        r = mm_rpc_unary(client, &method_list_batches, &request.base, &arena, &message, error);
        if (r < 0)
            return r;
        page = (const Mintmark__V1__ListBatchesResponse *)message;
        free(token);
        /* The callback may use the client; the arena is this function's own. */
        token = strdup(page->next_page_token);
        if (!token)
            return mm_client_fail_memory(error);
        r = each_of_page(page, each, arg, error);
    } while (r == 0 && token[0]);
    return r;
}

int mintmark_report_devices(struct mintmark *client, const char *batch_uid,
                            const struct mintmark_report *reports, size_t n_reports,
                            struct mintmark_counts *ret_counts, struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__ReportDevicesRequest request;
    MM_FREE Mintmark__V1__DeviceReport *devices = NULL;
    MM_FREE Mintmark__V1__DeviceReport **pointers = NULL;
    ProtobufCMessage *message;
    int r;

    if (n_reports == 0 || n_reports > MM_REPORT_MAX)
        return mm_client_fail_field(error, "devices", "1 to %d devices can be reported at once",
                                    MM_REPORT_MAX);
    devices = calloc(n_reports, sizeof(*devices));
    pointers = calloc(n_reports, sizeof(*pointers));
    if (!devices || !pointers)
        return mm_client_fail_memory(error);
    for (size_t i = 0; i < n_reports; i++) {
        mintmark__v1__device_report__init(&devices[i]);
        devices[i].device_uid = mm_station_text(reports[i].device_uid);
        devices[i].state = reports[i].ok ? MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK
                                         : MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO;
        devices[i].reason = mm_station_text(reports[i].reason);
        pointers[i] = &devices[i];
    }
    mintmark__v1__report_devices_request__init(&request);
    request.batch_uid = mm_station_text(batch_uid);
    request.n_devices = n_reports;
    request.devices = pointers;
    r = mm_rpc_unary(client, &method_report_devices, &request.base, &arena, &message, error);
    if (r == 0 && ret_counts)
        *ret_counts = counts_of(((const Mintmark__V1__ReportDevicesResponse *)message)->counts);
    return r;
}

static int production_report_of(const Mintmark__V1__ProductionReport *report,
                                struct mintmark_production_report *ret_report,
                                struct mintmark_error *error)
{
    int r;

    if (!report)
        return fail_missing("the production report", error);
    memset(ret_report, 0, sizeof(*ret_report));
    r = batch_of(report->batch, &ret_report->batch, error);
    if (r < 0)
        return r;
    ret_report->order_quantity = report->order_quantity;
    ret_report->order_used = report->order_used;
    ret_report->refunded = report->refunded;
    ret_report->first_issued_time_ms = report->first_issued_time_ms;
    ret_report->last_issued_time_ms = report->last_issued_time_ms;
    for (size_t i = 0; i < report->n_failures && i < MM_ARRAY_SIZE(ret_report->failures); i++) {
        COPY_TEXT(ret_report->failures[i].reason, report->failures[i]->reason);
        ret_report->failures[i].devices = report->failures[i]->devices;
        ret_report->n_failures = i + 1;
    }
    return 0;
}

int mintmark_release_batch(struct mintmark *client, const char *batch_uid,
                           struct mintmark_production_report *ret_report,
                           struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__ReleaseBatchRequest request;
    ProtobufCMessage *message;
    int r;

    mintmark__v1__release_batch_request__init(&request);
    request.batch_uid = mm_station_text(batch_uid);
    r = mm_rpc_unary(client, &method_release_batch, &request.base, &arena, &message, error);
    if (r < 0)
        return r;
    r = production_report_of(((const Mintmark__V1__ReleaseBatchResponse *)message)->report,
                             ret_report, error);
    if (r == 0)
        ret_report->report_pending =
            ((const Mintmark__V1__ReleaseBatchResponse *)message)->report_pending;
    return r;
}
