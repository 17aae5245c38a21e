/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-issuer: the only process that opens connections to the outside. */
#include "daemon/issuer/issuer.h"

#include <curl/curl.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_MS = 60000 };

static int start(struct mm_worker *w, struct mm_errinfo *ei)
{
    struct mm_issuer *i = NULL;
    Mintmark__Internal__IssuerResult result = MINTMARK__INTERNAL__ISSUER_RESULT__INIT;
    Mintmark__Internal__IssuerReady ready = MINTMARK__INTERNAL__ISSUER_READY__INIT;
    char **names;
    int r;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return mm_fail(ei, MM_ERR_INTERNAL, "CURL", "cannot set libcurl up");
    r = mm_issuer_open(w, &i, ei);
    if (r < 0)
        return r;
    w->state = i;
    names = calloc(i->n_profiles + 1, sizeof(*names));
    for (size_t k = 0; names && k < i->n_profiles; k++)
        names[k] = i->profiles[k].conf->name;
    ready.profiles = names;
    ready.n_profiles = names ? i->n_profiles : 0;
    result.result_case = MINTMARK__INTERNAL__ISSUER_RESULT__RESULT_READY;
    result.ready = &ready;
    r = mm_worker_reply(w, &result.base);
    free(names);
    if (r < 0)
        return mm_fail(ei, r, "CHANNEL_FRAME", "cannot pack the ready message");
    mm_issuer_look(i);
    return MM_OK;
}

static void refuse(struct mm_worker *w, const struct mm_errinfo *ei)
{
    Mintmark__Internal__IssuerResult result = MINTMARK__INTERNAL__ISSUER_RESULT__INIT;
    Mintmark__Internal__Error error;

    mm_channel_error_to(ei, &error);
    result.error = &error;
    if (mm_worker_reply(w, &result.base) < 0)
        mm_log_error("refusal_not_packed", NULL, ei);
}

static int handle(struct mm_worker *w, struct mm_bytes payload, struct mm_errinfo *ei)
{
    return mm_issuer_take(w->state, payload, ei);
}

static int wait_for_more(struct mm_worker *w, int fd, bool *ret_readable, struct mm_errinfo *ei)
{
    const struct mm_issuer *i = w->state;

    return mm_client_wait(i->client, fd, IDLE_MS, ret_readable, ei);
}

static void stop(struct mm_worker *w)
{
    mm_issuer_free(w->state);
    curl_global_cleanup();
}

int main(void)
{
    static const struct mm_worker_ops ops = {
        .duty = MM_DUTY_ISSUER,
        .start = start,
        .refuse = refuse,
        .handle = handle,
        .wait = wait_for_more,
        .stop = stop,
    };

    /* Before libcurl would load it: a host's openssl.cnf has no say in whom we believe. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        return MM_EXIT_FAILED;
    srandom((unsigned)time(NULL) ^ (unsigned)getpid()); /* for jitter */
    json_object_seed(0);
    return mm_worker_main(&ops);
}
