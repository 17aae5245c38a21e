/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices whose certificates come from elsewhere: recorded with a request, given out to be
 * enrolled, and brought to an end. docs/ledger.md has what each step enters.
 */
#include "daemon/store/enrolments.h"

#include "daemon/base/text.h"
#include "daemon/store/chains.h"
#include "daemon/store/message.h"

#include <stdio.h>
#include <string.h>

#define STATE(name) MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name

/* ---- counters ---------------------------------------------------------------------------- */

int mm_enrolment_counts_take(struct mm_sql *q, int column,
                             Mintmark__Internal__EnrolmentCounts **ret_counts,
                             struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__EnrolmentCounts *c =
        mm_message_new(&mintmark__internal__enrolment_counts__descriptor);
    int r;

    if (!c)
        return mm_fail_memory(ei);
    c->waiting = mm_sql_uint(q, column);
    c->parked = mm_sql_uint(q, column + 1);
    c->certified = mm_sql_uint(q, column + 2);
    c->failed = mm_sql_uint(q, column + 3);
    r = mm_sql_end(q, ei);
    if (r == MM_OK)
        *ret_counts = MM_TAKE(c);
    return r;
}

static int count_profile(struct mm_store *s, int64_t profile, struct mm_enrolment_step step,
                         Mintmark__Internal__EnrolmentCounts **ret_counts, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__EnrolmentCounts *counts = NULL;
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_PROFILE_COUNT);
    int r;

    mm_sql_bind_int(&q, profile);
    mm_sql_bind_int(&q, step.waiting);
    mm_sql_bind_int(&q, step.parked);
    mm_sql_bind_int(&q, step.certified);
    mm_sql_bind_int(&q, step.failed);
    r = mm_sql_step(&q, ei);
    if (r >= 0)
        r = mm_enrolment_counts_take(&q, 1, &counts, ei);
    if (r == MM_OK)
        counts->profile = mm_sql_dup_text(&q, 0);
    if (r == MM_OK)
        r = mm_sql_run(&q, ei);
    if (r == MM_OK && ret_counts)
        *ret_counts = MM_TAKE(counts);
    return r;
}

static int count_request(struct mm_store *s, int64_t request, struct mm_enrolment_step step,
                         struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REQUEST_COUNT);

    mm_sql_bind_int(&q, request);
    mm_sql_bind_int(&q, step.waiting);
    mm_sql_bind_int(&q, step.parked);
    return mm_sql_run(&q, ei);
}

int mm_enrolment_count(struct mm_store *s, const struct mm_enrolment_row *e,
                       struct mm_enrolment_step step,
                       Mintmark__Internal__EnrolmentCounts **ret_counts, struct mm_errinfo *ei)
{
    const int r = count_request(s, e->request, step, ei);

    return r < 0 ? r : count_profile(s, e->profile, step, ret_counts, ei);
}

/* ---- recorded with a request ------------------------------------------------------------- */

int mm_enrolments_add(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                      int64_t profile, int64_t request, Mintmark__Internal__Recorded *recorded,
                      struct mm_errinfo *ei)
{
    const int64_t first = sqlite3_last_insert_rowid(s->db) - (int64_t)job->n_devices + 1;
    const struct mm_enrolment_row e = {.profile = profile, .request = request};
    const struct mm_enrolment_step step = {.waiting = (int)job->n_devices};
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_ADD);
    int r;

    if (!job->waiting)
        return MM_OK;
    r = mm_enrolment_count(s, &e, step, &recorded->enrolments, ei);
    if (r == MM_OK && recorded->enrolments->waiting > job->waiting->max)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "TOO_MANY_WAITING",
                       "%llu devices of the profile would wait for certificates; %llu may",
                       (unsigned long long)recorded->enrolments->waiting,
                       (unsigned long long)job->waiting->max);
    mm_sql_bind_int(&q, profile);
    mm_sql_bind_int(&q, request);
    mm_sql_bind_int(&q, job->waiting->begun);
    mm_sql_bind_int(&q, job->waiting->next_time_ms);
    for (size_t i = 0; r == MM_OK && i < job->n_devices; i++) {
        mm_sql_bind_int(&q, first + (int64_t)i);
        mm_sql_bind_text(&q, job->devices[i]->username);
        r = mm_sql_run(&q, ei);
        mm_sql_again(&q, 4);
    }
    return r;
}

/* ---- given out --------------------------------------------------------------------------- */

/* The request that is in the recorded bundle. */
static int dup_csr(struct mm_bytes bundle, ProtobufCBinaryData *ret_csr, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__Bundle *b;
    uint8_t *csr;
    int r = mm_bundle_unpack(bundle, &arena, &b, ei);

    if (r < 0)
        return r;
    if (b->csr.len == 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT",
                       "a device that waits for a certificate has no request");
    csr = malloc(b->csr.len);
    if (!csr)
        return mm_fail_memory(ei);
    memcpy(csr, b->csr.data, b->csr.len);
    *ret_csr = (ProtobufCBinaryData){b->csr.len, csr};
    return MM_OK;
}

static int add_waiting(struct mm_sql *q, Mintmark__Internal__WaitingPage *page,
                       struct mm_errinfo *ei)
{
    Mintmark__Internal__WaitingDevice **room =
        mm_message_room(page->devices, page->n_devices, sizeof(*room));
    Mintmark__Internal__WaitingDevice *d;
    int r;

    if (!room)
        return mm_fail_memory(ei);
    page->devices = room;
    d = mm_message_new(&mintmark__internal__waiting_device__descriptor);
    if (!d)
        return mm_fail_memory(ei);
    room[page->n_devices++] = d;
    d->uid = mm_sql_dup_blob(q, 1);
    d->hw_serial = mm_sql_dup_text(q, 3);
    d->number = mm_sql_uint(q, 4);
    d->begun = mm_sql_int(q, 5) != 0;
    d->attempts = (uint32_t)mm_sql_uint(q, 6);
    d->request = mm_sql_uint(q, 7);
    d->username = mm_sql_dup_text(q, 8);
    r = dup_csr(mm_sql_blob(q, 2), &d->csr, ei);
    return r < 0 ? r : mm_sql_end(q, ei);
}

static int read_due(struct mm_store *s, const Mintmark__Internal__TakeWaiting *job, int64_t profile,
                    Mintmark__Internal__WaitingPage *page, int64_t rows[MM_CHUNK_DEVICES],
                    struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENTS_DUE);
    int r;

    mm_sql_bind_int(&q, profile);
    mm_sql_bind_int(&q, job->now_ms);
    mm_sql_bind_uint(&q, job->limit);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        rows[page->n_devices] = mm_sql_int(&q, 0);
        r = add_waiting(&q, page, ei);
        if (r < 0)
            return r;
    }
    return r;
}

static int give_out(struct mm_store *s, const Mintmark__Internal__TakeWaiting *job,
                    const int64_t *rows, size_t n, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_GIVE_OUT);
    int r = MM_OK;

    mm_sql_bind_int(&q, job->next_time_ms);
    for (size_t i = 0; r == MM_OK && i < n; i++) {
        mm_sql_bind_int(&q, rows[i]);
        r = mm_sql_run(&q, ei);
        mm_sql_again(&q, 1);
    }
    return r;
}

static int find_profile(struct mm_store *s, const char *name, int64_t *ret_row,
                        struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_PROFILE_FIND);
    int r;

    mm_sql_bind_text(&q, name);
    r = mm_sql_step(&q, ei);
    if (r == 1)
        *ret_row = mm_sql_int(&q, 0);
    return r;
}

static int find_next(struct mm_store *s, int64_t profile, int64_t *ret_next_ms,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENTS_NEXT);
    int r;

    mm_sql_bind_int(&q, profile);
    r = mm_sql_step(&q, ei);
    if (r == 1)
        *ret_next_ms = mm_sql_int(&q, 0);
    return r < 0 ? r : MM_OK;
}

static int take_waiting(struct mm_store *s, const Mintmark__Internal__TakeWaiting *job,
                        Mintmark__Internal__WaitingPage *page, struct mm_errinfo *ei)
{
    int64_t rows[MM_CHUNK_DEVICES], profile = 0;
    int r = find_profile(s, job->profile, &profile, ei);

    if (r <= 0) /* nothing was ever recorded of it */
        return r;
    r = read_due(s, job, profile, page, rows, ei);
    if (r == MM_OK)
        r = give_out(s, job, rows, page->n_devices, ei);
    return r < 0 ? r : find_next(s, profile, &page->next_time_ms, ei);
}

int mm_store_take_waiting(struct mm_store *s, const Mintmark__Internal__TakeWaiting *job,
                          Mintmark__Internal__WaitingPage **ret_page, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__WaitingPage *page =
        mm_message_new(&mintmark__internal__waiting_page__descriptor);
    int r;

    if (!page)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, take_waiting(s, job, page, ei), ei);
    if (r < 0)
        return r;
    *ret_page = MM_TAKE(page);
    return MM_OK;
}

/* ---- one device -------------------------------------------------------------------------- */

/* q stands on the row then, for more of it: bundle, key, certificate. */
static int find(struct mm_sql *q, const ProtobufCBinaryData *uid, struct mm_enrolment_row *ret_e,
                struct mm_errinfo *ei)
{
    MM_FREE char *batch_uid = NULL;
    int r;

    mm_sql_bind_blob(q, uid->data, uid->len);
    r = mm_sql_step(q, ei);
    if (r == 0)
        return mm_device_fail_unknown(uid, ei);
    if (r < 0)
        return r;
    *ret_e = (struct mm_enrolment_row){
        .device = mm_sql_int(q, 0),
        .profile = mm_sql_int(q, 1),
        .request = mm_sql_int(q, 2),
        .state = (Mintmark__V1__CertificateState)mm_sql_int(q, 3),
        .batch_open = mm_sql_int(q, 9) == MINTMARK__V1__BATCH_STATE__BATCH_STATE_OPEN,
    };
    batch_uid = mm_sql_dup_uuid(q, 8);
    mm_sql_copy_text(q, 10, ret_e->order_id, sizeof(ret_e->order_id));
    if (batch_uid)
        snprintf(ret_e->batch_uid, sizeof(ret_e->batch_uid), "%s", batch_uid);
    return mm_sql_end(q, ei);
}

int mm_enrolment_find(struct mm_store *s, const ProtobufCBinaryData *uid,
                      struct mm_enrolment_row *ret_e, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_FIND);

    return find(&q, uid, ret_e, ei);
}

int mm_enrolment_fail_state(const struct mm_enrolment_row *e, const ProtobufCBinaryData *uid,
                            const char *reason, struct mm_errinfo *ei)
{
    static const char *const is[] = {"is none", "waits", "has its certificate", "has failed",
                                     "is parked"};
    char text[MM_UID_LEN + 1];

    mm_uuid_format(uid->data, text);
    return mm_fail(ei, MM_ERR_PRECONDITION, reason, "device %s %s", text, is[e->state]);
}

int mm_enrolment_settle(struct mm_store *s, const struct mm_enrolment_row *e,
                        Mintmark__V1__CertificateState state,
                        const struct mm_certificate_id *certificate, const char *text,
                        struct mm_errinfo *ei)
{
    const struct mm_certificate_id none = {0}, *c = certificate ? certificate : &none;
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_SETTLE);

    mm_sql_bind_int(&q, e->device);
    mm_sql_bind_int(&q, state);
    mm_sql_bind_int(&q, e->request);
    mm_sql_bind_blob_or_null(&q, c->issuer.data, c->issuer.len);
    mm_sql_bind_blob_or_null(&q, c->serial.data, c->serial.len);
    mm_sql_bind_text(&q, text);
    return mm_sql_run(&q, ei);
}

/* ---- certified --------------------------------------------------------------------------- */

/* The bundle as it is delivered: the certificate stands where the request stood. */
static int put_certificate(struct mm_store *s, int64_t device, struct mm_bytes bundle,
                           struct mm_bytes certificate, int64_t chain, struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(MM_BUNDLE_MAX);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_CERTIFY);
    Mintmark__V1__Bundle *b;
    uint8_t *to;
    int r = mm_bundle_unpack(bundle, &arena, &b, ei);

    if (r < 0)
        return r;
    b->csr = (ProtobufCBinaryData){0};
    b->certificate = (ProtobufCBinaryData){certificate.len, (uint8_t *)(uintptr_t)certificate.data};
    to = mm_buf_reserve(&packed, mintmark__v1__bundle__get_packed_size(b));
    if (to)
        mm_buf_grew(&packed, mintmark__v1__bundle__pack(b, to));
    else if (mm_buf_err(&packed) == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    else
        return mm_fail(ei, MM_ERR_TOO_BIG, "CERTIFICATE_MALFORMED",
                       "the bundle with the certificate is over %d bytes", MM_BUNDLE_MAX);
    mm_sql_bind_int(&q, device);
    mm_sql_bind_blob(&q, packed.data, packed.len);
    mm_chain_bind(&q, chain);
    return mm_sql_run(&q, ei);
}

/* As a wrong one of another device: then it must not be delivered. */
static int check_not_revoked(struct mm_store *s, const struct mm_certificate_id *id,
                             struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATION_KNOWN);
    int r;

    mm_sql_bind_blob(&q, id->serial.data, id->serial.len);
    mm_sql_bind_blob(&q, id->issuer.data, id->issuer.len);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    return mm_fail(ei, MM_ERR_EXISTS, "CERTIFICATE_REVOKED",
                   "the certificate is revoked, or about to be");
}

static int check_new(struct mm_store *s, const struct mm_certificate_id *id, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_KNOWN);
    int r;

    mm_sql_bind_blob(&q, id->serial.data, id->serial.len);
    mm_sql_bind_blob(&q, id->issuer.data, id->issuer.len);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r < 0 ? r : check_not_revoked(s, id, ei);
    return mm_fail(ei, MM_ERR_EXISTS, "CERTIFICATE_KNOWN",
                   "another device has a certificate with this issuer and serial number");
}

static bool same(struct mm_bytes a, const uint8_t *data, size_t len)
{
    return a.len == len && memcmp(a.data, data, len) == 0;
}

/* 1: it has this very certificate already. */
static int check_certificate(struct mm_store *s, struct mm_sql *q, const struct mm_enrolment_row *e,
                             const ProtobufCBinaryData *uid, const struct mm_certificate_id *id,
                             struct mm_errinfo *ei)
{
    if (e->state == STATE(ISSUED) && same(mm_sql_blob(q, 4), id->issuer.data, id->issuer.len) &&
        same(mm_sql_blob(q, 5), id->serial.data, id->serial.len))
        return 1;
    if (e->state != STATE(WAITING) && e->state != STATE(PARKED))
        return mm_enrolment_fail_state(e, uid, "NOT_WAITING", ei);
    if (!same(mm_sql_blob(q, 6), id->spki_sha256, sizeof(id->spki_sha256)))
        return mm_fail(ei, MM_ERR_INVALID, "CERTIFICATE_KEY",
                       "the certificate is for another key than the device's");
    return check_new(s, id, ei);
}

/* One of a job: what is wrong with it is in its answer, and what else fails fails the job. */
struct certifying {
    struct mm_store *store;
    int64_t chain; /* its row */
    Mintmark__V1__Certified event;
    Mintmark__V1__CertifiedDevice devices[MM_CHUNK_DEVICES], *pointers[MM_CHUNK_DEVICES];
    uint8_t serials[MM_CHUNK_DEVICES][20];
    uint8_t hashes[MM_CHUNK_DEVICES][2][MM_SHA256_BYTES];
};

static int note_certified(struct certifying *c,
                          const Mintmark__Internal__CertifyDevices__Certificate *given,
                          const struct mm_certificate_id *id, struct mm_errinfo *ei)
{
    const size_t i = c->event.n_devices;
    Mintmark__V1__CertifiedDevice *d = &c->devices[i];
    int r = mm_ledger_hash(c->store, id->issuer, c->hashes[i][0], ei);

    if (r == MM_OK)
        r = mm_ledger_hash(c->store,
                           (struct mm_bytes){given->certificate.data, given->certificate.len},
                           c->hashes[i][1], ei);
    if (r < 0)
        return r;
    memcpy(c->serials[i], id->serial.data, id->serial.len);
    mintmark__v1__certified_device__init(d);
    d->uid = given->uid;
    d->serial = (ProtobufCBinaryData){id->serial.len, c->serials[i]};
    d->issuer_sha256 = (ProtobufCBinaryData){MM_SHA256_BYTES, c->hashes[i][0]};
    d->certificate_sha256 = (ProtobufCBinaryData){MM_SHA256_BYTES, c->hashes[i][1]};
    c->pointers[c->event.n_devices++] = d;
    return MM_OK;
}

static int certify_one(struct certifying *c,
                       const Mintmark__Internal__CertifyDevices__Certificate *given,
                       Mintmark__Internal__Settled *settled, struct mm_errinfo *ei)
{
    struct mm_store *s = c->store;
    const struct mm_bytes der = {given->certificate.data, given->certificate.len};
    struct mm_certificate_id id = {0};
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_FIND);
    struct mm_enrolment_step step = {.certified = 1};
    struct mm_enrolment_row e = {0};
    int r = mm_certificate_read(s, der, &id, ei);

    if (r == MM_OK)
        r = find(&q, &given->uid, &e, ei);
    if (r == MM_OK)
        settled->request = (uint64_t)e.request;
    if (r == MM_OK)
        r = check_certificate(s, &q, &e, &given->uid, &id, ei);
    if (r == 1)
        return mm_enrolment_count(s, &e, (struct mm_enrolment_step){0}, &settled->counts, ei);
    if (r == MM_OK)
        r = put_certificate(s, e.device, mm_sql_blob(&q, 7), der, c->chain, ei);
    if (r == MM_OK)
        r = mm_enrolment_settle(s, &e, STATE(ISSUED), &id, "", ei);
    step.waiting = e.state == STATE(WAITING) ? -1 : 0;
    step.parked = e.state == STATE(PARKED) ? -1 : 0;
    if (r == MM_OK)
        r = mm_enrolment_count(s, &e, step, &settled->counts, ei);
    return r < 0 ? r : note_certified(c, given, &id, ei);
}

/* Refusals that are about the one certificate. All come before anything is written. */
static bool is_refusal(int r)
{
    return r == MM_ERR_INVALID || r == MM_ERR_NOT_FOUND || r == MM_ERR_PRECONDITION ||
           r == MM_ERR_EXISTS || r == MM_ERR_TOO_BIG;
}

static Mintmark__Internal__Error *dup_error(const struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Error *error =
        mm_message_new(&mintmark__internal__error__descriptor);

    if (!error)
        return NULL;
    error->code = ei->code;
    error->reason = strdup(ei->reason);
    error->text = strdup(ei->text);
    return error->reason && error->text ? MM_TAKE(error) : NULL;
}

static int certify(struct certifying *c, const Mintmark__Internal__CertifyDevices *job,
                   Mintmark__Internal__Certified *certified, struct mm_errinfo *ei)
{
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(CERTIFIED, certified, &c->event);
    int r = mm_chain_record(c->store, &job->chain, &job->chain_sha256, &c->chain, ei);

    for (size_t i = 0; r == MM_OK && i < job->n_certificates; i++) {
        Mintmark__Internal__Settled **room =
            mm_message_room(certified->devices, certified->n_devices, sizeof(*room));
        Mintmark__Internal__Settled *settled;

        if (!room)
            return mm_fail_memory(ei);
        certified->devices = room;
        settled = mm_message_new(&mintmark__internal__settled__descriptor);
        if (!settled)
            return mm_fail_memory(ei);
        room[certified->n_devices++] = settled;
        r = certify_one(c, job->certificates[i], settled, ei);
        if (is_refusal(r)) {
            settled->error = dup_error(ei);
            r = settled->error ? MM_OK : mm_fail_memory(ei);
        }
    }
    if (r < 0 || c->event.n_devices == 0)
        return r;
    c->event.devices = c->pointers;
    return mm_ledger_append(c->store, &record, ei);
}

int mm_store_certify(struct mm_store *s, const Mintmark__Internal__CertifyDevices *job,
                     Mintmark__Internal__Certified **ret_certified, struct mm_errinfo *ei)
{
    struct certifying c = {.store = s, .event = MINTMARK__V1__CERTIFIED__INIT};
    MM_MESSAGE_CLEANUP Mintmark__Internal__Certified *certified =
        mm_message_new(&mintmark__internal__certified__descriptor);
    int r;

    if (!certified)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, certify(&c, job, certified, ei), ei);
    if (r < 0)
        return r;
    *ret_certified = MM_TAKE(certified);
    return MM_OK;
}
