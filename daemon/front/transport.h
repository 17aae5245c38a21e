/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport for other uses than mintmarkd: with its own .proto files, and without client
 * certificates or without TLS, as test servers need it. mm_server_new is this with mutual TLS and
 * mintmark's files; no configuration leads anywhere else.
 */
#pragma once

#include "daemon/front/descriptors.h"
#include "daemon/front/server.h"

enum mm_transport_security {
    MM_TRANSPORT_MTLS, /* TLS 1.3, client certificate required */
    /* The peer is nobody: only RPCs with roles 0 are for it. */
    MM_TRANSPORT_TLS,      /* TLS 1.3, server certificate only */
    MM_TRANSPORT_CLEARTEXT /* HTTP/2 with prior knowledge */
};

struct mm_transport {
    enum mm_transport_security security;
    const struct mm_tls_files *files;         /* for mm_server_new_transport alone; unless
                                                 MM_TRANSPORT_CLEARTEXT */
    const struct mm_descriptors *descriptors; /* borrowed */
    size_t message_max; /* bytes of a request message, inflated; 0: MM_GRPC_MESSAGE_MAX */
    /* Errors given as struct mm_errinfo, by services and by the transport itself, go out as status
     * and text alone. Else google.rpc details go with them, whose ErrorInfo names mintmark. */
    bool bare_errors;
};

/* As mm_server_new. */
int mm_server_new_transport(uv_loop_t *loop, const struct mm_conf *conf,
                            const struct mm_transport *transport, const struct mm_rpc *rpcs,
                            size_t n_rpcs, void *app, struct mm_server **ret_server,
                            struct mm_errinfo *ei) MM_MUST_USE;
