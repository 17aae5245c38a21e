/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module that stands in front of another and makes it like an HSM across a network: every
 * call takes its time, however little the work is, and the HSM has so many sessions for all
 * processes together. It says of itself that it is hardware (CKF_HW).
 *
 *   $MM_REMOTE_MODULE    the module behind it
 *
 *   $MM_REMOTE_STATE     a file that the processes share (struct remote), made where there is none.
 *                        Its first three numbers are for tests and benchmarks to read
 *
 *   $MM_REMOTE_CALL_US   microseconds from a call's beginning to its end; default 1000
 *
 *   $MM_REMOTE_SESSIONS  ulMaxSessionCount; 0: CK_EFFECTIVELY_INFINITE; default 32
 *
 * A process that dies gives its sessions back, as one whose connection breaks. Session objects of a
 * module in software are the process's own, and so they are here.
 */
#include "daemon/base/macros.h"
#include "tests/support/in_front.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { HOLDERS = 256, US_PER_S = 1000000, SLACK_NS = 1000 };

/* One process. */
struct holder {
    _Atomic int32_t pid; /* 0: nobody's */
    _Atomic uint32_t sessions;
    _Atomic uint32_t busy; /* a call is under way */
};
struct remote {
    _Atomic uint64_t calls;
    _Atomic uint32_t busy_most;     /* calls that were under way at one time */
    _Atomic uint32_t sessions_most; /* sessions that were open at one time */
    struct holder holders[HOLDERS];
};

static CK_FUNCTION_LIST *real;
static struct remote *remote;
static struct holder *me;
static unsigned long call_us, sessions_max;

/* ---- what the processes share ------------------------------------------------------------ */

static unsigned long setting(const char *name, unsigned long fallback)
{
    const char *text = getenv(name);

    return text ? strtoul(text, NULL, 10) : fallback;
}

static bool attach(void)
{
    const char *path = getenv("MM_REMOTE_STATE");
    const int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *map = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(*remote)) == 0)
        map = mmap(NULL, sizeof(*remote), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    remote = map == MAP_FAILED ? NULL : map;
    return remote != NULL;
}

static bool is_dead(int32_t pid)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/%d", pid);
    return access(path, F_OK) < 0;
}

/* Takes a place that nobody has, or somebody who is no more. */
static bool sign_on(void)
{
    for (size_t i = 0; i < HOLDERS; i++) {
        int32_t pid = remote->holders[i].pid;

        if (pid != 0 && !is_dead(pid))
            continue;
        if (!atomic_compare_exchange_strong(&remote->holders[i].pid, &pid, getpid()))
            continue;
        me = &remote->holders[i];
        me->sessions = me->busy = 0;
        return true;
    }
    return false;
}

static uint32_t sum_sessions(void)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < HOLDERS; i++) {
        const struct holder *h = &remote->holders[i];

        if (h->pid != 0 && h->sessions > 0 && (h == me || !is_dead(h->pid)))
            sum += h->sessions;
    }
    return sum;
}

static void note_most(_Atomic uint32_t *most, uint32_t now)
{
    uint32_t before = *most;

    while (now > before && !atomic_compare_exchange_weak(most, &before, now))
        ;
}

/* ---- a call ------------------------------------------------------------------------------ */

static struct timespec begin(void)
{
    struct timespec due;
    uint32_t busy = 0;

    clock_gettime(CLOCK_MONOTONIC, &due);
    due.tv_nsec += (long)(call_us % US_PER_S) * 1000;
    due.tv_sec += (time_t)(call_us / US_PER_S) + due.tv_nsec / 1000000000;
    due.tv_nsec %= 1000000000;
    me->busy = 1;
    remote->calls++;
    for (size_t i = 0; i < HOLDERS; i++)
        busy += remote->holders[i].busy;
    note_most(&remote->busy_most, busy);
    return due;
}

static CK_RV end(struct timespec due, CK_RV rv)
{
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
        ;
    me->busy = 0;
    return rv;
}

/* The whole of a function that only takes its time. */
#define CALL(name, parameters, ...)                                                                \
    CK_RV name parameters                                                                          \
    {                                                                                              \
        const struct timespec due = begin();                                                       \
        return end(due, real->name(__VA_ARGS__));                                                  \
    }                                                                                              \
    _Static_assert(true, "takes a semicolon")

/* ---- module, token, sessions ------------------------------------------------------------- */

CK_RV C_Initialize(void *args)
{
    call_us = setting("MM_REMOTE_CALL_US", 1000);
    sessions_max = setting("MM_REMOTE_SESSIONS", 32);
    /* The kernel would add 50 us to each wait. */
    prctl(PR_SET_TIMERSLACK, SLACK_NS);
    if ((!remote && !attach()) || (!me && !sign_on())) {
        perror("remote token: MM_REMOTE_STATE");
        return CKR_GENERAL_ERROR;
    }
    return real->C_Initialize(args);
}

CK_RV C_Finalize(void *reserved)
{
    me->sessions = 0;
    return real->C_Finalize(reserved);
}

CALL(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n), present, slots, n);

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const struct timespec due = begin();
    const CK_RV rv = real->C_GetTokenInfo(slot, info);

    if (rv == CKR_OK) {
        info->ulMaxSessionCount = sessions_max ? sessions_max : CK_EFFECTIVELY_INFINITE;
        info->ulMaxRwSessionCount = info->ulMaxSessionCount;
        info->ulSessionCount = info->ulRwSessionCount = sum_sessions();
    }
    return end(due, rv);
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    const struct timespec due = begin();
    const CK_RV rv = real->C_GetMechanismInfo(slot, type, info);

    if (rv == CKR_OK)
        info->flags |= CKF_HW;
    return end(due, rv);
}

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
                    CK_SESSION_HANDLE *session)
{
    const struct timespec due = begin();
    CK_RV rv = CKR_SESSION_COUNT;
    uint32_t open;

    me->sessions++;
    open = sum_sessions();
    if (sessions_max == 0 || open <= sessions_max)
        rv = real->C_OpenSession(slot, flags, app, notify, session);
    if (rv == CKR_OK)
        note_most(&remote->sessions_most, open);
    else
        me->sessions--;
    return end(due, rv);
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
    const struct timespec due = begin();
    const CK_RV rv = real->C_CloseSession(session);

    if (rv == CKR_OK && me->sessions > 0)
        me->sessions--;
    return end(due, rv);
}

CALL(C_GetSessionInfo, (CK_SESSION_HANDLE session, CK_SESSION_INFO *info), session, info);
CALL(C_Login, (CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len),
     session, user, pin, len);
CALL(C_Logout, (CK_SESSION_HANDLE session), session);

/* ---- objects, keys, signatures ----------------------------------------------------------- */

CALL(C_CreateObject,
     (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n, CK_OBJECT_HANDLE *object),
     session, attrs, n, object);
CALL(C_DestroyObject, (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object), session, object);
CALL(C_GetAttributeValue,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attrs, CK_ULONG n), session,
     object, attrs, n);
CALL(C_FindObjectsInit, (CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n), session,
     attrs, n);
CALL(C_FindObjects,
     (CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n), session,
     objects, max, n);
CALL(C_FindObjectsFinal, (CK_SESSION_HANDLE session), session);
CALL(C_GenerateKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *attrs, CK_ULONG n,
      CK_OBJECT_HANDLE *key),
     session, mechanism, attrs, n, key);
CALL(C_GenerateKeyPair,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public_attrs,
      CK_ULONG n_public, CK_ATTRIBUTE *private_attrs, CK_ULONG n_private,
      CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key),
     session, mechanism, public_attrs, n_public, private_attrs, n_private, public_key, private_key);
CALL(C_WrapKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
      CK_OBJECT_HANDLE key, unsigned char *wrapped, CK_ULONG *len),
     session, mechanism, wrapping, key, wrapped, len);
CALL(C_UnwrapKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
      unsigned char *wrapped, CK_ULONG len, CK_ATTRIBUTE *attrs, CK_ULONG n, CK_OBJECT_HANDLE *key),
     session, mechanism, unwrapping, wrapped, len, attrs, n, key);
CALL(C_DeriveKey,
     (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
      CK_ATTRIBUTE *attrs, CK_ULONG n, CK_OBJECT_HANDLE *key),
     session, mechanism, base, attrs, n, key);
CALL(C_SignInit, (CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key),
     session, mechanism, key);
CALL(C_Sign,
     (CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len, unsigned char *signature,
      CK_ULONG *len),
     session, data, data_len, signature, len);
CALL(C_GenerateRandom, (CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len), session,
     data, len);

/* ---- the function list ------------------------------------------------------------------- */

MM_PUBLIC CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    static CK_FUNCTION_LIST list;
    const CK_RV rv = in_front_of("MM_REMOTE_MODULE", "remote token", &real, &list);

    if (rv == CKR_OK)
        *ret_list = &list;
    return rv;
}
