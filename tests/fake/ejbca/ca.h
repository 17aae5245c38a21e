/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate authorities of the fake, and the credentials of those who talk to it; kept in a
 * folder, so that they are the same after a restart. */
#pragma once

#include "tests/fake/ejbca/cert.h"

#include "daemon/base/err.h"

enum { CA_MAX = 16, CA_NAME_MAX = 64, CA_DN_MAX = 1024 };

struct ca {
    char name[CA_NAME_MAX];
    int32_t id;                /* as EJBCA: a number made of the subject */
    bool listed;               /* false: it exists only to issue wrong certificates */
    struct ca *issuer;         /* itself, for a root */
    struct cert_signer signer; /* its key is owned */
    struct mm_buf certificate; /* DER */
    struct mm_buf expired;     /* the same but expired long ago; what `expired_chain` sends */
    struct mm_buf subject;     /* DER */
    struct mm_buf spki;        /* DER */
    char subject_text[CA_DN_MAX];
    uint8_t key_id[KEY_ID_LEN];
    int64_t not_after; /* Unix seconds */
    unsigned crl_number;
};

struct cas {
    struct ca ca[CA_MAX];
    size_t count;
};

/* How the CAs that issue to devices sign, and those above them. */
struct ca_kind {
    const char *group; /* of EC; NULL: RSA */
    unsigned bits;     /* of RSA */
    const EVP_MD *hash;
    bool pss;
};
/* "p256", "p384", "rsa2048" and other lengths; then "/sha256" (which it is without), "/sha384" or
 * another hash; then "/pss". */
bool ca_kind_from_text(const char *text, struct ca_kind *ret_kind);

/* Makes or loads: ManagementCA (servers and clients; P-256), RootCA, IssuingCA below it, and each
 * of extra (`NAME=SUBJECT`, `NAME` is its name and SUBJECT its DN) below the root too; and the
 * unlisted OtherCA. The folder must exist. */
int cas_open(const char *folder, const struct ca_kind *kind, const char *const *extra,
             size_t extras, struct cas *ret_cas, struct mm_errinfo *ei) MM_MUST_USE;
void cas_close(struct cas *cas);

struct ca *ca_by_name(struct cas *cas, const char *name);
/* By subject, however its attributes are ordered; one that is not listed only if it may be any. */
struct ca *ca_by_dn(struct cas *cas, const char *dn, bool any);
struct ca *ca_by_subject(struct cas *cas, struct mm_bytes der);

/* Writes NAME.pem, NAME.key, and NAME.p12 with the password in p12.password, unless they are there:
 * a certificate of the ManagementCA with subject CN=NAME. A server's is for 127.0.0.1. */
int ca_make_credential(struct cas *cas, const char *folder, const char *name, bool server,
                       struct mm_errinfo *ei) MM_MUST_USE;
