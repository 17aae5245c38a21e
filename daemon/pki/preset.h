/* SPDX-License-Identifier: Apache-2.0 */
/* Kinds of certificate that standards describe, as tables of defaults. */
#pragma once

#include "daemon/pki/profile.h"

/* Matter's attestation certificates, in the order of their chain. */
enum mm_matter_role { MM_MATTER_NONE, MM_MATTER_PAA, MM_MATTER_PAI, MM_MATTER_DAC };

/* What the configuration leaves open. */
struct mm_preset {
    const char *name;
    const char *subject; /* "": must be set */
    const char *validity;
    const char *basic_constraints;
    const char *key_usage[2];
    size_t n_key_usage;
    enum mm_matter_role matter;
};

/* NULL when there is none of that name; "" is the free profile. */
const struct mm_preset *mm_preset_get(const char *name);
