/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/mint.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/token/ahead.h"
#include "daemon/token/trust.h"

#include <stdio.h>
#include <string.h>

static const Mintmark__V1__KeyDelivery names[] = {
    [MM_DELIVERY_WRAPPED] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_WRAPPED,
    [MM_DELIVERY_RETAINED] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_RETAINED,
    [MM_DELIVERY_PLAIN] = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_PLAIN,
};

Mintmark__Internal__MintResult *mm_chunk_message(struct mm_chunk *c)
{
    return &c->minted;
}

static bool retains(const struct mm_making *m)
{
    return m->profile->delivery == MM_DELIVERY_RETAINED;
}

static int read_plain(struct mm_making *m, const struct mm_keypair *pair, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *scalar = NULL;
    const int r = mm_token_read_private(m->minter->token, pair, &scalar, ei);

    if (r < 0)
        return r;
    return mm_pki_pkcs8(mm_secret_data(scalar), mm_secret_len(scalar), pair->point, pair->point_len,
                        &m->chunk->key, ei);
}

/* Fills chunk->key with the private key as it is delivered. */
static int deliver_key(struct mm_making *m, const struct mm_keypair *pair, struct mm_errinfo *ei)
{
    struct mm_buf *key = &m->chunk->key;
    uint8_t *to;
    size_t len = 0;
    int r;

    mm_buf_reset(key);
    if (retains(m))
        return MM_OK;
    if (m->profile->delivery == MM_DELIVERY_PLAIN)
        return read_plain(m, pair, ei);
    to = mm_buf_reserve(key, MM_WRAPPED_KEY_MAX);
    if (!to)
        return mm_fail_memory(ei);
    memset(to, 0, MM_WRAPPED_KEY_MAX);
    r = mm_token_wrap(m->minter->token, m->profile->transport_key, pair->private_key, to, &len, ei);
    if (r < 0)
        return r;
    mm_buf_grew(key, len);
    return mm_trust_wrapped(m->minter, to, len, ei);
}

/* RFC 7512: all but unreserved characters of the label are percent-encoded. */
static void key_uri(const struct mm_making *m, const struct mm_device *d, char *out, size_t size)
{
    MM_BUF_CLEANUP struct mm_buf b = MM_BUF_INIT(size);
    const char *text;

    mm_buf_append_str(&b, "pkcs11:token=");
    for (const char *p = m->minter->info.label; *p; p++) {
        if (mm_name_valid((const char[]){'a', *p, 0}, 2))
            mm_buf_append_u8(&b, (uint8_t)*p);
        else
            mm_buf_printf(&b, "%%%02X", (unsigned char)*p);
    }
    mm_buf_printf(&b, ";object=%s;type=private", d->uid_text);
    text = mm_buf_cstr(&b);
    snprintf(out, size, "%s", text ? text : "");
}

static int pack(struct mm_making *m, size_t i, struct mm_errinfo *ei)
{
    Mintmark__V1__Bundle b;
    char uri[256];

    mintmark__v1__bundle__init(&b);
    b.key_delivery = names[m->profile->delivery];
    b.private_key = (ProtobufCBinaryData){m->chunk->key.len, m->chunk->key.data};
    if (m->profile->delivery == MM_DELIVERY_WRAPPED) {
        b.transport_key = m->profile->conf->transport;
        b.check_value = (ProtobufCBinaryData){MM_CHECK_VALUE_LEN, m->profile->check_value};
    }
    if (retains(m)) {
        key_uri(m, &m->chunk->devices[i], uri, sizeof(uri));
        b.key_id = uri;
    }
    return mm_making_pack(m, i, &b, ei);
}

/* One device from key pair to bundle. Its session objects are gone afterwards, whatever happens;
 * a retained pair stays only when it worked. */
static int mint_device(struct mm_making *m, size_t i, struct mm_errinfo *ei)
{
    const bool request = mm_profile_makes_requests(m->profile->profile);
    struct mm_device *d = &m->chunk->devices[i];
    int r = retains(m) ? mm_token_generate(m->minter->token, m->profile->curve, MM_DEVICE_RETAINED,
                                           d->uid_text, &d->pair, ei)
                       : mm_ahead_take(m->minter, m->profile, &d->pair, ei);

    if (r < 0)
        return r;
    r = mm_making_tbs(m, i, d->pair.point, d->pair.point_len, ei);
    if (r == MM_OK)
        r = mm_trust_new_key(m->minter, d->spki_sha256, ei);
    if (r == MM_OK)
        r = mm_making_sign(m, i, request ? &d->pair : NULL, ei);
    if (r == MM_OK)
        r = deliver_key(m, &d->pair, ei);
    if (r == MM_OK)
        r = pack(m, i, ei);
    if (r < 0 || !retains(m))
        mm_token_destroy(m->minter->token, &d->pair);
    return r;
}

/* A retained pair whose handles a reopen has made stale: a new session may give their numbers to
 * other keys, so it is looked up by its label, the device's UID. */
static void discard_by_label(struct mm_making *m, size_t i)
{
    struct mm_token *token = m->minter->token;
    struct mm_keypair pair = {.private_key = 0};
    struct mm_errinfo ignored;
    char uri[MM_UID_LEN + 16]; /* "pkcs11:object=" and NUL */

    snprintf(uri, sizeof(uri), "pkcs11:object=%s", m->chunk->devices[i].uid_text);
    if (mm_token_find(token, uri, MM_KEY_PRIVATE, &pair.private_key, &ignored) < 0)
        pair.private_key = 0;
    if (mm_token_find(token, uri, MM_KEY_PUBLIC, &pair.public_key, &ignored) < 0)
        pair.public_key = 0;
    mm_token_destroy(token, &pair);
}

/* Retained keys of devices that will never be recorded. */
static void undo(struct mm_making *m)
{
    for (size_t i = 0; retains(m) && i < m->chunk->n_made; i++) {
        if (m->reopened)
            discard_by_label(m, i);
        else
            mm_token_destroy(m->minter->token, &m->chunk->devices[i].pair);
    }
    mm_chunk_clear(m->chunk);
}

static int check(const struct mm_making *m, const Mintmark__Internal__MintJob *job,
                 struct mm_errinfo *ei)
{
    const int r = mm_making_check(m, job->profile, ei);

    if (r < 0)
        return r;
    if (m->profile->delivery == MM_DELIVERY_ON_DEVICE)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PROFILE_ON_DEVICE",
                       "devices of profile %s make their own keys", job->profile);
    if (job->n_hw_serials != 0 && job->n_hw_serials != job->count)
        return mm_fail_field(ei, "hw_serials", "%zu hardware serial numbers for %u devices",
                             job->n_hw_serials, job->count);
    return MM_OK;
}

static void fill_message(struct mm_making *m)
{
    struct mm_chunk *c = m->chunk;

    mintmark__internal__mint_result__init(&c->minted);
    for (size_t i = 0; i < c->n_made; i++)
        c->record_list[i] = mm_making_record(m, i);
    c->minted.devices = c->record_list;
    c->minted.n_devices = c->n_made;
}

static struct mm_making making_of(struct mm_minter *minter, const Mintmark__Internal__MintJob *job,
                                  int64_t deadline_mono_us, struct mm_chunk *chunk)
{
    struct mm_making m = {
        .minter = minter,
        .profile = mm_minter_profile(minter, job->profile),
        .chunk = chunk,
        .batch_uid = job->batch_uid,
        .first_number = job->first_number,
        .count = job->count,
        .now_ms = mm_clock_wall_ms(),
        .deadline_mono_us = deadline_mono_us,
        .make = mint_device,
        .job = job,
    };

    for (size_t i = 0; i < MM_CHUNK_DEVICES; i++)
        m.hw_serials[i] = i < job->n_hw_serials ? job->hw_serials[i] : "";
    if (m.profile && retains(&m))
        m.lost = discard_by_label;
    return m;
}

/* model: MINT */
int mm_mint(struct mm_minter *minter, const Mintmark__Internal__MintJob *job,
            int64_t deadline_mono_us, struct mm_chunk *chunk, struct mm_errinfo *ei)
{
    struct mm_making m = making_of(minter, job, deadline_mono_us, chunk);
    const bool sampled = mm_making_sampled(&m);
    int r = check(&m, job, ei);

    if (r == MM_OK && mm_token_wants_renewal(minter->token))
        r = mm_minter_renew(minter, ei);
    if (r < 0)
        return r;
    mm_chunk_clear(chunk);
    mm_token_meter(minter->token, sampled);
    r = mm_making_run(&m, ei);
    if (r < 0) {
        undo(&m);
        return r;
    }
    fill_message(&m);
    if (sampled) {
        chunk->minted.token_cpu_us = mm_token_meter_take_us(minter->token);
        chunk->minted.sampled_devices = job->count;
    }
    return MM_OK;
}
