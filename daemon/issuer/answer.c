/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/answer.h"

#include "daemon/base/text.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    DER_SEQUENCE = 0x30,
    STATUS_REVOKED = 40, /* CertificateConstants.CERT_REVOKED */
    SERIAL_HEX_MAX = 40,
    SNIPPET_MAX = 80,
};

MM_UNUSED static inline void json_free_p(json_t **json)
{
    json_decref(*json);
}
#define JSON_CLEANUP MM_CLEANUP(json_free_p)

static int bad(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "BAD_ANSWER", "%s", what);
}

/* jansson bounds the depth itself. */
static json_t *load(struct mm_bytes body)
{
    json_t *json = body.len
                       ? json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, NULL)
                       : NULL;

    if (json && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

/* ---- base64 ------------------------------------------------------------------------------ */

static bool is_base64(const char *text, size_t len)
{
    size_t pad = 0;

    if (len == 0 || len % 4 != 0)
        return false;
    while (pad < 2 && text[len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < len - pad; i++) {
        const char c = text[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

static bool decode(const char *text, size_t len, struct mm_buf *to)
{
    const size_t padded = len / 4 * 3;
    uint8_t *out;

    if (!is_base64(text, len))
        return false;
    out = mm_buf_reserve(to, padded);
    if (!out || EVP_DecodeBlock(out, (const unsigned char *)text, (int)len) != (int)padded)
        return false;
    mm_buf_grew(to, padded - (text[len - 1] == '=') - (text[len - 2] == '='));
    return true;
}

/* Strict base64 (RFC 4648 section 4, padded), appended; decoded twice where it is encoded twice, as
 * in some answers of EJBCA. A DER certificate or CRL begins with a SEQUENCE, and base64 of one with
 * 'M'. The inner text has line ends. */
static bool decode_der(const char *text, size_t len, struct mm_buf *der)
{
    const size_t start = der->len;
    MM_BUF_CLEANUP struct mm_buf inner = MM_BUF_INIT(der->max);

    if (!decode(text, len, der))
        return false;
    if (der->data[start] == DER_SEQUENCE)
        return true;
    for (size_t i = start; i < der->len; i++) {
        if (der->data[i] != '\n' && der->data[i] != '\r')
            mm_buf_append_u8(&inner, der->data[i]);
    }
    der->len = start;
    return mm_buf_err(&inner) == MM_OK && decode((const char *)inner.data, inner.len, der) &&
           der->data[start] == DER_SEQUENCE;
}

static bool take_der(const json_t *value, struct mm_buf *bytes, size_t *ret_at, size_t *ret_len)
{
    const size_t at = bytes->len;

    if (!json_is_string(value) ||
        !decode_der(json_string_value(value), json_string_length(value), bytes))
        return false;
    *ret_at = at;
    *ret_len = bytes->len - at;
    return true;
}

void mm_ders_done(struct mm_ders *d)
{
    mm_buf_done(&d->bytes);
    d->n = 0;
}

struct mm_bytes mm_ders_get(const struct mm_ders *d, size_t i)
{
    return (struct mm_bytes){d->bytes.data + d->at[i], d->len[i]};
}

static bool add(struct mm_ders *d, const json_t *value)
{
    if (d->n == MM_ISSUER_PAGE_MAX || !take_der(value, &d->bytes, &d->at[d->n], &d->len[d->n]))
        return false;
    d->n++;
    return true;
}

/* ---- certificates ------------------------------------------------------------------------ */

/* Absent in some versions; PKCS7 and keystores are what nobody asked for. */
static bool is_der_format(const json_t *object)
{
    const json_t *format = json_object_get(object, "response_format");

    return !format || json_is_null(format) ||
           (json_is_string(format) && strcmp(json_string_value(format), "DER") == 0);
}

int mm_answer_enrolled(struct mm_bytes body, struct mm_ders *ret_ders, struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    const json_t *chain, *element;
    size_t i;

    if (!json)
        return bad(ei, "the answer is no JSON object, or cut off");
    if (!is_der_format(json) || !add(ret_ders, json_object_get(json, "certificate")))
        return bad(ei, "the answer has no certificate in DER");
    chain = json_object_get(json, "certificate_chain");
    if (!chain || json_is_null(chain))
        return MM_OK;
    if (!json_is_array(chain) || json_array_size(chain) > 1 + MM_CHAIN_MAX)
        return bad(ei, "the answer's chain is no list of a few certificates");
    json_array_foreach(chain, i, element) {
        if (!add(ret_ders, element))
            return bad(ei, "the answer's chain has something that is no certificate in DER");
    }
    return MM_OK;
}

int mm_answer_found(struct mm_bytes body, struct mm_ders *ret_ders, bool *ret_more,
                    struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    const json_t *list, *element;
    size_t i;

    if (!json)
        return bad(ei, "the answer is no JSON object, or cut off");
    list = json_object_get(json, "certificates");
    if (!json_is_array(list))
        return bad(ei, "the answer has no list of certificates");
    json_array_foreach(list, i, element) {
        if (!json_is_object(element) || !is_der_format(element) ||
            !add(ret_ders, json_object_get(element, "certificate")))
            return bad(ei, "the answer's list has something that is no certificate in DER");
    }
    *ret_more = json_is_true(json_object_get(json, "more_results"));
    return MM_OK;
}

/* Hexadecimal of whatever length and case, without leading zeros or with them. */
static bool read_hex(const char *text, struct mm_hit *hit)
{
    char padded[SERIAL_HEX_MAX + 2] = "0";
    size_t len;

    text += strspn(text, "0");
    len = strlen(text);
    if (len == 0 || len > SERIAL_HEX_MAX)
        return false;
    memcpy(padded + len % 2, text, len + 1);
    hit->serial_len = (len + 1) / 2;
    return mm_hex_decode(padded, hit->serial, hit->serial_len) == MM_OK;
}

/* v2 says the serial number in decimal in some versions and in hexadecimal in others, which cannot
 * be told apart; the certificate itself says it for sure (list.c). */
static bool read_hit(const json_t *object, struct mm_buf *bytes, struct mm_hit *hit)
{
    const char *username = json_string_value(json_object_get(object, "username"));
    const char *serial = json_string_value(json_object_get(object, "serialNumber"));
    const json_t *der = json_object_get(object, "base64Cert");

    *hit = (struct mm_hit){
        .revoked = json_integer_value(json_object_get(object, "status")) == STATUS_REVOKED,
        .not_before_ms = json_integer_value(json_object_get(object, "notBefore")),
    };
    if (!serial || !read_hex(serial, hit))
        return false;
    if (username)
        mm_answer_printable((struct mm_bytes){(const uint8_t *)username, strlen(username)},
                            hit->username, sizeof(hit->username));
    return !der || json_is_null(der) || take_der(der, bytes, &hit->at, &hit->len);
}

int mm_answer_hits(struct mm_bytes body, struct mm_hits *ret_hits, struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    const json_t *list, *element;
    size_t i;

    if (!json)
        return bad(ei, "the answer is no JSON object, or cut off");
    list = json_object_get(json, "certificates");
    if (!json_is_array(list) || json_array_size(list) > MM_ISSUER_PAGE_MAX)
        return bad(ei, "the answer has no list of certificates, or one longer than was asked for");
    ret_hits->n = 0;
    json_array_foreach(list, i, element) {
        if (!json_is_object(element) ||
            !read_hit(element, &ret_hits->bytes, &ret_hits->hits[ret_hits->n++]))
            return bad(ei, "the answer's list has something that is no certificate");
    }
    return MM_OK;
}

/* ---- the rest ---------------------------------------------------------------------------- */

static int64_t read_time(const json_t *value)
{
    struct tm tm = {.tm_sec = 0};
    const char *text = json_string_value(value);
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    return end && strcmp(end, "Z") == 0 ? (int64_t)timegm(&tm) * 1000 : 0;
}

int mm_answer_revocation(struct mm_bytes body, struct mm_answer_revocation *ret_revocation,
                         struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    const json_t *revoked = json ? json_object_get(json, "revoked") : NULL;
    const char *reason =
        json ? json_string_value(json_object_get(json, "revocation_reason")) : NULL;

    if (!json_is_boolean(revoked))
        return bad(ei, "the answer does not say whether the certificate is revoked");
    ret_revocation->revoked = json_is_true(revoked);
    ret_revocation->time_ms = read_time(json_object_get(json, "revocation_date"));
    if (!reason)
        reason = "";
    mm_answer_printable((struct mm_bytes){(const uint8_t *)reason, strlen(reason)},
                        ret_revocation->reason, sizeof(ret_revocation->reason));
    return MM_OK;
}

int mm_answer_ca(struct mm_bytes body, const char *name, char *ret_dn, size_t size,
                 struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    const json_t *list = json ? json_object_get(json, "certificate_authorities") : NULL;
    const json_t *element;
    size_t i;

    if (!json_is_array(list))
        return bad(ei, "the answer has no list of CAs");
    json_array_foreach(list, i, element) {
        const char *its_name = json_string_value(json_object_get(element, "name"));
        const char *dn = json_string_value(json_object_get(element, "subject_dn"));

        if (!its_name || strcmp(its_name, name) != 0)
            continue;
        if (!dn || !*dn || strlen(dn) >= size)
            return bad(ei, "the CA's subject DN is missing or too long");
        memcpy(ret_dn, dn, strlen(dn) + 1);
        return MM_OK;
    }
    return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_CA",
                   "EJBCA has no CA '%.100s' that this client may use", name);
}

int mm_answer_crl(struct mm_bytes body, struct mm_buf *der, struct mm_errinfo *ei)
{
    JSON_CLEANUP json_t *json = load(body);
    size_t at, len;

    if (!json || !take_der(json_object_get(json, "crl"), der, &at, &len))
        return bad(ei, "the answer has no CRL in DER");
    return MM_OK;
}

/* ---- texts ------------------------------------------------------------------------------- */

/* Bytes of the character at text; 0 when it is not printable UTF-8. */
static size_t character(const uint8_t *text, size_t len)
{
    const size_t n = text[0] < 0x80 ? 1 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;

    if (text[0] < 0x20 || text[0] == 0x7f || n > len || !mm_utf8_valid(text, n))
        return 0;
    /* C1 controls, which some terminals obey */
    return n == 2 && text[0] == 0xc2 && text[1] < 0xa0 ? 0 : n;
}

void mm_answer_printable(struct mm_bytes text, char *ret_line, size_t size)
{
    size_t at = 0;

    for (size_t i = 0; i < text.len;) {
        const size_t n = character(text.data + i, text.len - i);

        if (at + (n ? n : 4) >= size)
            break;
        if (n)
            memcpy(ret_line + at, text.data + i, n);
        else
            snprintf(ret_line + at, size - at, "\\x%02x", text.data[i]);
        at += n ? n : 4;
        i += n ? n : 1;
    }
    ret_line[at] = 0;
}

bool mm_answer_error(struct mm_bytes body, char ret_text[MM_ISSUER_TEXT_MAX])
{
    JSON_CLEANUP json_t *json = load(body);
    const char *text = json ? json_string_value(json_object_get(json, "error_message")) : NULL;
    char snippet[SNIPPET_MAX];

    if (text) {
        mm_answer_printable((struct mm_bytes){(const uint8_t *)text, strlen(text)}, ret_text,
                            MM_ISSUER_TEXT_MAX);
        return true;
    }
    mm_answer_printable(body, snippet, sizeof(snippet));
    if (body.len == 0)
        snprintf(ret_text, MM_ISSUER_TEXT_MAX, "an empty answer");
    else
        snprintf(ret_text, MM_ISSUER_TEXT_MAX, "an answer that is not EJBCA's: %s", snippet);
    return false;
}
