/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/csr.h"

#include "tests/fake/ejbca/der.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

/* SubjectPublicKeyInfo of a P-256 key up to its point, and ecdsa-with-SHA256 (RFC 5480, 5758). */
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
                                    0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};
static const uint8_t ecdsa_sha256[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                       0x48, 0xce, 0x3d, 0x04, 0x03, 0x02};
enum { P256_POINT = 65 };

static bool begins(struct mm_bytes bytes, const void *with, size_t len)
{
    return bytes.len >= len && memcmp(bytes.data, with, len) == 0;
}

bool csr_decode(const char *text, struct mm_buf *ret_der)
{
    char packed[2 * CSR_DER_MAX];
    const char *head = strstr(text, "-----BEGIN "), *end = text + strlen(text);
    size_t n = 0;
    int len;

    if (head) {
        text = strstr(head + 11, "-----");
        end = text ? strstr(text + 5, "-----END ") : NULL;
        if (!end)
            return false;
        text += 5;
    }
    for (; text < end; text++) {
        if (strchr(" \r\n\t", *text))
            continue;
        if (n == sizeof(packed))
            return false;
        packed[n++] = *text;
    }
    if (n == 0 || n % 4 != 0 || n / 4 * 3 > CSR_DER_MAX)
        return false;
    if (!mm_buf_reserve(ret_der, n))
        return false;
    len = EVP_DecodeBlock(ret_der->data + ret_der->len, (const unsigned char *)packed, (int)n);
    if (len < 0)
        return false;
    len -= (packed[n - 1] == '=') + (packed[n - 2] == '=');
    mm_buf_grew(ret_der, (size_t)len);
    return true;
}

/* The GeneralNames in the extensionRequest attribute, if there are any (RFC 2985 section 5.4.2). */
static struct mm_bytes find_sans(struct mm_bytes attributes)
{
    static const uint8_t request[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e};
    static const uint8_t san[] = {0x55, 0x1d, 0x11};
    struct mm_bytes attribute, oid, set, list, extension, value;

    while (der_take(&attributes, DER_SEQUENCE, &attribute, NULL)) {
        if (!der_take(&attribute, DER_OID, &oid, NULL) || oid.len != sizeof(request) ||
            !begins(oid, request, sizeof(request)) || !der_take(&attribute, DER_SET, &set, NULL) ||
            !der_take(&set, DER_SEQUENCE, &list, NULL))
            continue;
        while (der_take(&list, DER_SEQUENCE, &extension, NULL)) {
            if (!der_take(&extension, DER_OID, &oid, NULL) || oid.len != sizeof(san) ||
                !begins(oid, san, sizeof(san)))
                continue;
            der_take(&extension, DER_BOOLEAN, NULL, NULL);
            if (der_take(&extension, DER_OCTET_STRING, &value, NULL))
                return value;
        }
    }
    return (struct mm_bytes){NULL, 0};
}

bool csr_parse(struct mm_bytes der, struct csr *ret_csr)
{
    struct csr csr = {.whole = der};
    struct mm_bytes outer, info, bits, attributes;

    if (!der_take(&der, DER_SEQUENCE, &outer, NULL) || der.len ||
        !der_take(&outer, DER_SEQUENCE, &info, &csr.signed_part) ||
        !der_take(&outer, DER_SEQUENCE, NULL, &csr.algorithm) ||
        !der_take(&outer, DER_BIT_STRING, &bits, NULL) || outer.len || bits.len < 2 || bits.data[0])
        return false;
    csr.signature = (struct mm_bytes){bits.data + 1, bits.len - 1};
    if (!der_take(&info, DER_INTEGER, NULL, NULL) ||
        !der_take(&info, DER_SEQUENCE, NULL, &csr.subject) ||
        !der_take(&info, DER_SEQUENCE, NULL, &csr.spki))
        return false;
    if (der_take(&info, DER_CONTEXT_CONSTRUCTED, &attributes, NULL))
        csr.sans = find_sans(attributes);
    *ret_csr = csr;
    return true;
}

static bool is_p256(struct mm_bytes spki)
{
    return spki.len == sizeof(p256_head) + P256_POINT && begins(spki, p256_head, sizeof(p256_head));
}

/* A P-256 key without libcrypto's decoders: they are dearer than the verification. */
static EVP_PKEY *p256_key(struct mm_bytes spki)
{
    static EVP_PKEY *any;
    EVP_PKEY *key = EVP_PKEY_new();

    if (!any)
        any = EVP_EC_gen("P-256");
    if (!key || !any || EVP_PKEY_copy_parameters(key, any) != 1 ||
        EVP_PKEY_set1_encoded_public_key(key, spki.data + sizeof(p256_head), P256_POINT) != 1) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

/* Any request, by libcrypto. */
static bool verifies_slowly(const struct csr *csr)
{
    const unsigned char *at = csr->whole.data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)csr->whole.len);
    EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
    const bool good = key && X509_REQ_verify(request, key) == 1;

    X509_REQ_free(request);
    return good;
}

bool csr_verifies(const struct csr *csr)
{
    EVP_MD_CTX *ctx;
    EVP_PKEY *key;
    bool good;

    if (!is_p256(csr->spki) || csr->algorithm.len != sizeof(ecdsa_sha256) ||
        !begins(csr->algorithm, ecdsa_sha256, sizeof(ecdsa_sha256)))
        return verifies_slowly(csr);
    key = p256_key(csr->spki);
    ctx = EVP_MD_CTX_new();
    good = key && ctx && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
           EVP_DigestVerify(ctx, csr->signature.data, csr->signature.len, csr->signed_part.data,
                            csr->signed_part.len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return good;
}

void csr_key_kind(const struct csr *csr, char name[32], int *ret_bits)
{
    const unsigned char *at = csr->spki.data;
    EVP_PKEY *key;

    snprintf(name, 32, "EC");
    *ret_bits = 256;
    if (is_p256(csr->spki))
        return;
    key = d2i_PUBKEY(NULL, &at, (long)csr->spki.len);
    snprintf(name, 32, "%s", key ? EVP_PKEY_get0_type_name(key) : "unknown");
    *ret_bits = key ? EVP_PKEY_get_bits(key) : 0;
    EVP_PKEY_free(key);
}
