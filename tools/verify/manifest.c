/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/manifest.h"

#include <errno.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ES256_LEN = 64 };

static bool bad(struct manifest *m, const char *code, const char *fmt, ...) PRINTF(3, 4);
static bool bad(struct manifest *m, const char *code, const char *fmt, ...)
{
    char where[TEXT_MAX], what[TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    snprintf(where, sizeof(where), "%.400s line %llu", m->path, (unsigned long long)m->line);
    finding(m->v, code, where, "%s", what);
    return false;
}

/* ---- base64 ------------------------------------------------------------------------------ */

static int figure(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* RFC 4648: base64url without padding, or base64 with it. The one way to write the bytes, and no
 * other. -1: it is none, or has more than max. */
static ssize_t decode(const char *text, bool url, uint8_t *out, size_t max)
{
    size_t len = strlen(text), n = 0;
    uint32_t bits = 0;
    unsigned held = 0;

    if (!url) {
        if (len % 4)
            return -1;
        for (int i = 0; i < 2 && len > 0 && text[len - 1] == '='; i++)
            len--;
    }
    if (len % 4 == 1)
        return -1;
    for (size_t i = 0; i < len; i++) {
        const int value = figure(text[i], url);

        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8)
            continue;
        held -= 8;
        if (n == max)
            return -1;
        out[n++] = (uint8_t)(bits >> held);
    }
    /* Bits that are left over are zero. */
    return bits & ((1u << held) - 1) ? -1 : (ssize_t)n;
}

static const char *text_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static json_t *decode_json(const char *text)
{
    const size_t room = strlen(text);
    uint8_t *data = malloc(room + 1);
    const ssize_t len = data ? decode(text, true, data, room) : -1;
    json_t *object =
        len < 0 ? NULL : json_loadb((const char *)data, (size_t)len, JSON_REJECT_DUPLICATES, NULL);

    free(data);
    return object;
}

/* ---- the signature ----------------------------------------------------------------------- */

static EVP_PKEY *key_by_hash(const struct manifest *m, const char *x5t)
{
    uint8_t wanted[SHA256_LEN], hash[SHA256_LEN];

    if (decode(x5t, true, wanted, sizeof(wanted)) != sizeof(wanted))
        return NULL;
    for (int i = 0; i < sk_X509_num(m->audit->certificates); i++) {
        X509 *cert = sk_X509_value(m->audit->certificates, i);

        if (X509_digest(cert, EVP_sha256(), hash, NULL) &&
            memcmp(hash, wanted, sizeof(hash)) == 0 &&
            certificate_key_is_on(cert, NID_X9_62_prime256v1))
            return X509_get0_pubkey(cert);
    }
    return NULL;
}

static bool take_protected(struct manifest *m, const char *text)
{
    json_t *header;

    if (m->protected_text && strcmp(m->protected_text, text) == 0)
        return m->key;
    header = decode_json(text);
    free(m->protected_text);
    m->protected_text = strdup(text);
    m->key = NULL;
    if (json_is_object(header) && strcmp(text_member(header, "typ"), "JWT") == 0 &&
        strcmp(text_member(header, "alg"), "ES256") == 0)
        m->key = key_by_hash(m, text_member(header, "x5t#S256"));
    else
        bad(m, "MANIFEST_FORM", "the protected header is not that of a JWT by ES256");
    if (json_is_object(header) && json_object_get(header, "crit"))
        m->key = NULL;
    json_decref(header);
    if (!m->key)
        bad(m, "SIGNER_UNKNOWN", "it is signed by none of the certificates in %s", m->audit->path);
    return m->key;
}

/* RFC 7518 section 3.4: r and s, 32 bytes each. */
static int der_signature(const uint8_t raw[ES256_LEN], uint8_t **ret_der)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
    int len = -1;

    *ret_der = NULL;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s)) {
        r = s = NULL;
        len = i2d_ECDSA_SIG(sig, ret_der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(sig);
    return len;
}

static bool signature_right(const struct manifest *m, const char *payload, const char *signature)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t raw[ES256_LEN], *der = NULL;
    char *text = NULL;
    int len = -1, signed_len;
    bool right = false;

    if (decode(signature, true, raw, sizeof(raw)) == sizeof(raw))
        len = der_signature(raw, &der);
    signed_len = asprintf(&text, "%s.%s", m->protected_text, payload);
    if (ctx && len > 0 && signed_len > 0 &&
        EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, m->key) == 1)
        right =
            EVP_DigestVerify(ctx, der, (size_t)len, (const uint8_t *)text, (size_t)signed_len) == 1;
    if (signed_len >= 0)
        free(text);
    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return right;
}

/* ---- keys and certificates ------------------------------------------------------------------ */

static const struct curve {
    const char *type, *name;
    size_t field;
    bool has_y;
    size_t prefix_len;
    uint8_t prefix[27]; /* of a DER SubjectPublicKeyInfo, before x and y */
} curves[] = {
    {"EC", "P-256", 32, true, 27, {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                   0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                   0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04}},
    {"EC", "P-384", 48, true, 24, {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                   0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                                   0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04}},
    /* RFC 8037 section 2, RFC 8410 section 4 */
    {"OKP",
     "Ed25519",
     32,
     false,
     12,
     {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}},
};

/* The JWK's SubjectPublicKeyInfo; 0 when it is no point of a curve that we know. */
static size_t jwk_spki(const json_t *jwk, uint8_t spki[128])
{
    const uint8_t *at = spki;
    EVP_PKEY *key;
    size_t len = 0;

    for (size_t i = 0; i < COUNT(curves) && len == 0; i++) {
        const struct curve *c = &curves[i];
        uint8_t *x = spki + c->prefix_len, *y = x + c->field;

        if (strcmp(text_member(jwk, "kty"), c->type) != 0 ||
            strcmp(text_member(jwk, "crv"), c->name) != 0)
            continue;
        memcpy(spki, c->prefix, c->prefix_len);
        if (decode(text_member(jwk, "x"), true, x, c->field) == (ssize_t)c->field &&
            (!c->has_y || decode(text_member(jwk, "y"), true, y, c->field) == (ssize_t)c->field))
            len = c->prefix_len + (c->has_y ? 2 : 1) * c->field;
    }
    if (len == 0)
        return 0;
    key = d2i_PUBKEY(NULL, &at, (long)len);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return key ? len : 0;
}

static X509 *decode_certificate(const char *text)
{
    const size_t room = strlen(text);
    uint8_t *der = malloc(room + 1);
    const ssize_t len = der ? decode(text, false, der, room) : -1;
    X509 *cert = len > 0 ? certificate_parse(der, (size_t)len) : NULL;

    free(der);
    ERR_clear_error();
    return cert;
}

static bool is_signed_by(X509 *cert, X509 *issuer)
{
    return certificate_issuer_is(cert, issuer) && X509_verify(cert, X509_get0_pubkey(issuer)) == 1;
}

/* Each certificate of x5c from the issuer's on is signed by the next one. */
static bool judge_above(struct manifest *m, const json_t *x5c)
{
    X509 *below = m->issuer, *above = NULL;
    bool good = true;

    X509_up_ref(below);
    for (size_t i = 2; good && i < json_array_size(x5c); i++) {
        const char *text = json_string_value(json_array_get(x5c, i));

        above = text ? decode_certificate(text) : NULL;
        if (!above)
            good = bad(m, "MANIFEST_FORM", "x5c has something that is no certificate");
        else if (!is_signed_by(below, above))
            good = bad(m, "MANIFEST_CERTIFICATE",
                       "certificate %zu of x5c is not signed by the one after it", i);
        X509_free(below);
        below = above;
    }
    X509_free(below);
    return good;
}

static bool same_chain(const struct manifest *m, const json_t *x5c)
{
    const size_t n = json_array_size(x5c);
    bool same = m->x5c && n == json_array_size(m->x5c);

    for (size_t i = 1; same && i < n; i++)
        same = json_equal(json_array_get(x5c, i), json_array_get(m->x5c, i));
    return same;
}

static void drop_chain(struct manifest *m)
{
    json_decref(m->x5c);
    X509_free(m->issuer);
    m->x5c = NULL;
    m->issuer = NULL;
}

/* The issuer, and what is above it. */
static bool take_chain(struct manifest *m, json_t *x5c)
{
    const size_t n = json_array_size(x5c);
    const char *text = json_string_value(json_array_get(x5c, 1));

    if (same_chain(m, x5c))
        return true;
    drop_chain(m);
    m->issuer = text && n <= 1 + MANIFEST_CHAIN_MAX ? decode_certificate(text) : NULL;
    if (!m->issuer)
        return bad(m, "MANIFEST_FORM", "x5c does not hold a certificate and its issuer's");
    if (!judge_above(m, x5c)) {
        drop_chain(m);
        return false;
    }
    m->x5c = json_incref(x5c);
    return true;
}

static void keep_serial(const X509 *cert, struct manifest_device *d)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    const int len = ASN1_STRING_length(serial);

    if (len > 0 && (size_t)len <= sizeof(d->serial)) {
        memcpy(d->serial, ASN1_STRING_get0_data(serial), (size_t)len);
        d->serial_len = (size_t)len;
    }
}

/* x5c: the device's certificate, its issuer's, and those above. */
static bool judge_certificate(struct manifest *m, json_t *x5c, struct manifest_device *d)
{
    const char *first = json_string_value(json_array_get(x5c, 0));
    X509 *cert = first ? decode_certificate(first) : NULL;
    uint8_t hash[SHA256_LEN];
    bool good = false;

    if (!cert)
        bad(m, "MANIFEST_FORM", "x5c does not hold the device's certificate");
    else if (!take_chain(m, x5c))
        good = false; /* and it has been said */
    else if (!certificate_key_hash(cert, hash) || memcmp(hash, d->spki_sha256, sizeof(hash)) != 0)
        bad(m, "MANIFEST_KEY", "the certificate's key is not the JWK");
    else if (!is_signed_by(cert, m->issuer))
        bad(m, "MANIFEST_CERTIFICATE", "the first certificate is not signed by the second");
    else
        good = true;
    if (good) {
        m->certificates++;
        keep_serial(cert, d);
    }
    X509_free(cert);
    ERR_clear_error();
    return good;
}

/* ---- an element -------------------------------------------------------------------------- */

static void once(struct manifest *m, enum seen_kind kind, const void *value, size_t len,
                 const char *code, const char *what)
{
    const int64_t before = seen_add(&m->seen, kind, value, len, m->line);

    if (before > 0)
        bad(m, code, "it has the %s of line %lld", what, (long long)before);
    else if (before < 0)
        bad(m, "MEMORY", "there is not enough memory to compare all devices");
}

static void judge_payload(struct manifest *m, const json_t *payload, const char *unique_id)
{
    const json_t *keys = json_object_get(json_object_get(payload, "publicKeySet"), "keys");
    const json_t *jwk = json_array_get(keys, 0);
    json_t *x5c = json_object_get(jwk, "x5c");
    struct manifest_device d = {.uid_text = text_member(payload, "uniqueId")};
    const char *group = text_member(payload, "groupId");
    uint8_t spki[128];
    const size_t len = jwk_spki(jwk, spki);

    if (json_integer_value(json_object_get(payload, "version")) != 1 ||
        strcmp(d.uid_text, unique_id) != 0 || !uid_parse(d.uid_text, d.uid)) {
        bad(m, "MANIFEST_FORM", "version or uniqueId are not what they must be");
        return;
    }
    if (m->group && strcmp(m->group, group) != 0)
        bad(m, "MANIFEST_FORM", "it is of another batch than the line before");
    if (!m->group)
        m->group = strdup(group);
    if (len == 0 || json_array_size(keys) != 1 ||
        EVP_Digest(spki, len, d.spki_sha256, NULL, EVP_sha256(), NULL) != 1) {
        bad(m, "MANIFEST_KEY", "there is not one JWK with a key on P-256, P-384 or Ed25519");
        return;
    }
    once(m, SEEN_UID, d.uid, sizeof(d.uid), "DUPLICATE_UID", "uniqueId");
    once(m, SEEN_KEY, d.spki_sha256, sizeof(d.spki_sha256), "DUPLICATE_KEY", "public key");
    if (x5c && !judge_certificate(m, x5c, &d))
        return;
    if (d.serial_len > 0)
        once(m, SEEN_SERIAL, d.serial, d.serial_len, "DUPLICATE_SERIAL",
             "certificate serial number");
    if (m->device)
        m->device(m->context, &d);
}

static void judge_element(struct manifest *m, const json_t *element)
{
    const char *payload = text_member(element, "payload");
    json_t *object;

    m->devices++;
    if (json_object_size(element) != 4 || !*payload || !*text_member(element, "protected") ||
        !*text_member(element, "signature")) {
        bad(m, "MANIFEST_FORM", "it is no JWS of payload, protected, header and signature");
        return;
    }
    if (!take_protected(m, text_member(element, "protected"))) {
        if (!m->key)
            bad(m, "SIGNER_UNKNOWN", "it is signed by nobody who is trusted");
        return;
    }
    if (!signature_right(m, payload, text_member(element, "signature"))) {
        bad(m, "MANIFEST_SIGNATURE", "the signature is wrong");
        return;
    }
    object = decode_json(payload);
    if (json_is_object(object))
        judge_payload(m, object, text_member(json_object_get(element, "header"), "uniqueId"));
    else
        bad(m, "MANIFEST_FORM", "the payload is no JSON");
    json_decref(object);
}

/* ---- the file ---------------------------------------------------------------------------- */

/* One element a line, "," behind all but the last. 1: more follow; 0: this was the last; -1. */
static int judge_line(struct manifest *m, char *line, size_t len)
{
    json_t *element;
    int follow = 0;

    if (len > 0 && line[len - 1] == '\n')
        line[--len] = 0;
    if (len > 0 && line[len - 1] == ',') {
        line[--len] = 0;
        follow = 1;
    }
    element = len <= MANIFEST_LINE_MAX ? json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(element)) {
        json_decref(element);
        bad(m, "MANIFEST_FORM", "the line is no JSON object");
        return -1;
    }
    judge_element(m, element);
    json_decref(element);
    return follow;
}

void manifest_read_file(struct manifest *m, FILE *file)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t len = getline(&line, &room, file);
    int follow = 1;
    bool ended = false;

    m->line = 1;
    if (len < 0 || strcmp(line, "[\n") != 0)
        bad(m, "MANIFEST_FORM", "it does not begin with [ in a line of its own");
    while (!ended && follow >= 0 && (len = getline(&line, &room, file)) >= 0) {
        m->line++;
        ended = strcmp(line, "]\n") == 0 && (follow == 0 || m->devices == 0);
        if (!ended && follow == 0)
            bad(m, "MANIFEST_FORM", "something follows the last element");
        if (!ended)
            follow = judge_line(m, line, (size_t)len);
    }
    if (follow >= 0 && (!ended || getline(&line, &room, file) >= 0))
        bad(m, "MANIFEST_FORM", "it does not end with ] in a line of its own");
    free(line);
}

bool manifest_read(struct manifest *m)
{
    FILE *file = fopen(m->path, "re");

    if (!file) {
        unreadable(m->path, strerror(errno));
        return false;
    }
    manifest_read_file(m, file);
    fclose(file);
    return true;
}

void manifest_done(struct manifest *m)
{
    seen_done(&m->seen);
    free(m->protected_text);
    drop_chain(m);
    free(m->group);
}
