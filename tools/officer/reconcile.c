/* SPDX-License-Identifier: Apache-2.0 */
/* issuer reconcile: EJBCA's certificates and the devices recorded here, compared by the service. */
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/service.h"

#include <string.h>

#define KIND(name) MINTMARK__V1__DIFFERENCE_KIND__DIFFERENCE_KIND_##name

enum { SERIAL_MAX = 20, LISTED_MAX = 10000 };

static const struct mm_method reconcile = {
    .path = "/mintmark.v1.OfficerService/Reconcile",
    .response = &mintmark__v1__reconcile_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED, /* what was printed cannot be taken back */
    .streams = true,
};

struct comparison {
    bool json;
    json_t *differences; /* the first LISTED_MAX of them, for --json */
    json_t *profiles;    /* NULL until the last message */
    uint64_t n, devices, certificates;
    struct mm_errinfo ei; /* what went wrong on this side */
};

static const struct {
    const char *name, *meaning;
} kinds[] = {
    [KIND(UNSPECIFIED)] = {"other", "a kind of difference that this tool does not know"},
    [KIND(UNKNOWN)] = {"unknown", "EJBCA has a certificate of no device"},
    [KIND(MISSING)] = {"missing", "EJBCA does not have the device's certificate"},
    [KIND(DOUBLE)] = {"double", "EJBCA has one more certificate of the device"},
    [KIND(OTHER_SERIAL)] = {"other-serial", "EJBCA has another certificate of the device"},
    [KIND(OTHER_KEY)] = {"other-key", "EJBCA's certificate is for another key than the device's"},
    [KIND(REVOKED_THERE)] = {"revoked-there", "it is revoked in EJBCA only"},
    [KIND(REVOKED_HERE)] = {"revoked-here", "it was revoked from here, and EJBCA has it valid"},
    [KIND(WITHHELD)] = {"withheld", "the device has no certificate here, and EJBCA has one"},
};

static size_t known(Mintmark__V1__DifferenceKind kind)
{
    return (size_t)kind < MM_ARRAY_SIZE(kinds) ? (size_t)kind : 0;
}

static const char *device_state(Mintmark__V1__CertificateState state)
{
    static const char *const names[] = {"", "waiting", "issued", "failed", "parked"};

    return (size_t)state < MM_ARRAY_SIZE(names) ? names[state] : "unknown";
}

/* As EJBCA spells it. */
static json_t *hex(const ProtobufCBinaryData *serial)
{
    const size_t len = serial->len < SERIAL_MAX ? serial->len : SERIAL_MAX;
    char digits[2 * SERIAL_MAX + 1] = "";

    for (size_t i = 0; i < len; i++)
        snprintf(digits + 2 * i, 3, "%02X", serial->data[i]);
    return json_string(digits + strspn(digits, "0"));
}

/* ---- differences ------------------------------------------------------------------------- */

static json_t *describe(const Mintmark__V1__Difference *d)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:b, s:s, s:s}", "kind",
                     kinds[known(d->kind)].name, "profile", mm_out_text(d->profile), "username",
                     mm_out_text(d->username), "device_uid", mm_out_text(d->device_uid), "serial",
                     hex(&d->serial), "recorded_serial", hex(&d->recorded_serial), "revoked",
                     d->revoked, "state", device_state(d->state), "meaning",
                     kinds[known(d->kind)].meaning);
}

static void print(const json_t *difference)
{
    static const struct mm_column fields[] = {{"kind", "difference"},
                                              {"meaning", "that is"},
                                              {"profile", "profile"},
                                              {"username", "username"},
                                              {"device_uid", "device"},
                                              {"state", "device is"},
                                              {"serial", "EJBCA's certificate"},
                                              {"revoked", "revoked there"},
                                              {"recorded_serial", "recorded certificate"}};

    mm_out_fields(stdout, difference, fields, MM_ARRAY_SIZE(fields));
    putchar('\n');
}

static int take_difference(struct comparison *c, const Mintmark__V1__Difference *d)
{
    json_t *difference;

    c->n++;
    if (c->json && c->n > LISTED_MAX)
        return MM_OK;
    difference = describe(d);
    if (!difference)
        return mm_fail_memory(&c->ei);
    if (c->json)
        return json_array_append_new(c->differences, difference) < 0 ? mm_fail_memory(&c->ei)
                                                                     : MM_OK;
    print(difference);
    json_decref(difference);
    return MM_OK;
}

/* ---- counts ------------------------------------------------------------------------------ */

static json_t *describe_profile(const Mintmark__V1__ReconciledProfile *p)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "profile",
                     mm_out_text(p->profile), "issued", (json_int_t)p->issued, "waiting",
                     (json_int_t)p->waiting, "parked", (json_int_t)p->parked, "failed",
                     (json_int_t)p->failed, "certificates", (json_int_t)p->certificates, "revoked",
                     (json_int_t)p->revoked, "under_way", (json_int_t)p->under_way, "differences",
                     (json_int_t)p->differences);
}

static int take_profiles(struct comparison *c, const Mintmark__V1__ReconcileResponse *response)
{
    json_t *const list = json_array();

    for (size_t i = 0; list && i < response->n_profiles; i++) {
        if (json_array_append_new(list, describe_profile(response->profiles[i])) < 0) {
            json_decref(list);
            return mm_fail_memory(&c->ei);
        }
    }
    if (!list)
        return mm_fail_memory(&c->ei);
    json_decref(c->profiles);
    c->profiles = list;
    return MM_OK;
}

/* ---- the call ---------------------------------------------------------------------------- */

static void begin(void *arg)
{
    (void)arg;
}

static int take(void *arg, const struct mm_bytes *message, int *ret_progress,
                struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__ReconcileResponse *response;
    ProtobufCMessage *unpacked = NULL;
    struct comparison *c = arg;
    int r = mm_rpc_unpack(reconcile.response, message, &arena, &unpacked, error);

    (void)ret_progress;
    if (r < 0)
        return r;
    response = (const Mintmark__V1__ReconcileResponse *)unpacked;
    c->devices = response->devices;
    c->certificates = response->certificates;
    for (size_t i = 0; r == MM_OK && i < response->n_differences; i++)
        r = take_difference(c, response->differences[i]);
    if (r == MM_OK && response->n_profiles > 0)
        r = take_profiles(c, response);
    return r < 0;
}

static int call(struct mm_officer *o, struct comparison *c, struct mm_errinfo *ei)
{
    Mintmark__V1__ReconcileRequest request = MINTMARK__V1__RECONCILE_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    const struct mm_rpc_sink sink = {begin, take, c};
    struct mintmark_error error = {0};
    int r = mm_service_open(o, &client, ei);

    if (r < 0)
        return r;
    if (o->args.issuer)
        request.issuer = o->args.issuer;
    if (o->args.profile)
        request.profile = o->args.profile;
    r = mm_rpc_call(client, &reconcile, &request.base, &sink, &error);
    if (r < 0)
        return mm_service_error(&error, ei);
    if (c->ei.code != MM_OK) {
        *ei = c->ei;
        return ei->code;
    }
    if (!c->profiles)
        return mm_fail(ei, MM_ERR_INTERNAL, "ANSWER", "the service did not end its answer");
    return MM_OK;
}

static int answer(struct mm_officer *o, struct comparison *c, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {
        {"profile", "profile"},       {"issued", "issued here"}, {"certificates", "in EJBCA"},
        {"revoked", "revoked there"}, {"waiting", "waiting"},    {"under_way", "under way"},
        {"parked", "parked"},         {"failed", "failed"},      {"differences", "differences"}};
    int r = mm_officer_answer(o, "devices", json_integer((json_int_t)c->devices), ei);

    if (r == MM_OK)
        r = mm_officer_answer(o, "certificates", json_integer((json_int_t)c->certificates), ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "differences_count", json_integer((json_int_t)c->n), ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "differences", json_incref(c->differences), ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "profiles", json_incref(c->profiles), ei);
    if (r == MM_OK && !c->json)
        mm_out_table(stdout, c->profiles, columns, MM_ARRAY_SIZE(columns));
    return r;
}

int mm_cmd_issuer_reconcile(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct comparison c = {.json = o->args.json, .differences = json_array()};
    int r = c.differences ? call(o, &c, ei) : mm_fail_memory(ei);

    if (r == MM_OK)
        r = answer(o, &c, ei);
    json_decref(c.differences);
    json_decref(c.profiles);
    if (r < 0 || c.n == 0)
        return r;
    return mm_fail(ei, MM_ERR_PRECONDITION, "DIFFERENCES", "EJBCA and the ledger differ: %llu",
                   (unsigned long long)c.n);
}
