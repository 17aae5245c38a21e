/* SPDX-License-Identifier: Apache-2.0 */
/* Sign and Random. */
#include "client/error.h"
#include "client/rpc.h"
#include "client/station.h"
#include "daemon/base/limits.h"

#include <string.h>

/* Another signature, or other random bytes, do no harm. */
static const struct mm_method method_sign = {
    MM_STATION "Sign", &mintmark__v1__sign_response__descriptor, MM_REPEAT_SAFE, false};
static const struct mm_method method_random = {
    MM_STATION "Random", &mintmark__v1__random_response__descriptor, MM_REPEAT_SAFE, false};

static int fill(const struct mintmark_sign *sign, Mintmark__V1__SignRequest *request,
                struct mintmark_error *error)
{
    if ((sign->digest.len > 0) == (sign->message.len > 0))
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "INVALID_FIELD",
                              "a digest or a message is to be signed: one of the two");
    mintmark__v1__sign_request__init(request);
    request->signing_profile = mm_station_text(sign->signing_profile);
    request->mechanism = (Mintmark__V1__SignMechanism)sign->mechanism;
    if (sign->digest.len > 0) {
        request->input_case = MINTMARK__V1__SIGN_REQUEST__INPUT_DIGEST;
        request->digest = mm_station_bytes(&sign->digest);
    } else {
        request->input_case = MINTMARK__V1__SIGN_REQUEST__INPUT_MESSAGE;
        request->message = mm_station_bytes(&sign->message);
    }
    return 0;
}

static int give(const Mintmark__V1__SignResponse *response,
                int (*done)(void *arg, const struct mintmark_signature *signature), void *arg,
                struct mintmark_error *error)
{
    struct mintmark_data chain[MM_CHAIN_MAX];
    const struct mintmark_signature signature = {
        .signature = mm_station_data(&response->signature),
        .digest = mm_station_data(&response->digest),
        .certificate = mm_station_data(&response->certificate),
        .chain = chain,
        .n_chain = response->n_chain,
    };

    if (response->signature.len == 0 || response->digest.len == 0 ||
        response->n_chain > MM_CHAIN_MAX)
        return mm_client_fail_response(
            error, "the server's answer lacks the signature, or has too long a chain");
    for (size_t i = 0; i < response->n_chain; i++)
        chain[i] = mm_station_data(&response->chain[i]);
    return done(arg, &signature);
}

int mintmark_sign(struct mintmark *client, const struct mintmark_sign *request,
                  int (*done)(void *arg, const struct mintmark_signature *signature), void *arg,
                  struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__SignRequest sign;
    ProtobufCMessage *message;
    int r = fill(request, &sign, error);

    if (r == 0)
        r = mm_rpc_unary(client, &method_sign, &sign.base, &arena, &message, error);
    return r == 0 ? give((const Mintmark__V1__SignResponse *)message, done, arg, error) : r;
}

int mintmark_random(struct mintmark *client, const char *token, uint8_t *ret_data, uint32_t length,
                    struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__RandomRequest request;
    const Mintmark__V1__RandomResponse *response;
    ProtobufCMessage *message;
    int r;

    mintmark__v1__random_request__init(&request);
    request.length = length;
    request.token = mm_station_text(token);
    r = mm_rpc_unary(client, &method_random, &request.base, &arena, &message, error);
    if (r < 0)
        return r;
    response = (const Mintmark__V1__RandomResponse *)message;
    if (response->data.len != length)
        return mm_client_fail_response(error, "the server gave %zu random bytes in place of %u",
                                       response->data.len, (unsigned)length);
    memcpy(ret_data, response->data.data, length);
    return 0;
}
