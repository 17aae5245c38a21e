/* SPDX-License-Identifier: Apache-2.0 */
/* Devices whose certificates come from elsewhere, as the store's verbs share them. */
#pragma once

#include "daemon/store/rows.h"

/* A certificate as it is recorded; borrows from what it was read out of. */
struct mm_certificate_id {
    struct mm_bytes serial; /* big-endian, without leading zeros; at most 20 bytes */
    struct mm_bytes issuer; /* DER of the name */
    uint8_t spki_sha256[MM_SHA256_BYTES];
};

/* MM_ERR_INVALID CERTIFICATE_MALFORMED: it is not one X.509 v3 certificate in DER, or its serial
 * number is none (RFC 5280 section 4.1.2.2). */
int mm_certificate_read(struct mm_store *s, struct mm_bytes der, struct mm_certificate_id *ret_id,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* Has the devices that the job has just recorded wait for their certificates, if it says so.
 * MM_ERR_EXHAUSTED TOO_MANY_WAITING. */
int mm_enrolments_add(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                      int64_t profile, int64_t request, Mintmark__Internal__Recorded *recorded,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* 1 and why the device is not delivered, or 0 when it may be. */
int mm_withheld_find(struct mm_store *s, struct mm_bytes uid, Mintmark__V1__Withheld **ret_withheld,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* From the columns of WITHHELD_COLUMNS (sqlite_sql.c), which begin at `column`; appended to a
 * message's array. */
int mm_withheld_append(struct mm_sql *q, int column, size_t *n, Mintmark__V1__Withheld ***list,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* One device that waits, waited or is parked. */
struct mm_enrolment_row {
    int64_t device, profile, request; /* rows */
    Mintmark__V1__CertificateState state;
    bool batch_open;
    char batch_uid[MM_UID_LEN + 1];
    char order_id[MM_NAME_MAX + 1];
};
/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE: also for one that never waited for a certificate. */
int mm_enrolment_find(struct mm_store *s, const ProtobufCBinaryData *uid,
                      struct mm_enrolment_row *ret_e, struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_PRECONDITION with that reason. */
int mm_enrolment_fail_state(const struct mm_enrolment_row *e, const ProtobufCBinaryData *uid,
                            const char *reason, struct mm_errinfo *ei);
/* Brings it to an end; certificate is NULL when it has failed. Counts nothing. */
int mm_enrolment_settle(struct mm_store *s, const struct mm_enrolment_row *e,
                        Mintmark__V1__CertificateState state,
                        const struct mm_certificate_id *certificate, const char *text,
                        struct mm_errinfo *ei) MM_MUST_USE;
/* What changes in the counters of a profile and a request. */
struct mm_enrolment_step {
    int waiting, parked, certified, failed;
};
/* ret_counts may be NULL. */
int mm_enrolment_count(struct mm_store *s, const struct mm_enrolment_row *e,
                       struct mm_enrolment_step step,
                       Mintmark__Internal__EnrolmentCounts **ret_counts,
                       struct mm_errinfo *ei) MM_MUST_USE;
/* From columns waiting, parked, certified, failed; the profile is the caller's to set. */
int mm_enrolment_counts_take(struct mm_sql *q, int column,
                             Mintmark__Internal__EnrolmentCounts **ret_counts,
                             struct mm_errinfo *ei) MM_MUST_USE;

/* Has the certificate of a device revoked that was just reported KO, if it has one from elsewhere
 * which is not revoked yet. */
int mm_revoke_reported(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                       const ProtobufCBinaryData *uid, struct mm_errinfo *ei) MM_MUST_USE;

int mm_device_fail_unknown(const ProtobufCBinaryData *uid, struct mm_errinfo *ei);
