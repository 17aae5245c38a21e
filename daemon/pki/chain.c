/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that come from files. */
#include "daemon/pki/internal.h"
#include "daemon/pki/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

struct pem_block {
    char *name, *header;
    unsigned char *data;
    long len;
};

static void pem_block_done(struct pem_block *b)
{
    OPENSSL_free(b->name);
    OPENSSL_free(b->header);
    OPENSSL_clear_free(b->data, (size_t)b->len);
    *b = (struct pem_block){.len = 0};
}

static int push_certificate(STACK_OF(X509) * chain, const struct pem_block *block,
                            struct mm_errinfo *ei)
{
    const unsigned char *at = block->data;
    X509 *cert;

    if (strcmp(block->name, PEM_STRING_X509) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID",
                       "a PEM block \"%.40s\" where only certificates may stand", block->name);
    if (sk_X509_num(chain) > MM_CHAIN_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID", "more than %d certificates",
                       MM_CHAIN_MAX + 1);
    cert = d2i_X509(NULL, &at, block->len);
    if (!cert || at != block->data + block->len) {
        X509_free(cert);
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID", "certificate %d is not X.509 in DER",
                       sk_X509_num(chain) + 1);
    }
    if (!sk_X509_push(chain, cert)) {
        X509_free(cert);
        return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int end_chain(struct mm_bytes pem, STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    const int r = mm_pem_end(pem, "CHAIN_INVALID", ei);

    if (r < 0)
        return r;
    if (sk_X509_num(chain) == 0)
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID", "no certificate in PEM");
    return MM_OK;
}

static int read_chain(struct mm_bytes pem, STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p)
    BIO *bio = BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len);
    struct pem_block block = {.len = 0};
    int r = bio ? MM_OK : mm_fail_memory(ei);

    ERR_clear_error();
    while (r == MM_OK) {
        if (!PEM_read_bio(bio, &block.name, &block.header, &block.data, &block.len))
            return end_chain(pem, chain, ei);
        r = push_certificate(chain, &block, ei);
        pem_block_done(&block);
    }
    return r;
}

/* 112 bits of security: neither MD5 nor SHA-1 may have signed it, nor RSA of less than 2048 bits.
 */
static int check_strength(X509 *cert, X509 *issuer, int number, struct mm_errinfo *ei)
{
    enum { BITS_MIN = 112 };
    const EVP_PKEY *key = X509_get0_pubkey(issuer);
    int bits = 0;

    if (key && EVP_PKEY_get_security_bits(key) < BITS_MIN)
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_WEAK",
                       "certificate %d has a key of %d bits, which is too short", number + 1,
                       EVP_PKEY_get_bits(key));
    if (!X509_get_signature_info(cert, NULL, NULL, &bits, NULL) || bits < BITS_MIN)
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN_WEAK",
                       "certificate %d is signed by %s, which is too weak", number,
                       OBJ_nid2ln(X509_get_signature_nid(cert)));
    return MM_OK;
}

/* Names, authority key identifier, key usage; then the signature. */
static int check_link(X509 *cert, X509 *issuer, int number, struct mm_errinfo *ei)
{
    if (X509_check_issued(issuer, cert) == X509_V_OK &&
        X509_verify(cert, X509_get0_pubkey(issuer)) == 1)
        return check_strength(cert, issuer, number, ei);
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, "CHAIN_INVALID",
                   "certificate %d is not issued by certificate %d, which follows it", number,
                   number + 1);
}

int mm_pki_parse_chain(struct mm_bytes pem, STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    STACK_OF(X509) *chain = sk_X509_new_null();
    int r;

    if (!chain)
        return mm_fail_memory(ei);
    if (pem.len > MM_PEM_FILE_MAX)
        r = mm_fail(ei, MM_ERR_TOO_BIG, "CHAIN_TOO_BIG", "more than %d bytes of PEM",
                    MM_PEM_FILE_MAX);
    else
        r = read_chain(pem, chain, ei);
    for (int i = 0; r == MM_OK && i + 1 < sk_X509_num(chain); i++)
        r = check_link(sk_X509_value(chain, i), sk_X509_value(chain, i + 1), i + 1, ei);
    if (r < 0) {
        sk_X509_pop_free(chain, X509_free);
        return r;
    }
    *ret_chain = chain;
    return MM_OK;
}

int mm_pki_certificate_point(const X509 *certificate, struct mm_bytes *ret_point,
                             struct mm_errinfo *ei)
{
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(certificate);

    if (!mm_ec_of_key(X509_get0_pubkey(certificate)) || !bits ||
        !mm_ec_by_point_len((size_t)ASN1_STRING_length(bits)))
        return mm_fail(
            ei, MM_ERR_INVALID, "KEY_UNSUPPORTED",
            "the certificate's key is neither an uncompressed point on P-256 or P-384 nor Ed25519");
    *ret_point = (struct mm_bytes){ASN1_STRING_get0_data(bits), (size_t)ASN1_STRING_length(bits)};
    return MM_OK;
}
