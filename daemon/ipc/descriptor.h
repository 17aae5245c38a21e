/* SPDX-License-Identifier: Apache-2.0 */
/* A datagram that may carry one file descriptor (SCM_RIGHTS, unix(7)), over a unix socket. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* As send(2), with fd beside the data; -1: none. fd stays the caller's. Never raises SIGPIPE. */
ssize_t mm_descriptor_send(int socket_fd, const void *data, size_t len, int fd, int flags);

/* As recv(2) with MSG_TRUNC: what it returns is more than size when the data were longer. *ret_fd
 * is the caller's to close, close-on-exec, or -1 when none came; written unless the call failed.
 * Fails with EBADMSG, and closes what came, when there was more than one, or no room for it here.
 */
ssize_t mm_descriptor_receive(int socket_fd, void *data, size_t size, int *ret_fd);
