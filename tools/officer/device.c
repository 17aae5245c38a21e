/* SPDX-License-Identifier: Apache-2.0 */
/* device list, retry, drop, revoke and status: devices whose certificates come from an EJBCA. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/service.h"

#include <stdlib.h>
#include <string.h>

#define CSTATE(name) MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name

enum { PAGE_SIZE = 1000, LIMIT = 1000, LIMIT_MAX = 1000000, SERIAL_MAX = 20 };

static const struct mm_method list_withheld = {
    .path = "/mintmark.v1.OfficerService/ListWithheld",
    .response = &mintmark__v1__list_withheld_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};
static const struct mm_method change_enrolment = {
    .path = "/mintmark.v1.OfficerService/ChangeEnrolment",
    .response = &mintmark__v1__change_enrolment_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method revoke_device = {
    .path = "/mintmark.v1.OfficerService/RevokeDevice",
    .response = &mintmark__v1__revoke_device_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method get_revocation = {
    .path = "/mintmark.v1.OfficerService/GetRevocation",
    .response = &mintmark__v1__get_revocation_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

static const struct {
    const char *name;
    Mintmark__V1__CertificateState state;
} states[] = {
    {"unrevoked", CSTATE(UNSPECIFIED)}, /* those that EJBCA will not revoke, whatever they have */
    {"parked", CSTATE(PARKED)},
    {"waiting", CSTATE(WAITING)},
    {"failed", CSTATE(FAILED)}};

/* ---- a walk over the devices without a certificate --------------------------------------- */

/* One device: 0 goes on, 1 ends the walk. */
typedef int (*each_device)(void *arg, const Mintmark__V1__Withheld *device, struct mm_errinfo *ei);

static bool is_wanted(const struct mm_officer *o, const Mintmark__V1__Withheld *device)
{
    return !o->args.profile || strcmp(o->args.profile, device->profile) == 0;
}

/* *token (owned) is that of the next page, NULL after the last. */
static int walk_page(struct mm_officer *o, struct mintmark *client,
                     Mintmark__V1__CertificateState state, char **token, each_device each,
                     void *arg, struct mm_errinfo *ei)
{
    Mintmark__V1__ListWithheldRequest request = MINTMARK__V1__LIST_WITHHELD_REQUEST__INIT;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__ListWithheldResponse *response;
    ProtobufCMessage *message = NULL;
    int r;

    request.state = state;
    request.unrevoked = state == CSTATE(UNSPECIFIED);
    request.page_size = PAGE_SIZE;
    if (*token)
        request.page_token = *token;
    r = mm_service_call(client, &list_withheld, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__ListWithheldResponse *)message;
    for (size_t i = 0; r == MM_OK && i < response->n_devices; i++)
        if (is_wanted(o, response->devices[i]))
            r = each(arg, response->devices[i], ei);
    free(*token);
    *token = NULL;
    if (r == MM_OK && *response->next_page_token) {
        *token = strdup(response->next_page_token);
        if (!*token)
            r = mm_fail_memory(ei);
    }
    return r;
}

/* 1 when each has ended it. */
static int walk(struct mm_officer *o, struct mintmark *client, Mintmark__V1__CertificateState state,
                each_device each, void *arg, struct mm_errinfo *ei)
{
    MM_FREE char *token = NULL;
    int r;

    do
        r = walk_page(o, client, state, &token, each, arg, ei);
    while (r == MM_OK && token);
    return r;
}

/* ---- device list ------------------------------------------------------------------------- */

struct listing {
    json_t *devices;
    const char *state;
    uint64_t left;
    int64_t now_ms;
};

/* The time that the device's identifier, a UUID version 7, begins with; 0 for another one. */
static int64_t recorded_ms(const char *device_uid)
{
    uint8_t uid[16];
    int64_t ms = 0;

    if (mm_uuid_parse(device_uid, uid) < 0)
        return 0;
    for (size_t i = 0; i < 6; i++)
        ms = ms << 8 | uid[i];
    return ms;
}

/* In two units: 3d 4h, 4h 5m, 5m 6s. */
static json_t *age(int64_t ms)
{
    const int64_t s = ms > 0 ? ms / 1000 : 0;
    char buf[48];

    if (s >= 86400)
        snprintf(buf, sizeof(buf), "%lldd %lldh", (long long)(s / 86400),
                 (long long)(s % 86400 / 3600));
    else if (s >= 3600)
        snprintf(buf, sizeof(buf), "%lldh %lldm", (long long)(s / 3600),
                 (long long)(s % 3600 / 60));
    else
        snprintf(buf, sizeof(buf), "%lldm %llds", (long long)(s / 60), (long long)(s % 60));
    return json_string(buf);
}

static int list_one(void *arg, const Mintmark__V1__Withheld *w, struct mm_errinfo *ei)
{
    struct listing *l = arg;
    const int64_t ms = recorded_ms(w->device_uid);
    json_t *row;

    if (l->left == 0)
        return 1;
    l->left--;
    row = json_pack("{s:o, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "device_uid",
                    mm_out_text(w->device_uid), "state", l->state, "profile",
                    mm_out_text(w->profile), "hw_serial", mm_out_text(w->hw_serial), "number",
                    (json_int_t)w->number, "attempts", (json_int_t)w->attempts, "recorded",
                    mm_out_time(ms), "age", age(l->now_ms - ms), "next_try",
                    mm_out_time(w->next_time_ms), "reason", mm_out_text(w->text));
    return json_array_append_new(l->devices, row) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int list_states(struct mm_officer *o, struct listing *l, bool *ret_more,
                       struct mm_errinfo *ei)
{
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    bool known = !o->args.state;
    int r;

    for (size_t i = 0; i < MM_ARRAY_SIZE(states); i++)
        known = known || strcmp(o->args.state, states[i].name) == 0;
    if (!known)
        return mm_officer_usage(o, ei, "--state takes unrevoked, parked, waiting or failed");
    r = mm_service_open(o, &client, ei);
    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(states); i++) {
        l->state = states[i].name;
        if (!o->args.state || strcmp(o->args.state, states[i].name) == 0)
            r = walk(o, client, states[i].state, list_one, l, ei);
    }
    *ret_more = r == 1;
    return r < 0 ? r : MM_OK;
}

int mm_cmd_device_list(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {{"device_uid", "device"}, {"state", "state"},
                                               {"profile", "profile"},   {"age", "age"},
                                               {"attempts", "attempts"}, {"next_try", "next try"},
                                               {"hw_serial", "serial"},  {"reason", "reason"}};
    struct listing l = {.devices = json_array(), .left = LIMIT, .now_ms = mm_clock_wall_ms()};
    bool more = false;
    int r = mm_officer_answer(o, "devices", l.devices, ei);

    if (r == MM_OK && o->args.limit && mm_text_to_u64(o->args.limit, 1, LIMIT_MAX, &l.left) < 0)
        r = mm_officer_usage(o, ei, "--limit takes a number of 1 to %d", LIMIT_MAX);
    if (r == MM_OK)
        r = list_states(o, &l, &more, ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "more", json_boolean(more), ei);
    if (r < 0 || o->args.json)
        return r;
    mm_out_table(stdout, l.devices, columns, MM_ARRAY_SIZE(columns));
    if (more)
        puts("and more; --limit says how many are listed");
    return MM_OK;
}

/* ---- device retry, device drop ----------------------------------------------------------- */

struct changing {
    struct mm_officer *o;
    struct mintmark *client;
    Mintmark__V1__EnrolmentChange action;
    uint64_t changed;
};

static int change(struct changing *c, const char *device_uid, struct mm_errinfo *ei)
{
    Mintmark__V1__ChangeEnrolmentRequest request = MINTMARK__V1__CHANGE_ENROLMENT_REQUEST__INIT;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r;

    request.device_uid = (char *)(uintptr_t)device_uid;
    request.action = c->action;
    if (c->o->args.reason)
        request.reason = c->o->args.reason;
    r = mm_service_call(c->client, &change_enrolment, &request.base, &arena, &message, ei);
    if (r == MM_OK)
        c->changed++;
    return r;
}

/* One whose state has changed since it was listed is passed over. */
static int change_one(void *arg, const Mintmark__V1__Withheld *w, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    const int r = change(arg, w->device_uid, &why);

    if (r == MM_OK || (r == MM_ERR_PRECONDITION && strncmp(why.reason, "NOT_", 4) == 0))
        return MM_OK;
    *ei = why;
    return r;
}

static int change_all(struct changing *c, struct mm_errinfo *ei)
{
    int r = walk(c->o, c->client, CSTATE(PARKED), change_one, c, ei);

    if (r == MM_OK && c->action == MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_FAIL)
        r = walk(c->o, c->client, CSTATE(WAITING), change_one, c, ei);
    return r;
}

static int change_wanted(struct mm_officer *o, Mintmark__V1__EnrolmentChange action,
                         struct mm_errinfo *ei)
{
    struct changing c = {.o = o, .action = action};
    int answered, r = mm_service_open(o, &c.client, ei);

    if (r == MM_OK)
        r = o->args.operand ? change(&c, o->args.operand, ei) : change_all(&c, ei);
    mintmark_free(c.client);
    if (o->transcript)
        mm_ceremony_say(o, "devices", "%llu", (unsigned long long)c.changed);
    answered = mm_officer_answer(o, "devices", json_integer((json_int_t)c.changed),
                                 r < 0 ? &(struct mm_errinfo){0} : ei);
    if (r < 0)
        return r;
    if (answered == MM_OK && !o->args.json && !o->transcript)
        printf("%llu devices\n", (unsigned long long)c.changed);
    return answered;
}

static int check_which(struct mm_officer *o, struct mm_errinfo *ei)
{
    if (!o->args.operand == !o->args.profile)
        return mm_officer_usage(o, ei, "name one device, or with --profile all of a profile");
    return MM_OK;
}

int mm_cmd_device_retry(struct mm_officer *o, struct mm_errinfo *ei)
{
    const int r = check_which(o, ei);

    return r < 0 ? r : change_wanted(o, MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_RETRY, ei);
}

int mm_cmd_device_drop(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r = check_which(o, ei);

    if (r == MM_OK && o->args.operand)
        r = mm_ceremony_confirm(o, ei, "Give device %s up, for good?", o->args.operand);
    else if (r == MM_OK)
        r = mm_ceremony_confirm(
            o, ei, "Give up, for good, all devices of profile '%s' that are parked or wait?",
            o->args.profile);
    return r < 0 ? r : change_wanted(o, MINTMARK__V1__ENROLMENT_CHANGE__ENROLMENT_CHANGE_FAIL, ei);
}

/* ---- device revoke ----------------------------------------------------------------------- */

#define REASON(name) MINTMARK__V1__REVOCATION_REASON__REVOCATION_REASON_##name

static int read_reason(struct mm_officer *o, Mintmark__V1__RevocationReason *ret_reason,
                       struct mm_errinfo *ei)
{
    static const struct {
        const char *name;
        Mintmark__V1__RevocationReason reason;
    } reasons[] = {{"unspecified", REASON(UNSPECIFIED)},
                   {"key-compromise", REASON(KEY_COMPROMISE)},
                   {"affiliation-changed", REASON(AFFILIATION_CHANGED)},
                   {"superseded", REASON(SUPERSEDED)},
                   {"cessation-of-operation", REASON(CESSATION_OF_OPERATION)},
                   {"privilege-withdrawn", REASON(PRIVILEGE_WITHDRAWN)}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(reasons); i++) {
        if (strcmp(o->args.reason, reasons[i].name) == 0) {
            *ret_reason = reasons[i].reason;
            return MM_OK;
        }
    }
    return mm_officer_usage(o, ei,
                            "--reason takes unspecified, key-compromise, affiliation-changed, "
                            "superseded, cessation-of-operation or privilege-withdrawn");
}

int mm_cmd_device_revoke(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__RevokeDeviceRequest request = MINTMARK__V1__REVOKE_DEVICE_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r = read_reason(o, &request.reason, ei);

    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei, "Revoke the certificate of device %s (%s)?", o->args.operand,
                                o->args.reason);
    if (r < 0)
        return r;
    request.device_uid = o->args.operand;
    r = mm_service_call(client, &revoke_device, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "recorded", "%s is to be revoked; EJBCA is told until it has taken it in",
                    o->args.operand);
    return mm_officer_answer(o, "device_uid", mm_out_text(o->args.operand), ei);
}

int mm_cmd_device_revoke_again(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__RevokeDeviceRequest request = MINTMARK__V1__REVOKE_DEVICE_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r = mm_service_open(o, &client, ei);

    if (r == MM_OK)
        r = mm_ceremony_confirm(
            o, ei, "Ask EJBCA again for what it refused to revoke of device %s?", o->args.operand);
    if (r < 0)
        return r;
    request.device_uid = o->args.operand;
    request.again = true;
    r = mm_service_call(client, &revoke_device, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "recorded", "EJBCA is asked again to revoke what it refused of %s",
                    o->args.operand);
    return mm_officer_answer(o, "device_uid", mm_out_text(o->args.operand), ei);
}

/* ---- device status ----------------------------------------------------------------------- */

/* As EJBCA spells it. */
static json_t *hex(const ProtobufCBinaryData *serial)
{
    const size_t len = serial->len < SERIAL_MAX ? serial->len : SERIAL_MAX;
    char digits[2 * SERIAL_MAX + 1] = "";

    for (size_t i = 0; i < len; i++)
        snprintf(digits + 2 * i, 3, "%02X", serial->data[i]);
    return json_string(digits + strspn(digits, "0"));
}

int mm_cmd_device_status(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column fields[] = {
        {"profile", "profile"},          {"username", "username"},     {"serial", "certificate"},
        {"revoked", "revoked in EJBCA"}, {"reason", "EJBCA's reason"}, {"time", "since"},
        {"recorded", "revoked here"},    {"told", "EJBCA was told"},   {"refused", "EJBCA refused"},
        {"refusal", "and said"}};
    Mintmark__V1__GetRevocationRequest request = MINTMARK__V1__GET_REVOCATION_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__GetRevocationResponse *s;
    ProtobufCMessage *message = NULL;
    json_t *description;
    int r = mm_service_open(o, &client, ei);

    request.device_uid = o->args.operand;
    if (r == MM_OK)
        r = mm_service_call(client, &get_revocation, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    s = (const Mintmark__V1__GetRevocationResponse *)message;
    description = json_pack(
        "{s:o, s:o, s:o, s:b, s:o, s:o, s:b, s:b, s:i, s:o}", "profile", mm_out_text(s->profile),
        "username", mm_out_text(s->username), "serial", hex(&s->serial), "revoked", s->revoked,
        "reason", mm_out_text(s->reason), "time", mm_out_time(s->time_ms), "recorded", s->recorded,
        "told", s->told, "refused", (int)s->refused, "refusal", mm_out_text(s->refusal));
    r = mm_officer_answer(o, "certificate", description, ei);
    if (r == MM_OK && !o->args.json)
        mm_out_fields(stdout, description, fields, MM_ARRAY_SIZE(fields));
    return r;
}
