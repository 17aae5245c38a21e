/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and CRLs (RFC 5280): building, signing, and reading back what was built.
 */
#pragma once

#include "daemon/base/buf.h"

#include <openssl/evp.h>

enum { CERT_DER_MAX = 32 * 1024, SERIAL_MAX = 20, KEY_ID_LEN = 20, KEY_HASH_LEN = 32 };

/* The end of time in certificates (RFC 5280 section 4.1.2.5). */
#define CERT_NEVER INT64_C(253402300799)

/* keyUsage, as the bits stand in its first octet. */
enum {
    USAGE_DIGITAL_SIGNATURE = 0x80,
    USAGE_NON_REPUDIATION = 0x40,
    USAGE_KEY_ENCIPHERMENT = 0x20,
    USAGE_KEY_AGREEMENT = 0x08,
    USAGE_CERT_SIGN = 0x04,
    USAGE_CRL_SIGN = 0x02,
};

struct cert_spec {
    struct mm_bytes issuer, subject, spki; /* DER, whole */
    struct mm_bytes sans;                  /* GeneralNames; empty for none */
    const uint8_t *issuer_key_id;          /* KEY_ID_LEN bytes */
    uint8_t serial[SERIAL_MAX];            /* big-endian */
    int64_t not_before, not_after;         /* Unix seconds */
    bool is_ca;
    uint8_t usage;               /* USAGE_ */
    const char *const *purposes; /* extended key usage, dotted; NULL ends it; NULL for none */
};

struct cert_revoked {
    const uint8_t *serial;
    size_t serial_len;
    int64_t when;
    unsigned reason; /* CRLReason */
};

struct crl_spec {
    struct mm_bytes issuer;
    const uint8_t *issuer_key_id;
    int64_t this_update, next_update;
    unsigned number;
    const struct cert_revoked *revoked;
    size_t count;
};

/* How a CA signs: ECDSA or RSA, whichever its key is for. */
struct cert_signer {
    EVP_PKEY *key;
    const EVP_MD *hash;
    bool pss; /* RSASSA-PSS in place of PKCS #1 v1.5 */
};

/* Appends the certificate or CRL, signed; false: libcrypto failed. */
bool cert_build(const struct cert_spec *spec, const struct cert_signer *signer, struct mm_buf *der);
bool crl_build(const struct crl_spec *spec, const struct cert_signer *signer, struct mm_buf *der);

/* Borrowed from the certificate. */
struct cert_view {
    struct mm_bytes serial; /* content of the INTEGER */
    struct mm_bytes issuer, subject, spki, sans;
    int64_t not_before, not_after;
};
bool cert_read(struct mm_bytes der, struct cert_view *ret_view);

/* SHA-1 of the key's bits (RFC 5280 section 4.2.1.2 (1)), and SHA-256 of the whole
 * SubjectPublicKeyInfo. */
void cert_key_id(struct mm_bytes spki, uint8_t ret_id[KEY_ID_LEN]);
void cert_key_hash(struct mm_bytes spki, uint8_t ret_hash[KEY_HASH_LEN]);

/* Appends base64 without line breaks. */
void cert_base64(struct mm_bytes bytes, struct mm_buf *text);
/* Appends PEM with this label. */
void cert_pem(struct mm_bytes der, const char *label, struct mm_buf *text);
