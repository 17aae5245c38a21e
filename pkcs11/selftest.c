/* SPDX-License-Identifier: Apache-2.0 */
/* Each operation that mintmark uses, done by the token and checked by libcrypto. */
#include "pkcs11/crosscheck.h"
#include "pkcs11/export.h"

#include "daemon/base/clock.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define SELFTEST_NAME "selftest"

/* What one operation leaves for its check and for the next. */
struct bench {
    struct mm_token *t;
    uint8_t random[2][32];
    struct mm_keypair pair[2]; /* by curve */
    uint8_t digest[MM_DIGEST_MAX];
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t signature_len;
    CK_OBJECT_HANDLE known_kek, transport;
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    size_t wrapped_len;
    EVP_PKEY *rsa, *ec; /* recipients */
    struct mm_exported_key exported;
};

static int wrong(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SELFTEST_FAILED", "%s", what);
}

/* ---- random numbers ---------------------------------------------------------------------- */

static int run_random(struct bench *b, struct mm_errinfo *ei)
{
    memcpy(b->random[1], b->random[0], sizeof(b->random[1]));
    return mm_token_random(b->t, b->random[0], sizeof(b->random[0]), ei);
}

static int check_random(struct bench *b, struct mm_errinfo *ei)
{
    int r = run_random(b, ei);

    if (r == MM_OK && memcmp(b->random[0], b->random[1], sizeof(b->random[0])) == 0)
        return wrong(ei, "the generator gave the same 32 bytes twice");
    return r;
}

/* ---- key pairs and signatures ------------------------------------------------------------ */

static int run_pair(struct bench *b, enum mm_curve curve, struct mm_errinfo *ei)
{
    mm_token_destroy(b->t, &b->pair[curve]);
    return mm_token_generate(b->t, curve, MM_DEVICE_WRAPPED, NULL, &b->pair[curve], ei);
}

static int check_pair(struct bench *b, enum mm_curve curve, struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *key = NULL;

    return mm_soft_ec_public(mm_curve_get(curve), b->pair[curve].point, b->pair[curve].point_len,
                             &key, ei);
}

static int run_sign(struct bench *b, enum mm_curve curve, struct mm_errinfo *ei)
{
    return mm_token_sign(b->t, b->pair[curve].private_key, b->digest, mm_curve_get(curve)->bytes,
                         b->signature, &b->signature_len, ei);
}

static int check_sign(struct bench *b, enum mm_curve curve, struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *key = NULL;
    int r = mm_soft_ec_public(mm_curve_get(curve), b->pair[curve].point, b->pair[curve].point_len,
                              &key, ei);

    if (r < 0)
        return r;
    if (!mm_soft_ecdsa_verify(key, b->digest, mm_curve_get(curve)->bytes, b->signature,
                              b->signature_len))
        return wrong(ei, "libcrypto does not accept the signature");
    return MM_OK;
}

static int run_pair_p256(struct bench *b, struct mm_errinfo *ei)
{
    return run_pair(b, MM_CURVE_P256, ei);
}
static int check_pair_p256(struct bench *b, struct mm_errinfo *ei)
{
    return check_pair(b, MM_CURVE_P256, ei);
}
static int run_pair_p384(struct bench *b, struct mm_errinfo *ei)
{
    return run_pair(b, MM_CURVE_P384, ei);
}
static int check_pair_p384(struct bench *b, struct mm_errinfo *ei)
{
    return check_pair(b, MM_CURVE_P384, ei);
}
static int run_sign_p256(struct bench *b, struct mm_errinfo *ei)
{
    return run_sign(b, MM_CURVE_P256, ei);
}
static int check_sign_p256(struct bench *b, struct mm_errinfo *ei)
{
    return check_sign(b, MM_CURVE_P256, ei);
}
static int run_sign_p384(struct bench *b, struct mm_errinfo *ei)
{
    return run_sign(b, MM_CURVE_P384, ei);
}
static int check_sign_p384(struct bench *b, struct mm_errinfo *ei)
{
    return check_sign(b, MM_CURVE_P384, ei);
}

/* ---- key wrap ---------------------------------------------------------------------------- */

static int prepare_wrap(struct bench *b, struct mm_errinfo *ei)
{
    return mm_known_key_import(b->t, mm_known_kek, CKA_WRAP, &b->known_kek, ei);
}

static int run_wrap(struct bench *b, struct mm_errinfo *ei)
{
    return mm_token_wrap(b->t, b->known_kek, b->pair[MM_CURVE_P256].private_key, b->wrapped,
                         &b->wrapped_len, ei);
}

/* Is the PKCS#8 key the one whose point the token showed? */
static int check_wrap(struct bench *b, struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *key = NULL;
    const struct mm_curve_info *curve;
    uint8_t pkcs8[MM_WRAPPED_KEY_MAX], point[MM_POINT_MAX];
    const unsigned char *p = pkcs8;
    PKCS8_PRIV_KEY_INFO *info;
    size_t len;
    int r = mm_soft_kwp_unwrap(mm_known_kek, b->wrapped, b->wrapped_len, pkcs8, &len, ei);

    if (r < 0)
        return r;
    info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)len);
    if (info)
        key = EVP_PKCS82PKEY(info);
    PKCS8_PRIV_KEY_INFO_free(info);
    explicit_bzero(pkcs8, sizeof(pkcs8));
    if (!key)
        return wrong(ei, "the wrapped key is no PKCS#8");
    r = mm_soft_ec_point(key, &curve, point, ei);
    if (r < 0)
        return r;
    if (memcmp(point, b->pair[MM_CURVE_P256].point, b->pair[MM_CURVE_P256].point_len) != 0)
        return wrong(ei, "the wrapped private key is not that of the public point");
    return MM_OK;
}

/* ---- transport key ----------------------------------------------------------------------- */

static int run_transport(struct bench *b, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG bytes = MM_AES_256_BYTES;
    CK_ATTRIBUTE attrs[] = {MM_ATTR(CKA_TOKEN, no),      MM_ATTR(CKA_PRIVATE, yes),
                            MM_ATTR(CKA_SENSITIVE, yes), MM_ATTR(CKA_EXTRACTABLE, yes),
                            MM_ATTR(CKA_WRAP, yes),      MM_ATTR(CKA_VALUE_LEN, bytes)};
    CK_RV rv;

    mm_object_drop(b->t, b->transport);
    b->transport = CK_INVALID_HANDLE;
    rv = MM_CK(
        b->t, C_GenerateKey(b->t->session, &mechanism, attrs, MM_ARRAY_SIZE(attrs), &b->transport));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateKey");
    return MM_OK;
}

static int check_transport(struct bench *b, struct mm_errinfo *ei)
{
    int sensitive = -1;
    int r = mm_object_read_bool(b->t, b->transport, CKA_SENSITIVE, &sensitive, ei);

    if (r == MM_OK && sensitive != 1)
        return wrong(ei, "the key is not sensitive");
    return r;
}

static int prepare_rsa(struct bench *b, struct mm_errinfo *ei)
{
    b->rsa = EVP_RSA_gen(MM_RSA_BITS_MIN);
    return b->rsa ? MM_OK : mm_fail_memory(ei);
}

static int prepare_ec(struct bench *b, struct mm_errinfo *ei)
{
    b->ec = EVP_EC_gen("P-256");
    return b->ec ? MM_OK : mm_fail_memory(ei);
}

static int run_export_rsa(struct bench *b, struct mm_errinfo *ei)
{
    return mm_export_key(b->t, b->transport, SELFTEST_NAME, b->rsa, &b->exported, ei);
}

static int run_export_ec(struct bench *b, struct mm_errinfo *ei)
{
    return mm_export_key(b->t, b->transport, SELFTEST_NAME, b->ec, &b->exported, ei);
}

/* The opened key must have the check value that the token gives for its own. */
static int check_export(struct bench *b, EVP_PKEY *recipient, struct mm_errinfo *ei)
{
    uint8_t key[MM_AES_256_BYTES], wrapped[MM_AES_256_BYTES + 8], digest[SHA256_DIGEST_LENGTH];
    uint8_t value[8];
    int r = mm_token_check_value(b->t, b->transport, value, ei);

    if (r == MM_OK)
        r = mm_soft_transport_open(recipient, SELFTEST_NAME, &b->exported, key, ei);
    if (r == MM_OK)
        r = mm_soft_kwp_wrap(key, mm_known_key, sizeof(mm_known_key), wrapped, ei);
    explicit_bzero(key, sizeof(key));
    if (r < 0)
        return r;
    SHA256(wrapped, sizeof(wrapped), digest);
    if (memcmp(digest, value, sizeof(value)) != 0)
        return wrong(ei, "the recipient opens another key than the token's");
    return MM_OK;
}

static int check_export_rsa(struct bench *b, struct mm_errinfo *ei)
{
    return check_export(b, b->rsa, ei);
}
static int check_export_ec(struct bench *b, struct mm_errinfo *ei)
{
    return check_export(b, b->ec, ei);
}

/* ---- the list ---------------------------------------------------------------------------- */

enum need { NEVER_WITHOUT, AS_PROFILES_WANT };

static const struct check {
    const char *operation;
    enum need need;
    size_t mechanism;  /* offset of a bool in struct mm_token_mechanisms */
    const char *needs; /* the mechanisms by their names */
    int (*prepare)(struct bench *b, struct mm_errinfo *ei); /* may be NULL */
    int (*run)(struct bench *b, struct mm_errinfo *ei);     /* what is measured */
    int (*check)(struct bench *b, struct mm_errinfo *ei);
} checks[] = {
#define HAS(member) offsetof(struct mm_token_mechanisms, member)
    {"random numbers", NEVER_WITHOUT, SIZE_MAX, "", NULL, run_random, check_random},
    {"P-256 key pair", NEVER_WITHOUT, HAS(ec_key_gen), "CKM_EC_KEY_PAIR_GEN", NULL, run_pair_p256,
     check_pair_p256},
    {"P-384 key pair", AS_PROFILES_WANT, HAS(ec_key_gen), "CKM_EC_KEY_PAIR_GEN", NULL,
     run_pair_p384, check_pair_p384},
    {"ECDSA P-256", NEVER_WITHOUT, HAS(ecdsa), "CKM_ECDSA", NULL, run_sign_p256, check_sign_p256},
    {"ECDSA P-384", AS_PROFILES_WANT, HAS(ecdsa), "CKM_ECDSA", NULL, run_sign_p384,
     check_sign_p384},
    {"AES key wrap (RFC 5649)", AS_PROFILES_WANT, HAS(aes_kwp),
     "a mechanism that wraps as RFC 5649 has it", prepare_wrap, run_wrap, check_wrap},
    {"AES-256 key", AS_PROFILES_WANT, HAS(aes_key_gen), "CKM_AES_KEY_GEN", NULL, run_transport,
     check_transport},
    {"transport key to RSA", AS_PROFILES_WANT, HAS(rsa_oaep), "CKM_RSA_PKCS_OAEP", prepare_rsa,
     run_export_rsa, check_export_rsa},
    {"transport key to EC", AS_PROFILES_WANT, HAS(ecdh),
     "CKM_ECDH1_DERIVE with CKM_AES_CBC_ENCRYPT_DATA", prepare_ec, run_export_ec, check_export_ec},
#undef HAS
};

static bool supported(const struct mm_token *t, const struct check *c)
{
    if (c->mechanism == SIZE_MAX)
        return true;
    if (c->mechanism == offsetof(struct mm_token_mechanisms, aes_kwp))
        return t->mechanisms.aes_kwp != 0;
    return *(const bool *)((const char *)&t->mechanisms + c->mechanism);
}

static int measure(struct bench *b, const struct check *c, double seconds, double *ret_rate,
                   struct mm_errinfo *ei)
{
    const int64_t start = mm_clock_mono_us();
    const int64_t end = start + (int64_t)(seconds * 1e6);
    int64_t now;
    uint64_t n = 0;

    do {
        int r = c->run(b, ei);

        if (r < 0)
            return r;
        n++;
        now = mm_clock_mono_us();
    } while (now < end);
    *ret_rate = now > start ? (double)n * 1e6 / (double)(now - start) : 0;
    return MM_OK;
}

static int run_check(struct bench *b, const struct check *c, double seconds,
                     struct mm_selftest_line *line)
{
    struct mm_errinfo ei = {0};
    int r = c->prepare ? c->prepare(b, &ei) : MM_OK;

    if (r == MM_OK)
        r = c->run(b, &ei);
    if (r == MM_OK)
        r = c->check(b, &ei);
    if (r == MM_OK && seconds > 0)
        r = measure(b, c, seconds, &line->per_second, &ei);
    line->passed = r == MM_OK;
    if (r < 0)
        snprintf(line->note, sizeof(line->note), "%.127s", ei.text);
    return r;
}

static void bench_done(struct bench *b)
{
    mm_object_drop(b->t, b->known_kek);
    mm_object_drop(b->t, b->transport);
    for (size_t i = 0; i < MM_ARRAY_SIZE(b->pair); i++)
        mm_token_destroy(b->t, &b->pair[i]);
    EVP_PKEY_free(b->rsa);
    EVP_PKEY_free(b->ec);
}

/* 1 when it failed. One that is not there, or turns out not to be, has not failed. */
static size_t run_crosscheck(struct mm_token *t, const struct mm_crosscheck *c,
                             struct mm_selftest_line *line)
{
    struct mm_errinfo ei = {0};
    int r = MM_OK;

    line->supported = true;
    for (size_t i = 0; i < MM_ARRAY_SIZE(c->needs) && r == MM_OK && line->supported; i++) {
        if (c->needs[i])
            r = mm_mechanism_listed(t, c->needs[i], NULL, &line->supported, &ei);
        if (!line->supported)
            snprintf(line->note, sizeof(line->note), "the token lacks mechanism 0x%lx",
                     c->needs[i]);
    }
    if (r == MM_OK && line->supported)
        r = c->run(t, line->note, &ei);
    if (r == MM_ERR_UNSUPPORTED)
        line->supported = false;
    line->passed = line->supported && r == MM_OK;
    if (r < 0)
        snprintf(line->note, sizeof(line->note), "%.127s", ei.text);
    return line->supported && !line->passed;
}

/* What an officer should know of a line that has not failed. */
static void explain(const struct mm_token *t, const struct check *c, struct mm_selftest_line *line)
{
    if (!line->supported)
        snprintf(line->note, sizeof(line->note), "the token lacks %s", c->needs);
    else if (line->passed && c->mechanism == offsetof(struct mm_token_mechanisms, ec_key_gen) &&
             mm_quirks_of(&t->info)->no_local)
        snprintf(line->note, sizeof(line->note),
                 "but the token never says that it made a key itself (CKA_LOCAL)");
}

int mm_token_selftest(struct mm_token *t, double seconds,
                      void (*each)(void *arg, const struct mm_selftest_line *line), void *arg,
                      struct mm_errinfo *ei)
{
    struct bench b = {.t = t};
    size_t failed = 0;

    if (RAND_bytes(b.digest, sizeof(b.digest)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto: no random bytes");
    for (size_t i = 0; i < MM_ARRAY_SIZE(checks); i++) {
        struct mm_selftest_line line = {.operation = checks[i].operation};

        line.supported = supported(t, &checks[i]);
        if (line.supported)
            failed += run_check(&b, &checks[i], seconds, &line) < 0;
        else
            failed += checks[i].need == NEVER_WITHOUT;
        explain(t, &checks[i], &line);
        each(arg, &line);
    }
    bench_done(&b);
    for (size_t i = 0; i < mm_crosschecks_count; i++) {
        struct mm_selftest_line line = {.operation = mm_crosschecks[i].operation};

        failed += run_crosscheck(t, &mm_crosschecks[i], &line);
        each(arg, &line);
    }
    if (failed > 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SELFTEST_FAILED",
                       "%zu of the token's operations failed", failed);
    return MM_OK;
}
