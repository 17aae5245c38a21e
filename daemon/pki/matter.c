/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/internal.h"

#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { ID_LEN = 4, CN_SEARCHED = 64 };

/* Vendor and product id of a name; "" when it has none. */
struct ids {
    char vid[ID_LEN + 1], pid[ID_LEN + 1];
};

static int fail(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "MATTER_RULE", "Matter: %s", what);
}

static bool is_hex4(const char *s)
{
    return strspn(s, "0123456789ABCDEF") >= ID_LEN;
}

static int read_attribute(const X509_NAME *name, const char *oid, char ret_id[ID_LEN + 1],
                          struct mm_errinfo *ei)
{
    ASN1_OBJECT *type = OBJ_txt2obj(oid, 1);
    const int at = type ? X509_NAME_get_index_by_OBJ(name, type, -1) : -1;
    const bool twice = at >= 0 && X509_NAME_get_index_by_OBJ(name, type, at) >= 0;
    const ASN1_STRING *value;

    ASN1_OBJECT_free(type);
    if (!type)
        return mm_fail_memory(ei);
    if (at < 0)
        return MM_OK;
    if (twice)
        return fail(ei, "a vendor or product id stands twice in one name");
    value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    if (ASN1_STRING_length(value) == ID_LEN) {
        memcpy(ret_id, ASN1_STRING_get0_data(value), ID_LEN);
        ret_id[ID_LEN] = 0;
    }
    return is_hex4(ret_id) ? MM_OK
                           : fail(ei, "vendor and product ids are 4 upper-case hexadecimal digits");
}

/* The leftmost well-formed one counts. */
static void find_in_cn(const char *cn, const char *prefix, char ret_id[ID_LEN + 1])
{
    for (const char *p = strstr(cn, prefix); p; p = strstr(p + 1, prefix)) {
        if (!is_hex4(p + strlen(prefix)))
            continue;
        memcpy(ret_id, p + strlen(prefix), ID_LEN);
        ret_id[ID_LEN] = 0;
        return;
    }
}

static int read_ids(const X509_NAME *name, struct ids *ret_ids, struct mm_errinfo *ei)
{
    struct ids ids = {"", ""};
    char cn[CN_SEARCHED + 1];
    int r = read_attribute(name, "1.3.6.1.4.1.37244.2.1", ids.vid, ei);

    if (r == MM_OK)
        r = read_attribute(name, "1.3.6.1.4.1.37244.2.2", ids.pid, ei);
    if (r < 0)
        return r;
    if (!*ids.vid && !*ids.pid &&
        X509_NAME_get_text_by_NID(name, NID_commonName, cn, sizeof(cn)) > 0) {
        find_in_cn(cn, "Mvid:", ids.vid);
        find_in_cn(cn, "Mpid:", ids.pid);
    }
    *ret_ids = ids;
    return MM_OK;
}

static int check_names(X509 *cert, X509 *issuer, enum mm_matter_role role, struct mm_errinfo *ei)
{
    struct ids own, above = {"", ""};
    int r = read_ids(X509_get_subject_name(cert), &own, ei);

    if (r == MM_OK && issuer)
        r = read_ids(X509_get_subject_name(issuer), &above, ei);
    if (r < 0)
        return r;
    if (role == MM_MATTER_PAA)
        return *own.pid ? fail(ei, "a PAA's subject has no product id") : MM_OK;
    if (!*own.vid)
        return fail(ei, "the subject must have a vendor id (VID=)");
    if (role == MM_MATTER_DAC && !*own.pid)
        return fail(ei, "a DAC's subject must have a product id (PID=)");
    if (*above.vid && strcmp(own.vid, above.vid) != 0)
        return fail(ei, "the vendor id is not the issuer's");
    if (role == MM_MATTER_DAC && *above.pid && strcmp(own.pid, above.pid) != 0)
        return fail(ei, "the product id is not the issuer's");
    return MM_OK;
}

static int check_key(X509 *cert, struct mm_errinfo *ei)
{
    const struct mm_ec *ec = mm_ec_of_key(X509_get0_pubkey(cert));

    if (!ec || ec->curve_nid != NID_X9_62_prime256v1)
        return fail(ei, "keys are on P-256");
    if (X509_get_signature_nid(cert) != NID_ecdsa_with_SHA256)
        return fail(ei, "signatures are ecdsa-with-SHA256, so the issuer's key is on P-256");
    return MM_OK;
}

/* -1 absent, -2 twice, else whether it is critical. */
static int criticality(X509 *cert, int nid)
{
    const int at = X509_get_ext_by_NID(cert, nid, -1);

    if (at < 0)
        return -1;
    if (X509_get_ext_by_NID(cert, nid, at) >= 0)
        return -2;
    return X509_EXTENSION_get_critical(X509_get_ext(cert, at));
}

static int check_constraints(X509 *cert, enum mm_matter_role role, struct mm_errinfo *ei)
{
    const bool ca = (X509_get_extension_flags(cert) & EXFLAG_CA) != 0;
    const long pathlen = X509_get_pathlen(cert);

    if (criticality(cert, NID_basic_constraints) != 1)
        return fail(ei, "basicConstraints is mandatory and critical");
    if (ca != (role != MM_MATTER_DAC))
        return fail(ei, "PAA and PAI are CAs, a DAC is none");
    if (role == MM_MATTER_PAI && pathlen != 0)
        return fail(ei, "a PAI has path length 0");
    if (role == MM_MATTER_PAA && pathlen != -1 && pathlen != 1)
        return fail(ei, "a PAA has path length 1, or none");
    return MM_OK;
}

static int check_usage(X509 *cert, enum mm_matter_role role, struct mm_errinfo *ei)
{
    const uint32_t usage = X509_get_key_usage(cert);
    const uint32_t must = KU_KEY_CERT_SIGN | KU_CRL_SIGN;

    if (criticality(cert, NID_key_usage) != 1)
        return fail(ei, "keyUsage is mandatory and critical");
    if (role == MM_MATTER_DAC)
        return usage == KU_DIGITAL_SIGNATURE ? MM_OK
                                             : fail(ei, "a DAC's key usage is digitalSignature");
    if ((usage & must) != must || (usage & ~(must | KU_DIGITAL_SIGNATURE)))
        return fail(ei, "a CA's key usage is keyCertSign, cRLSign and at most digitalSignature");
    return MM_OK;
}

static int check_identifiers(X509 *cert, enum mm_matter_role role, struct mm_errinfo *ei)
{
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(cert);
    const ASN1_OCTET_STRING *aki = X509_get0_authority_key_id(cert);

    if (criticality(cert, NID_subject_key_identifier) != 0 || !ski ||
        ASN1_STRING_length(ski) != MM_SKI_LEN)
        return fail(ei, "a subject key identifier of 20 bytes is mandatory");
    if (role == MM_MATTER_PAA && !aki)
        return MM_OK;
    if (criticality(cert, NID_authority_key_identifier) != 0 || !aki ||
        ASN1_STRING_length(aki) != MM_SKI_LEN)
        return fail(ei, "an authority key identifier of 20 bytes is mandatory");
    return MM_OK;
}

int mm_matter_check(X509 *certificate, X509 *issuer, enum mm_matter_role role,
                    struct mm_errinfo *ei)
{
    int r = MM_OK;

    if (X509_get_version(certificate) != X509_VERSION_3)
        r = fail(ei, "certificates are X.509 version 3");
    if (r == MM_OK)
        r = check_key(certificate, ei);
    if (r == MM_OK)
        r = check_constraints(certificate, role, ei);
    if (r == MM_OK)
        r = check_usage(certificate, role, ei);
    if (r == MM_OK)
        r = check_identifiers(certificate, role, ei);
    return r < 0 ? r : check_names(certificate, issuer, role, ei);
}
