/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is it DER (X.690 section 10)? libcrypto reads BER as well, in which one thing can be written in
 * many ways; what is signed and kept for years should have one.
 */
#include "tools/verify/audit.h"

enum { DER_DEPTH = 40 };

/* The head of an element: the constructed bit and the length. NULL, or what is wrong. */
static const char *read_head(struct slice *in, bool *ret_constructed, size_t *ret_len)
{
    const uint8_t tag = in->data[0];
    const unsigned number = tag & 0x1f;
    const bool constructed = tag & 0x20, universal = !(tag & 0xc0);
    size_t at = 2, len;

    if (number == 0x1f)
        return "an element's number is above 30";
    /* Sequences and sets are made of others; nothing else of the universal class is. */
    if (universal && (number == 0 || constructed != (number == 16 || number == 17)))
        return "an element is in pieces, or of no type";
    if (in->len < 2)
        return "it is cut off";
    len = in->data[1];
    if (len == 0x80)
        return "a length is indefinite";
    if (len > 0x80) {
        const size_t n = len & 0x7f;

        if (n > 4 || in->len - 2 < n)
            return "it is cut off";
        for (len = 0; at < 2 + n; at++)
            len = len << 8 | in->data[at];
        if (len < 0x80 || len >> (8 * (n - 1)) == 0)
            return "a length is longer than it need be";
    }
    if (len > in->len - at)
        return "it is cut off";
    in->data += at;
    in->len -= at;
    *ret_constructed = constructed;
    *ret_len = len;
    return NULL;
}

static const char *elements(struct slice in, unsigned depth)
{
    while (in.len > 0) {
        bool constructed = false;
        size_t len = 0;
        const char *fault = read_head(&in, &constructed, &len);

        if (!fault && constructed)
            fault = depth == DER_DEPTH ? "it is nested too deeply"
                                       : elements((struct slice){in.data, len}, depth + 1);
        if (fault)
            return fault;
        in.data += len;
        in.len -= len;
    }
    return NULL;
}

const char *der_fault(const uint8_t *der, size_t len)
{
    struct slice in = {der, len};
    bool constructed;
    size_t first;
    const char *fault;

    if (len == 0)
        return "it is empty";
    fault = read_head(&in, &constructed, &first);
    if (fault)
        return fault;
    if (first < in.len)
        return "something follows its end";
    return constructed ? elements((struct slice){in.data, first}, 1) : NULL;
}

/* ---- versions ---------------------------------------------------------------------------- */

/* Goes into the element, or over it. false: there is none. */
static bool enter(struct slice *in)
{
    bool constructed;
    size_t len;

    if (in->len == 0 || read_head(in, &constructed, &len))
        return false;
    in->len = len;
    return true;
}

static bool skip(struct slice *in)
{
    bool constructed;
    size_t len;

    if (in->len == 0 || read_head(in, &constructed, &len))
        return false;
    in->data += len;
    in->len -= len;
    return true;
}

/* An INTEGER of one byte; -1: it is none. */
static int small_integer(struct slice in)
{
    return in.len >= 3 && in.data[0] == 0x02 && in.data[1] == 1 ? in.data[2] : -1;
}

bool der_cms_versions(const uint8_t *der, size_t len, int *ret_signed_data, int *ret_signer_info)
{
    struct slice in = {der, len}, last;

    /* ContentInfo, contentType, content, SignedData */
    if (!enter(&in) || !skip(&in) || !enter(&in) || !enter(&in))
        return false;
    *ret_signed_data = small_integer(in);
    /* signerInfos is the last, and has one. */
    do
        last = in;
    while (skip(&in) && in.len > 0);
    if (!enter(&last) || !enter(&last))
        return false;
    *ret_signer_info = small_integer(last);
    return true;
}
