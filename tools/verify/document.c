/* SPDX-License-Identifier: Apache-2.0 */
/* Signed documents: what is inside, and whether an order's terms can be kept (docs/orders.md). */
#include "tools/verify/audit.h"

#include "mintmark/v1/document.pb-c.h"

#include <stdio.h>
#include <string.h>

enum {
    NAME_MAX_BYTES = 64,
    ORDER_TEXT_MAX = 100,
    STATIONS_MAX = 32,
    HOURS_MAX = 87600,
    UNITS_MAX = 1000000000,
    NONCE_LEN = 16,
};

bool name_valid(const char *name)
{
    const size_t len = strlen(name);

    return len >= 1 && len <= NAME_MAX_BYTES &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static bool text_valid(const char *text)
{
    return *text && strlen(text) <= ORDER_TEXT_MAX;
}

static const char *bad_term(const Mintmark__V1__ProductionOrder *o)
{
    const struct {
        bool good;
        const char *what;
    } terms[] = {
        {name_valid(o->order_id), "order_id is no name"},
        {text_valid(o->oem), "oem is not 1 to 100 bytes long"},
        {text_valid(o->product), "product is not 1 to 100 bytes long"},
        {name_valid(o->profile), "profile is no name"},
        {o->per_batch_max <= UNITS_MAX, "per_batch_max is above 1,000,000,000"},
        {o->per_day_max <= UNITS_MAX, "per_day_max is above 1,000,000,000"},
        {o->n_stations <= STATIONS_MAX, "there are more than 32 stations"},
        {o->appliance_sha256.len == SHA256_LEN, "appliance_sha256 has not 32 bytes"},
        {o->nonce.len == NONCE_LEN, "nonce has not 16 bytes"},
        {o->unreported_devices_max <= UNITS_MAX, "unreported_devices_max is above 1,000,000,000"},
        {o->report_within_hours <= HOURS_MAX, "report_within_hours is above 87,600"},
        {o->replacements_max <= UNITS_MAX, "replacements_max is above 1,000,000,000"},
    };

    for (size_t i = 0; i < COUNT(terms); i++) {
        if (!terms[i].good)
            return terms[i].what;
    }
    for (size_t i = 0; i < o->n_stations; i++) {
        if (!name_valid(o->stations[i]))
            return "a station is no name";
    }
    return NULL;
}

const char *order_terms_fault(const Mintmark__V1__ProductionOrder *o, char why[TEXT_MAX])
{
    const char *bad = bad_term(o);

    if (o->quantity < 1 || o->quantity > UNITS_MAX) {
        snprintf(why, TEXT_MAX, "the quantity is not 1 to 1,000,000,000");
        return "ORDER_QUANTITY";
    }
    if (o->not_before_time_ms < 0 || o->not_after_time_ms <= o->not_before_time_ms) {
        snprintf(why, TEXT_MAX, "the order ends before it begins");
        return "ORDER_VALIDITY";
    }
    if (!bad)
        return NULL;
    snprintf(why, TEXT_MAX, "%s", bad);
    return "INVALID_FIELD";
}

const char *document_open(struct signature *s, struct arena *a, const uint8_t *der, size_t len,
                          const Mintmark__V1__SignedDocument **ret_document, char why[TEXT_MAX])
{
    const Mintmark__V1__SignedDocument *d;
    ProtobufCMessage *message;
    enum message_fault fault;
    const char *code = signature_open(s, der, len, NULL, why);

    if (code)
        return code;
    fault = message_read(a, &mintmark__v1__signed_document__descriptor, s->content, s->content_len,
                         &message);
    if (fault == MESSAGE_BAD) {
        snprintf(why, TEXT_MAX, "what is signed is no document of mintmark");
        return "DOCUMENT_CONTENT";
    }
    d = (const Mintmark__V1__SignedDocument *)message;
    if (fault == MESSAGE_UNKNOWN ||
        d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT__NOT_SET) {
        snprintf(why, TEXT_MAX, "it has a kind or a term that this program does not know");
        return "DOCUMENT_CONTENT";
    }
    *ret_document = d;
    return NULL;
}
