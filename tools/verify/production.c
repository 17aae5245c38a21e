/* SPDX-License-Identifier: Apache-2.0 */
/* The report's text reads like docs/report.md. */
#include "tools/verify/production.h"

#include <string.h>

/* Strings that are always there. */
static void text_of(struct scan *s, const char *key, char ret_text[STRING_MAX])
{
    scan_text(s, key);
    if (!scan_string(s, ret_text))
        scan_fail(s, "a string");
}

static uint64_t number_of(struct scan *s, const char *key)
{
    scan_text(s, key);
    return scan_number(s);
}

static int64_t time_of(struct scan *s, const char *key)
{
    scan_text(s, key);
    return scan_time(s);
}

static void read_batch(struct scan *s, struct production *p)
{
    text_of(s, ",\n\"batch\":{\"uid\":", p->uid);
    text_of(s, ",\"name\":", p->name);
    text_of(s, ",\"profile\":", p->profile);
    text_of(s, ",\"device_type\":", p->device_type);
    p->quantity = number_of(s, ",\"quantity\":");
    p->heads = number_of(s, ",\"heads\":");
    text_of(s, ",\"station\":", p->station);
    p->opened_ms = time_of(s, ",\"opened\":");
    p->released_ms = time_of(s, ",\"released\":");
    text_of(s, ",\"released_by\":", p->released_by);
    scan_text(s, "}");
}

static void read_order(struct scan *s, struct production *p)
{
    text_of(s, ",\n\"order\":{\"id\":", p->order_id);
    text_of(s, ",\"oem\":", p->oem);
    text_of(s, ",\"product\":", p->product);
    text_of(s, ",\"profile\":", p->order_profile);
    p->order_quantity = number_of(s, ",\"quantity\":");
    p->order_used = number_of(s, ",\"used\":");
    p->order_refunded = number_of(s, ",\"refunded\":");
    scan_text(s, "}");
}

static void read_place(struct scan *s, const char *key, bool may_be_null, struct place *place)
{
    scan_text(s, key);
    if (may_be_null && scan_either(s, "null"))
        return;
    place->sequence = number_of(s, "{\"sequence\":");
    scan_text(s, ",\"head\":");
    scan_hex(s, place->hash, sizeof(place->hash), true);
    scan_text(s, "}");
}

static void read_head(struct scan *s, struct production *p)
{
    text_of(s, "{\"schema\":\"mintmark-report-1\",\n\"service\":", p->service);
    scan_text(s, ",\n\"appliance\":");
    p->has_appliance = scan_hex(s, p->appliance, sizeof(p->appliance), false) == SHA256_LEN;
    scan_text(s, ",\"ledger_id\":");
    scan_hex(s, p->ledger_id, sizeof(p->ledger_id), true);
    read_batch(s, p);
    read_order(s, p);
    read_place(s, ",\n\"ledger\":{\"opened\":", true, &p->opened);
    read_place(s, ",\"released\":", false, &p->released);
    scan_text(s, "},\n");
}

static enum device_state read_state(struct scan *s)
{
    char text[STRING_MAX];

    text_of(s, ",\"state\":", text);
    if (strcmp(text, "ok") == 0)
        return DEVICE_OK;
    if (strcmp(text, "ko") == 0)
        return DEVICE_KO;
    if (strcmp(text, "unreported") != 0)
        scan_fail(s, "a state: ok, ko or unreported:");
    return DEVICE_UNREPORTED;
}

static void read_device(struct scan *s, struct production_device *d)
{
    bool certified;

    d->row = number_of(s, "{\"row\":");
    text_of(s, ",\"uid\":", d->uid_text);
    if (!s->bad && !uid_parse(d->uid_text, d->uid))
        scan_fail(s, "a UUID");
    d->number = number_of(s, ",\"number\":");
    scan_text(s, ",\"hw_serial\":");
    scan_string(s, d->hw_serial);
    scan_text(s, ",\"certificate_serial\":");
    d->serial_len = scan_hex(s, d->serial, sizeof(d->serial), false);
    scan_text(s, ",\"spki_sha256\":");
    scan_hex(s, d->spki_sha256, sizeof(d->spki_sha256), true);
    d->state = read_state(s);
    scan_text(s, ",\"reason\":");
    scan_string(s, d->reason);
    d->made_ms = time_of(s, ",\"made\":");
    d->reported_ms = time_of(s, ",\"reported\":");
    d->certified_len = 0;
    certified = scan_either(s, ",\"certified_serial\":");
    if (certified)
        d->certified_len = scan_hex(s, d->certified, sizeof(d->certified), false);
    if (!s->bad && certified && d->certified_len == 0)
        scan_fail(s, "a serial number");
    scan_text(s, "}");
}

/* A comma and a line feed go between two items, a line feed behind the last. */
static bool more(struct scan *s, bool first)
{
    if (s->bad || (first && scan_either(s, "],\n")))
        return false;
    if (first || scan_either(s, ",\n"))
        return true;
    scan_text(s, "\n],\n");
    return false;
}

static void read_devices(struct scan *s, const struct production_reader *reader)
{
    struct production_device d;

    scan_text(s, "\"devices\":[\n");
    for (bool first = true; more(s, first); first = false) {
        read_device(s, &d);
        if (!s->bad)
            reader->device(reader->context, &d);
    }
}

static void read_failures(struct scan *s, const struct production_reader *reader)
{
    char reason[STRING_MAX];

    scan_text(s, "\"failures\":[\n");
    for (bool first = true; more(s, first); first = false) {
        uint64_t devices;

        text_of(s, "{\"reason\":", reason);
        devices = number_of(s, ",\"devices\":");
        scan_text(s, "}");
        if (!s->bad)
            reader->failure(reader->context, reason, devices);
    }
}

bool production_read(struct scan *s, struct production *p, const struct production_reader *reader)
{
    *p = (struct production){.has_appliance = false};
    read_head(s, p);
    if (!s->bad)
        reader->head(reader->context, p);
    read_devices(s, reader);
    read_failures(s, reader);
    p->issued = number_of(s, "\"totals\":{\"issued\":");
    p->ok = number_of(s, ",\"ok\":");
    p->ko = number_of(s, ",\"ko\":");
    p->unreported = number_of(s, ",\"unreported\":");
    p->refunded = number_of(s, ",\"refunded\":");
    p->first_ms = time_of(s, ",\"first_recorded\":");
    p->last_ms = time_of(s, ",\"last_recorded\":");
    scan_text(s, "}}\n");
    if (!s->bad && !scan_at_end(s))
        scan_fail(s, "the end");
    return !s->bad;
}
