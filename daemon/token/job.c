/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/job.h"

#include "daemon/token/ahead.h"
#include "daemon/token/enroll.h"
#include "daemon/token/mint.h"
#include "daemon/token/random.h"
#include "daemon/token/request.h"
#include "daemon/token/signing.h"
#include "daemon/token/trust.h"

#include <poll.h>
#include <string.h>

enum { TOKEN_RETRY_MS = 1000 }; /* about how long a worker takes to start again */

struct state {
    struct mm_login login; /* outlives the minter that uses it */
    struct mm_minter *minter;
    struct mm_chunk *chunk;
    uint64_t forged; /* jobs that were none of the store's */
};

static int reply(struct mm_worker *w, const Mintmark__Internal__TokenResult *result,
                 struct mm_errinfo *ei)
{
    const int r = mm_worker_reply(w, &result->base);

    return r < 0 ? mm_fail(ei, r, "CHANNEL_FRAME", "cannot pack an answer") : MM_OK;
}

static int reply_error(struct mm_worker *w, uint64_t id, const struct mm_errinfo *why,
                       struct mm_errinfo *ei)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__Error error;

    mintmark__internal__token_result__init(&result);
    mm_channel_error_to(why, &error);
    result.id = id;
    result.error = &error;
    return reply(w, &result, ei);
}

static void refuse(struct mm_worker *w, const struct mm_errinfo *why)
{
    struct mm_errinfo ei;

    if (reply_error(w, 0, why, &ei) < 0)
        mm_log_error("refusal_not_packed", NULL, &ei);
}

static int reply_ready(struct mm_worker *w, struct mm_minter *m, struct mm_errinfo *ei)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__TokenReady ready;
    Mintmark__Internal__ProfileShared *shared = calloc(m->n_profiles + 1, sizeof(*shared));
    Mintmark__Internal__ProfileShared **list = calloc(m->n_profiles + 1, sizeof(*list));
    int r;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__token_ready__init(&ready);
    for (size_t i = 0; shared && list && i < m->n_profiles; i++) {
        mintmark__internal__profile_shared__init(&shared[i]);
        shared[i].profile = m->profiles[i].conf->name;
        shared[i].delivery =
            (ProtobufCBinaryData){m->profiles[i].shared.len, m->profiles[i].shared.data};
        list[i] = &shared[i];
    }
    ready.token_label = m->info.label;
    ready.token_serial = m->info.serial;
    ready.module = m->section->module;
    ready.sessions_max = m->info.max_sessions;
    ready.sessions = m->info.sessions;
    ready.hardware = m->section->network || mm_token_mechanisms(m->token)->hardware;
    ready.profiles = list;
    ready.n_profiles = m->n_profiles;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_READY;
    result.ready = &ready;
    r = shared && list ? reply(w, &result, ei) : mm_fail_memory(ei);
    free(list);
    free(shared);
    return r;
}

static void stop(struct mm_worker *w)
{
    struct state *s = w->state;

    mm_chunk_free(s->chunk);
    mm_minter_free(s->minter);
    mm_login_done(&s->login);
    free(s);
    w->state = NULL;
}

static int start(struct mm_worker *w, struct mm_errinfo *ei)
{
    struct state *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return mm_fail_memory(ei);
    w->state = s;
    r = mm_minter_open(w->conf, w->section, &s->login, &s->minter, ei);
    if (r == MM_OK && s->minter->appliance)
        s->minter->appliance->seal = w->seal;
    if (r == MM_OK)
        r = mm_trust_prove(s->minter, ei);
    if (r == MM_OK && mm_chunk_new(&s->chunk) < 0)
        r = mm_fail_memory(ei);
    if (r == MM_OK)
        r = reply_ready(w, s->minter, ei);
    if (r < 0) {
        if (r != MM_ERR_PIN) /* for barred */
            stop(w);
        return r;
    }
    mm_log(MM_LOG_INFO, "token_ready", MM_STR("token", s->minter->info.label),
           MM_STR("serial", s->minter->info.serial), MM_UINT("profiles", s->minter->n_profiles),
           MM_UINT("signing_profiles", s->minter->n_signings));
    return MM_OK;
}

/* The module is done with; only the PIN's file is looked at. */
static bool barred(struct mm_worker *w, int fd)
{
    struct state *s = w->state;
    bool again;

    mm_chunk_free(MM_TAKE(s->chunk));
    mm_minter_free(MM_TAKE(s->minter));
    again = mm_login_await(&s->login, mm_conf_token_get(w->conf, w->section), fd);
    stop(w);
    return again;
}

/* Is the token of no more use to this process? What could be cured here has been by now. */
static bool is_lost(const struct mm_errinfo *why)
{
    const enum mm_token_class class = mm_token_failure_class(why);

    return class != MM_TOKEN_OK && class != MM_TOKEN_FATAL;
}

/* The answer goes to who asked, and says to the front that the token is out of service. */
static int distrust(struct mm_worker *w, uint64_t id, const struct mm_errinfo *why,
                    struct mm_errinfo *ei)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__Error error;
    int r;

    mintmark__internal__token_result__init(&result);
    mm_channel_error_to(why, &error);
    result.id = id;
    result.error = &error;
    result.distrusted = true;
    r = reply(w, &result, ei);
    if (r == MM_OK)
        r = mm_worker_send(w, ei);
    if (r < 0)
        return r;
    *ei = *why;
    return ei->code;
}

/* The token is lost: the front hears so before the process ends. */
static int lose(struct mm_worker *w, uint64_t id, const struct mm_errinfo *why,
                struct mm_errinfo *ei)
{
    struct mm_errinfo lost;
    int r;

    (void)mm_fail(&lost, MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE",
                  "the token does not answer as it should: %.180s", why->text);
    lost.detail = why->detail;
    lost.retry_ms = TOKEN_RETRY_MS;
    r = reply_error(w, id, &lost, ei);
    if (r == MM_OK)
        r = mm_worker_send(w, ei);
    if (r < 0)
        return r;
    *ei = why->code == MM_ERR_PIN ? *why : lost;
    return ei->code;
}

/* Answers a failed job. */
static int fail_job(struct mm_worker *w, uint64_t id, const struct mm_errinfo *why,
                    struct mm_errinfo *ei)
{
    if (mm_trust_is_lost(why))
        return distrust(w, id, why, ei);
    return is_lost(why) ? lose(w, id, why, ei) : reply_error(w, id, why, ei);
}

static int mint(struct mm_worker *w, const Mintmark__Internal__TokenJob *job, struct mm_errinfo *ei)
{
    struct state *s = w->state;
    Mintmark__Internal__TokenResult result;
    struct mm_errinfo why;
    int r = mm_mint(s->minter, job->mint, job->deadline_mono_us, s->chunk, &why);

    mintmark__internal__token_result__init(&result);
    if (r < 0)
        return fail_job(w, job->id, &why, ei);
    result.id = job->id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_MINT;
    result.mint = mm_chunk_message(s->chunk);
    r = reply(w, &result, ei);
    mm_chunk_clear(s->chunk);
    return r;
}

static int enroll(struct mm_worker *w, const Mintmark__Internal__TokenJob *job,
                  struct mm_errinfo *ei)
{
    struct state *s = w->state;
    Mintmark__Internal__TokenResult result;
    struct mm_errinfo why;
    int r = mm_enroll(s->minter, job->enroll, job->deadline_mono_us, s->chunk, &why);

    mintmark__internal__token_result__init(&result);
    if (r < 0)
        return fail_job(w, job->id, &why, ei);
    result.id = job->id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ENROLL;
    result.enroll = mm_chunk_enrolled(s->chunk);
    r = reply(w, &result, ei);
    mm_chunk_clear(s->chunk);
    return r;
}

enum { CERTIFICATES_MAX = 1 + MM_CHAIN_MAX };

/* The certificates' DER, the key's first; freed by free_ders. */
static int encode(const struct mm_signing *by, ProtobufCBinaryData ders[CERTIFICATES_MAX],
                  size_t *ret_n, struct mm_errinfo *ei)
{
    const int n = by->certificates ? sk_X509_num(by->certificates) : 0;

    for (int i = 0; i < n && i < CERTIFICATES_MAX; i++) {
        const int len = i2d_X509(sk_X509_value(by->certificates, i), &ders[i].data);

        if (len < 0)
            return mm_fail_memory(ei);
        ders[i].len = (size_t)len;
        *ret_n = (size_t)i + 1;
    }
    return MM_OK;
}

static void free_ders(ProtobufCBinaryData ders[CERTIFICATES_MAX])
{
    for (size_t i = 0; i < CERTIFICATES_MAX; i++)
        OPENSSL_free(ders[i].data);
}

static int reply_signed(struct mm_worker *w, uint64_t id, struct mm_signed *made,
                        struct mm_errinfo *ei)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__SignResult body;
    ProtobufCBinaryData ders[CERTIFICATES_MAX] = {{0, NULL}};
    size_t n = 0;
    int r = encode(made->by, ders, &n, ei);

    mintmark__internal__token_result__init(&result);
    mintmark__internal__sign_result__init(&body);
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGN;
    result.sign = &body;
    body.signature = (ProtobufCBinaryData){made->signature_len, made->signature};
    body.digest = (ProtobufCBinaryData){made->digest_len, made->digest};
    if (n > 0) {
        body.certificate = ders[0];
        body.chain = ders + 1;
        body.n_chain = n - 1;
    }
    if (r == MM_OK)
        r = reply(w, &result, ei);
    free_ders(ders);
    return r;
}

static int sign(struct mm_worker *w, const Mintmark__Internal__TokenJob *job, struct mm_errinfo *ei)
{
    struct state *s = w->state;
    struct mm_signed made;
    struct mm_errinfo why;

    if (mm_sign(s->minter, job->sign, job->deadline_mono_us, &made, &why) < 0)
        return fail_job(w, job->id, &why, ei);
    return reply_signed(w, job->id, &made, ei);
}

static int draw(struct mm_worker *w, const Mintmark__Internal__TokenJob *job, struct mm_errinfo *ei)
{
    struct state *s = w->state;
    MM_BUF_CLEANUP struct mm_buf data = MM_BUF_INIT(MM_WITNESS_LEN + MM_RANDOM_MAX);
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__RandomResult body;
    struct mm_errinfo why;

    if (mm_random(s->minter, job->random->length, job->deadline_mono_us, &data, &why) < 0)
        return fail_job(w, job->id, &why, ei);
    mintmark__internal__token_result__init(&result);
    mintmark__internal__random_result__init(&body);
    result.id = job->id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_RANDOM;
    result.random = &body;
    body.data = (ProtobufCBinaryData){data.len, data.data};
    return reply(w, &result, ei);
}

static int make_request(struct mm_worker *w, const Mintmark__Internal__TokenJob *job,
                        struct mm_errinfo *ei)
{
    const struct state *s = w->state;
    struct mm_request_made made = MM_REQUEST_MADE_INIT;
    Mintmark__Internal__TokenResult result;
    struct mm_errinfo why = {0};
    int r = mm_request_make(s->minter->appliance, job->request, &made, &why);

    mintmark__internal__token_result__init(&result);
    if (r < 0) {
        r = fail_job(w, job->id, &why, ei);
    } else {
        result.id = job->id;
        result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_REQUEST;
        result.request = &made.message;
        r = reply(w, &result, ei);
    }
    mm_buf_done(&made.document);
    return r;
}

static int ping(struct mm_worker *w, const Mintmark__Internal__TokenJob *job, struct mm_errinfo *ei)
{
    struct state *s = w->state;
    Mintmark__Internal__TokenResult result;
    struct mm_errinfo why;

    mintmark__internal__token_result__init(&result);
    /* Whatever it is: a worker that starts anew says so, or is well. */
    if (mm_minter_probe(s->minter, &why) < 0)
        return lose(w, job->id, &why, ei);
    result.id = job->id;
    return reply(w, &result, ei);
}

/* What the front brought has no proof of the store's, or comes a second time: no front that is
 * itself does so. The front's own counts would say nothing then, so it is counted here. */
static void log_refusal(struct mm_worker *w, const struct mm_errinfo *why)
{
    struct state *s = w->state;

    if (strcmp(why->reason, "NOT_OF_THE_STORE") != 0 && strcmp(why->reason, "ANCHOR_OLDER") != 0)
        return;
    mm_log(MM_LOG_ERROR, "forged_job_refused", MM_STR("reason", why->reason),
           MM_STR("text", why->text), MM_UINT("refused", ++s->forged));
}

/* A key that an officer has just made: SoftHSM may have come upon its file while it was written,
 * and does not look again until it is started anew. */
static int look_again(struct state *s, const Mintmark__Internal__TokenJob *job,
                      struct mm_appliance_room *room, Mintmark__Internal__TokenResult *result,
                      struct mm_errinfo *why)
{
    const int r = mm_minter_renew(s->minter, why);

    return r < 0 ? r : mm_appliance_job(s->minter->appliance, job, room, result, why);
}

/* For the ledger, and in the appliance's name. */
static int appliance_job(struct mm_worker *w, const Mintmark__Internal__TokenJob *job,
                         struct mm_errinfo *ei)
{
    struct state *s = w->state;
    struct mm_appliance_room room = MM_APPLIANCE_ROOM_INIT;
    Mintmark__Internal__TokenResult result;
    struct mm_errinfo why = {0};
    int r;

    mintmark__internal__token_result__init(&result);
    r = mm_appliance_job(s->minter->appliance, job, &room, &result, &why);
    if (r == MM_ERR_NOT_FOUND && job->job_case == MINTMARK__INTERNAL__TOKEN_JOB__JOB_AUDIT_KEY_READ)
        r = look_again(s, job, &room, &result, &why);
    if (r < 0) {
        log_refusal(w, &why);
        r = fail_job(w, job->id, &why, ei);
    } else {
        result.id = job->id;
        r = reply(w, &result, ei);
    }
    mm_appliance_room_done(&room);
    return r;
}

static int sign_digests(struct mm_worker *w, const Mintmark__Internal__TokenJob *job,
                        struct mm_errinfo *ei)
{
    const struct state *s = w->state;
    uint8_t signatures[MM_CHUNK_DEVICES][MM_APPLIANCE_SIGNATURE];
    ProtobufCBinaryData list[MM_CHUNK_DEVICES];
    Mintmark__Internal__TokenResult result = MINTMARK__INTERNAL__TOKEN_RESULT__INIT;
    Mintmark__Internal__SignedDigests body = MINTMARK__INTERNAL__SIGNED_DIGESTS__INIT;
    struct mm_errinfo why = {0};

    if (mm_appliance_sign_digests(s->minter->appliance, job->sign_digests, signatures, &why) < 0) {
        log_refusal(w, &why);
        return fail_job(w, job->id, &why, ei);
    }
    for (size_t i = 0; i < job->sign_digests->n_digests; i++)
        list[i] = (ProtobufCBinaryData){MM_APPLIANCE_SIGNATURE, signatures[i]};
    result.id = job->id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_DIGESTS;
    result.signed_digests = &body;
    body.signatures = list;
    body.n_signatures = job->sign_digests->n_digests;
    return reply(w, &result, ei);
}

static bool job_waits(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) != 0;
}

/* Keys ahead, one after the other, until a job comes in. That one fails is but said, since a job
 * will tell whether the token is lost; a false one ends the process, which must prove the token
 * when it is started again. */
static int make_ahead(struct mm_worker *w, int fd, bool *ret_readable, struct mm_errinfo *ei)
{
    struct state *s = w->state;

    while (mm_ahead_wants(s->minter) && !job_waits(fd)) {
        const int r = mm_ahead_make(s->minter, ei);

        if (r < 0 && mm_trust_is_lost(ei))
            return r;
        if (r < 0)
            mm_log_error("key_ahead_failed", NULL, ei);
    }
    *ret_readable = true;
    return MM_OK;
}

static int handle(struct mm_worker *w, struct mm_bytes payload, struct mm_errinfo *ei)
{
    Mintmark__Internal__TokenJob *job =
        mintmark__internal__token_job__unpack(NULL, payload.len, payload.data);
    int r;

    if (!job)
        return mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "the front sent no TokenJob");
    mm_ahead_resume(((struct state *)w->state)->minter);
    switch (job->job_case) {
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_MINT:
        r = mint(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ENROLL:
        r = enroll(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_REQUEST:
        r = make_request(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_PING:
        r = ping(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN:
        r = sign(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_RANDOM:
        r = draw(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_READ:
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_WRITE:
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DOCUMENT:
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_AUDIT_KEY_READ:
        r = appliance_job(w, job, ei);
        break;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DIGESTS:
        r = sign_digests(w, job, ei);
        break;
    default:
        r = mm_fail(ei, MM_ERR_CORRUPT, "CHANNEL_FRAME", "job %llu asks for nothing",
                    (unsigned long long)job->id);
    }
    mintmark__internal__token_job__free_unpacked(job, NULL);
    return r;
}

const struct mm_worker_ops mm_token_worker_ops = {
    .duty = MM_DUTY_TOKEN,
    .start = start,
    .refuse = refuse,
    .handle = handle,
    .wait = make_ahead,
    .barred = barred,
    .stop = stop,
};
