/* SPDX-License-Identifier: Apache-2.0 */
/* What a device's own request says of it, held against what the profile says: a CA elsewhere takes
 * subject and alternative names from the request. */
#include "daemon/pki/csr.h"
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 96 };

static int refuse(struct mm_errinfo *ei, const char *reason, const char *text)
{
    mm_fail(ei, MM_ERR_INVALID, reason, "%s", text);
    snprintf(ei->field, sizeof(ei->field), "csr");
    return MM_ERR_INVALID;
}

/* ---- subject ----------------------------------------------------------------------------- */

/* As RFC 4514 writes it, cut to size; what cannot be printed is escaped. */
static void name_text(struct mm_bytes der, char ret_text[TEXT_MAX])
{
    const uint8_t *at = der.data;
    X509_NAME *name = d2i_X509_NAME(NULL, &at, (long)der.len);
    BIO *out = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;

    if (name && out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253) >= 0)
        len = BIO_get_mem_data(out, &text);
    snprintf(ret_text, TEXT_MAX, "%.*s", (int)len, text ? text : "");
    BIO_free(out);
    X509_NAME_free(name);
}

static int check_subject(const struct mm_profile *p, const struct mm_subject *s,
                         struct mm_bytes subject, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    char asked[TEXT_MAX], given[TEXT_MAX], text[MM_ERR_TEXT_MAX];
    const int r = mm_name_der(&p->subject, s, &der, ei);

    if (r < 0 || mm_names_agree((struct mm_bytes){der.data, der.len}, subject))
        return r;
    name_text(subject, asked);
    name_text((struct mm_bytes){der.data, der.len}, given);
    snprintf(text, sizeof(text),
             "the request's subject is \"%s\", and the profile gives this device \"%s\"", asked,
             given);
    return refuse(ei, "CSR_SUBJECT", text);
}

/* ---- extensions -------------------------------------------------------------------------- */

/* Attribute ::= SEQUENCE { type OID, values SET }, of PKCS #9's extensionRequest (RFC 2985 section
 * 5.4.2) the value is one Extensions. *ret_list is empty when there is no such attribute. */
static bool read_requested(struct mm_bytes attributes, struct mm_bytes *ret_list)
{
    static const uint8_t extension_request[] = {0x2a, 0x86, 0x48, 0x86, 0xf7,
                                                0x0d, 0x01, 0x09, 0x0e};
    static const struct mm_bytes wanted = {extension_request, sizeof(extension_request)};
    struct mm_der attribute, type, values, list;
    bool found = false;

    while (attributes.len > 0) {
        if (!mm_der_part(&attributes, MM_DER_SEQUENCE, &attribute) ||
            !mm_der_part(&attribute.content, MM_DER_OID, &type) ||
            !mm_der_part(&attribute.content, MM_DER_SET, &values) || attribute.content.len > 0)
            return false;
        if (!mm_bytes_equal(type.content, wanted))
            continue;
        if (found || !mm_der_part(&values.content, MM_DER_SEQUENCE, &list) ||
            values.content.len > 0)
            return false;
        found = true;
        *ret_list = list.content;
    }
    return true;
}

static int differs(const struct mm_extension *e, const char *how, struct mm_errinfo *ei)
{
    char name[MM_EXTENSION_NAME_MAX], text[160];

    mm_extension_name(e, name);
    snprintf(text, sizeof(text), "the request %s the extension %s", how, name);
    return refuse(ei, "CSR_EXTENSION", text);
}

static const struct mm_extension *find(const struct mm_extension *list, size_t n,
                                       struct mm_bytes oid)
{
    for (size_t i = 0; i < n; i++) {
        if (mm_bytes_equal(list[i].oid, oid))
            return &list[i];
    }
    return NULL;
}

static int compare(const struct mm_extension *given, size_t n_given,
                   const struct mm_extension *asked, size_t n_asked, struct mm_errinfo *ei)
{
    static const uint8_t subject_alt_name[] = {0x55, 0x1d, 0x11};
    const struct mm_bytes san = {subject_alt_name, sizeof(subject_alt_name)};
    const struct mm_extension *e;

    for (size_t i = 0; i < n_asked; i++) {
        e = find(given, n_given, asked[i].oid);
        if (!e)
            return differs(&asked[i], "asks, against the profile, for", ei);
        if (!mm_extensions_agree(e, &asked[i]))
            return differs(&asked[i],
                           "asks for another content, or criticality, than the profile has of", ei);
    }
    /* The others are of the CA's own making. */
    e = find(given, n_given, san);
    if (e && !find(asked, n_asked, san))
        return differs(e, "does not ask, as the profile demands, for", ei);
    return MM_OK;
}

static int check_extensions(const struct mm_profile *p, const struct mm_subject *s,
                            struct mm_bytes attributes, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_EXTENSIONS_DER_MAX);
    struct mm_extension given[MM_EXTENSIONS_MAX], asked[MM_EXTENSIONS_MAX];
    struct mm_bytes list = {NULL, 0};
    size_t n_given = 0, n_asked = 0;
    const int r = mm_extensions_wanted(p, s, &der, given, &n_given, ei);

    if (r < 0)
        return r;
    if (!read_requested(attributes, &list) || !mm_extensions_read(list, asked, &n_asked))
        return refuse(ei, "CSR_MALFORMED",
                      "the request's attributes cannot be read, or one extension is there twice");
    return compare(given, n_given, asked, n_asked, ei);
}

int mm_profile_check_csr_content(const struct mm_profile *p, const struct mm_subject *s,
                                 struct mm_bytes der, struct mm_errinfo *ei)
{
    struct mm_csr_parts parts;
    int r;

    if (!p->has_username)
        return MM_OK;
    r = mm_csr_read(der, &parts, ei);
    if (r == MM_OK)
        r = check_subject(p, s, parts.subject, ei);
    return r < 0 ? r : check_extensions(p, s, parts.attributes, ei);
}
