/* SPDX-License-Identifier: Apache-2.0 */
/* A blank token becomes one of ours: label, SO PIN, user PIN. */
#include "daemon/base/text.h"
#include "pkcs11/internal.h"

#include <string.h>

/* Before anything is written, since C_InitToken cannot be undone. */
static int check_pin_length(const CK_TOKEN_INFO *info, const char *whose, struct mm_secret *pin,
                            struct mm_errinfo *ei)
{
    const size_t len = mm_secret_len(pin);

    if (len < info->ulMinPinLen || (info->ulMaxPinLen > 0 && len > info->ulMaxPinLen))
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_PIN_LENGTH",
                       "the %s PIN has %zu bytes; the token takes %lu to %lu", whose, len,
                       info->ulMinPinLen, info->ulMaxPinLen);
    return MM_OK;
}

static bool is_labelled(const CK_TOKEN_INFO *info, const char *label)
{
    return p11_kit_space_strlen(info->label, sizeof(info->label)) == strlen(label) &&
           memcmp(info->label, label, strlen(label)) == 0;
}

static int label_is_free(struct mm_token *t, const char *label, struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = p11_kit_uri_new();
    struct mm_slot_match match;
    CK_TOKEN_INFO *info;
    int r;

    if (!uri)
        return mm_fail_memory(ei);
    info = p11_kit_uri_get_token_info(uri);
    memset(info->label, ' ', sizeof(info->label));
    memcpy(info->label, label, strlen(label));
    r = mm_slot_find(t, uri, true, &match, ei);
    if (r < 0)
        return r;
    if (match.matches > 0)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_EXISTS",
                       "a token with the label '%.32s' exists already", label);
    return MM_OK;
}

static int find_blank(struct mm_token *t, P11KitUri *uri, struct mm_errinfo *ei)
{
    struct mm_slot_match match;
    int r = mm_slot_find(t, uri, false, &match, ei);

    if (r < 0)
        return r;
    if (match.matches > 1)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_AMBIGUOUS",
                       "%zu tokens are not initialised: name one by its serial", match.matches);
    if (match.matches == 1) {
        t->slot = match.slot;
        t->info = match.info;
        return MM_OK;
    }
    r = mm_slot_find(t, uri, true, &match, ei);
    if (r < 0)
        return r;
    if (match.matches > 0)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_EXISTS",
                       "the token is initialised already, and is left as it is");
    return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_NOT_FOUND", "no blank token found");
}

static int set_user_pin(struct mm_token *t, struct mm_secret *so_pin, struct mm_secret *user_pin,
                        struct mm_errinfo *ei)
{
    CK_RV rv;
    int r = mm_session_open(t, ei);

    if (r < 0)
        return r;
    if (!mm_quirks_of(&t->info)->no_officer)
        rv = MM_CK(t, C_Login(t->session, CKU_SO, mm_secret_data(so_pin), mm_secret_len(so_pin)));
    else
        rv = MM_CK(t, C_Login(t->session, CKU_SO, (CK_UTF8CHAR *)(uintptr_t) "", 0));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Login of the security officer");
    rv = MM_CK(t, C_InitPIN(t->session, mm_secret_data(user_pin), mm_secret_len(user_pin)));
    (void)MM_CK(t, C_Logout(t->session));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_InitPIN");
    return MM_OK;
}

static int init_token(struct mm_token *t, const char *label, struct mm_secret *so_pin,
                      struct mm_errinfo *ei)
{
    CK_UTF8CHAR padded[32];
    CK_RV rv;

    if (mm_quirks_of(&t->info)->no_officer) {
        if (is_labelled(&t->info, label))
            return MM_OK;
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_LABEL_FIXED",
                       "the module's parameters give this token its label, and it is not '%.32s': "
                       "set dbTokenDescription in them",
                       label);
    }
    memset(padded, ' ', sizeof(padded));
    memcpy(padded, label, strlen(label));
    rv = MM_CK(t, C_InitToken(t->slot, mm_secret_data(so_pin), mm_secret_len(so_pin), padded));
    return rv == CKR_OK ? MM_OK : mm_token_fail(ei, rv, "C_InitToken");
}

static int initialise(struct mm_token *t, P11KitUri *uri, const char *label,
                      struct mm_secret *so_pin, struct mm_secret *user_pin, struct mm_errinfo *ei)
{
    int r = label_is_free(t, label, ei);

    if (r == MM_OK)
        r = find_blank(t, uri, ei);
    if (r == MM_OK)
        r = check_pin_length(&t->info, "SO", so_pin, ei);
    if (r == MM_OK)
        r = check_pin_length(&t->info, "user", user_pin, ei);
    if (r == MM_OK)
        r = init_token(t, label, so_pin, ei);
    if (r < 0)
        return r;
    r = set_user_pin(t, so_pin, user_pin, ei);
    if (r < 0 && ei)
        return mm_err_prefix(ei, "token '%s' is initialised, but has no user PIN yet", label);
    return r;
}

int mm_token_initialise(const struct mm_token_open *how, const char *label,
                        struct mm_secret *so_pin, struct mm_secret *user_pin, struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = NULL;
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    const size_t label_len = strlen(label);
    int r;

    if (label_len == 0 || label_len > sizeof(((CK_TOKEN_INFO *)0)->label) ||
        !mm_utf8_valid(label, label_len) || label[label_len - 1] == ' ')
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_LABEL_INVALID",
                       "a token's label has 1 to 32 bytes of UTF-8, the last no blank");
    r = mm_uri_parse(how->uri ? how->uri : "pkcs11:", false, &uri, ei);
    if (r == MM_OK)
        r = mm_module_open(how, &t, ei);
    if (r < 0)
        return r;
    return initialise(t, uri, label, so_pin, user_pin, ei);
}
