/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest, as mintmark-verify reads it. Its signatures are checked against a certificate that
 * comes before it in the input, so that those in the corpus fit. */
#include "tests/fuzz/fuzz.h"

#include "tools/verify/manifest.h"

#include <openssl/x509.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data;
    X509 *cert = d2i_X509(NULL, &at, (long)size);
    const size_t left = cert ? size - (size_t)(at - data) : size;
    FILE *file = left ? fmemopen((void *)(uintptr_t)(cert ? at : data), left, "r") : NULL;
    struct trust trust = {.path = "input", .certificates = sk_X509_new_null()};
    struct verdict v;
    struct manifest m = {.v = &v, .path = "input", .audit = &trust};

    verdict_begin(&v, "manifest", true);
    if (cert)
        sk_X509_push(trust.certificates, cert);
    if (file) {
        manifest_read_file(&m, file);
        assert(cert || m.devices == 0 || v.findings > 0);
        assert(m.certificates <= m.devices);
        fclose(file);
    }
    manifest_done(&m);
    verdict_drop(&v);
    trust_done(&trust);
    return 0;
}
