/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for EJBCA, for tests and benchmarks; README.md beside this says what it does. */
#include "tests/fake/ejbca/fake.h"

#include "daemon/base/io.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { EXTRA_MAX = 8, PATH_TEXT = 1024 };

struct options {
    const char *folder;
    const char *extra[EXTRA_MAX];
    size_t extras;
    struct ca_kind kind;
    unsigned port, control_port;
};

static int usage(void)
{
    fputs("usage: fake-ejbca --folder FOLDER [--port N] [--control-port N] [--keys KIND] "
          "[--ca NAME=SUBJECT]...\n",
          stderr);
    return 64;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"folder", required_argument, NULL, 'f'},       {"port", required_argument, NULL, 'p'},
        {"control-port", required_argument, NULL, 'c'}, {"ca", required_argument, NULL, 'a'},
        {"keys", required_argument, NULL, 'k'},         {0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'f')
            o->folder = optarg;
        else if (c == 'p')
            o->port = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'c')
            o->control_port = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'a' && o->extras < EXTRA_MAX)
            o->extra[o->extras++] = optarg;
        else if (c == 'k' && ca_kind_from_text(optarg, &o->kind))
            continue;
        else
            return false;
    }
    return o->folder && optind == argc;
}

/* TLS as WildFly has it: clients are asked for a certificate of the ManagementCA. */
static SSL_CTX *make_tls(const struct fake *fake)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    char path[PATH_TEXT], key[PATH_TEXT];

    snprintf(path, sizeof(path), "%s/server.pem", fake->folder);
    snprintf(key, sizeof(key), "%s/server.key", fake->folder);
    if (!tls || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
        SSL_CTX_use_certificate_chain_file(tls, path) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
        return NULL;
    snprintf(path, sizeof(path), "%s/ManagementCA.pem", fake->folder);
    if (SSL_CTX_load_verify_file(tls, path) != 1 ||
        SSL_CTX_set_session_id_context(tls, (const unsigned char *)"fake", 4) != 1)
        return NULL;
    SSL_CTX_set_client_CA_list(tls, SSL_load_client_CA_file(path));
    SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    return tls;
}

static int make_credentials(struct fake *fake, struct mm_errinfo *ei)
{
    static const char *const clients[] = {"ra", "reader", "stranger", "former"};
    int r = ca_make_credential(&fake->cas, fake->folder, "server", true, ei);

    for (size_t i = 0; r >= 0 && i < MM_ARRAY_SIZE(clients); i++)
        r = ca_make_credential(&fake->cas, fake->folder, clients[i], false, ei);
    return r;
}

static int listen_both(struct fake *fake, const struct options *o, SSL_CTX *tls,
                       struct mm_errinfo *ei)
{
    const struct listener_options rest = {o->port, tls, rest_handle, fake},
                                  control = {o->control_port, NULL, control_handle, fake};
    int r = listener_new(&fake->loop, &rest, &fake->rest, ei);

    return r < 0 ? r : listener_new(&fake->loop, &control, &fake->control, ei);
}

/* Everything up to the loop. */
static int open_fake(struct fake *fake, const struct options *o, SSL_CTX **ret_tls,
                     struct mm_errinfo *ei)
{
    const char *names[CA_MAX];
    size_t count = 0;
    int r;

    if (mkdir(o->folder, 0700) < 0 && errno != EEXIST)
        return mm_fail_errno(ei, errno, "%s", o->folder);
    fake->folder = o->folder;
    r = cas_open(o->folder, &o->kind, o->extra, o->extras, &fake->cas, ei);
    if (r < 0 || (r = make_credentials(fake, ei)) < 0 ||
        (r = state_open(o->folder, &fake->cas, &fake->state, ei)) < 0)
        return r;
    for (size_t i = 0; i < fake->cas.count; i++)
        if (fake->cas.ca[i].listed)
            names[count++] = fake->cas.ca[i].name;
    fake->scenario = scenario_new(names, count);
    fake->enrolling = json_object();
    fake->by_call = json_object();
    fake->by_fault = json_object();
    fake->log = json_array();
    *ret_tls = make_tls(fake);
    if (!*ret_tls)
        return mm_fail(ei, MM_ERR_INTERNAL, "FAKE_TLS", "setting up TLS failed");
    return listen_both(fake, o, *ret_tls, ei);
}

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    uv_stop(handle->loop);
}

int main(int argc, char **argv)
{
    static struct fake fake;
    struct options o = {.kind = {.group = "P-256"}};
    struct mm_errinfo ei = {0};
    uv_signal_t term, interrupt;
    SSL_CTX *tls = NULL;

    if (!parse_options(argc, argv, &o))
        return usage();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&fake.loop);
    if (open_fake(&fake, &o, &tls, &ei) < 0) {
        fprintf(stderr, "fake-ejbca: %s\n", ei.text);
        return 1;
    }
    uv_signal_init(&fake.loop, &term);
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_signal_init(&fake.loop, &interrupt);
    uv_signal_start(&interrupt, on_signal, SIGINT);
    printf("{\"port\": %u, \"control_port\": %u}\n", listener_port(fake.rest),
           listener_port(fake.control));
    fflush(stdout);
    uv_run(&fake.loop, UV_RUN_DEFAULT);
    return 0;
}
