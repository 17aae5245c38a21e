/* SPDX-License-Identifier: Apache-2.0 */
/* mintmarkd: see mintmarkd(8). */
#include "daemon/base/heap.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/secret.h"
#include "daemon/front/daemon.h"
#include "daemon/front/tls.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#ifndef MM_CONFIG_FILE
#define MM_CONFIG_FILE "/etc/mintmark/mintmark.conf"
#endif

enum action { SERVE, CHECK, DUMP, SHOW_VERSION, SHOW_HELP };

struct options {
    const char *config;
    enum action action;
};

static void print_help(void)
{
    fputs("usage: mintmarkd [--config FILE] [--check-config | --dump-config]\n"
          "       mintmarkd --version | --help\n"
          "\n"
          "Serves device identities to programming stations. Stays in the foreground; logs to\n"
          "standard error. SIGHUP reloads the configuration, SIGTERM ends it in order.\n"
          "\n"
          "  --config FILE   configuration (default " MM_CONFIG_FILE ")\n"
          "  --check-config  check it, its profiles, and the files that it names, and end\n"
          "  --dump-config   write it with all defaults filled in, and end\n",
          stdout);
}

static int misused(const char *why, const char *word)
{
    fprintf(stderr, "mintmarkd: %s: %s; try --help\n", word, why);
    return MM_ERR_INVALID;
}

static int parse(int argc, char **argv, struct options *ret_options)
{
    static const struct option table[] = {
        {"config", required_argument, NULL, 'c'}, {"check-config", no_argument, NULL, 'k'},
        {"dump-config", no_argument, NULL, 'd'},  {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    struct options o = {.config = MM_CONFIG_FILE};
    int c;

    opterr = 0;
    while ((c = getopt_long(argc, argv, ":c:hV", table, NULL)) != -1) {
        switch (c) {
        case 'c':
            o.config = optarg;
            break;
        case 'k':
            o.action = CHECK;
            break;
        case 'd':
            o.action = DUMP;
            break;
        case 'V':
            o.action = SHOW_VERSION;
            break;
        case 'h':
            o.action = SHOW_HELP;
            break;
        case ':':
            return misused("it needs a value", argv[optind - 1]);
        default:
            return misused("unknown option", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return misused("unexpected argument", argv[optind]);
    *ret_options = o;
    return MM_OK;
}

static int complain(const struct mm_errinfo *ei, int status)
{
    fprintf(stderr, "mintmarkd: %s\n", ei->text);
    return status;
}

/* Whether the service could take connections: a key that is not the certificate's, for one. */
static int check_tls(const struct mm_conf_listen *listen, struct mm_errinfo *ei)
{
    struct mm_tls_files files = MM_TLS_FILES_INIT;
    SSL_CTX *ctx = NULL;
    int r = mm_io_read_file(listen->certificate, MM_PEM_FILE_MAX, &files.certificate, ei);

    if (r == MM_OK)
        r = mm_io_read_file(listen->key, MM_PEM_FILE_MAX, &files.key, ei);
    if (r == MM_OK)
        r = mm_io_read_file(listen->client_ca, MM_PEM_FILE_MAX, &files.client_ca, ei);
    if (r == MM_OK)
        r = mm_tls_context_new(listen, &files, true, &ctx, ei);
    SSL_CTX_free(ctx);
    mm_tls_files_done(&files);
    return r;
}

/* So that every path that comes of it is seen to be one: mm_text_hide_paths. */
static int absolute(const char *path, char **ret_path, struct mm_errinfo *ei)
{
    MM_FREE char *folder = *path == '/' ? strdup("") : getcwd(NULL, 0);

    if (!folder)
        return mm_fail_errno(ei, errno, "the working directory");
    if (asprintf(ret_path, "%s%s%s", folder, *path == '/' ? "" : "/", path) < 0)
        return mm_fail_memory(ei);
    return MM_OK;
}

static int load(const struct options *o, struct mm_source *source, struct mm_errinfo *ei)
{
    MM_FREE char *path = NULL;
    int r;

    if (o->action != SERVE)
        return mm_source_load(o->config, source, ei);
    r = absolute(o->config, &path, ei);
    return r < 0 ? r : mm_source_load(path, source, ei);
}

static int with_config(const struct options *o)
{
    struct mm_source source = MM_SOURCE_INIT;
    struct mm_errinfo ei = {0};
    int status = EX_OK;

    if (load(o, &source, &ei) < 0 ||
        (o->action == CHECK && check_tls(&source.conf->listen, &ei) < 0))
        status = complain(&ei, EX_CONFIG);
    else if (o->action == CHECK)
        printf("%s: fine\n", source.conf->path);
    else if (o->action == DUMP && mm_conf_dump(source.conf, stdout, &ei) < 0)
        status = complain(&ei, EXIT_FAILURE);
    else if (o->action == SERVE && mm_daemon_run(&source, &ei) < 0)
        status = complain(&ei, EXIT_FAILURE);
    mm_source_done(&source);
    return status;
}

static int act(const struct options *o)
{
    switch (o->action) {
    case SHOW_VERSION:
        puts("mintmarkd " MM_VERSION);
        return EX_OK;
    case SHOW_HELP:
        print_help();
        return EX_OK;
    default:
        return with_config(o);
    }
}

int main(int argc, char **argv)
{
    struct mm_errinfo ei = {0};
    struct options options;
    int status;

    mm_heap_give_back();
    if (mm_secret_harden_process(&ei) < 0)
        return complain(&ei, EXIT_FAILURE);
    if (parse(argc, argv, &options) < 0)
        return EX_USAGE;
    status = act(&options);
    if (status == EX_OK && fflush(stdout) != 0) {
        fputs("mintmarkd: cannot write the output\n", stderr);
        status = EXIT_FAILURE;
    }
    return status;
}
