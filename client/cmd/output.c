/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/output.h"

#include <stdio.h>
#include <string.h>

void mm_output_done(struct mm_output *output)
{
    mm_folder_free(output->folder);
    *output = (struct mm_output){.folder = NULL};
}

int mm_output_write(struct mm_output *output, const struct mintmark_bundle *bundle,
                    const struct mintmark_withheld *withheld)
{
    const int r = bundle ? mm_folder_add(output->folder, bundle, &output->ei)
                         : mm_folder_withhold(output->folder, withheld, &output->ei);

    return r < 0 ? MM_OUTPUT_FAILED : 0;
}

int mm_output_open(const struct mm_cmd *cmd, struct mm_output *output)
{
    if (mm_folder_open(cmd->value[MM_OPT_OUT], &output->folder, &output->ei) < 0)
        return mm_cmd_fail_file(cmd, &output->ei);
    return 0;
}

int mm_output_open_for(const struct mm_cmd *cmd, struct mm_output *output,
                       struct mm_request *request)
{
    const int r = mm_output_open(cmd, output);

    if (r)
        return r;
    if (mm_request_settle(request, output->folder, &output->ei) < 0)
        return mm_cmd_fail_file(cmd, &output->ei);
    return 0;
}

/* The same request stays wrong however often it is sent. */
static bool will_be_refused_again(const struct mintmark_error *error)
{
    switch (error->status) {
    case MINTMARK_INVALID_ARGUMENT:
    case MINTMARK_NOT_FOUND:
    case MINTMARK_ALREADY_EXISTS:
        return true;
    case MINTMARK_FAILED_PRECONDITION:
        return strcmp(error->reason, "DEVICES_PARKED") != 0; /* until an officer has decided */
    case MINTMARK_RESOURCE_EXHAUSTED:
        return !strcmp(error->reason, "BATCH_FULL") || !strcmp(error->reason, "QUOTA_EXHAUSTED");
    default:
        return false;
    }
}

int mm_output_fail(const struct mm_cmd *cmd, const struct mm_output *output, int r,
                   const struct mintmark_error *error)
{
    return r < 0 ? mm_cmd_fail(cmd, error) : mm_cmd_fail_file(cmd, &output->ei);
}

int mm_output_fail_for(const struct mm_cmd *cmd, const struct mm_output *output, int r,
                       const struct mintmark_error *error, const struct mm_request *request,
                       const char *done)
{
    const int exit_code = mm_output_fail(cmd, output, r, error);
    const char *folder = cmd->value[MM_OPT_OUT];

    mm_cmd_say_name(cmd);
    if (r < 0 && output->progress.done == 0 && will_be_refused_again(error))
        fprintf(stderr, "no device is in %s; another request takes another folder\n", folder);
    else
        fprintf(stderr, "%u of %u %s; %sthe same command again goes on\n", output->progress.done,
                (unsigned)request->count, done,
                r > 0 && output->ei.code == MM_ERR_EXISTS ? "once that file is elsewhere, " : "");
    return exit_code;
}
