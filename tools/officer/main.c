/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-officer: tokens, keys, CAs and production orders of a site. See mintmark-officer(8). */
#include "tools/officer/hang.h"
#include "tools/officer/wipe.h"

#include <string.h>

static void complain(const struct mm_errinfo *ei)
{
    char text[MM_ERR_TEXT_MAX];

    snprintf(text, sizeof(text), "%s", ei->text);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    fprintf(stderr, "mintmark-officer: %s\n", text);
}

static bool is_among(const enum mm_option *options, enum mm_option option)
{
    while (*options && *options != option)
        options++;
    return *options;
}

/* The command itself, in its ceremony if it is one. */
static int perform(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_errinfo end_error = {0};
    int r;
    int end;

    if (is_among(o->command->optional, MM_OPT_timeout)) {
        r = mm_hang_watch(o, ei);
        if (r < 0)
            return r;
    }
    if (is_among(o->command->required, MM_OPT_config)) {
        r = mm_officer_load(o, ei);
        if (r < 0)
            return r;
    }
    if (o->command->ceremony) {
        r = mm_ceremony_begin(o, ei);
        if (r < 0)
            return r;
    }
    r = o->command->run(o, ei);
    end = mm_ceremony_end(o, r, ei, &end_error);
    if (r == MM_OK && end < 0) {
        *ei = end_error;
        return end;
    }
    return r;
}

/* The record is part of what a ceremony yields, also of one that failed. */
static void show_transcript(const struct mm_officer *o)
{
    const json_t *const transcript = json_object_get(o->answer, "transcript");

    if (transcript)
        printf("transcript: %s\nSHA-256:    %s\n",
               json_string_value(json_object_get(transcript, "path")),
               json_string_value(json_object_get(transcript, "sha256")));
}

static int run(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r = perform(o, ei);

    if (o->args.json && json_object_size(o->answer) > 0) {
        struct mm_errinfo write_error = {0};

        if (mm_out_json(stdout, o->answer, &write_error) < 0 && r == MM_OK) {
            *ei = write_error;
            r = write_error.code;
        }
    } else {
        show_transcript(o);
    }
    return r;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* "--help", and "token --help" or "help token"; a command has help of its own. */
static bool give_help(int argc, char **argv)
{
    const char *group = NULL;

    if (argc == 3)
        group = asks_for_help(argv[1]) ? argv[2] : asks_for_help(argv[2]) ? argv[1] : NULL;
    if (group ? !mm_cli_is_group(group) : argc != 2 || !asks_for_help(argv[1]))
        return false;
    mm_cli_help(stdout, group);
    return true;
}

static int start(struct mm_officer *o, int argc, char **argv, struct mm_errinfo *ei)
{
    int used;
    int r;

    if (give_help(argc, argv))
        return MM_OK;
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("mintmark-officer " MM_VERSION);
        return MM_OK;
    }
    r = mm_secret_harden_process(ei);
    if (r == MM_OK)
        r = mm_wipe_libraries(ei);
    if (r < 0)
        return r;
    o->command = mm_cli_find(argc, argv, &used);
    if (!o->command) {
        o->exit_code = MM_EXIT_USAGE;
        return mm_cli_fail_command(argc, argv, ei);
    }
    r = mm_cli_parse(o->command, argc - used, argv + used, &o->args, ei);
    if (r < 0) {
        o->exit_code = MM_EXIT_USAGE;
        return r;
    }
    if (o->args.help) {
        mm_cli_help_command(stdout, o->command);
        return MM_OK;
    }
    o->answer = json_object();
    if (!o->answer)
        return mm_fail_memory(ei);
    return run(o, ei);
}

int main(int argc, char **argv)
{
    struct mm_officer o = {0};
    struct mm_errinfo ei = {0};
    enum mm_exit exit_code;
    int r;

    r = start(&o, argc, argv, &ei);
    if (fflush(stdout) == EOF && r == MM_OK)
        r = mm_fail(&ei, MM_ERR_IO, "OUTPUT", "cannot write the output");
    if (r < 0)
        complain(&ei);
    exit_code = r < 0 && o.exit_code ? o.exit_code : mm_cli_exit(r);
    mm_officer_done(&o);
    return (int)exit_code;
}
