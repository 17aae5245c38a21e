/* SPDX-License-Identifier: Apache-2.0 */
/* The cases of gRPC's interoperability client (grpc/grpc doc/interop-test-descriptions.md), on
 * libmintmark's calls. A check that fails ends the program, and says which. */
#pragma once

#include "client/call.h"

#include <protobuf-c/protobuf-c.h>

/* Names are gRPC's. Those with "_noprobe" leave out the question whether the server looks at
 * compression, for servers that do not. */
struct test_case {
    const char *name;
    void (*run)(struct mintmark *client);
};
extern const struct test_case test_cases[];
extern const size_t test_n_cases;

/* Ends the program. */
#define EXPECT(condition) expect((condition), #condition, __FILE__, __LINE__)
void expect(bool condition, const char *text, const char *file, int line);

/* A call of TestService, but for a path that begins with "/". metadata may be NULL with n 0. */
struct mm_client_call *call_open(struct mintmark *client, const char *method,
                                 const struct mm_field *metadata, size_t n, int64_t timeout_ms);
void call_send(struct mm_client_call *call, const ProtobufCMessage *message, bool compress);
/* The next response, which must come; unpacked. */
ProtobufCMessage *call_receive(struct mm_client_call *call,
                               const ProtobufCMessageDescriptor *descriptor);
/* No response comes any more, and the call ends with that status; frees it. */
void call_expect_end(struct mm_client_call *call, enum mintmark_status status);
/* The end of a call without more responses, borrowed from it. */
const struct mm_stream_end *call_end(struct mm_client_call *call);
