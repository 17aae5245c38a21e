/* SPDX-License-Identifier: Apache-2.0 */
/* The transport key, wrapped inside the token to a recipient's public key. */
#include "pkcs11/export.h"

#include "daemon/base/text.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <string.h>

/* ---- RSA --------------------------------------------------------------------------------- */

static int import_rsa(struct mm_token *t, EVP_PKEY *recipient, CK_OBJECT_HANDLE *ret_key,
                      struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct mm_rsa_public rsa;
    CK_RV rv;
    int r = mm_soft_rsa_public(recipient, &rsa, ei);

    if (r < 0)
        return r;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_KEY_TYPE, type),
        MM_ATTR(CKA_TOKEN, no),
        MM_ATTR(CKA_PRIVATE, no),
        MM_ATTR(CKA_WRAP, yes),
        MM_ATTR_BYTES(CKA_MODULUS, rsa.modulus, rsa.modulus_len),
        MM_ATTR_BYTES(CKA_PUBLIC_EXPONENT, rsa.exponent, rsa.exponent_len),
    };

    rv = MM_CK(t, C_CreateObject(t->session, attrs, MM_ARRAY_SIZE(attrs), ret_key));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_CreateObject of the recipient's RSA key");
    return MM_OK;
}

static CK_RV wrap_oaep(struct mm_token *t, CK_OBJECT_HANDLE recipient, CK_OBJECT_HANDLE key,
                       bool sha256, struct mm_exported_key *out)
{
    CK_RSA_PKCS_OAEP_PARAMS params = {
        .hashAlg = sha256 ? CKM_SHA256 : CKM_SHA_1,
        .mgf = sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
        .source = CKZ_DATA_SPECIFIED,
    };
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &params, sizeof(params)};
    CK_ULONG len = sizeof(out->wrapped);
    const CK_RV rv =
        MM_CK(t, C_WrapKey(t->session, &mechanism, recipient, key, out->wrapped, &len));

    out->wrapped_len = len;
    out->wrap = sha256 ? "RSA-OAEP-SHA256" : "RSA-OAEP-SHA1";
    return rv;
}

static int export_to_rsa(struct mm_token *t, CK_OBJECT_HANDLE key, EVP_PKEY *recipient,
                         struct mm_exported_key *out, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE rsa = CK_INVALID_HANDLE;
    CK_RV rv;
    int r = import_rsa(t, recipient, &rsa, ei);

    if (r < 0)
        return r;
    /* SoftHSM 2.6.1 has OAEP with SHA-1 only. (Its weakness is collisions, on which OAEP does not
     * rest.) */
    rv = wrap_oaep(t, rsa, key, true, out);
    if (rv != CKR_OK && mm_token_error_class(rv) == MM_TOKEN_FATAL)
        rv = wrap_oaep(t, rsa, key, false, out);
    mm_object_drop(t, rsa);
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_WrapKey by RSA-OAEP");
    if (out->wrapped_len != (size_t)EVP_PKEY_get_size(recipient))
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_WRAP_INVALID",
                       "the token wrapped to RSA into %zu bytes", out->wrapped_len);
    return MM_OK;
}

/* ---- EC ---------------------------------------------------------------------------------- */

int mm_ephemeral_pair(struct mm_token *t, const struct mm_curve_info *curve,
                      struct mm_keypair *ret_pair, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE public_key[] = {MM_ATTR(CKA_TOKEN, no),
                                 MM_ATTR_BYTES(CKA_EC_PARAMS, curve->params, curve->params_len)};
    CK_ATTRIBUTE private_key[] = {MM_ATTR(CKA_TOKEN, no),      MM_ATTR(CKA_PRIVATE, yes),
                                  MM_ATTR(CKA_SENSITIVE, yes), MM_ATTR(CKA_EXTRACTABLE, no),
                                  MM_ATTR(CKA_SIGN, no),       MM_ATTR(CKA_DERIVE, yes)};
    struct mm_keypair pair = {.curve = curve->curve};
    uint8_t value[MM_EC_POINT_ATTR_MAX];
    CK_ULONG len;
    CK_RV rv;
    int r;

    rv = MM_CK(t, C_GenerateKeyPair(t->session, &mechanism, public_key, MM_ARRAY_SIZE(public_key),
                                    private_key, MM_ARRAY_SIZE(private_key), &pair.public_key,
                                    &pair.private_key));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateKeyPair");
    r = mm_object_read(t, pair.public_key, CKA_EC_POINT, value, sizeof(value), &len, ei);
    if (r == MM_OK)
        r = mm_point_decode(value, len == CK_UNAVAILABLE_INFORMATION ? 0 : len, curve, pair.point,
                            &pair.point_len, ei);
    if (r < 0) {
        mm_token_destroy(t, &pair);
        return r;
    }
    *ret_pair = pair;
    return MM_OK;
}

/* An AES-256 session key that stays in the token and has one right. */
static int derive(struct mm_token *t, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, bool wraps,
                  CK_OBJECT_HANDLE *ret_key, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG bytes = MM_AES_256_BYTES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, may_wrap = wraps, may_derive = !wraps;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),    MM_ATTR(CKA_KEY_TYPE, type), MM_ATTR(CKA_VALUE_LEN, bytes),
        MM_ATTR(CKA_TOKEN, no),       MM_ATTR(CKA_PRIVATE, yes),   MM_ATTR(CKA_SENSITIVE, yes),
        MM_ATTR(CKA_EXTRACTABLE, no), MM_ATTR(CKA_WRAP, may_wrap), MM_ATTR(CKA_DERIVE, may_derive),
        MM_ATTR(CKA_ENCRYPT, no),     MM_ATTR(CKA_DECRYPT, no),    MM_ATTR(CKA_UNWRAP, no),
    };
    const CK_RV rv =
        MM_CK(t, C_DeriveKey(t->session, mechanism, base, attrs, MM_ARRAY_SIZE(attrs), ret_key));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_DeriveKey by mechanism 0x%lx", mechanism->mechanism);
    return MM_OK;
}

/* Both steps in the token: the agreed secret as an AES key, and from it the wrapping key. The
 * second is what a token without a KDF for ECDH has (SoftHSM: CKD_NULL only), and it binds the key
 * to the context: two AES blocks in CBC under the secret, which nobody else knows. */
static int agree(struct mm_token *t, CK_OBJECT_HANDLE ephemeral, uint8_t *recipient,
                 size_t point_len, uint8_t *context, CK_OBJECT_HANDLE *ret_kek,
                 struct mm_errinfo *ei)
{
    CK_ECDH1_DERIVE_PARAMS ecdh = {
        .kdf = CKD_NULL, .ulPublicDataLen = point_len, .pPublicData = recipient};
    CK_AES_CBC_ENCRYPT_DATA_PARAMS cbc = {.pData = context, .length = MM_TRANSPORT_CONTEXT};
    CK_MECHANISM agreement = {CKM_ECDH1_DERIVE, &ecdh, sizeof(ecdh)};
    CK_MECHANISM expansion = {CKM_AES_CBC_ENCRYPT_DATA, &cbc, sizeof(cbc)};
    CK_OBJECT_HANDLE secret = CK_INVALID_HANDLE;
    int r = derive(t, &agreement, ephemeral, false, &secret, ei);

    if (r == MM_OK)
        r = derive(t, &expansion, secret, true, ret_kek, ei);
    mm_object_drop(t, secret);
    return r;
}

void mm_transport_context(const uint8_t *ephemeral, const uint8_t *recipient, size_t point_len,
                          const char *name, uint8_t ret_context[MM_TRANSPORT_CONTEXT])
{
    static const char label[] = "mintmark transport key v1"; /* its NUL is part of it */
    uint8_t text[sizeof(label) + 2 * MM_POINT_MAX + MM_NAME_MAX];
    const size_t name_len = strnlen(name, MM_NAME_MAX);
    uint8_t *p = text;

    p = mempcpy(p, label, sizeof(label));
    p = mempcpy(p, ephemeral, point_len);
    p = mempcpy(p, recipient, point_len);
    p = mempcpy(p, name, name_len);
    SHA256(text, (size_t)(p - text), ret_context);
}

static int export_to_ec(struct mm_token *t, CK_OBJECT_HANDLE key, const char *name,
                        EVP_PKEY *recipient, struct mm_exported_key *out, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = NULL;
    uint8_t point[MM_POINT_MAX], context[MM_TRANSPORT_CONTEXT];
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    struct mm_keypair pair = {0};
    int r = mm_soft_ec_point(recipient, &curve, point, ei);

    if (r == MM_OK)
        r = mm_ephemeral_pair(t, curve, &pair, ei);
    if (r < 0)
        return r;
    mm_transport_context(pair.point, point, pair.point_len, name, context);
    r = agree(t, pair.private_key, point, pair.point_len, context, &kek, ei);
    if (r == MM_OK)
        r = mm_token_wrap(t, kek, key, out->wrapped, &out->wrapped_len, ei);
    mm_object_drop(t, kek);
    mm_token_destroy(t, &pair);
    if (r < 0)
        return r;
    memcpy(out->ephemeral, pair.point, pair.point_len);
    out->ephemeral_len = pair.point_len;
    out->wrap = curve->curve == MM_CURVE_P384 ? "ECDH-P384+KWP" : "ECDH-P256+KWP";
    return MM_OK;
}

int mm_export_key(struct mm_token *t, CK_OBJECT_HANDLE key, const char *name, EVP_PKEY *recipient,
                  struct mm_exported_key *ret_exported, struct mm_errinfo *ei)
{
    struct mm_exported_key out = {0};
    int r;

    if (EVP_PKEY_is_a(recipient, "RSA"))
        r = export_to_rsa(t, key, recipient, &out, ei);
    else
        r = export_to_ec(t, key, name, recipient, &out, ei);
    if (r == MM_OK)
        *ret_exported = out;
    return r;
}

/* ---- the file ---------------------------------------------------------------------------- */

static int check_recipient(EVP_PKEY *key, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve;
    uint8_t point[MM_POINT_MAX];

    if (EVP_PKEY_is_a(key, "EC"))
        return mm_soft_ec_point(key, &curve, point, ei);
    if (!EVP_PKEY_is_a(key, "RSA"))
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                       "the recipient's key is neither RSA nor EC");
    if (EVP_PKEY_get_bits(key) < MM_RSA_BITS_MIN || EVP_PKEY_get_bits(key) > MM_RSA_BITS_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                       "the recipient's RSA key has %d bits; %d to %d are taken",
                       EVP_PKEY_get_bits(key), MM_RSA_BITS_MIN, MM_RSA_BITS_MAX);
    return MM_OK;
}

static int parse_recipient(struct mm_bytes spki, EVP_PKEY **ret_key, struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *key = NULL;
    const unsigned char *p = spki.data;
    int r;

    if (spki.len > MM_CERT_DER_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "RECIPIENT_KEY", "the recipient's key is too long");
    key = d2i_PUBKEY(NULL, &p, (long)spki.len);
    if (!key || p != spki.data + spki.len)
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                       "the recipient's key is no DER SubjectPublicKeyInfo");
    r = check_recipient(key, ei);
    if (r < 0)
        return r;
    *ret_key = MM_TAKE(key);
    return MM_OK;
}

static json_t *pack(const char *name, const char *check_value, const char *recipient,
                    const struct mm_exported_key *e, const char *ephemeral, const char *wrapped)
{
    json_t *file =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "format", "mintmark-transport-key",
                  "version", 1, "transport_key", name, "algorithm", "AES-256-KWP", "check_value",
                  check_value, "recipient_sha256", recipient, "wrap", e->wrap);

    if (!file)
        return NULL;
    if ((e->ephemeral_len > 0 &&
         json_object_set_new(file, "ephemeral_point", json_string(ephemeral)) < 0) ||
        json_object_set_new(file, "wrapped_key", json_string(wrapped)) < 0) {
        json_decref(file);
        return NULL;
    }
    return file;
}

static int write_file(const char *name, const uint8_t check_value[8], struct mm_bytes spki,
                      const struct mm_exported_key *e, struct mm_buf *ret_text,
                      struct mm_errinfo *ei)
{
    char value[17], recipient[2 * SHA256_DIGEST_LENGTH + 1], ephemeral[2 * MM_POINT_MAX + 1];
    char wrapped[2 * MM_EXPORT_WRAPPED_MAX + 1];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    json_t *file;
    char *text;

    SHA256(spki.data, spki.len, digest);
    file = pack(name, mm_hex_encode(check_value, 8, value),
                mm_hex_encode(digest, sizeof(digest), recipient), e,
                mm_hex_encode(e->ephemeral, e->ephemeral_len, ephemeral),
                mm_hex_encode(e->wrapped, e->wrapped_len, wrapped));
    if (!file)
        return mm_fail_memory(ei);
    text = json_dumps(file, JSON_INDENT(2));
    json_decref(file);
    if (!text)
        return mm_fail_memory(ei);
    mm_buf_append_str(ret_text, text);
    mm_buf_append_str(ret_text, "\n");
    free(text);
    if (mm_buf_err(ret_text))
        return mm_fail(ei, ret_text->err, "EXPORT_TOO_BIG", "no room for the export file");
    return MM_OK;
}

int mm_token_export_transport(struct mm_token *t, mm_handle key, const char *name,
                              struct mm_bytes recipient_spki, struct mm_buf *ret_text,
                              struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *recipient = NULL;
    struct mm_exported_key exported;
    uint8_t check_value[8];
    int r;

    if (!mm_name_valid(name, MM_NAME_MAX))
        return mm_fail(ei, MM_ERR_INVALID, "TRANSPORT_NAME_INVALID",
                       "'%.64s' is no name for a transport key", name);
    r = parse_recipient(recipient_spki, &recipient, ei);
    if (r == MM_OK)
        r = mm_token_check_policy(t, key, MM_USE_TRANSPORT, ei);
    if (r == MM_OK)
        r = mm_token_check_value(t, key, check_value, ei);
    if (r == MM_OK)
        r = mm_export_key(t, key, name, recipient, &exported, ei);
    if (r < 0)
        return r;
    return write_file(name, check_value, recipient_spki, &exported, ret_text, ei);
}
