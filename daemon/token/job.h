/* SPDX-License-Identifier: Apache-2.0 */
/* The token worker's side of internal/token.proto, for mm_worker_main. */
#pragma once

#include "daemon/ipc/worker.h"

extern const struct mm_worker_ops mm_token_worker_ops;
