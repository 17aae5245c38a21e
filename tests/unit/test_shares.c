/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/check_main.h"
#include "tools/officer/backup_file.h"

#include <openssl/rand.h>
#include <string.h>

static const uint8_t set[MM_BACKUP_SET_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
static struct mm_errinfo ei;

static struct mm_secret *random_key(void)
{
    struct mm_secret *key = NULL;

    ck_assert_int_eq(mm_secret_new(MM_BACKUP_KEY_BYTES, &key), MM_OK);
    ck_assert_int_eq(RAND_bytes(mm_secret_data(key), MM_BACKUP_KEY_BYTES), 1);
    return key;
}

static bool same(struct mm_secret *a, struct mm_secret *b)
{
    return memcmp(mm_secret_data(a), mm_secret_data(b), MM_BACKUP_KEY_BYTES) == 0;
}

START_TEST(join_of_any_threshold_gives_the_key_and_of_fewer_does_not)
{
    MM_SECRET_CLEANUP struct mm_secret *key = random_key();
    struct mm_secret *shares[5];

    ck_assert_int_eq(mm_shares_split(key, set, 3, 5, shares, &ei), MM_OK);
    for (unsigned mask = 1; mask < 32; mask++) {
        struct mm_secret *some[5];
        MM_SECRET_CLEANUP struct mm_secret *joined = NULL;
        size_t n = 0;

        for (unsigned i = 0; i < 5; i++)
            if (mask & 1U << i)
                some[n++] = shares[i];
        ck_assert_int_eq(mm_shares_join(some, n, &joined, &ei), MM_OK);
        ck_assert_msg(same(joined, key) == (n >= 3), "mask %#x", mask);
    }
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(mm_share_index(shares[i]), i + 1);
        mm_secret_free(shares[i]);
    }
}
END_TEST

START_TEST(split_refuses_numbers_that_make_no_sense)
{
    static const unsigned numbers[][2] = {{1, 3}, {4, 3}, {2, 17}, {0, 0}};
    MM_SECRET_CLEANUP struct mm_secret *key = random_key();
    struct mm_secret *shares[MM_SHARES_MAX];

    for (size_t i = 0; i < MM_ARRAY_SIZE(numbers); i++)
        ck_assert_int_eq(mm_shares_split(key, set, numbers[i][0], numbers[i][1], shares, &ei),
                         MM_ERR_INVALID);
}
END_TEST

START_TEST(parse_takes_what_text_gives_and_finds_every_wrong_digit)
{
    MM_SECRET_CLEANUP struct mm_secret *key = random_key();
    MM_SECRET_CLEANUP struct mm_secret *text = NULL;
    MM_SECRET_CLEANUP struct mm_secret *back = NULL;
    struct mm_secret *shares[2];

    ck_assert_int_eq(mm_shares_split(key, set, 2, 2, shares, &ei), MM_OK);
    ck_assert_int_eq(mm_share_text(shares[1], &text, &ei), MM_OK);
    mm_secret_truncate(text, MM_SHARE_TEXT);
    ck_assert_int_eq(mm_share_parse(text, &back, &ei), MM_OK);
    ck_assert_mem_eq(mm_secret_data(back), mm_secret_data(shares[1]), MM_SHARE_BYTES);
    for (size_t i = 0; i < MM_SHARE_TEXT; i++) {
        uint8_t *const c = mm_secret_data(text) + i;
        const uint8_t was = *c;
        struct mm_secret *none = NULL;

        if (was == '-')
            continue;
        *c = was == '0' ? '1' : '0';
        ck_assert_int_eq(mm_share_parse(text, &none, &ei), MM_ERR_INVALID);
        ck_assert_str_eq(ei.reason, i < 2 ? "SHARE_MALFORMED" : "SHARE_MISTYPED");
        ck_assert_ptr_null(none);
        *c = was;
    }
    mm_secret_truncate(text, MM_SHARE_TEXT - 1);
    struct mm_secret *none = NULL;
    ck_assert_int_eq(mm_share_parse(text, &none, &ei), MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "SHARE_MALFORMED");
    mm_secret_free(shares[0]);
    mm_secret_free(shares[1]);
}
END_TEST

/* Every byte of the file that is changed is found: it is no backup any more, or its MAC is wrong,
 * or its shares are others'. */
START_TEST(file_with_a_changed_byte_is_never_taken)
{
    MM_SECRET_CLEANUP struct mm_secret *key = random_key();
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_BACKUP_FILE_MAX);
    MM_BACKUP_CLEANUP struct mm_backup backup = {.threshold = 2, .n_shares = 2, .n_keys = 1};
    const struct mm_backup_origin origin = {"site", "token", "0001", 0};
    struct mm_secret *shares[2];
    size_t accepted = 0;

    memcpy(backup.set, set, sizeof(set));
    backup.keys[0] = (struct mm_backup_key){
        .label = "pai", .id = {7}, .id_len = 1, .point = {4}, .point_len = 65, .wrapped_len = 80};
    ck_assert_int_eq(mm_shares_split(key, set, 2, 2, shares, &ei), MM_OK);
    ck_assert_int_eq(mm_backup_write(&backup, &origin, key, shares, &text, &ei), MM_OK);
    for (size_t i = 0; i <= text.len; i++) {
        MM_BACKUP_CLEANUP struct mm_backup read = {0};
        uint8_t was = 0;

        if (i < text.len) {
            was = text.data[i];
            text.data[i] = was == '3' ? '4' : '3';
        }
        if (mm_backup_parse((struct mm_bytes){text.data, text.len}, &read, &ei) == MM_OK &&
            mm_backup_check_share(&read, shares[0], &ei) == MM_OK &&
            mm_backup_check_share(&read, shares[1], &ei) == MM_OK &&
            mm_backup_check_key(&read, key, &ei) == MM_OK)
            accepted++;
        if (i < text.len)
            text.data[i] = was;
    }
    ck_assert_uint_eq(accepted, 1); /* the one that was left alone */
    mm_secret_free(shares[0]);
    mm_secret_free(shares[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shares");
    TCase *tc = tcase_create("shares");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, join_of_any_threshold_gives_the_key_and_of_fewer_does_not);
    tcase_add_test(tc, split_refuses_numbers_that_make_no_sense);
    tcase_add_test(tc, parse_takes_what_text_gives_and_finds_every_wrong_digit);
    tcase_add_test(tc, file_with_a_changed_byte_is_never_taken);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
