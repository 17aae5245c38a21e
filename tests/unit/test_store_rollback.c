/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who winds the database back again and again gains no more than docs/ledger.md says; and a small
 * deterministic walk through copies of database and token put back in every combination, of which
 * tests/long/rollback is the long one.
 */
#include "tests/unit/fault_vfs.h"
#include "tests/unit/guard_support.h"

/* ---- the bound --------------------------------------------------------------------------- */

/* The attack that an anchor alone does not stop: copy the database right after an anchor, spend all
 * that may stand beyond it, kill, put the copy back, again. The token counts the unclean starts. */
START_TEST(winding_back_gains_no_more_than_documented)
{
    struct copy c = COPY_INIT;
    unsigned delivered = 0, rounds = 0, number = 1;
    uint64_t recorded;

    start();
    fixture_populate(&f, 100000);
    anchor(false, false);
    copy_take(&c);
    for (;; rounds++) {
        char request[16];

        snprintf(request, sizeof(request), "r%u", rounds);
        while (spend(request, number, 1) == MM_OK) {
            delivered++;
            number++;
        }
        copy_put(&c);
        open_guarded();
        if (guard_now()->state == LOCKED)
            break;
        /* The token has the new start before anything is spent, so the copy is one with it in. */
        anchor(false, false);
        copy_take(&c);
    }
    ck_assert_str_eq(guard_now()->reason, "TOO_MANY_UNCLEAN_STARTS");
    recorded = f.store->ledger.committed.devices;
    ck_assert_uint_eq(delivered - recorded, (M + 1) * K);
    copy_done(&c);
}
END_TEST

START_TEST(orderly_ends_do_not_count_and_do_not_forgive)
{
    for (unsigned i = 0; i < 3 * M; i++) {
        start();
        ck_assert_uint_eq(guard_now()->unclean_starts, 0);
        stop();
    }
    start();
    fixture_close(&f); /* no last anchor: as killed */
    start();
    ck_assert_uint_eq(guard_now()->unclean_starts, 1);
    stop();
    start();
    ck_assert_uint_eq(guard_now()->unclean_starts, 1);
}
END_TEST

/* ---- every combination ------------------------------------------------------------------- */

enum { COPIES = 4, ROUNDS = 30, LIVES = 3 };
enum what { DATABASE, TOKEN, BOTH, KINDS };

/* What the attacker has: copies of the database and of the token, taken together. */
static struct {
    struct copy database;
    uint8_t anchor[sizeof(token.anchor)];
    size_t len;
} copies[COPIES];
static unsigned n_copies;
static uint64_t seed = 0x726f6c6c;
static unsigned number, request;
static uint64_t delivered;

static unsigned pick(unsigned n)
{
    return (unsigned)(test_random(&seed) % n);
}

static void take_copies(void)
{
    const unsigned i = n_copies < COPIES ? n_copies++ : pick(COPIES);

    copy_take(&copies[i].database);
    memcpy(copies[i].anchor, token.anchor, token.len);
    copies[i].len = token.len;
}

/* As after kill -9, with the disk or the token, or both, as they were. */
static void put_back(enum what what)
{
    const unsigned i = pick(n_copies);
    struct copy now = COPY_INIT;

    copy_take(&now);
    copy_put(what == TOKEN ? &now : &copies[i].database);
    copy_done(&now);
    if (what == DATABASE)
        return;
    memcpy(token.anchor, copies[i].anchor, copies[i].len);
    token.len = copies[i].len;
}

static void work(void)
{
    char id[16];

    snprintf(id, sizeof(id), "r%u", request++);
    for (unsigned i = pick(4); i > 0; i--) {
        const unsigned n = 1 + pick(K / 2);

        if (spend(id, number, n) == MM_OK)
            delivered += n;
        number += n;
    }
    if (pick(3) == 0)
        anchor(false, pick(2));
    if (pick(3) == 0)
        take_copies();
}

/* Until it locks, or for so many rounds; what was delivered and is not recorded. */
static uint64_t live(enum what what, unsigned *ret_rollbacks)
{
    uint64_t gained = 0;

    n_copies = 0;
    start();
    fixture_populate(&f, 100000);
    anchor(false, true);
    take_copies();
    for (unsigned round = 0; round < ROUNDS; round++) {
        work();
        if (pick(2) > 0)
            continue;
        put_back(what);
        ++*ret_rollbacks;
        open_guarded();
        if (guard_now()->state == LOCKED)
            break;
        if (delivered - f.store->ledger.committed.devices > gained)
            gained = delivered - f.store->ledger.committed.devices;
        anchor(false, false);
    }
    return gained;
}

static void begin_life(void)
{
    teardown();
    setup();
    number = 1;
    delivered = 0;
}

START_TEST(rollbacks_in_every_combination)
{
    uint64_t gained_max[KINDS] = {0};
    unsigned rollbacks[KINDS] = {0};

    for (unsigned i = 0; i < COPIES; i++) {
        copies[i].database.main = MM_BUF_INIT(1 << 24);
        copies[i].database.wal = MM_BUF_INIT(1 << 24);
    }
    for (enum what what = 0; what < KINDS; what++) {
        for (unsigned i = 0; i < LIVES; i++) {
            uint64_t gained;

            begin_life();
            gained = live(what, &rollbacks[what]);
            if (gained > gained_max[what])
                gained_max[what] = gained;
        }
    }
    /* An older token alone gives nothing away: the database still has every device. */
    ck_assert_uint_le(gained_max[DATABASE], (M + 1) * K);
    ck_assert_uint_eq(gained_max[TOKEN], 0);
    /* Both together are what docs/ledger.md says that nothing inside can notice. */
    ck_assert_uint_gt(gained_max[BOTH], (M + 1) * K);
    for (enum what what = 0; what < KINDS; what++)
        ck_assert_uint_ge(rollbacks[what], LIVES);
    for (unsigned i = 0; i < COPIES; i++)
        copy_done(&copies[i].database);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_rollback");
    TCase *bound = tcase_create("bound");

    tcase_set_timeout(bound, 60);
    tcase_add_checked_fixture(bound, setup, teardown);
    tcase_add_test(bound, winding_back_gains_no_more_than_documented);
    tcase_add_test(bound, orderly_ends_do_not_count_and_do_not_forgive);
    tcase_add_test(bound, rollbacks_in_every_combination);
    suite_add_tcase(suite, bound);
    return run_suite(suite);
}
