/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/monitor.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/front/bucket.h"
#include "daemon/front/http.h"
#include "daemon/front/metrics.h"
#include "daemon/front/metrics_issuers.h"
#include "daemon/front/metrics_jobs.h"
#include "daemon/front/metrics_transport.h"

#include <stdlib.h>
#include <string.h>

struct mm_monitor {
    const struct mm_app *app;
    struct mm_http *http;
    struct mm_bucket pages;
};

static void show_metrics(struct mm_monitor *m, struct mm_http_response *response)
{
    if (mm_bucket_take(&m->pages, mm_clock_mono_us())) {
        mm_exposition_write(&response->body, mm_metrics, mm_n_metrics, m->app);
        mm_exposition_write(&response->body, mm_transport_metrics, mm_n_transport_metrics,
                            m->app->server);
        mm_exposition_write(&response->body, mm_job_metrics, mm_n_job_metrics, m->app);
        mm_exposition_write(&response->body, mm_issuer_metrics, mm_n_issuer_metrics, m->app);
    } else {
        response->status = 429;
        mm_buf_append_str(&response->body, "too many requests\n");
    }
}

static void show_readiness(const struct mm_app *app, struct mm_http_response *response)
{
    char detail[MM_DETAIL_MAX];
    const bool ready = mm_app_is_ready(app, detail);

    mm_text_hide_paths(detail); /* nobody has said who he is */
    /* One line, whatever a token has named itself. */
    for (char *c = detail; *c; c++) {
        if ((unsigned char)*c < ' ')
            *c = ' ';
    }
    response->status = ready ? 200 : 503;
    mm_buf_printf(&response->body, "%s%s%s\n", ready ? "ready" : "", ready && detail[0] ? "; " : "",
                  detail);
}

static void handle(void *arg, const char *path, struct mm_http_response *response)
{
    struct mm_monitor *m = arg;

    if (strcmp(path, "/metrics") == 0) {
        show_metrics(m, response);
    } else if (strcmp(path, "/healthz") == 0) {
        mm_buf_append_str(&response->body, "ok\n");
    } else if (strcmp(path, "/readyz") == 0) {
        show_readiness(m->app, response);
    } else {
        response->status = 404;
        mm_buf_append_str(&response->body, "/metrics, /healthz, /readyz\n");
    }
}

int mm_monitor_new(uv_loop_t *loop, const struct mm_conf_metrics *conf, const struct mm_app *app,
                   struct mm_monitor **ret_monitor, struct mm_errinfo *ei)
{
    struct mm_monitor *m = calloc(1, sizeof(*m));
    const struct mm_http_options options = {
        .address = conf->address, .port = conf->port, .handle = handle, .arg = m};
    int r;

    if (!m)
        return mm_fail_memory(ei);
    m->app = app;
    m->pages = (struct mm_bucket)MM_BUCKET_INIT(MM_METRICS_BURST, MM_METRICS_PER_S);
    r = mm_http_new(loop, &options, &m->http, ei);
    if (r < 0) {
        free(m);
        return r;
    }
    mm_log(MM_LOG_INFO, "metrics_listening", MM_STR("address", conf->address),
           MM_UINT("port", mm_http_port(m->http)));
    *ret_monitor = m;
    return MM_OK;
}

void mm_monitor_close(struct mm_monitor *m)
{
    if (!m)
        return;
    mm_http_close(m->http);
    free(m);
}
