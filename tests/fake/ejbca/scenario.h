/* SPDX-License-Identifier: Apache-2.0 */
/* How the fake is to behave: its settings, and the faults that are asked of it. */
#pragma once

#include "daemon/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault {
    FAULT_NONE,
    /* Instead of what was asked for; nothing is issued. */
    FAULT_ANSWER,      /* an error in EJBCA's JSON: `status`, `message` */
    FAULT_EMPTY,       /* `status` without a body */
    FAULT_HTML,        /* a proxy's page: `status` */
    FAULT_OFFLINE,     /* the crypto token is away */
    FAULT_INACTIVE,    /* the CA is not active */
    FAULT_HANG_BEFORE, /* never an answer */
    FAULT_CUT_BEFORE,  /* the connection is cut */
    /* After it: issued, and recorded. */
    FAULT_HANG_AFTER,
    FAULT_CUT_AFTER,
    FAULT_CUT_DURING, /* half of the answer's body */
    FAULT_TRUNCATED_JSON,
    FAULT_WRONG_JSON, /* `body` in its place */
    FAULT_HTML_AFTER,
    FAULT_SLOW, /* `ms` later */
    FAULT_DRIP, /* byte by byte, `ms` between them */
    FAULT_HUGE, /* `bytes` of it */
    /* Something else is issued than was asked for, and recorded so. */
    FAULT_WRONG_KEY,
    FAULT_WRONG_ISSUER,  /* name and key of another CA */
    FAULT_FORGED_ISSUER, /* the right name, another key */
    FAULT_WRONG_SUBJECT,
    FAULT_BAD_SIGNATURE,
    FAULT_REPEATED_SERIAL, /* that of the certificate before */
    FAULT_EXPIRED_CHAIN,
    FAULT_EXPIRED_CERTIFICATE,
    FAULT_WRONG_CHAIN, /* of another CA */
    FAULT_COUNT
};

/* What is to happen to one request. */
struct plan {
    enum fault fault;
    unsigned status, ms, latency_ms;
    size_t bytes;
    char text[512]; /* message or body */
};

struct scenario;

/* names: the CAs that get settings of their own. */
struct scenario *scenario_new(const char *const *names, size_t count);
void scenario_free(struct scenario *scenario);

/* Merges changes into the settings. A name that does not exist, a value of the wrong type, or a
 * fault that is none is refused with a text, and nothing changes. */
bool scenario_change(struct scenario *scenario, json_t *changes, char *text, size_t size);
/* Adds a rule behind those that are there, which go on counting. */
bool scenario_add_fault(struct scenario *scenario, json_t *rule, char *text, size_t size);
void scenario_reset(struct scenario *scenario);

/* The settings; a path's members are separated by dots: no name in a path may contain one. */
json_t *scenario_settings(struct scenario *scenario);
int64_t setting_int(const struct scenario *scenario, const char *name);
bool setting_bool(const struct scenario *scenario, const char *name);
const char *setting_text(const struct scenario *scenario, const char *name);
json_t *setting_in(const struct scenario *scenario, const char *table, const char *name);

/* What happens to this request. in_flight: with it. now_ms: of a clock that never goes back. */
void scenario_plan(struct scenario *scenario, const char *call, const char *username,
                   unsigned in_flight, uint64_t now_ms, struct plan *ret_plan);
const char *fault_name(enum fault fault);
bool fault_is_before(enum fault fault);
