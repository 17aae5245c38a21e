/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/signing.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/conf/mechanism.h"
#include "daemon/document/document.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

MM_UNUSED static inline void chain_free_p(STACK_OF(X509) * *chain)
{
    sk_X509_pop_free(*chain, X509_free);
}

/* ---- taking sections up ------------------------------------------------------------------ */

static int read_certificates(const char *path, STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_pki_parse_chain((struct mm_bytes){pem.data, pem.len}, ret_chain, ei);
    return r < 0 ? mm_err_prefix(ei, "%.80s", path) : MM_OK;
}

static bool is_key_of(const X509 *certificate, const uint8_t *point, size_t len)
{
    struct mm_bytes certified = {NULL, 0};
    struct mm_errinfo ignored; /* a key of another kind is another key */

    return mm_pki_certificate_point(certificate, &certified, &ignored) == MM_OK &&
           certified.len == len && memcmp(certified.data, point, len) == 0;
}

/* The appliance's own keys say who it is, and hold its ledger fast: their signatures are
 * statements. Behind an audit key's certificate those of former ones may stand. */
static int check_no_appliance(struct mm_minter *m, const uint8_t *point, size_t len,
                              struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *a = &m->conf->appliance;
    const char *const files[] = {a->identity_certificate, a->audit_certificate};

    for (size_t i = 0; a->given && i < MM_ARRAY_SIZE(files); i++) {
        MM_TRUST_CLEANUP struct mm_trust *own = NULL;
        const int r = mm_trust_read(files[i], &own, ei);

        if (r < 0)
            return r;
        for (int k = 0; k < sk_X509_num(mm_trust_certificates(own)); k++) {
            if (is_key_of(sk_X509_value(mm_trust_certificates(own), k), point, len))
                return mm_fail(ei, MM_ERR_INVALID, "SIGNING_KEY_IS_APPLIANCE",
                               "the key is one of the appliance's own; it signs nothing else");
        }
    }
    return MM_OK;
}

/* Not by handle or label: the CA's key may be a second object, or in another token. */
static int check_no_ca(const struct mm_minter *m, const uint8_t *point, size_t len,
                       struct mm_errinfo *ei)
{
    for (size_t i = 0; i < m->conf->n_issuers; i++) {
        const struct mm_conf_issuer *issuer = &m->conf->issuers[i];
        MM_CLEANUP(chain_free_p) STACK_OF(X509) *chain = NULL;
        const int r = read_certificates(issuer->certificate, &chain, ei);

        if (r < 0)
            return mm_err_prefix(ei, "issuer \"%s\"", issuer->name);
        for (int j = 0; j < sk_X509_num(chain); j++) {
            if (is_key_of(sk_X509_value(chain, j), point, len))
                return mm_fail(ei, MM_ERR_INVALID, "SIGNING_KEY_IS_CA",
                               "the key is a CA's (issuer \"%s\"); it signs nothing else",
                               issuer->name);
        }
    }
    return MM_OK;
}

static int check_certificate(struct mm_signing *s, const uint8_t *point, size_t len,
                             struct mm_errinfo *ei)
{
    X509 *certificate;
    int r;

    if (!*s->conf->certificate)
        return MM_OK;
    r = read_certificates(s->conf->certificate, &s->certificates, ei);
    if (r < 0)
        return r;
    certificate = sk_X509_value(s->certificates, 0);
    if (!is_key_of(certificate, point, len))
        return mm_fail(ei, MM_ERR_INVALID, "SIGNING_KEY_MISMATCH",
                       "the key in the token is not that of the certificate");
    /* Also one that says it is a CA and lacks keyCertSign, which libcrypto takes for none. */
    if (X509_check_ca(certificate) != 0 || X509_get_extension_flags(certificate) & EXFLAG_CA)
        return mm_fail(ei, MM_ERR_INVALID, "SIGNING_KEY_IS_CA",
                       "the certificate is a CA's; such a key signs nothing else");
    /* UINT32_MAX without the extension (RFC 5280 section 4.2.1.3). */
    if (!(X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE))
        return mm_fail(ei, MM_ERR_INVALID, "SIGNING_CERTIFICATE_INVALID",
                       "the certificate's key usage lacks digitalSignature");
    return MM_OK;
}

static int find_key(struct mm_minter *m, struct mm_signing *s, struct mm_errinfo *ei)
{
    const int r = mm_token_find(m->token, s->conf->key, MM_KEY_PRIVATE, &s->key, ei);

    return r < 0 ? mm_err_prefix(ei, "signing \"%s\"", s->conf->name) : MM_OK;
}

static enum mm_curve curve_of(const struct mm_conf_signing *conf)
{
    if (strcmp(conf->curve, "ed25519") == 0)
        return MM_CURVE_ED25519;
    return strcmp(conf->curve, "p384") == 0 ? MM_CURVE_P384 : MM_CURVE_P256;
}

static int check_key(struct mm_minter *m, struct mm_signing *s, struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX];
    size_t len;
    int r = mm_token_check_policy(m->token, s->key, MM_USE_SIGNING, ei);

    if (r == MM_OK)
        r = mm_token_public_point(m->token, s->key, &s->curve, point, &len, ei);
    if (r < 0)
        return r;
    if (s->curve != curve_of(s->conf))
        return mm_fail(ei, MM_ERR_INVALID, "SIGNING_KEY_MISMATCH",
                       "the key in the token is not on the curve %s", s->conf->curve);
    r = check_no_ca(m, point, len, ei);
    if (r == MM_OK)
        r = check_no_appliance(m, point, len, ei);
    if (r == MM_OK)
        r = check_certificate(s, point, len, ei);
    return r < 0 ? r : mm_verifier_new(point, len, &s->verifier, ei);
}

int mm_signings_prepare(struct mm_minter *m, struct mm_errinfo *ei)
{
    m->signings = calloc(m->conf->n_signings + 1, sizeof(*m->signings));
    if (!m->signings)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < m->conf->n_signings; i++) {
        struct mm_signing *s = &m->signings[m->n_signings];
        int r;

        if (strcmp(m->conf->signings[i].token, m->section->name) != 0)
            continue;
        m->n_signings++;
        s->conf = &m->conf->signings[i];
        r = find_key(m, s, ei);
        if (r < 0)
            return r;
        r = check_key(m, s, ei);
        if (r < 0)
            return mm_err_prefix(ei, "signing \"%s\"", s->conf->name);
    }
    return MM_OK;
}

int mm_signings_find_keys(struct mm_minter *m, struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (size_t i = 0; i < m->n_signings; i++)
        m->signings[i].key = 0;
    for (size_t i = 0; r == MM_OK && i < m->n_signings; i++)
        r = find_key(m, &m->signings[i], ei);
    return r;
}

void mm_signings_free(struct mm_minter *m)
{
    for (size_t i = 0; i < m->n_signings; i++) {
        mm_verifier_free(m->signings[i].verifier);
        sk_X509_pop_free(m->signings[i].certificates, X509_free);
    }
    free(m->signings);
}

/* ---- signing ----------------------------------------------------------------------------- */

static struct mm_signing *find_signing(struct mm_minter *m, const char *name)
{
    for (size_t i = 0; i < m->n_signings; i++) {
        if (strcmp(m->signings[i].conf->name, name) == 0)
            return &m->signings[i];
    }
    return NULL;
}

static int take_digest(const Mintmark__Internal__SignJob *job, const struct mm_mechanism *mechanism,
                       const char *curve, struct mm_signed *out, struct mm_errinfo *ei)
{
    const size_t digest_len = mm_mechanism_digest_len(mechanism, curve);

    if (mechanism->pure)
        return mm_fail_field(ei, "digest", "%s signs messages only", job->mechanism);
    if (job->digest.len != digest_len)
        return mm_fail_field(ei, "digest", "a digest of %s has %zu bytes, not %zu", job->mechanism,
                             digest_len, job->digest.len);
    memcpy(out->digest, job->digest.data, digest_len);
    out->digest_len = digest_len;
    return MM_OK;
}

static int hash_message(const Mintmark__Internal__SignJob *job,
                        const struct mm_mechanism *mechanism, struct mm_signed *out,
                        struct mm_errinfo *ei)
{
    if (!mechanism->hash)
        return mm_fail_field(ei, "message", "%s signs digests only", job->mechanism);
    if (job->message.len == 0 || job->message.len > MM_SIGN_MESSAGE_MAX)
        return mm_fail_field(ei, "message", "a message has 1 to %d bytes", MM_SIGN_MESSAGE_MAX);
    if (EVP_Q_digest(NULL, mechanism->hash, NULL, job->message.data, job->message.len, out->digest,
                     &out->digest_len) == 1)
        return MM_OK;
    ERR_clear_error();
    return mm_fail_memory(ei);
}

/* ECDSA takes the leftmost bits of a digest that is longer than the curve's order (FIPS 186-5
 * section 6.4.1). Not every token does so by itself. */
static int make(struct mm_minter *m, const struct mm_signing *s, struct mm_bytes what,
                uint8_t signature[MM_SIGNATURE_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    const size_t order_len = mm_curve_digest_len(s->curve);
    const size_t len = what.len < order_len ? what.len : order_len;

    for (int recoveries = 0;; recoveries++) {
        int r =
            order_len > 0
                ? mm_token_sign(m->token, s->key, what.data, len, signature, ret_len, ei)
                : mm_token_sign_message(m->token, s->curve, s->key, what, signature, ret_len, ei);

        if (r == MM_OK || recoveries == MM_RECOVERIES_MAX)
            return r;
        r = mm_minter_recover(m, ei);
        if (r < 0)
            return r;
    }
}

/* Nothing that does not verify leaves: a faulty signature may give the key away. */
static int finish(struct mm_signing *s, struct mm_bytes what, struct mm_bytes signature,
                  struct mm_signed *out, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(2 * MM_SIGNATURE_DER_MAX);
    int r = mm_verifier_check(s->verifier, what.data, what.len, signature.data, signature.len, ei);

    if (r == MM_OK && mm_curve_digest_len(s->curve) > 0)
        r = mm_pki_signature_der(signature.data, signature.len, &der, ei);
    else if (r == MM_OK)
        mm_buf_append(&der, signature.data, signature.len);
    if (r == MM_OK && mm_buf_err(&der) < 0)
        return mm_fail_memory(ei);
    if (r == MM_ERR_CORRUPT)
        return mm_fail(ei, r, "TOKEN_SIGNATURE_INVALID",
                       "the token made a signature that does not verify; it was kept back");
    if (r == MM_OK && der.len > sizeof(out->signature))
        r = mm_fail(ei, MM_ERR_INTERNAL, "TOKEN_ANSWER", "a signature of %zu bytes", der.len);
    if (r < 0)
        return r;
    memcpy(out->signature, der.data, der.len);
    out->signature_len = der.len;
    out->by = s;
    return MM_OK;
}

int mm_sign(struct mm_minter *m, const Mintmark__Internal__SignJob *job, int64_t deadline_mono_us,
            struct mm_signed *ret_signed, struct mm_errinfo *ei)
{
    struct mm_signing *s = find_signing(m, job->signing_profile);
    const struct mm_mechanism *mechanism = mm_mechanism_get(job->mechanism);
    struct mm_signed out = {.digest_len = 0};
    struct mm_bytes what;
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len = 0;
    int r;

    if (!s)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_SIGNING_PROFILE",
                       "this token has no signing profile \"%.64s\"", job->signing_profile);
    if (strcmp(job->key, s->conf->key) != 0)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "SIGNING_PROFILE_CHANGED",
                       "signing profile %s has another key since a reload", s->conf->name);
    if (!mechanism || !mm_conf_signing_mechanism(s->conf, mechanism->name))
        return mm_fail(ei, MM_ERR_PERMISSION, "MECHANISM_NOT_ALLOWED",
                       "signing profile %s does not allow %.64s", s->conf->name, job->mechanism);
    if (deadline_mono_us != 0 && mm_clock_mono_us() >= deadline_mono_us)
        return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED",
                       "the deadline passed before anything was signed");
    r = job->digest.len > 0 ? take_digest(job, mechanism, s->conf->curve, &out, ei)
                            : hash_message(job, mechanism, &out, ei);
    what = mechanism->pure ? (struct mm_bytes){job->message.data, job->message.len}
                           : (struct mm_bytes){out.digest, out.digest_len};
    if (r == MM_OK)
        r = make(m, s, what, signature, &len, ei);
    if (r == MM_OK)
        r = finish(s, what, (struct mm_bytes){signature, len}, &out, ei);
    if (r == MM_OK)
        *ret_signed = out;
    return r;
}
