/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC's interoperability test service on mintmark's transport, for anybody's client:
 *
 *   testserver [--address A] [--port P] --cert FILE --key FILE [--client-ca FILE]
 *              [--station NAME=URI] [--officer NAME=URI] [LIMIT…]
 *   testserver [--address A] [--port P] --cleartext [LIMIT…]
 *
 * Without --client-ca it asks for no client certificates. Its first line on stdout is the port.
 * With --metrics-port N (0: any) it serves the transport's metrics there, and the second line is
 * that port. A LIMIT is an option of the table below with a number: --streams 100.
 * SIGTERM drains it; SIGHUP reads its files again, and forgets the clients it was given.
 */
#include "daemon/base/heap.h"
#include "daemon/base/io.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "daemon/front/http.h"
#include "daemon/front/metrics_transport.h"
#include "daemon/front/transport.h"
#include "tests/interop/testservice.h"

#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct mm_descriptors test_descriptors;

enum { CLIENTS_MAX = 4 };

struct options {
    struct mm_conf conf;
    struct mm_conf_client clients[CLIENTS_MAX];
    struct mm_transport transport;
    bool metrics;
    unsigned metrics_port;
};

struct program {
    uv_loop_t loop;
    uv_signal_t term, hup;
    struct options options;
    struct test_app app;
    struct mm_http *pages;
};

static char empty[] = "";

static unsigned number(const char *text, unsigned max)
{
    uint64_t value;

    if (mm_text_to_u64(text, 0, max, &value) < 0) {
        fprintf(stderr, "testserver: %s: not a number up to %u\n", text, max);
        exit(64);
    }
    return (unsigned)value;
}

static void add_client(struct options *o, char *text, unsigned role)
{
    char *equals = strchr(text, '=');

    if (!equals || o->conf.n_clients == CLIENTS_MAX) {
        fprintf(stderr, "testserver: %s: NAME=URI expected\n", text);
        exit(64);
    }
    *equals = 0;
    o->clients[o->conf.n_clients++] =
        (struct mm_conf_client){.name = text, .uri = equals + 1, .subject = empty, .roles = role};
}

static const struct option long_options[] = {
    {"address", required_argument, NULL, 'a'},      {"port", required_argument, NULL, 'p'},
    {"cert", required_argument, NULL, 'c'},         {"key", required_argument, NULL, 'k'},
    {"client-ca", required_argument, NULL, 'A'},    {"cleartext", no_argument, NULL, 'C'},
    {"station", required_argument, NULL, 's'},      {"officer", required_argument, NULL, 'o'},
    {"metrics-port", required_argument, NULL, 'M'}, {NULL, 0, NULL, 0}};

/* --NAME N: those settings of the configuration's limits that the transport knows. */
static const struct {
    const char *name;
    size_t offset;
    unsigned max;
} limits[] = {
#define LIMIT(name, field, max)                                                                    \
    {                                                                                              \
        name, offsetof(struct mm_conf_limits, field), max                                          \
    }
    LIMIT("connections", connections, MM_CONNECTIONS_MAX),
    LIMIT("streams", streams_per_connection, MM_STREAMS_PER_CONNECTION),
    LIMIT("idle-ms", idle_timeout_ms, 1000000),
    LIMIT("age-ms", connection_age_ms, 1000000),
    LIMIT("drain-ms", drain_timeout_ms, 1000000),
    LIMIT("handshake-ms", handshake_timeout_ms, 1000000),
    LIMIT("keepalive-ms", keepalive_ms, 1000000),
    LIMIT("keepalive-timeout-ms", keepalive_timeout_ms, 1000000),
    LIMIT("ping-interval-ms", ping_interval_ms, 1000000),
    LIMIT("write-stall-ms", write_stall_ms, 1000000),
    LIMIT("request-ms", request_timeout_ms, 1000000),
#undef LIMIT
};
enum { FIRST_LIMIT = 256, LIMITS = MM_ARRAY_SIZE(limits), OTHERS = MM_ARRAY_SIZE(long_options) };

static void take_option(struct options *o, int option, char *value)
{
    struct mm_conf_listen *listen = &o->conf.listen;

    switch (option) {
    case 'a':
        listen->address = value;
        break;
    case 'p':
        listen->port = number(value, 65535);
        break;
    case 'c':
        listen->certificate = value;
        break;
    case 'k':
        listen->key = value;
        break;
    case 'A':
        listen->client_ca = value;
        break;
    case 'C':
        o->transport.security = MM_TRANSPORT_CLEARTEXT;
        break;
    case 's':
        add_client(o, value, MM_ROLE_STATION);
        break;
    case 'o':
        add_client(o, value, MM_ROLE_OFFICER);
        break;
    case 'M':
        o->metrics = true;
        o->metrics_port = number(value, 65535);
        break;
    default:
        exit(64);
    }
}

static void take_options(struct options *o, int argc, char **argv)
{
    struct option all[LIMITS + OTHERS];
    int option;

    for (size_t i = 0; i < LIMITS; i++)
        all[i] = (struct option){limits[i].name, required_argument, NULL, FIRST_LIMIT + (int)i};
    memcpy(all + LIMITS, long_options, sizeof(long_options));
    while ((option = getopt_long(argc, argv, "", all, NULL)) != -1) {
        if (option >= FIRST_LIMIT && option < FIRST_LIMIT + LIMITS)
            *(unsigned *)(void *)((char *)&o->conf.limits + limits[option - FIRST_LIMIT].offset) =
                number(optarg, limits[option - FIRST_LIMIT].max);
        else
            take_option(o, option, optarg);
    }
}

static void parse(struct options *o, int argc, char **argv)
{
    static char localhost[] = "127.0.0.1";

    o->transport.descriptors = &test_descriptors;
    o->transport.security = MM_TRANSPORT_TLS;
    o->conf.listen = (struct mm_conf_listen){
        .address = localhost, .certificate = empty, .key = empty, .client_ca = empty};
    o->conf.clients = o->clients;
    o->conf.limits = (struct mm_conf_limits){.connections = 256,
                                             .streams_per_connection = 100,
                                             .drain_timeout_ms = 5000,
                                             .handshake_timeout_ms = 10000,
                                             .keepalive_ms = 300000,
                                             .keepalive_timeout_ms = 20000,
                                             .ping_interval_ms = 10000,
                                             .write_stall_ms = 30000,
                                             .request_timeout_ms = 60000};
    take_options(o, argc, argv);
    if (o->transport.security == MM_TRANSPORT_TLS && o->conf.listen.client_ca[0])
        o->transport.security = MM_TRANSPORT_MTLS;
}

static void on_drained(void *arg)
{
    struct program *p = arg;

    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->hup, NULL);
    if (p->pages)
        mm_http_close(p->pages);
}

static void on_term(uv_signal_t *signal, MM_UNUSED int number)
{
    struct program *p = signal->data;

    mm_server_drain(p->app.server, p->options.conf.limits.drain_timeout_ms, on_drained, p);
}

static bool read_tls(const struct mm_conf_listen *listen, struct mm_tls_files *files,
                     struct mm_errinfo *ei)
{
    return (!*listen->certificate || mm_io_read_file(listen->certificate, MM_PEM_FILE_MAX,
                                                     &files->certificate, ei) == MM_OK) &&
           (!*listen->key ||
            mm_io_read_file(listen->key, MM_PEM_FILE_MAX, &files->key, ei) == MM_OK) &&
           (!*listen->client_ca ||
            mm_io_read_file(listen->client_ca, MM_PEM_FILE_MAX, &files->client_ca, ei) == MM_OK);
}

static void on_hup(uv_signal_t *signal, MM_UNUSED int number)
{
    static struct mm_conf next;
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    struct program *p = signal->data;
    struct mm_errinfo ei = {0};
    SSL_CTX *tls;

    next = p->options.conf;
    next.n_clients = 0;
    if (!read_tls(&next.listen, &files, &ei) ||
        mm_server_tls_new(p->app.server, &next, &files, &tls, &ei) < 0) {
        mm_log_error("reconfigure_failed", NULL, &ei);
    } else {
        mm_server_reconfigure(p->app.server, &next, tls);
        mm_log(MM_LOG_INFO, "reconfigured");
    }
    mm_tls_files_done(&files);
}

static void show_metrics(void *arg, MM_UNUSED const char *path, struct mm_http_response *response)
{
    const struct program *p = arg;

    mm_exposition_write(&response->body, mm_transport_metrics, mm_n_transport_metrics,
                        p->app.server);
}

static int serve_metrics(struct program *p, struct mm_errinfo *ei)
{
    const struct mm_http_options options = {.address = p->options.conf.listen.address,
                                            .port = p->options.metrics_port,
                                            .handle = show_metrics,
                                            .arg = p};

    return p->options.metrics ? mm_http_new(&p->loop, &options, &p->pages, ei) : MM_OK;
}

static void on_signal(struct program *p, uv_signal_t *handle, int number, uv_signal_cb cb)
{
    uv_signal_init(&p->loop, handle);
    handle->data = p;
    uv_signal_start(handle, cb, number);
}

int main(int argc, char **argv)
{
    static struct program p;
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    struct mm_errinfo ei = {0};

    mm_heap_give_back();
    mm_log_setup("testserver", MM_LOG_INFO);
    signal(SIGPIPE, SIG_IGN);
    parse(&p.options, argc, argv);
    uv_loop_init(&p.loop);
    p.app.loop = &p.loop;
    p.options.transport.files = &files;
    if (!read_tls(&p.options.conf.listen, &files, &ei) ||
        mm_server_new_transport(&p.loop, &p.options.conf, &p.options.transport, test_rpcs,
                                test_n_rpcs, &p.app, &p.app.server, &ei) < 0 ||
        serve_metrics(&p, &ei) < 0) {
        mm_log_error("start_failed", NULL, &ei);
        mm_tls_files_done(&files);
        return EXIT_FAILURE;
    }
    mm_tls_files_done(&files);
    mm_server_set_health(p.app.server, "", true);
    mm_server_set_health(p.app.server, "grpc.testing.TestService", true);
    on_signal(&p, &p.term, SIGTERM, on_term);
    on_signal(&p, &p.hup, SIGHUP, on_hup);
    printf("%u\n", mm_server_port(p.app.server));
    if (p.pages)
        printf("%u\n", mm_http_port(p.pages));
    fflush(stdout);
    uv_run(&p.loop, UV_RUN_DEFAULT);
    mm_server_free(p.app.server);
    return uv_loop_close(&p.loop) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
