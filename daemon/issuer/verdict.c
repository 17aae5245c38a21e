/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/verdict.h"

#include "daemon/base/macros.h"

#include <string.h>

enum {
    SOON_MS = 1000,
    TIMED_OUT_MS = 3000,
    LATER_MS = 10000,      /* a CA's token, a database */
    MUCH_LATER_MS = 30000, /* until an operator has seen to it */
    RETRY_AFTER_MAX_MS = 600000,
};

enum kinds {
    ENROL = 1 << MM_CALL_ENROL,
    REVOKE = 1 << MM_CALL_REVOKE,
    READ = 1 << MM_CALL_READ,
    ANY = ENROL | REVOKE | READ,
};

/* The first line that fits decides. */
struct rule {
    unsigned status;
    enum kinds kinds;
    const char *text; /* is in EJBCA's text; NULL: whatever it says */
    struct mm_verdict verdict;
};

#define PERMANENT(why)                                                                             \
    {                                                                                              \
        .class = MM_VERDICT_PERMANENT, .reason = (why)                                             \
    }
#define CONFIGURATION                                                                              \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_CONFIGURATION", .general = true,               \
        .retry_ms = MUCH_LATER_MS                                                                  \
    }
#define FORBIDDEN                                                                                  \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_FORBIDDEN", .general = true,                   \
        .retry_ms = MUCH_LATER_MS                                                                  \
    }
#define LOCKED_OUT                                                                                 \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_FORBIDDEN", .blame = true, .general = true,    \
        .retry_ms = MUCH_LATER_MS                                                                  \
    }
#define OFFLINE                                                                                    \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_OFFLINE", .blame = true, .general = true,      \
        .retry_ms = LATER_MS                                                                       \
    }
#define BUSY                                                                                       \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_BUSY", .overload = true, .general = true,      \
        .retry_ms = SOON_MS                                                                        \
    }
#define FAILED                                                                                     \
    {                                                                                              \
        .class = MM_VERDICT_RETRY, .reason = "EJBCA_FAILED", .uncertain = true, .blame = true,     \
        .retry_ms = SOON_MS                                                                        \
    }
#define REFUSED PERMANENT("EJBCA_REFUSED")

/* clang-format off */
static const struct rule rules[] = {
    /* The CA or its token is away, not the device wrong. */
    {400, ANY, "token is offline", OFFLINE},
    {400, ANY, "canotactive", OFFLINE},
    {400, ANY, "is not active", OFFLINE},
    {400, ANY, "is offline", OFFLINE},
    /* Two edits of one end entity at a time. */
    {400, ENROL, "another transaction", FAILED},
    {400, ENROL, "OptimisticLock", FAILED},

    /* The device's own fault: it will not get better. */
    {400, ENROL, "is not allowed to use same key as", REFUSED},
    {400, ENROL, "is not allowed to use same subject DN as", REFUSED},
    {400, ENROL, "Subject DN is illegal", REFUSED},
    {400, ENROL, "Invalid certificate request", REFUSED},
    {400, ENROL, "POPO verification failed", REFUSED},
    {400, ENROL, "Illegal key length", REFUSED},
    {400, ENROL, "Illegal key algorithm", REFUSED},
    {422, ENROL, NULL, REFUSED},

    /* What an operator must put right, here or there. */
    {400, ENROL, "doesn't exist", CONFIGURATION},
    {400, ENROL, "was not found", CONFIGURATION},
    {400, ENROL, "among available certificate profiles", CONFIGURATION},
    {400, ENROL, "among End Entity Profiles Available CAs", CONFIGURATION},
    {400, ENROL, "approvals are enabled", CONFIGURATION},
    {400, ENROL, "provided password must be null", CONFIGURATION},
    {400, ENROL, "Response format", CONFIGURATION},
    {403, ANY, "isn't authorized to use", CONFIGURATION},
    {403, ANY, "Authentication failed", LOCKED_OUT},
    {403, ANY, "Error no client certificate", LOCKED_OUT},
    {403, ANY, "/administrator", LOCKED_OUT},
    {403, ANY, NULL, FORBIDDEN},
    {401, ANY, NULL, LOCKED_OUT},
    {404, ENROL, NULL, CONFIGURATION},
    {405, ANY, NULL, CONFIGURATION},
    {406, ANY, NULL, CONFIGURATION},
    {415, ANY, NULL, CONFIGURATION},
    {202, ENROL, NULL, CONFIGURATION},

    /* A 400 that nobody has seen before proves nothing. The call is rolled back as a whole. */
    {400, ENROL, NULL, {.class = MM_VERDICT_RETRY, .reason = "EJBCA_UNKNOWN", .retry_ms = LATER_MS}},
    {409, ENROL, NULL, {.class = MM_VERDICT_RETRY, .reason = "EJBCA_UNKNOWN", .uncertain = true,
                        .retry_ms = SOON_MS}},

    {409, REVOKE, "has previously been revoked", {.class = MM_VERDICT_DONE}},
    {400, REVOKE, "Invalidity date or revocation reason missing", {.class = MM_VERDICT_DONE}},
    {202, REVOKE, NULL, {.class = MM_VERDICT_PERMANENT, .reason = "EJBCA_APPROVAL"}},
    {400, REVOKE | READ, NULL, REFUSED},
    {404, REVOKE | READ, NULL, PERMANENT("EJBCA_NOT_FOUND")},
    {409, REVOKE | READ, NULL, REFUSED},
    {422, REVOKE | READ, NULL, REFUSED},

    {429, ANY, NULL, BUSY},
    {503, ANY, "Device was unavailable", OFFLINE},
    {503, ANY, NULL, {.class = MM_VERDICT_RETRY, .reason = "EJBCA_BUSY", .uncertain = true,
                      .blame = true, .overload = true, .general = true, .retry_ms = SOON_MS}},
    {500, ANY, NULL, FAILED},
};
/* clang-format on */

/* Not EJBCA that speaks, but something before it, or nothing. */
static struct mm_verdict not_ejbca(const struct mm_reply *reply)
{
    struct mm_verdict v = {.class = MM_VERDICT_RETRY,
                           .reason = "BAD_ANSWER",
                           .uncertain = true,
                           .blame = true,
                           .retry_ms = SOON_MS};

    switch (reply->status) {
    case 0:
        v.reason = reply->sent ? "NO_ANSWER" : "NODE_UNREACHABLE";
        v.uncertain = reply->sent;
        v.general = !reply->sent;
        v.overload = reply->timed_out;
        /* EJBCA may be at work on it still: a look that comes too soon finds nothing. */
        if (reply->timed_out)
            v.retry_ms = TIMED_OUT_MS;
        break;
    case 403: /* a service that is switched off, or a refused client */
        v.reason = "EJBCA_FORBIDDEN";
        v.uncertain = false;
        v.general = true;
        v.retry_ms = MUCH_LATER_MS;
        break;
    case 429:
        v.reason = "EJBCA_BUSY";
        v.uncertain = v.blame = false;
        v.overload = v.general = true;
        break;
    case 503:
        v.reason = "EJBCA_BUSY";
        v.overload = v.general = true;
        break;
    case 500:
        v.reason = "EJBCA_FAILED";
        break;
    default:
        break;
    }
    return v;
}

static struct mm_verdict look_up(enum mm_call_kind kind, const struct mm_reply *reply)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(rules); i++) {
        const struct rule *r = &rules[i];

        if (r->status == reply->status && (r->kinds & 1u << kind) &&
            (!r->text || strstr(reply->text, r->text)))
            return r->verdict;
    }
    return (struct mm_verdict){.class = MM_VERDICT_RETRY,
                               .reason = "EJBCA_UNKNOWN",
                               .uncertain = true,
                               .blame = true,
                               .retry_ms = LATER_MS};
}

struct mm_verdict mm_verdict(enum mm_call_kind kind, const struct mm_reply *reply)
{
    struct mm_verdict v;

    if (reply->status == 200 || reply->status == 201)
        return (struct mm_verdict){.class = MM_VERDICT_DONE};
    /* Waiting for an approval is told in JSON, but not as an error. */
    v = reply->is_error_json || reply->status == 202 ? look_up(kind, reply) : not_ejbca(reply);
    if (kind != MM_CALL_ENROL)
        v.uncertain = false;
    if (v.class == MM_VERDICT_RETRY && reply->retry_after_ms > v.retry_ms)
        v.retry_ms =
            reply->retry_after_ms < RETRY_AFTER_MAX_MS ? reply->retry_after_ms : RETRY_AFTER_MAX_MS;
    return v;
}

struct mm_verdict mm_verdict_bad_answer(enum mm_call_kind kind)
{
    return (struct mm_verdict){.class = MM_VERDICT_RETRY,
                               .reason = "BAD_ANSWER",
                               .uncertain = kind == MM_CALL_ENROL,
                               .blame = true,
                               .retry_ms = SOON_MS};
}
