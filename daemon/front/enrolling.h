/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices on their way to certificates from elsewhere. The store has them, oldest first; this takes
 * them out in pages no larger than their issuer has room for, has the issuer ask for certificates,
 * and has the store record what came of it. All go this way: those that a call has just made, and
 * those that have waited for days. So the memory that it takes is that of the jobs that run,
 * however many wait, and what is under way is known on disk before the issuer hears of it.
 *
 * The store gives a device out for a time in which all that was begun with it has come to an end
 * or been given up; so nobody asks twice at once, whoever crashes. A device that was given out
 * before is looked up before a certificate is asked for.
 *
 * Revocations go the same way.
 */
#pragma once

#include "daemon/front/issuers.h"
#include "internal/store.pb-c.h"

struct mm_app;
struct mm_enrolling;

enum {
    MM_ENROLLING_ATTEMPTS_MAX = 8, /* that come to nothing; then an officer has to look at it */
};

int mm_enrolling_new(struct mm_app *app, struct mm_enrolling **ret_enrolling) MM_MUST_USE;
/* Takes nothing out of the store any more; what runs is still recorded. */
void mm_enrolling_stop(struct mm_enrolling *e);
/* Nothing runs any more; free it when the loop has closed its timer. */
void mm_enrolling_close(struct mm_enrolling *e);
void mm_enrolling_free(struct mm_enrolling *e);

/* The profiles of the configuration in force. MM_ERR_MEMORY. */
int mm_enrolling_configure(struct mm_enrolling *e) MM_MUST_USE;
/* The store says what waits. */
void mm_enrolling_store_ready(struct mm_enrolling *e, const Mintmark__Internal__StoreReady *ready);
/* Devices of a profile have been recorded, or released to wait on. */
void mm_enrolling_recorded(struct mm_enrolling *e,
                           const Mintmark__Internal__EnrolmentCounts *counts);
/* Certificates are to be revoked. */
void mm_enrolling_revoked(struct mm_enrolling *e);
/* There may be room, or something to do. */
void mm_enrolling_kick(struct mm_enrolling *e);

/* MM_OK, or why no certificate of the profile can be had now: MM_ERR_UNAVAILABLE
 * ISSUER_UNAVAILABLE, with the time when to come back. An issuer that was away may be tried again
 * when its time is over: then it is taken for back, until it has proved otherwise. */
int mm_enrolling_check(const struct mm_enrolling *e, const char *profile,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* What is known of a profile: one that is configured so, or had devices that waited. */
struct mm_enrolling_info {
    const char *profile;
    uint64_t waiting, parked, certified, failed;
    uint64_t doubles, bad; /* certificates, since the start: one too many; not as they must be */
    unsigned running;      /* jobs that the issuer has */
    bool away;             /* its issuer */
};
void mm_enrolling_each(const struct mm_enrolling *e,
                       void (*each)(void *arg, const struct mm_enrolling_info *info), void *arg);
/* Revocations that the authorities have not taken in. */
uint64_t mm_enrolling_revocations(const struct mm_enrolling *e);
/* Those that it has refused, which wait for an officer. */
uint64_t mm_enrolling_refusals(const struct mm_enrolling *e);
