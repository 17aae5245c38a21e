/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the fake share. */
#pragma once

#include "tests/fake/ejbca/net.h"
#include "tests/fake/ejbca/scenario.h"
#include "tests/fake/ejbca/state.h"

enum { USERNAME_MAX = 256, TEXT_SIZE = 1024, SEGMENTS_MAX = 4, STATUS_MAX = 600 };

struct fake {
    uv_loop_t loop;
    const char *folder;
    struct cas cas;
    struct state *state;
    struct scenario *scenario;
    struct listener *rest, *control;
    struct call *waiting_first, *waiting_last; /* for a worker */
    unsigned in_flight, working, most_in_flight;
    uint64_t requests, issued, unanswered; /* unanswered: certificates whose client had gone */
    uint64_t by_status[STATUS_MAX];
    uint64_t overlaps; /* enrolments while another one of the same username was under way */
    json_t *enrolling; /* those under way, by username */
    json_t *by_call;   /* requests by the call's name */
    json_t *by_fault;  /* faults by name */
    json_t *log;       /* the latest requests, the oldest first */
    double tokens;     /* of the rate limit */
    uint64_t tokens_at;
    uint64_t numbers; /* of the generated usernames */
    struct {          /* what was found for the pages of a list, until something changes */
        char *question;
        uint64_t changes;
        struct issued **rows;
        size_t count;
    } list;
};

/* Who calls, by the certificate of the connection. */
struct who {
    enum { WHO_NOBODY, WHO_UNKNOWN, WHO_KNOWN } kind;
    char name[CA_NAME_MAX];  /* common name: the key of the settings `clients` and `roles` */
    char subject[CA_DN_MAX]; /* as EJBCA writes it */
    char issuer[CA_DN_MAX];
    char serial[64]; /* decimal */
};

struct route;

/* A request under way. */
struct call {
    struct fake *fake;
    struct exchange *x;
    const struct route *route;    /* NULL: there is none */
    char *segments[SEGMENTS_MAX]; /* what stands for {} in the route, decoded */
    struct who who;
    json_t *body;         /* NULL: none, or not JSON */
    const char *username; /* "" when the request names none */
    struct plan plan;
    struct issued *issued; /* by this request */
    uint64_t started;      /* uv_now */
    struct call *next;
    bool handled, working;
    bool enrolling; /* counted in the fake's table of that name */
};

struct route {
    const char *method, *pattern;
    const char *name;    /* in scenarios and counts */
    const char *service; /* EJBCA's name of the switch */
    enum { ACCESS_ADMINISTRATOR, ACCESS_VALID, ACCESS_CONNECTED } access;
    bool json; /* takes a body of application/json */
    void (*handle)(struct call *call);
};

/* Takes REST requests; for struct listener_options. */
void rest_handle(void *arg, struct exchange *x);
/* Takes requests of the control port. */
void control_handle(void *arg, struct exchange *x);

/* Fills the answer. */
void call_json(struct call *call, unsigned status, json_t *body);
void call_error(struct call *call, unsigned status, const char *fmt, ...) MM_PRINTF(3, 4);
void call_html(struct call *call, unsigned status, const char *text);

/* A text of the request's body; NULL if it is missing or not a text. */
const char *call_text(const struct call *call, const char *name);
/* Is the caller in a role with this access rule? */
bool call_may(const struct call *call, const char *rule);
/* The same; when it may not, the 403 is filled in. */
bool call_must(struct call *call, const char *rule);
bool is_version_9(const struct fake *fake);
/* ISO 8601 as EJBCA writes it. */
const char *time_text(int64_t ms, char to[32]);
/* And reads it; false: it is none. */
bool time_parse(const char *text, int64_t *ret_ms);

/* Handlers of routes. */
void enroll_pkcs10(struct call *call);
void enroll_request(struct call *call);
void enroll_finalize(struct call *call);
void search_v1(struct call *call);
void search_v2(struct call *call);
void search_expire(struct call *call);
void search_count(struct call *call);
void revoke_certificate(struct call *call);
void revoke_status(struct call *call);
void ca_list(struct call *call);
void ca_download(struct call *call);
void ca_latest_crl(struct call *call);
void ca_create_crl(struct call *call);
void status_v1(struct call *call);
void status_v2(struct call *call);
void profile_v2(struct call *call);

/* The number EJBCA would give a profile's name. */
int profile_id(const char *name);
