/* SPDX-License-Identifier: Apache-2.0 */
/* Devices without certificate: what the commands say of them. */
#pragma once

#include "client/cmd/cmd.h"

struct mm_withheld_counts {
    size_t waiting, parked, failed;
};

void mm_withheld_count(struct mm_withheld_counts *counts, const struct mintmark_withheld *withheld);
size_t mm_withheld_total(const struct mm_withheld_counts *counts);
json_t *mm_withheld_counts_json(const struct mm_withheld_counts *counts);

/* "WAITING", "PARKED" or "FAILED", as in the service's API. */
const char *mm_withheld_state(const struct mintmark_withheld *withheld);
/* Its line of withheld.jsonl; NULL without memory. The caller's to free. */
char *mm_withheld_json_line(const struct mintmark_withheld *withheld);

/* Says on stderr how many there are, if any, unless the caller wants JSON, which has them. The exit
 * code for them: MM_CMD_WAITING when all are waiting. */
int mm_withheld_say(const struct mm_cmd *cmd, const struct mm_withheld_counts *counts);
