/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify identities: what a station has received. */
#include "tools/verify/audit.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *dir, *root, *transport_key, *recipient_key;
    enum rules rules;
    long long count; /* -1: any */
    bool json;
};

static const char usage_text[] =
    "usage: mintmark-verify identities --dir DIR --root FILE [options]\n"
    "\n"
    "Judges the identities that a station has received, with code of its own.\n"
    "\n"
    "  --dir DIR             folder that `mintmark provision --out` wrote\n"
    "  --root FILE           the root certificate to trust, PEM or DER (not needed for requests)\n"
    "  --rules NAME          none (default), matter-dac or ieee8021ar\n"
    "  --transport-key FILE  export file of the transport key; opens the private keys\n"
    "  --recipient-key FILE  private key that the transport key was exported to, PEM\n"
    "  --count N             there must be exactly N devices\n"
    "  --json                print one JSON object\n";

static const char *const rules_names[] = {
    [RULES_NONE] = "none", [RULES_MATTER_DAC] = "matter-dac", [RULES_IEEE8021AR] = "ieee8021ar"};

static bool rules_parse(const char *name, enum rules *ret_rules)
{
    for (size_t i = 0; i < COUNT(rules_names); i++) {
        if (strcmp(name, rules_names[i]) == 0) {
            *ret_rules = (enum rules)i;
            return true;
        }
    }
    return false;
}

static bool parse_count(const char *text, long long *ret_count)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    *ret_count = strtoll(text, &end, 10);
    return *end == 0 && *ret_count <= 1000000000;
}

/* -1: go on; else the exit status. */
static int parse_options(int argc, char **argv, struct options *o)
{
    const char *rules = NULL, *count = NULL;
    const struct option_spec specs[] = {{.name = "dir", .values = &o->dir},
                                        {.name = "root", .values = &o->root},
                                        {.name = "rules", .values = &rules},
                                        {.name = "transport-key", .values = &o->transport_key},
                                        {.name = "recipient-key", .values = &o->recipient_key},
                                        {.name = "count", .values = &count}};
    const int status = options_parse(argc, argv, usage_text, specs, COUNT(specs), &o->json);

    if (status >= 0)
        return status;
    if (rules && !rules_parse(rules, &o->rules))
        return usage_error("--rules is none, matter-dac or ieee8021ar, not ", rules);
    if (count && !parse_count(count, &o->count))
        return usage_error("--count is a number, not ", count);
    if (optind != argc)
        return usage_error("'identities' takes options only, not ", argv[optind]);
    if (!o->dir)
        return usage_error("--dir is missing", "");
    if (!o->transport_key != !o->recipient_key)
        return usage_error("--transport-key and --recipient-key belong together", "");
    return -1;
}

static void print_text(const struct verify *v)
{
    const struct report *r = &v->report;
    const uint64_t shown = r->failures < FAILURES_SHOWN ? r->failures : FAILURES_SHOWN;

    for (uint64_t i = 0; i < shown; i++)
        printf("FAILED %s\n", r->shown[i] ? r->shown[i] : "(out of memory)");
    if (r->failures > shown)
        printf("… and %llu more\n", (unsigned long long)(r->failures - shown));
    printf("%s: %llu devices, %llu certificates, %llu requests, %llu private keys proven",
           r->failures ? "FAILED" : "OK", (unsigned long long)v->devices,
           (unsigned long long)v->certificates, (unsigned long long)v->requests,
           (unsigned long long)v->keys_checked);
    if (v->keys_unopened)
        printf(", %llu not opened (no --transport-key)", (unsigned long long)v->keys_unopened);
    if (v->keys_of_others)
        printf(", %llu not opened (wrapped under another transport key)",
               (unsigned long long)v->keys_of_others);
    if (v->keys_on_device)
        printf(", %llu in their devices", (unsigned long long)v->keys_on_device);
    printf(", rules %s, %llu failures\n", rules_names[v->rules], (unsigned long long)r->failures);
}

static void print_json(const struct verify *v)
{
    const struct report *r = &v->report;
    json_t *failures = json_array(), *o;

    for (uint64_t i = 0; i < r->failures && i < FAILURES_SHOWN; i++)
        json_array_append_new(failures, json_string(r->shown[i] ? r->shown[i] : ""));
    o = json_pack("{s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "ok", r->failures == 0,
                  "rules", rules_names[v->rules], "devices", (json_int_t)v->devices, "certificates",
                  (json_int_t)v->certificates, "requests", (json_int_t)v->requests, "keys_proven",
                  (json_int_t)v->keys_checked, "keys_not_opened", (json_int_t)v->keys_unopened,
                  "keys_under_another", (json_int_t)v->keys_of_others, "keys_on_device",
                  (json_int_t)v->keys_on_device, "failures", (json_int_t)r->failures,
                  "first_failures", failures);
    json_dumpf(o, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(o);
}

static void check_count(struct verify *v, long long count)
{
    if (count >= 0 && v->devices != (uint64_t)count)
        report_fail(&v->report, "devices.jsonl", "%llu devices, not %lld",
                    (unsigned long long)v->devices, count);
}

static int run(struct verify *v, const struct options *o)
{
    if (o->root && !chain_load_root(&v->chain, o->root))
        return EXIT_DATA;
    if (o->transport_key && !transport_open(&v->transport, o->transport_key, o->recipient_key))
        return EXIT_DATA;
    if (!folder_check(v))
        return EXIT_DATA;
    check_count(v, o->count);
    if (o->json)
        print_json(v);
    else
        print_text(v);
    return v->report.failures ? EXIT_FAILED : EXIT_GOOD;
}

int identities_command(int argc, char **argv)
{
    struct options o = {.count = -1};
    struct verify v = {.dir = NULL};
    int status = parse_options(argc, argv, &o);

    if (status >= 0)
        return status;
    v.dir = o.dir;
    v.rules = o.rules;
    status = run(&v, &o);
    report_done(&v.report);
    seen_done(&v.seen);
    chain_done(&v.chain);
    transport_done(&v.transport);
    free(v.uids);
    return status;
}
