/* SPDX-License-Identifier: Apache-2.0 */
/* What the store gives out to be signed comes with its proof, and it hashes it itself. */
#include "tests/unit/sealed_support.h"

#include <openssl/sha.h>

static void setup_sealed(void)
{
    setup_key();
    start();
    use_key();
}

static const Mintmark__Internal__Guard *prepare(void)
{
    Mintmark__Internal__PrepareAnchor body = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__StoreJob job;

    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &body;
    body.checkpoint = true;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    return guard_now();
}

START_TEST(anchors_and_checkpoints_have_proofs)
{
    const Mintmark__Internal__Guard *g = prepare();

    proven(MM_SEAL_ANCHOR, &g->anchor, &g->anchor_proof);
    proven(MM_SEAL_DOCUMENT, &g->checkpoint, &g->checkpoint_proof);
}
END_TEST

START_TEST(without_a_key_nothing_has_a_proof)
{
    const Mintmark__Internal__Guard *g;

    mm_store_set_seal(f.store, NULL);
    g = prepare();
    ck_assert_uint_gt(g->anchor.len, 0);
    ck_assert_uint_eq(g->anchor_proof.len, 0);
    ck_assert_uint_eq(g->checkpoint_proof.len, 0);
}
END_TEST

/* ---- exports ----------------------------------------------------------------------------- */

static uint64_t tally, last;

static void begin_export(EVP_MD_CTX *all)
{
    const Mintmark__Internal__ExportBegun *begun;
    struct small_job j;

    make_begin_export(&j, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    begun = f.results[0]->export_begun;
    ck_assert_uint_ne(begun->tally, 0);
    tally = begun->tally;
    last = begun->last_sequence;
    if (all)
        EVP_DigestUpdate(all, begun->data.data, begun->data.len);
}

static void make_page(struct small_job *j, uint64_t after, uint64_t of)
{
    make_export_page(j, after, last);
    j->export_page.tally = of;
}

START_TEST(an_export_is_hashed_as_it_was_given_out)
{
    const Mintmark__Internal__ExportPiece *piece;
    Mintmark__V1__SignedDocument *document;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    struct small_job j;
    EVP_MD_CTX *all = EVP_MD_CTX_new();
    uint64_t records = 0, after = 0;

    fixture_populate(&f, 1000);
    EVP_DigestInit_ex(all, EVP_sha256(), NULL);
    begin_export(all);
    do {
        make_page(&j, after, tally);
        ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
        piece = f.results[0]->export_piece;
        EVP_DigestUpdate(all, piece->data.data, piece->data.len);
        records += piece->records;
        after = piece->last;
    } while (after < last);
    EVP_DigestFinal_ex(all, sha256, NULL);
    EVP_MD_CTX_free(all);
    proven(MM_SEAL_DOCUMENT, &piece->statement, &piece->proof);
    document =
        mintmark__v1__signed_document__unpack(NULL, piece->statement.len, piece->statement.data);
    ck_assert_ptr_nonnull(document);
    ck_assert_int_eq(document->document_case,
                     MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_LEDGER_EXPORT);
    ck_assert_uint_eq(document->ledger_export->sha256.len, sizeof(sha256));
    ck_assert_mem_eq(document->ledger_export->sha256.data, sha256, sizeof(sha256));
    ck_assert_uint_eq(document->ledger_export->records, records);
    ck_assert_uint_eq(document->ledger_export->last_sequence, last);
    ck_assert_str_eq(document->ledger_export->by, "auditor");
    mintmark__v1__signed_document__free_unpacked(document, NULL);
    /* It was stated, and is over. */
    make_page(&j, last - 1, tally);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
}
END_TEST

START_TEST(an_export_with_pages_left_out_gets_no_statement)
{
    struct small_job j;

    fixture_populate(&f, 1000);
    begin_export(NULL);
    make_page(&j, 1, tally);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
    make_page(&j, 0, tally ^ 1);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
    last--;
    make_page(&j, 0, tally);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
    /* Read only: fine, and nothing to sign. */
    make_page(&j, 1, 0);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_uint_eq(f.results[0]->export_piece->statement.len, 0);
    ck_assert_uint_eq(f.results[0]->export_piece->proof.len, 0);
}
END_TEST

START_TEST(an_export_is_not_gone_on_with_after_a_restart)
{
    struct small_job j;

    begin_export(NULL);
    stop();
    start();
    use_key();
    make_page(&j, 0, tally);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
}
END_TEST

START_TEST(one_export_too_many_ends_the_one_that_waited_longest)
{
    struct small_job j;
    uint64_t first, second, end;

    begin_export(NULL);
    first = tally;
    end = last;
    begin_export(NULL);
    second = tally;
    for (unsigned i = 2; i <= MM_TALLIES_MAX; i++)
        begin_export(NULL);
    make_page(&j, 0, first);
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
    make_page(&j, 0, second);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    ck_assert_uint_eq(last, end);
}
END_TEST

/* ---- reports ----------------------------------------------------------------------------- */

static void release(unsigned batch)
{
    struct small_job j;

    fixture_populate(&f, 1000);
    make_release(&j, batch);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
}

START_TEST(a_report_is_hashed_as_it_is_read)
{
    const Mintmark__Internal__ReportPiece *piece;
    uint8_t sha256[SHA256_DIGEST_LENGTH];
    struct small_job j;
    size_t size;

    release(1);
    make_report_page(&j, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    piece = f.results[0]->report_piece;
    ck_assert_ptr_null(piece->next); /* it is short */
    ck_assert_uint_eq(piece->proof.len, 0);
    size = piece->data.len;
    SHA256(piece->data.data, size, sha256);
    j.report_page.hash = true;
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    piece = f.results[0]->report_piece;
    ck_assert_uint_eq(piece->tally, 0);
    ck_assert_uint_eq(piece->data.len, 0);
    ck_assert_uint_eq(piece->size, size);
    ck_assert_uint_eq(piece->sha256.len, sizeof(sha256));
    ck_assert_mem_eq(piece->sha256.data, sha256, sizeof(sha256));
    proven(MM_SEAL_DETACHED, &piece->sha256, &piece->proof);
}
END_TEST

START_TEST(a_report_goes_on_with_its_own_hash_only)
{
    struct small_job j;

    release(1);
    begin_export(NULL);
    make_report_page(&j, 1);
    j.report_page.hash = true;
    j.report_page.tally = tally;
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
    j.report_page.tally = 1;
    fixture_refused(&f, &j.job, MM_ERR_UNAVAILABLE, "HASHING_LOST");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_vouch");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup_sealed, teardown_key);
    tcase_add_test(t, anchors_and_checkpoints_have_proofs);
    tcase_add_test(t, without_a_key_nothing_has_a_proof);
    tcase_add_test(t, an_export_is_hashed_as_it_was_given_out);
    tcase_add_test(t, an_export_with_pages_left_out_gets_no_statement);
    tcase_add_test(t, an_export_is_not_gone_on_with_after_a_restart);
    tcase_add_test(t, one_export_too_many_ends_the_one_that_waited_longest);
    tcase_add_test(t, a_report_is_hashed_as_it_is_read);
    tcase_add_test(t, a_report_goes_on_with_its_own_hash_only);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
