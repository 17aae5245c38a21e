/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of each duty. What is on no list fails with EPERM and is logged by the kernel
 * (audit type SECCOMP): vendors' modules make calls that nobody foresees, and most of them carry on
 * without. Names, not numbers: an older libseccomp that does not know a newer call leaves it
 * refused.
 */
#include "daemon/ipc/landlock.h"
#include "daemon/ipc/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#ifdef MM_HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

/* Memory, time, signals to itself, its own identity, waiting: what any C library does. */
static const char *const base_calls[] = {
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "msync", "mlock", "mlock2", "munlock",
    "membarrier", "futex", "futex_time64", "set_robust_list", "get_robust_list", "rseq",
    "set_tid_address", "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "getcpu", "clock_gettime", "clock_gettime64", "clock_getres", "clock_getres_time64",
    "clock_nanosleep", "clock_nanosleep_time64", "nanosleep", "gettimeofday", "time", "times",
    "getrusage", "sysinfo", "uname", "getrandom", "rt_sigaction", "rt_sigprocmask", "rt_sigpending",
    "rt_sigreturn", "sigreturn", "rt_sigtimedwait", "sigaltstack", "restart_syscall", "exit",
    "exit_group", "getpid", "getppid", "gettid", "tgkill", "getuid", "geteuid", "getgid", "getegid",
    "getresuid", "getresgid", "getgroups", "getrlimit", "ugetrlimit", "read", "readv", "write",
    "writev", "close", "fstat", "fstat64", "fcntl", "fcntl64", "dup", "dup2", "dup3", "pipe",
    "pipe2", "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    /* on a channel */
    "send", "recv", "recvfrom", "recvmsg", "shutdown", NULL};

/* To whom the caller names, too: the front's are narrower. */
static const char *const send_calls[] = {"sendto", "sendmsg", NULL};

/* Looking files up and reading them. */
static const char *const read_calls[] = {
    "stat",     "lstat",      "stat64",    "lstat64",    "statx",  "newfstatat", "fstatat64",
    "statfs",   "statfs64",   "fstatfs",   "fstatfs64",  "access", "faccessat",  "faccessat2",
    "readlink", "readlinkat", "getdents",  "getdents64", "getcwd", "lseek",      "_llseek",
    "pread64",  "preadv",     "fadvise64", NULL};

/* Writing files, as SQLite and file-based tokens do. */
static const char *const write_calls[] = {
    "open",        "openat",    "creat", "pwrite64",  "pwritev",  "ftruncate",
    "ftruncate64", "fallocate", "fsync", "fdatasync", "flock",    "fchmod",
    "fchown",      "fchown32",  "umask", "chmod",     "fchmodat", "rename",
    "renameat",    "renameat2", "link",  "linkat",    "unlink",   "unlinkat",
    "mkdir",       "mkdirat",   "rmdir", "utimensat", NULL};

/* Vendors' modules: threads (see add_threads), devices, System V shared memory and semaphores that
 * openCryptoki and others keep their state in, and talking over sockets that they have. */
static const char *const module_calls[] = {"ioctl",
                                           "shmget",
                                           "shmat",
                                           "shmctl",
                                           "shmdt",
                                           "semget",
                                           "semop",
                                           "semtimedop",
                                           "semctl",
                                           "memfd_create",
                                           "sched_setaffinity",
                                           "timer_create",
                                           "timer_settime",
                                           "timer_delete",
                                           "timer_gettime",
                                           "setitimer",
                                           "getitimer",
                                           "alarm",
                                           "connect",
                                           "bind",
                                           "getsockname",
                                           "getpeername",
                                           "getsockopt",
                                           "setsockopt",
                                           "socketpair",
                                           "sendmmsg",
                                           "recvmmsg",
                                           NULL};

/* The front: connections that come in, and reading again from a descriptor that it has. */
static const char *const front_calls[] = {"accept",      "accept4",     "bind",       "listen",
                                          "getsockname", "getpeername", "getsockopt", "setsockopt",
                                          "pread64",     NULL};

/* The issuer: connections to the outside, and looking up where to. */
static const char *const issuer_calls[] = {"connect",    "bind",       "getsockname", "getpeername",
                                           "getsockopt", "setsockopt", "socketpair",  "sendmmsg",
                                           "recvmmsg",   "ioctl",      NULL};

static int allow_all(scmp_filter_ctx ctx, const char *const *names)
{
    for (; *names; names++) {
        const int nr = seccomp_syscall_resolve_name(*names);
        int r;

        if (nr == __NR_SCMP_ERROR)
            continue;
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
        if (r < 0)
            return r;
    }
    return 0;
}

/* (argument & mask) == value */
static struct scmp_arg_cmp masked(unsigned arg, uint64_t mask, uint64_t value)
{
    return (struct scmp_arg_cmp){
        .arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
}

static int allow_when(scmp_filter_ctx ctx, int nr, unsigned arg, uint64_t mask, uint64_t value)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, masked(arg, mask, value));
}

/* Threads, but no processes; clone3 hides its flags behind a pointer, and the C library falls back
 * to clone on ENOSYS. */
static int add_threads(scmp_filter_ctx ctx)
{
    int r = allow_when(ctx, SCMP_SYS(clone), 0, CLONE_THREAD, CLONE_THREAD);

    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (r == 0)
        r = allow_when(ctx, SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME);
    return r;
}

/* The first n of these families. */
static int add_sockets(scmp_filter_ctx ctx, size_t n)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    int r = 0;

    for (size_t i = 0; r == 0 && i < n && i < MM_ARRAY_SIZE(families); i++)
        r = allow_when(ctx, SCMP_SYS(socket), 0, UINT32_MAX, (uint64_t)families[i]);
    return r;
}

static int add_token(scmp_filter_ctx ctx, bool network)
{
    int r = allow_all(ctx, read_calls);

    if (r == 0)
        r = allow_all(ctx, write_calls);
    if (r == 0)
        r = allow_all(ctx, module_calls);
    if (r == 0)
        r = add_threads(ctx);
    return r == 0 ? add_sockets(ctx, network ? 4 : 1) : r;
}

static int add_store(scmp_filter_ctx ctx)
{
    int r = allow_all(ctx, read_calls);

    return r == 0 ? allow_all(ctx, write_calls) : r;
}

/* SOCK_CLOEXEC and SOCK_NONBLOCK may be there too. */
static int add_stream(scmp_filter_ctx ctx, int nr, int family)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 2, masked(0, UINT32_MAX, (uint64_t)family),
                            masked(1, 0xf, SOCK_STREAM));
}

/* Only what comes in: it connects to nobody, neither by TCP's way of sending first, nor by
 * datagrams, which need no connection. What systemd is told goes over a socket from before. */
static int add_front_sockets(scmp_filter_ctx ctx)
{
    int r = add_stream(ctx, SCMP_SYS(socket), AF_INET);

    if (r == 0)
        r = add_stream(ctx, SCMP_SYS(socket), AF_INET6);
    if (r == 0)
        r = add_stream(ctx, SCMP_SYS(socketpair), AF_UNIX);
    if (r == 0)
        r = allow_when(ctx, SCMP_SYS(sendto), 3, MSG_FASTOPEN, 0);
    if (r == 0)
        r = allow_when(ctx, SCMP_SYS(sendmsg), 2, MSG_FASTOPEN, 0);
    return r;
}

/* No path at all: the launcher hands it the descriptors of the few files that it reads. */
static int add_front(scmp_filter_ctx ctx)
{
    /* libuv's; others would type at a terminal, if there is one. */
    static const unsigned long controls[] = {FIONBIO, FIOCLEX, FIONCLEX, FIONREAD};
    int r = allow_all(ctx, front_calls);

    for (size_t i = 0; r == 0 && i < MM_ARRAY_SIZE(controls); i++)
        r = allow_when(ctx, SCMP_SYS(ioctl), 1, UINT32_MAX, controls[i]);
    return r == 0 ? add_front_sockets(ctx) : r;
}

/* Opening files to read them: where names are looked up, and nothing is ever written. */
static int add_read_only(scmp_filter_ctx ctx)
{
    const uint64_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
    int r = allow_when(ctx, SCMP_SYS(openat), 2, writing, 0);

    if (r == 0 && seccomp_syscall_resolve_name("open") >= 0)
        r = allow_when(ctx, SCMP_SYS(open), 1, writing, 0);
    return r;
}

static int add_issuer(scmp_filter_ctx ctx, bool module)
{
    int r = allow_all(ctx, read_calls);

    if (r == 0)
        r = allow_all(ctx, issuer_calls);
    if (r == 0)
        r = module ? allow_all(ctx, write_calls) : add_read_only(ctx);
    if (r == 0 && module)
        r = allow_all(ctx, module_calls);
    if (r == 0)
        r = add_threads(ctx); /* names are looked up in one */
    return r == 0 ? add_sockets(ctx, 4) : r;
}

/* Reading its own limits, as the C library does for threads, but nobody else's and no setting. */
static int add_limits(scmp_filter_ctx ctx)
{
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, masked(0, UINT32_MAX, 0),
                            masked(2, UINT64_MAX, 0));
}

/* The leak sanitizer stops the process from a child of its own, at exit, and reads of it in /proc.
 */
static int add_sanitizer(scmp_filter_ctx ctx)
{
#ifdef MM_SANITIZED
    static const char *const calls[] = {
        "clone",  "ptrace",           "wait4", "prctl", "prlimit64", "kill", "open",
        "openat", "process_vm_readv", NULL};
    const int r = allow_all(ctx, read_calls);

    return r == 0 ? allow_all(ctx, calls) : r;
#else
    (void)ctx;
    return 0;
#endif
}

static int add_duty(scmp_filter_ctx ctx, enum mm_duty duty)
{
    switch (duty) {
    case MM_DUTY_TOKEN:
        return add_token(ctx, false);
    case MM_DUTY_TOKEN_NETWORK:
        return add_token(ctx, true);
    case MM_DUTY_STORE:
        return add_store(ctx);
    case MM_DUTY_FRONT:
        return add_front(ctx);
    case MM_DUTY_ISSUER:
        return add_issuer(ctx, false);
    case MM_DUTY_ISSUER_TOKEN:
        return add_issuer(ctx, true);
    }
    return -EINVAL;
}

static int build(scmp_filter_ctx ctx, enum mm_duty duty)
{
    int r = allow_all(ctx, base_calls);

    if (r == 0 && duty != MM_DUTY_FRONT)
        r = allow_all(ctx, send_calls);
    if (r == 0)
        r = add_limits(ctx);
    if (r == 0)
        r = add_duty(ctx, duty);
    if (r == 0)
        r = add_sanitizer(ctx);
    /* A module may have started threads before: they are bound too. */
    if (r == 0)
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r < 0)
        return r;
    /* Wishes, which old kernels and libraries may refuse: logging, and a filter in tree form. */
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    return seccomp_load(ctx);
}

/* valgrind does not do seccomp, and opens files of its own. Its header makes this a no-op outside
 * of valgrind, which nobody can pretend to be. */
static bool on_valgrind(void)
{
#ifdef MM_HAVE_VALGRIND
    return RUNNING_ON_VALGRIND;
#else
    return false;
#endif
}

int mm_sandbox_confine(const char *folder, struct mm_errinfo *ei)
{
    return on_valgrind() ? MM_OK : mm_landlock_enter(folder, ei);
}

int mm_sandbox_enter(enum mm_duty duty, struct mm_errinfo *ei)
{
    scmp_filter_ctx ctx;
    int r;

    if (on_valgrind())
        return MM_OK;
    ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return mm_fail_memory(ei);
    r = build(ctx, duty);
    seccomp_release(ctx);
    if (r < 0)
        return mm_fail_errno(ei, -r, "cannot enter the sandbox (seccomp)");
    return MM_OK;
}
