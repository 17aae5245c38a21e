/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct mintmark: where the service is, the connections to it, and the calls that
 * run on them. */
#pragma once

#include "client/link.h"
#include "client/mintmark.h"

#include <sys/queue.h>

struct mm_client_call;
LIST_HEAD(mm_client_calls, mm_client_call);

/* A connection, and how many calls hold it. */
struct mm_client_link {
    LIST_ENTRY(mm_client_link) entry;
    struct mm_link *link;
    unsigned calls;
    bool served;  /* a call was started on it */
    bool counted; /* its end was taken into account */
};
LIST_HEAD(mm_client_links, mm_client_link);

/* How the server and we know each other. */
enum mm_client_security {
    MM_CLIENT_MUTUAL,    /* TLS, and both show a certificate: what mintmark's service asks for */
    MM_CLIENT_TLS,       /* TLS, and only the server shows one */
    MM_CLIENT_CLEARTEXT, /* for tests of the protocol on one machine */
};

struct mintmark {
    SSL_CTX *tls; /* NULL: cleartext */
    char *host;
    char *port;
    char *server_name;
    char *authority;
    uint32_t timeout_ms;
    unsigned attempts;
    bool compress;
    uint32_t keepalive_ms;
    uint32_t keepalive_timeout_ms;
    int cancel_fd; /* eventfd: readable once mintmark_cancel was called */
    struct mm_lookup *lookup;
    struct mm_client_links links; /* the newest first: new calls go to it. Others are leaving */
    struct mm_client_calls calls;
    unsigned failures;             /* to connect, in a row */
    int64_t next_connect_us;       /* not before, after a failure */
    struct mintmark_error failure; /* the last one */
};

/* mintmark_new(), which knows MM_CLIENT_MUTUAL alone. Files that the security does not need may be
 * NULL. */
int mm_client_new(const struct mintmark_options *options, enum mm_client_security security,
                  struct mintmark **ret_client, struct mintmark_error *error);

/* Was the client cancelled? */
bool mm_client_cancelled(const struct mintmark *client);
/* Forgets a cancellation that was heeded. */
void mm_client_clear_cancel(struct mintmark *client);

/* Waits for so long, or until the client is cancelled: then MINTMARK_CANCELLED. */
int mm_client_sleep(struct mintmark *client, uint32_t ms, struct mintmark_error *error);

/* The error of a cancellation, and that of a deadline that has passed. */
int mm_client_fail_cancelled(struct mintmark_error *error);
int mm_client_fail_deadline(struct mintmark_error *error);
