/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/trust.h"

#include "daemon/token/random.h"

#include <string.h>

enum { DRAWN = 64, PAIRS = 2 };

bool mm_trust_is_lost(const struct mm_errinfo *ei)
{
    static const char *const reasons[] = {"TOKEN_SIGNATURE_INVALID",  "TOKEN_POINT_INVALID",
                                          "TOKEN_KEY_REPEATED",       "TOKEN_RANDOM_FAULTY",
                                          "TOKEN_ATTRIBUTE_MISMATCH", "TOKEN_WRAP_INVALID",
                                          "TOKEN_ATTRIBUTE_INVALID"};

    for (size_t i = 0; ei->code == MM_ERR_CORRUPT && i < MM_ARRAY_SIZE(reasons); i++) {
        if (strcmp(ei->reason, reasons[i]) == 0)
            return true;
    }
    return false;
}

static int repeated(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_KEY_REPEATED",
                   "the token made a key that it had made before; it was kept back");
}

int mm_trust_new_key(struct mm_minter *m, const uint8_t spki_sha256[32], struct mm_errinfo *ei)
{
    const unsigned n = m->n_keys < MM_KEYS_REMEMBERED ? m->n_keys : MM_KEYS_REMEMBERED;

    for (unsigned i = 0; i < n; i++) {
        if (memcmp(m->remembered[i], spki_sha256, sizeof(m->remembered[i])) == 0)
            return repeated(ei);
    }
    memcpy(m->remembered[m->n_keys % MM_KEYS_REMEMBERED], spki_sha256, sizeof(m->remembered[0]));
    /* Wraps to a full memory, never to an empty one. */
    m->n_keys = m->n_keys == 2 * MM_KEYS_REMEMBERED - 1 ? MM_KEYS_REMEMBERED : m->n_keys + 1;
    return MM_OK;
}

/* ---- what is wrapped --------------------------------------------------------------------- */

/* PrivateKeyInfo (RFC 5208 section 5), version 0: what goes into the wrapping. */
static bool is_pkcs8(const uint8_t *data, size_t len)
{
    static const uint8_t inside[] = {0x02, 0x01, 0x00, 0x30};
    const size_t head = data[1] < 0x80 ? 2 : 2 + (size_t)(data[1] & 0x7f);

    return data[0] == 0x30 && head + sizeof(inside) <= len &&
           memcmp(data + head, inside, sizeof(inside)) == 0;
}

int mm_trust_wrapped(struct mm_minter *m, const uint8_t *wrapped, size_t len, struct mm_errinfo *ei)
{
    struct mm_errinfo ignored;
    const bool clear = is_pkcs8(wrapped, len);

    if (!clear && mm_random_check(&m->wrapped, wrapped, len, &ignored) == MM_OK)
        return MM_OK;
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_WRAP_INVALID",
                   clear ? "the token gave a private key away in place of wrapping it"
                         : "the token says that it wrapped a key, and did not");
}

/* ---- the proof --------------------------------------------------------------------------- */

static int draw(struct mm_minter *m, uint8_t out[DRAWN], struct mm_errinfo *ei)
{
    int r;

    memset(out, 0, DRAWN);
    r = mm_token_random(m->token, out, DRAWN, ei);
    return r < 0 ? r : mm_random_check(&m->drawn, out, DRAWN, ei);
}

/* Signs, and checks: with the verifier, or with the point where that is NULL. */
static int prove_key(struct mm_minter *m, mm_handle key, enum mm_curve curve,
                     struct mm_verifier *verifier, struct mm_bytes point, struct mm_errinfo *ei)
{
    const size_t len = mm_curve_digest_len(curve);
    uint8_t drawn[DRAWN], signature[MM_SIGNATURE_MAX];
    struct mm_check check = {.key = verifier,
                             .point = point,
                             .digest = {drawn, len > 0 ? len : DRAWN},
                             .signature = {signature, 0}};
    size_t bad;
    int r = draw(m, drawn, ei);

    if (r == MM_OK)
        r = len > 0 ? mm_token_sign(m->token, key, drawn, len, signature, &check.signature.len, ei)
                    : mm_token_sign_message(m->token, curve, key, check.digest, signature,
                                            &check.signature.len, ei);
    if (r == MM_OK)
        r = mm_checks_run(m->checks, &check, 1, &bad, ei);
    if (r == MM_ERR_CORRUPT && !mm_trust_is_lost(ei))
        r = mm_fail(ei, r, "TOKEN_SIGNATURE_INVALID",
                    "the token made a signature that does not verify");
    return r;
}

static int prove_pairs(struct mm_minter *m, enum mm_curve curve, struct mm_errinfo *ei)
{
    struct mm_keypair pairs[PAIRS] = {{.private_key = 0}, {.private_key = 0}};
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < PAIRS; i++) {
        r = mm_token_generate(m->token, curve, MM_DEVICE_WRAPPED, NULL, &pairs[i], ei);
        if (r == MM_OK)
            r = prove_key(m, pairs[i].private_key, curve, NULL,
                          (struct mm_bytes){pairs[i].point, pairs[i].point_len}, ei);
    }
    if (r == MM_OK && memcmp(pairs[0].point, pairs[1].point, pairs[0].point_len) == 0)
        r = repeated(ei);
    for (size_t i = 0; i < PAIRS; i++)
        mm_token_destroy(m->token, &pairs[i]);
    return r;
}

/* Does a profile have session pairs of that curve made here? */
static bool makes_pairs(const struct mm_minter *m, enum mm_curve curve)
{
    for (size_t i = 0; i < m->n_profiles; i++) {
        const struct mm_minting *p = &m->profiles[i];

        if (p->curve == curve && p->delivery == MM_DELIVERY_WRAPPED)
            return true;
    }
    return false;
}

int mm_trust_prove(struct mm_minter *m, struct mm_errinfo *ei)
{
    static const enum mm_curve curves[] = {MM_CURVE_P256, MM_CURVE_P384, MM_CURVE_ED25519};
    uint8_t drawn[DRAWN];
    int r = draw(m, drawn, ei);

    if (r == MM_OK)
        r = draw(m, drawn, ei);
    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(curves); i++) {
        if (makes_pairs(m, curves[i]))
            r = prove_pairs(m, curves[i], ei);
    }
    for (size_t i = 0; r == MM_OK && i < m->n_profiles; i++) {
        if (m->profiles[i].ca_key)
            r = prove_key(m, m->profiles[i].ca_key, m->profiles[i].ca_curve,
                          m->profiles[i].verifier, (struct mm_bytes){NULL, 0}, ei);
    }
    for (size_t i = 0; r == MM_OK && i < m->n_signings; i++)
        r = prove_key(m, m->signings[i].key, m->signings[i].curve, m->signings[i].verifier,
                      (struct mm_bytes){NULL, 0}, ei);
    return r < 0 ? mm_err_prefix(ei, "the token's proof") : MM_OK;
}
