/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/making.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/pki/csr.h"
#include "daemon/token/random.h"

#include <string.h>

enum {
    SAMPLE_EVERY = 16,
    /* certificate or request, key, texts and tags */
    BUNDLE_MAX = MM_CERT_DER_MAX + 2048,
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
        mintmark__internal__enrolment__init(&c->enrolments[i]);
        c->enrolment_list[i] = &c->enrolments[i];
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

void mm_chunk_clear(struct mm_chunk *c)
{
    mm_buf_reset(&c->bundles);
    mm_buf_reset(&c->key);
    c->n_made = 0;
}

int mm_making_check(const struct mm_making *m, const char *profile, struct mm_errinfo *ei)
{
    if (!m->profile)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE",
                       "this token has no profile \"%.64s\"", profile);
    if (m->count < 1 || m->count > MM_CHUNK_DEVICES)
        return mm_fail_field(ei, "count", "a chunk has 1 to %d devices", MM_CHUNK_DEVICES);
    if (m->first_number < 1 || m->first_number > UINT64_MAX - m->count)
        return mm_fail_field(ei, "first_number", "numbers begin at 1 and end at 2^64 - 1");
    for (size_t i = 0; i < m->count; i++) {
        if (strlen(m->hw_serials[i]) > MM_HW_SERIAL_MAX)
            return mm_fail_field(ei, "hw_serials", "a hardware serial number has at most %d bytes",
                                 MM_HW_SERIAL_MAX);
    }
    return mm_minter_check_backup(m->minter, m->profile, ei);
}

bool mm_making_sampled(struct mm_making *m)
{
    return m->minter->chunks++ % SAMPLE_EVERY == 0;
}

/* ---- one device -------------------------------------------------------------------------- */

static struct mm_subject subject_of(const struct mm_making *m, size_t i)
{
    const struct mm_device *d = &m->chunk->devices[i];
    struct mm_subject s = {
        .number = m->first_number + i,
        .hw_serial = m->hw_serials[i],
        .device_uid = d->uid_text,
        .now_ms = m->now_ms,
    };

    memcpy(s.serial, d->serial, MM_SERIAL_BYTES);
    return s;
}

int mm_making_tbs(struct mm_making *m, size_t i, const uint8_t *point, size_t point_len,
                  struct mm_errinfo *ei)
{
    const struct mm_profile *profile = m->profile->profile;
    struct mm_tbs *tbs = &m->chunk->tbs;
    struct mm_subject s = subject_of(m, i);
    int r;

    s.point = point;
    s.point_len = point_len;
    r = mm_profile_makes_requests(profile) ? mm_profile_csr_tbs(profile, &s, tbs, ei)
                                           : mm_profile_certificate_tbs(profile, &s, tbs, ei);
    if (r < 0)
        return r;
    memcpy(m->chunk->devices[i].spki_sha256, tbs->spki_sha256, sizeof(tbs->spki_sha256));
    return mm_profile_username(profile, &s, m->chunk->devices[i].username, ei);
}

static int wrong_signature(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_SIGNATURE_INVALID",
                   "the token made a signature that does not verify; it was kept back");
}

/* The one that signed, by the CA's key or the device's own. Checked at once, since libcrypto has
 * nothing to gain from many of them, and the message is gone when the next device is made. */
static int sign_message(struct mm_making *m, size_t i, const struct mm_keypair *pair,
                        struct mm_errinfo *ei)
{
    const struct mm_bytes message = mm_tbs_signed(&m->chunk->tbs);
    struct mm_device *d = &m->chunk->devices[i];
    struct mm_verifier *own = NULL;
    int r = mm_token_sign_message(m->minter->token, pair ? pair->curve : m->profile->ca_curve,
                                  pair ? pair->private_key : m->profile->ca_key, message,
                                  d->signature, &d->signature_len, ei);

    if (r == MM_OK && pair)
        r = mm_verifier_new(pair->point, pair->point_len, &own, ei);
    if (r == MM_OK)
        r = mm_verifier_check(pair ? own : m->profile->verifier, message.data, message.len,
                              d->signature, d->signature_len, ei);
    mm_verifier_free(own);
    return r == MM_ERR_CORRUPT ? wrong_signature(ei) : r;
}

int mm_making_check_request(struct mm_making *m, size_t i, struct mm_bytes request,
                            struct mm_errinfo *ei)
{
    struct mm_subject s = subject_of(m, i);
    struct mm_bytes point;
    int r = mm_profile_csr_point(m->profile->profile, request, &point, ei);

    if (r < 0)
        return r;
    s.point = point.data;
    s.point_len = point.len;
    return mm_profile_check_csr_content(m->profile->profile, &s, request, ei);
}

int mm_making_sign(struct mm_making *m, size_t i, const struct mm_keypair *pair,
                   struct mm_errinfo *ei)
{
    struct mm_chunk *c = m->chunk;
    struct mm_device *d = &c->devices[i];
    const int r =
        c->tbs.digest_len == 0
            ? sign_message(m, i, pair, ei)
            : mm_token_sign(m->minter->token, pair ? pair->private_key : m->profile->ca_key,
                            c->tbs.digest, c->tbs.digest_len, d->signature, &d->signature_len, ei);

    if (r < 0)
        return r;
    memcpy(d->digest, c->tbs.digest, c->tbs.digest_len);
    d->digest_len = c->tbs.digest_len;
    mm_buf_reset(&c->der);
    return mm_pki_assemble(&c->tbs, d->signature, d->signature_len, &c->der, ei);
}

/* Every signature of the chunk: the CA's under the CA's key, a request's under its device's own. A
 * wrong one may give a key away, and is given to nobody. */
static int check_signatures(struct mm_making *m, struct mm_errinfo *ei)
{
    struct mm_check list[MM_CHUNK_DEVICES];
    size_t n = 0, bad = 0;
    int r;

    for (size_t i = 0; i < m->chunk->n_made; i++) {
        const struct mm_device *d = &m->chunk->devices[i];

        if (d->signature_len == 0 || d->digest_len == 0) /* Ed25519's has been checked */
            continue;
        list[n++] = (struct mm_check){
            .key = m->profile->verifier,
            .point = {d->pair.point, d->pair.point_len},
            .digest = {d->digest, d->digest_len},
            .signature = {d->signature, d->signature_len},
        };
    }
    r = mm_checks_run(m->minter->checks, list, n, &bad, ei);
    return r == MM_ERR_CORRUPT ? wrong_signature(ei) : r;
}

static int append_bundle(struct mm_chunk *c, struct mm_device *d,
                         const Mintmark__V1__Bundle *bundle, struct mm_errinfo *ei)
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

int mm_making_pack(struct mm_making *m, size_t i, Mintmark__V1__Bundle *bundle,
                   struct mm_errinfo *ei)
{
    struct mm_device *d = &m->chunk->devices[i];
    const ProtobufCBinaryData der = {m->chunk->der.len, m->chunk->der.data};

    bundle->device_uid = d->uid_text;
    bundle->batch_uid = m->batch_uid;
    bundle->hw_serial = (char *)(uintptr_t)m->hw_serials[i];
    bundle->number = m->first_number + i;
    bundle->issued_time_ms = m->now_ms;
    if (mm_profile_makes_requests(m->profile->profile))
        bundle->csr = der;
    else
        bundle->certificate = der;
    return append_bundle(m->chunk, d, bundle, ei);
}

Mintmark__Internal__DeviceRecord *mm_making_record(struct mm_making *m, size_t i)
{
    struct mm_chunk *c = m->chunk;
    struct mm_device *d = &c->devices[i];
    Mintmark__Internal__DeviceRecord *record = &c->records[i];
    const bool request = mm_profile_makes_requests(m->profile->profile);

    record->bundle = (ProtobufCBinaryData){d->bundle_len, c->bundles.data + d->bundle_start};
    record->uid = (ProtobufCBinaryData){MM_UUID_BYTES, d->uid};
    record->number = m->first_number + i;
    record->hw_serial = (char *)(uintptr_t)m->hw_serials[i];
    record->spki_sha256 = (ProtobufCBinaryData){sizeof(d->spki_sha256), d->spki_sha256};
    record->username = d->username;
    record->serial = (ProtobufCBinaryData){request ? 0 : MM_SERIAL_BYTES, d->serial};
    return record;
}

/* ---- the whole chunk --------------------------------------------------------------------- */

static int check_deadline(const struct mm_making *m, struct mm_errinfo *ei)
{
    if (m->deadline_mono_us != 0 && mm_clock_mono_us() >= m->deadline_mono_us)
        return mm_fail(ei, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED",
                       "the deadline passed before the devices were made");
    return MM_OK;
}

/* Gives the device at hand its UID and serial number. */
static int name_device(struct mm_making *m, struct mm_errinfo *ei)
{
    struct mm_device *d = &m->chunk->devices[m->chunk->n_made];
    uint8_t drawn[MM_UUID_BYTES + MM_SERIAL_BYTES];
    const int r = mm_random_take(m->minter, drawn, sizeof(drawn), ei);

    if (r < 0)
        return r;
    memcpy(d->uid, drawn, MM_UUID_BYTES);
    mm_uuid7_stamp(d->uid, m->now_ms);
    mm_uuid_format(d->uid, d->uid_text);
    memcpy(d->serial, drawn + MM_UUID_BYTES, MM_SERIAL_BYTES);
    mm_pki_serial_fix(d->serial);
    m->named = true;
    return MM_OK;
}

/* MM_OK: the failed step may be tried again. */
static int recover(struct mm_making *m, struct mm_errinfo *ei)
{
    const enum mm_token_class class = mm_token_failure_class(ei);
    const int r = mm_minter_recover(m->minter, ei);

    if (class != MM_TOKEN_REOPEN && class != MM_TOKEN_LOGIN)
        return r;
    m->reopened = true;
    if (r == MM_OK && m->named && m->lost)
        m->lost(m, m->chunk->n_made);
    return r;
}

static int next_step(struct mm_making *m, struct mm_errinfo *ei)
{
    int r = check_deadline(m, ei);

    if (r == MM_OK && !m->named)
        r = name_device(m, ei);
    m->chunk->devices[m->chunk->n_made].signature_len = 0;
    if (r == MM_OK)
        r = m->make(m, m->chunk->n_made, ei);
    if (r < 0)
        return r;
    m->chunk->n_made++;
    m->named = false;
    return MM_OK;
}

int mm_making_run(struct mm_making *m, struct mm_errinfo *ei)
{
    for (int recoveries = 0; m->chunk->n_made < m->count;) {
        int r = next_step(m, ei);

        if (r == MM_OK)
            continue;
        if (recoveries++ == MM_RECOVERIES_MAX)
            return r;
        r = recover(m, ei);
        if (r < 0)
            return r;
    }
    return check_signatures(m, ei);
}
