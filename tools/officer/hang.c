/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/hang.h"

#include "daemon/base/text.h"
#include "pkcs11/watch.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned timeout_s = MM_HANG_DEFAULT_S;
static void (*give_sentence)(const char *sentence);

unsigned mm_hang_timeout_s(void)
{
    return timeout_s;
}

/* snprintf of numbers and texts takes no lock and no memory; stdio's streams do. */
static void say(char text[MM_HANG_TEXT_MAX], const char *function, size_t len)
{
    snprintf(text, MM_HANG_TEXT_MAX,
             "%.*s has not come back from the PKCS#11 module for %u s (--timeout): given up, and "
             "what it was to do may be done or not",
             (int)(len < 64 ? len : 64), function, timeout_s);
}

static void end(void *arg, const char *function, size_t len)
{
    const struct mm_officer *const o = arg;
    char text[MM_HANG_TEXT_MAX], line[MM_HANG_TEXT_MAX + 32];
    int n;

    say(text, function, len);
    mm_transcript_last_words(o->transcript, text);
    n = snprintf(line, sizeof(line), "mintmark-officer: %s\n", text);
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(MM_EXIT_INTERNAL); /* nobody reads it */
    _exit(MM_EXIT_HANGS);
}

static void end_child(void *arg, const char *function, size_t len)
{
    char text[MM_HANG_TEXT_MAX];

    (void)arg;
    say(text, function, len);
    give_sentence(text);
    _exit(MM_EXIT_HANGS);
}

int mm_hang_watch(struct mm_officer *o, struct mm_errinfo *ei)
{
    uint64_t given = MM_HANG_DEFAULT_S;

    if (o->args.timeout && mm_text_to_u64(o->args.timeout, 1, MM_HANG_MAX_S, &given) < 0)
        return mm_officer_usage(o, ei, "--timeout takes 1 to %d seconds", MM_HANG_MAX_S);
    timeout_s = (unsigned)given;
    return mm_watch_start(timeout_s, end, o, ei);
}

int mm_hang_watch_child(void (*give)(const char *sentence), struct mm_errinfo *ei)
{
    give_sentence = give;
    return mm_watch_start(timeout_s, end_child, NULL, ei);
}
