/* SPDX-License-Identifier: Apache-2.0 */
/* The curves, and a device's public key in DER (RFC 5480, RFC 8410). */
#include "daemon/pki/internal.h"

#include <openssl/objects.h>
#include <string.h>

static const struct mm_ec curves[] = {
    {MM_KEY_P256, "p256", "P-256", NID_X9_62_prime256v1, NID_ecdsa_with_SHA256, "SHA256", 32, 65,
     64},
    {MM_KEY_P384, "p384", "P-384", NID_secp384r1, NID_ecdsa_with_SHA384, "SHA384", 48, 97, 96},
    {MM_KEY_ED25519, "ed25519", "Ed25519", NID_ED25519, NID_ED25519, NULL, 0, 32, 64},
};

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

    if (key && EVP_PKEY_is_a(key, "ED25519"))
        return mm_ec_by_conf_name("ed25519");
    if (!key || !EVP_PKEY_get_group_name(key, group, sizeof(group), &len))
        return NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (OBJ_txt2nid(group) == curves[i].curve_nid)
            return &curves[i];
    }
    return NULL;
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
