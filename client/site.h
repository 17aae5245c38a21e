/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a program reaches the service, from a file: what `mintmark --site FILE` and
 * `mintmark-officer --site FILE` read. The syntax is that of mintmark.conf(5):
 *
 *     target = 'factory.example:7443'   # host:port
 *     ca = 'tls/ca.pem'                   # what the server's certificate is checked against
 *     certificate = 'tls/station.pem'     # ours, then its chain
 *     key = 'tls/station.key'
 *     server_name = 'mintmark.example'    # if it is not the host of target
 *     timeout_ms = 60000
 *     keepalive_ms = 60000
 *     compress = true
 *
 * All settings may be left out; relative paths are taken from the file's own folder.
 */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/macros.h"

#include <stdbool.h>

struct mm_site {
    char *target, *server_name, *ca_file, *certificate_file, *key_file; /* NULL: not set */
    uint32_t timeout_ms, keepalive_ms;                                  /* 0: not set */
    bool compress;
};

/* NOT_FOUND without the file; INVALID_ARGUMENT says file, line and what is wrong. On success the
 * caller calls mm_site_done. One thread at a time in a process: the parser is libconfuse's. */
int mm_site_load(const char *path, struct mm_site *ret_site,
                 struct mintmark_error *error) MM_MUST_USE;
void mm_site_done(struct mm_site *site);

/* What is set, into options; the strings stay the site's. */
void mm_site_apply(const struct mm_site *site, struct mintmark_options *options);
