/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding a host's addresses without waiting. The system's resolver does it (getaddrinfo_a of
 * glibc, with all that nsswitch.conf names), in a thread of the C library's own; here one only asks
 * whether it is done. A look-up that nobody waits for any more runs on, and the next one for the
 * same host takes its result: so there is never more than one.
 */
#pragma once

#include "client/error.h"

#include <netdb.h>

struct mm_lookup;

/* Of that host and numeric port, which are copied. Does nothing yet. */
int mm_lookup_new(const char *host, const char *port, struct mm_lookup **ret_lookup,
                  struct mintmark_error *error) MM_MUST_USE;
/* A look-up that is under way is told to stop; what can't be stopped is left to the C library. NULL
 * is fine. */
void mm_lookup_free(struct mm_lookup *lookup);
MM_DEFINE_CLEANUP(struct mm_lookup *, mm_lookup_free)

/* Begins to look up, unless that is under way. A numeric address is found at once. */
int mm_lookup_start(struct mm_lookup *lookup, struct mintmark_error *error) MM_MUST_USE;

/* MM_OK: *ret_addresses, for the caller to freeaddrinfo; the look-up may be started again.
 * MM_ERR_AGAIN: ask again after MM_LOOKUP_POLL_MS. MM_ERR_UNAVAILABLE: it failed, *error says why.
 */
enum { MM_LOOKUP_POLL_MS = 5 };
int mm_lookup_result(struct mm_lookup *lookup, struct addrinfo **ret_addresses,
                     struct mintmark_error *error) MM_MUST_USE;
