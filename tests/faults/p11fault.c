/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 module that stands in front of another and fails by rules, so that a real token can be
 * slow, broken, pulled out or false at will. Functions that mintmark does not call go straight
 * through.
 *
 *   $MM_FAULT_MODULE  the module behind it
 *   $MM_FAULT_RULES   a file of rules on calls (tests/mock/calls.h); none when there is no such
 *                     file. It is read again, and counts begin anew, whenever another is put in its
 *                     place. Words:
 *     sessions   all sessions are closed before the call, and with them the login
 *     login      the user is logged out before the call
 *     removed    the token is not there: no slot has it, its sessions are gone
 *     forget     every object handle that was given out so far is none any more
 *     lie        C_Sign: a wrong signature. C_WrapKey, C_Decrypt: a wrong key. C_GenerateRandom:
 *                zeros. C_GetAttributeValue: a point that is on no curve. C_FindObjects: nothing
 *                found. C_GetMechanismInfo: no right to do anything
 *     repeat     C_GenerateKeyPair: the same pair again, under new handles
 *     stored     C_GenerateKeyPair: the pair that a process before made so; the first one keeps it
 *                in the token, labelled p11fault
 *     short      the answer's length is too small by one; none where it is a count
 *     long       the answer's length is too large by one
 *
 *   $MM_FAULT_CALLS   a file that gets the name of each function that is called while there are
 *                     rules, a line each
 */
#include "tests/mock/calls.h"
#include "tests/support/in_front.h"

#include <string.h>
#include <sys/stat.h>

enum { EPOCH_SHIFT = 32 };

enum word {
    WORD_SESSIONS,
    WORD_LOGIN,
    WORD_REMOVED,
    WORD_FORGET,
    WORD_LIE,
    WORD_REPEAT,
    WORD_STORED,
    WORD_SHORT,
    WORD_LONG,
    WORD_NONE
};
static const char *const words[] = {"sessions", "login",  "removed", "forget", "lie",
                                    "repeat",   "stored", "short",   "long",   NULL};

static CK_FUNCTION_LIST *real;
static CK_SESSION_HANDLE last_session;
static CK_SLOT_ID last_slot;
static CK_ULONG epoch = 1; /* grows when objects are forgotten */
static bool has_rules;
static const char *current = "";                   /* function under way */
static enum word twist;                            /* how its answer is changed */
static CK_OBJECT_HANDLE kept_public, kept_private; /* of the pair that is repeated */

/* ---- rules ------------------------------------------------------------------------------- */

static void note_call(void)
{
    const char *path = getenv("MM_FAULT_CALLS");
    FILE *f = path ? fopen(path, "ae") : NULL;

    if (!f)
        return;
    fprintf(f, "%s\n", current);
    fclose(f);
}

static CK_RV remove_token(void)
{
    static const char *const of_slots[] = {"C_GetTokenInfo", "C_GetMechanismInfo", "C_OpenSession",
                                           "C_InitToken"};

    if (last_session)
        real->C_CloseAllSessions(last_slot);
    last_session = 0;
    if (strcmp(current, "C_Initialize") == 0 || strcmp(current, "C_Finalize") == 0)
        return CKR_OK;
    if (strcmp(current, "C_GetSlotList") == 0) {
        twist = WORD_REMOVED;
        return CKR_OK;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(of_slots); i++) {
        if (strcmp(current, of_slots[i]) == 0)
            return CKR_TOKEN_NOT_PRESENT;
    }
    return CKR_DEVICE_REMOVED;
}

static CK_RV on_word(size_t number)
{
    switch ((enum word)number) {
    case WORD_SESSIONS:
        if (last_session)
            real->C_CloseAllSessions(last_slot);
        break;
    case WORD_LOGIN:
        if (last_session)
            real->C_Logout(last_session);
        break;
    case WORD_REMOVED:
        return remove_token();
    case WORD_FORGET:
        epoch++;
        break;
    default:
        twist = (enum word)number;
    }
    return CKR_OK;
}

static void read_rules(FILE *f)
{
    char text[4096];
    const size_t len = fread(text, 1, sizeof(text) - 1, f);
    char *rest = text;

    text[len] = 0;
    text[strcspn(text, "\n")] = 0;
    for (char *item; (item = strsep(&rest, ";"));) {
        if (*item == 0 || calls_parse(item))
            continue;
        fprintf(stderr, "p11fault: no rule: %s\n", item);
        abort();
    }
}

/* What is in the file now, if it is another file than before. */
static void refresh_rules(void)
{
    static struct stat before;
    const char *path = getenv("MM_FAULT_RULES");
    struct stat now = {0};
    FILE *f;

    if (!path || stat(path, &now) < 0)
        now = (struct stat){0};
    if (now.st_ino == before.st_ino && now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == before.st_mtim.tv_nsec)
        return;
    before = now;
    has_rules = now.st_ino != 0;
    calls_reset(words);
    f = has_rules ? fopen(path, "re") : NULL;
    if (!f)
        return;
    read_rules(f);
    fclose(f);
}

static CK_RV enter(const char *function)
{
    refresh_rules();
    current = function;
    twist = WORD_NONE;
    if (has_rules)
        note_call();
    return calls_enter(function, on_word);
}

#define ENTER()                                                                                    \
    do {                                                                                           \
        const CK_RV enter_rv_ = enter(__func__);                                                   \
        if (enter_rv_ != CKR_OK)                                                                   \
            return enter_rv_;                                                                      \
    } while (0)

/* ---- handles ----------------------------------------------------------------------------- */

static CK_OBJECT_HANDLE outer(CK_OBJECT_HANDLE inner)
{
    return inner ? inner | epoch << EPOCH_SHIFT : 0;
}

static CK_OBJECT_HANDLE inner(CK_OBJECT_HANDLE handle)
{
    return handle >> EPOCH_SHIFT == epoch ? handle & ((1ul << EPOCH_SHIFT) - 1) : 0;
}

static void hand_out(CK_RV rv, CK_OBJECT_HANDLE *handle)
{
    if (rv == CKR_OK)
        *handle = outer(*handle);
}

/* An answer's length, as the rule wants it. Asking for the length alone is left in peace. */
static void twist_length(CK_RV rv, const void *data, CK_ULONG *len)
{
    if (rv != CKR_OK || !data)
        return;
    if (twist == WORD_SHORT)
        --*len;
    if (twist == WORD_LONG)
        ++*len;
}

static void twist_byte(CK_RV rv, unsigned char *data, CK_ULONG len)
{
    if (rv == CKR_OK && data && len > 0 && twist == WORD_LIE)
        data[len / 2] ^= 1;
}

/* ---- module, slots, sessions ------------------------------------------------------------- */

CK_RV C_Initialize(void *args)
{
    ENTER();
    return real->C_Initialize(args);
}

CK_RV C_Finalize(void *reserved)
{
    ENTER();
    last_session = kept_public = kept_private = 0;
    epoch++;
    return real->C_Finalize(reserved);
}

CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *n)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GetSlotList(present, slots, n);
    if (rv == CKR_OK && (twist == WORD_REMOVED || (slots && twist == WORD_SHORT)))
        *n = 0;
    if (rv == CKR_OK && slots && twist == WORD_LONG)
        ++*n;
    return rv;
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    ENTER();
    return real->C_GetTokenInfo(slot, info);
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GetMechanismInfo(slot, type, info);
    if (rv == CKR_OK && twist == WORD_LIE)
        info->flags = 0;
    return rv;
}

CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
                    CK_SESSION_HANDLE *session)
{
    CK_RV rv;

    ENTER();
    rv = real->C_OpenSession(slot, flags, app, notify, session);
    if (rv == CKR_OK) {
        last_session = *session;
        last_slot = slot;
    }
    return rv;
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
    ENTER();
    if (session == last_session)
        last_session = 0;
    return real->C_CloseSession(session);
}

/* Of those there is nothing but the rule. */
#define PASS_ON(name, parameters, arguments)                                                       \
    CK_RV name parameters                                                                          \
    {                                                                                              \
        ENTER();                                                                                   \
        return real->name arguments;                                                               \
    }

PASS_ON(C_GetSessionInfo, (CK_SESSION_HANDLE s, CK_SESSION_INFO *info), (s, info))
PASS_ON(C_Login, (CK_SESSION_HANDLE s, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len),
        (s, user, pin, len))
PASS_ON(C_Logout, (CK_SESSION_HANDLE s), (s))
PASS_ON(C_InitToken, (CK_SLOT_ID slot, unsigned char *pin, CK_ULONG len, unsigned char *label),
        (slot, pin, len, label))
PASS_ON(C_InitPIN, (CK_SESSION_HANDLE s, unsigned char *pin, CK_ULONG len), (s, pin, len))
PASS_ON(C_SetPIN,
        (CK_SESSION_HANDLE s, unsigned char *old, CK_ULONG old_len, unsigned char *pin,
         CK_ULONG len),
        (s, old, old_len, pin, len))

/* ---- objects ----------------------------------------------------------------------------- */

CK_RV C_CreateObject(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n,
                     CK_OBJECT_HANDLE *object)
{
    CK_RV rv;

    ENTER();
    rv = real->C_CreateObject(session, attrs, n, object);
    hand_out(rv, object);
    return rv;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    ENTER();
    return real->C_DestroyObject(session, inner(object));
}

/* (0, 0) and its like are on none of the curves that are in use. */
static void twist_attribute(CK_ATTRIBUTE *a)
{
    if (!a->pValue || a->ulValueLen == CK_UNAVAILABLE_INFORMATION)
        return;
    twist_length(CKR_OK, a->pValue, &a->ulValueLen);
    if (twist == WORD_LIE && a->type == CKA_EC_POINT && a->ulValueLen > 3)
        memset((unsigned char *)a->pValue + 3, 0, a->ulValueLen - 3);
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attrs,
                          CK_ULONG n)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GetAttributeValue(session, inner(object), attrs, n);
    for (CK_ULONG i = 0; rv == CKR_OK && i < n; i++)
        twist_attribute(&attrs[i]);
    return rv;
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *attrs, CK_ULONG n)
{
    ENTER();
    return real->C_FindObjectsInit(session, attrs, n);
}

CK_RV C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max, CK_ULONG *n)
{
    CK_RV rv;

    ENTER();
    rv = real->C_FindObjects(session, objects, max, n);
    if (rv != CKR_OK)
        return rv;
    for (CK_ULONG i = 0; i < *n; i++)
        objects[i] = outer(objects[i]);
    if (twist == WORD_LIE || twist == WORD_SHORT)
        *n = 0;
    if (twist == WORD_LONG)
        *n = max + 1;
    return rv;
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
    ENTER();
    return real->C_FindObjectsFinal(session);
}

/* ---- keys -------------------------------------------------------------------------------- */

CK_RV C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *attrs,
                    CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GenerateKey(session, mechanism, attrs, n, key);
    hand_out(rv, key);
    return rv;
}

static CK_RV copy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE public_key,
                  CK_OBJECT_HANDLE private_key, CK_OBJECT_HANDLE *ret_public,
                  CK_OBJECT_HANDLE *ret_private)
{
    const CK_RV rv = real->C_CopyObject(session, public_key, NULL, 0, ret_public);

    return rv == CKR_OK ? real->C_CopyObject(session, private_key, NULL, 0, ret_private) : rv;
}

/* Of the first pair a copy is kept; what is made afterwards gives way to copies of that. */
static CK_RV repeat(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *public_key,
                    CK_OBJECT_HANDLE *private_key)
{
    if (!kept_public)
        return copy(session, *public_key, *private_key, &kept_public, &kept_private);
    real->C_DestroyObject(session, *public_key);
    real->C_DestroyObject(session, *private_key);
    return copy(session, kept_public, kept_private, public_key, private_key);
}

static CK_OBJECT_HANDLE find_stored(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class)
{
    char label[] = "p11fault";
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_LABEL, label, 8}};
    CK_OBJECT_HANDLE found = 0;
    CK_ULONG n = 0;

    if (real->C_FindObjectsInit(session, template, 2) == CKR_OK) {
        real->C_FindObjects(session, &found, 1, &n);
        real->C_FindObjectsFinal(session);
    }
    return n > 0 ? found : 0;
}

static CK_RV keep(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_BBOOL yes = CK_TRUE;
    char label[] = "p11fault";
    CK_ATTRIBUTE changes[] = {{CKA_TOKEN, &yes, sizeof(yes)}, {CKA_LABEL, label, 8}};
    CK_OBJECT_HANDLE kept;

    return real->C_CopyObject(session, key, changes, 2, &kept);
}

static CK_RV from_store(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *public_key,
                        CK_OBJECT_HANDLE *private_key)
{
    CK_OBJECT_HANDLE *const keys[] = {public_key, private_key};
    static const CK_OBJECT_CLASS classes[] = {CKO_PUBLIC_KEY, CKO_PRIVATE_KEY};
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE change = {CKA_TOKEN, &no, sizeof(no)};
    CK_RV rv = CKR_OK;

    for (size_t i = 0; rv == CKR_OK && i < 2; i++) {
        const CK_OBJECT_HANDLE stored = find_stored(session, classes[i]);

        if (!stored) {
            rv = keep(session, *keys[i]);
        } else {
            real->C_DestroyObject(session, *keys[i]);
            rv = real->C_CopyObject(session, stored, &change, 1, keys[i]);
        }
    }
    return rv;
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                        CK_ATTRIBUTE *public_attrs, CK_ULONG n_public, CK_ATTRIBUTE *private_attrs,
                        CK_ULONG n_private, CK_OBJECT_HANDLE *public_key,
                        CK_OBJECT_HANDLE *private_key)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GenerateKeyPair(session, mechanism, public_attrs, n_public, private_attrs,
                                 n_private, public_key, private_key);
    if (rv == CKR_OK && twist == WORD_REPEAT)
        rv = repeat(session, public_key, private_key);
    if (rv == CKR_OK && twist == WORD_STORED)
        rv = from_store(session, public_key, private_key);
    hand_out(rv, public_key);
    hand_out(rv, private_key);
    return rv;
}

CK_RV C_WrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                CK_OBJECT_HANDLE key, unsigned char *wrapped, CK_ULONG *len)
{
    CK_RV rv;

    ENTER();
    rv = real->C_WrapKey(session, mechanism, inner(wrapping), inner(key), wrapped, len);
    twist_byte(rv, wrapped, *len);
    twist_length(rv, wrapped, len);
    return rv;
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                  unsigned char *wrapped, CK_ULONG len, CK_ATTRIBUTE *attrs, CK_ULONG n,
                  CK_OBJECT_HANDLE *key)
{
    CK_RV rv;

    ENTER();
    rv = real->C_UnwrapKey(session, mechanism, inner(unwrapping), wrapped, len, attrs, n, key);
    hand_out(rv, key);
    return rv;
}

CK_RV C_DeriveKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                  CK_ATTRIBUTE *attrs, CK_ULONG n, CK_OBJECT_HANDLE *key)
{
    CK_RV rv;

    ENTER();
    rv = real->C_DeriveKey(session, mechanism, inner(base), attrs, n, key);
    hand_out(rv, key);
    return rv;
}

CK_RV C_DecryptInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    ENTER();
    return real->C_DecryptInit(session, mechanism, inner(key));
}

CK_RV C_Decrypt(CK_SESSION_HANDLE session, unsigned char *sealed, CK_ULONG sealed_len,
                unsigned char *data, CK_ULONG *len)
{
    CK_RV rv;

    ENTER();
    rv = real->C_Decrypt(session, sealed, sealed_len, data, len);
    twist_byte(rv, data, *len);
    twist_length(rv, data, len);
    return rv;
}

/* ---- signatures and random bytes --------------------------------------------------------- */

CK_RV C_SignInit(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    ENTER();
    return real->C_SignInit(session, mechanism, inner(key));
}

CK_RV C_Sign(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
             unsigned char *signature, CK_ULONG *len)
{
    CK_RV rv;

    ENTER();
    rv = real->C_Sign(session, data, data_len, signature, len);
    twist_byte(rv, signature, *len);
    twist_length(rv, signature, len);
    return rv;
}

CK_RV C_GenerateRandom(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG len)
{
    CK_RV rv;

    ENTER();
    rv = real->C_GenerateRandom(session, data, len);
    if (rv == CKR_OK && twist == WORD_LIE)
        memset(data, 0, len);
    return rv;
}

/* ---- the function list ------------------------------------------------------------------- */

MM_PUBLIC CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    static CK_FUNCTION_LIST list;
    const CK_RV rv = in_front_of("MM_FAULT_MODULE", "p11fault", &real, &list);

    if (rv != CKR_OK)
        return rv;
    list.C_InitToken = C_InitToken;
    list.C_InitPIN = C_InitPIN;
    list.C_SetPIN = C_SetPIN;
    list.C_DecryptInit = C_DecryptInit;
    list.C_Decrypt = C_Decrypt;
    *ret_list = &list;
    return CKR_OK;
}
