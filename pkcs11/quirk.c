/* SPDX-License-Identifier: Apache-2.0 */
/* Where tokens differ from the standard, and from each other: docs/tokens.md has the same table in
 * words, with what was seen and where. */
#include "pkcs11/internal.h"

#include <string.h>

static const struct mm_quirks none = {.manufacturer = ""};

static const struct mm_quirks quirks[] = {
    /* Keeps a record of every session object, destroyed or not, until C_Finalize: 570 bytes a key
     * pair (2.6.1; fixed after it). Renewing takes 4 to 5 ms of CPU, so 1 us a device at this
     * interval, and memory stays within 1.2 MB. */
    {.manufacturer = "SoftHSM project", .renew_after_objects = 4096},
    /* NSS softokn, as 3.87 is. It has no security officer: whoever sets the first user PIN does
     * so as one with an empty PIN, and labels are dbTokenDescription of its parameters. It stores
     * no data objects, never says CKA_LOCAL, and answers an attribute that its database has no
     * column for with CKR_GENERAL_ERROR. */
    {.manufacturer = "Mozilla Foundation",
     .no_officer = true,
     .no_data_objects = true,
     .no_local = true,
     .template_refusal = CKR_GENERAL_ERROR},
    /* Luna: CKM_AES_KWP of its vendor header; its 0x210A pads as PKCS#7 does. */
    {.manufacturer = "SafeNet", .kwp = 0x80000171UL},
    {.manufacturer = "Thales", .kwp = 0x80000171UL},
    /* AWS CloudHSM: CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD. */
    {.manufacturer = "Marvell", .kwp = 0x8000216FUL},
    {.manufacturer = "Cavium", .kwp = 0x8000216FUL},
};

const struct mm_quirks *mm_quirks_of(const CK_TOKEN_INFO *info)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(quirks); i++) {
        if (memcmp(info->manufacturerID, quirks[i].manufacturer, strlen(quirks[i].manufacturer)) ==
            0)
            return &quirks[i];
    }
    return &none;
}
