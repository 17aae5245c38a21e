/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/cert.h"

#include "tests/fake/ejbca/der.h"

#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <string.h>

enum { SIGNATURE_MAX = 512 }; /* of RSA with 4096 bits */

/* AlgorithmIdentifier, of libcrypto's making: ECDSA, RSA with PKCS #1 v1.5, or RSASSA-PSS with a
 * salt as long as the hash. */
static bool put_algorithm(struct mm_buf *b, EVP_MD_CTX *ctx)
{
    uint8_t der[128];
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, der, sizeof(der)),
        OSSL_PARAM_construct_end()};

    if (EVP_PKEY_CTX_get_params(EVP_MD_CTX_get_pkey_ctx(ctx), params) != 1)
        return false;
    mm_buf_append(b, der, params[0].return_size);
    return true;
}

static EVP_MD_CTX *begin_signing(const struct cert_signer *signer)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;

    if (ctx && EVP_DigestSignInit(ctx, &key, signer->hash, NULL, signer->key) == 1 &&
        (!signer->pss || (EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 &&
                          EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1)))
        return ctx;
    EVP_MD_CTX_free(ctx);
    return NULL;
}

static void put_bits(struct mm_buf *b, const uint8_t *bytes, size_t len)
{
    const size_t at = der_begin(b, DER_BIT_STRING);

    mm_buf_append_u8(b, 0);
    mm_buf_append(b, bytes, len);
    der_end(b, at);
}

/* SEQUENCE { signed part, algorithm, signature }; ctx is freed */
static bool sign(struct mm_buf *signed_part, EVP_MD_CTX *ctx, struct mm_buf *der)
{
    struct mm_buf algorithm MM_BUF_CLEANUP = MM_BUF_INIT(CERT_DER_MAX);
    uint8_t signature[SIGNATURE_MAX];
    size_t len = sizeof(signature), at;
    const bool good =
        mm_buf_err(signed_part) >= 0 && put_algorithm(&algorithm, ctx) &&
        EVP_DigestSign(ctx, signature, &len, signed_part->data, signed_part->len) == 1;

    EVP_MD_CTX_free(ctx);
    if (!good)
        return false;
    at = der_begin(der, DER_SEQUENCE);
    mm_buf_append(der, signed_part->data, signed_part->len);
    mm_buf_append(der, algorithm.data, algorithm.len);
    put_bits(der, signature, len);
    der_end(der, at);
    return mm_buf_err(der) >= 0;
}

/* An extension's head; what follows up to two der_end is its value. */
struct open_extension {
    size_t sequence, value;
};

static struct open_extension begin_extension(struct mm_buf *b, const char *dotted, bool critical)
{
    struct open_extension e = {.sequence = der_begin(b, DER_SEQUENCE)};

    der_put_oid(b, dotted);
    if (critical)
        der_put(b, DER_BOOLEAN, "\xff", 1);
    e.value = der_begin(b, DER_OCTET_STRING);
    return e;
}

static void end_extension(struct mm_buf *b, struct open_extension e)
{
    der_end(b, e.value);
    der_end(b, e.sequence);
}

static void put_authority_key_id(struct mm_buf *b, const uint8_t *key_id)
{
    const struct open_extension e = begin_extension(b, "2.5.29.35", false);
    const size_t at = der_begin(b, DER_SEQUENCE);

    der_put(b, DER_CONTEXT, key_id, KEY_ID_LEN);
    der_end(b, at);
    end_extension(b, e);
}

static void put_usage(struct mm_buf *b, uint8_t usage)
{
    const struct open_extension e = begin_extension(b, "2.5.29.15", true);
    uint8_t content[2] = {0, usage};

    while (content[0] < 7 && !(usage >> content[0] & 1))
        content[0]++;
    der_put(b, DER_BIT_STRING, content, sizeof(content));
    end_extension(b, e);
}

static void put_purposes(struct mm_buf *b, const char *const *purposes)
{
    const struct open_extension e = begin_extension(b, "2.5.29.37", false);
    const size_t at = der_begin(b, DER_SEQUENCE);

    for (; *purposes; purposes++)
        der_put_oid(b, *purposes);
    der_end(b, at);
    end_extension(b, e);
}

static void put_extensions(struct mm_buf *b, const struct cert_spec *spec)
{
    const size_t outer = der_begin(b, DER_CONTEXT_CONSTRUCTED | 3),
                 list = der_begin(b, DER_SEQUENCE);
    uint8_t key_id[KEY_ID_LEN];
    struct open_extension e = begin_extension(b, "2.5.29.19", true);
    const size_t constraints = der_begin(b, DER_SEQUENCE);

    if (spec->is_ca)
        der_put(b, DER_BOOLEAN, "\xff", 1);
    der_end(b, constraints);
    end_extension(b, e);
    put_authority_key_id(b, spec->issuer_key_id);
    if (spec->sans.len) {
        e = begin_extension(b, "2.5.29.17", false);
        mm_buf_append(b, spec->sans.data, spec->sans.len);
        end_extension(b, e);
    }
    if (spec->purposes && spec->purposes[0])
        put_purposes(b, spec->purposes);
    cert_key_id(spec->spki, key_id);
    e = begin_extension(b, "2.5.29.14", false);
    der_put(b, DER_OCTET_STRING, key_id, sizeof(key_id));
    end_extension(b, e);
    if (spec->usage)
        put_usage(b, spec->usage);
    der_end(b, list);
    der_end(b, outer);
}

bool cert_build(const struct cert_spec *spec, const struct cert_signer *signer, struct mm_buf *der)
{
    struct mm_buf tbs MM_BUF_CLEANUP = MM_BUF_INIT(CERT_DER_MAX);
    EVP_MD_CTX *ctx = begin_signing(signer);
    const size_t all = der_begin(&tbs, DER_SEQUENCE);
    size_t at = der_begin(&tbs, DER_CONTEXT_CONSTRUCTED);

    if (!ctx)
        return false;
    der_put_small(&tbs, 2);
    der_end(&tbs, at);
    der_put_number(&tbs, spec->serial, sizeof(spec->serial));
    put_algorithm(&tbs, ctx);
    mm_buf_append(&tbs, spec->issuer.data, spec->issuer.len);
    at = der_begin(&tbs, DER_SEQUENCE);
    der_put_time(&tbs, spec->not_before);
    der_put_time(&tbs, spec->not_after);
    der_end(&tbs, at);
    mm_buf_append(&tbs, spec->subject.data, spec->subject.len);
    mm_buf_append(&tbs, spec->spki.data, spec->spki.len);
    put_extensions(&tbs, spec);
    der_end(&tbs, all);
    return sign(&tbs, ctx, der);
}

static void put_revoked(struct mm_buf *b, const struct cert_revoked *revoked)
{
    const size_t at = der_begin(b, DER_SEQUENCE);
    const uint8_t reason = (uint8_t)revoked->reason;

    der_put_number(b, revoked->serial, revoked->serial_len);
    der_put_time(b, revoked->when);
    if (reason) { /* unspecified is said by saying nothing (RFC 5280 section 5.3.1) */
        const size_t list = der_begin(b, DER_SEQUENCE);
        const struct open_extension e = begin_extension(b, "2.5.29.21", false);

        der_put(b, DER_ENUMERATED, &reason, 1);
        end_extension(b, e);
        der_end(b, list);
    }
    der_end(b, at);
}

bool crl_build(const struct crl_spec *spec, const struct cert_signer *signer, struct mm_buf *der)
{
    struct mm_buf tbs MM_BUF_CLEANUP = MM_BUF_INIT(der->max);
    EVP_MD_CTX *ctx = begin_signing(signer);
    const size_t all = der_begin(&tbs, DER_SEQUENCE);
    struct open_extension e;
    size_t outer, at;

    if (!ctx)
        return false;
    der_put_small(&tbs, 1);
    put_algorithm(&tbs, ctx);
    mm_buf_append(&tbs, spec->issuer.data, spec->issuer.len);
    der_put_time(&tbs, spec->this_update);
    der_put_time(&tbs, spec->next_update);
    if (spec->count) {
        at = der_begin(&tbs, DER_SEQUENCE);
        for (size_t i = 0; i < spec->count; i++)
            put_revoked(&tbs, &spec->revoked[i]);
        der_end(&tbs, at);
    }
    outer = der_begin(&tbs, DER_CONTEXT_CONSTRUCTED);
    at = der_begin(&tbs, DER_SEQUENCE);
    put_authority_key_id(&tbs, spec->issuer_key_id);
    e = begin_extension(&tbs, "2.5.29.20", false);
    der_put_small(&tbs, spec->number);
    end_extension(&tbs, e);
    der_end(&tbs, at);
    der_end(&tbs, outer);
    der_end(&tbs, all);
    return sign(&tbs, ctx, der);
}

/* The GeneralNames of a certificate's extensions; empty if there are none. */
static struct mm_bytes find_sans(struct mm_bytes rest)
{
    struct mm_bytes outer, list, extension, oid, value;

    while (rest.len && rest.data[0] != (DER_CONTEXT_CONSTRUCTED | 3))
        if (!der_next(&rest, NULL, NULL, NULL))
            return (struct mm_bytes){NULL, 0};
    if (!der_take(&rest, DER_CONTEXT_CONSTRUCTED | 3, &outer, NULL) ||
        !der_take(&outer, DER_SEQUENCE, &list, NULL))
        return (struct mm_bytes){NULL, 0};
    while (der_take(&list, DER_SEQUENCE, &extension, NULL)) {
        if (!der_take(&extension, DER_OID, &oid, NULL))
            continue;
        der_take(&extension, DER_BOOLEAN, NULL, NULL);
        if (oid.len == 3 && memcmp(oid.data, "\x55\x1d\x11", 3) == 0 &&
            der_take(&extension, DER_OCTET_STRING, &value, NULL))
            return value;
    }
    return (struct mm_bytes){NULL, 0};
}

bool cert_read(struct mm_bytes der, struct cert_view *ret_view)
{
    struct mm_bytes outer, tbs, validity;
    struct cert_view v = {0};

    if (!der_take(&der, DER_SEQUENCE, &outer, NULL) ||
        !der_take(&outer, DER_SEQUENCE, &tbs, NULL) ||
        !der_take(&tbs, DER_CONTEXT_CONSTRUCTED, NULL, NULL) ||
        !der_take(&tbs, DER_INTEGER, &v.serial, NULL) ||
        !der_take(&tbs, DER_SEQUENCE, NULL, NULL) ||
        !der_take(&tbs, DER_SEQUENCE, NULL, &v.issuer) ||
        !der_take(&tbs, DER_SEQUENCE, &validity, NULL) ||
        !der_read_time(&validity, &v.not_before) || !der_read_time(&validity, &v.not_after) ||
        !der_take(&tbs, DER_SEQUENCE, NULL, &v.subject) ||
        !der_take(&tbs, DER_SEQUENCE, NULL, &v.spki))
        return false;
    v.sans = find_sans(tbs);
    *ret_view = v;
    return true;
}

void cert_key_id(struct mm_bytes spki, uint8_t ret_id[KEY_ID_LEN])
{
    struct mm_bytes in, bits = {NULL, 0};

    memset(ret_id, 0, KEY_ID_LEN);
    if (der_take(&spki, DER_SEQUENCE, &in, NULL) && der_take(&in, DER_SEQUENCE, NULL, NULL) &&
        der_take(&in, DER_BIT_STRING, &bits, NULL) && bits.len > 1)
        EVP_Digest(bits.data + 1, bits.len - 1, ret_id, NULL, EVP_sha1(), NULL);
}

void cert_key_hash(struct mm_bytes spki, uint8_t ret_hash[KEY_HASH_LEN])
{
    EVP_Digest(spki.data, spki.len, ret_hash, NULL, EVP_sha256(), NULL);
}

void cert_base64(struct mm_bytes bytes, struct mm_buf *text)
{
    const size_t len = (bytes.len + 2) / 3 * 4;

    if (bytes.len && mm_buf_reserve(text, len + 1)) {
        EVP_EncodeBlock(text->data + text->len, bytes.data, (int)bytes.len);
        mm_buf_grew(text, len);
    }
}

void cert_pem(struct mm_bytes der, const char *label, struct mm_buf *text)
{
    mm_buf_printf(text, "-----BEGIN %s-----\n", label);
    for (size_t at = 0; at < der.len; at += 48) {
        cert_base64((struct mm_bytes){der.data + at, der.len - at < 48 ? der.len - at : 48}, text);
        mm_buf_append_u8(text, '\n');
    }
    mm_buf_printf(text, "-----END %s-----\n", label);
}
