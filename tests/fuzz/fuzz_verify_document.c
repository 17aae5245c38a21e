/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify's reader of signed documents; and, behind the signature that a fuzzer cannot
 * make, its reader of their content. */
#include "tests/fuzz/fuzz.h"

#include "tools/verify/audit.h"

#include "mintmark/v1/document.pb-c.h"

static void read_content(struct arena *a, const uint8_t *data, size_t size)
{
    ProtobufCMessage *message;
    const Mintmark__V1__SignedDocument *d;
    char why[TEXT_MAX];

    if (message_read(a, &mintmark__v1__signed_document__descriptor, data, size, &message) ==
        MESSAGE_BAD)
        return;
    d = (const Mintmark__V1__SignedDocument *)message;
    if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER &&
        !order_terms_fault(d->production_order, why)) {
        assert(d->production_order->quantity >= 1 && d->production_order->nonce.len == 16);
        assert(name_valid(d->production_order->order_id));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena a;
    const Mintmark__V1__SignedDocument *d = NULL;
    const uint8_t digest[SHA256_LEN] = {0};
    struct signature s;
    char why[TEXT_MAX];
    int versions[2];

    if (!a.cap)
        arena_begin(&a, ARENA_DOCUMENT);
    a.allocator.allocator_data = &a;
    if (!document_open(&s, &a, data, size, &d, why))
        assert(size <= DOCUMENT_MAX && s.signer && d &&
               d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT__NOT_SET);
    signature_done(&s);
    /* Nothing has this SHA-256. */
    assert(signature_open_digest(&s, data, size, digest, why));
    signature_done(&s);
    if (!der_fault(data, size))
        (void)der_cms_versions(data, size, &versions[0], &versions[1]);
    read_content(&a, data, size);
    return 0;
}
