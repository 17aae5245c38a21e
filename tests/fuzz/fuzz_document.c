/* SPDX-License-Identifier: Apache-2.0 */
/* A signed document from somebody unknown; and, behind the signature that a fuzzer cannot make, its
 * content. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/limits.h"
#include "daemon/document/document.h"
#include "proto/grpc/unpack.h"

static void read_content(const uint8_t *data, size_t size, struct mm_arena *arena)
{
    const Mintmark__V1__SignedDocument *d;
    ProtobufCMessage *message;
    struct mm_errinfo ei;

    if (size > MM_DOCUMENT_MAX || mm_grpc_unpack(&mintmark__v1__signed_document__descriptor, data,
                                                 size, arena, &message, &ei) < 0)
        return;
    d = (const Mintmark__V1__SignedDocument *)message;
    if (d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER &&
        mm_order_terms_check(d->production_order, &ei) == MM_OK) {
        assert(d->production_order->quantity >= 1);
        assert(d->production_order->nonce.len == MM_NONCE_BYTES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    MM_TRUST_CLEANUP struct mm_trust *trust = NULL;
    struct mm_errinfo ei;

    if (mm_document_open((struct mm_bytes){data, size}, &arena, &document, &ei) == MM_OK) {
        assert(size <= MM_DOCUMENT_MAX && document.signer && document.content);
        assert(document.content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT__NOT_SET);
        assert(mm_document_check_signer(&document, NULL, 0, &ei) == MM_ERR_PERMISSION);
    } else {
        assert(!document.signer && !document.content);
    }
    mm_arena_reset(&arena);
    read_content(data, size, &arena);
    if (mm_trust_new((struct mm_bytes){data, size}, &trust, &ei) == MM_OK)
        assert(sk_X509_num(mm_trust_certificates(trust)) >= 1);
    return 0;
}
