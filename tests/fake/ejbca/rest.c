/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a REST request: who asks, for what, what the scenario makes of it, when it is
 * answered. */
#include "tests/fake/ejbca/fake.h"

#include "tests/fake/ejbca/name.h"

#include <openssl/bn.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LOG_MAX = 1000, SEGMENT_TEXT = 2048 };
#define BASE   "/ejbca/ejbca-rest-api"
#define HEALTH "/ejbca/publicweb/healthcheck/ejbcahealth"
#define CERTS  "REST Certificate Management"
#define CERTS2 "REST Certificate Management V2"

static const struct route routes[] = {
    {"POST", "/v1/certificate/pkcs10enroll", "pkcs10enroll", CERTS, ACCESS_ADMINISTRATOR, true,
     enroll_pkcs10},
    {"POST", "/v1/certificate/certificaterequest", "certificaterequest", CERTS,
     ACCESS_ADMINISTRATOR, true, enroll_request},
    {"POST", "/v1/certificate/search", "search", CERTS, ACCESS_VALID, true, search_v1},
    {"GET", "/v1/certificate/expire", "expire", CERTS, ACCESS_VALID, false, search_expire},
    {"GET", "/v1/certificate/status", "status", CERTS, ACCESS_CONNECTED, false, status_v1},
    {"POST", "/v1/certificate/{}/finalize", "finalize", CERTS, ACCESS_ADMINISTRATOR, true,
     enroll_finalize},
    {"PUT", "/v1/certificate/{}/{}/revoke", "revoke", CERTS, ACCESS_ADMINISTRATOR, false,
     revoke_certificate},
    {"GET", "/v1/certificate/{}/{}/revocationstatus", "revocationstatus", CERTS,
     ACCESS_ADMINISTRATOR, false, revoke_status},
    {"GET", "/v1/ca", "ca", CERTS, ACCESS_ADMINISTRATOR, false, ca_list},
    {"GET", "/v1/ca/status", "status", CERTS, ACCESS_CONNECTED, false, status_v1},
    {"GET", "/v1/ca/{}/certificate/download", "download", CERTS, ACCESS_ADMINISTRATOR, false,
     ca_download},
    {"GET", "/v1/ca/{}/getLatestCrl", "getLatestCrl", CERTS, ACCESS_VALID, false, ca_latest_crl},
    {"POST", "/v1/ca/{}/createcrl", "createcrl", CERTS, ACCESS_ADMINISTRATOR, true, ca_create_crl},
    {"POST", "/v2/certificate/search", "search2", CERTS2, ACCESS_VALID, true, search_v2},
    {"GET", "/v2/certificate/count", "count", CERTS2, ACCESS_ADMINISTRATOR, false, search_count},
    {"GET", "/v2/certificate/profile/{}", "profile", CERTS2, ACCESS_ADMINISTRATOR, false,
     profile_v2},
    {"GET", "/v2/certificate/status", "status", CERTS2, ACCESS_CONNECTED, false, status_v2},
};

/* What is below each of these is switched by the service beside it, whether it exists or not. */
static const struct {
    const char *below, *service;
} services[] = {
    {"/v1/certificate", CERTS},
    {"/v1/ca", CERTS},
    {"/v2/certificate", CERTS2},
    {"/v1/endentity", "REST End Entity Management"},
    {"/v2/endentity", "REST End Entity Management V2"},
    {"/v1/ca_management", "REST CA Management"},
    {"/v1/system", "REST System V1"},
};

/* --- who ------------------------------------------------------------------------------------- */

static void put_name(const X509_NAME *name, char to[CA_DN_MAX], char common[CA_NAME_MAX])
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX - 1);
    const unsigned char *der;
    struct mm_bytes bytes, cn;
    size_t len;

    if (X509_NAME_get0_der(name, &der, &len) != 1)
        return;
    bytes = (struct mm_bytes){der, len};
    if (name_to_text(bytes, &text))
        snprintf(to, CA_DN_MAX, "%s", mm_buf_cstr(&text));
    cn = name_attribute(bytes, "CN");
    if (common)
        snprintf(common, CA_NAME_MAX, "%.*s", (int)cn.len, (const char *)cn.data);
}

static void identify(struct call *call)
{
    struct who *who = &call->who;
    X509 *certificate = exchange_peer(call->x);
    const char *known;
    BIGNUM *serial;
    char *decimal;

    if (!certificate)
        return;
    put_name(X509_get_subject_name(certificate), who->subject, who->name);
    put_name(X509_get_issuer_name(certificate), who->issuer, NULL);
    serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    decimal = serial ? BN_bn2dec(serial) : NULL;
    snprintf(who->serial, sizeof(who->serial), "%s", decimal ? decimal : "");
    OPENSSL_free(decimal);
    BN_free(serial);
    X509_free(certificate);
    known = json_string_value(setting_in(call->fake->scenario, "clients", who->name));
    who->kind = known && strcmp(known, "known") == 0 ? WHO_KNOWN : WHO_UNKNOWN;
}

/* --- what ------------------------------------------------------------------------------------ */

/* Fits the path to a pattern; what stands for {} goes to segments, decoded. */
static bool fits(const char *path, const char *pattern, char *segments[SEGMENTS_MAX])
{
    size_t n = 0;

    while (*pattern) {
        if (strncmp(pattern, "{}", 2) == 0) {
            const size_t len = strcspn(path, "/");
            char text[SEGMENT_TEXT];

            if (len == 0 || !http_decode(path, len, text, sizeof(text)))
                return false;
            free(segments[n]);
            segments[n++] = strdup(text);
            path += len;
            pattern += 2;
        } else if (*path++ != *pattern++) {
            return false;
        }
    }
    return *path == 0 || strcmp(path, "/") == 0;
}

/* The route; NULL when there is none, and then 404, or 405 if the path has others. */
static const struct route *find_route(struct call *call, unsigned *ret_status)
{
    const struct http_request *request = &call->x->request;
    const char *path = request->path + strlen(BASE);
    const char *method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;

    *ret_status = 404;
    for (size_t i = 0; i < MM_ARRAY_SIZE(routes); i++) {
        if (!fits(path, routes[i].pattern, call->segments))
            continue;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
        *ret_status = 405;
    }
    return NULL;
}

static bool is_below(const char *path, const char *below)
{
    const size_t len = strlen(below);

    return strncmp(path, below, len) == 0 && (path[len] == 0 || path[len] == '/');
}

/* What the container and the service filter say, before any code of a resource runs. */
static bool passes_filters(struct call *call)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT"};
    const struct http_request *request = &call->x->request;
    const char *path = request->path + strlen(BASE);
    bool known = false;

    for (size_t i = 0; i < MM_ARRAY_SIZE(methods); i++)
        known |= strcmp(request->method, methods[i]) == 0;
    if (!known) {
        call_html(call, 403, "Forbidden");
        return false;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(services); i++) {
        if (is_below(path, services[i].below) &&
            !json_is_true(setting_in(call->fake->scenario, "services", services[i].service))) {
            call_html(call, 403, "This service has been disabled.");
            return false;
        }
    }
    if ((http_header(request, "Sec-Fetch-Mode") || http_header(request, "Sec-Fetch-Dest")) &&
        !http_header(request, "X-Keyfactor-Requested-With")) {
        call_html(call, 403, "This service has been disabled.");
        return false;
    }
    return true;
}

static bool is_json(const struct http_request *request)
{
    const char *type = http_header(request, "Content-Type");

    return type && strncasecmp(type, "application/json", 16) == 0;
}

static bool find_call(struct call *call)
{
    const struct http_request *request = &call->x->request;
    unsigned status;

    if (strcmp(request->path, HEALTH) == 0) {
        call->x->reply.status = 200;
        call->x->reply.type = "text/plain";
        mm_buf_append_str(&call->x->reply.body, "ALLOK");
        return false;
    }
    if (!is_below(request->path, BASE)) {
        call_html(call, 404, "404 - Not Found");
        return false;
    }
    if (!passes_filters(call))
        return false;
    call->route = find_route(call, &status);
    if (!call->route)
        call_error(call, status, "HTTP %u %s", status, http_reason(status));
    else if (call->route->json && request->body.len && !is_json(request))
        call_error(call, 415, "HTTP 415 Unsupported Media Type");
    else
        return true;
    return false;
}

static bool may_call(struct call *call)
{
    const struct who *who = &call->who;

    if (call->route->access == ACCESS_CONNECTED)
        return true;
    if (who->kind == WHO_NOBODY) {
        call_error(call, 403,
                   "Error no client certificate or OAuth token received for authentication.");
        return false;
    }
    if (who->kind == WHO_UNKNOWN) {
        call_error(call, 403,
                   "Authentication failed. Further information: No admin authenticated for "
                   "certificate with serialNumber %s and issuerDN '%s'.",
                   who->serial, who->issuer);
        return false;
    }
    return call->route->access == ACCESS_VALID || call_must(call, "/administrator");
}

/* --- when ------------------------------------------------------------------------------------ */

static void pump(struct fake *fake);

static void call_free(struct call *call)
{
    for (size_t i = 0; i < SEGMENTS_MAX; i++)
        free(call->segments[i]);
    json_decref(call->body);
    free(call);
}

static void tally(json_t *table, const char *name)
{
    json_object_set_new(table, name,
                        json_integer(json_integer_value(json_object_get(table, name)) + 1));
}

static void log_call(const struct call *call, unsigned status)
{
    struct fake *fake = call->fake;

    if (json_array_size(fake->log) >= LOG_MAX)
        json_array_remove(fake->log, 0);
    json_array_append_new(fake->log,
                          json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "method",
                                    call->x->request.method, "path", call->x->request.path, "call",
                                    call->route ? call->route->name : "", "username",
                                    call->username, "status", (int)status, "fault",
                                    fault_name(call->plan.fault), "client", call->who.name));
}

/* Two enrolments of one username at once edit one row of EJBCA's: with `row_lock` the later one
 * fails, as it may there. True: the answer is filled in. */
static bool collides(struct call *call)
{
    struct fake *fake = call->fake;
    bool other;

    if (!call->route || !call->username[0] ||
        (call->route->handle != enroll_pkcs10 && call->route->handle != enroll_request))
        return false;
    other = json_integer_value(json_object_get(fake->enrolling, call->username)) > 0;
    call->enrolling = true;
    tally(fake->enrolling, call->username);
    if (!other)
        return false;
    fake->overlaps++;
    if (!setting_bool(fake->scenario, "row_lock"))
        return false;
    call_error(call, 500, "General failure.");
    return true;
}

static void end_enrolling(const struct call *call)
{
    json_t *table = call->fake->enrolling;
    const json_int_t count = json_integer_value(json_object_get(table, call->username));

    if (!call->enrolling)
        return;
    if (count > 1)
        json_object_set_new(table, call->username, json_integer(count - 1));
    else
        json_object_del(table, call->username);
}

/* Counts the end of a call; status 0: it got no answer. */
static void count_end(struct call *call, unsigned status)
{
    struct fake *fake = call->fake;

    fake->in_flight--;
    end_enrolling(call);
    if (call->working)
        fake->working--;
    fake->by_status[status < STATUS_MAX ? status : 0]++;
    if (call->issued && !call->x->conn)
        fake->unanswered++;
    log_call(call, status);
}

static void run_handler(struct call *call)
{
    if (call->handled)
        return;
    call->handled = true;
    call->route->handle(call);
}

/* The answers of faults that stand for the whole call; false: the call has no answer at all. */
static bool answer_instead(struct call *call)
{
    const struct plan *plan = &call->plan;
    const struct ca *ca = &call->fake->cas.ca[2];
    const char *name = call_text(call, "certificate_authority_name");

    if (name && ca_by_name(&call->fake->cas, name))
        ca = ca_by_name(&call->fake->cas, name);
    switch (plan->fault) {
    case FAULT_ANSWER:
        call_error(call, plan->status, "%s",
                   plan->text[0] ? plan->text : "Device was unavailable.");
        return true;
    case FAULT_EMPTY:
        call->x->reply.status = plan->status;
        return true;
    case FAULT_HTML:
        call_html(call, plan->status, plan->text[0] ? plan->text : http_reason(plan->status));
        return true;
    case FAULT_OFFLINE:
        call_error(call, 400, "CA token is offline for CA '%s'.", ca->subject_text);
        return true;
    case FAULT_INACTIVE:
        call_error(call, 400, "signsession.canotactive, %s", ca->subject_text);
        return true;
    default:
        return false;
    }
}

/* Faults that spoil an answer which is there. */
static void spoil(struct call *call, struct delivery *how)
{
    struct reply *reply = &call->x->reply;
    const struct plan *plan = &call->plan;

    switch (plan->fault) {
    case FAULT_CUT_DURING:
        how->cut_after = reply->body.len / 2;
        return;
    case FAULT_TRUNCATED_JSON:
        reply->body.len -= reply->body.len / 3;
        return;
    case FAULT_WRONG_JSON:
        mm_buf_reset(&reply->body);
        mm_buf_append_str(&reply->body, plan->text[0]
                                            ? plan->text
                                            : "{\"certificate\":17,\"serial_number\":null}");
        return;
    case FAULT_HTML_AFTER:
        call_html(call, plan->status, plan->text[0] ? plan->text : http_reason(plan->status));
        return;
    case FAULT_DRIP:
        how->drip_ms = plan->ms ? plan->ms : 1;
        return;
    case FAULT_HUGE:
        mm_buf_reset(&reply->body);
        mm_buf_append_str(&reply->body, "{\"certificate\":\"");
        for (size_t i = 0; i < plan->bytes / 16; i++)
            mm_buf_append_str(&reply->body, "AAAAAAAAAAAAAAAA");
        mm_buf_append_str(&reply->body, "\"}");
        return;
    default:
        return;
    }
}

static void deliver(struct call *call)
{
    struct delivery how = {.chunked = setting_bool(call->fake->scenario, "chunked"),
                           .cut_after = SIZE_MAX};
    struct exchange *x = call->x;
    struct fake *fake = call->fake;

    spoil(call, &how);
    if (call->issued && x->conn)
        call->issued->answered = true;
    count_end(call, x->reply.status);
    call_free(call);
    exchange_send(x, &how);
    pump(fake);
}

/* No answer: the connection is cut, or hangs. */
static void vanish(struct call *call)
{
    struct exchange *x = call->x;
    struct fake *fake = call->fake;
    const bool hang = call->plan.fault == FAULT_HANG_BEFORE || call->plan.fault == FAULT_HANG_AFTER;

    if (call->issued)
        fake->unanswered++;
    call->issued = NULL;
    count_end(call, 0);
    call_free(call);
    if (hang)
        exchange_hang(x);
    else
        exchange_cut(x);
    pump(fake);
}

static void finish(struct call *call)
{
    if (fault_is_before(call->plan.fault)) {
        if (answer_instead(call))
            deliver(call);
        else
            vanish(call);
        return;
    }
    run_handler(call);
    if (call->plan.fault == FAULT_HANG_AFTER || call->plan.fault == FAULT_CUT_AFTER)
        vanish(call);
    else
        deliver(call);
}

static void on_timer(uv_timer_t *timer)
{
    const struct exchange *x = timer->data;

    finish(x->owner);
}

static void start(struct call *call)
{
    unsigned ms = call->plan.latency_ms;

    call->working = true;
    call->fake->working++;
    if (call->plan.fault == FAULT_SLOW)
        ms += call->plan.ms;
    if (!fault_is_before(call->plan.fault) && setting_bool(call->fake->scenario, "issue_first"))
        run_handler(call);
    if (ms == 0) {
        finish(call);
        return;
    }
    uv_update_time(&call->fake->loop); /* the loop's is from before the other events of this turn */
    uv_timer_start(&call->x->timer, on_timer, ms, 0);
}

/* Gives waiting calls to workers that are free. */
static void pump(struct fake *fake)
{
    const int64_t workers = setting_int(fake->scenario, "workers");

    while (fake->waiting_first && (workers == 0 || fake->working < workers)) {
        struct call *call = fake->waiting_first;

        fake->waiting_first = call->next;
        if (!fake->waiting_first)
            fake->waiting_last = NULL;
        start(call);
    }
}

static void enqueue(struct call *call)
{
    struct fake *fake = call->fake;

    if (fake->waiting_last)
        fake->waiting_last->next = call;
    else
        fake->waiting_first = call;
    fake->waiting_last = call;
    pump(fake);
}

/* More than is borne? Then the answer is filled in. */
static bool over_limit(struct call *call)
{
    struct fake *fake = call->fake;
    const json_t *limit = json_object_get(scenario_settings(fake->scenario), "limit");
    const json_int_t rate = json_integer_value(json_object_get(limit, "rate_per_s")),
                     most = json_integer_value(json_object_get(limit, "in_flight")),
                     after = json_integer_value(json_object_get(limit, "retry_after_s"));
    const uint64_t now = uv_now(&fake->loop);
    bool over = most > 0 && fake->in_flight > most;

    if (rate > 0) {
        const double room = (double)rate / 10 > 1 ? (double)rate / 10 : 1;

        fake->tokens += (double)(now - fake->tokens_at) * (double)rate / 1000;
        if (fake->tokens > room)
            fake->tokens = room;
        over |= fake->tokens < 1;
        fake->tokens -= over ? 0 : 1;
        fake->tokens_at = now;
    }
    if (!over)
        return false;
    call->x->reply.status =
        (unsigned)json_integer_value(json_object_get(limit, "status")) % STATUS_MAX;
    if (after > 0)
        snprintf(call->x->reply.extra, sizeof(call->x->reply.extra), "Retry-After: %d\r\n",
                 (int)after);
    return true;
}

void rest_handle(void *arg, struct exchange *x)
{
    struct fake *fake = arg;
    struct call *call = calloc(1, sizeof(*call));
    bool found;

    if (!call)
        abort();
    call->fake = fake;
    call->x = x;
    call->started = uv_now(&fake->loop);
    x->owner = call;
    fake->requests++;
    if (++fake->in_flight > fake->most_in_flight)
        fake->most_in_flight = fake->in_flight;
    identify(call);
    if (x->request.body.len)
        call->body = json_loadb((const char *)x->request.body.data, x->request.body.len, 0, NULL);
    call->username = call_text(call, "username") ? call_text(call, "username") : "";
    found = find_call(call);
    tally(fake->by_call, call->route ? call->route->name : "other");
    scenario_plan(fake->scenario, call->route ? call->route->name : "other", call->username,
                  fake->in_flight, call->started, &call->plan);
    if (call->plan.fault)
        tally(fake->by_fault, fault_name(call->plan.fault));
    if (over_limit(call)) {
        call->handled = true;
        call->plan.latency_ms = 0;
    } else {
        call->handled = !found || !may_call(call) || collides(call);
    }
    enqueue(call);
}
