/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP by libcurl. */
#include "daemon/issuer/client_internal.h"

#include "daemon/base/clock.h"
#include "daemon/issuer/answer.h"

#include <string.h>

enum { IDLE_CONNECTION_S = 45, URL_MAX = 8 * 1024 };

static size_t take_answer(char *data, size_t size, size_t n, void *user)
{
    struct mm_transfer *t = user;

    mm_buf_append(&t->answer, data, size * n);
    return mm_buf_err(&t->answer) == MM_OK ? size * n : 0;
}

/* No seek function belongs to it: that is what keeps libcurl from sending a body twice. */
static size_t give_body(char *to, size_t size, size_t n, void *user)
{
    struct mm_transfer *t = user;
    const struct mm_buf *body = &t->request->body;
    size_t len = body->len - t->body_at;

    if (len > size * n)
        len = size * n;
    if (len > 0)
        memcpy(to, body->data + t->body_at, len);
    t->body_at += len;
    return len;
}

static CURLcode set_up_tls(CURL *easy, void *ssl_ctx, void *user)
{
    (void)easy;
    return mm_credential_apply(user, ssl_ctx) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

static bool set_numbers(const struct mm_client *c, CURL *easy)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_SSL_ENABLE_ALPN, 0},
        {CURLOPT_CONNECTTIMEOUT_MS, (long)c->conf->connect_timeout_ms},
        {CURLOPT_TIMEOUT_MS, (long)c->conf->request_timeout_ms},
        {CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S},
        {CURLOPT_TCP_NODELAY, 1},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(numbers); i++) {
        if (curl_easy_setopt(easy, numbers[i].option, numbers[i].value) != CURLE_OK)
            return false;
    }
    return true;
}

/* No CA but ours, no proxy but none, whatever the environment and the defaults say. */
static bool set_objects(const struct mm_client *c, struct mm_transfer *t)
{
    const struct {
        CURLoption option;
        const void *value;
    } objects[] = {
        {CURLOPT_PRIVATE, t},
        {CURLOPT_ERRORBUFFER, t->error},
        {CURLOPT_PROTOCOLS_STR, "https"},
        {CURLOPT_PROXY, ""},
        {CURLOPT_CAINFO, NULL},
        {CURLOPT_CAPATH, NULL},
        {CURLOPT_SSL_CTX_DATA, c->credential},
        {CURLOPT_HTTPHEADER, c->headers},
        {CURLOPT_USERAGENT, "mintmark/" MM_VERSION},
        {CURLOPT_WRITEDATA, t},
        {CURLOPT_READDATA, t},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(objects); i++) {
        if (curl_easy_setopt(t->easy, objects[i].option, objects[i].value) != CURLE_OK)
            return false;
    }
    return true;
}

/* What is the same for every request. */
static bool set_up(const struct mm_client *c, struct mm_transfer *t)
{
    return set_numbers(c, t->easy) && set_objects(c, t) &&
           curl_easy_setopt(t->easy, CURLOPT_SSL_CTX_FUNCTION, set_up_tls) == CURLE_OK &&
           curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, take_answer) == CURLE_OK &&
           curl_easy_setopt(t->easy, CURLOPT_READFUNCTION, give_body) == CURLE_OK;
}

static bool set_method(struct mm_transfer *t, const struct mm_request *r)
{
    CURL *e = t->easy;

    switch (r->method) {
    case MM_GET:
        return curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) == CURLE_OK;
    case MM_PUT: /* without a body */
        return curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "PUT") == CURLE_OK;
    case MM_POST:
        return curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, NULL) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len) ==
                   CURLE_OK;
    }
    return false;
}

bool mm_transfer_begin(struct mm_client *c, struct mm_node *node, struct mm_request *r)
{
    struct mm_transfer *t = LIST_FIRST(&c->idle);

    t->node = node;
    t->request = r;
    t->body_at = 0;
    t->error[0] = 0;
    t->started_us = mm_clock_mono_us();
    mm_buf_reset(&t->url);
    mm_buf_append_str(&t->url, node->url);
    mm_buf_append(&t->url, r->path.data, r->path.len);
    mm_buf_reset(&t->answer);
    t->answer.max = r->answer_max;
    if (!mm_buf_cstr(&t->url) || !set_method(t, r) ||
        curl_easy_setopt(t->easy, CURLOPT_URL, mm_buf_cstr(&t->url)) != CURLE_OK ||
        curl_multi_add_handle(c->multi, t->easy) != CURLM_OK)
        return false;
    LIST_REMOVE(t, link);
    return true;
}

/* ---- what came of it --------------------------------------------------------------------- */

/* Did any byte of the request leave? A handshake that failed is none. */
static bool was_sent(CURL *easy)
{
    long bytes = 0;

    return curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &bytes) != CURLE_OK || bytes > 0;
}

static void explain(const struct mm_transfer *t, CURLcode code, char text[MM_ISSUER_TEXT_MAX])
{
    const char *why = t->error[0] ? t->error : curl_easy_strerror(code);

    if (mm_buf_err(&t->answer) < 0)
        why = "the answer is too long";
    else if (code == CURLE_SEND_FAIL_REWIND)
        why = "the connection was closed before an answer";
    mm_answer_printable((struct mm_bytes){(const uint8_t *)why, strlen(why)}, text,
                        MM_ISSUER_TEXT_MAX);
}

static struct mm_reply read_reply(const struct mm_transfer *t, CURLcode code,
                                  char text[MM_ISSUER_TEXT_MAX])
{
    struct mm_reply reply = {.sent = was_sent(t->easy), .text = text};
    long status = 0;
    curl_off_t after_s = 0;

    text[0] = 0;
    if (code != CURLE_OK) {
        reply.timed_out = code == CURLE_OPERATION_TIMEDOUT && reply.sent;
        explain(t, code, text);
        return reply;
    }
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    reply.status = (unsigned)status;
    if (status == 200 || status == 201)
        return reply;
    if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after_s) == CURLE_OK && after_s > 0)
        reply.retry_after_ms = after_s < 3600 ? (uint32_t)after_s * 1000 : 3600000;
    reply.is_error_json = mm_answer_error((struct mm_bytes){t->answer.data, t->answer.len}, text);
    return reply;
}

/* A handle whose transfer failed before the body was read to its end would rewind it first thing in
 * its next (libcurl from 8.7 on), and fail again. */
static void replace_handle(const struct mm_client *c, struct mm_transfer *t)
{
    CURL *old = t->easy;

    t->easy = curl_easy_init();
    if (t->easy && set_up(c, t)) {
        curl_easy_cleanup(old);
        return;
    }
    curl_easy_cleanup(t->easy);
    t->easy = old;
}

static void finish(struct mm_client *c, struct mm_transfer *t, CURLcode code)
{
    struct mm_request *r = t->request;

    r->reply = read_reply(t, code, r->text);
    r->took_us = mm_clock_mono_us() - t->started_us;
    r->answer = t->answer;
    t->answer = MM_BUF_INIT(0);
    t->request = NULL;
    curl_multi_remove_handle(c->multi, t->easy);
    if (code != CURLE_OK)
        replace_handle(c, t);
    LIST_INSERT_HEAD(&c->idle, t, link);
    mm_client_finished(c, t->node, r);
}

void mm_transfers_run(struct mm_client *c)
{
    int running = 0, left = 0;
    CURLMsg *m;

    curl_multi_perform(c->multi, &running);
    while ((m = curl_multi_info_read(c->multi, &left))) {
        struct mm_transfer *t = NULL;
        const CURLcode code = m->data.result; /* m goes with the handle */

        if (m->msg != CURLMSG_DONE)
            continue;
        if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) == CURLE_OK && t)
            finish(c, t, code);
    }
}

/* ---- set-up ------------------------------------------------------------------------------ */

static bool make_headers(struct mm_client *c)
{
    static const char *const lines[] = {"Content-Type: application/json",
                                        "Expect:", "X-Keyfactor-Requested-With: XMLHttpRequest"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(lines); i++) {
        struct curl_slist *more = curl_slist_append(c->headers, lines[i]);

        if (!more)
            return false;
        c->headers = more;
    }
    return true;
}

int mm_transfers_new(struct mm_client *c, struct mm_errinfo *ei)
{
    c->n_transfers = c->n_nodes * c->conf->requests_max + c->n_nodes; /* and a check's */
    c->transfers = calloc(c->n_transfers, sizeof(*c->transfers));
    c->multi = curl_multi_init();
    LIST_INIT(&c->idle);
    if (!c->transfers || !c->multi || !make_headers(c) ||
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->n_transfers) != CURLM_OK)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < c->n_transfers; i++) {
        struct mm_transfer *t = &c->transfers[i];

        t->client = c;
        t->url = MM_BUF_INIT(URL_MAX);
        t->answer = MM_BUF_INIT(0);
        t->easy = curl_easy_init();
        if (!t->easy || !set_up(c, t))
            return mm_fail(ei, MM_ERR_INTERNAL, "CURL", "cannot set libcurl up");
        LIST_INSERT_HEAD(&c->idle, t, link);
    }
    return MM_OK;
}

void mm_transfers_free(struct mm_client *c)
{
    for (size_t i = 0; c->transfers && i < c->n_transfers; i++) {
        struct mm_transfer *t = &c->transfers[i];

        if (t->easy && t->request)
            curl_multi_remove_handle(c->multi, t->easy);
        curl_easy_cleanup(t->easy);
        mm_buf_done(&t->url);
        mm_buf_done(&t->answer);
    }
    free(c->transfers);
    curl_multi_cleanup(c->multi);
    curl_slist_free_all(c->headers);
}
