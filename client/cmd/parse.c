/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/cmd.h"
#include "daemon/base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *placeholder; /* NULL: a flag */
    const char *help;
} infos[MM_OPT_END] = {
    [MM_OPT_SITE] = {"site", "FILE", "where the service is, and who we are (default: see below)"},
    [MM_OPT_TARGET] = {"target", "HOST:PORT", "the service's address"},
    [MM_OPT_SERVER_NAME] = {"server-name", "NAME", "name in its certificate, if not HOST"},
    [MM_OPT_CA] = {"ca", "FILE", "CA certificates that its certificate is checked against, PEM"},
    [MM_OPT_CERTIFICATE] = {"certificate", "FILE", "our certificate and its chain, PEM"},
    [MM_OPT_KEY] = {"key", "FILE", "its private key, PEM"},
    [MM_OPT_TIMEOUT] = {"timeout", "SECONDS", "time limit of a call (default 60)"},
    [MM_OPT_JSON] = {"json", NULL, "print one JSON object"},
    [MM_OPT_HELP] = {"help", NULL, "print this"},
    [MM_OPT_VERSION] = {"version", NULL, "print the version"},
    [MM_OPT_NAME] = {"name", "NAME", "the batch's name, for people"},
    [MM_OPT_PROFILE] = {"profile", "NAME", "profile of the service's configuration"},
    [MM_OPT_DEVICE_TYPE] = {"device-type", "NAME", "what is being made"},
    [MM_OPT_QUANTITY] = {"quantity", "N", "most devices that the batch may hold"},
    [MM_OPT_HEADS] = {"heads", "N", "sockets of the station (default 1)"},
    [MM_OPT_ORDER] = {"order", "ID", "production order (default: the one that expires first)"},
    [MM_OPT_OPEN] = {"open", NULL, "only batches that are not released"},
    [MM_OPT_BATCH] = {"batch", "UID", "the batch"},
    [MM_OPT_COUNT] = {"count", "N", "devices to make (default: one for each hardware serial)"},
    [MM_OPT_OUT] = {"out", "DIR", "folder to write to; made if missing"},
    [MM_OPT_REQUEST_ID] = {"request-id", "ID", "idempotency key (default: DIR's own, or random)"},
    [MM_OPT_HW_SERIALS] = {"hw-serials", "FILE", "hardware serial numbers, one in each line"},
    [MM_OPT_SERIAL_NAMES] = {"serial-names", NULL,
                             "a device's hardware serial is its file's name without the ending"},
    [MM_OPT_OK] = {"ok", NULL, "the devices were programmed well"},
    [MM_OPT_KO] = {"ko", NULL, "programming the device failed, for the reason given"},
    [MM_OPT_FILE] = {"file", "FILE", "one JSON object in each line: device_uid, state, reason"},
    [MM_OPT_TRANSPORT_KEY] = {"transport-key", "FILE", "the exported transport key"},
    [MM_OPT_RECIPIENT_KEY] = {"recipient-key", "FILE", "private key it was exported to, PEM"},
    [MM_OPT_MECHANISM] = {"mechanism", "NAME",
                          "ECDSA, ECDSA-SHA256, ECDSA-SHA384, ECDSA-SHA512, Ed25519"},
    [MM_OPT_DIGEST] = {"digest", "HEX", "sign this digest in place of a file's"},
    [MM_OPT_SIGNATURE] = {"signature", "FILE", "new file for the signature, DER"},
    [MM_OPT_CHAIN] = {"chain", "FILE", "new file for the key's certificate and its chain, PEM"},
    [MM_OPT_LENGTH] = {"length", "N", "bytes: 1 to 65536"},
    [MM_OPT_TOKEN] = {"token", "NAME", "token section of the service (default: the first)"},
};

static const unsigned char common[] = {
    MM_OPT_SITE,        MM_OPT_TARGET,  MM_OPT_SERVER_NAME, MM_OPT_CA,
    MM_OPT_CERTIFICATE, MM_OPT_KEY,     MM_OPT_TIMEOUT,     MM_OPT_JSON,
    MM_OPT_HELP,        MM_OPT_VERSION, MM_OPT_NONE,
};

static void print_options(const unsigned char *options)
{
    for (; *options; options++) {
        const char *placeholder = infos[*options].placeholder;
        const int width = 26 - (int)strlen(infos[*options].name) - 1;

        printf("  --%s %-*s %s\n", infos[*options].name, width, placeholder ? placeholder : "",
               infos[*options].help);
    }
}

/* "batch open" */
static void full_name(const struct mm_command *c, char *to, size_t size)
{
    snprintf(to, size, "%s%s%s", c->group ? c->group : "", c->group ? " " : "", c->name);
}

static bool is_of_group(const struct mm_command *c, const char *group)
{
    return c->group && strcmp(c->group, group) == 0;
}

/* Those of a group, or all for NULL. */
static void print_commands(const char *group)
{
    char name[32];

    puts("usage: mintmark [OPTION]... COMMAND [ARGUMENT]...\n\nCommands:");
    for (size_t i = 0; i < mm_n_commands; i++) {
        if (group && !is_of_group(&mm_commands[i], group))
            continue;
        full_name(&mm_commands[i], name, sizeof(name));
        printf("  %-16s %s\n", name, mm_commands[i].summary);
    }
    puts("\nmintmark COMMAND --help says more about one of them.");
}

static void print_command(const struct mm_command *c)
{
    char name[32];

    full_name(c, name, sizeof(name));
    printf("usage: mintmark %s%s%s\n\n%s\n", name, c->arguments[0] ? " " : "", c->arguments,
           c->summary);
    if (*c->options)
        puts("\nOptions:");
    print_options(c->options);
}

static void print_help(const struct mm_command *c, const char *group)
{
    if (c)
        print_command(c);
    else
        print_commands(group);
    puts("\nOptions of all commands:");
    print_options(common);
    puts(
        "\nWithout --site, $XDG_CONFIG_HOME/mintmark/station.conf is read if it is there. What an\n"
        "option says goes before what the file says. See mintmark(1).");
}

static size_t add_options(struct option *to, const unsigned char *options)
{
    size_t n = 0;

    for (; options[n]; n++)
        to[n] = (struct option){.name = infos[options[n]].name,
                                .has_arg =
                                    infos[options[n]].placeholder ? required_argument : no_argument,
                                .val = options[n]};
    return n;
}

/* Takes the options from argv; the rest is moved to its end, from optind on. */
static int take_options(struct mm_cmd *cmd, int argc, char **argv, const char *how,
                        const unsigned char *more)
{
    struct option options[MM_OPT_END + 1] = {{.name = NULL}};
    const size_t n = add_options(options, common);
    int c;

    add_options(options + n, more);
    opterr = 0;
    optind = 0; /* start afresh */
    while ((c = getopt_long(argc, argv, how, options, NULL)) != -1) {
        if (c == 'h')
            c = MM_OPT_HELP;
        if (c == ':')
            return mm_cmd_usage(cmd, "%s needs an argument", argv[optind - 1]);
        if (c == '?')
            return mm_cmd_usage(cmd, "%s is not an option here", argv[optind - 1]);
        /* As of a shell's variable that is not set. */
        if (optarg && !*optarg)
            return mm_cmd_usage(cmd, "--%s is empty", infos[c].name);
        cmd->value[c] = optarg ? optarg : "";
    }
    return 0;
}

static const struct mm_command *find_command(int argc, char **argv)
{
    for (size_t i = 0; i < mm_n_commands; i++) {
        const struct mm_command *c = &mm_commands[i];
        const char *const words[] = {c->group ? c->group : c->name, c->name};

        if (argc >= (c->group ? 2 : 1) && strcmp(argv[0], words[0]) == 0 &&
            (!c->group || strcmp(argv[1], words[1]) == 0))
            return c;
    }
    return NULL;
}

static int no_command(const struct mm_cmd *cmd, int argc, char **argv)
{
    char names[64] = "";

    if (argc == 0)
        return mm_cmd_usage(cmd, "no command given: see mintmark --help");
    for (size_t i = 0; i < mm_n_commands; i++) {
        const struct mm_command *c = &mm_commands[i];
        const size_t len = strlen(names);

        if (is_of_group(c, argv[0]))
            snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "", c->name);
    }
    if (*names)
        return mm_cmd_usage(cmd, "'%s' takes one of %s: see mintmark %s --help", argv[0], names,
                            argv[0]);
    return mm_cmd_usage(cmd, "'%s' is not a command: see mintmark --help", argv[0]);
}

static int check(const struct mm_cmd *cmd)
{
    const struct mm_command *c = cmd->command;

    for (const unsigned char *o = c->required; *o; o++)
        if (!cmd->value[*o])
            return mm_cmd_usage(cmd, "--%s is missing", infos[*o].name);
    if (cmd->n_args < c->min_args)
        return mm_cmd_usage(cmd, "something is missing: %s", c->arguments);
    if (cmd->n_args > c->max_args)
        return mm_cmd_usage(cmd, "too much on the command line, from '%s' on",
                            cmd->args[c->max_args]);
    return 0;
}

/* --help and --version, which end everything. */
static bool answer(const struct mm_cmd *cmd)
{
    if (cmd->value[MM_OPT_VERSION])
        puts("mintmark " MM_VERSION);
    else if (cmd->value[MM_OPT_HELP])
        print_help(cmd->command, NULL);
    else
        return false;
    return true;
}

/* "help", and "batch --help" for the commands of a group; a command has help of its own. */
static bool answer_group(int argc, char **argv)
{
    const char *const last = argc > 0 ? argv[argc - 1] : "";
    const char *const group = argc == 2 ? argv[0] : NULL;
    bool known = argc == 1;

    if (argc > 2 ||
        (strcmp(last, "--help") != 0 && strcmp(last, "-h") != 0 && strcmp(last, "help") != 0))
        return false;
    for (size_t i = 0; group && i < mm_n_commands; i++)
        known = known || is_of_group(&mm_commands[i], group);
    if (known)
        print_help(NULL, group);
    return known;
}

int mm_cmd_parse(struct mm_cmd *cmd, int argc, char **argv)
{
    int words, r = take_options(cmd, argc, argv, "+:h", (const unsigned char[]){MM_OPT_NONE});

    if (r)
        return r + 1;
    argc -= optind;
    argv += optind;
    cmd->command = argc > 0 ? find_command(argc, argv) : NULL;
    if (!cmd->command && (answer(cmd) || answer_group(argc, argv)))
        return MM_CMD_DONE + 1;
    if (!cmd->command)
        return no_command(cmd, argc, argv) + 1;
    /* The last word of the command stands where getopt expects a program's name. */
    words = cmd->command->group ? 1 : 0;
    argc -= words;
    argv += words;
    r = take_options(cmd, argc, argv, ":h", cmd->command->options);
    if (r)
        return r + 1;
    if (answer(cmd))
        return MM_CMD_DONE + 1;
    cmd->args = argv + optind;
    cmd->n_args = (size_t)(argc - optind);
    r = check(cmd);
    return r ? r + 1 : 0;
}

int mm_cmd_number(const struct mm_cmd *cmd, enum mm_cmd_option option, uint64_t min, uint64_t max,
                  uint64_t *ret_value)
{
    if (mm_text_to_u64(cmd->value[option], min, max, ret_value) == MM_OK)
        return 0;
    return mm_cmd_usage(cmd, "--%s must be a number from %llu to %llu", infos[option].name,
                        (unsigned long long)min, (unsigned long long)max);
}
