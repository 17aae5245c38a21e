/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distinguished names from templates.
 *
 *   TYPE=template[,TYPE=template…]
 *
 * TYPE is CN, O, OU, C, L, ST, serialNumber, UID, VID, PID (Matter's, 1.3.6.1.4.1.37244.2.1 and .2)
 * or an OID in dots. Each attribute is an RDN of its own, in the order written. C and serialNumber
 * become PrintableString, all others UTF8String. Blanks before a TYPE are skipped; a value is
 * everything between '=' and the next comma, and must not begin or end with a blank. An unescaped
 * '+' is refused: it would join attributes in one RDN. Values keep
 * RFC 5280's upper bounds (appendix A.1): 64 characters for CN, O, OU and serialNumber, 128 for L
 * and ST, 2 upper-case letters for C, 4 upper-case hexadecimal digits for VID and PID, 256
 * characters for others.
 */
#pragma once

#include "daemon/pki/template.h"

struct mm_attribute; /* a row of name.c's table */

struct mm_rdn {
    const struct mm_attribute *attribute;
    ASN1_OBJECT *type;
    struct mm_template value;
    uint8_t *fixed; /* DER of the whole RDN when it is the same for every device */
    size_t fixed_len;
};

/* Zero-initialise; mm_name_done frees what it holds. */
struct mm_name {
    struct mm_rdn rdns[MM_RDNS_MAX];
    size_t n_rdns;
};

/* "" gives the empty name. */
int mm_name_parse(const char *text, const struct mm_template_fixed *fixed, struct mm_name *ret_name,
                  struct mm_errinfo *ei) MM_MUST_USE;
void mm_name_done(struct mm_name *name);
bool mm_name_uses(const struct mm_name *name, enum mm_template_kind kind);

/* Appends the DER Name of this device. MM_ERR_INVALID with field "hw_serial" when the station's
 * value is at fault. */
int mm_name_der(const struct mm_name *name, const struct mm_subject *s, struct mm_buf *der,
                struct mm_errinfo *ei) MM_MUST_USE;
