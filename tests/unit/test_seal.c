/* SPDX-License-Identifier: Apache-2.0 */
/* Proofs of the store, and what the launcher hands workers to make and check them by. */
#include "daemon/ipc/seal.h"

#include "tests/support/handed.h"
#include "tests/unit/check_main.h"

#include <openssl/hmac.h>

#define BYTES(text) ((struct mm_bytes){(const uint8_t *)(text), sizeof(text) - 1})

static struct mm_secret *key;
static struct mm_errinfo ei;
static uint8_t signer[MM_SEAL_SIGNER], proof[MM_SEAL_BYTES];

static void setup(void)
{
    ck_assert_int_eq(mm_secret_new(MM_HANDED_KEY, &key), MM_OK);
    memset(mm_secret_data(key), 7, MM_HANDED_KEY);
    memset(signer, 3, sizeof(signer));
    ei = (struct mm_errinfo){0};
}

static void teardown(void)
{
    mm_secret_free(key);
}

static struct mm_sealed one(enum mm_seal_use use, const struct mm_bytes *part)
{
    return (struct mm_sealed){.use = use, .signer = signer, .parts = part, .n_parts = 1};
}

static int check(const struct mm_sealed *what, size_t len)
{
    return mm_seal_check(key, what, (struct mm_bytes){proof, len}, &ei);
}

static void refused(const struct mm_sealed *what, size_t len)
{
    ck_assert_int_eq(check(what, len), MM_ERR_PERMISSION);
    ck_assert_str_eq(ei.reason, "NOT_OF_THE_STORE");
}

/* By hand, as seal.h says it. */
START_TEST(seal_make_is_hmac_over_what_the_header_says)
{
    const struct mm_bytes part = BYTES("abc");
    const struct mm_sealed what = one(MM_SEAL_DETACHED, &part);
    uint8_t text[] = "mintmark detached\0\0\0\0\0\0\0\0\x20SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS"
                     "\0\0\0\0\0\0\0\3abc";
    uint8_t want[MM_SEAL_BYTES];

    memset(text + 26, 3, sizeof(signer));
    HMAC(EVP_sha256(), mm_secret_data(key), MM_HANDED_KEY, text, sizeof(text) - 1, want, NULL);
    ck_assert_int_eq(mm_seal_make(key, &what, proof, &ei), MM_OK);
    ck_assert_mem_eq(proof, want, sizeof(want));
    ck_assert_int_eq(check(&what, sizeof(proof)), MM_OK);
}
END_TEST

START_TEST(seal_check_every_wrong_bit_is_refused)
{
    const struct mm_bytes part = BYTES("abc");
    const struct mm_sealed what = one(MM_SEAL_DOCUMENT, &part);

    ck_assert_int_eq(mm_seal_make(key, &what, proof, &ei), MM_OK);
    for (size_t i = 0; i < 8 * sizeof(proof); i++) {
        proof[i / 8] ^= (uint8_t)(1 << i % 8);
        refused(&what, sizeof(proof));
        proof[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    ck_assert_int_eq(check(&what, sizeof(proof)), MM_OK);
}
END_TEST

START_TEST(seal_check_missing_short_or_keyless_is_refused)
{
    const struct mm_bytes part = BYTES("abc");
    const struct mm_sealed what = one(MM_SEAL_DOCUMENT, &part);

    ck_assert_int_eq(mm_seal_make(key, &what, proof, &ei), MM_OK);
    refused(&what, 0);
    refused(&what, sizeof(proof) - 1);
    ck_assert_int_eq(mm_seal_check(NULL, &what, (struct mm_bytes){proof, sizeof(proof)}, &ei),
                     MM_ERR_PERMISSION);
    ck_assert_str_eq(ei.reason, "NOT_OF_THE_STORE");
    mm_secret_data(key)[0] ^= 1;
    refused(&what, sizeof(proof));
}
END_TEST

START_TEST(seal_check_other_purpose_signer_or_parts_are_refused)
{
    const struct mm_bytes part = BYTES("abcd"), split[] = {BYTES("ab"), BYTES("cd")};
    const struct mm_bytes other = BYTES("abce");
    struct mm_sealed what = one(MM_SEAL_DIGESTS, &part);

    ck_assert_int_eq(mm_seal_make(key, &what, proof, &ei), MM_OK);
    for (int use = MM_SEAL_ANCHOR; use < MM_SEAL_DIGESTS; use++) {
        what.use = (enum mm_seal_use)use;
        refused(&what, sizeof(proof));
    }
    what = one(MM_SEAL_DIGESTS, &other);
    refused(&what, sizeof(proof));
    what = (struct mm_sealed){MM_SEAL_DIGESTS, signer, split, 2};
    refused(&what, sizeof(proof));
    what = (struct mm_sealed){MM_SEAL_DIGESTS, NULL, &part, 1};
    refused(&what, sizeof(proof));
    what = one(MM_SEAL_DIGESTS, &part);
    signer[31] ^= 1;
    refused(&what, sizeof(proof));
    signer[31] ^= 1;
    ck_assert_int_eq(check(&what, sizeof(proof)), MM_OK);
}
END_TEST

START_TEST(seal_config_tells_paths_and_texts_apart)
{
    uint8_t a[MM_HANDED_DIGEST], b[MM_HANDED_DIGEST];

    ck_assert_int_eq(mm_seal_config("/a", BYTES("bc"), a, &ei), MM_OK);
    ck_assert_int_eq(mm_seal_config("/a", BYTES("bc"), b, &ei), MM_OK);
    ck_assert_mem_eq(a, b, sizeof(a));
    ck_assert_int_eq(mm_seal_config("/ab", BYTES("c"), b, &ei), MM_OK);
    ck_assert_mem_ne(a, b, sizeof(a));
    ck_assert_int_eq(mm_seal_config("/a", BYTES("bd"), b, &ei), MM_OK);
    ck_assert_mem_ne(a, b, sizeof(a));
}
END_TEST

/* ---- what is handed over ----------------------------------------------------------------- */

static struct mm_handed through_a_pipe(const struct mm_handed *h, bool with_key)
{
    struct mm_handed got;
    int fd;

    ck_assert_int_eq(mm_handed_pipe(h, with_key, &fd, &ei), MM_OK);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_msg(mm_handed_read(fd, &got, &ei) == MM_OK, "%s", ei.text);
    close(fd);
    return got;
}

START_TEST(handed_key_and_configurations_arrive)
{
    struct mm_handed h = {0}, got;
    uint8_t config[MM_HANDED_DIGEST] = {0};

    ck_assert_int_eq(mm_handed_draw(&h, &ei), MM_OK);
    for (unsigned i = 0; i < MM_HANDED_CONFIGS; i++) {
        config[0] = (uint8_t)i;
        mm_handed_add(&h, config);
    }
    got = through_a_pipe(&h, true);
    ck_assert_uint_eq(mm_secret_len(got.key), MM_HANDED_KEY);
    ck_assert_mem_eq(mm_secret_data(got.key), mm_secret_data(h.key), MM_HANDED_KEY);
    ck_assert_uint_eq(got.n_configs, MM_HANDED_CONFIGS);
    ck_assert(mm_handed_knows(&got, config));
    config[1] = 1;
    ck_assert(!mm_handed_knows(&got, config));
    mm_handed_done(&got);
    got = through_a_pipe(&h, false);
    ck_assert_ptr_null(got.key);
    ck_assert_uint_eq(got.n_configs, MM_HANDED_CONFIGS);
    mm_handed_done(&h);
}
END_TEST

START_TEST(handed_two_draws_differ)
{
    struct mm_handed a = {0}, b = {0};

    ck_assert_int_eq(mm_handed_draw(&a, &ei), MM_OK);
    ck_assert_int_eq(mm_handed_draw(&b, &ei), MM_OK);
    ck_assert_mem_ne(mm_secret_data(a.key), mm_secret_data(b.key), MM_HANDED_KEY);
    mm_handed_done(&a);
    mm_handed_done(&b);
}
END_TEST

START_TEST(handed_one_configuration_too_many_takes_the_oldest_ones_place)
{
    struct mm_handed h = {0};
    uint8_t config[MM_HANDED_DIGEST] = {0};

    for (unsigned i = 0; i < MM_HANDED_CONFIGS; i++) {
        config[0] = (uint8_t)i;
        mm_handed_add(&h, config);
    }
    config[0] = 0;
    mm_handed_add(&h, config); /* known: now it is the newest */
    ck_assert_uint_eq(h.n_configs, MM_HANDED_CONFIGS);
    config[0] = MM_HANDED_CONFIGS;
    mm_handed_add(&h, config);
    ck_assert_uint_eq(h.n_configs, MM_HANDED_CONFIGS);
    for (unsigned i = 0; i <= MM_HANDED_CONFIGS; i++) {
        config[0] = (uint8_t)i;
        ck_assert(mm_handed_knows(&h, config) == (i != 1));
    }
}
END_TEST

static void expect_bad(const void *data, size_t len)
{
    struct mm_handed got = {0};
    int fd[2];

    ck_assert_int_eq(pipe2(fd, O_CLOEXEC), 0);
    ck_assert_int_eq(write(fd[1], data, len), (ssize_t)len);
    close(fd[1]);
    ck_assert_int_eq(mm_handed_read(fd[0], &got, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "HANDED_BAD");
    ck_assert_ptr_null(got.key);
    close(fd[0]);
}

START_TEST(handed_read_nothing_less_or_something_else_is_refused)
{
    const uint32_t many[] = {MM_HANDED_CONFIGS + 1, 0}, odd[] = {0, 2}, cut[] = {1, 0, 5};
    const uint32_t no_key[] = {0, 1};
    struct mm_handed got;

    expect_bad("", 0);
    expect_bad(many, sizeof(many));
    expect_bad(odd, sizeof(odd));
    expect_bad(cut, sizeof(cut));
    expect_bad(no_key, sizeof(no_key));
    ck_assert_int_eq(mm_handed_read(-1, &got, &ei), MM_ERR_CORRUPT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("seal");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, seal_make_is_hmac_over_what_the_header_says);
    tcase_add_test(t, seal_check_every_wrong_bit_is_refused);
    tcase_add_test(t, seal_check_missing_short_or_keyless_is_refused);
    tcase_add_test(t, seal_check_other_purpose_signer_or_parts_are_refused);
    tcase_add_test(t, seal_config_tells_paths_and_texts_apart);
    tcase_add_test(t, handed_key_and_configurations_arrive);
    tcase_add_test(t, handed_two_draws_differ);
    tcase_add_test(t, handed_one_configuration_too_many_takes_the_oldest_ones_place);
    tcase_add_test(t, handed_read_nothing_less_or_something_else_is_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
