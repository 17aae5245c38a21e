/* SPDX-License-Identifier: Apache-2.0 */
/* Work as the service gives it to a token, over and over, with session objects only: to measure
 * what a token can do. */
#pragma once

#include "pkcs11/token.h"

struct mm_workload;

enum mm_work {
    MM_WORK_MINT,     /* a key pair, two signatures, the private key wrapped, both destroyed */
    MM_WORK_SIGN,     /* a signature of P-256 */
    MM_WORK_GENERATE, /* a key pair on P-256, made and destroyed */
    MM_WORK_COUNT,
};
/* "mint", "sign", "generate". */
const char *mm_work_name(enum mm_work work);

/* t is borrowed, and logged in. Makes the keys that take a CA's and a transport key's place.
 * MM_ERR_UNSUPPORTED never: without AES key wrap, minting goes without the wrap. */
int mm_workload_new(struct mm_token *t, enum mm_work work, struct mm_workload **ret_workload,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Destroys what it made in the token. NULL is fine. */
void mm_workload_free(struct mm_workload *w);
MM_DEFINE_CLEANUP(struct mm_workload *, mm_workload_free)

/* Once. A module that hoards session objects is renewed when the service would. */
int mm_workload_step(struct mm_workload *w, struct mm_errinfo *ei) MM_MUST_USE;
/* Does minting wrap? */
bool mm_workload_wraps(const struct mm_workload *w);
