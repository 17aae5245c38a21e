/* SPDX-License-Identifier: Apache-2.0 */
/* Logging in, and finding back after a lost session or login. The one rule: a PIN that the token
 * has refused is never sent again, and none is sent when it may be the last try. */
#include "pkcs11/internal.h"

#include <openssl/crypto.h>

/* again: the PIN was right once, and is to be tried in passing. */
static int may_try(struct mm_token *t, bool again, struct mm_errinfo *ei)
{
    CK_TOKEN_INFO info;
    int r = mm_slot_info(t, &info, ei);

    if (r < 0)
        return r;
    if (info.flags & CKF_USER_PIN_LOCKED)
        return mm_fail(ei, MM_ERR_PIN, "TOKEN_PIN_LOCKED",
                       "the token's user PIN is locked; its security officer must set a new one");
    if (info.flags & CKF_USER_PIN_FINAL_TRY)
        return mm_fail(ei, MM_ERR_PIN, "TOKEN_PIN_FINAL_TRY",
                       "one more wrong PIN would lock the token: not tried; log in by hand with "
                       "the right PIN to clear it");
    if (!(info.flags & CKF_USER_PIN_INITIALIZED))
        return mm_token_fail(ei, CKR_USER_PIN_NOT_INITIALIZED, "the token has no user PIN yet");
    if (again && (info.flags & CKF_USER_PIN_COUNT_LOW))
        return mm_token_fail(ei, CKR_USER_NOT_LOGGED_IN,
                             "a wrong user PIN was tried since; the known one is in doubt");
    return MM_OK;
}

/* On failure *pin is the caller's, or, refused, the token's. */
static int try_pin(struct mm_token *t, struct mm_secret **pin, bool again, struct mm_errinfo *ei)
{
    CK_RV rv;
    int r = may_try(t, again, ei);

    if (r < 0)
        return r;
    rv = MM_CK(t, C_Login(t->session, CKU_USER, mm_secret_data(*pin), mm_secret_len(*pin)));
    if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
        return MM_OK;
    if (mm_token_error_class(rv) == MM_TOKEN_PIN || rv == CKR_PIN_LEN_RANGE ||
        rv == CKR_PIN_INVALID) {
        mm_secret_free(t->refused);
        t->refused = MM_TAKE(*pin);
    }
    /* A PIN of a length that the token never takes is as wrong as any other. */
    if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_INVALID) {
        mm_fail(ei, MM_ERR_PIN, "TOKEN_PIN_REFUSED",
                "the token refuses the user PIN, which is not tried again: C_Login: %s (0x%lx)",
                mm_token_rv_name(rv), rv);
        if (ei)
            ei->detail = rv;
        return MM_ERR_PIN;
    }
    return mm_token_fail(ei, rv, "C_Login");
}

int mm_token_login(struct mm_token *t, struct mm_secret **pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *kept = MM_TAKE(*pin);
    int r = try_pin(t, &kept, false, ei);

    if (r < 0)
        return r;
    mm_secret_free(t->pin);
    t->pin = MM_TAKE(kept);
    return mm_mechanisms_probe_kwp(t, ei);
}

int mm_token_reopen(struct mm_token *t, struct mm_errinfo *ei)
{
    int r;

    mm_cache_clear(t);
    /* The old session may be half alive; its objects must not outlive it. */
    if (t->session != CK_INVALID_HANDLE)
        (void)MM_CK(t, C_CloseSession(t->session));
    r = mm_session_open(t, ei);
    if (r < 0 || !t->pin)
        return r;
    r = try_pin(t, &t->pin, true, ei);
    if (r == MM_ERR_PIN)
        mm_secret_free(MM_TAKE(t->pin));
    return r;
}

struct mm_secret *mm_token_take_refused(struct mm_token *t)
{
    return MM_TAKE(t->refused);
}

void mm_token_keep_pin(struct mm_token *t, struct mm_secret **pin)
{
    MM_SECRET_CLEANUP struct mm_secret *kept = MM_TAKE(*pin);

    if (!t->pin)
        return;
    mm_secret_free(t->pin);
    t->pin = MM_TAKE(kept);
}

static bool same_pin(struct mm_secret *a, struct mm_secret *b)
{
    return mm_secret_len(a) == mm_secret_len(b) &&
           CRYPTO_memcmp(mm_secret_data(a), mm_secret_data(b), mm_secret_len(a)) == 0;
}

int mm_token_set_pin(struct mm_token *t, struct mm_secret **new_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = MM_TAKE(*new_pin);
    CK_RV rv;

    if (!t->pin)
        return mm_fail(ei, MM_ERR_PRECONDITION, "TOKEN_LOGIN_LOST", "the user is not logged in");
    if (same_pin(t->pin, pin))
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_PIN_SAME", "the new PIN is the old one");
    rv = MM_CK(t, C_SetPIN(t->session, mm_secret_data(t->pin), mm_secret_len(t->pin),
                           mm_secret_data(pin), mm_secret_len(pin)));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_SetPIN");
    mm_secret_free(t->pin);
    t->pin = MM_TAKE(pin);
    return MM_OK;
}

bool mm_token_pin_unchanged(const struct mm_errinfo *ei)
{
    const enum mm_token_class class = mm_token_failure_class(ei);

    return class == MM_TOKEN_OK || class == MM_TOKEN_FATAL || class == MM_TOKEN_PIN ||
           class == MM_TOKEN_LOGIN;
}
