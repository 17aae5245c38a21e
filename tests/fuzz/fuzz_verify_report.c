/* SPDX-License-Identifier: Apache-2.0 */
/* A production report, as mintmark-verify reads and judges it, without a signature. What it takes
 * is in the one form that reports have, so it ends as they do. */
#include "tests/fuzz/fuzz.h"

#include "tools/verify/production.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct signature nobody = {.signer = NULL};
    struct verdict v;
    struct production_judge j = {.v = &v, .list = true};
    const uint8_t sha256[SHA256_LEN] = {0};
    FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;

    verdict_begin(&v, "report", true);
    if (file) {
        production_judge_begin(&j, "input");
        production_judge_text(&j, file, &nobody, sha256);
        if (v.findings == 0)
            assert(size > 3 && memcmp(data + size - 3, "}}\n", 3) == 0);
        assert(j.devices == j.n_listed);
        fclose(file);
    }
    production_judge_done(&j);
    verdict_drop(&v);
    return 0;
}
