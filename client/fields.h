/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata of a call, kept in one buffer: its maximum bounds them all. Values are as they stand on
 * the wire: those of "-bin" names in base64 (proto/grpc/text.h). */
#pragma once

#include "daemon/base/buf.h"

/* Errors stick in fields. */
void mm_fields_add(struct mm_buf *fields, const struct mm_bytes *name,
                   const struct mm_bytes *value);

/* The field at *pos, which is 0 for the first and is moved on. false: no more. Borrowed. */
bool mm_fields_next(const struct mm_buf *fields, size_t *pos, struct mm_bytes *ret_name,
                    struct mm_bytes *ret_value);

/* The first value of that name. false: none. Borrowed. */
bool mm_fields_find(const struct mm_buf *fields, const char *name, struct mm_bytes *ret_value);

/* One field of a request: a name in lower case, of 0-9 a-z _ - . and not beginning with "grpc-";
 * a value of printable ASCII, or any bytes if the name ends with "-bin". Both borrowed. */
struct mm_field {
    const char *name;
    struct mm_bytes value;
};

/* Checks fields and adds them in the form of the wire. MM_ERR_INVALID: a name or value is not
 * allowed; errors of the buffer. */
int mm_fields_encode(struct mm_buf *fields, const struct mm_field *from, size_t n) MM_MUST_USE;
