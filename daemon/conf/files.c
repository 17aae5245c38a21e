/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a file must be; the setting's name is for the message. */
struct demand {
    const char *file;        /* the configuration */
    int line;                /* of the section */
    const char *kind, *name; /* "token", "main"; name is "" for single sections */
    const char *key;
    off_t max; /* bytes */
    bool secret;
};

static int bad(const struct demand *d, struct mm_errinfo *ei)
{
    return mm_err_prefix(ei, "%s:%d: %s%s%s%s.%s", d->file, d->line, d->kind, *d->name ? " '" : "",
                         d->name, *d->name ? "'" : "", d->key);
}

static int check_stat(const struct demand *d, const char *path, int fd, struct mm_errinfo *ei)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "BAD_FILE", "%s is not a regular file", path);
    if (st.st_size > d->max)
        return mm_fail(ei, MM_ERR_TOO_BIG, "BAD_FILE", "%s has %lld bytes; at most %lld are taken",
                       path, (long long)st.st_size, (long long)d->max);
    if (d->secret && (st.st_mode & (S_IRWXG | S_IRWXO)))
        return mm_fail(ei, MM_ERR_PERMISSION, "BAD_FILE",
                       "%s holds a secret and has mode %03o: chmod 600 it", path,
                       (unsigned)st.st_mode & 0777u);
    /* Who may sign orders, what code has the PIN: not for everybody on the machine to say. */
    if (st.st_mode & S_IWOTH)
        return mm_fail(ei, MM_ERR_PERMISSION, "BAD_FILE", "%s can be written by all: chmod o-w it",
                       path);
    return MM_OK;
}

static int check_file(const struct demand *d, const char *path, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    int r;

    if (!*path)
        return MM_OK;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    r = fd < 0 ? mm_fail_errno(ei, errno, "%s", path) : check_stat(d, path, fd, ei);
    return r < 0 ? bad(d, ei) : MM_OK;
}

/* A database that is not there yet needs a folder that it can be made in. */
static int check_store(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    const char *path = conf->store.path;
    MM_FREE char *folder = strndup(path, (size_t)(strrchr(path, '/') - path) + 1);

    if (!folder)
        return mm_fail_memory(ei);
    if (access(folder, W_OK | X_OK) < 0) {
        mm_fail_errno(ei, errno, "folder %s", folder);
        return mm_err_prefix(ei, "%s:%d: store.path", conf->path, conf->store.line);
    }
    return MM_OK;
}

/* Outside of its unit the service's credentials are not there to be looked at. Their folder is
 * private; their mode says nothing, since systemd grants by an ACL. */
static int check_credential(const struct demand *d, const char *name, struct mm_errinfo *ei)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    MM_FREE char *path = NULL;

    if (!folder || !*name)
        return MM_OK;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return mm_fail_memory(ei);
    }
    return check_file(d, path, ei);
}

static int check_listen(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    const struct mm_conf_listen *l = &conf->listen;
    const struct {
        struct demand demand;
        const char *path;
    } files[] = {
        {{conf->path, l->line, "listen", "", "certificate", MM_PEM_FILE_MAX, false},
         l->certificate},
        {{conf->path, l->line, "listen", "", "key", MM_PEM_FILE_MAX, true}, l->key},
        {{conf->path, l->line, "listen", "", "client_ca", MM_PEM_FILE_MAX, false}, l->client_ca},
    };
    int r = MM_OK;

    for (size_t i = 0; i < MM_ARRAY_SIZE(files) && r >= 0; i++)
        r = check_file(&files[i].demand, files[i].path, ei);
    return r;
}

static int check_token(const struct mm_conf *conf, const struct mm_conf_token *t,
                       struct mm_errinfo *ei)
{
    const struct demand module = {conf->path, t->line,   "token", t->name,
                                  "module",   INT32_MAX, false};
    const struct demand pin = {conf->path, t->line,        "token", t->name,
                               "pin_file", MM_PIN_MAX + 1, true};
    const struct demand credential = {conf->path,       t->line,        "token", t->name,
                                      "pin_credential", MM_PIN_MAX + 1, false};
    int r = check_file(&module, t->module, ei);

    if (r >= 0)
        r = check_file(&pin, t->pin_file, ei);
    return r < 0 ? r : check_credential(&credential, t->pin_credential, ei);
}

static int check_issuer(const struct mm_conf *conf, const struct mm_conf_issuer *issuer,
                        struct mm_errinfo *ei)
{
    const struct {
        const char *key, *path;
        off_t max;
        bool secret;
    } files[] = {
        {"certificate", issuer->certificate, MM_PEM_FILE_MAX, false},
        {"server_ca", issuer->server_ca, MM_PEM_FILE_MAX, false},
        {"client_p12", issuer->client_p12, MM_PEM_FILE_MAX, true},
        {"client_certificate", issuer->client_certificate, MM_PEM_FILE_MAX, false},
        {"client_password_file", issuer->client_password_file, MM_PIN_MAX + 1, true},
    };
    const struct demand credential = {
        conf->path,     issuer->line, "issuer", issuer->name, "client_password_credential",
        MM_PIN_MAX + 1, false};
    int r = MM_OK;

    for (size_t i = 0; i < MM_ARRAY_SIZE(files) && r >= 0; i++) {
        const struct demand d = {conf->path,   issuer->line, "issuer",       issuer->name,
                                 files[i].key, files[i].max, files[i].secret};

        r = check_file(&d, files[i].path, ei);
    }
    return r < 0 ? r : check_credential(&credential, issuer->client_password_credential, ei);
}

static int check_items(const struct mm_conf *conf, const struct mm_conf_profile *p,
                       struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (size_t i = 0; i < p->n_items && r >= 0; i++) {
        const struct demand d = {conf->path, p->items[i].line,   "item", p->items[i].name,
                                 "file",     MM_ITEM_INLINE_MAX, false};

        r = check_file(&d, p->items[i].file, ei);
    }
    return r;
}

static int check_appliance(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *a = &conf->appliance;
    const struct {
        const char *key, *path;
    } files[] = {
        {"identity_certificate", a->identity_certificate},
        {"audit_certificate", a->audit_certificate},
        {"oem_certificates", a->oem_certificates},
        {"officer_certificates", a->officer_certificates},
    };
    int r = MM_OK;

    for (size_t i = 0; i < MM_ARRAY_SIZE(files) && r >= 0; i++) {
        const struct demand d = {conf->path,   a->line,         "appliance", "",
                                 files[i].key, MM_PEM_FILE_MAX, false};

        r = check_file(&d, files[i].path, ei);
    }
    return r;
}

/* The configuration itself. */
static int check_own(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    struct stat st;

    if (stat(conf->path, &st) < 0 || !(st.st_mode & S_IWOTH))
        return MM_OK; /* it has been read: that it is gone since is no fault */
    return mm_fail(ei, MM_ERR_PERMISSION, "BAD_FILE", "%s can be written by all: chmod o-w it",
                   conf->path);
}

int mm_conf_check_files(const struct mm_conf *conf, struct mm_errinfo *ei)
{
    int r = check_own(conf, ei);

    if (r >= 0)
        r = check_listen(conf, ei);
    if (r >= 0)
        r = check_store(conf, ei);
    if (r >= 0)
        r = check_appliance(conf, ei);
    for (size_t i = 0; i < conf->n_tokens && r >= 0; i++)
        r = check_token(conf, &conf->tokens[i], ei);
    for (size_t i = 0; i < conf->n_issuers && r >= 0; i++)
        r = check_issuer(conf, &conf->issuers[i], ei);
    for (size_t i = 0; i < conf->n_signings && r >= 0; i++) {
        const struct demand d = {
            conf->path,    conf->signings[i].line, "signing", conf->signings[i].name,
            "certificate", MM_PEM_FILE_MAX,        false};

        r = check_file(&d, conf->signings[i].certificate, ei);
    }
    for (size_t i = 0; i < conf->n_profiles && r >= 0; i++)
        r = check_items(conf, &conf->profiles[i], ei);
    return r;
}
