/* SPDX-License-Identifier: Apache-2.0 */
/* Making the certificate that was asked for, or a wrong one if the scenario says so. */
#pragma once

#include "tests/fake/ejbca/csr.h"
#include "tests/fake/ejbca/fake.h"

struct order {
    const char *username, *ca_name, *certificate_profile, *end_entity_profile, *format;
    struct ca *ca;
    json_t *profile, *end_entity; /* settings of the two profiles */
    struct mm_buf der, subject;   /* CSR; the subject of the certificate */
    struct csr csr;
    int64_t not_before, not_after; /* Unix seconds; 0: as the profile says */
};

/* What EJBCA refuses of a request whose names are found: CSR, key, CA, uniqueness. False: the
 * answer is filled in. */
bool order_csr(struct call *call, struct order *order);
bool order_ca_works(struct call *call, const struct order *order);
bool order_is_unique(struct call *call, const struct order *order);

/* Issues, records, and fills in the answer. */
void order_issue(struct call *call, struct order *order);
