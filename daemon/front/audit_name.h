/* SPDX-License-Identifier: Apache-2.0 */
/* Which audit key signs, as jobs of the token name it. A call that signs copies the name when it
 * knows what it signs: a reload may name another key before the token comes to it. */
#pragma once

#include "daemon/conf/conf.h"
#include "internal/token.pb-c.h"

#include <limits.h>

struct mm_audit_name {
    char key[MM_NAME_MAX + 1];
    char certificate[PATH_MAX];
    Mintmark__Internal__AuditKeyName message; /* of mm_audit_name_message */
};

/* A path that is too long does not open, either way: it is cut. */
void mm_audit_name_set(struct mm_audit_name *name, const struct mm_conf_appliance *conf);
bool mm_audit_name_is(const struct mm_audit_name *name, const struct mm_conf_appliance *conf);
/* For a job's field by; borrowed from name. NULL when there is none: no section appliance. */
Mintmark__Internal__AuditKeyName *mm_audit_name_message(struct mm_audit_name *name);
