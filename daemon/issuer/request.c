/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/request.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>

/* All but unreserved characters (RFC 3986 section 2.3) become %XX. */
static void append_encoded(struct mm_buf *path, const char *text)
{
    for (; *text; text++) {
        const char c = *text;

        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
            strchr("-._~", c))
            mm_buf_append_u8(path, (uint8_t)c);
        else
            mm_buf_printf(path, "%%%02X", (unsigned char)c);
    }
}

/* A JSON string of text in UTF-8 (RFC 8259 section 7). */
static void append_string(struct mm_buf *b, const char *text)
{
    mm_buf_append_u8(b, '"');
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            mm_buf_append_u8(b, '\\');
            mm_buf_append_u8(b, c);
        } else if (c < 0x20) {
            mm_buf_printf(b, "\\u%04x", c);
        } else {
            mm_buf_append_u8(b, c);
        }
    }
    mm_buf_append_u8(b, '"');
}

static void append_member(struct mm_buf *b, const char *name, const char *value)
{
    mm_buf_append_u8(b, ',');
    append_string(b, name);
    mm_buf_append_u8(b, ':');
    append_string(b, value);
}

static void append_base64(struct mm_buf *b, struct mm_bytes data)
{
    const size_t len = (data.len + 2) / 3 * 4;
    uint8_t *to = mm_buf_reserve(b, len + 1); /* EVP_EncodeBlock ends it with a NUL */

    if (!to)
        return;
    EVP_EncodeBlock(to, data.data, (int)data.len);
    mm_buf_grew(b, len);
}

void mm_request_enrol(struct mm_buf *body, const struct mm_enrol_request *r)
{
    mm_buf_append_str(body, "{\"certificate_request\":\"");
    append_base64(body, r->csr);
    mm_buf_append_u8(body, '"');
    append_member(body, "certificate_profile_name", r->certificate_profile);
    append_member(body, "end_entity_profile_name", r->end_entity_profile);
    append_member(body, "certificate_authority_name", r->ca);
    append_member(body, "username", r->username);
    mm_buf_append_str(body,
                      r->include_chain ? ",\"include_chain\":true}" : ",\"include_chain\":false}");
}

static void append_criterion(struct mm_buf *b, const char *property, const char *value)
{
    mm_buf_append_str(b, b->data[b->len - 1] == '[' ? "{\"property\":\"" : ",{\"property\":\"");
    mm_buf_append_str(b, property);
    mm_buf_append_u8(b, '"');
    append_member(b, "value", value);
    mm_buf_append_str(b, ",\"operation\":\"EQUAL\"}");
}

void mm_request_search(struct mm_buf *body, const char *username, unsigned max)
{
    mm_buf_printf(body, "{\"max_number_of_results\":%u,\"criteria\":[", max);
    if (mm_buf_err(body) == MM_OK)
        append_criterion(body, "QUERY", username);
    mm_buf_append_str(body, "]}");
}

static void append_profiles(struct mm_buf *body, const char *ca, const char *certificate_profile,
                            const char *end_entity_profile)
{
    if (mm_buf_err(body) < 0)
        return;
    append_criterion(body, "CA", ca);
    append_criterion(body, "CERTIFICATE_PROFILE", certificate_profile);
    append_criterion(body, "END_ENTITY_PROFILE", end_entity_profile);
    mm_buf_append_str(body, "]}");
}

void mm_request_search_profiles(struct mm_buf *body, const char *ca,
                                const char *certificate_profile, const char *end_entity_profile)
{
    mm_buf_append_str(body, "{\"max_number_of_results\":1,\"criteria\":[");
    append_profiles(body, ca, certificate_profile, end_entity_profile);
}

void mm_request_list(struct mm_buf *body, const char *ca, const char *certificate_profile,
                     const char *end_entity_profile, unsigned page, unsigned page_size)
{
    mm_buf_printf(body,
                  "{\"pagination\":{\"page_size\":%u,\"current_page\":%u},"
                  "\"sort\":{\"property\":\"USERNAME\",\"operation\":\"ASC\"},\"criteria\":[",
                  page_size, page);
    append_profiles(body, ca, certificate_profile, end_entity_profile);
}

static bool begins_with_cn(X509_NAME *name)
{
    const ASN1_OBJECT *first = X509_NAME_ENTRY_get_object(X509_NAME_get_entry(name, 0));

    return first && OBJ_obj2nid(first) == NID_commonName;
}

void mm_request_issuer_dn(struct mm_bytes name, char *out, size_t size)
{
    const uint8_t *at = name.data;
    X509_NAME *n = d2i_X509_NAME(NULL, &at, (long)name.len);
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned long flags = XN_FLAG_RFC2253;
    int len = -1;

    if (n && begins_with_cn(n))
        flags &= ~(unsigned long)XN_FLAG_DN_REV;
    if (n && bio && X509_NAME_print_ex(bio, n, 0, flags) >= 0)
        len = BIO_read(bio, out, (int)size - 1);
    out[len > 0 ? len : 0] = 0;
    BIO_free_all(bio);
    X509_NAME_free(n);
}

void mm_request_certificate_path(struct mm_buf *path, const char *issuer_dn, struct mm_bytes serial,
                                 const char *what)
{
    mm_buf_append_str(path, "/v1/certificate/");
    append_encoded(path, issuer_dn);
    mm_buf_append_u8(path, '/');
    for (size_t i = 0; i < serial.len; i++)
        mm_buf_printf(path, "%02X", serial.data[i]);
    mm_buf_append_u8(path, '/');
    mm_buf_append_str(path, what);
}

void mm_request_ca_path(struct mm_buf *path, const char *subject_dn, const char *what)
{
    mm_buf_append_str(path, "/v1/ca/");
    append_encoded(path, subject_dn);
    mm_buf_append_u8(path, '/');
    mm_buf_append_str(path, what);
}
