/* SPDX-License-Identifier: Apache-2.0 */
/* What a token can do beyond the hot path, each tried once with session objects and compared with
 * libcrypto: for the self-test. Also which mechanisms a token lists. */
#pragma once

#include "pkcs11/soft.h"

enum {
    MM_CROSSCHECK_NOTE = 128,
    MM_SELFTEST_SESSIONS = 32, /* opened at once, unless the token says that it takes fewer */
    MM_SELFTEST_RANDOM = 4096, /* bytes that the health test looks at */
};

struct mm_crosscheck {
    const char *operation;
    CK_MECHANISM_TYPE needs[2]; /* that the token must list; 0: none */
    /* MM_ERR_UNSUPPORTED: the token cannot do it after all. MM_ERR_CORRUPT: it does it wrong. */
    int (*run)(struct mm_token *t, char note[MM_CROSSCHECK_NOTE], struct mm_errinfo *ei);
};
extern const struct mm_crosscheck mm_crosschecks[];
extern const size_t mm_crosschecks_count;

/* Does the token list the mechanism? *ret_info is set when it does; may be NULL. */
int mm_mechanism_listed(struct mm_token *t, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *ret_info,
                        bool *ret_listed, struct mm_errinfo *ei) MM_MUST_USE;
