/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/job.h"

#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "daemon/document/document.h"
#include "proto/grpc/unpack.h"

#include <string.h>

enum { UID_BYTES = 16, DIGEST_BYTES = 32, SERIAL_BYTES_MAX = 20 };

int mm_job_unpack(struct mm_bytes payload, struct mm_arena *arena,
                  Mintmark__Internal__StoreJob **ret_job, struct mm_errinfo *ei)
{
    ProtobufCMessage *message;
    const int r = mm_grpc_unpack(&mintmark__internal__store_job__descriptor, payload.data,
                                 payload.len, arena, &message, ei);

    if (r == MM_OK)
        *ret_job = (Mintmark__Internal__StoreJob *)message;
    return r;
}

/*
 * The checks of one message read like its fields. The first that fails sticks, and the rest are
 * passed over.
 */
struct check {
    struct mm_errinfo *ei;
    int r;
};

static void want(struct check *c, bool good, const char *field, const char *what)
{
    if (c->r == MM_OK && !good)
        c->r = mm_fail_field(c->ei, field, "%s is not %s", field, what);
}

static void name(struct check *c, const char *field, const char *value)
{
    want(c, mm_name_valid(value, MM_NAME_MAX), field, "a name");
}

static void uuid_text(struct check *c, const char *field, const char *value)
{
    uint8_t uuid[UID_BYTES];

    want(c, mm_uuid_parse(value, uuid) == MM_OK, field, "a UUID");
}

static void bytes(struct check *c, const char *field, const ProtobufCBinaryData *value, size_t min,
                  size_t max)
{
    want(c, value->len >= min && value->len <= max, field, "of the right length");
}

static void range(struct check *c, const char *field, uint64_t value, uint64_t min, uint64_t max)
{
    want(c, value >= min && value <= max, field, "in its range");
}

static void time_ms(struct check *c, const char *field, int64_t value)
{
    want(c, value >= 0, field, "a time");
}

/* Printable ASCII, as the API says. */
static void hw_serial(struct check *c, const char *field, const char *value, size_t min)
{
    size_t len = 0;

    while (value[len] >= 0x20 && value[len] < 0x7f)
        len++;
    want(c, !value[len] && len >= min && len <= MM_HW_SERIAL_MAX, field,
         "1 to 64 printable ASCII characters");
}

static void check_nonce(struct check *c, const Mintmark__Internal__AddNonce *a)
{
    bytes(c, "nonce", &a->nonce, MM_NONCE_BYTES, MM_NONCE_BYTES);
    bytes(c, "document", &a->document, 1, MM_DOCUMENT_MAX);
    time_ms(c, "now_ms", a->now_ms);
    name(c, "by", a->by);
}

/* The document itself is read by import.c and change.c; its size has a reason of its own there. */
static void check_import(struct check *c, const ProtobufCBinaryData *document, int64_t now_ms,
                         const char *by)
{
    want(c, document->len > 0, "document", "there");
    time_ms(c, "now_ms", now_ms);
    name(c, "by", by);
}

static void check_change(struct check *c, const Mintmark__Internal__ChangeOrder *o)
{
    const Mintmark__V1__OrderLimits *l = o->limits;

    name(c, "order_id", o->order_id);
    range(c, "action", (uint64_t)o->action, MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_SUSPEND,
          MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER);
    if (o->action == MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER) {
        want(c, l && (l->quantity || l->not_after_time_ms || l->per_batch_max || l->per_day_max),
             "limits", "there");
        if (!l)
            return;
        range(c, "limits.quantity", l->quantity, 0, MM_ORDER_QUANTITY_MAX);
        time_ms(c, "limits.not_after_time_ms", l->not_after_time_ms);
        range(c, "limits.per_batch_max", l->per_batch_max, 0, MM_ORDER_QUANTITY_MAX);
        range(c, "limits.per_day_max", l->per_day_max, 0, MM_ORDER_QUANTITY_MAX);
    }
    range(c, "reason", strlen(o->reason), 0, MM_REASON_TEXT_MAX);
    time_ms(c, "now_ms", o->now_ms);
    name(c, "by", o->by);
}

static void check_batch(struct check *c, const Mintmark__V1__Batch *b)
{
    want(c, b, "batch", "there");
    if (!b)
        return;
    uuid_text(c, "batch_uid", b->batch_uid);
    name(c, "name", b->name);
    name(c, "profile", b->profile);
    name(c, "device_type", b->device_type);
    range(c, "quantity", b->quantity, 1, MM_BATCH_QUANTITY_MAX);
    range(c, "heads", b->heads, 1, MM_HEADS_MAX);
    name(c, "order_id", b->order_id);
    name(c, "station", b->station);
    time_ms(c, "opened_time_ms", b->opened_time_ms);
}

static void check_find(struct check *c, const Mintmark__Internal__FindRequest *f)
{
    name(c, "station", f->station);
    name(c, "request_id", f->request_id);
    bytes(c, "digest", &f->digest, DIGEST_BYTES, DIGEST_BYTES);
    range(c, "hw_serials", f->n_hw_serials, 0, MM_PROVISION_MAX);
    if (f->n_hw_serials > 0)
        uuid_text(c, "batch_uid", f->batch_uid);
    for (size_t i = 0; c->r == MM_OK && i < f->n_hw_serials; i++)
        hw_serial(c, "hw_serials", f->hw_serials[i], 1);
}

static void check_fetch(struct check *c, const Mintmark__Internal__FetchRequest *f)
{
    name(c, "station", f->station);
    name(c, "request_id", f->request_id);
    range(c, "after_row", f->after_row, 0, INT64_MAX);
    range(c, "limit", f->limit, 1, MM_CHUNK_DEVICES);
}

static void check_device(struct check *c, const Mintmark__Internal__DeviceRecord *d)
{
    bytes(c, "devices.bundle", &d->bundle, 1, MM_BUNDLE_MAX);
    bytes(c, "devices.uid", &d->uid, UID_BYTES, UID_BYTES);
    range(c, "devices.number", d->number, 1, INT64_MAX - 1);
    hw_serial(c, "devices.hw_serial", d->hw_serial, 0);
    bytes(c, "devices.spki_sha256", &d->spki_sha256, DIGEST_BYTES, DIGEST_BYTES);
    bytes(c, "devices.serial", &d->serial, 0, SERIAL_BYTES_MAX);
    range(c, "devices.username", strlen(d->username), 0, MM_ISSUER_NAME_MAX);
}

/* Devices whose certificates come from elsewhere have none yet. */
static void check_waiting(struct check *c, const Mintmark__Internal__SpendAndRecord *s)
{
    time_ms(c, "waiting.next_time_ms", s->waiting->next_time_ms);
    range(c, "waiting.max", s->waiting->max, 1, INT64_MAX);
    for (size_t i = 0; c->r == MM_OK && i < s->n_devices; i++)
        bytes(c, "devices.serial", &s->devices[i]->serial, 0, 0);
    bytes(c, "chain", &s->chain, 0, 0);
}

/* Its content is looked at where it is recorded, when it is a new one. */
static void check_chain(struct check *c, const ProtobufCBinaryData *chain,
                        const ProtobufCBinaryData *sha256)
{
    bytes(c, "chain", chain, 0, MM_CHAIN_BYTES_MAX);
    bytes(c, "chain_sha256", sha256, chain->len ? DIGEST_BYTES : 0, chain->len ? DIGEST_BYTES : 0);
}

static void check_spend(struct check *c, const Mintmark__Internal__SpendAndRecord *s)
{
    uuid_text(c, "batch_uid", s->batch_uid);
    name(c, "station", s->station);
    name(c, "request_id", s->request_id);
    bytes(c, "digest", &s->digest, DIGEST_BYTES, DIGEST_BYTES);
    range(c, "request_count", s->request_count, 1, MM_PROVISION_MAX);
    time_ms(c, "now_ms", s->now_ms);
    check_chain(c, &s->chain, &s->chain_sha256);
    range(c, "devices", s->n_devices, 1, MM_CHUNK_DEVICES);
    for (size_t i = 0; c->r == MM_OK && i < s->n_devices; i++)
        check_device(c, s->devices[i]);
    if (c->r == MM_OK && s->waiting)
        check_waiting(c, s);
}

static void check_enroll(struct check *c, const Mintmark__Internal__EnrollAndRecord *e)
{
    want(c, e->spend, "spend", "there");
    if (!e->spend)
        return;
    range(c, "devices", e->spend->n_devices, 1, MM_ENROLL_DEVICES);
    check_spend(c, e->spend);
}

static void check_report(struct check *c, const Mintmark__Internal__ReportDevices__Report *report)
{
    const bool ok = report->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK;
    const bool ko = report->state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO;

    bytes(c, "devices.device_uid", &report->uid, UID_BYTES, UID_BYTES);
    want(c, ok || ko, "devices.state", "OK or KO");
    range(c, "devices.reason", strlen(report->reason), ko ? 1 : 0, ko ? MM_REASON_TEXT_MAX : 0);
}

static void check_reports(struct check *c, const Mintmark__Internal__ReportDevices *r)
{
    uuid_text(c, "batch_uid", r->batch_uid);
    name(c, "station", r->station);
    time_ms(c, "now_ms", r->now_ms);
    range(c, "devices", r->n_reports, 1, MM_REPORT_MAX);
    for (size_t i = 0; c->r == MM_OK && i < r->n_reports; i++)
        check_report(c, r->reports[i]);
}

static void check_release(struct check *c, const Mintmark__Internal__ReleaseBatch *r)
{
    uuid_text(c, "batch_uid", r->batch_uid);
    name(c, "station", r->station);
    time_ms(c, "now_ms", r->now_ms);
}

static void check_certify(struct check *c, const Mintmark__Internal__CertifyDevices *d)
{
    check_chain(c, &d->chain, &d->chain_sha256);
    range(c, "certificates", d->n_certificates, 1, MM_CHUNK_DEVICES);
    for (size_t i = 0; c->r == MM_OK && i < d->n_certificates; i++) {
        bytes(c, "certificates.uid", &d->certificates[i]->uid, UID_BYTES, UID_BYTES);
        bytes(c, "certificates.certificate", &d->certificates[i]->certificate, 1, MM_CERT_DER_MAX);
    }
}

static void by_name_or_none(struct check *c, const char *by)
{
    if (*by)
        name(c, "by", by);
}

static void check_enrolment(struct check *c, const Mintmark__Internal__ChangeEnrolment *e)
{
    bytes(c, "uid", &e->uid, UID_BYTES, UID_BYTES);
    range(c, "action", (uint64_t)e->action,
          MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_POSTPONE,
          MINTMARK__INTERNAL__ENROLMENT_ACTION__ENROLMENT_ACTION_RELEASE);
    range(c, "text", strlen(e->text), 0, MM_ENROLMENT_TEXT_MAX);
    by_name_or_none(c, e->by);
    time_ms(c, "now_ms", e->now_ms);
    time_ms(c, "next_time_ms", e->next_time_ms);
}

static void check_give_out(struct check *c, int64_t now_ms, int64_t next_time_ms, uint32_t limit)
{
    time_ms(c, "now_ms", now_ms);
    want(c, next_time_ms > now_ms, "next_time_ms", "in the future");
    range(c, "limit", limit, 1, MM_CHUNK_DEVICES);
}

static void check_list_withheld(struct check *c, const Mintmark__Internal__ListWithheld *l)
{
    if (l->unrevoked)
        return;
    range(c, "state", (uint64_t)l->state,
          MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING,
          MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_PARKED);
    want(c, l->state != MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_ISSUED, "state",
         "one of devices without a certificate");
}

static void check_revoke(struct check *c, const Mintmark__Internal__RevokeDevice *r)
{
    bytes(c, "uid", &r->uid, UID_BYTES, UID_BYTES);
    range(c, "reason", (uint64_t)r->reason, 0,
          MINTMARK__V1__REVOCATION_REASON__REVOCATION_REASON_PRIVILEGE_WITHDRAWN);
    by_name_or_none(c, r->by);
    bytes(c, "certificate", &r->certificate, 0, MM_CERT_DER_MAX);
    bytes(c, "serial", &r->serial, 0, r->certificate.len > 0 ? 0 : SERIAL_BYTES_MAX);
    time_ms(c, "now_ms", r->now_ms);
}

static void check_end_revocation(struct check *c, const Mintmark__Internal__EndRevocation *r)
{
    range(c, "row", r->row, 1, INT64_MAX);
    range(c, "text", strlen(r->text), 0, MM_ENROLMENT_TEXT_MAX);
    time_ms(c, "now_ms", r->now_ms);
    time_ms(c, "next_time_ms", r->next_time_ms);
}

static void check_match(struct check *c, const Mintmark__Internal__MatchCertificates *m)
{
    range(c, "certificates", m->n_certificates, 1, MM_RECONCILE_PAGE_MAX);
    for (size_t i = 0; c->r == MM_OK && i < m->n_certificates; i++) {
        range(c, "certificates.username", strlen(m->certificates[i]->username), 0,
              MM_ISSUER_NAME_MAX);
        bytes(c, "certificates.serial", &m->certificates[i]->serial, 0, SERIAL_BYTES_MAX);
        bytes(c, "certificates.spki_sha256", &m->certificates[i]->spki_sha256, 0, DIGEST_BYTES);
    }
}

static void check_enrolment_job(struct check *c, const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_WAITING:
        name(c, "profile", job->take_waiting->profile);
        check_give_out(c, job->take_waiting->now_ms, job->take_waiting->next_time_ms,
                       job->take_waiting->limit);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CERTIFY:
        check_certify(c, job->certify);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ENROLMENT:
        check_enrolment(c, job->change_enrolment);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_WITHHELD:
        check_list_withheld(c, job->list_withheld);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REVOKE:
        check_revoke(c, job->revoke);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_REVOCATIONS:
        check_give_out(c, job->take_revocations->now_ms, job->take_revocations->next_time_ms,
                       job->take_revocations->limit);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_END_REVOCATION:
        check_end_revocation(c, job->end_revocation);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PAGE_ENROLMENTS:
        range(c, "after_row", job->page_enrolments->after_row, 0, INT64_MAX);
        range(c, "limit", job->page_enrolments->limit, 1, MM_RECONCILE_PAGE_MAX);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MATCH_CERTIFICATES:
        check_match(c, job->match_certificates);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_ENROLMENT:
        bytes(c, "uid", &job->find_enrolment->uid, UID_BYTES, UID_BYTES);
        break;
    default:
        c->r = mm_fail(c->ei, MM_ERR_UNSUPPORTED, "UNKNOWN_JOB", "the store does not know job %d",
                       (int)job->job_case);
    }
}

static void check_place(struct check *c, const Mintmark__Internal__ReportPlace *place)
{
    if (!place)
        return;
    range(c, "place.request", place->request, 0, INT64_MAX);
    range(c, "place.row", place->row, 0, INT64_MAX);
}

static void check_add_report(struct check *c, const Mintmark__Internal__AddReport *r)
{
    uuid_text(c, "batch_uid", r->batch_uid);
    bytes(c, "sha256", &r->sha256, DIGEST_BYTES, DIGEST_BYTES);
    range(c, "size", r->size, 1, INT64_MAX);
    bytes(c, "document", &r->document, 1, MM_DOCUMENT_MAX);
}

static void check_signed(struct check *c, const Mintmark__Internal__AddSigned *a)
{
    name(c, "station", a->station);
    name(c, "signing_profile", a->signing_profile);
    name(c, "mechanism", a->mechanism);
    bytes(c, "digest", &a->digest, DIGEST_BYTES, 2 * DIGEST_BYTES);
    bytes(c, "response", &a->response, 1, MM_GRPC_MESSAGE_MAX);
}

static void check_report_job(struct check *c, const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_REPORT:
        uuid_text(c, "batch_uid", job->get_report->batch_uid);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_PAGE:
        uuid_text(c, "batch_uid", job->report_page->batch_uid);
        check_place(c, job->report_page->place);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_MANIFEST_PAGE:
        uuid_text(c, "batch_uid", job->manifest_page->batch_uid);
        bytes(c, "chain", &job->manifest_page->chain, 0, MM_CHAIN_BYTES_MAX);
        check_place(c, job->manifest_page->place);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_REPORT:
        check_add_report(c, job->add_report);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_SIGNED:
        check_signed(c, job->add_signed);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_BEGIN_EXPORT:
        time_ms(c, "now_ms", job->begin_export->now_ms);
        name(c, "by", job->begin_export->by);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS:
        time_ms(c, "now_ms", job->delete_keys->now_ms);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_EXPORT_PAGE:
        range(c, "last", job->export_page->last, 1, INT64_MAX);
        range(c, "after", job->export_page->after, 0, job->export_page->last - 1);
        break;
    default:
        check_enrolment_job(c, job);
    }
}

static void check_order_job(struct check *c, const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
        check_nonce(c, job->add_nonce);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER:
        check_import(c, &job->import_order->document, job->import_order->now_ms,
                     job->import_order->by);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT:
        check_import(c, &job->import_document->document, job->import_document->now_ms,
                     job->import_document->by);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER:
        check_change(c, job->change_order);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_ORDER:
        name(c, "order_id", job->get_order->order_id);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_ORDERS:
        break; /* by page.c */
    default:
        check_report_job(c, job);
    }
}

int mm_job_check(const Mintmark__Internal__StoreJob *job, struct mm_errinfo *ei)
{
    struct check c = {.ei = ei};

    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH:
        check_batch(&c, job->open_batch->batch);
        range(&c, "station_max", job->open_batch->station_max, 1, MM_OPEN_BATCHES_MAX);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_BATCH:
        uuid_text(&c, "batch_uid", job->get_batch->batch_uid);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_LIST_BATCHES:
        break; /* by page.c */
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_REQUEST:
        check_find(&c, job->find_request);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_FETCH_REQUEST:
        check_fetch(&c, job->fetch_request);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD:
        check_spend(&c, job->spend_and_record);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD:
        check_enroll(&c, job->enroll_and_record);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_DEVICE:
        bytes(&c, "device_uid", &job->get_device->uid, UID_BYTES, UID_BYTES);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES:
        check_reports(&c, job->report_devices);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH:
        check_release(&c, job->release_batch);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_AUDIT_KEY:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_TRUSTED:
        break; /* by the guard */
    default:
        check_order_job(&c, job);
    }
    return c.r;
}

bool mm_job_writes(const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_REPORT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_SIGNED:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_VERIFY_LEDGER:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_AUDIT_KEY:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_WAITING:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CERTIFY:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ENROLMENT:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REVOKE:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_REVOCATIONS:
    case MINTMARK__INTERNAL__STORE_JOB__JOB_END_REVOCATION:
        return true;
    default:
        return false;
    }
}

bool mm_job_dates(const Mintmark__Internal__StoreJob *job)
{
    return mm_job_writes(job) && job->job_case != MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT;
}

void mm_job_stamp(const Mintmark__Internal__StoreJob *job, int64_t now_ms)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
        job->add_nonce->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER:
        job->import_order->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT:
        job->import_document->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER:
        job->change_order->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_ORDER:
        job->get_order->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH:
        job->open_batch->batch->opened_time_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD:
        job->spend_and_record->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD:
        job->enroll_and_record->spend->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES:
        job->report_devices->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH:
        job->release_batch->now_ms = now_ms;
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS:
        job->delete_keys->now_ms = now_ms;
        break;
    default: /* no time in it */
        break;
    }
}
