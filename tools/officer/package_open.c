/* SPDX-License-Identifier: Apache-2.0 */
/* From a file to a package whose signer is trusted; and package show. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tools/officer/envelope.h"
#include "tools/officer/package.h"
#include "tools/officer/paper.h"

#include <openssl/evp.h>
#include <string.h>

enum { AHEAD_MS = 24 * 3600 * 1000 }; /* an OEM's clock may be so much ahead of ours */

void mm_opened_done(struct mm_opened *o)
{
    mm_package_done(&o->package);
    mm_document_done(&o->document);
}

static int agree(void *arg, struct mm_bytes point, struct mm_secret **ret_shared,
                 struct mm_errinfo *ei)
{
    const struct mm_officer *const o = ((void **)arg)[0];
    const struct mm_exchange *const x = ((void **)arg)[1];

    if (x->rsa)
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT",
                       "the package agrees on a key, and the exchange key is RSA");
    return mm_token_agree(o->token, x->key, point.data, point.len, ret_shared, ei);
}

static int open_oaep(void *arg, bool sha256, struct mm_bytes sealed, struct mm_secret **ret_opened,
                     struct mm_errinfo *ei)
{
    const struct mm_officer *const o = ((void **)arg)[0];
    const struct mm_exchange *const x = ((void **)arg)[1];

    if (!x->rsa)
        return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_RECIPIENT",
                       "the package is encrypted to RSA, and the exchange key is EC");
    return mm_token_open_oaep(o->token, x->key, sha256, sealed, ret_opened, ei);
}

/* What the envelope holds: still CMS. */
static int open_envelope(struct mm_officer *o, const struct mm_exchange *x, struct mm_buf *inner,
                         struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf file = MM_BUF_INIT(MM_PACKAGE_MAX);
    void *both[] = {o, (void *)(uintptr_t)x};
    const struct mm_envelope_key key = {agree, open_oaep, both};
    struct mm_envelope envelope;
    int r = mm_io_read_file(o->args.in, MM_PACKAGE_MAX, &file, ei);

    if (r == MM_ERR_TOO_BIG)
        return mm_fail(ei, r, "PACKAGE_TOO_BIG", "%.150s: more than %d bytes", o->args.in,
                       MM_PACKAGE_MAX);
    if (r == MM_OK)
        r = mm_envelope_read((struct mm_bytes){file.data, file.len}, x->certificate, &envelope, ei);
    return r < 0 ? r : mm_envelope_open(&envelope, &key, inner, ei);
}

static int read_trust(struct mm_officer *o, struct mm_trust **ret_trust, struct mm_errinfo *ei)
{
    const char *const path = o->conf->appliance.oem_certificates;

    if (*path)
        return mm_trust_read(path, ret_trust, ei);
    o->exit_code = MM_EXIT_CONFIG;
    return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_OEM_CERTIFICATES",
                   "%s: set appliance.oem_certificates, and install the OEM's certificate with "
                   "mintmark-officer oem add",
                   o->conf->path);
}

static int check_appliance(const struct mm_package *p, const struct mm_exchange *x,
                           struct mm_errinfo *ei)
{
    char hex[2 * MM_IDENTITY_BYTES + 1];

    if (memcmp(p->appliance, x->identity, MM_IDENTITY_BYTES) == 0)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PERMISSION, "PACKAGE_APPLIANCE",
                   "the package is for the appliance %.16s…, not for this one",
                   mm_hex_encode(p->appliance, MM_IDENTITY_BYTES, hex));
}

int mm_package_open(struct mm_officer *o, const struct mm_exchange *x, struct mm_opened *ret_opened,
                    struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf inner = MM_BUF_INIT(MM_PACKAGE_MAX + MM_ENVELOPE_IV_MAX);
    MM_BUF_CLEANUP struct mm_buf content = MM_BUF_INIT(MM_PACKAGE_MAX);
    MM_TRUST_CLEANUP struct mm_trust *trust = NULL;
    struct mm_opened opened = {.document = MM_DOCUMENT_INIT};
    int r = read_trust(o, &trust, ei);

    if (r == MM_OK)
        r = open_envelope(o, x, &inner, ei);
    if (r == MM_OK)
        r = mm_document_open_bytes((struct mm_bytes){inner.data, inner.len}, MM_PACKAGE_MAX,
                                   &opened.document, &content, ei);
    if (r == MM_OK)
        r = mm_document_check_signer(&opened.document, trust, mm_clock_wall_ms(), ei);
    if (r == MM_OK)
        r = mm_package_parse((struct mm_bytes){content.data, content.len}, &opened.package, ei);
    if (r == MM_OK)
        r = check_appliance(&opened.package, x, ei);
    if (r == MM_OK &&
        EVP_Digest(content.data, content.len, opened.sha256, NULL, EVP_sha256(), NULL) != 1)
        r = mm_fail(ei, MM_ERR_INTERNAL, "SHA256", "SHA-256 failed");
    if (r < 0) {
        mm_opened_done(&opened);
        return r;
    }
    *ret_opened = opened;
    return MM_OK;
}

int mm_package_fresh(struct mm_officer *o, const struct mm_opened *opened, struct mm_errinfo *ei)
{
    const struct mm_package *const p = &opened->package;
    const int64_t now_ms = mm_clock_wall_ms();
    struct mm_exchange_mark mark;
    char when[MM_CLOCK_TEXT];
    int r;

    if (now_ms > p->not_after_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PACKAGE_EXPIRED",
                       "the package '%s' could be installed until %s", p->id,
                       mm_clock_text(p->not_after_ms, when));
    if (p->created_ms > now_ms + AHEAD_MS)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PACKAGE_FROM_FUTURE",
                       "the package '%s' was made at %s, more than a day from now: one of the two "
                       "clocks is wrong",
                       p->id, mm_clock_text(p->created_ms, when));
    r = mm_token_mark_read(o->token, &mark, ei);
    if (r < 0)
        return r;
    if (memcmp(mark.sha256, opened->sha256, sizeof(mark.sha256)) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "PACKAGE_REPLAYED",
                       "the package '%s' has been installed already", p->id);
    if (p->created_ms <= mark.created_ms)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PACKAGE_OLDER",
                       "a package made at %s has been installed, and '%s' was not made later",
                       mm_clock_text(mark.created_ms, when), p->id);
    return MM_OK;
}

/* ---- package show ------------------------------------------------------------------------ */

static json_t *describe_item(const struct mm_item *item)
{
    uint8_t digest[32];
    char hex[2 * sizeof(digest) + 1];

    /* The hash of a short secret would give it away. */
    if (item->type != MM_ITEM_DATA)
        return json_pack("{s:s, s:s, s:I}", "type", mm_item_type_name(item->type), "name",
                         item->name, "bytes", (json_int_t)item->bytes.len);
    if (EVP_Digest(item->bytes.data, item->bytes.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return NULL;
    return json_pack("{s:s, s:s, s:I, s:s}", "type", mm_item_type_name(item->type), "name",
                     item->name, "bytes", (json_int_t)item->bytes.len, "sha256",
                     mm_hex_encode(digest, sizeof(digest), hex));
}

static json_t *describe(const struct mm_opened *opened, const char *verdict)
{
    const struct mm_package *const p = &opened->package;
    char created[MM_CLOCK_TEXT], not_after[MM_CLOCK_TEXT];
    json_t *const items = json_array();

    for (size_t i = 0; i < p->n_items; i++)
        if (json_array_append_new(items, describe_item(&p->items[i])) < 0) {
            json_decref(items);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o}", "id", p->id, "created",
                     mm_clock_text(p->created_ms, created), "not_after",
                     mm_clock_text(p->not_after_ms, not_after), "signer",
                     mm_out_text(opened->document.signer_name), "verdict", verdict, "items", items);
}

int mm_cmd_package_show(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column fields[] = {{"id", "id"},
                                              {"created", "created"},
                                              {"not_after", "not after"},
                                              {"signer", "signer"},
                                              {"verdict", "verdict"}};
    static const struct mm_column columns[] = {
        {"type", "type"}, {"name", "name"}, {"bytes", "bytes"}, {"sha256", "SHA-256"}};
    MM_EXCHANGE_CLEANUP struct mm_exchange x = {.key = 0};
    MM_OPENED_CLEANUP struct mm_opened opened = {.document = MM_DOCUMENT_INIT};
    struct mm_errinfo stale = {0};
    json_t *description;
    int r = mm_exchange_open(o, &x, ei);

    if (r == MM_OK)
        r = mm_package_open(o, &x, &opened, ei);
    if (r < 0)
        return r;
    if (mm_package_fresh(o, &opened, &stale) == MM_OK)
        snprintf(stale.text, sizeof(stale.text), "good");
    description = describe(&opened, stale.text);
    r = mm_officer_answer(o, "package", description, ei);
    if (r == MM_OK && !o->args.json) {
        mm_out_fields(stdout, description, fields, MM_ARRAY_SIZE(fields));
        mm_out_table(stdout, json_object_get(description, "items"), columns,
                     MM_ARRAY_SIZE(columns));
    }
    return r;
}
