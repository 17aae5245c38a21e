/* SPDX-License-Identifier: Apache-2.0 */
/* key public: what verifiers of a signing key's signatures need, and a CA that certifies it. */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/pki/profile.h"
#include "tools/officer/officer.h"

#include <openssl/pem.h>
#include <openssl/sha.h>

enum { SPKI_MAX = 256 };

MM_DEFINE_CLEANUP(BIO *, BIO_free_all)

static int read_spki(struct mm_officer *o, struct mm_buf *spki, struct mm_errinfo *ei)
{
    uint8_t point[MM_POINT_MAX];
    enum mm_curve curve;
    size_t len = 0;
    mm_handle key;
    int r = mm_officer_find(o, o->args.label, MM_KEY_PRIVATE, &key, ei);

    if (r == MM_OK)
        r = mm_token_public_point(o->token, key, &curve, point, &len, ei);
    return r < 0 ? r : mm_pki_spki(point, len, spki, ei);
}

static int write_pem(const char *path, const struct mm_buf *spki, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;

    if (!bio || PEM_write_bio(bio, PEM_STRING_PUBLIC, "", spki->data, (long)spki->len) <= 0)
        return mm_fail_memory(ei);
    len = BIO_get_mem_data(bio, &text);
    return mm_io_create_file(path, 0644, text, (size_t)len, ei);
}

int mm_cmd_key_public(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf spki = MM_BUF_INIT(SPKI_MAX);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char hex[2 * sizeof(digest) + 1];
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = read_spki(o, &spki, ei);
    if (r == MM_OK)
        r = write_pem(o->args.out, &spki, ei);
    if (r < 0)
        return r;
    SHA256(spki.data, spki.len, digest);
    mm_hex_encode(digest, sizeof(digest), hex);
    if (!o->args.json)
        printf("public key of '%s' in %s, SHA-256 %s\n", o->args.label, o->args.out, hex);
    return mm_officer_answer(
        o, "public_key",
        json_pack("{s:s, s:s, s:s}", "label", o->args.label, "file", o->args.out, "sha256", hex),
        ei);
}
