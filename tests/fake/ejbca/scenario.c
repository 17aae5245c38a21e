/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/scenario.h"

#include "daemon/base/macros.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static const char *const fault_names[FAULT_COUNT] = {
    [FAULT_NONE] = "none",
    [FAULT_ANSWER] = "answer",
    [FAULT_EMPTY] = "empty",
    [FAULT_HTML] = "html",
    [FAULT_OFFLINE] = "offline",
    [FAULT_INACTIVE] = "inactive",
    [FAULT_HANG_BEFORE] = "hang_before",
    [FAULT_CUT_BEFORE] = "cut_before",
    [FAULT_HANG_AFTER] = "hang_after",
    [FAULT_CUT_AFTER] = "cut_after",
    [FAULT_CUT_DURING] = "cut_during",
    [FAULT_TRUNCATED_JSON] = "truncated_json",
    [FAULT_WRONG_JSON] = "wrong_json",
    [FAULT_HTML_AFTER] = "html_after",
    [FAULT_SLOW] = "slow",
    [FAULT_DRIP] = "drip",
    [FAULT_HUGE] = "huge",
    [FAULT_WRONG_KEY] = "wrong_key",
    [FAULT_WRONG_ISSUER] = "wrong_issuer",
    [FAULT_FORGED_ISSUER] = "forged_issuer",
    [FAULT_WRONG_SUBJECT] = "wrong_subject",
    [FAULT_BAD_SIGNATURE] = "bad_signature",
    [FAULT_REPEATED_SERIAL] = "repeated_serial",
    [FAULT_EXPIRED_CHAIN] = "expired_chain",
    [FAULT_EXPIRED_CERTIFICATE] = "expired_certificate",
    [FAULT_WRONG_CHAIN] = "wrong_chain",
};

/* Types and names of what a rule may say. */
static const char rule_example[] =
    "{\"fault\": null, \"calls\": null, \"username\": \"\", \"skip\": 0, \"times\": 0, \"up\": 0,"
    " \"down\": 0, \"up_ms\": 0, \"down_ms\": 0, \"probability\": 0.5, \"status\": 0,"
    " \"message\": \"\", \"body\": \"\", \"ms\": 0, \"bytes\": 0}";

static const char defaults[] =
    "{\"version\": \"8.2.0.1\", \"edition\": \"Community\","
    /* speed */
    " \"latency_ms\": 0, \"jitter_ms\": 0, \"issue_first\": false, \"workers\": 0, \"popo\": true,"
    " \"strain_percent\": 0, \"row_lock\": false,"
    " \"limit\": {\"rate_per_s\": 0, \"in_flight\": 0, \"status\": 503, \"retry_after_s\": 0},"
    /* connections */
    " \"listen\": true, \"client_certificate_required\": false, \"requests_per_connection\": 0,"
    " \"idle_ms\": 0, \"chunked\": false,"
    /* EJBCA's own configuration */
    " \"services\": {\"REST Certificate Management\": true,"
    "  \"REST Certificate Management V2\": true, \"REST End Entity Management\": false,"
    "  \"REST End Entity Management V2\": false, \"REST CA Management\": false,"
    "  \"REST System V1\": false},"
    " \"clients\": {\"ra\": \"known\", \"reader\": \"known\", \"stranger\": \"unknown\","
    "  \"former\": \"revoked\"},"
    " \"roles\": {\"ra\": [\"/\"], \"reader\": []},"
    " \"max_query_count\": 400, \"list_twice\": false,"
    " \"cas\": {},"
    " \"certificate_profiles\": {\"DevCert\": {\"cas\": [\"*\"], \"key_algorithms\": [\"EC\", "
    "\"RSA\"],"
    "  \"min_bits\": 224, \"validity_days\": 3650, \"key_usage\": [\"digitalSignature\"],"
    "  \"extended_key_usage\": [], \"back_dating\": true,"
    "  \"back_dated_revocation\": true, \"subject_order\": \"request\"}},"
    " \"end_entity_profiles\": {\"DevEE\": {\"cas\": [\"*\"], \"certificate_profiles\": [\"*\"],"
    "  \"generated_password\": false, \"generated_username\": false, \"subject\": [\"CN\"]}},"
    /* faults */
    " \"seed\": 1, \"faults\": []}";

static const char ca_defaults[] =
    "{\"status\": \"active\", \"enforce_unique_public_keys\": true,"
    " \"enforce_key_renewal\": false, \"enforce_unique_dn\": true, \"approval\": false,"
    " \"revocation_approval\": false}";

enum { RULES_MAX = 64 };

struct progress {
    uint64_t matched, done, since_ms;
};

struct scenario {
    json_t *settings, *start;
    struct progress progress[RULES_MAX]; /* of each rule in faults */
    json_t *attempts;                    /* of each call and username; for the dice */
};

static json_t *parse(const char *text)
{
    json_t *value = json_loads(text, 0, NULL);

    if (!value)
        abort();
    return value;
}

struct scenario *scenario_new(const char *const *names, size_t count)
{
    struct scenario *s = calloc(1, sizeof(*s));

    if (!s)
        abort();
    s->start = parse(defaults);
    for (size_t i = 0; i < count; i++)
        json_object_set_new(json_object_get(s->start, "cas"), names[i], parse(ca_defaults));
    scenario_reset(s);
    return s;
}

void scenario_free(struct scenario *s)
{
    if (!s)
        return;
    json_decref(s->settings);
    json_decref(s->start);
    json_decref(s->attempts);
    free(s);
}

void scenario_reset(struct scenario *s)
{
    json_decref(s->settings);
    json_decref(s->attempts);
    s->settings = json_deep_copy(s->start);
    s->attempts = json_object();
    memset(s->progress, 0, sizeof(s->progress));
}

json_t *scenario_settings(struct scenario *s)
{
    return s->settings;
}

int64_t setting_int(const struct scenario *s, const char *name)
{
    return json_integer_value(json_object_get(s->settings, name));
}

bool setting_bool(const struct scenario *s, const char *name)
{
    return json_is_true(json_object_get(s->settings, name));
}

const char *setting_text(const struct scenario *s, const char *name)
{
    return json_string_value(json_object_get(s->settings, name));
}

json_t *setting_in(const struct scenario *s, const char *table, const char *name)
{
    return json_object_get(json_object_get(s->settings, table), name);
}

const char *fault_name(enum fault fault)
{
    return fault_names[fault];
}

bool fault_is_before(enum fault fault)
{
    return fault >= FAULT_ANSWER && fault <= FAULT_CUT_BEFORE;
}

static enum fault find_fault(const char *name)
{
    for (int i = FAULT_NONE + 1; name && i < FAULT_COUNT; i++)
        if (strcmp(fault_names[i], name) == 0)
            return (enum fault)i;
    return FAULT_NONE;
}

static bool same_type(const json_t *a, const json_t *b)
{
    return json_typeof(a) == json_typeof(b) || (json_is_boolean(a) && json_is_boolean(b)) ||
           (json_is_number(a) && json_is_real(b));
}

/* A name, or a list of names that are all good. */
static bool check_faults(const json_t *names)
{
    size_t i;
    json_t *name;

    if (json_is_string(names))
        return find_fault(json_string_value(names)) != FAULT_NONE;
    json_array_foreach(names, i, name) {
        if (find_fault(json_string_value(name)) == FAULT_NONE)
            return false;
    }
    return json_array_size(names) > 0;
}

static bool check_rule(json_t *rule, char *text, size_t size)
{
    json_t *example = parse(rule_example), *value;
    const char *key;
    bool good = json_is_object(rule) && check_faults(json_object_get(rule, "fault"));

    snprintf(text, size, "a rule needs a fault that exists");
    json_object_foreach(rule, key, value) {
        const json_t *like = json_object_get(example, key);

        if (good && (!like || (!json_is_null(like) && !same_type(value, like)))) {
            snprintf(text, size, "a rule has no such %s", key);
            good = false;
        }
    }
    json_decref(example);
    return good;
}

static bool check_rules(json_t *rules, char *text, size_t size)
{
    json_t *rule;
    size_t i;

    if (json_array_size(rules) > RULES_MAX) {
        snprintf(text, size, "too many rules");
        return false;
    }
    json_array_foreach(rules, i, rule) {
        if (!check_rule(rule, text, size))
            return false;
    }
    return true;
}

/* Tables whose names are free. */
static bool is_free(const char *name)
{
    static const char *const names[] = {"clients", "roles", "certificate_profiles",
                                        "end_entity_profiles"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* What changes says must be there already, and of the same type. */
static bool check_changes(json_t *settings, json_t *changes, char *text, size_t size)
{
    const char *key;
    json_t *value;

    json_object_foreach(changes, key, value) {
        json_t *old = json_object_get(settings, key);

        if (!old || !same_type(value, old)) {
            snprintf(text, size, "no such setting: %s", key);
            return false;
        }
        if (json_is_object(old) && !is_free(key) && !check_changes(old, value, text, size))
            return false;
    }
    return true;
}

/* A new profile starts as the one that is there by default. */
static void fill_profiles(struct scenario *s, const char *table, const char *like, json_t *changes)
{
    json_t *profiles = json_object_get(s->settings, table);
    const char *name;
    json_t *value;

    json_object_foreach(json_object_get(changes, table), name, value) {
        if (!json_object_get(profiles, name))
            json_object_set_new(
                profiles, name,
                json_deep_copy(json_object_get(json_object_get(s->start, table), like)));
    }
}

bool scenario_change(struct scenario *s, json_t *changes, char *text, size_t size)
{
    json_t *rules = json_object_get(changes, "faults");

    if (!json_is_object(changes)) {
        snprintf(text, size, "not an object");
        return false;
    }
    if (!check_changes(s->settings, changes, text, size) || !check_rules(rules, text, size))
        return false;
    fill_profiles(s, "certificate_profiles", "DevCert", changes);
    fill_profiles(s, "end_entity_profiles", "DevEE", changes);
    json_object_update_recursive(s->settings, changes);
    if (rules)
        memset(s->progress, 0, sizeof(s->progress));
    if (json_object_get(changes, "seed"))
        json_object_clear(s->attempts);
    return true;
}

bool scenario_add_fault(struct scenario *s, json_t *rule, char *text, size_t size)
{
    json_t *rules = json_object_get(s->settings, "faults");

    if (json_array_size(rules) == RULES_MAX) {
        snprintf(text, size, "too many rules");
        return false;
    }
    if (!check_rule(rule, text, size))
        return false;
    json_array_append(rules, rule);
    return true;
}

/* A number in [0, 1) that depends on the seed and on what is asked for alone, not on the order in
 * which requests arrive. */
static double dice(uint64_t seed, const char *text, uint64_t number)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u ^ number * 0xd1b54a32d192ed03u;

    for (; *text; text++)
        x = (x ^ (uint8_t)*text) * 0x100000001b3u;
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    x ^= x >> 31;
    return (double)(x >> 11) / 9007199254740992.0;
}

static bool matches_call(const json_t *calls, const char *call)
{
    json_t *name;
    size_t i;

    if (!calls || json_is_null(calls))
        return strcmp(call, "pkcs10enroll") == 0;
    if (json_is_string(calls))
        return fnmatch(json_string_value(calls), call, 0) == 0;
    json_array_foreach(calls, i, name) {
        if (json_is_string(name) && fnmatch(json_string_value(name), call, 0) == 0)
            return true;
    }
    return false;
}

static uint64_t number(const json_t *rule, const char *name)
{
    const json_int_t value = json_integer_value(json_object_get(rule, name));

    return value > 0 ? (uint64_t)value : 0;
}

/* Whether a rule that fits the request strikes; counts it. */
static bool strikes(const json_t *rule, struct progress *p, double draw, uint64_t now_ms)
{
    const uint64_t up = number(rule, "up"), down = number(rule, "down"),
                   up_ms = number(rule, "up_ms"), down_ms = number(rule, "down_ms"),
                   times = number(rule, "times"), seen = p->matched++;
    const json_t *probability = json_object_get(rule, "probability");

    if (seen < number(rule, "skip") || (times && p->done >= times))
        return false;
    if (up + down && seen % (up + down) < up)
        return false;
    if (p->since_ms == 0)
        p->since_ms = now_ms;
    if (up_ms + down_ms && (now_ms - p->since_ms) % (up_ms + down_ms) < up_ms)
        return false;
    if (probability && draw >= json_number_value(probability))
        return false;
    p->done++;
    return true;
}

static void fill_plan(const json_t *rule, double draw, struct plan *plan)
{
    const json_t *names = json_object_get(rule, "fault");
    const char *text = json_string_value(json_object_get(rule, "message"));

    if (json_is_array(names))
        names = json_array_get(names, (size_t)(draw * (double)json_array_size(names)));
    plan->fault = find_fault(json_string_value(names));
    plan->status = (unsigned)number(rule, "status");
    if (plan->status < 100 || plan->status > 599)
        plan->status = 503;
    plan->ms = (unsigned)number(rule, "ms");
    plan->bytes = number(rule, "bytes");
    if (!text)
        text = json_string_value(json_object_get(rule, "body"));
    snprintf(plan->text, sizeof(plan->text), "%s", text ? text : "");
}

/* How often this call was made for this username before. */
static uint64_t attempt(struct scenario *s, const char *key)
{
    const json_int_t before = json_integer_value(json_object_get(s->attempts, key));

    json_object_set_new(s->attempts, key, json_integer(before + 1));
    return (uint64_t)before;
}

void scenario_plan(struct scenario *s, const char *call, const char *username, unsigned in_flight,
                   uint64_t now_ms, struct plan *ret_plan)
{
    const uint64_t seed = (uint64_t)setting_int(s, "seed");
    const int64_t latency = setting_int(s, "latency_ms"), jitter = setting_int(s, "jitter_ms"),
                  workers = setting_int(s, "workers"), strain = setting_int(s, "strain_percent");
    json_t *rules = json_object_get(s->settings, "faults"), *rule;
    const unsigned free_of_strain = workers > 0 ? (unsigned)workers : 1;
    char key[512];
    uint64_t tries;
    size_t i;

    memset(ret_plan, 0, sizeof(*ret_plan));
    ret_plan->latency_ms = (unsigned)latency;
    if (strain && in_flight > free_of_strain)
        ret_plan->latency_ms += (unsigned)(latency * strain * (in_flight - free_of_strain) / 100);
    if (!json_array_size(rules) && !jitter)
        return;
    snprintf(key, sizeof(key), "%s %s", call, username);
    tries = attempt(s, key);
    if (jitter)
        ret_plan->latency_ms +=
            (unsigned)(dice(seed, key, tries << 8 | 0xff) * (double)(jitter + 1));
    json_array_foreach(rules, i, rule) {
        const char *pattern = json_string_value(json_object_get(rule, "username"));

        if (!matches_call(json_object_get(rule, "calls"), call) ||
            (pattern && fnmatch(pattern, username, 0) != 0) ||
            !strikes(rule, &s->progress[i], dice(seed, key, tries << 8 | i), now_ms))
            continue;
        fill_plan(rule, dice(seed + 1, key, tries << 8 | i), ret_plan);
        return;
    }
}
