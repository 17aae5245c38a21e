/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

X509 *certificate_parse(const uint8_t *der, size_t len)
{
    const uint8_t *at = der;
    X509 *cert = d2i_X509(NULL, &at, (long)len);

    if (cert && at != der + len) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

int certificate_extension(const X509 *cert, int nid)
{
    const int at = X509_get_ext_by_NID(cert, nid, -1);

    if (at < 0)
        return -1;
    if (X509_get_ext_by_NID(cert, nid, at) >= 0)
        return -2;
    return X509_EXTENSION_get_critical(X509_get_ext(cert, at));
}

bool certificate_extension_is(const X509 *cert, int nid, const uint8_t *value, size_t len)
{
    const int at = X509_get_ext_by_NID(cert, nid, -1);
    const ASN1_OCTET_STRING *data = at < 0 ? NULL : X509_EXTENSION_get_data(X509_get_ext(cert, at));

    return data && (size_t)ASN1_STRING_length(data) == len &&
           memcmp(ASN1_STRING_get0_data(data), value, len) == 0;
}

bool certificate_key_is_on(X509 *cert, int curve_nid)
{
    EVP_PKEY *key = X509_get0_pubkey(cert);
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
    char group[32];
    size_t len;

    /* 04: uncompressed */
    return key && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) &&
           OBJ_txt2nid(group) == curve_nid && bits && ASN1_STRING_length(bits) > 0 &&
           ASN1_STRING_get0_data(bits)[0] == 4;
}

bool certificate_ski_is_sha1(X509 *cert)
{
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(cert);
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    return ski && bits &&
           EVP_Digest(ASN1_STRING_get0_data(bits), (size_t)ASN1_STRING_length(bits), digest, &len,
                      EVP_sha1(), NULL) &&
           ASN1_STRING_length(ski) == (int)len &&
           memcmp(ASN1_STRING_get0_data(ski), digest, len) == 0;
}

bool certificate_aki_matches(X509 *cert, X509 *issuer)
{
    const ASN1_OCTET_STRING *aki = X509_get0_authority_key_id(cert);
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(issuer);

    return aki && ski && ASN1_OCTET_STRING_cmp(aki, ski) == 0;
}

bool certificate_issuer_is(const X509 *cert, const X509 *issuer)
{
    const unsigned char *a, *b;
    size_t a_len, b_len;

    return X509_NAME_get0_der(X509_get_issuer_name(cert), &a, &a_len) &&
           X509_NAME_get0_der(X509_get_subject_name(issuer), &b, &b_len) && a_len == b_len &&
           memcmp(a, b, a_len) == 0;
}

static bool time_well_encoded(const ASN1_TIME *time)
{
    struct tm tm;
    int want;

    if (!ASN1_TIME_to_tm(time, &tm))
        return false;
    want = tm.tm_year + 1900 < 2050 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME;
    return ASN1_STRING_type(time) == want &&
           ASN1_STRING_length(time) == (want == V_ASN1_UTCTIME ? 13 : 15);
}

bool certificate_times_well_encoded(const X509 *cert)
{
    return time_well_encoded(X509_get0_notBefore(cert)) &&
           time_well_encoded(X509_get0_notAfter(cert));
}

bool certificate_serial_is_proper(const X509 *cert)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
    /* 20 octets of DER are 159 bits: the first is the sign. */
    const bool proper = n && !BN_is_negative(n) && !BN_is_zero(n) && BN_num_bits(n) <= 159;

    BN_free(n);
    return proper;
}
