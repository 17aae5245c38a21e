/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t *read_all(int fd, size_t *ret_len)
{
    struct stat st;
    uint8_t *data;
    ssize_t n = 0;
    size_t len = 0;

    if (fstat(fd, &st) < 0)
        return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
        return NULL;
    }
    data = malloc((size_t)st.st_size + 1);
    while (data && len < (size_t)st.st_size &&
           (n = read(fd, data + len, (size_t)st.st_size - len)) > 0)
        len += (size_t)n;
    if (n < 0) {
        free(data);
        return NULL;
    }
    *ret_len = len;
    return data;
}

uint8_t *file_read(const char *dir, const char *name, size_t *ret_len)
{
    uint8_t *data;
    char *path = NULL;
    int fd;

    if (asprintf(&path, "%s%s%s", dir ? dir : "", dir ? "/" : "", name) < 0)
        return NULL;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    free(path);
    if (fd < 0)
        return NULL;
    data = read_all(fd, ret_len);
    close(fd);
    return data;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hex_decode(const char *hex, uint8_t *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const int high = digit(hex[2 * i]), low = high < 0 ? -1 : digit(hex[2 * i + 1]);

        if (low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return hex[2 * len] == 0;
}
