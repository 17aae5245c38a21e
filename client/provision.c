/* SPDX-License-Identifier: Apache-2.0 */
/* The calls that deliver devices. */
#include "client/delivery.h"
#include "client/error.h"
#include "client/rpc.h"
#include "client/station.h"
#include "client/uidset.h"

#include <string.h>

static const struct mm_method method_provision = {
    MM_STATION "Provision", &mintmark__v1__delivery__descriptor,
    MM_REPEAT_SAFE /* it carries a request id */, true};
static const struct mm_method method_get_device = {
    MM_STATION "GetProvisioningData", &mintmark__v1__delivery__descriptor, MM_REPEAT_SAFE, false};

struct provision {
    const struct mintmark_provision *request;
    int (*each)(void *arg, const struct mintmark_bundle *bundle,
                const struct mintmark_withheld *withheld);
    void *arg;
    struct mm_delivery delivery;
    struct mm_uidset *seen; /* devices that each has been given */
    const char *device_uid; /* the one that was asked for; NULL: any */
};

static void begin_stream(void *arg)
{
    struct provision *p = arg;

    mm_delivery_begin(&p->delivery);
}

/* Exactly one of the two. */
static int give(struct provision *p, const uint8_t uid[16], const struct mintmark_bundle *bundle,
                const struct mintmark_withheld *withheld, int *ret_progress,
                struct mintmark_error *error)
{
    const char *device_uid = bundle ? bundle->device_uid : withheld->device_uid;

    if (p->device_uid && strcmp(p->device_uid, device_uid) != 0)
        return mm_client_fail_response(
            error, "the server delivered another device than the one asked for");
    /* The call was repeated, and this device came before. */
    if (mm_uidset_has(p->seen, uid))
        return 0;
    if (!mm_uidset_add(p->seen, uid))
        return mm_client_fail_response(error,
                                       "the server delivered more than the %u devices asked for",
                                       (unsigned)p->request->count);
    *ret_progress = 1;
    return p->each(p->arg, bundle, withheld);
}

static int take_bundle(struct provision *p, const Mintmark__V1__Bundle *from, int *ret_progress,
                       struct mintmark_error *error)
{
    struct mintmark_bundle bundle;
    uint8_t uid[16];
    int r = mm_delivery_bundle(&p->delivery, from, p->request->batch_uid, &bundle, uid, error);

    return r < 0 ? r : give(p, uid, &bundle, NULL, ret_progress, error);
}

static int take_withheld(struct provision *p, const Mintmark__V1__Withheld *from, int *ret_progress,
                         struct mintmark_error *error)
{
    struct mintmark_withheld withheld;
    uint8_t uid[16];
    int r = mm_delivery_withheld(from, &withheld, uid, error);

    return r < 0 ? r : give(p, uid, NULL, &withheld, ret_progress, error);
}

static int take_message(void *arg, const struct mm_bytes *bytes, int *ret_progress,
                        struct mintmark_error *error)
{
    struct provision *p = arg;
    const Mintmark__V1__Delivery *message;
    int r = mm_delivery_read(&p->delivery, bytes, &message, error);

    for (size_t i = 0; r == 0 && i < message->n_bundles; i++)
        r = take_bundle(p, message->bundles[i], ret_progress, error);
    for (size_t i = 0; r == 0 && i < message->n_withheld; i++)
        r = take_withheld(p, message->withheld[i], ret_progress, error);
    return r;
}

/* All devices, each once, whatever happened in between. */
static int run(struct mintmark *client, struct provision *p,
               const Mintmark__V1__ProvisionRequest *request, struct mintmark_error *error)
{
    const struct mm_rpc_sink sink = {begin_stream, take_message, p};
    int r = mm_rpc_call(client, &method_provision, &request->base, &sink, error);

    if (r != 0 || mm_uidset_count(p->seen) == p->request->count)
        return r;
    return mm_client_fail_response(error, "the server ended the call after %zu of %u devices",
                                   mm_uidset_count(p->seen), (unsigned)p->request->count);
}

int mintmark_provision(struct mintmark *client, const struct mintmark_provision *request,
                       int (*each)(void *arg, const struct mintmark_bundle *bundle,
                                   const struct mintmark_withheld *withheld),
                       void *arg, struct mintmark_error *error)
{
    struct provision p = {.request = request, .each = each, .arg = arg};
    Mintmark__V1__ProvisionRequest message;
    char request_id[MM_REQUEST_ID_MAX + 1];
    int r;

    if (request->count < 1 || request->count > MM_PROVISION_MAX)
        return mm_client_fail_field(error, "count", "count must be 1 to %d: %u", MM_PROVISION_MAX,
                                    (unsigned)request->count);
    r = mm_station_request_id(request->request_id, request_id, error);
    if (r < 0)
        return r;
    mintmark__v1__provision_request__init(&message);
    message.request_id = request_id;
    message.batch_uid = mm_station_text(request->batch_uid);
    message.count = request->count;
    message.n_hw_serials = request->hw_serials ? request->count : 0;
    message.hw_serials = (char **)(uintptr_t)request->hw_serials;
    p.seen = mm_uidset_new(request->count);
    if (!p.seen)
        return mm_client_fail_memory(error);
    r = run(client, &p, &message, error);
    mm_delivery_done(&p.delivery);
    mm_uidset_free(p.seen);
    return r;
}

int mintmark_get_device(struct mintmark *client, const char *device_uid,
                        int (*each)(void *arg, const struct mintmark_bundle *bundle,
                                    const struct mintmark_withheld *withheld),
                        void *arg, struct mintmark_error *error)
{
    const struct mintmark_provision one = {.count = 1};
    struct provision p = {.request = &one, .each = each, .arg = arg, .device_uid = device_uid};
    Mintmark__V1__GetProvisioningDataRequest message;
    const struct mm_rpc_sink sink = {begin_stream, take_message, &p};
    int r;

    mintmark__v1__get_provisioning_data_request__init(&message);
    message.device_uid = mm_station_text(device_uid);
    p.seen = mm_uidset_new(1);
    if (!p.seen)
        return mm_client_fail_memory(error);
    r = mm_rpc_call(client, &method_get_device, &message.base, &sink, error);
    if (r == 0 && mm_uidset_count(p.seen) != 1)
        r = mm_client_fail_response(error, "the server's answer lacks the device");
    mm_delivery_done(&p.delivery);
    mm_uidset_free(p.seen);
    return r;
}
