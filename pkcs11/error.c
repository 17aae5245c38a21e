/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/internal.h"

#include <stdarg.h>
#include <stdio.h>

/* What the layer makes of a class when the CK_RV has no code of its own. */
static const struct {
    enum mm_err code;
    const char *reason;
} by_class[] = {
    [MM_TOKEN_OK] = {MM_ERR_INTERNAL, "TOKEN_REFUSED"},
    [MM_TOKEN_RETRY] = {MM_ERR_UNAVAILABLE, "TOKEN_BUSY"},
    [MM_TOKEN_REOPEN] = {MM_ERR_UNAVAILABLE, "TOKEN_SESSION_LOST"},
    [MM_TOKEN_LOGIN] = {MM_ERR_UNAVAILABLE, "TOKEN_LOGIN_LOST"},
    [MM_TOKEN_RESTART] = {MM_ERR_UNAVAILABLE, "TOKEN_UNAVAILABLE"},
    [MM_TOKEN_FATAL] = {MM_ERR_INTERNAL, "TOKEN_REFUSED"},
    [MM_TOKEN_PIN] = {MM_ERR_PIN, "TOKEN_PIN_REFUSED"},
};

struct rv_entry {
    CK_RV rv;
    const char *name;
    enum mm_token_class class;
    enum mm_err code;   /* MM_OK: that of the class */
    const char *reason; /* NULL: that of the class */
};

#define RV(name, class)                                                                            \
    {                                                                                              \
        CKR_##name, "CKR_" #name, MM_TOKEN_##class, MM_OK, NULL                                    \
    }
#define RV_AS(name, class, code, why)                                                              \
    {                                                                                              \
        CKR_##name, "CKR_" #name, MM_TOKEN_##class, code, why                                      \
    }

static const struct rv_entry table[] = {
    {CKR_OK, "CKR_OK", MM_TOKEN_OK, MM_OK, NULL},
    /* Want of something that comes back by itself. A general error may be a hiccup; whoever sees
     * it again and again ends the worker. */
    RV(HOST_MEMORY, RETRY),
    RV(GENERAL_ERROR, RETRY),
    RV(FUNCTION_FAILED, RETRY),
    RV(DEVICE_MEMORY, RETRY),
    RV(FUNCTION_CANCELED, RETRY),
    RV(SESSION_COUNT, RETRY),
    /* The session, or a handle that lived in it, is gone. */
    RV(SESSION_CLOSED, REOPEN),
    RV(SESSION_HANDLE_INVALID, REOPEN),
    RV(OPERATION_ACTIVE, REOPEN),
    RV(OPERATION_NOT_INITIALIZED, REOPEN),
    RV(KEY_HANDLE_INVALID, REOPEN),
    RV(OBJECT_HANDLE_INVALID, REOPEN),
    RV(WRAPPING_KEY_HANDLE_INVALID, REOPEN),
    RV(UNWRAPPING_KEY_HANDLE_INVALID, REOPEN),
    RV(USER_NOT_LOGGED_IN, LOGIN),
    /* Nothing but a new C_Initialize helps, and that means a new process. */
    RV(SLOT_ID_INVALID, RESTART),
    RV(DEVICE_ERROR, RESTART),
    RV(DEVICE_REMOVED, RESTART),
    RV(TOKEN_NOT_PRESENT, RESTART),
    RV(TOKEN_NOT_RECOGNIZED, RESTART),
    RV(CRYPTOKI_NOT_INITIALIZED, RESTART),
    RV(CRYPTOKI_ALREADY_INITIALIZED, RESTART),
    RV(CANT_LOCK, RESTART),
    RV(NEED_TO_CREATE_THREADS, RESTART),
    RV(MUTEX_BAD, RESTART),
    RV(MUTEX_NOT_LOCKED, RESTART),
    RV(FIPS_SELF_TEST_FAILED, RESTART),
    RV(LIBRARY_LOAD_FAILED, RESTART),
    /* No PIN was tried. SoftHSM says so, too, of a token whose file another process's login is
     * rewriting at the moment, until the next C_Initialize. */
    RV_AS(USER_PIN_NOT_INITIALIZED, RESTART, MM_ERR_PRECONDITION, "TOKEN_PIN_NOT_SET"),
    RV(PIN_INCORRECT, PIN),
    RV_AS(PIN_LOCKED, PIN, MM_ERR_PIN, "TOKEN_PIN_LOCKED"),
    RV_AS(PIN_EXPIRED, PIN, MM_ERR_PIN, "TOKEN_PIN_EXPIRED"),
    /* Refused new PINs are the officer's input, not an attempt to log in. */
    RV_AS(PIN_INVALID, FATAL, MM_ERR_INVALID, "TOKEN_PIN_INVALID"),
    RV_AS(PIN_LEN_RANGE, FATAL, MM_ERR_INVALID, "TOKEN_PIN_LENGTH"),
    RV_AS(PIN_TOO_WEAK, FATAL, MM_ERR_INVALID, "TOKEN_PIN_TOO_WEAK"),
    RV_AS(MECHANISM_INVALID, FATAL, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED"),
    RV_AS(MECHANISM_PARAM_INVALID, FATAL, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED"),
    RV_AS(FUNCTION_NOT_SUPPORTED, FATAL, MM_ERR_UNSUPPORTED, "TOKEN_FUNCTION_UNSUPPORTED"),
    RV_AS(CURVE_NOT_SUPPORTED, FATAL, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED"),
    RV_AS(SESSION_READ_ONLY, FATAL, MM_ERR_PRECONDITION, "TOKEN_READ_ONLY"),
    RV_AS(TOKEN_WRITE_PROTECTED, FATAL, MM_ERR_PRECONDITION, "TOKEN_READ_ONLY"),
    RV_AS(SESSION_EXISTS, FATAL, MM_ERR_PRECONDITION, "TOKEN_IN_USE"),
    RV_AS(USER_ANOTHER_ALREADY_LOGGED_IN, FATAL, MM_ERR_PRECONDITION, "TOKEN_IN_USE"),
    RV_AS(KEY_UNEXTRACTABLE, FATAL, MM_ERR_PRECONDITION, "TOKEN_KEY_POLICY"),
    RV_AS(KEY_NOT_WRAPPABLE, FATAL, MM_ERR_PRECONDITION, "TOKEN_KEY_POLICY"),
    RV_AS(KEY_FUNCTION_NOT_PERMITTED, FATAL, MM_ERR_PRECONDITION, "TOKEN_KEY_POLICY"),
    RV_AS(ATTRIBUTE_SENSITIVE, FATAL, MM_ERR_PRECONDITION, "TOKEN_KEY_POLICY"),
    RV_AS(ACTION_PROHIBITED, FATAL, MM_ERR_PRECONDITION, "TOKEN_KEY_POLICY"),
    RV(ARGUMENTS_BAD, FATAL),
    RV(ATTRIBUTE_READ_ONLY, FATAL),
    RV(ATTRIBUTE_TYPE_INVALID, FATAL),
    RV(ATTRIBUTE_VALUE_INVALID, FATAL),
    RV(BUFFER_TOO_SMALL, FATAL),
    RV(CANCEL, FATAL),
    RV(DATA_INVALID, FATAL),
    RV(DATA_LEN_RANGE, FATAL),
    RV(DOMAIN_PARAMS_INVALID, FATAL),
    RV(ENCRYPTED_DATA_INVALID, FATAL),
    RV(ENCRYPTED_DATA_LEN_RANGE, FATAL),
    RV(FUNCTION_NOT_PARALLEL, FATAL),
    RV(FUNCTION_REJECTED, FATAL),
    RV(INFORMATION_SENSITIVE, FATAL),
    RV(KEY_CHANGED, FATAL),
    RV(KEY_INDIGESTIBLE, FATAL),
    RV(KEY_NEEDED, FATAL),
    RV(KEY_NOT_NEEDED, FATAL),
    RV(KEY_SIZE_RANGE, FATAL),
    RV(KEY_TYPE_INCONSISTENT, FATAL),
    RV(NO_EVENT, FATAL),
    RV(PUBLIC_KEY_INVALID, FATAL),
    RV(RANDOM_NO_RNG, FATAL),
    RV(RANDOM_SEED_NOT_SUPPORTED, FATAL),
    RV(SESSION_PARALLEL_NOT_SUPPORTED, FATAL),
    RV(SESSION_READ_ONLY_EXISTS, FATAL),
    RV(SESSION_READ_WRITE_SO_EXISTS, FATAL),
    RV(SIGNATURE_INVALID, FATAL),
    RV(SIGNATURE_LEN_RANGE, FATAL),
    RV(TEMPLATE_INCOMPLETE, FATAL),
    RV(TEMPLATE_INCONSISTENT, FATAL),
    RV(UNWRAPPING_KEY_SIZE_RANGE, FATAL),
    RV(UNWRAPPING_KEY_TYPE_INCONSISTENT, FATAL),
    RV(USER_ALREADY_LOGGED_IN, FATAL),
    RV(USER_TOO_MANY_TYPES, FATAL),
    RV(USER_TYPE_INVALID, FATAL),
    RV(WRAPPED_KEY_INVALID, FATAL),
    RV(WRAPPED_KEY_LEN_RANGE, FATAL),
    RV(WRAPPING_KEY_SIZE_RANGE, FATAL),
    RV(WRAPPING_KEY_TYPE_INCONSISTENT, FATAL),
};

/* A vendor's own code says nothing that we know: try the cheap cure first, as for a general error.
 */
static const struct rv_entry unknown = {0, "CKR_?", MM_TOKEN_RETRY, MM_OK, NULL};

static const struct rv_entry *lookup(CK_RV rv)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(table); i++) {
        if (table[i].rv == rv)
            return &table[i];
    }
    return &unknown;
}

enum mm_token_class mm_token_error_class(unsigned long ck_rv)
{
    return lookup(ck_rv)->class;
}

enum mm_token_class mm_token_failure_class(const struct mm_errinfo *ei)
{
    if (ei->code == MM_ERR_PIN)
        return MM_TOKEN_PIN;
    return ei->code == MM_ERR_IO ? MM_TOKEN_OK : mm_token_error_class(ei->detail);
}

const char *mm_token_rv_name(unsigned long ck_rv)
{
    return lookup(ck_rv)->name;
}

int mm_token_fail(struct mm_errinfo *ei, CK_RV rv, const char *what, ...)
{
    const struct rv_entry *e = lookup(rv);
    const enum mm_err code = e->code != MM_OK ? e->code : by_class[e->class].code;
    const char *reason = e->reason ? e->reason : by_class[e->class].reason;
    char text[MM_ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, what);
    vsnprintf(text, sizeof(text), what, ap);
    va_end(ap);
    mm_fail(ei, code, reason, "%.200s: %s (0x%lx)", text, e->name, rv);
    if (ei)
        ei->detail = rv;
    return code;
}
