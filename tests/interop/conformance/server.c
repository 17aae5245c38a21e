/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server that connectconformance (connectrpc.com/conformance) tests: ConformanceService on
 * mintmark's transport. Reads a ServerCompatRequest on stdin, writes a ServerCompatResponse to
 * stdout, each after its length in 32 bits, and serves until SIGTERM. Its log is on stderr.
 */
#include "daemon/base/io.h"
#include "daemon/base/log.h"
#include "daemon/front/transport.h"
#include "tests/interop/conformance/service.h"

#include "connectrpc/conformance/v1/server_compat.pb-c.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef Connectrpc__Conformance__V1__ServerCompatRequest compat_request;
typedef Connectrpc__Conformance__V1__ServerCompatResponse compat_response;

extern const struct mm_descriptors conformance_descriptors;

enum { LENGTH = 4, REQUEST_MAX = 1024 * 1024, DRAIN_MS = 2000 };

static char localhost[] = "127.0.0.1", empty[] = "", provided[] = "what was provided";

static int read_request(compat_request **ret, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf message = MM_BUF_INIT(REQUEST_MAX);
    uint8_t length[LENGTH], *to;
    compat_request *request;
    size_t len;
    int r;

    r = mm_io_read_all(STDIN_FILENO, length, sizeof(length), ei);
    if (r < 0)
        return r;
    len = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
    to = mm_buf_reserve(&message, len);
    if (!to)
        return mm_fail(ei, MM_ERR_TOO_BIG, "", "a request of %zu bytes", len);
    r = mm_io_read_all(STDIN_FILENO, to, len, ei);
    if (r < 0)
        return r;
    request = connectrpc__conformance__v1__server_compat_request__unpack(NULL, len, to);
    if (!request)
        return mm_fail(ei, MM_ERR_CORRUPT, "", "the request is no ServerCompatRequest");
    *ret = request;
    return MM_OK;
}

static int write_response(const compat_response *response, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf message = MM_BUF_INIT(REQUEST_MAX);
    const size_t len =
        connectrpc__conformance__v1__server_compat_response__get_packed_size(response);
    uint8_t *to;

    mm_buf_append_be32(&message, (uint32_t)len);
    to = mm_buf_reserve(&message, len);
    if (!to)
        return mm_fail_memory(ei);
    mm_buf_grew(&message, connectrpc__conformance__v1__server_compat_response__pack(response, to));
    return mm_io_write_all(STDOUT_FILENO, message.data, message.len, ei);
}

static void on_drained(void *arg)
{
    uv_close(arg, NULL);
}

static void on_term(uv_signal_t *handle, MM_UNUSED int number)
{
    mm_server_drain(handle->data, DRAIN_MS, on_drained, handle);
}

/* Only the parts of a configuration that the transport looks at. */
static struct mm_conf configure(void)
{
    return (struct mm_conf){.listen = {.address = localhost,
                                       .certificate = provided,
                                       .key = provided,
                                       .client_ca = empty},
                            .limits = {.connections = 256,
                                       .streams_per_connection = 100,
                                       .drain_timeout_ms = DRAIN_MS,
                                       .handshake_timeout_ms = 10000,
                                       .ping_interval_ms = 10000}};
}

static int start(uv_loop_t *loop, const compat_request *request, struct mm_conf *conf,
                 struct conformance_app *app, struct mm_server **ret_server, struct mm_errinfo *ei)
{
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    const bool mutual = request->client_tls_cert.len > 0;
    const struct mm_transport transport = {.security = !request->use_tls ? MM_TRANSPORT_CLEARTEXT
                                                       : mutual          ? MM_TRANSPORT_MTLS
                                                                         : MM_TRANSPORT_TLS,
                                           .files = &files,
                                           .descriptors = &conformance_descriptors,
                                           .message_max = request->message_receive_limit,
                                           .bare_errors = true};
    int r;

    if (request->use_tls && !request->server_creds)
        return mm_fail(ei, MM_ERR_INVALID, "", "TLS, but no certificate");
    if (request->use_tls) {
        mm_buf_append(&files.certificate, request->server_creds->cert.data,
                      request->server_creds->cert.len);
        mm_buf_append(&files.key, request->server_creds->key.data, request->server_creds->key.len);
    }
    if (mutual) {
        conf->listen.client_ca = provided;
        mm_buf_append(&files.client_ca, request->client_tls_cert.data,
                      request->client_tls_cert.len);
    }
    r = mm_server_new_transport(loop, conf, &transport, conformance_rpcs, conformance_n_rpcs, app,
                                ret_server, ei);
    mm_tls_files_done(&files);
    return r;
}

static int serve(const compat_request *request, struct mm_errinfo *ei)
{
    compat_response response = CONNECTRPC__CONFORMANCE__V1__SERVER_COMPAT_RESPONSE__INIT;
    struct mm_conf conf = configure();
    struct conformance_app app;
    struct mm_server *server;
    uv_signal_t term;
    uv_loop_t loop;
    int r;

    uv_loop_init(&loop);
    app.loop = &loop;
    r = start(&loop, request, &conf, &app, &server, ei);
    if (r < 0)
        return r;
    mm_server_set_health(server, "", true);
    uv_signal_init(&loop, &term);
    term.data = server;
    uv_signal_start(&term, on_term, SIGTERM);
    response.host = localhost;
    response.port = mm_server_port(server);
    if (request->use_tls)
        response.pem_cert = request->server_creds->cert;
    r = write_response(&response, ei);
    if (r < 0)
        return r;
    uv_run(&loop, UV_RUN_DEFAULT);
    mm_server_free(server);
    return uv_loop_close(&loop) == 0 ? MM_OK : mm_fail(ei, MM_ERR_INTERNAL, "", "handles left");
}

int main(void)
{
    struct mm_errinfo ei = {0};
    compat_request *request = NULL;
    int r;

    mm_log_setup("conformance", MM_LOG_WARNING);
    signal(SIGPIPE, SIG_IGN);
    r = read_request(&request, &ei);
    if (r == MM_OK && request)
        r = serve(request, &ei);
    if (request)
        connectrpc__conformance__v1__server_compat_request__free_unpacked(request, NULL);
    if (r < 0)
        mm_log_error("failed", NULL, &ei);
    return r == MM_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
