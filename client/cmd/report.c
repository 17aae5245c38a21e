/* SPDX-License-Identifier: Apache-2.0 */
/* report: the signed production report on a batch, as files. */
#include "client/cmd/report.h"

#include "client/cmd/cmd.h"
#include "client/cmd/folder.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { HASH_BYTES = 32 };

struct files {
    struct mm_folder *folder;
    int fd; /* of report.json; -1: not begun */
    struct mm_buf signature;
    char sha256[2 * HASH_BYTES + 1];
    uint64_t size;
    int manifest_fd;      /* of manifest.json; -1: not begun */
    int manifest;         /* there is one */
    struct mm_errinfo ei; /* what went wrong on this side */
};

static int begin(void *arg, const struct mintmark_report_info *info)
{
    struct files *f = arg;

    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    f->size = info->size;
    f->manifest = info->manifest;
    mm_hex_encode(info->sha256, HASH_BYTES, f->sha256);
    mm_buf_reset(&f->signature);
    mm_buf_append(&f->signature, info->signature.data, info->signature.len);
    if (mm_buf_err(&f->signature) < 0)
        return mm_fail(&f->ei, MM_ERR_TOO_BIG, "DOCUMENT_TOO_BIG", "the signature is too long") < 0;
    return mm_folder_begin(f->folder, "report.json", 0644, &f->fd, &f->ei) < 0;
}

static int add(void *arg, const struct mintmark_data *data)
{
    struct files *f = arg;

    return mm_folder_append(f->folder, "report.json", f->fd, data->data, data->len, &f->ei) < 0;
}

/* A stream of its own on an open file, from its beginning. */
static FILE *stream_of(int fd, const char *mode)
{
    const int copy = dup(fd);
    FILE *stream = copy >= 0 && lseek(copy, 0, SEEK_SET) == 0 ? fdopen(copy, mode) : NULL;

    if (!stream && copy >= 0)
        close(copy);
    return stream;
}

static int fill_page(struct files *f, int fd)
{
    FILE *report = stream_of(f->fd, "r"), *page = stream_of(fd, "w");
    int r = report && page ? mm_report_html(report, f->sha256, page, &f->ei)
                           : mm_fail_errno(&f->ei, errno, "report.html");

    if (report)
        fclose(report);
    if (page && fclose(page) != 0 && r == MM_OK)
        r = mm_fail_errno(&f->ei, errno, "report.html");
    return r;
}

static int write_page(struct files *f)
{
    MM_CLOSE int fd = -1;
    int r = mm_folder_begin(f->folder, "report.html", 0644, &fd, &f->ei);

    if (r == MM_OK)
        r = fill_page(f, fd);
    if (r == MM_OK)
        r = mm_folder_commit(f->folder, "report.html", fd, true, &f->ei);
    if (r < 0)
        mm_folder_drop(f->folder, "report.html");
    return r;
}

static int finish(struct files *f)
{
    int r = write_page(f);

    if (r == MM_OK)
        r = mm_folder_put(f->folder, "report.json.p7s", 0644, f->signature.data, f->signature.len,
                          &f->ei);
    return r < 0 ? r : mm_folder_commit(f->folder, "report.json", f->fd, false, &f->ei);
}

static int begin_manifest(void *arg)
{
    struct files *f = arg;

    if (f->manifest_fd >= 0)
        close(f->manifest_fd);
    f->manifest_fd = -1;
    return mm_folder_begin(f->folder, "manifest.json", 0644, &f->manifest_fd, &f->ei) < 0;
}

static int add_manifest(void *arg, const struct mintmark_data *data)
{
    struct files *f = arg;

    return mm_folder_append(f->folder, "manifest.json", f->manifest_fd, data->data, data->len,
                            &f->ei) < 0;
}

/* Its signatures are made anew each time, so that a file that is there is replaced. An exit code.
 */
static int fetch_manifest(struct mm_cmd *cmd, const char *batch_uid, struct files *f)
{
    struct mintmark_error error;
    int r = mintmark_get_manifest(cmd->client, batch_uid, begin_manifest, add_manifest, f, &error);

    if (r < 0)
        return mm_cmd_fail(cmd, &error);
    if (r == 0)
        r = mm_folder_commit(f->folder, "manifest.json", f->manifest_fd, true, &f->ei);
    return r ? mm_cmd_fail_file(cmd, &f->ei) : MM_CMD_DONE;
}

static int fetch(struct mm_cmd *cmd, const char *batch_uid, struct files *f)
{
    struct mintmark_error error;
    int r = mm_folder_open(cmd->value[MM_OPT_OUT], &f->folder, &f->ei);

    if (r == MM_OK) {
        r = mintmark_get_report(cmd->client, batch_uid, begin, add, f, &error);
        if (r < 0)
            return mm_cmd_fail(cmd, &error);
    }
    if (r == 0)
        r = finish(f);
    if (r)
        return mm_cmd_fail_file(cmd, &f->ei);
    return f->manifest ? fetch_manifest(cmd, batch_uid, f) : MM_CMD_DONE;
}

/* What was begun and not committed goes. */
static void done(struct files *f)
{
    if (f->fd >= 0) {
        close(f->fd);
        mm_folder_drop(f->folder, "report.json");
    }
    if (f->manifest_fd >= 0) {
        close(f->manifest_fd);
        mm_folder_drop(f->folder, "manifest.json");
    }
    mm_buf_done(&f->signature);
    mm_folder_free(f->folder);
}

int mm_cmd_fetch_report(struct mm_cmd *cmd, const char *batch_uid)
{
    struct files f = {.fd = -1, .manifest_fd = -1, .signature = MM_BUF_INIT(MM_DOCUMENT_MAX)};
    const int r = fetch(cmd, batch_uid, &f);

    done(&f);
    return r;
}

int mm_cmd_report(struct mm_cmd *cmd)
{
    struct files f = {.fd = -1, .manifest_fd = -1, .signature = MM_BUF_INIT(MM_DOCUMENT_MAX)};
    int r = fetch(cmd, cmd->args[0], &f);

    if (r == MM_CMD_DONE && mm_cmd_wants_json(cmd))
        r = mm_cmd_print_json(cmd, json_pack("{s:s, s:I, s:s, s:s}", "batch_uid", cmd->args[0],
                                             "size", (json_int_t)f.size, "sha256", f.sha256, "out",
                                             cmd->value[MM_OPT_OUT]));
    else if (r == MM_CMD_DONE)
        printf("report       %llu bytes, SHA-256 %s, in %s\n", (unsigned long long)f.size, f.sha256,
               cmd->value[MM_OPT_OUT]);
    done(&f);
    return r;
}
