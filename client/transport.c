/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an exported transport key, and device keys with it: docs/transport-key.md, byte for
 * byte. */
#include "client/error.h"
#include "client/kwp.h"
#include "client/recipient.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <jansson.h>
#include <openssl/asn1.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <string.h>

enum { EXPORT_FILE_MAX = 16 * 1024, CHECK_BYTES = 8 };

struct mintmark_transport_key {
    struct mm_secret *key;
};

/* The file's members, borrowed from its JSON. */
struct export
{
    const char *path;
    const char *name, *check_value, *recipient_sha256, *wrap, *ephemeral_point, *wrapped_key;
};

static int fail_export(const struct export *export, const char *what, struct mintmark_error *error)
{
    return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_EXPORT_FILE", "%s: %s",
                          export->path, what);
}

static int parse_export(const char *path, json_t *root, struct export *ret_export,
                        struct mintmark_error *error)
{
    struct export e = {.path = path};
    const char *format, *algorithm;
    json_error_t problem;
    int version;

    if (json_unpack_ex(root, &problem, JSON_STRICT, "{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s?s, s:s}",
                       "format", &format, "version", &version, "transport_key", &e.name,
                       "algorithm", &algorithm, "check_value", &e.check_value, "recipient_sha256",
                       &e.recipient_sha256, "wrap", &e.wrap, "ephemeral_point", &e.ephemeral_point,
                       "wrapped_key", &e.wrapped_key) < 0)
        return fail_export(&e, problem.text, error);
    if (strcmp(format, "mintmark-transport-key") != 0 || version != 1)
        return fail_export(&e, "not a transport key file of version 1", error);
    if (strcmp(algorithm, "AES-256-KWP") != 0 || !mm_name_valid(e.name, MM_NAME_MAX))
        return fail_export(&e, "its algorithm or name is unknown here", error);
    *ret_export = e;
    return 0;
}

/* Hexadecimal of any length up to max bytes. */
static bool decode(const char *hex, struct mm_bytes *ret_bytes, uint8_t *to, size_t max)
{
    const size_t len = strlen(hex) / 2;

    if (len == 0 || len > max || mm_hex_decode(hex, to, len) < 0)
        return false;
    *ret_bytes = (struct mm_bytes){.data = to, .len = len};
    return true;
}

/* A key's check value: it tells the right key from a wrong one, and nothing about it. */
static bool fits_check_value(struct mm_secret *key, const uint8_t expected[CHECK_BYTES])
{
    uint8_t plain[32], wrapped[sizeof(plain) + MM_KWP_OVERHEAD], digest[SHA256_DIGEST_LENGTH];
    size_t len;

    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)i;
    if (!mm_kwp_wrap(mm_secret_data(key), plain, sizeof(plain), wrapped, &len))
        return false;
    SHA256(wrapped, len, digest);
    return CRYPTO_memcmp(digest, expected, CHECK_BYTES) == 0;
}

static int open_key(const struct export *export, EVP_PKEY *recipient, struct mm_secret **ret_key,
                    struct mintmark_error *error)
{
    uint8_t digest[SHA256_DIGEST_LENGTH], check[CHECK_BYTES];
    uint8_t point[MM_RECIPIENT_POINT_MAX], wrapped[MM_RECIPIENT_WRAPPED_MAX];
    struct mm_recipient_wrap wrap = {.method = export->wrap, .name = export->name};
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;

    if (mm_hex_decode(export->recipient_sha256, digest, sizeof(digest)) < 0 ||
        mm_hex_decode(export->check_value, check, sizeof(check)) < 0 ||
        !decode(export->wrapped_key, &wrap.wrapped, wrapped, sizeof(wrapped)))
        return fail_export(export, "a member is not the hexadecimal that it should be", error);
    if (export->ephemeral_point &&
        !decode(export->ephemeral_point, &wrap.ephemeral_point, point, sizeof(point)))
        return fail_export(export, "ephemeral_point is not a point", error);
    if (!mm_recipient_is(recipient, digest))
        return fail_export(export, "it is wrapped to another recipient's key", error);
    if (!mm_recipient_open(recipient, &wrap, &key))
        return fail_export(export, "the recipient's key does not open it", error);
    if (!fits_check_value(key, check))
        return fail_export(export, "what it holds does not fit its check value", error);
    *ret_key = MM_TAKE(key);
    return 0;
}

static int read_export(const char *path, json_t **ret_root, struct mintmark_error *error)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(EXPORT_FILE_MAX);
    struct mm_errinfo ei;
    json_error_t problem;

    if (mm_io_read_file(path, EXPORT_FILE_MAX, &text, &ei) < 0)
        return mm_client_fail_base(error, &ei);
    *ret_root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &problem);
    if (*ret_root)
        return 0;
    return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BAD_EXPORT_FILE", "%s:%d: %s", path,
                          problem.line, problem.text);
}

static int open_with(const char *path, json_t *root, const char *recipient_key_file,
                     struct mintmark_transport_key **ret_key, struct mintmark_error *error)
{
    MM_CLEANUP(EVP_PKEY_free_p) EVP_PKEY *recipient = NULL;
    struct mintmark_transport_key *key;
    struct export export;
    int r = parse_export(path, root, &export, error);

    if (r == 0)
        r = mm_recipient_load(recipient_key_file, &recipient, error);
    if (r < 0)
        return r;
    key = calloc(1, sizeof(*key));
    if (!key)
        return mm_client_fail_memory(error);
    r = open_key(&export, recipient, &key->key, error);
    if (r < 0)
        mintmark_transport_free(key);
    else
        *ret_key = key;
    return r;
}

int mintmark_transport_open(const char *export_file, const char *recipient_key_file,
                            struct mintmark_transport_key **ret_key, struct mintmark_error *error)
{
    json_t *root = NULL;
    int r = read_export(export_file, &root, error);

    if (r == 0)
        r = open_with(export_file, root, recipient_key_file, ret_key, error);
    json_decref(root);
    return r;
}

void mintmark_transport_free(struct mintmark_transport_key *key)
{
    if (!key)
        return;
    mm_secret_free(key->key);
    free(key);
}

/* Length of the one DER SEQUENCE that data is, 0 if it is none. SoftHSM pads a key with zero bytes
 * to a multiple of 8 before it wraps it, so that up to 7 of them may follow. */
static size_t pkcs8_len(const uint8_t *data, size_t len)
{
    const uint8_t *at = data;
    long content;
    int tag, class;
    size_t used;

    if (ASN1_get_object(&at, &content, &tag, &class, (long)len) != V_ASN1_CONSTRUCTED ||
        tag != V_ASN1_SEQUENCE || class != V_ASN1_UNIVERSAL) {
        ERR_clear_error();
        return 0;
    }
    used = (size_t)(at - data) + (size_t)content;
    if (len - used > 7)
        return 0;
    for (size_t i = used; i < len; i++) {
        if (data[i] != 0)
            return 0;
    }
    return used;
}

int mintmark_unwrap(struct mintmark_transport_key *key, const struct mintmark_data *wrapped,
                    uint8_t *ret_pkcs8, size_t size, size_t *ret_len, struct mintmark_error *error)
{
    MM_SECRET_CLEANUP struct mm_secret *plain = NULL;
    size_t len;

    if (!mm_kwp_unwrap(mm_secret_data(key->key), wrapped->data, wrapped->len, &plain))
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "UNWRAP_FAILED",
                              "the data was not wrapped with this transport key");
    len = pkcs8_len(mm_secret_data(plain), mm_secret_len(plain));
    if (len == 0)
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "UNWRAP_FAILED",
                              "what was wrapped is no PKCS#8 private key");
    if (len > size)
        return mm_client_fail(error, MINTMARK_INVALID_ARGUMENT, "BUFFER_TOO_SMALL",
                              "the buffer for the key must hold %zu bytes", len);
    memcpy(ret_pkcs8, mm_secret_data(plain), len);
    *ret_len = len;
    return 0;
}
