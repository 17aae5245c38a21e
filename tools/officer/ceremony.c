/* SPDX-License-Identifier: Apache-2.0 */
/* A ceremony: who is there, what was asked and answered, what was made. */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "tools/officer/officer.h"
#include "tools/officer/prompt.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

/* Whose folder the transcripts lie in: that of the file which describes the site. */
static const char *site_file(const struct mm_officer *o)
{
    return o->conf ? o->conf->path : o->args.site;
}

/* ceremony/20261121T181656.123Z-token-init.txt beside the site's file. */
static int default_path(const struct mm_officer *o, char path[PATH_MAX], struct mm_errinfo *ei)
{
    char when[MM_CLOCK_TEXT];
    char stamp[MM_CLOCK_TEXT];
    char words[64];
    char folder[PATH_MAX];
    size_t n = 0;

    mm_clock_text(mm_clock_wall_ms(), when);
    for (const char *c = when; *c; c++)
        if (*c != '-' && *c != ':')
            stamp[n++] = *c;
    stamp[n] = '\0';
    snprintf(words, sizeof(words), "%s", o->command->words);
    for (char *c = words; *c; c++)
        if (*c == ' ')
            *c = '-';
    snprintf(folder, sizeof(folder), "%s", site_file(o));
    if (snprintf(path, PATH_MAX, "%s/ceremony", dirname(folder)) >= PATH_MAX - 128)
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: path too long", site_file(o));
    if (mkdir(path, 0750) < 0 && errno != EEXIST)
        return mm_fail_errno(ei, errno, "%s: cannot make the folder of the transcripts", path);
    n = strlen(path);
    snprintf(path + n, PATH_MAX - n, "/%s-%s.txt", stamp, words);
    return MM_OK;
}

static int open_transcript(struct mm_officer *o, struct mm_errinfo *ei)
{
    char path[PATH_MAX];
    int r;

    if (o->args.transcript)
        return mm_transcript_open(o->args.transcript, false, &o->transcript, ei);
    if (!site_file(o))
        return mm_officer_usage(o, ei, "say with --transcript FILE where the record is to be kept");
    r = default_path(o, path, ei);
    if (r < 0)
        return r;
    return mm_transcript_open(path, true, &o->transcript, ei);
}

static int person_name(struct mm_officer *o, const char *name, const char *role,
                       struct mm_errinfo *ei)
{
    if (*name && strlen(name) < MM_PROMPT_LINE_MAX && mm_utf8_valid(name, strlen(name)))
        return MM_OK;
    return mm_officer_usage(o, ei, "the %s needs a name of 1 to %d bytes in UTF-8", role,
                            MM_PROMPT_LINE_MAX - 1);
}

/* The name typed lives as long as the process: it is part of the arguments from now on. */
static int name_people(struct mm_officer *o, struct mm_errinfo *ei)
{
    static char typed[MM_PROMPT_LINE_MAX];
    int r;

    if (!o->args.operator_name) {
        r = mm_prompt_line("Name of the operator: ", typed, sizeof(typed), ei);
        if (r == MM_ERR_UNAVAILABLE)
            return mm_officer_usage(o, ei, "say with --operator NAME who holds this ceremony");
        if (r < 0)
            return r;
        o->args.operator_name = typed;
    }
    r = person_name(o, o->args.operator_name, "operator", ei);
    if (r < 0 || !o->args.witness)
        return r;
    r = person_name(o, o->args.witness, "witness", ei);
    if (r < 0)
        return r;
    if (strcmp(o->args.operator_name, o->args.witness) == 0)
        return mm_officer_usage(o, ei, "operator and witness are two people");
    return MM_OK;
}

int mm_ceremony_begin(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r;

    r = name_people(o, ei);
    if (r < 0)
        return r;
    r = open_transcript(o, ei);
    if (r < 0)
        return r;
    mm_transcript_add(o->transcript, "command", "%s", o->command->words);
    mm_transcript_add(o->transcript, "version", "mintmark-officer %s", MM_VERSION);
    mm_transcript_add(o->transcript, "operator", "%s", o->args.operator_name);
    if (o->args.witness)
        mm_transcript_add(o->transcript, "witness", "%s", o->args.witness);
    if (o->conf)
        mm_transcript_add(o->transcript, "site", "%s", o->conf->site);
    return mm_transcript_sync(o->transcript, ei);
}

void mm_ceremony_say(struct mm_officer *o, const char *key, const char *fmt, ...)
{
    char text[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    mm_transcript_add(o->transcript, key, "%s", text);
    if (o->args.json)
        return;
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    printf("%s: %s\n", key, text);
    fflush(stdout);
}

static int confirm_one(struct mm_officer *o, const char *question, const char *role,
                       const char *name, struct mm_errinfo *ei)
{
    char prompt[2048 + MM_PROMPT_LINE_MAX + 64];
    char answer[MM_PROMPT_LINE_MAX];
    int r;

    mm_transcript_add(o->transcript, "question", "%s (%s %s)", question, role, name);
    if (o->args.yes) {
        mm_transcript_add(o->transcript, "answer", "yes (given beforehand with --yes)");
        return MM_OK;
    }
    snprintf(prompt, sizeof(prompt), "%s\n%s, type yes to go on: ", question, name);
    r = mm_prompt_yes(prompt, answer, sizeof(answer), ei);
    if (r == MM_ERR_UNAVAILABLE)
        return mm_officer_usage(o, ei,
                                "there is no terminal to confirm on; --yes confirms for scripts");
    mm_transcript_add(o->transcript, "answer", "%s%s", answer, r < 0 ? " (taken as no)" : "");
    return r;
}

int mm_ceremony_confirm(struct mm_officer *o, struct mm_errinfo *ei, const char *fmt, ...)
{
    char question[2048];
    va_list ap;
    int r;

    va_start(ap, fmt);
    vsnprintf(question, sizeof(question), fmt, ap);
    va_end(ap);
    r = confirm_one(o, question, "operator", o->args.operator_name, ei);
    if (r == MM_OK && o->args.witness)
        r = confirm_one(o, question, "witness", o->args.witness, ei);
    if (r < 0)
        return r;
    return mm_transcript_sync(o->transcript, ei);
}

int mm_ceremony_end(struct mm_officer *o, int result, const struct mm_errinfo *failure,
                    struct mm_errinfo *ei)
{
    char sha256[MM_TRANSCRIPT_SHA256_TEXT];
    int r;

    if (!o->transcript)
        return MM_OK;
    if (result == MM_OK)
        mm_transcript_add(o->transcript, "outcome", "done");
    else
        mm_transcript_add(o->transcript, "outcome", "%s: %s",
                          result == MM_ERR_CANCELLED ? "declined" : "failed", failure->text);
    r = mm_transcript_digest(o->transcript, sha256, ei);
    if (r < 0)
        return r;
    return mm_officer_answer(
        o, "transcript",
        json_pack("{s:s, s:s}", "path", mm_transcript_path(o->transcript), "sha256", sha256), ei);
}
