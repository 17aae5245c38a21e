/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mock/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RULES = 32, COUNTERS = 80, FUNCTION_MAX = 40, FILE_MAX = 200 };

struct rule {
    char function[FUNCTION_MAX];
    unsigned long nth; /* 0: each */
    bool onwards;
    enum { ACT_RETURN, ACT_DELAY, ACT_HANG, ACT_CRASH, ACT_SESSIONS, ACT_REMOVED } action;
    unsigned long value; /* CK_RV or ms */
    char file[FILE_MAX];
    bool fuse; /* !FILE */
};

static struct rule rules[RULES];
static size_t n_rules;
static struct {
    char function[FUNCTION_MAX];
    unsigned long calls;
} counters[COUNTERS];
static size_t n_counters;
static unsigned long all_calls;
static const char *failed = "";

struct mock_behaviour mock_behaviour = {.kwp = CKM_AES_KEY_WRAP_PAD};

/* ---- parsing ----------------------------------------------------------------------------- */

static bool number(const char *text, unsigned long *ret)
{
    char *end;

    *ret = strtoul(text, &end, 0);
    return end != text && *end == 0;
}

static bool parse_action(char *text, struct rule *r)
{
    char *file = strpbrk(text, "?!");

    if (file) {
        r->fuse = *file == '!';
        *file++ = 0;
        if (snprintf(r->file, sizeof(r->file), "%s", file) >= (int)sizeof(r->file))
            return false;
    }
    if (strcmp(text, "hang") == 0)
        r->action = ACT_HANG;
    else if (strcmp(text, "crash") == 0)
        r->action = ACT_CRASH;
    else if (strcmp(text, "sessions") == 0)
        r->action = ACT_SESSIONS;
    else if (strcmp(text, "removed") == 0)
        r->action = ACT_REMOVED;
    else if (strncmp(text, "delay:", 6) == 0) {
        r->action = ACT_DELAY;
        return number(text + 6, &r->value);
    } else
        return number(text, &r->value);
    return true;
}

static bool parse_call(char *name, char *value)
{
    struct rule *r = &rules[n_rules];
    char *nth = strchr(name, ':');

    if (n_rules == RULES)
        return false;
    *r = (struct rule){0};
    if (nth) {
        *nth++ = 0;
        if (nth[0] && nth[strlen(nth) - 1] == '+') {
            r->onwards = true;
            nth[strlen(nth) - 1] = 0;
        }
        if (!number(nth, &r->nth) || r->nth == 0)
            return false;
    }
    if (snprintf(r->function, sizeof(r->function), "%s", name) >= (int)sizeof(r->function) ||
        !parse_action(value, r))
        return false;
    n_rules++;
    return true;
}

static bool parse_attr(const char *type, int value)
{
    struct mock_behaviour *b = &mock_behaviour;
    unsigned long n;

    if (b->n_attrs == MM_ARRAY_SIZE(b->attrs) || !number(type, &n))
        return false;
    b->attrs[b->n_attrs].type = n;
    b->attrs[b->n_attrs++].value = value;
    return true;
}

static bool parse_no_mechanism(const char *text)
{
    struct mock_behaviour *b = &mock_behaviour;

    if (b->n_no_mechanisms == MM_ARRAY_SIZE(b->no_mechanisms))
        return false;
    return number(text, &b->no_mechanisms[b->n_no_mechanisms++]);
}

static bool parse_word(const char *item)
{
    static const struct {
        const char *text;
        int offset;
    } flags[] = {
        {"oaep=sha1", offsetof(struct mock_behaviour, oaep_sha1_only)},
        {"import=no", offsetof(struct mock_behaviour, no_import)},
        {"twin", offsetof(struct mock_behaviour, twin)},
        {"short=signature", offsetof(struct mock_behaviour, short_signature)},
        {"bad=signature", offsetof(struct mock_behaviour, bad_signature)},
        {"random=zero", offsetof(struct mock_behaviour, random_zero)},
        {"random=same", offsetof(struct mock_behaviour, random_same)},
        {"short=wrap", offsetof(struct mock_behaviour, short_wrap)},
    };
    static const char *const points[] = {"", "point=bare", "point=short", "point=off"};
    static const char *const pins[] = {"", "pin=low", "pin=final", "pin=locked"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(flags); i++) {
        if (strcmp(item, flags[i].text) == 0) {
            *(bool *)((char *)&mock_behaviour + flags[i].offset) = true;
            return true;
        }
    }
    for (unsigned i = 1; i < 4; i++) {
        if (strcmp(item, points[i]) == 0) {
            mock_behaviour.point = i;
            return true;
        }
        if (strcmp(item, pins[i]) == 0) {
            mock_behaviour.pin = i;
            return true;
        }
    }
    return false;
}

static bool parse_item(char *item)
{
    char *equals = strchr(item, '=');

    if (parse_word(item))
        return true;
    if (strncmp(item, "noattr:", 7) == 0)
        return parse_attr(item + 7, -1);
    if (strncmp(item, "nomech:", 7) == 0)
        return parse_no_mechanism(item + 7);
    if (!equals)
        return false;
    *equals++ = 0;
    if (strcmp(item, "kwp") == 0)
        return number(equals, &mock_behaviour.kwp);
    if (strcmp(item, "counter") == 0) {
        mock_behaviour.counter = true;
        return number(equals, &mock_behaviour.counter_value);
    }
    if (strcmp(item, "pkcs7") == 0)
        return number(equals, &mock_behaviour.pkcs7);
    if (strncmp(item, "attr:", 5) == 0)
        return parse_attr(item + 5, strcmp(equals, "0") != 0);
    return parse_call(item, equals);
}

bool mm_mock_p11_rules(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    char *rest = copy;
    bool good = true;

    n_rules = 0;
    n_counters = 0;
    all_calls = 0;
    failed = "";
    mock_behaviour = (struct mock_behaviour){.kwp = CKM_AES_KEY_WRAP_PAD};
    for (char *item; good && (item = strsep(&rest, ";"));)
        good = *item == 0 || parse_item(item);
    free(copy);
    if (!good)
        n_rules = 0;
    return good;
}

/* ---- acting ------------------------------------------------------------------------------ */

static unsigned long *counter(const char *function)
{
    size_t i = 0;

    if (strcmp(function, "*") == 0)
        return &all_calls;
    while (i < n_counters && strcmp(counters[i].function, function) != 0)
        i++;
    if (i == n_counters) {
        if (n_counters == COUNTERS)
            return &counters[COUNTERS - 1].calls;
        snprintf(counters[i].function, sizeof(counters[i].function), "%s", function);
        counters[i].calls = 0;
        n_counters++;
    }
    return &counters[i].calls;
}

unsigned long mm_mock_p11_calls(const char *function)
{
    return *counter(function);
}

const char *mm_mock_p11_failed(void)
{
    return failed;
}

static bool applies(const struct rule *r, const char *function, unsigned long calls)
{
    const bool any = strcmp(r->function, "*") == 0;
    const unsigned long n = any ? all_calls : calls;

    if (!any && strcmp(r->function, function) != 0)
        return false;
    if (r->nth > 0 && (r->onwards ? n < r->nth : n != r->nth))
        return false;
    if (r->file[0] == 0)
        return true;
    return r->fuse ? unlink(r->file) == 0 : access(r->file, F_OK) == 0;
}

static CK_RV act(const struct rule *r)
{
    const struct timespec delay = {(time_t)(r->value / 1000), (long)(r->value % 1000) * 1000000};

    switch (r->action) {
    case ACT_RETURN:
        return r->value;
    case ACT_DELAY:
        nanosleep(&delay, NULL);
        return CKR_OK;
    case ACT_HANG:
        for (;;)
            pause();
    case ACT_CRASH:
        abort();
    case ACT_SESSIONS:
        mock_lose_sessions();
        return CKR_OK;
    case ACT_REMOVED:
        mock_remove_tokens();
        return CKR_OK;
    }
    return CKR_GENERAL_ERROR;
}

CK_RV mock_enter(const char *function)
{
    const unsigned long calls = ++*counter(function);

    all_calls++;
    for (size_t i = 0; i < n_rules; i++) {
        if (applies(&rules[i], function, calls)) {
            const CK_RV rv = act(&rules[i]);

            if (rv != CKR_OK) {
                failed = function;
                return rv;
            }
        }
    }
    return CKR_OK;
}
