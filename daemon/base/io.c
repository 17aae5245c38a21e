/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int mm_io_read_fd(int fd, const char *name, size_t max, struct mm_buf *buf, struct mm_errinfo *ei)
{
    size_t total = 0;

    for (;;) {
        uint8_t *to = mm_buf_reserve(buf, 4096);
        ssize_t n;

        if (!to && buf->err == MM_ERR_TOO_BIG && buf->len < buf->max) {
            buf->err = MM_OK;
            to = mm_buf_reserve(buf, buf->max - buf->len);
        }
        if (!to)
            return mm_fail(ei, buf->err, "FILE_TOO_BIG", "%s: larger than %zu bytes", name,
                           buf->max);
        n = read(fd, to, buf->max - buf->len < 4096 ? buf->max - buf->len : 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "%s", name);
        if (n == 0)
            return MM_OK;
        mm_buf_grew(buf, (size_t)n);
        total += (size_t)n;
        if (total > max)
            return mm_fail(ei, MM_ERR_TOO_BIG, "FILE_TOO_BIG", "%s: larger than %zu bytes", name,
                           max);
    }
}

int mm_io_read_file(const char *path, size_t max, struct mm_buf *buf, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "FILE_NOT_FOUND", "%s: no such file", path);
    if (fd < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_FILE", "%s: not a regular file", path);
    return mm_io_read_fd(fd, path, max, buf, ei);
}

static int sync_directory_of(const char *path, struct mm_errinfo *ei)
{
    MM_FREE char *copy = strdup(path);
    MM_CLOSE int fd = -1;

    if (!copy)
        return mm_fail_memory(ei);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return mm_fail_errno(ei, errno, "%s: cannot sync its directory", path);
    return MM_OK;
}

/* Errors name the file that it is for. */
static int write_temporary(const char *tmp, const char *path, mode_t mode, const void *data,
                           size_t len, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int r;

    if (fd < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (fchmod(fd, mode) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    r = mm_io_write_all(fd, data, len, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s", path);
    if (fsync(fd) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    return MM_OK;
}

/* Gives the file its name unless that is taken, in one step either way: file systems without hard
 * links (FAT) know the flag, and those that don't know the flag (NFS: EINVAL) have hard links. With
 * neither, the refusal stands: looking first and renaming then would overwrite one day. */
static int rename_to_free(const char *tmp, const char *path)
{
    if (renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(tmp, path) < 0)
        return -1;
    unlink(tmp);
    return 0;
}

static int publish(const char *tmp, const char *path, bool replace, struct mm_errinfo *ei)
{
    if ((replace ? rename(tmp, path) : rename_to_free(tmp, path)) == 0)
        return sync_directory_of(path, ei);
    if (errno == EEXIST)
        return mm_fail(ei, MM_ERR_EXISTS, "FILE_EXISTS", "%s: exists already, not overwritten",
                       path);
    return mm_fail_errno(ei, errno, "%s", path);
}

static int write_file(const char *path, mode_t mode, const void *data, size_t len, bool replace,
                      struct mm_errinfo *ei)
{
    char tmp[PATH_MAX];
    int r;

    if (snprintf(tmp, sizeof(tmp), "%s.tmp%d", path, (int)getpid()) >= (int)sizeof(tmp))
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: path too long", path);
    r = write_temporary(tmp, path, mode, data, len, ei);
    if (r == MM_OK)
        r = publish(tmp, path, replace, ei);
    if (r < 0)
        unlink(tmp);
    return r;
}

int mm_io_write_file(const char *path, mode_t mode, const void *data, size_t len,
                     struct mm_errinfo *ei)
{
    return write_file(path, mode, data, len, true, ei);
}

int mm_io_create_file(const char *path, mode_t mode, const void *data, size_t len,
                      struct mm_errinfo *ei)
{
    return write_file(path, mode, data, len, false, ei);
}

int mm_io_remove_file(const char *path, struct mm_errinfo *ei)
{
    if (unlink(path) < 0)
        return errno == ENOENT ? MM_OK : mm_fail_errno(ei, errno, "%s", path);
    return sync_directory_of(path, ei);
}

int mm_io_write_all(int fd, const void *data, size_t len, struct mm_errinfo *ei)
{
    const uint8_t *p = data;

    while (len > 0) {
        const ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "write");
        p += n;
        len -= (size_t)n;
    }
    return MM_OK;
}

int mm_io_read_all(int fd, void *data, size_t len, struct mm_errinfo *ei)
{
    uint8_t *p = data;
    size_t got = 0;

    while (got < len) {
        const ssize_t n = read(fd, p + got, len - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "read");
        if (n == 0 && got == 0)
            return mm_fail(ei, MM_ERR_EOF, "END_OF_FILE", "the peer closed");
        if (n == 0)
            return mm_fail(ei, MM_ERR_CORRUPT, "TRUNCATED", "the peer closed in mid-message");
        got += (size_t)n;
    }
    return MM_OK;
}

int mm_io_read_secret(int fd, size_t max, struct mm_secret **ret_secret, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *s = NULL;
    size_t len = 0;

    if (mm_secret_new(max + 1, &s) < 0)
        return mm_fail_memory(ei);
    for (;;) {
        uint8_t *at = mm_secret_data(s) + len;
        const ssize_t n = read(fd, at, 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "cannot read a secret");
        if (n == 0 || *at == '\n')
            break;
        if (++len > max)
            return mm_fail(ei, MM_ERR_TOO_BIG, "SECRET_TOO_LONG", "longer than %zu bytes", max);
    }
    if (len == 0)
        return mm_fail(ei, MM_ERR_INVALID, "SECRET_EMPTY",
                       "nothing to read where a secret should be");
    mm_secret_truncate(s, len);
    *ret_secret = MM_TAKE(s);
    return MM_OK;
}
