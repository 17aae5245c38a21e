/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/cmd.h"
#include "client/error.h"
#include "daemon/base/limits.h"
#include "daemon/base/secret.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TIMEOUT_S_MAX = 24 * 3600 };

/* For the signal handler. */
static struct mintmark *volatile running;
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
    if (running)
        mintmark_cancel(running);
}

/* The first signal ends the call in good order, a second one the program. One that whoever started
 * us has us ignore, as a shell does for what runs in its background, stays ignored. */
static void catch_signal(int number)
{
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction before;

    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        (void)sigaction(number, &action, NULL);
}

/* The path of the user's own site file; false if there is none. */
static bool default_site(char path[PATH_MAX])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;

    if (config && *config == '/')
        n = snprintf(path, PATH_MAX, "%s/mintmark/station.conf", config);
    else if (home && *home == '/')
        n = snprintf(path, PATH_MAX, "%s/.config/mintmark/station.conf", home);
    else
        return false;
    return n < PATH_MAX && access(path, F_OK) == 0;
}

static int load_site(struct mm_cmd *cmd)
{
    const char *path = cmd->value[MM_OPT_SITE];
    char usual[PATH_MAX];
    struct mintmark_error error;

    if (!path && default_site(usual))
        path = usual;
    if (!path || mm_site_load(path, &cmd->site, &error) == 0)
        return 0;
    (void)mm_cmd_fail(cmd, &error);
    return MM_CMD_CONFIG;
}

/* Whether all is there that a connection takes. */
static int check_options(const struct mm_cmd *cmd, const struct mintmark_options *options)
{
    const struct {
        const char *value;
        const char *missing;
    } needed[] = {
        {options->target, "where is the service? Give --target HOST:PORT"},
        {options->ca_file, "which CA's certificate has the service? Give --ca FILE"},
        {options->certificate_file, "who are we? Give --certificate FILE"},
        {options->key_file, "where is our certificate's private key? Give --key FILE"},
    };
    struct mintmark_error error;

    for (size_t i = 0; i < MM_ARRAY_SIZE(needed); i++) {
        if (needed[i].value)
            continue;
        mm_client_fail(&error, MINTMARK_INVALID_ARGUMENT, "MISSING_OPTION",
                       "%s, or a site file with --site FILE", needed[i].missing);
        (void)mm_cmd_fail(cmd, &error);
        return MM_CMD_CONFIG;
    }
    return 0;
}

static int open_client(struct mm_cmd *cmd)
{
    struct mintmark_options options = {.timeout_ms = 0};
    const struct {
        enum mm_cmd_option option;
        const char **to;
    } given[] = {
        {MM_OPT_TARGET, &options.target}, {MM_OPT_SERVER_NAME, &options.server_name},
        {MM_OPT_CA, &options.ca_file},    {MM_OPT_CERTIFICATE, &options.certificate_file},
        {MM_OPT_KEY, &options.key_file},
    };
    struct mintmark_error error;
    uint64_t seconds;
    int r = load_site(cmd);

    if (r)
        return r;
    mm_site_apply(&cmd->site, &options);
    for (size_t i = 0; i < MM_ARRAY_SIZE(given); i++)
        if (cmd->value[given[i].option])
            *given[i].to = cmd->value[given[i].option];
    if (cmd->value[MM_OPT_TIMEOUT]) {
        r = mm_cmd_number(cmd, MM_OPT_TIMEOUT, 1, TIMEOUT_S_MAX, &seconds);
        if (r)
            return r;
        options.timeout_ms = (uint32_t)seconds * 1000;
    }
    r = check_options(cmd, &options);
    if (r)
        return r;
    /* Whoever pings wants to know now. */
    if (cmd->command->run == mm_cmd_ping)
        options.attempts = 1;
    if (mintmark_new(&options, &cmd->client, &error) == 0)
        return 0;
    (void)mm_cmd_fail(cmd, &error);
    return MM_CMD_CONFIG;
}

static int run(struct mm_cmd *cmd)
{
    int r = cmd->command->offline ? 0 : open_client(cmd);

    if (r)
        return r;
    running = cmd->client;
    if (cmd->client) {
        catch_signal(SIGINT);
        catch_signal(SIGTERM);
    }
    r = cmd->command->run(cmd);
    running = NULL;
    return r;
}

/* What was printed may still be in a buffer, or have been lost from one. An exit code. */
static int end_output(int r)
{
    const bool lost = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !lost)
        return r;
    fprintf(stderr, "mintmark: cannot write the result%s%s\n", errno ? ": " : "",
            errno ? strerror(errno) : "");
    return r == MM_CMD_DONE ? MM_CMD_FAILED : r;
}

int main(int argc, char **argv)
{
    struct mm_cmd cmd = {.command = NULL};
    struct mm_errinfo ei;
    int r;

    if (mm_secret_harden_process(&ei) < 0) {
        fprintf(stderr, "mintmark: %s\n", ei.text);
        return MM_CMD_INTERNAL;
    }
    r = mm_cmd_parse(&cmd, argc, argv);
    r = r ? r - 1 : run(&cmd);
    mintmark_free(cmd.client);
    mm_site_done(&cmd.site);
    r = end_output(r);
    /* So that a shell's loop around us ends as well. */
    if (caught && r != MM_CMD_DONE)
        (void)raise(caught);
    return r;
}
