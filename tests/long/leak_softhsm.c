/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As leak.c, with SoftHSM in place of the mock token: mints on and on in one process, as a token
 * worker does, through renewals of the module and lost sessions, and counts what is left behind.
 *
 *   leak_softhsm [CYCLES]    devices, default 100000
 *
 * Ends with: RESULT cycles= objects= sessions= fds= rss_growth_kb=, as leak.c says; objects and
 * sessions are those that the module itself lists, through its own function list. Memory is looked
 * at right after a renewal, since SoftHSM hoards in between.
 */
#include "tests/long/leak.h"

#include "daemon/base/log.h"
#include "tests/integration/token_site.h"

#include <dlfcn.h>
#include <p11-kit/p11-kit.h>
#include <string.h>

enum { LOSE_EVERY = 41, OBJECTS_MAX = 4096 };

static struct mm_errinfo ei;
#define ck_ok(call) ck_assert_msg((call) == MM_OK, "%s: %s", #call, ei.text)

static const struct token_kind *kind;
static struct token_site site;
static struct mm_conf *conf;
static struct mm_login login;
static struct mm_minter *minter;
static struct mm_chunk *chunk;

static CK_FUNCTION_LIST *module(void)
{
    static CK_FUNCTION_LIST *list;
    void *library = list ? NULL : dlopen(kind->library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;

    if (list)
        return list;
    ck_assert_msg(library != NULL, "%s", dlerror());
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    ck_assert(get && get(&list) == CKR_OK);
    return list;
}

static CK_SLOT_ID slot_of_token(CK_TOKEN_INFO *ret_info)
{
    CK_SLOT_ID slots[8];
    CK_ULONG n = 8;

    ck_assert_uint_eq(module()->C_GetSlotList(CK_TRUE, slots, &n), CKR_OK);
    for (CK_ULONG i = 0; i < n; i++) {
        if (module()->C_GetTokenInfo(slots[i], ret_info) == CKR_OK &&
            memcmp(ret_info->label, "factory ", 8) == 0)
            return slots[i];
    }
    ck_abort_msg("no token");
    return 0;
}

/* Of all sessions of this process, and the token's own. */
static size_t count_objects(CK_SLOT_ID slot)
{
    static CK_OBJECT_HANDLE found[OBJECTS_MAX];
    CK_SESSION_HANDLE session;
    CK_ULONG n = 0;

    ck_assert_uint_eq(module()->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session),
                      CKR_OK);
    ck_assert_uint_eq(module()->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    ck_assert_uint_eq(module()->C_FindObjects(session, found, OBJECTS_MAX, &n), CKR_OK);
    module()->C_CloseSession(session);
    ck_assert_uint_lt(n, OBJECTS_MAX);
    return n;
}

/* SoftHSM does not say how many there are. Its handles count from 1 after a renewal. */
static size_t count_sessions(void)
{
    CK_SESSION_INFO info;
    size_t n = 0;

    for (CK_SESSION_HANDLE handle = 1; handle < OBJECTS_MAX; handle++)
        n += module()->C_GetSessionInfo(handle, &info) == CKR_OK;
    return n;
}

static struct footprint measure(void)
{
    struct footprint now = {.rss_kb = 0};
    CK_TOKEN_INFO info;
    CK_SLOT_ID slot;

    ck_ok(mm_minter_renew(minter, &ei));
    slot = slot_of_token(&info);
    now.sessions = count_sessions();
    now.objects = count_objects(slot);
    now.fds = count_fds();
    now.rss_kb = read_rss_kb();
    return now;
}

/* Some chunks begin with all sessions gone, and the login with them. */
static void lose_sessions(void)
{
    CK_TOKEN_INFO info;

    module()->C_CloseAllSessions(slot_of_token(&info));
}

static uint64_t run(uint64_t devices)
{
    static const char *const mixed[] = {"dac", "bare", "dac", "dac", "csr", "dac", "bare", "dac"};
    static uint64_t number;
    uint64_t made = 0;

    while (made < devices) {
        const uint32_t count = next_count(devices - made);
        const char *profile = mixed[++number % MM_ARRAY_SIZE(mixed)];

        if (number % LOSE_EVERY == 0)
            lose_sessions();
        ck_assert_msg(mint_chunk(minter, profile, count, chunk, &ei) == MM_OK, "%s: %s", ei.reason,
                      ei.text);
        made += count;
        mm_chunk_clear(chunk);
    }
    return made;
}

START_TEST(minting_with_softhsm_leaves_nothing_behind)
{
    const struct footprint before = judge(run, measure);

    ck_assert_uint_gt(before.objects, 0); /* the keys that stay: it does count */
    ck_assert_uint_eq(before.sessions, 1);
}
END_TEST

static void setup(void)
{
    mm_log_setup("test", MM_LOG_ERROR);
    site_make(&site, kind);
    ck_ok(mm_conf_parse(site_path(&site, "mintmark.conf"), (const char *)site.config.data,
                        site.config.len, &conf, &ei));
    ck_ok(mm_minter_open(conf, "factory", &login, &minter, &ei));
    ck_assert_int_eq(mm_chunk_new(&chunk), MM_OK);
}

static void teardown(void)
{
    mm_minter_free(minter);
    mm_login_done(&login);
    mm_chunk_free(chunk);
    mm_conf_free(conf);
    site_done(&site);
}

int main(int argc, char **argv)
{
    TCase *t = tcase_create("all");
    const char *why;

    unsetenv("MINTMARK_TEST_TOKEN"); /* what it counts is SoftHSM's */
    kind = token_kind(&why);
    if (!kind) {
        fprintf(stderr, "skipped: no %s\n", why);
        return 77;
    }
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, minting_with_softhsm_leaves_nothing_behind);
    return leak_main(argc, argv, "leak_softhsm", 100000, t);
}
