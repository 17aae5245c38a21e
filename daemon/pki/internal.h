/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of daemon/pki share: the compiled profile. */
#pragma once

#include "daemon/pki/name.h"
#include "daemon/pki/preset.h"
#include "daemon/pki/profile.h"
#include "daemon/pki/san.h"
#include "daemon/pki/validity.h"

#include <openssl/ec.h>
#include <openssl/evp.h>

/* A curve, with the hash that its keys sign with (RFC 5758 section 3.2). Ed25519 and ML-DSA sign
 * messages as they are (RFC 8410 section 6, RFC 9881 section 3): their digest is NULL, and as long
 * as 0 bytes. */
struct mm_ec {
    enum mm_profile_key key;
    const char *conf_name, *group;
    int curve_nid, signature_nid; /* ML-DSA: NID_undef, since libcrypto 3.0 has none */
    const char *digest;
    size_t digest_len, point_len, signature_len;
    const char *oid; /* ML-DSA: of key and signature, RFC 9881 section 2; else NULL */
};
/* Can libcrypto verify what such keys sign? OpenSSL 3.0 has no ML-DSA, 3.5 has.
 * MM_ERR_UNSUPPORTED ALGORITHM_UNVERIFIABLE when it cannot. */
int mm_ec_require(const struct mm_ec *ec, struct mm_errinfo *ei) MM_MUST_USE;
/* Appends the AlgorithmIdentifier of its signatures, in DER: none of them has parameters. */
int mm_ec_append_algorithm(const struct mm_ec *ec, struct mm_buf *der,
                           struct mm_errinfo *ei) MM_MUST_USE;
/* Is that it? */
bool mm_ec_is_algorithm(const struct mm_ec *ec, struct mm_bytes der);
static inline bool mm_ec_is_pure(const struct mm_ec *ec)
{
    return !ec->digest;
}
const struct mm_ec *mm_ec_by_conf_name(const char *name);
const struct mm_ec *mm_ec_by_digest_len(size_t len);
const struct mm_ec *mm_ec_by_point_len(size_t len);
/* Of a certificate's key; NULL when it is on no curve of ours. */
const struct mm_ec *mm_ec_of_key(EVP_PKEY *key);
enum { MM_SPKI_PREFIX_MAX = 32, MM_ALGORITHM_DER_MAX = 32 };
/* SubjectPublicKeyInfo up to the point; the point's bytes make it whole. */
int mm_ec_spki_prefix(const struct mm_ec *ec, uint8_t prefix[MM_SPKI_PREFIX_MAX],
                      size_t *ret_len) MM_MUST_USE;

struct mm_verifier {
    EVP_PKEY *key;
    EVP_PKEY_CTX *ctx; /* initialised for verifying digests */
    const struct mm_ec *ec;
    EC_POINT *point;          /* on P-256 only, for ecdsa.c */
    EC_GROUP *table;          /* with the key as base point; NULL until it has signed often */
    struct mm_checks *checks; /* scratch for one signature; NULL without a table */
    unsigned n_checked;
};
/* Of ecdsa.c. One more signature was checked: makes the table when it is worth it. */
void mm_verifier_count(struct mm_verifier *v);
/* Does this signature in DER hold? By the table, in a third of libcrypto's time; false too when
 * memory is out. Only when there is v->checks. */
bool mm_verifier_holds(struct mm_verifier *v, struct mm_bytes digest, struct mm_bytes signature);
/* Fills v->point. */
int mm_verifier_decode_point(struct mm_verifier *v, const uint8_t *point, size_t len) MM_MUST_USE;

/* Validity of certificates made in that second, as DER. */
struct mm_period {
    int64_t at_s;
    size_t len; /* 0: none yet */
    uint8_t der[48];
};

enum mm_profile_kind { MM_KIND_CSR, MM_KIND_SELF_SIGNED, MM_KIND_ISSUED };

enum { MM_SKI_LEN = 20, MM_EXTENSIONS_DER_MAX = 4096 };

struct mm_profile {
    enum mm_profile_kind kind;
    enum mm_profile_delivery delivery;
    enum mm_matter_role matter;
    /* signer: of an issuer of kind ejbca with an RSA key it is that of the device; nothing is
     * signed by it. */
    const struct mm_ec *key, *signer;
    struct mm_name subject;
    struct mm_san san;
    struct mm_validity validity;
    bool validity_is_open;       /* whatever the issuer gives will do: kind ejbca */
    bool has_username;           /* kind ejbca: */
    struct mm_template username; /* of the end entity */
    X509 *issuer;                /* MM_KIND_ISSUED */
    int64_t issuer_not_before_s, issuer_not_after_s;
    bool subject_key_identifier;
    bool authority_key_identifier;

    /* Prepared once. DER of whole extensions, one after the other: those that are the same for
     * every device, and the authority key identifier, which stands last. */
    struct mm_buf fixed_extensions, aki_extension;
    struct mm_buf ski_extension; /* its last MM_SKI_LEN bytes are the device's to fill */
    struct mm_buf algorithm;     /* AlgorithmIdentifier of the signature */
    struct mm_buf issuer_name;
    uint8_t spki_prefix[MM_SPKI_PREFIX_MAX]; /* SubjectPublicKeyInfo up to the point */
    size_t spki_prefix_len;

    /* Fetched once: an implicit fetch costs as much as the hash of a certificate. */
    EVP_MD *digest, *sha1, *sha256;

    /* Scratch; a profile serves one thread. */
    EVP_MD_CTX *md_ctx;
    struct mm_period *period;
};

/* The settings of a profile with the preset's defaults in place of those left open. */
struct mm_settings {
    const struct mm_preset *preset;
    const char *subject, *not_before, *validity, *basic_constraints;
    const char *const *key_usage;
    size_t n_key_usage;
    char *const *extended_key_usage;
    size_t n_extended_key_usage;
};

/* Fills username and has_username. */
int mm_profile_username_parse(struct mm_profile *p, const char *text,
                              const struct mm_template_fixed *fixed,
                              struct mm_errinfo *ei) MM_MUST_USE;

/* Fills fixed_extensions and aki_extension. */
int mm_extensions_prepare(struct mm_profile *p, const struct mm_settings *settings,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* Appends the DER Extensions of this device, in their order; for_request leaves SKI and AKI out.
 * Appends nothing when there is none. */
int mm_extensions_der(const struct mm_profile *p, const struct mm_subject *s, bool for_request,
                      struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;

/* The parts of a request, borrowed from it. */
struct mm_csr_parts {
    struct mm_bytes info;          /* what is signed */
    struct mm_bytes subject, spki; /* DER, whole */
    struct mm_bytes attributes;    /* Attribute after Attribute */
    struct mm_bytes algorithm;     /* AlgorithmIdentifier */
    struct mm_bytes signature;     /* DER in the BIT STRING */
};
/* Of csr.c. CSR_MALFORMED as mm_profile_check_csr has it. */
int mm_csr_read(struct mm_bytes der, struct mm_csr_parts *ret, struct mm_errinfo *ei) MM_MUST_USE;

/* Of compare.c: what others made, held against what the profile makes. An extension is taken apart
 * and borrowed: contents of extnID and extnValue. */
struct mm_extension {
    struct mm_bytes oid, value;
    bool critical;
};
enum { MM_EXTENSIONS_MAX = 32, MM_EXTENSION_NAME_MAX = 48 };

/* The same attributes in whatever order, as whatever kind of string. Both in DER, whole; none with
 * two attributes in one RDN. */
bool mm_names_agree(struct mm_bytes a, struct mm_bytes b);
/* Extension after Extension; false when it cannot be read, or one of them is there twice. */
bool mm_extensions_read(struct mm_bytes in, struct mm_extension list[MM_EXTENSIONS_MAX],
                        size_t *ret_n);
/* Criticality and content; alternative names and extended key usages in whatever order. */
bool mm_extensions_agree(const struct mm_extension *want, const struct mm_extension *have);
/* One that a CA may add: not critical, and says where the CA publishes. */
bool mm_extension_is_tolerated(const struct mm_extension *e);
/* As libcrypto names it, else its OID in dots. */
void mm_extension_name(const struct mm_extension *e, char ret_name[MM_EXTENSION_NAME_MAX]);
/* What the profile gives this device. The list borrows from *der, which is filled. */
int mm_extensions_wanted(const struct mm_profile *p, const struct mm_subject *s, struct mm_buf *der,
                         struct mm_extension ret_list[MM_EXTENSIONS_MAX], size_t *ret_n,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* SHA-1 over the point: RFC 5280 section 4.2.1.2, method 1. */
int mm_profile_key_identifier(const struct mm_profile *p, const uint8_t *point, size_t point_len,
                              uint8_t ret_id[MM_SKI_LEN]) MM_MUST_USE;

/* Makes a certificate or request for a made-up device, so that a profile that cannot work is
 * refused when it is compiled. The number is the longest there is. */
int mm_profile_try(const struct mm_profile *p, struct mm_errinfo *ei) MM_MUST_USE;

/* SubjectPublicKeyInfo of this device. */
int mm_profile_spki(const struct mm_profile *p, const struct mm_subject *s, struct mm_buf *der,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* notBefore and notAfter of this device's certificate, inside the issuer's. */
int mm_profile_validity(const struct mm_profile *p, const struct mm_subject *s,
                        int64_t *ret_not_before_s, int64_t *ret_not_after_s,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* The rules of Matter's attestation certificates (Matter Core Specification section 6.2.2; vendor
 * and product id either as attributes or in the common name). issuer: the issuing certificate, NULL
 * for a PAA and where it is not known. */
int mm_matter_check(X509 *certificate, X509 *issuer, enum mm_matter_role role,
                    struct mm_errinfo *ei) MM_MUST_USE;
enum { MM_MATTER_DER_MAX = 600 };

MM_DEFINE_CLEANUP(X509 *, X509_free)
