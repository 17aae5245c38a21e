/* SPDX-License-Identifier: Apache-2.0 */
/* package create, off site: from a description, with files named in it, to a package. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/json.h"
#include "daemon/base/text.h"
#include "tools/officer/envelope.h"
#include "tools/officer/package.h"
#include "tools/officer/pem.h"
#include "tools/officer/signer.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

static int bad(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "PACKAGE_CONTENT", "%s", what);
}

/* ---- files in place of values ------------------------------------------------------------ */

static int set(json_t *item, const char *key, json_t *value, struct mm_errinfo *ei)
{
    return json_object_set_new(item, key, value) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int put_file(json_t *item, const char *path, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf bytes = MM_BUF_INIT(MM_PACKAGE_MAX);
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(2 * MM_PACKAGE_MAX);
    int r = mm_io_read_file(path, MM_PACKAGE_MAX, &bytes, ei);

    if (r < 0)
        return r;
    mm_json_base64(&text, (struct mm_bytes){bytes.data, bytes.len});
    if (mm_buf_err(&text) < 0)
        return mm_fail_memory(ei);
    r = set(item, "data", json_stringn((const char *)text.data, text.len), ei);
    return r < 0 || json_object_del(item, "file") == 0 ? r : mm_fail_memory(ei);
}

static int put_password(json_t *item, const char *path, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *line = NULL;
    int r = mm_pin_from_file(path, &line, ei);

    if (r < 0)
        return r;
    r = set(item, "password", json_stringn((const char *)mm_secret_data(line), mm_secret_len(line)),
            ei);
    return r < 0 || json_object_del(item, "password_file") == 0 ? r : mm_fail_memory(ei);
}

static int put_files(json_t *spec, struct mm_errinfo *ei)
{
    json_t *item;
    size_t i;
    int r = MM_OK;

    json_array_foreach(json_object_get(spec, "items"), i, item) {
        const json_t *const file = json_object_get(item, "file");
        const json_t *const password = json_object_get(item, "password_file");

        if (r == MM_OK && json_is_string(file))
            r = put_file(item, json_string_value(file), ei);
        if (r == MM_OK && json_is_string(password))
            r = put_password(item, json_string_value(password), ei);
    }
    return r;
}

/* ---- what need not be said --------------------------------------------------------------- */

static int put_default(json_t *spec, const char *key, const char *value, struct mm_errinfo *ei)
{
    return json_object_get(spec, key) ? MM_OK : set(spec, key, json_string(value), ei);
}

/* The exchange certificate names the identity key's hash as its authority's. */
static int put_appliance(json_t *spec, X509 *recipient, struct mm_errinfo *ei)
{
    const ASN1_OCTET_STRING *const id = X509_get0_authority_key_id(recipient);
    char hex[2 * MM_IDENTITY_BYTES + 1];

    if (json_object_get(spec, "appliance"))
        return MM_OK;
    if (!id || ASN1_STRING_length(id) != MM_IDENTITY_BYTES)
        return bad(ei, "the recipient's certificate does not say which appliance it is of: put "
                       "\"appliance\" into the description");
    mm_hex_encode(ASN1_STRING_get0_data(id), MM_IDENTITY_BYTES, hex);
    return put_default(spec, "appliance", hex, ei);
}

static int put_defaults(json_t *spec, X509 *recipient, struct mm_errinfo *ei)
{
    char now[MM_CLOCK_TEXT];
    int r = put_appliance(spec, recipient, ei);

    if (r == MM_OK)
        r = put_default(spec, "format", "mintmark-package", ei);
    if (r == MM_OK && !json_object_get(spec, "version"))
        r = set(spec, "version", json_integer(1), ei);
    return r < 0 ? r : put_default(spec, "created", mm_clock_text(mm_clock_wall_ms(), now), ei);
}

static int read_spec(const char *path, json_t **ret_spec, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_PACKAGE_MAX);
    json_error_t error;
    json_t *spec;
    int r = mm_io_read_file(path, MM_PACKAGE_MAX, &text, ei);

    if (r < 0)
        return r;
    spec = json_loadb(text.len ? (const char *)text.data : "", text.len, JSON_REJECT_DUPLICATES,
                      &error);
    if (!json_is_object(spec)) {
        json_decref(spec);
        return bad(ei, "the description is no JSON object");
    }
    *ret_spec = spec;
    return MM_OK;
}

/* ---- putting it together ----------------------------------------------------------------- */

/* What the appliance will read; by its own rules. */
static int write_content(json_t *spec, struct mm_buf *content, struct mm_errinfo *ei)
{
    MM_PACKAGE_CLEANUP struct mm_package package = {.n_items = 0};
    char *const text = json_dumps(spec, JSON_COMPACT);

    if (!text)
        return mm_fail_memory(ei);
    mm_buf_append_str(content, text);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    if (mm_buf_err(content) < 0)
        return mm_fail(ei, mm_buf_err(content), "PACKAGE_TOO_BIG",
                       "the package's content has more than %d bytes", MM_PACKAGE_MAX);
    return mm_package_parse((struct mm_bytes){content->data, content->len}, &package, ei);
}

static int make_content(struct mm_officer *o, X509 *recipient, struct mm_buf *content,
                        struct mm_errinfo *ei)
{
    json_t *spec = NULL;
    int r = read_spec(o->args.in, &spec, ei);

    if (r == MM_OK)
        r = put_files(spec, ei);
    if (r == MM_OK)
        r = put_defaults(spec, recipient, ei);
    if (r == MM_OK)
        r = write_content(spec, content, ei);
    json_decref(spec);
    return r;
}

static int seal(struct mm_officer *o, struct mm_bytes content, X509 *recipient,
                struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf inner = MM_BUF_INIT(MM_PACKAGE_MAX);
    MM_BUF_CLEANUP struct mm_buf package = MM_BUF_INIT(MM_PACKAGE_MAX);
    struct mm_signer signer = {.certificates = NULL};
    struct mm_envelope envelope;
    int r = mm_signer_open(o, &signer, ei);

    if (r == MM_OK)
        r = mm_signer_sign_bytes(&signer, content, &inner, ei);
    mm_signer_done(&signer);
    if (r == MM_OK)
        r = mm_envelope_make((struct mm_bytes){inner.data, inner.len}, recipient, &package, ei);
    if (r == MM_OK)
        r = mm_envelope_read((struct mm_bytes){package.data, package.len}, recipient, &envelope,
                             ei);
    return r < 0 ? r : mm_io_create_file(o->args.out, 0644, package.data, package.len, ei);
}

int mm_cmd_package_create(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf content = MM_BUF_INIT(MM_PACKAGE_MAX);
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    char fingerprint[MM_FINGERPRINT_TEXT];
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_chain_read(o->args.recipient, &chain, ei);
    if (r == MM_OK)
        r = mm_cert_fingerprint(sk_X509_value(chain, 0), fingerprint, ei);
    if (r == MM_OK)
        r = make_content(o, sk_X509_value(chain, 0), &content, ei);
    if (r == MM_OK)
        r = seal(o, (struct mm_bytes){content.data, content.len}, sk_X509_value(chain, 0), ei);
    if (r < 0)
        return r;
    if (!o->args.json)
        printf("package %s, encrypted to the certificate with SHA-256 %s: is it what the site's "
               "officers noted?\n",
               o->args.out, fingerprint);
    return mm_officer_answer(
        o, "package", json_pack("{s:s, s:s}", "file", o->args.out, "recipient_sha256", fingerprint),
        ei);
}
