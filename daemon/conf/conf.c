/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/build.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int absolute(const char *path, char **ret_path, struct mm_errinfo *ei)
{
    MM_FREE char *cwd = NULL;
    char *result = NULL;

    if (*path == '/') {
        result = strdup(path);
    } else {
        cwd = getcwd(NULL, 0);
        if (!cwd)
            return mm_fail_errno(ei, errno, "working directory");
        if (asprintf(&result, "%s/%s", cwd, path) < 0)
            result = NULL;
    }
    if (!result)
        return mm_fail_memory(ei);
    *ret_path = result;
    return MM_OK;
}

int mm_conf_parse(const char *path, const char *text, size_t len, struct mm_conf **ret_conf,
                  struct mm_errinfo *ei)
{
    const struct mm_place place = {path, ei};
    MM_PARSED_CLEANUP struct mm_parsed parsed = {0};
    MM_CONF_CLEANUP struct mm_conf *conf = NULL;
    struct mm_draft draft = {.place = &place, .parsed = &parsed};
    int r;

    if (len > MM_CONF_FILE_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "BAD_CONFIG", "%s: over %d bytes", path,
                       MM_CONF_FILE_MAX);
    r = mm_parse(&place, text, len, &parsed);
    if (r < 0)
        return r;
    conf = calloc(1, sizeof(*conf));
    if (!conf)
        return mm_fail_memory(ei);
    r = absolute(path, &conf->path, ei);
    if (r < 0)
        return r;
    draft.conf = conf;
    r = mm_conf_build(&draft);
    if (r < 0)
        return r;
    r = mm_conf_check(&draft);
    if (r < 0)
        return r;
    *ret_conf = MM_TAKE(conf);
    return MM_OK;
}

int mm_conf_load(const char *path, struct mm_conf **ret_conf, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_CONF_FILE_MAX);
    const int r = mm_conf_read(path, MM_UNSET_KEPT, &text, ei);

    if (r < 0)
        return r;
    return mm_conf_parse(path, (const char *)text.data, text.len, ret_conf, ei);
}

/* Only single sections have settings that take a restart, and only texts and numbers do. */
static bool same(const struct mm_setting *s, const struct mm_conf *a, const struct mm_conf *b)
{
    const size_t at = mm_schema_section(s->section)->offset + s->offset;
    const void *left = (const unsigned char *)a + at, *right = (const unsigned char *)b + at;

    if (s->type == MM_SETTING_UINT)
        return *(const unsigned *)left == *(const unsigned *)right;
    return !strcmp(*(char *const *)left, *(char *const *)right);
}

int mm_conf_check_reload(const struct mm_conf *running, const struct mm_conf *next,
                         struct mm_errinfo *ei)
{
    size_t n;
    const struct mm_setting *settings = mm_schema_settings(&n);

    for (size_t i = 0; i < n; i++)
        if (settings[i].restart && !same(&settings[i], running, next))
            return mm_fail(ei, MM_ERR_PRECONDITION, "NOT_RELOADABLE",
                           "%s: %s.%s cannot change while the service runs; restart it", next->path,
                           mm_schema_section(settings[i].section)->name, settings[i].key);
    return MM_OK;
}

static void free_list(char **list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        free(list[i]);
    free(list);
}

static void done_section(enum mm_section_id id, unsigned char *base);

static void free_titled(const struct mm_section *schema, enum mm_section_id id, unsigned char *base)
{
    unsigned char *array = *(unsigned char **)(void *)(base + schema->offset);
    const size_t n = *(size_t *)(void *)(base + schema->count_offset);

    for (size_t i = 0; i < n; i++) {
        unsigned char *element = array + i * schema->size;

        free(*(char **)(void *)element);
        done_section(id, element);
    }
    free(array);
}

static void done_section(enum mm_section_id id, unsigned char *base)
{
    size_t n;
    const struct mm_setting *settings = mm_schema_settings(&n);

    for (size_t i = 0; i < n; i++) {
        const struct mm_setting *s = &settings[i];
        void *member = base + s->offset;

        if (s->section != id)
            continue;
        if (s->type == MM_SETTING_LIST)
            free_list(*(char ***)member, *(size_t *)(void *)(base + s->count_offset));
        else if (s->type <= MM_SETTING_CHOICE)
            free(*(char **)member);
    }
    for (enum mm_section_id sub = 1; sub < MM_SECTIONS; sub++) {
        const struct mm_section *schema = mm_schema_section(sub);

        if (schema->parent != id)
            continue;
        if (schema->titled)
            free_titled(schema, sub, base);
        else
            done_section(sub, base + schema->offset);
    }
}

void mm_conf_free(struct mm_conf *conf)
{
    if (!conf)
        return;
    done_section(MM_SECTION_ROOT, (unsigned char *)conf);
    free(conf->path);
    free(conf);
}

const struct mm_conf_token *mm_conf_token_get(const struct mm_conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_tokens; i++)
        if (!strcmp(c->tokens[i].name, name))
            return &c->tokens[i];
    return NULL;
}

const struct mm_conf_transport *mm_conf_transport_get(const struct mm_conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_transports; i++)
        if (!strcmp(c->transports[i].name, name))
            return &c->transports[i];
    return NULL;
}

const struct mm_conf_issuer *mm_conf_issuer_get(const struct mm_conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_issuers; i++)
        if (!strcmp(c->issuers[i].name, name))
            return &c->issuers[i];
    return NULL;
}

const struct mm_conf_profile *mm_conf_profile_get(const struct mm_conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_profiles; i++)
        if (!strcmp(c->profiles[i].name, name))
            return &c->profiles[i];
    return NULL;
}

const struct mm_conf_signing *mm_conf_signing_get(const struct mm_conf *c, const char *name)
{
    for (size_t i = 0; i < c->n_signings; i++)
        if (!strcmp(c->signings[i].name, name))
            return &c->signings[i];
    return NULL;
}

static bool contains(char *const *list, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], text))
            return true;
    return false;
}

bool mm_conf_profile_in_token(const struct mm_conf_profile *p, const char *token)
{
    return contains(p->tokens, p->n_tokens, token);
}

bool mm_conf_signing_client(const struct mm_conf_signing *s, const char *client)
{
    return contains(s->clients, s->n_clients, client);
}

bool mm_conf_signing_mechanism(const struct mm_conf_signing *s, const char *mechanism)
{
    return contains(s->mechanisms, s->n_mechanisms, mechanism);
}
