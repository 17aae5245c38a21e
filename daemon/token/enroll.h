/* SPDX-License-Identifier: Apache-2.0 */
/* One chunk of devices that made their keys themselves: requests checked, certified, packed. */
#pragma once

#include "daemon/token/making.h"

/* Of a chunk that mm_enroll made. */
Mintmark__Internal__EnrollResult *mm_chunk_enrolled(struct mm_chunk *c);

/*
 * Does the job: per device the request is checked (pki/csr.h), the certificate made as the profile
 * says, or, where the profile makes requests, the device's own request taken as it is; and the
 * Bundle packed once. A request that is refused, or a serial number that does not fit the profile,
 * refuses its device alone.
 * Errors as mm_mint, with MM_ERR_PRECONDITION PROFILE_MAKES_KEYS.
 */
int mm_enroll(struct mm_minter *minter, const Mintmark__Internal__EnrollJob *job,
              int64_t deadline_mono_us, struct mm_chunk *chunk, struct mm_errinfo *ei) MM_MUST_USE;
