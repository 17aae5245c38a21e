/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 on a non-blocking socket, by OpenSSL. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/conf/conf.h"

#include <openssl/ssl.h>
#include <sys/types.h>

/* What is in the files that a listen section names; wiped when it is done. */
struct mm_tls_files {
    struct mm_buf certificate, key, client_ca;
};
#define MM_TLS_FILES_INIT                                                                          \
    ((struct mm_tls_files){MM_BUF_INIT(MM_PEM_FILE_MAX), MM_BUF_INIT(MM_PEM_FILE_MAX),             \
                           MM_BUF_INIT(MM_PEM_FILE_MAX)})
void mm_tls_files_done(struct mm_tls_files *files);

/* A context with the files' certificate, key and client CAs: TLS 1.3 only, ALPN "h2" only, no
 * session resumption, so that every connection's certificate is checked afresh; connections last
 * for days. Without client_certificates anybody may connect. *ei has the path of the file at fault,
 * as listen says it; nothing is opened. */
int mm_tls_context_new(const struct mm_conf_listen *listen, const struct mm_tls_files *files,
                       bool client_certificates, SSL_CTX **ret_ctx,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* MM_OK when done; MM_ERR_AGAIN: wait for the socket (*ret_want_write says for what);
 * MM_ERR_IO, with what went wrong in *ei. */
int mm_tls_handshake(SSL *ssl, bool *ret_want_write, struct mm_errinfo *ei) MM_MUST_USE;

/* Bytes read (more than 0), MM_ERR_AGAIN, MM_ERR_EOF, MM_ERR_IO. */
ssize_t mm_tls_read(SSL *ssl, void *buf, size_t size, bool *ret_want_write) MM_MUST_USE;

/* Bytes taken (more than 0), MM_ERR_AGAIN: try again later with the same bytes at the front and at
 * least as many; MM_ERR_IO. */
ssize_t mm_tls_write(SSL *ssl, const void *data, size_t len) MM_MUST_USE;

/* Whether the peer's certificate chain would be accepted by ctx, now. */
bool mm_tls_accepts_peer(SSL_CTX *ctx, SSL *ssl);

/* Milliseconds until the peer's certificate expires, 0 if it has; INT64_MAX: no certificate. */
int64_t mm_tls_peer_left_ms(const SSL *ssl);
