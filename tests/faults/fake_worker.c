/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A token worker for tests of those who use one: speaks the channel's protocol, makes devices out
 * of thin air, and misbehaves as it is told by comments in the configuration that it gets:
 *
 *   # fake start=ready|refuse|pin|exit-pin|die|silent|garbage
 *   # fake job=obey|die|hang|garbage|oversized|other-id|unavailable|invalid|short|
 *              wrong-number|both|corrupt|distrusted|other-kind
 *   # fake until=PATH      misbehaves until PATH exists; makes it when it does so
 *   # fake delay_ms=N      before each answer
 *   # fake bundle_bytes=N  of each device, at most 4000
 *   # fake shared=TEXT     one certificate of the chain that deliveries share
 *   # fake profile=NAME    the one profile that it has, or two: NAME,OTHER
 *
 * What the ledger asks of a token it always does well: the anchor is the file "anchor" beside the
 * configuration, and documents are signed with identity.key and audit.key there.
 *
 * Of a request to enroll the first 32 bytes count as the key; one that begins with "bad" is
 * refused.
 */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "daemon/document/draft.h"
#include "daemon/ipc/channel.h"
#include "daemon/ipc/worker.h"
#include "internal/store.pb-c.h"
#include "internal/token.pb-c.h"

#include <fcntl.h>
#include <openssl/ecdsa.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { BUNDLE_MAX = 4000 };

struct fake {
    char start[32], job[32], ping[32], until[256], delay_ms[16], bundle_bytes[16], shared[64],
        profile[65];
    char folder[256]; /* of the configuration, with a slash behind it */
};

static void read_directive(const char *text, const char *key, char *to, size_t size)
{
    char pattern[64];
    const char *at;

    snprintf(pattern, sizeof(pattern), "# fake %s=", key);
    at = strstr(text, pattern);
    if (!at)
        return;
    at += strlen(pattern);
    snprintf(to, size, "%.*s", (int)strcspn(at, "\n"), at);
}

/* Is it still to misbehave? */
static bool armed(const struct fake *f)
{
    /* The first to make the file; close(-1) fails. */
    return !f->until[0] || close(open(f->until, O_WRONLY | O_CREAT | O_EXCL, 0600)) == 0;
}

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void send_bytes(const void *data, size_t len)
{
    if (write(MM_WORKER_FD, data, len) != (ssize_t)len)
        _exit(MM_EXIT_CHANNEL);
}

static void reply(const Mintmark__Internal__TokenResult *result)
{
    struct mm_errinfo ei;

    if (mm_channel_write(MM_WORKER_FD, &result->base, &ei) < 0)
        _exit(MM_EXIT_CHANNEL);
}

static void reply_failure(uint64_t id, enum mm_err code, const char *reason, bool distrusted)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__Error error;
    struct mm_errinfo ei;

    mm_fail(&ei, code, reason, "as it was told");
    mintmark__internal__token_result__init(&result);
    mm_channel_error_to(&ei, &error);
    result.id = id;
    result.error = &error;
    result.distrusted = distrusted;
    reply(&result);
}

static void reply_error(uint64_t id, enum mm_err code, const char *reason)
{
    reply_failure(id, code, reason, false);
}

static void reply_ready(const struct fake *f)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__TokenReady ready;
    Mintmark__Internal__ProfileShared shared[2];
    Mintmark__Internal__ProfileShared *list[2] = {&shared[0], &shared[1]};
    Mintmark__Internal__RawDelivery delivery;
    ProtobufCBinaryData chain = {strlen(f->shared), (uint8_t *)(uintptr_t)f->shared};
    uint8_t packed[256];
    char names[2][sizeof(f->profile)] = {"", ""};

    (void)sscanf(f->profile, "%64[^,],%64s", names[0], names[1]); /* NOLINT: no numbers */
    mintmark__internal__token_result__init(&result);
    mintmark__internal__token_ready__init(&ready);
    mintmark__internal__raw_delivery__init(&delivery);
    delivery.chain = &chain;
    delivery.n_chain = 1;
    for (size_t i = 0; i < 2; i++) {
        mintmark__internal__profile_shared__init(&shared[i]);
        shared[i].profile = names[i];
        shared[i].delivery.data = packed;
        shared[i].delivery.len = mintmark__internal__raw_delivery__pack(&delivery, packed);
    }
    ready.profiles = list;
    ready.n_profiles = names[1][0] ? 2 : 1;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_READY;
    result.ready = &ready;
    reply(&result);
}

static void begin(const struct fake *f)
{
    const char *what = f->start[0] && armed(f) ? f->start : "ready";

    if (strcmp(what, "ready") == 0)
        reply_ready(f);
    else if (strcmp(what, "refuse") == 0)
        reply_error(0, MM_ERR_NOT_FOUND, "TOKEN_NOT_FOUND");
    else if (strcmp(what, "pin") == 0)
        reply_error(0, MM_ERR_PIN, "PIN_REFUSED");
    else if (strcmp(what, "silent") == 0)
        wait_for_ever();
    else if (strcmp(what, "garbage") == 0)
        send_bytes("\0\0\0\0\3\xff\xff\xff", 8);
    if (strcmp(what, "pin") == 0 || strcmp(what, "exit-pin") == 0)
        _exit(MM_EXIT_PIN);
    if (strcmp(what, "ready") != 0)
        _exit(MM_EXIT_FAILED);
}

static void make_device(uint64_t number, char *hw_serial, char *bundle, uint8_t *bytes,
                        Mintmark__Internal__DeviceRecord *ret_device)
{
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, bytes, 68) != 68)
        _exit(MM_EXIT_FAILED);
    close(fd);
    mm_uuid7_stamp(bytes, mm_clock_wall_ms());
    mintmark__internal__device_record__init(ret_device);
    ret_device->number = number;
    ret_device->hw_serial = hw_serial;
    /* The UID in it tells bundles apart, and tests which device they are of. */
    ret_device->bundle.len =
        (size_t)snprintf(bundle, 64, "bundle-%llu-", (unsigned long long)number);
    for (size_t i = 0; i < 16; i++)
        ret_device->bundle.len +=
            (size_t)snprintf(bundle + ret_device->bundle.len, 3, "%02x", bytes[i]);
    ret_device->bundle.data = (uint8_t *)bundle;
    ret_device->uid = (ProtobufCBinaryData){16, bytes};
    ret_device->spki_sha256 = (ProtobufCBinaryData){32, bytes + 16};
    ret_device->serial = (ProtobufCBinaryData){20, bytes + 48};
}

/* Bundles are as long as their text, or padded with blanks. */
static size_t bundle_len(const struct fake *f, const char *text)
{
    uint64_t len;

    if (mm_text_to_u64(f->bundle_bytes, 1, BUNDLE_MAX, &len) < 0)
        return strlen(text);
    return (size_t)len;
}

static void mint(const struct fake *f, uint64_t id, const Mintmark__Internal__MintJob *job,
                 uint32_t count)
{
    static Mintmark__Internal__DeviceRecord devices[MM_CHUNK_DEVICES];
    static Mintmark__Internal__DeviceRecord *list[MM_CHUNK_DEVICES];
    static char bundles[MM_CHUNK_DEVICES][BUNDLE_MAX];
    static uint8_t bytes[MM_CHUNK_DEVICES][68];
    static char none[] = "";
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__MintResult minted;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__mint_result__init(&minted);
    for (uint32_t i = 0; i < count; i++) {
        make_device(job->first_number + i, job->n_hw_serials ? job->hw_serials[i] : none,
                    bundles[i], bytes[i], &devices[i]);
        devices[i].bundle.len = bundle_len(f, bundles[i]);
        list[i] = &devices[i];
    }
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_MINT;
    result.mint = &minted;
    minted.devices = list;
    minted.n_devices = count;
    minted.token_cpu_us = 10;
    minted.sampled_devices = 1;
    reply(&result);
}

/* One device of a job to enroll. Its bundle is a mintmark.v1.Bundle, with a device_uid only. */
static void enroll_device(const Mintmark__Internal__EnrollJob__Device *from, uint64_t number,
                          Mintmark__Internal__Enrolment *ret_enrolment)
{
    static Mintmark__Internal__DeviceRecord devices[MM_CHUNK_DEVICES];
    static char bundles[MM_CHUNK_DEVICES][80];
    static uint8_t bytes[MM_CHUNK_DEVICES][68];
    static Mintmark__Internal__Error bad;
    static struct mm_errinfo ei;
    Mintmark__Internal__DeviceRecord *device = &devices[number % MM_CHUNK_DEVICES];
    char *bundle = bundles[number % MM_CHUNK_DEVICES];
    uint8_t *random = bytes[number % MM_CHUNK_DEVICES];

    mintmark__internal__enrolment__init(ret_enrolment);
    if (from->csr.len >= 3 && memcmp(from->csr.data, "bad", 3) == 0) {
        mm_fail(&ei, MM_ERR_INVALID, "CSR_MALFORMED", "bad");
        mm_channel_error_to(&ei, &bad);
        ret_enrolment->error = &bad;
        return;
    }
    make_device(number, from->hw_serial, bundle + 2, random, device);
    memset(random + 16, 0, 32);
    memcpy(random + 16, from->csr.data, from->csr.len < 32 ? from->csr.len : 32);
    bundle[0] = 0x0a;
    bundle[1] = (char)device->bundle.len;
    device->bundle = (ProtobufCBinaryData){device->bundle.len + 2, (uint8_t *)bundle};
    ret_enrolment->device = device;
}

static void enroll(uint64_t id, const Mintmark__Internal__EnrollJob *job, size_t count,
                   uint64_t first_number, bool both)
{
    static Mintmark__Internal__Enrolment enrolments[MM_CHUNK_DEVICES], *list[MM_CHUNK_DEVICES];
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__EnrollResult enrolled;
    Mintmark__Internal__Error error;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__enroll_result__init(&enrolled);
    mintmark__internal__error__init(&error);
    for (size_t i = 0; i < count; i++) {
        enroll_device(job->devices[i], first_number + i, &enrolments[i]);
        if (both)
            enrolments[i].error = &error;
        list[i] = &enrolments[i];
    }
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ENROLL;
    result.enroll = &enrolled;
    enrolled.enrolments = list;
    enrolled.n_enrolments = count;
    enrolled.token_cpu_us = 10;
    enrolled.sampled_devices = 1;
    reply(&result);
}

static void sign(uint64_t id, const Mintmark__Internal__SignJob *job)
{
    static uint8_t bytes[] = "as it was told; 32 bytes of text";
    static uint8_t chain[] = "issuer";
    ProtobufCBinaryData above = {sizeof(chain) - 1, chain};
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__SignResult made;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__sign_result__init(&made);
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGN;
    result.sign = &made;
    made.signature = (ProtobufCBinaryData){strlen(job->mechanism), (uint8_t *)job->mechanism};
    made.digest = job->digest.len ? job->digest : (ProtobufCBinaryData){32, bytes};
    made.certificate = (ProtobufCBinaryData){strlen(job->key), (uint8_t *)job->key};
    made.chain = &above;
    made.n_chain = 1;
    reply(&result);
}

static void draw(uint64_t id, uint32_t length)
{
    static uint8_t bytes[MM_RANDOM_MAX];
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__RandomResult drawn;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__random_result__init(&drawn);
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_RANDOM;
    result.random = &drawn;
    drawn.data = (ProtobufCBinaryData){length, bytes};
    reply(&result);
}

/* As asked, but for the id, fewer devices, or others. */
static void answer(const struct fake *f, const Mintmark__Internal__TokenJob *job, uint64_t id,
                   unsigned missing, unsigned number_off, bool both)
{
    Mintmark__Internal__MintJob changed;

    if (job->job_case == MINTMARK__INTERNAL__TOKEN_JOB__JOB_ENROLL) {
        enroll(id, job->enroll, job->enroll->n_devices - missing,
               job->enroll->first_number + number_off, both);
        return;
    }
    if (job->job_case == MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN) {
        sign(id, job->sign);
        return;
    }
    if (job->job_case == MINTMARK__INTERNAL__TOKEN_JOB__JOB_RANDOM) {
        draw(id, job->random->length - missing);
        return;
    }
    changed = *job->mint;
    changed.first_number += number_off;
    mint(f, id, &changed, changed.count - missing);
}

/* No document of anybody's: the word "request", and then the nonce. */
static void make_request(uint64_t id)
{
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__RequestResult made;
    uint8_t document[7 + 16] = "request";
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, document + 7, 16) != 16)
        _exit(MM_EXIT_FAILED);
    close(fd);
    mintmark__internal__token_result__init(&result);
    mintmark__internal__request_result__init(&made);
    made.nonce = (ProtobufCBinaryData){16, document + 7};
    made.document = (ProtobufCBinaryData){sizeof(document), document};
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_REQUEST;
    result.request = &made;
    reply(&result);
}

/* ---- for the ledger ---------------------------------------------------------------------- */

static void path_of(const struct fake *f, const char *name, char path[320])
{
    snprintf(path, 320, "%s%s", f->folder, name);
}

static FILE *open_beside(const struct fake *f, const char *name, const char *mode)
{
    char path[320];

    path_of(f, name, path);
    return fopen(path, mode);
}

static void read_anchor(const struct fake *f, uint64_t id)
{
    MM_BUF_CLEANUP struct mm_buf anchor = MM_BUF_INIT(4096);
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__AnchorFound found;
    struct mm_errinfo ei;
    char path[320];

    mintmark__internal__token_result__init(&result);
    mintmark__internal__anchor_found__init(&found);
    path_of(f, "anchor", path);
    if (access(path, F_OK) == 0 && mm_io_read_file(path, 4096, &anchor, &ei) < 0)
        _exit(MM_EXIT_FAILED);
    found.anchor = (ProtobufCBinaryData){anchor.len, anchor.data};
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ANCHOR_FOUND;
    result.anchor_found = &found;
    reply(&result);
}

/* One worker at a time is told to, as with a token. */
static void write_anchor(const struct fake *f, uint64_t id,
                         const Mintmark__Internal__AnchorWrite *job)
{
    Mintmark__Internal__TokenResult result;
    char path[320], fresh[320];
    FILE *out = open_beside(f, "anchor.new", "w");

    path_of(f, "anchor", path);
    path_of(f, "anchor.new", fresh);
    if (!out || fwrite(job->anchor.data, 1, job->anchor.len, out) != job->anchor.len ||
        fclose(out) != 0 || rename(fresh, path) < 0)
        _exit(MM_EXIT_FAILED);
    mintmark__internal__token_result__init(&result);
    result.id = id;
    reply(&result);
}

/* ECDSA on P-256, as a token gives it: r || s. */
static bool sign_digest(EVP_PKEY *key, const uint8_t digest[MM_DOCUMENT_HASH_BYTES],
                        uint8_t signature[64])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    uint8_t der[80];
    const uint8_t *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *pair = NULL;
    bool good = ctx && EVP_PKEY_sign_init(ctx) == 1 &&
                EVP_PKEY_sign(ctx, der, &len, digest, MM_DOCUMENT_HASH_BYTES) == 1;

    if (good)
        pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    good = pair && BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32) == 32 &&
           BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32) == 32;
    ECDSA_SIG_free(pair);
    EVP_PKEY_CTX_free(ctx);
    return good;
}

static int sign_detached(const struct mm_document_signer *signer, const ProtobufCBinaryData *sha256,
                         struct mm_buf *cms, struct mm_errinfo *ei)
{
    MM_DOCUMENT_DRAFT_CLEANUP struct mm_document_draft draft = {0};
    uint8_t digest[MM_DOCUMENT_HASH_BYTES], signature[64];

    if (mm_document_draft_detached(signer->certificate, sha256->data, &draft, digest, ei) < 0 ||
        !sign_digest(signer->key, digest, signature))
        return MM_ERR_INTERNAL;
    return mm_document_draft_finish(&draft, signature, sizeof(signature), cms, ei);
}

static void sign_document(const struct fake *f, uint64_t id,
                          const Mintmark__Internal__SignDocument *job)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    FILE *certificate = open_beside(f, "audit.pem", "r");
    FILE *key = open_beside(f, "audit.key", "r");
    Mintmark__V1__SignedDocument *content =
        mintmark__v1__signed_document__unpack(NULL, job->content.len, job->content.data);
    struct mm_document_signer signer = {0};
    Mintmark__Internal__TokenResult result;
    Mintmark__Internal__SignedContent made;
    struct mm_errinfo ei;

    mintmark__internal__token_result__init(&result);
    mintmark__internal__signed_content__init(&made);
    if (!certificate || !key || !content)
        _exit(MM_EXIT_FAILED);
    signer.certificate = PEM_read_X509(certificate, NULL, NULL, NULL);
    signer.key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
    if ((job->digest.len > 0 ? sign_detached(&signer, &job->digest, &cms, &ei)
                             : mm_document_sign(&signer, content, &cms, &ei)) < 0)
        _exit(MM_EXIT_FAILED);
    made.document = (ProtobufCBinaryData){cms.len, cms.data};
    result.id = id;
    result.result_case = MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_SIGNED_CONTENT;
    result.signed_content = &made;
    reply(&result);
    mintmark__v1__signed_document__free_unpacked(content, NULL);
    X509_free(signer.certificate);
    EVP_PKEY_free(signer.key);
    fclose(certificate);
    fclose(key);
}

/* ---- for stations ------------------------------------------------------------------------ */

static void misbehave(const struct fake *f, const char *what,
                      const Mintmark__Internal__TokenJob *job)
{
    if (strcmp(what, "die") == 0)
        _exit(MM_EXIT_FAILED);
    else if (strcmp(what, "hang") == 0)
        wait_for_ever();
    else if (strcmp(what, "garbage") == 0)
        send_bytes("\7nonsense", 9);
    else if (strcmp(what, "oversized") == 0)
        send_bytes("\0\xff\xff\xff\xff", 5);
    else if (strcmp(what, "other-id") == 0)
        answer(f, job, job->id + 1000, 0, 0, false);
    else if (strcmp(what, "unavailable") == 0)
        reply_error(job->id, MM_ERR_UNAVAILABLE, "CKR_DEVICE_ERROR");
    else if (strcmp(what, "invalid") == 0)
        reply_error(job->id, MM_ERR_INVALID, "INVALID_FIELD");
    else if (strcmp(what, "short") == 0)
        answer(f, job, job->id, 1, 0, false);
    else if (strcmp(what, "wrong-number") == 0)
        answer(f, job, job->id, 0, 1, false);
    else if (strcmp(what, "both") == 0)
        answer(f, job, job->id, 0, 0, true);
    else if (strcmp(what, "corrupt") == 0)
        reply_error(job->id, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID");
    else if (strcmp(what, "distrusted") == 0)
        reply_failure(job->id, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID", true);
    else if (strcmp(what, "other-kind") == 0)
        draw(job->id, 1);
}

static void work(const struct fake *f, const Mintmark__Internal__TokenJob *job)
{
    uint64_t delay_ms = 0;

    if (mm_text_to_u64(f->delay_ms, 1, 10000, &delay_ms) == MM_OK)
        nanosleep(&(struct timespec){.tv_sec = (time_t)(delay_ms / 1000),
                                     .tv_nsec = (long)(delay_ms % 1000) * 1000000},
                  NULL);
    if (f->job[0] && strcmp(f->job, "obey") != 0 && armed(f))
        misbehave(f, f->job, job);
    else
        answer(f, job, job->id, 0, 0, false);
}

static void take_start(struct fake *f, const Mintmark__Internal__WorkerStart *start)
{
    MM_BUF_CLEANUP struct mm_buf config = MM_BUF_INIT(MM_IPC_MESSAGE_MAX);
    const char *slash = strrchr(start->config_path, '/');
    const char *text;

    mm_buf_append(&config, start->config.data, start->config.len);
    text = mm_buf_cstr(&config);
#define READ(name) read_directive(text, #name, f->name, sizeof(f->name))
    READ(start), READ(job), READ(ping), READ(until), READ(delay_ms);
    READ(bundle_bytes), READ(shared), READ(profile);
    if (slash)
        snprintf(f->folder, sizeof(f->folder), "%.*s", (int)(slash - start->config_path + 1),
                 start->config_path);
}

static void handle(const struct fake *f, const Mintmark__Internal__TokenJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB__NOT_SET:
        _exit(MM_EXIT_CHANNEL);
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_PING:
        if (f->ping[0] && armed(f))
            misbehave(f, f->ping, job);
        else
            reply_error(job->id, MM_OK, ""); /* which is none */
        return;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_REQUEST:
        make_request(job->id);
        return;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_READ:
        read_anchor(f, job->id);
        return;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_ANCHOR_WRITE:
        write_anchor(f, job->id, job->anchor_write);
        return;
    case MINTMARK__INTERNAL__TOKEN_JOB__JOB_SIGN_DOCUMENT:
        sign_document(f, job->id, job->sign_document);
        return;
    default:
        work(f, job);
    }
}

int main(void)
{
    struct mm_buf payload = MM_BUF_INIT(MM_IPC_MESSAGE_MAX);
    Mintmark__Internal__WorkerStart *start;
    struct mm_errinfo ei;
    struct fake fake = {.shared = "chain", .profile = "dac"};

    /* As every worker does: one that hangs never sees its channel close. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mm_channel_read(MM_WORKER_FD, &payload, &ei) < 0)
        return MM_EXIT_CHANNEL;
    start = mintmark__internal__worker_start__unpack(NULL, payload.len, payload.data);
    if (!start)
        return MM_EXIT_CHANNEL;
    take_start(&fake, start);
    mintmark__internal__worker_start__free_unpacked(start, NULL);
    begin(&fake);
    while (mm_channel_read(MM_WORKER_FD, &payload, &ei) == MM_OK) {
        Mintmark__Internal__TokenJob *job =
            mintmark__internal__token_job__unpack(NULL, payload.len, payload.data);

        if (!job)
            return MM_EXIT_CHANNEL;
        handle(&fake, job);
        mintmark__internal__token_job__free_unpacked(job, NULL);
    }
    mm_buf_done(&payload);
    return MM_EXIT_OK;
}
