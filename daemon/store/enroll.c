/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys that devices made. The token cannot promise that such a key is new, so the store does: a key
 * is enrolled once, in one request, for one hardware serial number. The lookup, the spending and
 * the record are one transaction.
 */
#include "daemon/base/text.h"
#include "daemon/store/chains.h"
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <string.h>

/* One job at work. */
struct enrolling {
    struct mm_store *store;
    const Mintmark__Internal__SpendAndRecord *job;
    int64_t request; /* its row; 0: nothing is recorded under it yet */
    int64_t profile; /* its row */
    Mintmark__Internal__DeviceRecord *fresh[MM_ENROLL_DEVICES]; /* to be recorded */
    size_t n_fresh;
    Mintmark__Internal__Enrolled *enrolled;
    int64_t chains[MM_ENROLL_DEVICES]; /* rows of enrolled->chains */
};

static int refuse(const char *reason, const char *field, const char *text,
                  Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    Mintmark__Internal__Error *error = mm_message_new(&mintmark__internal__error__descriptor);

    if (!error)
        return mm_fail_memory(ei);
    key->error = error;
    error->code = MM_ERR_EXISTS;
    error->reason = strdup(reason);
    error->field = strdup(field);
    error->text = strdup(text);
    return error->reason && error->field && error->text ? MM_OK : mm_fail_memory(ei);
}

static int refuse_key(Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    return refuse("KEY_REUSED", "csr", "the key was enrolled before", key, ei);
}

static int refuse_serial(Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    return refuse("DUPLICATE_HW_SERIAL", "hw_serial",
                  "another device has this hardware serial number", key, ei);
}

static int give_again(struct mm_bytes bundle, Mintmark__Internal__EnrolledKey *key,
                      struct mm_errinfo *ei)
{
    key->bundle.data = malloc(bundle.len);
    if (!key->bundle.data)
        return mm_fail_memory(ei);
    memcpy(key->bundle.data, bundle.data, bundle.len);
    key->bundle.len = bundle.len;
    return MM_OK;
}

static bool same_key(const Mintmark__Internal__DeviceRecord *a,
                     const Mintmark__Internal__DeviceRecord *b)
{
    return memcmp(a->spki_sha256.data, b->spki_sha256.data, a->spki_sha256.len) == 0;
}

/* The same, of a device of this job. */
static int repeat(const struct enrolling *e, const Mintmark__Internal__DeviceRecord *first,
                  Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    char uid[MM_UID_LEN + 1];

    if (!e->job->waiting)
        return give_again((struct mm_bytes){first->bundle.data, first->bundle.len}, key, ei);
    key->withheld = mm_message_new(&mintmark__v1__withheld__descriptor);
    if (!key->withheld)
        return mm_fail_memory(ei);
    mm_uuid_format(first->uid.data, uid);
    key->withheld->device_uid = strdup(uid);
    key->withheld->hw_serial = strdup(first->hw_serial);
    key->withheld->number = first->number;
    key->withheld->state = MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING;
    key->withheld->next_time_ms = e->job->waiting->next_time_ms;
    return key->withheld->device_uid && key->withheld->hw_serial ? MM_OK : mm_fail_memory(ei);
}

/* 1: judged by a device of the same job that comes before it. */
static int judge_by_job(const struct enrolling *e, const Mintmark__Internal__DeviceRecord *d,
                        Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < e->n_fresh; i++) {
        const Mintmark__Internal__DeviceRecord *first = e->fresh[i];
        const bool same_serial = strcmp(first->hw_serial, d->hw_serial) == 0;
        int r = 1;

        if (same_key(first, d) && same_serial)
            r = repeat(e, first, key, ei);
        else if (same_key(first, d))
            r = refuse_key(key, ei);
        else if (same_serial && *d->hw_serial)
            r = refuse_serial(key, ei);
        else
            continue;
        return r < 0 ? r : 1;
    }
    return 0;
}

/* The chain that a bundle was recorded with. */
static int name_chain(struct enrolling *e, int64_t row, Mintmark__Internal__EnrolledKey *key,
                      struct mm_errinfo *ei)
{
    Mintmark__Internal__Enrolled *enrolled = e->enrolled;
    Mintmark__Internal__Chain *chain = NULL, **room;
    size_t i = 0;
    int r;

    while (i < enrolled->n_chains && e->chains[i] != row)
        i++;
    key->chain = row ? (uint32_t)i + 1 : 0;
    if (!row || i < enrolled->n_chains)
        return MM_OK;
    room = mm_message_room(enrolled->chains, enrolled->n_chains, sizeof(*room));
    if (!room)
        return mm_fail_memory(ei);
    enrolled->chains = room;
    r = mm_chain_get(e->store, row, &chain, ei);
    if (r < 0)
        return r;
    e->chains[i] = row;
    room[enrolled->n_chains++] = chain;
    return MM_OK;
}

/* 1: judged by the keys enrolled before. */
static int judge_by_keys(struct enrolling *e, const Mintmark__Internal__DeviceRecord *d,
                         Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(e->store, MM_SQL_KEY_FIND);
    struct mm_bytes serial;
    bool own;
    int r;

    mm_sql_bind_blob(&q, d->spki_sha256.data, d->spki_sha256.len);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    serial = mm_sql_blob(&q, 1);
    own = mm_sql_int(&q, 0) == e->request && serial.len == strlen(d->hw_serial) &&
          memcmp(serial.len ? serial.data : (const uint8_t *)"", d->hw_serial, serial.len) == 0;
    r = own ? mm_withheld_find(e->store, mm_sql_blob(&q, 3), &key->withheld, ei)
            : refuse_key(key, ei);
    if (own && r == 0)
        r = give_again(mm_sql_blob(&q, 2), key, ei);
    if (r == 0 && key->bundle.len > 0)
        r = name_chain(e, mm_chain_column(&q, 4), key, ei);
    if (r >= 0)
        r = mm_sql_end(&q, ei);
    return r < 0 ? r : 1;
}

static int judge_by_serials(const struct enrolling *e, const Mintmark__Internal__DeviceRecord *d,
                            Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    int64_t holder;
    int r = *d->hw_serial ? mm_hw_serial_find(e->store, e->profile, d->hw_serial, &holder, ei) : 0;

    if (r <= 0)
        return r;
    r = refuse_serial(key, ei);
    return r < 0 ? r : 1;
}

/* Those that nothing speaks against are fresh. */
static int judge(struct enrolling *e, Mintmark__Internal__DeviceRecord *d,
                 Mintmark__Internal__EnrolledKey *key, struct mm_errinfo *ei)
{
    int r = judge_by_job(e, d, key, ei);

    if (r == 0)
        r = judge_by_keys(e, d, key, ei);
    if (r == 0)
        r = judge_by_serials(e, d, key, ei);
    if (r == 0)
        e->fresh[e->n_fresh++] = d;
    return r < 0 ? r : MM_OK;
}

static int judge_all(struct enrolling *e, Mintmark__Internal__Enrolled *enrolled,
                     struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < e->job->n_devices; i++) {
        Mintmark__Internal__EnrolledKey **room =
            mm_message_room(enrolled->keys, enrolled->n_keys, sizeof(*room));
        Mintmark__Internal__EnrolledKey *key;

        if (!room)
            return mm_fail_memory(ei);
        enrolled->keys = room;
        key = mm_message_new(&mintmark__internal__enrolled_key__descriptor);
        if (!key)
            return mm_fail_memory(ei);
        room[enrolled->n_keys++] = key;
        r = judge(e, e->job->devices[i], key, ei);
    }
    return r;
}

static int add_keys(const struct enrolling *e, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(e->store, MM_SQL_KEY_ADD);
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < e->n_fresh; i++) {
        const Mintmark__Internal__DeviceRecord *d = e->fresh[i];

        mm_sql_bind_blob(&q, d->spki_sha256.data, d->spki_sha256.len);
        mm_sql_bind_blob(&q, d->uid.data, d->uid.len);
        r = mm_sql_run(&q, ei);
        mm_sql_again(&q, 0);
    }
    return r;
}

static int spend(const struct enrolling *e, Mintmark__Internal__Enrolled *enrolled,
                 struct mm_errinfo *ei)
{
    Mintmark__Internal__SpendAndRecord fresh = *e->job;
    int r;

    if (e->n_fresh == 0)
        return MM_OK;
    fresh.devices = (Mintmark__Internal__DeviceRecord **)(uintptr_t)e->fresh;
    fresh.n_devices = e->n_fresh;
    enrolled->recorded = mm_message_new(&mintmark__internal__recorded__descriptor);
    if (!enrolled->recorded)
        return mm_fail_memory(ei);
    r = mm_spend(e->store, &fresh, MINTMARK__V1__SPEND_KIND__SPEND_KIND_ENROLL, enrolled->recorded,
                 ei);
    return r < 0 ? r : add_keys(e, ei);
}

static int enroll(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                  Mintmark__Internal__Enrolled *enrolled, struct mm_errinfo *ei)
{
    struct enrolling e = {.store = s, .job = job, .enrolled = enrolled};
    struct mm_request_row request = {0};
    struct mm_batch_row batch;
    int r = mm_batch_find(s, job->batch_uid, &batch, ei);

    if (r == MM_OK)
        r = mm_request_find(s, job->station, job->request_id, &job->digest, &request, ei);
    if (r < 0)
        return r;
    e.request = request.row;
    e.profile = batch.order.profile;
    r = judge_all(&e, enrolled, ei);
    return r < 0 ? r : spend(&e, enrolled, ei);
}

int mm_store_enroll_and_record(struct mm_store *s, const Mintmark__Internal__EnrollAndRecord *job,
                               Mintmark__Internal__Enrolled **ret_enrolled, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__Enrolled *enrolled =
        mm_message_new(&mintmark__internal__enrolled__descriptor);
    int r;

    if (!enrolled)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, enroll(s, job->spend, enrolled, ei), ei);
    if (r < 0)
        return r;
    *ret_enrolled = MM_TAKE(enrolled);
    return MM_OK;
}
