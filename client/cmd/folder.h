/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder that devices are written to. Each file appears whole, under its name, or not at all;
 * what is there already is kept if it is the same, and never replaced by something else. Only a
 * file that is the beginning of what it should be, as a power failure may leave it, is written
 * again. mintmark(1) lists the files.
 */
#pragma once

#include "client/cmd/withheld.h"
#include "daemon/base/buf.h"

#include <stdbool.h>
#include <sys/types.h>

struct mm_folder;

/* Makes the folder (mode 0700) if it is not there, but not the one that it is to be in; one process
 * at a time may have it open: MM_ERR_PRECONDITION FOLDER_BUSY. */
int mm_folder_open(const char *path, struct mm_folder **ret_folder,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* A folder that was made goes again if nothing came into it. NULL is fine. */
void mm_folder_free(struct mm_folder *folder);
MM_DEFINE_CLEANUP(struct mm_folder *, mm_folder_free)

/* An earlier run may have written here, and seen the devices in another order: which of several
 * chains, or of several transport keys, has the file without a name of its own is what that run
 * made of it. */
void mm_folder_resume(struct mm_folder *folder);

/* One file, on disk when this returns. MM_ERR_EXISTS when there is one with other content. */
int mm_folder_put(struct mm_folder *folder, const char *name, mode_t mode, const void *data,
                  size_t len, struct mm_errinfo *ei) MM_MUST_USE;

/* The same for one that is written bit by bit: first to a file without its name, which is open for
 * reading too and the caller's to close; append adds to it, commit gives it its name, and drop
 * removes what was not committed. One that is there already stays when it has the same content, and
 * is replaced or (MM_ERR_EXISTS) not when it has another. */
int mm_folder_begin(struct mm_folder *folder, const char *name, mode_t mode, int *ret_fd,
                    struct mm_errinfo *ei) MM_MUST_USE;
int mm_folder_append(struct mm_folder *folder, const char *name, int fd, const void *data,
                     size_t len, struct mm_errinfo *ei) MM_MUST_USE;
void mm_folder_drop(struct mm_folder *folder, const char *name);
int mm_folder_commit(struct mm_folder *folder, const char *name, int fd, bool replace,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* A file's content; MM_ERR_NOT_FOUND. */
int mm_folder_read(struct mm_folder *folder, const char *name, struct mm_buf *buf,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* All files of one device, and with the first one those that all share. MM_ERR_EXISTS as
 * mm_folder_put. */
int mm_folder_add(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* One device that has no certificate: it gets a line in withheld.jsonl. */
int mm_folder_withhold(struct mm_folder *folder, const struct mintmark_withheld *withheld,
                       struct mm_errinfo *ei) MM_MUST_USE;
const struct mm_withheld_counts *mm_folder_withheld(const struct mm_folder *folder);

/* As mm_folder_put, for lines that are JSON objects. One that is there is replaced when devices
 * that were withheld (they have a member "state") account for all the difference. */
int mm_folder_put_list(struct mm_folder *folder, const char *name, const struct mm_buf *text,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* Of the devices that were added, how many had been added before; known when the folder is
 * finished. */
size_t mm_folder_repeated(const struct mm_folder *folder);

/* Puts everything on disk, and then the list of the devices, which says that all are there but
 * those that are withheld; withheld.jsonl goes when there are none. MM_ERR_EXISTS also for what an
 * earlier run cannot have written: chain.pem or key-wrap.json of no device that was added. */
int mm_folder_finish(struct mm_folder *folder, struct mm_errinfo *ei) MM_MUST_USE;
