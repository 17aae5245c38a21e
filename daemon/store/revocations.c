/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates that the authority is to revoke: recorded, given out, and given out again until it
 * has taken them in. */
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

#include <string.h>

/* What is to be revoked, within the verb under way. */
struct revocation {
    int64_t device, profile; /* rows */
    struct mm_bytes uid, issuer, serial;
    Mintmark__V1__RevocationReason reason;
    const char *by;
    int64_t now_ms;
};

static int note(struct mm_store *s, const struct revocation *v, struct mm_errinfo *ei)
{
    Mintmark__V1__Revoked event = MINTMARK__V1__REVOKED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(REVOKED, revoked, &event);
    uint8_t issuer[MM_SHA256_BYTES];
    const int r = mm_ledger_hash(s, v->issuer, issuer, ei);

    if (r < 0)
        return r;
    event.uid = (ProtobufCBinaryData){v->uid.len, (uint8_t *)(uintptr_t)v->uid.data};
    event.serial = (ProtobufCBinaryData){v->serial.len, (uint8_t *)(uintptr_t)v->serial.data};
    event.issuer_sha256 = (ProtobufCBinaryData){sizeof(issuer), issuer};
    event.reason = v->reason;
    event.by = (char *)(uintptr_t)v->by;
    return mm_ledger_append(s, &record, ei);
}

/* MM_ERR_EXISTS ALREADY_REVOKED. */
static int add(struct mm_store *s, const struct revocation *v, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATION_ADD);
    int r;

    mm_sql_bind_int(&q, v->device);
    mm_sql_bind_int(&q, v->profile);
    mm_sql_bind_blob(&q, v->issuer.data, v->issuer.len);
    mm_sql_bind_blob(&q, v->serial.data, v->serial.len);
    mm_sql_bind_int(&q, v->reason);
    mm_sql_bind_text(&q, v->by);
    mm_sql_bind_int(&q, v->now_ms);
    r = mm_sql_run(&q, ei);
    if (r < 0)
        return r;
    if (sqlite3_changes(s->db) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "ALREADY_REVOKED",
                       "the certificate is revoked, or about to be, already");
    return note(s, v, ei);
}

/* ---- asked for once more ----------------------------------------------------------------- */

/* 1: there was one more that the authority had refused; it is due now. */
static int again_one(struct mm_store *s, struct revocation *v, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql refused = mm_sql_start(s, MM_SQL_REVOCATION_REFUSED);
    MM_SQL_CLEANUP struct mm_sql due = mm_sql_start(s, MM_SQL_REVOCATION_AGAIN);
    int r;

    mm_sql_bind_int(&refused, v->device);
    r = mm_sql_step(&refused, ei);
    if (r <= 0)
        return r;
    v->issuer = mm_sql_blob(&refused, 1);
    v->serial = mm_sql_blob(&refused, 2);
    v->reason = (Mintmark__V1__RevocationReason)mm_sql_int(&refused, 3);
    r = mm_sql_end(&refused, ei);
    if (r == MM_OK)
        r = note(s, v, ei);
    if (r < 0)
        return r;
    mm_sql_bind_int(&due, mm_sql_int(&refused, 0));
    mm_sql_bind_int(&due, v->now_ms);
    r = mm_sql_run(&due, ei);
    return r < 0 ? r : 1;
}

static int again(struct mm_store *s, struct revocation *v, struct mm_errinfo *ei)
{
    int r = again_one(s, v, ei);

    if (r == 0)
        return mm_fail(ei, MM_ERR_PRECONDITION, "NOT_REFUSED",
                       "no revocation of the device's certificates was refused");
    while (r == 1)
        r = again_one(s, v, ei);
    return r;
}

static int fail_none(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_PRECONDITION, "NO_CERTIFICATE",
                   "the device has no certificate that an authority elsewhere issued");
}

/* What was issued for one device is never another one's own. */
static int check_nobodys(struct mm_store *s, const struct revocation *v, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_KNOWN);
    int r;

    mm_sql_bind_blob(&q, v->serial.data, v->serial.len);
    mm_sql_bind_blob(&q, v->issuer.data, v->issuer.len);
    r = mm_sql_step(&q, ei);
    if (r <= 0 || mm_sql_int(&q, 0) == v->device)
        return r < 0 ? r : MM_OK;
    return mm_fail(ei, MM_ERR_EXISTS, "CERTIFICATE_KNOWN",
                   "the certificate is another device's own, and is not revoked");
}

/* One more of a device is not the one that it has: whoever lists that as another, an authority or
 * an issuer's process, does not get it revoked so. */
static int check_other(const struct revocation *v, struct mm_bytes own, struct mm_errinfo *ei)
{
    if (v->serial.len != own.len || memcmp(v->serial.data, own.data, own.len) != 0)
        return MM_OK;
    return mm_fail(ei, MM_ERR_EXISTS, "CERTIFICATE_KNOWN",
                   "the certificate is the device's own, and not one more");
}

/* The certificate that is the device's; or, with a serial number, one more of it by its issuer. */
static int revoke_own(struct mm_store *s, const ProtobufCBinaryData *uid, struct revocation *v,
                      struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_FIND);
    int r;

    mm_sql_bind_blob(&q, uid->data, uid->len);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 0 || mm_sql_is_null(&q, 5))
        return fail_none(ei);
    v->device = mm_sql_int(&q, 0);
    v->profile = mm_sql_int(&q, 1);
    v->issuer = mm_sql_blob(&q, 4);
    if (v->serial.len == 0)
        v->serial = mm_sql_blob(&q, 5);
    else
        r = check_other(v, mm_sql_blob(&q, 5), ei);
    if (r >= 0)
        r = mm_sql_end(&q, ei);
    if (r == MM_OK)
        r = check_nobodys(s, v, ei);
    return r < 0 ? r : add(s, v, ei);
}

/* One that was issued for the device and is not what was asked for. */
static int revoke_wrong(struct mm_store *s, const ProtobufCBinaryData *uid,
                        struct mm_bytes certificate, struct revocation *v, struct mm_errinfo *ei)
{
    struct mm_certificate_id id = {0};
    struct mm_enrolment_row e;
    int r = mm_enrolment_find(s, uid, &e, ei);

    if (r == MM_OK)
        r = mm_certificate_read(s, certificate, &id, ei);
    if (r < 0)
        return r;
    v->device = e.device;
    v->profile = e.profile;
    v->issuer = id.issuer;
    v->serial = id.serial;
    r = check_nobodys(s, v, ei);
    return r < 0 ? r : add(s, v, ei);
}

static int revoke(struct mm_store *s, const Mintmark__Internal__RevokeDevice *job,
                  struct mm_errinfo *ei)
{
    const struct mm_bytes certificate = {job->certificate.data, job->certificate.len};
    struct revocation v = {
        .uid = {job->uid.data, job->uid.len},
        .serial = {job->serial.data, job->serial.len},
        .reason = job->reason,
        .by = job->by,
        .now_ms = job->now_ms,
    };
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_DEVICE_FIND);
    int r;

    mm_sql_bind_blob(&q, job->uid.data, job->uid.len);
    r = mm_sql_step(&q, ei);
    if (r < 0)
        return r;
    if (r == 0)
        return mm_device_fail_unknown(&job->uid, ei);
    v.device = mm_sql_int(&q, 0);
    if (job->again)
        return again(s, &v, ei);
    return certificate.len > 0 ? revoke_wrong(s, &job->uid, certificate, &v, ei)
                               : revoke_own(s, &job->uid, &v, ei);
}

static int find_next(struct mm_store *s, Mintmark__Internal__RevocationsPage *page,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATIONS_NEXT);
    int r = mm_sql_step(&q, ei);

    if (r == 1) {
        page->next_time_ms = mm_sql_int(&q, 0);
        page->pending = mm_sql_uint(&q, 1);
        page->refused = mm_sql_uint(&q, 2);
    }
    return r < 0 ? r : mm_sql_end(&q, ei);
}

/* Ends a verb that has been begun and came to r: what is to be done next goes with the answer. */
static int finish(struct mm_store *s, int r, Mintmark__Internal__RevocationsPage **ret_page,
                  struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__RevocationsPage *page =
        mm_message_new(&mintmark__internal__revocations_page__descriptor);

    if (r == MM_OK)
        r = page ? find_next(s, page, ei) : mm_fail_memory(ei);
    r = mm_sql_verb_finish(s, r, ei);
    if (r < 0)
        return r;
    *ret_page = MM_TAKE(page);
    return MM_OK;
}

int mm_store_revoke(struct mm_store *s, const Mintmark__Internal__RevokeDevice *job,
                    Mintmark__Internal__RevocationsPage **ret_page, struct mm_errinfo *ei)
{
    const int r = mm_sql_verb_begin(s, ei);

    return r < 0 ? r : finish(s, revoke(s, job, ei), ret_page, ei);
}

int mm_revoke_reported(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                       const ProtobufCBinaryData *uid, struct mm_errinfo *ei)
{
    struct revocation v = {
        .uid = {uid->data, uid->len},
        .reason = MINTMARK__V1__REVOCATION_REASON__REVOCATION_REASON_CESSATION_OF_OPERATION,
        .by = job->station,
        .now_ms = job->now_ms,
    };
    struct mm_errinfo why = {0};
    const int r = revoke_own(s, uid, &v, &why);

    if (r == MM_OK || r == MM_ERR_PRECONDITION || r == MM_ERR_EXISTS)
        return MM_OK;
    *ei = why;
    return r;
}

/* ---- given out --------------------------------------------------------------------------- */

static int add_due(struct mm_sql *q, Mintmark__Internal__RevocationsPage *page,
                   struct mm_errinfo *ei)
{
    Mintmark__Internal__PendingRevocation **room =
        mm_message_room(page->revocations, page->n_revocations, sizeof(*room));
    Mintmark__Internal__PendingRevocation *v;

    if (!room)
        return mm_fail_memory(ei);
    page->revocations = room;
    v = mm_message_new(&mintmark__internal__pending_revocation__descriptor);
    if (!v)
        return mm_fail_memory(ei);
    room[page->n_revocations++] = v;
    v->row = mm_sql_uint(q, 0);
    v->profile = mm_sql_dup_text(q, 1);
    v->serial = mm_sql_dup_blob(q, 2);
    v->reason = (Mintmark__V1__RevocationReason)mm_sql_int(q, 3);
    v->attempts = (uint32_t)mm_sql_uint(q, 4);
    v->issuer_name = mm_sql_dup_blob(q, 5);
    v->uid = mm_sql_dup_blob(q, 6);
    return mm_sql_end(q, ei);
}

static int read_due(struct mm_store *s, const Mintmark__Internal__TakeRevocations *job,
                    Mintmark__Internal__RevocationsPage *page, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATIONS_DUE);
    int r;

    mm_sql_bind_int(&q, job->now_ms);
    mm_sql_bind_uint(&q, job->limit);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        r = add_due(&q, page, ei);
        if (r < 0)
            return r;
    }
    return r;
}

static int give_out(struct mm_store *s, const Mintmark__Internal__RevocationsPage *page,
                    int64_t next_time_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATION_GIVE_OUT);
    int r = MM_OK;

    mm_sql_bind_int(&q, next_time_ms);
    for (size_t i = 0; r == MM_OK && i < page->n_revocations; i++) {
        mm_sql_bind_uint(&q, page->revocations[i]->row);
        r = mm_sql_run(&q, ei);
        mm_sql_again(&q, 1);
    }
    return r;
}

int mm_store_take_revocations(struct mm_store *s, const Mintmark__Internal__TakeRevocations *job,
                              Mintmark__Internal__RevocationsPage **ret_page, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__RevocationsPage *page =
        mm_message_new(&mintmark__internal__revocations_page__descriptor);
    int r;

    if (!page)
        return mm_fail_memory(ei);
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = read_due(s, job, page, ei);
    if (r == MM_OK)
        r = give_out(s, page, job->next_time_ms, ei);
    if (r == MM_OK)
        r = find_next(s, page, ei);
    r = mm_sql_verb_finish(s, r, ei);
    if (r < 0)
        return r;
    *ret_page = MM_TAKE(page);
    return MM_OK;
}

static int end(struct mm_store *s, const Mintmark__Internal__EndRevocation *job,
               struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATION_END);
    int r;

    mm_sql_bind_uint(&q, job->row);
    if (job->done)
        mm_sql_bind_int(&q, job->now_ms);
    else
        mm_sql_bind_text_or_null(&q, "");
    mm_sql_bind_int(&q, job->next_time_ms);
    mm_sql_bind_text(&q, job->text);
    mm_sql_bind_int(&q, job->refused && !job->done);
    r = mm_sql_run(&q, ei);
    if (r == MM_OK && sqlite3_changes(s->db) == 0)
        r = mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_REVOCATION", "there is no such revocation");
    return r;
}

int mm_store_end_revocation(struct mm_store *s, const Mintmark__Internal__EndRevocation *job,
                            Mintmark__Internal__RevocationsPage **ret_page, struct mm_errinfo *ei)
{
    const int r = mm_sql_verb_begin(s, ei);

    return r < 0 ? r : finish(s, end(s, job, ei), ret_page, ei);
}
