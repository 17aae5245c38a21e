/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include "client/tls.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { TIMEOUT_MS = 60 * 1000, ATTEMPTS = 5, HOST_MAX = 253 /* RFC 1035 section 2.3.4 */ };

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

static int check_options(const struct mintmark_options *options, struct mintmark_error *error)
{
    const struct {
        const char *name;
        const char *value;
    } needed[] = {
        {"target", options->target},
        {"ca_file", options->ca_file},
        {"certificate_file", options->certificate_file},
        {"key_file", options->key_file},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(needed); i++)
        if (!needed[i].value || !needed[i].value[0])
            return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "MISSING_OPTION",
                                  "the option %s is not set", needed[i].name);
    return 0;
}

static int fill(struct mintmark *client, const struct mintmark_options *options,
                struct mintmark_error *error)
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
    client->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->cancel_fd < 0)
        return mm_client_fail(error, MINTMARK_INTERNAL, "EVENTFD", "eventfd: %s", strerror(errno));
    return mm_tls_context_new(options, &client->tls, error);
}

MM_DEFINE_CLEANUP(struct mintmark *, mintmark_free)

int mintmark_new(const struct mintmark_options *options, struct mintmark **ret_client,
                 struct mintmark_error *error)
{
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    int r = check_options(options, error);

    if (r < 0)
        return r;
    client = calloc(1, sizeof(*client));
    if (!client)
        return mm_client_fail_memory(error);
    client->cancel_fd = -1;
    r = fill(client, options, error);
    if (r < 0)
        return r;
    *ret_client = MM_TAKE(client);
    return 0;
}

void mintmark_free(struct mintmark *client)
{
    if (!client)
        return;
    mm_link_free(client->link);
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

void mm_client_clear_cancel(struct mintmark *client)
{
    uint64_t count;

    while (read(client->cancel_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

int mm_client_connect(struct mintmark *client, int64_t deadline_us, struct mintmark_error *error)
{
    const struct mm_target target = {
        .host = client->host,
        .port = client->port,
        .server_name = client->server_name,
        .authority = client->authority,
    };

    if (client->link && mm_link_usable(client->link))
        return 0;
    mm_link_free(client->link);
    client->link = NULL;
    return mm_link_new(client->tls, &target, client->cancel_fd, deadline_us, &client->link, error);
}
