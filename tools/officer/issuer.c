/* SPDX-License-Identifier: Apache-2.0 */
/* issuer check: whether EJBCA has what enrolments will need, as the running service finds it. */
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/service.h"

#include <string.h>

static const struct mm_method check_issuer = {
    .path = "/mintmark.v1.OfficerService/CheckIssuer",
    .response = &mintmark__v1__check_issuer_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

static json_t *describe(const Mintmark__V1__CheckIssuerResponse *response, size_t *ret_bad)
{
    json_t *const list = json_array();

    for (size_t i = 0; i < response->n_checks; i++) {
        const Mintmark__V1__IssuerCheck *const c = response->checks[i];
        json_t *const row =
            json_pack("{s:o, s:o, s:o, s:o, s:b, s:o}", "issuer", mm_out_text(c->issuer), "node",
                      mm_out_text(c->node), "profile", mm_out_text(c->profile), "what",
                      mm_out_text(c->what), "good", c->good, "text", mm_out_text(c->text));

        if (json_array_append_new(list, row) < 0) {
            json_decref(list);
            return NULL;
        }
        *ret_bad += !c->good;
    }
    return list;
}

int mm_cmd_issuer_check(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {{"issuer", "issuer"},   {"node", "node"},
                                               {"profile", "profile"}, {"what", "what"},
                                               {"good", "good"},       {"text", "found"}};
    Mintmark__V1__CheckIssuerRequest request;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    size_t bad = 0;
    int r;

    mintmark__v1__check_issuer_request__init(&request);
    if (o->args.issuer)
        request.issuer = o->args.issuer;
    if (o->args.profile)
        request.profile = o->args.profile;
    r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_service_call(client, &check_issuer, &request.base, &arena, &message, ei);
    if (r == MM_OK)
        r = mm_officer_answer(
            o, "checks", describe((const Mintmark__V1__CheckIssuerResponse *)message, &bad), ei);
    if (r < 0)
        return r;
    if (!o->args.json)
        mm_out_table(stdout, json_object_get(o->answer, "checks"), columns, MM_ARRAY_SIZE(columns));
    if (bad == 0)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PRECONDITION, "ISSUER_CHECK", "%zu of these are not as they must be",
                   bad);
}
