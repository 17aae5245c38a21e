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

void order_done(struct order *order);
#define ORDER_CLEANUP MM_CLEANUP(order_done)

/* What EJBCA refuses of a request whose names are found: a CSR that is none; that its key does not
 * verify; whose key or subject the profile does not allow; a CA that is away; what is not unique.
 * False: the answer is filled in, as pkcs10enroll gives it. */
bool order_parse(struct call *call, struct order *order);
bool order_verify(struct call *call, const struct order *order);
bool order_key(struct call *call, struct order *order);
bool order_ca_works(struct call *call, const struct order *order);
bool order_is_unique(struct call *call, const struct order *order);

/* The setting `status` of the order's CA. */
const char *order_ca_status(const struct call *call, const struct order *order);

/* Issues, records, and fills in the answer. */
void order_issue(struct call *call, struct order *order);
