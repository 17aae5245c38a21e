/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site for tests of the token worker, in a folder of its own: a real token with a PAI's key
 * and a transport key, the chain above it, an RSA recipient who can open the transport key, and a
 * configuration with a profile of each kind. Failures end the test.
 */
#pragma once

#include "daemon/base/buf.h"
#include "internal/token.pb-c.h"
#include "tests/support/matter_chain.h"
#include "tests/support/token_kind.h"

#include <sys/types.h>

#define SITE_PIN "correct horse"

struct token_site {
    char folder[32];
    struct mm_token_open how; /* what opens its token */
    struct mm_buf config;     /* text of the configuration */
    struct matter_chain chain;
    uint8_t transport_key[32]; /* in clear: what the recipient opened */
    char *transport_export;    /* the export file's text */
};

void site_make(struct token_site *site, const struct token_kind *kind);
void site_done(struct token_site *site);
/* Path of a file in the site's folder; good until the next call but three. */
const char *site_path(const struct token_site *site, const char *name);
void site_write(const struct token_site *site, const char *name, const void *data, size_t len);
/* The site's token, logged in to. */
struct mm_token *site_token(const struct token_site *site);
/* Replaces the first `from` in the configuration. */
void site_edit(struct token_site *site, const char *from, const char *to);

/* A worker process of the site's, on a channel. */
struct worker {
    pid_t pid;
    int fd;
    Mintmark__Internal__TokenResult *ready; /* what it said first */
};
struct worker worker_start(const struct token_site *site, const char *section);
/* Closes the channel, waits, gives the exit status. */
int worker_stop(struct worker *w);
/* Waits for the worker to end by itself. */
int worker_wait(struct worker *w);
void worker_send(struct worker *w, Mintmark__Internal__TokenJob *job);
/* Free with mintmark__internal__token_result__free_unpacked. */
Mintmark__Internal__TokenResult *worker_receive(struct worker *w);
Mintmark__Internal__TokenResult *worker_mint(struct worker *w, Mintmark__Internal__MintJob *job,
                                             int64_t deadline_mono_us);
