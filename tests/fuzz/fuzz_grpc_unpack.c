/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: which message; the rest: its bytes from a stranger. What is taken has only good
 * strings, and stays the same when it is packed and taken again. */
#include "tests/fuzz/fuzz.h"

#include "proto/grpc/unpack.h"

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "mintmark/v1/officer.pb-c.h"
#include "mintmark/v1/station.pb-c.h"
#include <stdlib.h>
#include <string.h>

static const ProtobufCMessageDescriptor *const messages[] = {
    &mintmark__v1__ping_request__descriptor,
    &mintmark__v1__open_batch_request__descriptor,
    &mintmark__v1__get_batch_request__descriptor,
    &mintmark__v1__list_batches_request__descriptor,
    &mintmark__v1__provision_request__descriptor,
    &mintmark__v1__get_provisioning_data_request__descriptor,
    &mintmark__v1__report_devices_request__descriptor,
    &mintmark__v1__release_batch_request__descriptor,
    &mintmark__v1__change_order_request__descriptor,
    &mintmark__v1__list_orders_request__descriptor,
    &mintmark__v1__get_status_request__descriptor,
    &grpc__health__v1__health_check_request__descriptor,
    &grpc__health__v1__health_list_request__descriptor,
    &grpc__reflection__v1__server_reflection_request__descriptor,
    /* The client's. */
    &mintmark__v1__delivery__descriptor,
    &mintmark__v1__list_batches_response__descriptor,
    &mintmark__v1__release_batch_response__descriptor,
    &google__rpc__status__descriptor,
    &google__rpc__bad_request__descriptor,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *d;
    struct mm_arena arena = MM_ARENA_INIT, second = MM_ARENA_INIT;
    ProtobufCMessage *message, *again;
    struct mm_errinfo ei = {0};
    uint8_t *packed;
    size_t len;

    if (size < 1)
        return 0;
    d = messages[data[0] % (sizeof(messages) / sizeof(messages[0]))];
    if (mm_grpc_unpack(d, data + 1, size - 1, &arena, &message, &ei) < 0) {
        assert(ei.reason[0] && ei.text[0]);
        mm_arena_done(&arena);
        return 0;
    }
    len = protobuf_c_message_get_packed_size(message);
    packed = malloc(len + 1);
    assert(packed);
    assert(protobuf_c_message_pack(message, packed) == len);
    if (mm_grpc_unpack(d, packed, len, &second, &again, &ei) == MM_OK)
        assert(protobuf_c_message_get_packed_size(again) == len);
    free(packed);
    mm_arena_done(&arena);
    mm_arena_done(&second);
    return 0;
}
