/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the service: a socket, TLS and a session. It never waits: mm_link_run does what
 * can be done now, and mm_link_interest says what to wait for.
 */
#pragma once

#include "client/lookup.h"
#include "client/session.h"

#include <openssl/ssl.h>
#include <poll.h>

struct mm_link;

/* Strings, context and lookup are borrowed for as long as the link. */
struct mm_link_options {
    SSL_CTX *context;         /* NULL: cleartext */
    struct mm_lookup *lookup; /* of the host; no other link uses it while this one connects */
    const char *host;         /* for texts */
    const char *port;
    const char *server_name;       /* that its certificate is for */
    const char *authority;         /* of calls */
    uint32_t keepalive_ms;         /* a PING after so long a silence while calls run; 0: never */
    uint32_t keepalive_timeout_ms; /* for its answer; then the connection counts as lost */
};

/* Begins to connect. Addresses of the host are tried one after the other. */
int mm_link_new(const struct mm_link_options *options, struct mm_link **ret_link,
                struct mintmark_error *error) MM_MUST_USE;
/* Says goodbye if that does not block, and closes. Its streams must have been freed before. NULL is
 * fine. */
void mm_link_free(struct mm_link *link);
MM_DEFINE_CLEANUP(struct mm_link *, mm_link_free)

enum mm_link_state {
    MM_LINK_CONNECTING,
    MM_LINK_READY,  /* there is a session */
    MM_LINK_BROKEN, /* of no more use; streams of its session, if it has one, have ended */
};
enum mm_link_state mm_link_state(const struct mm_link *link);

/* Why it broke. UNAVAILABLE: worth another try; UNAUTHENTICATED: not. */
const struct mintmark_error *mm_link_error(const struct mm_link *link);

/* Never NULL once the link was ready. */
struct mm_session *mm_link_session(struct mm_link *link);

/* Can calls be started on it? */
bool mm_link_usable(const struct mm_link *link);

/* Does what can be done without waiting, but receives no more than a few records, so that a server
 * that never stops sending keeps nobody from a deadline. true: the state changed or something was
 * received. */
bool mm_link_run(struct mm_link *link);

/* Sends what can be sent without waiting. */
void mm_link_flush(struct mm_link *link);

/* When to run again: on these events, or at that time (mm_clock_mono_us; INT64_MAX: never). The
 * fields of *ret_poll may name no descriptor (-1). */
void mm_link_interest(const struct mm_link *link, struct pollfd *ret_poll, int64_t *ret_at_us);
