/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profiles: a kind of identity, compiled from the configuration into what the hot path needs. Pure
 * functions, no I/O: files are read by the caller.
 *
 * Sources: RFC 5280 (certificates), RFC 2986 (requests), RFC 5480 (EC keys), Matter attestation
 * certificates, IEEE 802.1AR-2018 clause 8.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/conf/conf.h"

#include <openssl/x509.h>

struct mm_profile;

enum mm_profile_delivery { MM_DELIVERY_WRAPPED, MM_DELIVERY_RETAINED, MM_DELIVERY_PLAIN };

/* Compiles a profile: expands the preset, checks the templates, prepares names and extensions.
 * issuer is the issuing CA's certificate (borrowed for the call), NULL for issuer "none" and for a
 * root. MM_ERR_INVALID says which setting is wrong and what would be right. */
int mm_profile_compile(const struct mm_conf_profile *conf, X509 *issuer,
                       struct mm_profile **ret_profile, struct mm_errinfo *ei) MM_MUST_USE;
void mm_profile_free(struct mm_profile *p);
MM_DEFINE_CLEANUP(struct mm_profile *, mm_profile_free)

/* Is there a device that this profile could be made for without a hardware serial number? False
 * when a template uses ${hw_serial}. */
bool mm_profile_needs_hw_serial(const struct mm_profile *p);

/* What differs from device to device. */
struct mm_subject {
    uint64_t number;
    const char *hw_serial;  /* "" if none */
    const char *device_uid; /* "" if none */
    const uint8_t *point;   /* uncompressed point of the device's public key */
    size_t point_len;
    uint8_t serial[20]; /* certificates: random; the top bit is cleared and zero avoided here */
    int64_t now_ms;
};

/* What is to be signed: DER, and the digest that the token signs. */
struct mm_tbs {
    struct mm_buf der;
    uint8_t digest[48];
    size_t digest_len; /* 32 for SHA-256 (P-256), 48 for SHA-384 (P-384) */
    uint8_t spki_sha256[32];
};
#define MM_TBS_INIT ((struct mm_tbs){.der = MM_BUF_INIT(MM_CERT_DER_MAX)})

/* TBSCertificate (RFC 5280 section 4.1.2), signed later by the issuer's key: the digest is that of
 * the issuer's algorithm. */
int mm_profile_certificate_tbs(const struct mm_profile *p, const struct mm_subject *s,
                               struct mm_tbs *tbs, struct mm_errinfo *ei) MM_MUST_USE;
/* CertificationRequestInfo (RFC 2986 section 4.1), signed later by the device's own key. Carries
 * the profile's extensions as extensionRequest, but for SKI and AKI. */
int mm_profile_csr_tbs(const struct mm_profile *p, const struct mm_subject *s, struct mm_tbs *tbs,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Puts TBS, algorithm and signature (r || s from the token) together: Certificate or
 * CertificationRequest, DER, appended to *der. Works for both: their outer shape is one. */
int mm_pki_assemble(const struct mm_tbs *tbs, const uint8_t *signature, size_t signature_len,
                    struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* Does the signature over tbs hold under that public point? For checking a token's work. The
 * verifier keeps the decoded key. */
struct mm_verifier;
int mm_verifier_new(const uint8_t *point, size_t point_len, struct mm_verifier **ret_verifier,
                    struct mm_errinfo *ei) MM_MUST_USE;
void mm_verifier_free(struct mm_verifier *v);
int mm_verifier_check(struct mm_verifier *v, const uint8_t *digest, size_t digest_len,
                      const uint8_t *signature, size_t signature_len,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Is the finished certificate what the profile demands for this subject (names, validity,
 * extensions with criticality, key, issuer, serial)? Parses it anew. For the officer's tools and
 * for certificates that come back from elsewhere. */
int mm_profile_check_certificate(const struct mm_profile *p, const struct mm_subject *s,
                                 struct mm_bytes der, struct mm_errinfo *ei) MM_MUST_USE;

/* DER PKCS#8 of an EC private key (RFC 5208, RFC 5915) from its scalar and point, for profiles that
 * deliver "plain". Wiped buffer. */
int mm_pki_pkcs8(const uint8_t *scalar, size_t scalar_len, const uint8_t *point, size_t point_len,
                 struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* PEM: certificates of a file's text, leaf or issuing CA first, at most 1 + MM_CHAIN_MAX; every one
 * must be issued by the next (names, AKI and signature). */
int mm_pki_parse_chain(struct mm_bytes pem, STACK_OF(X509) * *ret_chain,
                       struct mm_errinfo *ei) MM_MUST_USE;
