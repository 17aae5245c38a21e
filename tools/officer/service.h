/* SPDX-License-Identifier: Apache-2.0 */
/* Calls to the running service, as the officer whose certificate is at hand. */
#pragma once

#include "client/rpc.h"
#include "proto/grpc/arena.h"
#include "tools/officer/officer.h"

MM_DEFINE_CLEANUP(struct mintmark *, mintmark_free)

/* Reads --site, lets --target override its target. Opens no connection yet. */
int mm_service_open(struct mm_officer *o, struct mintmark **ret_client,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* One call; the response lives in the arena. */
int mm_service_call(struct mintmark *client, const struct mm_method *method,
                    const ProtobufCMessage *request, struct mm_arena *arena,
                    ProtobufCMessage **ret_response, struct mm_errinfo *ei) MM_MUST_USE;

/* What the service said, as one of our own errors. */
int mm_service_error(const struct mintmark_error *error, struct mm_errinfo *ei);
