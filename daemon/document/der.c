/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is it DER (X.690 section 10)? libcrypto's reader takes BER: indefinite lengths, long forms,
 * strings in pieces. Two such files may differ and yet say the same, or say different things to two
 * readers. So the shape is checked before libcrypto sees it.
 */
#include "daemon/document/internal.h"

enum {
    DEPTH_MAX = 32, /* a CMS document with certificates is about 15 deep */
    CLASS_MASK = 0xc0,
    CONSTRUCTED = 0x20,
    NUMBER_MASK = 0x1f,
    SEQUENCE = 16,
    SET = 17,
};

struct walk {
    const uint8_t *at;
    const uint8_t *end[DEPTH_MAX]; /* of the element that `at` is in, and of those around it */
    unsigned depth;
    const char *why; /* it is not DER */
};

static bool refuse(struct walk *w, const char *why)
{
    w->why = why;
    return false;
}

/* Universal types: SEQUENCE and SET are made of others, and no other type is (section 10.2). */
static bool form_right(uint8_t tag)
{
    const unsigned number = tag & NUMBER_MASK;
    const bool constructed = tag & CONSTRUCTED;

    if (tag & CLASS_MASK)
        return true;
    return number != 0 && constructed == (number == SEQUENCE || number == SET);
}

/* Section 10.1: definite, and as short as can be. Documents have no element of 16 MiB. */
static bool read_length(struct walk *w, const uint8_t *end, size_t *ret_len)
{
    size_t len = *w->at++;
    unsigned bytes;

    if (len == 0x80)
        return refuse(w, "an indefinite length, which is BER");
    if (len > 0x80) {
        bytes = len & 0x7f;
        if (bytes > 3 || (size_t)(end - w->at) < bytes)
            return refuse(w, "it is cut off");
        if (*w->at == 0)
            return refuse(w, "a length longer than it need be, which is BER");
        for (len = 0; bytes > 0; bytes--)
            len = len << 8 | *w->at++;
        if (len < 0x80)
            return refuse(w, "a length longer than it need be, which is BER");
    }
    *ret_len = len;
    return len <= (size_t)(end - w->at) || refuse(w, "it is cut off");
}

/* One element's head; goes into it if it is constructed, over it if not. */
static bool step(struct walk *w)
{
    const uint8_t *const end = w->end[w->depth];
    const uint8_t tag = *w->at++;
    size_t len;

    /* Numbers of 31 and above do not occur in CMS or certificates. */
    if ((tag & NUMBER_MASK) == NUMBER_MASK || !form_right(tag))
        return refuse(w, "an element of a form that DER has not");
    if (w->at == end)
        return refuse(w, "it is cut off");
    if (!read_length(w, end, &len))
        return false;
    if (!(tag & CONSTRUCTED)) {
        w->at += len;
        return true;
    }
    if (w->depth + 1 == DEPTH_MAX)
        return refuse(w, "it is nested too deeply");
    w->end[++w->depth] = w->at + len;
    return true;
}

int mm_der_check(struct mm_bytes der, struct mm_errinfo *ei)
{
    struct walk w = {.at = der.data, .end = {der.len ? der.data + der.len : der.data}};
    size_t outermost = 0;

    for (;;) {
        while (w.depth > 0 && w.at == w.end[w.depth])
            w.depth--;
        if (w.at == w.end[w.depth])
            break;
        if (w.depth == 0 && outermost++ > 0)
            w.why = "something follows its end";
        else
            (void)step(&w);
        if (w.why)
            return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_NOT_DER",
                           "the document is not DER: %s (at byte %zu of %zu)", w.why,
                           (size_t)(w.at - der.data), der.len);
    }
    if (outermost == 0)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_NOT_DER", "the document is empty");
    return MM_OK;
}
