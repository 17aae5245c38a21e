/* SPDX-License-Identifier: Apache-2.0 */
/* What the objects of a manifest say, before they are signed: docs/manifest.md. */
#include "daemon/base/json.h"
#include "daemon/document/document.h"
#include "daemon/pki/der.h"
#include "daemon/pki/issued.h"
#include "daemon/store/audit_key.h"
#include "daemon/store/chains.h"
#include "daemon/store/message.h"
#include "daemon/store/report.h"
#include "daemon/store/vouch.h"

#include <openssl/evp.h>
#include <string.h>

/* A page ends before the device that would come after PIECE_BYTES of payloads: it is one message to
 * a client, and those take 4 MiB as a rule. */
enum { PAYLOAD_MAX = 128 * 1024, PIECE_BYTES = 1024 * 1024, PROTECTED_MAX = 1024 };

/* Of a chain, as x5c has it: each certificate after a comma. */
struct rest {
    int64_t row; /* of the chain; 0: the one in force */
    struct mm_buf text;
};

struct page {
    struct mm_store *s;
    const char *batch_uid;
    struct mm_bytes issuer, issuer_key_id; /* of the chain in force: subject; empty: not known */
    struct rest in_force, recorded;        /* recorded: that of the device before */
    struct mm_buf head;                    /* of every payload, up to the time */
    size_t bytes;                          /* of payloads */
    Mintmark__Internal__ManifestPiece *piece;
    Mintmark__Internal__ReportPlace *at;
};

static int fail_bundle(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a device's bundle is none");
}

static char *base64url(const struct mm_buf *from)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(2 * PAYLOAD_MAX);
    const char *c;

    mm_json_base64url(&text, (struct mm_bytes){from->data, from->len});
    c = mm_buf_err(from) == MM_OK ? mm_buf_cstr(&text) : NULL;
    return c ? strdup(c) : NULL;
}

/* ---- the protected header ---------------------------------------------------------------- */

static int put_protected(struct page *p, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(PROTECTED_MAX);
    X509 *audit = sk_X509_value(mm_trust_certificates(p->s->guard.audit), 0);
    const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(audit);
    uint8_t sha256[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (X509_digest(audit, EVP_sha256(), sha256, &len) != 1)
        return mm_fail_memory(ei);
    mm_buf_append_str(&text, "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"");
    if (id)
        mm_json_base64url(
            &text, (struct mm_bytes){ASN1_STRING_get0_data(id), (size_t)ASN1_STRING_length(id)});
    mm_buf_append_str(&text, "\",\"x5t#S256\":\"");
    mm_json_base64url(&text, (struct mm_bytes){sha256, len});
    mm_buf_append_str(&text, "\"}");
    p->piece->protected_ = base64url(&text);
    return p->piece->protected_ ? MM_OK : mm_fail_memory(ei);
}

/* ---- payloads ---------------------------------------------------------------------------- */

static void put_column(struct mm_buf *b, const char *key, struct mm_sql *q, int column)
{
    MM_FREE char *value = mm_sql_dup_text(q, column);

    mm_buf_append_str(b, key);
    mm_json_string(b, value);
}

static int put_head(struct page *p, int64_t batch, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_HEAD);
    int r;

    mm_sql_bind_int(&q, batch);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    put_column(&p->head, "{\"version\":1,\"model\":", &q, 2);
    put_column(&p->head, ",\"partNumber\":", &q, 10);
    put_column(&p->head, ",\"manufacturer\":{\"organizationName\":", &q, 9);
    mm_buf_append_str(&p->head, "},\"provisioner\":{\"organizationName\":");
    mm_json_string(&p->head, p->s->site.name ? p->s->site.name : "");
    mm_buf_append_str(&p->head, "},\"groupId\":");
    mm_json_string(&p->head, p->batch_uid);
    r = mm_sql_end(&q, ei);
    return r == MM_OK && mm_buf_err(&p->head) < 0 ? mm_fail_memory(ei) : r;
}

static void put_certificate(struct mm_buf *b, struct mm_bytes der)
{
    mm_buf_append_u8(b, '"');
    mm_json_base64(b, der);
    mm_buf_append_u8(b, '"');
}

/* Of a SubjectPublicKeyInfo (RFC 5480): the point, 04, x, y (SEC 1 section 2.3.3); or Ed25519's 32
 * bytes (RFC 8410 section 4), as RFC 8037 section 2 has it. */
static int put_point(struct mm_buf *b, struct mm_bytes spki, struct mm_errinfo *ei)
{
    struct mm_der key, algorithm, bits;
    struct mm_bytes point;
    size_t half;

    if (!mm_der_part(&spki, MM_DER_SEQUENCE, &key) ||
        !mm_der_part(&key.content, MM_DER_SEQUENCE, &algorithm) ||
        !mm_der_part(&key.content, MM_DER_BIT_STRING, &bits) || bits.content.len < 2)
        return fail_bundle(ei);
    point = (struct mm_bytes){bits.content.data + 1, bits.content.len - 1}; /* no unused bits */
    if (mm_der_is_ed25519(algorithm.whole) && point.len == 32) {
        mm_buf_append_str(b, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        mm_json_base64url(b, point);
        mm_buf_append_str(b, "\"");
        return MM_OK;
    }
    if ((point.len != 65 && point.len != 97) || point.data[0] != 4)
        return fail_bundle(ei);
    half = (point.len - 1) / 2;
    mm_buf_printf(b, "\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"", half == 32 ? "P-256" : "P-384");
    mm_json_base64url(b, (struct mm_bytes){point.data + 1, half});
    mm_buf_append_str(b, "\",\"y\":\"");
    mm_json_base64url(b, (struct mm_bytes){point.data + 1 + half, half});
    mm_buf_append_str(b, "\"");
    return MM_OK;
}

static int put_request_key(struct mm_buf *b, const ProtobufCBinaryData *csr, struct mm_errinfo *ei)
{
    struct mm_bytes in = {csr->data, csr->len};
    struct mm_der request, info, version, subject, spki;

    if (!mm_der_part(&in, MM_DER_SEQUENCE, &request) ||
        !mm_der_part(&request.content, MM_DER_SEQUENCE, &info) ||
        !mm_der_part(&info.content, MM_DER_INTEGER, &version) ||
        !mm_der_part(&info.content, MM_DER_SEQUENCE, &subject) ||
        !mm_der_part(&info.content, MM_DER_SEQUENCE, &spki))
        return fail_bundle(ei);
    return put_point(b, spki.whole, ei);
}

/* The value of the extension 2.5.29.arc that is not critical; empty when there is none. */
static struct mm_bytes extension_value(struct mm_bytes extensions, uint8_t arc)
{
    const uint8_t oid[] = {0x55, 0x1d, arc};
    struct mm_der extension, id, value;

    while (mm_der_part(&extensions, MM_DER_SEQUENCE, &extension)) {
        if (mm_der_part(&extension.content, MM_DER_OID, &id) &&
            mm_bytes_equal(id.content, (struct mm_bytes){oid, sizeof(oid)}) &&
            mm_der_part(&extension.content, MM_DER_OCTET_STRING, &value))
            return value.content;
    }
    return (struct mm_bytes){0};
}

/* The issuer's key as the certificate names it (RFC 5280 section 4.2.1.1); empty when it does not.
 */
static struct mm_bytes authority_key_id(const struct mm_issued *cert)
{
    enum { AUTHORITY_KEY_IDENTIFIER = 35, KEY_IDENTIFIER = 0x80 };
    struct mm_bytes value = extension_value(cert->extensions, AUTHORITY_KEY_IDENTIFIER);
    struct mm_der body, key;

    return mm_der_part(&value, MM_DER_SEQUENCE, &body) &&
                   mm_der_part(&body.content, KEY_IDENTIFIER, &key)
               ? key.content
               : (struct mm_bytes){0};
}

/* Its own (section 4.2.1.2); likewise. */
static struct mm_bytes subject_key_id(const struct mm_issued *cert)
{
    enum { SUBJECT_KEY_IDENTIFIER = 14 };
    struct mm_bytes value = extension_value(cert->extensions, SUBJECT_KEY_IDENTIFIER);
    struct mm_der key;

    return mm_der_part(&value, MM_DER_OCTET_STRING, &key) ? key.content : (struct mm_bytes){0};
}

/* Of a device that no chain is recorded with: is the one in force its? After a CA was renewed, its
 * certificate now is not the one of older devices. */
static bool is_by(const struct page *p, const struct mm_issued *cert)
{
    const struct mm_bytes named = authority_key_id(cert);

    return mm_bytes_equal(cert->issuer, p->issuer) &&
           (named.len == 0 || p->issuer_key_id.len == 0 || mm_bytes_equal(named, p->issuer_key_id));
}

static void put_rest(struct rest *rest, const Mintmark__Internal__Chain *chain)
{
    mm_buf_reset(&rest->text);
    for (size_t i = 0; i < chain->n_certificates; i++) {
        mm_buf_append_u8(&rest->text, ',');
        put_certificate(&rest->text,
                        (struct mm_bytes){chain->certificates[i].data, chain->certificates[i].len});
    }
}

/* Most devices have the chain of the one before. */
static int find_recorded(struct page *p, int64_t row, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Chain *chain = NULL;
    int r;

    if (p->recorded.row == row)
        return MM_OK;
    r = mm_chain_get(p->s, row, &chain, ei);
    if (r < 0)
        return r;
    put_rest(&p->recorded, chain);
    p->recorded.row = row;
    return MM_OK;
}

static int put_chain(struct page *p, int64_t row, const struct mm_issued *cert, struct mm_buf *b,
                     struct mm_errinfo *ei)
{
    int r = row ? find_recorded(p, row, ei) : MM_OK;

    if (r < 0)
        return r;
    if (row)
        mm_buf_append(b, p->recorded.text.data, p->recorded.text.len);
    else if (is_by(p, cert))
        mm_buf_append(b, p->in_force.text.data, p->in_force.text.len);
    return mm_buf_err(&p->recorded.text) < 0 || mm_buf_err(&p->in_force.text) < 0
               ? mm_fail_memory(ei)
               : MM_OK;
}

/* The certificate is taken apart by hand: d2i_X509 makes a key of it, which takes longer than all
 * else that a device costs here. */
static int put_key(struct page *p, struct mm_sql *q, const Mintmark__V1__Bundle *bundle,
                   struct mm_buf *b, struct mm_errinfo *ei)
{
    const struct mm_bytes certificate = {bundle->certificate.data, bundle->certificate.len};
    struct mm_issued cert;
    int r;

    mm_buf_append_str(b, ",\"publicKeySet\":{\"keys\":[{\"kid\":\"0\",");
    if (certificate.len == 0) {
        r = put_request_key(b, &bundle->csr, ei);
        mm_buf_append_str(b, "}]}}");
        return r;
    }
    if (mm_issued_read(certificate, &cert, ei) < 0)
        return fail_bundle(ei);
    r = put_point(b, cert.spki, ei);
    if (r < 0)
        return r;
    mm_buf_append_str(b, ",\"x5c\":[");
    put_certificate(b, certificate);
    r = put_chain(p, mm_chain_column(q, 4), &cert, b, ei);
    mm_buf_append_str(b, "]}]}}");
    return r;
}

static int put_payload(struct page *p, struct mm_sql *q, const Mintmark__V1__Bundle *bundle,
                       struct mm_buf *b, struct mm_errinfo *ei)
{
    mm_buf_append(b, p->head.data, p->head.len);
    mm_buf_append_str(b, ",\"provisioningTimestamp\":");
    mm_json_time(b, bundle->issued_time_ms);
    mm_buf_append_str(b, ",\"uniqueId\":");
    mm_json_string(b, bundle->device_uid);
    if (!mm_sql_is_null(q, 2))
        put_column(b, ",\"hwSerial\":", q, 2);
    return put_key(p, q, bundle, b, ei);
}

/* RFC 7515 section 5.1: over protected, a dot, payload. */
static int hash_entry(const Mintmark__Internal__ManifestPiece *piece,
                      Mintmark__Internal__ManifestEntry *entry, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf input = MM_BUF_INIT(PROTECTED_MAX + 2 * PAYLOAD_MAX);

    mm_buf_append_str(&input, piece->protected_);
    mm_buf_append_u8(&input, '.');
    mm_buf_append_str(&input, entry->payload);
    entry->sha256.data = malloc(MM_SHA256_BYTES);
    if (mm_buf_err(&input) < 0 || !entry->sha256.data ||
        EVP_Digest(input.data, input.len, entry->sha256.data, NULL, EVP_sha256(), NULL) != 1)
        return mm_fail_memory(ei);
    entry->sha256.len = MM_SHA256_BYTES;
    return MM_OK;
}

static int add_entry(struct page *p, struct mm_sql *q, const Mintmark__V1__Bundle *bundle,
                     struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf payload = MM_BUF_INIT(PAYLOAD_MAX);
    Mintmark__Internal__ManifestEntry **room =
        mm_message_room(p->piece->entries, p->piece->n_entries, sizeof(*room));
    Mintmark__Internal__ManifestEntry *entry;
    int r;

    if (!room)
        return mm_fail_memory(ei);
    p->piece->entries = room;
    entry = mm_message_new(&mintmark__internal__manifest_entry__descriptor);
    if (!entry)
        return mm_fail_memory(ei);
    room[p->piece->n_entries++] = entry;
    r = put_payload(p, q, bundle, &payload, ei);
    if (r < 0)
        return r;
    entry->payload = base64url(&payload);
    entry->unique_id = strdup(bundle->device_uid);
    p->bytes += payload.len;
    if (!entry->payload || !entry->unique_id)
        return mm_fail_memory(ei);
    return hash_entry(p->piece, entry, ei);
}

static int add_device(struct page *p, struct mm_sql *q, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const struct mm_bytes bundle = mm_sql_blob(q, 3);
    Mintmark__V1__Bundle *b;
    int r = mm_bundle_unpack(bundle, &arena, &b, ei);

    if (r < 0)
        return r;
    p->at->row = mm_sql_uint(q, 0);
    r = add_entry(p, q, b, ei);
    return r < 0 ? r : mm_sql_end(q, ei);
}

/* ---- pages ------------------------------------------------------------------------------- */

static bool is_full(const struct page *p)
{
    return p->piece->n_entries == MM_CHUNK_DEVICES || p->bytes >= PIECE_BYTES;
}

static int add_of_request(struct page *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_MANIFEST_DEVICES);
    int r = MM_OK;

    mm_sql_bind_uint(&q, p->at->request);
    mm_sql_bind_uint(&q, p->at->row);
    mm_sql_bind_int(&q, MM_CHUNK_DEVICES - (int64_t)p->piece->n_entries);
    while (!is_full(p) && (r = mm_sql_step(&q, ei)) > 0) {
        r = add_device(p, &q, ei);
        if (r < 0)
            return r;
    }
    return r;
}

/* 1 and the place is in the batch's next request; 0: there is none. */
static int vouch(const struct page *p, struct mm_errinfo *ei)
{
    struct mm_bytes digests[MM_CHUNK_DEVICES];
    const struct mm_sealed what = {.use = MM_SEAL_DIGESTS,
                                   .signer = p->s->guard.keys->key,
                                   .parts = digests,
                                   .n_parts = p->piece->n_entries};

    for (size_t i = 0; i < p->piece->n_entries; i++)
        digests[i] = (struct mm_bytes){p->piece->entries[i]->sha256.data, MM_SHA256_BYTES};
    return mm_store_vouch(p->s, &what, &p->piece->proof, ei);
}

static int fill(struct page *p, int64_t batch, struct mm_errinfo *ei)
{
    int r = put_protected(p, ei);

    if (r == MM_OK)
        r = put_head(p, batch, ei);
    if (r == MM_OK && p->at->request)
        r = add_of_request(p, ei);
    while (r == MM_OK && !is_full(p)) {
        r = mm_report_next_request(p->s, batch, p->at, ei);
        if (r <= 0)
            break;
        r = add_of_request(p, ei);
    }
    if (r < 0)
        return r;
    if (!is_full(p)) {
        mm_message_free(p->piece->next);
        p->piece->next = NULL;
    }
    return vouch(p, ei);
}

/* Of the chain in force. One that cannot be read is one that is not known. */
static void take_issuer(struct page *p, const Mintmark__Internal__Chain *chain)
{
    const ProtobufCBinaryData *der = &chain->certificates[0];
    struct mm_issued cert;

    if (mm_issued_read((struct mm_bytes){der->data, der->len}, &cert, &(struct mm_errinfo){0}) < 0)
        return;
    p->issuer = cert.subject;
    p->issuer_key_id = subject_key_id(&cert);
    put_rest(&p->in_force, chain);
}

static int fill_under(struct page *p, const ProtobufCBinaryData *in_force, int64_t batch,
                      struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Chain *chain = NULL;
    const int r =
        in_force->len > 0
            ? mm_chain_unpack((struct mm_bytes){in_force->data, in_force->len}, &chain, ei)
            : MM_OK;

    if (r < 0)
        return r;
    if (chain)
        take_issuer(p, chain);
    return fill(p, batch, ei);
}

static void page_done(struct page *p)
{
    mm_buf_done(&p->head);
    mm_buf_done(&p->in_force.text);
    mm_buf_done(&p->recorded.text);
}

static int begin(struct mm_store *s, const Mintmark__Internal__ManifestPage *job,
                 struct mm_released *ret_released, struct mm_errinfo *ei)
{
    int r = mm_released_find(s, job->batch_uid, ret_released, ei);

    if (r == MM_OK && !s->guard.audit)
        r = mm_fail(ei, MM_ERR_PRECONDITION, "NO_IDENTITY",
                    "the configuration has no section appliance: nobody signs manifests");
    return r;
}

int mm_store_manifest_page(struct mm_store *s, const Mintmark__Internal__ManifestPage *job,
                           Mintmark__Internal__ManifestPiece **ret_piece, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__ManifestPiece *piece =
        mm_message_new(&mintmark__internal__manifest_piece__descriptor);
    struct page p = {.s = s,
                     .batch_uid = job->batch_uid,
                     .piece = piece,
                     .head = MM_BUF_INIT(PAYLOAD_MAX),
                     .in_force.text = MM_BUF_INIT(PAYLOAD_MAX),
                     .recorded.text = MM_BUF_INIT(PAYLOAD_MAX)};
    struct mm_released released;
    int r = begin(s, job, &released, ei);

    if (r < 0)
        return r;
    if (piece)
        piece->next = mm_message_new(&mintmark__internal__report_place__descriptor);
    if (!piece || !piece->next)
        return mm_fail_memory(ei);
    p.at = piece->next;
    if (job->place) {
        p.at->request = job->place->request;
        p.at->row = job->place->row;
    }
    r = fill_under(&p, &job->chain, released.batch.row, ei);
    page_done(&p);
    if (r == MM_OK)
        *ret_piece = MM_TAKE(piece);
    return r;
}
