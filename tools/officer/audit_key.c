/* SPDX-License-Identifier: Apache-2.0 */
/* appliance audit-key: another audit key beside an identity that stays. The key that goes signs the
 * change, the key that comes accepts it; both signatures stand in the new certificate's file, from
 * which the store makes a record of the ledger (docs/ledger.md). */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/document/detached.h"
#include "daemon/document/draft.h"
#include "mintmark/v1/ledger.pb-c.h"
#include "pkcs11/anchor.h"
#include "tools/officer/appliance.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define BLOCK "MINTMARK AUDIT KEY CHANGE"

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

enum { URI_BYTES = MM_NAME_MAX + 32, ANCHOR_TRIES = 3 };

struct change {
    struct mm_duty duty;   /* the key that comes */
    X509 *certificate;     /* its certificate */
    struct mm_ca_key gone; /* the key that goes */
    X509 *gone_certificate;
    struct mm_buf former; /* the file of its certificate, as it is */
    struct mm_anchor anchor;
    Mintmark__V1__Anchor *known; /* the same, unpacked */
    struct mm_buf document, acceptance;
};

static void change_done(struct change *c)
{
    X509_free(c->certificate);
    X509_free(c->gone_certificate);
    mm_buf_done(&c->former);
    mm_buf_done(&c->document);
    mm_buf_done(&c->acceptance);
    if (c->known)
        mintmark__v1__anchor__free_unpacked(c->known, NULL);
}

/* ---- what is there already --------------------------------------------------------------- */

static int check_options(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    int r;

    if (!a->given) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_APPLIANCE",
                       "%s has no section appliance: it names the token, the keys and the files",
                       o->conf->path);
    }
    if (o->args.csr && o->args.certificate)
        return mm_officer_usage(o, ei, "--csr asks for a certificate, --certificate brings it");
    r = mm_officer_name(o, MM_OPT_label, o->args.label, ei);
    if (r < 0)
        return r;
    c->duty.name = "audit";
    c->duty.label = o->args.label;
    c->duty.certificate = o->args.out;
    if (o->args.csr)
        snprintf(c->duty.request, sizeof(c->duty.request), "%s", o->args.out);
    if (strcmp(o->args.label, a->audit_key) == 0)
        return mm_officer_usage(o, ei, "'%s' is the audit key of the configuration already",
                                a->audit_key);
    return mm_officer_absent(o->args.out, ei);
}

static int read_first(const char *path, struct mm_buf *pem, X509 **ret_certificate,
                      struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = NULL;
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, pem, ei);

    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    *ret_certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    ERR_clear_error();
    return *ret_certificate ? MM_OK
                            : mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE",
                                      "%.160s: no PEM certificate", path);
}

static int find_gone(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;
    char uri[URI_BYTES];
    int r = read_first(a->audit_certificate, &c->former, &c->gone_certificate, ei);

    if (r < 0)
        return r;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", a->audit_key);
    r = mm_ca_key_find(o, uri, &c->gone, ei);
    return r < 0 ? mm_err_prefix(ei, "the audit key that goes")
                 : mm_cert_require_key(c->gone_certificate, c->gone.point, c->gone.point_len,
                                       a->audit_key, ei);
}

/* Which ledger it is, and how far it is, as the token knows. */
static int find_ledger(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    int r = MM_ERR_UNAVAILABLE;

    /* While the site serves, the object may be exchanged for a newer one between a look and the
     * next. Few tries: where the token counts, each is a reading (MM_ANCHOR_COUNTER_SLACK). */
    for (int tries = 0; r < 0 && r != MM_ERR_NOT_FOUND && tries < ANCHOR_TRIES; tries++)
        r = mm_anchor_read(o->token, &c->anchor, ei);
    if (r == MM_ERR_NOT_FOUND)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NO_LEDGER",
                       "the token has no anchor: there is no ledger yet whose key could change");
    if (r < 0)
        return r;
    c->known = mintmark__v1__anchor__unpack(NULL, c->anchor.len, c->anchor.value);
    return c->known ? MM_OK
                    : mm_fail(ei, MM_ERR_CORRUPT, "ANCHOR_BAD", "the token's anchor is none");
}

/* ---- the key that comes ------------------------------------------------------------------ */

static int check_certificate(struct change *c, const char *path, struct mm_errinfo *ei)
{
    X509 *const cert = c->certificate;

    if (X509_check_ca(cert) != 0 || !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE",
                       "%.160s is a CA's, or not for signatures", path);
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0 ||
        X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        return mm_fail(ei, MM_ERR_INVALID, "APPLIANCE_CERTIFICATE", "%.160s is not in date", path);
    return mm_cert_require_key(cert, c->duty.key.point, c->duty.key.point_len, c->duty.label, ei);
}

/* A CA's certificate for a key that is there. */
static int bring_certificate(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    char uri[URI_BYTES];
    int r = read_first(o->args.certificate, &pem, &c->certificate, ei);

    if (r < 0)
        return r;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", c->duty.label);
    r = mm_ca_key_find(o, uri, &c->duty.key, ei);
    return r < 0 ? r : check_certificate(c, o->args.certificate, ei);
}

static int prepare(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    int r = check_options(o, c, ei);

    if (r == MM_OK)
        r = mm_officer_token(o, o->conf->appliance.token, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = find_gone(o, c, ei);
    if (r == MM_OK)
        r = find_ledger(o, c, ei);
    if (r < 0)
        return r;
    return o->args.certificate ? bring_certificate(o, c, ei)
                               : mm_duty_refuse_existing(o, &c->duty, ei);
}

/* ---- the change -------------------------------------------------------------------------- */

static int sign_draft(struct mm_officer *o, const struct mm_ca_key *key,
                      struct mm_document_draft *draft, const uint8_t *digest, struct mm_buf *der,
                      struct mm_errinfo *ei)
{
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len = 0;
    int r =
        mm_token_sign(o->token, key->handle, digest, MM_DOCUMENT_HASH_BYTES, signature, &len, ei);

    return r < 0 ? r : mm_document_draft_finish(draft, signature, len, der, ei);
}

static int sign_content(struct mm_officer *o, struct change *c, struct mm_bytes content,
                        struct mm_errinfo *ei)
{
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {0};
    MM_DOCUMENT_CLEANUP struct mm_document check = MM_DOCUMENT_INIT;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    uint8_t digest[MM_DOCUMENT_HASH_BYTES];
    int r = mm_document_draft(c->gone_certificate, content, &draft, digest, ei);

    if (r == MM_OK)
        r = sign_draft(o, &c->gone, &draft, digest, &c->document, ei);
    if (r == MM_OK)
        r = mm_document_open((struct mm_bytes){c->document.data, c->document.len}, &arena, &check,
                             ei);
    return r;
}

static int sign_document(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    Mintmark__V1__SignedDocument document = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__AuditKeyChange change = MINTMARK__V1__AUDIT_KEY_CHANGE__INIT;
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(MM_DOCUMENT_MAX);
    uint8_t former[MM_DOCUMENT_HASH_BYTES], *der = NULL, *room;
    const int len = i2d_X509(c->certificate, &der);
    int r = len > 0 ? mm_document_key_hash(c->gone_certificate, former, ei) : mm_fail_memory(ei);

    document.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_AUDIT_KEY_CHANGE;
    document.audit_key_change = &change;
    change.ledger_id = c->known->ledger_id;
    change.sequence = c->known->sequence;
    change.head = c->known->head;
    change.former_key_sha256 = (ProtobufCBinaryData){sizeof(former), former};
    change.certificate = (ProtobufCBinaryData){len > 0 ? (size_t)len : 0, der};
    change.time_ms = (int64_t)time(NULL) * 1000;
    room = r == MM_OK
               ? mm_buf_reserve(&packed, mintmark__v1__signed_document__get_packed_size(&document))
               : NULL;
    if (r == MM_OK && !room)
        r = mm_fail_memory(ei);
    if (r == MM_OK) {
        mm_buf_grew(&packed, mintmark__v1__signed_document__pack(&document, room));
        r = sign_content(o, c, (struct mm_bytes){packed.data, packed.len}, ei);
    }
    OPENSSL_free(der);
    return r;
}

static int sign_acceptance(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {0};
    uint8_t hash[MM_DOCUMENT_HASH_BYTES], digest[MM_DOCUMENT_HASH_BYTES];
    int r;

    if (EVP_Digest(c->document.data, c->document.len, hash, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    r = mm_document_draft_detached(c->certificate, hash, &draft, digest, ei);
    if (r == MM_OK)
        r = sign_draft(o, &c->duty.key, &draft, digest, &c->acceptance, ei);
    if (r == MM_OK)
        r = mm_detached_check_by((struct mm_bytes){c->acceptance.data, c->acceptance.len},
                                 c->certificate, hash, ei);
    return r;
}

/* ---- the file ---------------------------------------------------------------------------- */

static int append_block(const Mintmark__V1__AuditKeyChanged *changed, struct mm_buf *pem,
                        struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    uint8_t *room =
        mm_buf_reserve(&packed, mintmark__v1__audit_key_changed__get_packed_size(changed));
    char *text = NULL;
    long len;

    if (!room || !bio)
        return mm_fail_memory(ei);
    mm_buf_grew(&packed, mintmark__v1__audit_key_changed__pack(changed, room));
    if (PEM_write_bio(bio, BLOCK, "", packed.data, (long)packed.len) <= 0)
        return mm_fail_memory(ei);
    len = BIO_get_mem_data(bio, &text);
    mm_buf_append(pem, text, (size_t)len);
    return MM_OK;
}

static int describe(const struct change *c, uint8_t former[MM_DOCUMENT_HASH_BYTES],
                    uint8_t certificate[MM_DOCUMENT_HASH_BYTES],
                    Mintmark__V1__AuditKeyChanged *ret_changed, struct mm_errinfo *ei)
{
    int r = mm_document_key_hash(c->gone_certificate, former, ei);

    if (r == MM_OK && X509_digest(c->certificate, EVP_sha256(), certificate, NULL) != 1)
        r = mm_fail_memory(ei);
    mintmark__v1__audit_key_changed__init(ret_changed);
    ret_changed->former_key_sha256 = (ProtobufCBinaryData){MM_DOCUMENT_HASH_BYTES, former};
    ret_changed->certificate_sha256 = (ProtobufCBinaryData){MM_DOCUMENT_HASH_BYTES, certificate};
    ret_changed->document = (ProtobufCBinaryData){c->document.len, c->document.data};
    ret_changed->acceptance = (ProtobufCBinaryData){c->acceptance.len, c->acceptance.data};
    return r;
}

/* The new certificate, the change, and all that the former file had. */
static int write_file(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    uint8_t former[MM_DOCUMENT_HASH_BYTES], certificate[MM_DOCUMENT_HASH_BYTES];
    Mintmark__V1__AuditKeyChanged changed;
    int r = describe(c, former, certificate, &changed, ei);

    if (r == MM_OK)
        r = mm_cert_append_pem(c->certificate, &pem, ei);
    if (r == MM_OK)
        r = append_block(&changed, &pem, ei);
    mm_buf_append(&pem, c->former.data, c->former.len);
    if (r == MM_OK && mm_buf_err(&pem) < 0)
        r = mm_fail(ei, MM_ERR_TOO_BIG, "CHAIN_TOO_BIG",
                    "with all former certificates the file would have more than %d bytes",
                    MM_PEM_FILE_MAX);
    if (r == MM_OK)
        r = mm_io_create_file(o->args.out, 0644, pem.data, pem.len, ei);
    return r;
}

static int change(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    int r = c->certificate ? MM_OK : mm_duty_certify(o, &c->duty, &c->certificate, ei);

    if (r == MM_OK)
        r = sign_document(o, c, ei);
    if (r == MM_OK)
        r = sign_acceptance(o, c, ei);
    if (r == MM_OK)
        r = write_file(o, c, ei);
    if (r == MM_OK)
        r = mm_duty_record(o, &c->duty, c->certificate, ei);
    if (r == MM_OK)
        mm_ceremony_say(o, "change",
                        "signed by '%s' after record %llu of the ledger; set audit_key = '%s' and "
                        "audit_certificate = '%s', and reload",
                        o->conf->appliance.audit_key, (unsigned long long)c->known->sequence,
                        c->duty.label, o->args.out);
    return r;
}

static int run(struct mm_officer *o, struct change *c, struct mm_errinfo *ei)
{
    const char *const what = o->args.csr           ? "a request for its certificate"
                             : o->args.certificate ? "its certificate and the signed change"
                                                   : "a certificate and the signed change";
    int r = prepare(o, c, ei);

    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei,
                                "%s audit key '%s' in token '%s', to follow '%s', and write "
                                "%s to %s?",
                                o->args.certificate ? "Take" : "Make", c->duty.label,
                                o->conf_token->name, o->conf->appliance.audit_key, what,
                                o->args.out);
    if (r == MM_OK && !o->args.certificate)
        r = mm_duty_make_key(o, &c->duty, ei);
    if (r < 0)
        return r;
    return o->args.csr ? mm_duty_request(o, &c->duty, ei) : change(o, c, ei);
}

/* Everything that can be found wrong is found before the question. */
int mm_cmd_appliance_audit_key(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct change c = {.former = MM_BUF_INIT(MM_PEM_FILE_MAX),
                       .document = MM_BUF_INIT(MM_DOCUMENT_MAX),
                       .acceptance = MM_BUF_INIT(MM_DOCUMENT_MAX)};
    const int r = run(o, &c, ei);

    change_done(&c);
    return r;
}
