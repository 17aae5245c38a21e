/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mock/calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RULES = 64, COUNTERS = 80, FUNCTION_MAX = 40, FILE_MAX = 200 };

struct rule {
    char function[FUNCTION_MAX];
    unsigned long nth; /* 0: each */
    bool onwards;
    enum { ACT_RETURN, ACT_DELAY, ACT_HANG, ACT_CRASH, ACT_WORD } action;
    unsigned long value; /* CK_RV, ms, or number of the word */
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
static const char *const *words;

void calls_reset(const char *const *module_words)
{
    words = module_words;
    n_rules = 0;
    n_counters = 0;
    all_calls = 0;
    failed = "";
}

/* ---- parsing ----------------------------------------------------------------------------- */

bool calls_number(const char *text, unsigned long *ret)
{
    char *end;

    *ret = strtoul(text, &end, 0);
    return end != text && *end == 0;
}

static bool parse_word(const char *text, struct rule *r)
{
    for (size_t i = 0; words[i]; i++) {
        if (strcmp(text, words[i]) == 0) {
            r->action = ACT_WORD;
            r->value = i;
            return true;
        }
    }
    return false;
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
    else if (strncmp(text, "delay:", 6) == 0) {
        r->action = ACT_DELAY;
        return calls_number(text + 6, &r->value);
    } else
        return parse_word(text, r) || calls_number(text, &r->value);
    return true;
}

static bool parse_nth(char *text, struct rule *r)
{
    const size_t len = strlen(text);

    r->onwards = len > 0 && text[len - 1] == '+';
    if (r->onwards)
        text[len - 1] = 0;
    return calls_number(text, &r->nth) && r->nth > 0;
}

bool calls_parse(char *item)
{
    struct rule *r = &rules[n_rules];
    char *value = strchr(item, '=');
    char *nth;

    if (n_rules == RULES || !value)
        return false;
    *r = (struct rule){0};
    *value++ = 0;
    nth = strchr(item, ':');
    if (nth) {
        *nth++ = 0;
        if (!parse_nth(nth, r))
            return false;
    }
    if (snprintf(r->function, sizeof(r->function), "%s", item) >= (int)sizeof(r->function) ||
        !parse_action(value, r))
        return false;
    n_rules++;
    return true;
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

unsigned long calls_of(const char *function)
{
    return *counter(function);
}

const char *calls_failed(void)
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

static CK_RV act(const struct rule *r, calls_word_fn word)
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
    case ACT_WORD:
        return word(r->value);
    }
    return CKR_GENERAL_ERROR;
}

CK_RV calls_enter(const char *function, calls_word_fn word)
{
    const unsigned long calls = ++*counter(function);

    all_calls++;
    for (size_t i = 0; i < n_rules; i++) {
        if (applies(&rules[i], function, calls)) {
            const CK_RV rv = act(&rules[i], word);

            if (rv != CKR_OK) {
                failed = function;
                return rv;
            }
        }
    }
    return CKR_OK;
}
