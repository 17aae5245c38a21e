/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts with variables, as the subject and san settings of a profile hold them.
 *
 *   ${number}     the device's running number, decimal
 *   ${number:N}   the same with zeros in front up to N digits (1 to 20); never cut
 *   ${hw_serial}  the hardware serial number that the station gave
 *   ${device_uid} the device's UUID
 *   ${vid} ${pid} ${profile}  the profile's own settings
 *
 * A backslash takes the special meaning from the character after it, which must be one of
 * , + $ \ (comma, plus, dollar, backslash). A dollar sign not followed by '{' must be written so.
 * What a variable stands for is put in after the template has been taken apart, and never read as
 * template text: a station's value cannot begin another attribute or name.
 */
#pragma once

#include "daemon/pki/profile.h"

enum mm_template_kind { MM_PART_TEXT, MM_PART_NUMBER, MM_PART_HW_SERIAL, MM_PART_DEVICE_UID };

/* One text or variable. Variables that the profile settles are text already. */
struct mm_template_part {
    enum mm_template_kind kind;
    unsigned width;    /* MM_PART_NUMBER: least digits */
    size_t start, len; /* MM_PART_TEXT: in text */
};

/* A plain value; nothing to free. */
struct mm_template {
    struct mm_template_part parts[MM_TEMPLATE_PARTS_MAX];
    size_t n_parts;
    char text[MM_TEMPLATE_VALUE_MAX];
    size_t text_len;
};

/* The variables that do not differ between a profile's devices; "" is not set. */
struct mm_template_fixed {
    const char *vid, *pid, *profile;
};

/* Reads one template from **at up to the first character of stops (some of ",+") that no backslash
 * takes the meaning from, or to the end of the text; *at is left there. MM_ERR_INVALID says what is
 * wrong. */
int mm_template_scan(const char **at, const char *stops, const struct mm_template_fixed *fixed,
                     struct mm_template *ret_template, struct mm_errinfo *ei) MM_MUST_USE;

/* Is the result the same for every device? */
bool mm_template_is_fixed(const struct mm_template *t);
bool mm_template_uses(const struct mm_template *t, enum mm_template_kind kind);

/* Puts the device's values in; out is not ended with a NUL. MM_ERR_INVALID when a value that the
 * template needs is missing, MM_ERR_TOO_BIG when the result does not fit. */
int mm_template_expand(const struct mm_template *t, const struct mm_subject *s,
                       char out[MM_TEMPLATE_VALUE_MAX], size_t *ret_len,
                       struct mm_errinfo *ei) MM_MUST_USE;
