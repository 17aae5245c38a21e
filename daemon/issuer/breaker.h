/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A circuit breaker: a node that has failed a few times in a row is left alone for a while; then
 * one request tries whether it is back. Pure; times are handed in, in microseconds of one clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum mm_breaker_state { MM_BREAKER_CLOSED, MM_BREAKER_OPEN, MM_BREAKER_HALF_OPEN };

/* Zero-initialise, then set the three settings. */
struct mm_breaker {
    unsigned failures_max; /* in a row, until it opens */
    unsigned wait_ms;      /* the first time */
    unsigned wait_max_ms;
    enum mm_breaker_state state;
    unsigned failures; /* in a row */
    unsigned last_wait_ms;
    int64_t until_us; /* OPEN */
    uint64_t opened;  /* how often */
};

/* May a request be sent now? An open breaker whose time is over becomes half-open by this, and says
 * yes once: until mm_breaker_done or mm_breaker_failed tells of that one. */
bool mm_breaker_ask(struct mm_breaker *b, int64_t now_us);
/* Would it, without changing it? */
bool mm_breaker_would(const struct mm_breaker *b, int64_t now_us);
/* A request that was asked for was answered as it should be, or at least by a node in order. True
 * when this has closed the breaker. */
bool mm_breaker_done(struct mm_breaker *b);
/* A request failed by the node's fault; chance is any number, for jitter. True when this has opened
 * the breaker. */
bool mm_breaker_failed(struct mm_breaker *b, int64_t now_us, uint32_t chance);
/* The probe was given up without having said anything about the node. */
void mm_breaker_dropped(struct mm_breaker *b);
/* Until a request may be tried; 0: now. A half-open one says how long the last wait was. */
uint32_t mm_breaker_wait_ms(const struct mm_breaker *b, int64_t now_us);

/* ms, give or take a quarter. */
uint32_t mm_jitter(uint32_t ms, uint32_t chance);
