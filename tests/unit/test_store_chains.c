/* SPDX-License-Identifier: Apache-2.0 */
/* What devices' certificates were issued under is recorded with them, and given back with them. */
#include "tests/unit/enrolments_support.h"

static void spend_under(unsigned chain, const char *request_id, unsigned count, unsigned first,
                        unsigned n)
{
    make_spend(&j, 1, request_id, count, first, n);
    fixture_chain(chain, &j.spend.chain, &j.spend.chain_sha256);
    ck_assert_msg(fixture_do(&f, &j.job) == MM_OK, "%s", fixture_reason(&f, 0));
}

/* Chain `number`, or none for 0. */
static void is_chain(const Mintmark__Internal__Chain *chain, unsigned number)
{
    ProtobufCBinaryData packed, sha256;
    char text[] = "issuing CA 0";

    if (number == 0) {
        ck_assert_ptr_null(chain);
        return;
    }
    fixture_chain(number, &packed, &sha256);
    text[strlen(text) - 1] = (char)('0' + number);
    ck_assert_ptr_nonnull(chain);
    ck_assert_uint_eq(chain->n_certificates, 2);
    ck_assert_uint_eq(chain->certificates[0].len, strlen(text));
    ck_assert_mem_eq(chain->certificates[0].data, text, strlen(text));
    ck_assert_mem_eq(chain->certificates[1].data, "root", 4);
    ck_assert_uint_eq(chain->sha256.len, sha256.len);
    ck_assert_mem_eq(chain->sha256.data, sha256.data, sha256.len);
}

/* A page of so many devices of that chain; returns where the next begins. */
static uint64_t page(const char *request_id, uint64_t after, size_t n, unsigned chain, bool more)
{
    const Mintmark__Internal__Fetched *p;
    struct small_job job;

    make_fetch(&job, request_id, after, MM_CHUNK_DEVICES);
    ck_assert_int_eq(fixture_do(&f, &job.job), MM_OK);
    p = f.results[0]->fetched;
    ck_assert_uint_eq(p->n_bundles, n);
    is_chain(p->chain, chain);
    ck_assert_int_eq(p->more, more);
    return p->last_row;
}

START_TEST(spend_and_record_keeps_each_chain_once)
{
    spend_under(1, "r1", 8, 1, 2);
    spend_under(1, "r1", 8, 3, 2);
    spend_under(2, "r1", 8, 5, 2);
    spend_under(1, "r1", 8, 7, 1);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM chains"), 2);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices WHERE chain = 1"), 5);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices WHERE chain = 2"), 2);
    fixture_check_invariants(&f);
}
END_TEST

START_TEST(spend_and_record_that_fails_leaves_no_chain)
{
    make_spend(&j, 1, "r1", DEVICES, 1, 1);
    fixture_chain(3, &j.spend.chain, &j.spend.chain_sha256);
    j.spend.batch_uid = TEXT(batch_uid(9));
    fixture_refused(&f, &j.job, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH");
    /* After the chain: its key is there already. */
    spend_under(1, "r1", DEVICES, 1, 1);
    make_spend(&j, 1, "r2", DEVICES, 1, 1);
    memset(j.keys[0], 0x5a, sizeof(j.keys[0]));
    fixture_chain(3, &j.spend.chain, &j.spend.chain_sha256);
    fixture_refused(&f, &j.job, MM_ERR_EXISTS, "DUPLICATE_DEVICE");
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM chains"), 1);
}
END_TEST

START_TEST(fetch_ends_a_page_where_the_chain_changes)
{
    uint64_t at;

    spend_under(1, "r1", 8, 1, 3);
    spend_under(2, "r1", 8, 4, 2);
    spend_under(0, "r1", 8, 6, 1);
    spend_under(1, "r1", 8, 7, 1);
    at = page("r1", 0, 3, 1, true);
    at = page("r1", at, 2, 2, true);
    at = page("r1", at, 1, 0, true);
    page("r1", at, 1, 1, false);
    is_chain(get(4)->chain, 2);
    is_chain(get(6)->chain, 0);
}
END_TEST

START_TEST(devices_of_before_version_8_have_no_chain)
{
    sqlite3 *db;
    char *error = NULL;

    spend_under(1, "r1", 8, 1, 2);
    fixture_close(&f);
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    sqlite3_exec(db,
                 "ALTER TABLE devices DROP COLUMN chain; DROP TABLE chains;"
                 " PRAGMA user_version = 7",
                 NULL, NULL, &error);
    ck_assert_msg(!error, "%s", error);
    sqlite3_close(db);
    fixture_open(&f);
    ck_assert_int_eq(fixture_int(&f, "PRAGMA user_version"), 8);
    page("r1", 0, 2, 0, false);
    is_chain(get(1)->chain, 0);
    /* And those that come now have one. */
    spend_under(2, "r1", 8, 3, 1);
    page("r1", page("r1", 0, 2, 0, true), 1, 2, false);
    fixture_check_invariants(&f);
}
END_TEST

START_TEST(chain_that_is_none_is_refused)
{
    static uint8_t sha256_alone[] = {0x12, 0x00}, huge[MM_CHAIN_BYTES_MAX + 1];
    ProtobufCBinaryData other, other_sha256;

    fixture_chain(2, &other, &other_sha256);
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain_sha256 = other_sha256;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain_sha256.len--;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain = (ProtobufCBinaryData){sizeof(huge), huge};
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain = (ProtobufCBinaryData){sizeof(sha256_alone), sha256_alone};
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain.len--; /* cut off */
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_spend(&j, 1, "r1", 4, 1, 1);
    j.spend.chain.len = 0;
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
    make_requests("r1", 2, 1, 2, true); /* what waits has none yet */
    fixture_chain(1, &j.spend.chain, &j.spend.chain_sha256);
    fixture_refused(&f, &j.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

START_TEST(damaged_chain_is_met_as_damage)
{
    struct small_job device;
    sqlite3 *db;

    spend_under(1, "r1", 8, 1, 2);
    fixture_close(&f);
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "UPDATE chains SET certificates = x'00'", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    fixture_open(&f);
    make_get_device(&device, 1);
    ck_assert_int_eq(fixture_do(&f, &device.job), MM_ERR_CORRUPT);
    ck_assert_str_eq(fixture_reason(&f, 0), "STORE_CORRUPT");
}
END_TEST

/* The authority's chain is that of the certificate, whatever it was when the device was made. */
START_TEST(certify_records_the_chain_of_the_certificates)
{
    struct certificate certs[3];

    record("r1", 3, 1, 3, true);
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices WHERE chain IS NULL"), 3);
    for (unsigned i = 0; i < 3; i++) {
        certs[i] = certify(keys[i + 1], 1000 + i, "CA");
        make_certify(1);
        put_certificate(0, i + 1, &certs[i]);
        fixture_chain(i < 2 ? 1 : 2, &c.certify.chain, &c.certify.chain_sha256);
        ck_assert_msg(fixture_do(&f, &c.job) == MM_OK, "%s", fixture_reason(&f, 0));
        ck_assert_ptr_null(f.results[0]->certified->devices[0]->error);
    }
    is_chain(fetch("r1", 0, true, false)->chain, 1);
    ck_assert_uint_eq(f.results[0]->fetched->n_bundles, 2);
    ck_assert(f.results[0]->fetched->more);
    is_chain(fetch("r1", f.results[0]->fetched->last_row, true, false)->chain, 2);
    is_chain(get(3)->chain, 2);
    for (unsigned i = 0; i < 3; i++)
        done(certs[i]);
}
END_TEST

static void enroll_under(unsigned chain, unsigned first, unsigned n)
{
    make_enroll(&j, 1, "r1", first, n);
    fixture_chain(chain, &j.spend.chain, &j.spend.chain_sha256);
}

/* Keys 1 and 2 came under chain 1, key 3 under chain 2; key 4 is new. */
START_TEST(enroll_and_record_names_the_chain_of_each_bundle)
{
    const Mintmark__Internal__Enrolled *e;

    enroll_under(1, 1, 2);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    enroll_under(2, 3, 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    enroll_under(3, 11, 4);
    for (unsigned i = 0; i < 4; i++)
        set_key(&j, i, i + 1);
    ck_assert_int_eq(fixture_do(&f, &j.job), MM_OK);
    e = f.results[0]->enrolled;
    ck_assert_uint_eq(e->n_keys, 4);
    ck_assert_uint_eq(e->n_chains, 2);
    ck_assert_uint_eq(e->keys[0]->chain, 1);
    ck_assert_uint_eq(e->keys[1]->chain, 1);
    ck_assert_uint_eq(e->keys[2]->chain, 2);
    ck_assert_uint_eq(e->keys[3]->chain, 0);
    is_chain(e->chains[0], 1);
    is_chain(e->chains[1], 2);
    ck_assert_int_eq(fixture_int(&f, "SELECT chain FROM devices ORDER BY row DESC LIMIT 1"), 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_chains");
    TCase *tc = tcase_create("store_chains");

    tcase_set_timeout(tc, 60); /* on a busy machine */
    tcase_add_unchecked_fixture(tc, setup_keys, teardown_keys);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, spend_and_record_keeps_each_chain_once);
    tcase_add_test(tc, spend_and_record_that_fails_leaves_no_chain);
    tcase_add_test(tc, fetch_ends_a_page_where_the_chain_changes);
    tcase_add_test(tc, devices_of_before_version_8_have_no_chain);
    tcase_add_test(tc, chain_that_is_none_is_refused);
    tcase_add_test(tc, damaged_chain_is_met_as_damage);
    tcase_add_test(tc, certify_records_the_chain_of_the_certificates);
    tcase_add_test(tc, enroll_and_record_names_the_chain_of_each_bundle);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
