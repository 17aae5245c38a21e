/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 as a station speaks it: its own certificate, the service's checked against one CA file
 * and one name, ALPN h2 and nothing else. No call here touches a terminal or raises SIGPIPE. */
#pragma once

#include "client/error.h"

#include <openssl/ssl.h>

/* Reads and checks the files of the options. Without a certificate_file the client shows none. */
int mm_tls_context_new(const struct mintmark_options *options, SSL_CTX **ret_context,
                       struct mintmark_error *error) MM_MUST_USE;

/* A client's end over fd, which is borrowed, for a service of that DNS name or IP address. */
int mm_tls_new(SSL_CTX *context, int fd, const char *server_name, SSL **ret_tls,
               struct mintmark_error *error) MM_MUST_USE;

/* After the handshake: was h2 chosen? */
int mm_tls_check_protocol(const SSL *tls, struct mintmark_error *error) MM_MUST_USE;

/* For keys in PEM files: gives no passphrase, where OpenSSL's own callback would ask on the
 * terminal. arg: NULL, or a bool that is set when one was asked for. */
int mm_tls_no_passphrase(char *buf, int size, int writing, void *arg);
/* Of a key's file, when that was so. */
int mm_tls_fail_encrypted(const char *path, struct mintmark_error *error);

/* Makes a failed SSL_ call into an error: UNAUTHENTICATED for what no repetition heals (the peer's
 * certificate or ours is refused), else UNAVAILABLE. errno_value is that of the call. */
int mm_tls_fail(const SSL *tls, int ssl_error, int errno_value, struct mintmark_error *error);

MM_DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)
MM_DEFINE_CLEANUP(SSL *, SSL_free)
