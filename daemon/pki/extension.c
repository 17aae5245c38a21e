/* SPDX-License-Identifier: Apache-2.0 */
/* Extensions of RFC 5280 section 4.2.1, as DER. */
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/x509v3.h>
#include <string.h>

static int append_extension(struct mm_buf *b, X509_EXTENSION *extension, struct mm_errinfo *ei)
{
    uint8_t *der = NULL;
    const int len = extension ? i2d_X509_EXTENSION(extension, &der) : -1;

    X509_EXTENSION_free(extension);
    if (len < 0)
        return mm_fail_memory(ei);
    mm_buf_append(b, der, (size_t)len);
    OPENSSL_free(der);
    return MM_OK;
}

static int append_basic_constraints(struct mm_buf *b, const char *how, struct mm_errinfo *ei)
{
    BASIC_CONSTRAINTS *bc;
    X509_EXTENSION *extension = NULL;
    bool ok;

    if (strcmp(how, "none") == 0)
        return MM_OK;
    bc = BASIC_CONSTRAINTS_new();
    if (!bc)
        return mm_fail_memory(ei);
    /* FALSE is the default, and so not encoded (X.690 section 11.5): 30 00 for an end entity. */
    bc->ca = strcmp(how, "end-entity") == 0 ? 0 : 0xff;
    ok = true;
    if (strncmp(how, "ca:", 3) == 0) {
        bc->pathlen = ASN1_INTEGER_new();
        ok = bc->pathlen && ASN1_INTEGER_set(bc->pathlen, how[3] - '0');
    }
    if (ok)
        extension = X509V3_EXT_i2d(NID_basic_constraints, 1, bc);
    BASIC_CONSTRAINTS_free(bc);
    return append_extension(b, extension, ei);
}

/* Bits of RFC 5280 section 4.2.1.3, by their names there. */
static const char *const key_usages[] = {"digitalSignature", "nonRepudiation", "keyEncipherment",
                                         "dataEncipherment", "keyAgreement",   "keyCertSign",
                                         "cRLSign",          "encipherOnly",   "decipherOnly"};

static int set_key_usage(ASN1_BIT_STRING *bits, const char *name, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(key_usages); i++) {
        if (strcmp(name, key_usages[i]) == 0)
            return ASN1_BIT_STRING_set_bit(bits, (int)i, 1) ? MM_OK : mm_fail_memory(ei);
    }
    return mm_fail_field(ei, "key_usage",
                         "no key usage \"%.40s\"; there are digitalSignature, nonRepudiation, "
                         "keyEncipherment, dataEncipherment, keyAgreement, keyCertSign, cRLSign, "
                         "encipherOnly, decipherOnly",
                         name);
}

static int append_key_usage(struct mm_buf *b, const char *const *names, size_t n,
                            struct mm_errinfo *ei)
{
    ASN1_BIT_STRING *bits = ASN1_BIT_STRING_new();
    X509_EXTENSION *extension = NULL;
    int r = bits ? MM_OK : mm_fail_memory(ei);

    for (size_t i = 0; r == MM_OK && i < n; i++)
        r = set_key_usage(bits, names[i], ei);
    if (r == MM_OK)
        extension = X509V3_EXT_i2d(NID_key_usage, 1, bits);
    ASN1_BIT_STRING_free(bits);
    return r < 0 ? r : append_extension(b, extension, ei);
}

static int add_usage_oid(EXTENDED_KEY_USAGE *usages, const char *name, struct mm_errinfo *ei)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(name, 0);

    if (!oid)
        return mm_fail_field(ei, "extended_key_usage",
                             "\"%.40s\" is neither an OID in dots nor a short name such as "
                             "clientAuth",
                             name);
    if (!sk_ASN1_OBJECT_push(usages, oid)) {
        ASN1_OBJECT_free(oid);
        return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int append_extended_key_usage(struct mm_buf *b, char *const *names, size_t n,
                                     struct mm_errinfo *ei)
{
    EXTENDED_KEY_USAGE *usages;
    X509_EXTENSION *extension = NULL;
    int r;

    if (n == 0)
        return MM_OK;
    if (n > MM_KEY_USAGES_MAX)
        return mm_fail_field(ei, "extended_key_usage", "more than %d usages", MM_KEY_USAGES_MAX);
    usages = EXTENDED_KEY_USAGE_new();
    r = usages ? MM_OK : mm_fail_memory(ei);
    for (size_t i = 0; r == MM_OK && i < n; i++)
        r = add_usage_oid(usages, names[i], ei);
    if (r == MM_OK)
        extension = X509V3_EXT_i2d(NID_ext_key_usage, 0, usages);
    EXTENDED_KEY_USAGE_free(usages);
    return r < 0 ? r : append_extension(b, extension, ei);
}

/* Critical when there is no subject to tell devices apart by (RFC 5280 section 4.2.1.6). */
static int append_san(struct mm_buf *b, const struct mm_profile *p, const struct mm_subject *s,
                      struct mm_errinfo *ei)
{
    X509_EXTENSION *extension;
    int r;

    if (p->san.n_entries == 0)
        return MM_OK;
    r = mm_san_extension(&p->san, s, p->subject.n_rdns == 0, &extension, ei);
    return r < 0 ? r : append_extension(b, extension, ei);
}

static ASN1_OCTET_STRING *octets(const uint8_t *data, size_t len)
{
    ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();

    if (s && !ASN1_OCTET_STRING_set(s, data, (int)len)) {
        ASN1_OCTET_STRING_free(s);
        return NULL;
    }
    return s;
}

static int append_ski(struct mm_buf *b, const uint8_t id[MM_SKI_LEN], struct mm_errinfo *ei)
{
    ASN1_OCTET_STRING *value = octets(id, MM_SKI_LEN);
    X509_EXTENSION *extension = value ? X509V3_EXT_i2d(NID_subject_key_identifier, 0, value) : NULL;

    ASN1_OCTET_STRING_free(value);
    return append_extension(b, extension, ei);
}

static int append_aki(struct mm_buf *b, struct mm_bytes id, struct mm_errinfo *ei)
{
    AUTHORITY_KEYID *value = AUTHORITY_KEYID_new();
    X509_EXTENSION *extension = NULL;

    if (value) {
        value->keyid = octets(id.data, id.len);
        if (value->keyid)
            extension = X509V3_EXT_i2d(NID_authority_key_identifier, 0, value);
    }
    AUTHORITY_KEYID_free(value);
    return append_extension(b, extension, ei);
}

/* The issuer's own subject key identifier, whatever its CA made it of (RFC 5280 section 4.2.1.2).
 */
static int prepare_issuer_aki(struct mm_profile *p, struct mm_errinfo *ei)
{
    const ASN1_OCTET_STRING *ski = X509_get0_subject_key_id(p->issuer);
    const int len = ski ? ASN1_STRING_length(ski) : 0;

    if (len < 1 || len > MM_KEY_IDENTIFIER_MAX)
        return mm_fail_field(ei, "authority_key_identifier",
                             "the issuer's certificate has no subject key identifier of 1 to %d "
                             "bytes",
                             MM_KEY_IDENTIFIER_MAX);
    return append_aki(&p->aki_extension, (struct mm_bytes){ASN1_STRING_get0_data(ski), (size_t)len},
                      ei);
}

static bool has_usage(const struct mm_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->n_key_usage; i++) {
        if (strcmp(settings->key_usage[i], name) == 0)
            return true;
    }
    return false;
}

/* RFC 5280 section 4.2.1.3: a CA has keyCertSign, and nobody else has. */
static int check_ca(const struct mm_settings *settings, struct mm_errinfo *ei)
{
    const bool ca = strncmp(settings->basic_constraints, "ca", 2) == 0;

    if (ca == has_usage(settings, "keyCertSign"))
        return MM_OK;
    return mm_fail_field(ei, "key_usage",
                         ca ? "a CA's key_usage must have keyCertSign"
                            : "keyCertSign needs basic_constraints \"ca\"");
}

int mm_extensions_prepare(struct mm_profile *p, const struct mm_settings *settings,
                          struct mm_errinfo *ei)
{
    static const struct mm_subject nobody = {.hw_serial = "", .device_uid = ""};
    static const uint8_t no_id[MM_SKI_LEN];
    struct mm_buf *b = &p->fixed_extensions;
    int r = check_ca(settings, ei);

    if (r == MM_OK)
        r = append_basic_constraints(b, settings->basic_constraints, ei);
    if (r == MM_OK)
        r = append_key_usage(b, settings->key_usage, settings->n_key_usage, ei);
    if (r == MM_OK)
        r = append_extended_key_usage(b, settings->extended_key_usage,
                                      settings->n_extended_key_usage, ei);
    if (r == MM_OK && mm_san_is_fixed(&p->san))
        r = append_san(b, p, &nobody, ei);
    if (r == MM_OK)
        r = append_ski(&p->ski_extension, no_id, ei);
    if (r == MM_OK && p->authority_key_identifier && p->kind == MM_KIND_ISSUED)
        r = prepare_issuer_aki(p, ei);
    if (r < 0)
        return r;
    if (mm_buf_err(b) < 0 || mm_buf_err(&p->ski_extension) < 0 || mm_buf_err(&p->aki_extension) < 0)
        return mm_fail(ei, MM_ERR_TOO_BIG, "EXTENSIONS_TOO_LONG", "the extensions are too long");
    return MM_OK;
}

/* Subject key identifier, and the issuer's; of a self-signed certificate they are one. */
static int append_key_identifiers(const struct mm_profile *p, const struct mm_subject *s,
                                  struct mm_buf *b, struct mm_errinfo *ei)
{
    const bool own_aki = p->authority_key_identifier && p->kind == MM_KIND_SELF_SIGNED;
    uint8_t id[MM_SKI_LEN];
    int r = MM_OK;

    if ((p->subject_key_identifier || own_aki) &&
        mm_profile_key_identifier(p, s->point, s->point_len, id) < 0)
        return mm_fail_memory(ei);
    if (p->subject_key_identifier) {
        mm_buf_append(b, p->ski_extension.data, p->ski_extension.len - MM_SKI_LEN);
        mm_buf_append(b, id, MM_SKI_LEN);
    }
    if (own_aki)
        r = append_aki(b, (struct mm_bytes){id, MM_SKI_LEN}, ei);
    mm_buf_append(b, p->aki_extension.data, p->aki_extension.len);
    return r;
}

int mm_extensions_der(const struct mm_profile *p, const struct mm_subject *s, bool for_request,
                      struct mm_buf *der, struct mm_errinfo *ei)
{
    const size_t start = der->len;
    int r = MM_OK;

    mm_buf_append(der, p->fixed_extensions.data, p->fixed_extensions.len);
    if (!mm_san_is_fixed(&p->san))
        r = append_san(der, p, s, ei);
    if (r == MM_OK && !for_request)
        r = append_key_identifiers(p, s, der, ei);
    if (r < 0)
        return r;
    if (der->len > start)
        mm_der_wrap(der, start, MM_DER_SEQUENCE);
    if (mm_buf_err(der) == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (mm_buf_err(der) < 0 || der->len - start > MM_EXTENSIONS_DER_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "EXTENSIONS_TOO_LONG", "the extensions are too long");
    return MM_OK;
}
