/* SPDX-License-Identifier: Apache-2.0 */
/* ca import and show: certificates that are there already, against the keys of the token. */
#include "daemon/base/io.h"
#include "tools/officer/ca.h"

static const struct mm_conf_issuer *issuer_section(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *const issuer = mm_conf_issuer_get(o->conf, o->args.issuer);

    if (!issuer) {
        o->exit_code = MM_EXIT_CONFIG;
        (void)mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ISSUER", "%s has no issuer section '%s'",
                      o->conf->path, o->args.issuer);
    }
    return issuer;
}

static int check_import(struct mm_officer *o, const struct mm_conf_issuer *issuer,
                        STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    struct mm_ca_key key = {0};
    int r;

    r = mm_chain_verify(chain, ei);
    if (r == MM_OK)
        r = mm_cert_require_ca(sk_X509_value(chain, 0), ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s", o->args.in);
    r = mm_officer_token(o, mm_officer_one_of(o, issuer->tokens, issuer->n_tokens), MM_OFFICER_USER,
                         ei);
    if (r < 0)
        return r;
    r = mm_ca_key_find(o, issuer->key, &key, ei);
    if (r < 0)
        return r;
    return mm_cert_require_key(sk_X509_value(chain, 0), key.point, key.point_len, issuer->key, ei);
}

static int ask_import(struct mm_officer *o, const struct mm_conf_issuer *issuer,
                      STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    json_t *const description = mm_cert_describe(sk_X509_value(chain, 0));
    char root[MM_FINGERPRINT_TEXT];
    int r;

    r = mm_officer_answer(o, "certificate", description, ei);
    if (r < 0)
        return r;
    r = mm_cert_fingerprint(sk_X509_value(chain, sk_X509_num(chain) - 1), root, ei);
    if (r < 0)
        return r;
    return mm_ceremony_confirm(
        o, ei, "Install %s (SHA-256 %s), below the root with SHA-256 %s, as issuer '%s' in %s?",
        json_string_value(json_object_get(description, "subject")),
        json_string_value(json_object_get(description, "sha256")), root, issuer->name,
        issuer->certificate);
}

int mm_cmd_ca_import(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *const issuer = issuer_section(o, ei);
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r;

    if (!issuer)
        return MM_ERR_NOT_FOUND;
    r = mm_officer_absent(issuer->certificate, ei);
    if (r < 0)
        return r;
    r = mm_chain_read(o->args.in, &chain, ei);
    if (r < 0)
        return r;
    r = check_import(o, issuer, chain, ei);
    if (r < 0)
        return r;
    r = ask_import(o, issuer, chain, ei);
    if (r < 0)
        return r;
    r = mm_chain_append_pem(chain, &pem, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(issuer->certificate, 0644, pem.data, pem.len, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "installed", "%s", issuer->certificate);
    return mm_officer_answer(o, "file", json_string(issuer->certificate), ei);
}

/* ---- show -------------------------------------------------------------------------------- */

static int describe_chain(struct mm_officer *o, STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    json_t *const list = json_array();
    int r;

    r = mm_officer_answer(o, "certificates", list, ei);
    if (r < 0)
        return r;
    for (int i = 0; i < sk_X509_num(chain); i++) {
        json_t *const description = mm_cert_describe(sk_X509_value(chain, i));

        if (json_array_append_new(list, description) < 0)
            return mm_fail_memory(ei);
        if (!o->args.json) {
            mm_cert_print(description);
            putchar('\n');
        }
    }
    return MM_OK;
}

/* The key of the first certificate: is it in the token, and does it keep its policy? */
static int describe_key(struct mm_officer *o, const char *token, const char *uri, X509 *cert,
                        struct mm_errinfo *ei)
{
    struct mm_ca_key key = {0};
    int r;

    r = mm_officer_token(o, token, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_ca_key_find(o, uri, &key, ei);
    if (r < 0)
        return r;
    r = mm_cert_require_key(cert, key.point, key.point_len, uri, ei);
    if (r < 0)
        return r;
    if (!o->args.json)
        printf("key: %s in token %s; it is the certificate's, and its policy is kept\n", uri,
               o->conf_token->name);
    return mm_officer_answer(o, "key",
                             json_pack("{s:s, s:s, s:b, s:s}", "uri", uri, "token",
                                       o->conf_token->name, "matches", 1, "policy", "good"),
                             ei);
}

static int show_issuer(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *const issuer = issuer_section(o, ei);
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    int r;

    if (!issuer)
        return MM_ERR_NOT_FOUND;
    r = mm_chain_read(issuer->certificate, &chain, ei);
    if (r < 0)
        return r;
    r = describe_chain(o, chain, ei);
    if (r < 0)
        return r;
    return describe_key(o, mm_officer_one_of(o, issuer->tokens, issuer->n_tokens), issuer->key,
                        sk_X509_value(chain, 0), ei);
}

static int show_file(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_x509_stack_free_p) STACK_OF(X509) *chain = NULL;
    char uri[MM_NAME_MAX + 32];
    int r;

    r = mm_chain_read(o->args.certificate, &chain, ei);
    if (r < 0)
        return r;
    r = describe_chain(o, chain, ei);
    if (r < 0 || !o->args.label)
        return r;
    r = mm_officer_name(o, MM_OPT_label, o->args.label, ei);
    if (r < 0)
        return r;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", o->args.label);
    return describe_key(o, NULL, uri, sk_X509_value(chain, 0), ei);
}

int mm_cmd_ca_show(struct mm_officer *o, struct mm_errinfo *ei)
{
    if (!o->args.issuer == !o->args.certificate)
        return mm_officer_usage(o, ei, "give --issuer NAME, or --certificate FILE");
    if (o->args.issuer && o->args.label)
        return mm_officer_usage(o, ei, "--label goes with --certificate; an issuer names its key");
    return o->args.issuer ? show_issuer(o, ei) : show_file(o, ei);
}
