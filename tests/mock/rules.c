/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mock/calls.h"
#include "tests/mock/mock.h"

#include <stdlib.h>
#include <string.h>

enum { WORD_SESSIONS, WORD_REMOVED, WORD_LIE, WORD_REPEAT };
static const char *const words[] = {[WORD_SESSIONS] = "sessions",
                                    [WORD_REMOVED] = "removed",
                                    [WORD_LIE] = "lie",
                                    [WORD_REPEAT] = "repeat",
                                    NULL};

struct mock_behaviour mock_behaviour = {.kwp = CKM_AES_KEY_WRAP_PAD};

/* ---- parsing ----------------------------------------------------------------------------- */

static bool parse_attr(const char *type, int value)
{
    struct mock_behaviour *b = &mock_behaviour;
    unsigned long n;

    if (b->n_attrs == MM_ARRAY_SIZE(b->attrs) || !calls_number(type, &n))
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
    return calls_number(text, &b->no_mechanisms[b->n_no_mechanisms++]);
}

static bool parse_word(const char *item)
{
    static const struct {
        const char *text;
        int offset;
    } flags[] = {
        {"oaep=sha1", offsetof(struct mock_behaviour, oaep_sha1_only)},
        {"import=no", offsetof(struct mock_behaviour, no_import)},
        {"cheap", offsetof(struct mock_behaviour, cheap)},
        {"slots=more", offsetof(struct mock_behaviour, slots_more)},
        {"twin", offsetof(struct mock_behaviour, twin)},
        {"short=signature", offsetof(struct mock_behaviour, short_signature)},
        {"bad=signature", offsetof(struct mock_behaviour, bad_signature)},
        {"random=zero", offsetof(struct mock_behaviour, random_zero)},
        {"random=same", offsetof(struct mock_behaviour, random_same)},
        {"short=key", offsetof(struct mock_behaviour, short_key)},
        {"short=wrap", offsetof(struct mock_behaviour, short_wrap)},
        {"wrap=nothing", offsetof(struct mock_behaviour, wrap_nothing)},
        {"wrap=clear", offsetof(struct mock_behaviour, wrap_clear)},
        {"wrap=same", offsetof(struct mock_behaviour, wrap_same)},
        {"short=secret", offsetof(struct mock_behaviour, short_secret)},
    };
    static const char *const points[] = {"", "point=bare", "point=short", "point=off",
                                         "point=small"};
    static const char *const edwards[] = {"", "edwards=oid", "edwards=name", "edwards=", "="};
    static const char *const ml_dsa[] = {"", "mldsa=standin", "mldsa=real", "mldsa=", "="};
    static const char *const pins[] = {"", "pin=low", "pin=final", "pin=locked", "="};

    for (size_t i = 0; i < MM_ARRAY_SIZE(flags); i++) {
        if (strcmp(item, flags[i].text) == 0) {
            *(bool *)((char *)&mock_behaviour + flags[i].offset) = true;
            return true;
        }
    }
    for (unsigned i = 1; i < MM_ARRAY_SIZE(points); i++) {
        if (strcmp(item, points[i]) == 0) {
            mock_behaviour.point = i;
            return true;
        }
        if (strcmp(item, ml_dsa[i]) == 0) {
            mock_behaviour.ml_dsa = i;
            return true;
        }
        if (strcmp(item, edwards[i]) == 0) {
            mock_behaviour.edwards = i;
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
    if (strncmp(item, "kwp=", 4) == 0)
        return calls_number(equals + 1, &mock_behaviour.kwp);
    if (strncmp(item, "counter=", 8) == 0) {
        mock_behaviour.counter = true;
        return calls_number(equals + 1, &mock_behaviour.counter_value);
    }
    if (strncmp(item, "pkcs7=", 6) == 0)
        return calls_number(equals + 1, &mock_behaviour.pkcs7);
    if (strncmp(item, "attr:", 5) != 0)
        return calls_parse(item);
    *equals = 0;
    return parse_attr(item + 5, strcmp(equals + 1, "0") != 0);
}

bool mm_mock_p11_rules(const char *text)
{
    char *copy = text ? strdup(text) : NULL;
    char *rest = copy;
    bool good = true;

    calls_reset(words);
    mock_behaviour = (struct mock_behaviour){.kwp = CKM_AES_KEY_WRAP_PAD};
    for (char *item; good && (item = strsep(&rest, ";"));)
        good = *item == 0 || parse_item(item);
    free(copy);
    if (!good)
        calls_reset(words);
    return good;
}

/* ---- acting ------------------------------------------------------------------------------ */

unsigned long mm_mock_p11_calls(const char *function)
{
    return calls_of(function);
}

const char *mm_mock_p11_failed(void)
{
    return calls_failed();
}

static CK_RV act(size_t word)
{
    switch (word) {
    case WORD_SESSIONS:
        mock_lose_sessions();
        break;
    case WORD_REMOVED:
        mock_remove_tokens();
        break;
    case WORD_LIE:
        mock_behaviour.bad_signature = true;
        break;
    default:
        mock_behaviour.repeat_pair = true;
    }
    return CKR_OK;
}

CK_RV mock_enter(const char *function)
{
    return calls_enter(function, act);
}
