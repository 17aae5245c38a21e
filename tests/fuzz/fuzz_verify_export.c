/* SPDX-License-Identifier: Apache-2.0 */
/* An export of the ledger from somebody who is not trusted, as mintmark-verify reads it. Who signed
 * is not asked: no signature would fit. */
#include "tests/fuzz/fuzz.h"

#include "tools/verify/ledger.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ledger *l = calloc(1, sizeof(*l));
    FILE *file = size ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
    struct verdict v;

    verdict_begin(&v, "ledger", true);
    assert(l && ledger_begin(l, &v, 1024 * 1024));
    if (file) {
        assert(ledger_read_file(l, file));
        /* Without a good statement at the end there is always something to be found. */
        assert(l->statement > 0 || v.findings > 0);
        fclose(file);
    }
    verdict_drop(&v);
    ledger_done(l);
    free(l);
    return 0;
}
