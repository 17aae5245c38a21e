/* SPDX-License-Identifier: Apache-2.0 */
/*
 * package import: private keys go into the token, data and values into files below
 * appliance.exchange_folder. Everything that can be found wrong is found before the question, and
 * what is there already stays as it is, so that an import that was cut off can be done again.
 */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/provider/p12.h"
#include "tools/officer/package.h"
#include "tools/officer/pem.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/stat.h>

enum state { NEW, SAME, REPLACED };

/* What an item becomes. */
struct plan {
    const struct mm_item *item;
    char path[PATH_MAX];
    mode_t mode;
    struct mm_buf content; /* of the file */
    enum state file;
    struct mm_p12 p12; /* pkcs12 */
    enum state key;
    mm_handle replaced;
};

struct import {
    struct mm_opened opened;
    struct plan *plans;
};

static const char *const folders[] = {
    [MM_ITEM_PKCS12] = "certificates", [MM_ITEM_DATA] = "data", [MM_ITEM_VARIABLE] = "variables"};

static void import_done(struct import *im)
{
    for (size_t i = 0; im->plans && i < im->opened.package.n_items; i++) {
        mm_buf_done(&im->plans[i].content);
        mm_p12_done(&im->plans[i].p12);
    }
    free(im->plans);
    mm_opened_done(&im->opened);
}
#define IMPORT_CLEANUP MM_CLEANUP(import_done)

/* ---- planning ---------------------------------------------------------------------------- */

static int taken(struct mm_officer *o, const char *what, struct mm_errinfo *ei)
{
    if (o->args.replace)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXISTS, "PACKAGE_EXISTS",
                   "%.200s is there already, with another content; --replace replaces it", what);
}

static int plan_file(struct mm_officer *o, struct plan *p, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf there = MM_BUF_INIT(MM_PACKAGE_MAX + 1);
    struct stat st;
    int r;

    if (mm_buf_err(&p->content) < 0)
        return mm_fail_memory(ei);
    if (lstat(p->path, &st) < 0) {
        p->file = NEW;
        return errno == ENOENT ? MM_OK : mm_fail_errno(ei, errno, "%s", p->path);
    }
    p->file = REPLACED;
    if (S_ISREG(st.st_mode) && st.st_size == (off_t)p->content.len) {
        r = mm_io_read_file(p->path, MM_PACKAGE_MAX + 1, &there, ei);
        if (r < 0)
            return r;
        if (memcmp(there.data, p->content.data, there.len) == 0) {
            p->file = SAME;
            return MM_OK;
        }
    }
    return taken(o, p->path, ei);
}

/* Not one that the token made: that is no key of a package. */
static int refuse_own(struct mm_officer *o, mm_handle key, const char *name, struct mm_errinfo *ei)
{
    if (mm_token_check_policy(o->token, key, MM_USE_IMPORTED, NULL) == MM_OK) {
        struct mm_key_info info;
        const int r = mm_token_key_info(o->token, key, &info, ei);

        if (r < 0 || !info.local)
            return r;
    }
    return mm_fail(ei, MM_ERR_EXISTS, "PACKAGE_EXISTS",
                   "the token has a key '%s' that came in no package; it is left as it is", name);
}

static int plan_key(struct mm_officer *o, struct plan *p, struct mm_errinfo *ei)
{
    EVP_PKEY *there = NULL;
    char what[MM_NAME_MAX + 32];
    bool same;
    int r = mm_officer_find(o, p->item->name, MM_KEY_PRIVATE, &p->replaced, ei);

    if (r == MM_ERR_NOT_FOUND) {
        p->replaced = 0;
        p->key = NEW;
        return MM_OK;
    }
    if (r == MM_OK)
        r = refuse_own(o, p->replaced, p->item->name, ei);
    if (r == MM_OK)
        r = mm_token_public_key(o->token, p->replaced, &there, ei);
    if (r < 0)
        return r;
    same = EVP_PKEY_eq(there, X509_get0_pubkey(p->p12.certificate)) == 1;
    EVP_PKEY_free(there);
    ERR_clear_error();
    p->key = same ? SAME : REPLACED;
    snprintf(what, sizeof(what), "the token's key '%s'", p->item->name);
    return same ? MM_OK : taken(o, what, ei);
}

static int open_p12(struct plan *p, struct mm_errinfo *ei)
{
    const struct mm_item *const item = p->item;
    int r = mm_p12_open((struct mm_bytes){item->bytes.data, item->bytes.len},
                        (const char *)mm_secret_data(item->password), "PACKAGE_P12", &p->p12, ei);

    if (r < 0)
        return mm_err_prefix(ei, "pkcs12 '%s'", item->name);
    if (X509_check_private_key(p->p12.certificate, p->p12.key) != 1 ||
        sk_X509_num(p->p12.chain) > MM_CHAIN_MAX) {
        ERR_clear_error();
        return mm_fail(
            ei, MM_ERR_INVALID, "PACKAGE_P12",
            "pkcs12 '%s': its certificate is not that of its key, or its chain is longer "
            "than %d",
            item->name, MM_CHAIN_MAX);
    }
    r = mm_cert_append_pem(p->p12.certificate, &p->content, ei);
    return r < 0 || !p->p12.chain ? r : mm_chain_append_pem(p->p12.chain, &p->content, ei);
}

static int plan_item(struct mm_officer *o, const struct mm_item *item, struct plan *p,
                     struct mm_errinfo *ei)
{
    const bool p12 = item->type == MM_ITEM_PKCS12;
    int r = MM_OK;

    p->item = item;
    p->content = MM_BUF_INIT(MM_PACKAGE_MAX + 1);
    p->mode = item->type == MM_ITEM_DATA ? 0640 : p12 ? 0644 : 0600;
    if (snprintf(p->path, sizeof(p->path), "%s/%s/%s%s", o->conf->appliance.exchange_folder,
                 folders[item->type], item->name, p12 ? ".pem" : "") >= PATH_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "the path of '%s' is too long",
                       item->name);
    if (p12) {
        r = open_p12(p, ei);
        if (r == MM_OK)
            r = plan_key(o, p, ei);
    } else {
        mm_buf_append(&p->content, item->bytes.data, item->bytes.len);
        if (item->type == MM_ITEM_VARIABLE)
            mm_buf_append_u8(&p->content, '\n');
    }
    return r < 0 ? r : plan_file(o, p, ei);
}

static void say(struct mm_officer *o, const struct plan *p)
{
    static const char *const words[] = {
        [NEW] = "new", [SAME] = "there already", [REPLACED] = "replaces what is there"};
    const struct mm_item *const item = p->item;
    uint8_t digest[32];
    char hex[2 * sizeof(digest) + 1], fingerprint[MM_FINGERPRINT_TEXT];

    if (item->type == MM_ITEM_PKCS12) {
        if (mm_cert_fingerprint(p->p12.certificate, fingerprint, NULL) < 0)
            return;
        mm_ceremony_say(o, "item",
                        "pkcs12 %s: key in the token (%s), certificate %s (%s), SHA-256 %s",
                        item->name, words[p->key], p->path, words[p->file], fingerprint);
    } else if (item->type == MM_ITEM_DATA) {
        if (EVP_Digest(item->bytes.data, item->bytes.len, digest, NULL, EVP_sha256(), NULL) != 1)
            return;
        mm_ceremony_say(o, "item", "data %s: %zu bytes, SHA-256 %s, file %s (%s)", item->name,
                        item->bytes.len, mm_hex_encode(digest, sizeof(digest), hex), p->path,
                        words[p->file]);
    } else {
        mm_ceremony_say(o, "item", "variable %s: %zu bytes, file %s (%s)", item->name,
                        item->bytes.len, p->path, words[p->file]);
    }
}

/* ---- installing -------------------------------------------------------------------------- */

static int make_folder(const char *path, struct mm_errinfo *ei)
{
    if (mkdir(path, 0750) < 0 && errno != EEXIST)
        return mm_fail_errno(ei, errno, "%s: cannot make the folder", path);
    return MM_OK;
}

static int make_folders(struct mm_officer *o, struct mm_errinfo *ei)
{
    const char *const root = o->conf->appliance.exchange_folder;
    int r = make_folder(root, ei);

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(folders); i++) {
        char path[PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s", root, folders[i]) >= PATH_MAX)
            return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: too long", root);
        r = make_folder(path, ei);
    }
    return r;
}

static int install_one(struct mm_officer *o, const struct plan *p, struct mm_errinfo *ei)
{
    mm_handle key;
    int r = MM_OK;

    if (p->item->type == MM_ITEM_PKCS12 && p->key != SAME) {
        r = mm_token_import_key(o->token, p->item->name, p->p12.key, p->replaced, &key, ei);
        if (r == MM_OK)
            r = mm_ceremony_key(o, key, ei);
    }
    if (r == MM_OK && p->file == NEW)
        r = mm_io_create_file(p->path, p->mode, p->content.data, p->content.len, ei);
    else if (r == MM_OK && p->file == REPLACED)
        r = mm_io_write_file(p->path, p->mode, p->content.data, p->content.len, ei);
    return r < 0 ? mm_err_prefix(ei, "item '%s'", p->item->name) : MM_OK;
}

static int install(struct mm_officer *o, const struct import *im, struct mm_errinfo *ei)
{
    const struct mm_package *const p = &im->opened.package;
    struct mm_exchange_mark mark = {.created_ms = p->created_ms};
    json_t *const list = json_array();
    int r = mm_officer_answer(o, "installed", list, ei);

    memcpy(mark.sha256, im->opened.sha256, sizeof(mark.sha256));
    if (r == MM_OK)
        r = make_folders(o, ei);
    for (size_t i = 0; r == MM_OK && i < p->n_items; i++) {
        r = install_one(o, &im->plans[i], ei);
        if (r == MM_OK &&
            json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "type",
                                                  mm_item_type_name(p->items[i].type), "name",
                                                  p->items[i].name, "file", im->plans[i].path)) < 0)
            r = mm_fail_memory(ei);
    }
    if (r == MM_OK)
        r = mm_token_mark_write(o->token, &mark, ei);
    if (r == MM_OK)
        mm_ceremony_say(o, "installed", "package %s, %zu items", p->id, p->n_items);
    return r;
}

/* ---- the command ------------------------------------------------------------------------- */

static int prepare(struct mm_officer *o, struct import *im, struct mm_errinfo *ei)
{
    const struct mm_package *const p = &im->opened.package;
    char hash[65];
    int r = MM_OK;

    im->plans = calloc(p->n_items, sizeof(*im->plans));
    if (!im->plans)
        return mm_fail_memory(ei);
    for (size_t i = 0; r == MM_OK && i < p->n_items; i++)
        r = plan_item(o, &p->items[i], &im->plans[i], ei);
    if (r < 0)
        return r;
    mm_hex_encode(im->opened.sha256, 32, hash);
    mm_ceremony_say(o, "package", "%s, content SHA-256 %s", p->id, hash);
    mm_hex_encode(im->opened.document.signer_sha256, 32, hash);
    mm_ceremony_say(o, "signer", "%s, SHA-256 %s", im->opened.document.signer_name, hash);
    for (size_t i = 0; i < p->n_items; i++)
        say(o, &im->plans[i]);
    return MM_OK;
}

int mm_cmd_package_import(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_EXCHANGE_CLEANUP struct mm_exchange x = {.key = 0};
    IMPORT_CLEANUP struct import im = {.opened = {.document = MM_DOCUMENT_INIT}};
    int r;

    if (!*o->conf->appliance.exchange_folder) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_EXCHANGE",
                       "%s: set appliance.exchange_folder to where packages are installed",
                       o->conf->path);
    }
    r = mm_exchange_open(o, &x, ei);
    if (r == MM_OK)
        r = mm_package_open(o, &x, &im.opened, ei);
    if (r == MM_OK)
        r = mm_package_fresh(o, &im.opened, ei);
    if (r == MM_OK)
        r = prepare(o, &im, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei, "Install these %zu items of package '%s', signed by %s?",
                                im.opened.package.n_items, im.opened.package.id,
                                im.opened.document.signer_name);
    return r < 0 ? r : install(o, &im, ei);
}
