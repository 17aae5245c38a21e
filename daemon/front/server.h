/* SPDX-License-Identifier: Apache-2.0 */
/* The transport: listener, TLS, HTTP/2, gRPC. Knows nothing of batches and tokens. */
#pragma once

#include "daemon/front/call.h"
#include "daemon/front/stats.h"
#include "daemon/front/tls.h"

#include <uv.h>

struct mm_server;

/* A server on loop, listening as conf says, for the RPCs of the table (n_rpcs entries, borrowed).
 * Health (grpc.health.v1) and reflection (v1, v1alpha) are its own. app comes back from
 * mm_call_app. conf is borrowed until mm_server_reconfigure gives another; files for the call. */
int mm_server_new(uv_loop_t *loop, const struct mm_conf *conf, const struct mm_tls_files *files,
                  const struct mm_rpc *rpcs, size_t n_rpcs, void *app,
                  struct mm_server **ret_server, struct mm_errinfo *ei) MM_MUST_USE;

/* The port it really listens on. */
unsigned mm_server_port(const struct mm_server *s);

/* The part of a reconfiguration that can fail: a context (NULL without TLS) of new files, for
 * mm_server_reconfigure. */
int mm_server_tls_new(const struct mm_server *s, const struct mm_conf *conf,
                      const struct mm_tls_files *files, SSL_CTX **ret_ctx,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* New certificates, clients and limits for connections from now on; connections whose client is no
 * longer known, or has other roles, are drained. Takes tls. */
void mm_server_reconfigure(struct mm_server *s, const struct mm_conf *conf, SSL_CTX *tls);

/* Health of a service name ("" is the whole server; "mintmark.v1.StationService"). Every service of
 * the table, and the server, are NOT_SERVING until this says otherwise, and again from
 * mm_server_drain on. A name that the server does not know is ignored. */
void mm_server_set_health(struct mm_server *s, const char *service, bool serving);
/* Names beside the services, all of them: those of the last call are forgotten. */
struct mm_health_state {
    const char *name; /* copied */
    bool serving;
};
void mm_server_replace_health(struct mm_server *s, const struct mm_health_state *states, size_t n);

void mm_server_stats(const struct mm_server *s, struct mm_server_stats *ret_stats);
/* All RPCs, built-in ones included, in the order of their paths; the last entry is for calls of
 * none of them. Borrowed. */
const struct mm_method *mm_server_methods(const struct mm_server *s, size_t *ret_n);

/* Stops listening; GOAWAY in two steps; calls run to their end or until timeout_ms, then are
 * cancelled; done is called when the last connection is gone. */
void mm_server_drain(struct mm_server *s, unsigned timeout_ms, void (*done)(void *arg), void *arg);

/* Only after done, or before the loop has run. */
void mm_server_free(struct mm_server *s);
