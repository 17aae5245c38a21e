/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of EJBCA: paths below the API's base, and bodies in JSON. Sticky errors: look at
 * mm_buf_err when done. */
#pragma once

#include "daemon/base/buf.h"

/* POST v1/certificate/pkcs10enroll. The request goes as base64 of its DER; no password: EJBCA makes
 * one up, also where the end entity profile wants to. */
struct mm_enrol_request {
    const char *username, *ca, *certificate_profile, *end_entity_profile;
    struct mm_bytes csr;
    bool include_chain;
};
void mm_request_enrol(struct mm_buf *body, const struct mm_enrol_request *r);

/* POST v1/certificate/search for one username. */
void mm_request_search(struct mm_buf *body, const char *username, unsigned max);
/* The same for one certificate of these, to see whether EJBCA knows the names. */
void mm_request_search_profiles(struct mm_buf *body, const char *ca,
                                const char *certificate_profile, const char *end_entity_profile);
/* POST v2/certificate/search: one page of those of the three, by username. */
void mm_request_list(struct mm_buf *body, const char *ca, const char *certificate_profile,
                     const char *end_entity_profile, unsigned page, unsigned page_size);

/* The DER of a CA's name as EJBCA would spell it: CN first, as RFC 2253 is written. For CAs whose
 * spelling EJBCA has not told. "" for what is no name. */
void mm_request_issuer_dn(struct mm_bytes name, char *out, size_t size);

/* v1/certificate/{issuer DN}/{serial}/what: appended. */
void mm_request_certificate_path(struct mm_buf *path, const char *issuer_dn, struct mm_bytes serial,
                                 const char *what);
/* v1/ca/{subject DN}/what: appended. */
void mm_request_ca_path(struct mm_buf *path, const char *subject_dn, const char *what);
