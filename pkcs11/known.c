/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of known value as session objects: what known answers and check values are made with. */
#include "pkcs11/soft.h"

/* What a known key may do, and that it dies with the session. */
struct known_template {
    CK_OBJECT_CLASS class;
    CK_KEY_TYPE type;
    CK_BBOOL yes, no, wrap, unwrap;
    CK_ATTRIBUTE attrs[9];
};

static void known_template(struct known_template *k, const uint8_t *value, CK_ATTRIBUTE_TYPE right)
{
    *k = (struct known_template){.class = CKO_SECRET_KEY, .type = CKK_AES, .yes = CK_TRUE};
    k->wrap = right == CKA_WRAP;
    k->unwrap = right == CKA_UNWRAP;
    k->attrs[0] = MM_ATTR(CKA_CLASS, k->class);
    k->attrs[1] = MM_ATTR(CKA_KEY_TYPE, k->type);
    k->attrs[2] = MM_ATTR(CKA_TOKEN, k->no);
    k->attrs[3] = MM_ATTR(CKA_PRIVATE, k->yes);
    k->attrs[4] = MM_ATTR(CKA_EXTRACTABLE, k->yes);
    k->attrs[5] = MM_ATTR(CKA_WRAP, k->wrap);
    k->attrs[6] = MM_ATTR(CKA_UNWRAP, k->unwrap);
    k->attrs[7] = MM_ATTR(CKA_DECRYPT, k->no);
    k->attrs[8] = MM_ATTR_BYTES(CKA_VALUE, value, MM_AES_256_BYTES);
}

static int unsupported(struct mm_errinfo *ei, CK_RV rv)
{
    mm_fail(ei, MM_ERR_UNSUPPORTED, "TOKEN_IMPORT_REFUSED",
            "the token takes no session key from outside: %s", mm_token_rv_name(rv));
    if (ei)
        ei->detail = rv;
    return MM_ERR_UNSUPPORTED;
}

int mm_known_key_import(struct mm_token *t, const uint8_t value[MM_AES_256_BYTES],
                        CK_ATTRIBUTE_TYPE right, CK_OBJECT_HANDLE *ret_key, struct mm_errinfo *ei)
{
    struct known_template k;
    CK_RV rv;

    known_template(&k, value, right);
    rv = MM_CK(t, C_CreateObject(t->session, k.attrs, MM_ARRAY_SIZE(k.attrs), ret_key));
    if (rv == CKR_OK)
        return MM_OK;
    if (mm_token_error_class(rv) != MM_TOKEN_FATAL)
        return mm_token_fail(ei, rv, "C_CreateObject");
    return unsupported(ei, rv);
}
