/* SPDX-License-Identifier: Apache-2.0 */
/* What the keys that stay may and may not do: docs/keys.md as a table, for making and checking. */
#include "pkcs11/policy.h"

enum {
    CA = 1 << MM_USE_CA,
    TRANSPORT = 1 << MM_USE_TRANSPORT,
    SIGNING = 1 << MM_USE_SIGNING,
    EC = CA | SIGNING, /* pairs that sign and do nothing else */
};

static const char *const plurals[] = {
    [MM_USE_CA] = "CA keys",
    [MM_USE_TRANSPORT] = "transport keys",
    [MM_USE_SIGNING] = "signing keys",
};

static const struct rule {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
    bool value;
    enum {
        REQUIRED, /* and a token that does not know the attribute breaks the policy */
        REFUSED,  /* wrong when the token says otherwise; fine when it does not know it */
        WISHED,   /* set where the token lets us, and not checked */
    } rank;
    int uses;
} rules[] = {
    {CKA_TOKEN, "CKA_TOKEN", true, REQUIRED, EC | TRANSPORT},
    {CKA_PRIVATE, "CKA_PRIVATE", true, REQUIRED, EC | TRANSPORT},
    {CKA_SENSITIVE, "CKA_SENSITIVE", true, REQUIRED, EC | TRANSPORT},
    {CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", true, REQUIRED, EC | TRANSPORT},
    {CKA_LOCAL, "CKA_LOCAL", true, REQUIRED, EC | TRANSPORT},
    {CKA_EXTRACTABLE, "CKA_EXTRACTABLE", false, REQUIRED, EC},
    {CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", true, REQUIRED, EC},
    {CKA_SIGN, "CKA_SIGN", true, REQUIRED, EC},
    {CKA_SIGN, "CKA_SIGN", false, REFUSED, TRANSPORT},
    {CKA_WRAP, "CKA_WRAP", true, REQUIRED, TRANSPORT},
    {CKA_ENCRYPT, "CKA_ENCRYPT", false, REFUSED, TRANSPORT},
    {CKA_VERIFY, "CKA_VERIFY", false, REFUSED, TRANSPORT},
    {CKA_SIGN_RECOVER, "CKA_SIGN_RECOVER", false, REFUSED, EC},
    {CKA_DECRYPT, "CKA_DECRYPT", false, REFUSED, EC | TRANSPORT},
    {CKA_UNWRAP, "CKA_UNWRAP", false, REFUSED, EC | TRANSPORT},
    {CKA_DERIVE, "CKA_DERIVE", false, REFUSED, EC | TRANSPORT},
    {CKA_MODIFIABLE, "CKA_MODIFIABLE", false, WISHED, EC},
    {CKA_COPYABLE, "CKA_COPYABLE", false, WISHED, EC | TRANSPORT},
};

static int check_class(struct mm_token *t, CK_OBJECT_HANDLE key, enum mm_key_use use,
                       struct mm_errinfo *ei)
{
    const bool pair = use != MM_USE_TRANSPORT;
    const CK_OBJECT_CLASS want = pair ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
    const CK_KEY_TYPE want_type = pair ? CKK_EC : CKK_AES;
    CK_OBJECT_CLASS class = 0;
    CK_KEY_TYPE type = 0;
    CK_ULONG class_len, type_len;
    int r = mm_object_read(t, key, CKA_CLASS, &class, sizeof(class), &class_len, ei);

    if (r == MM_OK)
        r = mm_object_read(t, key, CKA_KEY_TYPE, &type, sizeof(type), &type_len, ei);
    if (r < 0)
        return r;
    if (class_len != sizeof(class) || type_len != sizeof(type) || class != want ||
        type != want_type)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_POLICY", "the key is not %s",
                       pair ? "an EC private key" : "an AES key");
    return MM_OK;
}

static int check_length(struct mm_token *t, CK_OBJECT_HANDLE key, struct mm_errinfo *ei)
{
    CK_ULONG bytes = 0, len;
    int r = mm_object_read(t, key, CKA_VALUE_LEN, &bytes, sizeof(bytes), &len, ei);

    if (r < 0)
        return r;
    if (len != sizeof(bytes) || bytes != MM_AES_256_BYTES)
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_POLICY", "the key is not AES-256");
    return MM_OK;
}

int mm_token_check_policy(struct mm_token *t, mm_handle key, enum mm_key_use use,
                          struct mm_errinfo *ei)
{
    int r = check_class(t, key, use, ei);

    if (r == MM_OK && use == MM_USE_TRANSPORT)
        r = check_length(t, key, ei);
    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(rules); i++) {
        int value = -1;

        if (!(rules[i].uses & 1 << use) || rules[i].rank == WISHED)
            continue;
        r = mm_object_read_bool(t, key, rules[i].type, &value, ei);
        if (r < 0)
            break;
        if (value == -1 ? rules[i].rank == REQUIRED : value != rules[i].value)
            return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_POLICY",
                           "the key breaks the policy of %s: %s is %s", plurals[use], rules[i].name,
                           value == -1  ? "unknown to the token"
                           : value == 1 ? "true"
                                        : "false");
    }
    return r;
}

CK_ULONG mm_policy_template(enum mm_key_use use, bool optional, CK_ATTRIBUTE *attrs, CK_ULONG max)
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static CK_MECHANISM_TYPE mechanism = CKM_ECDSA;
    CK_ULONG n = 0;

    for (size_t i = 0; i < MM_ARRAY_SIZE(rules) && n < max; i++) {
        const CK_ATTRIBUTE_TYPE type = rules[i].type;

        /* The token's own statements about a key's history cannot be set. */
        if (type == CKA_LOCAL || type == CKA_ALWAYS_SENSITIVE || type == CKA_NEVER_EXTRACTABLE)
            continue;
        if (!(rules[i].uses & 1 << use) || (rules[i].rank != REQUIRED && !optional))
            continue;
        attrs[n++] = rules[i].value ? MM_ATTR(type, yes) : MM_ATTR(type, no);
    }
    if (use != MM_USE_TRANSPORT && optional && n < max)
        attrs[n++] = MM_ATTR(CKA_ALLOWED_MECHANISMS, mechanism);
    return n;
}
