/* SPDX-License-Identifier: Apache-2.0 */
/* What a station sends in one message of Enroll. Requests are read by token workers, not here. */
#include "daemon/front/service/provision.h"
#include "daemon/front/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mm_csrs_check(const struct mm_csrs_device *device, struct mm_errinfo *ei)
{
    if (device->csr.len > MM_CSR_DER_MAX) {
        mm_fail(ei, MM_ERR_INVALID, "CSR_TOO_BIG", "the request has more than %d bytes",
                MM_CSR_DER_MAX);
        snprintf(ei->field, sizeof(ei->field), "csr");
        return MM_ERR_INVALID;
    }
    return *device->hw_serial ? mm_check_hw_serial("hw_serial", device->hw_serial, ei) : MM_OK;
}

static void take(struct mm_csrs_device *to, const Mintmark__V1__DeviceCsr *from, uint8_t **bytes)
{
    struct mm_errinfo ei;

    to->csr = (struct mm_bytes){*bytes, from->csr.len};
    snprintf(to->hw_serial, sizeof(to->hw_serial), "%s", from->hw_serial);
    to->refused = mm_csrs_check(to, &ei) < 0;
    if (to->refused || from->csr.len == 0)
        return;
    memcpy(*bytes, from->csr.data, from->csr.len);
    *bytes += from->csr.len;
}

int mm_csrs_take(const Mintmark__V1__EnrollRequest *request, uint64_t first,
                 struct mm_csrs **ret_csrs, struct mm_errinfo *ei)
{
    struct mm_csrs *csrs;
    size_t size = sizeof(*csrs);
    uint8_t *bytes;

    if (request->n_devices < 1 || request->n_devices > MM_ENROLL_DEVICES)
        return mm_fail_field(ei, "devices", "a message has 1 to %d devices", MM_ENROLL_DEVICES);
    for (size_t i = 0; i < request->n_devices; i++) {
        if (request->devices[i]->csr.len <= MM_CSR_DER_MAX)
            size += request->devices[i]->csr.len;
    }
    csrs = calloc(1, size);
    if (!csrs)
        return mm_fail_memory(ei);
    csrs->first = first;
    csrs->n = request->n_devices;
    bytes = csrs->bytes;
    for (size_t i = 0; i < csrs->n; i++)
        take(&csrs->devices[i], request->devices[i], &bytes);
    *ret_csrs = csrs;
    return MM_OK;
}
