/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

/* Is there a hardwareModuleName (RFC 4108 section 5) among the names? */
static bool has_hardware_module_name(const X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        ASN1_OBJECT *type = NULL;
        char oid[64] = "";

        if (GENERAL_NAME_get0_otherName(sk_GENERAL_NAME_value(names, i), &type, NULL))
            OBJ_obj2txt(oid, sizeof(oid), type, 1);
        found = strcmp(oid, "1.3.6.1.5.5.7.8.4") == 0;
    }
    GENERAL_NAMES_free(names);
    return found;
}

static void check_identity(const X509 *cert, const char *who, struct report *r)
{
    const X509_NAME *subject = X509_get_subject_name(cert);
    const bool named = X509_NAME_entry_count(subject) > 0;
    const bool module = has_hardware_module_name(cert);

    if (!named && certificate_extension(cert, NID_subject_alt_name) != 1)
        report_fail(r, who, "802.1AR: empty subject without a critical subjectAltName");
    if (X509_NAME_get_index_by_NID(subject, NID_serialNumber, -1) < 0 && !module)
        report_fail(r, who, "802.1AR: neither serialNumber nor hardwareModuleName");
}

static void check_key(X509 *cert, const char *who, struct report *r)
{
    const EVP_PKEY *key = X509_get0_pubkey(cert);
    const bool rsa = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA;

    if (rsa ? EVP_PKEY_get_bits(key) < 2048
            : !certificate_key_is_on(cert, NID_X9_62_prime256v1) &&
                  !certificate_key_is_on(cert, NID_secp384r1))
        report_fail(r, who, "802.1AR: key neither P-256, P-384 nor RSA of 2048 bits");
}

static void check_extensions(X509 *cert, const char *who, struct report *r)
{
    const int bc = certificate_extension(cert, NID_basic_constraints);
    const int ku = certificate_extension(cert, NID_key_usage);

    if (bc == -2 || X509_check_ca(cert))
        report_fail(r, who, "802.1AR: basicConstraints twice, or a CA");
    if (ku != -1 && (ku != 1 || !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE)))
        report_fail(r, who, "802.1AR: keyUsage not critical, or without digitalSignature");
    if (certificate_extension(cert, NID_authority_key_identifier) != 0)
        report_fail(r, who, "802.1AR: no non-critical authorityKeyIdentifier");
}

void idevid_check(const struct chain *c, X509 *cert, const char *who, struct report *r)
{
    static const char forever[] = "99991231235959Z";
    const ASN1_TIME *end = X509_get0_notAfter(cert);
    X509 *issuer = sk_X509_num(c->delivered) > 0 ? sk_X509_value(c->delivered, 0) : c->root;

    if (X509_get_version(cert) != X509_VERSION_3)
        report_fail(r, who, "802.1AR: not X.509 version 3");
    if (!certificate_serial_is_proper(cert))
        report_fail(r, who, "802.1AR: serial number not positive, or of more than 20 octets");
    if (ASN1_STRING_type(end) != V_ASN1_GENERALIZEDTIME ||
        ASN1_STRING_length(end) != (int)strlen(forever) ||
        memcmp(ASN1_STRING_get0_data(end), forever, strlen(forever)) != 0)
        report_fail(r, who, "802.1AR: notAfter is not %s", forever);
    if (!certificate_times_well_encoded(cert))
        report_fail(r, who, "802.1AR: notBefore not UTCTime through 2049");
    if (!certificate_issuer_is(cert, issuer) || !certificate_aki_matches(cert, issuer))
        report_fail(r, who, "802.1AR: issuer or AKI is not the issuing CA's");
    check_identity(cert, who, r);
    check_key(cert, who, r);
    check_extensions(cert, who, r);
}
