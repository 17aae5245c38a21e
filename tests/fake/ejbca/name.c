/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/name.h"

#include "tests/fake/ejbca/der.h"

#include <arpa/inet.h>
#include <openssl/objects.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* In the order in which EJBCA writes them; what is not here follows, as dotted identifiers. */
static const struct attribute {
    const char *name, *dotted;
    uint8_t tag;
} attributes[] = {
    {"E", "1.2.840.113549.1.9.1", DER_IA5_STRING},
    {"UID", "0.9.2342.19200300.100.1.1", DER_UTF8_STRING},
    {"CN", "2.5.4.3", DER_UTF8_STRING},
    {"VID", "1.3.6.1.4.1.37244.2.1", DER_UTF8_STRING},
    {"PID", "1.3.6.1.4.1.37244.2.2", DER_UTF8_STRING},
    {"DN", "2.5.4.46", DER_PRINTABLE_STRING},
    {"SN", "2.5.4.5", DER_PRINTABLE_STRING},
    {"GIVENNAME", "2.5.4.42", DER_UTF8_STRING},
    {"SURNAME", "2.5.4.4", DER_UTF8_STRING},
    {"T", "2.5.4.12", DER_UTF8_STRING},
    {"OU", "2.5.4.11", DER_UTF8_STRING},
    {"organizationIdentifier", "2.5.4.97", DER_UTF8_STRING},
    {"O", "2.5.4.10", DER_UTF8_STRING},
    {"L", "2.5.4.7", DER_UTF8_STRING},
    {"ST", "2.5.4.8", DER_UTF8_STRING},
    {"DC", "0.9.2342.19200300.100.1.25", DER_IA5_STRING},
    {"C", "2.5.4.6", DER_PRINTABLE_STRING},
};

enum { NAME_MAX_RDNS = 32, NAME_TEXT_MAX = 2048 };

struct rdn {
    size_t rank; /* in attributes, or its length for others */
    char dotted[64];
    struct mm_bytes value;
};

static const struct attribute *find(const char *name, size_t len)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(attributes); i++) {
        const struct attribute *a = &attributes[i];

        if ((strlen(a->name) == len && strncasecmp(a->name, name, len) == 0) ||
            (strlen(a->dotted) == len && strncmp(a->dotted, name, len) == 0))
            return a;
    }
    return NULL;
}

/* One `name=value` at *text up to a comma; the value goes to value, unescaped. */
static bool take_pair(const char **text, const struct attribute **ret_attribute,
                      struct mm_buf *value)
{
    const char *at = *text + strspn(*text, " ");
    const size_t len = strcspn(at, "=");

    *ret_attribute = find(at, len);
    if (!*ret_attribute || at[len] != '=')
        return false;
    for (at += len + 1; *at && *at != ','; at++) {
        if (*at == '\\' && at[1])
            at++;
        mm_buf_append_u8(value, (uint8_t)*at);
    }
    *text = *at ? at + 1 : at;
    return true;
}

static void put_rdn(struct mm_buf *der, const struct attribute *a, struct mm_bytes value)
{
    const size_t set = der_begin(der, DER_SET), pair = der_begin(der, DER_SEQUENCE);

    der_put_oid(der, a->dotted);
    der_put(der, a->tag, value.data, value.len);
    der_end(der, pair);
    der_end(der, set);
}

bool name_from_text(const char *text, struct mm_buf *der)
{
    const size_t name = der_begin(der, DER_SEQUENCE);

    while (*text) {
        struct mm_buf value MM_BUF_CLEANUP = MM_BUF_INIT(NAME_TEXT_MAX);
        const struct attribute *a;

        if (!take_pair(&text, &a, &value) || mm_buf_err(&value) < 0)
            return false;
        put_rdn(der, a, (struct mm_bytes){value.data, value.len});
    }
    der_end(der, name);
    return mm_buf_err(der) >= 0;
}

static bool read_rdn(struct mm_bytes *in, struct rdn *ret_rdn)
{
    struct mm_bytes set, pair, oid;
    const struct attribute *a;
    const unsigned char *at;
    ASN1_OBJECT *object;

    if (!der_take(in, DER_SET, &set, NULL) || !der_take(&set, DER_SEQUENCE, &pair, NULL) || set.len)
        return false;
    if (!der_take(&pair, DER_OID, NULL, &oid) || !der_next(&pair, NULL, &ret_rdn->value, NULL))
        return false;
    at = oid.data;
    object = d2i_ASN1_OBJECT(NULL, &at, (long)oid.len);
    if (!object)
        return false;
    OBJ_obj2txt(ret_rdn->dotted, sizeof(ret_rdn->dotted), object, 1);
    ASN1_OBJECT_free(object);
    a = find(ret_rdn->dotted, strlen(ret_rdn->dotted));
    ret_rdn->rank = a ? (size_t)(a - attributes) : MM_ARRAY_SIZE(attributes);
    return true;
}

/* The RDNs in EJBCA's order; SIZE_MAX: not a Name. */
static size_t read_name(struct mm_bytes der, struct rdn rdns[NAME_MAX_RDNS])
{
    struct mm_bytes in;
    size_t n = 0;

    if (!der_take(&der, DER_SEQUENCE, &in, NULL))
        return SIZE_MAX;
    for (; in.len; n++) {
        struct rdn next;
        size_t i = n;

        if (n == NAME_MAX_RDNS || !read_rdn(&in, &next))
            return SIZE_MAX;
        for (; i > 0 && rdns[i - 1].rank > next.rank; i--)
            rdns[i] = rdns[i - 1];
        rdns[i] = next;
    }
    return n;
}

bool name_to_text(struct mm_bytes der, struct mm_buf *text)
{
    struct rdn rdns[NAME_MAX_RDNS];
    const size_t n = read_name(der, rdns);

    if (n == SIZE_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        const bool known = rdns[i].rank < MM_ARRAY_SIZE(attributes);

        mm_buf_printf(text, "%s%s=", i ? "," : "",
                      known ? attributes[rdns[i].rank].name : rdns[i].dotted);
        for (size_t c = 0; c < rdns[i].value.len; c++) {
            if (rdns[i].value.data[c] && strchr(",+\"\\<>;=", rdns[i].value.data[c]))
                mm_buf_append_u8(text, '\\');
            mm_buf_append_u8(text, rdns[i].value.data[c]);
        }
    }
    return mm_buf_err(text) >= 0;
}

bool name_rebuild(struct mm_bytes der, bool backwards, struct mm_buf *to)
{
    struct rdn rdns[NAME_MAX_RDNS];
    const size_t n = read_name(der, rdns), name = der_begin(to, DER_SEQUENCE);

    if (n == SIZE_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct rdn *rdn = &rdns[backwards ? n - 1 - i : i];

        if (rdn->rank == MM_ARRAY_SIZE(attributes))
            return false;
        put_rdn(to, &attributes[rdn->rank], rdn->value);
    }
    der_end(to, name);
    return mm_buf_err(to) >= 0;
}

struct mm_bytes name_attribute(struct mm_bytes der, const char *short_name)
{
    const struct attribute *wanted = find(short_name, strlen(short_name));
    struct rdn rdns[NAME_MAX_RDNS];
    const size_t n = read_name(der, rdns);

    for (size_t i = 0; wanted && n != SIZE_MAX && i < n; i++)
        if (rdns[i].rank == (size_t)(wanted - attributes))
            return rdns[i].value;
    return (struct mm_bytes){NULL, 0};
}

void name_sans_to_text(struct mm_bytes der, struct mm_buf *text)
{
    static const char *const kinds[] = {"otherName",         "rfc822Name",    "dNSName",
                                        "x400Address",       "directoryName", "ediPartyName",
                                        "uniformResourceId", "iPAddress",     "registeredID"};
    struct mm_bytes in, value;
    uint8_t tag;

    if (!der_take(&der, DER_SEQUENCE, &in, NULL))
        return;
    for (bool first = true; der_next(&in, &tag, &value, NULL); first = false) {
        const size_t kind = tag & 0x1f;
        char address[INET_ADDRSTRLEN];

        mm_buf_printf(text, "%s%s=", first ? "" : ", ",
                      kind < MM_ARRAY_SIZE(kinds) ? kinds[kind] : "?");
        if (kind == 1 || kind == 2 || kind == 6)
            mm_buf_append(text, value.data, value.len);
        else if (kind == 7 && value.len == 4 &&
                 inet_ntop(AF_INET, value.data, address, sizeof(address)))
            mm_buf_append_str(text, address);
        else
            mm_buf_printf(text, "<%zu bytes>", value.len);
    }
}
