/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/enroll.h"

#include "daemon/base/clock.h"
#include "daemon/ipc/channel.h"
#include "daemon/pki/csr.h"

Mintmark__Internal__EnrollResult *mm_chunk_enrolled(struct mm_chunk *c)
{
    return &c->enrolled;
}

static struct mm_bytes request_of(const struct mm_making *m, size_t i)
{
    const Mintmark__Internal__EnrollJob *job = m->job;

    return (struct mm_bytes){job->devices[i]->csr.data, job->devices[i]->csr.len};
}

/* What is wrong with one device's request or serial number is that device's trouble alone. */
static bool refuses_one(int r)
{
    return r == MM_ERR_INVALID || r == MM_ERR_TOO_BIG;
}

/* Fills chunk->der. */
static int certify(struct mm_making *m, size_t i, struct mm_errinfo *ei)
{
    const struct mm_bytes request = request_of(m, i);
    struct mm_buf *der = &m->chunk->der;

    if (!mm_profile_makes_requests(m->profile->profile))
        return mm_making_sign(m, i, NULL, ei);
    mm_buf_reset(der);
    mm_buf_append(der, request.data, request.len);
    return mm_buf_err(der) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* One device from request to bundle, or to its refusal. */
static int enroll_device(struct mm_making *m, size_t i, struct mm_errinfo *ei)
{
    struct mm_device *d = &m->chunk->devices[i];
    Mintmark__V1__Bundle b;
    struct mm_bytes point;
    int r = mm_profile_check_csr(m->profile->profile, request_of(m, i), &point, ei);

    d->refusal = (struct mm_errinfo){.code = MM_OK};
    /* For a profile that makes requests too: a name that it could not give is refused. */
    if (r == MM_OK)
        r = mm_making_tbs(m, i, point.data, point.len, ei);
    if (r == MM_OK)
        r = mm_making_check_request(m, i, request_of(m, i), ei);
    if (refuses_one(r)) {
        d->refusal = *ei;
        return MM_OK;
    }
    if (r == MM_OK)
        r = certify(m, i, ei);
    if (r < 0)
        return r;
    mintmark__v1__bundle__init(&b);
    b.key_delivery = MINTMARK__V1__KEY_DELIVERY__KEY_DELIVERY_ON_DEVICE;
    return mm_making_pack(m, i, &b, ei);
}

static int check(const struct mm_making *m, const Mintmark__Internal__EnrollJob *job,
                 struct mm_errinfo *ei)
{
    const int r = mm_making_check(m, job->profile, ei);

    if (r == MM_OK && m->profile->delivery != MM_DELIVERY_ON_DEVICE)
        return mm_fail(ei, MM_ERR_PRECONDITION, "PROFILE_MAKES_KEYS",
                       "keys of profile %s are made in the token", job->profile);
    return r;
}

static void fill_message(struct mm_making *m)
{
    struct mm_chunk *c = m->chunk;

    mintmark__internal__enroll_result__init(&c->enrolled);
    for (size_t i = 0; i < c->n_made; i++) {
        Mintmark__Internal__Enrolment *e = &c->enrolments[i];

        mintmark__internal__enrolment__init(e);
        if (c->devices[i].refusal.code == MM_OK) {
            e->device = mm_making_record(m, i);
        } else {
            mm_channel_error_to(&c->devices[i].refusal, &c->errors[i]);
            e->error = &c->errors[i];
        }
    }
    c->enrolled.enrolments = c->enrolment_list;
    c->enrolled.n_enrolments = c->n_made;
}

static struct mm_making making_of(struct mm_minter *minter,
                                  const Mintmark__Internal__EnrollJob *job,
                                  int64_t deadline_mono_us, struct mm_chunk *chunk)
{
    struct mm_making m = {
        .minter = minter,
        .profile = mm_minter_profile(minter, job->profile),
        .chunk = chunk,
        .batch_uid = job->batch_uid,
        .first_number = job->first_number,
        .count = job->n_devices,
        .now_ms = mm_clock_wall_ms(),
        .deadline_mono_us = deadline_mono_us,
        .make = enroll_device,
        .job = job,
    };

    for (size_t i = 0; i < MM_CHUNK_DEVICES; i++)
        m.hw_serials[i] = i < job->n_devices ? job->devices[i]->hw_serial : "";
    return m;
}

int mm_enroll(struct mm_minter *minter, const Mintmark__Internal__EnrollJob *job,
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
        mm_chunk_clear(chunk);
        return r;
    }
    fill_message(&m);
    if (sampled) {
        chunk->enrolled.token_cpu_us = mm_token_meter_take_us(minter->token);
        chunk->enrolled.sampled_devices = (uint32_t)chunk->n_made;
    }
    return MM_OK;
}
