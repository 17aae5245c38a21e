/* SPDX-License-Identifier: Apache-2.0 */
/* ca create-root and create-sub: a CA's key in the token, and its certificate or request. */
#include "daemon/base/io.h"
#include "tools/officer/ca.h"

#include <openssl/err.h>
#include <openssl/pem.h>

/* Who signs: the parent CA; or, chain NULL, the new key itself. */
struct parent {
    STACK_OF(X509) * chain; /* its certificate first */
    struct mm_ca_key key;
};

/* The question names what was given, in the words it was given in. */
static int ask(struct mm_officer *o, const char *what, const struct mm_ca_key *key,
               const char *file, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    const struct {
        const char *title;
        const char *value;
    } given[] = {{"profile", a->profile},   {"preset", a->preset},
                 {"subject", a->subject},   {"VID", a->vid},
                 {"PID", a->pid},           {"from", a->not_before},
                 {"validity", a->validity}, {"path length", a->path_length}};
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(4096);

    for (size_t i = 0; i < MM_ARRAY_SIZE(given); i++)
        if (given[i].value)
            mm_buf_printf(&text, ", %s %s", given[i].title, given[i].value);
    if (!mm_buf_cstr(&text))
        return mm_fail(ei, MM_ERR_TOO_BIG, "TOO_LONG", "the options are too long to be shown");
    return mm_ceremony_confirm(
        o, ei, "Make %s with %s %s key '%s' in token '%s'%s, and write it to %s?", what,
        key->handle ? "the" : "a new", mm_officer_curve_name(key->curve), a->label,
        o->conf_token->name, (const char *)text.data, file);
}

/* ---- certificates ------------------------------------------------------------------------ */

/* Nothing is written that libcrypto and the profile do not both agree to. */
static int verify(const struct mm_profile *profile, const struct mm_subject *subject,
                  const struct mm_buf *der, STACK_OF(X509) * chain, const char *label,
                  struct mm_errinfo *ei)
{
    X509 *const cert = sk_X509_value(chain, 0);
    int r;

    r = mm_chain_verify(chain, ei);
    if (r < 0)
        return r;
    r = mm_cert_require_ca(cert, ei);
    if (r < 0)
        return r;
    r = mm_cert_require_key(cert, subject->point, subject->point_len, label, ei);
    if (r < 0)
        return r;
    return mm_profile_check_certificate(profile, subject, (struct mm_bytes){der->data, der->len},
                                        ei);
}

/* The new certificate, then the parent's chain. */
static int stack(const struct mm_buf *der, const struct parent *parent, STACK_OF(X509) * *ret_chain,
                 struct mm_errinfo *ei)
{
    const unsigned char *p = der->data;
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    MM_CLEANUP(X509_free_p) X509 *cert = d2i_X509(NULL, &p, (long)der->len);

    if (!cert)
        return mm_fail(ei, MM_ERR_INTERNAL, "CERTIFICATE", "libcrypto cannot read the certificate");
    chain = parent->chain ? X509_chain_up_ref(parent->chain) : sk_X509_new_null();
    if (!chain || sk_X509_unshift(chain, cert) <= 0)
        return mm_fail_memory(ei);
    cert = NULL; /* the stack's now */
    *ret_chain = MM_TAKE(chain);
    return MM_OK;
}

static int make_der(struct mm_officer *o, const struct mm_profile *profile,
                    const struct mm_subject *subject, const struct mm_ca_key *signer,
                    struct mm_buf *der, struct mm_errinfo *ei)
{
    struct mm_tbs tbs = MM_TBS_INIT;
    int r;

    r = mm_profile_certificate_tbs(profile, subject, &tbs, ei);
    if (r == MM_OK)
        r = mm_ca_sign(o, &tbs, signer, der, ei);
    mm_buf_done(&tbs.der);
    return r;
}

static int record(struct mm_officer *o, X509 *cert, struct mm_errinfo *ei)
{
    json_t *const description = mm_cert_describe(cert);
    const int r = mm_officer_answer(o, "certificate", description, ei);

    if (r < 0)
        return r;
    mm_ceremony_say(o, "certificate", "subject %s, issuer %s, serial %s, %s to %s, SHA-256 %s",
                    json_string_value(json_object_get(description, "subject")),
                    json_string_value(json_object_get(description, "issuer")),
                    json_string_value(json_object_get(description, "serial")),
                    json_string_value(json_object_get(description, "not_before")),
                    json_string_value(json_object_get(description, "not_after")),
                    json_string_value(json_object_get(description, "sha256")));
    return mm_officer_answer(o, "file", json_string(o->args.out), ei);
}

static int issue(struct mm_officer *o, const struct mm_profile *profile,
                 const struct mm_ca_key *key, const struct parent *parent, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    struct mm_subject subject;
    int r;

    r = mm_ca_subject(o, key, &subject, ei);
    if (r < 0)
        return r;
    r = make_der(o, profile, &subject, parent->chain ? &parent->key : key, &der, ei);
    if (r < 0)
        return r;
    r = stack(&der, parent, &chain, ei);
    if (r < 0)
        return r;
    r = verify(profile, &subject, &der, chain, o->args.label, ei);
    if (r < 0)
        return mm_err_prefix(ei, "the new certificate is not written");
    r = mm_chain_append_pem(chain, &pem, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(o->args.out, 0644, pem.data, pem.len, ei);
    if (r < 0)
        return r;
    return record(o, sk_X509_value(chain, 0), ei);
}

/* Everything that can be found wrong is found before the question, and the key is made last. */
static int create(struct mm_officer *o, enum mm_ca_kind kind, const struct parent *parent,
                  struct mm_errinfo *ei)
{
    X509 *const issuer = parent->chain ? sk_X509_value(parent->chain, 0) : NULL;
    MM_CLEANUP(mm_profile_free_p) struct mm_profile *profile = NULL;
    struct mm_ca_key key = {0};
    int r;

    r = mm_ca_key_prepare(o, &key, ei);
    if (r < 0)
        return r;
    r = mm_ca_profile(o, kind, key.curve, issuer, &profile, ei);
    if (r < 0)
        return r;
    r = ask(o, kind == MM_CA_ROOT ? "a root CA" : "a subordinate CA", &key, o->args.out, ei);
    if (r < 0)
        return r;
    r = mm_ca_key_make(o, &key, ei);
    if (r < 0)
        return r;
    return issue(o, profile, &key, parent, ei);
}

int mm_cmd_ca_create_root(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct parent none = {0};
    int r;

    r = mm_officer_absent(o->args.out, ei);
    if (r < 0)
        return r;
    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    return create(o, MM_CA_ROOT, &none, ei);
}

/* The signing CA: its certificate is good, and its key is in the token. */
static int load_parent(struct mm_officer *o, struct parent *parent, struct mm_errinfo *ei)
{
    char uri[MM_NAME_MAX + 32];
    int r;

    r = mm_chain_verify(parent->chain, ei);
    if (r == MM_OK)
        r = mm_cert_require_ca(sk_X509_value(parent->chain, 0), ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s", o->args.parent_certificate);
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", o->args.parent_label);
    r = mm_ca_key_find(o, uri, &parent->key, ei);
    if (r < 0)
        return r;
    return mm_cert_require_key(sk_X509_value(parent->chain, 0), parent->key.point,
                               parent->key.point_len, o->args.parent_label, ei);
}

static int create_under_parent(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    struct parent parent = {0};
    int r;

    r = mm_officer_name(o, MM_OPT_parent_label, o->args.parent_label, ei);
    if (r < 0)
        return r;
    r = mm_officer_absent(o->args.out, ei);
    if (r < 0)
        return r;
    r = mm_chain_read(o->args.parent_certificate, &chain, ei);
    if (r < 0)
        return r;
    parent.chain = chain;
    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = load_parent(o, &parent, ei);
    if (r < 0)
        return r;
    return create(o, MM_CA_SUB, &parent, ei);
}

/* ---- requests ---------------------------------------------------------------------------- */

static int request(struct mm_officer *o, const struct mm_profile *profile,
                   const struct mm_ca_key *key, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_subject subject;
    int r;

    r = mm_ca_subject(o, key, &subject, ei);
    if (r < 0)
        return r;
    r = mm_profile_csr_tbs(profile, &subject, &tbs, ei);
    if (r == MM_OK)
        r = mm_ca_sign(o, &tbs, key, &der, ei);
    mm_buf_done(&tbs.der);
    if (r < 0)
        return r;
    r = mm_csr_append_pem(&der, &pem, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(o->args.csr_out, 0644, pem.data, pem.len, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "request", "%s, for the CA that is to sign it", o->args.csr_out);
    return mm_officer_answer(o, "file", json_string(o->args.csr_out), ei);
}

static int create_request(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_profile_free_p) struct mm_profile *profile = NULL;
    struct mm_ca_key key = {0};
    int r;

    r = mm_officer_absent(o->args.csr_out, ei);
    if (r < 0)
        return r;
    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_ca_key_prepare(o, &key, ei);
    if (r < 0)
        return r;
    r = mm_ca_profile(o, MM_CA_REQUEST, key.curve, NULL, &profile, ei);
    if (r < 0)
        return r;
    r = ask(o, "a CA's certification request", &key, o->args.csr_out, ei);
    if (r < 0)
        return r;
    r = mm_ca_key_make(o, &key, ei);
    if (r < 0)
        return r;
    return request(o, profile, &key, ei);
}

int mm_cmd_ca_create_sub(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    const bool under_parent = a->parent_label && a->parent_certificate && a->out && !a->csr_out;
    const bool elsewhere = a->csr_out && !a->parent_label && !a->parent_certificate && !a->out;

    if (under_parent)
        return create_under_parent(o, ei);
    if (elsewhere)
        return create_request(o, ei);
    return mm_officer_usage(o, ei,
                            "give --parent-label, --parent-certificate and --out for a CA "
                            "in the token, or --csr-out alone for one elsewhere");
}
