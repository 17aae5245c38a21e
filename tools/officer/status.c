/* SPDX-License-Identifier: Apache-2.0 */
/* status: what the running service says of itself. */
#include "daemon/base/clock.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/ledger.h"
#include "tools/officer/service.h"

#include <string.h>

static const struct mm_method get_status = {
    .path = "/mintmark.v1.OfficerService/GetStatus",
    .response = &mintmark__v1__get_status_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

static const char *worker_state(Mintmark__V1__WorkerState state)
{
    switch (state) {
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_STARTING:
        return "starting";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_READY:
        return "ready";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_BUSY:
        return "busy";
    case MINTMARK__V1__WORKER_STATE__WORKER_STATE_DOWN:
        return "down";
    default:
        return "unknown";
    }
}

static json_t *describe_workers(const Mintmark__V1__GetStatusResponse *status)
{
    json_t *const list = json_array();

    for (size_t i = 0; i < status->n_workers; i++) {
        const Mintmark__V1__WorkerStatus *const w = status->workers[i];
        json_t *const row = json_pack(
            "{s:o, s:s, s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "name", mm_out_text(w->name), "state",
            worker_state(w->state), "pid", (json_int_t)w->pid, "restarts", (json_int_t)w->restarts,
            "jobs_done", (json_int_t)w->jobs_done, "jobs_failed", (json_int_t)w->jobs_failed,
            "last_error", mm_out_text(w->last_error), "token_cpu_us", (json_int_t)w->token_cpu_us,
            "sampled_devices", (json_int_t)w->sampled_devices);

        if (json_array_append_new(list, row) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *describe_status(const Mintmark__V1__GetStatusResponse *status)
{
    return json_pack(
        "{s:o, s:b, s:o, s:I, s:o, s:I, s:o, s:I, s:I, s:I, s:o, s:o}", "version",
        mm_out_text(status->version), "ready", status->ready, "detail", mm_out_text(status->detail),
        "started_time_ms", (json_int_t)status->started_time_ms, "started",
        mm_out_time(status->started_time_ms), "time_ms", (json_int_t)status->time_ms, "time",
        mm_out_time(status->time_ms), "connections", (json_int_t)status->connections,
        "calls_in_flight", (json_int_t)status->calls_in_flight, "devices_issued",
        (json_int_t)status->devices_issued, "workers", describe_workers(status), "ledger",
        mm_ledger_describe(status->ledger));
}

static void print_service(const json_t *status)
{
    static const struct mm_column fields[] = {{"version", "version"},
                                              {"ready", "ready"},
                                              {"detail", "because"},
                                              {"started", "started"},
                                              {"time", "time"},
                                              {"connections", "connections"},
                                              {"calls_in_flight", "calls in flight"},
                                              {"devices_issued", "devices since the start"}};
    static const struct mm_column workers[] = {
        {"name", "worker"},          {"state", "state"},    {"pid", "pid"},
        {"restarts", "restarts"},    {"jobs_done", "done"}, {"jobs_failed", "failed"},
        {"last_error", "last error"}};

    mm_out_fields(stdout, status, fields, MM_ARRAY_SIZE(fields));
    putchar('\n');
    mm_ledger_print(json_object_get(status, "ledger"));
    putchar('\n');
    mm_out_table(stdout, json_object_get(status, "workers"), workers, MM_ARRAY_SIZE(workers));
}

int mm_cmd_status(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__GetStatusRequest request;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    json_t *description;
    int r;

    mintmark__v1__get_status_request__init(&request);
    r = mm_service_open(o, &client, ei);
    if (r < 0)
        return r;
    r = mm_service_call(client, &get_status, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    description = describe_status((const Mintmark__V1__GetStatusResponse *)message);
    if (!description || json_object_update(o->answer, description) < 0)
        r = mm_fail_memory(ei);
    json_decref(description);
    if (r == MM_OK && !o->args.json)
        print_service(o->answer);
    return r;
}
