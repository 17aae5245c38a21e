/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that another CA made for our requests: are they what the profile demands? Pure
 * functions. They parse no more than they must: a device's certificate costs one verification of a
 * signature and little more.
 *
 * A CA elsewhere has some freedom, and takes it. Left to it are the order of the subject's
 * attributes and whether a text is a PrintableString or UTF8String (EJBCA sorts, and has its own
 * mind about types), the order of alternative names and extended key usages, the order of
 * extensions, the beginning of the validity, and these extensions besides, when they are not
 * critical: CRL distribution points, freshest CRL, authority information access, certificate
 * policies, issuer alternative name. Everything else must be as the profile has it.
 */
#pragma once

#include "daemon/pki/ca_key.h"
#include "daemon/pki/profile.h"

/* A certificate taken apart; all of it borrowed. */
struct mm_issued {
    struct mm_bytes tbs, algorithm, signature; /* DER; the signature's bytes */
    struct mm_bytes serial;                    /* big-endian, without a leading zero */
    struct mm_bytes issuer, subject, spki;     /* DER */
    struct mm_bytes extensions; /* Extension after Extension; empty if there is none */
    int64_t not_before_s, not_after_s;
    size_t size; /* bytes of the whole */
};

/* MM_ERR_CORRUPT BAD_CERTIFICATE when it is not one X.509 v3 certificate in DER of at most
 * MM_CERT_DER_MAX bytes, or its serial number is not positive or has more than 20 octets. */
int mm_issued_read(struct mm_bytes der, struct mm_issued *ret_cert,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Is it by the profile's issuer, for this key and subject, valid now, and of the profile's content?
 * The profile is compiled with its issuer; key is of the issuer; s->point is the
 * request's key, s->now_ms the time now (s->serial is not looked at). MM_ERR_CORRUPT
 * BAD_CERTIFICATE says what is wrong; MM_ERR_INVALID when the profile cannot name such a device. */
int mm_profile_check_issued(const struct mm_profile *p, struct mm_ca_key *key,
                            const struct mm_subject *s, const struct mm_issued *cert,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* Is the certificate's issuer the profile's, by name? */
bool mm_profile_is_issuer(const struct mm_profile *p, const struct mm_issued *cert);
