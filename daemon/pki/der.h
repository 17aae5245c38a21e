/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DER by its tags and lengths (X.690), taken apart and put together, without decoding what is
 * inside. Taken apart for what comes from strangers: OpenSSL's own readers take BER, and decode
 * keys and names that nobody here wants. Put together for what is made for every device: of a
 * certificate's parts most are prepared, and its ASN.1 templates cost five times as much as bytes
 * that follow each other.
 */
#pragma once

#include "daemon/base/buf.h"

#include <openssl/evp.h>

/* Identifier octets. */
enum {
    MM_DER_BOOLEAN = 0x01,
    MM_DER_INTEGER = 0x02,
    MM_DER_BIT_STRING = 0x03,
    MM_DER_OCTET_STRING = 0x04,
    MM_DER_OID = 0x06,
    MM_DER_UTF8 = 0x0c,
    MM_DER_PRINTABLE = 0x13,
    MM_DER_SEQUENCE = 0x30,
    MM_DER_SET = 0x31,
    MM_DER_CONTEXT_0 = 0xa0, /* constructed; the next are [1], [2], … */
};

struct mm_der {
    uint8_t id;
    struct mm_bytes whole, content; /* borrowed */
};

/* The element that *in begins with; *in goes on behind it. False when there is none in DER: a
 * length that is indefinite or not the shortest, bytes missing. */
bool mm_der_take(struct mm_bytes *in, struct mm_der *ret);
/* As above, and it must be of that kind. */
bool mm_der_part(struct mm_bytes *in, uint8_t id, struct mm_der *ret);
/* An INTEGER above 0, of at most max octets as it is encoded; its magnitude without the leading
 * zero. False for any other encoding than the shortest. */
bool mm_der_positive(struct mm_bytes *in, size_t max, struct mm_bytes *ret);
/* Is all of it DER (X.690 section 10), elements within elements, depth_max constructed ones at the
 * most? Universal types other than SEQUENCE and SET must be primitive. NULL when it is; else what
 * is wrong, for people, and where: the offset of the element. */
const char *mm_der_fault(struct mm_bytes in, unsigned depth_max, size_t *ret_at);
/* The same for certificates and requests (MM_CSR_DEPTH_MAX), whoever does not ask why. */
bool mm_der_well_formed(struct mm_bytes in);

/* Appends an element of that content. Errors stick to the buffer, as its own do. */
void mm_der_append(struct mm_buf *b, uint8_t id, const void *content, size_t len);
/* Appends an INTEGER of that magnitude, big-endian, which may begin with zeros. */
void mm_der_append_unsigned(struct mm_buf *b, const uint8_t *magnitude, size_t len);
/* Makes what was appended since the buffer had start bytes the content of one element. */
void mm_der_wrap(struct mm_buf *b, size_t start, uint8_t id);

bool mm_bytes_equal(struct mm_bytes a, struct mm_bytes b);

/* Is it the AlgorithmIdentifier of Ed25519 (RFC 8410 section 3)? It has no parameters. */
bool mm_der_is_ed25519(struct mm_bytes algorithm);
/* The hash of an AlgorithmIdentifier that is ecdsa-with-SHA256, -SHA384 or -SHA512, without
 * parameters (RFC 5758 section 3.2); NULL for all others. */
const EVP_MD *mm_der_ecdsa_hash(struct mm_bytes algorithm);
