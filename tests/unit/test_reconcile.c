/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison of EJBCA's certificates with the devices recorded here. */
#include "daemon/front/service/reconcile.h"
#include "tests/unit/check_main.h"
#include "tests/unit/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND(name)   MINTMARK__V1__DIFFERENCE_KIND__DIFFERENCE_KIND_##name
#define CSTATE(name) MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name
#define TEXT(s)      ((char *)(uintptr_t)(s))

enum { ROWS = 6 };

/* A device of that row, or a certificate with that serial number and key; 0: none. */
struct fact {
    unsigned row, serial, key;
    Mintmark__V1__CertificateState state;
    bool revoked, recorded, done, unsent;
};

static struct mm_compare *c;
static struct mm_found found;
static struct mm_errinfo ei;

static uint8_t bytes_of[256][32];

static ProtobufCBinaryData number(unsigned n, size_t len)
{
    return n ? (ProtobufCBinaryData){len, bytes_of[n]} : (ProtobufCBinaryData){0};
}

static void setup(void)
{
    const char *const names[] = {"a", "b"};

    for (unsigned i = 0; i < 256; i++)
        memset(bytes_of[i], (int)i, sizeof(bytes_of[i]));
    found = (struct mm_found){0};
    ei = (struct mm_errinfo){0};
    ck_assert_int_eq(mm_compare_new(names, 2, &c), MM_OK);
}

static void teardown(void)
{
    mm_found_clear(&found);
    mm_compare_free(c);
}

/* ---- what the two sides say -------------------------------------------------------------- */

static struct {
    char username[ROWS + 1][16];
    Mintmark__Internal__EnrolmentRow rows[ROWS + 1];
} here;

/* Devices 1 to n have their certificates, of serial number 10 + row, for key 100 + row. */
static Mintmark__Internal__EnrolmentRow *device(unsigned row, Mintmark__V1__CertificateState state)
{
    Mintmark__Internal__EnrolmentRow *e;

    if (row > ROWS)
        abort(); /* an assertion of Check's would allocate, among allocations that are to fail */
    e = &here.rows[row];
    mintmark__internal__enrolment_row__init(e);
    snprintf(here.username[row], sizeof(here.username[row]), "user-%u", row);
    e->row = row;
    e->profile = TEXT(row % 2 ? "a" : "b");
    e->username = here.username[row];
    e->state = state;
    e->uid = number(row, 16);
    e->spki_sha256 = number(100 + row, 32);
    e->begun = true;
    if (state == CSTATE(ISSUED))
        e->serial = number(10 + row, 20);
    return e;
}

static void add_devices(unsigned n)
{
    for (unsigned row = 1; row <= n; row++)
        ck_assert_int_eq(mm_compare_device(c, device(row, CSTATE(ISSUED)), &ei), MM_OK);
}

/* One page; each fact is a certificate of the device of that row (0: of none). */
static int page(const struct fact *facts, size_t n)
{
    Mintmark__Internal__Listed listed = MINTMARK__INTERNAL__LISTED__INIT;
    Mintmark__Internal__MatchedCertificates matched =
        MINTMARK__INTERNAL__MATCHED_CERTIFICATES__INIT;
    Mintmark__Internal__Listed__Entry entries[8], *entry_list[8];
    Mintmark__Internal__MatchedCertificates__Match matches[8], *match_list[8];

    if (n > MM_ARRAY_SIZE(entries)) /* check's own calls take memory */
        abort();
    for (size_t i = 0; i < n; i++) {
        mintmark__internal__listed__entry__init(&entries[i]);
        mintmark__internal__matched_certificates__match__init(&matches[i]);
        entry_list[i] = &entries[i];
        match_list[i] = &matches[i];
        entries[i].username = facts[i].row ? here.username[facts[i].row] : TEXT("stranger");
        entries[i].serial = number(facts[i].serial, 20);
        entries[i].spki_sha256 = number(facts[i].key, 32);
        entries[i].revoked = facts[i].revoked;
        matches[i].device = facts[i].row ? &here.rows[facts[i].row] : NULL;
        matches[i].revoked = facts[i].recorded || facts[i].done;
        matches[i].revocation_done = facts[i].done;
    }
    listed.entries = entry_list;
    matched.matches = match_list;
    listed.n_entries = matched.n_matches = n;
    return mm_compare_page(c, "a", &listed, &matched, &found, &ei);
}

#define PAGE(...)                                                                                  \
    do {                                                                                           \
        const struct fact facts_[] = {__VA_ARGS__};                                                \
        ck_assert_int_eq(page(facts_, MM_ARRAY_SIZE(facts_)), MM_OK);                              \
    } while (0)
#define OWN(n)                                                                                     \
    {                                                                                              \
        .row = (n), .serial = 10 + (n), .key = 100 + (n)                                           \
    }

static void listed(void)
{
    ck_assert_int_eq(mm_compare_listed(c, &found, &ei), MM_OK);
}

static void is_found(size_t i, Mintmark__V1__DifferenceKind kind, const char *username,
                     unsigned serial)
{
    ck_assert_uint_lt(i, found.n);
    ck_assert_int_eq(found.list[i]->kind, kind);
    ck_assert_str_eq(found.list[i]->username, username);
    ck_assert_uint_eq(found.list[i]->serial.len, serial ? 20 : 0);
    if (serial)
        ck_assert_uint_eq(found.list[i]->serial.data[0], serial);
}

/* ---- tests ------------------------------------------------------------------------------- */

START_TEST(compare_both_sides_alike_finds_nothing)
{
    add_devices(4);
    PAGE(OWN(3), OWN(1)); /* in any order */
    PAGE(OWN(4), OWN(4), OWN(2));
    listed();
    ck_assert_uint_eq(found.n, 0);
    ck_assert_uint_eq(mm_compare_next(c, 0), 0);
    ck_assert_uint_eq(c->devices, 4);
    ck_assert_uint_eq(c->profiles[0].counts.issued, 2);
    ck_assert_uint_eq(c->profiles[1].counts.issued, 2);
    ck_assert_uint_eq(c->profiles[0].counts.certificates, 2);
}
END_TEST

START_TEST(compare_a_leading_zero_makes_no_other_serial)
{
    static uint8_t longer[21];
    Mintmark__Internal__EnrolmentRow *e = device(1, CSTATE(ISSUED));

    memset(longer + 1, 11, 20);
    e->serial = (ProtobufCBinaryData){21, longer};
    ck_assert_int_eq(mm_compare_device(c, e, &ei), MM_OK);
    PAGE(OWN(1));
    listed();
    ck_assert_uint_eq(found.n, 0);
}
END_TEST

START_TEST(compare_what_is_left_is_missing)
{
    add_devices(5);
    PAGE(OWN(2), OWN(5));
    listed();
    ck_assert_uint_eq(mm_compare_next(c, 0), 1);
    ck_assert_uint_eq(mm_compare_next(c, 1), 3);
    ck_assert_int_eq(mm_compare_rest(c, &here.rows[2], &found, &ei), MM_OK);
    ck_assert_uint_eq(found.n, 0);
    ck_assert_int_eq(mm_compare_rest(c, &here.rows[3], &found, &ei), MM_OK);
    is_found(0, KIND(MISSING), "user-3", 0);
    ck_assert_uint_eq(found.list[0]->recorded_serial.len, 20);
    ck_assert_str_eq(found.list[0]->profile, "a");
    ck_assert_uint_eq(mm_compare_next(c, 1), 4);
    ck_assert_uint_eq(c->profiles[0].counts.differences, 1);
}
END_TEST

START_TEST(compare_a_certificate_of_nobody)
{
    PAGE({.serial = 99, .key = 9});
    is_found(0, KIND(UNKNOWN), "stranger", 99);
    ck_assert_str_eq(found.list[0]->profile, "a");
    ck_assert_str_eq(found.list[0]->device_uid, "");
    /* one that was revoked from here: nothing is left to be said */
    PAGE({.serial = 98, .key = 9, .revoked = true, .done = true});
    ck_assert_uint_eq(found.n, 1);
}
END_TEST

START_TEST(compare_a_double_before_and_after_the_recorded_one)
{
    add_devices(4);
    PAGE(OWN(1), {.row = 1, .serial = 91, .key = 101}, {.row = 2, .serial = 92, .key = 102}, OWN(2),
         {.row = 3, .serial = 93, .key = 103}); /* its own is in the next page */
    is_found(0, KIND(DOUBLE), "user-1", 91);
    is_found(1, KIND(DOUBLE), "user-2", 92);
    ck_assert_uint_eq(found.n, 2);
    PAGE(OWN(3), OWN(4));
    is_found(2, KIND(DOUBLE), "user-3", 93);
    PAGE({.row = 4, .serial = 94, .key = 9});
    is_found(3, KIND(DOUBLE), "user-4", 94);
    listed();
    ck_assert_uint_eq(found.n, 4);
    ck_assert_uint_eq(mm_compare_next(c, 0), 0);
}
END_TEST

START_TEST(compare_another_one_in_place_of_the_recorded)
{
    add_devices(3);
    PAGE({.row = 1, .serial = 91, .key = 101}, {.row = 2, .serial = 92, .key = 9},
         {.row = 3, .serial = 13, .key = 9});
    is_found(0, KIND(OTHER_KEY), "user-3", 13); /* the recorded serial for another key */
    listed();
    ck_assert_uint_eq(found.n, 3);
    is_found(1, KIND(OTHER_KEY), "user-2", 92);
    is_found(2, KIND(OTHER_SERIAL), "user-1", 91);
    ck_assert_uint_eq(mm_compare_next(c, 0), 0); /* nothing is missing besides */
}
END_TEST

START_TEST(compare_revocations)
{
    add_devices(4);
    PAGE({.row = 1, .serial = 11, .key = 101, .revoked = true},
         {.row = 2, .serial = 12, .key = 102, .done = true},
         {.row = 3, .serial = 13, .key = 103, .recorded = true}, /* EJBCA is to be told yet */
         {.row = 4, .serial = 14, .key = 104, .revoked = true, .recorded = true});
    ck_assert_uint_eq(found.n, 2);
    is_found(0, KIND(REVOKED_THERE), "user-1", 11);
    ck_assert(found.list[0]->revoked);
    is_found(1, KIND(REVOKED_HERE), "user-2", 12);
    ck_assert_uint_eq(c->profiles[0].counts.revoked, 1);
}
END_TEST

START_TEST(compare_a_waiting_device_has_one_under_way)
{
    ck_assert_int_eq(mm_compare_device(c, device(1, CSTATE(WAITING)), &ei), MM_OK);
    ck_assert_int_eq(mm_compare_device(c, device(2, CSTATE(WAITING)), &ei), MM_OK);
    here.rows[2].begun = false;
    PAGE({.row = 1, .serial = 91, .key = 101}, {.row = 1, .serial = 91, .key = 101});
    ck_assert_uint_eq(found.n, 0);
    ck_assert_uint_eq(c->profiles[0].counts.under_way, 2); /* the same in two pages counts twice */
    PAGE({.row = 1, .serial = 92, .key = 101}, {.row = 2, .serial = 93, .key = 102},
         {.row = 1, .serial = 94, .key = 9}, {.row = 1, .serial = 95, .key = 101, .revoked = true});
    ck_assert_uint_eq(found.n, 4);
    is_found(0, KIND(DOUBLE), "user-1", 92);
    is_found(1, KIND(WITHHELD), "user-2", 93);
    is_found(2, KIND(OTHER_KEY), "user-1", 94);
    is_found(3, KIND(REVOKED_THERE), "user-1", 95);
    ck_assert_uint_eq(c->profiles[0].counts.waiting, 1);
}
END_TEST

START_TEST(compare_failed_and_parked_devices_have_none)
{
    ck_assert_int_eq(mm_compare_device(c, device(1, CSTATE(FAILED)), &ei), MM_OK);
    ck_assert_int_eq(mm_compare_device(c, device(2, CSTATE(PARKED)), &ei), MM_OK);
    PAGE({.row = 1, .serial = 91, .key = 101}, {.row = 2, .serial = 92},
         {.row = 2, .serial = 93, .revoked = true, .done = true}); /* a wrong one, revoked */
    ck_assert_uint_eq(found.n, 2);
    is_found(0, KIND(WITHHELD), "user-1", 91);
    is_found(1, KIND(WITHHELD), "user-2", 92);
    ck_assert_int_eq(found.list[1]->state, CSTATE(PARKED));
    ck_assert_uint_eq(mm_compare_next(c, 0), 0);
}
END_TEST

START_TEST(compare_another_key_of_a_failed_device_is_settled_by_revoking)
{
    ck_assert_int_eq(mm_compare_device(c, device(1, CSTATE(FAILED)), &ei), MM_OK);
    ck_assert_int_eq(mm_compare_device(c, device(2, CSTATE(FAILED)), &ei), MM_OK);
    ck_assert_int_eq(mm_compare_device(c, device(3, CSTATE(PARKED)), &ei), MM_OK);
    PAGE({.row = 1, .serial = 91, .key = 9, .revoked = true}, {.row = 2, .serial = 92, .key = 9},
         {.row = 3, .serial = 93, .key = 9, .revoked = true});
    ck_assert_uint_eq(found.n, 2);
    is_found(0, KIND(OTHER_KEY), "user-2", 92);
    is_found(1, KIND(OTHER_KEY), "user-3", 93);
    ck_assert_uint_eq(mm_compare_next(c, 0), 0);
}
END_TEST

START_TEST(compare_many_rows_take_a_bit_each)
{
    Mintmark__Internal__EnrolmentRow *e = device(1, CSTATE(ISSUED));

    e->row = 3000000;
    ck_assert_int_eq(mm_compare_device(c, e, &ei), MM_OK);
    e->row = 7;
    ck_assert_int_eq(mm_compare_device(c, e, &ei), MM_OK);
    ck_assert_uint_le(c->rows / 8, 1 << 20);
    ck_assert_uint_eq(mm_compare_next(c, 0), 7);
    ck_assert_uint_eq(mm_compare_next(c, 7), 3000000);
    ck_assert_uint_eq(mm_compare_next(c, 3000000), 0);
    e->row = (uint64_t)MM_RECONCILE_ROW_MAX;
    ck_assert_int_eq(mm_compare_device(c, e, &ei), MM_ERR_EXHAUSTED);
    ck_assert_str_eq(ei.reason, "RECONCILE_TOO_MANY");
}
END_TEST

START_TEST(compare_other_matches_than_asked_for_is_refused)
{
    Mintmark__Internal__Listed none = MINTMARK__INTERNAL__LISTED__INIT;
    Mintmark__Internal__MatchedCertificates one = MINTMARK__INTERNAL__MATCHED_CERTIFICATES__INIT;

    one.n_matches = 1;
    ck_assert_int_eq(mm_compare_page(c, "a", &none, &one, &found, &ei), MM_ERR_INTERNAL);
}
END_TEST

/* Whatever is short of memory fails, and leaks nothing (the sanitizer sees to that). */
START_TEST(compare_short_of_memory_says_so)
{
    const struct fact facts[] = {
        {.serial = 99}, {.row = 1, .serial = 91}, {.row = 1, .serial = 92}};
    const char *const names[] = {"a"};
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        int r;

        teardown();
        c = NULL;
        memory_fail_at(nth);
        r = mm_compare_new(names, 1, &c);
        if (r == MM_OK)
            r = mm_compare_device(c, device(1, CSTATE(ISSUED)), &ei);
        if (r == MM_OK)
            r = page(facts, MM_ARRAY_SIZE(facts));
        if (r == MM_OK)
            r = mm_compare_listed(c, &found, &ei);
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert_msg(r == (failed ? MM_ERR_MEMORY : MM_OK), "allocation %u: %d", nth, r);
    }
    ck_assert_uint_eq(found.n, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reconcile");
    TCase *tc = tcase_create("compare");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, compare_both_sides_alike_finds_nothing);
    tcase_add_test(tc, compare_a_leading_zero_makes_no_other_serial);
    tcase_add_test(tc, compare_what_is_left_is_missing);
    tcase_add_test(tc, compare_a_certificate_of_nobody);
    tcase_add_test(tc, compare_a_double_before_and_after_the_recorded_one);
    tcase_add_test(tc, compare_another_one_in_place_of_the_recorded);
    tcase_add_test(tc, compare_revocations);
    tcase_add_test(tc, compare_a_waiting_device_has_one_under_way);
    tcase_add_test(tc, compare_failed_and_parked_devices_have_none);
    tcase_add_test(tc, compare_another_key_of_a_failed_device_is_settled_by_revoking);
    tcase_add_test(tc, compare_many_rows_take_a_bit_each);
    tcase_add_test(tc, compare_other_matches_than_asked_for_is_refused);
    tcase_add_test(tc, compare_short_of_memory_says_so);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
