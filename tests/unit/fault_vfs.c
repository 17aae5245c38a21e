/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fault_vfs.h"

#include "daemon/base/macros.h"

#include <check.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECTOR = 512, FILES_MAX = 4 };

/* What is known to be on the disk of one file. */
struct durable {
    char path[128];
    uint8_t *data;
    size_t len;
};

struct fault_file {
    sqlite3_file base;
    struct durable *durable;
    sqlite3_file *real; /* behind this struct, in the room that SQLite gave */
};

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    unsigned calls;
    unsigned countdown; /* 0: not armed */
    int code;
    bool fired;
    bool dead; /* the power is off */
    const char *cut_folder;
    uint64_t seed;
    struct durable files[FILES_MAX];
} fault;

uint64_t test_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static uint8_t *read_whole(const char *path, size_t *ret_len)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    uint8_t *data = calloc(1, (size_t)len + 1);

    ck_assert_ptr_nonnull(data);
    if (len > 0)
        ck_assert_int_eq(pread(fd, data, (size_t)len, 0), len);
    /* SQLite's own lock on the file is of the process, and would go with the descriptor: the store
     * that a cut is simulated for is closed next, and syncs happen under no other process. */
    if (fd >= 0)
        close(fd);
    *ret_len = (size_t)len;
    return data;
}

static void note_synced(struct durable *d)
{
    free(d->data);
    d->data = read_whole(d->path, &d->len);
}

/* A sector that was written and not synced is there or not; so is the file's new length. */
static void write_image(const struct durable *d)
{
    size_t len;
    uint8_t *now = read_whole(d->path, &len);
    const char *name = strrchr(d->path, '/');
    char path[256];
    int fd;

    if (test_random(&fault.seed) % 2)
        len = len < d->len ? len : d->len;
    for (size_t at = 0; at < len; at += SECTOR) {
        const size_t n = len - at < SECTOR ? len - at : SECTOR;

        if (test_random(&fault.seed) % 2 == 0)
            continue;
        for (size_t i = at; i < at + n; i++)
            now[i] = i < d->len ? d->data[i] : 0;
    }
    snprintf(path, sizeof(path), "%s%s", fault.cut_folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, now, len), (ssize_t)len);
    close(fd);
    free(now);
}

/* SQLITE_OK, or the failure that this call has to be. */
static int hit(enum fault_call call)
{
    if (fault.dead)
        return SQLITE_IOERR;
    if (!(fault.calls & call) || fault.countdown == 0 || --fault.countdown > 0)
        return SQLITE_OK;
    fault.fired = true;
    if (!fault.cut_folder)
        return fault.code;
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (fault.files[i].path[0])
            write_image(&fault.files[i]);
    }
    fault.dead = true;
    return SQLITE_IOERR;
}

static struct fault_file *of(sqlite3_file *file)
{
    return (struct fault_file *)file;
}

static int file_close(sqlite3_file *file)
{
    return of(file)->real->pMethods->xClose(of(file)->real);
}

static int file_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
    const int rc = hit(FAULT_READ);

    return rc ? rc : of(file)->real->pMethods->xRead(of(file)->real, to, n, at);
}

static int file_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
    const int rc = hit(FAULT_WRITE);

    return rc ? rc : of(file)->real->pMethods->xWrite(of(file)->real, from, n, at);
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    const int rc = hit(FAULT_TRUNCATE);

    return rc ? rc : of(file)->real->pMethods->xTruncate(of(file)->real, size);
}

static int file_sync(sqlite3_file *file, int flags)
{
    const int rc = hit(FAULT_SYNC);

    /* Not the disk's: no power is cut here but the one that write_image plays, and thousands of
     * syncs take minutes on a busy disk. */
    (void)flags;
    if (rc == SQLITE_OK && of(file)->durable)
        note_synced(of(file)->durable);
    return rc;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return of(file)->real->pMethods->xFileSize(of(file)->real, size);
}

static int file_lock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xLock(of(file)->real, level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return of(file)->real->pMethods->xUnlock(of(file)->real, level);
}

static int file_check_lock(sqlite3_file *file, int *reserved)
{
    return of(file)->real->pMethods->xCheckReservedLock(of(file)->real, reserved);
}

static int file_control(sqlite3_file *file, int op, void *arg)
{
    return of(file)->real->pMethods->xFileControl(of(file)->real, op, arg);
}

static int file_sector_size(sqlite3_file *file)
{
    return of(file)->real->pMethods->xSectorSize(of(file)->real);
}

static int file_characteristics(sqlite3_file *file)
{
    return of(file)->real->pMethods->xDeviceCharacteristics(of(file)->real);
}

static struct durable *track(const char *path)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        struct durable *d = &fault.files[i];

        if (d->path[0] && strcmp(d->path, path) != 0)
            continue;
        if (!d->path[0])
            snprintf(d->path, sizeof(d->path), "%s", path);
        return d;
    }
    ck_abort_msg("more files than expected");
    return NULL;
}

static int vfs_open(MM_UNUSED sqlite3_vfs *vfs, sqlite3_filename path, sqlite3_file *file,
                    int flags, int *out_flags)
{
    static const sqlite3_io_methods methods = {
        .iVersion = 1,
        .xClose = file_close,
        .xRead = file_read,
        .xWrite = file_write,
        .xTruncate = file_truncate,
        .xSync = file_sync,
        .xFileSize = file_size,
        .xLock = file_lock,
        .xUnlock = file_unlock,
        .xCheckReservedLock = file_check_lock,
        .xFileControl = file_control,
        .xSectorSize = file_sector_size,
        .xDeviceCharacteristics = file_characteristics,
    };
    struct fault_file *f = of(file);
    int rc = hit(FAULT_OPEN);

    f->base.pMethods = NULL;
    f->real = (sqlite3_file *)(f + 1);
    f->durable = path && fault.cut_folder ? track(path) : NULL;
    if (rc == SQLITE_OK)
        rc = fault.real->xOpen(fault.real, path, f->real, flags, out_flags);
    if (rc == SQLITE_OK)
        f->base.pMethods = &methods;
    if (rc == SQLITE_OK && f->durable)
        note_synced(f->durable); /* whatever is there now has been there for long */
    return rc;
}

void fault_install(void)
{
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.zName = "fault";
    fault.vfs.pNext = NULL;
    fault.vfs.szOsFile += (int)sizeof(struct fault_file);
    fault.vfs.xOpen = vfs_open;
    if (sqlite3_vfs_register(&fault.vfs, 1) != SQLITE_OK)
        abort();
}

void fault_arm(unsigned calls, unsigned nth, int code)
{
    fault_disarm();
    fault.calls = calls;
    fault.countdown = nth;
    fault.code = code;
}

void fault_arm_power_cut(unsigned calls, unsigned nth, const char *folder, uint64_t seed)
{
    fault_arm(calls, nth, SQLITE_IOERR);
    fault.cut_folder = folder;
    fault.seed = seed;
}

void fault_disarm(void)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        free(fault.files[i].data);
        fault.files[i] = (struct durable){0};
    }
    fault.countdown = 0;
    fault.fired = false;
    fault.dead = false;
    fault.cut_folder = NULL;
}

bool fault_fired(void)
{
    return fault.fired;
}
