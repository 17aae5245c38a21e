/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reload has found other certificates of OEM or officers: the store is told to have them from the
 * launcher (daemon/ipc/trusted.h). The front says that, and learns how it ended; what they are it
 * neither says nor sees.
 */
#pragma once

#include "daemon/front/pool.h"

struct mm_app;

/* Zeroed it is one that has not begun. */
struct mm_trusting {
    struct mm_job job; /* first: its done finds the rest by it */
    struct mm_app *app;
    uv_timer_t timer;
    bool running;           /* the store has the job */
    bool owed;              /* it was told to, and has not said that it has them */
    int64_t by_us;          /* then a store that is away is not waited for any more */
    struct mm_errinfo last; /* why the last try came to nothing */
    void (*done)(void *arg, const struct mm_errinfo *ei); /* NULL: nothing is wanted */
    void *arg;
};

int mm_trusting_start(struct mm_trusting *t, struct mm_app *app) MM_MUST_USE;
/* Has the store take them, if they have changed, or if it has not said that it took those before:
 * the launcher may have been told, and the store not have heard so, and then the launcher, which
 * compares with what it was told, finds no change. done is called once, later or at once: with NULL
 * when they are in force, or with why the store still judges by those before. One at a time. A
 * store that is away, or ends over it, is waited for, for ten seconds: to take them twice changes
 * nothing. */
void mm_trusting_take(struct mm_trusting *t, bool changed,
                      void (*done)(void *arg, const struct mm_errinfo *ei), void *arg);
/* The service ends: done is not called any more. */
void mm_trusting_stop(struct mm_trusting *t);
