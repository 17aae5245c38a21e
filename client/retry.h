/* SPDX-License-Identifier: Apache-2.0 */
/* When to try a call again, and how long to wait before. Pure functions. */
#pragma once

#include "client/rpc.h"
#include "client/session.h"

/* May a call that ended so be repeated, and would that help? */
bool mm_retry_wanted(const struct mm_stream_end *end, enum mm_repeat repeat);

/* The pause before the next try, after so many failures in a row (1 and up): 0.2 s, growing by 2.5
 * up to 15 s, give or take a fifth by the random number; or the server's advice if that is longer,
 * and up to a fifth more. */
uint32_t mm_retry_pause_ms(unsigned failures, uint32_t advice_ms, uint32_t random);

/* The pause after so many attempts in a row (1 and up) to connect that failed: as gRPC's connection
 * back-off (doc/connection-backoff.md), which is 1 s, growing by 1.6 up to 120 s, give or take a
 * fifth; but from 0.5 s and up to 15 s, for a line that stands still until the service is back. */
uint32_t mm_retry_connect_ms(unsigned failures, uint32_t random);
