/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mintmark command: one table of options, one table of subcommands that names the options each
 * takes, and from both the parser and the help. mintmark(1) is the reference.
 */
#pragma once

#include "client/mintmark.h"
#include "client/site.h"
#include "daemon/base/err.h"

#include <jansson.h>
#include <stdbool.h>

/* Those of all of mintmark's tools. */
enum mm_cmd_exit {
    MM_CMD_DONE = 0,
    MM_CMD_FAILED = 1, /* the service or a file said no */
    MM_CMD_USAGE = 64,
    MM_CMD_DATA = 65,
    MM_CMD_UNAVAILABLE = 69,
    MM_CMD_INTERNAL = 70,
    MM_CMD_WAITING = 75, /* of provision, enroll, device get: certificates that come later */
    MM_CMD_PERMISSION = 77,
    MM_CMD_CONFIG = 78,
};

enum mm_cmd_option {
    MM_OPT_NONE, /* ends a list of options */
    MM_OPT_SITE,
    MM_OPT_TARGET,
    MM_OPT_SERVER_NAME,
    MM_OPT_CA,
    MM_OPT_CERTIFICATE,
    MM_OPT_KEY,
    MM_OPT_TIMEOUT,
    MM_OPT_JSON,
    MM_OPT_HELP,
    MM_OPT_VERSION,
    /* of single commands */
    MM_OPT_NAME,
    MM_OPT_PROFILE,
    MM_OPT_DEVICE_TYPE,
    MM_OPT_QUANTITY,
    MM_OPT_HEADS,
    MM_OPT_ORDER,
    MM_OPT_OPEN,
    MM_OPT_BATCH,
    MM_OPT_COUNT,
    MM_OPT_OUT,
    MM_OPT_REQUEST_ID,
    MM_OPT_HW_SERIALS,
    MM_OPT_SERIAL_NAMES,
    MM_OPT_OK,
    MM_OPT_KO,
    MM_OPT_FILE,
    MM_OPT_TRANSPORT_KEY,
    MM_OPT_RECIPIENT_KEY,
    MM_OPT_MECHANISM,
    MM_OPT_DIGEST,
    MM_OPT_SIGNATURE,
    MM_OPT_CHAIN,
    MM_OPT_LENGTH,
    MM_OPT_TOKEN,
    MM_OPT_END
};

struct mm_cmd;

struct mm_command {
    const char *group; /* "batch"; NULL: the command is one word */
    const char *name;  /* "open" */
    const char *arguments;
    const char *summary;
    const unsigned char *options;  /* that it takes besides the common ones */
    const unsigned char *required; /* those of them that must be there */
    unsigned min_args, max_args;
    bool offline; /* makes no calls */
    /* The exit code; its result or its error has been printed. */
    int (*run)(struct mm_cmd *cmd);
};

extern const struct mm_command mm_commands[];
extern const size_t mm_n_commands;

struct mm_cmd {
    const struct mm_command *command;
    const char *value[MM_OPT_END]; /* NULL: not given; of a flag: "" */
    char **args;                   /* what is no option */
    size_t n_args;
    struct mm_site site;
    struct mintmark *client; /* NULL for offline commands */
};

/* parse.c: reads the command line. 0, or an exit code plus 1 when that is all there was to do. */
int mm_cmd_parse(struct mm_cmd *cmd, int argc, char **argv);
/* An option's number, min to max; prints what is wrong and returns MM_CMD_USAGE. */
int mm_cmd_number(const struct mm_cmd *cmd, enum mm_cmd_option option, uint64_t min, uint64_t max,
                  uint64_t *ret_value) MM_MUST_USE;

/* print.c. One line on stderr, and with --json an object with the member "error" on stdout. All
 * return the exit code. */
int mm_cmd_usage(const struct mm_cmd *cmd, const char *fmt, ...) MM_PRINTF(2, 3);
int mm_cmd_fail(const struct mm_cmd *cmd, const struct mintmark_error *error);
int mm_cmd_fail_file(const struct mm_cmd *cmd, const struct mm_errinfo *ei);
int mm_cmd_fail_memory(const struct mm_cmd *cmd);
/* What a line on stderr begins with: the command's name. */
void mm_cmd_say_name(const struct mm_cmd *cmd);
/* Prints the object as one line and frees it; NULL: there was no memory. */
int mm_cmd_print_json(const struct mm_cmd *cmd, json_t *object);
bool mm_cmd_wants_json(const struct mm_cmd *cmd);
/* A batch as JSON, with the field names of the service's API; and as lines of text. */
json_t *mm_cmd_batch_json(const struct mintmark_batch *batch);
void mm_cmd_batch_text(const struct mintmark_batch *batch);
json_t *mm_cmd_counts_json(const struct mintmark_counts *counts);

/* report.c: fetches the signed report on a batch into the folder of --out: report.json,
 * report.json.p7s, report.html. An exit code. */
int mm_cmd_fetch_report(struct mm_cmd *cmd, const char *batch_uid);

int mm_cmd_ping(struct mm_cmd *cmd);
int mm_cmd_batch_open(struct mm_cmd *cmd);
int mm_cmd_batch_show(struct mm_cmd *cmd);
int mm_cmd_batch_list(struct mm_cmd *cmd);
int mm_cmd_batch_release(struct mm_cmd *cmd);
int mm_cmd_report(struct mm_cmd *cmd);
int mm_cmd_provision(struct mm_cmd *cmd);
int mm_cmd_enroll(struct mm_cmd *cmd);
int mm_cmd_device_get(struct mm_cmd *cmd);
int mm_cmd_device_report(struct mm_cmd *cmd);
int mm_cmd_unwrap(struct mm_cmd *cmd);
int mm_cmd_sign(struct mm_cmd *cmd);
int mm_cmd_random(struct mm_cmd *cmd);
