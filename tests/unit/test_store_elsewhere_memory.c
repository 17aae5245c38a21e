/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of devices whose certificates come from elsewhere, with every allocation failing in
 * turn, OpenSSL's too: the job is refused or done, never half done, and nothing leaks.
 */
#include "tests/unit/enrolments_support.h"
#include "tests/unit/store_sweep.h"

static void sweep(const Mintmark__Internal__StoreJob *job)
{
    sweep_job(&f, job);
}

START_TEST(recording_and_giving_out_short_of_memory)
{
    make_requests("r1", 3, 1, 3, false);
    sweep(&j.job);
    make_take(T0, 2);
    sweep(&c.job);
}
END_TEST

/* The second is refused, and never the first: what is wrong with a certificate is for good. */
static void check_certified(const Mintmark__Internal__StoreResult *result)
{
    ck_assert_uint_eq(result->certified->n_devices, 2);
    ck_assert_ptr_null(result->certified->devices[0]->error);
    ck_assert_str_eq(result->certified->devices[1]->error->reason, "CERTIFICATE_KNOWN");
}

static int verify(unsigned nth, bool *ret_failed)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {.devices = true};
    struct mm_errinfo ei = {0};
    int r;

    memory_fail_at(nth);
    do
        r = mm_ledger_walk(f.store, &walk, 7, UINT64_MAX, &ei);
    while (r > 0);
    *ret_failed = memory_failed();
    memory_fail_at(0);
    return r;
}

/* To lack memory is no damage, over which the ledger would be locked. */
static void sweep_verification(void)
{
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        const int r = verify(nth, &failed);

        ck_assert_msg(r == MM_OK || (r == MM_ERR_MEMORY && failed), "allocation %u: %s", nth,
                      mm_err_name(r));
    }
}

START_TEST(certifying_short_of_memory)
{
    struct certificate one = certify(keys[1], 1001, "CA"), two = certify(keys[2], 1001, "CA");

    record("r1", 2, 1, 2, true);
    make_certify(2); /* the second is refused: the serial number is the first one's */
    put_certificate(0, 1, &one);
    put_certificate(1, 2, &two);
    sweep_job_and_answer(&f, &c.job, check_certified);
    sweep_verification();
    ck_assert_int_eq(get(1)->bundle.len > 0, 1);
    ck_assert_int_eq(get(2)->withheld->state, CSTATE(WAITING));
    done(one);
    done(two);
}
END_TEST

START_TEST(changing_short_of_memory)
{
    static const Mintmark__Internal__EnrolmentAction actions[] = {ACTION(PARK), ACTION(RETRY),
                                                                  ACTION(FAIL)};

    record("r1", 2, 1, 2, true);
    for (size_t i = 0; i < MM_ARRAY_SIZE(actions); i++) {
        make_step(1, actions[i], "why");
        sweep(&c.job);
    }
    ck_assert_int_eq(get(1)->withheld->state, CSTATE(FAILED));
}
END_TEST

START_TEST(revoking_short_of_memory)
{
    struct certificate wrong = certify(keys[3], 99, "CA");

    record("r1", 2, 1, 2, true);
    done(give(1));
    JOB(revoke, REVOKE, revoke_device);
    c.job.revoke = &c.revoke;
    c.revoke.uid = uid(0, 1);
    c.revoke.now_ms = T0;
    sweep(&c.job);
    c.revoke.uid = uid(0, 2);
    c.revoke.certificate = (ProtobufCBinaryData){wrong.len, wrong.der};
    sweep(&c.job);
    JOB(take_revocations, TAKE_REVOCATIONS, take_revocations);
    c.job.take_revocations = &c.take_revocations;
    c.take_revocations.now_ms = T0;
    c.take_revocations.next_time_ms = LATER;
    c.take_revocations.limit = 8;
    sweep(&c.job);
    JOB(end, END_REVOCATION, end_revocation);
    c.job.end_revocation = &c.end;
    c.end.row = 1;
    c.end.done = true;
    c.end.now_ms = T0;
    sweep(&c.job);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM revocations"), 2);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM revocations WHERE done_ms > 0"), 1);
    done(wrong);
}
END_TEST

static struct {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__PageEnrolments page;
    Mintmark__Internal__MatchCertificates match;
    Mintmark__Internal__MatchCertificates__Certificate certificates[2], *list[2];
    Mintmark__Internal__FindEnrolment find;
} q;

START_TEST(reading_short_of_memory)
{
    record("r1", 3, 1, 3, true);
    done(give(1));
    change(2, ACTION(PARK), "why");
    JOB(list, LIST_WITHHELD, list_withheld);
    c.job.list_withheld = &c.list;
    c.list.state = CSTATE(PARKED);
    sweep(&c.job);
    mintmark__internal__store_job__init(&q.job);
    mintmark__internal__page_enrolments__init(&q.page);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_PAGE_ENROLMENTS;
    q.job.page_enrolments = &q.page;
    q.page.limit = 2;
    sweep(&q.job);
    mintmark__internal__match_certificates__init(&q.match);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_MATCH_CERTIFICATES;
    q.job.match_certificates = &q.match;
    q.match.certificates = q.list;
    q.match.n_certificates = 2;
    for (size_t i = 0; i < 2; i++) {
        mintmark__internal__match_certificates__certificate__init(&q.certificates[i]);
        q.certificates[i].username = TEXT(i ? "nobody" : "user-1");
        q.list[i] = &q.certificates[i];
    }
    sweep(&q.job);
    mintmark__internal__find_enrolment__init(&q.find);
    q.job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_ENROLMENT;
    q.job.find_enrolment = &q.find;
    q.find.uid = uid(0, 1);
    sweep(&q.job);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_elsewhere_memory");
    TCase *memory = tcase_create("memory");

    hook_sqlite();
    hook_openssl();
    tcase_set_timeout(memory, 180);
    tcase_add_unchecked_fixture(memory, setup_keys, teardown_keys);
    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_test(memory, recording_and_giving_out_short_of_memory);
    tcase_add_test(memory, certifying_short_of_memory);
    tcase_add_test(memory, changing_short_of_memory);
    tcase_add_test(memory, revoking_short_of_memory);
    tcase_add_test(memory, reading_short_of_memory);
    suite_add_tcase(suite, memory);
    return run_suite(suite);
}
