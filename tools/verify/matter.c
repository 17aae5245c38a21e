/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Matter device attestation: what a commissioner checks of DAC, PAI and PAA (Matter Core
 * Specification sections 6.2.2 and 6.2.3).
 */
#include "tools/verify/verify.h"

#include <ctype.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { ID_CHARS = 4, DER_MAX = 600, CN_PART = 64 };

struct ids {
    char vid[ID_CHARS + 1], pid[ID_CHARS + 1]; /* "" when absent */
    const char *problem;
};

static bool is_id(const char *text)
{
    for (int i = 0; i < ID_CHARS; i++) {
        if (!isdigit((unsigned char)text[i]) && (text[i] < 'A' || text[i] > 'F'))
            return false;
    }
    return true;
}

static void take_id(struct ids *ids, char *id, const ASN1_STRING *value)
{
    const int type = ASN1_STRING_type(value);

    if (*id)
        ids->problem = "a vendor or product id twice";
    else if (ASN1_STRING_length(value) != ID_CHARS ||
             !is_id((const char *)ASN1_STRING_get0_data(value)) ||
             (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING))
        ids->problem = "a vendor or product id that is not 4 upper-case hexadecimal digits";
    else
        memcpy(id, ASN1_STRING_get0_data(value), ID_CHARS);
}

static void take_from_cn(struct ids *ids, const char *cn, const char *prefix, char *id)
{
    const char *at = cn;

    while (!*id && (at = strstr(at, prefix))) {
        at += strlen(prefix);
        if (strlen(at) >= ID_CHARS && is_id(at))
            memcpy(id, at, ID_CHARS);
        else
            ids->problem = "Mvid: or Mpid: without 4 upper-case hexadecimal digits";
    }
    if (*id)
        ids->problem = NULL;
}

/* As attributes of Matter's own, else inside the common name. */
static struct ids read_ids(const X509_NAME *name)
{
    struct ids ids = {"", "", NULL};
    char cn[CN_PART + 1] = "";

    for (int i = 0; i < X509_NAME_entry_count(name); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        const ASN1_STRING *value = X509_NAME_ENTRY_get_data(entry);
        char oid[64];

        OBJ_obj2txt(oid, sizeof(oid), X509_NAME_ENTRY_get_object(entry), 1);
        if (strcmp(oid, "1.3.6.1.4.1.37244.2.1") == 0)
            take_id(&ids, ids.vid, value);
        else if (strcmp(oid, "1.3.6.1.4.1.37244.2.2") == 0)
            take_id(&ids, ids.pid, value);
        else if (strcmp(oid, "2.5.4.3") == 0 && !*cn)
            snprintf(cn, sizeof(cn), "%.*s", ASN1_STRING_length(value),
                     (const char *)ASN1_STRING_get0_data(value));
    }
    if (!*ids.vid && !*ids.pid && !ids.problem) {
        take_from_cn(&ids, cn, "Mvid:", ids.vid);
        if (!ids.problem)
            take_from_cn(&ids, cn, "Mpid:", ids.pid);
    }
    return ids;
}

/* Section 6.2.2, common to all three. */
static void check_common(X509 *cert, const char *who, struct report *r)
{
    const struct ids ids = read_ids(X509_get_subject_name(cert));

    if (X509_get_version(cert) != X509_VERSION_3)
        report_fail(r, who, "Matter: not X.509 version 3");
    if (!certificate_serial_is_proper(cert))
        report_fail(r, who, "Matter: serial number not positive, or of more than 20 octets");
    if (X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256)
        report_fail(r, who, "Matter: not signed by ecdsa-with-SHA256");
    if (!certificate_key_is_on(cert, NID_X9_62_prime256v1))
        report_fail(r, who, "Matter: key not an uncompressed point on prime256v1");
    if (X509_NAME_entry_count(X509_get_subject_name(cert)) == 0 ||
        X509_NAME_entry_count(X509_get_issuer_name(cert)) == 0)
        report_fail(r, who, "Matter: empty subject or issuer");
    if (!certificate_times_well_encoded(cert))
        report_fail(r, who, "Matter: validity not UTCTime through 2049 and GeneralizedTime after");
    if (certificate_extension(cert, NID_subject_key_identifier) != 0 ||
        !certificate_ski_is_sha1(cert))
        report_fail(r, who, "Matter: no non-critical SKI that is SHA-1 of the key");
    if (ids.problem)
        report_fail(r, who, "Matter: %s in the subject", ids.problem);
}

static void check_ca(X509 *cert, const char *who, long pathlen, struct report *r)
{
    const uint32_t usage = X509_get_key_usage(cert), must = KU_KEY_CERT_SIGN | KU_CRL_SIGN;

    if (certificate_extension(cert, NID_basic_constraints) != 1 || !X509_check_ca(cert))
        report_fail(r, who, "Matter: no critical basicConstraints with cA TRUE");
    if (X509_get_pathlen(cert) != pathlen && !(pathlen == 1 && X509_get_pathlen(cert) == -1))
        report_fail(r, who, "Matter: path length is not %ld", pathlen);
    if (certificate_extension(cert, NID_key_usage) != 1 || (usage & must) != must ||
        (usage & ~(must | KU_DIGITAL_SIGNATURE)) != 0)
        report_fail(r, who, "Matter: keyUsage not critical keyCertSign and cRLSign");
}

static void check_aki(X509 *cert, X509 *issuer, const char *who, struct report *r)
{
    if (certificate_extension(cert, NID_authority_key_identifier) != 0 ||
        !certificate_aki_matches(cert, issuer))
        report_fail(r, who, "Matter: no non-critical AKI that is the issuer's SKI");
    if (!certificate_issuer_is(cert, issuer))
        report_fail(r, who, "Matter: issuer is not the issuing certificate's subject");
}

static void check_paa(const struct chain *c, struct report *r)
{
    const struct ids ids = read_ids(X509_get_subject_name(c->root));

    check_common(c->root, "PAA", r);
    check_ca(c->root, "PAA", 1, r);
    if (*ids.pid)
        report_fail(r, "PAA", "Matter: product id in the subject");
    if (certificate_extension(c->root, NID_authority_key_identifier) != -1)
        check_aki(c->root, c->root, "PAA", r);
}

void matter_check_issuers(const struct chain *c, struct report *r)
{
    X509 *pai = sk_X509_num(c->delivered) == 2 ? sk_X509_value(c->delivered, 0) : NULL;
    const struct ids paa_ids = read_ids(X509_get_subject_name(c->root));
    struct ids ids;

    if (!pai) {
        report_fail(r, c->name, "Matter: must hold PAI and PAA, and nothing else");
        return;
    }
    check_paa(c, r);
    check_common(pai, "PAI", r);
    check_ca(pai, "PAI", 0, r);
    check_aki(pai, c->root, "PAI", r);
    ids = read_ids(X509_get_subject_name(pai));
    if (!*ids.vid)
        report_fail(r, "PAI", "Matter: no vendor id in the subject");
    if (*paa_ids.vid && strcmp(ids.vid, paa_ids.vid) != 0)
        report_fail(r, "PAI", "Matter: vendor id %s, but the PAA's is %s", ids.vid, paa_ids.vid);
}

static void check_ids(X509 *cert, X509 *pai, const char *who, struct report *r)
{
    const struct ids ids = read_ids(X509_get_subject_name(cert));
    const struct ids above = read_ids(X509_get_subject_name(pai));

    if (!*ids.vid || !*ids.pid)
        report_fail(r, who, "Matter: vendor or product id missing in the subject");
    if (strcmp(ids.vid, above.vid) != 0)
        report_fail(r, who, "Matter: vendor id %s, but the PAI's is %s", ids.vid, above.vid);
    if (*above.pid && strcmp(ids.pid, above.pid) != 0)
        report_fail(r, who, "Matter: product id %s, but the PAI's is %s", ids.pid, above.pid);
}

void matter_check_device(const struct chain *c, X509 *cert, size_t der_len, const char *who,
                         struct report *r)
{
    static const uint8_t no_ca[] = {0x30, 0x00}, signs_only[] = {0x03, 0x02, 0x07, 0x80};
    X509 *pai = sk_X509_num(c->delivered) == 2 ? sk_X509_value(c->delivered, 0) : NULL;

    if (!pai)
        return; /* said once, of the chain */
    check_common(cert, who, r);
    check_aki(cert, pai, who, r);
    if (der_len > DER_MAX)
        report_fail(r, who, "Matter: %zu bytes of DER, more than %d", der_len, DER_MAX);
    if (certificate_extension(cert, NID_basic_constraints) != 1 ||
        !certificate_extension_is(cert, NID_basic_constraints, no_ca, sizeof(no_ca)))
        report_fail(r, who, "Matter: basicConstraints not critical with cA FALSE (30 00)");
    if (certificate_extension(cert, NID_key_usage) != 1 ||
        !certificate_extension_is(cert, NID_key_usage, signs_only, sizeof(signs_only)))
        report_fail(r, who, "Matter: keyUsage not critical digitalSignature alone");
    check_ids(cert, pai, who, r);
}
