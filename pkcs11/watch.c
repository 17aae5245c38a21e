/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TICKS_PER_S = 10,
    STACK_BYTES = 256 * 1024, /* libraries' thread-local storage comes out of it too */
};
#define GIVEN_UP UINT64_MAX

bool mm_watch_on;

/* Turns are odd while a call is under way, so that two calls of one function differ. */
static _Atomic uint64_t turn;
static _Atomic(const char *) current;

static struct {
    unsigned timeout_s;
    mm_watch_fn hung;
    void *arg;
} watch;

static void sleep_a_tick(void)
{
    const struct timespec tick = {.tv_nsec = 1000000000 / TICKS_PER_S};

    nanosleep(&tick, NULL);
}

static void *look(void *unused)
{
    uint64_t seen = 0;
    unsigned ticks = 0;

    (void)unused;
    for (;;) {
        uint64_t now = atomic_load(&turn);
        const char *call;

        ticks = now == seen ? ticks + 1 : 0;
        seen = now;
        if (now % 2 == 0 || ticks < watch.timeout_s * TICKS_PER_S) {
            sleep_a_tick();
            continue;
        }
        call = atomic_load(&current);
        /* Should it come back this very moment, it goes on, or it waits for ever: never both. */
        if (atomic_compare_exchange_strong(&turn, &now, GIVEN_UP))
            watch.hung(watch.arg, call, strcspn(call, "("));
    }
    return NULL;
}

int mm_watch_start(unsigned timeout_s, mm_watch_fn hung, void *arg, struct mm_errinfo *ei)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    int r;

    watch.timeout_s = timeout_s;
    watch.hung = hung;
    watch.arg = arg;
    atomic_store(&turn, 0);
    r = pthread_attr_init(&attr);
    if (r != 0)
        return mm_fail_errno(ei, r, "a thread");
    (void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* Signals are for the thread that works. */
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&thread, &attr, look, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (r != 0)
        return mm_fail_errno(ei, r, "a thread");
    mm_watch_on = true;
    return MM_OK;
}

void mm_watch_enter(const char *call)
{
    if (!mm_watch_on)
        return;
    atomic_store(&current, call);
    atomic_fetch_add(&turn, 1);
}

void mm_watch_leave(void)
{
    uint64_t mine;

    if (!mm_watch_on)
        return;
    mine = atomic_load(&turn);
    if (mine != GIVEN_UP && atomic_compare_exchange_strong(&turn, &mine, mine + 1))
        return;
    for (;;)
        pause();
}
