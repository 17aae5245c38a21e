/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.testing.TestService and mintmark.testing.Probe on call.h. */
#pragma once

#include "daemon/front/call.h"
#include "daemon/front/server.h"

struct test_app {
    uv_loop_t *loop;
    struct mm_server *server;
    uint64_t cancelled;
};

extern const struct mm_rpc test_rpcs[];
extern const size_t test_n_rpcs;
