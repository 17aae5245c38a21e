/* SPDX-License-Identifier: Apache-2.0 */
#include "client/site.h"

#include "client/error.h"
#include "daemon/base/io.h"

#include <confuse.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>

enum { FILE_MAX = 64 * 1024, TIME_MS_MAX = 24 * 3600 * 1000 };

/* libconfuse hands its error function nothing of ours. */
static struct {
    const char *path;
    struct mintmark_error error;
} parsing;

static void MM_PRINTF(2, 0) take_error(cfg_t *cfg, const char *format, va_list ap)
{
    char text[128];

    /* The first error is the cause of the others. */
    if (parsing.error.status != MINTMARK_OK)
        return;
    vsnprintf(text, sizeof(text), format, ap);
    mm_client_fail(&parsing.error, MINTMARK_INVALID_ARGUMENT, "BAD_SITE_FILE", "%s:%d: %s",
                   parsing.path, cfg ? cfg->line : 0, text);
}

static int check_time(cfg_t *cfg, cfg_opt_t *option)
{
    const long value = cfg_opt_getnint(option, 0);

    if (value >= 0 && value <= TIME_MS_MAX)
        return 0;
    cfg_error(cfg, "%s must be 0 to %d", cfg_opt_name(option), TIME_MS_MAX);
    return -1;
}

static int read_text(const char *path, struct mm_buf *text, struct mintmark_error *error)
{
    struct mm_errinfo ei;

    if (mm_io_read_file(path, FILE_MAX, text, &ei) < 0)
        return mm_client_fail_base(error, &ei);
    if (!mm_buf_cstr(text))
        return mm_client_fail_memory(error);
    if (text->len > 0 && memchr(text->data, 0, text->len))
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_SITE_FILE",
                              "%s: not a text file", path);
    return 0;
}

/* A copy of the setting; a path is taken from the file's folder. false without memory. */
static bool take(cfg_t *cfg, const char *name, const char *folder, char **ret_text)
{
    const char *text = cfg_getstr(cfg, name);
    int n;

    *ret_text = NULL;
    if (!text || !*text)
        return true;
    if (!folder || *text == '/') {
        *ret_text = strdup(text);
        return *ret_text != NULL;
    }
    n = asprintf(ret_text, "%s/%s", folder, text);
    if (n < 0)
        *ret_text = NULL;
    return n >= 0;
}

static int take_settings(cfg_t *cfg, const char *path, struct mm_site *site,
                         struct mintmark_error *error)
{
    MM_FREE char *copy = strdup(path);
    const char *folder;

    if (!copy)
        return mm_client_fail_memory(error);
    folder = dirname(copy);
    site->timeout_ms = (uint32_t)cfg_getint(cfg, "timeout_ms");
    site->keepalive_ms = (uint32_t)cfg_getint(cfg, "keepalive_ms");
    site->compress = cfg_getbool(cfg, "compress") == cfg_true;
    if (take(cfg, "target", NULL, &site->target) &&
        take(cfg, "server_name", NULL, &site->server_name) &&
        take(cfg, "ca", folder, &site->ca_file) &&
        take(cfg, "certificate", folder, &site->certificate_file) &&
        take(cfg, "key", folder, &site->key_file))
        return 0;
    return mm_client_fail_memory(error);
}

static int parse(const char *path, const char *text, struct mm_site *site,
                 struct mintmark_error *error)
{
    cfg_opt_t options[] = {
        CFG_STR("target", NULL, CFGF_NONE),
        CFG_STR("server_name", NULL, CFGF_NONE),
        CFG_STR("ca", NULL, CFGF_NONE),
        CFG_STR("certificate", NULL, CFGF_NONE),
        CFG_STR("key", NULL, CFGF_NONE),
        CFG_INT("timeout_ms", 0, CFGF_NONE),
        CFG_INT("keepalive_ms", 0, CFGF_NONE),
        CFG_BOOL("compress", cfg_false, CFGF_NONE),
        CFG_END(),
    };
    cfg_t *cfg = cfg_init(options, CFGF_NONE);
    int r;

    if (!cfg)
        return mm_client_fail_memory(error);
    parsing.path = path;
    parsing.error = (struct mintmark_error){.status = MINTMARK_OK};
    cfg_set_error_function(cfg, take_error);
    cfg_set_validate_func(cfg, "timeout_ms", check_time);
    cfg_set_validate_func(cfg, "keepalive_ms", check_time);
    if (cfg_parse_buf(cfg, text) != CFG_SUCCESS) {
        if (error)
            *error = parsing.error;
        r = -MINTMARK_INVALID_ARGUMENT;
    } else {
        r = take_settings(cfg, path, site, error);
    }
    cfg_free(cfg);
    return r;
}

int mm_site_load(const char *path, struct mm_site *ret_site, struct mintmark_error *error)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(FILE_MAX);
    struct mm_site site = {.timeout_ms = 0};
    int r = read_text(path, &text, error);

    if (r == 0)
        r = parse(path, (const char *)text.data, &site, error);
    if (r < 0) {
        mm_site_done(&site);
        return r;
    }
    *ret_site = site;
    return 0;
}

void mm_site_done(struct mm_site *site)
{
    free(site->target);
    free(site->server_name);
    free(site->ca_file);
    free(site->certificate_file);
    free(site->key_file);
    *site = (struct mm_site){.timeout_ms = 0};
}

void mm_site_apply(const struct mm_site *site, struct mintmark_options *options)
{
    if (site->target)
        options->target = site->target;
    if (site->server_name)
        options->server_name = site->server_name;
    if (site->ca_file)
        options->ca_file = site->ca_file;
    if (site->certificate_file)
        options->certificate_file = site->certificate_file;
    if (site->key_file)
        options->key_file = site->key_file;
    if (site->timeout_ms)
        options->timeout_ms = site->timeout_ms;
    if (site->keepalive_ms)
        options->keepalive_ms = site->keepalive_ms;
    if (site->compress)
        options->compress = 1;
}
