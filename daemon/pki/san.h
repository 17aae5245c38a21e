/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Subject alternative names from templates (RFC 5280 section 4.2.1.6), separated by commas:
 *
 *   DNS:template                 dNSName; letters, digits, '-' and '_' in labels of 1 to 63, a
 *                                leading "*." allowed
 *   URI:template                 uniformResourceIdentifier; absolute, RFC 3986 characters only
 *   hwmodule:OID:template        otherName hardwareModuleName (RFC 4108 section 5): hwType OID,
 *                                hwSerialNum the octets of the text as it stands
 *   hwmodule:OID:hex:template    the same, hwSerialNum the octets that the text, an even number of
 *                                hexadecimal digits, stands for
 *
 * Blanks before a kind are skipped.
 */
#pragma once

#include "daemon/pki/template.h"

enum mm_san_kind { MM_SAN_DNS, MM_SAN_URI, MM_SAN_HWMODULE, MM_SAN_HWMODULE_HEX };

struct mm_san_entry {
    enum mm_san_kind kind;
    ASN1_OBJECT *hw_type;
    struct mm_template value;
};

/* Zero-initialise; mm_san_done frees what it holds. */
struct mm_san {
    struct mm_san_entry entries[MM_SANS_MAX];
    size_t n_entries;
};

/* "" gives no names. */
int mm_san_parse(const char *text, const struct mm_template_fixed *fixed, struct mm_san *ret_san,
                 struct mm_errinfo *ei) MM_MUST_USE;
void mm_san_done(struct mm_san *san);
bool mm_san_uses(const struct mm_san *san, enum mm_template_kind kind);
bool mm_san_is_fixed(const struct mm_san *san);

/* The subjectAltName extension of this device. */
int mm_san_extension(const struct mm_san *san, const struct mm_subject *s, bool critical,
                     X509_EXTENSION **ret_extension, struct mm_errinfo *ei) MM_MUST_USE;
