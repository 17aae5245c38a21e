/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: tracer [--disk FOLDER DURABLE] [--fake-sync] [--lazy SUFFIX] -- PROGRAM ARGUMENTS
 *
 * Runs the program and all its children, and kills at one point. Its orders come on standard input,
 * a line each; standard output says what happens, a line each:
 *
 *   phase NAME                                 points are counted from 1 again, and listed
 *   phase NAME POINT K before|after process|tree|power
 *                                              likewise; kills once, at the K-th POINT: before the
 *                                              call has happened, or after, before its process
 *                                              knows; that process, or all of them, or all and what
 *                                              was not synced is lost as well (--disk)
 * answers:
 *   pid PID          of the program, which is held until the first phase begins
 *   phase NAME       from here on
 *   point POINT K    about to happen (only in phases that kill nothing)
 *   past POINT K     it has happened, and its process is about to know; likewise
 *   killed POINT K   done; with tree and power, after all processes have ended
 *   end STATUS       the program has ended: its exit status, or minus the signal's number
 *
 * Two lies, to prove that the tests would notice: --fake-sync makes fsync and fdatasync do nothing
 * and succeed; --lazy drops what is written to files that end so, and says it was written.
 */
#include "tests/crash/tracer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reg.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
              PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL
};

enum effect { EFFECT_NONE, EFFECT_PROCESS, EFFECT_TREE, EFFECT_POWER };

static struct {
    struct disk disk;
    bool fake_sync;
    const char *lazy; /* NULL: no file is */
    pid_t program;
    int go; /* the program waits until this is written to; -1: it has begun */
    struct tracee tracees[TRACEES_MAX];
    size_t alive;
    struct {
        char point[POINT_MAX];
        unsigned count;
    } counters[COUNTERS_MAX];
    size_t n_counters;
    struct {
        char point[POINT_MAX];
        unsigned k;
        bool after;
        enum effect effect;
    } kill;
    bool listing;
    char killed[POINT_MAX + 16]; /* to be told when all have ended; empty: nothing */
    bool cut;                    /* the power goes when all have ended */
    char line[POINT_MAX + 128];  /* of standard input, so far */
    size_t line_len;
} tracer;

void give_up(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("tracer: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static struct tracee *find(pid_t pid)
{
    for (size_t i = 0; i < TRACEES_MAX; i++) {
        if (tracer.tracees[i].pid == pid)
            return &tracer.tracees[i];
    }
    return NULL;
}

/* A process that forks hands its role on; the front's child is the launcher, until it begins
 * another program. */
static struct tracee *add(pid_t pid)
{
    struct tracee *t = find(0);

    if (!t)
        give_up("more than %d processes", TRACEES_MAX);
    *t = (struct tracee){.pid = pid, .role = "launcher"};
    tracer.alive++;
    return t;
}

static void go_on(const struct tracee *t, int signal)
{
    if (ptrace(PTRACE_SYSCALL, t->pid, NULL, (void *)(uintptr_t)signal) < 0 && errno != ESRCH)
        give_up("cannot let %s go on: %s", t->role, strerror(errno));
}

/* ---- points ---------------------------------------------------------------------------------- */

static unsigned count(const char *point)
{
    size_t i = 0;

    while (i < tracer.n_counters && strcmp(tracer.counters[i].point, point) != 0)
        i++;
    if (i == COUNTERS_MAX)
        give_up("more than %d kinds of points", COUNTERS_MAX);
    if (i == tracer.n_counters) {
        tracer.counters[tracer.n_counters++].count = 0;
        snprintf(tracer.counters[i].point, POINT_MAX, "%s", point);
    }
    return ++tracer.counters[i].count;
}

static void kill_at(const struct tracee *t)
{
    const enum effect effect = tracer.kill.effect;

    tracer.kill.effect = EFFECT_NONE;
    snprintf(tracer.killed, sizeof(tracer.killed), "%s %u", tracer.kill.point, tracer.kill.k);
    kill(t->pid, SIGKILL);
    if (effect == EFFECT_PROCESS) {
        printf("killed %s\n", tracer.killed);
        tracer.killed[0] = 0;
        return;
    }
    tracer.cut = effect == EFFECT_POWER;
    for (size_t i = 0; i < TRACEES_MAX; i++) {
        if (tracer.tracees[i].pid)
            kill(tracer.tracees[i].pid, SIGKILL);
    }
}

/* Makes the call that the process is about to do no call at all. */
static void skip(struct tracee *t, int64_t result)
{
    if (ptrace(PTRACE_POKEUSER, t->pid, (void *)(sizeof(long) * ORIG_RAX), (void *)-1L) < 0)
        give_up("cannot keep %s from a call: %s", t->role, strerror(errno));
    t->skipped = true;
    t->result = result;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* What is not to happen though the process will believe it. A process that cannot be dumped could
 * not be looked into by a tracer that is not root; for the test it stays as it was. */
static void lie(struct tracee *t, const struct entry *e)
{
    if (e->nr == SYS_prctl && e->args[0] == PR_SET_DUMPABLE)
        skip(t, 0);
    else if (tracer.fake_sync && (e->nr == SYS_fsync || e->nr == SYS_fdatasync))
        skip(t, 0);
    else if (tracer.lazy && e->nr == SYS_pwrite64 && ends_with(t->point, tracer.lazy))
        skip(t, (int64_t)e->args[2]);
    if (t->skipped)
        t->path[0] = 0;
}

/* Numbers the point that the process is at; true when it is to be killed now. */
static bool meet(struct tracee *t)
{
    t->kill_after = false;
    t->k = t->point[0] ? count(t->point) : 0;
    if (t->k > 0 && tracer.listing)
        printf("point %s %u\n", t->point, t->k);
    if (t->k == 0 || tracer.kill.effect == EFFECT_NONE || t->k != tracer.kill.k ||
        strcmp(t->point, tracer.kill.point) != 0)
        return false;
    t->kill_after = tracer.kill.after;
    return !t->kill_after;
}

static void enter(struct tracee *t, const struct entry *e)
{
    t->in_call = true;
    points_name(t, e);
    if (!disk_knows(&tracer.disk, t->pid, e))
        give_up("%s makes a call %llu that the model of the disk does not know", t->role,
                (unsigned long long)e->nr);
    lie(t, e);
    if (meet(t)) {
        skip(t, 0);
        kill_at(t);
    }
}

static void leave(struct tracee *t, int64_t result)
{
    t->in_call = false;
    if (t->k > 0 && tracer.listing)
        printf("past %s %u\n", t->point, t->k);
    if (t->skipped &&
        ptrace(PTRACE_POKEUSER, t->pid, (void *)(sizeof(long) * RAX), (void *)t->result) < 0)
        give_up("cannot give %s a result: %s", t->role, strerror(errno));
    t->skipped = false;
    if (t->path[0] && result == 0)
        disk_synced(&tracer.disk, t->path);
    if (t->kill_after)
        kill_at(t);
}

static void at_call(struct tracee *t)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof(info), &info) <= 0)
        return; /* it has been killed meanwhile */
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        struct entry e = {.nr = info.entry.nr};

        memcpy(e.args, info.entry.args, sizeof(e.args));
        enter(t, &e);
    } else if (t->in_call) {
        leave(t, info.exit.rval);
    }
}

/* ---- processes ------------------------------------------------------------------------------- */

static void ended(struct tracee *t, int status)
{
    const bool program = t->pid == tracer.program;

    t->pid = 0;
    tracer.alive--;
    if (program)
        printf("end %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
}

static void stopped(struct tracee *t, int status)
{
    const int event = status >> 16;
    const int signal = WSTOPSIG(status);

    if (signal == (SIGTRAP | 0x80)) {
        at_call(t);
        go_on(t, 0);
    } else if (event == PTRACE_EVENT_EXEC) {
        points_role(t);
        go_on(t, 0);
    } else {
        go_on(t, event ? 0 : signal);
    }
}

static void look_after_processes(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
        struct tracee *t = find(pid);

        if (!t)
            t = add(pid);
        if (WIFSTOPPED(status))
            stopped(t, status);
        else
            ended(t, status);
    }
}

/* ---- orders ---------------------------------------------------------------------------------- */

static enum effect effect_named(const char *name)
{
    static const char *const names[] = {"", "process", "tree", "power"};

    for (unsigned i = EFFECT_PROCESS; i <= EFFECT_POWER; i++) {
        if (strcmp(names[i], name) == 0 && (i != EFFECT_POWER || tracer.disk.folder))
            return (enum effect)i;
    }
    give_up("no such effect here: %s", name);
}

/* Who waits for a message when a phase begins waits for the first one of it. */
static void meet_waiting(void)
{
    for (size_t i = 0; i < TRACEES_MAX; i++) {
        struct tracee *t = &tracer.tracees[i];

        t->kill_after = false;
        t->k = 0;
        if (t->pid && t->in_call && t->receives && meet(t))
            kill_at(t);
    }
}

static void obey(const char *line)
{
    char name[64] = "", point[POINT_MAX] = "", when[16] = "", effect[16] = "";
    unsigned k = 0;
    const int n =
        sscanf(line, "phase %63s %127s %u %15s %15s", name, point, &k, when, effect); /* NOLINT */

    if (n != 1 && n != 5)
        give_up("cannot make sense of \"%s\"", line);
    if (tracer.killed[0])
        return; /* all are dying in the phase before */
    tracer.n_counters = 0;
    tracer.listing = n == 1;
    tracer.kill.effect = n == 1 ? EFFECT_NONE : effect_named(effect);
    tracer.kill.k = k;
    tracer.kill.after = strcmp(when, "after") == 0;
    snprintf(tracer.kill.point, sizeof(tracer.kill.point), "%s", point);
    printf("phase %s\n", name);
    meet_waiting();
    if (tracer.go >= 0) {
        if (write(tracer.go, "", 1) != 1)
            give_up("the program did not wait");
        close(tracer.go);
        tracer.go = -1;
    }
}

/* Standard input closes when whoever gave the orders is gone: then all ends. */
static void read_orders(void)
{
    char *end;
    const ssize_t n = read(STDIN_FILENO, tracer.line + tracer.line_len,
                           sizeof(tracer.line) - 1 - tracer.line_len);

    if (n <= 0)
        exit(0);
    tracer.line_len += (size_t)n;
    tracer.line[tracer.line_len] = 0;
    while ((end = strchr(tracer.line, '\n'))) {
        *end = 0;
        obey(tracer.line);
        tracer.line_len -= (size_t)(end + 1 - tracer.line);
        memmove(tracer.line, end + 1, tracer.line_len + 1);
    }
    if (tracer.line_len == sizeof(tracer.line) - 1)
        give_up("an order too long");
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void begin(char **argv, const sigset_t *mask)
{
    int go[2];
    char byte;

    if (pipe2(go, 0) < 0)
        give_up("no pipe: %s", strerror(errno));
    tracer.program = fork();
    if (tracer.program == 0) {
        close(go[1]);
        sigprocmask(SIG_SETMASK, mask, NULL);
        if (read(go[0], &byte, 1) != 1)
            _exit(126);
        close(go[0]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(go[0]);
    tracer.go = go[1];
    if (tracer.program < 0 || ptrace(PTRACE_SEIZE, tracer.program, NULL, (void *)OPTIONS) < 0) {
        fprintf(stderr, "tracer: this system lets nobody trace: %s\n", strerror(errno));
        exit(77);
    }
    add(tracer.program);
    printf("pid %d\n", tracer.program);
    ptrace(PTRACE_INTERRUPT, tracer.program, NULL, NULL);
}

static int options(int argc, char **argv)
{
    int i = 1;

    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--fake-sync") == 0) {
            tracer.fake_sync = true;
        } else if (strcmp(argv[i], "--lazy") == 0 && i + 1 < argc) {
            tracer.lazy = argv[++i];
        } else if (strcmp(argv[i], "--disk") == 0 && i + 2 < argc) {
            tracer.disk = (struct disk){argv[i + 1], argv[i + 2]};
            i += 2;
        } else {
            give_up("unknown option %s", argv[i]);
        }
    }
    if (i + 1 >= argc)
        give_up("no program");
    return i + 1;
}

static void run(int children_fd)
{
    struct pollfd fds[] = {{.fd = children_fd, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    struct signalfd_siginfo info;

    while (tracer.alive > 0) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            give_up("poll: %s", strerror(errno));
        if (fds[0].revents && read(children_fd, &info, sizeof(info)) > 0)
            look_after_processes();
        if (fds[1].revents)
            read_orders();
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    const int program = options(argc, argv);
    sigset_t children, before;
    int children_fd;

    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    sigprocmask(SIG_BLOCK, &children, &before);
    children_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children_fd < 0)
        give_up("no signalfd: %s", strerror(errno));
    begin(argv + program, &before);
    fflush(stdout);
    run(children_fd);
    if (tracer.cut)
        disk_cut(&tracer.disk);
    if (tracer.killed[0])
        printf("killed %s\n", tracer.killed);
    return 0;
}
