/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/verify/audit.h"

#include <getopt.h>
#include <stdio.h>

enum { OPTIONS_MAX = 8, JSON = OPTIONS_MAX, HELP };

static int take_value(const struct option_spec *spec, const char *value)
{
    if (!spec->n) {
        spec->values[0] = value;
        return -1;
    }
    if (*spec->n == spec->max)
        return usage_error("too many --", spec->name);
    spec->values[(*spec->n)++] = value;
    return -1;
}

int options_parse(int argc, char **argv, const char *usage_text, const struct option_spec *specs,
                  size_t n_specs, bool *json)
{
    struct option options[OPTIONS_MAX + 3] = {{.name = NULL}};
    int status = -1;

    for (size_t i = 0; i < n_specs; i++)
        options[i] = (struct option){specs[i].name, required_argument, NULL, (int)i};
    options[n_specs] = (struct option){"json", no_argument, NULL, JSON};
    options[n_specs + 1] = (struct option){"help", no_argument, NULL, HELP};
    for (int c; status < 0 && (c = getopt_long(argc, argv, ":", options, NULL)) != -1;) {
        if (c == JSON)
            *json = true;
        else if (c == ':')
            status = usage_error("a value is missing after ", argv[optind - 1]);
        else if (c == '?')
            status = usage_error("unknown option ", argv[optind - 1]);
        else if (c == HELP)
            status = fputs(usage_text, stdout) == EOF ? EXIT_OUTPUT : EXIT_GOOD;
        else
            status = take_value(&specs[c], optarg);
    }
    return status;
}
