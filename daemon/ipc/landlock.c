/* SPDX-License-Identifier: Apache-2.0 */
/* By system calls: there is no function for them in the C library. */
#include "daemon/ipc/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rights of kernels that are newer than the headers of Debian 12. */
enum { RIGHT_TRUNCATE = 1 << 14, RIGHT_IOCTL_DEV = 1 << 15 };

enum {
    READ = LANDLOCK_ACCESS_FS_READ_FILE,
    /* What SQLite does with its database, the log beside it, and their folder. */
    WORK = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
           LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
           LANDLOCK_ACCESS_FS_REMOVE_FILE | RIGHT_TRUNCATE,
};

/* SQLite seeds its generator from the first, and the C library looks for the second when it is
 * asked for a time of day. */
static const char *const readable[] = {"/dev/urandom", "/etc/localtime"};

/* Every right that this version of the interface knows is refused where no rule grants it. */
static uint64_t rights_of(int abi)
{
    uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

    if (abi >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        rights |= RIGHT_TRUNCATE;
    if (abi >= 5)
        rights |= RIGHT_IOCTL_DEV;
    return rights;
}

static int allow(int ruleset, const char *path, uint64_t rights, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
    const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};

    if (fd < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        return mm_fail_errno(ei, errno, "Landlock: %s", path);
    return MM_OK;
}

static int add_rules(int ruleset, const char *folder, uint64_t rights, struct mm_errinfo *ei)
{
    int r = allow(ruleset, folder, rights & WORK, ei);

    for (size_t i = 0; r == MM_OK && i < MM_ARRAY_SIZE(readable); i++) {
        if (access(readable[i], R_OK) == 0)
            r = allow(ruleset, readable[i], READ, ei);
    }
#ifdef MM_SANITIZED
    /* The leak check at the end looks through /proc, and at programs for names. */
    if (r == MM_OK)
        r = allow(ruleset, "/", READ | LANDLOCK_ACCESS_FS_READ_DIR, ei);
#endif
    return r;
}

int mm_landlock_enter(const char *folder, struct mm_errinfo *ei)
{
    const int abi =
        (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    const struct landlock_ruleset_attr attr = {.handled_access_fs = rights_of(abi)};
    MM_CLOSE int ruleset = -1;
    int r;

    /* ENOSYS: not built in, or refused by a container's filter as EPERM; EOPNOTSUPP: disabled. */
    if (abi < 1)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "NO_LANDLOCK", "this kernel has no Landlock");
    /* By its first member alone, which every version knows. */
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
    if (ruleset < 0)
        return mm_fail_errno(ei, errno, "Landlock: cannot make a ruleset");
    r = add_rules(ruleset, folder, attr.handled_access_fs, ei);
    if (r < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return mm_fail_errno(ei, errno, "Landlock: cannot enter it");
    return MM_OK;
}
