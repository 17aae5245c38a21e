/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/summation.h"

#include <openssl/bn.h>
#include <stdlib.h>

/* A polynomial a Y² - 2 b Y + c. */
struct quadratic {
    BIGNUM *a, *b, *c;
};

struct mm_summation {
    BIGNUM *prime;
    BN_MONT_CTX *mont; /* modulo the prime: all numbers below are Montgomery's, v 2^256 */
    BN_CTX *bn;
    BIGNUM *one, *twice_b, *four_b; /* of the curve's equation y² = x³ - 3 x + b */
    BIGNUM *x[MM_SUMMANDS], *sum_x, *sum_zz;
    struct quadratic left, right;
    BIGNUM *sum, *product, *three_d; /* of_sum: x1 d + n, x1 n, 3 d */
    BIGNUM *t;
};

static BIGNUM **number(struct mm_summation *s, size_t i)
{
    BIGNUM **const all[] = {&s->prime,  &s->one,     &s->twice_b, &s->four_b,  &s->x[0],
                            &s->x[1],   &s->x[2],    &s->sum_x,   &s->sum_zz,  &s->left.a,
                            &s->left.b, &s->left.c,  &s->right.a, &s->right.b, &s->right.c,
                            &s->sum,    &s->product, &s->three_d, &s->t};

    return i < MM_ARRAY_SIZE(all) ? all[i] : NULL;
}

static bool prepare(struct mm_summation *s, const EC_GROUP *group)
{
    for (size_t i = 0; number(s, i); i++) {
        if (!(*number(s, i) = BN_new()))
            return false;
    }
    s->bn = BN_CTX_new();
    s->mont = BN_MONT_CTX_new();
    return s->bn && s->mont && EC_GROUP_get_curve(group, s->prime, NULL, s->t, s->bn) == 1 &&
           BN_MONT_CTX_set(s->mont, s->prime, s->bn) == 1 && BN_one(s->one) == 1 &&
           BN_to_montgomery(s->one, s->one, s->mont, s->bn) == 1 &&
           BN_to_montgomery(s->t, s->t, s->mont, s->bn) == 1 &&
           BN_mod_lshift1_quick(s->twice_b, s->t, s->prime) == 1 &&
           BN_mod_lshift1_quick(s->four_b, s->twice_b, s->prime) == 1;
}

struct mm_summation *mm_summation_new(const EC_GROUP *group)
{
    struct mm_summation *s = calloc(1, sizeof(*s));

    if (s && !prepare(s, group)) {
        mm_summation_free(s);
        return NULL;
    }
    return s;
}

void mm_summation_free(struct mm_summation *s)
{
    if (!s)
        return;
    for (size_t i = 0; number(s, i); i++)
        BN_free(*number(s, i));
    BN_MONT_CTX_free(s->mont);
    BN_CTX_free(s->bn);
    free(s);
}

/* ---- the field --------------------------------------------------------------------------- */

static bool mul(struct mm_summation *s, BIGNUM *ret, const BIGNUM *a, const BIGNUM *b)
{
    return BN_mod_mul_montgomery(ret, a, b, s->mont, s->bn) == 1;
}

static bool add(struct mm_summation *s, BIGNUM *ret, const BIGNUM *a, const BIGNUM *b)
{
    return BN_mod_add_quick(ret, a, b, s->prime) == 1;
}

static bool sub(struct mm_summation *s, BIGNUM *ret, const BIGNUM *a, const BIGNUM *b)
{
    return BN_mod_sub_quick(ret, a, b, s->prime) == 1;
}

/* ret = a b - c d; spoils t. */
static bool cross(struct mm_summation *s, BIGNUM *ret, const BIGNUM *a, const BIGNUM *b,
                  const BIGNUM *c, const BIGNUM *d)
{
    return mul(s, ret, a, b) && mul(s, s->t, c, d) && sub(s, ret, ret, s->t);
}

/* ---- the polynomials --------------------------------------------------------------------- */

/* b = sum (product - 3 d) + 2 b d²; spoils t. */
static bool middle(struct mm_summation *s, BIGNUM *ret, const BIGNUM *d)
{
    return sub(s, ret, s->product, s->three_d) && mul(s, ret, ret, s->sum) && mul(s, s->t, d, d) &&
           mul(s, s->t, s->t, s->twice_b) && add(s, ret, ret, s->t);
}

/* c = (product + 3 d)² - 4 b sum d; spoils t. */
static bool last(struct mm_summation *s, BIGNUM *ret, const BIGNUM *d)
{
    return add(s, ret, s->product, s->three_d) && mul(s, ret, ret, ret) &&
           mul(s, s->t, s->sum, d) && mul(s, s->t, s->t, s->four_b) && sub(s, ret, ret, s->t);
}

/* Semaev's third polynomial (theorem 1) at x1 and x2 = n / d, times d²: its roots are the x
 * coordinates of P1 + P2 and P1 - P2.
 *
 *     a = (x1 - x2)²                      (x1 d - n)²
 *     b = (x1 + x2) (x1 x2 - 3) + 2 b     (x1 d + n) (x1 n - 3 d) + 2 b d²
 *     c = (x1 x2 + 3)² - 4 b (x1 + x2)    (x1 n + 3 d)² - 4 b (x1 d + n) d
 */
static bool of_sum(struct mm_summation *s, struct quadratic *ret, const BIGNUM *x1, const BIGNUM *n,
                   const BIGNUM *d)
{
    return mul(s, s->sum, x1, d) && sub(s, ret->a, s->sum, n) && mul(s, ret->a, ret->a, ret->a) &&
           add(s, s->sum, s->sum, n) && mul(s, s->product, x1, n) && add(s, s->three_d, d, d) &&
           add(s, s->three_d, s->three_d, d) && middle(s, ret->b, d) && last(s, ret->c, d);
}

/* Have both a root in common? Their resultant is 0 then: (a c' - a' c)² = 4 (a b' - a' b)
 * (b c' - b' c). */
static bool share_root(struct mm_summation *s)
{
    const struct quadratic *l = &s->left, *r = &s->right;
    BIGNUM *square = s->sum, *product = s->product, *other = s->three_d;

    return cross(s, square, l->a, r->c, r->a, l->c) && mul(s, square, square, square) &&
           cross(s, product, l->a, r->b, r->a, l->b) && cross(s, other, l->b, r->c, r->b, l->c) &&
           mul(s, product, product, other) && add(s, product, product, product) &&
           add(s, product, product, product) && BN_cmp(square, product) == 0;
}

static bool take(struct mm_summation *s, BIGNUM *to, const BIGNUM *v)
{
    return BN_to_montgomery(to, v, s->mont, s->bn) == 1;
}

bool mm_summation_holds(struct mm_summation *s, const BIGNUM *const x[MM_SUMMANDS], const BIGNUM *X,
                        const BIGNUM *Z)
{
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        if (!take(s, s->x[i], x[i]))
            return false;
    }
    /* P1 ± P2 = P3 ± S */
    return take(s, s->sum_x, X) && take(s, s->sum_zz, Z) &&
           mul(s, s->sum_zz, s->sum_zz, s->sum_zz) &&
           of_sum(s, &s->left, s->x[0], s->x[1], s->one) &&
           of_sum(s, &s->right, s->x[2], s->sum_x, s->sum_zz) && share_root(s);
}
