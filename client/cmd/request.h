/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a folder's devices were asked for with. It is kept in the folder, as request.json, before
 * the first call goes out: a run that was cut off is repeated with the same request id, so that the
 * service sends what it has recorded and makes only what is missing.
 */
#pragma once

#include "client/cmd/cmd.h"
#include "client/cmd/csrs.h"
#include "client/cmd/folder.h"
#include "daemon/base/limits.h"

struct mm_request {
    char batch_uid[MM_UID_LEN + 1];
    char request_id[MM_REQUEST_ID_MAX + 1]; /* "": not chosen yet */
    uint32_t count;                         /* 0: not given */
    char **hw_serials;                      /* NULL, or count of them */
    char csrs_sha256[2 * MM_CSRS_HASH + 1]; /* of enroll's files; "": not given */
};

void mm_request_done(struct mm_request *request);

/* Takes --batch and --request-id of the command line. 0, or the exit status. */
int mm_request_take_names(struct mm_request *request, const struct mm_cmd *cmd) MM_MUST_USE;

/* Takes hardware serials from a file, one in each line, and their number as the count; if a count
 * was given, it must be that. */
int mm_request_read_serials(struct mm_request *request, const char *path,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* Brings the request and the folder's own together. A folder without one gets it, with a random
 * request id if none was given. In a folder with one, what was not given is taken from there, and
 * what was given must be the same: MM_ERR_PRECONDITION OTHER_REQUEST; the folder is resumed. */
int mm_request_settle(struct mm_request *request, struct mm_folder *folder,
                      struct mm_errinfo *ei) MM_MUST_USE;
