/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that the front reads while it serves: those that it was started with, by number and in
 * no other way. The front's sandbox lets it open nothing, so the launcher opens them and hands the
 * descriptors over, on a socket of their own: docs/adr/0012-front-opens-no-file.md.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/ipc/ask.h"
#include "daemon/ipc/handed.h"

#include <stdbool.h>
#include <stdint.h>

enum mm_file { MM_FILE_CERTIFICATE, MM_FILE_KEY, MM_FILE_CLIENT_CA, MM_FILES };

struct mm_files {
    struct mm_asker launcher; /* its descriptor is owned */
    unsigned timeout_ms;      /* how long it may take for one answer */
};

/* Appends the file as it is now, at most max bytes, to buf. Blocks, and fails as mm_ask does; or
 * the file cannot be read. */
int mm_files_read(struct mm_files *f, enum mm_file file, size_t max, struct mm_buf *buf,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* Appends the configuration's text as it is now, once it and all files that it names have been
 * checked as --check-config does. *ret_trusted: the certificates of OEM or officers are others than
 * those in force; the launcher has them for the store (daemon/ipc/trusted.h). Blocks as
 * mm_files_read. */
int mm_files_read_config(struct mm_files *f, struct mm_buf *text, bool *ret_trusted,
                         struct mm_errinfo *ei) MM_MUST_USE;

struct mm_trusted_keeper;

/* What the launcher needs: absolute paths; how the configuration is read and checked, and with it
 * the set of certificates that it names, which it does in a process made for it; and the set that
 * is in force at the start. */
struct mm_files_plan {
    const char *config;
    const char *paths[MM_FILES];
    int (*read_config)(const char *config, struct mm_buf *text, struct mm_buf *trusted,
                       struct mm_errinfo *ei);
    struct mm_bytes trusted;
};

/* The launcher's side: answers one request; false when the other side is gone. A configuration that
 * was found good is added to those that workers take. */
bool mm_files_serve(const struct mm_files_plan *plan, struct mm_trusted_keeper *keeper,
                    struct mm_handed *handed, int fd);
