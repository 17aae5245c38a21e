/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/reports.h"

#include "client/cmd/cmd.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 64 * 1024 * 1024 };

void mm_reports_done(struct mm_reports *reports)
{
    for (size_t i = 0; i < reports->n; i++) {
        free((void *)(uintptr_t)reports->list[i].device_uid);
        free((void *)(uintptr_t)reports->list[i].reason);
    }
    free(reports->list);
    *reports = (struct mm_reports){.list = NULL};
}

/* false if it can't be; the line's error is in *ret_what. */
static bool read_report(json_t *object, struct mintmark_report *ret_report, const char **ret_what)
{
    const char *uid, *state, *reason = "";
    json_error_t problem;

    *ret_what = "needs \"device_uid\" and \"state\", and takes \"reason\" beside them";
    if (json_unpack_ex(object, &problem, JSON_STRICT, "{s:s, s:s, s?s}", "device_uid", &uid,
                       "state", &state, "reason", &reason) < 0)
        return false;
    *ret_what = "\"state\" must be \"OK\" or \"KO\"";
    if (strcmp(state, "OK") != 0 && strcmp(state, "KO") != 0)
        return false;
    ret_report->ok = state[0] == 'O';
    *ret_what = "\"reason\" must be there for \"KO\", and only then";
    if (ret_report->ok != (*reason == 0))
        return false;
    *ret_what = "out of memory";
    ret_report->device_uid = strdup(uid);
    ret_report->reason = strdup(reason);
    return ret_report->device_uid && ret_report->reason;
}

static struct mintmark_report *next_slot(struct mm_reports *reports)
{
    if (reports->n == reports->max) {
        const size_t max = reports->max ? reports->max * 2 : 64;
        struct mintmark_report *list = reallocarray(reports->list, max, sizeof(*list));

        if (!list)
            return NULL;
        reports->list = list;
        reports->max = max;
    }
    reports->list[reports->n] = (struct mintmark_report){.ok = 0};
    return &reports->list[reports->n++];
}

static int add_line(struct mm_reports *reports, const char *path, size_t number, const char *text,
                    size_t len, struct mm_errinfo *ei)
{
    struct mintmark_report *slot;
    json_error_t problem;
    const char *what;
    json_t *object;
    bool ok;

    if (len == 0)
        return MM_OK;
    object = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
    if (!object)
        return mm_fail(ei, MM_ERR_INVALID, "BAD_REPORT_FILE", "%s:%zu: %s", path, number,
                       problem.text);
    slot = next_slot(reports);
    ok = slot && read_report(object, slot, &what);
    json_decref(object);
    if (!slot)
        return mm_fail_memory(ei);
    if (!ok)
        return mm_fail(ei, MM_ERR_INVALID, "BAD_REPORT_FILE", "%s:%zu: %s", path, number, what);
    return MM_OK;
}

int mm_reports_read(const char *path, struct mm_reports *ret_reports, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(FILE_MAX);
    MM_CLEANUP(mm_reports_done) struct mm_reports reports = {.list = NULL};
    int r = mm_io_read_file(path, FILE_MAX, &text, ei);
    size_t at = 0;

    for (size_t number = 1; r == MM_OK && at < text.len; number++) {
        const uint8_t *line = text.data + at;
        const uint8_t *end = memchr(line, '\n', text.len - at);
        const size_t len = end ? (size_t)(end - line) : text.len - at;

        r = add_line(&reports, path, number, (const char *)line, len, ei);
        at += len + 1;
    }
    if (r < 0)
        return r;
    if (reports.n == 0)
        return mm_fail(ei, MM_ERR_INVALID, "BAD_REPORT_FILE", "%s: nothing in it", path);
    *ret_reports = reports;
    reports = (struct mm_reports){.list = NULL};
    return MM_OK;
}

static int fail_part(const struct mm_cmd *cmd, const struct mintmark_error *error, size_t done,
                     size_t n)
{
    const int exit_code = mm_cmd_fail(cmd, error);

    if (done > 0) {
        mm_cmd_say_name(cmd);
        fprintf(stderr, "%zu of %zu are reported; reporting them again does no harm\n", done, n);
    }
    return exit_code;
}

/* All of them, in calls of as many as one may have. */
static int send(struct mm_cmd *cmd, const struct mintmark_report *reports, size_t n)
{
    struct mintmark_counts counts = {.issued = 0};
    struct mintmark_error error;

    for (size_t at = 0; at < n; at += MM_REPORT_MAX) {
        const size_t chunk = n - at < MM_REPORT_MAX ? n - at : MM_REPORT_MAX;

        if (mintmark_report_devices(cmd->client, cmd->value[MM_OPT_BATCH], reports + at, chunk,
                                    &counts, &error) < 0)
            return fail_part(cmd, &error, at, n);
    }
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(cmd, json_pack("{s:s, s:I, s:o}", "batch_uid",
                                                cmd->value[MM_OPT_BATCH], "reported", (json_int_t)n,
                                                "counts", mm_cmd_counts_json(&counts)));
    printf("%zu reported; in the batch: %llu OK, %llu KO, %llu not reported\n", n,
           (unsigned long long)counts.ok, (unsigned long long)counts.ko,
           (unsigned long long)counts.unreported);
    return MM_CMD_DONE;
}

static int send_file(struct mm_cmd *cmd)
{
    MM_CLEANUP(mm_reports_done) struct mm_reports reports = {.list = NULL};
    struct mm_errinfo ei;

    if (cmd->n_args > 0)
        return mm_cmd_usage(cmd, "--file takes no devices beside it");
    if (mm_reports_read(cmd->value[MM_OPT_FILE], &reports, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    return send(cmd, reports.list, reports.n);
}

static int send_ok(struct mm_cmd *cmd)
{
    MM_CLEANUP(mm_free_p) struct mintmark_report *reports = NULL;

    if (cmd->n_args == 0)
        return mm_cmd_usage(cmd, "--ok needs the UIDs of devices");
    reports = calloc(cmd->n_args, sizeof(*reports));
    if (!reports)
        return mm_cmd_fail_memory(cmd);
    for (size_t i = 0; i < cmd->n_args; i++)
        reports[i] = (struct mintmark_report){.device_uid = cmd->args[i], .ok = 1};
    return send(cmd, reports, cmd->n_args);
}

int mm_cmd_device_report(struct mm_cmd *cmd)
{
    const bool ok = cmd->value[MM_OPT_OK], ko = cmd->value[MM_OPT_KO];

    if (ok + ko + (cmd->value[MM_OPT_FILE] != NULL) != 1)
        return mm_cmd_usage(cmd, "one of --ok, --ko and --file is due");
    if (cmd->value[MM_OPT_FILE])
        return send_file(cmd);
    if (ok)
        return send_ok(cmd);
    if (cmd->n_args != 2)
        return mm_cmd_usage(cmd, "--ko needs a device's UID and a reason");
    return send(cmd, &(struct mintmark_report){.device_uid = cmd->args[0], .reason = cmd->args[1]},
                1);
}
