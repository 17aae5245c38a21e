/* SPDX-License-Identifier: Apache-2.0 */
/* What making a CA's certificate takes: a profile, the CA's key, and whose key signs. */
#pragma once

#include "daemon/pki/profile.h"
#include "tools/officer/officer.h"
#include "tools/officer/pem.h"

/* A CA's own key in the token. */
struct mm_ca_key {
    mm_handle handle; /* 0 until it is made */
    enum mm_curve curve;
    uint8_t point[MM_POINT_MAX];
    size_t point_len;
};

/* The key that --label names: found and its policy checked; or, with --create-key, certainly not
 * there yet and to be made by mm_ca_key_make. */
int mm_ca_key_prepare(struct mm_officer *o, struct mm_ca_key *key,
                      struct mm_errinfo *ei) MM_MUST_USE;
int mm_ca_key_make(struct mm_officer *o, struct mm_ca_key *key, struct mm_errinfo *ei) MM_MUST_USE;
/* A key that is there, with its policy checked. */
int mm_ca_key_find(struct mm_officer *o, const char *uri, struct mm_ca_key *key,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* How the profile is to be compiled. */
enum mm_ca_kind { MM_CA_ROOT, MM_CA_SUB, MM_CA_REQUEST };

/* Compiles the CA's profile from --profile, or from --preset and the options beside it. issuer is
 * the parent's certificate, NULL for the other kinds. *ret_subject: the template, for the question;
 * borrowed. */
int mm_ca_profile(struct mm_officer *o, enum mm_ca_kind kind, enum mm_curve curve, X509 *issuer,
                  struct mm_profile **ret_profile, struct mm_errinfo *ei) MM_MUST_USE;

/* What a certificate of that profile for that key begins with: random serial, time. */
int mm_ca_subject(struct mm_officer *o, const struct mm_ca_key *key, struct mm_subject *ret_subject,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* Signs tbs in the token, checks the signature under the signer's point, and appends the whole as
 * DER. */
int mm_ca_sign(struct mm_officer *o, const struct mm_tbs *tbs, const struct mm_ca_key *signer,
               struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;
