/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot path. A device costs C_GenerateKeyPair, two C_GetAttributeValue, one or two signatures of
 * C_SignInit and C_Sign, C_WrapKey and two C_DestroyObject; nothing is looked up.
 */
#include "daemon/base/text.h"
#include "pkcs11/internal.h"

#include <string.h>

/* Templates of both halves of a device's pair, and the values that they point to. */
struct pair_template {
    CK_BBOOL yes, no, token, sensitive, extractable;
    CK_ATTRIBUTE public_key[6];
    CK_ATTRIBUTE private_key[10];
    CK_ULONG n_public, n_private;
};

static void pair_template(struct pair_template *p, enum mm_device_key kind)
{
    CK_ULONG n;

    p->yes = CK_TRUE;
    p->no = CK_FALSE;
    p->token = kind == MM_DEVICE_RETAINED;
    p->sensitive = kind != MM_DEVICE_PLAIN;
    p->extractable = kind != MM_DEVICE_RETAINED;

    n = 0;
    p->public_key[n++] = MM_ATTR(CKA_TOKEN, p->token);
    p->public_key[n++] = MM_ATTR(CKA_VERIFY, p->yes);
    p->n_public = n;

    n = 0;
    p->private_key[n++] = MM_ATTR(CKA_TOKEN, p->token);
    p->private_key[n++] = MM_ATTR(CKA_PRIVATE, p->yes);
    p->private_key[n++] = MM_ATTR(CKA_SENSITIVE, p->sensitive);
    p->private_key[n++] = MM_ATTR(CKA_EXTRACTABLE, p->extractable);
    p->private_key[n++] = MM_ATTR(CKA_SIGN, p->yes);
    p->private_key[n++] = MM_ATTR(CKA_DERIVE, p->no);
    p->n_private = n;
}

/* A retained key stays for years: it gets a name, and an id that is its device UID's bytes. */
static int name_pair(struct pair_template *p, const char *label, uint8_t id[16],
                     struct mm_errinfo *ei)
{
    if (!label || mm_uuid_parse(label, id) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_LABEL_INVALID",
                       "the label of a retained key is its device UID");
    p->public_key[p->n_public++] = MM_ATTR_BYTES(CKA_LABEL, label, strlen(label));
    p->public_key[p->n_public++] = MM_ATTR_BYTES(CKA_ID, id, 16);
    p->private_key[p->n_private++] = MM_ATTR_BYTES(CKA_LABEL, label, strlen(label));
    p->private_key[p->n_private++] = MM_ATTR_BYTES(CKA_ID, id, 16);
    return MM_OK;
}

static int check_private(struct mm_token *t, CK_OBJECT_HANDLE key, enum mm_device_key kind,
                         struct mm_errinfo *ei)
{
    CK_BBOOL sensitive = 0xff, extractable = 0xff, local = 0xff;
    CK_ATTRIBUTE attrs[] = {MM_ATTR(CKA_SENSITIVE, sensitive),
                            MM_ATTR(CKA_EXTRACTABLE, extractable), MM_ATTR(CKA_LOCAL, local)};
    const CK_RV rv = MM_CK(t, C_GetAttributeValue(t->session, key, attrs, MM_ARRAY_SIZE(attrs)));
    const char *wrong = NULL;

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetAttributeValue of a new private key");
    if (sensitive != (kind != MM_DEVICE_PLAIN))
        wrong = "CKA_SENSITIVE";
    else if (extractable != (kind != MM_DEVICE_RETAINED))
        wrong = "CKA_EXTRACTABLE";
    else if (local != CK_TRUE && !mm_quirks_of(&t->info)->no_local)
        wrong = "CKA_LOCAL";
    if (wrong)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_MISMATCH",
                       "the token made a device key whose %s is not as asked for", wrong);
    return MM_OK;
}

static int read_point(struct mm_token *t, const struct mm_curve_info *curve,
                      struct mm_keypair *pair, struct mm_errinfo *ei)
{
    uint8_t value[MM_EC_POINT_ATTR_MAX];
    CK_ATTRIBUTE attr = {mm_point_attr(curve), value, sizeof(value)};
    const CK_RV rv = MM_CK(t, C_GetAttributeValue(t->session, pair->public_key, &attr, 1));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetAttributeValue of a public key");
    return mm_point_decode(value, attr.ulValueLen, curve, pair->point, &pair->point_len, ei);
}

int mm_token_generate(struct mm_token *t, enum mm_curve curve, enum mm_device_key kind,
                      const char *label, struct mm_keypair *ret_pair, struct mm_errinfo *ei)
{
    const struct mm_curve_info *c = mm_curve_get(curve);
    struct mm_keypair pair = {.curve = curve};
    struct pair_template p;
    CK_RV rv;
    int r;

    pair_template(&p, kind);
    if (kind == MM_DEVICE_RETAINED) {
        r = name_pair(&p, label, pair.id, ei);
        if (r < 0)
            return r;
    }
    rv = mm_curve_generate(t, c, p.public_key, p.n_public, p.private_key, p.n_private,
                           &pair.public_key, &pair.private_key);
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateKeyPair");
    t->session_objects += 2;
    r = check_private(t, pair.private_key, kind, ei);
    if (r == MM_OK)
        r = read_point(t, c, &pair, ei);
    if (r < 0) {
        mm_token_destroy(t, &pair);
        return r;
    }
    *ret_pair = pair;
    return MM_OK;
}

void mm_token_destroy(struct mm_token *t, struct mm_keypair *pair)
{
    mm_object_drop(t, pair->private_key);
    mm_object_drop(t, pair->public_key);
    pair->private_key = CK_INVALID_HANDLE;
    pair->public_key = CK_INVALID_HANDLE;
}

int mm_token_sign(struct mm_token *t, mm_handle key, const uint8_t *digest, size_t digest_len,
                  uint8_t signature[MM_SIGNATURE_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
    uint8_t made[MM_SIGNATURE_MAX];
    CK_ULONG len = sizeof(made);
    CK_RV rv = MM_CK(t, C_SignInit(t->session, &mechanism, key));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_SignInit");
    rv = MM_CK(t, C_Sign(t->session, (CK_BYTE *)(uintptr_t)digest, digest_len, made, &len));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Sign");
    if (len != mm_curve_get(MM_CURVE_P256)->signature_len &&
        len != mm_curve_get(MM_CURVE_P384)->signature_len)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID",
                       "the token made a signature of %lu bytes", len);
    memcpy(signature, made, len);
    *ret_len = len;
    return MM_OK;
}

int mm_token_sign_message(struct mm_token *t, enum mm_curve curve, mm_handle key,
                          struct mm_bytes message, uint8_t signature[MM_SIGNATURE_MAX],
                          size_t *ret_len, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {mm_curve_get(curve)->sign, NULL, 0}; /* no parameter: pure */
    uint8_t made[MM_SIGNATURE_MAX];
    CK_ULONG len = mm_curve_get(curve)->signature_len; /* NSS 3.110 wants no more room */
    CK_RV rv = MM_CK(t, C_SignInit(t->session, &mechanism, key));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_SignInit");
    rv = MM_CK(t, C_Sign(t->session, (CK_BYTE *)(uintptr_t)message.data, message.len, made, &len));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_Sign");
    if (len != mm_curve_get(curve)->signature_len)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID",
                       "the token made a signature of %lu bytes", len);
    memcpy(signature, made, len);
    *ret_len = len;
    return MM_OK;
}

int mm_token_wrap(struct mm_token *t, mm_handle wrapping_key, mm_handle key,
                  uint8_t wrapped[MM_WRAPPED_KEY_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {t->mechanisms.aes_kwp, NULL, 0};
    CK_ULONG len = MM_WRAPPED_KEY_MAX;
    CK_RV rv;

    if (t->mechanisms.aes_kwp == 0)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token cannot wrap keys as RFC 5649 has it");
    rv = MM_CK(t, C_WrapKey(t->session, &mechanism, wrapping_key, key, wrapped, &len));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_WrapKey");
    /* RFC 5649 section 4.1: multiples of 8, at least 16; room is MM_WRAPPED_KEY_MAX. */
    if (len < 16 || len % 8 != 0 || len > MM_WRAPPED_KEY_MAX)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_WRAP_INVALID",
                       "the token wrapped a key into %lu bytes", len);
    *ret_len = len;
    return MM_OK;
}

int mm_token_read_private(struct mm_token *t, const struct mm_keypair *pair,
                          struct mm_secret **ret_scalar, struct mm_errinfo *ei)
{
    const size_t want = mm_curve_get(pair->curve)->bytes;
    MM_SECRET_CLEANUP struct mm_secret *scalar = NULL;
    CK_ATTRIBUTE attr;
    CK_RV rv;

    if (want == 0)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "private keys of %s are not read", mm_curve_get(pair->curve)->name);
    if (mm_secret_new(want, &scalar) < 0)
        return mm_fail_memory(ei);
    attr = (CK_ATTRIBUTE){CKA_VALUE, mm_secret_data(scalar), want};
    rv = MM_CK(t, C_GetAttributeValue(t->session, pair->private_key, &attr, 1));
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GetAttributeValue of a plain private key");
    if (attr.ulValueLen == 0 || attr.ulValueLen > want)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ATTRIBUTE_INVALID",
                       "the token gave a private value of %lu bytes", attr.ulValueLen);
    /* A big integer may come without its leading zeros (PKCS#11 v2.40 base 4.1.1); a seed has none
     * to lose, as it is a string of bytes. */
    memmove(mm_secret_data(scalar) + (want - attr.ulValueLen), mm_secret_data(scalar),
            attr.ulValueLen);
    memset(mm_secret_data(scalar), 0, want - attr.ulValueLen);
    *ret_scalar = MM_TAKE(scalar);
    return MM_OK;
}

int mm_token_random(struct mm_token *t, uint8_t *out, size_t len, struct mm_errinfo *ei)
{
    const CK_RV rv = MM_CK(t, C_GenerateRandom(t->session, out, len));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateRandom");
    return MM_OK;
}

void mm_token_meter(struct mm_token *t, bool on)
{
    t->metering = on;
}

uint64_t mm_token_meter_take_us(struct mm_token *t)
{
    const uint64_t us = t->metered_ns / 1000;

    /* The rest below a microsecond is kept for the next account. */
    t->metered_ns -= us * 1000;
    return us;
}
