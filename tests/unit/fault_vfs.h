/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An SQLite VFS in front of the real one, that fails one call, or cuts the power: at a chosen call
 * it writes down what a disk might hold then (what was synced, and any part of what was not), and
 * lets nothing more through. It has no shared memory, so a store that works on it needs none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum fault_call {
    FAULT_NONE = 0,
    FAULT_READ = 1,
    FAULT_WRITE = 2,
    FAULT_SYNC = 4,
    FAULT_TRUNCATE = 8,
    FAULT_OPEN = 16,
    FAULT_CHANGE = FAULT_WRITE | FAULT_SYNC | FAULT_TRUNCATE,
};

/* Becomes SQLite's default VFS, for good: once, in main. */
void fault_install(void);

/* The nth call (1 is the next) of any of these kinds fails, once, with that SQLite code. */
void fault_arm(unsigned calls, unsigned nth, int code);
/* At the nth call of these kinds the power is cut; the disk is written down in the folder, with
 * unsynced sectors chosen by the seed. Everything fails from then on until fault_disarm. */
void fault_arm_power_cut(unsigned calls, unsigned nth, const char *folder, uint64_t seed);
void fault_disarm(void);
/* Has it happened? */
bool fault_fired(void);

/* A small generator for tests that must repeat themselves: xorshift64*. */
uint64_t test_random(uint64_t *state);
