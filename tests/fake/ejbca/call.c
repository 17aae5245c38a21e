/* SPDX-License-Identifier: Apache-2.0 */
/* What handlers of REST calls say and ask. */
#include "tests/fake/ejbca/fake.h"

#include "tests/fake/ejbca/name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void call_json(struct call *call, unsigned status, json_t *body)
{
    struct reply *reply = &call->x->reply;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    reply->status = status;
    reply->type = "application/json";
    mm_buf_reset(&reply->body);
    if (text)
        mm_buf_append_str(&reply->body, text);
    free(text);
    json_decref(body);
}

void call_error(struct call *call, unsigned status, const char *fmt, ...)
{
    char text[2 * TEXT_SIZE];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    call_json(call, status,
              json_pack("{s:i, s:s}", "error_code", (int)status, "error_message", text));
}

void call_html(struct call *call, unsigned status, const char *text)
{
    struct reply *reply = &call->x->reply;

    reply->status = status;
    reply->type = "text/html;charset=UTF-8";
    mm_buf_reset(&reply->body);
    mm_buf_printf(&reply->body, "<html><head><title>Error</title></head><body>%s</body></html>",
                  text);
}

const char *call_text(const struct call *call, const char *name)
{
    return json_string_value(json_object_get(call->body, name));
}

/* An access rule grants itself and what is below it. */
static bool grants(const char *granted, const char *rule)
{
    const size_t len = strlen(granted);

    if (strcmp(granted, "/") == 0)
        return true;
    return strncmp(granted, rule, len) == 0 && (rule[len] == 0 || rule[len] == '/');
}

bool call_may(const struct call *call, const char *rule)
{
    json_t *granted;
    size_t i;

    json_array_foreach(setting_in(call->fake->scenario, "roles", call->who.name), i, granted) {
        if (json_is_string(granted) && grants(json_string_value(granted), rule))
            return true;
    }
    return false;
}

bool call_must(struct call *call, const char *rule)
{
    if (call_may(call, rule))
        return true;
    call_error(call, 403, "Administrator is not authorized to resource %s. Msg: .", rule);
    return false;
}

bool is_version_9(const struct fake *fake)
{
    return setting_text(fake->scenario, "version")[0] == '9';
}

const char *time_text(int64_t ms, char to[32])
{
    const time_t when = (time_t)(ms / 1000);
    struct tm tm;

    gmtime_r(&when, &tm);
    strftime(to, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return to;
}

bool time_parse(const char *text, int64_t *ret_ms)
{
    struct tm tm = {0};
    const char *zone = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    int hours = 0, minutes = 0, used = 0;

    if (!zone)
        return false;
    if (*zone == '.')
        zone += 1 + strspn(zone + 1, "0123456789");
    if (strcmp(zone, "Z") != 0 &&
        (sscanf(zone, "%3d:%2d%n", &hours, &minutes, &used) != 2 || zone[used]))
        return false;
    *ret_ms =
        1000 * ((int64_t)timegm(&tm) - 60 * (60 * hours + (*zone == '-' ? -minutes : minutes)));
    return true;
}

int profile_id(const char *name)
{
    uint32_t hash = 0;

    for (; *name; name++)
        hash = 31 * hash + (uint8_t)*name;
    return (int)(hash & 0x7fffffff);
}
