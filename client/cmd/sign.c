/* SPDX-License-Identifier: Apache-2.0 */
/* sign and random. */
#include "client/cmd/cmd.h"
#include "client/cmd/device.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { DIGEST_MAX = EVP_MAX_MD_SIZE, READ_BYTES = 64 * 1024, CHAIN_PEM_MAX = 64 * 1024 };

static const struct mechanism {
    const char *name;
    enum mintmark_mechanism mechanism;
    const char *hash; /* NULL: none, a digest must be given */
    bool whole;       /* the file itself is sent; the hash is what the answer says of it */
} mechanisms[] = {
    {"ECDSA", MINTMARK_ECDSA, NULL, false},
    {"ECDSA-SHA256", MINTMARK_ECDSA_SHA256, "SHA256", false},
    {"ECDSA-SHA384", MINTMARK_ECDSA_SHA384, "SHA384", false},
    {"ECDSA-SHA512", MINTMARK_ECDSA_SHA512, "SHA512", false},
    {"Ed25519", MINTMARK_ED25519, "SHA512", true},
};

MM_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)
MM_DEFINE_CLEANUP(EVP_MD *, EVP_MD_free)

/* ---- what to sign ------------------------------------------------------------------------ */

struct input {
    const struct mechanism *mechanism;
    uint8_t digest[DIGEST_MAX];
    size_t len;
    struct mm_buf message; /* of a mechanism that takes the whole */
};

static int hash_fd(int fd, const char *path, EVP_MD_CTX *ctx, struct mm_errinfo *ei)
{
    MM_FREE uint8_t *block = malloc(READ_BYTES);

    if (!block)
        return mm_fail_memory(ei);
    for (;;) {
        const ssize_t n = read(fd, block, READ_BYTES);

        if (n == 0)
            return MM_OK;
        if (n < 0 && errno != EINTR)
            return mm_fail_errno(ei, errno, "%s", path);
        if (n > 0 && EVP_DigestUpdate(ctx, block, (size_t)n) != 1)
            return mm_fail_memory(ei);
    }
}

/* Here and not in the service: a file of any size, and none of it travels. */
static int hash_file(const char *path, struct input *in, struct mm_errinfo *ei)
{
    MM_CLEANUP(EVP_MD_free_p) EVP_MD *md = EVP_MD_fetch(NULL, in->mechanism->hash, NULL);
    MM_CLEANUP(EVP_MD_CTX_free_p) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    MM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    unsigned len = 0;
    int r;

    if (fd < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    if (!md || !ctx || EVP_DigestInit_ex2(ctx, md, NULL) != 1)
        return mm_fail_memory(ei);
    r = hash_fd(fd, path, ctx, ei);
    if (r == MM_OK && EVP_DigestFinal_ex(ctx, in->digest, &len) != 1)
        r = mm_fail_memory(ei);
    in->len = len;
    return r;
}

static int read_whole(const char *path, struct input *in, struct mm_errinfo *ei)
{
    unsigned len = 0;
    const int r = mm_io_read_file(path, MM_SIGN_MESSAGE_MAX, &in->message, ei);

    if (r < 0)
        return r;
    if (EVP_Digest(in->message.data, in->message.len, in->digest, &len, EVP_sha512(), NULL) != 1)
        return mm_fail_memory(ei);
    in->len = len;
    return MM_OK;
}

static const struct mechanism *find_mechanism(const char *name)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(mechanisms); i++) {
        if (strcmp(mechanisms[i].name, name) == 0)
            return &mechanisms[i];
    }
    return NULL;
}

static int take_digest(const struct mm_cmd *cmd, struct input *in)
{
    const char *hex = cmd->value[MM_OPT_DIGEST];

    in->len = strlen(hex) / 2;
    if (in->len == 0 || in->len > DIGEST_MAX || mm_hex_decode(hex, in->digest, in->len) < 0)
        return mm_cmd_usage(cmd, "--digest takes the digest's bytes as hexadecimal digits");
    return 0;
}

static int take_input(const struct mm_cmd *cmd, struct input *in)
{
    const bool has_digest = cmd->value[MM_OPT_DIGEST] != NULL;
    struct mm_errinfo ei;

    in->mechanism = find_mechanism(cmd->value[MM_OPT_MECHANISM]);
    if (!in->mechanism)
        return mm_cmd_usage(cmd, "--mechanism is ECDSA, ECDSA-SHA256, ECDSA-SHA384, ECDSA-SHA512 "
                                 "or Ed25519");
    if (has_digest == (cmd->n_args > 0))
        return mm_cmd_usage(cmd, "give a file or --digest: one of the two");
    if (has_digest && in->mechanism->whole)
        return mm_cmd_usage(cmd, "--mechanism Ed25519 signs files: it takes no --digest");
    if (has_digest)
        return take_digest(cmd, in);
    if (!in->mechanism->hash)
        return mm_cmd_usage(cmd, "--mechanism ECDSA signs digests: give --digest");
    return (in->mechanism->whole ? read_whole : hash_file)(cmd->args[0], in, &ei) < 0
               ? mm_cmd_fail_file(cmd, &ei)
               : 0;
}

/* ---- what came --------------------------------------------------------------------------- */

struct answer {
    const struct mm_cmd *cmd;
    const struct input *in;
    int exit_code;
};

/* What came is for what was asked: else it would be a signature for something else. */
static int check_digest(const struct input *in, const struct mintmark_signature *s,
                        struct mm_errinfo *ei)
{
    if (s->digest.len == in->len && memcmp(s->digest.data, in->digest, in->len) == 0)
        return MM_OK;
    return mm_fail(ei, MM_ERR_CORRUPT, "BAD_RESPONSE", "the service signed another digest");
}

static int write_files(const struct mm_cmd *cmd, const struct mintmark_signature *s,
                       struct mm_errinfo *ei)
{
    const char *out = cmd->value[MM_OPT_SIGNATURE], *chain = cmd->value[MM_OPT_CHAIN];
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(CHAIN_PEM_MAX);
    int r = MM_OK;

    if (chain && s->certificate.len == 0)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_CERTIFICATE",
                       "the signing profile has no certificate");
    if (chain)
        r = mm_certificates_pem(&s->certificate, 1, &pem, ei);
    if (r == MM_OK && chain)
        r = mm_certificates_pem(s->chain, s->n_chain, &pem, ei);
    if (r == MM_OK && out)
        r = mm_io_create_file(out, 0644, s->signature.data, s->signature.len, ei);
    if (r == MM_OK && chain)
        r = mm_io_create_file(chain, 0644, pem.data, pem.len, ei);
    return r;
}

static int print(const struct mm_cmd *cmd, const struct mintmark_signature *s)
{
    char digest[2 * DIGEST_MAX + 1];
    MM_FREE char *hex = malloc(2 * s->signature.len + 1);

    if (!hex)
        return mm_cmd_fail_memory(cmd);
    mm_hex_encode(s->digest.data, s->digest.len, digest);
    mm_hex_encode(s->signature.data, s->signature.len, hex);
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(cmd, json_pack("{s:s, s:s, s:s, s:s, s:b}", "signing_profile",
                                                cmd->value[MM_OPT_PROFILE], "mechanism",
                                                cmd->value[MM_OPT_MECHANISM], "digest", digest,
                                                "signature", hex, "certificate",
                                                s->certificate.len > 0));
    if (!cmd->value[MM_OPT_SIGNATURE])
        puts(hex);
    return MM_CMD_DONE;
}

static int on_signature(void *arg, const struct mintmark_signature *s)
{
    struct answer *a = arg;
    struct mm_errinfo ei;
    int r = check_digest(a->in, s, &ei);

    if (r == MM_OK)
        r = write_files(a->cmd, s, &ei);
    a->exit_code = r < 0 ? mm_cmd_fail_file(a->cmd, &ei) : print(a->cmd, s);
    return 0;
}

static int sign(struct mm_cmd *cmd, const struct input *in)
{
    struct answer answer = {.cmd = cmd, .in = in};
    struct mintmark_sign request = {.signing_profile = cmd->value[MM_OPT_PROFILE],
                                    .mechanism = in->mechanism->mechanism};
    struct mintmark_error error;

    if (in->mechanism->whole)
        request.message = (struct mintmark_data){.data = in->message.data, .len = in->message.len};
    else
        request.digest = (struct mintmark_data){.data = in->digest, .len = in->len};
    if (mintmark_sign(cmd->client, &request, on_signature, &answer, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    return answer.exit_code;
}

int mm_cmd_sign(struct mm_cmd *cmd)
{
    struct input in = {.message = MM_BUF_INIT(MM_SIGN_MESSAGE_MAX)};
    const int r = take_input(cmd, &in);
    const int exit_code = r ? r : sign(cmd, &in);

    mm_buf_done(&in.message);
    return exit_code;
}

/* ---- random ------------------------------------------------------------------------------ */

static int print_random(const struct mm_cmd *cmd, const uint8_t *data, size_t len)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(2 * MM_RANDOM_MAX + 1);
    char *hex = (char *)mm_buf_reserve(&text, 2 * len + 1);

    if (!hex)
        return mm_cmd_fail_memory(cmd);
    mm_hex_encode(data, len, hex);
    mm_buf_grew(&text, 2 * len + 1);
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(cmd,
                                 json_pack("{s:I, s:s}", "length", (json_int_t)len, "data", hex));
    puts(hex);
    return MM_CMD_DONE;
}

static int write_random(const struct mm_cmd *cmd, const uint8_t *data, size_t len)
{
    struct mm_errinfo ei;

    if (mm_io_create_file(cmd->args[0], 0600, data, len, &ei) < 0)
        return mm_cmd_fail_file(cmd, &ei);
    if (mm_cmd_wants_json(cmd))
        return mm_cmd_print_json(
            cmd, json_pack("{s:I, s:s}", "length", (json_int_t)len, "out", cmd->args[0]));
    return MM_CMD_DONE;
}

int mm_cmd_random(struct mm_cmd *cmd)
{
    MM_SECRET_CLEANUP struct mm_secret *data = NULL;
    struct mintmark_error error;
    uint64_t length;
    const int r = mm_cmd_number(cmd, MM_OPT_LENGTH, 1, MM_RANDOM_MAX, &length);

    if (r)
        return r;
    if (mm_secret_new((size_t)length, &data) < 0)
        return mm_cmd_fail_memory(cmd);
    if (mintmark_random(cmd->client, cmd->value[MM_OPT_TOKEN], mm_secret_data(data),
                        (uint32_t)length, &error) < 0)
        return mm_cmd_fail(cmd, &error);
    return cmd->n_args > 0 ? write_random(cmd, mm_secret_data(data), (size_t)length)
                           : print_random(cmd, mm_secret_data(data), (size_t)length);
}
