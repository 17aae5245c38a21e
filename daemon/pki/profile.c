/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/ca_key.h"
#include "daemon/pki/internal.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

static const char *or_default(const char *value, const char *fallback)
{
    return *value ? value : fallback;
}

static int resolve_preset(const struct mm_conf_profile *conf, struct mm_settings *ret_settings,
                          struct mm_errinfo *ei)
{
    const struct mm_preset *preset = mm_preset_get(conf->preset);

    if (!preset)
        return mm_fail_field(ei, "preset",
                             "no preset \"%.40s\"; there are matter-paa, matter-pai, matter-dac "
                             "and ieee8021ar-idevid",
                             conf->preset);
    *ret_settings = (struct mm_settings){
        .preset = preset,
        .subject = or_default(conf->subject, preset->subject),
        .not_before = or_default(conf->not_before, "now"),
        .validity = or_default(conf->validity, preset->validity),
        .basic_constraints = or_default(conf->basic_constraints, preset->basic_constraints),
        .key_usage = conf->n_key_usage ? (const char *const *)conf->key_usage : preset->key_usage,
        .n_key_usage = conf->n_key_usage ? conf->n_key_usage : preset->n_key_usage,
        .extended_key_usage = conf->extended_key_usage,
        .n_extended_key_usage = conf->n_extended_key_usage,
    };
    if (!*ret_settings->subject && !*conf->san)
        return mm_fail_field(ei, "subject", "a profile without a preset needs a subject, or san");
    return MM_OK;
}

static int parse_delivery(const char *text, enum mm_profile_delivery *ret, struct mm_errinfo *ei)
{
    static const struct {
        const char *name;
        enum mm_profile_delivery delivery;
    } names[] = {{"", MM_DELIVERY_WRAPPED},
                 {"wrapped", MM_DELIVERY_WRAPPED},
                 {"retained", MM_DELIVERY_RETAINED},
                 {"plain", MM_DELIVERY_PLAIN},
                 {"on-device", MM_DELIVERY_ON_DEVICE}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++) {
        if (strcmp(text, names[i].name) == 0) {
            *ret = names[i].delivery;
            return MM_OK;
        }
    }
    return mm_fail_field(ei, "delivery", "delivery must be wrapped, retained, plain or on-device");
}

static int prepare_names(struct mm_profile *p, const struct mm_conf_profile *conf,
                         const struct mm_settings *settings, struct mm_errinfo *ei)
{
    const struct mm_template_fixed fixed = {conf->vid, conf->pid, conf->name};
    int r = mm_name_parse(settings->subject, &fixed, &p->subject, ei);

    if (r == MM_OK)
        r = mm_san_parse(conf->san, &fixed, &p->san, ei);
    return r < 0 || !conf->ejbca ? r : mm_profile_username_parse(p, conf->username, &fixed, ei);
}

/* EJBCA takes the names from a device's own request: then they must be such as a device knows when
 * it makes one. */
static int check_device_names(const struct mm_profile *p, struct mm_errinfo *ei)
{
    static const struct {
        enum mm_template_kind kind;
        const char *name;
    } unknown[] = {{MM_PART_NUMBER, "${number}"}, {MM_PART_DEVICE_UID, "${device_uid}"}};

    if (p->delivery != MM_DELIVERY_ON_DEVICE || !p->has_username)
        return MM_OK;
    for (size_t i = 0; i < MM_ARRAY_SIZE(unknown); i++) {
        const bool subject = mm_name_uses(&p->subject, unknown[i].kind);

        if (subject || mm_san_uses(&p->san, unknown[i].kind))
            return mm_fail_field(ei, subject ? "subject" : "san",
                                 "with delivery on-device EJBCA takes the %s from the device's "
                                 "request, and no device knows its %s then; use ${hw_serial}",
                                 subject ? "subject" : "alternative names", unknown[i].name);
    }
    return MM_OK;
}

static int prepare_validity(struct mm_profile *p, const struct mm_settings *settings,
                            struct mm_errinfo *ei)
{
    int r;

    if (p->kind == MM_KIND_CSR)
        return MM_OK;
    if (!*settings->validity && !p->validity_is_open)
        return mm_fail_field(ei, "validity",
                             "a profile without a preset needs a validity, e.g. \"20y\" or "
                             "99991231235959Z");
    r = mm_validity_parse(p->validity_is_open ? "now" : settings->not_before,
                          p->validity_is_open ? "1h" : settings->validity, &p->validity, ei);
    if (r < 0 || p->kind == MM_KIND_SELF_SIGNED)
        return r;
    if (mm_validity_time(X509_get0_notBefore(p->issuer), &p->issuer_not_before_s) < 0 ||
        mm_validity_time(X509_get0_notAfter(p->issuer), &p->issuer_not_after_s) < 0)
        return mm_fail_field(ei, "issuer", "the issuer's certificate has no readable validity");
    return MM_OK;
}

/* Who signs, and so with which hash. */
static int prepare_signer(struct mm_profile *p, const struct mm_conf_profile *conf, X509 *issuer,
                          struct mm_errinfo *ei)
{
    int r;

    p->key = mm_ec_by_conf_name(or_default(conf->key, "p256"));
    if (!p->key)
        return mm_fail_field(ei, "key",
                             "key must be p256, p384, ed25519, mldsa44, mldsa65 or mldsa87");
    p->signer = p->key;
    r = mm_ec_require(p->key, ei);
    if (r < 0)
        return r;
    if (strcmp(conf->issuer, "none") == 0 || (conf->ejbca && !issuer)) {
        p->kind = MM_KIND_CSR;
        return MM_OK;
    }
    p->kind = issuer ? MM_KIND_ISSUED : MM_KIND_SELF_SIGNED;
    if (!issuer)
        return MM_OK;
    if (!X509_check_ca(issuer))
        return mm_fail_field(ei, "issuer", "the issuer's certificate is not a CA's");
    if (mm_ec_of_key(X509_get0_pubkey(issuer)))
        p->signer = mm_ec_of_key(X509_get0_pubkey(issuer));
    else if (!conf->ejbca)
        return mm_fail_field(ei, "issuer",
                             "the issuer's key must be on P-256 or P-384, Ed25519 or of ML-DSA");
    else if (p->matter != MM_MATTER_NONE)
        return mm_fail_field(ei, "issuer", "Matter demands an issuer whose key is on P-256");
    else if (mm_ca_key_check_kind(issuer, ei) < 0) /* RSA: signer stays what is only tried with */
        return mm_err_prefix(ei, "issuer");
    X509_up_ref(issuer);
    p->issuer = issuer;
    return mm_ec_require(p->signer, ei);
}

static bool append_name(const X509_NAME *name, struct mm_buf *b)
{
    uint8_t *der = NULL;
    const int len = i2d_X509_NAME(name, &der);

    if (len > 0)
        mm_buf_append(b, der, (size_t)len);
    OPENSSL_free(der);
    return len > 0 && mm_buf_err(b) == MM_OK;
}

static bool fetch_digests(struct mm_profile *p)
{
    if (p->signer->digest)
        p->digest = EVP_MD_fetch(NULL, p->signer->digest, NULL);
    p->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    p->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    return (p->digest || !p->signer->digest) && p->sha1 && p->sha256;
}

static int prepare_objects(struct mm_profile *p, struct mm_errinfo *ei)
{
    const int r = mm_ec_append_algorithm(p->signer, &p->algorithm, ei);

    p->md_ctx = EVP_MD_CTX_new();
    p->period = calloc(1, sizeof(*p->period));
    if (r < 0 || mm_buf_err(&p->algorithm) < 0 || !fetch_digests(p) || !p->md_ctx || !p->period ||
        (p->issuer && !append_name(X509_get_subject_name(p->issuer), &p->issuer_name)) ||
        mm_ec_spki_prefix(p->key, p->spki_prefix, &p->spki_prefix_len) < 0)
        return mm_fail_memory(ei);
    return MM_OK;
}

static int compile(const struct mm_conf_profile *conf, X509 *issuer, struct mm_profile *p,
                   struct mm_errinfo *ei)
{
    struct mm_settings settings;
    int r = resolve_preset(conf, &settings, ei);

    if (r < 0)
        return r;
    p->matter = settings.preset->matter;
    p->subject_key_identifier = conf->subject_key_identifier;
    p->authority_key_identifier = conf->authority_key_identifier;
    p->validity_is_open = conf->ejbca && !*settings.validity;
    r = parse_delivery(conf->delivery, &p->delivery, ei);
    if (r == MM_OK)
        r = prepare_signer(p, conf, issuer, ei);
    if (r == MM_OK)
        r = prepare_names(p, conf, &settings, ei);
    if (r == MM_OK)
        r = check_device_names(p, ei);
    if (r == MM_OK)
        r = prepare_validity(p, &settings, ei);
    if (r == MM_OK)
        r = prepare_objects(p, ei);
    if (r == MM_OK)
        r = mm_extensions_prepare(p, &settings, ei);
    return r < 0 ? r : mm_profile_try(p, ei);
}

int mm_profile_compile(const struct mm_conf_profile *conf, X509 *issuer,
                       struct mm_profile **ret_profile, struct mm_errinfo *ei)
{
    struct mm_errinfo unused;
    struct mm_profile *p = calloc(1, sizeof(*p));
    int r;

    if (!ei)
        ei = &unused;
    if (!p)
        return mm_fail_memory(ei);
    p->fixed_extensions = MM_BUF_INIT(MM_EXTENSIONS_DER_MAX);
    p->aki_extension = MM_BUF_INIT(MM_EXTENSIONS_DER_MAX);
    p->ski_extension = MM_BUF_INIT(MM_EXTENSIONS_DER_MAX);
    p->algorithm = MM_BUF_INIT(MM_ALGORITHM_DER_MAX);
    p->issuer_name = MM_BUF_INIT(MM_CERT_DER_MAX);
    r = compile(conf, issuer, p, ei);
    if (r < 0) {
        mm_profile_free(p);
        return mm_err_prefix(ei, "profile \"%s\"", conf->name);
    }
    *ret_profile = p;
    return MM_OK;
}

void mm_profile_free(struct mm_profile *p)
{
    if (!p)
        return;
    mm_name_done(&p->subject);
    mm_san_done(&p->san);
    mm_buf_done(&p->fixed_extensions);
    mm_buf_done(&p->aki_extension);
    mm_buf_done(&p->ski_extension);
    mm_buf_done(&p->algorithm);
    mm_buf_done(&p->issuer_name);
    X509_free(p->issuer);
    free(p->period);
    EVP_MD_free(p->digest);
    EVP_MD_free(p->sha1);
    EVP_MD_free(p->sha256);
    EVP_MD_CTX_free(p->md_ctx);
    free(p);
}

bool mm_profile_makes_requests(const struct mm_profile *p)
{
    return p->kind == MM_KIND_CSR;
}

enum mm_profile_delivery mm_profile_delivery(const struct mm_profile *p)
{
    return p->delivery;
}

size_t mm_profile_signature_len(const struct mm_profile *p)
{
    return p->signer->signature_len;
}

enum mm_profile_key mm_profile_key(const struct mm_profile *p)
{
    return p->key->key;
}
