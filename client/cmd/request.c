/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/request.h"

#include "client/cmd/list.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"

#include <jansson.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

static const char file_name[] = "request.json";

enum {
    RANDOM_BYTES = 16,
    SERIALS_FILE_MAX = MM_PROVISION_MAX * (MM_HW_SERIAL_MAX + 1),
    REQUEST_FILE_MAX = MM_PROVISION_MAX * (2 * MM_HW_SERIAL_MAX + 8) + 4096,
};

static void free_serials(char **serials, size_t n)
{
    for (size_t i = 0; serials && i < n; i++)
        free(serials[i]);
    free(serials);
}

void mm_request_done(struct mm_request *request)
{
    free_serials(request->hw_serials, request->count);
    *request = (struct mm_request){.count = 0};
}

int mm_request_take_names(struct mm_request *request, const struct mm_cmd *cmd)
{
    const char *batch = cmd->value[MM_OPT_BATCH], *id = cmd->value[MM_OPT_REQUEST_ID];
    uint8_t uid[16];

    if (mm_uuid_parse(batch, uid) < 0)
        return mm_cmd_usage(cmd, "--batch: '%s' is not a batch UID", batch);
    mm_uuid_format(uid, request->batch_uid);
    if (id && !mm_name_valid(id, MM_REQUEST_ID_MAX))
        return mm_cmd_usage(cmd,
                            "--request-id takes 1 to %d letters, digits, '.', '_' and '-', "
                            "beginning with a letter or digit",
                            MM_REQUEST_ID_MAX);
    snprintf(request->request_id, sizeof(request->request_id), "%s", id ? id : "");
    return 0;
}

static bool serial_valid(const char *text, size_t len)
{
    if (len == 0 || len > MM_HW_SERIAL_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return true;
}

/* Lines of text into serials. */
static int split(const char *path, char *text, char ***ret_serials, size_t *ret_n,
                 struct mm_errinfo *ei)
{
    char **serials = calloc(MM_PROVISION_MAX, sizeof(*serials));
    size_t n = 0;
    int r = serials ? MM_OK : mm_fail_memory(ei);

    while (r == MM_OK && *text) {
        const size_t len = strcspn(text, "\n");

        if (!serial_valid(text, len))
            r = mm_fail(ei, MM_ERR_INVALID, "BAD_HW_SERIAL",
                        "%s:%zu: not 1 to %d printable ASCII characters", path, n + 1,
                        MM_HW_SERIAL_MAX);
        else if (n == MM_PROVISION_MAX)
            r = mm_fail(ei, MM_ERR_TOO_BIG, "TOO_MANY", "%s: more than %d lines", path,
                        MM_PROVISION_MAX);
        else if (!(serials[n] = strndup(text, len)))
            r = mm_fail_memory(ei);
        else
            n++;
        text += len + (text[len] == '\n');
    }
    if (r < 0) {
        free_serials(serials, n);
        return r;
    }
    *ret_serials = serials;
    *ret_n = n;
    return MM_OK;
}

int mm_request_read_serials(struct mm_request *request, const char *path, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(SERIALS_FILE_MAX);
    char **serials;
    size_t n;
    int r = mm_io_read_file(path, SERIALS_FILE_MAX, &text, ei);

    if (r < 0)
        return r;
    if (!mm_buf_cstr(&text))
        return mm_fail_memory(ei);
    r = split(path, (char *)text.data, &serials, &n, ei);
    if (r < 0)
        return r;
    if (n == 0 || (request->count && request->count != n)) {
        free_serials(serials, n);
        return mm_fail(ei, MM_ERR_INVALID, "BAD_COUNT",
                       "%s: %zu hardware serial numbers for a count of %u", path, n,
                       (unsigned)request->count);
    }
    request->count = (uint32_t)n;
    request->hw_serials = serials;
    return MM_OK;
}

static int fail_stored(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "BAD_REQUEST_FILE", "%s: %s", file_name, what);
}

static int take_serials(json_t *array, struct mm_request *stored, struct mm_errinfo *ei)
{
    const char *text;

    if (!array)
        return MM_OK;
    if (json_array_size(array) != stored->count)
        return fail_stored(ei, "as many hw_serials as count are due");
    stored->hw_serials = calloc(stored->count, sizeof(*stored->hw_serials));
    if (!stored->hw_serials)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < stored->count; i++) {
        text = json_string_value(json_array_get(array, i));
        if (!text || !serial_valid(text, strlen(text)))
            return fail_stored(ei, "a hardware serial number is none");
        stored->hw_serials[i] = strdup(text);
        if (!stored->hw_serials[i])
            return mm_fail_memory(ei);
    }
    return MM_OK;
}

static int take_stored(json_t *root, struct mm_request *stored, struct mm_errinfo *ei)
{
    const char *format, *batch_uid, *request_id;
    const char *csrs_sha256 = "";
    json_t *serials = NULL;
    json_error_t problem;
    uint8_t uid[16];
    json_int_t count;
    int version;

    if (json_unpack_ex(root, &problem, JSON_STRICT, "{s:s, s:i, s:s, s:I, s:s, s?o, s?s}", "format",
                       &format, "version", &version, "batch_uid", &batch_uid, "count", &count,
                       "request_id", &request_id, "hw_serials", &serials, "csrs_sha256",
                       &csrs_sha256) < 0)
        return fail_stored(ei, problem.text);
    if (strcmp(format, "mintmark-request") != 0 || version != 1)
        return fail_stored(ei, "not a request of version 1");
    if (mm_uuid_parse(batch_uid, uid) < 0 || !mm_name_valid(request_id, MM_REQUEST_ID_MAX) ||
        count < 1 || count > MM_PROVISION_MAX || strlen(csrs_sha256) > 2 * MM_CSRS_HASH)
        return fail_stored(ei, "a value is out of its range");
    snprintf(stored->batch_uid, sizeof(stored->batch_uid), "%s", batch_uid);
    snprintf(stored->request_id, sizeof(stored->request_id), "%s", request_id);
    snprintf(stored->csrs_sha256, sizeof(stored->csrs_sha256), "%s", csrs_sha256);
    stored->count = (uint32_t)count;
    return take_serials(serials, stored, ei);
}

static int read_stored(struct mm_folder *folder, struct mm_request *ret_stored,
                       struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(REQUEST_FILE_MAX);
    struct mm_request stored = {.count = 0};
    json_error_t problem;
    json_t *root;
    int r = mm_folder_read(folder, file_name, &text, ei);

    if (r < 0)
        return r;
    root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return fail_stored(ei, problem.text);
    r = take_stored(root, &stored, ei);
    json_decref(root);
    if (r < 0)
        mm_request_done(&stored);
    else
        *ret_stored = stored;
    return r;
}

static bool same_serials(const struct mm_request *a, const struct mm_request *b)
{
    if (!a->hw_serials || !b->hw_serials || a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->hw_serials[i], b->hw_serials[i]) != 0)
            return false;
    return true;
}

/* What was given, against what is there. */
static int compare(const struct mm_request *given, const struct mm_request *stored,
                   struct mm_errinfo *ei)
{
    const char *differs = NULL;

    if (strcmp(given->batch_uid, stored->batch_uid) != 0)
        differs = "batch";
    else if (given->count && given->count != stored->count)
        differs = "count";
    else if (*given->request_id && strcmp(given->request_id, stored->request_id) != 0)
        differs = "request id";
    else if (given->hw_serials && !same_serials(given, stored))
        differs = "list of hardware serial numbers";
    else if (*given->csrs_sha256 && *stored->csrs_sha256 &&
             strcmp(given->csrs_sha256, stored->csrs_sha256) != 0)
        differs = "set of files (names and contents count)";
    if (!differs)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PRECONDITION, "OTHER_REQUEST",
                   "the folder belongs to a request with another %s; use another folder", differs);
}

static int choose_id(struct mm_request *request, struct mm_errinfo *ei)
{
    uint8_t random[RANDOM_BYTES];

    if (*request->request_id)
        return MM_OK;
    if (RAND_bytes(random, sizeof(random)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "NO_RANDOM", "no random bytes");
    mm_hex_encode(random, sizeof(random), request->request_id);
    return MM_OK;
}

static json_t *to_json(const struct mm_request *request)
{
    json_t *serials = NULL;

    if (request->hw_serials)
        serials = json_array();
    for (size_t i = 0; serials && i < request->count; i++)
        json_array_append_new(serials, json_string(request->hw_serials[i]));
    return json_pack("{s:s, s:i, s:s, s:I, s:s, s:o*, s:s*}", "format", "mintmark-request",
                     "version", 1, "batch_uid", request->batch_uid, "count",
                     (json_int_t)request->count, "request_id", request->request_id, "hw_serials",
                     serials, "csrs_sha256", *request->csrs_sha256 ? request->csrs_sha256 : NULL);
}

static int store(struct mm_request *request, struct mm_folder *folder, struct mm_errinfo *ei)
{
    char *text;
    int r;

    if (request->count == 0)
        return mm_fail_field(ei, "count", "how many devices? Neither given nor in the folder");
    r = choose_id(request, ei);
    if (r < 0)
        return r;
    text = mm_list_json(to_json(request));
    if (!text)
        return mm_fail_memory(ei);
    r = mm_folder_put(folder, file_name, 0600, text, strlen(text), ei);
    free(text);
    return r;
}

int mm_request_settle(struct mm_request *request, struct mm_folder *folder, struct mm_errinfo *ei)
{
    struct mm_request stored = {.count = 0};
    int r = read_stored(folder, &stored, ei);

    if (r == MM_ERR_NOT_FOUND)
        return store(request, folder, ei);
    if (r < 0)
        return r;
    r = compare(request, &stored, ei);
    if (r < 0) {
        mm_request_done(&stored);
        return r;
    }
    mm_folder_resume(folder);
    mm_request_done(request);
    *request = stored;
    return MM_OK;
}
