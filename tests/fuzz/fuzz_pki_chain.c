/* SPDX-License-Identifier: Apache-2.0 */
/* A PEM file with a certificate chain. */
#include "tests/fuzz/fuzz.h"

#include "daemon/pki/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    STACK_OF(X509) *chain = NULL;
    struct mm_errinfo ei;

    if (mm_pki_parse_chain((struct mm_bytes){data, size}, &chain, &ei) < 0)
        return 0;
    assert(sk_X509_num(chain) >= 1 && sk_X509_num(chain) <= 1 + MM_CHAIN_MAX);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        struct mm_bytes point;

        if (mm_pki_certificate_point(sk_X509_value(chain, i), &point, &ei) == MM_OK)
            assert(point.len == 65 || point.len == 97);
    }
    sk_X509_pop_free(chain, X509_free);
    return 0;
}
