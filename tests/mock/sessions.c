/* SPDX-License-Identifier: Apache-2.0 */
/* Module, slots, tokens, sessions and logins. */
#include "tests/mock/mock.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mock_state mock;

static void pad(unsigned char *to, size_t size, const char *text)
{
    memset(to, ' ', size);
    memcpy(to, text, strnlen(text, size));
}

/* ---- module ------------------------------------------------------------------------------ */

static void insert_tokens(void)
{
    mock.slots[1] = (struct mock_slot){.present = true,
                                       .initialised = true,
                                       .label = "mock",
                                       .serial = "0001",
                                       .so_pin = "so-pin",
                                       .user_pin = "1234",
                                       .tries = MOCK_TRIES};
    mock.slots[2] = (struct mock_slot){.present = true, .serial = "0002", .tries = MOCK_TRIES};
    mock.slots[3] = mock.slots[1];
    memcpy(mock.slots[3].serial, "0003", 5);
}

CK_RV C_Initialize(void *args)
{
    const char *rules = getenv("MM_MOCK_P11_RULES");

    (void)args;
    if (mock.initialised)
        return CKR_CRYPTOKI_ALREADY_INITIALIZED;
    if (rules && !mm_mock_p11_rules(rules)) {
        fprintf(stderr, "mock token: bad $MM_MOCK_P11_RULES\n");
        return CKR_ARGUMENTS_BAD;
    }
    MOCK_ENTER();
    mock.libctx = OSSL_LIB_CTX_new();
    if (!mock.libctx)
        return CKR_HOST_MEMORY;
    insert_tokens();
    mock.initialised = true;
    if (!mock_state_load()) {
        fprintf(stderr, "mock token: bad state file\n");
        C_Finalize(NULL);
        return CKR_DEVICE_ERROR;
    }
    return CKR_OK;
}

CK_RV C_Finalize(void *reserved)
{
    (void)reserved;
    MOCK_ENTER();
    if (!mock.initialised)
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    mock_lose_sessions();
    mock_objects_all();
    EVP_PKEY_free(mock.last_pair);
    mock.last_pair = NULL;
    OSSL_LIB_CTX_free(mock.libctx);
    mock.libctx = NULL;
    mock.initialised = false;
    return CKR_OK;
}

CK_RV C_GetInfo(CK_INFO *info)
{
    MOCK_ENTER();
    *info = (CK_INFO){.cryptokiVersion = {2, 40}, .libraryVersion = {1, 0}};
    pad(info->manufacturerID, sizeof(info->manufacturerID), "mintmark");
    pad(info->libraryDescription, sizeof(info->libraryDescription), "mock token");
    return CKR_OK;
}

/* ---- slots and tokens -------------------------------------------------------------------- */

static bool slot_here(CK_SLOT_ID id)
{
    return id >= 1 && id <= MOCK_SLOTS && (id != 3 || mock_behaviour.twin);
}

CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    CK_ULONG n = 0;

    MOCK_ENTER();
    if (!mock.initialised)
        return CKR_CRYPTOKI_NOT_INITIALIZED;
    for (CK_SLOT_ID id = 1; id <= MOCK_SLOTS; id++) {
        if (!slot_here(id) || (present && !mock.slots[id].present))
            continue;
        if (slots && n >= *count)
            return CKR_BUFFER_TOO_SMALL;
        if (slots)
            slots[n] = id;
        n++;
    }
    *count = n + (slots && mock_behaviour.slots_more ? 1000000 : 0);
    return CKR_OK;
}

static CK_FLAGS pin_flags(const struct mock_slot *slot)
{
    CK_FLAGS flags = 0;

    if (slot->tries < MOCK_TRIES || mock_behaviour.pin == PIN_LOW)
        flags |= CKF_USER_PIN_COUNT_LOW;
    if (slot->tries == 1 || mock_behaviour.pin == PIN_FINAL)
        flags |= CKF_USER_PIN_FINAL_TRY;
    if (slot->tries == 0 || mock_behaviour.pin == PIN_LOCKED)
        flags |= CKF_USER_PIN_LOCKED;
    return flags;
}

CK_RV C_GetTokenInfo(CK_SLOT_ID id, CK_TOKEN_INFO *info)
{
    const struct mock_slot *slot;

    MOCK_ENTER();
    if (!slot_here(id))
        return CKR_SLOT_ID_INVALID;
    slot = &mock.slots[id];
    if (!slot->present)
        return CKR_TOKEN_NOT_PRESENT;
    *info = (CK_TOKEN_INFO){.ulMaxSessionCount = MOCK_SESSIONS,
                            .ulMaxRwSessionCount = MOCK_SESSIONS,
                            .ulMinPinLen = 4,
                            .ulMaxPinLen = MOCK_PIN_MAX};
    pad(info->label, sizeof(info->label), slot->label);
    pad(info->manufacturerID, sizeof(info->manufacturerID), "mintmark");
    pad(info->model, sizeof(info->model), "mock");
    pad(info->serialNumber, sizeof(info->serialNumber), slot->serial);
    info->flags = CKF_RNG | CKF_LOGIN_REQUIRED | pin_flags(slot);
    if (slot->initialised)
        info->flags |= CKF_TOKEN_INITIALIZED;
    if (slot->user_pin[0])
        info->flags |= CKF_USER_PIN_INITIALIZED;
    return CKR_OK;
}

static bool pin_fits(CK_ULONG len)
{
    return len >= 4 && len <= MOCK_PIN_MAX;
}

CK_RV C_InitToken(CK_SLOT_ID id, unsigned char *pin, CK_ULONG len, unsigned char *label)
{
    struct mock_slot *slot;

    MOCK_ENTER();
    if (!slot_here(id))
        return CKR_SLOT_ID_INVALID;
    slot = &mock.slots[id];
    if (!pin_fits(len))
        return CKR_PIN_LEN_RANGE;
    slot->initialised = true;
    memcpy(slot->label, label, 32);
    memcpy(slot->so_pin, pin, len);
    slot->so_pin[len] = 0;
    slot->user_pin[0] = 0;
    mock_state_save();
    return CKR_OK;
}

CK_RV C_InitPIN(CK_SESSION_HANDLE session, unsigned char *pin, CK_ULONG len)
{
    struct mock_session *s;
    struct mock_slot *slot;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    slot = &mock.slots[s->slot];
    if (!slot->so)
        return CKR_USER_NOT_LOGGED_IN;
    if (!pin_fits(len))
        return CKR_PIN_LEN_RANGE;
    memcpy(slot->user_pin, pin, len);
    slot->user_pin[len] = 0;
    slot->tries = MOCK_TRIES;
    mock_state_save();
    return CKR_OK;
}

CK_RV C_SetPIN(CK_SESSION_HANDLE session, unsigned char *old, CK_ULONG old_len, unsigned char *pin,
               CK_ULONG len)
{
    struct mock_session *s;
    struct mock_slot *slot;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    slot = &mock.slots[s->slot];
    if (!slot->logged_in)
        return CKR_USER_NOT_LOGGED_IN;
    if (strlen(slot->user_pin) != old_len || memcmp(slot->user_pin, old, old_len) != 0)
        return CKR_PIN_INCORRECT;
    if (!pin_fits(len))
        return CKR_PIN_LEN_RANGE;
    memcpy(slot->user_pin, pin, len);
    slot->user_pin[len] = 0;
    mock_state_save();
    return CKR_OK;
}

/* ---- sessions ---------------------------------------------------------------------------- */

struct mock_session *mock_session(CK_SESSION_HANDLE handle)
{
    const CK_SESSION_HANDLE index = handle - mock.session_base;

    if (handle <= mock.session_base || index > MOCK_SESSIONS || !mock.sessions[index].open)
        return NULL;
    return &mock.sessions[index];
}

CK_RV C_OpenSession(CK_SLOT_ID id, CK_FLAGS flags, void *application, CK_NOTIFY notify,
                    CK_SESSION_HANDLE *session)
{
    (void)application;
    (void)notify;
    MOCK_ENTER();
    if (!slot_here(id))
        return CKR_SLOT_ID_INVALID;
    if (!mock.slots[id].present)
        return CKR_TOKEN_NOT_PRESENT;
    if (!(flags & CKF_SERIAL_SESSION))
        return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
    for (CK_SESSION_HANDLE i = 1; i <= MOCK_SESSIONS; i++) {
        if (!mock.sessions[i].open) {
            mock.sessions[i] =
                (struct mock_session){.open = true, .slot = id, .rw = flags & CKF_RW_SESSION};
            *session = mock.session_base + i;
            return CKR_OK;
        }
    }
    return CKR_SESSION_COUNT;
}

static void close_session(struct mock_session *s, CK_SESSION_HANDLE handle)
{
    const CK_SLOT_ID slot = s->slot;
    bool last = true;

    mock_objects_of_session(handle);
    free(s->found);
    *s = (struct mock_session){0};
    for (size_t i = 1; i <= MOCK_SESSIONS; i++)
        last = last && !(mock.sessions[i].open && mock.sessions[i].slot == slot);
    /* The login lives as long as the application has a session (PKCS#11 v2.40 section 5.6). */
    if (last) {
        mock.slots[slot].logged_in = false;
        mock.slots[slot].so = false;
    }
}

CK_RV C_CloseSession(CK_SESSION_HANDLE session)
{
    struct mock_session *s;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    close_session(s, session);
    return CKR_OK;
}

void mock_lose_sessions(void)
{
    for (CK_SESSION_HANDLE i = 1; i <= MOCK_SESSIONS; i++) {
        if (mock.sessions[i].open)
            close_session(&mock.sessions[i], mock.session_base + i);
    }
    mock.session_base += MOCK_SESSIONS;
}

void mock_remove_tokens(void)
{
    mock_lose_sessions();
    for (CK_SLOT_ID id = 1; id <= MOCK_SLOTS; id++)
        mock.slots[id].present = false;
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    struct mock_session *s;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    *info = (CK_SESSION_INFO){.slotID = s->slot,
                              .flags = CKF_SERIAL_SESSION | (s->rw ? CKF_RW_SESSION : 0)};
    if (mock.slots[s->slot].so)
        info->state = CKS_RW_SO_FUNCTIONS;
    else if (mock.slots[s->slot].logged_in)
        info->state = s->rw ? CKS_RW_USER_FUNCTIONS : CKS_RO_USER_FUNCTIONS;
    else
        info->state = s->rw ? CKS_RW_PUBLIC_SESSION : CKS_RO_PUBLIC_SESSION;
    return CKR_OK;
}

static CK_RV login_user(struct mock_slot *slot, const unsigned char *pin, CK_ULONG len)
{
    if (!slot->user_pin[0])
        return CKR_USER_PIN_NOT_INITIALIZED;
    if (slot->tries == 0 || mock_behaviour.pin == PIN_LOCKED)
        return CKR_PIN_LOCKED;
    if (strlen(slot->user_pin) != len || memcmp(slot->user_pin, pin, len) != 0) {
        slot->tries--;
        return CKR_PIN_INCORRECT;
    }
    slot->tries = MOCK_TRIES;
    slot->logged_in = true;
    return CKR_OK;
}

CK_RV C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG len)
{
    struct mock_session *s;
    struct mock_slot *slot;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    slot = &mock.slots[s->slot];
    if (slot->logged_in || slot->so)
        return CKR_USER_ALREADY_LOGGED_IN;
    if (user == CKU_USER)
        return login_user(slot, pin, len);
    if (user != CKU_SO)
        return CKR_USER_TYPE_INVALID;
    if (strlen(slot->so_pin) != len || memcmp(slot->so_pin, pin, len) != 0)
        return CKR_PIN_INCORRECT;
    slot->so = true;
    return CKR_OK;
}

CK_RV C_Logout(CK_SESSION_HANDLE session)
{
    struct mock_session *s;

    MOCK_ENTER();
    s = mock_session(session);
    if (!s)
        return CKR_SESSION_HANDLE_INVALID;
    if (!mock.slots[s->slot].logged_in && !mock.slots[s->slot].so)
        return CKR_USER_NOT_LOGGED_IN;
    mock.slots[s->slot].logged_in = false;
    mock.slots[s->slot].so = false;
    return CKR_OK;
}
