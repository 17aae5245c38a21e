/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plant operator's view, by HTTP: /metrics; /healthz, 200 while the loop runs; /readyz, 200 or
 * 503 with a line that says why, as Ping has it.
 */
#pragma once

#include "daemon/front/app.h"

struct mm_monitor;

/* Listens as conf says. app is borrowed, and has a server until mm_monitor_close. */
int mm_monitor_new(uv_loop_t *loop, const struct mm_conf_metrics *conf, const struct mm_app *app,
                   struct mm_monitor **ret_monitor, struct mm_errinfo *ei) MM_MUST_USE;
/* NULL is fine. */
void mm_monitor_close(struct mm_monitor *m);
