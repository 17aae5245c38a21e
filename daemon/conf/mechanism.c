/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/mechanism.h"

#include "daemon/base/macros.h"

#include <string.h>

#define ECDSA        "ECDSA"
#define ECDSA_SHA256 "ECDSA-SHA256"
#define ECDSA_SHA384 "ECDSA-SHA384"
#define ECDSA_SHA512 "ECDSA-SHA512"
#define ED25519      "Ed25519"

const char *const mm_mechanism_names[] = {ECDSA,        ECDSA_SHA256, ECDSA_SHA384,
                                          ECDSA_SHA512, ED25519,      NULL};

static const struct mm_mechanism mechanisms[] = {
    {ECDSA, NULL, 0, false},
    {ECDSA_SHA256, "SHA256", 32, false},
    {ECDSA_SHA384, "SHA384", 48, false},
    {ECDSA_SHA512, "SHA512", 64, false},
    {ED25519, "SHA512", 64, true},
};

const struct mm_mechanism *mm_mechanism_get(const char *name)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(mechanisms); i++) {
        if (strcmp(mechanisms[i].name, name) == 0)
            return &mechanisms[i];
    }
    return NULL;
}

bool mm_mechanism_fits(const struct mm_mechanism *m, const char *curve)
{
    return m->pure == (strcmp(curve, "ed25519") == 0);
}

size_t mm_mechanism_digest_len(const struct mm_mechanism *m, const char *curve)
{
    if (m->hash)
        return m->digest_len;
    return strcmp(curve, "p384") == 0 ? 48 : 32;
}
