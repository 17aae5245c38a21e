/* SPDX-License-Identifier: Apache-2.0 */
/* Inside enrolling: enrolling.c has the profiles and what is taken out, enrolling_jobs.c what
 * becomes of one device, enrolling_revoke.c the revocations. */
#pragma once

#include "daemon/front/app.h"
#include "daemon/front/enrolling.h"

enum { MM_ENROLLING_UID = 16 };

struct mm_enrolling_profile {
    TAILQ_ENTRY(mm_enrolling_profile) link;
    struct mm_enrolling *enrolling;
    char name[MM_NAME_MAX + 1];
    char issuer[MM_NAME_MAX + 1]; /* its section */
    bool configured;
    uint64_t waiting, parked, certified, failed;
    uint64_t doubles, bad; /* certificates of this run: one too many, not as they must be */
    int64_t due_ms;        /* when the store may have something to give out, by the wall clock */
    struct mm_job take;    /* of a page */
    bool taking;
    bool due_again;    /* something was recorded while a page was taken */
    unsigned limit;    /* of that page */
    bool away;         /* nobody answers its issuer, or all are refused: one at a time tries */
    unsigned refusals; /* in a row, that are about no device */
    int64_t retry_us;
    char away_text[MM_ERR_TEXT_MAX];
    unsigned running;
    TAILQ_HEAD(, mm_enrol) issued; /* to be recorded */
    bool certifying;
};

/* One device that the issuer has. */
struct mm_enrol {
    struct mm_job job; /* with the issuer, then with the store */
    TAILQ_ENTRY(mm_enrol) link;
    struct mm_enrolling_profile *profile;
    struct mm_arena arena; /* the issuer's answer */
    uint8_t uid[MM_ENROLLING_UID];
    uint64_t request;
    uint32_t attempts;                        /* before this one */
    bool begun;                               /* before it was given out */
    const Mintmark__Internal__Issued *issued; /* in the arena */
};

/* Certificates that go to the store together. */
struct mm_enrolling_group {
    struct mm_job job;
    struct mm_enrolling_profile *profile;
    TAILQ_HEAD(, mm_enrol) devices;
};

struct mm_enrolling {
    struct mm_app *app;
    TAILQ_HEAD(, mm_enrolling_profile) profiles; /* who took a page last stands last */
    uv_timer_t timer;
    bool stopped;
    /* Revocations. */
    struct mm_job revocations; /* a page that is taken */
    bool taking_revocations;
    unsigned revoking; /* that issuers have */
    int64_t revocations_due_ms;
    uint64_t revocations_pending, revocations_refused;
};

/* Gives the store a job of nobody's account. */
int mm_enrolling_ask(struct mm_enrolling *e, struct mm_job *job,
                     Mintmark__Internal__StoreJob *message, struct mm_errinfo *ei) MM_MUST_USE;
void mm_enrolling_learn(struct mm_enrolling_profile *p,
                        const Mintmark__Internal__EnrolmentCounts *counts);
/* From the sending of a request to its answer, at the longest, as the issuer is configured. */
int64_t mm_enrolling_request_ms(const struct mm_enrolling *e, const char *issuer);
/* The issuer's authority has answered; or nobody did. */
void mm_enrolling_answered(struct mm_enrolling_profile *p);
/* It has refused what it would refuse any device; is it away for this profile, after a few of them?
 */
bool mm_enrolling_refused(struct mm_enrolling_profile *p, uint32_t retry_ms, const char *text);
void mm_enrolling_unanswered(struct mm_enrolling_profile *p, uint32_t retry_ms, const char *text);
/* Gives the device to the issuer; on failure it is let go. */
void mm_enrol_begin(struct mm_enrolling_profile *p,
                    const Mintmark__Internal__WaitingDevice *device);
/* A certificate that was issued for the device and is not what was asked for. */
void mm_enrol_revoke_bad(const struct mm_enrol *d, const ProtobufCBinaryData *certificate);
/* One more than the device's own, which has been recorded. */
void mm_enrol_revoke_double(const struct mm_enrol *d, const ProtobufCBinaryData *serial);
/* Looks what revocations are due. */
void mm_enrolling_revoke(struct mm_enrolling *e, int64_t now_ms);
/* Sets the timer to the next thing to do. */
void mm_enrolling_plan(struct mm_enrolling *e);
