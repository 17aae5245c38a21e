/* SPDX-License-Identifier: Apache-2.0 */
/* Small chunks of the fixture's minter. */
#pragma once

#include "mintmark/v1/types.pb-c.h"
#include "tests/unit/mint_fixture.h"

enum { COUNT = 3 };

static inline int mint(const char *profile, int64_t deadline)
{
    return mint_some(profile, COUNT, deadline);
}

/* Every device has its bundle; all different. */
static inline void check_chunk(void)
{
    const Mintmark__Internal__MintResult *m = mm_chunk_message(chunk);

    ck_assert_uint_eq(m->n_devices, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const Mintmark__Internal__DeviceRecord *record = m->devices[i];
        Mintmark__V1__Bundle *b =
            mintmark__v1__bundle__unpack(NULL, record->bundle.len, record->bundle.data);

        ck_assert_ptr_nonnull(b);
        ck_assert_uint_eq(b->number, i + 1);
        ck_assert(b->certificate.len > 0 || b->csr.len > 0);
        for (size_t k = 0; k < i; k++) {
            ck_assert_mem_ne(m->devices[k]->uid.data, record->uid.data, 16);
            ck_assert_mem_ne(m->devices[k]->spki_sha256.data, record->spki_sha256.data, 32);
        }
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
}
