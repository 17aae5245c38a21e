/* SPDX-License-Identifier: Apache-2.0 */
/* Modules that forget nothing: ending and starting one in place gives back what it has hoarded. */
#include "pkcs11/internal.h"

#include <string.h>

/* Eight processes that renew without a pause need up to 20 tries each; a second is far from that,
 * and far below the time that a job may take. */
enum {
    TRIES = 80,
    PAUSE_MIN_US = 5000,
    PAUSE_SPREAD_US = 15000,
};

/*
 * Session objects that a module may make before it is renewed. SoftHSM 2.6.1 keeps a record of
 * every session object, destroyed or not, until C_Finalize: 570 bytes a key pair. Renewing takes 4
 * to 5 ms of CPU, so 1 us a device at this interval, and memory stays within 1.2 MB. Fixed
 * after 2.6.1.
 */
static const struct {
    const char *manufacturer;
    unsigned objects;
} hoarders[] = {{"SoftHSM project", 4096}};

bool mm_token_wants_renewal(const struct mm_token *t)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(hoarders); i++) {
        const size_t len = strlen(hoarders[i].manufacturer);

        if (memcmp(t->info.manufacturerID, hoarders[i].manufacturer, len) == 0)
            return t->session_objects >= hoarders[i].objects;
    }
    return false;
}

/* The token that was open before, by all that identifies it. */
static P11KitUri *own_uri(const struct mm_token *t)
{
    P11KitUri *uri = p11_kit_uri_new();
    CK_TOKEN_INFO *info = uri ? p11_kit_uri_get_token_info(uri) : NULL;

    if (info) {
        memcpy(info->label, t->info.label, sizeof(info->label));
        memcpy(info->manufacturerID, t->info.manufacturerID, sizeof(info->manufacturerID));
        memcpy(info->model, t->info.model, sizeof(info->model));
        memcpy(info->serialNumber, t->info.serialNumber, sizeof(info->serialNumber));
    }
    return uri;
}

static void end(struct mm_token *t)
{
    mm_cache_clear(t);
    if (t->session != CK_INVALID_HANDLE)
        (void)MM_CK(t, C_CloseSession(t->session));
    t->session = CK_INVALID_HANDLE;
    if (t->initialised)
        p11_kit_module_finalize(t->ck);
    t->initialised = false;
    t->session_objects = 0;
}

static int begin(struct mm_token *t, P11KitUri *uri, struct mm_errinfo *ei)
{
    struct mm_slot_match match;
    const CK_RV rv = p11_kit_module_initialize(t->ck);
    int r;

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Initialize");
    t->initialised = true;
    r = mm_slot_find(t, uri, true, &match, ei);
    if (r < 0)
        return r;
    if (match.matches != 1) {
        mm_token_fail(ei, CKR_TOKEN_NOT_PRESENT, "renewing the module");
        return ei->code;
    }
    t->slot = match.slot;
    return mm_token_reopen(t, ei);
}

/* Uneven, so that processes that are in each other's way get out of step. */
static void pause_a_little(void)
{
    const struct timespec pause = {
        .tv_nsec = (PAUSE_MIN_US + (long)(mm_cpu_ns() % PAUSE_SPREAD_US)) * 1000};

    nanosleep(&pause, NULL);
}

int mm_token_renew(struct mm_token *t, struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = own_uri(t);
    struct mm_errinfo why;
    int r = MM_ERR_INTERNAL;

    if (!uri)
        return mm_fail_memory(ei);
    /* SoftHSM's login rewrites the token's file; a process that loads it at that moment finds no
     * token, or one without a PIN, or no module at all (CKR_GENERAL_ERROR), but all is well in a
     * moment. A PIN that was refused is not tried again. */
    for (int i = 0; i < TRIES; i++) {
        end(t);
        r = begin(t, uri, &why);
        if (r == MM_OK || r == MM_ERR_PIN)
            break;
        pause_a_little();
    }
    if (r < 0 && ei)
        *ei = why;
    return r;
}
