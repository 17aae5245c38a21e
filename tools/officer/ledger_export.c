/* SPDX-License-Identifier: Apache-2.0 */
/* ledger export: the audit export of the running service, into a file (docs/export.md). */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/officer.h"
#include "tools/officer/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct mm_method export_ledger = {
    .path = "/mintmark.v1.OfficerService/ExportLedger",
    .response = &mintmark__v1__export_ledger_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
    .streams = true,
};

struct file {
    int fd;
    char *path; /* until it is whole */
    uint64_t bytes;
    struct mm_errinfo ei; /* what went wrong on this side */
};

/* A call that was repeated begins anew. */
static void begin(void *arg)
{
    struct file *f = arg;

    f->bytes = 0;
    if (lseek(f->fd, 0, SEEK_SET) != 0 || ftruncate(f->fd, 0) < 0)
        mm_fail_errno(&f->ei, errno, "%s", f->path);
}

static int take(void *arg, const struct mm_bytes *message, int *ret_progress,
                struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const Mintmark__V1__ExportLedgerResponse *response;
    ProtobufCMessage *unpacked = NULL;
    struct file *f = arg;
    int r = mm_rpc_unpack(export_ledger.response, message, &arena, &unpacked, error);

    (void)ret_progress;
    if (r < 0)
        return r;
    response = (const Mintmark__V1__ExportLedgerResponse *)unpacked;
    if (f->ei.code != MM_OK)
        return 1;
    f->bytes += response->data.len;
    return mm_io_write_all(f->fd, response->data.data, response->data.len, &f->ei) < 0;
}

static int open_file(struct file *f, const char *out, struct mm_errinfo *ei)
{
    if (asprintf(&f->path, "%s.part", out) < 0) {
        f->path = NULL;
        return mm_fail_memory(ei);
    }
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    return f->fd < 0 ? mm_fail_errno(ei, errno, "%s", f->path) : MM_OK;
}

/* The name goes to the whole file, and never to one that is there already. */
static int name_file(struct file *f, const char *out, struct mm_errinfo *ei)
{
    if (fsync(f->fd) < 0 || link(f->path, out) < 0)
        return mm_fail_errno(ei, errno, "%s", out);
    return MM_OK;
}

static int fetch(struct mm_officer *o, struct file *f, uint64_t first, struct mm_errinfo *ei)
{
    Mintmark__V1__ExportLedgerRequest request = MINTMARK__V1__EXPORT_LEDGER_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    const struct mm_rpc_sink sink = {begin, take, f};
    struct mintmark_error error = {0};
    int r = mm_service_open(o, &client, ei);

    if (r < 0)
        return r;
    request.first_sequence = first;
    r = mm_rpc_call(client, &export_ledger, &request.base, &sink, &error);
    if (r < 0)
        return mm_service_error(&error, ei);
    if (f->ei.code != MM_OK) {
        *ei = f->ei;
        return ei->code;
    }
    return MM_OK;
}

static int answer(struct mm_officer *o, const struct file *f, struct mm_errinfo *ei)
{
    int r = mm_officer_answer(o, "out", json_string(o->args.out), ei);

    if (r == MM_OK)
        r = mm_officer_answer(o, "bytes", json_integer((json_int_t)f->bytes), ei);
    if (r == MM_OK && !o->args.json)
        printf("%llu bytes in %s\n", (unsigned long long)f->bytes, o->args.out);
    return r;
}

int mm_cmd_ledger_export(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct file f = {.fd = -1};
    uint64_t first = 1;
    int r = MM_OK;

    if (o->args.from && mm_text_to_u64(o->args.from, 1, INT64_MAX, &first) < 0)
        return mm_officer_usage(o, ei, "--from takes the number of a record, from 1");
    r = mm_officer_absent(o->args.out, ei);
    if (r == MM_OK)
        r = open_file(&f, o->args.out, ei);
    if (r == MM_OK)
        r = fetch(o, &f, first, ei);
    if (r == MM_OK)
        r = name_file(&f, o->args.out, ei);
    if (f.fd >= 0) {
        (void)unlink(f.path);
        close(f.fd);
    }
    free(f.path);
    return r < 0 ? r : answer(o, &f, ei);
}
