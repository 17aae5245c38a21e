/* SPDX-License-Identifier: Apache-2.0 */
/* A call whose devices go into a folder: what provision, enroll and device get share. */
#pragma once

#include "client/cmd/folder.h"
#include "client/cmd/progress.h"
#include "client/cmd/request.h"

/* Zeroed at first. */
struct mm_output {
    struct mm_folder *folder; /* owned */
    struct mm_progress progress;
    struct mm_errinfo ei; /* why writing failed */
};

void mm_output_done(struct mm_output *output);

/* What a callback returns to end its call when writing failed: the error is in the output. */
enum { MM_OUTPUT_FAILED = 1 };

/* Writes one device, or that it is withheld: exactly one of the two is not NULL. 0, or
 * MM_OUTPUT_FAILED. */
int mm_output_write(struct mm_output *output, const struct mintmark_bundle *bundle,
                    const struct mintmark_withheld *withheld);

/* Opens the folder of --out. 0, or the exit code of an error that was printed. */
int mm_output_open(const struct mm_cmd *cmd, struct mm_output *output) MM_MUST_USE;

/* The same, for a request that the folder keeps: see mm_request_settle. */
int mm_output_open_for(const struct mm_cmd *cmd, struct mm_output *output,
                       struct mm_request *request) MM_MUST_USE;

/* Prints why a call ended that returned r, which is not 0: its *error, or the output's. The exit
 * code. */
int mm_output_fail(const struct mm_cmd *cmd, const struct mm_output *output, int r,
                   const struct mintmark_error *error);

/* The same, and what can be done now; done says of so many devices what became of them. */
int mm_output_fail_for(const struct mm_cmd *cmd, const struct mm_output *output, int r,
                       const struct mintmark_error *error, const struct mm_request *request,
                       const char *done);
