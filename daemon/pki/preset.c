/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/preset.h"

#include <string.h>

#define FOREVER "99991231235959Z"

static const struct mm_preset presets[] = {
    {
        .name = "",
        .subject = "",
        .validity = "",
        .basic_constraints = "end-entity",
        .key_usage = {"digitalSignature"},
        .n_key_usage = 1,
    },
    {
        .name = "matter-paa",
        .subject = "CN=${profile},VID=${vid}",
        .validity = "25y",
        .basic_constraints = "ca:1",
        .key_usage = {"keyCertSign", "cRLSign"},
        .n_key_usage = 2,
        .matter = MM_MATTER_PAA,
    },
    {
        .name = "matter-pai",
        .subject = "CN=${profile},VID=${vid}",
        .validity = "15y",
        .basic_constraints = "ca:0",
        .key_usage = {"keyCertSign", "cRLSign"},
        .n_key_usage = 2,
        .matter = MM_MATTER_PAI,
    },
    {
        /* 20 digits hold every number there can be, so that all common names have one length. */
        .name = "matter-dac",
        .subject = "CN=${profile}_${number:20},VID=${vid},PID=${pid}",
        .validity = FOREVER,
        .basic_constraints = "end-entity",
        .key_usage = {"digitalSignature"},
        .n_key_usage = 1,
        .matter = MM_MATTER_DAC,
    },
    {
        .name = "ieee8021ar-idevid",
        .subject = "CN=${profile}_${hw_serial},serialNumber=${hw_serial}",
        .validity = FOREVER,
        .basic_constraints = "end-entity",
        .key_usage = {"digitalSignature"},
        .n_key_usage = 1,
    },
};

const struct mm_preset *mm_preset_get(const char *name)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(presets); i++) {
        if (strcmp(name, presets[i].name) == 0)
            return &presets[i];
    }
    return NULL;
}
