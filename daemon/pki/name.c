/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/name.h"

#include "daemon/base/text.h"
#include "daemon/pki/der.h"

#include <openssl/asn1.h>
#include <openssl/objects.h>
#include <string.h>

enum { NAME_DER_MAX = 4096 };

/* What a value must look like beyond its length. */
enum form { FORM_TEXT, FORM_PRINTABLE, FORM_COUNTRY, FORM_HEX4 };

struct mm_attribute {
    const char *name;
    const char *oid;
    uint8_t string_id;
    enum form form;
    size_t chars_max;
};

static const struct mm_attribute attributes[] = {
    {"CN", "2.5.4.3", MM_DER_UTF8, FORM_TEXT, 64},
    {"O", "2.5.4.10", MM_DER_UTF8, FORM_TEXT, 64},
    {"OU", "2.5.4.11", MM_DER_UTF8, FORM_TEXT, 64},
    {"C", "2.5.4.6", MM_DER_PRINTABLE, FORM_COUNTRY, 2},
    {"L", "2.5.4.7", MM_DER_UTF8, FORM_TEXT, 128},
    {"ST", "2.5.4.8", MM_DER_UTF8, FORM_TEXT, 128},
    {"serialNumber", "2.5.4.5", MM_DER_PRINTABLE, FORM_PRINTABLE, 64},
    {"UID", "0.9.2342.19200300.100.1.1", MM_DER_UTF8, FORM_TEXT, 256},
    {"VID", "1.3.6.1.4.1.37244.2.1", MM_DER_UTF8, FORM_HEX4, 4},
    {"PID", "1.3.6.1.4.1.37244.2.2", MM_DER_UTF8, FORM_HEX4, 4},
};
static const struct mm_attribute any_attribute = {"OID", "", MM_DER_UTF8, FORM_TEXT, 256};

static const struct mm_attribute *attribute_find(const char *type)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(attributes); i++) {
        if (strcmp(type, attributes[i].name) == 0 || strcmp(type, attributes[i].oid) == 0)
            return &attributes[i];
    }
    return strspn(type, "0123456789.") == strlen(type) ? &any_attribute : NULL;
}

static bool is_one_of(const char *value, size_t len, const char *set)
{
    for (size_t i = 0; i < len; i++) {
        if (!value[i] || !strchr(set, value[i]))
            return false;
    }
    return true;
}

#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static const char *form_problem(enum form form, const char *value, size_t len)
{
    switch (form) {
    case FORM_COUNTRY:
        return len == 2 && is_one_of(value, len, UPPER) ? NULL : "must be 2 upper-case letters";
    case FORM_HEX4:
        return len == 4 && is_one_of(value, len, DIGIT "ABCDEF")
                   ? NULL
                   : "must be 4 upper-case hexadecimal digits";
    case FORM_PRINTABLE: /* X.680 section 41.4 */
        return is_one_of(value, len, UPPER "abcdefghijklmnopqrstuvwxyz" DIGIT " '()+,-./:=?")
                   ? NULL
                   : "may hold only letters, digits, blanks and '()+,-./:=? (PrintableString)";
    case FORM_TEXT:
        break;
    }
    return NULL;
}

static size_t count_chars(const char *value, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)value[i] & 0xc0) != 0x80;
    return n;
}

static bool has_controls(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return true;
    }
    return false;
}

static const char *value_problem(const struct mm_attribute *a, const char *value, size_t len)
{
    if (len == 0)
        return "must not be empty";
    if (!mm_utf8_valid(value, len))
        return "is not UTF-8";
    if (has_controls(value, len))
        return "must not hold control characters";
    if (value[0] == ' ' || value[len - 1] == ' ')
        return "must not begin or end with a blank";
    if (count_chars(value, len) > a->chars_max)
        return "is too long";
    return form_problem(a->form, value, len);
}

/* What an operator reads at start, or a station about its own value. */
static int fail_value(const struct mm_rdn *rdn, const char *problem, size_t chars,
                      struct mm_errinfo *ei)
{
    const struct mm_attribute *a = rdn->attribute;
    const char *field = mm_template_uses(&rdn->value, MM_PART_HW_SERIAL) ? "hw_serial" : "subject";

    return mm_fail_field(ei, field, "%s of the subject %s (%zu characters, at most %zu)", a->name,
                         problem, chars, a->chars_max);
}

/* RelativeDistinguishedName ::= SET { SEQUENCE { type OBJECT IDENTIFIER, value } } */
static void append_rdn(struct mm_buf *b, const struct mm_rdn *rdn, const char *value, size_t len)
{
    const size_t start = b->len;

    mm_der_append(b, MM_DER_OID, OBJ_get0_data(rdn->type), OBJ_length(rdn->type));
    mm_der_append(b, rdn->attribute->string_id, value, len);
    mm_der_wrap(b, start, MM_DER_SEQUENCE);
    mm_der_wrap(b, start, MM_DER_SET);
}

static int append_value(struct mm_buf *b, const struct mm_rdn *rdn, const struct mm_subject *s,
                        struct mm_errinfo *ei)
{
    char value[MM_TEMPLATE_VALUE_MAX];
    size_t len;
    const char *problem;
    const int r = mm_template_expand(&rdn->value, s, value, &len, ei);

    if (r < 0)
        return r;
    problem = value_problem(rdn->attribute, value, len);
    if (problem)
        return fail_value(rdn, problem, count_chars(value, len), ei);
    append_rdn(b, rdn, value, len);
    return MM_OK;
}

/* RDNs that are the same for every device are encoded once. */
static int prepare_rdn(struct mm_rdn *rdn, struct mm_errinfo *ei)
{
    static const struct mm_subject nobody = {.hw_serial = "", .device_uid = ""};
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(NAME_DER_MAX);
    int r;

    if (!mm_template_is_fixed(&rdn->value))
        return MM_OK;
    r = append_value(&der, rdn, &nobody, ei);
    if (r < 0)
        return r;
    if (mm_buf_err(&der) < 0)
        return mm_fail_memory(ei);
    rdn->fixed = malloc(der.len);
    if (!rdn->fixed)
        return mm_fail_memory(ei);
    memcpy(rdn->fixed, der.data, der.len);
    rdn->fixed_len = der.len;
    return MM_OK;
}

static int parse_type(const char **at, struct mm_rdn *rdn, struct mm_errinfo *ei)
{
    char type[64];
    size_t len;

    *at += strspn(*at, " ");
    len = strcspn(*at, "=,");
    if ((*at)[len] != '=' || len >= sizeof(type))
        return mm_fail_field(ei, "subject", "expected TYPE=value at \"%.40s\"", *at);
    memcpy(type, *at, len);
    type[len] = 0;
    *at += len + 1;
    rdn->attribute = attribute_find(type);
    if (rdn->attribute)
        rdn->type = OBJ_txt2obj(*rdn->attribute->oid ? rdn->attribute->oid : type, 1);
    if (!rdn->type)
        return mm_fail_field(ei, "subject",
                             "no attribute \"%s\"; there are CN, O, OU, C, L, ST, serialNumber, "
                             "UID, VID, PID and OIDs in dots",
                             type);
    return MM_OK;
}

static int parse_rdn(const char **at, const struct mm_template_fixed *fixed, struct mm_rdn *rdn,
                     struct mm_errinfo *ei)
{
    int r = parse_type(at, rdn, ei);

    if (r < 0)
        return r;
    r = mm_template_scan(at, ",+", fixed, &rdn->value, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s of the subject", rdn->attribute->name);
    if (**at == '+')
        return mm_fail_field(ei, "subject",
                             "'+' would join attributes in one RDN; write '\\+' for the character");
    return prepare_rdn(rdn, ei);
}

int mm_name_parse(const char *text, const struct mm_template_fixed *fixed, struct mm_name *ret_name,
                  struct mm_errinfo *ei)
{
    struct mm_name name = {.n_rdns = 0};
    const char *at = text;

    while (*text) {
        int r = MM_OK;

        if (name.n_rdns == MM_RDNS_MAX)
            r = mm_fail_field(ei, "subject", "more than %d attributes", MM_RDNS_MAX);
        else
            r = parse_rdn(&at, fixed, &name.rdns[name.n_rdns++], ei);
        if (r < 0) {
            mm_name_done(&name);
            return r;
        }
        if (!*at)
            break;
        at++; /* the comma; what follows it must be another attribute */
    }
    *ret_name = name;
    return MM_OK;
}

void mm_name_done(struct mm_name *name)
{
    for (size_t i = 0; i < name->n_rdns; i++) {
        ASN1_OBJECT_free(name->rdns[i].type);
        free(name->rdns[i].fixed);
    }
    name->n_rdns = 0;
}

bool mm_name_uses(const struct mm_name *name, enum mm_template_kind kind)
{
    for (size_t i = 0; i < name->n_rdns; i++) {
        if (mm_template_uses(&name->rdns[i].value, kind))
            return true;
    }
    return false;
}

int mm_name_der(const struct mm_name *name, const struct mm_subject *s, struct mm_buf *der,
                struct mm_errinfo *ei)
{
    const size_t start = der->len;

    for (size_t i = 0; i < name->n_rdns; i++) {
        const struct mm_rdn *rdn = &name->rdns[i];
        int r = MM_OK;

        if (rdn->fixed)
            mm_buf_append(der, rdn->fixed, rdn->fixed_len);
        else
            r = append_value(der, rdn, s, ei);
        if (r < 0)
            return r;
    }
    mm_der_wrap(der, start, MM_DER_SEQUENCE);
    if (mm_buf_err(der) == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (mm_buf_err(der) < 0 || der->len - start > NAME_DER_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "NAME_TOO_LONG", "the subject is too long");
    return MM_OK;
}
