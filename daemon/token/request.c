/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/request.h"

#include "daemon/token/random.h"

static int pack(const Mintmark__V1__SignedDocument *content, struct mm_buf *packed,
                struct mm_errinfo *ei)
{
    uint8_t *room = mm_buf_reserve(packed, protobuf_c_message_get_packed_size(&content->base));

    if (!room)
        return mm_fail_memory(ei);
    mm_buf_grew(packed, protobuf_c_message_pack(&content->base, room));
    return MM_OK;
}

int mm_request_make(struct mm_appliance *appliance, const Mintmark__Internal__RequestJob *job,
                    struct mm_request_made *made, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(4096);
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__OrderRequest request = MINTMARK__V1__ORDER_REQUEST__INIT;
    uint8_t identity[MM_DOCUMENT_HASH_BYTES];
    int r;

    if (!appliance)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                       "the appliance's keys are not in this token");
    r = mm_token_random(appliance->token, made->nonce, sizeof(made->nonce), ei);
    if (r == MM_OK && !mm_random_is_sound(made->nonce, sizeof(made->nonce)))
        r = mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_RANDOM_FAULTY",
                    "the token's random bytes repeat themselves; they were kept back");
    if (r == MM_OK)
        r = mm_document_key_hash(appliance->certificates[MM_APPLIANCE_IDENTITY], identity, ei);
    if (r < 0)
        return r;
    request.nonce = (ProtobufCBinaryData){sizeof(made->nonce), made->nonce};
    request.appliance_sha256 = (ProtobufCBinaryData){sizeof(identity), identity};
    request.site = job->site;
    request.requested_by = job->requested_by;
    request.time_ms = job->time_ms;
    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST;
    content.order_request = &request;
    r = pack(&content, &packed, ei);
    if (r == MM_OK)
        r = mm_appliance_sign(appliance, MM_APPLIANCE_IDENTITY,
                              (struct mm_bytes){packed.data, packed.len}, &made->document, ei);
    if (r < 0)
        return r;
    mintmark__internal__request_result__init(&made->message);
    made->message.nonce = request.nonce;
    made->message.document = (ProtobufCBinaryData){made->document.len, made->document.data};
    return MM_OK;
}
