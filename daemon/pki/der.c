/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/pki/der.h"

#include "daemon/base/limits.h"

#include <string.h>

enum { CONSTRUCTED = 0x20, CLASS = 0xc0, NUMBER = 0x1f, LENGTH_OCTETS_MAX = 3 };

/* What is wrong with bytes, for people; they stand in texts of errors. */
static const char cut_off[] = "it is cut off";
static const char not_shortest[] = "a length longer than it need be, which is BER";
static const char wrong_form[] = "an element of a form that DER has not";

/* Section 10.1: definite, and as short as can be. Nothing that is read here has 16 MiB. NULL, or
 * what is wrong. */
static const char *read_length(const uint8_t **at, const uint8_t *end, size_t *ret_len)
{
    size_t len;
    unsigned octets;

    if (*at == end)
        return cut_off;
    len = *(*at)++;
    if (len == 0x80)
        return "an indefinite length, which is BER";
    if (len > 0x80) {
        octets = len & 0x7f;
        if (octets > LENGTH_OCTETS_MAX || (size_t)(end - *at) < octets)
            return cut_off;
        if (**at == 0)
            return not_shortest;
        for (len = 0; octets > 0; octets--)
            len = len << 8 | *(*at)++;
        if (len < 0x80)
            return not_shortest;
    }
    if (len > (size_t)(end - *at))
        return cut_off;
    *ret_len = len;
    return NULL;
}

/* Tags of several octets, those of numbers from 31, occur in nothing that is read here. */
static const char *take(struct mm_bytes *in, struct mm_der *ret)
{
    const uint8_t *const start = in->data, *at = start;
    const char *why;
    size_t len;

    if (in->len == 0)
        return cut_off;
    if ((*at++ & NUMBER) == NUMBER)
        return wrong_form;
    why = read_length(&at, start + in->len, &len);
    if (why)
        return why;
    *ret = (struct mm_der){
        .id = *start,
        .whole = {start, (size_t)(at - start) + len},
        .content = {at, len},
    };
    in->data += ret->whole.len;
    in->len -= ret->whole.len;
    return NULL;
}

bool mm_der_take(struct mm_bytes *in, struct mm_der *ret)
{
    return !take(in, ret);
}

bool mm_der_part(struct mm_bytes *in, uint8_t id, struct mm_der *ret)
{
    return mm_der_take(in, ret) && ret->id == id;
}

/* A leading zero stands only before a set top bit, and so never alone: zero is not positive. */
bool mm_der_positive(struct mm_bytes *in, size_t max, struct mm_bytes *ret)
{
    struct mm_der e;
    struct mm_bytes n;

    if (!mm_der_part(in, MM_DER_INTEGER, &e) || e.content.len < 1 || e.content.len > max ||
        (e.content.data[0] & 0x80))
        return false;
    n = e.content;
    if (n.data[0] == 0) {
        n.data++;
        n.len--;
        if (n.len == 0 || !(n.data[0] & 0x80))
            return false;
    }
    *ret = n;
    return true;
}

/* X.690 sections 8.9 to 8.12, 10.2: of the universal types SEQUENCE and SET are constructed, and
 * no other. Tag 0 ends what is of indefinite length. */
static bool shape_is_der(uint8_t id)
{
    if ((id & CLASS) != 0)
        return true;
    if (id == 0)
        return false;
    return (id & CONSTRUCTED)
               ? id == MM_DER_SEQUENCE || id == MM_DER_SET
               : id != (MM_DER_SEQUENCE & ~CONSTRUCTED) && id != (MM_DER_SET & ~CONSTRUCTED);
}

static const char *fault(struct mm_bytes in, unsigned depth_left, const uint8_t **ret_at)
{
    struct mm_der e;
    const char *why = NULL;

    while (!why && in.len > 0) {
        *ret_at = in.data;
        why = take(&in, &e);
        if (why)
            return why;
        if (!shape_is_der(e.id))
            return wrong_form;
        if (e.id & CONSTRUCTED)
            why = depth_left > 0 ? fault(e.content, depth_left - 1, ret_at)
                                 : "it is nested too deeply";
    }
    return why;
}

const char *mm_der_fault(struct mm_bytes in, unsigned depth_max, size_t *ret_at)
{
    const uint8_t *at = in.data;
    const char *const why = fault(in, depth_max, &at);

    if (why)
        *ret_at = (size_t)(at - in.data);
    return why;
}

bool mm_der_well_formed(struct mm_bytes in)
{
    size_t at;

    return !mm_der_fault(in, MM_CSR_DEPTH_MAX, &at);
}

/* ---- putting together ---------------------------------------------------------------------- */

enum { HEADER_MAX = 2 + sizeof(size_t) };

/* Identifier and length octets, the shortest (X.690 sections 8.1.3 and 10.1); how many. */
static size_t put_header(uint8_t header[HEADER_MAX], uint8_t id, size_t len)
{
    size_t n = 0;

    header[0] = id;
    if (len < 0x80) {
        header[1] = (uint8_t)len;
        return 2;
    }
    for (size_t rest = len; rest > 0; rest >>= 8)
        n++;
    header[1] = (uint8_t)(0x80 | n);
    for (size_t i = 0; i < n; i++)
        header[2 + i] = (uint8_t)(len >> 8 * (n - 1 - i));
    return 2 + n;
}

void mm_der_append(struct mm_buf *b, uint8_t id, const void *content, size_t len)
{
    uint8_t header[HEADER_MAX];

    mm_buf_append(b, header, put_header(header, id, len));
    mm_buf_append(b, content, len);
}

void mm_der_append_unsigned(struct mm_buf *b, const uint8_t *magnitude, size_t len)
{
    const size_t start = b->len;

    while (len > 0 && *magnitude == 0) {
        magnitude++;
        len--;
    }
    if (len == 0 || (*magnitude & 0x80)) /* zero itself, or what would be negative */
        mm_buf_append_u8(b, 0);
    mm_buf_append(b, magnitude, len);
    mm_der_wrap(b, start, MM_DER_INTEGER);
}

void mm_der_wrap(struct mm_buf *b, size_t start, uint8_t id)
{
    const size_t len = b->len - start;
    uint8_t header[HEADER_MAX];
    const size_t n = put_header(header, id, len);

    if (!mm_buf_reserve(b, n))
        return;
    memmove(b->data + start + n, b->data + start, len);
    memcpy(b->data + start, header, n);
    mm_buf_grew(b, n);
}

/* ---- comparing ----------------------------------------------------------------------------- */

bool mm_bytes_equal(struct mm_bytes a, struct mm_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool mm_der_is_ed25519(struct mm_bytes algorithm)
{
    static const uint8_t ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};

    return mm_bytes_equal(algorithm, (struct mm_bytes){ed25519, sizeof(ed25519)});
}

const EVP_MD *mm_der_ecdsa_hash(struct mm_bytes algorithm)
{
    static const uint8_t prefix[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86,
                                     0x48, 0xce, 0x3d, 0x04, 0x03};

    if (algorithm.len != sizeof(prefix) + 1 || memcmp(algorithm.data, prefix, sizeof(prefix)) != 0)
        return NULL;
    switch (algorithm.data[sizeof(prefix)]) {
    case 2:
        return EVP_sha256();
    case 3:
        return EVP_sha384();
    case 4:
        return EVP_sha512();
    default:
        return NULL;
    }
}
