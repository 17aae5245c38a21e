/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd wants to hear (sd_notify(3)): datagrams to $NOTIFY_SOCKET, and nothing without it.
 */
#pragma once

#include <stdint.h>

/* Connects to $NOTIFY_SOCKET, if it is set, and takes the variables out of the environment. */
void mm_notify_open(void);

/* Lines such as "READY=1\nSTATUS=ready". */
void mm_notify(const char *state);
/* "STATUS=" and the text, its newlines blanked. */
void mm_notify_status(const char *text);

/* Half of what the watchdog allows between two signs of life, in ms; 0: none is wanted. */
uint64_t mm_notify_watchdog_ms(void);
