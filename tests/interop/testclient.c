/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC's interoperability client, for anybody's server:
 *
 *   testclient --target HOST:PORT --ca FILE [--server-name NAME] NAME...
 *   testclient --target HOST:PORT --cleartext NAME...
 *   testclient --list
 *
 * Prints "OK: NAME" for each case that passed; the first that fails ends the program with status 1.
 */
#include "tests/interop/testclient.h"

#include "daemon/base/clock.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { HANG_MS = 20000 /* far more than any case takes */ };

static const char *case_name = "";
static struct mintmark *the_client;

void expect(bool condition, const char *text, const char *file, int line)
{
    if (condition)
        return;
    fprintf(stderr, "testclient: %s failed: %s:%d: %s\n", case_name, file, line, text);
    exit(1);
}

struct mm_client_call *call_open(struct mintmark *client, const char *method,
                                 const struct mm_field *metadata, size_t n, int64_t timeout_ms)
{
    struct mm_client_call_options options = {
        /* Said where it may come to be: not every server has gzip. */
        .stream = {.metadata = metadata,
                   .n_metadata = n,
                   .gzip = strstr(case_name, "compressed") != NULL},
        .deadline_us = mm_clock_mono_us() + (timeout_ms ? timeout_ms : HANG_MS) * 1000,
    };
    struct mm_client_call *call = NULL;
    struct mintmark_error error;
    char path[128];

    snprintf(path, sizeof(path), "%s%s", method[0] == '/' ? "" : "/grpc.testing.TestService/",
             method);
    options.stream.path = path;
    if (mm_client_call_new(client, &options, &call, &error) < 0) {
        fprintf(stderr, "testclient: %s: %s\n", case_name, error.message);
        exit(1);
    }
    return call;
}

void call_send(struct mm_client_call *call, const ProtobufCMessage *message, bool compress)
{
    struct mm_bytes bytes = {.len = protobuf_c_message_get_packed_size(message)};
    MM_FREE uint8_t *packed = malloc(bytes.len + 1);
    int r;

    EXPECT(packed);
    protobuf_c_message_pack(message, packed);
    bytes.data = packed;
    while ((r = mm_client_call_send(call, &bytes, compress)) == MM_ERR_AGAIN)
        EXPECT(mm_client_wait(the_client, INT64_MAX, NULL) == 0);
    EXPECT(r == MM_OK);
}

/* As mm_client_call_next, but waits. */
static int next(struct mm_client_call *call, struct mm_bytes *ret_message,
                const struct mm_stream_end **ret_end)
{
    int r;

    while ((r = mm_client_call_next(call, ret_message, ret_end)) == MM_ERR_AGAIN)
        EXPECT(mm_client_wait(the_client, INT64_MAX, NULL) == 0);
    return r;
}

ProtobufCMessage *call_receive(struct mm_client_call *call,
                               const ProtobufCMessageDescriptor *descriptor)
{
    const struct mm_stream_end *end = NULL;
    struct mm_bytes bytes;
    ProtobufCMessage *message;
    int r = next(call, &bytes, &end);

    if (end)
        fprintf(stderr, "testclient: status %d: %s\n", end->error.status, end->error.message);
    EXPECT(r == MM_OK);
    message = protobuf_c_message_unpack(descriptor, NULL, bytes.len, bytes.data);
    EXPECT(message);
    return message;
}

const struct mm_stream_end *call_end(struct mm_client_call *call)
{
    const struct mm_stream_end *end = NULL;
    struct mm_bytes bytes;

    EXPECT(next(call, &bytes, &end) == MM_ERR_EOF);
    return end;
}

void call_expect_end(struct mm_client_call *call, enum mintmark_status status)
{
    const struct mm_stream_end *end = call_end(call);

    if (end->error.status != status)
        fprintf(stderr, "testclient: status %d: %s\n", end->error.status, end->error.message);
    EXPECT(end->error.status == status);
    mm_client_call_free(call);
}

static void run(struct mintmark *client, const char *name)
{
    for (size_t i = 0; i < test_n_cases; i++)
        if (strcmp(test_cases[i].name, name) == 0) {
            case_name = name;
            test_cases[i].run(client);
            printf("OK: %s\n", name);
            return;
        }
    fprintf(stderr, "testclient: there is no case %s\n", name);
    exit(64);
}

static int list(void)
{
    for (size_t i = 0; i < test_n_cases; i++)
        puts(test_cases[i].name);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {{"target", required_argument, NULL, 't'},
                                                 {"ca", required_argument, NULL, 'a'},
                                                 {"server-name", required_argument, NULL, 'n'},
                                                 {"cleartext", no_argument, NULL, 'C'},
                                                 {"list", no_argument, NULL, 'l'},
                                                 {NULL, 0, NULL, 0}};
    enum mm_client_security security = MM_CLIENT_TLS;
    struct mintmark_options options = {.target = NULL};
    struct mintmark_error error;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option == 't')
            options.target = optarg;
        else if (option == 'a')
            options.ca_file = optarg;
        else if (option == 'n')
            options.server_name = optarg;
        else if (option == 'C')
            security = MM_CLIENT_CLEARTEXT;
        else if (option == 'l')
            return list();
        else
            return 64;
    }
    if (mm_client_new(&options, security, &the_client, &error) < 0) {
        fprintf(stderr, "testclient: %s\n", error.message);
        return 64;
    }
    for (int i = optind; i < argc; i++)
        run(the_client, argv[i]);
    mintmark_free(the_client);
    return 0;
}
