/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/descriptor.h"

#include "daemon/base/macros.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

ssize_t mm_descriptor_send(int socket_fd, const void *data, size_t len, int fd, int flags)
{
    union control control = {.bytes = {0}};
    /* sendmsg only reads what iov_base points to. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(fd));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    return sendmsg(socket_fd, &msg, flags | MSG_NOSIGNAL);
}

ssize_t mm_descriptor_receive(int socket_fd, void *data, size_t size, int *ret_fd)
{
    union control control;
    struct iovec iov = {.iov_base = data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         /* CMSG_SPACE has room for a second one, which nobody would close. */
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    const ssize_t n = recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC | MSG_TRUNC);
    const struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
    MM_CLOSE int fd = -1;

    if (n < 0)
        return n;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    if (msg.msg_flags & MSG_CTRUNC) {
        errno = EBADMSG;
        return -1;
    }
    *ret_fd = fd;
    fd = -1;
    return n;
}
