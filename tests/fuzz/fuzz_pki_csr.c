/* SPDX-License-Identifier: Apache-2.0 */
/* A device's request, held against a profile on each curve. What is taken, OpenSSL's own reader and
 * verifier take too. */
#include "tests/fuzz/fuzz.h"

#include "daemon/pki/csr.h"

#include <openssl/x509.h>
#include <string.h>

static char *literal(const char *text)
{
    return (char *)(uintptr_t)text;
}

static struct mm_profile *compile(const char *key)
{
    struct mm_conf_profile c = {
        .name = literal("Fuzz"),
        .preset = literal(""),
        .issuer = literal("none"),
        .token = literal(""),
        .key = literal(key),
        .delivery = literal("on-device"),
        .transport = literal(""),
        .subject = literal("CN=x"),
        .san = literal(""),
        .vid = literal(""),
        .pid = literal(""),
        .not_before = literal("now"),
        .validity = literal(""),
        .basic_constraints = literal(""),
    };
    struct mm_profile *p = NULL;

    assert(mm_profile_compile(&c, NULL, &p, NULL) == MM_OK);
    return p;
}

static void check(const struct mm_profile *p, const uint8_t *data, size_t size)
{
    struct mm_bytes point;
    struct mm_errinfo ei = {0};
    const uint8_t *at = data;
    X509_REQ *req;
    int r = mm_profile_check_csr(p, (struct mm_bytes){data, size}, &point, &ei);

    if (r < 0) {
        assert(r == MM_ERR_MEMORY || (r == MM_ERR_INVALID && strncmp(ei.reason, "CSR_", 4) == 0));
        return;
    }
    assert(point.data > data && point.data + point.len < data + size);
    req = d2i_X509_REQ(NULL, &at, (long)size);
    /* It may yet find fault with a name or an attribute, which are not looked at here. */
    if (req) {
        assert(at == data + size);
        assert(X509_REQ_get_version(req) == 0);
        assert(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) == 1);
    }
    X509_REQ_free(req);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mm_profile *p256, *p384;

    if (!p256)
        p256 = compile("p256");
    if (!p384)
        p384 = compile("p384");
    check(p256, data, size);
    check(p384, data, size);
    return 0;
}
