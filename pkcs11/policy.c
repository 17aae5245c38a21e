/* SPDX-License-Identifier: Apache-2.0 */
/* What the keys that stay may and may not do: docs/keys.md as a table, for making and checking. */
#include "pkcs11/policy.h"

#include <stdio.h>

enum {
    CA = 1 << MM_USE_CA,
    TRANSPORT = 1 << MM_USE_TRANSPORT,
    SIGNING = 1 << MM_USE_SIGNING,
    DEVICE = 1 << MM_USE_DEVICE,
    ECDH = 1 << MM_USE_EXCHANGE,
    OAEP = 1 << MM_USE_EXCHANGE_RSA,
    IMPORTED = 1 << MM_USE_IMPORTED,
    BACKUP = 1 << MM_USE_CA_BACKUP,     /* a CA's key that may leave, under a trusted key only */
    RESTORED = 1 << MM_USE_CA_RESTORED, /* and what it is in the token it came to */
    CAS = BACKUP | RESTORED,
    EC = CA | SIGNING,      /* pairs that sign and do nothing else */
    OWN = EC | ECDH | OAEP, /* pairs that the token has made to stay */
    PAIR = OWN | IMPORTED | CAS,
};

static const char *const plurals[] = {
    [MM_USE_CA] = "CA keys",
    [MM_USE_TRANSPORT] = "transport keys",
    [MM_USE_SIGNING] = "signing keys",
    [MM_USE_DEVICE] = "retained device keys",
    [MM_USE_EXCHANGE] = "exchange keys",
    [MM_USE_EXCHANGE_RSA] = "RSA exchange keys",
    [MM_USE_IMPORTED] = "keys from packages",
    [MM_USE_CA_BACKUP] = "CA keys that are backed up",
    [MM_USE_CA_RESTORED] = "restored CA keys",
};

/* What an attribute is to be. */
enum expected { IS_FALSE, IS_TRUE, IS_AES_256, IS_ECDSA, IS_SIGNATURE, IS_ECDH, IS_OAEP, IS_ANY };

static const char *const expected_names[] = {
    [IS_FALSE] = "false",
    [IS_TRUE] = "true",
    [IS_AES_256] = "32",
    [IS_ANY] = "any",
    [IS_ECDSA] = "CKM_ECDSA alone",
    [IS_SIGNATURE] = "a signature mechanism alone",
    [IS_ECDH] = "CKM_ECDH1_DERIVE alone",
    [IS_OAEP] = "CKM_RSA_PKCS_OAEP alone",
};

/* What CKA_ALLOWED_MECHANISMS is to hold, one of them. */
static const struct {
    enum expected expected;
    CK_MECHANISM_TYPE type;
    const char *text;
} allowed[] = {
    {IS_ECDSA, CKM_ECDSA, "CKM_ECDSA alone"},
    {IS_SIGNATURE, CKM_ECDSA, "CKM_ECDSA alone"},
    {IS_SIGNATURE, CKM_EDDSA, "CKM_EDDSA alone"},
    {IS_SIGNATURE, MM_CKM_ML_DSA, "CKM_ML_DSA alone"},
    {IS_ECDH, CKM_ECDH1_DERIVE, "CKM_ECDH1_DERIVE alone"},
    {IS_OAEP, CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP alone"},
};

enum rank {
    REQUIRED, /* and a token that does not know the attribute breaks the policy */
    REFUSED,  /* wrong when the token says otherwise; fine when it does not know it */
    WISHED,   /* set where the token lets us, and not checked */
    MADE,     /* set when the key is made; may be otherwise later */
    SHOWN,    /* neither set nor judged: the audit says what it is */
};

static const char *const rank_names[] = {
    [REQUIRED] = "required", [REFUSED] = "refused", [WISHED] = "wished",
    [MADE] = "when made",    [SHOWN] = "shown",
};

static const struct rule {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
    enum expected expected;
    enum rank rank;
    int uses;
} rules[] = {
    {CKA_TOKEN, "CKA_TOKEN", IS_TRUE, REQUIRED, PAIR | TRANSPORT | DEVICE},
    {CKA_PRIVATE, "CKA_PRIVATE", IS_TRUE, REQUIRED, PAIR | TRANSPORT | DEVICE},
    {CKA_SENSITIVE, "CKA_SENSITIVE", IS_TRUE, REQUIRED, PAIR | TRANSPORT | DEVICE},
    {CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE", IS_TRUE, REQUIRED, OWN | BACKUP | TRANSPORT},
    {CKA_LOCAL, "CKA_LOCAL", IS_TRUE, REQUIRED, OWN | BACKUP | TRANSPORT | DEVICE},
    {CKA_LOCAL, "CKA_LOCAL", IS_ANY, SHOWN, RESTORED},
    {CKA_EXTRACTABLE, "CKA_EXTRACTABLE", IS_FALSE, REQUIRED, OWN | IMPORTED | RESTORED | DEVICE},
    {CKA_EXTRACTABLE, "CKA_EXTRACTABLE", IS_TRUE, MADE, BACKUP | TRANSPORT},
    {CKA_WRAP_WITH_TRUSTED, "CKA_WRAP_WITH_TRUSTED", IS_TRUE, REQUIRED, CAS},
    {CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE", IS_TRUE, REQUIRED, OWN},
    {CKA_SIGN, "CKA_SIGN", IS_TRUE, REQUIRED, EC | CAS | DEVICE | IMPORTED},
    {CKA_SIGN, "CKA_SIGN", IS_FALSE, REFUSED, TRANSPORT | ECDH | OAEP},
    {CKA_WRAP, "CKA_WRAP", IS_TRUE, REQUIRED, TRANSPORT},
    {CKA_ENCRYPT, "CKA_ENCRYPT", IS_FALSE, REFUSED, TRANSPORT},
    {CKA_VERIFY, "CKA_VERIFY", IS_FALSE, REFUSED, TRANSPORT},
    {CKA_SIGN_RECOVER, "CKA_SIGN_RECOVER", IS_FALSE, REFUSED, PAIR},
    {CKA_DECRYPT, "CKA_DECRYPT", IS_TRUE, REQUIRED, OAEP},
    {CKA_DECRYPT, "CKA_DECRYPT", IS_FALSE, REFUSED, EC | CAS | ECDH | IMPORTED | TRANSPORT},
    {CKA_UNWRAP, "CKA_UNWRAP", IS_FALSE, REFUSED, PAIR | TRANSPORT},
    {CKA_DERIVE, "CKA_DERIVE", IS_TRUE, REQUIRED, ECDH},
    {CKA_DERIVE, "CKA_DERIVE", IS_FALSE, REFUSED, EC | CAS | OAEP | IMPORTED | TRANSPORT | DEVICE},
    {CKA_VALUE_LEN, "CKA_VALUE_LEN", IS_AES_256, REQUIRED, TRANSPORT},
    /* Not IMPORTED, not RESTORED: SoftHSM lets nothing be set behind it in C_UnwrapKey's template.
     */
    {CKA_MODIFIABLE, "CKA_MODIFIABLE", IS_FALSE, WISHED, OWN | BACKUP},
    {CKA_COPYABLE, "CKA_COPYABLE", IS_FALSE, WISHED, PAIR | TRANSPORT},
    {CKA_ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS", IS_SIGNATURE, WISHED, EC},
    {CKA_ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS", IS_ECDSA, WISHED, CAS},
    {CKA_ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS", IS_ECDH, WISHED, ECDH},
    {CKA_ALLOWED_MECHANISMS, "CKA_ALLOWED_MECHANISMS", IS_OAEP, WISHED, OAEP},
    {CKA_WRAP_WITH_TRUSTED, "CKA_WRAP_WITH_TRUSTED", IS_ANY, SHOWN, EC | TRANSPORT},
    {CKA_TRUSTED, "CKA_TRUSTED", IS_ANY, SHOWN, TRANSPORT},
};

/* Keys that sign may be on any curve; but keys that travel are on those that tokens wrap. */
static bool is_type(enum mm_key_use use, CK_KEY_TYPE type)
{
    switch (use) {
    case MM_USE_CA:
    case MM_USE_DEVICE:
        return type == CKK_EC || type == CKK_EC_EDWARDS || type == MM_CKK_ML_DSA;
    case MM_USE_SIGNING:
        return type == CKK_EC || type == CKK_EC_EDWARDS;
    case MM_USE_TRANSPORT:
        return type == CKK_AES;
    case MM_USE_EXCHANGE_RSA:
        return type == CKK_RSA;
    case MM_USE_IMPORTED: /* EJBCA's clients have RSA keys, mostly */
        return type == CKK_EC || type == CKK_RSA;
    case MM_USE_EXCHANGE:
    case MM_USE_CA_BACKUP:
    case MM_USE_CA_RESTORED:
        break;
    }
    return type == CKK_EC;
}

static int check_class(struct mm_token *t, CK_OBJECT_HANDLE key, enum mm_key_use use,
                       struct mm_errinfo *ei)
{
    const bool pair = use != MM_USE_TRANSPORT;
    const CK_OBJECT_CLASS want = pair ? CKO_PRIVATE_KEY : CKO_SECRET_KEY;
    CK_OBJECT_CLASS class = 0;
    CK_KEY_TYPE type = 0;
    CK_ULONG class_len, type_len;
    int r = mm_object_read(t, key, CKA_CLASS, &class, sizeof(class), &class_len, ei);

    if (r == MM_OK)
        r = mm_object_read(t, key, CKA_KEY_TYPE, &type, sizeof(type), &type_len, ei);
    if (r < 0)
        return r;
    if (class_len != sizeof(class) || type_len != sizeof(type) || class != want ||
        !is_type(use, type))
        return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_POLICY", "the key is not %s",
                       !pair                        ? "an AES key"
                       : use == MM_USE_EXCHANGE_RSA ? "an RSA private key"
                       : use == MM_USE_IMPORTED     ? "an EC or RSA private key"
                                                    : "an EC private key");
    return MM_OK;
}

/* What the list's only member is called where it is one that the rule allows; else NULL. */
static const char *allowed_text(const struct rule *rule, CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(allowed); i++) {
        if (allowed[i].expected == rule->expected && allowed[i].type == type)
            return allowed[i].text;
    }
    return NULL;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* What the token says: as text, and whether that is what the rule expects. */
struct actual {
    bool known; /* the token knows the attribute of this key */
    bool as_expected;
    bool excused; /* a quirk of this make of tokens: nobody can say */
    char text[MM_POLICY_VALUE_MAX];
};

static int read_number(struct mm_token *t, CK_OBJECT_HANDLE key, const struct rule *rule,
                       struct actual *a, struct mm_errinfo *ei)
{
    CK_ULONG value = 0, len = 0;
    int r = mm_object_read(t, key, rule->type, &value, sizeof(value), &len, ei);

    if (r < 0)
        return r;
    a->known = len == sizeof(value);
    a->as_expected = a->known && value == MM_AES_256_BYTES;
    snprintf(a->text, sizeof(a->text), "%lu", value);
    return MM_OK;
}

/* An empty list is what a token gives that limits nothing. */
static int read_mechanisms(struct mm_token *t, CK_OBJECT_HANDLE key, const struct rule *rule,
                           struct actual *a, struct mm_errinfo *ei)
{
    CK_MECHANISM_TYPE list[64];
    const char *text;
    CK_ULONG len = 0;
    size_t n = 0, used = 0;
    int r = mm_object_read(t, key, rule->type, list, sizeof(list), &len, ei);

    if (r < 0)
        return r;
    a->known = len != CK_UNAVAILABLE_INFORMATION && len > 0;
    if (!a->known)
        return MM_OK;
    n = len / sizeof(list[0]);
    text = n == 1 ? allowed_text(rule, list[0]) : NULL;
    a->as_expected = text != NULL;
    for (size_t i = 0; i < n && used < sizeof(a->text); i++)
        used += (size_t)snprintf(a->text + used, sizeof(a->text) - used, "%s0x%04lx", i ? " " : "",
                                 list[i]);
    if (text)
        snprintf(a->text, sizeof(a->text), "%s", text);
    return MM_OK;
}

static int read_actual(struct mm_token *t, CK_OBJECT_HANDLE key, const struct rule *rule,
                       struct actual *ret_actual, struct mm_errinfo *ei)
{
    struct actual a = {0};
    int value = -1;
    int r;

    if (rule->expected == IS_AES_256)
        r = read_number(t, key, rule, &a, ei);
    else if (rule->type == CKA_ALLOWED_MECHANISMS)
        r = read_mechanisms(t, key, rule, &a, ei);
    else {
        r = mm_object_read_bool(t, key, rule->type, &value, ei);
        a.known = value != -1;
        a.as_expected =
            rule->expected == IS_ANY || (a.known && (value == 1) == (rule->expected == IS_TRUE));
        snprintf(a.text, sizeof(a.text), "%s", value == 1 ? "true" : "false");
    }
    if (r < 0)
        return r;
    a.excused = rule->type == CKA_LOCAL && !a.as_expected && mm_quirks_of(&t->info)->no_local;
    if (!a.known || a.excused)
        snprintf(a.text, sizeof(a.text), "unknown to the token");
    *ret_actual = a;
    return MM_OK;
}

static enum mm_policy_verdict judge(const struct rule *rule, const struct actual *a)
{
    if (rule->rank == SHOWN || rule->rank == MADE)
        return MM_POLICY_SHOWN;
    if (a->known ? a->as_expected : rule->rank == REFUSED)
        return MM_POLICY_GOOD;
    return rule->rank == WISHED || a->excused ? MM_POLICY_WISH : MM_POLICY_BROKEN;
}

/* ---- judging ----------------------------------------------------------------------------- */

int mm_token_check_policy(struct mm_token *t, mm_handle key, enum mm_key_use use,
                          struct mm_errinfo *ei)
{
    int r = check_class(t, key, use, ei);

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(rules); i++) {
        struct actual actual;

        if (!(rules[i].uses & 1 << use) || (rules[i].rank != REQUIRED && rules[i].rank != REFUSED))
            continue;
        r = read_actual(t, key, &rules[i], &actual, ei);
        if (r == MM_OK && judge(&rules[i], &actual) == MM_POLICY_BROKEN)
            return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_POLICY",
                           "the key breaks the policy of %s: %s is %s", plurals[use], rules[i].name,
                           actual.text);
    }
    return r;
}

int mm_token_audit_key(struct mm_token *t, mm_handle key, enum mm_key_use use,
                       int (*each)(void *arg, const struct mm_policy_line *line), void *arg,
                       struct mm_errinfo *ei)
{
    int r = check_class(t, key, use, ei);

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(rules); i++) {
        struct actual actual;

        if (!(rules[i].uses & 1 << use))
            continue;
        r = read_actual(t, key, &rules[i], &actual, ei);
        if (r < 0)
            break;
        const struct mm_policy_line line = {
            .attribute = rules[i].name,
            .expected = expected_names[rules[i].expected],
            .rank = rank_names[rules[i].rank],
            .actual = actual.text,
            .verdict = judge(&rules[i], &actual),
        };
        r = each(arg, &line);
    }
    return r;
}

int mm_token_policy(enum mm_key_use use, int (*each)(void *arg, const struct mm_policy_line *line),
                    void *arg)
{
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(rules); i++) {
        const struct mm_policy_line line = {.attribute = rules[i].name,
                                            .expected = expected_names[rules[i].expected],
                                            .rank = rank_names[rules[i].rank],
                                            .actual = ""};

        if (rules[i].uses & 1 << use)
            r = each(arg, &line);
    }
    return r;
}

/* ---- making ------------------------------------------------------------------------------ */

static CK_ATTRIBUTE attribute_of(const struct rule *rule, enum mm_curve curve)
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static CK_ULONG bytes = MM_AES_256_BYTES;
    static CK_MECHANISM_TYPE ecdh = CKM_ECDH1_DERIVE, oaep = CKM_RSA_PKCS_OAEP;
    const CK_MECHANISM_TYPE *sign = &mm_curve_get(curve)->sign;

    switch (rule->expected) {
    case IS_AES_256:
        return MM_ATTR(rule->type, bytes);
    case IS_ECDSA:
    case IS_SIGNATURE:
        return MM_ATTR_BYTES(rule->type, sign, sizeof(*sign));
    case IS_ECDH:
        return MM_ATTR(rule->type, ecdh);
    case IS_OAEP:
        return MM_ATTR(rule->type, oaep);
    case IS_TRUE:
        return MM_ATTR(rule->type, yes);
    case IS_FALSE:
    case IS_ANY: /* never asked for */
        break;
    }
    return MM_ATTR(rule->type, no);
}

CK_ULONG mm_policy_template(enum mm_key_use use, enum mm_curve curve, enum mm_policy_extent extent,
                            CK_ATTRIBUTE *attrs, CK_ULONG max)
{
    CK_ULONG n = 0;

    for (size_t i = 0; i < MM_ARRAY_SIZE(rules) && n < max; i++) {
        const CK_ATTRIBUTE_TYPE type = rules[i].type;
        const enum rank rank = rules[i].rank;

        /* The token's own statements about a key's history cannot be set. */
        if (type == CKA_LOCAL || type == CKA_ALWAYS_SENSITIVE || type == CKA_NEVER_EXTRACTABLE)
            continue;
        if (!(rules[i].uses & 1 << use) || rank == SHOWN)
            continue;
        if ((rank == REFUSED && extent < MM_TEMPLATE_CHECKED) ||
            (rank == WISHED && extent < MM_TEMPLATE_ALL))
            continue;
        attrs[n++] = attribute_of(&rules[i], curve);
    }
    return n;
}
