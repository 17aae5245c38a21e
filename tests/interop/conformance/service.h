/* SPDX-License-Identifier: Apache-2.0 */
/* connectrpc.conformance.v1.ConformanceService on call.h; service.proto says what it is to do. */
#pragma once

#include "daemon/front/call.h"

#include <uv.h>

/* What mm_server_new_transport is to be given as app. */
struct conformance_app {
    uv_loop_t *loop;
};

extern const struct mm_rpc conformance_rpcs[];
extern const size_t conformance_n_rpcs;
