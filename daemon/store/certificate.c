/* SPDX-License-Identifier: Apache-2.0 */
/* What the store must know of a certificate that it is given: whose key, which number, from whom.
 */
#include "daemon/store/enrolments.h"

#include <openssl/x509.h>

static void free_x509(X509 **x)
{
    X509_free(*x);
}

static int fail_malformed(const char *what, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_INVALID, "CERTIFICATE_MALFORMED", "the certificate %s", what);
}

static int take_serial(const X509 *x, struct mm_certificate_id *id, struct mm_errinfo *ei)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
    BIGNUM *n = ASN1_INTEGER_to_BN(serial, NULL);
    int len = -1;

    if (!n)
        return mm_fail_memory(ei);
    if (!BN_is_negative(n) && !BN_is_zero(n) && BN_num_bytes(n) <= 20)
        len = BN_bn2bin(n, id->serial);
    BN_free(n);
    if (len < 0)
        return fail_malformed("has a serial number that is none", ei);
    id->serial_len = (size_t)len;
    return MM_OK;
}

static int hash_key(struct mm_store *s, const X509 *x, struct mm_certificate_id *id,
                    struct mm_errinfo *ei)
{
    uint8_t *spki = NULL;
    const int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &spki);
    int r;

    if (len <= 0)
        return mm_fail_memory(ei);
    mm_ledger_digest_begin(s);
    mm_ledger_digest_add(s, spki, (size_t)len);
    r = mm_ledger_digest_end(s, id->spki_sha256, ei);
    OPENSSL_free(spki);
    return r;
}

int mm_certificate_read(struct mm_store *s, struct mm_bytes der, struct mm_certificate_id *ret_id,
                        struct mm_errinfo *ei)
{
    const uint8_t *at = der.data;
    MM_CLEANUP(free_x509) X509 *x = d2i_X509(NULL, &at, (long)der.len);
    struct mm_certificate_id id = {0};
    int len, r;

    if (!x)
        return fail_malformed("is none", ei);
    if (at != der.data + der.len)
        return fail_malformed("is followed by other bytes", ei);
    r = take_serial(x, &id, ei);
    if (r == MM_OK)
        r = hash_key(s, x, &id, ei);
    if (r < 0)
        return r;
    len = i2d_X509_NAME(X509_get_issuer_name(x), &id.issuer);
    if (len <= 0)
        return mm_fail_memory(ei);
    id.issuer_len = (size_t)len;
    *ret_id = id;
    return MM_OK;
}

void mm_certificate_id_done(struct mm_certificate_id *id)
{
    OPENSSL_free(id->issuer);
    id->issuer = NULL;
}
