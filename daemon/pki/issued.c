/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/issued.h"

#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum {
    UTC_TIME = 0x17,
    GENERALIZED_TIME = 0x18,
    SERIAL_MAX = 20,
    /* Clocks differ, and EJBCA counts years in its own way. */
    AHEAD_S = 300,
    LENGTH_SLACK_S = 2 * 86400,
};

static int bad(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "BAD_CERTIFICATE", "the certificate %s", what);
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Years 50 to 99 of a UTCTime are those of the twentieth century (RFC 5280 section 4.1.2.5.1). */
static bool read_time(struct mm_bytes *in, int64_t *ret_s)
{
    struct mm_der time;
    char text[16];

    if (!mm_der_take(in, &time))
        return false;
    if (time.id == UTC_TIME && time.content.len == 13)
        snprintf(text, sizeof(text), "%s%.13s", time.content.data[0] < '5' ? "20" : "19",
                 (const char *)time.content.data);
    else if (time.id == GENERALIZED_TIME && time.content.len == 15)
        snprintf(text, sizeof(text), "%.15s", (const char *)time.content.data);
    else
        return false;
    return mm_validity_parse_time(text, ret_s) == MM_OK;
}

/* Version ::= [0] EXPLICIT INTEGER, 2 for v3 */
static bool read_version(struct mm_bytes *in)
{
    struct mm_der version;
    static const uint8_t v3[] = {MM_DER_INTEGER, 1, 2};

    return mm_der_part(in, MM_DER_CONTEXT_0, &version) &&
           mm_bytes_equal(version.content, (struct mm_bytes){v3, sizeof(v3)});
}

static bool read_validity(struct mm_bytes *in, struct mm_issued *cert)
{
    struct mm_der validity;

    return mm_der_part(in, MM_DER_SEQUENCE, &validity) &&
           read_time(&validity.content, &cert->not_before_s) &&
           read_time(&validity.content, &cert->not_after_s) && validity.content.len == 0;
}

/* extensions [3] EXPLICIT; unique identifiers [1], [2] have no place in RFC 5280's profile. */
static bool read_extensions(struct mm_bytes *in, struct mm_bytes *ret)
{
    struct mm_der tagged, list;

    *ret = (struct mm_bytes){NULL, 0};
    if (in->len == 0)
        return true;
    if (!mm_der_part(in, MM_DER_CONTEXT_0 + 3, &tagged) || in->len > 0 ||
        !mm_der_part(&tagged.content, MM_DER_SEQUENCE, &list) || tagged.content.len > 0)
        return false;
    *ret = list.content;
    return true;
}

/* TBSCertificate, RFC 5280 section 4.1.2 */
static int read_tbs(struct mm_bytes in, struct mm_issued *cert, struct mm_errinfo *ei)
{
    struct mm_der algorithm, issuer, subject, spki;

    if (!read_version(&in))
        return bad(ei, "is not of version 3");
    if (!mm_der_positive(&in, SERIAL_MAX, &cert->serial)) /* RFC 5280 section 4.1.2.2 */
        return bad(ei, "has a serial number that is not positive, or has more than 20 octets");
    if (!mm_der_part(&in, MM_DER_SEQUENCE, &algorithm) ||
        !mm_bytes_equal(algorithm.whole, cert->algorithm))
        return bad(ei, "names two signature algorithms");
    if (!mm_der_part(&in, MM_DER_SEQUENCE, &issuer) || !read_validity(&in, cert) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &subject) || !mm_der_part(&in, MM_DER_SEQUENCE, &spki) ||
        !read_extensions(&in, &cert->extensions))
        return bad(ei, "has not the parts that it must have");
    cert->issuer = issuer.whole;
    cert->subject = subject.whole;
    cert->spki = spki.whole;
    return MM_OK;
}

int mm_issued_read(struct mm_bytes der, struct mm_issued *ret_cert, struct mm_errinfo *ei)
{
    struct mm_issued cert = {.size = der.len};
    struct mm_der whole, tbs, algorithm, signature;
    struct mm_bytes in;
    int r;

    if (der.len > MM_CERT_DER_MAX)
        return bad(ei, "is too long");
    if (!mm_der_well_formed(der) || !mm_der_part(&der, MM_DER_SEQUENCE, &whole) || der.len > 0)
        return bad(ei, "is not DER, or is cut off, or something follows it");
    in = whole.content;
    if (!mm_der_part(&in, MM_DER_SEQUENCE, &tbs) ||
        !mm_der_part(&in, MM_DER_SEQUENCE, &algorithm) ||
        !mm_der_part(&in, MM_DER_BIT_STRING, &signature) || in.len > 0 ||
        signature.content.len < 2 || signature.content.data[0] != 0)
        return bad(ei, "has not the parts that it must have");
    cert.tbs = tbs.whole;
    cert.algorithm = algorithm.whole;
    cert.signature = (struct mm_bytes){signature.content.data + 1, signature.content.len - 1};
    r = read_tbs(tbs.content, &cert, ei);
    if (r == MM_OK)
        *ret_cert = cert;
    return r;
}

/* ---- issuer and signature ---------------------------------------------------------------- */

bool mm_profile_is_issuer(const struct mm_profile *p, const struct mm_issued *cert)
{
    const unsigned char *der = NULL;
    size_t len = 0;

    return X509_NAME_get0_der(X509_get_subject_name(p->issuer), &der, &len) &&
           mm_bytes_equal(cert->issuer, (struct mm_bytes){der, len});
}

static int check_signature(const struct mm_profile *p, struct mm_ca_key *key,
                           const struct mm_issued *cert, struct mm_errinfo *ei)
{
    const EVP_MD *hash = mm_der_ecdsa_hash(cert->algorithm);
    struct mm_errinfo why;

    if (p->matter != MM_MATTER_NONE && (!hash || EVP_MD_get_type(hash) != NID_sha256))
        return bad(ei, "is not signed by ecdsa-with-SHA256, as Matter demands");
    if (mm_ca_key_verify(key, cert->algorithm, cert->tbs, cert->signature, &why) < 0)
        return bad(ei, why.text);
    return MM_OK;
}

/* ---- names ------------------------------------------------------------------------------- */

static int check_subject(const struct mm_profile *p, const struct mm_subject *s,
                         const struct mm_issued *cert, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    const int r = mm_name_der(&p->subject, s, &der, ei);

    if (r < 0)
        return r;
    return mm_names_agree((struct mm_bytes){der.data, der.len}, cert->subject)
               ? MM_OK
               : bad(ei, "has another subject than the profile gives this device");
}

static int check_key(const struct mm_profile *p, const struct mm_subject *s,
                     const struct mm_issued *cert, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    const int r = mm_profile_spki(p, s, &der, ei);

    if (r < 0)
        return r;
    return mm_bytes_equal((struct mm_bytes){der.data, der.len}, cert->spki)
               ? MM_OK
               : bad(ei, "is for another key than the request's");
}

/* ---- validity ---------------------------------------------------------------------------- */

static int check_end(const struct mm_validity *v, const struct mm_issued *cert,
                     struct mm_errinfo *ei)
{
    int64_t begin, end;

    if (!v->from_now && cert->not_before_s != v->not_before_s)
        return bad(ei, "begins at another time than the profile says");
    if (v->end == MM_UNTIL_TIME)
        return cert->not_after_s == v->amount
                   ? MM_OK
                   : bad(ei, "ends at another time than the profile says");
    if (mm_validity_at(v, cert->not_before_s * 1000, &begin, &end, ei) < 0)
        return ei->code;
    if (cert->not_after_s < end - LENGTH_SLACK_S || cert->not_after_s > end + LENGTH_SLACK_S)
        return bad(ei, "is valid for longer or shorter than the profile says");
    return MM_OK;
}

static int check_validity(const struct mm_profile *p, int64_t now_s, const struct mm_issued *cert,
                          struct mm_errinfo *ei)
{
    if (cert->not_after_s <= cert->not_before_s || now_s > cert->not_after_s)
        return bad(ei, "has expired");
    if (cert->not_before_s > now_s + AHEAD_S)
        return bad(ei, "is not valid yet");
    if (cert->not_before_s < p->issuer_not_before_s ||
        (cert->not_after_s > p->issuer_not_after_s && cert->not_after_s != MM_VALIDITY_FOREVER))
        return bad(ei, "is valid when its issuer is not");
    return p->validity_is_open ? MM_OK : check_end(&p->validity, cert, ei);
}

/* ---- extensions -------------------------------------------------------------------------- */

static int differs(const struct mm_extension *e, const char *how, struct mm_errinfo *ei)
{
    char name[MM_EXTENSION_NAME_MAX], text[128];

    mm_extension_name(e, name);
    snprintf(text, sizeof(text), "%s the extension %s", how, name);
    return bad(ei, text);
}

static int compare_extensions(const struct mm_extension *want, size_t n_want,
                              const struct mm_extension *have, size_t n_have, struct mm_errinfo *ei)
{
    bool met[MM_EXTENSIONS_MAX] = {false};

    for (size_t i = 0; i < n_want; i++) {
        size_t j = 0;

        while (j < n_have && !mm_bytes_equal(want[i].oid, have[j].oid))
            j++;
        if (j == n_have)
            return differs(&want[i], "lacks", ei);
        if (!mm_extensions_agree(&want[i], &have[j]))
            return differs(&want[i], "has another content, or criticality, of", ei);
        met[j] = true;
    }
    for (size_t j = 0; j < n_have; j++) {
        if (!met[j] && !mm_extension_is_tolerated(&have[j]))
            return differs(&have[j], "has, against the profile,", ei);
    }
    return MM_OK;
}

static int check_extensions(const struct mm_profile *p, const struct mm_subject *s,
                            const struct mm_issued *cert, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_EXTENSIONS_DER_MAX);
    struct mm_extension want[MM_EXTENSIONS_MAX], have[MM_EXTENSIONS_MAX];
    size_t n_want = 0, n_have = 0;
    const int r = mm_extensions_wanted(p, s, &der, want, &n_want, ei);

    if (r < 0)
        return r;
    if (!mm_extensions_read(cert->extensions, have, &n_have))
        return bad(ei, "has extensions that cannot be read, or one of them twice");
    return compare_extensions(want, n_want, have, n_have, ei);
}

int mm_profile_check_issued(const struct mm_profile *p, struct mm_ca_key *key,
                            const struct mm_subject *s, const struct mm_issued *cert,
                            struct mm_errinfo *ei)
{
    int r;

    if (!mm_profile_is_issuer(p, cert))
        return bad(ei, "is of another issuer");
    if (p->matter != MM_MATTER_NONE && cert->size > MM_MATTER_DER_MAX)
        return bad(ei, "is longer than Matter allows");
    r = check_key(p, s, cert, ei);
    if (r == MM_OK)
        r = check_subject(p, s, cert, ei);
    if (r == MM_OK)
        r = check_validity(p, s->now_ms / 1000, cert, ei);
    if (r == MM_OK)
        r = check_extensions(p, s, cert, ei);
    return r < 0 ? r : check_signature(p, key, cert, ei);
}
