/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/ca.h"

#include "tests/fake/ejbca/der.h"
#include "tests/fake/ejbca/name.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { YEAR = 365 * 86400, KEY_PEM_MAX = 4096, PATH_TEXT = 1024 };
#define P12_PASSWORD "fake-ejbca"

static int failed(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INTERNAL, "FAKE_CA", "%s failed", what);
}

static int write_pem(const char *path, struct mm_bytes der, const char *label,
                     struct mm_errinfo *ei)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(2 * CERT_DER_MAX);

    cert_pem(der, label, &text);
    return mm_io_write_file(path, 0600, text.data, text.len, ei);
}

static int write_key(const char *path, EVP_PKEY *key, struct mm_errinfo *ei)
{
    unsigned char *der = NULL;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    const int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
    const int r = len > 0 ? write_pem(path, (struct mm_bytes){der, (size_t)len}, "PRIVATE KEY", ei)
                          : failed(ei, "encoding a key");

    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
    return r;
}

static const struct ca_kind p256 = {.group = "P-256"};

bool ca_kind_from_text(const char *text, struct ca_kind *ret_kind)
{
    struct ca_kind kind = {.hash = EVP_sha256()};
    char part[16];
    int len = 0;

    if (sscanf(text, "%15[^/]%n", part, &len) != 1)
        return false;
    if (strcmp(part, "p256") == 0 || strcmp(part, "p384") == 0)
        kind.group = part[1] == '2' ? "P-256" : "P-384";
    else if (sscanf(part, "rsa%u", &kind.bits) != 1)
        return false;
    for (text += len; sscanf(text, "/%15[^/]%n", part, &len) == 1; text += len) {
        if (strcmp(part, "pss") == 0)
            kind.pss = !kind.group;
        else
            kind.hash = EVP_get_digestbyname(part);
    }
    *ret_kind = kind;
    return kind.hash && !*text;
}

/* The key in a PEM file, made if there is none. */
static int open_key(const char *path, const struct ca_kind *kind, EVP_PKEY **ret_key,
                    struct mm_errinfo *ei)
{
    FILE *f = fopen(path, "r");

    if (f) {
        *ret_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
        return *ret_key ? MM_OK : failed(ei, path);
    }
    *ret_key = kind->group ? EVP_EC_gen(kind->group) : EVP_RSA_gen(kind->bits);
    return *ret_key ? write_key(path, *ret_key, ei) : failed(ei, "making a key");
}

static int put_spki(EVP_PKEY *key, struct mm_buf *spki, struct mm_errinfo *ei)
{
    unsigned char *der = NULL;
    const int len = i2d_PUBKEY(key, &der);

    if (len > 0)
        mm_buf_append(spki, der, (size_t)len);
    OPENSSL_free(der);
    return len > 0 ? mm_buf_err(spki) : failed(ei, "encoding a key");
}

static void random_serial(uint8_t serial[SERIAL_MAX])
{
    RAND_bytes(serial, SERIAL_MAX);
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x01);
}

/* A CA's certificate, and the expired one beside it. */
static int make_certificates(struct ca *ca, struct mm_errinfo *ei)
{
    const int64_t now = mm_clock_wall_ms() / 1000;
    struct cert_spec spec = {
        .issuer = {ca->issuer->subject.data, ca->issuer->subject.len},
        .subject = {ca->subject.data, ca->subject.len},
        .spki = {ca->spki.data, ca->spki.len},
        .issuer_key_id = ca->issuer->key_id,
        .not_before = now - YEAR,
        .not_after = CERT_NEVER,
        .is_ca = true,
        .usage = USAGE_DIGITAL_SIGNATURE | USAGE_CERT_SIGN | USAGE_CRL_SIGN,
    };

    random_serial(spec.serial);
    if (!cert_build(&spec, &ca->issuer->signer, &ca->certificate))
        return failed(ei, "signing");
    return MM_OK;
}

static int make_expired(struct ca *ca, struct mm_errinfo *ei)
{
    const int64_t now = mm_clock_wall_ms() / 1000;
    struct cert_spec spec = {
        .issuer = {ca->issuer->subject.data, ca->issuer->subject.len},
        .subject = {ca->subject.data, ca->subject.len},
        .spki = {ca->spki.data, ca->spki.len},
        .issuer_key_id = ca->issuer->key_id,
        .not_before = now - 3 * YEAR,
        .not_after = now - YEAR,
        .is_ca = true,
        .usage = USAGE_DIGITAL_SIGNATURE | USAGE_CERT_SIGN | USAGE_CRL_SIGN,
    };

    random_serial(spec.serial);
    return cert_build(&spec, &ca->issuer->signer, &ca->expired) ? MM_OK : failed(ei, "signing");
}

/* Reads a certificate that is there, or makes and writes it. */
static int open_certificate(struct ca *ca, const char *path, struct mm_errinfo *ei)
{
    FILE *f = fopen(path, "r");
    unsigned char *der = NULL;
    X509 *x509;
    int len, r;

    if (!f) {
        r = make_certificates(ca, ei);
        return r < 0 ? r
                     : write_pem(path, (struct mm_bytes){ca->certificate.data, ca->certificate.len},
                                 "CERTIFICATE", ei);
    }
    x509 = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    len = x509 ? i2d_X509(x509, &der) : -1;
    X509_free(x509);
    if (len > 0)
        mm_buf_append(&ca->certificate, der, (size_t)len);
    OPENSSL_free(der);
    return len > 0 ? MM_OK : failed(ei, path);
}

/* As java.lang.String.hashCode, of which EJBCA makes the identifiers of its CAs. */
static int32_t hash_code(const char *text)
{
    uint32_t hash = 0;

    for (; *text; text++)
        hash = 31 * hash + (uint8_t)*text;
    return (int32_t)hash;
}

static int add(struct cas *cas, const char *folder, const char *name, const char *subject,
               const struct ca_kind *kind, struct ca *issuer, struct mm_errinfo *ei)
{
    struct ca *ca = &cas->ca[cas->count];
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX - 1);
    struct cert_view view;
    char path[PATH_TEXT];
    int r;

    if (cas->count == CA_MAX || strlen(name) >= CA_NAME_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "FAKE_CA", "too many CAs, or too long a name");
    snprintf(ca->name, sizeof(ca->name), "%s", name);
    ca->issuer = issuer ? issuer : ca;
    ca->listed = true;
    ca->certificate = ca->expired = ca->subject = ca->spki = MM_BUF_INIT(CERT_DER_MAX);
    cas->count++;
    snprintf(path, sizeof(path), "%s/%s.key", folder, name);
    ca->signer =
        (struct cert_signer){.hash = kind->hash ? kind->hash : EVP_sha256(), .pss = kind->pss};
    r = open_key(path, kind, &ca->signer.key, ei);
    if (r < 0 || (r = put_spki(ca->signer.key, &ca->spki, ei)) < 0)
        return r;
    if (!name_from_text(subject, &ca->subject) ||
        !name_to_text((struct mm_bytes){ca->subject.data, ca->subject.len}, &text))
        return mm_fail(ei, MM_ERR_INVALID, "FAKE_CA", "%s is not a subject", subject);
    snprintf(ca->subject_text, sizeof(ca->subject_text), "%s", mm_buf_cstr(&text));
    ca->id = hash_code(ca->subject_text);
    cert_key_id((struct mm_bytes){ca->spki.data, ca->spki.len}, ca->key_id);
    snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
    r = open_certificate(ca, path, ei);
    if (r < 0)
        return r;
    if (!cert_read((struct mm_bytes){ca->certificate.data, ca->certificate.len}, &view))
        return failed(ei, "reading a CA");
    ca->not_after = view.not_after;
    ca->crl_number = 1;
    return make_expired(ca, ei);
}

static int add_extra(struct cas *cas, const char *folder, const char *text,
                     const struct ca_kind *kind, struct ca *root, struct mm_errinfo *ei)
{
    const size_t len = strcspn(text, "=");
    char name[CA_NAME_MAX];

    if (!text[len] || len >= sizeof(name))
        return mm_fail(ei, MM_ERR_INVALID, "FAKE_CA", "%s is not NAME=SUBJECT", text);
    memcpy(name, text, len);
    name[len] = 0;
    return add(cas, folder, name, text + len + 1, kind, root, ei);
}

int cas_open(const char *folder, const struct ca_kind *kind, const char *const *extra,
             size_t extras, struct cas *ret_cas, struct mm_errinfo *ei)
{
    struct ca *root;
    int r;

    memset(ret_cas, 0, sizeof(*ret_cas));
    r = add(ret_cas, folder, "ManagementCA", "CN=ManagementCA,O=Example,C=SE", &p256, NULL, ei);
    if (r < 0)
        return r;
    root = &ret_cas->ca[ret_cas->count];
    r = add(ret_cas, folder, "RootCA", "CN=RootCA,O=Example,C=SE", kind, NULL, ei);
    if (r < 0 ||
        (r = add(ret_cas, folder, "IssuingCA", "CN=IssuingCA,O=Example,C=SE", kind, root, ei)) < 0)
        return r;
    for (size_t i = 0; i < extras; i++) {
        r = add_extra(ret_cas, folder, extra[i], kind, root, ei);
        if (r < 0)
            return r;
    }
    r = add(ret_cas, folder, "OtherCA", "CN=OtherCA,O=Elsewhere,C=SE", kind, NULL, ei);
    ret_cas->ca[ret_cas->count - 1].listed = false;
    return r;
}

void cas_close(struct cas *cas)
{
    for (size_t i = 0; i < cas->count; i++) {
        struct ca *ca = &cas->ca[i];

        EVP_PKEY_free(ca->signer.key);
        mm_buf_done(&ca->certificate);
        mm_buf_done(&ca->expired);
        mm_buf_done(&ca->subject);
        mm_buf_done(&ca->spki);
    }
    cas->count = 0;
}

struct ca *ca_by_name(struct cas *cas, const char *name)
{
    for (size_t i = 0; i < cas->count; i++)
        if (strcmp(cas->ca[i].name, name) == 0)
            return &cas->ca[i];
    return NULL;
}

struct ca *ca_by_dn(struct cas *cas, const char *dn, bool any)
{
    struct mm_buf der MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);

    if (!name_from_text(dn, &der) || !name_to_text((struct mm_bytes){der.data, der.len}, &text) ||
        !mm_buf_cstr(&text))
        return NULL;
    for (size_t i = 0; i < cas->count; i++)
        if ((any || cas->ca[i].listed) &&
            strcmp(cas->ca[i].subject_text, (const char *)text.data) == 0)
            return &cas->ca[i];
    return NULL;
}

struct ca *ca_by_subject(struct cas *cas, struct mm_bytes der)
{
    for (size_t i = 0; i < cas->count; i++) {
        const struct mm_buf *subject = &cas->ca[i].subject;

        if (subject->len == der.len && memcmp(subject->data, der.data, der.len) == 0)
            return &cas->ca[i];
    }
    return NULL;
}

static int write_p12(const char *folder, const char *name, EVP_PKEY *key, struct mm_bytes der,
                     const struct ca *ca, struct mm_errinfo *ei)
{
    const unsigned char *at = der.data, *ca_at = ca->certificate.data;
    X509 *own = d2i_X509(NULL, &at, (long)der.len);
    X509 *above = d2i_X509(NULL, &ca_at, (long)ca->certificate.len);
    STACK_OF(X509) *chain = sk_X509_new_null();
    unsigned char *out = NULL;
    char path[PATH_TEXT];
    PKCS12 *p12 = NULL;
    int len = -1, r;

    if (own && above && chain && sk_X509_push(chain, above) > 0)
        p12 = PKCS12_create(P12_PASSWORD, name, key, own, chain, 0, 0, 0, 0, 0);
    if (p12)
        len = i2d_PKCS12(p12, &out);
    snprintf(path, sizeof(path), "%s/%s.p12", folder, name);
    r = len > 0 ? mm_io_write_file(path, 0600, out, (size_t)len, ei) : failed(ei, "PKCS#12");
    snprintf(path, sizeof(path), "%s/p12.password", folder);
    if (r >= 0)
        r = mm_io_write_file(path, 0600, P12_PASSWORD "\n", strlen(P12_PASSWORD) + 1, ei);
    OPENSSL_free(out);
    PKCS12_free(p12);
    sk_X509_free(chain);
    X509_free(above);
    X509_free(own);
    return r;
}

/* GeneralNames of a server on loopback: an address and a name (RFC 5280 section 4.2.1.6). */
static void put_loopback(struct mm_buf *b)
{
    const size_t at = der_begin(b, DER_SEQUENCE);

    der_put(b, DER_CONTEXT | 2, "localhost", 9);
    der_put(b, DER_CONTEXT | 7, "\x7f\0\0\1", 4);
    der_end(b, at);
}

static int sign_credential(const struct ca *ca, const char *name, bool server, EVP_PKEY *key,
                           struct mm_buf *der, struct mm_errinfo *ei)
{
    static const char *const for_server[] = {"1.3.6.1.5.5.7.3.1", NULL}, *const for_client[] = {
                                                                             "1.3.6.1.5.5.7.3.2",
                                                                             NULL};
    struct mm_buf subject MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);
    struct mm_buf spki MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);
    struct mm_buf sans MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);
    struct cert_spec spec = {
        .issuer = {ca->subject.data, ca->subject.len},
        .issuer_key_id = ca->key_id,
        .not_before = mm_clock_wall_ms() / 1000 - 600,
        .not_after = mm_clock_wall_ms() / 1000 + YEAR,
        .usage = USAGE_DIGITAL_SIGNATURE,
        .purposes = server ? for_server : for_client,
    };
    char text[CA_DN_MAX];
    int r = put_spki(key, &spki, ei);

    if (r < 0)
        return r;
    snprintf(text, sizeof(text), "CN=%s,O=Example,C=SE", name);
    if (server)
        put_loopback(&sans);
    if (!name_from_text(text, &subject))
        return failed(ei, "naming");
    spec.subject = (struct mm_bytes){subject.data, subject.len};
    spec.spki = (struct mm_bytes){spki.data, spki.len};
    spec.sans = (struct mm_bytes){sans.data, sans.len};
    random_serial(spec.serial);
    return cert_build(&spec, &ca->signer, der) ? MM_OK : failed(ei, "signing");
}

int ca_make_credential(struct cas *cas, const char *folder, const char *name, bool server,
                       struct mm_errinfo *ei)
{
    const struct ca *ca = ca_by_name(cas, "ManagementCA");
    struct mm_buf der MM_BUF_CLEANUP = MM_BUF_INIT(CERT_DER_MAX);
    char path[PATH_TEXT];
    EVP_PKEY *key;
    int r;

    snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
    if (access(path, F_OK) == 0)
        return MM_OK;
    snprintf(path, sizeof(path), "%s/%s.key", folder, name);
    r = open_key(path, &p256, &key, ei);
    if (r < 0)
        return r;
    r = sign_credential(ca, name, server, key, &der, ei);
    if (r >= 0)
        r = write_p12(folder, name, key, (struct mm_bytes){der.data, der.len}, ca, ei);
    snprintf(path, sizeof(path), "%s/%s.pem", folder, name);
    if (r >= 0) /* last: a folder that has it has everything */
        r = write_pem(path, (struct mm_bytes){der.data, der.len}, "CERTIFICATE", ei);
    EVP_PKEY_free(key);
    return r;
}
