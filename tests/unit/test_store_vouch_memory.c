/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store hashes, vouches for and trusts, while every allocation fails in turn: ours,
 * SQLite's and OpenSSL's. A proof, a hash or a set of certificates is whole or not there; what
 * others have under way goes on; and the launcher is told only of what has been taken.
 */
#include "tests/support/trusted_set.h"
#include "tests/unit/sealed_support.h"
#include "tests/unit/store_sweep.h"

#include "daemon/base/log.h"
#include "daemon/store/audit_key.h"
#include "daemon/store/message.h"
#include "daemon/store/trusted.h"

#include <openssl/sha.h>
#include <sys/socket.h>

enum { DEVICES = 300 }; /* more than a piece of a report has */

static Mintmark__Internal__StoreResult *result;

static void setup_sealed(void)
{
    setup_key();
    conf.anchor_devices = 2 * DEVICES;
    start();
    use_key();
}

static void teardown_sealed(void)
{
    mm_message_free(result);
    result = NULL;
    teardown_key();
}

/* The job, while the nth allocation fails; its result, when it is done, is `result`. */
static int do_and_fail(const Mintmark__Internal__StoreJob *job, unsigned nth, bool *ret_failed)
{
    const int code = do_short_of_memory(&f, job, nth, ret_failed);

    mm_message_free(result);
    result = NULL;
    if (code == MM_OK)
        result = mintmark__internal__store_result__unpack(NULL, answered.len, answered.packed);
    ck_assert_int_eq(code == MM_OK, result != NULL);
    return code;
}

static int attempt(const Mintmark__Internal__StoreJob *job, unsigned nth, bool *ret_failed)
{
    const int code = do_and_fail(job, nth, ret_failed);

    done_or_short_of_memory(code, nth, *ret_failed);
    return code;
}

START_TEST(anchors_short_of_memory_have_their_proofs_or_are_not_given_out)
{
    Mintmark__Internal__PrepareAnchor body = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__StoreJob job;
    bool failed = true;

    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &body;
    body.checkpoint = true;
    for (unsigned nth = 1; failed; nth++) {
        if (attempt(&job, nth, &failed) != MM_OK)
            continue;
        proven(MM_SEAL_ANCHOR, &result->guard->anchor, &result->guard->anchor_proof);
        proven(MM_SEAL_DOCUMENT, &result->guard->checkpoint, &result->guard->checkpoint_proof);
    }
}
END_TEST

/* ---- exports ----------------------------------------------------------------------------- */

static size_t list_tallies(uint64_t ids[MM_TALLIES_MAX])
{
    size_t n = 0;

    for (size_t i = 0; f.store->tallies.all && i < MM_TALLIES_MAX; i++) {
        if (f.store->tallies.all[i])
            ids[n++] = f.store->tallies.all[i]->id;
    }
    return n;
}

static void begin_export_and_fail(bool *ret_failed, unsigned nth)
{
    static uint64_t before[MM_TALLIES_MAX], after[MM_TALLIES_MAX];
    const size_t n = list_tallies(before);
    struct small_job j;

    make_begin_export(&j, 1);
    if (attempt(&j.job, nth, ret_failed) == MM_OK)
        return;
    ck_assert_uint_eq(list_tallies(after), n);
    ck_assert_mem_eq(before, after, n * sizeof(before[0]));
}

START_TEST(exports_that_do_not_begin_end_no_other)
{
    bool failed = true;
    unsigned nth;

    for (nth = 1; failed; nth++)
        begin_export_and_fail(&failed, nth);
    ck_assert_uint_gt(nth, 10);
    for (unsigned i = 0; i < MM_TALLIES_MAX; i++)
        begin_export_and_fail(&failed, 0);
    failed = true;
    for (nth = 1; failed; nth++)
        begin_export_and_fail(&failed, nth);
}
END_TEST

static void check_statement(const uint8_t sha256[SHA256_DIGEST_LENGTH])
{
    const Mintmark__Internal__ExportPiece *piece = result->export_piece;
    Mintmark__V1__SignedDocument *document =
        mintmark__v1__signed_document__unpack(NULL, piece->statement.len, piece->statement.data);

    proven(MM_SEAL_DOCUMENT, &piece->statement, &piece->proof);
    ck_assert_ptr_nonnull(document);
    ck_assert_mem_eq(document->ledger_export->sha256.data, sha256, SHA256_DIGEST_LENGTH);
    mintmark__v1__signed_document__free_unpacked(document, NULL);
}

/* Its only page fails; then it is asked for again. */
static void export_and_fail(bool *ret_failed, unsigned nth)
{
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    struct small_job begin, page;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool ignored;
    int code;

    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    make_begin_export(&begin, 1);
    ck_assert_int_eq(attempt(&begin.job, 0, &ignored), MM_OK);
    EVP_DigestUpdate(hash, result->export_begun->data.data, result->export_begun->data.len);
    make_export_page(&page, 0, result->export_begun->last_sequence);
    page.export_page.tally = result->export_begun->tally;
    code = attempt(&page.job, nth, ret_failed);
    if (code != MM_OK)
        code = do_and_fail(&page.job, 0, &ignored);
    ck_assert(code == MM_OK || code == MM_ERR_UNAVAILABLE); /* HASHING_LOST */
    if (code == MM_OK) {
        EVP_DigestUpdate(hash, result->export_piece->data.data, result->export_piece->data.len);
        EVP_DigestFinal_ex(hash, sha256, NULL);
        check_statement(sha256);
    }
    EVP_MD_CTX_free(hash);
}

START_TEST(export_pages_that_fail_are_given_again_or_the_export_is_lost)
{
    static struct spend_job spend_three;
    bool failed = true;

    fixture_populate(&f, 1000);
    make_spend(&spend_three, 1, "r1", 3, 1, 3);
    ck_assert_int_eq(fixture_do(&f, &spend_three.job), MM_OK);
    for (unsigned nth = 1; failed; nth++)
        export_and_fail(&failed, nth);
}
END_TEST

/* ---- reports ----------------------------------------------------------------------------- */

static void release_batch(void)
{
    static struct spend_job some;
    Mintmark__V1__Bundle bundle = MINTMARK__V1__BUNDLE__INIT;
    struct small_job j;
    uint8_t packed[16];

    fixture_populate(&f, DEVICES);
    bundle.issued_time_ms = T0;
    mintmark__v1__bundle__pack(&bundle, packed);
    for (unsigned first = 1; first <= DEVICES; first += 100) {
        make_spend(&some, 1, "r1", DEVICES, first, 100);
        for (unsigned i = 0; i < 100; i++)
            some.devices[i].bundle =
                (ProtobufCBinaryData){mintmark__v1__bundle__get_packed_size(&bundle), packed};
        ck_assert_int_eq(fixture_do(&f, &some.job), MM_OK);
    }
    make_release(&j, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}

static uint8_t whole[SHA256_DIGEST_LENGTH]; /* the report's */

static void check_end(void)
{
    const Mintmark__Internal__ReportPiece *piece = result->report_piece;

    ck_assert_uint_eq(piece->tally, 0);
    ck_assert_uint_eq(piece->sha256.len, sizeof(whole));
    ck_assert_mem_eq(piece->sha256.data, whole, sizeof(whole));
    proven(MM_SEAL_DETACHED, &piece->sha256, &piece->proof);
}

static void hash_piece(struct small_job *j, uint64_t of)
{
    make_report_page(j, 1);
    j->report_page.hash = true;
    j->report_page.tally = of;
}

/* False: it has failed, and left nothing behind. */
static bool begin_report(unsigned nth, bool *ret_failed)
{
    struct small_job j;

    hash_piece(&j, 0);
    if (attempt(&j.job, nth, ret_failed) == MM_OK)
        return true;
    ck_assert_uint_eq(list_tallies((uint64_t[MM_TALLIES_MAX]){0}), 0);
    return false;
}

/* The other piece; when it fails, it is asked for again. */
static void end_report(unsigned nth, bool *ret_failed)
{
    struct small_job j;
    bool ignored;
    int code;

    hash_piece(&j, result->report_piece->tally);
    code = attempt(&j.job, nth, ret_failed);
    if (code != MM_OK)
        code = do_and_fail(&j.job, 0, &ignored);
    ck_assert(code == MM_OK || code == MM_ERR_UNAVAILABLE); /* HASHING_LOST */
    if (code == MM_OK)
        check_end();
    ck_assert_uint_eq(list_tallies((uint64_t[MM_TALLIES_MAX]){0}), 0);
}

static void read_whole(void)
{
    struct small_job j;
    bool ignored;

    ck_assert(begin_report(0, &ignored));
    hash_piece(&j, result->report_piece->tally);
    ck_assert_int_eq(attempt(&j.job, 0, &ignored), MM_OK);
    memcpy(whole, result->report_piece->sha256.data, sizeof(whole));
    check_end();
}

START_TEST(report_pieces_that_fail_are_hashed_once_or_the_hash_is_lost)
{
    bool failed = true, ignored;
    unsigned nth;

    release_batch();
    read_whole();
    for (nth = 1; failed; nth++) {
        if (begin_report(nth, &failed))
            end_report(0, &ignored);
    }
    ck_assert_uint_gt(nth, 100);
    failed = true;
    for (nth = 1; failed; nth++) {
        ck_assert(begin_report(0, &ignored));
        end_report(nth, &failed);
    }
    ck_assert_uint_gt(nth, 50);
}
END_TEST

/* ---- whose signatures count -------------------------------------------------------------- */

enum { NEXT, TAKE }; /* what a store asks */

static char *two_oem, *one_officer; /* PEM */

static char *pem_of(const X509 *certificate, const char *before)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data, *text;
    long len;

    ck_assert_int_eq(PEM_write_bio_X509(bio, certificate), 1);
    len = BIO_get_mem_data(bio, &data);
    ck_assert_int_ge(asprintf(&text, "%s%.*s", before, (int)len, data), 0);
    BIO_free(bio);
    return text;
}

/* A line in which the launcher's answers lie already: one to each question from this one on. */
struct line {
    int store, launcher;
};

static struct line open_line(uint64_t first_id, size_t n, int set)
{
    struct line line;
    int fd[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd), 0);
    line = (struct line){fd[0], fd[1]};
    for (size_t i = 0; i < n; i++) {
        const struct mm_answer answer = {.id = first_id + i};
        struct mm_errinfo ei;

        ck_assert_int_eq(mm_ask_answer(line.launcher, &answer, i == 0 ? set : -1, &ei), MM_OK);
    }
    return line;
}

/* Ends it: was the launcher told that the set is taken? */
static bool told(struct line line)
{
    struct mm_question question;
    bool taken = false;

    while (mm_ask_receive(line.launcher, &question) == MM_OK)
        taken |= question.what == TAKE;
    close(line.launcher);
    close(line.store);
    return taken;
}

static int count(const struct mm_trust *trust)
{
    return trust ? sk_X509_num(mm_trust_certificates(trust)) : 0;
}

static void setup_trusted(void)
{
    char *one;

    setup_sealed();
    one = pem_of(audit.certificate, fixture_oem_pem());
    two_oem = one;
    one_officer = pem_of(officer.certificate, "");
}

static void teardown_trusted(void)
{
    free(two_oem);
    free(one_officer);
    teardown_sealed();
}

START_TEST(start_short_of_memory_trusts_all_or_says_so)
{
    const int set = trusted_set_make(two_oem, one_officer);
    struct mm_errinfo ei = {0};
    bool failed = true;

    for (unsigned nth = 1; failed; nth++) {
        const struct line line = open_line(0, 1, set);
        int r;

        memory_fail_at(nth);
        r = mm_store_trust(f.store, line.store, &ei);
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert_msg(r == MM_OK || (r == MM_ERR_MEMORY && failed), "allocation %u: %s", nth,
                      ei.text);
        ck_assert_int_eq(count(f.store->trusted.oem), r == MM_OK ? 2 : 0);
        ck_assert_int_eq(count(f.store->trusted.officers), r == MM_OK ? 1 : 0);
        mm_store_trust_nobody(f.store);
        ck_assert(!told(line));
    }
    close(set);
}
END_TEST

START_TEST(start_with_an_empty_set_trusts_nobody)
{
    const int set = trusted_set_make(NULL, NULL);
    const struct line line = open_line(0, 1, set);
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_store_trust(f.store, line.store, &ei), MM_OK);
    ck_assert_ptr_null(f.store->site.oem);
    ck_assert_ptr_null(f.store->site.officers);
    ck_assert(!told(line));
    close(set);
}
END_TEST

START_TEST(reload_short_of_memory_takes_all_or_nothing)
{
    const int before = trusted_set_make(one_officer, NULL);
    const int next = trusted_set_make(two_oem, one_officer);
    Mintmark__Internal__TakeTrusted body = MINTMARK__INTERNAL__TAKE_TRUSTED__INIT;
    Mintmark__Internal__StoreJob job;
    struct mm_errinfo ei = {0};
    bool failed = true;

    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_TRUSTED);
    job.take_trusted = &body;
    for (unsigned nth = 1; failed; nth++) {
        const struct line first = open_line(0, 1, before);
        struct line line;
        int code;

        ck_assert_int_eq(mm_store_trust(f.store, first.store, &ei), MM_OK);
        ck_assert(!told(first));
        line = open_line(1, 2, next);
        f.store->trusted.line->fd = line.store;
        code = attempt(&job, nth, &failed);
        ck_assert_int_eq(told(line), code == MM_OK);
        ck_assert_int_eq(count(f.store->trusted.oem), code == MM_OK ? 2 : 1);
        ck_assert_int_eq(count(f.store->trusted.officers), code == MM_OK ? 1 : 0);
        ck_assert_ptr_eq(f.store->site.oem, f.store->trusted.oem);
        ck_assert_ptr_eq(f.store->site.officers, f.store->trusted.officers);
        mm_store_trust_nobody(f.store);
    }
    close(before);
    close(next);
}
END_TEST

/* A change that is left out is a key that nothing leads to. */
START_TEST(audit_keys_short_of_memory_are_all_read_or_none)
{
    Mintmark__V1__AuditKeyChanged change = MINTMARK__V1__AUDIT_KEY_CHANGED__INIT;
    BIO *bio = BIO_new(BIO_s_mem());
    struct mm_audit_keys *keys = NULL;
    struct mm_errinfo ei = {0};
    struct mm_bytes pem;
    uint8_t packed[64];
    bool failed = true;
    char *data;
    int r;

    change.former_key_sha256 = (ProtobufCBinaryData){sizeof(audit_key), audit_key};
    ck_assert_int_eq(PEM_write_bio_X509(bio, audit.certificate), 1);
    ck_assert_int_gt(PEM_write_bio(bio, "MINTMARK AUDIT KEY CHANGE", "", packed,
                                   (long)mintmark__v1__audit_key_changed__pack(&change, packed)),
                     0);
    ck_assert_int_eq(PEM_write_bio_X509(bio, officer.certificate), 1);
    pem.len = (size_t)BIO_get_mem_data(bio, &data);
    pem.data = (const uint8_t *)data;
    for (unsigned nth = 1; failed; nth++) {
        memory_fail_at(nth);
        r = mm_audit_keys_new(pem, &keys, &ei);
        failed = memory_failed();
        memory_fail_at(0);
        ck_assert_msg(r == MM_OK || (r == MM_ERR_MEMORY && failed), "allocation %u: %s", nth,
                      ei.text);
        if (r < 0)
            continue;
        ck_assert_uint_eq(keys->n_changes, 1);
        ck_assert_int_eq(count(keys->trust), 2);
        mm_audit_keys_free(keys);
    }
    BIO_free(bio);
}
END_TEST

/* ---- all of them ------------------------------------------------------------------------- */

int main(void)
{
    Suite *suite = suite_create("store_vouch_memory");
    TCase *hashed = tcase_create("hashed"), *trusted = tcase_create("trusted");

    hook_sqlite();
    hook_openssl();
    mm_log_setup("test", MM_LOG_ERROR);
    tcase_set_timeout(hashed, 180);
    tcase_set_timeout(trusted, 180);
    tcase_add_checked_fixture(hashed, setup_sealed, teardown_sealed);
    tcase_add_checked_fixture(trusted, setup_trusted, teardown_trusted);
    tcase_add_test(hashed, anchors_short_of_memory_have_their_proofs_or_are_not_given_out);
    tcase_add_test(hashed, exports_that_do_not_begin_end_no_other);
    tcase_add_test(hashed, export_pages_that_fail_are_given_again_or_the_export_is_lost);
    tcase_add_test(hashed, report_pieces_that_fail_are_hashed_once_or_the_hash_is_lost);
    tcase_add_test(trusted, start_short_of_memory_trusts_all_or_says_so);
    tcase_add_test(trusted, start_with_an_empty_set_trusts_nobody);
    tcase_add_test(trusted, reload_short_of_memory_takes_all_or_nothing);
    tcase_add_test(trusted, audit_keys_short_of_memory_are_all_read_or_none);
    suite_add_tcase(suite, hashed);
    suite_add_tcase(suite, trusted);
    return run_suite(suite);
}
