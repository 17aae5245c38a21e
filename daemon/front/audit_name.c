/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/audit_name.h"

#include <stdio.h>
#include <string.h>

void mm_audit_name_set(struct mm_audit_name *name, const struct mm_conf_appliance *conf)
{
    *name = (struct mm_audit_name){.key = ""};
    if (!conf->given)
        return;
    snprintf(name->key, sizeof(name->key), "%s", conf->audit_key);
    snprintf(name->certificate, sizeof(name->certificate), "%s", conf->audit_certificate);
}

bool mm_audit_name_is(const struct mm_audit_name *name, const struct mm_conf_appliance *conf)
{
    struct mm_audit_name other;

    mm_audit_name_set(&other, conf);
    return strcmp(name->key, other.key) == 0 && strcmp(name->certificate, other.certificate) == 0;
}

Mintmark__Internal__AuditKeyName *mm_audit_name_message(struct mm_audit_name *name)
{
    if (!*name->key)
        return NULL;
    mintmark__internal__audit_key_name__init(&name->message);
    name->message.key = name->key;
    name->message.certificate = name->certificate;
    return &name->message;
}
