/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/service/provision.h"

#include "daemon/base/text.h"
#include "daemon/front/texts.h"
#include "daemon/front/validate.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_serials(const Mintmark__V1__ProvisionRequest *r, struct mm_errinfo *ei)
{
    MM_TEXTS_CLEANUP struct mm_texts *seen = NULL;
    int rc;

    if (r->n_hw_serials == 0)
        return MM_OK;
    if (r->n_hw_serials != r->count)
        return mm_fail_field(ei, "hw_serials", "%zu serial numbers for %u devices: none, or all",
                             r->n_hw_serials, r->count);
    rc = mm_texts_new(r->n_hw_serials, &seen);
    if (rc < 0)
        return mm_fail(ei, rc, "OUT_OF_MEMORY", "no memory for the serial numbers");
    for (size_t i = 0; i < r->n_hw_serials; i++) {
        rc = mm_check_hw_serial("hw_serials", r->hw_serials[i], ei);
        if (rc < 0)
            return rc;
        if (mm_texts_add(seen, r->hw_serials[i]) == MM_OK)
            continue;
        mm_fail(ei, MM_ERR_EXISTS, "DUPLICATE_HW_SERIAL", "serial number %s comes twice",
                r->hw_serials[i]);
        snprintf(ei->field, sizeof(ei->field), "hw_serials");
        return MM_ERR_EXISTS;
    }
    return MM_OK;
}

static int check(const Mintmark__V1__ProvisionRequest *r, struct mm_errinfo *ei)
{
    int rc = mm_check_uid("batch_uid", r->batch_uid, NULL, ei);

    if (rc == MM_OK)
        rc = mm_check_range("count", r->count, 1, MM_PROVISION_MAX, ei);
    if (rc == MM_OK)
        rc = mm_check_name("request_id", r->request_id, ei);
    return rc == MM_OK ? check_serials(r, ei) : rc;
}

/* Lengths before texts, so that no two lists of arguments look the same. */
static bool digest_text(EVP_MD_CTX *ctx, const char *text)
{
    const uint32_t len = (uint32_t)strlen(text);
    const uint8_t be[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                           (uint8_t)len};

    return EVP_DigestUpdate(ctx, be, sizeof(be)) == 1 && EVP_DigestUpdate(ctx, text, len) == 1;
}

/* SHA-256 over the arguments, but for the request_id that they are kept under. */
static int digest(const Mintmark__V1__ProvisionRequest *r, const char *batch_uid, uint8_t out[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    char count[16];
    bool ok;

    snprintf(count, sizeof(count), "%u", r->count);
    ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 && digest_text(ctx, batch_uid) &&
         digest_text(ctx, count);
    for (size_t i = 0; ok && i < r->n_hw_serials; i++)
        ok = digest_text(ctx, r->hw_serials[i]);
    ok = ok && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok ? MM_OK : MM_ERR_MEMORY;
}

/* All in one block: the pointers, then the texts. */
static int copy_serials(const Mintmark__V1__ProvisionRequest *r, char ***ret_serials)
{
    size_t size = r->n_hw_serials * sizeof(char *);
    char **serials;
    char *to;

    if (r->n_hw_serials == 0)
        return MM_OK;
    for (size_t i = 0; i < r->n_hw_serials; i++)
        size += strlen(r->hw_serials[i]) + 1;
    serials = malloc(size);
    if (!serials)
        return MM_ERR_MEMORY;
    to = (char *)(serials + r->n_hw_serials);
    for (size_t i = 0; i < r->n_hw_serials; i++) {
        const size_t len = strlen(r->hw_serials[i]) + 1;

        serials[i] = memcpy(to, r->hw_serials[i], len);
        to += len;
    }
    *ret_serials = serials;
    return MM_OK;
}

int mm_provision_args_take(const Mintmark__V1__ProvisionRequest *request,
                           struct mm_provision_args *ret_args, struct mm_errinfo *ei)
{
    struct mm_provision_args args = {.count = request->count};
    uint8_t uid[16];
    int r = check(request, ei);

    if (r < 0)
        return r;
    /* In its canonical form, whatever the case of its digits was. */
    r = mm_check_uid("batch_uid", request->batch_uid, uid, ei);
    if (r < 0)
        return r;
    mm_uuid_format(uid, args.batch_uid);
    snprintf(args.request_id, sizeof(args.request_id), "%s", request->request_id);
    if (digest(request, args.batch_uid, args.digest) < 0 ||
        copy_serials(request, &args.hw_serials) < 0)
        return mm_fail_memory(ei);
    *ret_args = args;
    return MM_OK;
}

/* How many there will be is not known, so that which RPC and which batch is all that there is. */
static int digest_enroll(const char *batch_uid, uint8_t out[32])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
                    digest_text(ctx, "Enroll") && digest_text(ctx, batch_uid) &&
                    EVP_DigestFinal_ex(ctx, out, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    return ok ? MM_OK : MM_ERR_MEMORY;
}

int mm_provision_args_enroll(const Mintmark__V1__EnrollRequest *request,
                             struct mm_provision_args *ret_args, struct mm_errinfo *ei)
{
    struct mm_provision_args args = {.count = 0};
    uint8_t uid[16];
    int r = mm_check_uid("batch_uid", request->batch_uid, uid, ei);

    if (r == MM_OK)
        r = mm_check_name("request_id", request->request_id, ei);
    if (r < 0)
        return r;
    mm_uuid_format(uid, args.batch_uid);
    snprintf(args.request_id, sizeof(args.request_id), "%s", request->request_id);
    if (digest_enroll(args.batch_uid, args.digest) < 0)
        return mm_fail_memory(ei);
    *ret_args = args;
    return MM_OK;
}

void mm_provision_args_done(struct mm_provision_args *args)
{
    free(args->hw_serials);
    args->hw_serials = NULL;
}

int mm_provision_args_drop(struct mm_provision_args *args, char *const *recorded, size_t n_recorded,
                           struct mm_errinfo *ei)
{
    MM_TEXTS_CLEANUP struct mm_texts *set = NULL;
    size_t left = 0;
    int r = mm_texts_new(n_recorded, &set);

    if (r < 0)
        return mm_fail(ei, r, "OUT_OF_MEMORY", "no memory for the serial numbers");
    for (size_t i = 0; i < n_recorded; i++)
        (void)mm_texts_add(set, recorded[i]);
    for (size_t i = 0; i < args->count; i++) {
        if (!mm_texts_has(set, args->hw_serials[i]))
            args->hw_serials[left++] = args->hw_serials[i];
    }
    if (left + n_recorded != args->count)
        return mm_fail(ei, MM_ERR_CORRUPT, "REQUEST_CORRUPT",
                       "the store has other serial numbers under this request");
    return MM_OK;
}
