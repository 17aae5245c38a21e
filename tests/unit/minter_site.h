/* SPDX-License-Identifier: Apache-2.0 */
/* A folder with a mock token, its PIN, a chain, and a configuration to open a minter with. */
#pragma once

#include "daemon/base/io.h"
#include "daemon/base/log.h"
#include "daemon/token/minter.h"
#include "tests/support/matter_chain.h"
#include "tests/unit/mock_token.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

/* The configuration's first lines: what each has, and the token 't'. */
#define SITE_HEAD                                                                                  \
    "listen { certificate = 'tls.pem' key = 'tls.key' client_ca = 'tls.pem' }\n"                   \
    "store { path = 'store.db' }\n"                                                                \
    "token 't' { module = '" MM_MOCK_MODULE "' uri = 'pkcs11:token=mock;serial=0001'\n"            \
    "    pin_file = 'pin' environment = {'MM_MOCK_P11_STATE=@FOLDER@/token'} }\n"
/* The issuing CA whose key and chain site_make_ca() makes. */
#define SITE_ISSUER                                                                                \
    "issuer 'pai' { token = 't' key = 'pkcs11:object=pai' certificate = 'chain.pem' }\n"

static char folder[32], state[64];
static char *environment[] = {state};
static struct mm_buf text; /* the configuration, for edit() */
static struct mm_conf *conf;
static struct matter_chain chain;
static struct mm_minter *minter;
static struct mm_login login;

static const char *path(const char *name)
{
    static char paths[2][64];
    static unsigned next;
    char *p = paths[next++ % 2];

    snprintf(p, sizeof(paths[0]), "%s/%s", folder, name);
    return p;
}

static inline void edit(const char *from, const char *to)
{
    struct mm_buf edited = MM_BUF_INIT(MM_CONF_FILE_MAX);
    const char *whole = mm_buf_cstr(&text), *at = strstr(whole, from);

    ck_assert_ptr_nonnull(at);
    mm_buf_append(&edited, whole, (size_t)(at - whole));
    mm_buf_append_str(&edited, to);
    mm_buf_append_str(&edited, at + strlen(from));
    mm_buf_done(&text);
    text = edited;
}

static inline void parse(void)
{
    mm_conf_free(conf);
    conf = NULL;
    ck_ok(mm_conf_parse(path("mintmark.conf"), (const char *)text.data, text.len, &conf, &ei));
}

static inline struct mm_token *site_token(void)
{
    struct mm_token_open opening = {.module = MM_MOCK_MODULE,
                                    .uri = "pkcs11:token=mock;serial=0001",
                                    .environment = environment,
                                    .n_environment = 1};
    struct mm_secret *pin = secret(MOCK_PIN);
    struct mm_token *t;

    ck_ok(mm_token_open(&opening, &t, &ei));
    ck_ok(mm_token_login(t, &pin, &ei));
    return t;
}

static inline void site_make_ca(struct mm_token *t)
{
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    size_t len;
    mm_handle key;

    ck_ok(mm_token_create_ca_key(t, "pai", MM_CURVE_P256, &key, &ei));
    ck_ok(mm_token_public_point(t, key, &curve, point, &len, &ei));
    matter_chain_make(&chain, point);
    matter_chain_write(&chain, path("chain.pem"));
}

/* make_keys: makes the keys that the configuration names, and what is made of them. */
static inline void site_setup(const char *configuration, void (*make_keys)(struct mm_token *t))
{
    struct mm_token *t;

    mm_log_setup("test", MM_LOG_ERROR);
    fresh_mock();
    memcpy(folder, "/tmp/mm-mint-XXXXXX", 20);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(state, sizeof(state), "MM_MOCK_P11_STATE=%s/token", folder);
    ck_ok(mm_io_write_file(path("pin"), 0600, MOCK_PIN "\n", strlen(MOCK_PIN) + 1, &ei));
    t = site_token();
    make_keys(t);
    mm_token_free(t);
    text = MM_BUF_INIT(MM_CONF_FILE_MAX);
    mm_buf_append_str(&text, configuration);
    edit("@FOLDER@", folder);
    parse();
}

static inline void open_minter(void)
{
    ck_ok(mm_minter_open(conf, "t", &login, &minter, &ei));
}

static inline void drop_minter(void)
{
    mm_minter_free(minter);
    minter = NULL;
}

static inline int remove_entry(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

static inline void site_teardown(void)
{
    mock_rules(NULL);
    drop_minter();
    mm_login_done(&login);
    mm_conf_free(conf);
    conf = NULL;
    mm_buf_done(&text);
    matter_chain_done(&chain);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}
