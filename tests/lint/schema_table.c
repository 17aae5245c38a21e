/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the schema table as JSON, for the check that holds mintmark.conf(5) against it. */
#include "daemon/conf/schema.h"

#include <jansson.h>

static json_t *setting(const struct mm_setting *s)
{
    const bool number = s->type == MM_SETTING_UINT || s->type == MM_SETTING_SIZE;
    json_t *choices = json_array();

    for (size_t i = 0; s->choices && s->choices[i]; i++)
        json_array_append_new(choices, json_string(s->choices[i]));
    return json_pack("{s:s, s:s, s:s?, s:b, s:b, s:b, s:I, s:I, s:s?, s:o}", "section",
                     mm_schema_section(s->section)->name, "key", s->key, "default", s->fallback,
                     "required", s->required, "restart", s->restart, "number", number, "min",
                     (json_int_t)s->min, "max", (json_int_t)s->max, "unit", s->unit, "choices",
                     choices);
}

int main(void)
{
    size_t n;
    const struct mm_setting *settings = mm_schema_settings(&n);
    json_t *table = json_array();
    int r;

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(table, setting(&settings[i])) < 0)
            return EXIT_FAILURE;
    r = json_dumpf(table, stdout, JSON_INDENT(1));
    json_decref(table);
    return r < 0 || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
