/* SPDX-License-Identifier: Apache-2.0 */
/* config check: everything about a configuration that can be known without a token or a service. */
#include "daemon/document/document.h"
#include "daemon/pki/profile.h"
#include "tools/officer/officer.h"
#include "tools/officer/pem.h"

static int check_issuer(const struct mm_conf *conf, const struct mm_conf_issuer *issuer,
                        STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    int r;

    r = mm_chain_read(issuer->certificate, &chain, ei);
    if (r == MM_OK)
        r = mm_chain_verify(chain, ei);
    if (r == MM_OK)
        r = mm_cert_require_ca(sk_X509_value(chain, 0), ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s:%d: issuer '%s'", conf->path, issuer->line, issuer->name);
    *ret_chain = MM_TAKE(chain);
    return MM_OK;
}

static int check_profile(const struct mm_conf *conf, const struct mm_conf_profile *profile,
                         struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *const issuer = mm_conf_issuer_get(conf, profile->issuer);
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    struct mm_profile *compiled = NULL;
    int r;

    if (issuer) {
        r = check_issuer(conf, issuer, &chain, ei);
        if (r < 0)
            return r;
    }
    r = mm_profile_compile(profile, chain ? sk_X509_value(chain, 0) : NULL, &compiled, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s:%d", conf->path, profile->line); /* it names the profile */
    mm_profile_free(compiled);
    return MM_OK;
}

/* As the service takes them, at its start and on a reload. */
static int check_trusted(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &conf->appliance;
    const struct {
        const char *setting, *path;
    } files[] = {{"oem_certificates", a->oem_certificates},
                 {"officer_certificates", a->officer_certificates}};

    for (size_t i = 0; a->given && i < MM_ARRAY_SIZE(files); i++) {
        MM_TRUST_CLEANUP struct mm_trust *trust = NULL;

        if (*files[i].path && mm_trust_read(files[i].path, &trust, ei) < 0)
            return mm_err_prefix(ei, "%s:%d: appliance.%s", conf->path, a->line, files[i].setting);
    }
    return MM_OK;
}

static int check_all(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r;

    r = mm_conf_check_files(o->conf, ei);
    if (r == MM_OK)
        r = check_trusted(o->conf, ei);
    if (r < 0)
        return r;
    for (size_t i = 0; i < o->conf->n_issuers; i++) {
        MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;

        r = check_issuer(o->conf, &o->conf->issuers[i], &chain, ei);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < o->conf->n_profiles; i++) {
        r = check_profile(o->conf, &o->conf->profiles[i], ei);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

int mm_cmd_config_check(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r;

    o->args.config = o->args.operand;
    r = mm_officer_load(o, ei);
    if (r < 0)
        return r;
    r = check_all(o, ei);
    if (r < 0) {
        o->exit_code = MM_EXIT_CONFIG;
        return r;
    }
    if (!o->args.json)
        printf("%s: good; tokens: %zu, issuers: %zu, profiles: %zu, clients: %zu\n", o->conf->path,
               o->conf->n_tokens, o->conf->n_issuers, o->conf->n_profiles, o->conf->n_clients);
    return mm_officer_answer(o, "configuration",
                             json_pack("{s:s, s:I, s:I, s:I, s:I}", "path", o->conf->path, "tokens",
                                       (json_int_t)o->conf->n_tokens, "issuers",
                                       (json_int_t)o->conf->n_issuers, "profiles",
                                       (json_int_t)o->conf->n_profiles, "clients",
                                       (json_int_t)o->conf->n_clients),
                             ei);
}
