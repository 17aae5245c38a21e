/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/audit.h"

#include <getopt.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

static const char usage_text[] =
    "usage: mintmark-verify COMMAND ...\n"
    "\n"
    "Verifies, with code of its own, what mintmark has made; needs no token and no database.\n"
    "\n"
    "  identities --dir DIR --root FILE   identities that a station has received\n"
    "  order FILE --oem CERTS             a signed order, revocation, receipt, request, unlock\n"
    "  report FILE --audit CERT           a signed production report\n"
    "  manifest FILE --audit CERT         a manifest for cloud registries\n"
    "  ledger EXPORT --audit CERT         an export of the ledger\n"
    "\n"
    "mintmark-verify COMMAND --help shows a command's options; mintmark-verify --version.\n"
    "\n"
    "Exit status: 0 all is well, 1 something is not, 64 usage, 65 input cannot be read,\n"
    "74 the output cannot be written.\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"identities", identities_command}, {"order", order_command},   {"report", report_command},
    {"manifest", manifest_command},     {"ledger", ledger_command},
};

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";

    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        fputs(usage_text, stdout);
        return EXIT_GOOD;
    }
    if (strcmp(name, "--version") == 0) {
        puts("mintmark-verify " MM_VERSION);
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    }
    if (*name == '-')
        return usage_error("unknown option ", name);
    return usage_error(*name ? "there is no command " : "a command is missing", name);
}

int main(int argc, char **argv)
{
    int status;

    opterr = 0;
    /* What is verified must not depend on a host's openssl.cnf. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        return EXIT_DATA;
    status = run(argc, argv);
    /* Nobody takes a verdict for good that has not been written. */
    if (fflush(stdout) != 0 && status == EXIT_GOOD) {
        fputs("mintmark-verify: cannot write the output\n", stderr);
        return EXIT_OUTPUT;
    }
    return status;
}
