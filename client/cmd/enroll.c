/* SPDX-License-Identifier: Apache-2.0 */
/* enroll: requests from files, certificates into a folder. */
#include "client/cmd/cmd.h"
#include "client/cmd/csrs.h"
#include "client/cmd/list.h"
#include "client/cmd/output.h"
#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>

struct enrolled {
    struct mm_output out;
    const struct mm_csrs *csrs;
    char **lines; /* of enrolled.jsonl, in the order of the files */
    size_t refused;
};

/* ---- what became of each file ------------------------------------------------------------ */

static json_t *outcome_of(const char *file, const struct mintmark_bundle *bundle,
                          const struct mintmark_withheld *withheld,
                          const struct mintmark_error *refusal)
{
    if (bundle)
        return json_pack("{s:s, s:s}", "file", file, "device_uid", bundle->device_uid);
    if (withheld)
        return json_pack("{s:s, s:s, s:s, s:s}", "file", file, "device_uid", withheld->device_uid,
                         "state", mm_withheld_state(withheld), "message", withheld->text);
    return json_pack("{s:s, s:s, s:s}", "file", file, "reason", refusal->reason, "message",
                     refusal->message);
}

static int take_device(void *arg, size_t index, const struct mintmark_bundle *bundle,
                       const struct mintmark_withheld *withheld,
                       const struct mintmark_error *refusal)
{
    struct enrolled *e = arg;
    const int r = refusal ? 0 : mm_output_write(&e->out, bundle, withheld);

    if (r != 0)
        return r;
    e->lines[index] = mm_list_json(outcome_of(e->csrs->names[index], bundle, withheld, refusal));
    if (!e->lines[index]) {
        mm_fail_memory(&e->out.ei);
        return MM_OUTPUT_FAILED;
    }
    e->refused += refusal ? 1 : 0;
    mm_progress_step(&e->out.progress);
    return 0;
}

static int put_lines(struct enrolled *e)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT((size_t)MM_PROVISION_MAX * 1024);

    for (size_t i = 0; i < e->csrs->n; i++) {
        mm_buf_append_str(&text, e->lines[i]);
        mm_buf_append_str(&text, "\n");
    }
    if (mm_buf_err(&text) < 0)
        return mm_fail_memory(&e->out.ei);
    return mm_folder_put_list(e->out.folder, "enrolled.jsonl", &text, &e->out.ei);
}

/* ---- the command line -------------------------------------------------------------------- */

static int take_serials(const struct mm_csrs *csrs, struct mm_request *request,
                        struct mm_errinfo *ei)
{
    request->hw_serials = calloc(csrs->n, sizeof(*request->hw_serials));
    if (!request->hw_serials)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < csrs->n; i++) {
        request->hw_serials[i] = strdup(csrs->devices[i].hw_serial);
        if (!request->hw_serials[i])
            return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int take_request(const struct mm_cmd *cmd, const struct mm_csrs *csrs,
                        struct mm_request *request)
{
    uint8_t sha256[MM_CSRS_HASH];
    struct mm_errinfo ei;
    const int r = mm_request_take_names(request, cmd);

    if (r)
        return r;
    request->count = (uint32_t)csrs->n;
    if (mm_csrs_hash(csrs, sha256, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    mm_hex_encode(sha256, sizeof(sha256), request->csrs_sha256);
    if (cmd->value[MM_OPT_SERIAL_NAMES] && take_serials(csrs, request, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    return 0;
}

/* ---- the call ---------------------------------------------------------------------------- */

static int print_summary(const struct mm_cmd *cmd, const struct enrolled *e,
                         const struct mm_request *request, double seconds)
{
    const struct mm_withheld_counts *withheld = mm_folder_withheld(e->out.folder);
    const size_t enrolled = e->csrs->n - e->refused - mm_withheld_total(withheld);
    const size_t repeated = mm_folder_repeated(e->out.folder);
    const char *folder = cmd->value[MM_OPT_OUT];
    int r = MM_CMD_DONE;

    if (mm_cmd_wants_json(cmd))
        r = mm_cmd_print_json(
            cmd, json_pack("{s:s, s:s, s:I, s:I, s:o, s:s, s:f}", "batch_uid", request->batch_uid,
                           "request_id", request->request_id, "enrolled", (json_int_t)enrolled,
                           "refused", (json_int_t)e->refused, "withheld",
                           mm_withheld_counts_json(withheld), "out", folder, "seconds", seconds));
    else
        printf("%zu devices in %s (%.1f s; request id %s)\n", enrolled - repeated, folder, seconds,
               request->request_id);
    if (r != MM_CMD_DONE)
        return r;
    if (repeated > 0)
        fprintf(stderr,
                "mintmark enroll: %zu with the key of another request: see %s/enrolled.jsonl\n",
                repeated, folder);
    r = mm_withheld_say(cmd, withheld);
    if (e->refused == 0)
        return r;
    if (!mm_cmd_wants_json(cmd))
        fprintf(stderr, "mintmark enroll: %zu refused: see %s/enrolled.jsonl\n", e->refused,
                folder);
    return MM_CMD_FAILED;
}

static int enroll(const struct mm_cmd *cmd, struct enrolled *e, const struct mm_request *request)
{
    const struct mintmark_enroll call = {
        .batch_uid = request->batch_uid,
        .request_id = request->request_id,
        .devices = e->csrs->devices,
        .n_devices = e->csrs->n,
    };
    const int64_t began_us = mm_clock_mono_us();
    struct mintmark_error error;
    int r;

    mm_progress_begin(&e->out.progress, request->count, !mm_cmd_wants_json(cmd));
    r = mintmark_enroll(cmd->client, &call, take_device, e, &error);
    mm_progress_end(&e->out.progress);
    if (r == 0 && (put_lines(e) < 0 || mm_folder_finish(e->out.folder, &e->out.ei) < 0))
        r = MM_OUTPUT_FAILED;
    if (r != 0)
        return mm_output_fail_for(cmd, &e->out, r, &error, request, "are answered");
    return print_summary(cmd, e, request, (double)(mm_clock_mono_us() - began_us) / 1e6);
}

static void done(struct enrolled *e)
{
    for (size_t i = 0; e->lines && i < e->csrs->n; i++)
        free(e->lines[i]);
    free(e->lines);
    mm_output_done(&e->out);
}

static int run(struct mm_cmd *cmd, const struct mm_csrs *csrs)
{
    MM_CLEANUP(mm_request_done) struct mm_request request = {.count = 0};
    MM_CLEANUP(done) struct enrolled e = {.csrs = csrs};
    int r = take_request(cmd, csrs, &request);

    if (r == 0)
        r = mm_output_open_for(cmd, &e.out, &request);
    if (r)
        return r;
    e.lines = calloc(csrs->n, sizeof(*e.lines));
    return e.lines ? enroll(cmd, &e, &request) : mm_cmd_fail_memory(cmd);
}

int mm_cmd_enroll(struct mm_cmd *cmd)
{
    MM_CLEANUP(mm_csrs_done) struct mm_csrs csrs = {.n = 0};
    struct mm_errinfo ei;

    if (mm_csrs_read(cmd->args, cmd->n_args, cmd->value[MM_OPT_SERIAL_NAMES] != NULL, &csrs, &ei) <
        0)
        return mm_cmd_fail_file(cmd, &ei);
    return run(cmd, &csrs);
}
