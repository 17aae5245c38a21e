/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls are points, and how they are called. */
#include "tests/crash/tracer.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What a call is done to, and so where its descriptor or path stands. */
enum subject {
    SENDS,      /* argument 0 is a file or a socket */
    RECEIVES,   /* argument 0 is a socket; reading a file changes nothing */
    SYNCS,      /* argument 0 is a file or a folder */
    PATH_FIRST, /* argument 0 is a path */
    PATH_AT,    /* argument 1 is a path */
    CREATES_AT, /* likewise, and only with O_CREAT in argument 2 */
};

static const struct {
    long nr;
    const char *name;
    enum subject subject;
} calls[] = {
    {SYS_write, "write", SENDS},
    {SYS_writev, "writev", SENDS},
    {SYS_pwrite64, "pwrite64", SENDS},
    {SYS_pwritev, "pwritev", SENDS},
    {SYS_sendto, "send", SENDS},
    {SYS_sendmsg, "sendmsg", SENDS},
    {SYS_ftruncate, "ftruncate", SENDS},
    {SYS_fallocate, "fallocate", SENDS},
    {SYS_fsync, "fsync", SYNCS},
    {SYS_fdatasync, "fdatasync", SYNCS},
    {SYS_read, "read", RECEIVES},
    {SYS_readv, "readv", RECEIVES},
    {SYS_recvfrom, "recv", RECEIVES},
    {SYS_recvmsg, "recvmsg", RECEIVES},
    {SYS_unlinkat, "unlink", PATH_AT},
    {SYS_openat, "create", CREATES_AT},
#ifdef SYS_unlink
    {SYS_unlink, "unlink", PATH_FIRST},
    {SYS_rename, "rename", PATH_FIRST},
    {SYS_truncate, "truncate", PATH_FIRST},
    {SYS_creat, "create", PATH_FIRST},
#endif
    {SYS_renameat, "rename", PATH_AT},
    {SYS_renameat2, "rename", PATH_AT},
};

enum { CALLS = sizeof(calls) / sizeof(calls[0]), CHANNELS_MAX = 256, FIRST_MESSAGE = 64 * 1024 };

/* Ends of channels that the front has written to, and to whom they lead. */
static struct {
    ino_t inode;
    char name[24];
} channels[CHANNELS_MAX];
static size_t n_channels;

bool points_read_path(pid_t pid, uint64_t address, char *to, size_t size)
{
    const struct iovec local = {to, size - 1};
    const struct iovec remote = {(void *)(uintptr_t)address, size - 1};
    const ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);

    if (n <= 0)
        return false;
    to[n] = 0;
    return strlen(to) < size - 1;
}

void points_role(struct tracee *t)
{
    char link[64], target[PATH_BYTES];
    const char *name;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/exe", t->pid);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0)
        give_up("cannot tell what program %d runs", t->pid);
    target[n] = 0;
    name = strrchr(target, '/');
    name = name ? name + 1 : target;
    if (strcmp(name, "mintmarkd") == 0)
        name = "front";
    else if (strcmp(name, "mintmark-store") == 0)
        name = "store";
    else if (strcmp(name, "mintmark-token") == 0 || strcmp(name, "fake_worker") == 0)
        name = "token";
    snprintf(t->role, sizeof(t->role), "%.23s", name);
}

/* A field of a protobuf: its number, and for those with a length where they stand. */
static const uint8_t *field(const uint8_t *at, const uint8_t *end, unsigned *number, size_t *len)
{
    unsigned shift = 0;

    if (at >= end || (*at & 7) != 2)
        return NULL;
    *number = *at++ >> 3;
    for (*len = 0; at < end && shift < 28; shift += 7) {
        *len |= (size_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80))
            return *len <= (size_t)(end - at) ? at : NULL;
    }
    return NULL;
}

/* The first message to a worker, behind its prefix, is a WorkerStart; its field 3 is the name. */
static void read_name(pid_t pid, const struct entry *e, char *to, size_t size)
{
    static uint8_t bytes[FIRST_MESSAGE];
    const size_t want = e->args[2] < sizeof(bytes) ? e->args[2] : sizeof(bytes);
    const struct iovec local = {bytes, want};
    const struct iovec remote = {(void *)(uintptr_t)e->args[1], want};
    const ssize_t n = process_vm_readv(pid, &local, 1, &remote, 1, 0);
    const uint8_t *at = bytes + 5;
    unsigned number = 0;
    size_t len = 0;

    snprintf(to, size, "worker");
    while (n > 5 && number != 3) {
        at = field(at, bytes + n, &number, &len);
        if (!at)
            return;
        if (number == 3)
            snprintf(to, size, "%.*s", (int)len, (const char *)at);
        at += len;
    }
}

/* To whom the front's end of a channel leads, told by what it sends first. */
static const char *channel_of(const struct tracee *t, const struct entry *e, ino_t inode)
{
    if (strcmp(t->role, "front") != 0)
        return "channel";
    for (size_t i = n_channels; i > 0; i--) {
        if (channels[i - 1].inode == inode)
            return channels[i - 1].name;
    }
    if (e->nr != SYS_sendto)
        return "channel";
    if (n_channels == CHANNELS_MAX)
        give_up("more than %d channels", CHANNELS_MAX);
    channels[n_channels].inode = inode;
    read_name(t->pid, e, channels[n_channels].name, sizeof(channels[n_channels].name));
    return channels[n_channels++].name;
}

static int option_of(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -1 : value;
}

static const char *socket_kind(const struct tracee *t, const struct entry *e, ino_t inode)
{
    const int pidfd = pidfd_open(t->pid, 0);
    const int fd = pidfd < 0 ? -1 : pidfd_getfd(pidfd, (int)e->args[0], 0);
    const int domain = option_of(fd, SO_DOMAIN);
    const int type = option_of(fd, SO_TYPE);

    if (fd < 0)
        give_up("cannot look at descriptor %d of %s", (int)e->args[0], t->role);
    close(fd);
    close(pidfd);
    if (domain == AF_INET || domain == AF_INET6)
        return "station";
    if (type == SOCK_SEQPACKET)
        return "launcher";
    return channel_of(t, e, inode);
}

/* The part of a file's name that is the same in every run: tokens call their objects as they like.
 */
static const char *file_kind(const char *path)
{
    const char *name = strrchr(path, '/');
    const char *dot = strchr(name ? name : path, '.');

    return dot ? dot + 1 : name ? name + 1 : path;
}

static void name_it(struct tracee *t, const char *call, const char *what)
{
    snprintf(t->point, sizeof(t->point), "%s/%s/%.64s", t->role, call, what);
}

static void name_descriptor(struct tracee *t, const struct entry *e, size_t call)
{
    char link[64], path[PATH_BYTES];
    struct stat st;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/%d/fd/%d", t->pid, (int)e->args[0]);
    if (stat(link, &st) < 0)
        return; /* the call will fail with EBADF */
    if (S_ISSOCK(st.st_mode) && calls[call].subject != SYNCS) {
        name_it(t, calls[call].name, socket_kind(t, e, st.st_ino));
        return;
    }
    n = readlink(link, path, sizeof(path) - 1);
    if (calls[call].subject == RECEIVES || e->args[0] == STDERR_FILENO || n < 0)
        return;
    path[n] = 0;
    /* A memory file, which leaves nothing behind. */
    if (strncmp(path, "/memfd:", 7) == 0)
        return;
    if (S_ISDIR(st.st_mode))
        name_it(t, calls[call].name, "folder");
    else if (S_ISREG(st.st_mode))
        name_it(t, calls[call].name, file_kind(path));
    if (calls[call].subject == SYNCS)
        snprintf(t->path, sizeof(t->path), "%s", path);
}

static void name_path(struct tracee *t, const struct entry *e, size_t call)
{
    const unsigned at = calls[call].subject == PATH_FIRST ? 0 : 1;
    char path[PATH_BYTES];

    if (calls[call].subject == CREATES_AT && !(e->args[2] & O_CREAT))
        return;
    if (points_read_path(t->pid, e->args[at], path, sizeof(path)) && strncmp(path, "/dev/", 5) != 0)
        name_it(t, calls[call].name, file_kind(path));
}

void points_name(struct tracee *t, const struct entry *e)
{
    t->point[0] = t->path[0] = 0;
    t->receives = false;
    for (size_t i = 0; i < CALLS; i++) {
        if ((uint64_t)calls[i].nr != e->nr)
            continue;
        t->receives = calls[i].subject == RECEIVES;
        if (calls[i].subject <= SYNCS)
            name_descriptor(t, e, i);
        else
            name_path(t, e, i);
        return;
    }
}
