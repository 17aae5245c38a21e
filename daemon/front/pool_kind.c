/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of workers: how their jobs and results are read. */
#include "daemon/front/pool.h"
#include "internal/issuer.pb-c.h"
#include "internal/store.pb-c.h"
#include "internal/token.pb-c.h"

static void stamp_token(ProtobufCMessage *job, uint64_t id, int64_t deadline_us)
{
    Mintmark__Internal__TokenJob *j = (Mintmark__Internal__TokenJob *)job;

    j->id = id;
    j->deadline_mono_us = deadline_us;
}

static ProtobufCMessage *probe_token(void)
{
    static Mintmark__Internal__TokenPing ping;
    static Mintmark__Internal__TokenJob job;

    mintmark__internal__token_ping__init(&ping);
    mintmark__internal__token_job__init(&job);
    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_PING;
    job.ping = &ping;
    return &job.base;
}

static uint64_t read_token(const ProtobufCMessage *result,
                           const Mintmark__Internal__Error **ret_error)
{
    const Mintmark__Internal__TokenResult *r = (const Mintmark__Internal__TokenResult *)result;

    *ret_error = r->error;
    return r->id;
}

static void stamp_store(ProtobufCMessage *job, uint64_t id, int64_t deadline_us)
{
    Mintmark__Internal__StoreJob *j = (Mintmark__Internal__StoreJob *)job;

    j->id = id;
    j->deadline_mono_us = deadline_us;
}

static uint64_t read_store(const ProtobufCMessage *result,
                           const Mintmark__Internal__Error **ret_error)
{
    const Mintmark__Internal__StoreResult *r = (const Mintmark__Internal__StoreResult *)result;

    *ret_error = r->error;
    return r->id;
}

static void stamp_issuer(ProtobufCMessage *job, uint64_t id, int64_t deadline_us)
{
    Mintmark__Internal__IssuerJob *j = (Mintmark__Internal__IssuerJob *)job;

    j->id = id;
    j->deadline_mono_us = deadline_us;
}

static uint64_t read_issuer(const ProtobufCMessage *result,
                            const Mintmark__Internal__Error **ret_error)
{
    const Mintmark__Internal__IssuerResult *r = (const Mintmark__Internal__IssuerResult *)result;

    *ret_error = r->error;
    return r->id;
}

static bool token_distrusted(const ProtobufCMessage *result)
{
    return ((const Mintmark__Internal__TokenResult *)result)->distrusted;
}

const struct mm_pool_kind mm_pool_token = {
    .program = MM_PROGRAM_TOKEN,
    .result = &mintmark__internal__token_result__descriptor,
    .away = "TOKEN_UNAVAILABLE",
    .stamp = stamp_token,
    .read = read_token,
    .probe = probe_token,
    .distrusted = token_distrusted,
};

const struct mm_pool_kind mm_pool_store = {
    .program = MM_PROGRAM_STORE,
    .result = &mintmark__internal__store_result__descriptor,
    .away = "STORE_UNAVAILABLE",
    .stamp = stamp_store,
    .read = read_store,
};

const struct mm_pool_kind mm_pool_issuer = {
    .program = MM_PROGRAM_ISSUER,
    .result = &mintmark__internal__issuer_result__descriptor,
    .away = "ISSUER_UNAVAILABLE",
    .stamp = stamp_issuer,
    .read = read_issuer,
};
