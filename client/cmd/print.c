/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/cmd.h"
#include "client/cmd/list.h"
#include "client/error.h"
#include "daemon/base/clock.h"
#include "proto/grpc/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool mm_cmd_wants_json(const struct mm_cmd *cmd)
{
    return cmd->value[MM_OPT_JSON] != NULL;
}

static int exit_code(enum mintmark_status status)
{
    switch (status) {
    case MINTMARK_OK:
        return MM_CMD_DONE;
    case MINTMARK_INVALID_ARGUMENT:
    case MINTMARK_OUT_OF_RANGE:
        return MM_CMD_DATA;
    case MINTMARK_UNAVAILABLE:
    case MINTMARK_DEADLINE_EXCEEDED:
        return MM_CMD_UNAVAILABLE;
    case MINTMARK_UNKNOWN:
    case MINTMARK_UNIMPLEMENTED:
    case MINTMARK_INTERNAL:
    case MINTMARK_DATA_LOSS:
        return MM_CMD_INTERNAL;
    case MINTMARK_PERMISSION_DENIED:
    case MINTMARK_UNAUTHENTICATED:
        return MM_CMD_PERMISSION;
    default:
        return MM_CMD_FAILED;
    }
}

int mm_cmd_print_json(const struct mm_cmd *cmd, json_t *object)
{
    char *text = mm_list_json(object);

    if (!text) {
        fprintf(stderr, "mintmark %s: out of memory\n", cmd->command ? cmd->command->name : "");
        return MM_CMD_INTERNAL;
    }
    puts(text);
    free(text);
    return MM_CMD_DONE;
}

static void print_json_error(const struct mm_cmd *cmd, const struct mintmark_error *error)
{
    const char *status = mm_grpc_status_name((enum mm_grpc_status)error->status);

    (void)mm_cmd_print_json(cmd,
                            json_pack("{s:{s:s, s:s, s:s, s:s, s:I}}", "error", "status", status,
                                      "reason", error->reason, "field", error->field, "message",
                                      error->message, "retry_ms", (json_int_t)error->retry_ms));
}

void mm_cmd_say_name(const struct mm_cmd *cmd)
{
    const struct mm_command *c = cmd->command;

    fprintf(stderr, "mintmark%s%s%s%s: ", c && c->group ? " " : "", c && c->group ? c->group : "",
            c ? " " : "", c ? c->name : "");
}

/* Most messages begin with the field. */
static bool names_field(const struct mintmark_error *error)
{
    const size_t len = strlen(error->field);

    return strncmp(error->message, error->field, len) == 0 && error->message[len] == ' ';
}

static void print_error(const struct mm_cmd *cmd, const struct mintmark_error *error)
{
    mm_cmd_say_name(cmd);
    if (error->field[0] && !names_field(error))
        fprintf(stderr, "%s: ", error->field);
    fprintf(stderr, "%s", error->message);
    if (error->reason[0])
        fprintf(stderr, " (%s)", error->reason);
    fputc('\n', stderr);
    if (mm_cmd_wants_json(cmd))
        print_json_error(cmd, error);
}

int mm_cmd_fail(const struct mm_cmd *cmd, const struct mintmark_error *error)
{
    print_error(cmd, error);
    return exit_code(error->status);
}

int mm_cmd_fail_file(const struct mm_cmd *cmd, const struct mm_errinfo *ei)
{
    struct mintmark_error error;

    mm_client_fail_base(&error, ei);
    return mm_cmd_fail(cmd, &error);
}

int mm_cmd_fail_memory(const struct mm_cmd *cmd)
{
    struct mm_errinfo ei;

    mm_fail_memory(&ei);
    return mm_cmd_fail_file(cmd, &ei);
}

int mm_cmd_usage(const struct mm_cmd *cmd, const char *fmt, ...)
{
    char text[sizeof(((struct mintmark_error *)NULL)->message)];
    struct mintmark_error error;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    mm_client_fail(&error, MINTMARK_INVALID_ARGUMENT, "USAGE", "%s", text);
    print_error(cmd, &error);
    return MM_CMD_USAGE;
}

json_t *mm_cmd_counts_json(const struct mintmark_counts *counts)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "issued", (json_int_t)counts->issued, "ok",
                     (json_int_t)counts->ok, "ko", (json_int_t)counts->ko, "unreported",
                     (json_int_t)counts->unreported);
}

static const char *state_of(const struct mintmark_batch *batch)
{
    return batch->released ? "RELEASED" : "OPEN";
}

json_t *mm_cmd_batch_json(const struct mintmark_batch *b)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:o}", "batch_uid",
                     b->uid, "name", b->name, "profile", b->profile, "device_type", b->device_type,
                     "quantity", (json_int_t)b->quantity, "heads", (json_int_t)b->heads, "order_id",
                     b->order_id, "state", state_of(b), "station", b->station, "opened_time_ms",
                     (json_int_t)b->opened_time_ms, "released_time_ms",
                     (json_int_t)b->released_time_ms, "counts", mm_cmd_counts_json(&b->counts));
}

void mm_cmd_batch_text(const struct mintmark_batch *b)
{
    char time[MM_CLOCK_TEXT];

    printf("batch        %s (%s)\n", b->uid, state_of(b));
    printf("name         %s\n", b->name);
    printf("profile      %s\n", b->profile);
    printf("device type  %s\n", b->device_type);
    printf("order        %s\n", b->order_id);
    printf("opened       %s by %s\n", mm_clock_text(b->opened_time_ms, time), b->station);
    if (b->released)
        printf("released     %s\n", mm_clock_text(b->released_time_ms, time));
    printf("devices      %llu of %llu: %llu OK, %llu KO, %llu not reported\n",
           (unsigned long long)b->counts.issued, (unsigned long long)b->quantity,
           (unsigned long long)b->counts.ok, (unsigned long long)b->counts.ko,
           (unsigned long long)b->counts.unreported);
}
