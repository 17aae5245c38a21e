/* SPDX-License-Identifier: Apache-2.0 */
/* EC_GROUP_precompute_mult, EC_POINTs_mul and EC_POINT_get_Jprojective_coordinates_GFp are
 * deprecated since OpenSSL 3.0, and do what nothing else does. */
#ifdef MM_HAVE_PRECOMPUTE
#undef OPENSSL_NO_DEPRECATED
#define OPENSSL_SUPPRESS_DEPRECATED
#endif
#include "daemon/pki/ecdsa.h"

#include "daemon/pki/der.h"
#include "daemon/pki/internal.h"
#include "daemon/pki/summation.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/rand.h>
#include <string.h>

enum {
    P256_BYTES = 32,
    /* A table takes as long to make (26 ms) as it saves over some 600 signatures. */
    TABLE_AFTER = 1024,
    /* Signatures that are checked by threes are so many at least: who is in whose three is then
     * hard to guess. */
    THREES_FROM = 30,
};

/* One signature at work. */
struct item {
    const struct mm_check *check;
    BIGNUM *r, *s, *z;
    BIGNUM *product; /* Montgomery's, of s and the product of the items before */
    BIGNUM *u1, *u2; /* z / s and r / s; in the places of z and s */
};

struct mm_checks {
    BN_CTX *bn;
    EC_GROUP *group;   /* P-256 */
    BN_MONT_CTX *mont; /* modulo its order */
    EC_POINT *sum, *points[MM_SUMMANDS];
    struct mm_summation *summation;
    BIGNUM *order_2; /* the order less 2 */
    BIGNUM *inverse, *w, *u1, *u2, *x, *z;
    struct item items[MM_CHECKS_MAX];
    const struct item *turns[MM_CHECKS_MAX]; /* the items, in the order in which they are checked */
    size_t n_items;
};

static bool make_numbers(struct mm_checks *c)
{
    BIGNUM **const numbers[] = {&c->inverse, &c->w, &c->u1, &c->u2, &c->x, &c->z};
    bool good = true;

    for (size_t i = 0; i < MM_ARRAY_SIZE(numbers); i++)
        good = (*numbers[i] = BN_new()) && good;
    for (size_t i = 0; i < MM_CHECKS_MAX; i++) {
        struct item *item = &c->items[i];

        item->r = BN_new();
        item->s = BN_new();
        item->z = BN_new();
        item->product = BN_new();
        item->u1 = item->z;
        item->u2 = item->s;
        good = good && item->r && item->s && item->z && item->product;
    }
    return good;
}

static bool make_points(struct mm_checks *c)
{
    bool good = c->group;

    for (size_t i = 0; good && i < MM_SUMMANDS; i++)
        good = (c->points[i] = EC_POINT_new(c->group));
    return good;
}

static bool allocate(struct mm_checks *c)
{
    c->bn = BN_CTX_new();
    c->group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    c->sum = c->group ? EC_POINT_new(c->group) : NULL;
    c->order_2 = c->group ? BN_dup(EC_GROUP_get0_order(c->group)) : NULL;
    c->mont = BN_MONT_CTX_new();
    c->summation = c->group ? mm_summation_new(c->group) : NULL;
    return make_numbers(c) && make_points(c) && c->bn && c->sum && c->order_2 && c->summation &&
           BN_sub_word(c->order_2, 2) == 1 && c->mont &&
           BN_MONT_CTX_set(c->mont, EC_GROUP_get0_order(c->group), c->bn) == 1;
}

int mm_checks_new(struct mm_checks **ret_checks, struct mm_errinfo *ei)
{
    struct mm_checks *c = calloc(1, sizeof(*c));

    if (!c)
        return mm_fail_memory(ei);
    if (!allocate(c)) {
        mm_checks_free(c);
        ERR_clear_error();
        return mm_fail_memory(ei);
    }
    *ret_checks = c;
    return MM_OK;
}

void mm_checks_free(struct mm_checks *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < MM_CHECKS_MAX; i++) {
        BN_free(c->items[i].r);
        BN_free(c->items[i].s);
        BN_free(c->items[i].z);
        BN_free(c->items[i].product);
    }
    mm_summation_free(c->summation);
    BN_MONT_CTX_free(c->mont);
    BN_free(c->order_2);
    BN_free(c->inverse);
    BN_free(c->w);
    BN_free(c->u1);
    BN_free(c->u2);
    BN_free(c->x);
    BN_free(c->z);
    EC_POINT_free(c->sum);
    for (size_t i = 0; i < MM_SUMMANDS; i++)
        EC_POINT_free(c->points[i]);
    EC_GROUP_free(c->group);
    BN_CTX_free(c->bn);
    free(c);
}

static int invalid(struct mm_errinfo *ei)
{
    ERR_clear_error();
    return mm_fail(ei, MM_ERR_CORRUPT, "SIGNATURE_INVALID", "the signature does not verify");
}

static bool in_range(const BIGNUM *v, const BIGNUM *order)
{
    return !BN_is_zero(v) && BN_cmp(v, order) < 0;
}

/* ret = a b / R modulo the order, R being 2^256: a third of BN_mod_mul's time, which divides. */
static bool multiply_numbers(struct mm_checks *c, BIGNUM *ret, const BIGNUM *a, const BIGNUM *b)
{
    return BN_mod_mul_montgomery(ret, a, b, c->mont, c->bn) == 1;
}

/* Takes a signature up: r, s, z (the leftmost bits of the digest), and the product so far. */
static bool take(struct mm_checks *c, const struct mm_check *check)
{
    const BIGNUM *order = EC_GROUP_get0_order(c->group);
    struct item *item = &c->items[c->n_items];
    const struct mm_bytes digest = check->digest;
    const size_t digest_len = digest.len < P256_BYTES ? digest.len : P256_BYTES;
    const uint8_t *signature = check->signature.data;

    if (check->signature.len != (size_t)2 * P256_BYTES ||
        !BN_bin2bn(signature, P256_BYTES, item->r) ||
        !BN_bin2bn(signature + P256_BYTES, P256_BYTES, item->s) ||
        !BN_bin2bn(digest.data, (int)digest_len, item->z) || !in_range(item->r, order) ||
        !in_range(item->s, order))
        return false;
    item->check = check;
    c->n_items++;
    if (c->n_items == 1)
        return BN_copy(item->product, item->s) != NULL;
    return multiply_numbers(c, item->product, item[-1].product, item->s);
}

/* w = 1/s of the last item: the inverse of its product times the product of the items before. What
 * is left is the inverse of that. Each multiplication brings a factor 1/R in, as each did that made
 * the products, and they cancel out. */
static bool invert(struct mm_checks *c)
{
    const struct item *item = &c->items[c->n_items - 1];

    if (c->n_items == 1)
        return BN_copy(c->w, c->inverse) != NULL;
    return multiply_numbers(c, c->w, c->inverse, item[-1].product) &&
           multiply_numbers(c, c->inverse, c->inverse, item->s);
}

/* u1 and u2 of the last item. Spoils z and s. */
static bool divide(struct mm_checks *c)
{
    const struct item *item = &c->items[c->n_items - 1];

    return invert(c) && BN_to_montgomery(c->w, c->w, c->mont, c->bn) == 1 &&
           multiply_numbers(c, item->u1, item->z, c->w) &&
           multiply_numbers(c, item->u2, item->r, c->w);
}

/* The signer's point: the verifier's, or read into the scratch; NULL when it cannot be read. */
static const EC_POINT *point_of(struct mm_checks *c, const struct mm_check *check,
                                EC_POINT *scratch)
{
    if (check->key)
        return check->key->point;
    return EC_POINT_oct2point(c->group, scratch, check->point.data, check->point.len, c->bn) == 1
               ? scratch
               : NULL;
}

/* sum = u1 G + u2 Q */
static bool add_multiples(struct mm_checks *c, const struct mm_check *check, const BIGNUM *u1,
                          const BIGNUM *u2)
{
    const struct mm_verifier *v = check->key;
    const EC_POINT *point;

    if (v && v->table)
        return EC_POINT_mul(c->group, c->sum, u1, NULL, NULL, c->bn) == 1 &&
               EC_POINT_mul(v->table, c->points[0], u2, NULL, NULL, c->bn) == 1 &&
               EC_POINT_add(c->group, c->sum, c->sum, c->points[0], c->bn) == 1;
    point = point_of(c, check, c->points[0]);
    return point && EC_POINT_mul(c->group, c->sum, u1, point, u2, c->bn) == 1;
}

#ifdef MM_HAVE_PRECOMPUTE
/* The sum as x / z², unless it is at infinity. */
static bool read_sum(struct mm_checks *c)
{
    return EC_POINT_is_at_infinity(c->group, c->sum) == 0 &&
           EC_POINT_get_Jprojective_coordinates_GFp(c->group, c->sum, c->x, NULL, c->z, c->bn) == 1;
}

/* x = v z², that is, the sum's x coordinate is v: no inversion, which takes as long as all else
 * here. z is squared already. Spoils w. */
static bool is_x(struct mm_checks *c, const BIGNUM *v)
{
    return BN_mod_mul(c->w, v, c->z, EC_GROUP_get0_field(c->group), c->bn) == 1 &&
           BN_cmp(c->w, c->x) == 0;
}

/* Is the sum's x, modulo the order, r? x is below the prime, which is a little above the order: it
 * is r, or, seldom, r + order. */
static bool x_is(struct mm_checks *c, BIGNUM *r)
{
    const BIGNUM *prime = EC_GROUP_get0_field(c->group), *order = EC_GROUP_get0_order(c->group);

    return read_sum(c) && BN_mod_sqr(c->z, c->z, prime, c->bn) == 1 &&
           (is_x(c, r) || (BN_add(r, r, order) == 1 && BN_cmp(r, prime) < 0 && is_x(c, r)));
}

static bool add_numbers(struct mm_checks *c, BIGNUM *ret, const BIGNUM *x, const BIGNUM *y,
                        const BIGNUM *z)
{
    const BIGNUM *order = EC_GROUP_get0_order(c->group);

    return BN_mod_add_quick(ret, x, y, order) == 1 && BN_mod_add_quick(ret, ret, z, order) == 1;
}

/* sum = u1 G + u1' G + u1'' G + u2 Q + u2' Q' + u2'' Q''. Two multiplications where the key is the
 * same; else libcrypto doubles once for all three. */
static bool add_multiples_of_three(struct mm_checks *c, const struct item *const three[MM_SUMMANDS])
{
    const struct mm_verifier *key = three[0]->check->key;
    const BIGNUM *u2[MM_SUMMANDS] = {three[0]->u2, three[1]->u2, three[2]->u2};
    const EC_POINT *points[MM_SUMMANDS];

    if (!add_numbers(c, c->u1, three[0]->u1, three[1]->u1, three[2]->u1))
        return false;
    if (key && three[1]->check->key == key && three[2]->check->key == key)
        return add_numbers(c, c->u2, u2[0], u2[1], u2[2]) &&
               add_multiples(c, three[0]->check, c->u1, c->u2);
    for (size_t i = 0; i < MM_SUMMANDS; i++) {
        points[i] = point_of(c, three[i]->check, c->points[i]);
        if (!points[i])
            return false;
    }
    return EC_POINTs_mul(c->group, c->sum, c->u1, MM_SUMMANDS, points, u2, c->bn) == 1;
}

/* Do three signatures hold? The points of their nonces, R1, R2 and R3, must add up to the sum
 * above. Of each r tells the x coordinate, but for the few between order and prime: false then too,
 * and when two have the same. */
static bool three_hold(struct mm_checks *c, const struct item *const three[MM_SUMMANDS])
{
    const BIGNUM *const x[MM_SUMMANDS] = {three[0]->r, three[1]->r, three[2]->r};

    return BN_cmp(x[0], x[1]) != 0 && BN_cmp(x[0], x[2]) != 0 && BN_cmp(x[1], x[2]) != 0 &&
           add_multiples_of_three(c, three) && read_sum(c) &&
           mm_summation_holds(c->summation, x, c->x, c->z);
}
#else
static bool x_is(struct mm_checks *c, const BIGNUM *r)
{
    const BIGNUM *order = EC_GROUP_get0_order(c->group);

    return EC_POINT_is_at_infinity(c->group, c->sum) == 0 &&
           EC_POINT_get_affine_coordinates(c->group, c->sum, c->x, NULL, c->bn) == 1 &&
           BN_nnmod(c->x, c->x, order, c->bn) == 1 && BN_cmp(c->x, r) == 0;
}

static bool three_hold(MM_UNUSED struct mm_checks *c,
                       MM_UNUSED const struct item *const three[MM_SUMMANDS])
{
    return false;
}
#endif

static bool holds(struct mm_checks *c, const struct item *item)
{
    return add_multiples(c, item->check, item->u1, item->u2) && x_is(c, item->r);
}

/* Draws the order in which the items are checked: what signed them must not know it. */
static bool shuffle(struct mm_checks *c, size_t n)
{
    uint32_t drawn[MM_CHECKS_MAX];

    if (RAND_bytes((uint8_t *)drawn, (int)(n * sizeof(drawn[0]))) != 1)
        return false;
    for (size_t i = 0; i < n; i++) {
        const size_t to = drawn[i] % (i + 1);

        c->turns[i] = c->turns[to];
        c->turns[to] = &c->items[i];
    }
    return true;
}

/* A curve that is used seldom: by libcrypto's own function. */
static int check_alone(const struct mm_check *check, struct mm_errinfo *ei)
{
    struct mm_verifier *own = NULL;
    int r = MM_OK;

    if (!check->key)
        r = mm_verifier_new(check->point.data, check->point.len, &own, ei);
    if (r == MM_OK)
        r = mm_verifier_check(own ? own : check->key, check->digest.data, check->digest.len,
                              check->signature.data, check->signature.len, ei);
    mm_verifier_free(own);
    return r;
}

static bool is_p256(const struct mm_check *check)
{
    const size_t len = check->key ? check->key->ec->point_len : check->point.len;

    return len == 1 + (size_t)2 * P256_BYTES;
}

/* All that were taken, by threes where they are many, else and where a three does not hold one by
 * one. */
static int check_taken(struct mm_checks *c, const struct mm_check *list, size_t *ret_bad,
                       struct mm_errinfo *ei)
{
    const size_t n = c->n_items;
    const bool by_threes = n >= THREES_FROM && shuffle(c, n);

    for (size_t i = 0; i < n;) {
        const struct item *item = by_threes ? c->turns[i] : &c->items[i];

        if (by_threes && n - i >= MM_SUMMANDS && three_hold(c, &c->turns[i])) {
            i += MM_SUMMANDS;
        } else if (holds(c, item)) {
            i++;
        } else {
            *ret_bad = (size_t)(item->check - list);
            return invalid(ei);
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (c->items[i].check->key)
            mm_verifier_count(c->items[i].check->key);
    }
    return MM_OK;
}

/* u1 and u2 of all items. */
static bool divide_all(struct mm_checks *c)
{
    const BIGNUM *order = EC_GROUP_get0_order(c->group);
    const size_t n = c->n_items;
    bool good;

    /* 1/x = x^(order - 2), by Fermat. Half as long as BN_mod_inverse, which counts where a
     * signature comes alone. */
    good = BN_mod_exp_mont(c->inverse, c->items[n - 1].product, c->order_2, order, c->bn,
                           c->mont) == 1;
    for (; good && c->n_items > 0; c->n_items--)
        good = divide(c);
    c->n_items = n;
    return good;
}

int mm_checks_run(struct mm_checks *c, const struct mm_check *list, size_t n, size_t *ret_bad,
                  struct mm_errinfo *ei)
{
    c->n_items = 0;
    if (n > MM_CHECKS_MAX)
        return mm_fail(ei, MM_ERR_INTERNAL, "TOO_MANY_CHECKS", "%zu signatures at once", n);
    for (size_t i = 0; i < n; i++) {
        int r = MM_OK;

        if (!is_p256(&list[i]))
            r = check_alone(&list[i], ei);
        else if (!take(c, &list[i]))
            r = invalid(ei);
        if (r < 0) {
            *ret_bad = i;
            return r;
        }
    }
    if (c->n_items > 0 && !divide_all(c))
        return mm_fail_memory(ei);
    return check_taken(c, list, ret_bad, ei);
}

/* ECDSA-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER } */
static bool read_signature(struct mm_bytes in, uint8_t raw[2 * P256_BYTES])
{
    struct mm_der both;
    struct mm_bytes half;

    if (!mm_der_part(&in, MM_DER_SEQUENCE, &both) || in.len > 0)
        return false;
    memset(raw, 0, 2 * P256_BYTES);
    for (size_t i = 0; i < 2; i++) {
        raw += P256_BYTES;
        if (!mm_der_positive(&both.content, P256_BYTES + 1, &half) || half.len > P256_BYTES)
            return false;
        memcpy(raw - half.len, half.data, half.len);
    }
    return both.content.len == 0;
}

bool mm_verifier_holds(struct mm_verifier *v, struct mm_bytes digest, struct mm_bytes signature)
{
    uint8_t raw[2 * P256_BYTES];
    const struct mm_check check = {.key = v, .digest = digest, .signature = {raw, sizeof(raw)}};
    struct mm_errinfo why;
    size_t bad;

    return read_signature(signature, raw) &&
           mm_checks_run(v->checks, &check, 1, &bad, &why) == MM_OK;
}

/* ---- a key's table ----------------------------------------------------------------------- */

#ifdef MM_HAVE_PRECOMPUTE
/* The group over again with the key for its base point, so that libcrypto keeps multiples of it
 * as it does of the curve's own. NULL when that does not work out; it is not needed. */
static EC_GROUP *make_table(const EC_POINT *point)
{
    EC_GROUP *table = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);

    if (table &&
        EC_GROUP_set_generator(table, point, EC_GROUP_get0_order(table),
                               EC_GROUP_get0_cofactor(table)) == 1 &&
        EC_GROUP_precompute_mult(table, NULL) == 1)
        return table;
    EC_GROUP_free(table);
    ERR_clear_error();
    return NULL;
}
#else
static EC_GROUP *make_table(MM_UNUSED const EC_POINT *point)
{
    return NULL;
}
#endif

void mm_verifier_count(struct mm_verifier *v)
{
    if (v->n_checked < TABLE_AFTER && ++v->n_checked == TABLE_AFTER && v->point)
        v->table = make_table(v->point);
}

int mm_verifier_decode_point(struct mm_verifier *v, const uint8_t *point, size_t len)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    bool good = false;

    if (group)
        v->point = EC_POINT_new(group);
    if (v->point)
        good = EC_POINT_oct2point(group, v->point, point, len, NULL) == 1;
    EC_GROUP_free(group);
    return good ? MM_OK : MM_ERR_INVALID;
}
