/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/validate.h"

#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <string.h>

enum { PAGE_DEFAULT = 100 };

int mm_check_name(const char *field, const char *value, struct mm_errinfo *ei)
{
    if (mm_name_valid(value, MM_NAME_MAX))
        return MM_OK;
    return mm_fail_field(ei, field,
                         "%s takes 1 to %d letters, digits, '.', '_' and '-', beginning with a "
                         "letter or digit",
                         field, (int)MM_NAME_MAX);
}

int mm_check_uid(const char *field, const char *value, uint8_t *ret_uid, struct mm_errinfo *ei)
{
    uint8_t uid[16];

    if (mm_uuid_parse(value, uid) < 0)
        return mm_fail_field(ei, field, "%s takes a UUID, like %s", field,
                             "0192f0c1-2b3c-7d4e-8f50-0123456789ab");
    if (ret_uid)
        memcpy(ret_uid, uid, sizeof(uid));
    return MM_OK;
}

int mm_check_range(const char *field, uint64_t value, uint64_t min, uint64_t max,
                   struct mm_errinfo *ei)
{
    if (value >= min && value <= max)
        return MM_OK;
    return mm_fail_field(ei, field, "%s takes %llu to %llu, not %llu", field,
                         (unsigned long long)min, (unsigned long long)max,
                         (unsigned long long)value);
}

int mm_check_hw_serial(const char *field, const char *value, struct mm_errinfo *ei)
{
    size_t len = 0;

    while (value[len] >= 0x20 && value[len] < 0x7f)
        len++;
    if (value[len] == 0 && len >= 1 && len <= MM_HW_SERIAL_MAX)
        return MM_OK;
    return mm_fail_field(ei, field, "%s takes serial numbers of 1 to %d printable ASCII characters",
                         field, (int)MM_HW_SERIAL_MAX);
}

int mm_check_page_size(uint32_t value, uint32_t *ret_size, struct mm_errinfo *ei)
{
    const uint32_t size = value == 0 ? PAGE_DEFAULT : value;
    int r = mm_check_range("page_size", size, 1, MM_PAGE_MAX, ei);

    if (r == MM_OK)
        *ret_size = size;
    return r;
}
