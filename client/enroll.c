/* SPDX-License-Identifier: Apache-2.0 */
/* Enroll: requests of keys that devices made go out, certificates come in, on one stream. */
#include "client/delivery.h"
#include "client/error.h"
#include "client/response.h"
#include "client/rpc.h"
#include "client/station.h"

#include <stdlib.h>
#include <string.h>

static const struct mm_method method_enroll = {MM_STATION "Enroll",
                                               &mintmark__v1__enroll_response__descriptor,
                                               MM_REPEAT_SAFE /* it carries a request id */, true};

struct enroll {
    const struct mintmark_enroll *request;
    int (*each)(void *arg, size_t index, const struct mintmark_bundle *bundle,
                const struct mintmark_withheld *withheld, const struct mintmark_error *refusal);
    void *arg;
    char request_id[MM_REQUEST_ID_MAX + 1];
    struct mm_delivery delivery;
    bool *answered; /* of the devices */
    size_t n_answered;

    /* Of the stream at hand, which is about those that were not answered before it. */
    uint32_t *sent; /* by its index in the stream: which of the devices it is */
    size_t n_sent;
    size_t next; /* of the devices: where the next message begins */
    bool first_sent;
};

static void begin_stream(void *arg)
{
    struct enroll *e = arg;

    mm_delivery_begin(&e->delivery);
    e->n_sent = 0;
    e->next = 0;
    e->first_sent = false;
}

/* ---- out --------------------------------------------------------------------------------- */

static bool is_unanswered(void *arg)
{
    const struct enroll *e = arg;

    return e->n_answered < e->request->n_devices;
}

static void fill(Mintmark__V1__DeviceCsr *to, const struct mintmark_csr *from)
{
    mintmark__v1__device_csr__init(to);
    if (from->hw_serial)
        to->hw_serial = mm_station_text(from->hw_serial);
    to->csr = mm_station_bytes(&from->csr);
}

/* Up to 64 devices that have no answer yet. */
static int next_message(void *arg, struct mm_buf *out, struct mintmark_error *error)
{
    struct enroll *e = arg;
    Mintmark__V1__EnrollRequest message;
    Mintmark__V1__DeviceCsr devices[MM_ENROLL_DEVICES], *list[MM_ENROLL_DEVICES];

    mintmark__v1__enroll_request__init(&message);
    message.devices = list;
    for (; e->next < e->request->n_devices && message.n_devices < MM_ENROLL_DEVICES; e->next++) {
        if (e->answered[e->next])
            continue;
        fill(&devices[message.n_devices], &e->request->devices[e->next]);
        list[message.n_devices] = &devices[message.n_devices];
        message.n_devices++;
        e->sent[e->n_sent++] = (uint32_t)e->next;
    }
    if (message.n_devices == 0)
        return 0;
    if (!e->first_sent) {
        message.batch_uid = mm_station_text(e->request->batch_uid);
        message.request_id = e->request_id;
        e->first_sent = true;
    }
    return mm_rpc_pack(&message.base, out, error);
}

/* ---- in ---------------------------------------------------------------------------------- */

static int fail_answer(struct mintmark_error *error, const char *what)
{
    return mm_client_fail_response(error, "the server answered %s", what);
}

static bool is_of(const struct enroll *e, size_t index, const char *hw_serial)
{
    const char *serial = e->request->devices[index].hw_serial;

    return strcmp(hw_serial, serial ? serial : "") == 0;
}

static int give_bundle(struct enroll *e, size_t index, const Mintmark__V1__Bundle *from,
                       struct mintmark_error *error)
{
    struct mintmark_bundle bundle;
    uint8_t uid[16];
    int r = mm_delivery_bundle(&e->delivery, from, e->request->batch_uid, &bundle, uid, error);

    if (r < 0)
        return r;
    if (bundle.key_delivery != MINTMARK_KEY_ON_DEVICE || !is_of(e, index, bundle.hw_serial))
        return fail_answer(error, "with another device");
    return e->each(e->arg, index, &bundle, NULL, NULL);
}

static int give_withheld(struct enroll *e, size_t index, const Mintmark__V1__Withheld *from,
                         struct mintmark_error *error)
{
    struct mintmark_withheld withheld;
    uint8_t uid[16];
    int r = mm_delivery_withheld(from, &withheld, uid, error);

    if (r < 0)
        return r;
    if (!is_of(e, index, withheld.hw_serial))
        return fail_answer(error, "with another device");
    return e->each(e->arg, index, NULL, &withheld, NULL);
}

static int give_refusal(struct enroll *e, size_t index, const Google__Rpc__Status *status,
                        struct mintmark_error *error)
{
    struct mintmark_error refusal;

    if (mm_response_status(status, &refusal) < 0 || refusal.status == MINTMARK_OK)
        return fail_answer(error, "with an error that is none");
    return e->each(e->arg, index, NULL, NULL, &refusal);
}

static int take_result(struct enroll *e, const Mintmark__V1__EnrollResult *result,
                       int *ret_progress, struct mintmark_error *error)
{
    size_t index;

    if (result->index >= e->n_sent || e->answered[e->sent[result->index]])
        return fail_answer(error, "for a device that it was not asked about");
    index = e->sent[result->index];
    e->answered[index] = true;
    e->n_answered++;
    *ret_progress = 1;
    switch (result->outcome_case) {
    case MINTMARK__V1__ENROLL_RESULT__OUTCOME_BUNDLE:
        return give_bundle(e, index, result->bundle, error);
    case MINTMARK__V1__ENROLL_RESULT__OUTCOME_WITHHELD:
        return give_withheld(e, index, result->withheld, error);
    case MINTMARK__V1__ENROLL_RESULT__OUTCOME_ERROR:
        return give_refusal(e, index, result->error, error);
    default:
        return fail_answer(error, "nothing for a device");
    }
}

static int take_message(void *arg, const struct mm_bytes *bytes, int *ret_progress,
                        struct mintmark_error *error)
{
    struct enroll *e = arg;
    const Mintmark__V1__EnrollResponse *message;
    int r = mm_delivery_read_enrolled(&e->delivery, bytes, &message, error);

    for (size_t i = 0; r == 0 && i < message->n_results; i++)
        r = take_result(e, message->results[i], ret_progress, error);
    return r;
}

/* ---- the whole --------------------------------------------------------------------------- */

static int run(struct mintmark *client, struct enroll *e, struct mintmark_error *error)
{
    const struct mm_rpc_source source = {is_unanswered, next_message, e};
    const struct mm_rpc_sink sink = {begin_stream, take_message, e};
    int r = mm_rpc_stream(client, &method_enroll, &source, &sink, error);

    if (r == 0 && is_unanswered(e))
        r = fail_answer(error, "fewer devices than it was asked about");
    return r;
}

int mintmark_enroll(struct mintmark *client, const struct mintmark_enroll *request,
                    int (*each)(void *arg, size_t index, const struct mintmark_bundle *bundle,
                                const struct mintmark_withheld *withheld,
                                const struct mintmark_error *refusal),
                    void *arg, struct mintmark_error *error)
{
    struct enroll e = {.request = request, .each = each, .arg = arg};
    int r;

    if (request->n_devices < 1 || request->n_devices > MM_PROVISION_MAX)
        return mm_client_fail_field(error, "devices", "devices must be 1 to %d: %zu",
                                    MM_PROVISION_MAX, request->n_devices);
    r = mm_station_request_id(request->request_id, e.request_id, error);
    if (r < 0)
        return r;
    e.answered = calloc(request->n_devices, sizeof(*e.answered));
    e.sent = calloc(request->n_devices, sizeof(*e.sent));
    r = e.answered && e.sent ? run(client, &e, error) : mm_client_fail_memory(error);
    mm_delivery_done(&e.delivery);
    free(e.answered);
    free(e.sent);
    return r;
}
