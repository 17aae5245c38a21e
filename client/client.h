/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct mintmark. */
#pragma once

#include "client/link.h"
#include "client/mintmark.h"

struct mintmark {
    SSL_CTX *tls;
    char *host;
    char *port;
    char *server_name;
    char *authority;
    uint32_t timeout_ms;
    unsigned attempts;
    bool busy;            /* a call is running */
    int cancel_fd;        /* eventfd: readable once mintmark_cancel was called */
    struct mm_link *link; /* NULL: none made, or lost */
};

/* A link that calls can be started on: the one there is, or a new one. */
int mm_client_connect(struct mintmark *client, int64_t deadline_us, struct mintmark_error *error);

/* Forgets a cancellation that was heeded. */
void mm_client_clear_cancel(struct mintmark *client);
