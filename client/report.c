/* SPDX-License-Identifier: Apache-2.0 */
/* GetReport: a signed report, held against its hash as it comes. */
#include "client/error.h"
#include "client/rpc.h"
#include "client/station.h"

#include <openssl/evp.h>
#include <string.h>

enum { HASH_BYTES = 32 };

static const struct mm_method method_get_report = {
    MM_STATION "GetReport", &mintmark__v1__get_report_response__descriptor, MM_REPEAT_SAFE, true};

struct fetch {
    int (*begin)(void *arg, const struct mintmark_report_info *info);
    int (*data)(void *arg, const struct mintmark_data *data);
    void *arg;
    EVP_MD_CTX *digest;
    bool begun; /* the info has come */
    uint8_t sha256[HASH_BYTES];
    uint64_t size, came;
};

static void begin_stream(void *arg)
{
    struct fetch *f = arg;

    f->begun = false;
}

static int take_info(struct fetch *f, const Mintmark__V1__ReportInfo *info,
                     struct mintmark_error *error)
{
    const struct mintmark_report_info given = {
        .size = info->size,
        .sha256 = f->sha256,
        .signature = mm_station_data(&info->signature),
        .manifest = info->manifest,
    };

    if (info->sha256.len != HASH_BYTES || info->signature.len == 0)
        return mm_client_fail_response(error,
                                       "the server's answer lacks the report's hash or signature");
    if (EVP_DigestInit_ex2(f->digest, EVP_sha256(), NULL) != 1)
        return mm_client_fail_memory(error);
    memcpy(f->sha256, info->sha256.data, HASH_BYTES);
    f->size = info->size;
    f->came = 0;
    f->begun = true;
    return f->begin(f->arg, &given);
}

static int take_data(struct fetch *f, const ProtobufCBinaryData *data, struct mintmark_error *error)
{
    const struct mintmark_data piece = mm_station_data(data);

    if (data->len > f->size - f->came)
        return mm_client_fail_response(error, "the server sent more of the report than it said");
    if (EVP_DigestUpdate(f->digest, data->data, data->len) != 1)
        return mm_client_fail_memory(error);
    f->came += data->len;
    return f->data(f->arg, &piece);
}

static int take_message(void *arg, const struct mm_bytes *bytes, int *ret_progress,
                        struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__GetReportResponse *response;
    ProtobufCMessage *message;
    struct fetch *f = arg;
    int r = mm_rpc_unpack(&mintmark__v1__get_report_response__descriptor, bytes, &arena, &message,
                          error);

    (void)ret_progress;
    if (r < 0)
        return r;
    response = (const Mintmark__V1__GetReportResponse *)message;
    if (f->begun == (response->info != NULL))
        return mm_client_fail_response(
            error, "the server's answer does not begin with what the report is");
    return response->info ? take_info(f, response->info, error)
                          : take_data(f, &response->data, error);
}

static int check(struct fetch *f, struct mintmark_error *error)
{
    uint8_t sha256[HASH_BYTES];

    if (!f->begun)
        return mm_client_fail_response(error, "the server's answer lacks the report");
    if (EVP_DigestFinal_ex(f->digest, sha256, NULL) != 1)
        return mm_client_fail_memory(error);
    if (f->came != f->size || memcmp(sha256, f->sha256, HASH_BYTES) != 0)
        return mm_client_fail_response(error,
                                       "the report that came is not the one that was signed");
    return 0;
}

int mintmark_get_report(struct mintmark *client, const char *batch_uid,
                        int (*begin)(void *arg, const struct mintmark_report_info *info),
                        int (*data)(void *arg, const struct mintmark_data *data), void *arg,
                        struct mintmark_error *error)
{
    Mintmark__V1__GetReportRequest request = MINTMARK__V1__GET_REPORT_REQUEST__INIT;
    struct fetch f = {.begin = begin, .data = data, .arg = arg, .digest = EVP_MD_CTX_new()};
    const struct mm_rpc_sink sink = {begin_stream, take_message, &f};
    int r;

    if (!f.digest)
        return mm_client_fail_memory(error);
    request.batch_uid = mm_station_text(batch_uid);
    r = mm_rpc_call(client, &method_get_report, &request.base, &sink, error);
    if (r == 0)
        r = check(&f, error);
    EVP_MD_CTX_free(f.digest);
    return r;
}

/* ---- the manifest ------------------------------------------------------------------------ */

static const struct mm_method method_get_manifest = {
    MM_STATION "GetManifest", &mintmark__v1__get_manifest_response__descriptor, MM_REPEAT_SAFE,
    true};

struct manifest {
    int (*begin)(void *arg);
    int (*data)(void *arg, const struct mintmark_data *data);
    void *arg;
    bool begun;
};

static void begin_manifest(void *arg)
{
    struct manifest *m = arg;

    m->begun = false;
}

static int take_manifest(void *arg, const struct mm_bytes *bytes, int *ret_progress,
                         struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mintmark_data piece;
    ProtobufCMessage *message;
    struct manifest *m = arg;
    int r = mm_rpc_unpack(method_get_manifest.response, bytes, &arena, &message, error);

    (void)ret_progress;
    if (r == 0 && !m->begun)
        r = m->begin(m->arg);
    m->begun = true;
    if (r != 0)
        return r;
    piece = mm_station_data(&((const Mintmark__V1__GetManifestResponse *)message)->data);
    return m->data(m->arg, &piece);
}

int mintmark_get_manifest(struct mintmark *client, const char *batch_uid, int (*begin)(void *arg),
                          int (*data)(void *arg, const struct mintmark_data *data), void *arg,
                          struct mintmark_error *error)
{
    Mintmark__V1__GetManifestRequest request = MINTMARK__V1__GET_MANIFEST_REQUEST__INIT;
    struct manifest m = {.begin = begin, .data = data, .arg = arg};
    const struct mm_rpc_sink sink = {begin_manifest, take_manifest, &m};
    int r;

    request.batch_uid = mm_station_text(batch_uid);
    r = mm_rpc_call(client, &method_get_manifest, &request.base, &sink, error);
    return r == 0 && !m.begun
               ? mm_client_fail_response(error, "the server's answer lacks the manifest")
               : r;
}
