/* SPDX-License-Identifier: Apache-2.0 */
/* What front and launcher say to each other: one fixed-size datagram each, on a seqpacket socket
 * pair between two halves of one program, so that the structs are their own wire format. */
#pragma once

#include "daemon/front/launcher.h"

#include <stdint.h>

enum { MM_LAUNCH_START, MM_LAUNCH_KILL };
struct mm_launch_request {
    uint32_t kind;
    uint32_t program; /* MM_LAUNCH_START, with the channel's descriptor as SCM_RIGHTS */
    uint64_t id;
};

enum { MM_LAUNCH_STARTED, MM_LAUNCH_EXITED };
struct mm_launch_event {
    uint32_t kind;
    int32_t pid;
    int32_t status; /* MM_LAUNCH_EXITED: of waitpid */
    int32_t error;  /* MM_LAUNCH_EXITED: errno, when it could not be started */
    uint64_t id;
};
