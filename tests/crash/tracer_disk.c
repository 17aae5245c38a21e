/* SPDX-License-Identifier: Apache-2.0 */
/* What a power cut leaves of a folder. */
#include "tests/crash/tracer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Before the name of a file whose content is synced, and whose entry is not. */
static const char homeless[] = ".homeless.";

static void join(char *to, const char *folder, const char *prefix, const char *name)
{
    if (snprintf(to, PATH_MAX, "%s/%s%s", folder, prefix, name) >= PATH_MAX)
        give_up("%s/%s: a path too long", folder, name);
}

/* from NULL: nothing, so that the file is empty. */
static void copy(const char *from, const char *to)
{
    const int in = from ? open(from, O_RDONLY | O_CLOEXEC) : -1;
    const int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = (from && in < 0) || out < 0 ? -1 : 1;

    while (from && n > 0)
        n = sendfile(out, in, NULL, 1 << 30);
    if (n < 0)
        give_up("cannot copy %s to %s: %s", from ? from : "nothing", to, strerror(errno));
    if (in >= 0)
        close(in);
    close(out);
}

static bool exists(const char *folder, const char *prefix, const char *name)
{
    char path[PATH_MAX];

    join(path, folder, prefix, name);
    return access(path, F_OK) == 0;
}

/* Calls fn for each file's name in the folder that begins (or does not) with `homeless`. */
static void each(const struct disk *d, const char *folder, bool with,
                 void (*fn)(const struct disk *d, const char *name))
{
    DIR *dir = opendir(folder);
    const struct dirent *e;

    if (!dir)
        give_up("%s: %s", folder, strerror(errno));
    while ((e = readdir(dir))) {
        const bool is = strncmp(e->d_name, homeless, sizeof(homeless) - 1) == 0;

        if (e->d_type == DT_REG && is == with)
            fn(d, is ? e->d_name + sizeof(homeless) - 1 : e->d_name);
    }
    closedir(dir);
}

/* The folder is synced: a file's entry stays, with what is durable of its content. */
static void keep_entry(const struct disk *d, const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (exists(d->durable, "", name))
        return;
    join(from, d->durable, homeless, name);
    join(to, d->durable, "", name);
    if (exists(d->durable, homeless, name)) {
        if (rename(from, to) < 0)
            give_up("%s: %s", from, strerror(errno));
    } else {
        copy(NULL, to);
    }
}

static void drop_from(const struct disk *d, const char *folder, const char *prefix,
                      const char *name)
{
    char path[PATH_MAX];

    (void)d;
    join(path, folder, prefix, name);
    if (unlink(path) < 0)
        give_up("%s: %s", path, strerror(errno));
}

static void drop_removed(const struct disk *d, const char *name)
{
    if (!exists(d->folder, "", name))
        drop_from(d, d->durable, "", name);
}

void disk_synced(const struct disk *d, const char *path)
{
    const size_t len = d->folder ? strlen(d->folder) : 0;
    char to[PATH_MAX];

    if (len == 0 || strncmp(path, d->folder, len) != 0)
        return;
    if (path[len] == 0) {
        each(d, d->folder, false, keep_entry);
        each(d, d->durable, false, drop_removed);
    } else if (path[len] == '/') {
        join(to, d->durable, exists(d->durable, "", path + len + 1) ? "" : homeless,
             path + len + 1);
        copy(path, to);
    }
}

static void drop_file(const struct disk *d, const char *name)
{
    drop_from(d, d->folder, "", name);
}

static void drop_homeless(const struct disk *d, const char *name)
{
    drop_from(d, d->durable, homeless, name);
}

static void put_back(const struct disk *d, const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];

    join(from, d->durable, "", name);
    join(to, d->folder, "", name);
    copy(from, to);
}

void disk_cut(const struct disk *d)
{
    each(d, d->durable, true, drop_homeless);
    each(d, d->folder, false, drop_file);
    each(d, d->durable, false, put_back);
}

static bool inside(const struct disk *d, const char *path)
{
    const size_t len = strlen(d->folder);

    return strncmp(path, d->folder, len) == 0 && path[len] == '/';
}

bool disk_knows(const struct disk *d, pid_t pid, const struct entry *e)
{
    char link[64], path[PATH_BYTES];
    ssize_t n;

    if (!d->folder)
        return true;
    if (e->nr == SYS_mmap && (e->args[2] & PROT_WRITE) && (e->args[3] & MAP_SHARED) &&
        (int)e->args[4] >= 0) {
        snprintf(link, sizeof(link), "/proc/%d/fd/%d", pid, (int)e->args[4]);
        n = readlink(link, path, sizeof(path) - 1);
        path[n < 0 ? 0 : n] = 0;
        return !inside(d, path);
    }
    if (e->nr == SYS_renameat || e->nr == SYS_renameat2)
        return !points_read_path(pid, e->args[1], path, sizeof(path)) || !inside(d, path);
#ifdef SYS_rename
    if (e->nr == SYS_rename)
        return !points_read_path(pid, e->args[0], path, sizeof(path)) || !inside(d, path);
#endif
    return true;
}
