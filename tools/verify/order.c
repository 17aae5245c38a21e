/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify order: one signed document, and what it says. */
#include "tools/verify/audit.h"

#include "mintmark/v1/document.pb-c.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *file, *oem, *identity, *audit, *officers;
    int64_t at_ms;
    bool json;
};

static const char usage_text[] =
    "usage: mintmark-verify order FILE --oem CERTS [options]\n"
    "\n"
    "Shows a signed document (production order, revocation, receipt, request, checkpoint, unlock)\n"
    "and verifies its signature.\n"
    "\n"
    "  --oem CERTS       who may sign orders, revocations and receipts, PEM\n"
    "  --identity CERT   the appliance's identity: signs requests; orders must be for it\n"
    "  --audit CERT      the appliance's audit certificate: signs checkpoints\n"
    "  --officers CERTS  who may sign unlocks\n"
    "  --at TIME         the signer's certificate must be valid then (2026-11-22T10:00:00Z, or a\n"
    "                    date), and not now\n"
    "  --json            print one JSON object\n";

/* -1: go on. */
static int parse_options(int argc, char **argv, struct options *o)
{
    const char *at = NULL;
    const struct option_spec specs[] = {{.name = "oem", .values = &o->oem},
                                        {.name = "identity", .values = &o->identity},
                                        {.name = "audit", .values = &o->audit},
                                        {.name = "officers", .values = &o->officers},
                                        {.name = "at", .values = &at}};
    const int status = options_parse(argc, argv, usage_text, specs, COUNT(specs), &o->json);

    if (status >= 0)
        return status;
    if (at && !time_parse(at, &o->at_ms))
        return usage_error("--at is no time: ", at);
    if (optind + 1 != argc)
        return usage_error("'order' takes one file", "");
    o->file = argv[optind];
    return -1;
}

/* ---- what it says ------------------------------------------------------------------------ */

static void fact_limit(struct verdict *v, const char *name, uint64_t value)
{
    if (value > 0)
        fact_number(v, name, value);
    else
        fact_text(v, name, "none");
}

static void fact_hex(struct verdict *v, const char *name, const ProtobufCBinaryData *data)
{
    char text[HEX_MAX];

    fact_text(v, name, hex_text(data->data, data->len, text));
}

static void fact_stations(struct verdict *v, const Mintmark__V1__ProductionOrder *o)
{
    char text[TEXT_MAX] = "every station";
    size_t used = 0;

    for (size_t i = 0; i < o->n_stations && used < sizeof(text); i++) {
        const int n =
            snprintf(text + used, sizeof(text) - used, "%s%s", i ? " " : "", o->stations[i]);

        used += n > 0 ? (size_t)n : 0;
    }
    fact_text(v, "stations", text);
}

static void show_order(struct verdict *v, const Mintmark__V1__ProductionOrder *o)
{
    char why[TEXT_MAX];
    const char *code = order_terms_fault(o, why);

    fact_text(v, "order_id", o->order_id);
    fact_text(v, "oem", o->oem);
    fact_text(v, "product", o->product);
    fact_text(v, "profile", o->profile);
    fact_number(v, "quantity", o->quantity);
    fact_time(v, "not_before", o->not_before_time_ms);
    fact_time(v, "not_after", o->not_after_time_ms);
    fact_limit(v, "per_batch_max", o->per_batch_max);
    fact_limit(v, "per_day_max", o->per_day_max);
    fact_stations(v, o);
    fact_limit(v, "unreported_devices_max", o->unreported_devices_max);
    fact_limit(v, "report_within_hours", o->report_within_hours);
    fact_number(v, "replacements_max", o->replacements_max);
    fact_hex(v, "appliance", &o->appliance_sha256);
    fact_hex(v, "nonce", &o->nonce);
    if (code)
        finding(v, code, "order", "%s", why);
    else
        proved(v, "The terms are ones that an appliance can keep.");
}

static void show_receipt(struct verdict *v, const Mintmark__V1__ReportReceipt *r)
{
    fact_text(v, "order_id", r->order_id);
    fact_number(v, "devices", r->devices);
    fact_time(v, "time", r->time_ms);
    fact_hex(v, "appliance", &r->appliance_sha256);
}

static void show_revocation(struct verdict *v, const Mintmark__V1__OrderRevocation *r)
{
    fact_text(v, "order_id", r->order_id);
    fact_text(v, "reason", r->reason);
    fact_time(v, "time", r->time_ms);
    fact_hex(v, "appliance", &r->appliance_sha256);
}

static void show_request(struct verdict *v, const Mintmark__V1__OrderRequest *r)
{
    fact_text(v, "site", r->site);
    fact_text(v, "requested_by", r->requested_by);
    fact_time(v, "time", r->time_ms);
    fact_hex(v, "appliance", &r->appliance_sha256);
    fact_hex(v, "nonce", &r->nonce);
}

static void show_checkpoint(struct verdict *v, const Mintmark__V1__Checkpoint *c)
{
    fact_hex(v, "ledger_id", &c->ledger_id);
    fact_number(v, "sequence", c->sequence);
    fact_hex(v, "head", &c->head);
    fact_time(v, "time", c->highest_time_ms);
    fact_number(v, "devices", c->devices);
    fact_number(v, "epoch", c->epoch);
    fact_text(v, "baseline", c->baseline ? "yes: an officer unlocked the ledger before" : "no");
}

static void show_unlock(struct verdict *v, const Mintmark__V1__Unlock *u)
{
    fact_hex(v, "ledger_id", &u->ledger_id);
    fact_number(v, "database_sequence", u->database_sequence);
    fact_hex(v, "database_head", &u->database_head);
    fact_number(v, "anchor_sequence", u->anchor_sequence);
    fact_hex(v, "anchor_head", &u->anchor_head);
    fact_text(v, "lock_reason", u->lock_reason);
    fact_text(v, "reason", u->reason);
    fact_time(v, "time", u->time_ms);
}

/* ---- who signed -------------------------------------------------------------------------- */

struct certificates {
    struct trust oem, identity, audit, officers;
};

/* Shows the content; says who may sign such a one, and for which appliance it is. */
static const struct trust *show(struct verdict *v, const Mintmark__V1__SignedDocument *d,
                                const struct certificates *c, const char **ret_who,
                                const ProtobufCBinaryData **ret_appliance)
{
    *ret_who = "an OEM's key (--oem)";
    switch (d->document_case) {
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER:
        fact_text(v, "kind", "production order");
        show_order(v, d->production_order);
        *ret_appliance = &d->production_order->appliance_sha256;
        return &c->oem;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION:
        fact_text(v, "kind", "revocation of an order");
        show_revocation(v, d->order_revocation);
        *ret_appliance = &d->order_revocation->appliance_sha256;
        return &c->oem;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT:
        fact_text(v, "kind", "receipt for reports");
        show_receipt(v, d->report_receipt);
        *ret_appliance = &d->report_receipt->appliance_sha256;
        return &c->oem;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST:
        fact_text(v, "kind", "request for an order");
        show_request(v, d->order_request);
        *ret_appliance = &d->order_request->appliance_sha256;
        *ret_who = "the appliance's identity key (--identity)";
        return &c->identity;
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_CHECKPOINT:
        fact_text(v, "kind", "checkpoint of a ledger");
        show_checkpoint(v, d->checkpoint);
        *ret_who = "the appliance's audit key (--audit)";
        return &c->audit;
    default:
        fact_text(v, "kind", "unlock of a ledger");
        show_unlock(v, d->unlock);
        *ret_who = "an officer's key (--officers)";
        return &c->officers;
    }
}

static void judge_signer(struct verdict *v, const struct signature *s, const struct trust *t,
                         const char *who, int64_t at_ms)
{
    char why[TEXT_MAX], time[TIME_TEXT];
    const char *code;

    fact_text(v, "signer", s->signer_name);
    if (!t->path) {
        unproved(v,
                 "Who signed: the signer says to be %s; without a certificate for %s that is "
                 "the signer's own word.",
                 s->signer_name, who);
        return;
    }
    code = trust_check(t, s->signer, s->certificates, at_ms, why);
    if (code)
        finding(v, code, s->signer_name, "%s", why);
    else
        proved(v, "It is signed by %s, who is trusted by %s and was valid at %s.", s->signer_name,
               t->path, time_text(at_ms, time));
}

static void judge_appliance(struct verdict *v, const ProtobufCBinaryData *appliance,
                            const struct trust *identity)
{
    uint8_t hash[SHA256_LEN];
    bool found = false;

    if (!appliance)
        return;
    if (!identity->path) {
        unproved(v, "For which appliance it is: compare `appliance` with the hash that was noted "
                    "when the appliance was set up, or name --identity.");
        return;
    }
    for (int i = 0; i < sk_X509_num(identity->certificates); i++) {
        if (certificate_key_hash(sk_X509_value(identity->certificates, i), hash) &&
            appliance->len == sizeof(hash) && memcmp(appliance->data, hash, sizeof(hash)) == 0)
            found = true;
    }
    if (found)
        proved(v, "It is for the appliance whose identity is in %s.", identity->path);
    else
        finding(v, "ORDER_OTHER_APPLIANCE", "appliance", "it is for another appliance than %s's",
                identity->path);
}

static void judge(struct verdict *v, const struct options *o, const struct certificates *c,
                  struct arena *a, struct slice file)
{
    const Mintmark__V1__SignedDocument *d;
    const ProtobufCBinaryData *appliance = NULL;
    const struct trust *t;
    const char *who;
    struct signature s;
    char why[TEXT_MAX];
    const char *code = document_open(&s, a, file.data, file.len, &d, why);

    if (code) {
        finding(v, code, o->file, "%s", why);
    } else {
        proved(v, "The file is a CMS SignedData in DER with one signature, which is right for "
                  "every byte of the content.");
        t = show(v, d, c, &who, &appliance);
        judge_signer(v, &s, t, who, o->at_ms);
        judge_appliance(v, appliance, &c->identity);
        unproved(v, "Whether an appliance has taken it: the ledger says that.");
    }
    signature_done(&s);
}

static bool load(struct certificates *c, const struct options *o)
{
    return (!o->oem || trust_load(&c->oem, o->oem)) &&
           (!o->identity || trust_load(&c->identity, o->identity)) &&
           (!o->audit || trust_load(&c->audit, o->audit)) &&
           (!o->officers || trust_load(&c->officers, o->officers));
}

static int run(const struct options *o, struct certificates *c)
{
    struct verdict v;
    struct arena a;
    struct slice file;
    uint8_t *data;

    if (!load(c, o))
        return EXIT_DATA;
    data = file_read(NULL, o->file, &file.len);
    if (!data && errno != EFBIG)
        return unreadable(o->file, strerror(errno));
    arena_begin(&a, ARENA_DOCUMENT);
    file.data = data;
    verdict_begin(&v, "order", o->json);
    fact_text(&v, "file", o->file);
    if (data)
        judge(&v, o, c, &a, file);
    else
        finding(&v, "DOCUMENT_TOO_BIG", o->file, "it has more than 64 KiB");
    arena_done(&a);
    free(data);
    return verdict_end(&v);
}

int order_command(int argc, char **argv)
{
    struct options o = {.at_ms = (int64_t)time(NULL) * 1000};
    struct certificates c = {.oem = {.path = NULL}};
    int status = parse_options(argc, argv, &o);

    if (status < 0)
        status = run(&o, &c);
    trust_done(&c.oem);
    trust_done(&c.identity);
    trust_done(&c.audit);
    trust_done(&c.officers);
    return status;
}
