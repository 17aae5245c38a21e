/* SPDX-License-Identifier: Apache-2.0 */
/* What the comparison with EJBCA reads from the store. */
#include "tests/unit/enrolments_support.h"

static struct {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__PageEnrolments page;
    Mintmark__Internal__MatchCertificates match;
    Mintmark__Internal__MatchCertificates__Certificate one, *list[1];
} q;

static void make_page(uint64_t after, uint32_t limit, bool brief)
{
    mintmark__internal__store_job__init(&q.job);
    mintmark__internal__page_enrolments__init(&q.page);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_PAGE_ENROLMENTS;
    q.job.page_enrolments = &q.page;
    q.page.after_row = after;
    q.page.limit = limit;
    q.page.brief = brief;
}

static const Mintmark__Internal__EnrolmentsPage *page(uint64_t after, uint32_t limit, bool brief)
{
    make_page(after, limit, brief);
    ck_assert_msg(fixture_do(&f, &q.job) == MM_OK, "%s", fixture_reason(&f, 0));
    return f.results[0]->enrolments_page;
}

static void make_match(const char *username, const char *serial, size_t serial_len, unsigned key)
{
    mintmark__internal__store_job__init(&q.job);
    mintmark__internal__match_certificates__init(&q.match);
    mintmark__internal__match_certificates__certificate__init(&q.one);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_MATCH_CERTIFICATES;
    q.job.match_certificates = &q.match;
    q.list[0] = &q.one;
    q.match.certificates = q.list;
    q.match.n_certificates = 1;
    q.one.username = TEXT(username);
    q.one.serial = (ProtobufCBinaryData){serial_len, (uint8_t *)TEXT(serial)};
    if (key)
        q.one.spki_sha256 = (ProtobufCBinaryData){32, hashes[key]};
}

static const Mintmark__Internal__MatchedCertificates__Match *
match(const char *username, const char *serial, size_t serial_len, unsigned key)
{
    make_match(username, serial, serial_len, key);
    ck_assert_msg(fixture_do(&f, &q.job) == MM_OK, "%s", fixture_reason(&f, 0));
    ck_assert_uint_eq(f.results[0]->matched_certificates->n_matches, 1);
    return f.results[0]->matched_certificates->matches[0];
}

START_TEST(page_enrolments_by_row)
{
    const Mintmark__Internal__EnrolmentsPage *p;

    record("r1", 3, 1, 3, true);
    done(give(2));
    p = page(0, 2, false);
    ck_assert_uint_eq(p->n_enrolments, 2);
    ck_assert_uint_eq(p->enrolments[0]->row, 1);
    ck_assert_int_eq(p->enrolments[0]->state, CSTATE(WAITING));
    ck_assert_str_eq(p->enrolments[0]->profile, PROFILE);
    ck_assert_str_eq(p->enrolments[0]->username, "user-1");
    ck_assert(p->enrolments[0]->begun);
    ck_assert_uint_eq(p->enrolments[0]->serial.len, 0);
    ck_assert_int_eq(p->enrolments[1]->state, CSTATE(ISSUED));
    ck_assert_mem_eq(p->enrolments[1]->serial.data, "\x03\xea", 2);
    ck_assert_mem_eq(p->enrolments[1]->spki_sha256.data, hashes[2], 32);
    ck_assert_uint_eq(p->enrolments[1]->uid.len, 16);
    p = page(2, 2, true);
    ck_assert_uint_eq(p->n_enrolments, 1);
    ck_assert_uint_eq(p->enrolments[0]->row, 3);
    ck_assert_str_eq(p->enrolments[0]->username, "");
    ck_assert_uint_eq(page(3, 2, true)->n_enrolments, 0);
    make_page(0, MM_RECONCILE_PAGE_MAX + 1, false);
    fixture_refused(&f, &q.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

START_TEST(match_finds_the_device_and_its_revocation)
{
    const Mintmark__Internal__MatchedCertificates__Match *m;

    record("r1", 2, 1, 2, true);
    done(give(1));
    m = match("user-1", "\x03\xe9", 2, 1);
    ck_assert_uint_eq(m->device->row, 1);
    ck_assert(!m->revoked);
    ck_assert_uint_eq(match("user-1", "\x09", 1, 0)->device->row, 1);
    ck_assert_ptr_null(match("user-9", "\x03\xe9", 2, 1)->device);
    ck_assert_ptr_null(match("", "", 0, 0)->device);
    JOB(revoke, REVOKE, revoke_device);
    c.job.revoke = &c.revoke;
    c.revoke.uid = uid(0, 1);
    c.revoke.now_ms = T0;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    m = match("user-1", "\x03\xe9", 2, 1);
    ck_assert(m->revoked && !m->revocation_done);
    JOB(end, END_REVOCATION, end_revocation);
    c.job.end_revocation = &c.end;
    c.end.row = 1;
    c.end.done = true;
    c.end.now_ms = T0;
    ck_assert_int_eq(fixture_do(&f, &c.job), MM_OK);
    m = match("user-1", "\x03\xe9", 2, 1);
    ck_assert(m->revoked && m->revocation_done);
    make_match("user-1", "123456789012345678901", 21, 1);
    fixture_refused(&f, &q.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

/* A KO device's hardware serial number, and so its username, may come again. */
START_TEST(match_among_devices_of_one_username)
{
    record("r1", 1, 1, 1, true);
    make_requests("r2", 2, 2, 2, true);
    j.devices[0].username = TEXT("user-1");
    j.devices[1].username = TEXT("user-1");
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    done(give(1));
    done(give(2));
    ck_assert_uint_eq(match("user-1", "\x03\xe9", 2, 0)->device->row, 1);
    ck_assert_uint_eq(match("user-1", "\x03\xea", 2, 0)->device->row, 2);
    ck_assert_uint_eq(match("user-1", "\x09", 1, 1)->device->row, 1); /* by its key */
    ck_assert_uint_eq(match("user-1", "\x09", 1, 0)->device->row, 3); /* the latest */
}
END_TEST

START_TEST(find_enrolment_of_one_device)
{
    Mintmark__Internal__FindEnrolment find = MINTMARK__INTERNAL__FIND_ENROLMENT__INIT;

    record("r1", 2, 1, 2, true);
    done(give(1));
    mintmark__internal__store_job__init(&q.job);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_ENROLMENT;
    q.job.find_enrolment = &find;
    find.uid = uid(0, 1);
    ck_assert_int_eq(fixture_do(&f, &q.job), MM_OK);
    ck_assert_str_eq(f.results[0]->enrolment_found->device->username, "user-1");
    ck_assert_mem_eq(f.results[0]->enrolment_found->device->serial.data, "\x03\xe9", 2);
    ck_assert(!f.results[0]->enrolment_found->revoked);
    find.uid = uid(0, 2);
    ck_assert_int_eq(fixture_do(&f, &q.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->enrolment_found->device->serial.len, 0);
    find.uid = uid(0, 3);
    fixture_refused(&f, &q.job, MM_ERR_NOT_FOUND, "UNKNOWN_DEVICE");
    find.uid.len = 15;
    fixture_refused(&f, &q.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_reconcile");
    TCase *tc = tcase_create("store_reconcile");

    tcase_add_unchecked_fixture(tc, setup_keys, teardown_keys);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, page_enrolments_by_row);
    tcase_add_test(tc, match_finds_the_device_and_its_revocation);
    tcase_add_test(tc, match_among_devices_of_one_username);
    tcase_add_test(tc, find_enrolment_of_one_device);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
