/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation, and what EJBCA says of it. */
#include "tests/fake/ejbca/fake.h"

#include "daemon/base/clock.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    int reason;
} reasons[] = {
    {"NOT_REVOKED", NOT_REVOKED},
    {"UNSPECIFIED", 0},
    {"KEY_COMPROMISE", 1},
    {"CA_COMPROMISE", 2},
    {"AFFILIATION_CHANGED", 3},
    {"SUPERSEDED", 4},
    {"CESSATION_OF_OPERATION", 5},
    {"CERTIFICATE_HOLD", REASON_HOLD},
    {"REMOVE_FROM_CRL", REASON_REMOVE_FROM_CRL},
    {"PRIVILEGES_WITHDRAWN", 9},
    {"AA_COMPROMISE", 10},
};

static bool find_reason(const char *name, int *ret_reason)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(reasons); i++) {
        if (strcmp(reasons[i].name, name) == 0) {
            *ret_reason = reasons[i].reason;
            return true;
        }
    }
    return false;
}

static const char *reason_name(int reason)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(reasons); i++)
        if (reasons[i].reason == reason)
            return reasons[i].name;
    return "UNSPECIFIED";
}

/* A serial number in a path, as it is kept; false: not one. */
static bool read_serial(const char *text, char to[2 * SERIAL_MAX + 1])
{
    size_t n = 0;

    if (strncasecmp(text, "0x", 2) == 0)
        text += 2;
    if (!*text || strspn(text, "0123456789abcdefABCDEF") != strlen(text))
        return false;
    text += strspn(text, "0");
    if (strlen(text) > 2 * SERIAL_MAX)
        return false;
    for (; *text; text++)
        to[n++] = (char)(*text >= 'a' ? *text - 'a' + 'A' : *text);
    if (n == 0)
        to[n++] = '0';
    to[n] = 0;
    return true;
}

/* The CA and serial number that both calls name. */
static bool find_certificate(struct call *call, struct ca **ret_ca, struct issued **ret_issued)
{
    char serial[2 * SERIAL_MAX + 1];

    if (!read_serial(call->segments[1], serial)) {
        call_error(call, 400,
                   "Invalid serial number format. Should be HEX encoded (optionally with '0x' "
                   "prefix) e.g. '0x10782a83eef170d4'");
        return false;
    }
    *ret_ca = ca_by_dn(&call->fake->cas, call->segments[0], true);
    if (!*ret_ca) {
        call_error(call, 404, "CA '%s' does not exist.", call->segments[0]);
        return false;
    }
    *ret_issued = state_by_serial(call->fake->state, *ret_ca, serial);
    return true;
}

/* A date parameter: absent leaves *ret_ms alone. */
static bool read_date(struct call *call, const char *name, int64_t *ret_ms)
{
    char text[64];

    if (!http_parameter(&call->x->request, name, text, sizeof(text)))
        return true;
    if (!time_parse(text, ret_ms)) {
        call_error(call, 400,
                   "'%s' is not a valid ISO8601 date. Example of a valid date: "
                   "2012-06-07T23:55:59+02:00",
                   text);
        return false;
    }
    if (*ret_ms <= mm_clock_wall_ms())
        return true;
    call_error(call, 400, "Date in the future: '%s'.", text);
    return false;
}

/* Is the change one that EJBCA makes? */
static bool may_change(struct call *call, const struct issued *row, int reason)
{
    const bool back = reason == NOT_REVOKED || reason == REASON_REMOVE_FROM_CRL;

    if (back && row->reason != REASON_HOLD) {
        call_error(call, 409,
                   "Not allowed to unrevoke a certificate that is not on hold. Issuer %s, serialNo "
                   "%s.",
                   row->ca->subject_text, row->serial);
        return false;
    }
    if (!back && row->reason != NOT_REVOKED && row->reason != REASON_HOLD) {
        call_error(call, 409,
                   "Certificate with issuer: %s and serial number: %s has previously been revoked. "
                   "Revocation reason could not be changed or was not allowed.",
                   row->ca->subject_text, row->serial);
        return false;
    }
    return true;
}

static bool read_reason(struct call *call, const struct issued *row, int *ret_reason)
{
    char text[64] = "";

    if (!http_parameter(&call->x->request, "reason", text, sizeof(text)) && row &&
        row->reason != NOT_REVOKED) {
        call_error(call, 400, "Invalidity date or revocation reason missing.");
        return false;
    }
    if (find_reason(text, ret_reason))
        return true;
    call_error(call, 400, "Invalid revocation reason.");
    return false;
}

/* A date before now, which the certificate's profile may not allow. */
static bool may_back_date(struct call *call, const struct issued *row)
{
    const json_t *profile =
        setting_in(call->fake->scenario, "certificate_profiles", row->certificate_profile);
    char text[64];

    if (!http_parameter(&call->x->request, "date", text, sizeof(text)) ||
        !json_is_false(json_object_get(profile, "back_dated_revocation")))
        return true;
    call_error(call, 422,
               "Back dated revocation not allowed for certificate profile '%s'. Certificate "
               "serialNumber '%s', issuerDN '%s'.",
               row->certificate_profile, row->serial, row->ca->subject_text);
    return false;
}

/* Somebody else has to agree first; nothing is revoked until then, which here is never. */
static bool waits_for_approval(struct call *call, const struct ca *ca)
{
    const json_t *settings = setting_in(call->fake->scenario, "cas", ca->name);
    json_t *body;

    if (!json_is_true(json_object_get(settings, "revocation_approval")))
        return false;
    body = json_pack("{s:i, s:s}", "status_code", 202, "info_message",
                     "Revocation has been sent for approval by authorized administrators.");
    if (is_version_9(call->fake))
        json_object_set_new(body, "request_id", json_integer((json_int_t)++call->fake->numbers));
    call_json(call, 202, body);
    return true;
}

static void answer_revoked(struct call *call, const struct issued *row, int reason,
                           int64_t invalid_ms)
{
    const bool revoked = row->reason != NOT_REVOKED;
    char when[32];
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:s, s:b}", "issuer_dn", call->segments[0], "serial_number",
                  call->segments[1], "revocation_reason", reason_name(reason), "message",
                  revoked ? "Successfully revoked" : "Successfully unrevoked", "revoked", revoked);

    if (revoked)
        json_object_set_new(body, "revocation_date", json_string(time_text(row->revoked_ms, when)));
    if (invalid_ms)
        json_object_set_new(body, "invalidity_date", json_string(time_text(invalid_ms, when)));
    call_json(call, 200, body);
}

void revoke_certificate(struct call *call)
{
    struct issued *row = NULL;
    struct ca *ca = NULL;
    int64_t when = mm_clock_wall_ms(), invalid = 0;
    int reason;

    if (!find_certificate(call, &ca, &row) || !read_reason(call, row, &reason) ||
        !read_date(call, "date", &when) || !read_date(call, "invalidity_date", &invalid) ||
        !call_must(call, "/ra_functionality/revoke_end_entity"))
        return;
    if (!row) {
        call_error(call, 404, "Could not find end entity certificate. Issuer %s, serialNo %s.",
                   ca->subject_text, call->segments[1]);
        return;
    }
    if (!may_change(call, row, reason) || !may_back_date(call, row) || waits_for_approval(call, ca))
        return;
    if (!state_revoke(call->fake->state, row,
                      reason == REASON_REMOVE_FROM_CRL ? NOT_REVOKED : reason, when)) {
        call_error(call, 500, "General failure.");
        return;
    }
    answer_revoked(call, row, reason, invalid);
}

void revoke_status(struct call *call)
{
    struct issued *row = NULL;
    struct ca *ca = NULL;
    char when[32];
    json_t *body;

    if (!find_certificate(call, &ca, &row))
        return;
    if (!row) {
        call_error(call, 404,
                   "Certificate with serial number '%s' and issuer DN '%s' was not found",
                   call->segments[1], call->segments[0]);
        return;
    }
    body = json_pack("{s:s, s:s, s:s, s:b}", "issuer_dn", call->segments[0], "serial_number",
                     call->segments[1], "revocation_reason", reason_name(row->reason), "revoked",
                     row->reason != NOT_REVOKED);
    if (row->reason != NOT_REVOKED)
        json_object_set_new(body, "revocation_date", json_string(time_text(row->revoked_ms, when)));
    call_json(call, 200, body);
}
