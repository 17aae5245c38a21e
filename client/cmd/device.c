/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/device.h"

#include "client/cmd/list.h"
#include "daemon/base/text.h"

#include <jansson.h>
#include <openssl/pem.h>
#include <openssl/sha.h>

enum { CHECK_VALUE_MAX = 8 };

MM_DEFINE_CLEANUP(BIO *, BIO_free)

static const char *delivery_name(enum mintmark_key_delivery delivery)
{
    switch (delivery) {
    case MINTMARK_KEY_WRAPPED:
        return "WRAPPED";
    case MINTMARK_KEY_RETAINED:
        return "RETAINED";
    case MINTMARK_KEY_ON_DEVICE:
        return "ON_DEVICE";
    default:
        return "PLAIN";
    }
}

static void digest_hex(const struct mintmark_data *data, char hex[2 * SHA256_DIGEST_LENGTH + 1])
{
    uint8_t digest[SHA256_DIGEST_LENGTH];

    SHA256(data->data, data->len, digest);
    mm_hex_encode(digest, sizeof(digest), hex);
}

static bool add_wrap(json_t *object, const struct mintmark_bundle *bundle)
{
    char hex[2 * CHECK_VALUE_MAX + 1];

    if (bundle->key_delivery != MINTMARK_KEY_WRAPPED || bundle->check_value.len > CHECK_VALUE_MAX)
        return true;
    mm_hex_encode(bundle->check_value.data, bundle->check_value.len, hex);
    return json_object_set_new(object, "transport_key", json_string(bundle->transport_key)) == 0 &&
           json_object_set_new(object, "check_value", json_string(hex)) == 0;
}

char *mm_device_json_line(const struct mintmark_bundle *bundle, const char *chain_file)
{
    const bool certificate = bundle->certificate.len > 0;
    char hex[2 * SHA256_DIGEST_LENGTH + 1];
    json_t *object;

    digest_hex(certificate ? &bundle->certificate : &bundle->csr, hex);
    object = json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "device_uid", bundle->device_uid,
                       "number", (json_int_t)bundle->number, "hw_serial", bundle->hw_serial,
                       certificate ? "certificate_sha256" : "csr_sha256", hex, "key_delivery",
                       delivery_name(bundle->key_delivery), "key_id", bundle->key_id,
                       "issued_time_ms", (json_int_t)bundle->issued_time_ms);
    if (object &&
        (!add_wrap(object, bundle) ||
         (chain_file && json_object_set_new(object, "chain", json_string(chain_file)) < 0))) {
        json_decref(object);
        return NULL;
    }
    return mm_list_json(object);
}

int mm_device_key_wrap_json(const struct mintmark_bundle *bundle, struct mm_buf *out,
                            struct mm_errinfo *ei)
{
    char hex[2 * CHECK_VALUE_MAX + 1];
    char *text;

    if (bundle->check_value.len > CHECK_VALUE_MAX)
        return mm_fail(ei, MM_ERR_CORRUPT, "BAD_RESPONSE", "the check value is too long");
    mm_hex_encode(bundle->check_value.data, bundle->check_value.len, hex);
    text = mm_list_json(json_pack("{s:s, s:s, s:s}", "transport_key", bundle->transport_key,
                                  "algorithm", bundle->wrap_algorithm, "check_value", hex));
    if (!text)
        return mm_fail_memory(ei);
    mm_buf_append_str(out, text);
    mm_buf_append_str(out, "\n");
    free(text);
    return mm_buf_err(out) < 0 ? mm_fail_memory(ei) : MM_OK;
}

int mm_certificates_pem(const struct mintmark_data *ders, size_t n, struct mm_buf *out,
                        struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_p) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (!bio)
        return mm_fail_memory(ei);
    for (size_t i = 0; i < n; i++)
        if (PEM_write_bio(bio, "CERTIFICATE", "", ders[i].data, (long)ders[i].len) <= 0)
            return mm_fail_memory(ei);
    len = BIO_get_mem_data(bio, &text);
    mm_buf_append(out, text, len > 0 ? (size_t)len : 0);
    return mm_buf_err(out) < 0 ? mm_fail_memory(ei) : MM_OK;
}
