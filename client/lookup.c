/* SPDX-License-Identifier: Apache-2.0 */
#include "client/lookup.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* Apart from struct mm_lookup, which it may outlive. */
struct request {
    struct gaicb block;
    struct addrinfo hints;
    char *host;
    char *port;
};

struct mm_lookup {
    struct request *request;
    struct addrinfo *found; /* of a numeric address */
    bool started;
};

static void free_request(struct request *request)
{
    if (!request)
        return;
    if (request->block.ar_result)
        freeaddrinfo(request->block.ar_result);
    free(request->host);
    free(request->port);
    free(request);
}

int mm_lookup_new(const char *host, const char *port, struct mm_lookup **ret_lookup,
                  struct mintmark_error *error)
{
    MM_CLEANUP(mm_lookup_free_p) struct mm_lookup *lookup = calloc(1, sizeof(*lookup));
    struct request *request;

    if (!lookup)
        return mm_client_fail_memory(error);
    lookup->request = request = calloc(1, sizeof(*request));
    if (!request)
        return mm_client_fail_memory(error);
    request->host = strdup(host);
    request->port = strdup(port);
    if (!request->host || !request->port)
        return mm_client_fail_memory(error);
    request->hints = (struct addrinfo){.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    *ret_lookup = MM_TAKE(lookup);
    return 0;
}

void mm_lookup_free(struct mm_lookup *lookup)
{
    if (!lookup)
        return;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    /* A thread of the C library's still works on it, with a name server that does not answer. */
    if (!lookup->started || gai_cancel(&lookup->request->block) != EAI_NOTCANCELED)
        free_request(lookup->request);
    free(lookup);
}

static int fail(const struct mm_lookup *lookup, int code, int errno_value,
                struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_UNAVAILABLE, "NO_ADDRESS", "%s: %s",
                          lookup->request->host,
                          code == EAI_SYSTEM ? strerror(errno_value) : gai_strerror(code));
}

int mm_lookup_start(struct mm_lookup *lookup, struct mintmark_error *error)
{
    struct request *request = lookup->request;
    struct addrinfo numeric = request->hints;
    struct gaicb *list[] = {&request->block};
    int r;

    if (lookup->started || lookup->found)
        return 0;
    numeric.ai_flags |= AI_NUMERICHOST;
    if (getaddrinfo(request->host, request->port, &numeric, &lookup->found) == 0)
        return 0;
    lookup->found = NULL;
    request->block = (struct gaicb){
        .ar_name = request->host, .ar_service = request->port, .ar_request = &request->hints};
    r = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);
    if (r != 0)
        return fail(lookup, r, errno, error);
    lookup->started = true;
    return 0;
}

int mm_lookup_result(struct mm_lookup *lookup, struct addrinfo **ret_addresses,
                     struct mintmark_error *error)
{
    int r;

    if (lookup->found) {
        *ret_addresses = MM_TAKE(lookup->found);
        return MM_OK;
    }
    r = gai_error(&lookup->request->block);
    if (r == EAI_INPROGRESS)
        return MM_ERR_AGAIN;
    lookup->started = false;
    if (r != 0) {
        fail(lookup, r, errno, error);
        return MM_ERR_UNAVAILABLE;
    }
    *ret_addresses = MM_TAKE(lookup->request->block.ar_result);
    return MM_OK;
}
