/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/mint.h"

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/text.h"
#include "mintmark/v1/types.pb-c.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    UUID_LEN = 16,
    SERIAL_LEN = 20,
    RANDOM_PER_DEVICE = UUID_LEN + SERIAL_LEN,
    RECOVERIES_MAX = 3,
    RETRY_PAUSE_MS = 20,
    SAMPLE_EVERY = 16,
    /* certificate or request, key, texts and tags */
    BUNDLE_MAX = MM_CERT_DER_MAX + 2048,
};

/* What becomes of one device. */
struct device {
    uint8_t uid[UUID_LEN], serial[SERIAL_LEN], spki_sha256[32];
    char uid_text[MM_UID_LEN + 1];
    struct mm_keypair pair; /* retained keys: kept until the whole chunk is done */
    size_t bundle_start, bundle_len;
};

struct mm_chunk {
    struct device devices[MM_CHUNK_DEVICES];
    size_t n_made;
    uint8_t random[MM_CHUNK_DEVICES * RANDOM_PER_DEVICE];
    struct mm_buf bundles, der, key;
    struct mm_tbs tbs;
    Mintmark__Internal__DeviceRecord records[MM_CHUNK_DEVICES];
    Mintmark__Internal__DeviceRecord *record_list[MM_CHUNK_DEVICES];
    Mintmark__Internal__MintResult message;
};

/* One job at work. */
struct minting_job {
    struct mm_minter *minter;
    struct mm_minting *profile;
    const Mintmark__Internal__MintJob *job;
    struct mm_chunk *chunk;
    int64_t now_ms, deadline_mono_us;
    bool drawn;    /* the random bytes are there */
    bool reopened; /* handles of pairs made so far are stale */
};

int mm_chunk_new(struct mm_chunk **ret_chunk)
{
    struct mm_chunk *c = calloc(1, sizeof(*c));

    if (!c)
        return MM_ERR_MEMORY;
    c->bundles = MM_BUF_INIT((size_t)MM_CHUNK_DEVICES * BUNDLE_MAX);
    c->der = MM_BUF_INIT(MM_CERT_DER_MAX);
    c->key = MM_BUF_INIT(MM_WRAPPED_KEY_MAX);
    c->tbs = MM_TBS_INIT;
    for (size_t i = 0; i < MM_CHUNK_DEVICES; i++) {
        mintmark__internal__device_record__init(&c->records[i]);
        c->record_list[i] = &c->records[i];
    }
    *ret_chunk = c;
    return MM_OK;
}

void mm_chunk_free(struct mm_chunk *c)
{
    if (!c)
        return;
    mm_buf_done(&c->bundles);
    mm_buf_done(&c->der);
    mm_buf_done(&c->key);
    mm_buf_done(&c->tbs.der);
    explicit_bzero(c, sizeof(*c));
    free(c);
}

Mintmark__Internal__MintResult *mm_chunk_message(struct mm_chunk *c)
{
    return &c->message;
}

void mm_chunk_clear(struct mm_chunk *c)
{
    mm_buf_reset(&c->bundles);
    mm_buf_reset(&c->key);
    c->n_made = 0;
}

static int check_job(const struct minting_job *j, struct mm_errinfo *ei)
{
    const Mintmark__Internal__MintJob *job = j->job;

    if (!j->profile)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "this token has no profile \"%.64s\"", job->profile);
    if (job->count < 1 || job->count > MM_CHUNK_DEVICES)
        return mm_fail_field(ei, "count", "a chunk has 1 to %d devices", MM_CHUNK_DEVICES);
    if (job->first_number < 1 || job->first_number > UINT64_MAX - job->count)
        return mm_fail_field(ei, "first_number", "numbers begin at 1 and end at 2^64 - 1");
    if (job->n_hw_serials != 0 && job->n_hw_serials != job->count)
        return mm_fail_field(ei, "hw_serials", "%zu hardware serial numbers for %u devices",
                             job->n_hw_serials, job->count);
    for (size_t i = 0; i < job->n_hw_serials; i++) {
        if (strlen(job->hw_serials[i]) > MM_HW_SERIAL_MAX)
            return mm_fail_field(ei, "hw_serials", "a hardware serial number has at most %d bytes",
                                 MM_HW_SERIAL_MAX);
    }
    return MM_OK;
}

static int check_deadline(const struct minting_job *j, struct mm_errinfo *ei)
{
    if (j->deadline_mono_us != 0 && mm_clock_mono_us() >= j->deadline_mono_us)
        return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED",
                       "the deadline passed before the devices were made");
    return MM_OK;
}

static int draw(struct minting_job *j, struct mm_errinfo *ei)
{
    struct mm_chunk *c = j->chunk;
    const size_t count = j->job->count;
    const int r = mm_token_random(j->minter->token, c->random, count * RANDOM_PER_DEVICE, ei);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        struct device *d = &c->devices[i];
        const uint8_t *from = c->random + i * RANDOM_PER_DEVICE;

        memcpy(d->uid, from, UUID_LEN);
        mm_uuid7_stamp(d->uid, j->now_ms);
        mm_uuid_format(d->uid, d->uid_text);
        memcpy(d->serial, from + UUID_LEN, SERIAL_LEN);
        mm_pki_serial_fix(d->serial);
    }
    j->drawn = true;
    return MM_OK;
}

static const char *hw_serial(const struct minting_job *j, size_t i)
{
    return j->job->n_hw_serials ? j->job->hw_serials[i] : "";
}

/* The CA's signature under the CA's key, or a request's under the device's own. A sample: the
 * first of each chunk, at a third of the cost of making one device. */
static int check_signature(const struct minting_job *j, const struct device *d,
                           const uint8_t *signature, size_t len, struct mm_errinfo *ei)
{
    const struct mm_tbs *tbs = &j->chunk->tbs;
    struct mm_verifier *own = NULL;
    int r = MM_OK;

    if (!j->profile->verifier)
        r = mm_verifier_new(d->pair.point, d->pair.point_len, &own, ei);
    if (r == MM_OK)
        r = mm_verifier_check(own ? own : j->profile->verifier, tbs->digest, tbs->digest_len,
                              signature, len, ei);
    mm_verifier_free(own);
    return r;
}

/* Fills chunk->der with the certificate or request. */
static int certify(struct minting_job *j, size_t i, struct mm_errinfo *ei)
{
    struct mm_chunk *c = j->chunk;
    struct device *d = &c->devices[i];
    const bool request = mm_profile_makes_requests(j->profile->profile);
    const mm_handle signer = request ? d->pair.private_key : j->profile->ca_key;
    struct mm_subject s = {
        .number = j->job->first_number + i,
        .hw_serial = hw_serial(j, i),
        .device_uid = d->uid_text,
        .point = d->pair.point,
        .point_len = d->pair.point_len,
        .now_ms = j->now_ms,
    };
    uint8_t signature[MM_SIGNATURE_MAX];
    size_t len = 0;
    int r;

    memcpy(s.serial, d->serial, SERIAL_LEN);
    r = request ? mm_profile_csr_tbs(j->profile->profile, &s, &c->tbs, ei)
                : mm_profile_certificate_tbs(j->profile->profile, &s, &c->tbs, ei);
    if (r == MM_OK)
        r = mm_token_sign(j->minter->token, signer, c->tbs.digest, c->tbs.digest_len, signature,
                          &len, ei);
    if (r == MM_OK && i == 0)
        r = check_signature(j, d, signature, len, ei);
    if (r < 0)
        return r;
    memcpy(d->spki_sha256, c->tbs.spki_sha256, sizeof(d->spki_sha256));
    mm_buf_reset(&c->der);
    return mm_pki_assemble(&c->tbs, signature, len, &c->der, ei);
}

static int read_plain(struct minting_job *j, const struct mm_keypair *pair, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *scalar = NULL;
    const int r = mm_token_read_private(j->minter->token, pair, &scalar, ei);

    if (r < 0)
        return r;
    return mm_pki_pkcs8(mm_secret_data(scalar), mm_secret_len(scalar), pair->point, pair->point_len,
                        &j->chunk->key, ei);
}

/* Fills chunk->key with the private key as it is delivered. */
static int deliver_key(struct minting_job *j, const struct mm_keypair *pair, struct mm_errinfo *ei)
{
    struct mm_buf *key = &j->chunk->key;
    uint8_t *to;
    size_t len = 0;
    int r;

    mm_buf_reset(key);
    if (j->profile->kind == MM_DEVICE_RETAINED)
        return MM_OK;
    if (j->profile->kind == MM_DEVICE_PLAIN)
        return read_plain(j, pair, ei);
    to = mm_buf_reserve(key, MM_WRAPPED_KEY_MAX);
    if (!to)
        return mm_fail_memory(ei);
    r = mm_token_wrap(j->minter->token, j->profile->transport_key, pair->private_key, to, &len, ei);
    if (r < 0)
        return r;
    mm_buf_grew(key, len);
    return MM_OK;
}

/* RFC 7512: all but unreserved characters of the label are percent-encoded. */
static void key_uri(const struct minting_job *j, const struct device *d, char *out, size_t size)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(size);
    const char *text;

    mm_buf_append_str(&b, "pkcs11:token=");
    for (const char *p = j->minter->info.label; *p; p++) {
        if (mm_name_valid((const char[]){'a', *p, 0}, 2))
            mm_buf_append_u8(&b, (uint8_t)*p);
        else
            mm_buf_printf(&b, "%%%02X", (unsigned char)*p);
    }
    mm_buf_printf(&b, ";object=%s;type=private", d->uid_text);
    text = mm_buf_cstr(&b);
    snprintf(out, size, "%s", text ? text : "");
}

static int append_bundle(struct mm_chunk *c, struct device *d, const Mintmark__V1__Bundle *bundle,
                         struct mm_errinfo *ei)
{
    const size_t len = mintmark__v1__bundle__get_packed_size(bundle);
    uint8_t *to = mm_buf_reserve(&c->bundles, len);

    if (!to)
        return mm_fail_memory(ei);
    d->bundle_start = c->bundles.len;
    d->bundle_len = mintmark__v1__bundle__pack(bundle, to);
    mm_buf_grew(&c->bundles, d->bundle_len);
    return MM_OK;
}

static int pack_bundle(struct minting_job *j, size_t i, struct mm_errinfo *ei)
{
    static const Mintmark__V1__KeyDelivery deliveries[] = {
        [MM_DEVICE_WRAPPED] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_WRAPPED,
        [MM_DEVICE_RETAINED] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_RETAINED,
        [MM_DEVICE_PLAIN] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_PLAIN,
    };
    struct mm_chunk *c = j->chunk;
    struct device *d = &c->devices[i];
    const ProtobufCBinaryData der = {c->der.len, c->der.data};
    const uint64_t number = j->job->first_number + i;
    char uri[256], serial[MM_HW_SERIAL_MAX + 1];
    Mintmark__V1__Bundle b;

    mintmark__v1__bundle__init(&b);
    snprintf(serial, sizeof(serial), "%s", hw_serial(j, i));
    b.device_uid = d->uid_text;
    b.batch_uid = j->job->batch_uid;
    b.hw_serial = serial;
    b.number = number;
    b.key_delivery = deliveries[j->profile->kind];
    b.private_key = (ProtobufCBinaryData){c->key.len, c->key.data};
    b.issued_time_ms = j->now_ms;
    if (mm_profile_makes_requests(j->profile->profile))
        b.csr = der;
    else
        b.certificate = der;
    if (j->profile->kind == MM_DEVICE_RETAINED) {
        key_uri(j, d, uri, sizeof(uri));
        b.key_id = uri;
    }
    return append_bundle(c, d, &b, ei);
}

/* One device from key pair to bundle. Its session objects are gone afterwards, whatever happens;
 * a retained pair stays only when it worked. */
static int mint_device(struct minting_job *j, size_t i, struct mm_errinfo *ei)
{
    struct device *d = &j->chunk->devices[i];
    const bool retained = j->profile->kind == MM_DEVICE_RETAINED;
    int r = mm_token_generate(j->minter->token, j->profile->curve, j->profile->kind,
                              retained ? d->uid_text : NULL, &d->pair, ei);

    if (r < 0)
        return r;
    r = certify(j, i, ei);
    if (r == MM_OK)
        r = deliver_key(j, &d->pair, ei);
    if (r == MM_OK)
        r = pack_bundle(j, i, ei);
    if (r < 0 || !retained)
        mm_token_destroy(j->minter->token, &d->pair);
    return r;
}

static void pause_ms(long ms)
{
    const struct timespec t = {.tv_nsec = ms * 1000000};

    nanosleep(&t, NULL);
}

/* A retained pair whose handles a reopen has made stale: a new session may give their numbers to
 * other keys, so it is looked up by its label, the device's UID. */
static void discard_by_label(struct mm_minter *m, const struct device *d)
{
    struct mm_keypair pair = {.private_key = 0};
    struct mm_errinfo ignored;
    char uri[MM_UID_LEN + 16]; /* "pkcs11:object=" and NUL */

    snprintf(uri, sizeof(uri), "pkcs11:object=%s", d->uid_text);
    if (mm_token_find(m->token, uri, MM_KEY_PRIVATE, &pair.private_key, &ignored) < 0)
        pair.private_key = 0;
    if (mm_token_find(m->token, uri, MM_KEY_PUBLIC, &pair.public_key, &ignored) < 0)
        pair.public_key = 0;
    mm_token_destroy(m->token, &pair);
}

static int reopen(struct minting_job *j, struct mm_errinfo *ei)
{
    int r = mm_token_reopen(j->minter->token, ei);

    j->reopened = true;
    if (r == MM_OK)
        r = mm_minter_find_keys(j->minter, ei);
    /* What the lost session had begun. */
    if (r == MM_OK && j->drawn && j->profile->kind == MM_DEVICE_RETAINED)
        discard_by_label(j->minter, &j->chunk->devices[j->chunk->n_made]);
    return r;
}

/* MM_OK: the failed step may be tried again. */
static int recover(struct minting_job *j, struct mm_errinfo *ei)
{
    const enum mm_token_class class = mm_token_failure_class(ei);

    if (class != MM_TOKEN_RETRY && class != MM_TOKEN_REOPEN && class != MM_TOKEN_LOGIN)
        return ei->code;
    mm_log(MM_LOG_WARNING, "token_recovering", MM_STR("error", mm_token_rv_name(ei->detail)),
           MM_STR("text", ei->text));
    if (class != MM_TOKEN_RETRY)
        return reopen(j, ei);
    pause_ms(RETRY_PAUSE_MS);
    return MM_OK;
}

static int next_step(struct minting_job *j, struct mm_errinfo *ei)
{
    int r = check_deadline(j, ei);

    if (r == MM_OK && !j->drawn)
        r = draw(j, ei);
    if (r == MM_OK)
        r = mint_device(j, j->chunk->n_made, ei);
    if (r == MM_OK)
        j->chunk->n_made++;
    return r;
}

static int mint_all(struct minting_job *j, struct mm_errinfo *ei)
{
    for (int recoveries = 0; j->chunk->n_made < j->job->count;) {
        int r = next_step(j, ei);

        if (r == MM_OK)
            continue;
        if (recoveries++ == RECOVERIES_MAX)
            return r;
        r = recover(j, ei);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

/* Retained keys of devices that will never be recorded. */
static void undo(struct minting_job *j)
{
    for (size_t i = 0; j->profile->kind == MM_DEVICE_RETAINED && i < j->chunk->n_made; i++) {
        struct device *d = &j->chunk->devices[i];

        if (j->reopened)
            discard_by_label(j->minter, d);
        else
            mm_token_destroy(j->minter->token, &d->pair);
    }
    mm_chunk_clear(j->chunk);
}

/* The bundles' memory moves while it grows, so that pointers into it are made at the end. */
static void fill_message(struct minting_job *j)
{
    struct mm_chunk *c = j->chunk;
    const bool request = mm_profile_makes_requests(j->profile->profile);

    mintmark__internal__mint_result__init(&c->message);
    c->message.devices = c->record_list;
    c->message.n_devices = c->n_made;
    for (size_t i = 0; i < c->n_made; i++) {
        struct device *d = &c->devices[i];
        Mintmark__Internal__DeviceRecord *record = &c->records[i];

        record->bundle = (ProtobufCBinaryData){d->bundle_len, c->bundles.data + d->bundle_start};
        record->uid = (ProtobufCBinaryData){UUID_LEN, d->uid};
        record->number = j->job->first_number + i;
        record->hw_serial = j->job->n_hw_serials ? j->job->hw_serials[i] : NULL;
        record->spki_sha256 = (ProtobufCBinaryData){sizeof(d->spki_sha256), d->spki_sha256};
        record->serial = (ProtobufCBinaryData){request ? 0 : SERIAL_LEN, d->serial};
    }
}

int mm_mint(struct mm_minter *m, const Mintmark__Internal__MintJob *job, int64_t deadline_mono_us,
            struct mm_chunk *chunk, struct mm_errinfo *ei)
{
    struct minting_job j = {
        .minter = m,
        .profile = mm_minter_profile(m, job->profile),
        .job = job,
        .chunk = chunk,
        .now_ms = mm_clock_wall_ms(),
        .deadline_mono_us = deadline_mono_us,
    };
    const bool sampled = m->chunks++ % SAMPLE_EVERY == 0;
    int r = check_job(&j, ei);

    if (r == MM_OK && mm_token_wants_renewal(m->token))
        r = mm_minter_renew(m, ei);
    if (r < 0)
        return r;
    mm_chunk_clear(chunk);
    mm_token_meter(m->token, sampled);
    r = mint_all(&j, ei);
    if (r < 0) {
        undo(&j);
        return r;
    }
    fill_message(&j);
    if (sampled) {
        chunk->message.token_cpu_us = mm_token_meter_take_us(m->token);
        chunk->message.sampled_devices = job->count;
    }
    return MM_OK;
}
