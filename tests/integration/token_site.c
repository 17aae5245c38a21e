/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/integration/token_site.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/ipc/channel.h"
#include "daemon/ipc/worker.h"
#include "pkcs11/token.h"
#include "tests/support/handed.h"

#include <check.h>
#include <ftw.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct mm_errinfo ei;
#define ck_ok(call) ck_assert_msg((call) == MM_OK, "%s: %s", #call, ei.text)

static const char config[] =
    "site = 'test'\n"
    "listen { certificate = 'tls.pem' key = 'tls.key' client_ca = 'tls.pem' }\n"
    "store { path = 'store.db' }\n"
    "token 'factory' {\n"
    "    uri = 'pkcs11:token=factory'\n"
    "    pin_file = 'pin'\n"
    "    module = '@MODULE@'\n"
    "}\n"
    "transport 'centre' { token = 'factory' key = 'pkcs11:object=centre' }\n"
    "issuer 'pai' { token = 'factory' key = 'pkcs11:object=pai' certificate = 'chain.pem' }\n"
    "profile 'dac' {\n"
    "    preset = 'matter-dac' issuer = 'pai' transport = 'centre' vid = 'FFF1' pid = '8000'\n"
    "    item 'settings' { file = 'settings.bin' }\n"
    "    item 'firmware' { reference = 'https://files.example/f' size = 5\n"
    "        sha256 = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff' }\n"
    "}\n"
    "profile 'idevid' { preset = 'ieee8021ar-idevid' issuer = 'pai' transport = 'centre' }\n"
    "profile 'csr' { issuer = 'none' key = 'p384' transport = 'centre'\n"
    "    subject = 'CN=gateway,serialNumber=${number:8}' }\n"
    "profile 'kept' { preset = 'matter-dac' issuer = 'pai' delivery = 'retained'\n"
    "    vid = 'FFF1' pid = '8000' }\n"
    "profile 'bare' { preset = 'matter-dac' issuer = 'pai' delivery = 'plain'\n"
    "    vid = 'FFF1' pid = '8000' }\n";

const char *site_path(const struct token_site *site, const char *name)
{
    static char paths[4][96];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", site->folder, name);
    return path;
}

void site_write(const struct token_site *site, const char *name, const void *data, size_t len)
{
    ck_ok(mm_io_write_file(site_path(site, name), 0600, data, len, &ei));
}

static void write_text(const struct token_site *site, const char *name, const char *text)
{
    site_write(site, name, text, strlen(text));
}

void site_edit(struct token_site *site, const char *from, const char *to)
{
    struct mm_buf edited = MM_BUF_INIT(MM_CONF_FILE_MAX);
    const char *text = mm_buf_cstr(&site->config), *at = strstr(text, from);

    ck_assert_msg(at, "no \"%s\" in the configuration", from);
    mm_buf_append(&edited, text, (size_t)(at - text));
    mm_buf_append_str(&edited, to);
    mm_buf_append_str(&edited, at + strlen(from));
    mm_buf_done(&site->config);
    site->config = edited;
}

static struct mm_secret *secret(const char *text)
{
    struct mm_secret *s;

    ck_assert_int_eq(mm_secret_new(strlen(text), &s), MM_OK);
    memcpy(mm_secret_data(s), text, strlen(text));
    return s;
}

/* The settings of the token's section that lead to it. */
static void configure_token(struct token_site *site)
{
    struct mm_buf settings = MM_BUF_INIT(MM_CONF_FILE_MAX);

    mm_buf_append_str(&settings, site->how.module);
    for (size_t i = 0; i < site->how.n_environment; i++) {
        mm_buf_append_str(&settings, i == 0 ? "'\n    environment = {'" : "', '");
        mm_buf_append_str(&settings, site->how.environment[i]);
    }
    mm_buf_append_str(&settings, site->how.n_environment > 0 ? "'}" : "'");
    if (site->how.parameters) {
        mm_buf_append_str(&settings, "\n    parameters = \"");
        mm_buf_append_str(&settings, site->how.parameters);
        mm_buf_append_str(&settings, "\"");
    }
    site_edit(site, "@MODULE@'", mm_buf_cstr(&settings));
    mm_buf_done(&settings);
}

static void make_token(struct token_site *site, const struct token_kind *kind)
{
    MM_SECRET_CLEANUP struct mm_secret *so = secret("so pin 1");
    MM_SECRET_CLEANUP struct mm_secret *user = secret(SITE_PIN);
    struct mm_token_open how;

    token_kind_prepare(kind, site->folder, "factory", &site->how);
    how = site->how;
    how.uri = NULL;
    ck_ok(mm_token_initialise(&how, "factory", so, user, &ei));
}

struct mm_token *site_token(const struct token_site *site)
{
    MM_SECRET_CLEANUP struct mm_secret *user = secret(SITE_PIN);
    struct mm_token *t;

    ck_ok(mm_token_open(&site->how, &t, &ei));
    ck_ok(mm_token_login(t, &user, &ei));
    return t;
}

static void make_chain(struct token_site *site, struct mm_token *t)
{
    uint8_t point[MM_POINT_MAX];
    size_t len;
    enum mm_curve curve;
    mm_handle pai;

    ck_ok(mm_token_create_ca_key(t, "pai", MM_CURVE_P256, &pai, &ei));
    ck_ok(mm_token_public_point(t, pai, &curve, point, &len, &ei));
    matter_chain_make(&site->chain, point);
    matter_chain_write(&site->chain, site_path(site, "chain.pem"));
}

static void open_export(struct token_site *site, EVP_PKEY *recipient)
{
    json_t *file = json_loads(site->transport_export, 0, NULL);
    const char *hex = json_string_value(json_object_get(file, "wrapped_key"));
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    uint8_t wrapped[512], key[512];
    size_t len = sizeof(key);

    ck_assert_ptr_nonnull(hex);
    ck_assert_int_eq(mm_hex_decode(hex, wrapped, strlen(hex) / 2), MM_OK);
    ck_assert_int_eq(EVP_PKEY_decrypt_init(ctx), 1);
    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
    if (strcmp(json_string_value(json_object_get(file, "wrap")), "RSA-OAEP-SHA256") == 0)
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256());
    ck_assert_int_eq(EVP_PKEY_decrypt(ctx, key, &len, wrapped, strlen(hex) / 2), 1);
    ck_assert_uint_eq(len, sizeof(site->transport_key));
    memcpy(site->transport_key, key, sizeof(site->transport_key));
    EVP_PKEY_CTX_free(ctx);
    json_decref(file);
}

static void make_transport(struct token_site *site, struct mm_token *t)
{
    EVP_PKEY *recipient = EVP_RSA_gen(2048);
    struct mm_buf file = MM_BUF_INIT(MM_CONF_FILE_MAX);
    uint8_t *spki = NULL;
    const int len = i2d_PUBKEY(recipient, &spki);
    mm_handle key;
    FILE *f = fopen(site_path(site, "recipient.pem"), "w");

    ck_assert_int_eq(PEM_write_PrivateKey(f, recipient, NULL, NULL, 0, NULL, NULL), 1);
    ck_assert_int_eq(fclose(f), 0);
    ck_ok(mm_token_create_transport_key(t, "centre", &key, &ei));
    ck_ok(mm_token_export_transport(t, key, "centre", (struct mm_bytes){spki, (size_t)len}, &file,
                                    &ei));
    site->transport_export = strdup(mm_buf_cstr(&file));
    open_export(site, recipient);
    OPENSSL_free(spki);
    mm_buf_done(&file);
    EVP_PKEY_free(recipient);
}

void site_make(struct token_site *site, const struct token_kind *kind)
{
    struct mm_token *t;

    *site = (struct token_site){.folder = "/tmp/mm-site-XXXXXX"};
    token_kind_drop_root(kind);
    ck_assert_ptr_nonnull(mkdtemp(site->folder));
    make_token(site, kind);
    t = site_token(site);
    make_chain(site, t);
    make_transport(site, t);
    mm_token_free(t);
    write_text(site, "pin", SITE_PIN "\n");
    write_text(site, "settings.bin", "settings");
    site->config = MM_BUF_INIT(MM_CONF_FILE_MAX);
    mm_buf_append_str(&site->config, config);
    configure_token(site);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void site_done(struct token_site *site)
{
    nftw(site->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    mm_buf_done(&site->config);
    matter_chain_done(&site->chain);
    free(site->transport_export);
}

static void become_worker(int fd, int handed)
{
    const char *path = getenv("MM_TOKEN_WORKER");

    ck_assert_ptr_nonnull(path);
    if (handed_take(fd, -1, handed))
        execl(path, path, (char *)NULL);
    _exit(127);
}

struct worker worker_start(const struct token_site *site, const char *section)
{
    Mintmark__Internal__WorkerStart start;
    struct worker w = {.pid = -1};
    char name[] = "token.0", path[96], token[64];
    int fds[2], handed;

    mintmark__internal__worker_start__init(&start);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    snprintf(path, sizeof(path), "%s", site_path(site, "mintmark.conf"));
    handed = handed_pipe(path, (struct mm_bytes){site->config.data, site->config.len});
    w.pid = fork();
    if (w.pid == 0)
        become_worker(fds[1], handed);
    ck_assert_int_gt(w.pid, 0);
    close(handed);
    close(fds[1]);
    w.fd = fds[0];
    snprintf(token, sizeof(token), "%s", section);
    start.config = (ProtobufCBinaryData){site->config.len, site->config.data};
    start.config_path = path;
    start.name = name;
    start.section = token;
    ck_ok(mm_channel_write(w.fd, &start.base, &ei));
    w.ready = worker_receive(&w);
    ck_assert_uint_eq(w.ready->id, 0);
    return w;
}

int worker_wait(struct worker *w)
{
    int status;

    ck_assert_int_eq(waitpid(w->pid, &status, 0), w->pid);
    mintmark__internal__token_result__free_unpacked(w->ready, NULL);
    close(w->fd);
    ck_assert_msg(WIFEXITED(status), "the worker was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

int worker_stop(struct worker *w)
{
    shutdown(w->fd, SHUT_RDWR);
    return worker_wait(w);
}

void worker_send(struct worker *w, Mintmark__Internal__TokenJob *job)
{
    ck_ok(mm_channel_write(w->fd, &job->base, &ei));
}

Mintmark__Internal__TokenResult *worker_receive(struct worker *w)
{
    struct mm_buf payload = MM_BUF_INIT(MM_IPC_MESSAGE_MAX);
    Mintmark__Internal__TokenResult *result;

    ck_ok(mm_channel_read(w->fd, &payload, &ei));
    result = mintmark__internal__token_result__unpack(NULL, payload.len, payload.data);
    ck_assert_ptr_nonnull(result);
    mm_buf_done(&payload);
    return result;
}

Mintmark__Internal__TokenResult *worker_mint(struct worker *w, Mintmark__Internal__MintJob *mint,
                                             int64_t deadline_mono_us)
{
    static uint64_t id;
    Mintmark__Internal__TokenJob job;
    Mintmark__Internal__TokenResult *result;

    mintmark__internal__token_job__init(&job);
    job.id = ++id;
    job.deadline_mono_us = deadline_mono_us;
    job.job_case = MINTMARK__INTERNAL__TOKEN_JOB__JOB_MINT;
    job.mint = mint;
    worker_send(w, &job);
    result = worker_receive(w);
    ck_assert_uint_eq(result->id, job.id);
    return result;
}
