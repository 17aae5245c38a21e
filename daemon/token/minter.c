/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/minter.h"

#include "daemon/base/io.h"
#include "daemon/base/log.h"
#include "daemon/token/ahead.h"
#include "daemon/token/signing.h"
#include "pkcs11/backup.h"

#include <string.h>
#include <time.h>

enum { RETRY_PAUSE_MS = 20 };

MM_UNUSED static inline void chain_free_p(STACK_OF(X509) * *chain)
{
    sk_X509_pop_free(*chain, X509_free);
}

static int open_token(struct mm_minter *m, struct mm_errinfo *ei)
{
    const struct mm_token_open how = {
        .module = m->section->module,
        .uri = m->section->uri,
        .environment = m->section->environment,
        .n_environment = m->section->n_environment,
        .parameters = m->section->parameters,
    };
    int r = mm_token_open(&how, &m->token, ei);

    if (r == MM_OK)
        r = mm_login_first(m->login, m->section, m->token, ei);
    return r < 0 ? r : mm_token_info(m->token, &m->info, ei);
}

static int read_chain(const struct mm_conf_issuer *issuer, STACK_OF(X509) * *ret_chain,
                      struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    STACK_OF(X509) *chain = NULL;
    int r = mm_io_read_file(issuer->certificate, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_pki_parse_chain((struct mm_bytes){pem.data, pem.len}, &chain, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%.80s", issuer->certificate);
    if (X509_self_signed(sk_X509_value(chain, sk_X509_num(chain) - 1), 1) != 1) {
        sk_X509_pop_free(chain, X509_free);
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID",
                       "%.80s: the chain must go up to a self-signed root", issuer->certificate);
    }
    *ret_chain = chain;
    return MM_OK;
}

/* Which rows of the policy the key may be of is the configuration's to say: a key that can leave
 * the token, or came from elsewhere, is none unless the site wants backups. */
static int check_ca_policy(struct mm_minter *m, const struct mm_minting *p, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(m->conf, p->conf->issuer);
    enum mm_key_use use = MM_USE_CA;
    int r = MM_OK;

    if (strcmp(issuer->backup, "never") != 0)
        r = mm_token_ca_use(m->token, p->ca_key, &use, ei);
    return r < 0 ? r : mm_token_check_policy(m->token, p->ca_key, use, ei);
}

int mm_minter_check_backup(struct mm_minter *m, struct mm_minting *p, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(m->conf, p->conf->issuer);
    struct mm_errinfo why = {0};
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    size_t len;
    int r;

    if (p->backed_up || !p->ca_key || !issuer || strcmp(issuer->backup, "required") != 0)
        return MM_OK;
    r = mm_token_public_point(m->token, p->ca_key, &curve, point, &len, &why);
    if (r == MM_OK)
        r = mm_token_backup_noted(m->token, point, len, &why);
    p->backed_up = r == MM_OK;
    if (r == MM_ERR_NOT_FOUND)
        return mm_fail(ei, MM_ERR_PRECONDITION, "CA_KEY_NOT_BACKED_UP",
                       "the key of issuer \"%.64s\" has not been backed up, and is not used before "
                       "it is (mintmark-officer key backup)",
                       issuer->name);
    if (r < 0)
        *ei = why;
    return r;
}

/* The key in the token is that of the certificate, and kept as a CA's key must be. */
static int check_ca_key(struct mm_minter *m, struct mm_minting *p, const X509 *certificate,
                        struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX];
    struct mm_bytes certified = {NULL, 0};
    enum mm_curve curve;
    size_t len;
    int r = check_ca_policy(m, p, ei);

    if (r == MM_OK)
        r = mm_token_public_point(m->token, p->ca_key, &curve, point, &len, ei);
    if (r == MM_OK)
        r = mm_pki_certificate_point(certificate, &certified, ei);
    if (r < 0)
        return r;
    if (len != certified.len || memcmp(point, certified.data, len) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "CA_KEY_MISMATCH",
                       "the key in the token is not that of the certificate");
    p->ca_curve = curve;
    return mm_verifier_new(point, len, &p->verifier, ei);
}

static int find_keys(struct mm_minter *m, struct mm_minting *p, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(m->conf, p->conf->issuer);
    const struct mm_conf_transport *transport = mm_conf_transport_get(m->conf, p->conf->transport);
    int r = MM_OK;

    if (issuer && !p->conf->ejbca) {
        r = mm_token_find(m->token, issuer->key, MM_KEY_PRIVATE, &p->ca_key, ei);
        if (r < 0)
            return mm_err_prefix(ei, "issuer \"%s\"", issuer->name);
    }
    if (p->delivery == MM_DELIVERY_WRAPPED && transport) {
        r = mm_token_find(m->token, transport->key, MM_KEY_SECRET, &p->transport_key, ei);
        if (r < 0)
            return mm_err_prefix(ei, "transport \"%s\"", transport->name);
    }
    return MM_OK;
}

int mm_minter_find_keys(struct mm_minter *m, struct mm_errinfo *ei)
{
    /* The old numbers may be other keys' now: should a key not be found any more, nothing may be
     * signed or wrapped by what has taken its place. */
    for (size_t i = 0; i < m->n_profiles; i++)
        m->profiles[i].ca_key = m->profiles[i].transport_key = 0;
    mm_ahead_forget(m);
    if (m->appliance)
        memset(m->appliance->keys, 0, sizeof(m->appliance->keys));
    for (size_t i = 0; i < m->n_profiles; i++) {
        const int r = find_keys(m, &m->profiles[i], ei);

        if (r < 0)
            return r;
    }
    if (m->appliance) {
        const int r = mm_appliance_find_keys(m->appliance, ei);

        if (r < 0)
            return r;
    }
    return mm_signings_find_keys(m, ei);
}

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_nsec = ms * 1000000};

    nanosleep(&t, NULL);
}

int mm_minter_recover(struct mm_minter *m, struct mm_errinfo *ei)
{
    const enum mm_token_class class = mm_token_failure_class(ei);
    int r;

    if (class != MM_TOKEN_RETRY && class != MM_TOKEN_REOPEN && class != MM_TOKEN_LOGIN)
        return ei->code;
    mm_log(MM_LOG_WARNING, "token_recovering", MM_STR("error", mm_token_rv_name(ei->detail)),
           MM_STR("text", ei->text));
    if (class == MM_TOKEN_RETRY) {
        pause_ms(RETRY_PAUSE_MS);
        return MM_OK;
    }
    r = mm_login_again(m->login, m->section, m->token, mm_token_reopen, ei);
    return r < 0 ? r : mm_minter_find_keys(m, ei);
}

static int probe_profile(struct mm_minter *m, const struct mm_minting *p, struct mm_errinfo *ei)
{
    int r = MM_OK;

    if (p->ca_key)
        r = check_ca_policy(m, p, ei);
    if (r == MM_OK && p->transport_key)
        r = mm_token_check_policy(m->token, p->transport_key, MM_USE_TRANSPORT, ei);
    return r;
}

static int probe(struct mm_minter *m, struct mm_errinfo *ei)
{
    uint8_t sign_of_life[4];
    int r = mm_token_random(m->token, sign_of_life, sizeof(sign_of_life), ei);

    for (size_t i = 0; r == MM_OK && i < m->n_profiles; i++)
        r = probe_profile(m, &m->profiles[i], ei);
    for (size_t i = 0; r == MM_OK && i < m->n_signings; i++)
        r = mm_token_check_policy(m->token, m->signings[i].key, MM_USE_SIGNING, ei);
    return r;
}

int mm_minter_probe(struct mm_minter *m, struct mm_errinfo *ei)
{
    for (int recoveries = 0;; recoveries++) {
        int r = probe(m, ei);

        if (r == MM_OK || recoveries == MM_RECOVERIES_MAX)
            return r;
        r = mm_minter_recover(m, ei);
        if (r < 0)
            return r;
    }
}

int mm_minter_renew(struct mm_minter *m, struct mm_errinfo *ei)
{
    const int r = mm_login_again(m->login, m->section, m->token, mm_token_renew, ei);

    return r < 0 ? r : mm_minter_find_keys(m, ei);
}

/* Tokens that make Ed25519 keys need not wrap them: SoftHSM 2.6.1 does not. One is tried. */
static int check_wrap(struct mm_minter *m, const struct mm_minting *p, struct mm_errinfo *ei)
{
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_keypair pair;
    size_t len;
    int r;

    if (p->curve != MM_CURVE_ED25519)
        return MM_OK;
    r = mm_token_generate(m->token, p->curve, MM_DEVICE_WRAPPED, NULL, &pair, ei);
    if (r < 0)
        return r;
    r = mm_token_wrap(m->token, p->transport_key, pair.private_key, wrapped, &len, ei);
    mm_token_destroy(m->token, &pair);
    explicit_bzero(wrapped, sizeof(wrapped));
    if (r < 0 && mm_token_failure_class(ei) == MM_TOKEN_FATAL)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token does not wrap Ed25519 keys; choose another delivery or key");
    return r;
}

static int check_transport(struct mm_minter *m, struct mm_minting *p, struct mm_errinfo *ei)
{
    int r;

    if (!mm_token_mechanisms(m->token)->aes_kwp)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token cannot wrap keys by RFC 5649");
    r = mm_token_check_policy(m->token, p->transport_key, MM_USE_TRANSPORT, ei);
    if (r == MM_OK)
        r = mm_token_check_value(m->token, p->transport_key, p->check_value, ei);
    if (r == MM_OK)
        r = check_wrap(m, p, ei);
    return r < 0 ? mm_err_prefix(ei, "transport \"%s\"", p->conf->transport) : MM_OK;
}

static int compile(struct mm_minting *p, X509 *issuer, struct mm_errinfo *ei)
{
    static const enum mm_curve curves[] = {
        [MM_KEY_P256] = MM_CURVE_P256,           [MM_KEY_P384] = MM_CURVE_P384,
        [MM_KEY_ED25519] = MM_CURVE_ED25519,     [MM_KEY_ML_DSA_44] = MM_CURVE_ML_DSA_44,
        [MM_KEY_ML_DSA_65] = MM_CURVE_ML_DSA_65, [MM_KEY_ML_DSA_87] = MM_CURVE_ML_DSA_87};
    const int r = mm_profile_compile(p->conf, issuer, &p->profile, ei);

    if (r < 0)
        return r;
    p->curve = curves[mm_profile_key(p->profile)];
    p->delivery = mm_profile_delivery(p->profile);
    return MM_OK;
}

/* Keys that devices make are no matter of the token's. */
static int check_mechanism(struct mm_minter *m, const struct mm_minting *p, struct mm_errinfo *ei)
{
    return p->delivery == MM_DELIVERY_ON_DEVICE ? MM_OK
                                                : mm_token_require_curve(m->token, p->curve, ei);
}

static int prepare(struct mm_minter *m, struct mm_minting *p, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(m->conf, p->conf->issuer);
    MM_CLEANUP(chain_free_p) STACK_OF(X509) *chain = NULL;
    X509 *certificate = NULL;
    int r = issuer ? read_chain(issuer, &chain, ei) : MM_OK;

    /* EJBCA gets requests; its chain is but delivered. */
    if (r == MM_OK && chain && !p->conf->ejbca)
        certificate = sk_X509_value(chain, 0);
    if (r == MM_OK)
        r = compile(p, certificate, ei);
    if (r == MM_OK)
        r = check_mechanism(m, p, ei);
    if (r == MM_OK)
        r = find_keys(m, p, ei);
    if (r == MM_OK && certificate)
        r = check_ca_key(m, p, certificate, ei);
    if (r == MM_OK && p->delivery == MM_DELIVERY_WRAPPED)
        r = check_transport(m, p, ei);
    if (r < 0)
        return r;
    return mm_delivery_shared(
        p->conf, chain, p->delivery == MM_DELIVERY_WRAPPED ? p->check_value : NULL, &p->shared, ei);
}

static int prepare_all(struct mm_minter *m, struct mm_errinfo *ei)
{
    m->profiles = calloc(m->conf->n_profiles + 1, sizeof(*m->profiles));
    if (!m->profiles)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < m->conf->n_profiles; i++) {
        struct mm_minting *p = &m->profiles[m->n_profiles];
        int r;

        if (!mm_conf_profile_in_token(&m->conf->profiles[i], m->section->name))
            continue;
        m->n_profiles++;
        p->conf = &m->conf->profiles[i];
        p->shared = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX / 2);
        r = prepare(m, p, ei);
        if (r < 0)
            return mm_err_prefix(ei, "profile \"%s\"", p->conf->name);
    }
    return MM_OK;
}

int mm_minter_open(const struct mm_conf *conf, const char *section, struct mm_login *login,
                   struct mm_minter **ret_minter, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_minter_free_p) struct mm_minter *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return mm_fail_memory(ei);
    m->conf = conf;
    m->login = login;
    m->section = mm_conf_token_get(conf, section);
    if (!m->section)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_TOKEN", "no token section \"%s\"", section);
    r = mm_checks_new(&m->checks, ei);
    if (r == MM_OK)
        r = open_token(m, ei);
    if (r == MM_OK)
        r = prepare_all(m, ei);
    if (r == MM_OK)
        r = mm_signings_prepare(m, ei);
    if (r == MM_OK && conf->appliance.given && strcmp(conf->appliance.token, section) == 0)
        r = mm_appliance_open(&conf->appliance, m->token, &m->appliance, ei);
    if (r < 0)
        return mm_err_prefix(ei, "token \"%s\"", section);
    *ret_minter = MM_TAKE(m);
    return MM_OK;
}

void mm_minter_free(struct mm_minter *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_profiles; i++) {
        mm_profile_free(m->profiles[i].profile);
        mm_verifier_free(m->profiles[i].verifier);
        mm_buf_done(&m->profiles[i].shared);
        free(m->profiles[i].ahead);
    }
    free(m->profiles);
    mm_signings_free(m);
    mm_appliance_free(m->appliance);
    mm_checks_free(m->checks);
    mm_token_free(m->token);
    free(m);
}

struct mm_minting *mm_minter_profile(struct mm_minter *m, const char *name)
{
    for (size_t i = 0; i < m->n_profiles; i++) {
        if (strcmp(m->profiles[i].conf->name, name) == 0)
            return &m->profiles[i];
    }
    return NULL;
}
