/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/check.h"

#include "daemon/conf/format.h"
#include "daemon/conf/mechanism.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One element of a titled section, for messages: its kind, its place in the file. */
struct subject {
    const struct mm_draft *draft;
    const char *kind, *name;
    cfg_t *section;
};

static struct subject subject_at(const struct mm_draft *draft, const char *kind, size_t index)
{
    cfg_t *section = cfg_getnsec(draft->parsed->root, kind, (unsigned)index);

    return (struct subject){draft, kind, section->title, section};
}

/* "FILE:LINE: KIND 'NAME': …", with the line of the setting at fault, or of the section. */
static int bad(const struct subject *s, const char *key, const char *fmt, ...) MM_PRINTF(3, 4);
static int bad(const struct subject *s, const char *key, const char *fmt, ...)
{
    const bool given = key && mm_raw_count(s->section, key) > 0;
    const int line =
        given ? mm_raw_at(s->section, key, 0)->line : mm_section_line(s->draft->parsed, s->section);
    char text[MM_ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    return mm_fail_at(s->draft->place, line, "%s '%s': %s", s->kind, s->name, text);
}

/* Both sides of an "either … or …". */
static int exactly_one(const struct subject *s, const char *a, const char *b)
{
    const bool has_a = mm_raw_count(s->section, a) > 0, has_b = mm_raw_count(s->section, b) > 0;

    if (has_a && has_b)
        return bad(s, b, "set %s or %s, not both", a, b);
    if (!has_a && !has_b)
        return bad(s, NULL, "set %s or %s", a, b);
    return MM_OK;
}

static int known_token(const struct subject *s, const char *token)
{
    if (mm_conf_token_get(s->draft->conf, token))
        return MM_OK;
    return bad(s, "token", "there is no section token '%s'", token);
}

static bool is_among(const char *name, char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return true;
    return false;
}

/* Several tokens with one key, each named once. */
static int known_tokens(const struct subject *s, char *const *tokens, size_t n)
{
    int r = MM_OK;

    for (size_t i = 0; i < n && r >= 0; i++)
        r = is_among(tokens[i], tokens, i)
                ? bad(s, "token", "token '%s' stands in the list twice", tokens[i])
                : known_token(s, tokens[i]);
    return r;
}

/* The page has no names or keys of devices, but it has the plant's output, and asks nobody who he
 * is. */
static int check_metrics(const struct mm_draft *draft)
{
    const struct mm_conf_metrics *m = &draft->conf->metrics;
    cfg_t *section = cfg_getsec(draft->parsed->root, "metrics");

    if (!m->given || m->remote || mm_format_loopback(m->address))
        return MM_OK;
    return mm_fail_at(draft->place, mm_raw_at(section, "address", 0)->line,
                      "metrics.address is '%s', which other machines may reach, and anybody there "
                      "may read; take '127.0.0.1' or '::1', or set metrics.remote = true",
                      m->address);
}

/* Its token is there, so that the anchor has a place. */
static int check_appliance(const struct mm_draft *draft)
{
    const struct mm_conf_appliance *a = &draft->conf->appliance;
    cfg_t *section = cfg_getsec(draft->parsed->root, "appliance");

    if (!a->given || mm_conf_token_get(draft->conf, a->token))
        return MM_OK;
    return mm_fail_at(draft->place, mm_raw_at(section, "token", 0)->line,
                      "appliance.token is '%s'; there is no section token '%s'", a->token,
                      a->token);
}

static int check_tokens(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_tokens && r >= 0; i++) {
        const struct subject s = subject_at(draft, "token", i);

        r = exactly_one(&s, "pin_file", "pin_credential");
    }
    return r;
}

static int check_transports(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_transports && r >= 0; i++) {
        const struct subject s = subject_at(draft, "transport", i);
        struct mm_conf_transport *t = &draft->conf->transports[i];

        t->token = t->tokens[0];
        r = known_tokens(&s, t->tokens, t->n_tokens);
    }
    return r;
}

/* The settings of the other kind. Those that have a default say nothing here: --dump-config writes
 * them for either. */
static int refuse_settings(const struct subject *s, const char *const *keys, size_t n,
                           const char *kind)
{
    for (size_t i = 0; i < n; i++)
        if (mm_raw_count(s->section, keys[i]) > 0)
            return bad(s, keys[i], "%s is for issuers of kind '%s'", keys[i], kind);
    return MM_OK;
}

static int require_settings(const struct subject *s, const char *const *keys, size_t n,
                            const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (mm_raw_count(s->section, keys[i]) == 0)
            return bad(s, NULL, "set %s: %s needs it", keys[i], what);
    return MM_OK;
}

static const char *const local_settings[] = {"token", "key"};

static int check_local(const struct subject *s, const struct mm_conf_issuer *issuer)
{
    static const char *const others[] = {"nodes",
                                         "server_ca",
                                         "client_p12",
                                         "client_password_file",
                                         "client_password_credential",
                                         "client_key",
                                         "client_token",
                                         "client_certificate"};
    int r = require_settings(s, local_settings, MM_ARRAY_SIZE(local_settings),
                             "an issuer of kind local");

    if (r >= 0)
        r = refuse_settings(s, others, MM_ARRAY_SIZE(others), "ejbca");
    return r < 0 ? r : known_tokens(s, issuer->tokens, issuer->n_tokens);
}

/* Who the appliance is to EJBCA. */
static int check_credential(const struct subject *s, const struct mm_conf_issuer *issuer)
{
    static const char *const of_token[] = {"client_token", "client_certificate"};
    static const char *const of_file[] = {"client_password_file", "client_password_credential"};
    const struct mm_conf_token *token;
    int r = exactly_one(s, "client_p12", "client_key");

    if (r < 0)
        return r;
    for (size_t i = 0; i < MM_ARRAY_SIZE(of_token); i++) {
        const char *wrong = *issuer->client_p12 ? of_token[i] : of_file[i];

        if (mm_raw_count(s->section, wrong) > 0)
            return bad(s, wrong, "%s does not go with %s", wrong,
                       *issuer->client_p12 ? "client_p12" : "client_key");
    }
    if (*issuer->client_p12)
        return exactly_one(s, of_file[0], of_file[1]);
    r = require_settings(s, of_token, MM_ARRAY_SIZE(of_token), "client_key");
    if (r < 0)
        return r;
    token = mm_conf_token_get(s->draft->conf, issuer->client_token);
    if (!token)
        return bad(s, "client_token", "there is no section token '%s'", issuer->client_token);
    /* OpenSSL's provider takes them from its own configuration only. */
    if (*token->parameters)
        return bad(
            s, "client_token",
            "token '%s' has parameters, and the key that the appliance shows to EJBCA cannot "
            "be in such a token",
            issuer->client_token);
    return MM_OK;
}

static int check_ejbca(const struct subject *s, const struct mm_conf_issuer *issuer)
{
    static const char *const needed[] = {"nodes", "server_ca"};
    int r = require_settings(s, needed, MM_ARRAY_SIZE(needed), "an issuer of kind ejbca");

    if (r >= 0)
        r = refuse_settings(s, local_settings, MM_ARRAY_SIZE(local_settings), "local");
    if (r >= 0)
        r = check_credential(s, issuer);
    if (r < 0)
        return r;
    if (issuer->requests_start > issuer->requests_max)
        return bad(s, "requests_start", "requests_start is more than requests_max (%u)",
                   issuer->requests_max);
    if (issuer->breaker_wait_ms > issuer->breaker_wait_max_ms)
        return bad(s, "breaker_wait_ms", "breaker_wait_ms is more than breaker_wait_max_ms (%u)",
                   issuer->breaker_wait_max_ms);
    return MM_OK;
}

static int check_issuers(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_issuers && r >= 0; i++) {
        const struct subject s = subject_at(draft, "issuer", i);

        draft->conf->issuers[i].token =
            draft->conf->issuers[i].n_tokens > 0 ? draft->conf->issuers[i].tokens[0] : "";
        if (!strcmp(s.name, "none"))
            return bad(&s, NULL, "'none' means that there is no issuer; choose another name");
        r = mm_conf_issuer_is_ejbca(&draft->conf->issuers[i])
                ? check_ejbca(&s, &draft->conf->issuers[i])
                : check_local(&s, &draft->conf->issuers[i]);
    }
    return r;
}

static int copy_tokens(const struct subject *s, struct mm_conf_profile *p, char *const *tokens,
                       size_t n)
{
    char **copy = calloc(n + 1, sizeof(*copy));

    free(p->tokens);
    p->tokens = copy;
    while (copy && p->n_tokens < n) {
        copy[p->n_tokens] = strdup(tokens[p->n_tokens]);
        if (!copy[p->n_tokens])
            break;
        p->n_tokens++;
    }
    return p->n_tokens == n ? MM_OK : mm_fail_memory(s->draft->place->ei);
}

/* issuer: the one in tokens here, or NULL. */
static int choose_tokens(const struct subject *s, struct mm_conf_profile *p,
                         const struct mm_conf_issuer *issuer)
{
    const struct mm_conf *conf = s->draft->conf;

    if (p->n_tokens == 0 && issuer)
        return copy_tokens(s, p, issuer->tokens, issuer->n_tokens);
    if (p->n_tokens == 0 && conf->n_tokens == 1)
        return copy_tokens(s, p, &conf->tokens[0].name, 1);
    if (p->n_tokens == 0)
        return bad(s, "issuer", "set token: there are %zu to choose from", conf->n_tokens);
    for (size_t i = 0; issuer && i < p->n_tokens; i++)
        if (!is_among(p->tokens[i], issuer->tokens, issuer->n_tokens))
            return bad(s, "token", "its issuer's key is in token '%s': device keys are made there",
                       issuer->token);
    return known_tokens(s, p->tokens, p->n_tokens);
}

/* Keys are made where the CA's key is: one job is one token's. */
static int check_profile_tokens(const struct subject *s, struct mm_conf_profile *p)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(s->draft->conf, p->issuer);
    int r;

    p->ejbca = mm_conf_issuer_is_ejbca(issuer);
    if (!issuer && strcmp(p->issuer, "none") != 0)
        return bad(s, "issuer", "there is no section issuer '%s'; write 'none' for requests (CSR)",
                   p->issuer);
    /* With the CA's key elsewhere, the devices' keys may be in any token. */
    r = choose_tokens(s, p, p->ejbca ? NULL : issuer);
    if (r >= 0)
        p->token = p->tokens[0];
    return r;
}

static int check_delivery(const struct subject *s, const struct mm_conf_profile *p)
{
    const struct mm_conf_transport *transport = mm_conf_transport_get(s->draft->conf, p->transport);

    if (strcmp(p->delivery, "wrapped") != 0) {
        if (*p->transport)
            return bad(s, "transport", "a transport key is for delivery 'wrapped', not for '%s'",
                       p->delivery);
        return MM_OK;
    }
    if (!*p->transport)
        return bad(s, "delivery", "delivery 'wrapped' needs a transport key: set transport");
    if (!transport)
        return bad(s, "transport", "there is no section transport '%s'", p->transport);
    for (size_t i = 0; i < p->n_tokens; i++)
        if (!is_among(p->tokens[i], transport->tokens, transport->n_tokens))
            return bad(s, "transport",
                       "its key is in token '%s', but device keys are made in token '%s'",
                       transport->token, p->tokens[i]);
    return MM_OK;
}

static int check_item(const struct subject *s)
{
    const bool referred = mm_raw_count(s->section, "reference") > 0;
    static const char *const about[] = {"sha256", "size"};
    const int r = exactly_one(s, "file", "reference");

    if (r < 0)
        return r;
    for (size_t i = 0; i < MM_ARRAY_SIZE(about); i++) {
        const bool given = mm_raw_count(s->section, about[i]) > 0;

        if (referred && !given)
            return bad(s, NULL, "a referenced item must set %s", about[i]);
        if (!referred && given)
            return bad(s, about[i], "%s is for referenced items; a file's is computed", about[i]);
    }
    return MM_OK;
}

/* No token wraps ML-DSA's private keys that we know of, and nothing here has room for them. */
static int check_ml_dsa(const struct subject *s, const struct mm_conf_profile *p)
{
    if (strncmp(p->key, "mldsa", 5) != 0)
        return MM_OK;
    if (strcmp(p->delivery, "retained") != 0 && strcmp(p->delivery, "on-device") != 0)
        return bad(s, "delivery", "keys of %s are delivered 'retained' or 'on-device', not '%s'",
                   p->key, p->delivery);
    if (strcmp(p->manifest, "none") != 0)
        return bad(s, "manifest", "a manifest names no keys of %s", p->key);
    return MM_OK;
}

static int check_content(const struct subject *s, const struct mm_conf_profile *p)
{
    const bool preset = *p->preset;
    const int r = check_ml_dsa(s, p);

    if (r < 0)
        return r;
    if (!preset && !*p->subject && !*p->san)
        return bad(s, NULL, "set subject or san: an identity needs a name");
    if (!preset && !*p->validity && strcmp(p->issuer, "none") != 0 && !p->ejbca)
        return bad(s, NULL, "set validity, like '20y' or '99991231235959Z'");
    return MM_OK;
}

/* ${number} counts anew in each profile: with the same template two profiles would share their end
 * entities. */
static int check_username_unique(const struct subject *s, const struct mm_conf_profile *p)
{
    const struct mm_conf *conf = s->draft->conf;

    if (strstr(p->username, "${device_uid}") || strstr(p->username, "${profile}"))
        return MM_OK;
    for (const struct mm_conf_profile *other = conf->profiles; other != p; other++)
        if (other->ejbca && !strcmp(other->username, p->username))
            return bad(s, "username",
                       "profile '%s' has the same template, and so the same end entities; put "
                       "'${profile}' into it",
                       other->name);
    return MM_OK;
}

static int check_issuance(const struct subject *s, const struct mm_conf_profile *p)
{
    static const char *const keys[] = {"ca", "certificate_profile", "end_entity_profile"};
    int r;

    if (!p->ejbca)
        return refuse_settings(s, keys, MM_ARRAY_SIZE(keys), "ejbca");
    r = require_settings(s, keys, MM_ARRAY_SIZE(keys), "an issuer of kind ejbca");
    return r < 0 ? r : check_username_unique(s, p);
}

static int check_profiles(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_profiles && r >= 0; i++) {
        const struct subject s = subject_at(draft, "profile", i);
        struct mm_conf_profile *p = &draft->conf->profiles[i];

        r = check_profile_tokens(&s, p);
        if (r >= 0)
            r = check_delivery(&s, p);
        if (r >= 0)
            r = check_content(&s, p);
        if (r >= 0)
            r = check_issuance(&s, p);
        for (size_t j = 0; j < p->n_items && r >= 0; j++) {
            cfg_t *section = cfg_getnsec(s.section, "item", (unsigned)j);
            const struct subject item = {draft, "item", p->items[j].name, section};

            r = check_item(&item);
        }
    }
    return r;
}

static const struct mm_conf_client *find_client(const struct mm_conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_clients; i++)
        if (!strcmp(conf->clients[i].name, name))
            return &conf->clients[i];
    return NULL;
}

/* A name that is mistyped would refuse somebody, or, worse, let a later client of that name in. */
static int check_signers(const struct subject *s, const struct mm_conf_signing *signing)
{
    for (size_t i = 0; i < signing->n_clients; i++) {
        const struct mm_conf_client *c = find_client(s->draft->conf, signing->clients[i]);

        if (!c)
            return bad(s, "clients", "there is no section client '%s'", signing->clients[i]);
        if (!(c->roles & MM_ROLE_STATION))
            return bad(s, "clients", "client '%s' may not sign: it lacks the role station",
                       c->name);
    }
    return MM_OK;
}

/* A CA's key that signs what clients bring would sign certificates of their making. The token
 * worker compares the keys themselves; this finds the plain mistake without a token. */
static int check_not_issuer(const struct subject *s, const struct mm_conf_signing *signing)
{
    const struct mm_conf *conf = s->draft->conf;

    for (size_t i = 0; i < conf->n_issuers; i++)
        if (is_among(signing->token, conf->issuers[i].tokens, conf->issuers[i].n_tokens) &&
            !strcmp(conf->issuers[i].key, signing->key))
            return bad(s, "key", "this is the key of issuer '%s'; a CA's key signs nothing else",
                       conf->issuers[i].name);
    return MM_OK;
}

/* Ed25519's keys have a mechanism of their own, which no others have. */
static int check_mechanisms(const struct subject *s, const struct mm_conf_signing *signing)
{
    for (size_t i = 0; i < signing->n_mechanisms; i++) {
        const struct mm_mechanism *m = mm_mechanism_get(signing->mechanisms[i]);

        if (m && !mm_mechanism_fits(m, signing->curve))
            return bad(s, "mechanisms", "a key on curve %s does not sign by %s", signing->curve,
                       signing->mechanisms[i]);
    }
    return MM_OK;
}

static int check_signings(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_signings && r >= 0; i++) {
        const struct subject s = subject_at(draft, "signing", i);
        const struct mm_conf_signing *signing = &draft->conf->signings[i];

        r = known_token(&s, signing->token);
        if (r >= 0)
            r = check_not_issuer(&s, signing);
        if (r >= 0)
            r = check_mechanisms(&s, signing);
        if (r >= 0)
            r = check_signers(&s, signing);
    }
    return r;
}

/* Two clients with one identity: which roles would hold? */
static int check_client_unique(const struct subject *s, size_t index)
{
    const struct mm_conf_client *clients = s->draft->conf->clients;
    const struct mm_conf_client *c = &clients[index];

    for (size_t i = 0; i < index; i++) {
        if (*c->uri && !strcmp(clients[i].uri, c->uri))
            return bad(s, "uri", "client '%s' has the same uri", clients[i].name);
        if (*c->subject && !strcmp(clients[i].subject, c->subject))
            return bad(s, "subject", "client '%s' has the same subject", clients[i].name);
    }
    return MM_OK;
}

static int check_clients(const struct mm_draft *draft)
{
    int r = MM_OK;

    for (size_t i = 0; i < draft->conf->n_clients && r >= 0; i++) {
        const struct subject s = subject_at(draft, "client", i);

        r = exactly_one(&s, "uri", "subject");
        if (r >= 0)
            r = check_client_unique(&s, i);
        if (r >= 0 && draft->conf->clients[i].roles == 0)
            r = bad(&s, "roles", "set roles to at least one of station, officer, auditor, monitor");
    }
    return r;
}

int mm_conf_check(const struct mm_draft *draft)
{
    static int (*const checks[])(const struct mm_draft *) = {
        check_metrics, check_appliance, check_tokens,  check_transports,
        check_issuers, check_profiles,  check_clients, check_signings};
    int r = MM_OK;

    for (size_t i = 0; i < MM_ARRAY_SIZE(checks) && r >= 0; i++)
        r = checks[i](draft);
    return r;
}
