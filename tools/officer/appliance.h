/* SPDX-License-Identifier: Apache-2.0 */
/* What appliance init and appliance audit-key share: the keys that speak for the appliance, and
 * their certificates. */
#pragma once

#include "tools/officer/ca.h"

#include <limits.h>

/* One of them. */
struct mm_duty {
    const char *name; /* "identity", "audit" */
    const char *label;
    const char *certificate; /* the file to make */
    char request[PATH_MAX];  /* likewise, with --csr; else "" */
    struct mm_ca_key key;
};

/* MM_ERR_EXISTS KEY_EXISTS when the token has a key of that label. */
int mm_duty_refuse_existing(struct mm_officer *o, const struct mm_duty *duty,
                            struct mm_errinfo *ei) MM_MUST_USE;
int mm_duty_make_key(struct mm_officer *o, struct mm_duty *duty, struct mm_errinfo *ei) MM_MUST_USE;
/* A certificate that the key signs for itself, for all time. */
int mm_duty_certify(struct mm_officer *o, struct mm_duty *duty, X509 **ret_certificate,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* The new file duty->request: PKCS#10, for a CA that is to vouch for the key. */
int mm_duty_request(struct mm_officer *o, struct mm_duty *duty, struct mm_errinfo *ei) MM_MUST_USE;
/* For the transcript and the answer: the certificate, its hash and its key's. */
int mm_duty_record(struct mm_officer *o, const struct mm_duty *duty, X509 *certificate,
                   struct mm_errinfo *ei) MM_MUST_USE;
