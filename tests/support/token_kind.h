/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which real token a test works with: MINTMARK_TEST_TOKEN is softhsm (default), softokn (NSS) or
 * proxy (SoftHSM behind p11-kit-proxy). Failures end the test.
 */
#pragma once

#include "pkcs11/token.h"

struct token_kind {
    const char *name;
    const char *module;
    const char *library;      /* what is behind it, as p11-kit loads it */
    const char *manufacturer; /* as a URI has it */
    unsigned long kwp;        /* the number that the token does RFC 5649 under */
    bool one_token;           /* a module that has one token, whose label is its parameters' */
    bool no_local;            /* CKA_LOCAL is never true */
    bool no_ecdh_export;   /* no CKM_AES_CBC_ENCRYPT_DATA for docs/transport-key.md's second step */
    size_t selftest_lines; /* that pass at least; newer ones have more */
    bool renewed;          /* forgets nothing until it is started again: mm_token_renew */
};
/* NULL when it is not installed, and *ret_why says what is missing. */
const struct token_kind *token_kind(const char **ret_why);

/* Makes what the module needs in the folder, for one token of that label, and fills in *ret_how:
 * its strings live as long as the process. p11-kit reads a user's configuration for no root: with
 * the proxy, root becomes nobody for the rest of the process. The folder must be made afterwards.
 */
void token_kind_drop_root(const struct token_kind *kind);
void token_kind_prepare(const struct token_kind *kind, const char *folder, const char *label,
                        struct mm_token_open *ret_how);
