/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a configuration. What parses is dumped, and the dump parses to the same; what does
 * not says why. */
#include "tests/fuzz/fuzz.h"

#include "daemon/conf/conf.h"

#include <stdlib.h>
#include <string.h>

static char *dump(const struct mm_conf *conf)
{
    struct mm_errinfo ei;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert(out);
    assert(mm_conf_dump(conf, out, &ei) == MM_OK);
    assert(fclose(out) == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_conf *conf = NULL, *again = NULL;
    struct mm_errinfo ei = {0};
    char *first, *second;

    if (mm_conf_parse("/etc/mintmark/mintmark.conf", (const char *)data, size, &conf, &ei) < 0) {
        assert(!conf && *ei.text);
        return 0;
    }
    first = dump(conf);
    assert(mm_conf_parse("/etc/mintmark/mintmark.conf", first, strlen(first), &again, &ei) ==
           MM_OK);
    second = dump(again);
    assert(!strcmp(first, second));
    free(first);
    free(second);
    mm_conf_free(conf);
    mm_conf_free(again);
    return 0;
}
