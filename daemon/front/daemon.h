/* SPDX-License-Identifier: Apache-2.0 */
/* The service's life: start, reload, drain, end. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/conf/conf.h"
#include "daemon/ipc/trusted.h"

/* A configuration with the text that it was parsed from, which the workers parse again, and the
 * certificates of OEM and officers that it names, as the set that the store gets from the launcher
 * (daemon/ipc/trusted.h). */
struct mm_source {
    struct mm_conf *conf;
    struct mm_buf text;
    struct mm_buf trusted; /* once it was loaded; empty in the front after a reload */
};
#define MM_SOURCE_INIT                                                                             \
    ((struct mm_source){.text = MM_BUF_INIT(MM_CONF_FILE_MAX),                                     \
                        .trusted = MM_BUF_INIT(MM_TRUSTED_MAX)})
void mm_source_done(struct mm_source *s);

/* Reads, parses and checks the file and the files that it names. */
int mm_source_load(const char *path, struct mm_source *source, struct mm_errinfo *ei) MM_MUST_USE;

/* Serves until it is told to end; takes the source. MM_OK after an orderly end; otherwise it could
 * not start, or lost what it cannot do without. */
int mm_daemon_run(struct mm_source *source, struct mm_errinfo *ei) MM_MUST_USE;
