/* SPDX-License-Identifier: Apache-2.0 */
/* Certification requests in files, for enroll. */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/buf.h"

#include <stdbool.h>

struct mm_csrs {
    struct mintmark_csr *devices; /* what they point to is ours */
    char **names;                 /* of the files, without their folders */
    size_t n;
};

/* Reads files, in DER or PEM, in the order given; of a folder those that end in .csr, .req, .der
 * or .pem, by name. What is in them is for the service to judge, but a PEM file must hold one
 * CERTIFICATE REQUEST. serial_names: the hardware serial number of each is its file's name, without
 * the ending. MM_ERR_INVALID, MM_ERR_TOO_BIG over MM_PROVISION_MAX, MM_ERR_NOT_FOUND for a folder
 * without any, or what reading them failed with. */
int mm_csrs_read(char *const *paths, size_t n_paths, bool serial_names, struct mm_csrs *ret_csrs,
                 struct mm_errinfo *ei) MM_MUST_USE;
void mm_csrs_done(struct mm_csrs *csrs);

enum { MM_CSRS_HASH = 32 }; /* bytes */

/* SHA-256 over names and contents, in their order. */
int mm_csrs_hash(const struct mm_csrs *csrs, uint8_t ret_sha256[MM_CSRS_HASH],
                 struct mm_errinfo *ei) MM_MUST_USE;
