/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/pem.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "daemon/pki/profile.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)
MM_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
MM_DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
MM_DEFINE_CLEANUP(X509_STORE *, X509_STORE_free)
MM_DEFINE_CLEANUP(X509_STORE_CTX *, X509_STORE_CTX_free)

enum { SHA256_BYTES = 32, RSA_BITS_MIN = 2048, RSA_BITS_MAX = 16384 };

void mm_public_key_done(struct mm_public_key *key)
{
    mm_buf_done(&key->spki);
}

/* The name that a curve goes by here; NULL for one that mintmark does not take. */
static const char *curve_name(EVP_PKEY *pkey)
{
    char group[64];

    if (EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) != 1)
        return NULL;
    if (strcmp(group, "prime256v1") == 0)
        return "EC P-256";
    return strcmp(group, "secp384r1") == 0 ? "EC P-384" : NULL;
}

static int name_type(EVP_PKEY *pkey, const char *path, char *type, size_t size,
                     struct mm_errinfo *ei)
{
    const int bits = EVP_PKEY_get_bits(pkey);

    if (EVP_PKEY_is_a(pkey, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX) {
        snprintf(type, size, "RSA-%d", bits);
        return MM_OK;
    }
    if (EVP_PKEY_is_a(pkey, "EC") && curve_name(pkey)) {
        snprintf(type, size, "%s", curve_name(pkey));
        return MM_OK;
    }
    return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                   "%s: a recipient's key is RSA of %d bits or more, EC P-256 or EC P-384", path,
                   RSA_BITS_MIN);
}

/* "PUBLIC KEY" first; then "CERTIFICATE". */
static EVP_PKEY *parse_public_key(const struct mm_buf *pem)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    MM_CLEANUP(X509_free_p) X509 *cert = NULL;
    EVP_PKEY *pkey;

    if (!bio)
        return NULL;
    pkey = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (!pkey && BIO_reset(bio) == 1) {
        cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        pkey = cert ? X509_get_pubkey(cert) : NULL;
    }
    ERR_clear_error();
    return pkey;
}

int mm_public_key_read(const char *path, struct mm_public_key *key, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *pkey = NULL;
    uint8_t md[SHA256_BYTES];
    unsigned char *der = NULL;
    int der_len;
    int r;

    r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);
    if (r < 0)
        return r;
    pkey = parse_public_key(&pem);
    if (!pkey)
        return mm_fail(ei, MM_ERR_INVALID, "RECIPIENT_KEY",
                       "%s: no PEM public key ('BEGIN PUBLIC KEY') and no certificate in it", path);
    r = name_type(pkey, path, key->type, sizeof(key->type), ei);
    if (r < 0)
        return r;
    der_len = i2d_PUBKEY(pkey, &der);
    if (der_len <= 0)
        return mm_fail_memory(ei);
    mm_buf_append(&key->spki, der, (size_t)der_len);
    OPENSSL_free(der);
    if (mm_buf_err(&key->spki) < 0)
        return mm_fail_memory(ei);
    if (EVP_Digest(key->spki.data, key->spki.len, md, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
    mm_hex_encode(md, sizeof(md), key->sha256);
    return MM_OK;
}

int mm_chain_read(const char *path, STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r;

    r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);
    if (r < 0)
        return r;
    r = mm_pki_parse_chain((struct mm_bytes){pem.data, pem.len}, ret_chain, ei);
    return r < 0 ? mm_err_prefix(ei, "%s", path) : MM_OK;
}

int mm_chain_verify(STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    MM_CLEANUP(X509_STORE_free_p) X509_STORE *store = X509_STORE_new();
    MM_CLEANUP(X509_STORE_CTX_free_p) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *const root = sk_X509_value(chain, sk_X509_num(chain) - 1);

    if (X509_self_signed(root, 1) != 1)
        return mm_fail(ei, MM_ERR_INVALID, "NO_ROOT",
                       "the chain does not end with a self-signed root certificate");
    if (!store || !ctx || X509_STORE_add_cert(store, root) != 1 ||
        X509_STORE_set_flags(store, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE) !=
            1 ||
        X509_STORE_CTX_init(ctx, store, sk_X509_value(chain, 0), chain) != 1)
        return mm_fail_memory(ei);
    /* Not time(), libcrypto's own choice: it lags up to a clock tick behind, and would find a
     * certificate of this very second not yet valid. */
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)(mm_clock_wall_ms() / 1000));
    if (X509_verify_cert(ctx) != 1) {
        const int error = X509_STORE_CTX_get_error(ctx);

        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INVALID, "CHAIN",
                       "the chain does not verify at certificate %d: %s",
                       X509_STORE_CTX_get_error_depth(ctx), X509_verify_cert_error_string(error));
    }
    return MM_OK;
}

int mm_cert_require_ca(X509 *cert, struct mm_errinfo *ei)
{
    if (X509_check_ca(cert) != 1)
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_CA",
                       "the certificate is not a CA's (basicConstraints cA TRUE is missing)");
    if (!(X509_get_key_usage(cert) & KU_KEY_CERT_SIGN))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_CA",
                       "the certificate's key may not sign certificates (keyUsage keyCertSign)");
    return MM_OK;
}

int mm_cert_require_key(X509 *cert, const uint8_t *point, size_t point_len, const char *label,
                        struct mm_errinfo *ei)
{
    EVP_PKEY *const pkey = X509_get0_pubkey(cert);
    uint8_t encoded[MM_POINT_MAX];
    size_t len = 0;

    /* Only keys that are signed by here have such bytes: points, and those of Ed25519 and ML-DSA.
     */
    if (!pkey ||
        EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, encoded, sizeof(encoded),
                                        &len) != 1 ||
        len != point_len || memcmp(encoded, point, len) != 0) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INVALID, "KEY_MISMATCH",
                       "the certificate's public key is not that of key '%s' in the token", label);
    }
    return MM_OK;
}

int mm_cert_append_pem(X509 *cert, struct mm_buf *pem, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (!bio || PEM_write_bio_X509(bio, cert) != 1)
        return mm_fail_memory(ei);
    len = BIO_get_mem_data(bio, &text);
    mm_buf_append(pem, text, (size_t)len);
    return mm_buf_err(pem) < 0 ? mm_fail_memory(ei) : MM_OK;
}

int mm_csr_append_pem(const struct mm_buf *der, struct mm_buf *pem, struct mm_errinfo *ei)
{
    const unsigned char *p = der->data;
    MM_CLEANUP(X509_REQ_free_p) X509_REQ *csr = d2i_X509_REQ(NULL, &p, (long)der->len);
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (!csr || X509_REQ_verify(csr, X509_REQ_get0_pubkey(csr)) != 1) {
        ERR_clear_error();
        return mm_fail(ei, MM_ERR_INTERNAL, "CSR", "the new request does not verify: not written");
    }
    if (!bio || PEM_write_bio_X509_REQ(bio, csr) != 1)
        return mm_fail_memory(ei);
    len = BIO_get_mem_data(bio, &text);
    mm_buf_append(pem, text, (size_t)len);
    return mm_buf_err(pem) < 0 ? mm_fail_memory(ei) : MM_OK;
}

int mm_chain_append_pem(STACK_OF(X509) * chain, struct mm_buf *pem, struct mm_errinfo *ei)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        const int r = mm_cert_append_pem(sk_X509_value(chain, i), pem, ei);

        if (r < 0)
            return r;
    }
    return MM_OK;
}

int mm_cert_fingerprint(X509 *cert, char text[MM_FINGERPRINT_TEXT], struct mm_errinfo *ei)
{
    uint8_t md[SHA256_BYTES];

    if (X509_digest(cert, EVP_sha256(), md, NULL) != 1 ||
        OPENSSL_buf2hexstr_ex(text, MM_FINGERPRINT_TEXT, NULL, md, sizeof(md), ':') != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
    return MM_OK;
}

/* Matter's attributes get the names that people know them by. */
static void name_matter_attributes(void)
{
    if (OBJ_txt2nid("1.3.6.1.4.1.37244.2.1") == NID_undef)
        OBJ_create("1.3.6.1.4.1.37244.2.1", "VID", "Matter vendor id");
    if (OBJ_txt2nid("1.3.6.1.4.1.37244.2.2") == NID_undef)
        OBJ_create("1.3.6.1.4.1.37244.2.2", "PID", "Matter product id");
}

/* RFC 2253, but with UTF-8 as it is. */
static json_t *name_string(const X509_NAME *name)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    const unsigned long flags =
        XN_FLAG_RFC2253 & ~(ASN1_STRFLGS_ESC_MSB | XN_FLAG_DUMP_UNKNOWN_FIELDS);
    char *text = NULL;
    long len;

    name_matter_attributes();
    if (!bio || X509_NAME_print_ex(bio, name, 0, flags) < 0)
        return NULL;
    len = BIO_get_mem_data(bio, &text);
    return mm_out_string(text, (size_t)len);
}

static json_t *time_string(const ASN1_TIME *time)
{
    struct tm tm;
    char text[32];

    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return NULL;
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static json_t *serial_string(const X509 *cert)
{
    const ASN1_INTEGER *const serial = X509_get0_serialNumber(cert);
    char text[2 * 64 + 1];

    if (ASN1_STRING_length(serial) > 64)
        return NULL;
    mm_hex_encode(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), text);
    return json_string(text);
}

json_t *mm_cert_describe(X509 *cert)
{
    char fingerprint[MM_FINGERPRINT_TEXT];

    if (mm_cert_fingerprint(cert, fingerprint, NULL) < 0)
        return NULL;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:s}", "subject",
                     name_string(X509_get_subject_name(cert)), "issuer",
                     name_string(X509_get_issuer_name(cert)), "serial", serial_string(cert),
                     "not_before", time_string(X509_get0_notBefore(cert)), "not_after",
                     time_string(X509_get0_notAfter(cert)), "ca", X509_check_ca(cert) == 1,
                     "sha256", fingerprint);
}

void mm_cert_print(const json_t *description)
{
    static const struct mm_column fields[] = {
        {"subject", "subject"},       {"issuer", "issuer"},       {"serial", "serial"},
        {"not_before", "not before"}, {"not_after", "not after"}, {"ca", "CA"},
        {"sha256", "SHA-256"}};

    mm_out_fields(stdout, description, fields, MM_ARRAY_SIZE(fields));
}
