/* SPDX-License-Identifier: Apache-2.0 */
/* The name of a device's end entity in EJBCA. */
#include "daemon/pki/internal.h"

#include <stdio.h>
#include <string.h>

int mm_profile_username_parse(struct mm_profile *p, const char *text,
                              const struct mm_template_fixed *fixed, struct mm_errinfo *ei)
{
    const char *at = text;
    int r = mm_template_scan(&at, "", fixed, &p->username, ei);

    if (r < 0)
        return mm_err_prefix(ei, "username");
    if (mm_template_is_fixed(&p->username))
        return mm_fail_field(ei, "username",
                             "username must differ from device to device: use ${device_uid}, "
                             "${hw_serial} or ${number}");
    p->has_username = true;
    return MM_OK;
}

/* EJBCA puts '/' in place of others, and two devices would share an end entity. */
static bool is_kept(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("._-@+", c));
}

int mm_profile_username(const struct mm_profile *p, const struct mm_subject *s,
                        char ret_username[MM_ISSUER_NAME_MAX + 1], struct mm_errinfo *ei)
{
    char text[MM_TEMPLATE_VALUE_MAX];
    size_t len = 0;

    ret_username[0] = 0;
    if (!p->has_username)
        return MM_OK;
    if (mm_template_expand(&p->username, s, text, &len, ei) < 0)
        return ei->code;
    if (len < 1 || len > MM_ISSUER_NAME_MAX)
        return mm_fail_field(ei, "hw_serial", "the username would have %zu bytes, not 1 to %d", len,
                             MM_ISSUER_NAME_MAX);
    for (size_t i = 0; i < len; i++) {
        if (!is_kept(text[i]))
            return mm_fail_field(ei, "hw_serial",
                                 "a username in EJBCA has letters, digits, '.', '_', '-', '@' and "
                                 "'+' only");
    }
    memcpy(ret_username, text, len);
    ret_username[len] = 0;
    return MM_OK;
}
