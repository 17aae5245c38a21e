/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include "client/tls.h"
#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    TIMEOUT_MS = 60 * 1000,
    ATTEMPTS = 5,
    HOST_MAX = 253, /* RFC 1035 section 2.3.4 */
    KEEPALIVE_LEAST_MS = 10 * 1000,
    KEEPALIVE_TIMEOUT_MS = 20 * 1000,
};

static int fail_target(const char *target, struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_TARGET",
                          "%s: not of the form host:port or [address]:port", target);
}

/* "host:port" or "[::1]:port" */
static int parse_target(struct mintmark *client, const char *target, struct mintmark_error *error)
{
    const char *colon = strrchr(target, ':');
    const char *host = target;
    size_t len = colon ? (size_t)(colon - target) : 0;
    uint64_t port;

    if (!colon || mm_text_to_u64(colon + 1, 1, 65535, &port) < 0)
        return fail_target(target, error);
    if (len > 0 && host[0] == '[') {
        if (len < 3 || host[len - 1] != ']')
            return fail_target(target, error);
        host++;
        len -= 2;
    } else if (memchr(host, ':', len)) {
        return fail_target(target, error);
    }
    if (len == 0 || len > HOST_MAX)
        return fail_target(target, error);
    client->host = strndup(host, len);
    client->port = strdup(colon + 1);
    return client->host && client->port ? 0 : mm_client_fail_memory(error);
}

static int check_options(const struct mintmark_options *options, enum mm_client_security security,
                         struct mintmark_error *error)
{
    const struct {
        const char *name;
        const char *value;
        enum mm_client_security least; /* that needs it */
    } needed[] = {
        {"target", options->target, MM_CLIENT_CLEARTEXT},
        {"ca_file", options->ca_file, MM_CLIENT_TLS},
        {"certificate_file", options->certificate_file, MM_CLIENT_MUTUAL},
        {"key_file", options->key_file, MM_CLIENT_MUTUAL},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(needed); i++)
        if (security <= needed[i].least && (!needed[i].value || !needed[i].value[0]))
            return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "MISSING_OPTION",
                                  "the option %s is not set", needed[i].name);
    return 0;
}

/* gRFC A8: no client pings more often. */
static uint32_t keepalive_of(const struct mintmark_options *options)
{
    if (options->keepalive_ms == 0 || options->keepalive_ms >= KEEPALIVE_LEAST_MS)
        return options->keepalive_ms;
    return KEEPALIVE_LEAST_MS;
}

static int fill(struct mintmark *client, const struct mintmark_options *options,
                enum mm_client_security security, struct mintmark_error *error)
{
    int r = parse_target(client, options->target, error);

    if (r < 0)
        return r;
    client->server_name = strdup(options->server_name ? options->server_name : client->host);
    /* As other gRPC clients do: another name stands in :authority, too. */
    client->authority = strdup(options->server_name ? options->server_name : options->target);
    if (!client->server_name || !client->authority)
        return mm_client_fail_memory(error);
    client->timeout_ms = options->timeout_ms ? options->timeout_ms : TIMEOUT_MS;
    client->attempts = options->attempts ? options->attempts : ATTEMPTS;
    client->compress = options->compress != 0;
    client->keepalive_ms = keepalive_of(options);
    client->keepalive_timeout_ms =
        options->keepalive_timeout_ms ? options->keepalive_timeout_ms : KEEPALIVE_TIMEOUT_MS;
    r = mm_lookup_new(client->host, client->port, &client->lookup, error);
    if (r < 0)
        return r;
    client->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->cancel_fd < 0)
        return mm_client_fail(error, MINTMARK_INTERNAL, "EVENTFD", "eventfd: %s", strerror(errno));
    return security == MM_CLIENT_CLEARTEXT ? 0 : mm_tls_context_new(options, &client->tls, error);
}

MM_DEFINE_CLEANUP(struct mintmark *, mintmark_free)

int mm_client_new(const struct mintmark_options *options, enum mm_client_security security,
                  struct mintmark **ret_client, struct mintmark_error *error)
{
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    int r = check_options(options, security, error);

    if (r < 0)
        return r;
    client = calloc(1, sizeof(*client));
    if (!client)
        return mm_client_fail_memory(error);
    client->cancel_fd = -1;
    LIST_INIT(&client->links);
    LIST_INIT(&client->calls);
    r = fill(client, options, security, error);
    if (r < 0)
        return r;
    *ret_client = MM_TAKE(client);
    return 0;
}

int mintmark_new(const struct mintmark_options *options, struct mintmark **ret_client,
                 struct mintmark_error *error)
{
    return mm_client_new(options, MM_CLIENT_MUTUAL, ret_client, error);
}

void mintmark_free(struct mintmark *client)
{
    struct mm_client_link *link;

    if (!client)
        return;
    while ((link = LIST_FIRST(&client->links))) {
        LIST_REMOVE(link, entry);
        mm_link_free(link->link);
        free(link);
    }
    mm_lookup_free(client->lookup);
    SSL_CTX_free(client->tls);
    if (client->cancel_fd >= 0)
        close(client->cancel_fd);
    free(client->host);
    free(client->port);
    free(client->server_name);
    free(client->authority);
    free(client);
}

void mintmark_cancel(struct mintmark *client)
{
    const int saved = errno; /* it may be a signal handler that calls */
    const uint64_t one = 1;

    if (write(client->cancel_fd, &one, sizeof(one)) < 0)
        errno = saved; /* only when it was cancelled 2^64 - 2 times already */
    errno = saved;
}

bool mm_client_cancelled(const struct mintmark *client)
{
    struct pollfd cancel = {.fd = client->cancel_fd, .events = POLLIN};

    return poll(&cancel, 1, 0) > 0;
}

void mm_client_clear_cancel(struct mintmark *client)
{
    uint64_t count;

    while (read(client->cancel_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

int mm_client_sleep(struct mintmark *client, uint32_t ms, struct mintmark_error *error)
{
    struct pollfd cancel = {.fd = client->cancel_fd, .events = POLLIN};
    const int64_t end_us = mm_clock_mono_us() + (int64_t)ms * 1000;
    int64_t left_us;

    while ((left_us = end_us - mm_clock_mono_us()) > 0)
        if (poll(&cancel, 1, (int)(left_us / 1000 + 1)) > 0)
            return mm_client_fail_cancelled(error);
    return 0;
}

int mm_client_fail_cancelled(struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_CANCELLED, "CANCELLED", "cancelled");
}

int mm_client_fail_deadline(struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
                          "no answer within the time limit");
}
