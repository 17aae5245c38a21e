/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs for workers as they are written down: which it is, and its body, which is borrowed. And how
 * to keep an answer, which is lent only until the function that is told of it returns. */
#pragma once

#include "internal/issuer.pb-c.h"
#include "internal/store.pb-c.h"
#include "internal/token.pb-c.h"

/* JOB and field_ are the job's name in the oneof of proto/internal, in capitals and in small. */
#define MM_STORE_JOB(JOB, field_, body_)                                                           \
    ((Mintmark__Internal__StoreJob){                                                               \
        .base = PROTOBUF_C_MESSAGE_INIT(&mintmark__internal__store_job__descriptor),               \
        .job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_##JOB,                                      \
        .field_ = (body_)})
#define MM_TOKEN_JOB(JOB, field_, body_)                                                           \
    ((Mintmark__Internal__TokenJob){                                                               \
        .base = PROTOBUF_C_MESSAGE_INIT(&mintmark__internal__token_job__descriptor),               \
        .job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_##JOB,                                      \
        .field_ = (body_)})
#define MM_ISSUER_JOB(JOB, field_, body_)                                                          \
    ((Mintmark__Internal__IssuerJob){                                                              \
        .base = PROTOBUF_C_MESSAGE_INIT(&mintmark__internal__issuer_job__descriptor),              \
        .job_case = MINTMARK__INTERNAL__ISSUER_JOB__JOB_##JOB,                                     \
        .field_ = (body_)})

/* A copy on the heap, for protobuf-c's free_unpacked; NULL without memory. */
void *mm_message_dup(const ProtobufCMessage *message);
