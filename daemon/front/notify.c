/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/notify.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_fd = -1;
static uint64_t watchdog_ms;

/* A path, or a name in the abstract namespace behind '@'. */
static int connect_to(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    int fd;

    if (len < 2 || len >= sizeof(addr.sun_path) || (path[0] != '/' && path[0] != '@'))
        return -1;
    memcpy(addr.sun_path, path, len);
    if (path[0] == '@')
        addr.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&addr,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void read_watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t v;

    if (pid && (mm_text_to_u64(pid, 1, INT32_MAX, &v) < 0 || (pid_t)v != getpid()))
        return;
    if (usec && mm_text_to_u64(usec, 2000, UINT64_MAX / 2, &v) == MM_OK)
        watchdog_ms = v / 2000;
}

void mm_notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");

    if (path)
        notify_fd = connect_to(path);
    read_watchdog();
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void mm_notify(const char *state)
{
    if (notify_fd < 0)
        return;
    /* Nothing hangs on it: what systemd does not hear in time it asks for in its own way. */
    (void)send(notify_fd, state, strlen(state), MSG_NOSIGNAL);
}

void mm_notify_status(const char *text)
{
    char line[512];

    snprintf(line, sizeof(line), "STATUS=%s", text);
    for (char *c = line; *c; c++) {
        if (*c == '\n')
            *c = ' ';
    }
    mm_notify(line);
}

uint64_t mm_notify_watchdog_ms(void)
{
    return watchdog_ms;
}
