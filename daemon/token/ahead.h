/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys made ahead: while a worker has nothing else to do, it makes session key pairs for the
 * profiles that say keys_ahead, so that a burst is served at the token's signing speed. They are
 * made and checked like any other, live in the worker's session, and die with it; no quota is spent
 * for them. A job waits for one key's making at most.
 */
#pragma once

#include "daemon/token/minter.h"

/* Is there a key to be made ahead? Not after a failure, until mm_ahead_resume. */
bool mm_ahead_wants(const struct mm_minter *m);
/* Makes one. A failure is the token's; nothing is lost by it but time. */
int mm_ahead_make(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;
/* A job came in. */
void mm_ahead_resume(struct mm_minter *m);

/* A pair for a device of the profile, whose keys are session objects: one made ahead, or a new one.
 * Errors as mm_token_generate. */
int mm_ahead_take(struct mm_minter *m, struct mm_minting *p, struct mm_keypair *ret_pair,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* The session they lived in is gone. */
void mm_ahead_forget(struct mm_minter *m);
