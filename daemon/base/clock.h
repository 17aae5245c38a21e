/* SPDX-License-Identifier: Apache-2.0 */
/* Time, behind one door that tests can replace. */
#pragma once

#include <stdint.h>

/* Milliseconds since 1970-01-01 UTC. */
int64_t mm_clock_wall_ms(void);
/* Microseconds of a clock that never goes back; its zero means nothing. */
int64_t mm_clock_mono_us(void);

/* "2026-11-21T18:16:56.123Z" of a wall-clock time; buf holds at least MM_CLOCK_TEXT bytes. */
enum { MM_CLOCK_TEXT = 32 };
const char *mm_clock_text(int64_t wall_ms, char *buf);

/* For tests: both functions above come from these instead; NULL, NULL puts the real ones back. */
void mm_clock_replace(int64_t (*wall_ms)(void), int64_t (*mono_us)(void));
