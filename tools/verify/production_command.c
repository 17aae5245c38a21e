/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify report: a signed production report. */
#include "tools/verify/production.h"

#include "mintmark/v1/document.pb-c.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct options {
    const char *file, *signature, *audit, *order, *oem, *manifest, *export;
    bool json;
};

static const char usage_text[] =
    "usage: mintmark-verify report FILE --audit CERT [options]\n"
    "\n"
    "Verifies a signed production report (mintmark report).\n"
    "\n"
    "  --audit CERT      the appliance's audit certificate, PEM\n"
    "  --signature FILE  the signature; FILE.p7s by default\n"
    "  --order FILE      the signed order that the batch draws on\n"
    "  --oem CERTS       who may sign orders, PEM; for --order and --export\n"
    "  --export FILE     an export of the ledger that goes beyond the batch's release\n"
    "  --manifest FILE   the batch's manifest\n"
    "  --json            print one JSON object\n";

/* -1: go on. */
static int parse_options(int argc, char **argv, struct options *o)
{
    const struct option_spec specs[] = {
        {.name = "audit", .values = &o->audit},   {.name = "signature", .values = &o->signature},
        {.name = "order", .values = &o->order},   {.name = "oem", .values = &o->oem},
        {.name = "export", .values = &o->export}, {.name = "manifest", .values = &o->manifest}};
    const int status = options_parse(argc, argv, usage_text, specs, COUNT(specs), &o->json);

    if (status >= 0)
        return status;
    if (optind + 1 != argc)
        return usage_error("'report' takes one file", "");
    if (!o->audit)
        return usage_error("--audit is missing", "");
    if (o->order && !o->oem)
        return usage_error("--order needs --oem", "");
    o->file = argv[optind];
    return -1;
}

/* ---- what it is held against ---------------------------------------------------------------- */

struct sources {
    struct ledger *ledger; /* also without an export: it has the trusts */
    struct production_judge judge;
    struct signature order_signature;
    struct arena order_arena;
};

/* When it was signed only the ledger knows. It must be valid now, or at the order's beginning or
 * end.
 */
static const char *order_signer_fault(const struct trust *oem, const struct signature *s,
                                      const Mintmark__V1__ProductionOrder *order,
                                      char why[TEXT_MAX])
{
    const int64_t times[] = {(int64_t)time(NULL) * 1000, order->not_before_time_ms,
                             order->not_after_time_ms};
    const char *code = NULL;

    for (size_t i = 0; i < COUNT(times); i++) {
        code = trust_check(oem, s->signer, s->certificates, times[i], why);
        if (!code)
            break;
    }
    return code;
}

static void take_order(struct sources *s, struct verdict *v, const char *path, struct slice cms)
{
    const Mintmark__V1__SignedDocument *d = NULL;
    char why[TEXT_MAX];
    const char *code =
        document_open(&s->order_signature, &s->order_arena, cms.data, cms.len, &d, why);

    if (!code && d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER) {
        code = "DOCUMENT_KIND";
        snprintf(why, sizeof(why), "it is no production order");
    }
    if (!code)
        code = order_signer_fault(&s->ledger->oem, &s->order_signature, d->production_order, why);
    if (code)
        finding(v, code, path, "%s", why);
    else
        s->judge.order = d->production_order;
}

static bool load_order(struct sources *s, struct verdict *v, const char *path)
{
    size_t len;
    uint8_t *cms = file_read(NULL, path, &len);

    if (!cms) {
        unreadable(path, strerror(errno));
        return false;
    }
    arena_begin(&s->order_arena, ARENA_DOCUMENT);
    take_order(s, v, path, (struct slice){cms, len});
    free(cms);
    return true;
}

static bool load(struct sources *s, struct verdict *v, const struct options *o)
{
    if (!ledger_begin(s->ledger, v, ARENA_MAX) || !trust_load(&s->ledger->audit, o->audit) ||
        (o->oem && !trust_load(&s->ledger->oem, o->oem)) ||
        (o->order && !load_order(s, v, o->order)))
        return false;
    if (o->export && !ledger_read(s->ledger, o->export))
        return false;
    s->judge.v = v;
    s->judge.audit = &s->ledger->audit;
    s->judge.ledger = o->export ? s->ledger : NULL;
    return true;
}

/* ---- sentences --------------------------------------------------------------------------- */

static void say(struct verdict *v, const struct sources *s, const struct options *o)
{
    const struct production_judge *j = &s->judge;

    fact_number(v, "devices", j->devices);
    fact_number(v, "ok_devices", j->states[DEVICE_OK]);
    fact_number(v, "ko_devices", j->states[DEVICE_KO]);
    fact_number(v, "unreported_devices", j->states[DEVICE_UNREPORTED]);
    if (v->findings == 0) {
        proved(v, "The appliance's audit key signed this report, byte by byte.");
        proved(v,
               "The totals are those of the %llu devices that it lists; no UID, row, number, "
               "public key or serial number is in it twice.",
               (unsigned long long)j->devices);
    }
    if (v->findings == 0 && j->order)
        proved(v, "It keeps to the order that the OEM signed: order, quantity, batch, station, "
                  "replacements, appliance.");
    if (v->findings == 0 && j->batch)
        proved(v, "The ledger's records opened and released this batch, spent for just these "
                  "devices, and have the same totals.");
    if (v->findings == 0 && o->manifest)
        proved(v,
               "The manifest has the devices of this report that are not KO, and no others, with "
               "the same keys; each element is signed by the audit key.");
    if (!o->order && !o->export)
        unproved(v, "What was ordered: neither --order nor --export was given.");
    if (!o->export)
        unproved(v, "That the ledger has the same: no --export.");
    if (!o->manifest)
        unproved(v, "That the certificates are what was made: the report has their serial numbers "
                    "and hashes of keys only.");
    unproved(v,
             "That the appliance recorded all that it made: that rests on the appliance itself.");
}

static int run(struct sources *s, const struct options *o)
{
    struct verdict v;

    verdict_begin(&v, "report", o->json);
    fact_text(&v, "file", o->file);
    s->judge.list = o->manifest;
    if (!load(s, &v, o) || !production_judge(&s->judge, o->file, o->signature) ||
        (o->manifest && !production_judge_manifest(&s->judge, o->manifest))) {
        verdict_drop(&v);
        return EXIT_DATA;
    }
    say(&v, s, o);
    return verdict_end(&v);
}

int report_command(int argc, char **argv)
{
    struct options o = {.file = NULL};
    struct sources s = {.ledger = allocate(1, sizeof(*s.ledger))};
    int status = parse_options(argc, argv, &o);

    if (status < 0) {
        status = run(&s, &o);
        production_judge_done(&s.judge);
        signature_done(&s.order_signature);
        arena_done(&s.order_arena);
        ledger_done(s.ledger);
    }
    free(s.ledger);
    return status;
}
