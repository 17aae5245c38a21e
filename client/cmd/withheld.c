/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/withheld.h"

#include "client/cmd/list.h"

#include <stdio.h>

void mm_withheld_count(struct mm_withheld_counts *counts, const struct mintmark_withheld *withheld)
{
    counts->waiting += withheld->state == MINTMARK_CERTIFICATE_WAITING;
    counts->parked += withheld->state == MINTMARK_CERTIFICATE_PARKED;
    counts->failed += withheld->state == MINTMARK_CERTIFICATE_FAILED;
}

size_t mm_withheld_total(const struct mm_withheld_counts *counts)
{
    return counts->waiting + counts->parked + counts->failed;
}

json_t *mm_withheld_counts_json(const struct mm_withheld_counts *counts)
{
    return json_pack("{s:I, s:I, s:I}", "waiting", (json_int_t)counts->waiting, "parked",
                     (json_int_t)counts->parked, "failed", (json_int_t)counts->failed);
}

const char *mm_withheld_state(const struct mintmark_withheld *withheld)
{
    switch (withheld->state) {
    case MINTMARK_CERTIFICATE_WAITING:
        return "WAITING";
    case MINTMARK_CERTIFICATE_PARKED:
        return "PARKED";
    default:
        return "FAILED";
    }
}

char *mm_withheld_json_line(const struct mintmark_withheld *w)
{
    return mm_list_json(json_pack(
        "{s:s, s:I, s:s, s:s, s:s, s:I, s:I}", "device_uid", w->device_uid, "number",
        (json_int_t)w->number, "hw_serial", w->hw_serial, "state", mm_withheld_state(w), "message",
        w->text, "attempts", (json_int_t)w->attempts, "next_time_ms", (json_int_t)w->next_time_ms));
}

int mm_withheld_say(const struct mm_cmd *cmd, const struct mm_withheld_counts *counts)
{
    const bool may_come = counts->waiting + counts->parked > 0;

    if (mm_withheld_total(counts) == 0)
        return MM_CMD_DONE;
    if (!mm_cmd_wants_json(cmd)) {
        mm_cmd_say_name(cmd);
        fprintf(stderr, "%zu without certificate (%zu waiting, %zu parked, %zu failed)",
                mm_withheld_total(counts), counts->waiting, counts->parked, counts->failed);
        fprintf(stderr, ": see %s/withheld.jsonl%s\n", cmd->value[MM_OPT_OUT],
                may_come ? "; the same command again, later, gets those that have come" : "");
    }
    return counts->parked + counts->failed > 0 ? MM_CMD_FAILED : MM_CMD_WAITING;
}
