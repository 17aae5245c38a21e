/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of request fields. Each fails with MM_ERR_INVALID and the field's name, and says what
 * would be right. */
#pragma once

#include "daemon/base/err.h"

#include <stdint.h>

/* 1 to MM_NAME_MAX bytes, as types.proto defines a name. */
int mm_check_name(const char *field, const char *value, struct mm_errinfo *ei) MM_MUST_USE;
/* A UUID in canonical text form; its 16 bytes go to ret_uid, which may be NULL. */
int mm_check_uid(const char *field, const char *value, uint8_t *ret_uid,
                 struct mm_errinfo *ei) MM_MUST_USE;
int mm_check_range(const char *field, uint64_t value, uint64_t min, uint64_t max,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* 1 to MM_HW_SERIAL_MAX printable ASCII characters. */
int mm_check_hw_serial(const char *field, const char *value, struct mm_errinfo *ei) MM_MUST_USE;
/* 0 counts as 100; at most MM_PAGE_MAX. */
int mm_check_page_size(uint32_t value, uint32_t *ret_size, struct mm_errinfo *ei) MM_MUST_USE;
