/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outer layer of a package: CMS EnvelopedData (RFC 5652 section 6) or AuthEnvelopedData (RFC
 * 5083), in DER, encrypted to a certificate whose key is in a token. libcrypto's CMS wants the
 * private key itself, so that this is taken apart here, and libcrypto does the cryptography.
 *
 * Content: AES-256 in GCM (AuthEnvelopedData) or CBC (EnvelopedData). Recipients: key agreement by
 * ECDH on P-256 with the KDF of X9.63 and SHA-256, -384 or -512, and AES-256 key wrap (RFC 5753);
 * or key transport by RSA-OAEP with SHA-256 or SHA-1 (RFC 3560, RFC 4055).
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/secret.h"

#include <openssl/x509.h>

enum { MM_ENVELOPE_KEY_BYTES = 32, MM_ENVELOPE_IV_MAX = 16, MM_ENVELOPE_TAG_BYTES = 16 };

/* Read, not opened. All borrowed from the DER. */
struct mm_envelope {
    bool authenticated; /* GCM */
    size_t recipients;  /* how many there are */
    int version;        /* that EnvelopedData has with them: 0 or 2 */

    /* The one that the certificate names. */
    bool rsa;
    bool oaep_sha256;              /* RSA: the hash, for both uses */
    struct mm_bytes encrypted_key; /* RSA: whole; ECDH: wrapped */
    struct mm_bytes originator;    /* ECDH: uncompressed point of the ephemeral key */
    const EVP_MD *kdf;             /* ECDH: its hash */
    struct mm_bytes wrap;          /* ECDH: AlgorithmIdentifier of the key wrap */
    struct mm_bytes ukm;           /* ECDH: may be empty */

    uint8_t iv[MM_ENVELOPE_IV_MAX];
    size_t iv_len;
    struct mm_bytes ciphertext;
    struct mm_bytes attributes; /* authenticated ones, as [1]; may be empty */
    uint8_t tag[MM_ENVELOPE_TAG_BYTES];
};

/*
 * Takes the DER apart and finds the recipient. MM_ERR_INVALID with PACKAGE_NOT_DER (also BER, cut
 * off, and more behind its end), PACKAGE_NOT_CMS (no EnvelopedData or AuthEnvelopedData, or
 * broken), PACKAGE_ALGORITHM; MM_ERR_PERMISSION PACKAGE_RECIPIENT when it is not encrypted to the
 * certificate; MM_ERR_TOO_BIG PACKAGE_TOO_BIG over MM_PACKAGE_MAX.
 */
int mm_envelope_read(struct mm_bytes der, const X509 *certificate, struct mm_envelope *ret_envelope,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* What only the key's holder can do. */
struct mm_envelope_key {
    int (*agree)(void *arg, struct mm_bytes point, struct mm_secret **ret_shared,
                 struct mm_errinfo *ei);
    int (*open_oaep)(void *arg, bool sha256, struct mm_bytes sealed, struct mm_secret **ret_opened,
                     struct mm_errinfo *ei);
    void *arg;
};

/* Decrypts, appending to content, which is wiped when it is freed. MM_ERR_INVALID PACKAGE_DECRYPT
 * when key or content were changed on the way: nothing is appended then. In CBC a change may pass:
 * the signature inside is what counts. */
int mm_envelope_open(const struct mm_envelope *envelope, const struct mm_envelope_key *key,
                     struct mm_buf *content, struct mm_errinfo *ei) MM_MUST_USE;

/* Encrypts to a certificate, by libcrypto's CMS, with AES-256-GCM; EC P-256 or RSA. Appends DER. */
int mm_envelope_make(struct mm_bytes content, X509 *recipient, struct mm_buf *der,
                     struct mm_errinfo *ei) MM_MUST_USE;
