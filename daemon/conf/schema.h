/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of every setting. It drives the parser, the defaults, the checks of single values,
 * --dump-config, and the test that holds mintmark.conf(5) against it. What ties several settings
 * together is in check.c.
 */
#pragma once

#include "daemon/conf/conf.h"

enum mm_section_id {
    MM_SECTION_ROOT,
    MM_SECTION_LISTEN,
    MM_SECTION_STORE,
    MM_SECTION_LIMITS,
    MM_SECTION_METRICS,
    MM_SECTION_APPLIANCE,
    MM_SECTION_TOKEN,
    MM_SECTION_TRANSPORT,
    MM_SECTION_ISSUER,
    MM_SECTION_PROFILE,
    MM_SECTION_ITEM,
    MM_SECTION_SIGNING,
    MM_SECTION_CLIENT,
    MM_SECTIONS,
};

/* A section. Titled ones may come more than once; their elements are an array in the parent's
 * struct. Every section's struct but the root's begins with int line, the titled ones' with the
 * first of these, and the optional ones', which turn something on by being there, with the second;
 * what they require is required only then. */
struct mm_titled {
    char *name; /* the title */
    int line;
};
struct mm_optional {
    int line;
    bool given; /* it is in the file */
};

struct mm_section {
    const char *name; /* "" for the root */
    enum mm_section_id parent;
    bool titled;
    bool optional;
    size_t offset;       /* in the parent's struct: of the struct, or of the array's pointer */
    size_t count_offset; /* titled: of the array's size_t count */
    size_t size;         /* titled: bytes of an element */
    size_t max;          /* titled: most elements */
    const char *help;
};

enum mm_setting_type {
    MM_SETTING_TEXT,   /* char *: min..max bytes, and format if there is one */
    MM_SETTING_PATH,   /* char *: made absolute */
    MM_SETTING_CHOICE, /* char *: one of choices */
    MM_SETTING_LEVEL,  /* enum mm_log_level: one of choices, in the enum's order */
    MM_SETTING_UINT,   /* unsigned: min..max */
    MM_SETTING_SIZE,   /* unsigned long: min..max */
    MM_SETTING_BOOL,   /* bool: true or false */
    MM_SETTING_LIST,   /* char ** and size_t: texts, each with format or one of choices */
    MM_SETTING_ROLES,  /* unsigned: bit set, bit i for choices[i] */
};

struct mm_setting {
    enum mm_section_id section;
    const char *key;
    enum mm_setting_type type;
    uint64_t min, max;
    const char *fallback; /* the default as it would stand in the file; NULL: not set */
    const char *unit;     /* "ms", "bytes"; NULL: none */
    bool required;
    bool restart;               /* SIGHUP does not take a new value; a restart does */
    bool preset;                /* with a preset, the preset's value is the default instead */
    size_t offset;              /* in the section's struct */
    size_t count_offset;        /* LIST only */
    const char *const *choices; /* CHOICE, LEVEL, ROLES and some LISTs: ends with NULL */
    bool (*format)(const char *text);
    const char *expects; /* what format wants, for the error message */
    const char *help;
};

const struct mm_section *mm_schema_section(enum mm_section_id id);
/* All settings, section by section. */
const struct mm_setting *mm_schema_settings(size_t *ret_n);
/* NULL when the section has no such setting. */
const struct mm_setting *mm_schema_find(enum mm_section_id section, const char *key);
/* The known setting or section that a mistyped name in this section may have meant; NULL if none is
 * near. Looks into other sections too, for names that are right but in the wrong place. */
const char *mm_schema_suggest(enum mm_section_id section, const char *name, char *buf, size_t size);
