/* SPDX-License-Identifier: Apache-2.0 */
/* oem add and list: whose signatures on production orders count at this site. */
#include "daemon/base/io.h"
#include "tools/officer/paper.h"
#include "tools/officer/pem.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int find_file(struct mm_officer *o, const char **ret_path, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const a = &o->conf->appliance;

    if (a->given && *a->oem_certificates) {
        *ret_path = a->oem_certificates;
        return MM_OK;
    }
    o->exit_code = MM_EXIT_CONFIG;
    return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_OEM_CERTIFICATES",
                   "%s: set appliance.oem_certificates to the file that they are kept in",
                   o->conf->path);
}

/* The file as it is; nothing when it is not there yet. */
static int read_installed(const char *path, struct mm_buf *pem, struct mm_trust **ret_trust,
                          struct mm_errinfo *ei)
{
    struct stat st;
    int r;

    if (stat(path, &st) < 0 && errno == ENOENT)
        return MM_OK;
    r = mm_io_read_file(path, MM_PEM_FILE_MAX, pem, ei);
    if (r < 0 || pem->len == 0)
        return r;
    r = mm_trust_new((struct mm_bytes){pem->data, pem->len}, ret_trust, ei);
    return r < 0 ? mm_err_prefix(ei, "%.100s", path) : r;
}

static int check_new(const struct mm_trust *installed, X509 *cert, const char *path,
                     struct mm_errinfo *ei)
{
    const STACK_OF(X509) *certs = installed ? mm_trust_certificates(installed) : NULL;

    for (int i = 0; certs && i < sk_X509_num(certs); i++)
        if (X509_cmp(sk_X509_value(certs, i), cert) == 0)
            return mm_fail(ei, MM_ERR_EXISTS, "OEM_EXISTS", "%.180s: is trusted already", path);
    if (certs && sk_X509_num(certs) == MM_TRUST_MAX)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "TRUST_INVALID", "%d certificates are trusted already",
                       MM_TRUST_MAX);
    return MM_OK;
}

static int install(struct mm_officer *o, const char *path, const struct mm_trust *added,
                   struct mm_buf *pem, struct mm_errinfo *ei)
{
    X509 *const cert = sk_X509_value(mm_trust_certificates(added), 0);
    json_t *const description = mm_cert_describe(cert);
    int r = mm_officer_answer(o, "certificate", description, ei);

    if (r == MM_OK && !o->args.json)
        mm_cert_print(description);
    if (r == MM_OK)
        r = mm_ceremony_confirm(
            o, ei,
            "Trust %s (SHA-256 %s) to sign production orders? Compare the SHA-256 with what the "
            "OEM said by another way.",
            json_string_value(json_object_get(description, "subject")),
            json_string_value(json_object_get(description, "sha256")));
    if (r == MM_OK)
        r = mm_cert_append_pem(cert, pem, ei);
    if (r == MM_OK)
        r = mm_io_write_file(path, 0644, pem->data, pem->len, ei);
    if (r == MM_OK)
        mm_ceremony_say(o, "installed", "in %s; a reload of the service takes it up", path);
    return r;
}

int mm_cmd_oem_add(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_TRUST_CLEANUP struct mm_trust *installed = NULL;
    MM_TRUST_CLEANUP struct mm_trust *added = NULL;
    const char *path = NULL;
    int r = find_file(o, &path, ei);

    if (r == MM_OK)
        r = mm_trust_read(o->args.operand, &added, ei);
    if (r == MM_OK && sk_X509_num(mm_trust_certificates(added)) != 1)
        r = mm_fail(ei, MM_ERR_INVALID, "TRUST_INVALID",
                    "%.160s: more than one certificate; add them one by one", o->args.operand);
    if (r == MM_OK)
        r = read_installed(path, &pem, &installed, ei);
    if (r == MM_OK)
        r = check_new(installed, sk_X509_value(mm_trust_certificates(added), 0), o->args.operand,
                      ei);
    return r < 0 ? r : install(o, path, added, &pem, ei);
}

int mm_cmd_oem_list(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {
        {"subject", "subject"}, {"not_after", "until"}, {"sha256", "SHA-256"}};
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_TRUST_CLEANUP struct mm_trust *installed = NULL;
    json_t *const list = json_array();
    const char *path = NULL;
    int r = mm_officer_answer(o, "oem_certificates", list, ei);

    if (r == MM_OK)
        r = find_file(o, &path, ei);
    if (r == MM_OK)
        r = read_installed(path, &pem, &installed, ei);
    if (r < 0)
        return r;
    for (int i = 0; installed && i < sk_X509_num(mm_trust_certificates(installed)); i++)
        if (json_array_append_new(
                list, mm_cert_describe(sk_X509_value(mm_trust_certificates(installed), i))) < 0)
            return mm_fail_memory(ei);
    if (!o->args.json)
        mm_out_table(stdout, list, columns, MM_ARRAY_SIZE(columns));
    return MM_OK;
}
