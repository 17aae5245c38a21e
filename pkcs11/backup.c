/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/backup.h"

#include "daemon/base/text.h"
#include "pkcs11/policy.h"
#include "pkcs11/soft.h"

#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum { NOTE_BYTES = MM_BACKUP_SET_BYTES + 8, DIGEST_MAX = 48, NOTE_LABEL = 64, NOTES_MAX = 16 };

/* ---- the backup key ---------------------------------------------------------------------- */

/* Public in PKCS#11's sense, so that the security officer may make it and the user use it; no less
 * secret for that: it is sensitive, not extractable, and dies with the session. */
static int import(struct mm_token *t, struct mm_secret *backup_key, bool wraps,
                  mm_handle *ret_handle, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, wrap = wraps, unwrap = !wraps;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_KEY_TYPE, type),
        MM_ATTR(CKA_TOKEN, no),
        MM_ATTR(CKA_PRIVATE, no),
        MM_ATTR(CKA_SENSITIVE, yes),
        MM_ATTR(CKA_EXTRACTABLE, no),
        MM_ATTR(CKA_WRAP, wrap),
        MM_ATTR(CKA_UNWRAP, unwrap),
        MM_ATTR(CKA_ENCRYPT, no),
        MM_ATTR(CKA_DECRYPT, no),
        MM_ATTR_BYTES(CKA_VALUE, mm_secret_data(backup_key), mm_secret_len(backup_key)),
        MM_ATTR(CKA_TRUSTED, yes), /* the last: only for wrapping */
    };
    const CK_ULONG n = MM_ARRAY_SIZE(attrs) - !wraps;
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    const CK_RV rv = MM_CK(t, C_CreateObject(t->session, attrs, n, &handle));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_CreateObject of the backup key");
    *ret_handle = handle;
    return MM_OK;
}

int mm_token_require_officer(const struct mm_token *t, struct mm_errinfo *ei)
{
    if (mm_quirks_of(&t->info)->no_officer)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_NO_OFFICER",
                       "the token has no security officer, and without one no key is backed up or "
                       "restored");
    return MM_OK;
}

static int so_may_try(struct mm_token *t, struct mm_errinfo *ei)
{
    CK_TOKEN_INFO info;
    int r = mm_slot_info(t, &info, ei);

    if (r < 0)
        return r;
    if (info.flags & (CKF_SO_PIN_LOCKED | CKF_SO_PIN_FINAL_TRY))
        return mm_fail(ei, MM_ERR_PIN, "TOKEN_SO_PIN_FINAL_TRY",
                       "the security officer's PIN is locked, or one wrong try from it: not tried");
    return MM_OK;
}

static int import_as_officer(struct mm_token *t, struct mm_secret *so_pin,
                             struct mm_secret *backup_key, mm_handle *ret_handle,
                             struct mm_errinfo *ei)
{
    CK_RV rv = MM_CK(t, C_Login(t->session, CKU_SO, mm_secret_data(so_pin), mm_secret_len(so_pin)));
    int r;

    if (rv != CKR_OK) {
        mm_token_fail(ei, rv, "C_Login of the security officer");
        return ei ? (int)ei->code : MM_ERR_PIN;
    }
    r = import(t, backup_key, true, ret_handle, ei);
    (void)MM_CK(t, C_Logout(t->session));
    return r;
}

int mm_token_backup_begin(struct mm_token *t, struct mm_secret *so_pin,
                          struct mm_secret *backup_key, mm_handle *ret_wrapping,
                          struct mm_errinfo *ei)
{
    mm_handle handle = CK_INVALID_HANDLE;
    CK_RV rv;
    int r = mm_token_require_officer(t, ei);

    if (r == MM_OK)
        r = so_may_try(t, ei);
    if (r < 0)
        return r;
    if (!t->pin)
        return mm_fail(ei, MM_ERR_PRECONDITION, "TOKEN_LOGIN_LOST", "the user is not logged in");
    mm_cache_clear(t);
    (void)MM_CK(t, C_Logout(t->session));
    r = import_as_officer(t, so_pin, backup_key, &handle, ei);
    /* A PIN that the token has taken a moment ago. */
    rv = MM_CK(t, C_Login(t->session, CKU_USER, mm_secret_data(t->pin), mm_secret_len(t->pin)));
    if (r < 0)
        return r;
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Login");
    *ret_wrapping = handle;
    return MM_OK;
}

int mm_token_restore_begin(struct mm_token *t, struct mm_secret *backup_key,
                           mm_handle *ret_unwrapping, struct mm_errinfo *ei)
{
    int r = mm_token_require_officer(t, ei);

    return r < 0 ? r : import(t, backup_key, false, ret_unwrapping, ei);
}

void mm_token_backup_end(struct mm_token *t, mm_handle backup_key)
{
    mm_object_drop(t, backup_key);
}

/* ---- wrapping ---------------------------------------------------------------------------- */

int mm_token_ca_use(struct mm_token *t, mm_handle key, enum mm_key_use *ret_use,
                    struct mm_errinfo *ei)
{
    int trusted = -1, local = -1;
    int r = mm_object_read_bool(t, key, CKA_WRAP_WITH_TRUSTED, &trusted, ei);

    if (r == MM_OK)
        r = mm_object_read_bool(t, key, CKA_LOCAL, &local, ei);
    if (r < 0)
        return r;
    *ret_use = trusted != 1 ? MM_USE_CA : local == 1 ? MM_USE_CA_BACKUP : MM_USE_CA_RESTORED;
    return MM_OK;
}

int mm_token_backup_describe(struct mm_token *t, mm_handle key, struct mm_backup_key *ret_key,
                             struct mm_errinfo *ei)
{
    struct mm_backup_key backup = {0};
    struct mm_key_info info;
    enum mm_key_use use = MM_USE_CA;
    int r = mm_token_key_info(t, key, &info, ei);

    if (r == MM_OK)
        r = mm_token_ca_use(t, key, &use, ei);
    if (r < 0)
        return r;
    if (use != MM_USE_CA_BACKUP || !info.extractable)
        return mm_fail(ei, MM_ERR_PRECONDITION, "KEY_NOT_FOR_BACKUP",
                       "key '%s' was not made with --backup, or was made unextractable since: the "
                       "token will not give it, wrapped or not",
                       info.label);
    r = mm_token_check_policy(t, key, use, ei);
    if (r == MM_OK)
        r = mm_token_public_point(t, key, &backup.curve, backup.point, &backup.point_len, ei);
    if (r < 0)
        return r;
    memcpy(backup.label, info.label, sizeof(backup.label));
    memcpy(backup.id, info.id, info.id_len);
    backup.id_len = info.id_len;
    *ret_key = backup;
    return MM_OK;
}

int mm_token_backup_wrap(struct mm_token *t, mm_handle wrapping, mm_handle key,
                         struct mm_backup_key *backup, struct mm_errinfo *ei)
{
    return mm_token_wrap(t, wrapping, key, backup->wrapped, &backup->wrapped_len, ei);
}

/* ---- unwrapping -------------------------------------------------------------------------- */

static int unwrap(struct mm_token *t, mm_handle unwrapping, const struct mm_backup_key *backup,
                  CK_ATTRIBUTE *attrs, CK_ULONG n, CK_RV *ret_rv, mm_handle *ret_key,
                  struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {t->mechanisms.aes_kwp, NULL, 0};
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;

    if (!t->mechanisms.aes_kwp)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token cannot unwrap keys by RFC 5649");
    memcpy(wrapped, backup->wrapped, backup->wrapped_len);
    *ret_rv = MM_CK(t, C_UnwrapKey(t->session, &mechanism, unwrapping, wrapped, backup->wrapped_len,
                                   attrs, n, &key));
    if (*ret_rv != CKR_OK)
        return mm_token_fail(ei, *ret_rv, "C_UnwrapKey of '%s'", backup->label);
    *ret_key = key;
    return MM_OK;
}

/* It is the private key of the point: what it signs verifies. */
static int try_key(struct mm_token *t, mm_handle key, const struct mm_backup_key *backup,
                   struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = mm_curve_get(backup->curve);
    MM_EVP_PKEY_CLEANUP EVP_PKEY *public_key = NULL;
    uint8_t digest[DIGEST_MAX], signature[MM_SIGNATURE_MAX];
    size_t len;
    int r = mm_soft_ec_public(curve, backup->point, backup->point_len, &public_key, ei);

    if (r < 0)
        return r;
    if (RAND_bytes(digest, sizeof(digest)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "LIBCRYPTO_FAILED", "libcrypto: no random bytes");
    r = mm_token_sign(t, key, digest, curve->bytes, signature, &len, ei);
    if (r < 0)
        return r;
    if (!mm_soft_ecdsa_verify(public_key, digest, curve->bytes, signature, len))
        return mm_fail(ei, MM_ERR_CORRUPT, "RESTORED_KEY_WRONG",
                       "what the unwrapped key '%s' signs does not verify with its public key",
                       backup->label);
    return MM_OK;
}

int mm_token_backup_try(struct mm_token *t, mm_handle unwrapping,
                        const struct mm_backup_key *backup, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_EC;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE attrs[] = {MM_ATTR(CKA_CLASS, class),   MM_ATTR(CKA_KEY_TYPE, type),
                            MM_ATTR(CKA_TOKEN, no),      MM_ATTR(CKA_PRIVATE, yes),
                            MM_ATTR(CKA_SENSITIVE, yes), MM_ATTR(CKA_EXTRACTABLE, no),
                            MM_ATTR(CKA_SIGN, yes)};
    mm_handle key = CK_INVALID_HANDLE;
    CK_RV rv;
    int r = unwrap(t, unwrapping, backup, attrs, MM_ARRAY_SIZE(attrs), &rv, &key, ei);

    if (r == MM_OK)
        r = try_key(t, key, backup, ei);
    mm_object_drop(t, key);
    return r;
}

static int create_public(struct mm_token *t, const struct mm_backup_key *backup, mm_handle *ret_key,
                         struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = mm_curve_get(backup->curve);
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_EC;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    uint8_t point[MM_EC_POINT_ATTR_MAX] = {0x04, (uint8_t)backup->point_len};
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_KEY_TYPE, type),
        MM_ATTR(CKA_TOKEN, yes),
        MM_ATTR(CKA_PRIVATE, no),
        MM_ATTR(CKA_VERIFY, yes),
        MM_ATTR_BYTES(CKA_EC_PARAMS, curve->params, curve->params_len),
        MM_ATTR_BYTES(CKA_EC_POINT, point, backup->point_len + 2),
        MM_ATTR_BYTES(CKA_LABEL, backup->label, strlen(backup->label)),
        MM_ATTR_BYTES(CKA_ID, backup->id, backup->id_len),
    };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_RV rv;

    memcpy(point + 2, backup->point, backup->point_len);
    rv = MM_CK(t, C_CreateObject(t->session, attrs, MM_ARRAY_SIZE(attrs), &key));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_CreateObject of the public key '%s'", backup->label);
    *ret_key = key;
    return MM_OK;
}

static int unwrap_to_stay(struct mm_token *t, mm_handle unwrapping,
                          const struct mm_backup_key *backup, enum mm_policy_extent extent,
                          CK_RV *ret_rv, mm_handle *ret_key, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_KEY_TYPE type = CKK_EC;
    CK_ATTRIBUTE attrs[MM_POLICY_ATTRS_MAX + 4];
    CK_ULONG n =
        mm_policy_template(MM_USE_CA_RESTORED, backup->curve, extent, attrs, MM_POLICY_ATTRS_MAX);

    attrs[n++] = MM_ATTR(CKA_CLASS, class);
    attrs[n++] = MM_ATTR(CKA_KEY_TYPE, type);
    attrs[n++] = MM_ATTR_BYTES(CKA_LABEL, backup->label, strlen(backup->label));
    attrs[n++] = MM_ATTR_BYTES(CKA_ID, backup->id, backup->id_len);
    return unwrap(t, unwrapping, backup, attrs, n, ret_rv, ret_key, ei);
}

static int refuse_id(struct mm_token *t, const struct mm_backup_key *backup, struct mm_errinfo *ei)
{
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_TOKEN, yes),
                               MM_ATTR_BYTES(CKA_ID, backup->id, backup->id_len)};
    CK_OBJECT_HANDLE found;
    CK_ULONG n = 0;
    int r = mm_object_find(t, template, MM_ARRAY_SIZE(template), &found, 1, &n, ei);

    if (r == MM_OK && n > 0)
        return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_OBJECT_EXISTS",
                       "the token has a key with the id of '%s' already", backup->label);
    return r;
}

int mm_token_restore_key(struct mm_token *t, mm_handle unwrapping,
                         const struct mm_backup_key *backup, struct mm_keypair *ret_pair,
                         struct mm_errinfo *ei)
{
    struct mm_keypair pair = {.curve = backup->curve};
    CK_RV rv = CKR_OK;
    int r = mm_key_refuse_duplicate(t, backup->label, ei);

    if (r == MM_OK)
        r = refuse_id(t, backup, ei);
    if (r == MM_OK)
        r = mm_token_backup_try(t, unwrapping, backup, ei);
    if (r < 0)
        return r;
    /* Some refuse an unwrapping template that names what they would take when a key is made. */
    for (int extent = MM_TEMPLATE_ALL; extent >= MM_TEMPLATE_LEAST; extent--) {
        r = unwrap_to_stay(t, unwrapping, backup, (enum mm_policy_extent)extent, &rv,
                           &pair.private_key, ei);
        if (!mm_key_template_refused(t, rv))
            break;
    }
    if (r == MM_OK)
        r = create_public(t, backup, &pair.public_key, ei);
    if (r == MM_OK)
        r = mm_token_check_policy(t, pair.private_key, MM_USE_CA_RESTORED, ei);
    if (r == MM_OK)
        r = try_key(t, pair.private_key, backup, ei);
    if (r < 0)
        mm_token_destroy(t, &pair);
    else
        *ret_pair = pair;
    return r;
}

/* ---- notes ------------------------------------------------------------------------------- */

static void note_label(const uint8_t *point, size_t point_len, char label[NOTE_LABEL])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char hex[2 * 16 + 1];

    SHA256(point, point_len, digest);
    mm_hex_encode(digest, 16, hex);
    snprintf(label, NOTE_LABEL, "%s-%s", MM_BACKUP_LABEL, hex);
}

/* *n is how many there is room for, then how many there are. */
static int find_notes(struct mm_token *t, const char *label, CK_OBJECT_HANDLE *ret_notes,
                      CK_ULONG *n, struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_TOKEN, yes),
                               MM_ATTR_BYTES(CKA_LABEL, label, strlen(label))};

    return mm_object_find(t, template, MM_ARRAY_SIZE(template), ret_notes, *n, n, ei);
}

int mm_token_backup_noted(struct mm_token *t, const uint8_t *point, size_t point_len,
                          struct mm_errinfo *ei)
{
    char label[NOTE_LABEL];
    CK_OBJECT_HANDLE found;
    CK_ULONG n = 1;
    int r;

    note_label(point, point_len, label);
    r = find_notes(t, label, &found, &n, ei);
    if (r == MM_OK && n == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_OBJECT_NOT_FOUND",
                       "the token has no note of a backup of this key");
    return r;
}

void mm_token_backup_forget(struct mm_token *t, const uint8_t *point, size_t point_len)
{
    char label[NOTE_LABEL];
    CK_OBJECT_HANDLE found[NOTES_MAX];
    CK_ULONG n = NOTES_MAX;
    struct mm_errinfo ignored;

    note_label(point, point_len, label);
    if (find_notes(t, label, found, &n, &ignored) < 0)
        return;
    for (CK_ULONG i = 0; i < n; i++)
        mm_object_drop(t, found[i]);
}

int mm_token_backup_note(struct mm_token *t, const uint8_t *point, size_t point_len,
                         const uint8_t set[MM_BACKUP_SET_BYTES], int64_t wall_ms,
                         struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_BBOOL yes = CK_TRUE;
    char label[NOTE_LABEL];
    uint8_t value[NOTE_BYTES];
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE, old[NOTES_MAX];
    CK_ULONG n;
    int r;
    CK_ATTRIBUTE attrs[] = {
        MM_ATTR(CKA_CLASS, class),
        MM_ATTR(CKA_TOKEN, yes),
        MM_ATTR(CKA_PRIVATE, yes),
        {CKA_LABEL, label, 0},
        MM_ATTR_BYTES(CKA_APPLICATION, "mintmark", 8),
        MM_ATTR_BYTES(CKA_VALUE, value, sizeof(value)),
    };
    CK_RV rv;

    note_label(point, point_len, label);
    attrs[3].ulValueLen = strlen(label);
    memcpy(value, set, MM_BACKUP_SET_BYTES);
    for (size_t i = 0; i < 8; i++)
        value[MM_BACKUP_SET_BYTES + i] = (uint8_t)((uint64_t)wall_ms >> (56 - 8 * i));
    n = NOTES_MAX;
    r = find_notes(t, label, old, &n, ei);
    if (r < 0)
        return r;
    rv = MM_CK(t, C_CreateObject(t->session, attrs, MM_ARRAY_SIZE(attrs), &object));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_CreateObject of the backup's note");
    for (CK_ULONG i = 0; i < n; i++)
        mm_object_drop(t, old[i]);
    return MM_OK;
}
