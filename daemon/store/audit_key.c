/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/audit_key.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/document/detached.h"
#include "daemon/pki/pem.h"
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"
#include "proto/grpc/unpack.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define BLOCK "MINTMARK AUDIT KEY CHANGE"

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)
MM_DEFINE_CLEANUP(X509 *, X509_free)

/* ---- the file ---------------------------------------------------------------------------- */

void mm_audit_keys_free(struct mm_audit_keys *keys)
{
    while (keys) {
        struct mm_audit_keys *const next = keys->next;

        for (size_t i = 0; i < keys->n_changes; i++)
            mintmark__v1__audit_key_changed__free_unpacked(keys->changes[i], NULL);
        mm_trust_free(keys->trust);
        free(keys);
        keys = next;
    }
}

static int bad(struct mm_errinfo *ei, const char *why)
{
    return mm_fail(ei, MM_ERR_INVALID, "AUDIT_CHANGE_BAD", "the change of the audit key: %.180s",
                   why);
}

static int take_change(struct mm_audit_keys *keys, const uint8_t *data, size_t len,
                       struct mm_errinfo *ei)
{
    Mintmark__V1__AuditKeyChanged *change;
    struct mm_errinfo why;

    if (keys->n_changes == MM_AUDIT_CHANGES_MAX)
        return bad(ei, "there are too many in the file");
    if (mm_grpc_scan(&mintmark__v1__audit_key_changed__descriptor, data, len, NULL, &why) < 0)
        return bad(ei, "a block of the file holds none");
    change = mintmark__v1__audit_key_changed__unpack(NULL, len, data);
    if (!change)
        return mm_fail_memory(ei);
    keys->changes[keys->n_changes++] = change;
    return MM_OK;
}

static int take_changes(struct mm_audit_keys *keys, struct mm_bytes pem, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    char *name, *header;
    unsigned char *data;
    long len;
    int r = bio ? MM_OK : mm_fail_memory(ei);

    ERR_clear_error();
    while (r == MM_OK) {
        if (!PEM_read_bio(bio, &name, &header, &data, &len))
            return mm_pem_end(pem, "AUDIT_CHANGE_BAD", ei);
        if (strcmp(name, BLOCK) == 0)
            r = take_change(keys, data, (size_t)len, ei);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    return r;
}

static int hash_of(const X509 *certificate, uint8_t ret_hash[MM_SHA256_BYTES],
                   struct mm_errinfo *ei)
{
    return X509_digest(certificate, EVP_sha256(), ret_hash, NULL) == 1 ? MM_OK : mm_fail_memory(ei);
}

static X509 *own_certificate(const struct mm_audit_keys *keys)
{
    return sk_X509_value(mm_trust_certificates(keys->trust), 0);
}

int mm_audit_keys_new(struct mm_bytes pem, struct mm_audit_keys **ret_keys, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_audit_keys_free_p) struct mm_audit_keys *keys = calloc(1, sizeof(*keys));
    int r;

    if (!keys)
        return mm_fail_memory(ei);
    r = mm_trust_new(pem, &keys->trust, ei);
    if (r == MM_OK)
        r = mm_document_key_hash(own_certificate(keys), keys->key, ei);
    if (r == MM_OK)
        r = hash_of(own_certificate(keys), keys->certificate, ei);
    if (r == MM_OK)
        r = take_changes(keys, pem, ei);
    if (r < 0)
        return r;
    *ret_keys = MM_TAKE(keys);
    return MM_OK;
}

int mm_audit_keys_read(const char *path, struct mm_audit_keys **ret_keys, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_audit_keys_new((struct mm_bytes){pem.data, pem.len}, ret_keys, ei);
    return r < 0 ? mm_err_prefix(ei, "%.120s", path) : r;
}

/* ---- one change -------------------------------------------------------------------------- */

static bool is_hash(const ProtobufCBinaryData *a, const uint8_t b[MM_SHA256_BYTES])
{
    return a->len == MM_SHA256_BYTES && memcmp(a->data, b, MM_SHA256_BYTES) == 0;
}

/* What a change says, once it has been verified. */
struct change {
    uint64_t sequence; /* of the record that the anchor knew */
    uint8_t head[MM_SHA256_BYTES];
    uint8_t former[MM_SHA256_BYTES], key[MM_SHA256_BYTES]; /* hashes of the keys */
};

static int open_certificate(const ProtobufCBinaryData *der, const ProtobufCBinaryData *sha256,
                            X509 **ret_certificate, struct mm_errinfo *ei)
{
    MM_CLEANUP(X509_free_p) X509 *certificate = NULL;
    const unsigned char *at = der->data;
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    certificate = d2i_X509(NULL, &at, (long)der->len);
    ERR_clear_error();
    if (!certificate || at != der->data + der->len)
        return bad(ei, "it names no certificate");
    r = hash_of(certificate, hash, ei);
    if (r == MM_OK && !is_hash(sha256, hash))
        r = bad(ei, "the certificate in it is another than it says");
    if (r == MM_OK)
        *ret_certificate = MM_TAKE(certificate);
    return r;
}

/* The new key has signed the document as it stands. */
static int check_acceptance(const Mintmark__V1__AuditKeyChanged *c, X509 *certificate,
                            struct mm_errinfo *ei)
{
    const struct mm_bytes acceptance = {c->acceptance.data, c->acceptance.len};
    struct mm_errinfo why = {0};
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    if (EVP_Digest(c->document.data, c->document.len, hash, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    r = mm_detached_check_by(acceptance, certificate, hash, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    return r < 0 ? bad(ei, "the new key has not accepted it") : MM_OK;
}

static int check_content(struct mm_store *s, const struct mm_document *document,
                         const Mintmark__V1__AuditKeyChanged *c, struct change *ret_change,
                         struct mm_errinfo *ei)
{
    const Mintmark__V1__AuditKeyChange *said = document->content->audit_key_change;
    MM_CLEANUP(X509_free_p) X509 *certificate = NULL;
    int r;

    if (document->content->document_case !=
        MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_AUDIT_KEY_CHANGE)
        return bad(ei, "the document in it is another");
    if (said->ledger_id.len != sizeof(s->ledger.id) ||
        memcmp(said->ledger_id.data, s->ledger.id, sizeof(s->ledger.id)) != 0 ||
        said->head.len != MM_SHA256_BYTES)
        return bad(ei, "it is of another ledger");
    r = mm_document_key_hash(document->signer, ret_change->former, ei);
    if (r == MM_OK)
        r = open_certificate(&said->certificate, &c->certificate_sha256, &certificate, ei);
    if (r == MM_OK)
        r = mm_document_key_hash(certificate, ret_change->key, ei);
    if (r < 0)
        return r;
    if (!is_hash(&said->former_key_sha256, ret_change->former) ||
        !is_hash(&c->former_key_sha256, ret_change->former))
        return bad(ei, "the key that goes has not signed it");
    if (memcmp(ret_change->key, ret_change->former, MM_SHA256_BYTES) == 0)
        return bad(ei, "it changes nothing");
    ret_change->sequence = said->sequence;
    memcpy(ret_change->head, said->head.data, MM_SHA256_BYTES);
    return check_acceptance(c, certificate, ei);
}

static int verify(struct mm_store *s, const struct mm_audit_keys *keys,
                  const Mintmark__V1__AuditKeyChanged *c, struct change *ret_change,
                  struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    const struct mm_bytes der = {c->document.data, c->document.len};
    struct mm_errinfo why = {0};
    int r = mm_document_open(der, &arena, &document, &why);

    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return bad(ei, why.text);
    r = check_content(s, &document, c, ret_change, ei);
    if (r < 0)
        return r;
    r = mm_document_check_signer(&document, keys->trust,
                                 document.content->audit_key_change->time_ms, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    return r < 0 ? bad(ei, why.text) : MM_OK;
}

/* ---- from one key to another ------------------------------------------------------------- */

static const Mintmark__V1__AuditKeyChanged *change_from(const struct mm_audit_keys *keys,
                                                        const uint8_t key[MM_SHA256_BYTES])
{
    for (size_t i = 0; i < keys->n_changes; i++) {
        if (is_hash(&keys->changes[i]->former_key_sha256, key))
            return keys->changes[i];
    }
    return NULL;
}

static int check_date(const struct mm_audit_keys *keys, struct mm_errinfo *ei)
{
    const X509 *certificate = own_certificate(keys);
    time_t now = (time_t)(mm_clock_wall_ms() / 1000);

    if (X509_cmp_time(X509_get0_notAfter(certificate), &now) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "AUDIT_CERTIFICATE",
                       "the certificate of the new audit key has expired");
    if (X509_cmp_time(X509_get0_notBefore(certificate), &now) > 0)
        return mm_fail(ei, MM_ERR_INVALID, "AUDIT_CERTIFICATE",
                       "the certificate of the new audit key is not valid yet");
    return MM_OK;
}

/* The former key spoke for this certificate, and for no other of the same key, of whatever issuer.
 */
static int check_named(const struct mm_audit_keys *keys,
                       const Mintmark__V1__AuditKeyChanged *change, struct mm_errinfo *ei)
{
    if (is_hash(&change->certificate_sha256, keys->certificate))
        return check_date(keys, ei);
    return mm_fail(ei, MM_ERR_INVALID, "AUDIT_CERTIFICATE",
                   "the file's first certificate is not the one that the former audit key named");
}

/* The ledger is the one in which the former key signed. */
static int check_place(struct mm_store *s, const struct change *change, struct mm_errinfo *ei)
{
    uint8_t hash[MM_SHA256_BYTES];
    int r;

    if (change->sequence == 0 || change->sequence > s->ledger.now.sequence)
        return bad(ei, "the ledger has not the record that it was signed after");
    r = mm_ledger_hash_at(s, change->sequence, hash, ei);
    if (r == MM_OK && memcmp(hash, change->head, sizeof(hash)) != 0)
        r = bad(ei, "the ledger has another record in the place of the one that it was signed "
                    "after");
    return r;
}

static int append(struct mm_store *s, const Mintmark__V1__AuditKeyChanged *change,
                  struct mm_errinfo *ei)
{
    Mintmark__V1__AuditKeyChanged event = *change;
    Mintmark__V1__LedgerRecord record =
        MM_LEDGER_RECORD(AUDIT_KEY_CHANGED, audit_key_changed, &event);

    return mm_ledger_append(s, &record, ei);
}

int mm_audit_keys_lead(struct mm_store *s, const struct mm_audit_keys *keys,
                       const uint8_t from[MM_SHA256_BYTES], bool enter, struct mm_errinfo *ei)
{
    const Mintmark__V1__AuditKeyChanged *change = NULL;
    struct change said;
    uint8_t at[MM_SHA256_BYTES];
    int r = MM_OK;

    memcpy(at, from, sizeof(at));
    for (size_t i = 0; r == MM_OK && memcmp(at, keys->key, sizeof(at)) != 0; i++) {
        change = i < keys->n_changes ? change_from(keys, at) : NULL;
        if (!change)
            return mm_fail(ei, MM_ERR_PRECONDITION, "AUDIT_KEY_UNJUSTIFIED",
                           "the configuration names another audit key than the ledger has, and "
                           "its file no change that the ledger's key has signed");
        r = verify(s, keys, change, &said, ei);
        if (r == MM_OK)
            r = check_place(s, &said, ei);
        if (r == MM_OK && enter)
            r = append(s, change, ei);
        if (r == MM_OK)
            memcpy(at, said.key, sizeof(at));
    }
    return r < 0 || !change ? r : check_named(keys, change, ei);
}

int mm_audit_key_walk(struct mm_store *s, struct mm_ledger_walk *walk,
                      const Mintmark__V1__LedgerRecord *record, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    struct change said;
    int r;

    if (!s->guard.keys)
        return MM_OK;
    r = verify(s, s->guard.keys, record->audit_key_changed, &said, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return mm_ledger_edited(ei, record->sequence, why.text);
    if (said.sequence >= record->sequence ||
        (walk->key_known && memcmp(walk->key, said.former, sizeof(walk->key)) != 0))
        return mm_ledger_edited(ei, record->sequence,
                                "it takes the audit key from one that did not have it");
    memcpy(walk->key, said.key, sizeof(walk->key));
    walk->key_known = true;
    return MM_OK;
}

static int change(struct mm_store *s, const Mintmark__Internal__ChangeAuditKey *job,
                  struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_audit_keys_free_p) struct mm_audit_keys *keys = NULL;
    struct mm_guard *g = &s->guard;
    int r = mm_audit_keys_new((struct mm_bytes){job->pem.data, job->pem.len}, &keys, ei);

    if (r == MM_OK)
        r = mm_audit_keys_lead(s, keys, g->keys->key, true, ei);
    if (r == MM_OK)
        r = check_date(keys, ei);
    if (r < 0)
        return r;
    keys->next = s->audit_keys;
    s->audit_keys = keys;
    g->keys = MM_TAKE(keys);
    g->audit = g->keys->trust;
    return MM_OK;
}

int mm_store_change_audit_key(struct mm_store *s, const Mintmark__Internal__ChangeAuditKey *job,
                              Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei)
{
    int r;

    if (!s->guard.conf || s->guard.state != MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_OPEN)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_OPEN",
                       "the ledger is not one that may be anchored");
    r = mm_sql_verb_begin(s, ei);
    return r < 0 ? r : mm_guard_finish(s, change(s, job, ei), ret_guard, ei);
}
