/* SPDX-License-Identifier: Apache-2.0 */
/* Files and descriptors, whole and bounded. */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/secret.h"

#include <sys/types.h>

/* The whole regular file, at most max bytes; a longer one is MM_ERR_TOO_BIG. Appended to buf, whose
 * own maximum rules too. MM_ERR_NOT_FOUND when there is none. */
int mm_io_read_file(const char *path, size_t max, struct mm_buf *buf,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* As above from a descriptor, from where it stands to its end; name is for messages. */
int mm_io_read_fd(int fd, const char *name, size_t max, struct mm_buf *buf,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* Replaces path by data in one step (temporary file, fsync, rename, fsync of the directory). */
int mm_io_write_file(const char *path, mode_t mode, const void *data, size_t len,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* As above, but MM_ERR_EXISTS, with nothing changed, when path is there already; also when another
 * process makes it at the same moment. MM_ERR_IO on a file system that can neither rename without
 * replacing nor link. */
int mm_io_create_file(const char *path, mode_t mode, const void *data, size_t len,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Removes a file for good (unlink, fsync of the directory); MM_OK also when there is none. */
int mm_io_remove_file(const char *path, struct mm_errinfo *ei) MM_MUST_USE;

/* All len bytes, through EINTR and short counts; blocking descriptors only. MM_ERR_EOF from read
 * when the peer closed before the first byte, MM_ERR_CORRUPT when it closed later. */
int mm_io_write_all(int fd, const void *data, size_t len, struct mm_errinfo *ei) MM_MUST_USE;
int mm_io_read_all(int fd, void *data, size_t len, struct mm_errinfo *ei) MM_MUST_USE;

/* The first line that fd yields, without its newline, as a secret of 1..max bytes. Reads byte by
 * byte into locked memory, so nothing is left in a stdio buffer. Does not close fd. */
int mm_io_read_secret(int fd, size_t max, struct mm_secret **ret_secret,
                      struct mm_errinfo *ei) MM_MUST_USE;
