/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/san.h"

#include "daemon/base/text.h"

#include <openssl/asn1t.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

#define HWMODULE_NAME_OID "1.3.6.1.5.5.7.8.4" /* id-on-hardwareModuleName */

/* HardwareModuleName ::= SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING } */
struct hardware_module_name {
    ASN1_OBJECT *hw_type;
    ASN1_OCTET_STRING *hw_serial;
};
ASN1_SEQUENCE(HARDWARE_MODULE_NAME) =
    {
        ASN1_SIMPLE(struct hardware_module_name, hw_type, ASN1_OBJECT),
        ASN1_SIMPLE(struct hardware_module_name, hw_serial, ASN1_OCTET_STRING),
} static_ASN1_SEQUENCE_END_name(struct hardware_module_name, HARDWARE_MODULE_NAME)

        static const struct {
    const char *prefix;
    enum mm_san_kind kind;
} kinds[] = {{"DNS:", MM_SAN_DNS}, {"URI:", MM_SAN_URI}, {"hwmodule:", MM_SAN_HWMODULE}};

static int parse_hw_type(const char **at, struct mm_san_entry *entry, struct mm_errinfo *ei)
{
    char oid[64];
    const size_t len = strspn(*at, "0123456789.");

    if ((*at)[len] == ':' && len < sizeof(oid)) {
        memcpy(oid, *at, len);
        oid[len] = 0;
        entry->hw_type = OBJ_txt2obj(oid, 1);
    }
    if (!entry->hw_type)
        return mm_fail_field(ei, "san", "expected hwmodule:OID:value with the OID in dots");
    *at += len + 1;
    if (strncmp(*at, "hex:", 4) == 0) {
        *at += 4;
        entry->kind = MM_SAN_HWMODULE_HEX;
    }
    return MM_OK;
}

static int parse_kind(const char **at, struct mm_san_entry *entry, struct mm_errinfo *ei)
{
    *at += strspn(*at, " ");
    for (size_t i = 0; i < MM_ARRAY_SIZE(kinds); i++) {
        const size_t len = strlen(kinds[i].prefix);

        if (strncmp(*at, kinds[i].prefix, len) != 0)
            continue;
        *at += len;
        entry->kind = kinds[i].kind;
        return entry->kind == MM_SAN_HWMODULE ? parse_hw_type(at, entry, ei) : MM_OK;
    }
    return mm_fail_field(ei, "san", "expected DNS:, URI: or hwmodule:OID: at \"%.40s\"", *at);
}

static int parse_entry(const char **at, const struct mm_template_fixed *fixed,
                       struct mm_san_entry *entry, struct mm_errinfo *ei)
{
    int r = parse_kind(at, entry, ei);

    if (r < 0)
        return r;
    r = mm_template_scan(at, ",", fixed, &entry->value, ei);
    return r < 0 ? mm_err_prefix(ei, "san") : MM_OK;
}

int mm_san_parse(const char *text, const struct mm_template_fixed *fixed, struct mm_san *ret_san,
                 struct mm_errinfo *ei)
{
    struct mm_san san = {.n_entries = 0};
    const char *at = text;

    while (*text) {
        int r;

        if (san.n_entries == MM_SANS_MAX)
            r = mm_fail_field(ei, "san", "more than %d names", MM_SANS_MAX);
        else
            r = parse_entry(&at, fixed, &san.entries[san.n_entries++], ei);
        if (r < 0) {
            mm_san_done(&san);
            return r;
        }
        if (!*at)
            break;
        at++;
    }
    *ret_san = san;
    return MM_OK;
}

void mm_san_done(struct mm_san *san)
{
    for (size_t i = 0; i < san->n_entries; i++)
        ASN1_OBJECT_free(san->entries[i].hw_type);
    san->n_entries = 0;
}

bool mm_san_uses(const struct mm_san *san, enum mm_template_kind kind)
{
    for (size_t i = 0; i < san->n_entries; i++) {
        if (mm_template_uses(&san->entries[i].value, kind))
            return true;
    }
    return false;
}

bool mm_san_is_fixed(const struct mm_san *san)
{
    for (size_t i = 0; i < san->n_entries; i++) {
        if (!mm_template_is_fixed(&san->entries[i].value))
            return false;
    }
    return true;
}

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

static bool dns_valid(const char *name)
{
    if (strlen(name) > 253)
        return false;
    if (strncmp(name, "*.", 2) == 0)
        name += 2;
    for (;;) {
        const size_t len = strspn(name, ALNUM "-_");

        if (len == 0 || len > 63 || name[0] == '-' || name[len - 1] == '-')
            return false;
        if (!name[len])
            return true;
        if (name[len] != '.')
            return false;
        name += len + 1;
    }
}

static bool uri_valid(const char *uri)
{
    const size_t scheme = strspn(uri, ALNUM "+-.");
    const char *rest = uri + scheme;

    if (scheme == 0 || strchr("0123456789+-.", uri[0]) || rest[0] != ':' || !rest[1])
        return false;
    return rest[strspn(rest, ALNUM "-._~:/?#[]@!$&'()*+,;=%")] == 0;
}

static int fail_value(const struct mm_san_entry *entry, const char *what, struct mm_errinfo *ei)
{
    const char *field = mm_template_uses(&entry->value, MM_PART_HW_SERIAL) ? "hw_serial" : "san";

    return mm_fail_field(ei, field, "the subject alternative name would not be %s", what);
}

static int make_ia5(int type, const char *value, GENERAL_NAME *name)
{
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();

    if (!text || !ASN1_STRING_set(text, value, -1)) {
        ASN1_IA5STRING_free(text);
        return MM_ERR_MEMORY;
    }
    GENERAL_NAME_set0_value(name, type, text);
    return MM_OK;
}

/* The otherName's value: the DER SEQUENCE as an ANY. */
static ASN1_TYPE *hwmodule_value(const struct mm_san_entry *entry, ASN1_OCTET_STRING *serial)
{
    struct hardware_module_name hmn = {entry->hw_type, serial};
    ASN1_STRING *packed = ASN1_item_pack(&hmn, ASN1_ITEM_rptr(HARDWARE_MODULE_NAME), NULL);
    ASN1_TYPE *any = packed ? ASN1_TYPE_new() : NULL;

    if (!any) {
        ASN1_STRING_free(packed);
        return NULL;
    }
    ASN1_TYPE_set(any, V_ASN1_SEQUENCE, packed);
    return any;
}

static int make_hwmodule(const struct mm_san_entry *entry, const uint8_t *serial, size_t len,
                         GENERAL_NAME *name)
{
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    ASN1_OBJECT *oid = OBJ_txt2obj(HWMODULE_NAME_OID, 1);
    ASN1_TYPE *any = NULL;

    if (octets && oid && ASN1_OCTET_STRING_set(octets, serial, (int)len))
        any = hwmodule_value(entry, octets);
    ASN1_OCTET_STRING_free(octets);
    if (any && GENERAL_NAME_set0_othername(name, oid, any))
        return MM_OK;
    ASN1_OBJECT_free(oid);
    ASN1_TYPE_free(any);
    return MM_ERR_MEMORY;
}

static int make_hwmodule_hex(const struct mm_san_entry *entry, const char *hex, GENERAL_NAME *name,
                             struct mm_errinfo *ei)
{
    uint8_t octets[MM_TEMPLATE_VALUE_MAX / 2];
    const size_t len = strlen(hex);

    if (len == 0 || len % 2 || mm_hex_decode(hex, octets, len / 2) < 0)
        return fail_value(entry, "an even number of hexadecimal digits", ei);
    return make_hwmodule(entry, octets, len / 2, name) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int make_name(const struct mm_san_entry *entry, const char *value, GENERAL_NAME *name,
                     struct mm_errinfo *ei)
{
    int r = MM_OK;

    switch (entry->kind) {
    case MM_SAN_DNS:
        if (!dns_valid(value))
            return fail_value(entry, "a domain name", ei);
        r = make_ia5(GEN_DNS, value, name);
        break;
    case MM_SAN_URI:
        if (!uri_valid(value))
            return fail_value(entry, "an absolute URI", ei);
        r = make_ia5(GEN_URI, value, name);
        break;
    case MM_SAN_HWMODULE:
        if (!*value || !mm_utf8_valid(value, strlen(value)))
            return fail_value(entry, "UTF-8 text", ei);
        r = make_hwmodule(entry, (const uint8_t *)value, strlen(value), name);
        break;
    case MM_SAN_HWMODULE_HEX:
        return make_hwmodule_hex(entry, value, name, ei);
    }
    return r < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int add_name(const struct mm_san_entry *entry, const struct mm_subject *s,
                    GENERAL_NAMES *names, struct mm_errinfo *ei)
{
    char value[MM_TEMPLATE_VALUE_MAX + 1];
    size_t len;
    GENERAL_NAME *name;
    int r = mm_template_expand(&entry->value, s, value, &len, ei);

    if (r < 0)
        return r;
    value[len] = 0;
    name = GENERAL_NAME_new();
    if (!name)
        return mm_fail_memory(ei);
    r = make_name(entry, value, name, ei);
    if (r == MM_OK && !sk_GENERAL_NAME_push(names, name))
        r = mm_fail_memory(ei);
    if (r < 0)
        GENERAL_NAME_free(name);
    return r;
}

int mm_san_extension(const struct mm_san *san, const struct mm_subject *s, bool critical,
                     X509_EXTENSION **ret_extension, struct mm_errinfo *ei)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    X509_EXTENSION *extension = NULL;
    int r = names ? MM_OK : mm_fail_memory(ei);

    for (size_t i = 0; r == MM_OK && i < san->n_entries; i++)
        r = add_name(&san->entries[i], s, names, ei);
    if (r == MM_OK) {
        extension = X509V3_EXT_i2d(NID_subject_alt_name, critical, names);
        if (!extension)
            r = mm_fail_memory(ei);
    }
    GENERAL_NAMES_free(names);
    if (r == MM_OK)
        *ret_extension = extension;
    return r;
}
