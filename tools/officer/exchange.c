/* SPDX-License-Identifier: Apache-2.0 */
/* exchange create, replace, delete and certificate: the key that opens packages. Its certificate is
 * signed by the appliance's identity key, and names that key's hash as its authority's. */
#include "tools/officer/exchange.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/document/document.h"
#include "tools/officer/ca.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <unistd.h>

enum { SERIAL_BYTES = 16, LABEL_URI = MM_NAME_MAX + 32 };

MM_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
MM_DEFINE_CLEANUP(AUTHORITY_KEYID *, AUTHORITY_KEYID_free)

void mm_exchange_done(struct mm_exchange *x)
{
    X509_free(x->certificate);
    *x = (struct mm_exchange){.key = 0};
}

static int require_settings(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;

    if (a->given && *a->exchange_certificate)
        return MM_OK;
    o->exit_code = MM_EXIT_CONFIG;
    return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_EXCHANGE",
                   "%s: set appliance.exchange_certificate to the file of the exchange key's "
                   "certificate",
                   o->conf->path);
}

static int fail_missing(const struct mm_officer *o, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_NOT_FOUND, "EXCHANGE_KEY_MISSING",
                   "the token has no key '%s'; mintmark-officer exchange create makes it",
                   o->conf->appliance.exchange_key);
}

/* ---- who the appliance is ---------------------------------------------------------------- */

static int identity_of(struct mm_officer *o, struct mm_ca_key *key, X509 **ret_certificate,
                       uint8_t hash[MM_IDENTITY_BYTES], struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    char uri[LABEL_URI];
    int r;

    snprintf(uri, sizeof(uri), "pkcs11:object=%s", a->identity_key);
    r = mm_ca_key_find(o, uri, key, ei);
    if (r < 0)
        return mm_err_prefix(ei, "the identity key");
    r = mm_chain_read(a->identity_certificate, &chain, ei);
    if (r == MM_OK)
        r = mm_cert_require_key(sk_X509_value(chain, 0), key->point, key->point_len,
                                a->identity_key, ei);
    if (r == MM_OK)
        r = mm_document_key_hash(sk_X509_value(chain, 0), hash, ei);
    if (r == MM_OK && ret_certificate)
        *ret_certificate = sk_X509_shift(chain);
    return r;
}

/* ---- the certificate --------------------------------------------------------------------- */

static bool add_authority(X509 *cert, const uint8_t hash[MM_IDENTITY_BYTES])
{
    MM_CLEANUP(AUTHORITY_KEYID_free_p) AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();

    if (!id)
        return false;
    id->keyid = ASN1_OCTET_STRING_new();
    return id->keyid && ASN1_OCTET_STRING_set(id->keyid, hash, MM_IDENTITY_BYTES) == 1 &&
           X509_add1_ext_i2d(cert, NID_authority_key_identifier, id, 0, 0) == 1;
}

static bool add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    bool added;

    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    added = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return added;
}

static bool add_names(X509 *cert, const char *site, const X509 *identity)
{
    X509_NAME *const subject = X509_get_subject_name(cert);
    char name[MM_NAME_MAX + 16];

    snprintf(name, sizeof(name), "%s exchange", site);
    return X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                      (const unsigned char *)"mintmark appliance", -1, -1,
                                      0) == 1 &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                      -1, 0) == 1 &&
           X509_set_issuer_name(cert, X509_get_subject_name(identity)) == 1;
}

static bool fill(X509 *cert, const char *site, EVP_PKEY *key, const X509 *identity,
                 const uint8_t hash[MM_IDENTITY_BYTES])
{
    unsigned char serial[SERIAL_BYTES] = {0};
    BIGNUM *number = NULL;
    bool good =
        X509_set_version(cert, X509_VERSION_3) == 1 && RAND_bytes(serial, sizeof(serial)) == 1;

    serial[0] = (serial[0] & 0x3f) | 0x40; /* positive, and of full length (RFC 5280 4.1.2.2) */
    number = good ? BN_bin2bn(serial, sizeof(serial), NULL) : NULL;
    good = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) &&
           add_names(cert, site, identity) && X509_gmtime_adj(X509_getm_notBefore(cert), 0) &&
           ASN1_TIME_set_string(X509_getm_notAfter(cert), "99991231235959Z") == 1 &&
           X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, NID_key_usage,
                         EVP_PKEY_is_a(key, "RSA") ? "critical,keyEncipherment"
                                                   : "critical,keyAgreement") &&
           add_extension(cert, NID_subject_key_identifier, "hash") && add_authority(cert, hash);
    BN_free(number);
    return good;
}

/* libcrypto encodes no certificate without a signature: a key that is thrown away makes one, and
 * the token's takes its place. Both are ECDSA with SHA-256. */
static int encode_tbs(X509 *cert, struct mm_tbs *tbs, struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *thrown_away = EVP_EC_gen("P-256");
    unsigned char *der = NULL;
    int len;

    if (!thrown_away || X509_sign(cert, thrown_away, EVP_sha256()) <= 0)
        return mm_fail_memory(ei);
    len = i2d_re_X509_tbs(cert, &der);
    if (len > 0)
        mm_buf_append(&tbs->der, der, (size_t)len);
    OPENSSL_free(der);
    tbs->digest_len = MM_IDENTITY_BYTES;
    if (len <= 0 || mm_buf_err(&tbs->der) < 0 ||
        EVP_Digest(tbs->der.data, tbs->der.len, tbs->digest, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    return MM_OK;
}

static int certify(struct mm_officer *o, EVP_PKEY *key, X509 **ret_certificate,
                   struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_CLEANUP(X509_free_p) X509 *identity = NULL, *cert = X509_new(), *made = NULL;
    uint8_t hash[MM_IDENTITY_BYTES];
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_ca_key signer;
    const unsigned char *p;
    int r = identity_of(o, &signer, &identity, hash, ei);

    if (r == MM_OK && (!cert || !fill(cert, o->conf->site, key, identity, hash))) {
        ERR_clear_error();
        r = mm_fail_memory(ei);
    }
    if (r == MM_OK)
        r = encode_tbs(cert, &tbs, ei);
    if (r == MM_OK)
        r = mm_ca_sign(o, &tbs, &signer, &der, ei);
    mm_buf_done(&tbs.der);
    if (r < 0)
        return r;
    p = der.data;
    made = d2i_X509(NULL, &p, (long)der.len);
    if (!made || X509_verify(made, X509_get0_pubkey(identity)) != 1) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INTERNAL, "CERTIFICATE", "the new certificate does not verify");
    }
    *ret_certificate = MM_TAKE(made);
    return MM_OK;
}

/* ---- exchange create --------------------------------------------------------------------- */

static int choose_use(struct mm_officer *o, enum mm_key_use *ret_use, struct mm_errinfo *ei)
{
    const struct mm_token_mechanisms *const m = mm_token_mechanisms(o->token);
    const char *const wish = o->args.algorithm;
    const bool ecdh = m->ec_key_gen && m->ecdh1, rsa = m->rsa_key_gen && m->rsa_oaep;

    if (wish && strcmp(wish, "ecdh") != 0 && strcmp(wish, "rsa") != 0)
        return mm_officer_usage(o, ei, "--algorithm is ecdh or rsa, not '%s'", wish);
    if (ecdh && (!wish || wish[0] == 'e'))
        *ret_use = MM_USE_EXCHANGE;
    else if (rsa && (!wish || wish[0] == 'r'))
        *ret_use = MM_USE_EXCHANGE_RSA;
    else
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token has no %s: it can open no such packages",
                       !wish            ? "ECDH and no RSA-OAEP"
                       : wish[0] == 'e' ? "ECDH"
                                        : "RSA-OAEP");
    return MM_OK;
}

static const char *use_name(enum mm_key_use use)
{
    return use == MM_USE_EXCHANGE ? "EC P-256" : "RSA-3072";
}

/* Whether a key can be made and certified, once its place is free. */
static int check_making(struct mm_officer *o, enum mm_key_use *ret_use, struct mm_errinfo *ei)
{
    uint8_t hash[MM_IDENTITY_BYTES];
    struct mm_ca_key identity;
    const int r = choose_use(o, ret_use, ei);

    return r < 0 ? r : identity_of(o, &identity, NULL, hash, ei);
}

static int prepare(struct mm_officer *o, enum mm_key_use *ret_use, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    mm_handle found;
    int r = require_settings(o, ei);

    if (r == MM_OK)
        r = mm_officer_absent(a->exchange_certificate, ei);
    if (r == MM_OK)
        r = mm_officer_token(o, a->token, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = check_making(o, ret_use, ei);
    if (r < 0)
        return r;
    r = mm_officer_find(o, a->exchange_key, MM_KEY_PRIVATE, &found, ei);
    if (r == MM_OK || r == MM_ERR_EXISTS)
        return mm_fail(ei, MM_ERR_EXISTS, "KEY_EXISTS",
                       "the token has a key labelled '%s' already; it is left as it is",
                       a->exchange_key);
    return r == MM_ERR_NOT_FOUND ? MM_OK : r;
}

static int describe(struct mm_officer *o, X509 *certificate, const char *file,
                    const uint8_t identity[MM_IDENTITY_BYTES], struct mm_errinfo *ei)
{
    char fingerprint[MM_FINGERPRINT_TEXT], hash[2 * MM_IDENTITY_BYTES + 1];
    int r = mm_cert_fingerprint(certificate, fingerprint, ei);

    if (r < 0)
        return r;
    mm_hex_encode(identity, MM_IDENTITY_BYTES, hash);
    mm_ceremony_say(o, "exchange", "certificate %s, SHA-256 %s", file, fingerprint);
    mm_ceremony_say(o, "appliance", "%s", hash);
    return mm_officer_answer(
        o, "exchange",
        json_pack("{s:s, s:s, s:s}", "file", file, "sha256", fingerprint, "appliance", hash), ei);
}

static int write_certificate(X509 *certificate, const char *path, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    const int r = mm_cert_append_pem(certificate, &pem, ei);

    return r < 0 ? r : mm_io_create_file(path, 0644, pem.data, pem.len, ei);
}

static int make(struct mm_officer *o, enum mm_key_use use, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = NULL;
    MM_CLEANUP(X509_free_p) X509 *certificate = NULL;
    uint8_t identity[MM_IDENTITY_BYTES];
    struct mm_ca_key identity_key;
    mm_handle handle;
    int r = mm_token_create_exchange_key(o->token, a->exchange_key, use, &handle, ei);

    if (r == MM_OK)
        r = mm_ceremony_key(o, handle, ei);
    if (r == MM_OK)
        r = mm_token_public_key(o->token, handle, &key, ei);
    if (r == MM_OK)
        r = certify(o, key, &certificate, ei);
    if (r == MM_OK)
        r = write_certificate(certificate, a->exchange_certificate, ei);
    if (r == MM_OK)
        r = identity_of(o, &identity_key, NULL, identity, ei);
    return r < 0 ? r : describe(o, certificate, a->exchange_certificate, identity, ei);
}

int mm_cmd_exchange_create(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    enum mm_key_use use = MM_USE_EXCHANGE;
    int r = prepare(o, &use, ei);

    if (r < 0)
        return r;
    r = mm_ceremony_confirm(o, ei, "Make the exchange key '%s' (%s) in token '%s', and write %s?",
                            a->exchange_key, use_name(use), o->conf_token->name,
                            a->exchange_certificate);
    return r < 0 ? r : make(o, use, ei);
}

/* ---- exchange delete and replace --------------------------------------------------------- */

/* What there is to take away; one of the two is enough, so that a command that was cut off can be
 * given again. */
struct old {
    mm_handle key; /* 0: none */
    bool file;
    char fingerprint[MM_FINGERPRINT_TEXT]; /* of the certificate; empty when it cannot be read */
};

/* appliance.exchange_key may be mistyped: what signs is a CA's, the appliance's or a device's key.
 */
static int refuse_other_keys(struct mm_officer *o, mm_handle key, struct mm_errinfo *ei)
{
    struct mm_key_info info = {.sign = true};
    const int r = mm_token_key_info(o->token, key, &info, ei);

    if (r < 0)
        return r;
    if (info.sign)
        return mm_fail(ei, MM_ERR_INVALID, "EXCHANGE_KEY_OTHER",
                       "key '%s' may sign: it is no exchange key, and left as it is",
                       o->conf->appliance.exchange_key);
    return MM_OK;
}

static int look_at_old(struct mm_officer *o, struct old *old, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    struct mm_errinfo ignored;
    int r = require_settings(o, ei);

    if (r == MM_OK)
        r = mm_officer_token(o, a->token, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_officer_find(o, a->exchange_key, MM_KEY_PRIVATE, &old->key, ei);
    if (r == MM_OK)
        r = refuse_other_keys(o, old->key, ei);
    if (r < 0 && r != MM_ERR_NOT_FOUND)
        return r;
    old->file = access(a->exchange_certificate, F_OK) == 0;
    if (!old->key && !old->file)
        return fail_missing(o, ei);
    if (mm_chain_read(a->exchange_certificate, &chain, &ignored) < 0 ||
        mm_cert_fingerprint(sk_X509_value(chain, 0), old->fingerprint, &ignored) < 0)
        *old->fingerprint = '\0';
    return MM_OK;
}

/* The key goes first: a file alone opens nothing. */
static int take_away(struct mm_officer *o, const struct old *old, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    int r = old->key ? mm_token_delete_pair(o->token, old->key, ei) : MM_OK;

    if (r < 0)
        return mm_err_prefix(ei, "key '%s' is still in the token", a->exchange_key);
    if (old->key)
        mm_ceremony_say(o, "destroyed", "exchange key '%s'", a->exchange_key);
    r = mm_io_remove_file(a->exchange_certificate, ei);
    if (r == MM_OK && old->file)
        mm_ceremony_say(o, "removed", "certificate %s, SHA-256 %s", a->exchange_certificate,
                        *old->fingerprint ? old->fingerprint : "unknown");
    return r;
}

int mm_cmd_exchange_delete(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    struct old old = {.key = 0};
    int r = look_at_old(o, &old, ei);

    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei,
                                "Destroy the exchange key '%s' in token '%s', and remove %s? What "
                                "was encrypted to it can never be opened again.",
                                a->exchange_key, o->conf_token->name, a->exchange_certificate);
    if (r == MM_OK)
        r = take_away(o, &old, ei);
    return r < 0 ? r
                 : mm_officer_answer(o, "deleted",
                                     json_pack("{s:s, s:s, s:s}", "key", a->exchange_key, "file",
                                               a->exchange_certificate, "sha256", old.fingerprint),
                                     ei);
}

int mm_cmd_exchange_replace(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    enum mm_key_use use = MM_USE_EXCHANGE;
    struct old old = {.key = 0};
    int r = look_at_old(o, &old, ei);

    if (r == MM_OK)
        r = check_making(o, &use, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei,
                                "Destroy the exchange key '%s' in token '%s', make a new one (%s), "
                                "and replace %s? What was encrypted to the old one can never be "
                                "opened again.",
                                a->exchange_key, o->conf_token->name, use_name(use),
                                a->exchange_certificate);
    if (r == MM_OK)
        r = take_away(o, &old, ei);
    if (r < 0)
        return r;
    r = make(o, use, ei);
    return r < 0 ? mm_err_prefix(ei, "the old key is gone, and there is no new one yet") : MM_OK;
}

/* ---- what is there ----------------------------------------------------------------------- */

static int read_certificate(struct mm_officer *o, struct mm_exchange *x, struct mm_errinfo *ei)
{
    const char *const path = o->conf->appliance.exchange_certificate;
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = NULL;
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    int r = mm_chain_read(path, &chain, ei);

    if (r == MM_OK)
        r = mm_token_public_key(o->token, x->key, &key, ei);
    if (r < 0)
        return r;
    if (EVP_PKEY_eq(key, X509_get0_pubkey(sk_X509_value(chain, 0))) != 1) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INVALID, "KEY_MISMATCH",
                       "%.150s: its public key is not that of key '%s' in the token", path,
                       o->conf->appliance.exchange_key);
    }
    x->certificate = sk_X509_shift(chain);
    return MM_OK;
}

int mm_exchange_open(struct mm_officer *o, struct mm_exchange *x, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    struct mm_key_info info = {.decrypt = false};
    struct mm_ca_key identity;
    int r = require_settings(o, ei);

    *x = (struct mm_exchange){.key = 0};
    if (r == MM_OK)
        r = mm_officer_token(o, a->token, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = mm_officer_find(o, a->exchange_key, MM_KEY_PRIVATE, &x->key, ei);
    if (r == MM_ERR_NOT_FOUND)
        return fail_missing(o, ei);
    if (r == MM_OK)
        r = mm_token_key_info(o->token, x->key, &info, ei);
    x->rsa = info.decrypt;
    if (r == MM_OK)
        r = mm_token_check_policy(o->token, x->key, x->rsa ? MM_USE_EXCHANGE_RSA : MM_USE_EXCHANGE,
                                  ei);
    if (r == MM_OK)
        r = read_certificate(o, x, ei);
    return r < 0 ? r : identity_of(o, &identity, NULL, x->identity, ei);
}

int mm_cmd_exchange_certificate(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_EXCHANGE_CLEANUP struct mm_exchange x = {.key = 0};
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_exchange_open(o, &x, ei);
    if (r == MM_OK)
        r = write_certificate(x.certificate, o->args.out, ei);
    return r < 0 ? r : describe(o, x.certificate, o->args.out, x.identity, ei);
}
