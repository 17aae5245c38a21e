/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/shares.h"

#include <ctype.h>
#include <libgfshare.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>

enum {
    VERSION = 1,
    AT_SET = 1,
    AT_INDEX = AT_SET + MM_BACKUP_SET_BYTES,
    AT_THRESHOLD = AT_INDEX + 1,
    AT_DATA = AT_THRESHOLD + 1,
    AT_CHECKSUM = AT_DATA + MM_BACKUP_KEY_BYTES,
    CHECKSUM = MM_SHARE_BYTES - AT_CHECKSUM,
    GROUP = 4,
};

MM_DEFINE_CLEANUP(gfshare_ctx *, gfshare_ctx_free)

/* libgfshare asks for random bytes by a function that cannot fail. */
static bool random_failed;

static void fill_random(unsigned char *bytes, unsigned int len)
{
    if (RAND_priv_bytes(bytes, (int)len) != 1)
        random_failed = true;
}

static void checksum(const uint8_t *share, uint8_t ret_sum[CHECKSUM])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    SHA256(share, AT_CHECKSUM, digest);
    memcpy(ret_sum, digest, CHECKSUM);
}

static int no_memory(struct mm_errinfo *ei)
{
    return mm_fail_memory(ei);
}

static int fill_share(gfshare_ctx *ctx, unsigned i, const uint8_t *set, unsigned threshold,
                      struct mm_secret **ret_share)
{
    struct mm_secret *share = NULL;
    uint8_t *p;
    const int r = mm_secret_new(MM_SHARE_BYTES, &share);

    if (r < 0)
        return r;
    p = mm_secret_data(share);
    p[0] = VERSION;
    memcpy(p + AT_SET, set, MM_BACKUP_SET_BYTES);
    p[AT_INDEX] = (uint8_t)(i + 1);
    p[AT_THRESHOLD] = (uint8_t)threshold;
    gfshare_ctx_enc_getshare(ctx, (unsigned char)i, p + AT_DATA);
    checksum(p, p + AT_CHECKSUM);
    *ret_share = share;
    return MM_OK;
}

int mm_shares_split(struct mm_secret *key, const uint8_t set[MM_BACKUP_SET_BYTES],
                    unsigned threshold, unsigned count, struct mm_secret **ret_shares,
                    struct mm_errinfo *ei)
{
    MM_CLEANUP(gfshare_ctx_free_p) gfshare_ctx *ctx = NULL;
    unsigned char indices[MM_SHARES_MAX];
    unsigned made = 0;
    int r = MM_OK;

    if (count > MM_SHARES_MAX || threshold < MM_SHARES_MIN_THRESHOLD || threshold > count ||
        mm_secret_len(key) != MM_BACKUP_KEY_BYTES)
        return mm_fail(ei, MM_ERR_INVALID, "SHARES", "2 to %d shares, of which 2 or more suffice",
                       MM_SHARES_MAX);
    for (unsigned i = 0; i < count; i++)
        indices[i] = (unsigned char)(i + 1);
    random_failed = false;
    gfshare_fill_rand = fill_random;
    ctx = gfshare_ctx_init_enc(indices, count, (unsigned char)threshold, MM_BACKUP_KEY_BYTES);
    if (!ctx)
        return no_memory(ei);
    gfshare_ctx_enc_setsecret(ctx, mm_secret_data(key));
    while (r == MM_OK && made < count) {
        r = fill_share(ctx, made, set, threshold, &ret_shares[made]);
        made += r == MM_OK;
    }
    if (r == MM_OK && !random_failed)
        return MM_OK;
    while (made > 0)
        mm_secret_free(MM_TAKE(ret_shares[--made]));
    return r < 0 ? no_memory(ei)
                 : mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "libcrypto has no random bytes");
}

int mm_shares_join(struct mm_secret *const *shares, size_t n, struct mm_secret **ret_key,
                   struct mm_errinfo *ei)
{
    MM_CLEANUP(gfshare_ctx_free_p) gfshare_ctx *ctx = NULL;
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;
    unsigned char indices[MM_SHARES_MAX];

    if (n == 0 || n > MM_SHARES_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "SHARES", "1 to %d shares", MM_SHARES_MAX);
    for (size_t i = 0; i < n; i++)
        indices[i] = (unsigned char)mm_share_index(shares[i]);
    gfshare_fill_rand = fill_random; /* what it leaves behind is overwritten */
    ctx = gfshare_ctx_init_dec(indices, (unsigned)n, MM_BACKUP_KEY_BYTES);
    if (!ctx || mm_secret_new(MM_BACKUP_KEY_BYTES, &key) < 0)
        return no_memory(ei);
    for (size_t i = 0; i < n; i++)
        gfshare_ctx_dec_giveshare(ctx, (unsigned char)i, mm_secret_data(shares[i]) + AT_DATA);
    gfshare_ctx_dec_extract(ctx, mm_secret_data(key));
    *ret_key = MM_TAKE(key);
    return MM_OK;
}

/* ---- on paper ---------------------------------------------------------------------------- */

int mm_share_text(struct mm_secret *share, struct mm_secret **ret_text, struct mm_errinfo *ei)
{
    static const char digits[] = "0123456789abcdef";
    MM_SECRET_CLEANUP struct mm_secret *text = NULL;
    const uint8_t *bytes = mm_secret_data(share);
    uint8_t *p;

    if (mm_secret_new(MM_SHARE_TEXT + 1, &text) < 0)
        return no_memory(ei);
    p = mm_secret_data(text);
    for (size_t i = 0; i < 2 * MM_SHARE_BYTES; i++) {
        if (i > 0 && i % GROUP == 0)
            *p++ = '-';
        *p++ = (uint8_t)digits[bytes[i / 2] >> (i % 2 ? 0 : 4) & 15];
    }
    *ret_text = MM_TAKE(text);
    return MM_OK;
}

static int digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (uint8_t)tolower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(struct mm_secret *text, uint8_t *bytes)
{
    const uint8_t *p = mm_secret_data(text);
    size_t n = 0;

    for (size_t i = 0; i < mm_secret_len(text); i++) {
        const int value = digit(p[i]);

        if (p[i] == '-' || p[i] == ' ')
            continue;
        if (value < 0 || n == 2 * MM_SHARE_BYTES)
            return false;
        bytes[n / 2] = (uint8_t)(bytes[n / 2] << 4 | value);
        n++;
    }
    return n == 2 * MM_SHARE_BYTES;
}

int mm_share_parse(struct mm_secret *text, struct mm_secret **ret_share, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *share = NULL;
    uint8_t sum[CHECKSUM];
    const uint8_t *p;

    if (mm_secret_new(MM_SHARE_BYTES, &share) < 0)
        return no_memory(ei);
    p = mm_secret_data(share);
    if (!decode(text, mm_secret_data(share)) || p[0] != VERSION)
        return mm_fail(ei, MM_ERR_INVALID, "SHARE_MALFORMED",
                       "that is no share: it has %d hexadecimal digits, the first two 01",
                       2 * MM_SHARE_BYTES);
    checksum(p, sum);
    if (CRYPTO_memcmp(sum, p + AT_CHECKSUM, CHECKSUM) != 0 || p[AT_INDEX] == 0 ||
        p[AT_INDEX] > MM_SHARES_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "SHARE_MISTYPED",
                       "the share's checksum does not fit: a digit is wrong");
    *ret_share = MM_TAKE(share);
    return MM_OK;
}

const uint8_t *mm_share_set(struct mm_secret *share)
{
    return mm_secret_data(share) + AT_SET;
}

unsigned mm_share_index(struct mm_secret *share)
{
    return mm_secret_data(share)[AT_INDEX];
}
