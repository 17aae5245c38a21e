/* SPDX-License-Identifier: Apache-2.0 */
/* The criteria of a search: EJBCA's checks of them, and what fits. */
#include "tests/fake/ejbca/search.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum kind { KIND_QUERY, KIND_NAME, KIND_STATUS, KIND_DATE };

static const struct property {
    const char *name;
    enum kind kind;
} properties[] = {
    {"QUERY", KIND_QUERY},
    {"EXTERNAL_ACCOUNT_BINDING_ID", KIND_QUERY},
    {"END_ENTITY_PROFILE", KIND_NAME},
    {"CERTIFICATE_PROFILE", KIND_NAME},
    {"CA", KIND_NAME},
    {"STATUS", KIND_STATUS},
    {"ISSUED_DATE", KIND_DATE},
    {"EXPIRE_DATE", KIND_DATE},
    {"REVOCATION_DATE", KIND_DATE},
    {"UPDATE_TIME", KIND_DATE},
};

/* Statuses that a search knows, and the revocation reasons that they stand for. */
static const struct {
    const char *name;
    int reason; /* NOT_REVOKED, a CRLReason, or ANY_REASON */
} statuses[] = {
    {"CERT_ACTIVE", NOT_REVOKED},
    {"CERT_NOTIFIEDABOUTEXPIRATION", NOT_REVOKED},
    {"CERT_REVOKED", 100},
    {"REVOCATION_REASON_UNSPECIFIED", 0},
    {"REVOCATION_REASON_KEYCOMPROMISE", 1},
    {"REVOCATION_REASON_CACOMPROMISE", 2},
    {"REVOCATION_REASON_AFFILIATIONCHANGED", 3},
    {"REVOCATION_REASON_SUPERSEDED", 4},
    {"REVOCATION_REASON_CESSATIONOFOPERATION", 5},
    {"REVOCATION_REASON_CERTIFICATEHOLD", 6},
    {"REVOCATION_REASON_REMOVEFROMCRL", 8},
    {"REVOCATION_REASON_PRIVILEGESWITHDRAWN", 9},
    {"REVOCATION_REASON_AACOMPROMISE", 10},
};
enum { ANY_REASON = 100 };

static const char *text_in(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* Its place in properties; their number if it is none of them. */
static size_t find_property(const char *name)
{
    size_t i = 0;

    while (i < MM_ARRAY_SIZE(properties) && strcmp(properties[i].name, name) != 0)
        i++;
    return i;
}

static const char *check_operation(enum kind kind, const char *operation)
{
    const bool equal = strcmp(operation, "EQUAL") == 0, like = strcmp(operation, "LIKE") == 0,
               date = strcmp(operation, "BEFORE") == 0 || strcmp(operation, "AFTER") == 0;

    if (!equal && !like && !date)
        return "Invalid search criteria's operation, unrecognized.";
    if (kind == KIND_QUERY && !equal && !like)
        return "Invalid search criteria's operation, should be EQUAL or LIKE.";
    if ((kind == KIND_NAME || kind == KIND_STATUS) && !equal)
        return "Invalid search criteria's operation, should be EQUAL.";
    if (kind == KIND_DATE && !date)
        return "Invalid search criteria's operation, should be AFTER or BEFORE.";
    return NULL;
}

static const char *check_value(enum kind kind, const char *value)
{
    int64_t ms;

    if (kind == KIND_DATE && !time_parse(value, &ms))
        return "Invalid search criteria content, value does not contain proper date.";
    if (kind != KIND_STATUS)
        return NULL;
    for (size_t i = 0; i < MM_ARRAY_SIZE(statuses); i++)
        if (strcmp(statuses[i].name, value) == 0)
            return NULL;
    return "Invalid search criteria content, value does not contain certificate status.";
}

/* Names must exist, and the caller must have a right on the CA. */
static const char *check_name(const struct call *call, const char *property, const char *value)
{
    const struct scenario *scenario = call->fake->scenario;
    const struct ca *ca = ca_by_name(&call->fake->cas, value);
    char rule[CA_NAME_MAX + 8];

    if (strcmp(property, "END_ENTITY_PROFILE") == 0)
        return setting_in(scenario, "end_entity_profiles", value)
                   ? NULL
                   : "Invalid search criteria content, unknown end entity profile.";
    if (strcmp(property, "CERTIFICATE_PROFILE") == 0)
        return setting_in(scenario, "certificate_profiles", value)
                   ? NULL
                   : "Invalid search criteria content, unknown certificate profile.";
    snprintf(rule, sizeof(rule), "/ca/%s", ca ? ca->name : "");
    return ca && ca->listed && call_may(call, rule)
               ? NULL
               : "Invalid search criteria content, unknown CA.";
}

static const char *check_one(const struct call *call, const json_t *criterion)
{
    const char *property = text_in(criterion, "property"), *value = text_in(criterion, "value"),
               *operation = text_in(criterion, "operation"), *wrong;
    size_t found;

    if (!property || !property[0])
        return "Invalid search criteria content, property cannot be null or empty.";
    if (!value || !value[0])
        return "Invalid search criteria content, value cannot be null or empty.";
    if (!operation || !operation[0])
        return "Invalid search criteria content, operation cannot be null or empty.";
    found = find_property(property);
    if (found == MM_ARRAY_SIZE(properties))
        return "Invalid search criteria's property, unrecognized.";
    wrong = check_operation(properties[found].kind, operation);
    if (!wrong)
        wrong = check_value(properties[found].kind, value);
    if (!wrong && properties[found].kind == KIND_NAME)
        wrong = check_name(call, property, value);
    return wrong;
}

bool criteria_check(struct call *call, const json_t *criteria)
{
    json_t *criterion;
    size_t i;

    if (!json_array_size(criteria)) {
        call_error(call, 400, "Invalid search criteria content, cannot be null or empty.");
        return false;
    }
    json_array_foreach(criteria, i, criterion) {
        const char *wrong = check_one(call, criterion);

        if (wrong) {
            call_error(call, 400, "%s", wrong);
            return false;
        }
    }
    return true;
}

/* A QUERY is compared with all of these. */
static bool fits_query(const struct issued *row, const char *value, bool like)
{
    const char *const texts[] = {row->user->name, row->serial, row->subject, row->sans};

    for (size_t i = 0; i < MM_ARRAY_SIZE(texts); i++) {
        if (like ? strcasestr(texts[i], value) != NULL : strcasecmp(texts[i], value) == 0)
            return true;
    }
    return false;
}

static bool fits_status(const struct issued *row, const char *value)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(statuses); i++) {
        if (strcmp(statuses[i].name, value) != 0)
            continue;
        return statuses[i].reason == ANY_REASON ? row->reason != NOT_REVOKED
                                                : statuses[i].reason == row->reason;
    }
    return false;
}

static bool fits_date(const struct issued *row, const char *property, const char *value, bool after)
{
    int64_t at = row->issued_ms, limit = 0;

    if (!time_parse(value, &limit))
        return false;
    if (strcmp(property, "EXPIRE_DATE") == 0)
        at = 1000 * row->view.not_after;
    else if (strcmp(property, "REVOCATION_DATE") == 0)
        at = row->revoked_ms;
    else if (strcmp(property, "UPDATE_TIME") == 0)
        at = row->updated_ms;
    return at >= 0 && (after ? at > limit : at < limit);
}

static bool fits_one(const struct issued *row, const json_t *criterion)
{
    const char *property = text_in(criterion, "property"), *value = text_in(criterion, "value"),
               *operation = text_in(criterion, "operation");

    switch (properties[find_property(property)].kind) {
    case KIND_QUERY:
        return strcmp(property, "QUERY") == 0 &&
               fits_query(row, value, strcmp(operation, "LIKE") == 0);
    case KIND_STATUS:
        return fits_status(row, value);
    case KIND_DATE:
        return fits_date(row, property, value, strcmp(operation, "AFTER") == 0);
    default:
        break;
    }
    if (strcmp(property, "CA") == 0)
        return strcmp(row->ca->name, value) == 0;
    return strcmp(strcmp(property, "CERTIFICATE_PROFILE") == 0 ? row->certificate_profile
                                                               : row->end_entity_profile,
                  value) == 0;
}

/* Several names or statuses of one property are alternatives; everything else has to fit. */
static bool fits_all(const struct issued *row, const json_t *criteria)
{
    bool asked[MM_ARRAY_SIZE(properties)] = {false}, found[MM_ARRAY_SIZE(properties)] = {false};
    json_t *criterion;
    size_t i;

    json_array_foreach(criteria, i, criterion) {
        const size_t p = find_property(text_in(criterion, "property"));
        const bool fits = fits_one(row, criterion);

        if (!fits && properties[p].kind == KIND_DATE)
            return false;
        asked[p] = true;
        found[p] |= fits;
    }
    for (i = 0; i < MM_ARRAY_SIZE(properties); i++)
        if (asked[i] && !found[i])
            return false;
    return true;
}

static int by_number(const void *a, const void *b)
{
    const struct issued *const *x = a, *const *y = b;

    return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

/* EJBCA leaves out what CAs have issued that the caller has no right on, and says nothing of it. */
static void find_rights(const struct call *call, bool may[CA_MAX])
{
    const struct cas *cas = &call->fake->cas;
    char rule[CA_NAME_MAX + 8];

    for (size_t i = 0; i < cas->count; i++) {
        snprintf(rule, sizeof(rule), "/ca/%.*s", CA_NAME_MAX - 1, cas->ca[i].name);
        may[i] = call_may(call, rule);
    }
}

static void add(struct hits *hits, size_t *room, struct issued *row, const json_t *criteria)
{
    if (!fits_all(row, criteria))
        return;
    if (hits->count == *room) {
        *room = *room ? 2 * *room : 64;
        hits->rows = reallocarray(hits->rows, *room, sizeof(struct issued *));
        if (!hits->rows)
            abort();
    }
    hits->rows[hits->count++] = row;
}

/* An exact username, which is what clients ask for: without a walk over everything. */
static const struct user *exact_user(const struct call *call, const json_t *criteria)
{
    json_t *criterion;
    size_t i;

    json_array_foreach(criteria, i, criterion) {
        if (strcmp(text_in(criterion, "property"), "QUERY") == 0 &&
            strcmp(text_in(criterion, "operation"), "EQUAL") == 0)
            return state_user(call->fake->state, text_in(criterion, "value"));
    }
    return NULL;
}

void criteria_find(struct call *call, const json_t *criteria, struct hits *ret_hits)
{
    const struct user *user = exact_user(call, criteria);
    const struct ca *first = call->fake->cas.ca;
    struct hits hits = {0};
    bool may[CA_MAX] = {false};
    size_t room = 0;

    find_rights(call, may);
    if (user) {
        for (struct issued *row = user->certificates; row; row = row->next_of_user)
            if (may[row->ca - first])
                add(&hits, &room, row, criteria);
        if (hits.count)
            qsort(hits.rows, hits.count, sizeof(struct issued *), by_number);
    } else {
        for (size_t i = 0; i < state_count(call->fake->state); i++) {
            struct issued *row = state_at(call->fake->state, i);

            if (may[row->ca - first])
                add(&hits, &room, row, criteria);
        }
    }
    *ret_hits = hits;
}
