/* SPDX-License-Identifier: Apache-2.0 */
/* The mechanisms that mintmark knows of, and what the token says of each. */
#include "pkcs11/crosscheck.h"

#include <string.h>

/* PKCS#11 v3.2, section 6.67: the signature scheme of FIPS 204. */
#define CKM_ML_DSA_KEY_PAIR_GEN_32 0x1cUL
#define CKM_ML_DSA_32              0x1dUL

static const struct {
    CK_MECHANISM_TYPE number;
    const char *name, *used_for;
} known[] = {
    {CKM_EC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN", "every key pair"},
    {CKM_ECDSA, "CKM_ECDSA", "every signature"},
    {CKM_AES_KEY_GEN, "CKM_AES_KEY_GEN", "transport keys"},
    {MM_CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD", "wrapped delivery, if it is RFC 5649"},
    {MM_CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP", "wrapped delivery"},
    {CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", "transport keys to RSA recipients"},
    {CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE", "transport keys to EC recipients"},
    {CKM_AES_CBC_ENCRYPT_DATA, "CKM_AES_CBC_ENCRYPT_DATA", "transport keys to EC recipients"},
    {CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP", ""},
    {CKM_ECDSA_SHA256, "CKM_ECDSA_SHA256", ""},
    {CKM_EC_EDWARDS_KEY_PAIR_GEN, "CKM_EC_EDWARDS_KEY_PAIR_GEN", "Ed25519 key pairs"},
    {CKM_EDDSA, "CKM_EDDSA", "Ed25519 signatures"},
    {MM_CKM_ML_DSA_KEY_PAIR_GEN, "CKM_ML_DSA_KEY_PAIR_GEN", "ML-DSA key pairs"},
    {MM_CKM_ML_DSA, "CKM_ML_DSA", "ML-DSA signatures"},
    {CKM_ML_DSA_KEY_PAIR_GEN_32, "CKM_ML_DSA_KEY_PAIR_GEN", ""},
    {CKM_ML_DSA_32, "CKM_ML_DSA", ""},
};

static const struct {
    CK_FLAGS flag;
    const char *name;
} flags[] = {
    {CKF_HW, "hw"},           {CKF_GENERATE, "generate"}, {CKF_GENERATE_KEY_PAIR, "generate-pair"},
    {CKF_SIGN, "sign"},       {CKF_VERIFY, "verify"},     {CKF_ENCRYPT, "encrypt"},
    {CKF_DECRYPT, "decrypt"}, {CKF_WRAP, "wrap"},         {CKF_UNWRAP, "unwrap"},
    {CKF_DERIVE, "derive"},
};

int mm_mechanism_listed(struct mm_token *t, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *ret_info,
                        bool *ret_listed, struct mm_errinfo *ei)
{
    CK_MECHANISM_INFO info = {0};
    const CK_RV rv = MM_CK(t, C_GetMechanismInfo(t->slot, type, &info));

    if (rv != CKR_OK && rv != CKR_MECHANISM_INVALID && rv != CKR_FUNCTION_NOT_SUPPORTED)
        return mm_token_fail(ei, rv, "C_GetMechanismInfo of 0x%lx", type);
    *ret_listed = rv == CKR_OK;
    if (ret_info)
        *ret_info = info;
    return MM_OK;
}

static void name_flags(CK_FLAGS set, char *text, size_t size)
{
    size_t n = 0;

    text[0] = 0;
    for (size_t i = 0; i < MM_ARRAY_SIZE(flags) && n < size; i++)
        if (set & flags[i].flag)
            n += (size_t)snprintf(text + n, size - n, "%s%s", n ? " " : "", flags[i].name);
}

int mm_token_mechanism_matrix(struct mm_token *t,
                              void (*each)(void *arg, const struct mm_mechanism_line *line),
                              void *arg, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(known); i++) {
        struct mm_mechanism_line line = {
            .name = known[i].name, .number = known[i].number, .used_for = known[i].used_for};
        CK_MECHANISM_INFO info;
        int r = mm_mechanism_listed(t, known[i].number, &info, &line.listed, ei);

        if (r < 0)
            return r;
        if (line.listed) {
            line.min_key = info.ulMinKeySize;
            line.max_key = info.ulMaxKeySize;
            name_flags(info.flags, line.flags, sizeof(line.flags));
        }
        each(arg, &line);
    }
    return MM_OK;
}
