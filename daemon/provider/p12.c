/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/provider/p12.h"

#include <openssl/err.h>
#include <openssl/pkcs12.h>

MM_DEFINE_CLEANUP(PKCS12 *, PKCS12_free)

void mm_p12_done(struct mm_p12 *p)
{
    sk_X509_pop_free(p->chain, X509_free);
    X509_free(p->certificate);
    EVP_PKEY_free(p->key);
    for (size_t i = 0; i < MM_ARRAY_SIZE(p->providers); i++) {
        if (p->providers[i])
            OSSL_PROVIDER_unload(p->providers[i]);
    }
    OSSL_LIB_CTX_free(p->ctx);
    *p = (struct mm_p12){.ctx = NULL};
}

static int open_context(struct mm_p12 *p, struct mm_errinfo *ei)
{
    p->ctx = OSSL_LIB_CTX_new();
    if (!p->ctx)
        return mm_fail_memory(ei);
    p->providers[0] = OSSL_PROVIDER_load(p->ctx, "default");
    p->providers[1] = OSSL_PROVIDER_load(p->ctx, "legacy");
    ERR_clear_error(); /* without it only newer files can be read */
    return p->providers[0] ? MM_OK : mm_fail_memory(ei);
}

static int refuse(struct mm_errinfo *ei, const char *reason, const char *what)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_INVALID, reason, "%s", what);
}

int mm_p12_open(struct mm_bytes der, const char *password, const char *reason, struct mm_p12 *p,
                struct mm_errinfo *ei)
{
    MM_CLEANUP(PKCS12_free_p) PKCS12 *p12 = NULL;
    const uint8_t *at = der.data;
    int r = open_context(p, ei);

    if (r < 0)
        return r;
    p12 = PKCS12_init_ex(NID_pkcs7_data, p->ctx, NULL);
    if (!p12 || !d2i_PKCS12(&p12, &at, (long)der.len)) {
        p12 = NULL; /* d2i has freed it */
        return refuse(ei, reason, "is no PKCS#12 file");
    }
    if (!PKCS12_parse(p12, password, &p->key, &p->certificate, &p->chain))
        return refuse(ei, reason, "the password does not open it");
    return p->key && p->certificate ? MM_OK : refuse(ei, reason, "has no key, or no certificate");
}
