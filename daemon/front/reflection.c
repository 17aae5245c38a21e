/* SPDX-License-Identifier: Apache-2.0 */
/* grpc.reflection.v1 and v1alpha (grpc/grpc doc/server-reflection.md). Both have the same messages
 * with the same numbers, so v1's serve for both. */
#include "daemon/front/core.h"
#include "proto/grpc/status.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
#define ASKS(what)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWERS(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static void answer(struct mm_call *call, reflection_response *response)
{
    struct mm_errinfo ei = {0};
    const int r = mm_call_send(call, &response->base);

    if (r == MM_OK || r == MM_ERR_AGAIN)
        return;
    mm_fail_memory(&ei);
    mm_call_finish(call, &ei);
}

static void answer_error(struct mm_call *call, reflection_response *response,
                         enum mm_grpc_status status, const char *text)
{
    Grpc__Reflection__V1__ErrorResponse error;

    grpc__reflection__v1__error_response__init(&error);
    error.error_code = (int32_t)status;
    error.error_message = (char *)(uintptr_t)text;
    response->message_response_case = ANSWERS(ERROR_RESPONSE);
    response->error_response = &error;
    answer(call, response);
}

static void answer_memory(struct mm_call *call, reflection_response *response)
{
    answer_error(call, response, MM_GRPC_RESOURCE_EXHAUSTED, "out of memory");
}

static void list_services(struct mm_call *call, reflection_response *response)
{
    const struct mm_core *core = mm_call_core(call);
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    typedef Grpc__Reflection__V1__ServiceResponse service;
    MM_FREE service *services = calloc(core->n_services, sizeof(*services));
    MM_FREE service **pointers = calloc(core->n_services, sizeof(service *));

    if (!services || !pointers) {
        answer_memory(call, response);
        return;
    }
    for (size_t i = 0; i < core->n_services; i++) {
        grpc__reflection__v1__service_response__init(&services[i]);
        services[i].name = (char *)(uintptr_t)core->services[i];
        pointers[i] = &services[i];
    }
    list.n_service = core->n_services;
    list.service = pointers;
    response->message_response_case = ANSWERS(LIST_SERVICES_RESPONSE);
    response->list_services_response = &list;
    answer(call, response);
}

static void answer_file(struct mm_call *call, reflection_response *response,
                        const struct mm_descriptor_file *file)
{
    const struct mm_descriptors *d = mm_call_core(call)->descriptors;
    Grpc__Reflection__V1__FileDescriptorResponse found =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    MM_FREE ProtobufCBinaryData *files = NULL;

    if (!file) {
        answer_error(call, response, MM_GRPC_NOT_FOUND, "no such file or symbol");
        return;
    }
    files = calloc(file->n_needed, sizeof(*files));
    if (!files) {
        answer_memory(call, response);
        return;
    }
    for (size_t i = 0; i < file->n_needed; i++) {
        files[i].data = (uint8_t *)(uintptr_t)d->files[file->needed[i]].data;
        files[i].len = d->files[file->needed[i]].len;
    }
    found.n_file_descriptor_proto = file->n_needed;
    found.file_descriptor_proto = files;
    response->message_response_case = ANSWERS(FILE_DESCRIPTOR_RESPONSE);
    response->file_descriptor_response = &found;
    answer(call, response);
}

static const struct mm_descriptor_file *find_file(const struct mm_descriptors *d, const char *name)
{
    for (size_t i = 0; i < d->n_files; i++) {
        if (strcmp(d->files[i].name, name) == 0)
            return &d->files[i];
    }
    return NULL;
}

static int by_name(const void *name, const void *symbol)
{
    return strcmp(name, ((const struct mm_descriptor_symbol *)symbol)->name);
}

static const struct mm_descriptor_file *find_symbol(const struct mm_descriptors *d,
                                                    const char *name)
{
    const struct mm_descriptor_symbol *symbol =
        bsearch(name, d->symbols, d->n_symbols, sizeof(*d->symbols), by_name);

    return symbol ? &d->files[symbol->file] : NULL;
}

/* proto3 has no extensions, so a type that is known has none. */
static void list_extensions(struct mm_call *call, reflection_response *response, const char *type)
{
    Grpc__Reflection__V1__ExtensionNumberResponse none;

    if (!find_symbol(mm_call_core(call)->descriptors, type)) {
        answer_error(call, response, MM_GRPC_NOT_FOUND, "no such type");
        return;
    }
    grpc__reflection__v1__extension_number_response__init(&none);
    none.base_type_name = (char *)(uintptr_t)type;
    response->message_response_case = ANSWERS(ALL_EXTENSION_NUMBERS_RESPONSE);
    response->all_extension_numbers_response = &none;
    answer(call, response);
}

static void ask(struct mm_call *call, const ProtobufCMessage *message)
{
    const reflection_request *request = (const reflection_request *)message;
    const struct mm_descriptors *d = mm_call_core(call)->descriptors;
    reflection_response response;

    grpc__reflection__v1__server_reflection_response__init(&response);
    response.valid_host = request->host;
    response.original_request = (reflection_request *)(uintptr_t)request;
    switch (request->message_request_case) {
    case ASKS(FILE_BY_FILENAME):
        answer_file(call, &response, find_file(d, request->file_by_filename));
        break;
    case ASKS(FILE_CONTAINING_SYMBOL):
        answer_file(call, &response, find_symbol(d, request->file_containing_symbol));
        break;
    case ASKS(FILE_CONTAINING_EXTENSION):
        answer_file(call, &response, NULL);
        break;
    case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
        list_extensions(call, &response, request->all_extension_numbers_of_type);
        break;
    case ASKS(LIST_SERVICES):
        list_services(call, &response);
        break;
    default:
        answer_error(call, &response, MM_GRPC_INVALID_ARGUMENT, "the request asks for nothing");
        break;
    }
}

static void done_asking(struct mm_call *call)
{
    mm_call_finish(call, NULL);
}

const struct mm_rpc mm_reflection_rpcs[] = {
    {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     .shape = MM_RPC_BIDI,
     .request = &grpc__reflection__v1__server_reflection_request__descriptor,
     .message = ask,
     .half_closed = done_asking},
    {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
     .shape = MM_RPC_BIDI,
     .request = &grpc__reflection__v1__server_reflection_request__descriptor,
     .message = ask,
     .half_closed = done_asking},
};
const size_t mm_n_reflection_rpcs = MM_ARRAY_SIZE(mm_reflection_rpcs);
