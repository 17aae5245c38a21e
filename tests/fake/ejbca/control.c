/* SPDX-License-Identifier: Apache-2.0 */
/* The control port: what tests ask of the fake, and see of it. README.md lists the requests. */
#include "tests/fake/ejbca/fake.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 1000, PAGE_TOP = 10000 };

static void reply_json(struct exchange *x, unsigned status, json_t *body)
{
    static const struct delivery plain = {.cut_after = SIZE_MAX};
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    x->reply.status = status;
    x->reply.type = "application/json";
    mm_buf_append_str(&x->reply.body, text ? text : "{}");
    free(text);
    json_decref(body);
    exchange_send(x, &plain);
}

static json_t *error(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

static json_t *counts_of(const struct listener *listener)
{
    const struct listener_counts *c = listener_counts(listener);

    return json_pack("{s:i, s:i, s:i, s:i, s:i}", "open", (int)c->open, "accepted",
                     (int)c->accepted, "handshakes", (int)c->handshakes, "refused", (int)c->refused,
                     "cut", (int)c->cut);
}

static json_t *state_json(const struct fake *fake)
{
    json_t *statuses = json_object(), *state;
    char name[16];

    for (unsigned i = 0; i < STATUS_MAX; i++) {
        if (!fake->by_status[i])
            continue;
        snprintf(name, sizeof(name), "%u", i);
        json_object_set_new(statuses, name, json_integer((json_int_t)fake->by_status[i]));
    }
    state =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i}", "requests",
                  (json_int_t)fake->requests, "certificates", (json_int_t)state_count(fake->state),
                  "issued", (json_int_t)fake->issued, "users", (json_int_t)state_users(fake->state),
                  "doubles", (json_int_t)state_doubles(fake->state), "unanswered",
                  (json_int_t)fake->unanswered, "overlaps", (json_int_t)fake->overlaps, "in_flight",
                  (int)fake->in_flight, "most_in_flight", (int)fake->most_in_flight);
    json_object_update_new(state, json_pack("{s:O, s:O, s:o, s:o}", "calls", fake->by_call,
                                            "faults", fake->by_fault, "statuses", statuses,
                                            "connections", counts_of(fake->rest)));
    return state;
}

static uint64_t parameter(const struct exchange *x, const char *name, uint64_t otherwise,
                          uint64_t most)
{
    char text[32];
    uint64_t value;

    if (!http_parameter(&x->request, name, text, sizeof(text)) ||
        mm_text_to_u64(text, 0, most, &value) < 0)
        return otherwise;
    return value;
}

static json_t *row_json(const struct issued *row, bool der)
{
    char key[2 * KEY_HASH_LEN + 1];
    json_t *json = json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:b}", "number",
        (json_int_t)row->number, "username", row->user->name, "serial", row->serial, "key_sha256",
        mm_hex_encode(row->key_hash, KEY_HASH_LEN, key), "subject", row->subject, "ca",
        row->ca->name, "certificate_profile", row->certificate_profile, "end_entity_profile",
        row->end_entity_profile, "status", row->reason == NOT_REVOKED ? "active" : "revoked",
        "reason", row->reason, "issued_ms", (json_int_t)row->issued_ms, "answered", row->answered);

    if (der) {
        struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(2 * CERT_DER_MAX);

        cert_base64(row->der, &text);
        json_object_set_new(json, "der", json_stringn((const char *)text.data, text.len));
    }
    return json;
}

static void get_certificates(struct fake *fake, struct exchange *x)
{
    const size_t offset = parameter(x, "offset", 0, SIZE_MAX / 2),
                 limit = parameter(x, "limit", PAGE, PAGE_TOP), all = state_count(fake->state);
    const bool der = parameter(x, "der", 0, 1) == 1;
    json_t *list = json_array();
    char name[USERNAME_MAX];

    if (http_parameter(&x->request, "username", name, sizeof(name))) {
        const struct user *user = state_user(fake->state, name);

        for (const struct issued *row = user ? user->certificates : NULL; row;
             row = row->next_of_user)
            json_array_insert_new(list, 0, row_json(row, der));
    } else {
        for (size_t i = offset; i < all && i < offset + limit; i++)
            json_array_append_new(list, row_json(state_at(fake->state, i), der));
    }
    reply_json(x, 200, json_pack("{s:o, s:I}", "certificates", list, "total", (json_int_t)all));
}

/* Settings that are more than values to look up. */
static bool apply(struct fake *fake, char *text, size_t size)
{
    const struct scenario *s = fake->scenario;

    listener_limits(fake->rest, (unsigned)setting_int(s, "requests_per_connection"),
                    (unsigned)setting_int(s, "idle_ms"));
    listener_require(fake->rest, setting_bool(s, "client_certificate_required"));
    if (listener_open(fake->rest, setting_bool(s, "listen")))
        return true;
    snprintf(text, size, "the port is taken");
    return false;
}

/* Who may see what may be another matter now. */
static void forget_list(struct fake *fake)
{
    free(fake->list.question);
    fake->list.question = NULL;
}

static void put_settings(struct fake *fake, struct exchange *x)
{
    json_t *changes = json_loadb((const char *)x->request.body.data, x->request.body.len, 0, NULL);
    char text[TEXT_SIZE];

    forget_list(fake);
    if (!scenario_change(fake->scenario, changes, text, sizeof(text)) ||
        !apply(fake, text, sizeof(text)))
        reply_json(x, 400, error(text));
    else
        reply_json(x, 200, json_incref(scenario_settings(fake->scenario)));
    json_decref(changes);
}

static void post_fault(struct fake *fake, struct exchange *x)
{
    json_t *rule = json_loadb((const char *)x->request.body.data, x->request.body.len, 0, NULL);
    char text[TEXT_SIZE];

    if (scenario_add_fault(fake->scenario, rule, text, sizeof(text)))
        reply_json(x, 200, NULL);
    else
        reply_json(x, 400, error(text));
    json_decref(rule);
}

/* Back to the settings of the start; counts to nothing. What was issued stays. */
static void post_reset(struct fake *fake, struct exchange *x)
{
    char text[TEXT_SIZE];

    scenario_reset(fake->scenario);
    forget_list(fake);
    fake->requests = fake->issued = fake->unanswered = fake->overlaps = 0;
    fake->most_in_flight = fake->in_flight;
    memset(fake->by_status, 0, sizeof(fake->by_status));
    json_object_clear(fake->by_call);
    json_object_clear(fake->by_fault);
    json_array_clear(fake->log);
    if (apply(fake, text, sizeof(text)))
        reply_json(x, 200, json_incref(scenario_settings(fake->scenario)));
    else
        reply_json(x, 500, error(text));
}

static void post_user(struct fake *fake, struct exchange *x)
{
    json_t *body = json_loadb((const char *)x->request.body.data, x->request.body.len, 0, NULL);
    const char *name, *subject = NULL, *password = NULL;

    if (json_unpack(body, "{s:s, s?s, s?s}", "username", &name, "subject", &subject, "password",
                    &password) < 0)
        reply_json(x, 400, error("username, subject, password: texts"));
    else if (!state_put_user(fake->state, name, subject, password))
        reply_json(x, 500, error("the journal cannot be written"));
    else
        reply_json(x, 200, NULL);
    json_decref(body);
}

static void get_state(struct fake *fake, struct exchange *x)
{
    reply_json(x, 200, state_json(fake));
}

static void get_requests(struct fake *fake, struct exchange *x)
{
    reply_json(x, 200, json_pack("{s:O}", "requests", fake->log));
}

static void get_settings(struct fake *fake, struct exchange *x)
{
    reply_json(x, 200, json_incref(scenario_settings(fake->scenario)));
}

void control_handle(void *arg, struct exchange *x)
{
    static const struct {
        const char *method, *path;
        void (*handle)(struct fake *fake, struct exchange *x);
    } requests[] = {{"GET", "/state", get_state},       {"GET", "/certificates", get_certificates},
                    {"GET", "/requests", get_requests}, {"GET", "/settings", get_settings},
                    {"PUT", "/settings", put_settings}, {"POST", "/reset", post_reset},
                    {"POST", "/faults", post_fault},    {"POST", "/users", post_user}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(requests); i++) {
        if (strcmp(x->request.method, requests[i].method) == 0 &&
            strcmp(x->request.path, requests[i].path) == 0) {
            requests[i].handle(arg, x);
            return;
        }
    }
    reply_json(x, 404, error("no such request"));
}
