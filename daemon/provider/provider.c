/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/provider/provider.h"

#include <openssl/err.h>
#include <openssl/store.h>
#include <openssl/ui.h>
#include <stdlib.h>

MM_DEFINE_CLEANUP(OSSL_STORE_CTX *, OSSL_STORE_close)
MM_DEFINE_CLEANUP(UI_METHOD *, UI_destroy_method)

void mm_provider_key_done(struct mm_provider_key *k)
{
    EVP_PKEY_free(k->key);
    if (k->pkcs11)
        OSSL_PROVIDER_unload(k->pkcs11);
    if (k->base)
        OSSL_PROVIDER_unload(k->base);
    OSSL_LIB_CTX_free(k->ctx);
    *k = (struct mm_provider_key){.ctx = NULL};
}

static int load(struct mm_provider_key *k, const char *module, struct mm_errinfo *ei)
{
    if (module && setenv("PKCS11_PROVIDER_MODULE", module, 1) < 0)
        return mm_fail_memory(ei);
    k->ctx = OSSL_LIB_CTX_new();
    if (!k->ctx)
        return mm_fail_memory(ei);
    k->base = OSSL_PROVIDER_load(k->ctx, "default");
    k->pkcs11 = OSSL_PROVIDER_load(k->ctx, "pkcs11");
    if (k->base && k->pkcs11)
        return MM_OK;
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_UNSUPPORTED, "NO_PKCS11_PROVIDER",
                   "OpenSSL has no pkcs11 provider here (Debian's package pkcs11-provider), or it "
                   "cannot load the module");
}

int mm_provider_key_open(struct mm_provider_key *k, const char *module, const char *uri,
                         pem_password_cb *pin, void *pin_arg, struct mm_errinfo *ei)
{
    MM_CLEANUP(UI_destroy_method_p) UI_METHOD *ui = UI_UTIL_wrap_read_pem_callback(pin, 0);
    MM_CLEANUP(OSSL_STORE_close_p) OSSL_STORE_CTX *store = NULL;
    int r = load(k, module, ei);

    if (r < 0)
        return r;
    store = OSSL_STORE_open_ex(uri, k->ctx, "provider=pkcs11", ui, pin_arg, NULL, NULL, NULL);
    while (store && !k->key && !OSSL_STORE_eof(store)) {
        OSSL_STORE_INFO *info = OSSL_STORE_load(store);

        if (info && OSSL_STORE_INFO_get_type(info) == OSSL_STORE_INFO_PKEY)
            k->key = OSSL_STORE_INFO_get1_PKEY(info);
        OSSL_STORE_INFO_free(info);
    }
    ERR_clear_error();
    return k->key ? MM_OK
                  : mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_KEY",
                            "no private key of that URI, or the PIN does not open it");
}
