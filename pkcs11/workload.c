/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/workload.h"

#include "pkcs11/internal.h"

#include <stdlib.h>

enum { DIGEST = 32 };

struct mm_workload {
    struct mm_token *t;
    enum mm_work work;
    struct mm_keypair signer; /* in a CA's place */
    CK_OBJECT_HANDLE kek;     /* in a transport key's place; none: the token does not wrap */
    uint8_t digest[DIGEST];
};

const char *mm_work_name(enum mm_work work)
{
    static const char *const names[] = {
        [MM_WORK_MINT] = "mint", [MM_WORK_SIGN] = "sign", [MM_WORK_GENERATE] = "generate"};

    return work < MM_WORK_COUNT ? names[work] : NULL;
}

static int make_kek(struct mm_workload *w, struct mm_errinfo *ei)
{
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG bytes = MM_AES_256_BYTES;
    CK_ATTRIBUTE attrs[] = {MM_ATTR(CKA_TOKEN, no),      MM_ATTR(CKA_PRIVATE, yes),
                            MM_ATTR(CKA_SENSITIVE, yes), MM_ATTR(CKA_EXTRACTABLE, no),
                            MM_ATTR(CKA_WRAP, yes),      MM_ATTR(CKA_VALUE_LEN, bytes)};
    CK_RV rv;

    if (w->work != MM_WORK_MINT || !w->t->mechanisms.aes_kwp || !w->t->mechanisms.aes_key_gen)
        return MM_OK;
    rv =
        MM_CK(w->t, C_GenerateKey(w->t->session, &mechanism, attrs, MM_ARRAY_SIZE(attrs), &w->kek));
    return rv == CKR_OK ? MM_OK : mm_token_fail(ei, rv, "C_GenerateKey");
}

static int make_keys(struct mm_workload *w, struct mm_errinfo *ei)
{
    int r = MM_OK;

    if (w->work != MM_WORK_GENERATE)
        r = mm_token_generate(w->t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &w->signer, ei);
    return r < 0 ? r : make_kek(w, ei);
}

int mm_workload_new(struct mm_token *t, enum mm_work work, struct mm_workload **ret_workload,
                    struct mm_errinfo *ei)
{
    struct mm_workload *w = calloc(1, sizeof(*w));
    int r;

    if (!w)
        return mm_fail_memory(ei);
    w->t = t;
    w->work = work;
    r = mm_token_random(t, w->digest, sizeof(w->digest), ei);
    if (r == MM_OK)
        r = make_keys(w, ei);
    if (r < 0) {
        mm_workload_free(w);
        return r;
    }
    *ret_workload = w;
    return MM_OK;
}

void mm_workload_free(struct mm_workload *w)
{
    if (!w)
        return;
    mm_object_drop(w->t, w->kek);
    mm_token_destroy(w->t, &w->signer);
    free(w);
}

bool mm_workload_wraps(const struct mm_workload *w)
{
    return w->kek != CK_INVALID_HANDLE;
}

static int sign(struct mm_workload *w, mm_handle key, struct mm_errinfo *ei)
{
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len;

    return mm_token_sign(w->t, key, w->digest, sizeof(w->digest), signature, &len, ei);
}

/* As reference and service have it: the device's own signature is that of its request. */
static int mint(struct mm_workload *w, struct mm_errinfo *ei)
{
    uint8_t wrapped[MM_WRAPPED_KEY_MAX];
    struct mm_keypair pair = {0};
    size_t len;
    int r = mm_token_generate(w->t, MM_CURVE_P256, MM_DEVICE_WRAPPED, NULL, &pair, ei);

    if (r == MM_OK && w->work == MM_WORK_MINT)
        r = sign(w, pair.private_key, ei);
    if (r == MM_OK && w->work == MM_WORK_MINT)
        r = sign(w, w->signer.private_key, ei);
    if (r == MM_OK && w->kek != CK_INVALID_HANDLE)
        r = mm_token_wrap(w->t, w->kek, pair.private_key, wrapped, &len, ei);
    mm_token_destroy(w->t, &pair);
    return r;
}

int mm_workload_step(struct mm_workload *w, struct mm_errinfo *ei)
{
    int r = w->work == MM_WORK_SIGN ? sign(w, w->signer.private_key, ei) : mint(w, ei);

    if (r < 0 || !mm_token_wants_renewal(w->t))
        return r;
    w->kek = CK_INVALID_HANDLE;
    w->signer = (struct mm_keypair){0};
    r = mm_token_renew(w->t, ei);
    return r < 0 ? r : make_keys(w, ei);
}
