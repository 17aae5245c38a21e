/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/crosscheck.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

MM_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
MM_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
MM_DEFINE_CLEANUP(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_free)

enum { P256_BYTES = 32 };

static int wrong(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SELFTEST_FAILED", "%s", what);
}

static int no_memory_or_crypto(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto has failed");
}

/* ---- random numbers ---------------------------------------------------------------------- */

/* MM_ERR_CORRUPT when bytes cannot be random: six equal in a row, a block of 16 that comes twice,
 * or far too many ones or zeros. */
static int judge_random(const uint8_t *bytes, size_t len, struct mm_errinfo *ei)
{
    enum { RUN = 6, BLOCK = 16 };
    size_t run = 1, ones = 0;

    for (size_t i = 0; i < len; i++) {
        run = i > 0 && bytes[i] == bytes[i - 1] ? run + 1 : 1;
        ones += (size_t)__builtin_popcount(bytes[i]);
        if (run >= RUN)
            return wrong(ei, "the generator gave the same byte six times in a row");
    }
    for (size_t i = 0; i + BLOCK <= len; i += BLOCK)
        for (size_t j = i + BLOCK; j + BLOCK <= len; j += BLOCK)
            if (memcmp(bytes + i, bytes + j, BLOCK) == 0)
                return wrong(ei, "the generator gave the same 16 bytes twice");
    /* Of n = 8 len bits n/2 are ones, with a deviation of sqrt(n)/2: eight of them are 4 sqrt(n).
     */
    const double bits = 8.0 * (double)len, off = (double)ones - bits / 2;

    if (off * off > 16 * bits)
        return wrong(ei, "the generator's bits are not half ones, half zeros");
    return MM_OK;
}

static int check_random(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    uint8_t bytes[MM_SELFTEST_RANDOM];
    int r = mm_token_random(t, bytes, sizeof(bytes), ei);

    if (r == MM_OK)
        r = judge_random(bytes, sizeof(bytes), ei);
    explicit_bzero(bytes, sizeof(bytes));
    snprintf(note, MM_CROSSCHECK_NOTE, "%d bytes", MM_SELFTEST_RANDOM);
    return r;
}

/* ---- Ed25519 ----------------------------------------------------------------------------- */

/* By a key that signs messages. *ret_judged: libcrypto knows the algorithm. */
static int cross_pure(struct mm_token *t, const struct mm_keypair *pair, bool *ret_judged,
                      struct mm_errinfo *ei)
{
    const struct mm_curve_info *const curve = mm_curve_get(pair->curve);
    MM_CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    MM_EVP_PKEY_CLEANUP EVP_PKEY *key =
        EVP_PKEY_new_raw_public_key_ex(NULL, curve->group, NULL, pair->point, pair->point_len);
    static const uint8_t data[] = "mintmark self-test";
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len;
    int r = mm_token_sign_message(t, pair->curve, pair->private_key,
                                  (struct mm_bytes){data, sizeof(data)}, signature, &len, ei);

    ERR_clear_error();
    *ret_judged = key != NULL;
    if (r < 0 || !key)
        return r;
    if (!ctx || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) != 1)
        return no_memory_or_crypto(ei);
    if (EVP_DigestVerify(ctx, signature, len, data, sizeof(data)) != 1)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SELFTEST_FAILED",
                       "libcrypto does not accept the %s signature", curve->name);
    return MM_OK;
}

/* Tokens that make such keys need not wrap them; a profile that wants it says so when it starts. */
static bool wraps(struct mm_token *t, mm_handle key)
{
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_errinfo ignored;
    size_t len;
    bool good = t->mechanisms.aes_kwp != 0 &&
                mm_known_key_import(t, mm_known_kek, CKA_WRAP, &kek, &ignored) == MM_OK;

    good = good && mm_token_wrap(t, kek, key, wrapped, &len, &ignored) == MM_OK;
    explicit_bzero(wrapped, sizeof(wrapped));
    mm_object_drop(t, kek);
    return good;
}

static int check_ed25519(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    struct mm_keypair pair = {0};
    bool judged = false;
    int r = mm_token_generate(t, MM_CURVE_ED25519, MM_DEVICE_WRAPPED, NULL, &pair, ei);

    note[0] = 0;
    if (r == MM_OK)
        r = cross_pure(t, &pair, &judged, ei);
    if (r == MM_OK && !judged)
        r = no_memory_or_crypto(ei);
    if (r == MM_OK && !wraps(t, pair.private_key))
        snprintf(note, MM_CROSSCHECK_NOTE, "the token does not wrap such keys");
    mm_token_destroy(t, &pair);
    return r;
}

/* ---- ML-DSA ------------------------------------------------------------------------------ */

/* *ret_there is false when the token refuses the parameter set, as it may. */
static int try_set(struct mm_token *t, enum mm_curve set, bool *ret_there, bool *ret_judged,
                   struct mm_errinfo *ei)
{
    struct mm_keypair pair = {0};
    int r = mm_token_generate(t, set, MM_DEVICE_WRAPPED, NULL, &pair, ei);

    *ret_there = r == MM_OK;
    if (r < 0)
        return mm_token_failure_class(ei) == MM_TOKEN_FATAL ? MM_OK : r;
    r = cross_pure(t, &pair, ret_judged, ei);
    mm_token_destroy(t, &pair);
    return r;
}

static int check_ml_dsa(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    static const enum mm_curve sets[] = {MM_CURVE_ML_DSA_44, MM_CURVE_ML_DSA_65,
                                         MM_CURVE_ML_DSA_87};
    bool there = false, judged = true;
    size_t used = 0;
    int r = MM_OK;

    note[0] = 0;
    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(sets); i++) {
        r = try_set(t, sets[i], &there, &judged, ei);
        if (r == MM_OK && there)
            used += (size_t)snprintf(note + used, MM_CROSSCHECK_NOTE - used, "%s%s",
                                     used ? ", " : "", mm_curve_get(sets[i])->name);
    }
    if (r == MM_OK && used == 0)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token makes keys of no ML-DSA parameter set");
    if (r == MM_OK && !judged)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "ALGORITHM_UNVERIFIABLE",
                       "the token has %s; this libcrypto cannot verify it, OpenSSL 3.5 can", note);
    return r;
}

/* ---- ECDH -------------------------------------------------------------------------------- */

/* The agreed value as an AES key that may be read: it is worth nothing. */
static int derive(struct mm_token *t, CK_OBJECT_HANDLE own, uint8_t *peer, size_t peer_len,
                  uint8_t secret[P256_BYTES], struct mm_errinfo *ei)
{
    CK_ECDH1_DERIVE_PARAMS ecdh = {
        .kdf = CKD_NULL, .ulPublicDataLen = peer_len, .pPublicData = peer};
    CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &ecdh, sizeof(ecdh)};
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG bytes = P256_BYTES, len = 0;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),     MM_ATTR(CKA_KEY_TYPE, type), MM_ATTR(CKA_VALUE_LEN, bytes),
        MM_ATTR(CKA_TOKEN, no),        MM_ATTR(CKA_PRIVATE, yes),   MM_ATTR(CKA_SENSITIVE, no),
        MM_ATTR(CKA_EXTRACTABLE, yes),
    };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    const CK_RV rv =
        MM_CK(t, C_DeriveKey(t->session, &mechanism, own, attrs, MM_ARRAY_SIZE(attrs), &key));
    int r;

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_DeriveKey by ECDH");
    r = mm_object_read(t, key, CKA_VALUE, secret, P256_BYTES, &len, ei);
    mm_object_drop(t, key);
    if (r == MM_OK && len != P256_BYTES)
        return wrong(ei, "the agreed key has not 32 bytes");
    return r;
}

static int soft_derive(EVP_PKEY *own, const struct mm_keypair *pair, uint8_t secret[P256_BYTES],
                       struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_PKEY_CTX_free_p) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    MM_EVP_PKEY_CLEANUP EVP_PKEY *peer = NULL;
    size_t len = P256_BYTES;
    int r = mm_soft_ec_public(mm_curve_get(MM_CURVE_P256), pair->point, pair->point_len, &peer, ei);

    if (r < 0)
        return r;
    if (!ctx || EVP_PKEY_derive_init(ctx) != 1 || EVP_PKEY_derive_set_peer(ctx, peer) != 1 ||
        EVP_PKEY_derive(ctx, secret, &len) != 1 || len != P256_BYTES)
        return no_memory_or_crypto(ei);
    return MM_OK;
}

static int check_ecdh(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    MM_EVP_PKEY_CLEANUP EVP_PKEY *own = EVP_EC_gen("P-256");
    const struct mm_curve_info *curve;
    uint8_t point[MM_POINT_MAX], token_says[P256_BYTES], soft_says[P256_BYTES];
    struct mm_keypair pair = {0};
    int r;

    note[0] = 0;
    if (!own)
        return no_memory_or_crypto(ei);
    r = mm_soft_ec_point(own, &curve, point, ei);
    if (r == MM_OK)
        r = mm_ephemeral_pair(t, mm_curve_get(MM_CURVE_P256), &pair, ei);
    if (r < 0)
        return r;
    r = derive(t, pair.private_key, point, pair.point_len, token_says, ei);
    if (r == MM_OK)
        r = soft_derive(own, &pair, soft_says, ei);
    mm_token_destroy(t, &pair);
    if (r == MM_OK && memcmp(token_says, soft_says, P256_BYTES) != 0)
        return wrong(ei, "token and libcrypto agree on different keys");
    return r;
}

/* ---- AES key wrap without padding (RFC 3394) ------------------------------------------------ */

static int soft_kw(const uint8_t kek[MM_AES_256_BYTES], const uint8_t key[MM_AES_256_BYTES],
                   uint8_t wrapped[MM_AES_256_BYTES + 8], struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    if (!ctx)
        return mm_fail_memory(ei);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, kek, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, wrapped, &n, key, MM_AES_256_BYTES) != 1)
        return no_memory_or_crypto(ei);
    return MM_OK;
}

static int unwrap_kw(struct mm_token *t, CK_MECHANISM *mechanism, uint8_t *wrapped, CK_ULONG len,
                     struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[] = {MM_ATTR(CKA_CLASS, class),  MM_ATTR(CKA_KEY_TYPE, type),
                            MM_ATTR(CKA_TOKEN, no),     MM_ATTR(CKA_PRIVATE, yes),
                            MM_ATTR(CKA_SENSITIVE, no), MM_ATTR(CKA_EXTRACTABLE, yes)};
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, key = CK_INVALID_HANDLE;
    uint8_t value[MM_AES_256_BYTES];
    CK_ULONG value_len = 0;
    CK_RV rv;
    int r = mm_known_key_import(t, mm_known_kek, CKA_UNWRAP, &kek, ei);

    if (r < 0)
        return r;
    rv = MM_CK(t, C_UnwrapKey(t->session, mechanism, kek, wrapped, len, attrs, MM_ARRAY_SIZE(attrs),
                              &key));
    mm_object_drop(t, kek);
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_UnwrapKey");
    r = mm_object_read(t, key, CKA_VALUE, value, sizeof(value), &value_len, ei);
    mm_object_drop(t, key);
    if (r == MM_OK &&
        (value_len != sizeof(value) || memcmp(value, mm_known_key, sizeof(value)) != 0))
        return wrong(ei, "the token unwraps another key than was wrapped");
    return r;
}

/* Both ways, against libcrypto: the token's wrap is libcrypto's, and it unwraps that again. */
static int check_wrap_both_ways(struct mm_token *t, CK_MECHANISM_TYPE number,
                                const uint8_t expected[MM_AES_256_BYTES + 8], struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {number, NULL, 0};
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, key = CK_INVALID_HANDLE;
    uint8_t wrapped[2 * MM_AES_256_BYTES];
    CK_ULONG len = sizeof(wrapped);
    CK_RV rv = CKR_OK;
    int r = mm_known_key_import(t, mm_known_kek, CKA_WRAP, &kek, ei);

    if (r == MM_OK)
        r = mm_known_key_import(t, mm_known_key, 0, &key, ei);
    if (r == MM_OK)
        rv = MM_CK(t, C_WrapKey(t->session, &mechanism, kek, key, wrapped, &len));
    mm_object_drop(t, key);
    mm_object_drop(t, kek);
    if (r < 0)
        return r;
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_WrapKey");
    if (len != MM_AES_256_BYTES + 8 || memcmp(wrapped, expected, len) != 0)
        return wrong(ei, "the token wraps otherwise than libcrypto");
    return unwrap_kw(t, &mechanism, wrapped, len, ei);
}

static int check_kw(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    uint8_t expected[MM_AES_256_BYTES + 8];
    int r = soft_kw(mm_known_kek, mm_known_key, expected, ei);

    snprintf(note, MM_CROSSCHECK_NOTE, "not needed; private keys take the padded form");
    return r < 0 ? r : check_wrap_both_ways(t, CKM_AES_KEY_WRAP, expected, ei);
}

static int check_kwp(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    uint8_t expected[MM_AES_256_BYTES + 8];
    int r;

    note[0] = 0;
    if (t->mechanisms.aes_kwp == 0)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "no mechanism of the token does RFC 5649");
    snprintf(note, MM_CROSSCHECK_NOTE, "mechanism 0x%04lx", t->mechanisms.aes_kwp);
    r = mm_soft_kwp_wrap(mm_known_kek, mm_known_key, MM_AES_256_BYTES, expected, ei);
    return r < 0 ? r : check_wrap_both_ways(t, t->mechanisms.aes_kwp, expected, ei);
}

/* ---- sessions ---------------------------------------------------------------------------- */

static int check_sessions(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei)
{
    CK_SESSION_HANDLE sessions[MM_SELFTEST_SESSIONS];
    struct mm_token_info info;
    CK_ULONG wanted = MM_SELFTEST_SESSIONS, n = 0;
    CK_RV rv = CKR_OK;
    int r = mm_token_info(t, &info, ei);

    if (r < 0)
        return r;
    if (info.max_sessions > 0 && info.max_sessions < wanted)
        wanted = info.max_sessions;
    while (rv == CKR_OK && n + 1 < wanted) { /* one is ours already */
        rv = MM_CK(t, C_OpenSession(t->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                    &sessions[n]));
        n += rv == CKR_OK;
    }
    for (CK_ULONG i = 0; i < n; i++)
        (void)MM_CK(t, C_CloseSession(sessions[i]));
    if (info.max_sessions > 0)
        snprintf(note, MM_CROSSCHECK_NOTE, "%lu at once; the token says at most %lu", n + 1,
                 info.max_sessions);
    else
        snprintf(note, MM_CROSSCHECK_NOTE, "%lu at once; the token names no limit", n + 1);
    if (rv != CKR_OK && info.max_sessions > 0)
        return mm_token_fail(ei, rv, "C_OpenSession: %lu were open, %lu should do", n + 1,
                             info.max_sessions);
    return MM_OK;
}

const struct mm_crosscheck mm_crosschecks[] = {
    {"random health", {0, 0}, check_random},
    {"Ed25519", {CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA}, check_ed25519},
    {"ML-DSA", {MM_CKM_ML_DSA_KEY_PAIR_GEN, MM_CKM_ML_DSA}, check_ml_dsa},
    {"ECDH P-256", {CKM_EC_KEY_PAIR_GEN, CKM_ECDH1_DERIVE}, check_ecdh},
    {"AES key wrap (RFC 3394) and unwrap", {CKM_AES_KEY_WRAP, 0}, check_kw},
    {"AES key unwrap (RFC 5649)", {0, 0}, check_kwp},
    {"sessions", {0, 0}, check_sessions},
};
const size_t mm_crosschecks_count = MM_ARRAY_SIZE(mm_crosschecks);
