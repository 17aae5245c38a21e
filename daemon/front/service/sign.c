/* SPDX-License-Identifier: Apache-2.0 */
/* Sign: validate, permit, queue, sign and verify (token), log, enter in the ledger (store), reply.
 */
#include "daemon/base/text.h"
#include "daemon/conf/mechanism.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"
#include "daemon/front/service/token_call.h"
#include "daemon/front/validate.h"
#include "mintmark/v1/station.pb-c.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIGEST_MAX = 64,
    BYTES_PER_UNIT = 64 * 1024, /* hashed in about the time of a signature */
};

struct signing {
    struct mm_token_call c;
    Mintmark__Internal__SignJob body; /* its strings are in the block that text points to */
    char *text;
    uint8_t *input; /* the digest or the message */
    size_t input_len;
    size_t waiting; /* counted in app->signing_bytes */
};

/* A request that has been looked at. Borrowed from it and from the configuration. */
struct wish {
    const struct mm_conf_signing *profile;
    const struct mm_mechanism *mechanism;
    bool digest;
    struct mm_bytes input;
};

/* ---- validate and permit ----------------------------------------------------------------- */

static const struct mm_mechanism *mechanism_of(Mintmark__V1__SignMechanism m)
{
    static const char *const names[] = {
        [MINTMARK__V1__SIGN_MECHANISM__SIGN_MECHANISM_ECDSA] = "ECDSA",
        [MINTMARK__V1__SIGN_MECHANISM__SIGN_MECHANISM_ECDSA_SHA256] = "ECDSA-SHA256",
        [MINTMARK__V1__SIGN_MECHANISM__SIGN_MECHANISM_ECDSA_SHA384] = "ECDSA-SHA384",
        [MINTMARK__V1__SIGN_MECHANISM__SIGN_MECHANISM_ECDSA_SHA512] = "ECDSA-SHA512",
        [MINTMARK__V1__SIGN_MECHANISM__SIGN_MECHANISM_ED25519] = "Ed25519",
    };
    const size_t i = (size_t)m; /* an open enum: any number may come */

    return i < MM_ARRAY_SIZE(names) && names[i] ? mm_mechanism_get(names[i]) : NULL;
}

static int validate(const Mintmark__V1__SignRequest *r, struct wish *w, struct mm_errinfo *ei)
{
    int rc = mm_check_name("signing_profile", r->signing_profile, ei);

    if (rc < 0)
        return rc;
    w->mechanism = mechanism_of(r->mechanism);
    if (!w->mechanism)
        return mm_fail_field(ei, "mechanism", "mechanism %d is none that is known",
                             (int)r->mechanism);
    w->digest = r->input_case == MINTMARK__V1__SIGN_REQUEST__INPUT_DIGEST;
    if (w->digest)
        w->input = (struct mm_bytes){r->digest.data, r->digest.len};
    else if (r->input_case == MINTMARK__V1__SIGN_REQUEST__INPUT_MESSAGE)
        w->input = (struct mm_bytes){r->message.data, r->message.len};
    else
        return mm_fail_field(ei, "digest", "give a digest or a message to sign");
    return MM_OK;
}

static int permit(const struct mm_app *app, const char *client, const char *profile, struct wish *w,
                  struct mm_errinfo *ei)
{
    w->profile = mm_conf_signing_get(app->conf, profile);
    if (!w->profile)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_SIGNING_PROFILE",
                       "there is no signing profile %s", profile);
    if (!mm_conf_signing_client(w->profile, client))
        return mm_fail(ei, MM_ERR_PERMISSION, "SIGNING_NOT_ALLOWED",
                       "client %s may not sign with signing profile %s", client, profile);
    if (!mm_conf_signing_mechanism(w->profile, w->mechanism->name))
        return mm_fail(ei, MM_ERR_PERMISSION, "MECHANISM_NOT_ALLOWED",
                       "signing profile %s does not allow %s", profile, w->mechanism->name);
    return MM_OK;
}

/* What the signing profile's curve decides comes after who may use it. */
static int check_input(const struct mm_app *app, const struct wish *w, struct mm_errinfo *ei)
{
    const size_t len = mm_mechanism_digest_len(w->mechanism, w->profile->curve);

    if (w->digest && w->mechanism->pure)
        return mm_fail_field(ei, "digest", "%s signs messages only", w->mechanism->name);
    if (w->digest && w->input.len != len)
        return mm_fail_field(ei, "digest", "a digest for %s has %zu bytes, not %zu",
                             w->mechanism->name, len, w->input.len);
    if (w->digest)
        return MM_OK;
    if (!w->mechanism->hash)
        return mm_fail_field(ei, "message", "%s signs digests only", w->mechanism->name);
    if (w->input.len == 0 || w->input.len > MM_SIGN_MESSAGE_MAX)
        return mm_fail_field(ei, "message", "a message has 1 to %d bytes, not %zu",
                             (int)MM_SIGN_MESSAGE_MAX, w->input.len);
    if (app->signing_bytes + w->input.len <= MM_SIGN_WAITING_MAX)
        return MM_OK;
    mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MUCH_IN_FLIGHT",
            "too many messages are waiting to be signed; send a digest, or come back");
    ei->retry_ms = 1000;
    return ei->code;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void destroy(struct mm_token_call *c)
{
    struct signing *s = (struct signing *)c;

    c->app->signing_bytes -= s->waiting;
    free(s->input);
    free(s->text);
    free(s);
}

/* The digest if it is known, in hexadecimal. Never the message. */
static const char *digest_text(const struct signing *s, const ProtobufCBinaryData *signed_digest,
                               char text[2 * DIGEST_MAX + 1])
{
    const ProtobufCBinaryData *d = signed_digest ? signed_digest : &s->body.digest;

    text[0] = 0;
    return d->len <= DIGEST_MAX ? mm_hex_encode(d->data, d->len, text) : text;
}

static void log_end(const struct signing *s, const Mintmark__Internal__SignResult *made,
                    const struct mm_errinfo *ei)
{
    char digest[2 * DIGEST_MAX + 1];

    mm_log(ei ? MM_LOG_WARNING : MM_LOG_INFO, ei ? "sign_failed" : "signed",
           MM_STR("request", s->c.call_id), MM_STR("station", s->c.station),
           MM_STR("signing_profile", s->body.signing_profile),
           MM_STR("mechanism", s->body.mechanism),
           MM_STR("digest", digest_text(s, made ? &made->digest : NULL, digest)),
           MM_INT("ms", mm_token_call_ms(&s->c)), MM_STR("reason", ei ? ei->reason : ""),
           MM_STR("text", ei ? ei->text : ""));
}

static void reply(struct mm_call *call, const Mintmark__Internal__StoreResult *result)
{
    const ProtobufCBinaryData *packed = &result->signed_added->response;
    Mintmark__V1__SignResponse *response =
        mintmark__v1__sign_response__unpack(NULL, packed->len, packed->data);
    struct mm_errinfo ei;

    if (!response) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mm_call_reply(call, &response->base);
    mintmark__v1__sign_response__free_unpacked(response, NULL);
}

/* The answer goes to the store with what is to be recorded, and leaves when it comes back. */
static void record(struct mm_call *call, const struct signing *s,
                   const Mintmark__Internal__SignResult *made)
{
    static const struct mm_ask ask = {MINTMARK__INTERNAL__STORE_RESULT__RESULT_SIGNED_ADDED, NULL,
                                      reply};
    Mintmark__V1__SignResponse response = MINTMARK__V1__SIGN_RESPONSE__INIT;
    Mintmark__Internal__AddSigned body = MINTMARK__INTERNAL__ADD_SIGNED__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(ADD_SIGNED, add_signed, &body);
    MM_FREE uint8_t *packed = NULL;
    struct mm_errinfo ei;

    response.signature = made->signature;
    response.digest = made->digest;
    response.certificate = made->certificate;
    response.chain = made->chain;
    response.n_chain = made->n_chain;
    packed = malloc(mintmark__v1__sign_response__get_packed_size(&response) + 1);
    if (!packed) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    body.station = mm_for_packing(s->c.station);
    body.signing_profile = s->body.signing_profile;
    body.mechanism = s->body.mechanism;
    body.digest = made->digest;
    body.response.len = mintmark__v1__sign_response__pack(&response, packed);
    body.response.data = packed;
    mm_app_ask(call, &job, &ask);
}

static void done(struct mm_token_call *c, const Mintmark__Internal__TokenResult *result,
                 const struct mm_errinfo *ei)
{
    const struct signing *s = (const struct signing *)c;

    log_end(s, result ? result->sign : NULL, ei);
    if (result) {
        c->app->signatures_made++;
        if (c->call)
            record(c->call, s, result->sign);
    } else if (c->call) {
        mm_call_finish(c->call, ei);
    }
}

/* ---- receive ----------------------------------------------------------------------------- */

/* A refusal of who may do what is logged; other mistakes are the client's own affair. */
static void refuse(struct mm_call *call, const Mintmark__V1__SignRequest *r,
                   const struct mm_errinfo *ei)
{
    if (ei->code == MM_ERR_PERMISSION)
        mm_log(MM_LOG_WARNING, "sign_refused", MM_STR("request", mm_call_id(call)),
               MM_STR("station", mm_call_peer(call)->name),
               MM_STR("signing_profile", r->signing_profile), MM_STR("reason", ei->reason));
    mm_call_finish(call, ei);
}

/* A copy of what the job needs: the request is gone when it is the job's turn, and so may be the
 * configuration. */
static struct signing *new_signing(struct mm_app *app, const struct wish *w)
{
    struct signing *s = calloc(1, sizeof(*s));
    const size_t name_len = strlen(w->profile->name) + 1, key_len = strlen(w->profile->key) + 1;

    if (!s)
        return NULL;
    s->c.app = app;
    s->text = malloc(name_len + key_len);
    s->input = malloc(w->input.len);
    if (!s->text || !s->input) {
        destroy(&s->c);
        return NULL;
    }
    memcpy(s->text, w->profile->name, name_len);
    memcpy(s->text + name_len, w->profile->key, key_len);
    memcpy(s->input, w->input.data, w->input.len);
    s->input_len = w->input.len;
    s->waiting = w->digest ? 0 : w->input.len;
    app->signing_bytes += s->waiting;
    s->c.units = 1 + (uint32_t)(s->waiting / BYTES_PER_UNIT);
    mintmark__internal__token_job__init(&s->c.message);
    mintmark__internal__sign_job__init(&s->body);
    s->c.message.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN;
    s->c.message.sign = &s->body;
    s->body.signing_profile = s->text;
    s->body.key = s->text + name_len;
    s->body.mechanism = mm_for_packing(w->mechanism->name);
    *(w->digest ? &s->body.digest : &s->body.message) =
        (ProtobufCBinaryData){s->input_len, s->input};
    return s;
}

void mm_rpc_sign(struct mm_call *call, const ProtobufCMessage *request)
{
    static const struct mm_token_call_ops ops = {
        .kind = "job:sign",
        .expected = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGN,
        .done = done,
        .destroy = destroy,
    };
    const Mintmark__V1__SignRequest *r = (const Mintmark__V1__SignRequest *)request;
    struct mm_app *app = mm_call_app(call);
    struct wish w = {.digest = false};
    struct mm_errinfo ei = {0};
    struct signing *s = NULL;
    int rc = validate(r, &w, &ei);

    if (rc == MM_OK)
        rc = permit(app, mm_call_peer(call)->name, r->signing_profile, &w, &ei);
    if (rc == MM_OK)
        rc = check_input(app, &w, &ei);
    if (rc == MM_OK)
        s = new_signing(app, &w);
    if (rc == MM_OK && !s)
        mm_fail_memory(&ei);
    if (s)
        mm_token_call_begin(&s->c, call, &ops, w.profile->token);
    else
        refuse(call, r, &ei);
}
