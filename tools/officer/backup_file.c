/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/backup_file.h"

#include "daemon/base/clock.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "tools/officer/output.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <string.h>

static const char format[] = "mintmark key backup v1";

void mm_backup_done(struct mm_backup *backup)
{
    json_decref(backup->json);
    *backup = (struct mm_backup){0};
}

/* ---- what binds it ------------------------------------------------------------------------- */

static int keyed(struct mm_secret *key, const char *purpose, struct mm_secret **ret_derived,
                 struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *derived = NULL;
    unsigned len = 0;

    if (mm_secret_new(MM_BACKUP_HASH_BYTES, &derived) < 0)
        return mm_fail_memory(ei);
    if (!HMAC(EVP_sha256(), mm_secret_data(key), (int)mm_secret_len(key),
              (const unsigned char *)purpose, strlen(purpose), mm_secret_data(derived), &len))
        return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto: HMAC has failed");
    *ret_derived = MM_TAKE(derived);
    return MM_OK;
}

static int check_of(struct mm_secret *key, uint8_t ret_check[MM_BACKUP_CHECK_BYTES],
                    struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *derived = NULL;
    const int r = keyed(key, "mintmark backup key check v1", &derived, ei);

    if (r == MM_OK)
        memcpy(ret_check, mm_secret_data(derived), MM_BACKUP_CHECK_BYTES);
    return r;
}

/* Over the file without "mac", as compact JSON with its keys sorted. */
static int mac_of(struct mm_secret *key, const json_t *json, uint8_t ret_mac[MM_BACKUP_HASH_BYTES],
                  struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *derived = NULL;
    char *const text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    unsigned len = 0;
    int r = text ? keyed(key, "mintmark key backup mac v1", &derived, ei) : mm_fail_memory(ei);

    if (r == MM_OK && !HMAC(EVP_sha256(), mm_secret_data(derived), (int)mm_secret_len(derived),
                            (const unsigned char *)text, strlen(text), ret_mac, &len))
        r = mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto: HMAC has failed");
    free(text);
    return r;
}

static void hash_share(struct mm_secret *share, uint8_t ret_hash[MM_BACKUP_HASH_BYTES])
{
    SHA256(mm_secret_data(share), mm_secret_len(share), ret_hash);
}

/* ---- writing ----------------------------------------------------------------------------- */

static json_t *hex(const uint8_t *bytes, size_t len)
{
    char text[2 * MM_WRAPPED_KEY_MAX + 1];

    mm_hex_encode(bytes, len, text);
    return json_string(text);
}

static json_t *describe_key(const struct mm_backup_key *key)
{
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:o}", "label", mm_out_text(key->label), "id",
        hex(key->id, key->id_len), "curve", key->curve == MM_CURVE_P384 ? "p384" : "p256", "point",
        hex(key->point, key->point_len), "wrapped", hex(key->wrapped, key->wrapped_len));
}

static json_t *describe(const struct mm_backup *b, const struct mm_backup_origin *origin)
{
    json_t *const keys = json_array(), *const shares = json_array();
    char when[MM_CLOCK_TEXT];

    for (size_t i = 0; i < b->n_keys; i++)
        (void)json_array_append_new(keys, describe_key(&b->keys[i]));
    for (size_t i = 0; i < b->n_shares; i++)
        (void)json_array_append_new(shares, hex(b->share_sha256[i], MM_BACKUP_HASH_BYTES));
    return json_pack("{s:s, s:s, s:s, s:{s:o, s:o}, s:o, s:i, s:o, s:o, s:o}", "format", format,
                     "site", origin->site, "made", mm_clock_text(origin->wall_ms, when), "token",
                     "label", mm_out_text(origin->token_label), "serial",
                     mm_out_text(origin->token_serial), "set", hex(b->set, sizeof(b->set)),
                     "threshold", (int)b->threshold, "shares", shares, "key_check",
                     hex(b->check, sizeof(b->check)), "keys", keys);
}

int mm_backup_write(struct mm_backup *b, const struct mm_backup_origin *origin,
                    struct mm_secret *key, struct mm_secret *const *shares, struct mm_buf *text,
                    struct mm_errinfo *ei)
{
    char *dumped;
    int r = check_of(key, b->check, ei);

    if (r < 0)
        return r;
    for (size_t i = 0; i < b->n_shares; i++)
        hash_share(shares[i], b->share_sha256[i]);
    json_decref(b->json);
    b->json = describe(b, origin);
    r = b->json ? mac_of(key, b->json, b->mac, ei) : mm_fail_memory(ei);
    if (r < 0)
        return r;
    if (json_object_set_new(b->json, "mac", hex(b->mac, sizeof(b->mac))) < 0)
        return mm_fail_memory(ei);
    dumped = json_dumps(b->json, JSON_INDENT(2) | JSON_SORT_KEYS);
    (void)json_object_del(b->json, "mac");
    if (!dumped)
        return mm_fail_memory(ei);
    mm_buf_append_str(text, dumped);
    mm_buf_append_u8(text, '\n');
    free(dumped);
    return mm_buf_err(text) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int malformed(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "BACKUP_MALFORMED", "the file is no key backup: %s", what);
}

/* *ret_len NULL: exactly size bytes. */
static bool bytes_of(const json_t *object, const char *name, uint8_t *bytes, size_t size,
                     size_t *ret_len)
{
    const char *const text = json_string_value(object ? json_object_get(object, name) : NULL);
    const size_t len = text ? strlen(text) / 2 : 0;

    if (!text || strlen(text) % 2 != 0 || len == 0 || len > size || (!ret_len && len != size) ||
        mm_hex_decode(text, bytes, len) < 0)
        return false;
    if (ret_len)
        *ret_len = len;
    return true;
}

static bool parse_key(const json_t *json, struct mm_backup_key *key)
{
    const char *const label = json_string_value(json_object_get(json, "label"));
    const char *const curve = json_string_value(json_object_get(json, "curve"));
    size_t want;

    if (!label || !mm_name_valid(label, MM_NAME_MAX) || !curve || strlen(label) > 64 ||
        (strcmp(curve, "p256") != 0 && strcmp(curve, "p384") != 0))
        return false;
    key->curve = strcmp(curve, "p384") == 0 ? MM_CURVE_P384 : MM_CURVE_P256;
    want = key->curve == MM_CURVE_P384 ? 97 : 65;
    snprintf(key->label, sizeof(key->label), "%s", label);
    return bytes_of(json, "id", key->id, sizeof(key->id), &key->id_len) &&
           bytes_of(json, "point", key->point, sizeof(key->point), &key->point_len) &&
           key->point_len == want &&
           bytes_of(json, "wrapped", key->wrapped, sizeof(key->wrapped), &key->wrapped_len);
}

static bool parse_shares(struct mm_backup *b)
{
    const json_t *const shares = json_object_get(b->json, "shares");
    const json_int_t threshold = json_integer_value(json_object_get(b->json, "threshold"));

    b->n_shares = (unsigned)json_array_size(shares);
    if (b->n_shares > MM_SHARES_MAX || threshold < MM_SHARES_MIN_THRESHOLD ||
        threshold > (json_int_t)b->n_shares)
        return false;
    b->threshold = (unsigned)threshold;
    for (size_t i = 0; i < b->n_shares; i++) {
        const char *const text = json_string_value(json_array_get(shares, i));

        if (!text || mm_hex_decode(text, b->share_sha256[i], MM_BACKUP_HASH_BYTES) < 0)
            return false;
    }
    return true;
}

int mm_backup_parse(struct mm_bytes text, struct mm_backup *ret_backup, struct mm_errinfo *ei)
{
    MM_BACKUP_CLEANUP struct mm_backup b = {0};
    const json_t *keys;
    const char *said;

    b.json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    said = json_string_value(json_object_get(b.json, "format"));
    if (!said || strcmp(said, format) != 0)
        return malformed(ei, "it has no such format");
    if (!bytes_of(b.json, "set", b.set, sizeof(b.set), NULL) ||
        !bytes_of(b.json, "key_check", b.check, sizeof(b.check), NULL) ||
        !bytes_of(b.json, "mac", b.mac, sizeof(b.mac), NULL))
        return malformed(ei, "set, key_check or mac is missing or wrong");
    if (!parse_shares(&b))
        return malformed(ei, "threshold or shares is missing or wrong");
    keys = json_object_get(b.json, "keys");
    b.n_keys = json_array_size(keys);
    if (b.n_keys == 0 || b.n_keys > MM_BACKUP_KEYS_MAX)
        return malformed(ei, "it has no keys, or too many");
    for (size_t i = 0; i < b.n_keys; i++)
        if (!parse_key(json_array_get(keys, i), &b.keys[i]))
            return malformed(ei, "one of its keys is not described as keys are");
    (void)json_object_del(b.json, "mac");
    *ret_backup = b;
    b.json = NULL;
    return MM_OK;
}

int mm_backup_check_share(const struct mm_backup *backup, struct mm_secret *share,
                          struct mm_errinfo *ei)
{
    uint8_t hash[MM_BACKUP_HASH_BYTES];
    const unsigned index = mm_share_index(share);

    if (memcmp(mm_share_set(share), backup->set, MM_BACKUP_SET_BYTES) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "SHARE_OTHER_SET",
                       "share %u is of another backup than this file", index);
    hash_share(share, hash);
    if (index > backup->n_shares ||
        CRYPTO_memcmp(hash, backup->share_sha256[index - 1], sizeof(hash)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "SHARE_WRONG",
                       "share %u is not the one that this backup was made with", index);
    return MM_OK;
}

int mm_backup_check_key(const struct mm_backup *backup, struct mm_secret *key,
                        struct mm_errinfo *ei)
{
    uint8_t check[MM_BACKUP_CHECK_BYTES], mac[MM_BACKUP_HASH_BYTES];
    int r = check_of(key, check, ei);

    if (r < 0)
        return r;
    if (CRYPTO_memcmp(check, backup->check, sizeof(check)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "BACKUP_SHARES_WRONG",
                       "the shares give another key than the file was written under");
    r = mac_of(key, backup->json, mac, ei);
    if (r < 0)
        return r;
    if (CRYPTO_memcmp(mac, backup->mac, sizeof(mac)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "BACKUP_TAMPERED",
                       "the file is not as it was written: its MAC does not fit");
    return MM_OK;
}
