/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/cmd.h"
#include "daemon/base/io.h"

#include <stdio.h>

enum { WRAPPED_MAX = 32 * 1024 };

static int unwrap(struct mm_cmd *cmd, struct mintmark_transport_key *key,
                  const struct mm_buf *wrapped)
{
    const struct mintmark_data data = {.data = wrapped->data, .len = wrapped->len};
    MM_SECRET_CLEANUP struct mm_secret *plain = NULL;
    struct mintmark_error error;
    struct mm_errinfo ei;
    size_t len;

    if (mm_secret_new(WRAPPED_MAX, &plain) < 0)
        return mm_cmd_fail_memory(cmd);
    if (mintmark_unwrap(key, &data, mm_secret_data(plain), WRAPPED_MAX, &len, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    if (mm_io_create_file(cmd->args[1], 0600, mm_secret_data(plain), len, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(
            cmd, json_pack("{s:s, s:I}", "out", cmd->args[1], "bytes", (json_int_t)len));
    return MM_CMD_DONE;
}

int mm_cmd_unwrap(struct mm_cmd *cmd)
{
    MM_BUF_CLEANUP struct mm_buf wrapped = MM_BUF_INIT(WRAPPED_MAX);
    struct mintmark_transport_key *key;
    struct mintmark_error error;
    struct mm_errinfo ei;
    int r;

    if (mm_io_read_file(cmd->args[0], WRAPPED_MAX, &wrapped, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    if (mintmark_transport_open(cmd->value[MM_OPT_TRANSPORT_KEY], cmd->value[MM_OPT_RECIPIENT_KEY],
                                &key, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    r = unwrap(cmd, key, &wrapped);
    mintmark_transport_free(key);
    return r;
}
