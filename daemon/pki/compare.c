/* SPDX-License-Identifier: Apache-2.0 */
/* Names and extensions of certificates and requests that others made, held against ours. */
#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <string.h>

enum { UTF8_STRING = 0x0c, PRINTABLE_STRING = 0x13, IA5_STRING = 0x16 };

/* ---- names ------------------------------------------------------------------------------- */

/* One attribute of a name: its type's OID, and its text in UTF-8. */
struct attribute {
    struct mm_bytes type, value;
};

static bool is_text(uint8_t id)
{
    return id == UTF8_STRING || id == PRINTABLE_STRING || id == IA5_STRING;
}

/* RDNSequence with one attribute in each RDN. */
static bool read_name(struct mm_bytes in, struct attribute to[MM_RDNS_MAX], size_t *ret_n)
{
    struct mm_der name, rdn, pair, type, value;
    size_t n = 0;

    if (!mm_der_part(&in, MM_DER_SEQUENCE, &name) || in.len > 0)
        return false;
    while (name.content.len > 0) {
        if (n == MM_RDNS_MAX || !mm_der_part(&name.content, MM_DER_SET, &rdn) ||
            !mm_der_part(&rdn.content, MM_DER_SEQUENCE, &pair) || rdn.content.len > 0 ||
            !mm_der_part(&pair.content, MM_DER_OID, &type) || !mm_der_take(&pair.content, &value) ||
            pair.content.len > 0 || !is_text(value.id))
            return false;
        to[n++] = (struct attribute){type.content, value.content};
    }
    *ret_n = n;
    return true;
}

static bool has_attribute(struct attribute *list, size_t *n, const struct attribute *wanted)
{
    for (size_t i = 0; i < *n; i++) {
        if (!mm_bytes_equal(list[i].type, wanted->type) ||
            !mm_bytes_equal(list[i].value, wanted->value))
            continue;
        list[i] = list[--*n];
        return true;
    }
    return false;
}

bool mm_names_agree(struct mm_bytes a, struct mm_bytes b)
{
    struct attribute left[MM_RDNS_MAX], right[MM_RDNS_MAX];
    size_t n_left, n_right;

    if (mm_bytes_equal(a, b))
        return true;
    if (!read_name(a, left, &n_left) || !read_name(b, right, &n_right) || n_left != n_right)
        return false;
    for (size_t i = 0; i < n_left; i++) {
        if (!has_attribute(right, &n_right, &left[i]))
            return false;
    }
    return true;
}

/* ---- extensions -------------------------------------------------------------------------- */

/* Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } */
static bool read_extension(struct mm_bytes *in, struct mm_extension *ret)
{
    struct mm_der extension, oid, next;
    bool critical = false;

    if (!mm_der_part(in, MM_DER_SEQUENCE, &extension) ||
        !mm_der_part(&extension.content, MM_DER_OID, &oid) ||
        !mm_der_take(&extension.content, &next))
        return false;
    if (next.id == MM_DER_BOOLEAN) {
        if (next.content.len != 1 || next.content.data[0] != 0xff ||
            !mm_der_take(&extension.content, &next))
            return false;
        critical = true;
    }
    if (next.id != MM_DER_OCTET_STRING || extension.content.len > 0)
        return false;
    *ret = (struct mm_extension){oid.content, next.content, critical};
    return true;
}

bool mm_extensions_read(struct mm_bytes in, struct mm_extension list[MM_EXTENSIONS_MAX],
                        size_t *ret_n)
{
    size_t n = 0;

    for (; in.len > 0; n++) {
        if (n == MM_EXTENSIONS_MAX || !read_extension(&in, &list[n]))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (mm_bytes_equal(list[i].oid, list[n].oid))
                return false; /* RFC 5280 section 4.2: none twice */
        }
    }
    *ret_n = n;
    return true;
}

#define OID(...)                                                                                   \
    {                                                                                              \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})                     \
    }
/* Those whose elements may come in any order: subjectAltName, extKeyUsage. */
static const struct mm_bytes unordered[] = {OID(0x55, 0x1d, 0x11), OID(0x55, 0x1d, 0x25)};
/* Those that a CA may add: issuerAltName, cRLDistributionPoints, certificatePolicies, freshestCRL,
 * authorityInfoAccess. */
static const struct mm_bytes tolerated[] = {OID(0x55, 0x1d, 0x12), OID(0x55, 0x1d, 0x1f),
                                            OID(0x55, 0x1d, 0x20), OID(0x55, 0x1d, 0x2e),
                                            OID(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01)};
#undef OID

static bool is_one_of(struct mm_bytes oid, const struct mm_bytes *set, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (mm_bytes_equal(oid, set[i]))
            return true;
    }
    return false;
}

/* How often the element is in the list. */
static size_t count(struct mm_bytes list, struct mm_bytes element)
{
    struct mm_der e;
    size_t n = 0;

    while (list.len > 0 && mm_der_take(&list, &e))
        n += mm_bytes_equal(e.whole, element);
    return n;
}

/* Two SEQUENCE OF with the same elements. */
static bool same_elements(struct mm_bytes a, struct mm_bytes b)
{
    struct mm_der left, right, e;
    struct mm_bytes rest;

    if (a.len != b.len || !mm_der_part(&a, MM_DER_SEQUENCE, &left) || a.len > 0 ||
        !mm_der_part(&b, MM_DER_SEQUENCE, &right) || b.len > 0)
        return false;
    for (rest = left.content; rest.len > 0;) {
        if (!mm_der_take(&rest, &e) ||
            count(left.content, e.whole) != count(right.content, e.whole))
            return false;
    }
    return true;
}

bool mm_extensions_agree(const struct mm_extension *want, const struct mm_extension *have)
{
    if (want->critical != have->critical)
        return false;
    if (mm_bytes_equal(want->value, have->value))
        return true;
    return is_one_of(want->oid, unordered, MM_ARRAY_SIZE(unordered)) &&
           same_elements(want->value, have->value);
}

bool mm_extension_is_tolerated(const struct mm_extension *e)
{
    return !e->critical && is_one_of(e->oid, tolerated, MM_ARRAY_SIZE(tolerated));
}

void mm_extension_name(const struct mm_extension *e, char ret_name[MM_EXTENSION_NAME_MAX])
{
    uint8_t der[2 + 64];
    const uint8_t *at = der;
    ASN1_OBJECT *oid = NULL;

    ret_name[0] = 0;
    if (e->oid.len < 64) {
        der[0] = MM_DER_OID;
        der[1] = (uint8_t)e->oid.len;
        memcpy(der + 2, e->oid.data, e->oid.len);
        oid = d2i_ASN1_OBJECT(NULL, &at, (long)(2 + e->oid.len));
    }
    if (oid)
        OBJ_obj2txt(ret_name, MM_EXTENSION_NAME_MAX, oid, 0);
    ASN1_OBJECT_free(oid);
}

int mm_extensions_wanted(const struct mm_profile *p, const struct mm_subject *s, struct mm_buf *der,
                         struct mm_extension ret_list[MM_EXTENSIONS_MAX], size_t *ret_n,
                         struct mm_errinfo *ei)
{
    const int r = mm_extensions_der(p, s, false, der, ei);
    struct mm_bytes in = {der->data, der->len};
    struct mm_der list;

    if (r < 0)
        return r;
    *ret_n = 0;
    if (in.len > 0 && (!mm_der_part(&in, MM_DER_SEQUENCE, &list) ||
                       !mm_extensions_read(list.content, ret_list, ret_n)))
        return mm_fail(ei, MM_ERR_INTERNAL, "ENCODING_FAILED", "cannot read own extensions");
    return MM_OK;
}
