/* SPDX-License-Identifier: Apache-2.0 */
/* One device: its line in devices.jsonl, its files, and that nothing of it is another's. */
#include "tools/verify/verify.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum delivery { DELIVERY_WRAPPED, DELIVERY_RETAINED, DELIVERY_PLAIN, DELIVERY_ON_DEVICE };

/* The line's members. */
struct line {
    char uid[UID_LEN + 1];
    uint64_t number;
    const char *hw_serial, *key_id;
    const char *chain;       /* the file that its chain is in */
    const char *check_value; /* of the transport key; "" if the line is of an older client */
    bool request;
    uint8_t sha256[SHA256_LEN];
    enum delivery delivery;
};

/* What is being judged. */
struct device {
    struct verify *v;
    struct line line;
    uint8_t *der;
    size_t der_len;
    X509 *cert;
    X509_REQ *request;
    EVP_PKEY *key; /* public; borrowed */
};

static bool is_uid(const char *text)
{
    for (int i = 0; i < UID_LEN; i++) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? text[i] != '-' : !text[i] || !strchr("0123456789abcdef", text[i]))
            return false;
    }
    return text[UID_LEN] == 0;
}

static const char *string_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static bool parse_delivery(const char *text, enum delivery *ret_delivery)
{
    static const char *const names[] = {"wrapped", "retained", "plain", "on_device"};

    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *ret_delivery = (enum delivery)i;
            return true;
        }
    }
    return false;
}

static const char *parse_line(const json_t *object, struct line *line)
{
    const char *uid = string_member(object, "device_uid");
    const json_int_t number = json_integer_value(json_object_get(object, "number"));
    const char *certificate = string_member(object, "certificate_sha256");
    const char *request = string_member(object, "csr_sha256");

    if (!json_is_object(object) || !is_uid(uid))
        return "no JSON object with a device_uid in lower case";
    memcpy(line->uid, uid, sizeof(line->uid));
    if (number < 1)
        return "number is not 1 or more";
    line->number = (uint64_t)number;
    line->request = *request != 0;
    if ((*certificate != 0) == line->request ||
        !hex_decode(line->request ? request : certificate, line->sha256, SHA256_LEN))
        return "must have certificate_sha256 or csr_sha256, 64 hexadecimal digits";
    if (!parse_delivery(string_member(object, "key_delivery"), &line->delivery))
        return "key_delivery is not WRAPPED, RETAINED, PLAIN or ON_DEVICE";
    line->hw_serial = string_member(object, "hw_serial");
    line->key_id = string_member(object, "key_id");
    line->check_value = string_member(object, "check_value");
    line->chain = string_member(object, "chain");
    if (!*line->chain)
        line->chain = "chain.pem";
    if (!chain_is_name(line->chain))
        return "chain is not the name of a chain's file";
    return NULL;
}

/* Says whose value it is when the device is not the first to have it. */
static void check_new(struct device *d, enum seen_kind kind, const void *value, size_t len,
                      const char *what)
{
    struct verify *v = d->v;
    const int64_t other = seen_add(&v->seen, kind, value, len, v->devices);

    if (other > 0)
        report_fail(&v->report, d->line.uid, "same %s as device %s", what, v->uids[other - 1]);
    else if (other < 0)
        report_fail(&v->report, d->line.uid, "out of memory");
}

static void check_new_name(struct device *d, const X509_NAME *subject, const ASN1_OCTET_STRING *san)
{
    const unsigned char *name;
    size_t len;
    char cn[256];
    EVP_MD_CTX *ctx;
    uint8_t digest[SHA256_LEN];
    const int cn_len = X509_NAME_get_text_by_NID(subject, NID_commonName, cn, sizeof(cn));

    if (d->v->rules == RULES_MATTER_DAC && cn_len < 0)
        report_fail(&d->v->report, d->line.uid, "no common name");
    else if (d->v->rules == RULES_MATTER_DAC)
        check_new(d, SEEN_CN, cn, (size_t)cn_len, "common name");
    /* A subject may be empty when the alternative name tells devices apart. */
    ctx = EVP_MD_CTX_new();
    if (ctx && X509_NAME_get0_der(subject, &name, &len) &&
        EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) && EVP_DigestUpdate(ctx, name, len) &&
        (!san ||
         EVP_DigestUpdate(ctx, ASN1_STRING_get0_data(san), (size_t)ASN1_STRING_length(san))) &&
        EVP_DigestFinal_ex(ctx, digest, NULL))
        check_new(d, SEEN_SUBJECT, digest, sizeof(digest), "subject");
    EVP_MD_CTX_free(ctx);
}

static void check_new_key(struct device *d, X509_PUBKEY *key)
{
    uint8_t *spki = NULL;
    const int len = i2d_X509_PUBKEY(key, &spki);

    if (len > 0)
        check_new(d, SEEN_KEY, spki, (size_t)len, "public key");
    OPENSSL_free(spki);
}

static const ASN1_OCTET_STRING *san_of(const STACK_OF(X509_EXTENSION) * extensions)
{
    const int at = X509v3_get_ext_by_NID(extensions, NID_subject_alt_name, -1);

    return at < 0 ? NULL : X509_EXTENSION_get_data(X509v3_get_ext(extensions, at));
}

static void judge_certificate(struct device *d)
{
    struct verify *v = d->v;
    const ASN1_INTEGER *serial;

    d->cert = certificate_parse(d->der, d->der_len);
    if (!d->cert) {
        report_fail(&v->report, d->line.uid, "no X.509 certificate in DER");
        return;
    }
    v->certificates++;
    d->key = X509_get0_pubkey(d->cert);
    serial = X509_get0_serialNumber(d->cert);
    check_new(d, SEEN_SERIAL, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial),
              "serial number");
    check_new_key(d, X509_get_X509_PUBKEY(d->cert));
    check_new_name(d, X509_get_subject_name(d->cert), san_of(X509_get0_extensions(d->cert)));
    if (!v->chain.root) {
        report_fail(&v->report, d->line.uid, "a certificate, but no --root to judge it by");
        return;
    }
    if (strcmp(v->chain.name, d->line.chain) != 0) {
        chain_load_delivered(&v->chain, v->dir, d->line.chain, &v->report);
        if (v->rules == RULES_MATTER_DAC)
            matter_check_issuers(&v->chain, &v->report);
    }
    chain_verify(&v->chain, d->cert, d->line.uid, &v->report);
    if (v->rules == RULES_MATTER_DAC)
        matter_check_device(&v->chain, d->cert, d->der_len, d->line.uid, &v->report);
    if (v->rules == RULES_IEEE8021AR)
        idevid_check(&v->chain, d->cert, d->line.uid, &v->report);
}

static void judge_request(struct device *d)
{
    struct verify *v = d->v;
    const uint8_t *at = d->der;
    STACK_OF(X509_EXTENSION) * extensions;

    d->request = d2i_X509_REQ(NULL, &at, (long)d->der_len);
    if (!d->request || at != d->der + d->der_len) {
        report_fail(&v->report, d->line.uid, "no PKCS#10 request in DER");
        return;
    }
    v->requests++;
    d->key = X509_REQ_get0_pubkey(d->request);
    if (!d->key || X509_REQ_verify(d->request, d->key) != 1)
        report_fail(&v->report, d->line.uid, "the request's signature does not verify");
    extensions = X509_REQ_get_extensions(d->request);
    check_new_key(d, X509_REQ_get_X509_PUBKEY(d->request));
    /* A device's own request may say anything: the CA elsewhere decides what becomes of it. */
    if (d->line.delivery != DELIVERY_ON_DEVICE)
        check_new_name(d, X509_REQ_get_subject_name(d->request), san_of(extensions));
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
}

static uint8_t *read_device_file(const struct device *d, const char *suffix, size_t *ret_len)
{
    char name[UID_LEN + 16];

    snprintf(name, sizeof(name), "%s%s", d->line.uid, suffix);
    return file_read(d->v->dir, name, ret_len);
}

static void judge_opened(struct device *d, const uint8_t *pkcs8, size_t len)
{
    d->v->keys_checked++;
    if (!key_matches(pkcs8, len, d->key))
        report_fail(&d->v->report, d->line.uid, "the private key is not that of the public key");
}

static void judge_wrapped(struct device *d, const uint8_t *wrapped, size_t len)
{
    uint8_t pkcs8[1024];
    size_t n;

    if (!d->v->transport.opened) {
        d->v->keys_unopened++;
        return;
    }
    if (*d->line.check_value && !transport_is(&d->v->transport, d->line.check_value)) {
        d->v->keys_of_others++;
        return;
    }
    if (!*d->line.check_value && !d->v->wrap_checked)
        transport_check_folder(&d->v->transport, d->v->dir, &d->v->report);
    d->v->wrap_checked = true;
    if (len > sizeof(pkcs8) || !key_unwrap(d->v->transport.key, wrapped, len, pkcs8, &n)) {
        report_fail(&d->v->report, d->line.uid, "the private key does not unwrap");
        return;
    }
    judge_opened(d, pkcs8, n);
    OPENSSL_cleanse(pkcs8, sizeof(pkcs8));
}

/* Nobody but the device may have it. */
static void judge_absent(struct device *d)
{
    static const char *const suffixes[] = {".key.wrapped", ".key.der"};

    d->v->keys_on_device++;
    for (size_t i = 0; i < COUNT(suffixes); i++) {
        size_t len;
        uint8_t *data = read_device_file(d, suffixes[i], &len);

        if (data || errno != ENOENT)
            report_fail(&d->v->report, d->line.uid, "%s is there, but the device made its key",
                        suffixes[i]);
        if (data)
            OPENSSL_cleanse(data, len);
        free(data);
    }
}

static void judge_key(struct device *d)
{
    const bool wrapped = d->line.delivery == DELIVERY_WRAPPED;
    const char *suffix = wrapped ? ".key.wrapped" : ".key.der";
    size_t len;
    uint8_t *data;

    if (d->line.delivery == DELIVERY_RETAINED) {
        if (!*d->line.key_id)
            report_fail(&d->v->report, d->line.uid, "a retained key without a key_id");
        return;
    }
    if (d->line.delivery == DELIVERY_ON_DEVICE) {
        judge_absent(d);
        return;
    }
    data = read_device_file(d, suffix, &len);
    if (!data)
        report_fail(&d->v->report, d->line.uid, "%s: %s", suffix, strerror(errno));
    else if (wrapped)
        judge_wrapped(d, data, len);
    else
        judge_opened(d, data, len);
    if (data)
        OPENSSL_cleanse(data, len);
    free(data);
}

static void judge(struct device *d)
{
    struct report *r = &d->v->report;
    const char *suffix = d->line.request ? ".csr" : ".crt";
    uint8_t digest[SHA256_LEN];

    check_new(d, SEEN_UID, d->line.uid, UID_LEN, "UID");
    check_new(d, SEEN_NUMBER, &d->line.number, sizeof(d->line.number), "number");
    if (*d->line.hw_serial)
        check_new(d, SEEN_HW_SERIAL, d->line.hw_serial, strlen(d->line.hw_serial),
                  "hardware serial number");
    d->der = read_device_file(d, suffix, &d->der_len);
    if (!d->der) {
        report_fail(r, d->line.uid, "%s: %s", suffix, strerror(errno));
        return;
    }
    if (EVP_Digest(d->der, d->der_len, digest, NULL, EVP_sha256(), NULL) != 1 ||
        memcmp(digest, d->line.sha256, SHA256_LEN) != 0)
        report_fail(r, d->line.uid, "%s is not the file that devices.jsonl has the SHA-256 of",
                    suffix);
    if (d->line.request)
        judge_request(d);
    else
        judge_certificate(d);
    if (d->key)
        judge_key(d);
}

/* Room for one more UID; doubled when full. */
static bool remember_uid(struct verify *v, const char *uid)
{
    const uint64_t n = v->devices;

    if ((n & (n - 1)) == 0) {
        void *more = realloc(v->uids, (n ? 2 * n : 1) * sizeof(*v->uids));

        if (!more)
            return false;
        v->uids = more;
    }
    memcpy(v->uids[n], uid, UID_LEN + 1);
    v->devices++;
    return true;
}

void device_check(struct verify *v, const char *text, size_t len, uint64_t line_number)
{
    json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    struct device d = {.v = v};
    const char *problem = parse_line(object, &d.line);
    char where[48];

    snprintf(where, sizeof(where), "devices.jsonl line %llu", (unsigned long long)line_number);
    if (problem)
        report_fail(&v->report, where, "%s", problem);
    else if (!remember_uid(v, d.line.uid))
        report_fail(&v->report, where, "out of memory");
    else
        judge(&d);
    X509_free(d.cert);
    X509_REQ_free(d.request);
    free(d.der);
    json_decref(object);
    ERR_clear_error();
}
