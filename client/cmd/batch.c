/* SPDX-License-Identifier: Apache-2.0 */
/* ping, and batch open, show, list, release. */
#include "client/cmd/cmd.h"
#include "daemon/base/clock.h"
#include "daemon/base/limits.h"

#include <stdio.h>

int mm_cmd_ping(struct mm_cmd *cmd)
{
    struct mintmark_ping ping;
    struct mintmark_error error;
    char time[MM_CLOCK_TEXT];

    if (mintmark_ping(cmd->client, &ping, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    if (mm_cmd_wants_json(cmd)) {
        const int r = mm_cmd_print_json(
            cmd, json_pack("{s:b, s:I, s:s, s:s, s:s}", "ready", ping.ready, "time_ms",
                           (json_int_t)ping.time_ms, "version", ping.version, "detail", ping.detail,
                           "client", ping.client));

        if (r)
            return r;
    } else {
        printf("%s%s%s\n", ping.ready ? "ready" : "not ready", ping.detail[0] ? ": " : "",
               ping.detail);
        printf("version %s, time %s, we are %s\n", ping.version, mm_clock_text(ping.time_ms, time),
               ping.client);
    }
    return ping.ready ? MM_CMD_DONE : MM_CMD_UNAVAILABLE;
}

static int print_batch(const struct mm_cmd *cmd, const struct mintmark_batch *batch)
{
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(cmd, mm_cmd_batch_json(batch));
    mm_cmd_batch_text(batch);
    return MM_CMD_DONE;
}

int mm_cmd_batch_open(struct mm_cmd *cmd)
{
    struct mintmark_open_batch request = {
        .name = cmd->value[MM_OPT_NAME],
        .profile = cmd->value[MM_OPT_PROFILE],
        .device_type = cmd->value[MM_OPT_DEVICE_TYPE],
        .order_id = cmd->value[MM_OPT_ORDER],
    };
    struct mintmark_batch batch;
    struct mintmark_error error;
    uint64_t heads = 1;
    int r = mm_cmd_number(cmd, MM_OPT_QUANTITY, 1, MM_BATCH_QUANTITY_MAX, &request.quantity);

    if (r == 0 && cmd->value[MM_OPT_HEADS])
        r = mm_cmd_number(cmd, MM_OPT_HEADS, 1, MM_HEADS_MAX, &heads);
    if (r)
        return r;
    request.heads = (uint32_t)heads;
    if (mintmark_open_batch(cmd->client, &request, &batch, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    return print_batch(cmd, &batch);
}

int mm_cmd_batch_show(struct mm_cmd *cmd)
{
    struct mintmark_batch batch;
    struct mintmark_error error;

    if (mintmark_get_batch(cmd->client, cmd->args[0], &batch, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    return print_batch(cmd, &batch);
}

static int add_to_list(void *arg, const struct mintmark_batch *batch)
{
    return json_array_append_new(arg, mm_cmd_batch_json(batch)) < 0;
}

static int print_row(void *arg, const struct mintmark_batch *batch)
{
    (void)arg;
    printf("%s  %-8s  %7llu/%-7llu  %s (%s)\n", batch->uid, batch->released ? "RELEASED" : "OPEN",
           (unsigned long long)batch->counts.issued, (unsigned long long)batch->quantity,
           batch->name, batch->profile);
    return 0;
}

int mm_cmd_batch_list(struct mm_cmd *cmd)
{
    const int open_only = cmd->value[MM_OPT_OPEN] != NULL;
    json_t *list = mm_cmd_wants_json(cmd) ? json_array() : NULL;
    struct mintmark_error error;
    int r;

    r = mintmark_list_batches(cmd->client, open_only, list ? add_to_list : print_row, list, &error);
    if (r < 0) {
        json_decref(list);
        return mm_cmd_fail(cmd, &error);
    }
    if (!mm_cmd_wants_json(cmd))
        return MM_CMD_DONE;
    /* A list that could not be completed is no list. */
    if (r > 0) {
        json_decref(list);
        list = NULL;
    }
    return mm_cmd_print_json(cmd, list ? json_pack("{s:o}", "batches", list) : NULL);
}

static json_t *report_json(const struct mintmark_production_report *report)
{
    json_t *failures = json_array();

    for (size_t i = 0; i < report->n_failures; i++)
        json_array_append_new(failures,
                              json_pack("{s:s, s:I}", "reason", report->failures[i].reason,
                                        "devices", (json_int_t)report->failures[i].devices));
    return json_pack(
        "{s:o, s:o, s:I, s:I, s:I, s:b, s:I, s:I}", "batch", mm_cmd_batch_json(&report->batch),
        "failures", failures, "order_quantity", (json_int_t)report->order_quantity, "order_used",
        (json_int_t)report->order_used, "refunded", (json_int_t)report->refunded, "report_pending",
        report->report_pending, "first_issued_time_ms", (json_int_t)report->first_issued_time_ms,
        "last_issued_time_ms", (json_int_t)report->last_issued_time_ms);
}

static void print_account(const struct mintmark_production_report *report)
{
    mm_cmd_batch_text(&report->batch);
    printf("order used   %llu of %llu\n", (unsigned long long)report->order_used,
           (unsigned long long)report->order_quantity);
    if (report->refunded > 0)
        printf("given back   %llu units for KO devices\n", (unsigned long long)report->refunded);
    for (size_t i = 0; i < report->n_failures; i++)
        printf("failed       %llu: %s\n", (unsigned long long)report->failures[i].devices,
               report->failures[i].reason);
    if (report->report_pending)
        puts("report       not signed yet: mintmark report fetches it");
}

/* An exit code. */
static int fetch_report(struct mm_cmd *cmd)
{
    const int r = mm_cmd_fetch_report(cmd, cmd->args[0]);

    if (r != MM_CMD_DONE) {
        mm_cmd_say_name(cmd);
        fprintf(stderr, "the batch is released; mintmark report %s --out DIR fetches its report\n",
                cmd->args[0]);
    }
    return r;
}

int mm_cmd_batch_release(struct mm_cmd *cmd)
{
    struct mintmark_production_report report;
    struct mintmark_error error;
    int r = MM_CMD_DONE;

    if (mintmark_release_batch(cmd->client, cmd->args[0], &report, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    /* A batch is released once, and this is its account: not to be lost with the report. */
    if (!mm_cmd_wants_json(cmd))
        print_account(&report);
    if (cmd->value[MM_OPT_OUT])
        r = fetch_report(cmd);
    if (r == MM_CMD_DONE && mm_cmd_wants_json(cmd))
        r = mm_cmd_print_json(cmd, report_json(&report));
    return r;
}
