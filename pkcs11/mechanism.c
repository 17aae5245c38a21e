/* SPDX-License-Identifier: Apache-2.0 */
/* What the token can do, and under which numbers. */
#include "pkcs11/internal.h"
#include "pkcs11/soft.h"

#include <string.h>

static int has(struct mm_token *t, CK_MECHANISM_TYPE type, bool *ret_has, struct mm_errinfo *ei)
{
    CK_MECHANISM_INFO info = {0};
    const CK_RV rv = MM_CK(t, C_GetMechanismInfo(t->slot, type, &info));

    if (rv != CKR_OK && rv != CKR_MECHANISM_INVALID && rv != CKR_FUNCTION_NOT_SUPPORTED)
        return mm_token_fail(ei, rv, "C_GetMechanismInfo of 0x%lx", type);
    *ret_has = rv == CKR_OK;
    if (type == CKM_EC_KEY_PAIR_GEN)
        t->mechanisms.hardware = rv == CKR_OK && (info.flags & CKF_HW);
    return MM_OK;
}

static int probe_kwp_numbers(struct mm_token *t, struct mm_errinfo *ei)
{
    /* A number here is only a candidate: it is used when the token lists it and its known answer is
     * right. */
    const CK_MECHANISM_TYPE numbers[] = {MM_CKM_AES_KEY_WRAP_KWP, MM_CKM_AES_KEY_WRAP_PAD,
                                         mm_quirks_of(&t->info)->kwp};
    size_t kept = 0;

    for (size_t i = 0; i < MM_ARRAY_SIZE(numbers) && numbers[i] != 0; i++) {
        bool listed = false;
        int r = has(t, numbers[i], &listed, ei);

        if (r < 0)
            return r;
        if (listed)
            t->kwp_candidates[kept++] = numbers[i];
    }
    return MM_OK;
}

int mm_mechanisms_probe(struct mm_token *t, struct mm_errinfo *ei)
{
    struct mm_token_mechanisms *m = &t->mechanisms;
    bool cbc_derive = false, edwards = false, eddsa = false;
    bool ml_dsa_pairs = false, ml_dsa = false;
    const struct {
        CK_MECHANISM_TYPE type;
        bool *has;
    } wanted[] = {
        {CKM_EC_KEY_PAIR_GEN, &m->ec_key_gen},
        {CKM_ECDSA, &m->ecdsa},
        {CKM_ECDH1_DERIVE, &m->ecdh1},
        {CKM_AES_CBC_ENCRYPT_DATA, &cbc_derive},
        {CKM_RSA_PKCS_KEY_PAIR_GEN, &m->rsa_key_gen},
        {CKM_RSA_PKCS_OAEP, &m->rsa_oaep},
        {CKM_AES_KEY_GEN, &m->aes_key_gen},
        {CKM_EC_EDWARDS_KEY_PAIR_GEN, &edwards},
        {CKM_EDDSA, &eddsa},
        {MM_CKM_ML_DSA_KEY_PAIR_GEN, &ml_dsa_pairs},
        {MM_CKM_ML_DSA, &ml_dsa},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(wanted); i++) {
        int r = has(t, wanted[i].type, wanted[i].has, ei);

        if (r < 0)
            return r;
    }
    /* The transport export derives its key in two steps, both in the token. */
    m->ecdh = m->ecdh1 && cbc_derive;
    m->ed25519 = edwards && eddsa;
    m->ml_dsa = ml_dsa_pairs && ml_dsa;
    return probe_kwp_numbers(t, ei);
}

int mm_token_require_curve(const struct mm_token *t, enum mm_curve curve, struct mm_errinfo *ei)
{
    const struct mm_token_mechanisms *has = &t->mechanisms;

    if (curve == MM_CURVE_ED25519 && !has->ed25519)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token makes no Ed25519 keys (CKM_EC_EDWARDS_KEY_PAIR_GEN, CKM_EDDSA)");
    if (mm_curve_get(curve)->set && !has->ml_dsa)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_MECHANISM_UNSUPPORTED",
                       "the token makes no ML-DSA keys (CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_DSA)");
    return MM_OK;
}

/* Does C_WrapKey under that number give what RFC 5649 gives? A padding of another kind makes the
 * answer longer, so that the buffer has room for it. */
static int known_answer(struct mm_token *t, CK_MECHANISM_TYPE number, CK_OBJECT_HANDLE kek,
                        CK_OBJECT_HANDLE key, struct mm_bytes expected, bool *ret_right,
                        struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {number, NULL, 0};
    uint8_t wrapped[2 * MM_AES_256_BYTES];
    CK_ULONG len = sizeof(wrapped);
    const CK_RV rv = MM_CK(t, C_WrapKey(t->session, &mechanism, kek, key, wrapped, &len));

    *ret_right = rv == CKR_OK && len == expected.len && memcmp(wrapped, expected.data, len) == 0;
    /* A token that refuses the number has answered; one that is in trouble has not. */
    if (rv == CKR_OK || mm_token_error_class(rv) == MM_TOKEN_FATAL)
        return MM_OK;
    return mm_token_fail(ei, rv, "C_WrapKey");
}

static int probe_with_keys(struct mm_token *t, const uint8_t key_value[MM_AES_256_BYTES],
                           CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE key, struct mm_errinfo *ei)
{
    uint8_t expected[MM_AES_256_BYTES + 8];
    int r = mm_soft_kwp_wrap(mm_known_kek, key_value, MM_AES_256_BYTES, expected, ei);

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(t->kwp_candidates); i++) {
        bool right = false;

        if (t->kwp_candidates[i] == 0)
            break;
        r = known_answer(t, t->kwp_candidates[i], kek, key,
                         (struct mm_bytes){expected, sizeof(expected)}, &right, ei);
        if (r == MM_OK && right) {
            t->mechanisms.aes_kwp = t->kwp_candidates[i];
            break;
        }
    }
    return r;
}

int mm_mechanisms_probe_kwp(struct mm_token *t, struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, key = CK_INVALID_HANDLE;
    int r;

    t->mechanisms.aes_kwp = 0;
    if (t->kwp_candidates[0] == 0)
        return MM_OK;
    r = mm_known_key_import(t, mm_known_kek, CKA_WRAP, &kek, ei);
    if (r == MM_OK)
        r = mm_known_key_import(t, mm_known_key, 0, &key, ei);
    if (r == MM_OK)
        r = probe_with_keys(t, mm_known_key, kek, key, ei);
    mm_object_drop(t, key);
    mm_object_drop(t, kek);
    /* Without a known key there is no known answer, and no trust in the number. */
    return r == MM_ERR_UNSUPPORTED ? MM_OK : r;
}

const struct mm_token_mechanisms *mm_token_mechanisms(const struct mm_token *t)
{
    return &t->mechanisms;
}
