/* SPDX-License-Identifier: Apache-2.0 */
/* From a path and a URI to a session: module, slot, token, session. */
#include "pkcs11/internal.h"

#include <dlfcn.h>
#include <openssl/crypto.h>
#include <string.h>

enum { SLOTS_MAX = 1024 };

static int set_environment(const struct mm_token_open *how, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < how->n_environment; i++) {
        const char *entry = how->environment[i];
        const char *equals = strchr(entry, '=');
        MM_FREE char *name = NULL;

        if (!equals || equals == entry)
            return mm_fail(ei, MM_ERR_INVALID, "TOKEN_ENVIRONMENT_INVALID",
                           "environment of the module: entry %zu is not NAME=value", i + 1);
        name = strndup(entry, (size_t)(equals - entry));
        if (!name || setenv(name, equals + 1, 1) < 0)
            return mm_fail_memory(ei);
    }
    return MM_OK;
}

/* Vendor modules start threads and leave handlers behind that run after dlclose, and SoftHSM's
 * globals outlive it badly: once loaded, the code stays mapped until the process ends. */
static int pin_library(const char *path, struct mm_errinfo *ei)
{
    void *library;

    mm_watch_enter("the loader"); /* which runs what the module wants run first */
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    mm_watch_leave();
    if (!library)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_MODULE_NOT_LOADED",
                       "PKCS#11 module not loaded: %s", dlerror());
    dlclose(library);
    return MM_OK;
}

/* Where the library that has this address begins; NULL if no library has it. */
static const void *library_of(const void *address)
{
    Dl_info info;

    return address && dladdr(address, &info) ? info.dli_fbase : NULL;
}

/* p11-kit's proxy is the very library that this process uses p11-kit from, which refuses to load
 * itself: it shows the slots of all modules that are registered, and manages them as it would here.
 * NULL for every other module. */
static CK_FUNCTION_LIST *proxy_functions(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    const void *ours = library_of(dlsym(RTLD_DEFAULT, "p11_kit_module_load"));
    CK_FUNCTION_LIST *functions = NULL;
    CK_RV (*get)(CK_FUNCTION_LIST * *list) = NULL;
    void *symbol = NULL;

    if (library) {
        symbol = dlsym(library, "C_GetFunctionList");
        dlclose(library);
    }
    if (!ours || library_of(symbol) != ours)
        return NULL;
    memcpy(&get, &symbol, sizeof(get)); /* ISO C has no cast for it */
    return get(&functions) == CKR_OK ? functions : NULL;
}

static int load(struct mm_token *t, const char *path, struct mm_errinfo *ei)
{
    int r;

    if (path[0] != '/')
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_MODULE_PATH",
                       "PKCS#11 module '%.100s': give its absolute path", path);
    r = pin_library(path, ei);
    if (r < 0)
        return r;
    p11_kit_be_quiet();
    mm_watch_enter("C_GetFunctionList");
    t->ck = proxy_functions(path);
    t->proxy = t->ck != NULL;
    if (!t->proxy)
        t->ck = p11_kit_module_load(path, P11_KIT_MODULE_CRITICAL);
    mm_watch_leave();
    if (!t->ck)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "TOKEN_MODULE_NOT_LOADED",
                       "PKCS#11 module %.100s not loaded: %.100s", path, p11_kit_message());
    return mm_module_start(t, path, ei);
}

int mm_module_start(struct mm_token *t, const char *what, struct mm_errinfo *ei)
{
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = t->parameters};
    CK_RV rv;

    if (t->initialised)
        return MM_OK;
    mm_watch_enter("C_Initialize");
    if (t->parameters || t->proxy)
        rv = t->ck->C_Initialize(t->parameters ? &args : NULL);
    else
        rv = p11_kit_module_initialize(t->ck);
    mm_watch_leave();
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "PKCS#11 module %.100s: C_Initialize", what);
    t->initialised = true;
    return MM_OK;
}

void mm_module_end(struct mm_token *t)
{
    if (!t->initialised)
        return;
    mm_watch_enter("C_Finalize");
    if (t->proxy)
        (void)t->ck->C_Finalize(NULL);
    else
        p11_kit_module_finalize(t->ck);
    mm_watch_leave();
    t->initialised = false;
}

int mm_module_open(const struct mm_token_open *how, struct mm_token **ret_token,
                   struct mm_errinfo *ei)
{
    struct mm_token *t;
    int r = set_environment(how, ei);

    if (r < 0)
        return r;
    /* SoftHSM uses libcrypto's default context, as this process does: a host-wide openssl.cnf must
     * not put a PKCS#11 provider into it. Without effect when main has settled it before. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    t = calloc(1, sizeof(*t));
    if (!t)
        return mm_fail_memory(ei);
    if (how->parameters && *how->parameters) {
        t->parameters = strdup(how->parameters);
        if (!t->parameters) {
            free(t);
            return mm_fail_memory(ei);
        }
    }
    r = load(t, how->module, ei);
    if (r < 0) {
        mm_module_close(t);
        return r;
    }
    *ret_token = t;
    return MM_OK;
}

void mm_module_close(struct mm_token *t)
{
    mm_module_end(t);
    if (t->ck && !t->proxy)
        p11_kit_module_release(t->ck);
    free(t->parameters);
    mm_cache_clear(t);
    mm_secret_free(t->pin);
    mm_secret_free(t->refused);
    free(t);
}

static int slot_list(struct mm_token *t, CK_SLOT_ID **ret_slots, CK_ULONG *ret_n,
                     struct mm_errinfo *ei)
{
    MM_FREE CK_SLOT_ID *slots = NULL;
    CK_ULONG n = 0, room;
    CK_RV rv = MM_CK(t, C_GetSlotList(CK_TRUE, NULL, &n));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetSlotList");
    if (n > SLOTS_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "TOKEN_TOO_MANY_SLOTS", "the module shows %lu slots", n);
    /* One more than there are, so that none is not an allocation of 0 bytes. */
    room = ++n;
    slots = calloc(room, sizeof(*slots));
    if (!slots)
        return mm_fail_memory(ei);
    rv = MM_CK(t, C_GetSlotList(CK_TRUE, slots, &n));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetSlotList");
    if (n > room)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ANSWER",
                       "the module gave %lu slots where there is room for %lu", n, room);
    *ret_slots = MM_TAKE(slots);
    *ret_n = n;
    return MM_OK;
}

int mm_slot_find(struct mm_token *t, P11KitUri *uri, bool initialised, struct mm_slot_match *ret,
                 struct mm_errinfo *ei)
{
    MM_FREE CK_SLOT_ID *slots = NULL;
    struct mm_slot_match found = {0};
    CK_RV unread = CKR_OK;
    CK_ULONG n = 0;
    int r = slot_list(t, &slots, &n, ei);

    if (r < 0)
        return r;
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        const CK_RV rv = MM_CK(t, C_GetTokenInfo(slots[i], &info));

        if (rv != CKR_OK) {
            unread = rv;
            continue;
        }
        if (!(info.flags & CKF_TOKEN_INITIALIZED) == initialised)
            continue;
        if (uri && !p11_kit_uri_match_token_info(uri, &info))
            continue;
        found.slot = slots[i];
        found.info = info;
        found.matches++;
    }
    if (found.matches == 0 && unread != CKR_OK)
        return mm_token_fail(ei, unread, "C_GetTokenInfo");
    *ret = found;
    return MM_OK;
}

int mm_session_open(struct mm_token *t, struct mm_errinfo *ei)
{
    const CK_RV rv = MM_CK(
        t, C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &t->session));

    if (rv != CKR_OK) {
        t->session = CK_INVALID_HANDLE;
        return mm_token_fail(ei, rv, "C_OpenSession");
    }
    return MM_OK;
}

static int open_matching(struct mm_token *t, P11KitUri *uri, const char *text,
                         struct mm_errinfo *ei)
{
    struct mm_slot_match match;
    int r = mm_slot_find(t, uri, true, &match, ei);

    if (r < 0)
        return r;
    if (match.matches == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_NOT_FOUND", "no token matches '%.150s'", text);
    if (match.matches > 1)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_AMBIGUOUS",
                       "%zu tokens match '%.150s': name one by its serial", match.matches, text);
    t->slot = match.slot;
    t->info = match.info;
    r = mm_mechanisms_probe(t, ei);
    if (r < 0)
        return r;
    return mm_session_open(t, ei);
}

int mm_token_open(const struct mm_token_open *how, struct mm_token **ret_token,
                  struct mm_errinfo *ei)
{
    MM_URI_CLEANUP P11KitUri *uri = NULL;
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    int r = mm_uri_parse(how->uri, false, &uri, ei);

    if (r < 0)
        return r;
    r = mm_module_open(how, &t, ei);
    if (r < 0)
        return r;
    r = open_matching(t, uri, how->uri, ei);
    if (r < 0)
        return r;
    *ret_token = MM_TAKE(t);
    return MM_OK;
}

void mm_token_free(struct mm_token *t)
{
    if (!t)
        return;
    if (t->session != CK_INVALID_HANDLE && t->pin)
        (void)MM_CK(t, C_Logout(t->session));
    if (t->session != CK_INVALID_HANDLE)
        (void)MM_CK(t, C_CloseSession(t->session));
    mm_module_close(t);
}

int mm_slot_info(struct mm_token *t, CK_TOKEN_INFO *ret_info, struct mm_errinfo *ei)
{
    CK_TOKEN_INFO info;
    const CK_RV rv = MM_CK(t, C_GetTokenInfo(t->slot, &info));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetTokenInfo");
    *ret_info = info;
    return MM_OK;
}

/* PKCS#11 pads its strings with blanks and ends them with nothing. */
static void copy_padded(char *to, const unsigned char *from, size_t len)
{
    len = p11_kit_space_strlen(from, len);
    memcpy(to, from, len);
    to[len] = 0;
}

int mm_token_info(struct mm_token *t, struct mm_token_info *ret_info, struct mm_errinfo *ei)
{
    CK_TOKEN_INFO ck;
    struct mm_token_info info = {0};
    int r = mm_slot_info(t, &ck, ei);

    if (r < 0)
        return r;
    copy_padded(info.label, ck.label, sizeof(ck.label));
    copy_padded(info.manufacturer, ck.manufacturerID, sizeof(ck.manufacturerID));
    copy_padded(info.model, ck.model, sizeof(ck.model));
    copy_padded(info.serial, ck.serialNumber, sizeof(ck.serialNumber));
    info.flags = ck.flags;
    if (ck.ulMaxSessionCount != CK_EFFECTIVELY_INFINITE &&
        ck.ulMaxSessionCount != CK_UNAVAILABLE_INFORMATION)
        info.max_sessions = ck.ulMaxSessionCount;
    if (ck.ulSessionCount != CK_UNAVAILABLE_INFORMATION)
        info.sessions = ck.ulSessionCount;
    info.pin_final_try = ck.flags & CKF_USER_PIN_FINAL_TRY;
    info.pin_locked = ck.flags & CKF_USER_PIN_LOCKED;
    info.pin_count_low = ck.flags & CKF_USER_PIN_COUNT_LOW;
    info.initialized = ck.flags & CKF_TOKEN_INITIALIZED;
    *ret_info = info;
    return MM_OK;
}
