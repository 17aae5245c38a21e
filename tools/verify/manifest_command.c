/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify manifest: a manifest by itself. */
#include "tools/verify/manifest.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *file, *audit;
    bool json;
};

static const char usage_text[] =
    "usage: mintmark-verify manifest FILE --audit CERT [options]\n"
    "\n"
    "Verifies every JWS of a manifest. To hold it against the report on its batch, use\n"
    "mintmark-verify report.\n"
    "\n"
    "  --audit CERT      the appliance's audit certificate, PEM\n"
    "  --json            print one JSON object\n";

static int parse_options(int argc, char **argv, struct options *o)
{
    const struct option_spec specs[] = {{.name = "audit", .values = &o->audit}};
    const int status = options_parse(argc, argv, usage_text, specs, COUNT(specs), &o->json);

    if (status >= 0)
        return status;
    if (optind + 1 != argc)
        return usage_error("'manifest' takes one file", "");
    if (!o->audit)
        return usage_error("--audit is missing", "");
    o->file = argv[optind];
    return -1;
}

static void say(struct verdict *v, const struct manifest *m)
{
    fact_number(v, "devices", m->devices);
    fact_number(v, "certificates", m->certificates);
    fact_text(v, "batch", m->group ? m->group : "");
    if (v->findings == 0) {
        proved(v,
               "The appliance's audit key signed every one of the %llu elements; no device and no "
               "public key is there twice.",
               (unsigned long long)m->devices);
        proved(v,
               "%llu certificates are of the keys that are named, and signed by the issuer that "
               "comes with them, as each issuer is by the one after it.",
               (unsigned long long)m->certificates);
    }
    unproved(v, "That it is whole: an element may have been taken out. mintmark-verify report "
                "--manifest holds it against the report.");
    unproved(v, "That the issuers are the right ones: compare them with the site's CA.");
}

static int run(struct trust *audit, const struct options *o)
{
    struct verdict v;
    struct manifest m = {.v = &v, .path = o->file, .audit = audit};
    int status = EXIT_DATA;

    if (!trust_load(audit, o->audit))
        return EXIT_DATA;
    verdict_begin(&v, "manifest", o->json);
    fact_text(&v, "file", o->file);
    if (manifest_read(&m)) {
        say(&v, &m);
        status = verdict_end(&v);
    } else {
        verdict_drop(&v);
    }
    manifest_done(&m);
    return status;
}

int manifest_command(int argc, char **argv)
{
    struct options o = {.file = NULL};
    struct trust audit = {.path = NULL};
    int status = parse_options(argc, argv, &o);

    if (status < 0)
        status = run(&audit, &o);
    trust_done(&audit);
    return status;
}
