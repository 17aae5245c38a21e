/* SPDX-License-Identifier: Apache-2.0 */
/* provision, and device get. */
#include "client/cmd/cmd.h"
#include "client/cmd/output.h"
#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <stdio.h>

static int write_device(void *arg, const struct mintmark_bundle *bundle,
                        const struct mintmark_withheld *withheld)
{
    struct mm_output *out = arg;
    const int r = mm_output_write(out, bundle, withheld);

    if (r == 0)
        mm_progress_step(&out->progress);
    return r;
}

/* What the command line says, into a request. */
static int take_request(const struct mm_cmd *cmd, struct mm_request *request)
{
    struct mm_errinfo ei;
    uint64_t count = 0;
    int r = mm_request_take_names(request, cmd);

    if (r == 0 && cmd->value[MM_OPT_COUNT])
        r = mm_cmd_number(cmd, MM_OPT_COUNT, 1, MM_PROVISION_MAX, &count);
    if (r)
        return r;
    request->count = (uint32_t)count;
    if (cmd->value[MM_OPT_HW_SERIALS] &&
        mm_request_read_serials(request, cmd->value[MM_OPT_HW_SERIALS], &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    return 0;
}

static int print_summary(const struct mm_cmd *cmd, const struct mm_withheld_counts *withheld,
                         const struct mm_request *request, double seconds)
{
    const char *folder = cmd->value[MM_OPT_OUT];
    int r = MM_CMD_DONE;

    if (mm_cmd_wants_json(cmd))
        r = mm_cmd_print_json(cmd, json_pack("{s:s, s:s, s:I, s:o, s:s, s:f}", "batch_uid",
                                             request->batch_uid, "request_id", request->request_id,
                                             "count", (json_int_t)request->count, "withheld",
                                             mm_withheld_counts_json(withheld), "out", folder,
                                             "seconds", seconds));
    else
        printf("%zu devices in %s (%.1f s; request id %s)\n",
               request->count - mm_withheld_total(withheld), folder, seconds, request->request_id);
    return r == MM_CMD_DONE ? mm_withheld_say(cmd, withheld) : r;
}

static int provision(const struct mm_cmd *cmd, struct mm_output *out,
                     const struct mm_request *request)
{
    const struct mintmark_provision call = {
        .batch_uid = request->batch_uid,
        .count = request->count,
        .request_id = request->request_id,
        .hw_serials = (const char *const *)request->hw_serials,
    };
    const int64_t began_us = mm_clock_mono_us();
    struct mintmark_error error;
    int r;

    mm_progress_begin(&out->progress, request->count, !mm_cmd_wants_json(cmd));
    r = mintmark_provision(cmd->client, &call, write_device, out, &error);
    mm_progress_end(&out->progress);
    if (r == 0 && mm_folder_finish(out->folder, &out->ei) < 0)
        r = MM_OUTPUT_FAILED;
    if (r != 0)
        return mm_output_fail_for(cmd, out, r, &error, request, "devices are in the folder");
    return print_summary(cmd, mm_folder_withheld(out->folder), request,
                         (double)(mm_clock_mono_us() - began_us) / 1e6);
}

int mm_cmd_provision(struct mm_cmd *cmd)
{
    MM_CLEANUP(mm_output_done) struct mm_output out = {.folder = NULL};
    MM_CLEANUP(mm_request_done) struct mm_request request = {.count = 0};
    int r = take_request(cmd, &request);

    if (r == 0)
        r = mm_output_open_for(cmd, &out, &request);
    return r ? r : provision(cmd, &out, &request);
}

static int print_device(const struct mm_cmd *cmd, const struct mm_withheld_counts *withheld)
{
    int r = MM_CMD_DONE;

    if (mm_cmd_wants_json(cmd))
        r = mm_cmd_print_json(cmd, json_pack("{s:s, s:o, s:s}", "device_uid", cmd->args[0],
                                             "withheld", mm_withheld_counts_json(withheld), "out",
                                             cmd->value[MM_OPT_OUT]));
    else if (mm_withheld_total(withheld) == 0)
        printf("device %s in %s\n", cmd->args[0], cmd->value[MM_OPT_OUT]);
    return r == MM_CMD_DONE ? mm_withheld_say(cmd, withheld) : r;
}

int mm_cmd_device_get(struct mm_cmd *cmd)
{
    MM_CLEANUP(mm_output_done) struct mm_output out = {.folder = NULL};
    struct mintmark_error error;
    int r = mm_output_open(cmd, &out);

    if (r)
        return r;
    r = mintmark_get_device(cmd->client, cmd->args[0], write_device, &out, &error);
    if (r == 0 && mm_folder_finish(out.folder, &out.ei) < 0)
        r = MM_OUTPUT_FAILED;
    if (r != 0)
        return mm_output_fail(cmd, &out, r, &error);
    return print_device(cmd, mm_folder_withheld(out.folder));
}
