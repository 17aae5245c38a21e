/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the service: a socket, TLS and a session, and the waiting for them. Blocking,
 * with deadlines on mm_clock_mono_us, and with a descriptor that cancels: when it becomes readable,
 * what waits returns MINTMARK_CANCELLED. It is not read here.
 */
#pragma once

#include "client/session.h"

#include <openssl/ssl.h>

struct mm_link;

/* Where the service is. Strings are borrowed. */
struct mm_target {
    const char *host;
    const char *port;
    const char *server_name; /* that its certificate is for */
    const char *authority;
};

/* Connects and shakes hands. Addresses of the host are tried one after the other.
 * UNAVAILABLE: worth another try; UNAUTHENTICATED: not. (The name is looked up by the system's
 * resolver, with the system's time-outs.) */
int mm_link_new(SSL_CTX *context, const struct mm_target *target, int cancel_fd,
                int64_t deadline_us, struct mm_link **ret_link,
                struct mintmark_error *error) MM_MUST_USE;
/* Says goodbye if that does not block, and closes. Its streams must have been freed before. */
void mm_link_free(struct mm_link *link);

struct mm_session *mm_link_session(struct mm_link *link);

/* Sends what is to be sent, and waits until something was received. DEADLINE_EXCEEDED and CANCELLED
 * leave the link as it is; after any other failure it is of no more use, and its streams have
 * ended. */
int mm_link_step(struct mm_link *link, int64_t deadline_us,
                 struct mintmark_error *error) MM_MUST_USE;

/* Sends what can be sent without waiting. */
void mm_link_flush(struct mm_link *link);

/* Sends and receives what is possible at once; then says whether calls can be started. */
bool mm_link_usable(struct mm_link *link);

/* The error of a deadline that has passed. */
int mm_link_fail_deadline(struct mintmark_error *error);

/* Waits for so long, or until fd becomes readable: then MINTMARK_CANCELLED. */
int mm_link_sleep(int cancel_fd, uint32_t ms, struct mintmark_error *error) MM_MUST_USE;
