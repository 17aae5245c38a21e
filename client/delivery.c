/* SPDX-License-Identifier: Apache-2.0 */
#include "client/delivery.h"

#include "client/error.h"
#include "client/rpc.h"
#include "client/station.h"
#include "daemon/base/text.h"

#include <openssl/sha.h>
#include <string.h>

static int fail_delivery(struct mintmark_error *error, const char *what)
{
    return mm_client_fail_response(error, "the server delivered %s", what);
}

void mm_delivery_begin(struct mm_delivery *delivery)
{
    mm_arena_reset(&delivery->first_arena);
    mm_arena_reset(&delivery->next_arena);
    delivery->begun = false;
    memset(&delivery->shared, 0, sizeof(delivery->shared));
}

void mm_delivery_done(struct mm_delivery *delivery)
{
    mm_arena_done(&delivery->first_arena);
    mm_arena_done(&delivery->next_arena);
    mm_buf_done(&delivery->later_chain);
}

static int take_chain(struct mm_delivery *delivery, const Mintmark__V1__Delivery *message,
                      struct mintmark_error *error)
{
    if (message->n_chain > MM_CHAIN_MAX)
        return fail_delivery(error, "a chain that is too long");
    for (size_t i = 0; i < message->n_chain; i++) {
        if (message->chain[i].len == 0 || message->chain[i].len > MM_CERT_DER_MAX)
            return fail_delivery(error, "a chain with a certificate of an impossible size");
        delivery->chain[i] = mm_station_data(&message->chain[i]);
    }
    delivery->shared.chain = delivery->chain;
    delivery->shared.n_chain = message->n_chain;
    return 0;
}

/* A later message does not stay: its chain is copied. */
static int take_later_chain(struct mm_delivery *delivery, const Mintmark__V1__Delivery *message,
                            struct mintmark_error *error)
{
    struct mm_buf *copy = &delivery->later_chain;
    int r = message->n_chain > 0 ? take_chain(delivery, message, error) : 0;
    size_t at = 0;

    if (r < 0 || message->n_chain == 0)
        return r;
    mm_buf_reset(copy);
    copy->max = (size_t)MM_CHAIN_MAX * MM_CERT_DER_MAX;
    for (size_t i = 0; i < message->n_chain; i++)
        mm_buf_append(copy, message->chain[i].data, message->chain[i].len);
    if (mm_buf_err(copy) < 0)
        return mm_client_fail_memory(error);
    for (size_t i = 0; i < message->n_chain; i++) {
        delivery->chain[i].data = copy->data + at;
        at += message->chain[i].len;
    }
    return 0;
}

static int take_item(struct mintmark_item *item, const Mintmark__V1__Item *from,
                     struct mintmark_error *error)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    if (!mm_name_valid(from->name, MM_NAME_MAX))
        return fail_delivery(error, "an item whose name is none");
    if (from->sha256.len != sizeof(digest))
        return fail_delivery(error, "an item without a SHA-256");
    if (!from->reference[0]) {
        if (from->content.len > MM_ITEM_INLINE_MAX || from->content.len != from->size)
            return fail_delivery(error, "an item of the wrong size");
        SHA256(from->content.data ? from->content.data : digest, from->content.len, digest);
        if (memcmp(digest, from->sha256.data, sizeof(digest)) != 0)
            return fail_delivery(error, "an item that does not match its SHA-256");
    }
    *item = (struct mintmark_item){.name = from->name,
                                   .size = from->size,
                                   .sha256 = from->sha256.data,
                                   .content = mm_station_data(&from->content),
                                   .reference = from->reference};
    return 0;
}

static int take_items(struct mm_delivery *delivery, const Mintmark__V1__Delivery *message,
                      struct mintmark_error *error)
{
    if (message->n_items > MM_ITEMS_MAX)
        return fail_delivery(error, "too many items");
    for (size_t i = 0; i < message->n_items; i++) {
        int r = take_item(&delivery->items[i], message->items[i], error);

        if (r < 0)
            return r;
    }
    delivery->shared.items = delivery->items;
    delivery->shared.n_items = message->n_items;
    return 0;
}

static int take_shared(struct mm_delivery *delivery, const Mintmark__V1__Delivery *message,
                       struct mintmark_error *error)
{
    const Mintmark__V1__KeyWrap *wrap = message->key_wrap;
    int r;

    if (delivery->begun)
        return take_later_chain(delivery, message, error);
    r = take_chain(delivery, message, error);
    if (r == 0)
        r = take_items(delivery, message, error);
    if (r < 0 || !wrap)
        return r;
    delivery->shared.transport_key = wrap->transport_key;
    delivery->shared.wrap_algorithm = wrap->algorithm;
    delivery->shared.check_value = mm_station_data(&wrap->check_value);
    return 0;
}

/* Into the arena that such a message belongs to. */
static int unpack(struct mm_delivery *delivery, const ProtobufCMessageDescriptor *descriptor,
                  const struct mm_bytes *message, ProtobufCMessage **ret_message,
                  struct mintmark_error *error)
{
    struct mm_arena *arena = delivery->begun ? &delivery->next_arena : &delivery->first_arena;

    mm_arena_reset(arena);
    return mm_rpc_unpack(descriptor, message, arena, ret_message, error);
}

int mm_delivery_read(struct mm_delivery *delivery, const struct mm_bytes *message,
                     const Mintmark__V1__Delivery **ret_message, struct mintmark_error *error)
{
    ProtobufCMessage *unpacked;
    int r = unpack(delivery, &mintmark__v1__delivery__descriptor, message, &unpacked, error);

    if (r == 0)
        r = take_shared(delivery, (const Mintmark__V1__Delivery *)unpacked, error);
    if (r < 0)
        return r;
    delivery->begun = true;
    *ret_message = (const Mintmark__V1__Delivery *)unpacked;
    return 0;
}

int mm_delivery_read_enrolled(struct mm_delivery *delivery, const struct mm_bytes *message,
                              const Mintmark__V1__EnrollResponse **ret_message,
                              struct mintmark_error *error)
{
    Mintmark__V1__Delivery shared = MINTMARK__V1__DELIVERY__INIT;
    const Mintmark__V1__EnrollResponse *response;
    ProtobufCMessage *unpacked;
    int r = unpack(delivery, &mintmark__v1__enroll_response__descriptor, message, &unpacked, error);

    if (r < 0)
        return r;
    response = (const Mintmark__V1__EnrollResponse *)unpacked;
    shared.chain = response->chain;
    shared.n_chain = response->n_chain;
    shared.items = response->items;
    shared.n_items = response->n_items;
    r = take_shared(delivery, &shared, error);
    if (r < 0)
        return r;
    delivery->begun = true;
    *ret_message = response;
    return 0;
}

/* RFC 9562 writes hexadecimal in lower case; so does a file name made from it. */
static bool parse_uid(const char *text, uint8_t ret_uid[16])
{
    char canonical[MM_UID_LEN + 1];

    if (mm_uuid_parse(text, ret_uid) < 0)
        return false;
    mm_uuid_format(ret_uid, canonical);
    return strcmp(canonical, text) == 0;
}

static int take_key(const Mintmark__V1__Bundle *from, struct mintmark_bundle *bundle,
                    struct mintmark_error *error)
{
    const bool empty = from->private_key.len == 0;

    switch (from->key_delivery) {
    case MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_WRAPPED:
        if (empty || !bundle->transport_key)
            return fail_delivery(error, "a wrapped key without what belongs to it");
        bundle->key_delivery = MINTMARK_KEY_WRAPPED;
        if (from->check_value.len > 0) { /* what it was made under, whatever is in force now */
            bundle->transport_key = from->transport_key;
            bundle->check_value = mm_station_data(&from->check_value);
        }
        break;
    case MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_PLAIN:
        if (empty)
            return fail_delivery(error, "a device without its private key");
        bundle->key_delivery = MINTMARK_KEY_PLAIN;
        break;
    case MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_RETAINED:
        if (!empty)
            return fail_delivery(error, "a private key that it says it keeps");
        bundle->key_delivery = MINTMARK_KEY_RETAINED;
        break;
    case MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_ON_DEVICE:
        if (!empty)
            return fail_delivery(error, "a private key that the device made");
        bundle->key_delivery = MINTMARK_KEY_ON_DEVICE;
        break;
    default:
        return fail_delivery(error, "a key in a way that this client does not know");
    }
    bundle->private_key = mm_station_data(&from->private_key);
    bundle->key_id = from->key_id;
    return 0;
}

int mm_delivery_bundle(const struct mm_delivery *delivery, const Mintmark__V1__Bundle *bundle,
                       const char *batch_uid, struct mintmark_bundle *ret_bundle,
                       uint8_t ret_uid[16], struct mintmark_error *error)
{
    struct mintmark_bundle b = delivery->shared;
    int r;

    if (!parse_uid(bundle->device_uid, ret_uid))
        return fail_delivery(error, "a device whose UID is no UUID");
    if (batch_uid && strcmp(bundle->batch_uid, batch_uid) != 0)
        return fail_delivery(error, "a device of another batch");
    if ((bundle->certificate.len > 0) == (bundle->csr.len > 0))
        return fail_delivery(error, "a device that has not exactly one of certificate and CSR");
    if (bundle->certificate.len > MM_CERT_DER_MAX || bundle->csr.len > MM_CERT_DER_MAX)
        return fail_delivery(error, "a certificate or CSR larger than the limit");
    r = take_key(bundle, &b, error);
    if (r < 0)
        return r;
    b.device_uid = bundle->device_uid;
    b.hw_serial = bundle->hw_serial;
    b.number = bundle->number;
    b.issued_time_ms = bundle->issued_time_ms;
    b.certificate = mm_station_data(&bundle->certificate);
    b.csr = mm_station_data(&bundle->csr);
    *ret_bundle = b;
    return 0;
}

static bool take_state(Mintmark__V1__CertificateState from, enum mintmark_certificate_state *ret_to)
{
    switch (from) {
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING:
        *ret_to = MINTMARK_CERTIFICATE_WAITING;
        return true;
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_FAILED:
        *ret_to = MINTMARK_CERTIFICATE_FAILED;
        return true;
    case MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_PARKED:
        *ret_to = MINTMARK_CERTIFICATE_PARKED;
        return true;
    default:
        return false;
    }
}

int mm_delivery_withheld(const Mintmark__V1__Withheld *from, struct mintmark_withheld *ret_withheld,
                         uint8_t ret_uid[16], struct mintmark_error *error)
{
    struct mintmark_withheld w = {
        .device_uid = from->device_uid,
        .hw_serial = from->hw_serial,
        .number = from->number,
        .next_time_ms = from->next_time_ms,
        .attempts = from->attempts,
    };

    if (!parse_uid(from->device_uid, ret_uid))
        return fail_delivery(error, "a device whose UID is no UUID");
    if (!take_state(from->state, &w.state))
        return fail_delivery(error, "no certificate, for a reason that this client does not know");
    mm_client_copy_text(w.text, sizeof(w.text), from->text);
    *ret_withheld = w;
    return 0;
}
