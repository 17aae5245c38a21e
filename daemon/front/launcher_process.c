/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's own process. Blocking, single-threaded, and it reads nothing but fixed-size
 * requests of the front; files that it opens it hands on unread. */
#include "daemon/base/limits.h"
#include "daemon/base/secret.h"
#include "daemon/front/launcher_wire.h"
#include "daemon/ipc/descriptor.h"
#include "daemon/ipc/trusted.h"
#include "daemon/ipc/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SOCKET_FD = 3, FILES_FD = 4, FIRST_SPARE_FD = 5, NO_LINE = MM_TRUSTED_LINES };

/* The front decides what ends; a signal to the whole group (a terminal's, a careless kill) must not
 * take the workers away under its hands. */
static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};

struct child {
    uint64_t id;
    pid_t pid;
    size_t line; /* of a store; NO_LINE: it has none */
};

struct launcher {
    const char *const *paths;
    const struct mm_files_plan *files; /* NULL: it opens none */
    struct mm_trusted_keeper trusted;
    struct mm_handed handed; /* what workers get */
    int children_fd;         /* readable when children have ended */
    struct child children[MM_PROCESSES_MAX];
    size_t n_children;
    char *environment[8];
};

static void tell(const struct mm_launch_event *e)
{
    /* The front is gone when this fails; the next read says so. */
    (void)send(SOCKET_FD, e, sizeof(*e), MSG_NOSIGNAL);
}

/* What workers get to see of the environment: where systemd has put credentials, and, for builds
 * with sanitizers, their options; and how glibc shall allocate. SoftHSM makes and frees hundreds of
 * small pieces for each device, of which glibc keeps but seven of a size at hand: with more of them
 * a device takes an eighth less of the token's CPU. Other C libraries don't know the variable. */
static void choose_environment(struct launcher *l)
{
    static const char *const passed[] = {"CREDENTIALS_DIRECTORY", "ASAN_OPTIONS", "LSAN_OPTIONS",
                                         "UBSAN_OPTIONS"};
    size_t n = 0;

    if (asprintf(&l->environment[n], "GLIBC_TUNABLES=glibc.malloc.tcache_count=512") > 0)
        n++;

    for (size_t i = 0; i < MM_ARRAY_SIZE(passed); i++) {
        const char *value = getenv(passed[i]);

        if (value && asprintf(&l->environment[n], "%s=%s", passed[i], value) > 0)
            n++;
    }
    l->environment[n] = NULL;
}

static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes,
                   int channel_fd, int trusted_fd, int handed_fd)
{
    sigset_t none;
    sigset_t defaults;
    int r;

    sigemptyset(&none);
    sigemptyset(&defaults);
    for (size_t i = 0; i < MM_ARRAY_SIZE(ignored); i++)
        sigaddset(&defaults, ignored[i]);
    r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                 POSIX_SPAWN_SETSID);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attributes, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attributes, &defaults);
    /* Replaces this process's own sockets in the child; closes nothing here. */
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, channel_fd, MM_WORKER_FD);
    if (r == 0 && trusted_fd >= 0)
        r = posix_spawn_file_actions_adddup2(actions, trusted_fd, MM_TRUSTED_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(actions, handed_fd, MM_HANDED_FD);
    return r;
}

static int spawn(struct launcher *l, const char *path, int channel_fd, int trusted_fd,
                 int handed_fd, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *copy = strdup(path);
    char *argv[] = {copy, NULL};
    int r;

    if (!copy)
        return ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    r = prepare(&actions, &attributes, channel_fd, trusted_fd, handed_fd);
    if (r == 0)
        r = posix_spawn(ret_pid, path, &actions, &attributes, argv, l->environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    free(copy);
    return r;
}

/* A store with its line, which no other program gets; and no key for issuers, which talk to the
 * outside and have nothing to do with proofs. */
static int spawn_program(struct launcher *l, uint32_t program, int channel_fd, size_t *ret_line,
                         pid_t *ret_pid)
{
    MM_CLOSE int trusted_fd = -1, handed_fd = -1;
    struct mm_errinfo ei;
    int error;

    *ret_line = NO_LINE;
    if (mm_handed_pipe(&l->handed, program != MM_PROGRAM_ISSUER, &handed_fd, &ei) < 0)
        return EAGAIN;
    if (program == MM_PROGRAM_STORE && mm_trusted_open(&l->trusted, ret_line, &trusted_fd, &ei) < 0)
        return EAGAIN;
    error = spawn(l, l->paths[program], channel_fd, trusted_fd, handed_fd, ret_pid);
    if (error != 0 && *ret_line != NO_LINE)
        mm_trusted_close(&l->trusted, *ret_line);
    return error;
}

static void start(struct launcher *l, const struct mm_launch_request *request, int channel_fd)
{
    struct mm_launch_event e = {.kind = MM_LAUNCH_EXITED, .id = request->id, .error = EINVAL};
    size_t line;
    pid_t pid = 0;

    if (request->program < MM_PROGRAMS && channel_fd >= 0 && l->n_children < MM_PROCESSES_MAX)
        e.error = spawn_program(l, request->program, channel_fd, &line, &pid);
    if (e.error == 0) {
        l->children[l->n_children++] = (struct child){request->id, pid, line};
        e.kind = MM_LAUNCH_STARTED;
        e.pid = pid;
    }
    tell(&e);
}

/* Only ever kills its own children, which keep their number until they are waited for. */
static void kill_child(struct launcher *l, uint64_t id)
{
    for (size_t i = 0; i < l->n_children; i++) {
        if (l->children[i].id == id)
            kill(l->children[i].pid, SIGKILL);
    }
}

static void reap(struct launcher *l)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(l->children_fd, &info, sizeof(info)) > 0)
        continue;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < l->n_children; i++) {
            if (l->children[i].pid != pid)
                continue;
            tell(&(struct mm_launch_event){
                .kind = MM_LAUNCH_EXITED, .id = l->children[i].id, .pid = pid, .status = status});
            if (l->children[i].line != NO_LINE)
                mm_trusted_close(&l->trusted, l->children[i].line);
            l->children[i] = l->children[--l->n_children];
            break;
        }
    }
}

/* False when the front has gone. */
static bool serve_request(struct launcher *l)
{
    struct mm_launch_request request;
    MM_CLOSE int channel_fd = -1;
    const ssize_t n = mm_descriptor_receive(SOCKET_FD, &request, sizeof(request), &channel_fd);

    if (n < 0 && errno == EINTR)
        return true;
    if (n != (ssize_t)sizeof(request))
        return false;
    if (request.kind == MM_LAUNCH_START)
        start(l, &request, channel_fd);
    else
        kill_child(l, request.id);
    return true;
}

enum { FIXED = 3 };

static void serve(struct launcher *l)
{
    struct pollfd fds[FIXED + MM_TRUSTED_LINES] = {
        {.fd = SOCKET_FD, .events = POLLIN},
        {.fd = l->children_fd, .events = POLLIN},
        {.fd = l->files ? FILES_FD : -1, .events = POLLIN}};

    for (;;) {
        for (size_t i = 0; i < MM_TRUSTED_LINES; i++)
            fds[FIXED + i] = (struct pollfd){
                .fd = l->trusted.lines[i].used ? l->trusted.lines[i].fd : -1, .events = POLLIN};
        if (poll(fds, MM_ARRAY_SIZE(fds), -1) < 0) {
            if (errno != EINTR)
                return;
            continue;
        }
        for (size_t i = 0; i < MM_TRUSTED_LINES; i++) {
            if (fds[FIXED + i].revents)
                mm_trusted_serve(&l->trusted, i);
        }
        if (fds[1].revents)
            reap(l);
        if (fds[0].revents && !serve_request(l))
            return;
        if (fds[2].revents && !mm_files_serve(l->files, &l->trusted, &l->handed, FILES_FD))
            return;
    }
}

/* Workers ask the kernel to end with this process (daemon/ipc/worker.c), but one that has only just
 * been started may not have got that far, and may then hang in a module for good. */
static void end_children(const struct launcher *l)
{
    for (size_t i = 0; i < l->n_children; i++)
        kill(l->children[i].pid, SIGKILL);
}

/* Standard input and output are nothing; only the log's descriptor stays. */
static int keep_descriptors(int socket_fd, int files_fd)
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* Out of each other's way first. */
    const int socket_copy = fcntl(socket_fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);
    const int files_copy = files_fd < 0 ? -1 : fcntl(files_fd, F_DUPFD_CLOEXEC, FIRST_SPARE_FD);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return -1;
    if (socket_copy < 0 || dup3(socket_copy, SOCKET_FD, O_CLOEXEC) < 0)
        return -1;
    if (files_fd < 0)
        (void)close(FILES_FD);
    else if (files_copy < 0 || dup3(files_copy, FILES_FD, O_CLOEXEC) < 0)
        return -1;
    closefrom(FIRST_SPARE_FD);
    return 0;
}

/* After keep_descriptors, which keeps no other. */
static int hold_trusted(struct launcher *l, struct mm_errinfo *ei)
{
    int set;
    int r = mm_trusted_make(&set, ei);

    if (r < 0)
        return r;
    mm_trusted_keep(&l->trusted, set);
    return mm_trusted_fill(set, l->files ? l->files->trusted : (struct mm_bytes){NULL, 0}, ei);
}

static int run(const char *const paths[MM_PROGRAMS], const uint8_t config[MM_HANDED_DIGEST],
               const struct mm_files_plan *files, int socket_fd, int files_fd)
{
    static struct launcher l;
    struct mm_errinfo ei;
    sigset_t children;

    l.paths = paths;
    l.files = files;
    prctl(PR_SET_NAME, "mintmark-launch");
    for (size_t i = 0; i < MM_ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    mm_handed_add(&l.handed, config);
    /* Only now, in this process: the front never has the key. */
    if (mm_secret_harden_process(&ei) < 0 || mm_handed_draw(&l.handed, &ei) < 0 ||
        keep_descriptors(socket_fd, files_fd) < 0 || sigprocmask(SIG_BLOCK, &children, NULL) < 0 ||
        hold_trusted(&l, &ei) < 0)
        return 1;
    l.children_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (l.children_fd < 0)
        return 1;
    choose_environment(&l);
    serve(&l);
    end_children(&l);
    mm_handed_done(&l.handed);
    return 0;
}

/* Both ends -1 when it is not wanted. */
static int make_socket(bool wanted, int fd[2], struct mm_errinfo *ei)
{
    fd[0] = fd[1] = -1;
    if (wanted && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) < 0)
        return mm_fail_errno(ei, errno, "cannot make the launcher's socket");
    return MM_OK;
}

int mm_launcher_fork(const char *const paths[MM_PROGRAMS], const uint8_t config[MM_HANDED_DIGEST],
                     const struct mm_files_plan *files, int *ret_fd, int *ret_files_fd,
                     struct mm_errinfo *ei)
{
    MM_CLOSE int front = -1, front_files = -1, own = -1, own_files = -1;
    int fd[2];
    pid_t pid;
    int r = make_socket(true, fd, ei);

    if (r < 0)
        return r;
    front = fd[0];
    own = fd[1];
    r = make_socket(files, fd, ei);
    if (r < 0)
        return r;
    front_files = fd[0];
    own_files = fd[1];
    pid = fork();
    if (pid < 0)
        return mm_fail_errno(ei, errno, "cannot fork the launcher");
    if (pid == 0)
        _exit(run(paths, config, files, own, own_files));
    *ret_fd = front;
    if (files)
        *ret_files_fd = front_files;
    front = front_files = -1;
    return MM_OK;
}
