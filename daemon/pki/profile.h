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

enum mm_profile_key {
    MM_KEY_P256,
    MM_KEY_P384,
    MM_KEY_ED25519,
    MM_KEY_ML_DSA_44, /* FIPS 204; where libcrypto knows it */
    MM_KEY_ML_DSA_65,
    MM_KEY_ML_DSA_87,
};

enum mm_profile_delivery {
    MM_DELIVERY_WRAPPED,
    MM_DELIVERY_RETAINED,
    MM_DELIVERY_PLAIN,
    MM_DELIVERY_ON_DEVICE, /* keys are made in the devices, which send requests (pki/csr.h) */
};

/* Compiles a profile: fills what is "" or empty from the preset, checks the templates, prepares
 * names and extensions, and makes one certificate of a made-up device to see that it works. issuer
 * is the issuing CA's certificate (a reference is taken); NULL for issuer "none", which makes
 * requests, and with any other issuer name for a self-signed root, whose subject is its issuer and
 * whose authority key identifier, if wanted, is its own. The curve of the signing key decides the
 * hash: SHA-256 for P-256, SHA-384 for P-384, none for Ed25519.
 * The grammar of subject is in pki/name.h, of san in pki/san.h, of templates in pki/template.h.
 * MM_ERR_INVALID or MM_ERR_PRECONDITION say which setting is wrong and what would be right. A
 * profile serves one thread. */
int mm_profile_compile(const struct mm_conf_profile *conf, X509 *issuer,
                       struct mm_profile **ret_profile, struct mm_errinfo *ei) MM_MUST_USE;
void mm_profile_free(struct mm_profile *p);
MM_DEFINE_CLEANUP(struct mm_profile *, mm_profile_free)

/* A profile of an issuer of kind ejbca is compiled in two ways: without issuer it makes the
 * requests that EJBCA gets, with it the certificates that come back are checked (pki/issued.h).
 * Then validity may be left open: EJBCA's own profile decides. */

/* Issuer "none": mm_profile_csr_tbs is for it, else mm_profile_certificate_tbs. */
bool mm_profile_makes_requests(const struct mm_profile *p);
enum mm_profile_delivery mm_profile_delivery(const struct mm_profile *p);
/* Of the devices' keys. */
enum mm_profile_key mm_profile_key(const struct mm_profile *p);
/* Bytes of a signature by who signs: the issuer, or, for requests and roots, the key itself. */
size_t mm_profile_signature_len(const struct mm_profile *p);

/* What differs from device to device. */
struct mm_subject {
    uint64_t number;
    const char *hw_serial;  /* "" if none */
    const char *device_uid; /* "" if none */
    const uint8_t *point;   /* uncompressed point of the device's public key */
    size_t point_len;
    uint8_t serial[20]; /* certificates: random, as mm_pki_serial_fix leaves it */
    int64_t now_ms;
};

/* Makes 20 random bytes a serial number: clears the top bit, avoids zero (RFC 5280 section
 * 4.1.2.2). */
void mm_pki_serial_fix(uint8_t serial[20]);

/* The device's end entity in EJBCA, by the profile's template: 1 to MM_ISSUER_NAME_MAX bytes of
 * what EJBCA leaves as it is (letters, digits, . _ - @ +); "" for profiles of other issuers.
 * MM_ERR_INVALID with field "hw_serial" when the station's value has others. */
int mm_profile_username(const struct mm_profile *p, const struct mm_subject *s,
                        char ret_username[MM_ISSUER_NAME_MAX + 1],
                        struct mm_errinfo *ei) MM_MUST_USE;

/* What is to be signed: DER, and the digest that the token signs. */
struct mm_ec; /* private to daemon/pki */
struct mm_tbs {
    struct mm_buf der;
    uint8_t digest[48];
    size_t digest_len; /* 32 for SHA-256 (P-256), 48 for SHA-384 (P-384); 0: der is signed as
                        * it is (Ed25519, ML-DSA) */
    const struct mm_ec *signer; /* whose key signs; NULL: what the digest's length says */
    uint8_t spki_sha256[32];
};
/* What the verifier takes: the digest, or the whole. */
struct mm_bytes mm_tbs_signed(const struct mm_tbs *tbs);
#define MM_TBS_INIT ((struct mm_tbs){.der = MM_BUF_INIT(MM_CERT_DER_MAX)})

/* TBSCertificate (RFC 5280 section 4.1.2), signed later by the issuer's key: the digest is that of
 * the issuer's algorithm. tbs is reused: what it held is dropped. MM_ERR_INVALID with field
 * "hw_serial" when the station's value does not fit the templates; MM_ERR_PRECONDITION when the
 * certificate would leave its issuer's validity (99991231235959Z may). */
int mm_profile_certificate_tbs(const struct mm_profile *p, const struct mm_subject *s,
                               struct mm_tbs *tbs, struct mm_errinfo *ei) MM_MUST_USE;
/* CertificationRequestInfo (RFC 2986 section 4.1), signed later by the device's own key. Carries
 * the profile's extensions as extensionRequest, but for SKI and AKI. */
int mm_profile_csr_tbs(const struct mm_profile *p, const struct mm_subject *s, struct mm_tbs *tbs,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Puts TBS, algorithm and signature (r || s from the token, R || S of Ed25519) together:
 * Certificate or CertificationRequest, DER, appended to *der. Works for both: their outer shape is
 * one. */
int mm_pki_assemble(const struct mm_tbs *tbs, const uint8_t *signature, size_t signature_len,
                    struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* A public key as DER SubjectPublicKeyInfo (RFC 5480), appended, from its uncompressed point on
 * P-256 or P-384. */
int mm_pki_spki(const uint8_t *point, size_t point_len, struct mm_buf *der,
                struct mm_errinfo *ei) MM_MUST_USE;

/* r || s as the DER SEQUENCE of RFC 3279 section 2.2.3, appended. MM_ERR_CORRUPT when r or s is 0.
 */
int mm_pki_signature_der(const uint8_t *signature, size_t len, struct mm_buf *der,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* Does the signature over tbs hold under that public point? For checking a token's work. The
 * verifier keeps the decoded key. Ed25519's and ML-DSA's take the message where
 * others take its digest. MM_ERR_UNSUPPORTED ALGORITHM_UNVERIFIABLE when libcrypto is too old. */
struct mm_verifier;
int mm_verifier_new(const uint8_t *point, size_t point_len, struct mm_verifier **ret_verifier,
                    struct mm_errinfo *ei) MM_MUST_USE;
void mm_verifier_free(struct mm_verifier *v);
MM_DEFINE_CLEANUP(struct mm_verifier *, mm_verifier_free)
int mm_verifier_check(struct mm_verifier *v, const uint8_t *digest, size_t digest_len,
                      const uint8_t *signature, size_t signature_len,
                      struct mm_errinfo *ei) MM_MUST_USE;
/* The same for a signature in DER (ECDSA-Sig-Value, RFC 3279 section 2.2.3), which must be the one
 * encoding of it, and for any digest. */
int mm_verifier_check_der(struct mm_verifier *v, const uint8_t *digest, size_t digest_len,
                          struct mm_bytes signature, struct mm_errinfo *ei) MM_MUST_USE;

/* Is the finished certificate what the profile demands for this subject (names, validity,
 * extensions with criticality, key, issuer, serial)? Parses it anew. For the officer's tools and
 * for certificates that come back from elsewhere. */
int mm_profile_check_certificate(const struct mm_profile *p, const struct mm_subject *s,
                                 struct mm_bytes der, struct mm_errinfo *ei) MM_MUST_USE;

/* DER PKCS#8 of an EC private key (RFC 5208, RFC 5915; RFC 8410 section 7) from its scalar, or
 * seed, and point, for profiles that deliver "plain". Wiped buffer. */
int mm_pki_pkcs8(const uint8_t *scalar, size_t scalar_len, const uint8_t *point, size_t point_len,
                 struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* The uncompressed point of a certificate's key; borrowed from the certificate. MM_ERR_INVALID when
 * the key is not on P-256 or P-384. */
int mm_pki_certificate_point(const X509 *certificate, struct mm_bytes *ret_point,
                             struct mm_errinfo *ei) MM_MUST_USE;

/* PEM: certificates of a file's text, leaf or issuing CA first, at most 1 + MM_CHAIN_MAX; every one
 * must be issued by the next (names, AKI and signature; CHAIN_WEAK with MD5, SHA-1 or RSA below
 * 2048 bits). The last need not be a root. Other PEM blocks are refused; text between blocks is
 * not. */
int mm_pki_parse_chain(struct mm_bytes pem, STACK_OF(X509) * *ret_chain,
                       struct mm_errinfo *ei) MM_MUST_USE;
