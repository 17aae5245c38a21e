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

bool mm_token_wants_renewal(const struct mm_token *t)
{
    const unsigned objects = mm_quirks_of(&t->info)->renew_after_objects;

    return objects > 0 && t->session_objects >= objects;
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
    mm_module_end(t);
    t->session_objects = 0;
}

static int begin(struct mm_token *t, P11KitUri *uri, struct mm_errinfo *ei)
{
    struct mm_slot_match match;
    int r = mm_module_start(t, "renewal", ei);

    if (r < 0)
        return r;
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
     * moment. A PIN that was refused, or is in doubt, is not tried again. */
    for (int i = 0; i < TRIES; i++) {
        end(t);
        r = begin(t, uri, &why);
        if (r == MM_OK || r == MM_ERR_PIN || mm_token_failure_class(&why) == MM_TOKEN_LOGIN)
            break;
        pause_a_little();
    }
    if (r < 0 && ei)
        *ei = why;
    return r;
}
