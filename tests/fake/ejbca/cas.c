/* SPDX-License-Identifier: Apache-2.0 */
/* Calls about CAs, profiles, and EJBCA itself. */
#include "tests/fake/ejbca/fake.h"

#include "daemon/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { DAY = 86400 };

static bool may_use(const struct call *call, const struct ca *ca)
{
    char rule[CA_NAME_MAX + 8];

    snprintf(rule, sizeof(rule), "/ca/%s", ca->name);
    return ca->listed && call_may(call, rule);
}

void ca_list(struct call *call)
{
    const struct cas *cas = &call->fake->cas;
    json_t *list = json_array();

    for (size_t i = 0; i < cas->count; i++) {
        const struct ca *ca = &cas->ca[i];
        char when[32];

        if (may_use(call, ca))
            json_array_append_new(list,
                                  json_pack("{s:i, s:s, s:s, s:s, s:s}", "id", ca->id, "name",
                                            ca->name, "subject_dn", ca->subject_text, "issuer_dn",
                                            ca->issuer->subject_text, "expiration_date",
                                            time_text(1000 * ca->not_after, when)));
    }
    call_json(call, 200, json_pack("{s:o}", "certificate_authorities", list));
}

/* The CA of a path; absent: the answer is filled in. */
static struct ca *find_ca(struct call *call, unsigned status)
{
    struct ca *ca = ca_by_dn(&call->fake->cas, call->segments[0], false);

    if (!ca)
        call_error(call, status, "CA with DN: %s does not exist.", call->segments[0]);
    return ca;
}

void ca_download(struct call *call)
{
    struct reply *reply = &call->x->reply;
    const struct ca *ca = find_ca(call, 404);

    if (!ca)
        return;
    if (!may_use(call, ca)) {
        call_error(call, 403, "Administrator '%s' not authorized to CA %s.", call->who.subject,
                   ca->name);
        return;
    }
    reply->status = 200;
    reply->type = "application/octet-stream";
    snprintf(reply->extra, sizeof(reply->extra),
             "Content-disposition: attachment; filename=\"%s.cacert.pem\"\r\n", ca->name);
    for (;; ca = ca->issuer) {
        const struct mm_buf *der =
            call->plan.fault == FAULT_EXPIRED_CHAIN ? &ca->expired : &ca->certificate;

        mm_buf_printf(&reply->body, "Subject: %s\nIssuer: %s\n", ca->subject_text,
                      ca->issuer->subject_text);
        cert_pem((struct mm_bytes){der->data, der->len}, "CERTIFICATE", &reply->body);
        if (ca->issuer == ca)
            return;
    }
}

/* What the CA has revoked; to be freed. */
static struct cert_revoked *revoked_of(const struct call *call, const struct ca *ca,
                                       size_t *ret_count)
{
    const size_t all = state_count(call->fake->state);
    struct cert_revoked *list = calloc(all + 1, sizeof(*list));
    size_t n = 0;

    if (!list)
        abort();
    for (size_t i = 0; i < all; i++) {
        const struct issued *row = state_at(call->fake->state, i);

        if (row->ca == ca && row->reason != NOT_REVOKED)
            list[n++] = (struct cert_revoked){.serial = row->view.serial.data,
                                              .serial_len = row->view.serial.len,
                                              .when = row->revoked_ms / 1000,
                                              .reason = (unsigned)row->reason};
    }
    *ret_count = n;
    return list;
}

void ca_latest_crl(struct call *call)
{
    struct mm_buf der MM_BUF_CLEANUP = MM_BUF_INIT(REPLY_MAX / 4),
                      text MM_BUF_CLEANUP = MM_BUF_INIT(REPLY_MAX / 2);
    const struct ca *ca = find_ca(call, 404);
    struct crl_spec spec = {.this_update = mm_clock_wall_ms() / 1000};
    struct cert_revoked *revoked;
    bool good;

    if (!ca)
        return;
    revoked = revoked_of(call, ca, &spec.count);
    spec.revoked = revoked;
    spec.issuer = (struct mm_bytes){ca->subject.data, ca->subject.len};
    spec.issuer_key_id = ca->key_id;
    spec.next_update = spec.this_update + DAY;
    spec.number = ca->crl_number;
    good = crl_build(&spec, &ca->signer, &der);
    free(revoked);
    cert_base64((struct mm_bytes){der.data, der.len}, &text);
    if (good)
        call_json(call, 200,
                  json_pack("{s:s%, s:s}", "crl", text.data, text.len, "response_format", "DER"));
    else
        call_error(call, 500, "General failure.");
}

void ca_create_crl(struct call *call)
{
    struct ca *ca = find_ca(call, 400);
    int number;

    if (!ca)
        return;
    number = (int)++ca->crl_number;
    call_json(call, 200,
              json_pack("{s:s, s:i, s:i, s:{s:i}, s:{s:i}, s:b}", "issuer_dn", ca->subject_text,
                        "latest_crl_version", number, "latest_delta_crl_version", 0,
                        "latest_partition_crl_versions", "partition_0", number,
                        "latest_partition_delta_crl_versions", "partition_0", 0, "all_success", 1));
}

static void status(struct call *call, const char *version)
{
    char revision[TEXT_SIZE];

    snprintf(revision, sizeof(revision), "EJBCA %s %s (stand-in for tests)",
             setting_text(call->fake->scenario, "version"),
             setting_text(call->fake->scenario, "edition"));
    call_json(
        call, 200,
        json_pack("{s:s, s:s, s:s}", "status", "OK", "version", version, "revision", revision));
}

void status_v1(struct call *call)
{
    status(call, "1.0");
}

void status_v2(struct call *call)
{
    status(call, "2.0");
}

void profile_v2(struct call *call)
{
    json_t *profile = setting_in(call->fake->scenario, "certificate_profiles", call->segments[0]);

    if (!profile) {
        call_error(call, 404, "Certificate profile with name \"%s\" doesn't exist",
                   call->segments[0]);
        return;
    }
    call_json(call, 200,
              json_pack("{s:O, s:[i], s:[s], s:O}", "available_key_algs",
                        json_object_get(profile, "key_algorithms"), "available_bit_lenghts", 256,
                        "available_ecdsa_curves", "ANY_EC_CURVE", "available_cas",
                        json_object_get(profile, "cas")));
}
