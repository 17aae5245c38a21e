/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/token_kind.h"

#include "daemon/base/io.h"

#include <check.h>
#include <glob.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MM_SOFTHSM
#define MM_SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"
#endif
/* In the folder of this machine's kind; the first that is there. */
#define MM_SOFTOKN "/usr/lib/*/libsoftokn3.so"
#define MM_PROXY   "/usr/lib/*/p11-kit-proxy.so"

enum { NOBODY = 65534 };

static struct token_kind kinds[] = {
    {.name = "softhsm",
     .module = MM_SOFTHSM,
     .library = MM_SOFTHSM,
     .manufacturer = "SoftHSM%20project",
     .kwp = 0x210A,
     .selftest_lines = 15,
     .renewed = true},
    {.name = "softokn",
     .module = MM_SOFTOKN,
     .library = MM_SOFTOKN,
     .manufacturer = "Mozilla%20Foundation",
     .kwp = 0x210B,
     .selftest_lines = 13,
     .one_token = true,
     .no_local = true,
     .no_ecdh_export = true},
    {.name = "proxy",
     .module = MM_PROXY,
     .library = MM_SOFTHSM,
     .manufacturer = "SoftHSM%20project",
     .kwp = 0x210A,
     .selftest_lines = 15,
     .renewed = true},
};

/* The first file that a pattern names; kept for good. NULL if there is none. */
static const char *installed(const char *pattern)
{
    glob_t found;
    const char *path = NULL;

    if (glob(pattern, 0, NULL, &found) == 0) {
        path = strdup(found.gl_pathv[0]);
        globfree(&found);
    }
    return path;
}

const struct token_kind *token_kind(const char **ret_why)
{
    const char *wanted = getenv("MINTMARK_TEST_TOKEN");

    for (size_t i = 0; i < MM_ARRAY_SIZE(kinds); i++) {
        struct token_kind *k = &kinds[i];

        if (strcmp(wanted && *wanted ? wanted : "softhsm", k->name) != 0)
            continue;
        *ret_why = k->module;
        k->module = installed(k->module);
        if (k->module)
            *ret_why = k->library;
        k->library = installed(k->library);
        return k->module && k->library ? k : NULL;
    }
    *ret_why = "token of the kind that MINTMARK_TEST_TOKEN names";
    return NULL;
}

void token_kind_drop_root(const struct token_kind *kind)
{
    if (strcmp(kind->name, "proxy") != 0 || getuid() != 0)
        return;
    ck_assert_int_eq(setgroups(0, NULL), 0);
    ck_assert_int_eq(setgid(NOBODY), 0);
    ck_assert_int_eq(setuid(NOBODY), 0);
}

/* One string of each; a process works with one token. */
static char text[5][192];

static void make_folder(const char *folder, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void write_file(const char *folder, const char *name, const char *content)
{
    struct mm_errinfo ei;
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    ck_assert_int_eq(mm_io_write_file(path, 0600, content, strlen(content), &ei), MM_OK);
}

static void prepare_softhsm(const char *folder, struct mm_token_open *how)
{
    static char *environment[] = {text[0], text[1]};

    make_folder(folder, "tokens");
    snprintf(text[2], sizeof(text[2]), "directories.tokendir = %s/tokens\nlog.level = ERROR\n",
             folder);
    write_file(folder, "softhsm2.conf", text[2]);
    snprintf(text[0], sizeof(text[0]), "SOFTHSM2_CONF=%s/softhsm2.conf", folder);
    how->environment = environment;
    how->n_environment = 1;
}

static void prepare_proxy(const char *folder, struct mm_token_open *how)
{
    prepare_softhsm(folder, how);
    make_folder(folder, "config");
    make_folder(folder, "config/pkcs11");
    make_folder(folder, "config/pkcs11/modules");
    write_file(folder, "config/pkcs11/pkcs11.conf", "user-config: only\n");
    write_file(folder, "config/pkcs11/modules/softhsm.module",
               "module: " MM_SOFTHSM "\ncritical: yes\n");
    snprintf(text[1], sizeof(text[1]), "XDG_CONFIG_HOME=%s/config", folder);
    how->n_environment = 2;
}

void token_kind_prepare(const struct token_kind *kind, const char *folder, const char *label,
                        struct mm_token_open *ret_how)
{
    *ret_how = (struct mm_token_open){.module = kind->module, .uri = text[3]};
    snprintf(text[3], sizeof(text[3]), "pkcs11:token=%s", label);
    if (kind->one_token) {
        make_folder(folder, "nss");
        snprintf(text[4], sizeof(text[4]), "configdir='sql:%s/nss' dbTokenDescription='%s'", folder,
                 label);
        ret_how->parameters = text[4];
    } else if (strcmp(kind->name, "proxy") == 0) {
        prepare_proxy(folder, ret_how);
    } else {
        prepare_softhsm(folder, ret_how);
    }
}
