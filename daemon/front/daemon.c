/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/daemon.h"

#include "daemon/base/clock.h"
#include "daemon/front/app.h"
#include "daemon/front/files.h"
#include "daemon/front/metrics.h"
#include "daemon/front/monitor.h"
#include "daemon/front/notify.h"
#include "daemon/front/programs.h"
#include "daemon/front/trusting.h"
#include "daemon/ipc/worker.h"

#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { TERM, INT, HUP, SIGNALS };

/* A configuration that a reload has read, and what was made of it. */
struct mm_next {
    struct mm_source source;
    SSL_CTX *tls;
    struct mm_monitor *monitor; /* may be the one that runs */
    bool has_monitor;           /* it is set */
    bool trusted;               /* other certificates of OEM or officers are to be taken */
};

struct mm_daemon {
    uv_loop_t loop;
    uv_signal_t signals[SIGNALS];
    uv_timer_t watchdog;
    struct mm_launcher *launcher;
    struct mm_files files;
    struct mm_server *server;
    struct mm_monitor *monitor; /* NULL: not configured */
    struct mm_source source;
    struct mm_next next; /* while reloading */
    bool reloading;
    bool reload_again; /* asked for meanwhile */
    struct mm_app app;
    struct mm_trusting trusting;
    bool stopping;
    struct mm_errinfo failure; /* what ended the service, MM_OK if it was told to */
};

/* ---- the configuration ------------------------------------------------------------------- */

/* In the launcher's process for it; checked as --check-config does. */
static int read_config(const char *path, struct mm_buf *text, struct mm_buf *trusted,
                       struct mm_errinfo *ei)
{
    struct mm_source source = MM_SOURCE_INIT;
    const int r = mm_source_load(path, &source, ei);

    if (r == MM_OK) {
        mm_buf_done(text);
        mm_buf_done(trusted);
        *text = source.text;
        *trusted = source.trusted;
        source.text = source.trusted = MM_BUF_INIT(0);
    }
    mm_source_done(&source);
    return r;
}

/* On a reload: by descriptors, since this process opens no file any more. */
static int load_again(struct mm_daemon *d, struct mm_errinfo *ei)
{
    const char *path = d->source.conf->path;
    struct mm_source *const source = &d->next.source;
    int r = mm_files_read_config(&d->files, &source->text, &d->next.trusted, ei);

    if (r == MM_OK)
        r = mm_conf_parse(path, (const char *)source->text.data, source->text.len, &source->conf,
                          ei);
    return r;
}

static int read_tls(struct mm_daemon *d, struct mm_tls_files *files, struct mm_errinfo *ei)
{
    int r = mm_files_read(&d->files, MM_FILE_CERTIFICATE, MM_PEM_FILE_MAX, &files->certificate, ei);

    if (r == MM_OK)
        r = mm_files_read(&d->files, MM_FILE_KEY, MM_PEM_FILE_MAX, &files->key, ei);
    if (r == MM_OK)
        r = mm_files_read(&d->files, MM_FILE_CLIENT_CA, MM_PEM_FILE_MAX, &files->client_ca, ei);
    return r;
}

/* ---- the end ----------------------------------------------------------------------------- */

static void close_rest(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* The last worker is gone; when the last handle is, uv_run returns. */
static void on_app_stopped(void *arg)
{
    struct mm_daemon *d = arg;

    mm_launcher_free(MM_TAKE(d->launcher));
    for (size_t i = 0; i < SIGNALS; i++)
        uv_close((uv_handle_t *)&d->signals[i], NULL);
    uv_close((uv_handle_t *)&d->watchdog, NULL);
}

static void on_drained(void *arg)
{
    struct mm_daemon *d = arg;

    mm_monitor_close(MM_TAKE(d->monitor));
    d->app.server = NULL;
    mm_server_free(MM_TAKE(d->server));
    mm_app_stop(&d->app, false, on_app_stopped, d);
}

static void stop(struct mm_daemon *d, const char *why)
{
    d->stopping = true;
    mm_log(MM_LOG_INFO, "stopping", MM_STR("why", why));
    mm_notify("STOPPING=1");
    mm_trusting_stop(&d->trusting);
    mm_app_drain(&d->app);
    mm_server_drain(d->server, d->source.conf->limits.drain_timeout_ms, on_drained, d);
}

static void fail(struct mm_daemon *d, enum mm_err code, const char *reason, const char *text)
{
    if (d->failure.code == MM_OK)
        mm_fail(&d->failure, code, reason, "%s", text);
}

/* Workers cannot be started without it, and those that ran have ended with it. */
static void on_launcher_lost(void *arg)
{
    struct mm_daemon *d = arg;

    fail(d, MM_ERR_INTERNAL, "LAUNCHER_LOST", "the launcher has ended");
    mm_log_error("launcher_lost", NULL, &d->failure);
    _exit(EXIT_FAILURE);
}

/* ---- reload ------------------------------------------------------------------------------ */

static bool same_listener(const struct mm_conf_metrics *a, const struct mm_conf_metrics *b)
{
    return a->given == b->given && a->port == b->port && strcmp(a->address, b->address) == 0;
}

/* The monitor of the next configuration, which may be the one that runs. */
static int next_monitor(struct mm_daemon *d, const struct mm_conf *next,
                        struct mm_monitor **ret_monitor, struct mm_errinfo *ei)
{
    *ret_monitor = NULL;
    if (same_listener(&d->source.conf->metrics, &next->metrics))
        *ret_monitor = d->monitor;
    else if (next->metrics.given)
        return mm_monitor_new(&d->loop, &next->metrics, &d->app, ret_monitor, ei);
    return MM_OK;
}

/* What a reload brings, until it is in force: first all that may fail, since the change of an audit
 * key, which takes a while, cannot be taken back. */
static int prepare(struct mm_daemon *d, struct mm_errinfo *ei)
{
    struct mm_next *const n = &d->next;
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    int r = load_again(d, ei);

    if (r == MM_OK)
        r = mm_conf_check_reload(d->source.conf, n->source.conf, ei);
    if (r == MM_OK)
        r = next_monitor(d, n->source.conf, &n->monitor, ei);
    if (r < 0)
        return r;
    n->has_monitor = true;
    r = read_tls(d, &files, ei);
    if (r == MM_OK)
        r = mm_server_tls_new(d->server, n->source.conf, &files, &n->tls, ei);
    mm_tls_files_done(&files);
    return r;
}

/* Of what was prepared, what was not taken. */
static void drop_next(struct mm_daemon *d)
{
    struct mm_next *const n = &d->next;

    if (n->has_monitor && n->monitor != d->monitor)
        mm_monitor_close(n->monitor);
    SSL_CTX_free(n->tls);
    mm_source_done(&n->source);
    *n = (struct mm_next){.source = MM_SOURCE_INIT};
}

/* All of it, or nothing. */
static int commit(struct mm_daemon *d, struct mm_errinfo *ei)
{
    struct mm_next *const n = &d->next;
    struct mm_monitor *const monitor = d->monitor;
    const struct mm_bytes text = {n->source.text.data, n->source.text.len};
    int r = mm_app_reconfigure(&d->app, n->source.conf, text, ei);

    if (r < 0)
        return r;
    mm_server_reconfigure(d->server, n->source.conf, MM_TAKE(n->tls));
    d->monitor = n->monitor;
    if (monitor != d->monitor)
        mm_monitor_close(monitor);
    mm_source_done(&d->source);
    d->source = n->source;
    n->source = MM_SOURCE_INIT;
    return MM_OK;
}

static void reload(struct mm_daemon *d);

static void end_reload(struct mm_daemon *d, const struct mm_errinfo *failure)
{
    const bool again = d->reload_again;

    drop_next(d);
    d->reloading = d->reload_again = false;
    if (failure) {
        mm_log_error("reload_failed", NULL, failure);
    } else {
        mm_log_setup("front", d->source.conf->log_level);
        mm_log(MM_LOG_INFO, "reloaded", MM_STR("config", d->source.conf->path));
    }
    mm_notify("READY=1");
    if (again && !d->stopping)
        reload(d);
}

static void on_trusted(void *arg, const struct mm_errinfo *failure)
{
    struct mm_daemon *d = arg;
    struct mm_errinfo ei = {0};

    if (!failure && commit(d, &ei) < 0)
        failure = &ei;
    end_reload(d, failure);
}

/* All that is left to refuse has been refused: the certificates were parsed as the store does it.
 */
static void take_next(struct mm_daemon *d)
{
    mm_trusting_take(&d->trusting, d->next.trusted, on_trusted, d);
}

/* From here on the store must not be started with the configuration before. */
static void on_key_changed(void *arg, const struct mm_errinfo *failure)
{
    struct mm_daemon *d = arg;
    const struct mm_bytes text = {d->next.source.text.data, d->next.source.text.len};

    if (failure) {
        end_reload(d, failure);
        return;
    }
    mm_log(MM_LOG_INFO, "audit_key_changed",
           MM_STR("key", d->next.source.conf->appliance.audit_key),
           MM_STR("certificate", d->next.source.conf->appliance.audit_certificate));
    if (d->app.store && mm_pool_set_conf(d->app.store, text) < 0)
        mm_log(MM_LOG_ERROR, "out_of_memory", MM_STR("what", "the store's configuration"));
    take_next(d);
}

/* A second signal while a reload is under way has it all read again after it. */
static void reload(struct mm_daemon *d)
{
    struct mm_errinfo ei = {0};
    char state[64];

    if (d->reloading) {
        d->reload_again = true;
        return;
    }
    d->reloading = true;
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)mm_clock_mono_us());
    mm_notify(state);
    if (prepare(d, &ei) < 0)
        end_reload(d, &ei);
    else if (mm_app_keeps_key(&d->app, d->next.source.conf))
        take_next(d);
    else
        mm_anchoring_change_key(&d->app.anchoring, &d->next.source.conf->appliance, on_key_changed,
                                d);
}

/* ---- events ------------------------------------------------------------------------------ */

static void on_signal(uv_signal_t *handle, int signum)
{
    struct mm_daemon *d = handle->data;

    if (signum == SIGHUP) {
        if (!d->stopping)
            reload(d);
    } else if (!d->stopping) {
        stop(d, signum == SIGTERM ? "SIGTERM" : "SIGINT");
    } else {
        /* Asked twice: at once. The workers end with this process, the store between two
         * transactions or undoing one. */
        mm_log(MM_LOG_WARNING, "stopped_at_once");
        _exit(EXIT_SUCCESS);
    }
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    mm_notify("WATCHDOG=1");
}

static void on_status(void *arg)
{
    struct mm_daemon *d = arg;
    char text[MM_DETAIL_MAX];

    if (mm_app_is_ready(&d->app, text))
        snprintf(text, sizeof(text), "ready; %u token workers", mm_mints_ready(d->app.mints));
    mm_notify_status(text);
    if (d->app.store_in_use && !d->stopping && d->server) {
        fail(d, MM_ERR_EXISTS, "STORE_IN_USE", mm_pool_why(d->app.store)->text);
        stop(d, "STORE_IN_USE");
    }
}

/* ---- start ------------------------------------------------------------------------------- */

static int start_signals(struct mm_daemon *d, struct mm_errinfo *ei)
{
    static const int numbers[SIGNALS] = {[TERM] = SIGTERM, [INT] = SIGINT, [HUP] = SIGHUP};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < SIGNALS; i++) {
        int r = uv_signal_init(&d->loop, &d->signals[i]);

        d->signals[i].data = d;
        if (r == 0)
            r = uv_signal_start(&d->signals[i], on_signal, numbers[i]);
        if (r < 0)
            return mm_fail_errno(ei, -r, "cannot wait for signals");
    }
    uv_timer_init(&d->loop, &d->watchdog);
    if (mm_notify_watchdog_ms() > 0)
        uv_timer_start(&d->watchdog, on_watchdog, 0, mm_notify_watchdog_ms());
    return MM_OK;
}

/* What libraries read from files at first use, before the sandbox refuses it: OpenSSL its
 * configuration, the C library its time zone. */
static int wake_libraries(struct mm_errinfo *ei)
{
    tzset();
    if (OPENSSL_init_ssl(0, NULL) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "TLS_SETUP", "OpenSSL does not start");
    return MM_OK;
}

/* Every connection and worker takes a descriptor; the soft limit is often 1024. */
static void raise_limits(void)
{
    struct rlimit files;
    unsigned seed = 0;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* For the jitter of restarts only. */
    if (RAND_bytes((unsigned char *)&seed, sizeof(seed)) == 1)
        srandom(seed);
}

static int start_server(struct mm_daemon *d, struct mm_errinfo *ei)
{
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    int r = read_tls(d, &files, ei);

    if (r == MM_OK)
        r = mm_server_new(&d->loop, d->source.conf, &files, mm_rpcs, mm_n_rpcs, &d->app, &d->server,
                          ei);
    mm_tls_files_done(&files);
    return r;
}

/* The listeners first: a second service fails on its port before it bothers token and store. */
static int start(struct mm_daemon *d, int launcher_fd, struct mm_errinfo *ei)
{
    const struct mm_conf *conf = d->source.conf;
    int r;

    r = mm_launcher_new(&d->loop, launcher_fd, on_launcher_lost, d, &d->launcher, ei);
    if (r == MM_OK)
        r = start_signals(d, ei);
    if (r == MM_OK)
        r = start_server(d, ei);
    if (r < 0)
        return r;
    d->app.server = d->server;
    d->app.on_status = on_status;
    d->app.on_status_arg = d;
    if (conf->metrics.given)
        r = mm_monitor_new(&d->loop, &conf->metrics, &d->app, &d->monitor, ei);
    if (r < 0)
        return r;
    r = mm_app_start(&d->app, &d->loop, d->launcher, conf,
                     (struct mm_bytes){d->source.text.data, d->source.text.len}, ei);
    if (r == MM_OK && mm_trusting_start(&d->trusting, &d->app) < 0)
        r = mm_fail_memory(ei);
    return r;
}

static int serve(struct mm_daemon *d, struct mm_errinfo *ei)
{
    mm_log(MM_LOG_INFO, "started", MM_STR("version", MM_VERSION),
           MM_STR("config", d->source.conf->path));
    mm_notify("READY=1");
    uv_run(&d->loop, UV_RUN_DEFAULT);
    mm_app_done(&d->app);
    *ei = d->failure;
    mm_log(MM_LOG_INFO, "stopped");
    return d->failure.code;
}

static int fork_launcher(const struct mm_source *source, int *ret_fd, int *ret_files_fd,
                         struct mm_errinfo *ei)
{
    const struct mm_conf_listen *listen = &source->conf->listen;
    const struct mm_files_plan plan = {
        .config = source->conf->path,
        .paths = {[MM_FILE_CERTIFICATE] = listen->certificate,
                  [MM_FILE_KEY] = listen->key,
                  [MM_FILE_CLIENT_CA] = listen->client_ca},
        .read_config = read_config,
        .trusted = {source->trusted.data, source->trusted.len},
    };
    const struct mm_bytes text = {source->text.data, source->text.len};
    uint8_t config[MM_HANDED_DIGEST];
    struct mm_programs programs;
    const char *paths[MM_PROGRAMS];
    int r = mm_programs_find(&programs, ei);

    if (r == MM_OK)
        r = mm_seal_config(source->conf->path, text, config, ei);
    if (r < 0)
        return r;
    for (size_t i = 0; i < MM_PROGRAMS; i++)
        paths[i] = programs.paths[i];
    return mm_launcher_fork(paths, config, &plan, ret_fd, ret_files_fd, ei);
}

int mm_daemon_run(struct mm_source *source, struct mm_errinfo *ei)
{
    static struct mm_daemon daemon;
    int launcher_fd;
    int r;

    mm_log_setup("front", source->conf->log_level);
    daemon.files.timeout_ms = MM_FILES_TIMEOUT_MS;
    r = fork_launcher(source, &launcher_fd, &daemon.files.launcher.fd, ei);
    if (r == MM_OK)
        r = wake_libraries(ei);
    if (r < 0)
        return r;
    mm_notify_open();
    mm_metrics_open();
    raise_limits();
    /* Before the loop: libuv from 1.45 on would keep a ring of io_uring, by which system calls get
     * round the filter, and from 1.50 on rely on it. Refused the ring, it does without. */
    r = mm_sandbox_enter(MM_DUTY_FRONT, ei);
    if (r < 0)
        return r;
    if (uv_loop_init(&daemon.loop) < 0)
        return mm_fail_memory(ei);
    daemon.source = *source;
    *source = MM_SOURCE_INIT;
    daemon.next.source = MM_SOURCE_INIT;
    r = start(&daemon, launcher_fd, ei);
    if (r == MM_OK)
        r = serve(&daemon, ei);
    uv_walk(&daemon.loop, close_rest, NULL);
    uv_run(&daemon.loop, UV_RUN_NOWAIT);
    mm_source_done(&daemon.next.source);
    SSL_CTX_free(daemon.next.tls);
    mm_source_done(&daemon.source);
    return r;
}
