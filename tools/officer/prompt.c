/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/prompt.h"

#include "daemon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* One line, byte by byte: what is behind it stays for the next question. */
static int read_line(int fd, char *line, size_t size, struct mm_errinfo *ei)
{
    size_t len = 0;

    for (;;) {
        char c;
        const ssize_t n = read(fd, &c, 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mm_fail_errno(ei, errno, "cannot read from the terminal");
        if (n == 0)
            return mm_fail(ei, MM_ERR_CANCELLED, "DECLINED", "the terminal gave no answer");
        if (c == '\n')
            break;
        if (len + 1 >= size)
            return mm_fail(ei, MM_ERR_TOO_BIG, "LINE_TOO_LONG", "the answer is longer than %zu",
                           size - 1);
        line[len++] = c;
    }
    line[len] = '\0';
    return MM_OK;
}

int mm_prompt_line(const char *text, char *line, size_t size, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    int r;

    line[0] = '\0';
    if (fd < 0)
        return mm_fail(ei, MM_ERR_UNAVAILABLE, "NO_TERMINAL", "there is no terminal to ask on");
    r = mm_io_write_all(fd, text, strlen(text), ei);
    if (r < 0)
        return r;
    return read_line(fd, line, size, ei);
}

int mm_prompt_yes(const char *text, char *line, size_t size, struct mm_errinfo *ei)
{
    const int r = mm_prompt_line(text, line, size, ei);

    if (r < 0)
        return r;
    if (strcmp(line, "yes") != 0)
        return mm_fail(ei, MM_ERR_CANCELLED, "DECLINED",
                       "not confirmed with yes; nothing was changed");
    return MM_OK;
}
