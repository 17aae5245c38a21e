/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/cli.h"

#include <getopt.h>
#include <stddef.h>
#include <string.h>

struct option_spec {
    bool flag;
    const char *name;
    const char *placeholder;
    const char *help;
    size_t offset; /* in struct mm_args */
};

enum { KIND_STR, KIND_FLAG };

#define OPTION_SPEC(kind, field, name, placeholder, help)                                          \
    [MM_OPT_##field] = {KIND_##kind == KIND_FLAG, name, placeholder, help,                         \
                        offsetof(struct mm_args, field)},

static const struct option_spec specs[MM_OPT_COUNT] = {MM_OFFICER_OPTIONS(OPTION_SPEC)};

const char *mm_cli_option_name(enum mm_option option)
{
    return specs[option].name;
}

/* The number of argv's words that spell the command; 0 when they do not. */
static int match_words(const char *words, int argc, char *const argv[])
{
    int used = 0;

    for (const char *w = words; *w; used++) {
        const size_t len = strcspn(w, " ");

        if (used + 1 >= argc || strlen(argv[used + 1]) != len ||
            strncmp(argv[used + 1], w, len) != 0)
            return 0;
        w += len;
        w += strspn(w, " ");
    }
    return used;
}

const struct mm_command *mm_cli_find(int argc, char *const argv[], int *ret_used)
{
    const struct mm_command *best = NULL;
    int most = 0;

    for (size_t i = 0; i < mm_commands_count; i++) {
        const int used = match_words(mm_commands[i].words, argc, argv);

        if (used > most) {
            best = &mm_commands[i];
            most = used;
        }
    }
    *ret_used = most;
    return best;
}

/* Above all characters: getopt_long says ':' and '?' of what it does not like. */
enum { OPTION_BASE = 256 };

static void add_option(struct option *list, size_t *n, enum mm_option id)
{
    list[(*n)++] = (struct option){
        .name = specs[id].name,
        .has_arg = specs[id].flag ? no_argument : required_argument,
        .val = OPTION_BASE + (int)id,
    };
}

/* The command's own options for getopt_long; list has room for all there are and the end. */
static void list_options(const struct mm_command *command, struct option *list)
{
    size_t n = 0;

    for (const enum mm_option *o = command->required; *o; o++)
        add_option(list, &n, *o);
    for (const enum mm_option *o = command->optional; *o; o++)
        add_option(list, &n, *o);
    add_option(list, &n, MM_OPT_help);
    list[n] = (struct option){0};
}

static int store_option(struct mm_args *args, int id, char *value, struct mm_errinfo *ei)
{
    const struct option_spec *spec = &specs[id];
    char *const field = (char *)args + spec->offset;

    if (spec->flag) {
        memcpy(field, &(bool){true}, sizeof(bool));
        return MM_OK;
    }
    if (!*value)
        return mm_fail(ei, MM_ERR_INVALID, "USAGE", "--%s needs a value", spec->name);
    memcpy(field, &value, sizeof(value));
    return MM_OK;
}

static bool option_given(const struct mm_args *args, enum mm_option id)
{
    char *value;

    memcpy(&value, (const char *)args + specs[id].offset, sizeof(value));
    return value != NULL;
}

static int check_operand(const struct mm_command *command, int argc, char **argv,
                         struct mm_args *args, struct mm_errinfo *ei)
{
    const int left = argc - optind;

    if (command->operand && !command->operand_optional && left == 0)
        return mm_fail(ei, MM_ERR_INVALID, "USAGE", "%s needs %s; try %s --help", command->words,
                       command->operand, command->words);
    if (left > (command->operand ? 1 : 0))
        return mm_fail(ei, MM_ERR_INVALID, "USAGE", "'%s' is one word too many; try %s --help",
                       argv[argc - 1], command->words);
    if (left)
        args->operand = argv[optind];
    return MM_OK;
}

int mm_cli_parse(const struct mm_command *command, int argc, char **argv, struct mm_args *ret_args,
                 struct mm_errinfo *ei)
{
    struct option list[MM_OPT_COUNT + 1];
    struct mm_args args = {0};
    int id;
    int r;

    list_options(command, list);
    opterr = 0;
    optind = 0; /* glibc: starts afresh, also for a second call in one process */
    while ((id = getopt_long(argc, argv, ":", list, NULL)) != -1) {
        if (id == ':')
            return mm_fail(ei, MM_ERR_INVALID, "USAGE", "%s needs a value", argv[optind - 1]);
        if (id == '?')
            return mm_fail(ei, MM_ERR_INVALID, "USAGE", "%s takes no %s; try %s --help",
                           command->words, argv[optind - 1], command->words);
        r = store_option(&args, id - OPTION_BASE, optarg, ei);
        if (r < 0)
            return r;
    }
    *ret_args = args;
    if (args.help)
        return MM_OK;
    for (const enum mm_option *o = command->required; *o; o++)
        if (!option_given(&args, *o))
            return mm_fail(ei, MM_ERR_INVALID, "USAGE", "%s needs --%s %s; try %s --help",
                           command->words, specs[*o].name, specs[*o].placeholder, command->words);
    return check_operand(command, argc, argv, ret_args, ei);
}

/* "init" of "token init" for the group "token"; NULL for a command that is not of the group. */
static const char *within(const struct mm_command *command, const char *group)
{
    const size_t len = strlen(group);

    return strncmp(command->words, group, len) == 0 && command->words[len] == ' '
               ? command->words + len + 1
               : NULL;
}

bool mm_cli_is_group(const char *word)
{
    for (size_t i = 0; i < mm_commands_count; i++)
        if (within(&mm_commands[i], word))
            return true;
    return false;
}

int mm_cli_fail_command(int argc, char *const argv[], struct mm_errinfo *ei)
{
    char names[MM_ERR_TEXT_MAX] = "";

    if (argc < 2)
        return mm_fail(ei, MM_ERR_INVALID, "USAGE", "no command given; try --help");
    if (!mm_cli_is_group(argv[1]))
        return mm_fail(ei, MM_ERR_INVALID, "USAGE", "no %s '%s'; try --help",
                       *argv[1] == '-' ? "option" : "command", argv[1]);
    for (size_t i = 0; i < mm_commands_count; i++) {
        const char *const name = within(&mm_commands[i], argv[1]);
        const size_t len = strlen(names);

        if (name)
            snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "", name);
    }
    return mm_fail(ei, MM_ERR_INVALID, "USAGE", "'%s' takes one of %s; try %s --help", argv[1],
                   names, argv[1]);
}

void mm_cli_help(FILE *out, const char *group)
{
    fputs("mintmark-officer: tokens, keys, CAs and production orders of a mintmark site\n\n"
          "usage: mintmark-officer COMMAND [OPTIONS]\n\n",
          out);
    for (size_t i = 0; i < mm_commands_count; i++)
        if (!group || within(&mm_commands[i], group))
            fprintf(out, "  %-22s %s\n", mm_commands[i].words, mm_commands[i].summary);
    fputs(
        "\n'mintmark-officer COMMAND --help' explains a command; mintmark-officer(8) has it all.\n",
        out);
}

static void help_option(FILE *out, enum mm_option id)
{
    const struct option_spec *spec = &specs[id];
    char left[64];

    snprintf(left, sizeof(left), "--%s%s%s", spec->name, spec->flag ? "" : " ",
             spec->flag ? "" : spec->placeholder);
    fprintf(out, "  %-29s %s\n", left, spec->help);
}

void mm_cli_help_command(FILE *out, const struct mm_command *command)
{
    fprintf(out, "mintmark-officer %s: %s\n\nusage: mintmark-officer %s", command->words,
            command->summary, command->words);
    for (const enum mm_option *o = command->required; *o; o++)
        fprintf(out, " --%s %s", specs[*o].name, specs[*o].placeholder);
    fprintf(out, " [OPTIONS]%s%s%s\n\n",
            command->operand ? command->operand_optional ? " [" : " " : "",
            command->operand ? command->operand : "", command->operand_optional ? "]" : "");
    for (const enum mm_option *o = command->required; *o; o++)
        help_option(out, *o);
    for (const enum mm_option *o = command->optional; *o; o++)
        help_option(out, *o);
    help_option(out, MM_OPT_help);
}

enum mm_exit mm_cli_exit(int err)
{
    switch (err) {
    case MM_OK:
        return MM_EXIT_DONE;
    case MM_ERR_INVALID:
    case MM_ERR_TOO_BIG:
        return MM_EXIT_DATA;
    case MM_ERR_PIN:
    case MM_ERR_PERMISSION:
    case MM_ERR_UNAUTHENTICATED:
        return MM_EXIT_PERMISSION;
    case MM_ERR_UNAVAILABLE:
    case MM_ERR_TIMEOUT:
        return MM_EXIT_UNAVAILABLE;
    case MM_ERR_INTERNAL:
    case MM_ERR_MEMORY:
        return MM_EXIT_INTERNAL;
    default:
        return MM_EXIT_FAILED;
    }
}
