/* SPDX-License-Identifier: Apache-2.0 */
/* The curves, and a device's public key in DER (RFC 5480, RFC 8410, RFC 9881). */
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

static const struct mm_ec curves[] = {
    {MM_KEY_P256, "p256", "P-256", NID_X9_62_prime256v1, NID_ecdsa_with_SHA256, "SHA256", 32, 65,
     64, NULL},
    {MM_KEY_P384, "p384", "P-384", NID_secp384r1, NID_ecdsa_with_SHA384, "SHA384", 48, 97, 96,
     NULL},
    {MM_KEY_ED25519, "ed25519", "Ed25519", NID_ED25519, NID_ED25519, NULL, 0, 32, 64, NULL},
    {MM_KEY_ML_DSA_44, "mldsa44", "ML-DSA-44", NID_undef, NID_undef, NULL, 0, 1312, 2420,
     "2.16.840.1.101.3.4.3.17"},
    {MM_KEY_ML_DSA_65, "mldsa65", "ML-DSA-65", NID_undef, NID_undef, NULL, 0, 1952, 3309,
     "2.16.840.1.101.3.4.3.18"},
    {MM_KEY_ML_DSA_87, "mldsa87", "ML-DSA-87", NID_undef, NID_undef, NULL, 0, 2592, 4627,
     "2.16.840.1.101.3.4.3.19"},
};

int mm_ec_require(const struct mm_ec *ec, struct mm_errinfo *ei)
{
    EVP_SIGNATURE *signature = ec->oid ? EVP_SIGNATURE_fetch(NULL, ec->group, NULL) : NULL;
    const bool good = signature || !ec->oid;

    EVP_SIGNATURE_free(signature);
    if (good)
        return MM_OK;
    ERR_clear_error();
    return mm_fail(
        ei, MM_ERR_UNSUPPORTED, "ALGORITHM_UNVERIFIABLE",
        "%s is not to be had: signatures leave only once libcrypto has verified them, and "
        "OpenSSL %s cannot; 3.5 can",
        ec->group, OpenSSL_version(OPENSSL_VERSION_STRING));
}

/* The signature algorithm's OID, to be freed; NULL: no memory. */
static ASN1_OBJECT *algorithm_oid(const struct mm_ec *ec)
{
    return ec->oid ? OBJ_txt2obj(ec->oid, 1) : OBJ_nid2obj(ec->signature_nid);
}

int mm_ec_append_algorithm(const struct mm_ec *ec, struct mm_buf *der, struct mm_errinfo *ei)
{
    const size_t start = der->len;
    ASN1_OBJECT *oid = algorithm_oid(ec);

    if (!oid)
        return mm_fail_memory(ei);
    mm_der_append(der, MM_DER_OID, OBJ_get0_data(oid), OBJ_length(oid));
    mm_der_wrap(der, start, MM_DER_SEQUENCE);
    ASN1_OBJECT_free(oid);
    return MM_OK;
}

bool mm_ec_is_algorithm(const struct mm_ec *ec, struct mm_bytes der)
{
    MM_BUF_CLEANUP struct mm_buf own = MM_BUF_INIT(MM_ALGORITHM_DER_MAX);
    struct mm_errinfo ignored;

    return mm_ec_append_algorithm(ec, &own, &ignored) == MM_OK && mm_buf_err(&own) == MM_OK &&
           mm_bytes_equal((struct mm_bytes){own.data, own.len}, der);
}

const struct mm_ec *mm_ec_by_conf_name(const char *name)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (strcmp(name, curves[i].conf_name) == 0)
            return &curves[i];
    }
    return NULL;
}

const struct mm_ec *mm_ec_by_digest_len(size_t len)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (!mm_ec_is_pure(&curves[i]) && len == curves[i].digest_len)
            return &curves[i];
    }
    return NULL;
}

const struct mm_ec *mm_ec_by_point_len(size_t len)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (len == curves[i].point_len)
            return &curves[i];
    }
    return NULL;
}

const struct mm_ec *mm_ec_of_key(EVP_PKEY *key)
{
    char group[32];
    size_t len;

    for (size_t i = 0; key && i < MM_ARRAY_SIZE(curves); i++) {
        if (mm_ec_is_pure(&curves[i]) && EVP_PKEY_is_a(key, curves[i].group))
            return &curves[i];
    }
    if (!key || !EVP_PKEY_get_group_name(key, group, sizeof(group), &len))
        return NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (!mm_ec_is_pure(&curves[i]) && OBJ_txt2nid(group) == curves[i].curve_nid)
            return &curves[i];
    }
    return NULL;
}

/* The lengths are of two bytes, and of no unused bits the last byte speaks. */
static int ml_dsa_prefix(const struct mm_ec *ec, uint8_t prefix[MM_SPKI_PREFIX_MAX],
                         size_t *ret_len)
{
    static const uint8_t head[] = {0x30, 0x82, 0, 0, 0x30, 0x0b, 0x06, 0x09};
    ASN1_OBJECT *algorithm = algorithm_oid(ec);
    const size_t bits = ec->point_len + 1;
    uint8_t *p = prefix;

    if (!algorithm)
        return MM_ERR_MEMORY;
    memcpy(p, head, sizeof(head));
    p += sizeof(head);
    memcpy(p, OBJ_get0_data(algorithm), OBJ_length(algorithm));
    p += OBJ_length(algorithm);
    *p++ = 0x03;
    *p++ = 0x82;
    *p++ = (uint8_t)(bits >> 8);
    *p++ = (uint8_t)bits;
    *p++ = 0;
    *ret_len = (size_t)(p - prefix);
    prefix[2] = (uint8_t)((*ret_len - 4 + ec->point_len) >> 8);
    prefix[3] = (uint8_t)(*ret_len - 4 + ec->point_len);
    ASN1_OBJECT_free(algorithm);
    return MM_OK;
}

int mm_ec_spki_prefix(const struct mm_ec *ec, uint8_t prefix[MM_SPKI_PREFIX_MAX], size_t *ret_len)
{
    static const uint8_t ed25519[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                      0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    X509_PUBKEY *key;
    uint8_t *point = NULL, *der = NULL;
    int len = -1;

    if (ec->key == MM_KEY_ED25519) { /* RFC 8410 section 4 */
        memcpy(prefix, ed25519, sizeof(ed25519));
        *ret_len = sizeof(ed25519);
        return MM_OK;
    }
    if (ec->oid)
        return ml_dsa_prefix(ec, prefix, ret_len);
    key = X509_PUBKEY_new();
    point = OPENSSL_zalloc(ec->point_len);
    if (key && point &&
        X509_PUBKEY_set0_param(key, OBJ_nid2obj(NID_X9_62_id_ecPublicKey), V_ASN1_OBJECT,
                               OBJ_nid2obj(ec->curve_nid), point, (int)ec->point_len)) {
        point = NULL;
        len = i2d_X509_PUBKEY(key, &der);
    }
    if (len > 0) {
        *ret_len = (size_t)len - ec->point_len;
        memcpy(prefix, der, *ret_len);
    }
    OPENSSL_free(der);
    OPENSSL_free(point);
    X509_PUBKEY_free(key);
    return len > 0 ? MM_OK : MM_ERR_MEMORY;
}
