/* SPDX-License-Identifier: Apache-2.0 */
/* The keys that stay: made once in a ceremony, listed, and described. */
#include "pkcs11/anchor.h"
#include "pkcs11/exchange.h"
#include "pkcs11/policy.h"
#include "pkcs11/soft.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

enum {
    KEY_ID_BYTES = 16,
    LABEL_MAX = 64, /* what struct mm_key_info shows, */
    ID_MAX = 64,    /* likewise */
    WALK_LOT = 64,
    TEMPLATE_MAX = MM_POLICY_ATTRS_MAX + 4,
};

/* ---- making ------------------------------------------------------------------------------ */

int mm_key_refuse_duplicate(struct mm_token *t, const char *label, struct mm_errinfo *ei)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_SECRET_KEY};

    if (!*label || strlen(label) > LABEL_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_LABEL_INVALID", "a key's label has 1 to %d bytes",
                       LABEL_MAX);
    for (size_t i = 0; i < MM_ARRAY_SIZE(classes); i++) {
        CK_OBJECT_CLASS class = classes[i];
        CK_BBOOL yes = CK_TRUE;
        CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_TOKEN, yes),
                                   MM_ATTR_BYTES(CKA_LABEL, label, strlen(label))};
        CK_OBJECT_HANDLE found;
        CK_ULONG n;
        int r = mm_object_find(t, template, MM_ARRAY_SIZE(template), &found, 1, &n, ei);

        if (r < 0)
            return r;
        if (n > 0)
            return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_OBJECT_EXISTS",
                           "the token has a key '%.64s' already", label);
    }
    return MM_OK;
}

/* What both kinds of keys are called by. */
static CK_ULONG add_names(CK_ATTRIBUTE *attrs, CK_ULONG n, const char *label,
                          const uint8_t id[KEY_ID_BYTES])
{
    attrs[n++] = MM_ATTR_BYTES(CKA_LABEL, label, strlen(label));
    attrs[n++] = MM_ATTR_BYTES(CKA_ID, id, KEY_ID_BYTES);
    return n;
}

bool mm_key_template_refused(const struct mm_token *t, CK_RV rv)
{
    return rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_VALUE_INVALID ||
           rv == CKR_TEMPLATE_INCONSISTENT || rv == CKR_ATTRIBUTE_READ_ONLY ||
           (rv != CKR_OK && rv == mm_quirks_of(&t->info)->template_refusal);
}

static CK_RV generate_pair(struct mm_token *t, enum mm_key_use use, const char *label,
                           const uint8_t id[KEY_ID_BYTES], const struct mm_curve_info *curve,
                           enum mm_policy_extent extent, struct mm_keypair *ret_pair)
{
    const bool rsa = use == MM_USE_EXCHANGE_RSA;
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, verifies = use == MM_USE_CA || use == MM_USE_SIGNING;
    CK_ULONG bits = MM_EXCHANGE_RSA_BITS;
    static const uint8_t f4[] = {1, 0, 1};
    CK_ATTRIBUTE public_key[8] = {MM_ATTR(CKA_TOKEN, yes), MM_ATTR(CKA_PRIVATE, no),
                                  MM_ATTR(CKA_VERIFY, verifies)};
    CK_ATTRIBUTE private_key[TEMPLATE_MAX];
    CK_ULONG n_public = add_names(public_key, 3, label, id);
    CK_ULONG n_private =
        mm_policy_template(use, curve->curve, extent, private_key, MM_POLICY_ATTRS_MAX);

    n_private = add_names(private_key, n_private, label, id);
    if (rsa) {
        public_key[n_public++] = MM_ATTR(CKA_MODULUS_BITS, bits);
        public_key[n_public++] = MM_ATTR_BYTES(CKA_PUBLIC_EXPONENT, f4, sizeof(f4));
        public_key[n_public++] = MM_ATTR(CKA_ENCRYPT, yes);
        return MM_CK(t,
                     C_GenerateKeyPair(t->session, &mechanism, public_key, n_public, private_key,
                                       n_private, &ret_pair->public_key, &ret_pair->private_key));
    }
    return mm_curve_generate(t, curve, public_key, n_public, private_key, n_private,
                             &ret_pair->public_key, &ret_pair->private_key);
}

static int create_pair(struct mm_token *t, enum mm_key_use use, const char *label,
                       enum mm_curve curve, mm_handle *ret_private, struct mm_errinfo *ei)
{
    const struct mm_curve_info *c = mm_curve_get(curve);
    struct mm_keypair pair = {0};
    uint8_t id[KEY_ID_BYTES];
    CK_RV rv;
    int r = mm_token_require_curve(t, curve, ei);

    if (r == MM_OK)
        r = mm_key_refuse_duplicate(t, label, ei);
    if (r == MM_OK)
        r = mm_token_random(t, id, sizeof(id), ei);
    if (r < 0)
        return r;
    rv = generate_pair(t, use, label, id, c, MM_TEMPLATE_ALL, &pair);
    if (mm_key_template_refused(t, rv))
        rv = generate_pair(t, use, label, id, c, MM_TEMPLATE_CHECKED, &pair);
    if (mm_key_template_refused(t, rv))
        rv = generate_pair(t, use, label, id, c, MM_TEMPLATE_LEAST, &pair);
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateKeyPair");
    r = mm_token_check_policy(t, pair.private_key, use, ei);
    if (r < 0) {
        mm_token_destroy(t, &pair);
        return r;
    }
    *ret_private = pair.private_key;
    return MM_OK;
}

int mm_token_create_ca_key(struct mm_token *t, const char *label, enum mm_curve curve,
                           mm_handle *ret_private, struct mm_errinfo *ei)
{
    return create_pair(t, MM_USE_CA, label, curve, ret_private, ei);
}

int mm_token_create_ca_backup_key(struct mm_token *t, const char *label, enum mm_curve curve,
                                  mm_handle *ret_private, struct mm_errinfo *ei)
{
    int r = mm_token_require_officer(t, ei);

    return r < 0 ? r : create_pair(t, MM_USE_CA_BACKUP, label, curve, ret_private, ei);
}

int mm_token_create_signing_key(struct mm_token *t, const char *label, enum mm_curve curve,
                                mm_handle *ret_private, struct mm_errinfo *ei)
{
    return create_pair(t, MM_USE_SIGNING, label, curve, ret_private, ei);
}

int mm_token_create_exchange_key(struct mm_token *t, const char *label, enum mm_key_use use,
                                 mm_handle *ret_private, struct mm_errinfo *ei)
{
    return create_pair(t, use, label, MM_CURVE_P256, ret_private, ei);
}

static CK_RV generate_transport(struct mm_token *t, const char *label,
                                const uint8_t id[KEY_ID_BYTES], enum mm_policy_extent extent,
                                CK_OBJECT_HANDLE *ret_key)
{
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_ATTRIBUTE attrs[TEMPLATE_MAX];
    CK_ULONG n =
        mm_policy_template(MM_USE_TRANSPORT, MM_CURVE_P256, extent, attrs, MM_POLICY_ATTRS_MAX);

    n = add_names(attrs, n, label, id);
    return MM_CK(t, C_GenerateKey(t->session, &mechanism, attrs, n, ret_key));
}

int mm_token_create_transport_key(struct mm_token *t, const char *label, mm_handle *ret_key,
                                  struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    uint8_t id[KEY_ID_BYTES];
    CK_RV rv;
    int r = mm_key_refuse_duplicate(t, label, ei);

    if (r == MM_OK)
        r = mm_token_random(t, id, sizeof(id), ei);
    if (r < 0)
        return r;
    rv = generate_transport(t, label, id, MM_TEMPLATE_ALL, &key);
    if (mm_key_template_refused(t, rv))
        rv = generate_transport(t, label, id, MM_TEMPLATE_CHECKED, &key);
    if (mm_key_template_refused(t, rv))
        rv = generate_transport(t, label, id, MM_TEMPLATE_LEAST, &key);
    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_GenerateKey");
    r = mm_token_check_policy(t, key, MM_USE_TRANSPORT, ei);
    if (r < 0) {
        mm_object_drop(t, key);
        return r;
    }
    *ret_key = key;
    return MM_OK;
}

int mm_token_check_value(struct mm_token *t, mm_handle key, uint8_t ret_value[8],
                         struct mm_errinfo *ei)
{
    CK_OBJECT_HANDLE known = CK_INVALID_HANDLE;
    uint8_t wrapped[MM_WRAPPED_KEY_MAX], digest[SHA256_DIGEST_LENGTH];
    size_t len;
    int r = mm_known_key_import(t, mm_known_key, 0, &known, ei);

    if (r < 0)
        return r;
    r = mm_token_wrap(t, key, known, wrapped, &len, ei);
    mm_object_drop(t, known);
    if (r < 0)
        return r;
    SHA256(wrapped, len, digest);
    memcpy(ret_value, digest, 8);
    return MM_OK;
}

/* ---- describing -------------------------------------------------------------------------- */

static int read_label(struct mm_token *t, CK_OBJECT_HANDLE object, char ret_label[LABEL_MAX + 1],
                      struct mm_errinfo *ei)
{
    CK_ULONG len;
    int r = mm_object_read(t, object, CKA_LABEL, ret_label, LABEL_MAX, &len, ei);

    if (r == MM_OK)
        ret_label[len == CK_UNAVAILABLE_INFORMATION ? 0 : len] = 0;
    return r;
}

static int read_id(struct mm_token *t, CK_OBJECT_HANDLE object, uint8_t ret_id[ID_MAX],
                   size_t *ret_len, struct mm_errinfo *ei)
{
    CK_ULONG len;
    int r = mm_object_read(t, object, CKA_ID, ret_id, ID_MAX, &len, ei);

    if (r == MM_OK)
        *ret_len = len == CK_UNAVAILABLE_INFORMATION ? 0 : len;
    return r;
}

static int read_ec_type(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = NULL;
    uint8_t params[256];
    CK_ULONG len;
    int r = mm_object_read(t, info->handle, CKA_EC_PARAMS, params, sizeof(params), &len, ei);

    if (r < 0)
        return r;
    if (len != CK_UNAVAILABLE_INFORMATION)
        curve = mm_curve_by_params(params, len);
    if (curve && curve->curve == MM_CURVE_ED25519)
        snprintf(info->type, sizeof(info->type), "%s", curve->name);
    else
        snprintf(info->type, sizeof(info->type), "EC %s", curve ? curve->name : "other");
    return MM_OK;
}

static int read_ml_dsa_type(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve;
    CK_ULONG set = 0, len;
    int r = mm_object_read(t, info->handle, MM_CKA_PARAMETER_SET, &set, sizeof(set), &len, ei);

    if (r < 0)
        return r;
    curve = mm_curve_by_set(len == sizeof(set) ? set : 0);
    snprintf(info->type, sizeof(info->type), "%s", curve ? curve->name : "ML-DSA");
    return MM_OK;
}

static int read_rsa_type(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    uint8_t modulus[2048];
    CK_ULONG len;
    int r = mm_object_read(t, info->handle, CKA_MODULUS, modulus, sizeof(modulus), &len, ei);

    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION)
        snprintf(info->type, sizeof(info->type), "RSA");
    else
        snprintf(info->type, sizeof(info->type), "RSA-%lu", len * 8);
    return MM_OK;
}

static int read_aes_type(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    CK_ULONG bytes = 0, len;
    int r = mm_object_read(t, info->handle, CKA_VALUE_LEN, &bytes, sizeof(bytes), &len, ei);

    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION)
        snprintf(info->type, sizeof(info->type), "AES");
    else
        snprintf(info->type, sizeof(info->type), "AES-%lu", bytes * 8);
    return MM_OK;
}

static int read_type(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    CK_KEY_TYPE type = 0;
    CK_ULONG len;
    int r = mm_object_read(t, info->handle, CKA_KEY_TYPE, &type, sizeof(type), &len, ei);

    if (r < 0)
        return r;
    if (type == CKK_EC || type == CKK_EC_EDWARDS)
        return read_ec_type(t, info, ei);
    if (type == MM_CKK_ML_DSA)
        return read_ml_dsa_type(t, info, ei);
    if (type == CKK_RSA)
        return read_rsa_type(t, info, ei);
    if (type == CKK_AES)
        return read_aes_type(t, info, ei);
    snprintf(info->type, sizeof(info->type), "other");
    return MM_OK;
}

static int read_flags(struct mm_token *t, struct mm_key_info *info, struct mm_errinfo *ei)
{
    const struct {
        CK_ATTRIBUTE_TYPE type;
        bool *flag;
    } flags[] = {
        {CKA_SENSITIVE, &info->sensitive},
        {CKA_ALWAYS_SENSITIVE, &info->always_sensitive},
        {CKA_EXTRACTABLE, &info->extractable},
        {CKA_NEVER_EXTRACTABLE, &info->never_extractable},
        {CKA_LOCAL, &info->local},
        {CKA_SIGN, &info->sign},
        {CKA_WRAP, &info->wrap},
        {CKA_DERIVE, &info->derive},
        {CKA_DECRYPT, &info->decrypt},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(flags); i++) {
        int value = -1;
        int r = mm_object_read_bool(t, info->handle, flags[i].type, &value, ei);

        if (r < 0)
            return r;
        *flags[i].flag = value == 1;
    }
    info->local_unknown = !info->local && mm_quirks_of(&t->info)->no_local;
    return MM_OK;
}

int mm_token_key_info(struct mm_token *t, mm_handle key, struct mm_key_info *ret_info,
                      struct mm_errinfo *ei)
{
    struct mm_key_info info = {.handle = key};
    CK_OBJECT_CLASS class = 0;
    CK_ULONG len;
    int r = mm_object_read(t, key, CKA_CLASS, &class, sizeof(class), &len, ei);

    if (r < 0)
        return r;
    if (class == CKO_PRIVATE_KEY)
        info.class = MM_KEY_PRIVATE;
    else if (class == CKO_PUBLIC_KEY)
        info.class = MM_KEY_PUBLIC;
    else if (class == CKO_SECRET_KEY)
        info.class = MM_KEY_SECRET;
    else
        return mm_fail(ei, MM_ERR_INVALID, "TOKEN_OBJECT_NO_KEY", "the object is no key");
    r = read_label(t, key, info.label, ei);
    if (r == MM_OK)
        r = read_id(t, key, info.id, &info.id_len, ei);
    if (r == MM_OK)
        r = read_type(t, &info, ei);
    if (r == MM_OK)
        r = read_flags(t, &info, ei);
    if (r < 0)
        return r;
    *ret_info = info;
    return MM_OK;
}

/* All handles first: `each` may use the token, and a session has one search at a time. */
static int collect(struct mm_token *t, CK_OBJECT_CLASS class, struct mm_buf *handles,
                   struct mm_errinfo *ei)
{
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR(CKA_TOKEN, yes)};
    CK_RV rv = MM_CK(t, C_FindObjectsInit(t->session, template, MM_ARRAY_SIZE(template)));
    CK_ULONG n;

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_FindObjectsInit");
    do {
        CK_OBJECT_HANDLE lot[WALK_LOT];

        n = 0;
        rv = MM_CK(t, C_FindObjects(t->session, lot, WALK_LOT, &n));
        if (rv == CKR_OK && n <= WALK_LOT)
            mm_buf_append(handles, lot, n * sizeof(lot[0]));
    } while (rv == CKR_OK && n > 0 && !mm_buf_err(handles));
    const CK_RV ended = MM_CK(t, C_FindObjectsFinal(t->session));

    if (rv != CKR_OK)
        return mm_token_fail(ei, rv, "C_FindObjects");
    if (ended != CKR_OK)
        return mm_token_fail(ei, ended, "C_FindObjectsFinal");
    if (mm_buf_err(handles))
        return mm_fail(ei, handles->err, "TOKEN_TOO_MANY_KEYS",
                       "more than %d keys in the token, or no memory for them", MM_TOKEN_KEYS_MAX);
    return MM_OK;
}

int mm_token_list(struct mm_token *t, int (*each)(void *arg, const struct mm_key_info *key),
                  void *arg, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf handles =
        MM_BUF_INIT(MM_TOKEN_KEYS_MAX * sizeof(CK_OBJECT_HANDLE));
    int r = collect(t, CKO_PRIVATE_KEY, &handles, ei);

    if (r == MM_OK)
        r = collect(t, CKO_SECRET_KEY, &handles, ei);
    for (size_t at = 0; r == MM_OK && at < handles.len; at += sizeof(CK_OBJECT_HANDLE)) {
        CK_OBJECT_HANDLE handle;
        struct mm_key_info info;

        memcpy(&handle, handles.data + at, sizeof(handle));
        if (mm_anchor_is(t, handle))
            continue;
        r = mm_token_key_info(t, handle, &info, ei);
        if (r == MM_OK)
            r = each(arg, &info);
    }
    return r;
}

int mm_token_list_others(struct mm_token *t,
                         int (*each)(void *arg, const struct mm_object_info *object), void *arg,
                         struct mm_errinfo *ei)
{
    static const struct {
        CK_OBJECT_CLASS class;
        const char *kind;
    } kinds[] = {
        {CKO_PUBLIC_KEY, "public key"}, {CKO_CERTIFICATE, "certificate"}, {CKO_DATA, "data"}};
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(kinds); i++) {
        MM_BUF_CLEANUP struct mm_buf handles =
            MM_BUF_INIT(MM_TOKEN_KEYS_MAX * sizeof(CK_OBJECT_HANDLE));

        r = collect(t, kinds[i].class, &handles, ei);
        for (size_t at = 0; r == MM_OK && at < handles.len; at += sizeof(CK_OBJECT_HANDLE)) {
            CK_OBJECT_HANDLE handle;
            struct mm_object_info info = {.kind = kinds[i].kind};

            memcpy(&handle, handles.data + at, sizeof(handle));
            r = read_label(t, handle, info.label, ei);
            /* Data objects have no CKA_ID (PKCS#11 v2.40 section 4.5.2), and some tokens say so
             * loudly. */
            if (r == MM_OK && kinds[i].class != CKO_DATA)
                r = read_id(t, handle, info.id, &info.id_len, ei);
            if (r == MM_OK)
                r = each(arg, &info);
        }
    }
    return r;
}

int mm_token_public_half(struct mm_token *t, mm_handle private_key, mm_handle *ret_public,
                         struct mm_errinfo *ei)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ULONG id_len, n = 0;
    uint8_t id[64];
    int r = mm_object_read(t, private_key, CKA_ID, id, sizeof(id), &id_len, ei);

    if (r < 0)
        return r;
    if (id_len == CK_UNAVAILABLE_INFORMATION || id_len == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_OBJECT_NOT_FOUND",
                       "the private key has no CKA_ID to find its public key by");
    CK_ATTRIBUTE template[] = {MM_ATTR(CKA_CLASS, class), MM_ATTR_BYTES(CKA_ID, id, id_len)};

    r = mm_object_find(t, template, MM_ARRAY_SIZE(template), ret_public, 1, &n, ei);
    if (r < 0)
        return r;
    if (n == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "TOKEN_OBJECT_NOT_FOUND",
                       "the token has no public key of the private key's CKA_ID");
    return MM_OK;
}

/* What a public key is of: the parameter set of ML-DSA's, or else what CKA_EC_PARAMS name. */
static int read_curve(struct mm_token *t, CK_OBJECT_HANDLE key,
                      const struct mm_curve_info **ret_curve, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = NULL;
    CK_KEY_TYPE type = 0;
    CK_ULONG len, set = 0;
    uint8_t params[256];
    int r = mm_object_read(t, key, CKA_KEY_TYPE, &type, sizeof(type), &len, ei);

    if (r == MM_OK && type == MM_CKK_ML_DSA)
        r = mm_object_read(t, key, MM_CKA_PARAMETER_SET, &set, sizeof(set), &len, ei);
    else if (r == MM_OK)
        r = mm_object_read(t, key, CKA_EC_PARAMS, params, sizeof(params), &len, ei);
    if (r < 0)
        return r;
    if (len != CK_UNAVAILABLE_INFORMATION)
        curve = type == MM_CKK_ML_DSA ? mm_curve_by_set(set) : mm_curve_by_params(params, len);
    if (!curve)
        return mm_fail(
            ei, MM_ERR_UNSUPPORTED, "TOKEN_CURVE_UNSUPPORTED",
            "the key is of no kind that mintmark uses: by its CKA_EC_PARAMS neither P-256 "
            "nor P-384 nor Ed25519, nor ML-DSA");
    *ret_curve = curve;
    return MM_OK;
}

int mm_token_public_point(struct mm_token *t, mm_handle private_key, enum mm_curve *ret_curve,
                          uint8_t point[MM_POINT_MAX], size_t *ret_len, struct mm_errinfo *ei)
{
    const struct mm_curve_info *curve = mm_curve_get(MM_CURVE_P256);
    CK_OBJECT_HANDLE public_key;
    uint8_t value[MM_EC_POINT_ATTR_MAX];
    CK_ULONG len;
    int r = mm_token_public_half(t, private_key, &public_key, ei);

    if (r == MM_OK)
        r = read_curve(t, public_key, &curve, ei);
    if (r < 0)
        return r;
    r = mm_object_read(t, public_key, mm_point_attr(curve), value, sizeof(value), &len, ei);
    if (r < 0)
        return r;
    if (len == CK_UNAVAILABLE_INFORMATION)
        len = 0;
    r = mm_point_decode(value, len, curve, point, ret_len, ei);
    if (r == MM_OK)
        *ret_curve = curve->curve;
    return r;
}
