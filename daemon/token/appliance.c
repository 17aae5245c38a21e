/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/appliance.h"

#include "daemon/base/io.h"
#include "daemon/document/draft.h"
#include "daemon/pki/profile.h"
#include "mintmark/v1/ledger.pb-c.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

static const char *label_of(const struct mm_appliance *a, unsigned key)
{
    return key == MM_APPLIANCE_AUDIT ? a->audit_key : a->conf->identity_key;
}

static const char *file_of(const struct mm_appliance *a, unsigned key)
{
    return key == MM_APPLIANCE_AUDIT ? a->audit_certificate : a->conf->identity_certificate;
}

static int read_certificate(const char *path, X509 **ret_certificate, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(BIO_free_all_p) BIO *bio = NULL;
    X509 *certificate;
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (!certificate)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE", "%.160s: no PEM certificate",
                       path);
    *ret_certificate = certificate;
    return MM_OK;
}

static int find_key(struct mm_appliance *a, unsigned key, struct mm_errinfo *ei)
{
    char uri[MM_NAME_MAX + 32];
    int r;

    snprintf(uri, sizeof(uri), "pkcs11:object=%s", label_of(a, key));
    a->keys[key] = 0;
    r = mm_token_find(a->token, uri, MM_KEY_PRIVATE, &a->keys[key], ei);
    if (r == MM_ERR_NOT_FOUND)
        return mm_fail(ei, r, "APPLIANCE_KEY_MISSING",
                       "the token has no key '%s': mintmark-officer appliance init makes it",
                       label_of(a, key));
    return r;
}

int mm_appliance_find_keys(struct mm_appliance *a, struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (unsigned i = 0; r == MM_OK && i < MM_APPLIANCE_KEYS; i++)
        r = find_key(a, i, ei);
    return r;
}

static int check_key(struct mm_appliance *a, unsigned key, struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX];
    struct mm_bytes certified = {NULL, 0};
    enum mm_curve curve = MM_CURVE_P384;
    size_t len = 0;
    int r = mm_token_check_policy(a->token, a->keys[key], MM_USE_CA, ei);

    if (r == MM_OK)
        r = mm_token_public_point(a->token, a->keys[key], &curve, point, &len, ei);
    if (r == MM_OK)
        r = mm_pki_certificate_point(a->certificates[key], &certified, ei);
    if (r < 0)
        return r;
    if (curve != MM_CURVE_P256 || len != certified.len || memcmp(point, certified.data, len) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE",
                       "%.120s is not the certificate of key '%s', on P-256", file_of(a, key),
                       label_of(a, key));
    /* Whoever says which key signs must not get at a CA's by it. */
    if (X509_check_ca(a->certificates[key]) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE",
                       "%.120s is a CA's certificate; such a key signs nothing else",
                       file_of(a, key));
    return MM_OK;
}

static int open_key(struct mm_appliance *a, unsigned key, struct mm_errinfo *ei)
{
    int r = read_certificate(file_of(a, key), &a->certificates[key], ei);

    return r < 0 ? r : check_key(a, key, ei);
}

static int name_audit_key(struct mm_appliance *a, const char *key, const char *certificate,
                          struct mm_errinfo *ei)
{
    a->audit_key = strdup(key);
    a->audit_certificate = strdup(certificate);
    return a->audit_key && a->audit_certificate ? MM_OK : mm_fail_memory(ei);
}

int mm_appliance_open(const struct mm_conf_appliance *conf, struct mm_token *token,
                      struct mm_appliance **ret_appliance, struct mm_errinfo *ei)
{
    struct mm_appliance *a = calloc(1, sizeof(*a));
    int r;

    if (!a)
        return mm_fail_memory(ei);
    a->conf = conf;
    a->token = token;
    r = name_audit_key(a, conf->audit_key, conf->audit_certificate, ei);
    if (r == MM_OK)
        r = mm_appliance_find_keys(a, ei);
    for (unsigned i = 0; r == MM_OK && i < MM_APPLIANCE_KEYS; i++)
        r = open_key(a, i, ei);
    if (r < 0) {
        mm_appliance_free(a);
        return mm_err_prefix(ei, "appliance");
    }
    *ret_appliance = a;
    return MM_OK;
}

void mm_appliance_free(struct mm_appliance *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < MM_APPLIANCE_KEYS; i++)
        X509_free(a->certificates[i]);
    free(a->audit_key);
    free(a->audit_certificate);
    free(a);
}

void mm_appliance_room_done(struct mm_appliance_room *room)
{
    mm_buf_done(&room->document);
    mm_buf_done(&room->pem);
}

/* ---- another audit key ------------------------------------------------------------------- */

/* Opened beside the one in use. */
static int open_audit_key(const struct mm_appliance *a, const Mintmark__Internal__AuditKeyName *by,
                          struct mm_appliance **ret_other, struct mm_errinfo *ei)
{
    struct mm_appliance *other = calloc(1, sizeof(*other));
    int r;

    if (!other)
        return mm_fail_memory(ei);
    other->conf = a->conf;
    other->token = a->token;
    r = name_audit_key(other, by->key, by->certificate, ei);
    if (r == MM_OK)
        r = find_key(other, MM_APPLIANCE_AUDIT, ei);
    if (r == MM_OK)
        r = open_key(other, MM_APPLIANCE_AUDIT, ei);
    if (r < 0) {
        mm_appliance_free(other);
        return r;
    }
    *ret_other = other;
    return MM_OK;
}

/* A reload has named another audit key than this worker was started with, or a call goes on that
 * began before it. */
static int use_audit_key(struct mm_appliance *a, const Mintmark__Internal__AuditKeyName *by,
                         struct mm_errinfo *ei)
{
    struct mm_appliance *other = NULL;
    int r;

    if (!by ||
        (strcmp(by->key, a->audit_key) == 0 && strcmp(by->certificate, a->audit_certificate) == 0))
        return MM_OK;
    r = open_audit_key(a, by, &other, ei);
    if (r < 0)
        return r;
    free(a->audit_key);
    free(a->audit_certificate);
    X509_free(a->certificates[MM_APPLIANCE_AUDIT]);
    a->audit_key = MM_TAKE(other->audit_key);
    a->audit_certificate = MM_TAKE(other->audit_certificate);
    a->certificates[MM_APPLIANCE_AUDIT] = MM_TAKE(other->certificates[MM_APPLIANCE_AUDIT]);
    a->keys[MM_APPLIANCE_AUDIT] = other->keys[MM_APPLIANCE_AUDIT];
    mm_appliance_free(other);
    return MM_OK;
}

static int check_dates(const struct mm_appliance *a, struct mm_errinfo *ei)
{
    const X509 *certificate = a->certificates[MM_APPLIANCE_AUDIT];

    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE", "%.120s has expired",
                       a->audit_certificate);
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE", "%.120s is not valid yet",
                       a->audit_certificate);
    return MM_OK;
}

static int read_audit_key(const struct mm_appliance *a, const Mintmark__Internal__AuditKeyRead *job,
                          struct mm_appliance_room *room, struct mm_errinfo *ei)
{
    struct mm_appliance *other = NULL;
    int r;

    if (!job->name)
        return mm_fail_field(ei, "name", "the key is not named");
    r = open_audit_key(a, job->name, &other, ei);
    if (r == MM_OK)
        r = check_dates(other, ei);
    mm_appliance_free(other);
    if (r == MM_OK)
        r = mm_io_read_file(job->name->certificate, MM_PEM_FILE_MAX, &room->pem, ei);
    mintmark__internal__audit_key_found__init(&room->key);
    room->key.pem = (ProtobufCBinaryData){room->pem.len, room->pem.data};
    return r;
}

/* ---- is it the store's? ------------------------------------------------------------------ */

static struct mm_bytes bytes_of(const ProtobufCBinaryData *data)
{
    return (struct mm_bytes){data->data, data->len};
}

/* To be signed by the audit key in use: a proof for another key is none. */
static int check_proof(const struct mm_appliance *a, enum mm_seal_use use,
                       const struct mm_bytes *parts, size_t n, const ProtobufCBinaryData *proof,
                       struct mm_errinfo *ei)
{
    uint8_t signer[MM_DOCUMENT_HASH_BYTES];
    const struct mm_sealed what = {.use = use, .signer = signer, .parts = parts, .n_parts = n};
    int r = mm_document_key_hash(a->certificates[MM_APPLIANCE_AUDIT], signer, ei);

    return r < 0 ? r : mm_seal_check(a->seal, &what, bytes_of(proof), ei);
}

/* ---- signing ----------------------------------------------------------------------------- */

/* A token that signs wrongly must not make a checkpoint that only the next start finds bad. */
static int check_signature(const X509 *certificate, const uint8_t *digest, const uint8_t *signature,
                           size_t len, struct mm_errinfo *ei)
{
    struct mm_bytes point = {NULL, 0};
    struct mm_verifier *verifier = NULL;
    int r = mm_pki_certificate_point(certificate, &point, ei);

    if (r == MM_OK)
        r = mm_verifier_new(point.data, point.len, &verifier, ei);
    if (r == MM_OK)
        r = mm_verifier_check(verifier, digest, MM_DOCUMENT_HASH_BYTES, signature, len, ei);
    mm_verifier_free(verifier);
    return r;
}

static int finish(struct mm_appliance *a, unsigned key, struct mm_document_draft *draft,
                  const uint8_t digest[MM_DOCUMENT_HASH_BYTES], struct mm_buf *der,
                  struct mm_errinfo *ei)
{
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len = 0;
    int r =
        mm_token_sign(a->token, a->keys[key], digest, MM_DOCUMENT_HASH_BYTES, signature, &len, ei);

    if (r == MM_OK)
        r = check_signature(a->certificates[key], digest, signature, len, ei);
    if (r == MM_OK)
        r = mm_document_draft_finish(draft, signature, len, der, ei);
    return r;
}

int mm_appliance_sign(struct mm_appliance *a, unsigned key, struct mm_bytes content,
                      struct mm_buf *der, struct mm_errinfo *ei)
{
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {0};
    uint8_t digest[MM_DOCUMENT_HASH_BYTES];
    int r = mm_document_draft(a->certificates[key], content, &draft, digest, ei);

    return r < 0 ? r : finish(a, key, &draft, digest, der, ei);
}

static int sign_detached(struct mm_appliance *a, const ProtobufCBinaryData *sha256,
                         struct mm_buf *der, struct mm_errinfo *ei)
{
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {0};
    uint8_t digest[MM_DOCUMENT_HASH_BYTES];
    int r;

    if (sha256->len != MM_DOCUMENT_HASH_BYTES)
        return mm_fail_field(ei, "digest", "a SHA-256 has %d bytes", MM_DOCUMENT_HASH_BYTES);
    r = mm_document_draft_detached(a->certificates[MM_APPLIANCE_AUDIT], sha256->data, &draft,
                                   digest, ei);
    return r < 0 ? r : finish(a, MM_APPLIANCE_AUDIT, &draft, digest, der, ei);
}

static int sign_checked(struct mm_appliance *a, struct mm_verifier *verifier,
                        const ProtobufCBinaryData *digest,
                        uint8_t ret_signature[MM_APPLIANCE_SIGNATURE], struct mm_errinfo *ei)
{
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len = 0;
    int r;

    if (digest->len != MM_DOCUMENT_HASH_BYTES)
        return mm_fail_field(ei, "digests", "a SHA-256 has %d bytes", MM_DOCUMENT_HASH_BYTES);
    r = mm_token_sign(a->token, a->keys[MM_APPLIANCE_AUDIT], digest->data, digest->len, signature,
                      &len, ei);
    if (r == MM_OK)
        r = mm_verifier_check(verifier, digest->data, digest->len, signature, len, ei);
    if (r == MM_OK && len != MM_APPLIANCE_SIGNATURE)
        r = mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_ANSWER", "a signature on P-256 has 64 bytes");
    if (r == MM_OK)
        memcpy(ret_signature, signature, MM_APPLIANCE_SIGNATURE);
    return r;
}

static int check_digests(const struct mm_appliance *a, const Mintmark__Internal__SignDigests *job,
                         struct mm_errinfo *ei)
{
    struct mm_bytes digests[MM_CHUNK_DEVICES];

    for (size_t i = 0; i < job->n_digests; i++)
        digests[i] = bytes_of(&job->digests[i]);
    return check_proof(a, MM_SEAL_DIGESTS, digests, job->n_digests, &job->proof, ei);
}

int mm_appliance_sign_digests(struct mm_appliance *a, const Mintmark__Internal__SignDigests *job,
                              uint8_t ret_signatures[][MM_APPLIANCE_SIGNATURE],
                              struct mm_errinfo *ei)
{
    struct mm_bytes point = {NULL, 0};
    struct mm_verifier *verifier = NULL;
    int r;

    if (!a)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_APPLIANCE",
                       "the appliance's keys are not in this token");
    if (job->n_digests == 0 || job->n_digests > MM_CHUNK_DEVICES)
        return mm_fail_field(ei, "digests", "1 to %d digests are signed at once", MM_CHUNK_DEVICES);
    r = use_audit_key(a, job->by, ei);
    if (r == MM_OK)
        r = check_digests(a, job, ei);
    if (r == MM_OK)
        r = mm_pki_certificate_point(a->certificates[MM_APPLIANCE_AUDIT], &point, ei);
    if (r == MM_OK)
        r = mm_verifier_new(point.data, point.len, &verifier, ei);
    for (size_t i = 0; r == MM_OK && i < job->n_digests; i++)
        r = sign_checked(a, verifier, &job->digests[i], ret_signatures[i], ei);
    mm_verifier_free(verifier);
    return r;
}

/* An anchor that cannot stand is for the store to judge, as one that is missing. */
static int read_anchor(struct mm_appliance *a, struct mm_appliance_room *room,
                       struct mm_errinfo *ei)
{
    int r = mm_anchor_read(a->token, &room->anchor, &room->why);

    mintmark__internal__anchor_found__init(&room->found);
    if (r == MM_ERR_NOT_FOUND)
        return MM_OK;
    if (r == MM_ERR_CORRUPT && mm_token_failure_class(&room->why) == MM_TOKEN_OK) {
        room->found.reason = room->why.reason;
        room->found.text = room->why.text;
        return MM_OK;
    }
    if (r < 0) {
        *ei = room->why;
        return r;
    }
    room->found.anchor = (ProtobufCBinaryData){room->anchor.len, room->anchor.value};
    return MM_OK;
}

/* Starts are counted up for ever, an unlock included, and records within a start: so an anchor that
 * the store once made cannot come again. One in the token that is none is for the store to judge.
 */
static int may_follow(const void *before, size_t before_len, const void *value, size_t len,
                      struct mm_errinfo *ei)
{
    Mintmark__V1__Anchor *was = mintmark__v1__anchor__unpack(NULL, before_len, before);
    Mintmark__V1__Anchor *is = mintmark__v1__anchor__unpack(NULL, len, value);
    int r = MM_OK;

    if (was && is &&
        (is->epoch < was->epoch || (is->epoch == was->epoch && is->sequence < was->sequence)))
        r = mm_fail(ei, MM_ERR_PRECONDITION, "ANCHOR_OLDER",
                    "the token's anchor is of start %llu and record %llu, the new one of start "
                    "%llu and record %llu",
                    (unsigned long long)was->epoch, (unsigned long long)was->sequence,
                    (unsigned long long)is->epoch, (unsigned long long)is->sequence);
    if (was)
        mintmark__v1__anchor__free_unpacked(was, NULL);
    if (is)
        mintmark__v1__anchor__free_unpacked(is, NULL);
    return r;
}

static int write_anchor(struct mm_appliance *a, const Mintmark__Internal__AnchorWrite *job,
                        struct mm_errinfo *ei)
{
    const struct mm_bytes anchor = bytes_of(&job->anchor);
    const struct mm_sealed what = {.use = MM_SEAL_ANCHOR, .parts = &anchor, .n_parts = 1};
    int r = mm_seal_check(a->seal, &what, bytes_of(&job->proof), ei);

    return r < 0 ? r : mm_anchor_follow(a->token, anchor.data, anchor.len, may_follow, ei);
}

static int sign_document(struct mm_appliance *a, const Mintmark__Internal__SignDocument *job,
                         struct mm_appliance_room *room, struct mm_errinfo *ei)
{
    const struct mm_bytes content = bytes_of(&job->content), digest = bytes_of(&job->digest);
    int r = use_audit_key(a, job->by, ei);

    if (r == MM_OK)
        r = digest.len > 0 ? check_proof(a, MM_SEAL_DETACHED, &digest, 1, &job->proof, ei)
                           : check_proof(a, MM_SEAL_DOCUMENT, &content, 1, &job->proof, ei);
    if (r == MM_OK)
        r = digest.len > 0 ? sign_detached(a, &job->digest, &room->document, ei)
                           : mm_appliance_sign(a, MM_APPLIANCE_AUDIT, content, &room->document, ei);

    mintmark__internal__signed_content__init(&room->content);
    room->content.document = (ProtobufCBinaryData){room->document.len, room->document.data};
    return r;
}

int mm_appliance_job(struct mm_appliance *a, const Mintmark__Internal__TokenJob *job,
                     struct mm_appliance_room *room, Mintmark__Internal__TokenResult *result,
                     struct mm_errinfo *ei)
{
    if (!a)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_APPLIANCE",
                       "the appliance's keys are not in this token");
    switch (job->job_case) {
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_READ:
        result->result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ANCHOR_FOUND;
        result->anchor_found = &room->found;
        return read_anchor(a, room, ei);
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_WRITE:
        return write_anchor(a, job->anchor_write, ei);
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_AUDIT_KEY_READ:
        result->result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_AUDIT_KEY_FOUND;
        result->audit_key_found = &room->key;
        return read_audit_key(a, job->audit_key_read, room, ei);
    default:
        result->result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_CONTENT;
        result->signed_content = &room->content;
        return sign_document(a, job->sign_document, room, ei);
    }
}
