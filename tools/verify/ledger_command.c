/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify ledger: an export of the ledger. */
#include "tools/verify/production.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *file, *audit, *identity, *oem, *officers;
    const char *since[WITNESSES_MAX];
    size_t n_since;
    char *const *reports;
    size_t n_reports;
    bool json;
};

static const char usage_text[] =
    "usage: mintmark-verify ledger EXPORT [REPORT...] --audit CERT [options]\n"
    "\n"
    "Verifies an export of the ledger (mintmark-officer ledger export), and holds reports against\n"
    "it, each with its signature in REPORT.p7s.\n"
    "\n"
    "  --audit CERT      the appliance's audit certificate, PEM\n"
    "  --identity CERT   its identity certificate: orders must be for it\n"
    "  --oem CERTS       who may sign orders, revocations and receipts\n"
    "  --officers CERTS  who may sign unlocks\n"
    "  --since FILE      a checkpoint, or an older export, that was kept elsewhere: this one must\n"
    "                    go on from it; may be given more than once\n"
    "  --json            print one JSON object\n";

/* -1: go on. */
static int parse_options(int argc, char **argv, struct options *o)
{
    const struct option_spec specs[] = {
        {.name = "audit", .values = &o->audit},
        {.name = "identity", .values = &o->identity},
        {.name = "oem", .values = &o->oem},
        {.name = "officers", .values = &o->officers},
        {.name = "since", .values = o->since, .n = &o->n_since, .max = WITNESSES_MAX}};
    const int status = options_parse(argc, argv, usage_text, specs, COUNT(specs), &o->json);

    if (status >= 0)
        return status;
    if (optind == argc)
        return usage_error("'ledger' takes one file, and reports", "");
    if (!o->audit)
        return usage_error("--audit is missing", "");
    o->file = argv[optind];
    o->reports = argv + optind + 1;
    o->n_reports = (size_t)(argc - optind - 1);
    return -1;
}

/* ---- sentences --------------------------------------------------------------------------- */

static void say_facts(struct ledger *l)
{
    char hex[HEX_MAX];

    fact_text(l->v, "ledger_id", hex_text(l->id, sizeof(l->id), hex));
    fact_number(l->v, "first_record", l->first_sequence);
    fact_number(l->v, "last_record", l->at.sequence);
    fact_text(l->v, "head", hex_text(l->at.hash, SHA256_LEN, hex));
    fact_time(l->v, "last_time", l->at.time_ms);
    fact_number(l->v, "orders", l->n_orders);
    fact_number(l->v, "batches", l->n_batches);
    fact_number(l->v, "devices", l->devices);
    fact_number(l->v, "starts", l->epoch);
    fact_number(l->v, "unclean_starts", l->unclean_starts);
    fact_number(l->v, "unlocks", l->unlocks);
    fact_number(l->v, "checkpoints", l->checkpoints);
    fact_number(l->v, "audit_key_changes", l->key_changes);
}

static void say_chain(struct ledger *l)
{
    proved(l->v,
           "Records %llu to %llu follow each other without a gap, and none was changed since "
           "the next was written.",
           (unsigned long long)l->first_sequence, (unsigned long long)l->at.sequence);
    if (l->statement > 0)
        proved(l->v,
               "The appliance's audit key signed this file, and record %llu as the last one "
               "then.",
               (unsigned long long)l->statement);
    if (l->checkpoints > 0)
        proved(l->v,
               "%llu checkpoints, the last over record %llu, are signed by the audit key, and "
               "their totals are what comes out of the records.",
               (unsigned long long)l->checkpoints, (unsigned long long)l->checkpoint_last);
    if (l->key_changes > 0)
        proved(l->v,
               "%llu times the audit key changed: the key that went signed each change, and the "
               "key that came accepted it; what is signed is by the key whose turn it was.",
               (unsigned long long)l->key_changes);
    if (!l->partial || l->seeded)
        proved(l->v,
               "No order, batch or day is overspent; no unit was spent outside of validity, "
               "stations or reporting duties; units given back are within what orders allow.");
}

static void say_documents(struct ledger *l)
{
    if (l->documents_signed > 0)
        proved(l->v,
               "%llu signed documents (orders, revocations, receipts, requests) are signed by "
               "those who may, and say what the records say of them.",
               (unsigned long long)l->documents_signed);
    if (l->reports_signed > 0)
        proved(l->v,
               "%llu reports were signed by the audit key, with the hashes that the records "
               "name.",
               (unsigned long long)l->reports_signed);
    if (l->certified > 0)
        proved(
            l->v,
            "%llu devices got a certificate each from an authority elsewhere, none a second one; "
            "no serial number of an authority is there twice.",
            (unsigned long long)l->certified);
    if (l->keys_deleted > 0)
        unproved(
            l->v,
            "That private keys are gone: the service recorded for %llu batches that it deleted "
            "them, and no record can show that there is no copy.",
            (unsigned long long)l->keys_deleted);
    if (l->unlocks_proved > 0)
        proved(l->v,
               "%llu unlocks are signed by officers, each for the state that the ledger was in.",
               (unsigned long long)l->unlocks_proved);
    if (l->spends_compared > 0)
        proved(l->v,
               "%llu devices are those that were recorded; no UID, public key, or certificate "
               "serial number is there twice.",
               (unsigned long long)l->exported_devices);
}

/* Records whose devices nobody has shown. */
static uint64_t not_compared(const struct ledger *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < 1 << TABLE_BITS; i++) {
        for (const struct batch *b = l->batches[i]; b; b = b->next) {
            for (size_t k = 0; k < b->n_spends; k++)
                n += !b->spends[k].compared;
        }
    }
    return n;
}

static uint64_t opened_before(const struct ledger *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < 1 << TABLE_BITS; i++) {
        for (const struct batch *b = l->batches[i]; b; b = b->next)
            n += !b->complete;
    }
    return n;
}

static void say_unproved(struct ledger *l)
{
    struct verdict *v = l->v;

    if (l->partial && !l->seeded)
        unproved(v,
                 "The sums of orders: the export begins at record %llu, and no checkpoint says "
                 "how they stood then.",
                 (unsigned long long)l->first_sequence);
    if (l->partial)
        unproved(v, "That nothing of before record %llu comes again: it is not in the export.",
                 (unsigned long long)l->first_sequence);
    if (opened_before(l) > 0)
        unproved(v,
                 "How many devices %llu batches that were opened before record %llu may have, and "
                 "how many they have: that is not in the export.",
                 (unsigned long long)opened_before(l), (unsigned long long)l->first_sequence);
    if (not_compared(l) > 0)
        unproved(v,
                 "The devices of %llu records: they are neither in the export nor in a report, so "
                 "public keys and serial numbers were not compared.",
                 (unsigned long long)not_compared(l));
    if (l->passed_over > 0)
        unproved(v,
                 "What %llu records say that are about neither orders nor devices; they are in the "
                 "chain.",
                 (unsigned long long)l->passed_over);
    if (l->device_reports > 0)
        unproved(
            v,
            "Which devices each of %llu reports of stations was about: the records bind them in "
            "the order of the report, which is not kept; the sums were added up.",
            (unsigned long long)l->device_reports);
    if (l->orders_unsigned > 0)
        unproved(v, "%llu orders of before orders were signed: they have no OEM's signature.",
                 (unsigned long long)l->orders_unsigned);
    if (l->documents_missing > 0)
        unproved(v, "%llu signed documents that records name: they are not in the export.",
                 (unsigned long long)l->documents_missing);
    if (!l->oem.path)
        unproved(v, "Who signed orders, revocations and receipts: no --oem.");
    if (!l->identity.path)
        unproved(v, "That orders are for this appliance: no --identity.");
    if (l->unlocks > 0 && !l->officers.path)
        unproved(v, "Who signed unlocks: no --officers.");
    if (l->n_witnesses == 0)
        unproved(v, "That the ledger was not put back to an older state and continued otherwise: "
                    "keep each export, or a checkpoint, and name it with --since the next time.");
    unproved(v,
             "That the appliance recorded all that it made: that rests on the appliance itself.");
}

static bool load(struct ledger *l, const struct options *o)
{
    return trust_load(&l->audit, o->audit) &&
           (!o->identity || trust_load(&l->identity, o->identity)) &&
           (!o->oem || trust_load(&l->oem, o->oem)) &&
           (!o->officers || trust_load(&l->officers, o->officers));
}

static bool read_all(struct ledger *l, struct production_judge *j, const struct options *o)
{
    for (size_t i = 0; i < o->n_since; i++) {
        if (!witness_load(l, o->since[i]))
            return false;
    }
    if (!ledger_read(l, o->file))
        return false;
    for (size_t i = 0; i < o->n_reports; i++) {
        if (!production_judge(j, o->reports[i], NULL))
            return false;
    }
    return true;
}

static int run(struct ledger *l, const struct options *o)
{
    struct verdict v;
    struct production_judge j = {.v = &v, .audit = &l->audit, .ledger = l};

    if (!load(l, o) || !ledger_begin(l, &v, ARENA_MAX))
        return EXIT_DATA;
    verdict_begin(&v, "ledger", o->json);
    fact_text(&v, "file", o->file);
    if (!read_all(l, &j, o)) {
        production_judge_done(&j);
        verdict_drop(&v);
        return EXIT_DATA;
    }
    say_facts(l);
    fact_number(&v, "reports", j.reports);
    if (v.findings == 0)
        say_chain(l);
    if (v.findings == 0)
        say_documents(l);
    if (v.findings == 0 && j.reports > 0)
        proved(&v,
               "%llu reports, with %llu devices, are signed, add up, and say what the records "
               "say; no device is in two of them.",
               (unsigned long long)j.reports, (unsigned long long)j.devices_in_all);
    say_unproved(l);
    production_judge_done(&j);
    return verdict_end(&v);
}

int ledger_command(int argc, char **argv)
{
    struct options o = {.file = NULL};
    struct ledger *l = allocate(1, sizeof(*l));
    int status = parse_options(argc, argv, &o);

    if (status < 0) {
        status = run(l, &o);
        ledger_done(l);
    }
    free(l);
    return status;
}
