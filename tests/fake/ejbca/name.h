/* SPDX-License-Identifier: Apache-2.0 */
/* Distinguished names, in DER and as EJBCA writes them: `CN=Example CA,O=Example,C=SE`. */
#pragma once

#include "daemon/base/buf.h"

/* Appends the Name of a text: attributes with a known short name or a dotted identifier, in the
 * text's order, special characters escaped by a backslash. False: not such a text. */
bool name_from_text(const char *text, struct mm_buf *der);

/* Appends EJBCA's text of a Name: its attributes in EJBCA's order, whatever theirs. False: not a
 * Name, or one with several attributes in one RDN. */
bool name_to_text(struct mm_bytes der, struct mm_buf *text);

/* Appends the Name anew as EJBCA writes it into a certificate: its attributes in EJBCA's order, or
 * the other way round, each in the string type that EJBCA has for it. False: it has one that
 * EJBCA's table here has not. */
bool name_rebuild(struct mm_bytes der, bool backwards, struct mm_buf *to);

/* The value of the first attribute with this short name, borrowed from der; empty if there is none.
 */
struct mm_bytes name_attribute(struct mm_bytes der, const char *short_name);

/* Appends what a GeneralNames says, as EJBCA does: `dNSName=a, uniformResourceId=b`. */
void name_sans_to_text(struct mm_bytes der, struct mm_buf *text);
