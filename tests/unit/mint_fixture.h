/* SPDX-License-Identifier: Apache-2.0 */
/* A minter on the mock token, with a chain and a profile of each kind. */
#pragma once

#include "daemon/base/io.h"
#include "daemon/base/log.h"
#include "daemon/token/making.h"
#include "tests/support/matter_chain.h"
#include "tests/unit/mock_token.h"

#include <ftw.h>
#include <stdio.h>
#include <unistd.h>

static const char config[] =
    "listen { certificate = 'tls.pem' key = 'tls.key' client_ca = 'tls.pem' }\n"
    "store { path = 'store.db' }\n"
    "token 't' { module = '" MM_MOCK_MODULE "' uri = 'pkcs11:token=mock;serial=0001'\n"
    "    pin_file = 'pin' environment = {'MM_MOCK_P11_STATE=@FOLDER@/token'} }\n"
    "transport 'centre' { token = 't' key = 'pkcs11:object=centre' }\n"
    "issuer 'pai' { token = 't' key = 'pkcs11:object=pai' certificate = 'chain.pem' }\n"
    "profile 'wrapped' { preset = 'matter-dac' issuer = 'pai' transport = 'centre'\n"
    "    vid = 'FFF1' pid = '8000' item 'i' { file = 'pin' } }\n"
    "profile 'kept' { preset = 'matter-dac' issuer = 'pai' delivery = 'retained'\n"
    "    vid = 'FFF1' pid = '8000' }\n"
    "profile 'bare' { preset = 'matter-dac' issuer = 'pai' delivery = 'plain'\n"
    "    vid = 'FFF1' pid = '8000' }\n"
    "profile 'csr' { issuer = 'none' transport = 'centre' subject = 'CN=x${number}' }\n"
    "profile 'own' { preset = 'matter-dac' issuer = 'pai' delivery = 'on-device'\n"
    "    vid = 'FFF1' pid = '8000' subject = 'CN=${hw_serial},VID=${vid},PID=${pid}' }\n"
    "profile 'own-csr' { issuer = 'none' delivery = 'on-device' subject = 'CN=x${number}' }\n";

static char folder[32], state[64];
static char *environment[] = {state};
static struct mm_buf text;
static struct mm_conf *conf;
static struct matter_chain chain;
static struct mm_minter *minter;
static struct mm_login login;
static struct mm_chunk *chunk;

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

static inline void make_keys(void)
{
    struct mm_token_open opening = {.module = MM_MOCK_MODULE,
                                    .uri = "pkcs11:token=mock;serial=0001",
                                    .environment = environment,
                                    .n_environment = 1};
    struct mm_secret *pin = secret(MOCK_PIN);
    struct mm_token *t;
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    size_t len;
    mm_handle key;

    ck_ok(mm_token_open(&opening, &t, &ei));
    ck_ok(mm_token_login(t, &pin, &ei));
    ck_ok(mm_token_create_transport_key(t, "centre", &key, &ei));
    ck_ok(mm_token_create_ca_key(t, "pai", MM_CURVE_P256, &key, &ei));
    ck_ok(mm_token_public_point(t, key, &curve, point, &len, &ei));
    mm_token_free(t);
    matter_chain_make(&chain, point);
    matter_chain_write(&chain, path("chain.pem"));
}

static inline void setup(void)
{
    mm_log_setup("test", MM_LOG_ERROR);
    fresh_mock();
    memcpy(folder, "/tmp/mm-mint-XXXXXX", 20);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(state, sizeof(state), "MM_MOCK_P11_STATE=%s/token", folder);
    ck_ok(mm_io_write_file(path("pin"), 0600, MOCK_PIN "\n", strlen(MOCK_PIN) + 1, &ei));
    make_keys();
    text = MM_BUF_INIT(MM_CONF_FILE_MAX);
    mm_buf_append_str(&text, config);
    edit("@FOLDER@", folder);
    parse();
    ck_assert_int_eq(mm_chunk_new(&chunk), MM_OK);
}

static inline void setup_open(void)
{
    setup();
    ck_ok(mm_minter_open(conf, "t", &login, &minter, &ei));
}

static inline int remove_entry(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

static inline void teardown(void)
{
    mock_rules(NULL);
    mm_minter_free(minter);
    mm_login_done(&login);
    minter = NULL;
    mm_chunk_free(chunk);
    mm_conf_free(conf);
    conf = NULL;
    mm_buf_done(&text);
    matter_chain_done(&chain);
    nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* A failed call can leave a session with an operation begun, or with an object that could not be
 * destroyed; the next round is not about those. Then the rule. */
static inline void fresh_session(const char *rules)
{
    mock_rules(NULL);
    ck_ok(mm_token_reopen(minter->token, &ei));
    ck_ok(mm_minter_find_keys(minter, &ei));
    mock_rules(rules);
}

/* Nobody can clean up what cannot be destroyed: it goes with its session. */
static inline bool destroying_failed(void)
{
    return strcmp(mock_failed(), "C_DestroyObject") == 0;
}
