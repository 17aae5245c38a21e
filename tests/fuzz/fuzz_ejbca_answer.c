/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of EJBCA, or of whatever stands in its place; and the certificate in it. The first byte
 * says what was asked. */
#include "tests/fuzz/fuzz.h"

#include "daemon/issuer/answer.h"
#include "daemon/pki/issued.h"

#include <string.h>

static void check_line(const char *line)
{
    for (; *line; line++)
        assert((unsigned char)*line >= 0x20 && *line != 0x7f);
}

static void read_ders(const struct mm_ders *d)
{
    struct mm_issued cert;
    struct mm_errinfo ei;

    for (size_t i = 0; i < d->n; i++) {
        const struct mm_bytes der = mm_ders_get(d, i);

        assert(der.len > 0 && der.data[0] == 0x30);
        if (mm_issued_read(der, &cert, &ei) == MM_OK)
            assert(cert.serial.len >= 1 && cert.serial.len <= 20 && cert.size == der.len);
    }
}

static void read_hits(struct mm_bytes body)
{
    struct mm_hits *h = calloc(1, sizeof(*h));
    struct mm_errinfo ei;

    assert(h);
    h->bytes = MM_BUF_INIT(MM_ISSUER_LIST_BODY_MAX);
    if (mm_answer_hits(body, h, &ei) == MM_OK) {
        for (size_t i = 0; i < h->n; i++) {
            assert(h->hits[i].serial_len >= 1 && h->hits[i].serial_len <= 20);
            assert(h->hits[i].at + h->hits[i].len <= h->bytes.len);
            check_line(h->hits[i].username);
        }
    }
    mm_buf_done(&h->bytes);
    free(h);
}

static void read_rest(struct mm_bytes body)
{
    MM_BUF_CLEANUP struct mm_buf crl = MM_BUF_INIT(MM_ISSUER_CRL_MAX);
    struct mm_answer_revocation revocation;
    char dn[64], text[MM_ISSUER_TEXT_MAX];
    struct mm_errinfo ei;

    if (mm_answer_revocation(body, &revocation, &ei) == MM_OK)
        check_line(revocation.reason);
    if (mm_answer_ca(body, "IssuingCA", dn, sizeof(dn), &ei) == MM_OK)
        assert(strlen(dn) > 0);
    if (mm_answer_crl(body, &crl, &ei) == MM_OK)
        assert(crl.len > 0);
    (void)mm_answer_error(body, text);
    check_line(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MM_DERS_CLEANUP struct mm_ders ders = MM_DERS_INIT;
    const struct mm_bytes body = {data + 1, size - 1};
    struct mm_errinfo ei;
    bool more;
    int r = MM_ERR_CORRUPT;

    if (size < 1 || size > MM_ISSUER_BODY_MAX)
        return 0;
    switch (data[0]) {
    case 'e':
        r = mm_answer_enrolled(body, &ders, &ei);
        break;
    case 's':
        r = mm_answer_found(body, &ders, &more, &ei);
        break;
    case 'l':
        read_hits(body);
        break;
    default:
        read_rest(body);
    }
    if (r == MM_OK)
        read_ders(&ders);
    return 0;
}
