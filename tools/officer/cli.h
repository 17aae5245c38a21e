/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of mintmark-officer: one table of options, one table of commands that names the
 * options each takes, and from both the parser and the help. No PIN can be given here.
 */
#pragma once

#include "daemon/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit codes of mintmark's tools; the numbers are those of sysexits.h where it has them. */
enum mm_exit {
    MM_EXIT_DONE = 0,
    MM_EXIT_FAILED = 1,       /* service, token or file said no; or the officer did */
    MM_EXIT_USAGE = 64,       /* the command line is wrong */
    MM_EXIT_DATA = 65,        /* input data are wrong */
    MM_EXIT_UNAVAILABLE = 69, /* the service or the token does not answer */
    MM_EXIT_INTERNAL = 70,
    MM_EXIT_HANGS = 75,      /* the PKCS#11 module did not come back from a call */
    MM_EXIT_PERMISSION = 77, /* PIN refused, or not allowed */
    MM_EXIT_CONFIG = 78,
};

/* kind (STR or FLAG), field, name, placeholder, help. */
#define MM_OFFICER_OPTIONS(X)                                                                      \
    X(STR, config, "config", "FILE", "the site's configuration")                                   \
    X(STR, token, "token", "NAME", "token section of the configuration; the only one if left out") \
    X(STR, label, "label", "LABEL", "label of the token or key")                                   \
    X(STR, use, "use", "USE", "what the key is for: ca, transport or signing")                     \
    X(STR, algorithm, "algorithm", "ALG", "ecdh or rsa; without, what the token has, ecdh first")  \
    X(STR, curve, "curve", "CURVE", "p256 (default), p384, ed25519, mldsa44, mldsa65, mldsa87")    \
    X(STR, pin_file, "pin-file", "FILE", "user PIN from a file that others cannot read")           \
    X(STR, pin_fd, "pin-fd", "N", "user PIN from the next line of an open descriptor")             \
    X(STR, pin_credential, "pin-credential", "NAME", "user PIN from a systemd credential")         \
    X(FLAG, pin_prompt, "pin-prompt", NULL, "ask for the user PIN on the terminal")                \
    X(STR, timeout, "timeout", "S", "longest call of the PKCS#11 module; default 30 s")            \
    X(STR, new_pin_file, "new-pin-file", "FILE", "the new user PIN, from a file")                  \
    X(STR, new_pin_fd, "new-pin-fd", "N", "the new user PIN, from an open descriptor")             \
    X(STR, so_pin_file, "so-pin-file", "FILE", "security officer's PIN from a file")               \
    X(STR, so_pin_fd, "so-pin-fd", "N", "security officer's PIN from an open descriptor")          \
    X(STR, generate_pin_file, "generate-pin-file", "FILE",                                         \
      "make a random user PIN and write it to a new file")                                         \
    X(STR, generate_so_pin_file, "generate-so-pin-file", "FILE",                                   \
      "make a random security officer's PIN and write it to a new file")                           \
    X(STR, name, "name", "NAME", "transport section of the configuration")                         \
    X(STR, recipient, "recipient", "FILE", "recipient's public key, PEM; RSA or EC")               \
    X(STR, out, "out", "FILE", "file to make; never overwritten")                                  \
    X(STR, in, "in", "FILE", "file to read")                                                       \
    X(STR, issuer, "issuer", "NAME", "issuer section of the configuration")                        \
    X(STR, certificate, "certificate", "FILE", "certificates, PEM; a signer's own comes first")    \
    X(FLAG, create_key, "create-key", NULL, "make the key; without, it must be there")             \
    X(FLAG, backup, "backup", NULL, "the new CA key may be backed up (key backup)")                \
    X(STR, shares, "shares", "N", "shares of the backup's key, 2 to 16")                           \
    X(STR, threshold, "threshold", "N", "how many of the shares restore it")                       \
    X(STR, shares_dir, "shares-dir", "DIR",                                                        \
      "write the shares to files there, not to the terminal")                                      \
    X(STR, share_files, "share-files", "A,B", "files of shares; else they are typed")              \
    X(STR, preset, "preset", "PRESET", "matter-paa, matter-pai, or none of them: a free one")      \
    X(STR, profile, "profile", "NAME", "profile section of the configuration")                     \
    X(STR, subject, "subject", "DN", "subject, e.g. 'CN=ACME PAA,VID=${vid}'")                     \
    X(STR, vid, "vid", "HEX", "Matter vendor id, 4 upper-case digits")                             \
    X(STR, pid, "pid", "HEX", "Matter product id, 4 upper-case digits")                            \
    X(STR, validity, "validity", "SPAN", "25y, 365d or an end such as 99991231235959Z")            \
    X(STR, path_length, "path-length", "N", "CA levels allowed below a free one: 0 or 1")          \
    X(STR, parent_label, "parent-label", "LABEL", "label of the signing CA's key in the token")    \
    X(STR, parent_certificate, "parent-certificate", "FILE",                                       \
      "signing CA's certificate and its chain, PEM")                                               \
    X(STR, csr_out, "csr-out", "FILE", "make a request for a CA elsewhere in place of --parent-…") \
    X(FLAG, csr, "csr", NULL, "write certification requests for the two keys too")                 \
    X(FLAG, replace, "replace", NULL, "replace what an earlier package has brought")               \
    X(STR, seconds, "seconds", "S", "how long to measure each step, 1 to 60; default 2")           \
    X(STR, operation, "operation", "OP",                                                           \
      "what to measure: mint (default), sign, generate or each")                                   \
    X(STR, max, "max", "N", "most workers to try")                                                 \
    X(STR, svg, "svg", "FILE", "draw the curve into a new SVG file")                               \
    X(STR, id, "id", "ID", "name of the order")                                                    \
    X(STR, quantity, "quantity", "N", "devices that may be made")                                  \
    X(STR, not_before, "not-before", "DATE", "YYYY-MM-DD (its start, UTC) or RFC 3339; now")       \
    X(STR, not_after, "not-after", "DATE", "YYYY-MM-DD (its end, UTC) or RFC 3339")                \
    X(STR, request, "request", "FILE", "the appliance's request, of order request")                \
    X(STR, oem, "oem", "NAME", "who gives the order, for people")                                  \
    X(STR, product, "product", "NAME", "what is made, for people")                                 \
    X(STR, per_batch, "per-batch", "N", "most devices in a batch")                                 \
    X(STR, per_day, "per-day", "N", "most devices in a day (UTC)")                                 \
    X(STR, stations, "stations", "A,B", "the stations that may make them; without, every one")     \
    X(STR, unreported, "unreported", "N", "most devices without a receipt for their report")       \
    X(STR, report_hours, "report-hours", "H", "longest time without such a receipt")               \
    X(STR, replacements, "replacements", "N", "KO devices whose units are given back")             \
    X(STR, devices, "devices", "N", "devices of the order that there are reports of, in all")      \
    X(STR, from, "from", "SEQ", "first record; 1 if left out")                                     \
    X(STR, reason, "reason", "TEXT", "why, for people")                                            \
    X(STR, key, "key", "KEY", "signing key: a PEM file, or a pkcs11: URI")                         \
    X(STR, module, "module", "FILE", "PKCS#11 module of the URI's token")                          \
    X(STR, trust, "trust", "FILE", "certificates whose signatures count, PEM")                     \
    X(STR, site, "site", "FILE", "how to reach the service: target, ca, certificate, key")         \
    X(STR, target, "target", "HOST:PORT", "where the service listens, in place of the site's")     \
    X(STR, operator_name, "operator", "NAME", "who holds the ceremony; asked if left out")         \
    X(STR, witness, "witness", "NAME", "second person, who confirms too")                          \
    X(STR, transcript, "transcript", "FILE", "append to this transcript; default: a new one")      \
    X(FLAG, yes, "yes", NULL, "confirm everything beforehand, for scripts")                        \
    X(STR, state, "state", "STATE", "waiting, parked or failed; all three if left out")            \
    X(STR, limit, "limit", "N", "most devices that are listed; 1,000 if left out")                 \
    X(FLAG, delta, "delta", NULL, "the delta CRL")                                                 \
    X(FLAG, json, "json", NULL, "machine-readable output")                                         \
    X(FLAG, help, "help", NULL, "explain this command")

#define MM_OPTION_ENUM(kind, field, name, placeholder, help)  MM_OPT_##field,
#define MM_OPTION_STR(field)                                  char *field;
#define MM_OPTION_FLAG(field)                                 bool field;
#define MM_OPTION_FIELD(kind, field, name, placeholder, help) MM_OPTION_##kind(field)

enum mm_option { MM_OPT_NONE, MM_OFFICER_OPTIONS(MM_OPTION_ENUM) MM_OPT_COUNT };

/* What was given; a string that was not is NULL. All borrowed from argv. */
struct mm_args {
    MM_OFFICER_OPTIONS(MM_OPTION_FIELD)
    char *operand;
};

struct mm_officer;

struct mm_command {
    const char *words; /* "token init", "key transport export" */
    const char *summary;
    bool ceremony;       /* changes the token or the orders: writes a transcript */
    const char *operand; /* placeholder of the one operand; NULL: takes none */
    bool operand_optional;
    const enum mm_option *required; /* both lists end with MM_OPT_NONE */
    const enum mm_option *optional;
    int (*run)(struct mm_officer *o, struct mm_errinfo *ei);
};

extern const struct mm_command mm_commands[];
extern const size_t mm_commands_count;

/* Finds the command of the longest matching words in argv[1…]; NULL when there is none.
 * *ret_used is the number of words that it took. */
const struct mm_command *mm_cli_find(int argc, char *const argv[], int *ret_used);

/* Parses what follows the command's words. MM_ERR_INVALID with a sentence for a person. */
int mm_cli_parse(const struct mm_command *command, int argc, char **argv, struct mm_args *ret_args,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* The name of an option without its dashes. */
const char *mm_cli_option_name(enum mm_option option);

/* Whether some commands begin with this word and have more: "token", "key". */
bool mm_cli_is_group(const char *word);

/* Fails with what is wrong where mm_cli_find finds nothing: names the commands of a group. */
int mm_cli_fail_command(int argc, char *const argv[], struct mm_errinfo *ei);

/* Lists the commands: those of a group, or all for NULL. */
void mm_cli_help(FILE *out, const char *group);
void mm_cli_help_command(FILE *out, const struct mm_command *command);

/* The exit code that stands for a library error. */
enum mm_exit mm_cli_exit(int err);
