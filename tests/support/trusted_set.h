/* SPDX-License-Identifier: Apache-2.0 */
/* A set of trusted certificates as the launcher's check makes it. */
#pragma once

#include "daemon/ipc/trusted.h"
#include "internal/store.pb-c.h"

#include <check.h>
#include <string.h>

/* In PEM; NULL: the configuration names no such file. The caller closes it. */
static inline int trusted_set_make(const char *oem, const char *officers)
{
    Mintmark__Internal__TrustedFiles files = MINTMARK__INTERNAL__TRUSTED_FILES__INIT;
    static uint8_t packed[MM_TRUSTED_MAX];
    struct mm_errinfo why;
    size_t len;
    int set;

    files.oem = (ProtobufCBinaryData){oem ? strlen(oem) : 0, (uint8_t *)(uintptr_t)oem};
    files.officers =
        (ProtobufCBinaryData){officers ? strlen(officers) : 0, (uint8_t *)(uintptr_t)officers};
    len = mintmark__internal__trusted_files__pack(&files, packed);
    ck_assert_int_eq(mm_trusted_make(&set, &why), MM_OK);
    ck_assert_int_eq(mm_trusted_fill(set, (struct mm_bytes){packed, len}, &why), MM_OK);
    return set;
}
