/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of points that are known by their x coordinates only, held against libcrypto's own sums. */
#include "check_main.h"
#include "daemon/pki/summation.h"

#include <openssl/bn.h>
#include <openssl/obj_mac.h>

static EC_GROUP *group;
static BN_CTX *bn;
static struct mm_summation *summation;
static EC_POINT *points[MM_SUMMANDS], *sum;
static BIGNUM *x[MM_SUMMANDS], *sum_x, *z;

static void draw_point(EC_POINT *to)
{
    BIGNUM *k = BN_new();

    ck_assert_int_eq(BN_priv_rand_range(k, EC_GROUP_get0_order(group)), 1);
    ck_assert_int_eq(EC_POINT_mul(group, to, k, NULL, NULL, bn), 1);
    BN_free(k);
}

static void read_x(BIGNUM *to, const EC_POINT *point)
{
    ck_assert_int_eq(EC_POINT_get_affine_coordinates(group, point, to, NULL, bn), 1);
}

/* Signs are bits of the mask: the points' sum, as X / Z² for some Z. */
static void add_up(unsigned mask)
{
    BIGNUM *z_squared = BN_new();

    ck_assert_int_eq(EC_POINT_set_to_infinity(group, sum), 1);
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        if (mask & 1U << i)
            ck_assert_int_eq(EC_POINT_invert(group, points[i], bn), 1);
        ck_assert_int_eq(EC_POINT_add(group, sum, sum, points[i], bn), 1);
    }
    read_x(sum_x, sum);
    ck_assert_int_eq(BN_priv_rand_range(z, EC_GROUP_get0_field(group)), 1);
    ck_assert_int_eq(BN_mod_sqr(z_squared, z, EC_GROUP_get0_field(group), bn), 1);
    ck_assert_int_eq(BN_mod_mul(sum_x, sum_x, z_squared, EC_GROUP_get0_field(group), bn), 1);
    BN_free(z_squared);
}

static bool holds(void)
{
    return mm_summation_holds(summation, (const BIGNUM *const[]){x[0], x[1], x[2]}, sum_x, z);
}

static void setup(void)
{
    group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    bn = BN_CTX_new();
    summation = mm_summation_new(group);
    ck_assert_ptr_nonnull(summation);
    sum = EC_POINT_new(group);
    sum_x = BN_new();
    z = BN_new();
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        points[i] = EC_POINT_new(group);
        x[i] = BN_new();
        draw_point(points[i]);
        read_x(x[i], points[i]);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        EC_POINT_free(points[i]);
        BN_free(x[i]);
    }
    BN_free(z);
    BN_free(sum_x);
    EC_POINT_free(sum);
    mm_summation_free(summation);
    BN_CTX_free(bn);
    EC_GROUP_free(group);
}

START_TEST(holds_true_sums_of_either_sign_accepted)
{
    for (unsigned mask = 0; mask < 1U << MM_SUMMANDS; mask++) {
        add_up(mask);
        ck_assert(holds());
    }
}
END_TEST

START_TEST(holds_other_coordinate_refused)
{
    BIGNUM *const all[] = {x[0], x[1], x[2], sum_x, z};

    add_up(0);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        ck_assert_int_eq(BN_add_word(all[i], 1), 1);
        ck_assert(!holds());
        ck_assert_int_eq(BN_sub_word(all[i], 1), 1);
        ck_assert(holds());
    }
}
END_TEST

/* One point left out, or there twice: neither is a sum of all three. */
START_TEST(holds_other_sum_refused)
{
    add_up(0);
    ck_assert_int_eq(EC_POINT_add(group, sum, points[0], points[1], bn), 1);
    read_x(sum_x, sum);
    BN_one(z);
    ck_assert(!holds());
    ck_assert_int_eq(EC_POINT_add(group, sum, sum, points[2], bn), 1);
    read_x(sum_x, sum);
    ck_assert(holds());
    ck_assert_int_eq(EC_POINT_add(group, sum, sum, points[2], bn), 1);
    read_x(sum_x, sum);
    ck_assert(!holds());
}
END_TEST

/* Half of all numbers are no point's x coordinate: three of these have no sum. */
START_TEST(holds_coordinates_of_no_points_refused)
{
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        while (EC_POINT_set_compressed_coordinates(group, points[i], x[i], 0, bn) == 1)
            ck_assert_int_eq(BN_add_word(x[i], 1), 1);
    }
    draw_point(sum);
    read_x(sum_x, sum);
    BN_one(z);
    ck_assert(!holds());
}
END_TEST

/* The numbers at the edge of the field. */
START_TEST(holds_smallest_and_largest_coordinates_refused)
{
    BN_zero(x[0]);
    BN_one(x[1]);
    ck_assert_ptr_nonnull(BN_copy(x[2], EC_GROUP_get0_field(group)));
    ck_assert_int_eq(BN_sub_word(x[2], 1), 1);
    draw_point(sum);
    read_x(sum_x, sum);
    BN_one(z);
    ck_assert(!holds());
    BN_zero(sum_x);
    ck_assert(!holds());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_summation");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, holds_true_sums_of_either_sign_accepted);
    tcase_add_test(t, holds_other_coordinate_refused);
    tcase_add_test(t, holds_other_sum_refused);
    tcase_add_test(t, holds_coordinates_of_no_points_refused);
    tcase_add_test(t, holds_smallest_and_largest_coordinates_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
