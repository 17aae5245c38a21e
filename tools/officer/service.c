/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/service.h"

#include "client/site.h"

int mm_service_open(struct mm_officer *o, struct mintmark **ret_client, struct mm_errinfo *ei)
{
    /* A person is waiting: one more try, for a connection that a restart has cut. */
    struct mintmark_options options = {.attempts = 2};
    struct mintmark_error error = {0};
    struct mm_site site;
    int r;

    if (mm_site_load(o->args.site, &site, &error) != 0) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_service_error(&error, ei);
    }
    mm_site_apply(&site, &options);
    if (o->args.target)
        options.target = o->args.target;
    r = mintmark_new(&options, ret_client, &error);
    mm_site_done(&site);
    if (r != 0) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_service_error(&error, ei);
    }
    return MM_OK;
}

int mm_service_error(const struct mintmark_error *error, struct mm_errinfo *ei)
{
    static const int codes[] = {
        [MINTMARK_CANCELLED] = MM_ERR_CANCELLED,
        [MINTMARK_INVALID_ARGUMENT] = MM_ERR_INVALID,
        [MINTMARK_DEADLINE_EXCEEDED] = MM_ERR_TIMEOUT,
        [MINTMARK_NOT_FOUND] = MM_ERR_NOT_FOUND,
        [MINTMARK_ALREADY_EXISTS] = MM_ERR_EXISTS,
        [MINTMARK_PERMISSION_DENIED] = MM_ERR_PERMISSION,
        [MINTMARK_RESOURCE_EXHAUSTED] = MM_ERR_EXHAUSTED,
        [MINTMARK_FAILED_PRECONDITION] = MM_ERR_PRECONDITION,
        [MINTMARK_ABORTED] = MM_ERR_ABORTED,
        [MINTMARK_OUT_OF_RANGE] = MM_ERR_INVALID,
        [MINTMARK_UNIMPLEMENTED] = MM_ERR_UNSUPPORTED,
        [MINTMARK_UNAVAILABLE] = MM_ERR_UNAVAILABLE,
        [MINTMARK_DATA_LOSS] = MM_ERR_CORRUPT,
        [MINTMARK_UNAUTHENTICATED] = MM_ERR_UNAUTHENTICATED,
    };
    const size_t status = (size_t)error->status;
    const int code = status < MM_ARRAY_SIZE(codes) ? codes[status] : 0;

    return mm_fail(ei, code ? (enum mm_err)code : MM_ERR_INTERNAL, error->reason, "%s",
                   error->message);
}

int mm_service_call(struct mintmark *client, const struct mm_method *method,
                    const ProtobufCMessage *request, struct mm_arena *arena,
                    ProtobufCMessage **ret_response, struct mm_errinfo *ei)
{
    struct mintmark_error error = {0};

    if (mm_rpc_unary(client, method, request, arena, ret_response, &error) != 0)
        return mm_service_error(&error, ei);
    return MM_OK;
}
