/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test's main does: run one suite, exit 0 only when all passed. */
#pragma once

#include <check.h>
#include <stdlib.h>

/* Check's own four seconds are little for a test on a busy machine, or under a sanitizer; a test
 * that hangs is what it is for. Read when a test case is made. */
__attribute__((constructor)) static void be_patient(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "60", 0);
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
