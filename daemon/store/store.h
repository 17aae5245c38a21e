/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: production orders, batches, requests and devices, and the counters that bind them.
 *
 *     delivered <= recorded = spent <= quota, at every instant, whatever crashes.
 *
 * The interface is business verbs over the messages of proto/internal/store.proto; no caller sees
 * SQL. Behind it stands SQLite (sqlite*.c and one file for each family of verbs).
 *
 * Writing verbs run between mm_store_begin and mm_store_commit, any number of them; each is all or
 * nothing by itself, so that a refused one leaves the others of its group alone. Nothing has
 * happened before mm_store_commit returns MM_OK; then all of it is on disk. Reading verbs are
 * called outside a group, and so see committed state only.
 *
 * The messages that go in have passed mm_job_check. Those that come out are heap messages as
 * protobuf-c unpacks them, for protobuf_c_message_free_unpacked(…, NULL).
 *
 * Errors beside each verb's own: MM_ERR_UNAVAILABLE STORE_IO, MM_ERR_EXHAUSTED
 * STORE_FULL, MM_ERR_CORRUPT STORE_CORRUPT, with SQLite's extended result code in detail; and
 * MM_ERR_MEMORY. ei is never NULL here.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/secret.h"

#include "internal/store.pb-c.h"

#include <stdbool.h>

struct mm_store;
struct mm_trust;

/* Opens the database file, or makes it (mode 0600) when it is not there. The file is this process's
 * alone until mm_store_free. Refused, and left as they are: a file that others may read or write
 * (MM_ERR_PERMISSION), another program's or a newer version's database (MM_ERR_UNSUPPORTED), one
 * that another process has open (MM_ERR_UNAVAILABLE STORE_IN_USE), and one whose counters do not
 * add up or that is damaged in what can be checked at once (MM_ERR_CORRUPT). */
int mm_store_open(const char *path, struct mm_store **ret_store, struct mm_errinfo *ei) MM_MUST_USE;
/* Takes, and touches, the memory that the next 2^20 devices need, so that a store does not grow by
 * and by (daemon/store/minted.h). */
int mm_store_warm(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
/* Closes; a group that is not committed is undone. NULL is fine. */
void mm_store_free(struct mm_store *s);
MM_DEFINE_CLEANUP(struct mm_store *, mm_store_free)
#define MM_STORE_CLEANUP MM_CLEANUP(mm_store_free_p)

/* What the store must know of the site to judge signed documents; borrowed. Without it, nobody is
 * trusted and no order comes in. */
struct mm_store_site {
    const struct mm_trust *oem;      /* whose signatures count; NULL: nobody's */
    const struct mm_trust *officers; /* who may unlock; NULL: nobody */
    bool has_identity;
    uint8_t identity[32];                 /* of the appliance: mm_document_key_hash */
    const char *name;                     /* of the site; NULL: none */
    struct mm_bytes identity_certificate; /* DER */
    unsigned keep_keys_days;              /* after a batch's release; 0: for ever */
    bool (*profile_known)(const void *user, const char *name); /* NULL: all are */
    const void *user;
};
void mm_store_set_site(struct mm_store *s, const struct mm_store_site *site);
/* The key of the proofs that this store made what a token is to sign or keep (daemon/ipc/seal.h);
 * borrowed. Without it nothing has a proof, and no token worker takes it. */
void mm_store_set_seal(struct mm_store *s, struct mm_secret *key);

int mm_store_begin(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;
/* Ends the group. On failure nothing of it has happened, and each verb of it has failed with *ei,
 * also those that were refused: what they were judged by is undone too. */
int mm_store_commit(struct mm_store *s, struct mm_errinfo *ei) MM_MUST_USE;

/* Writing verbs. */

/* MM_ERR_EXHAUSTED TOO_MANY_ORDER_REQUESTS over MM_ORDER_REQUESTS_MAX; MM_ERR_EXISTS
 * ORDER_NONCE_USED. */
int mm_store_add_nonce(struct mm_store *s, const Mintmark__Internal__AddNonce *job,
                       Mintmark__Internal__NonceAdded **ret_added,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* The errors of mm_document_open, mm_document_check_signer and mm_order_terms_check; MM_ERR_INVALID
 * DOCUMENT_KIND; MM_ERR_NOT_FOUND UNKNOWN_PROFILE; MM_ERR_PRECONDITION NO_IDENTITY,
 * ORDER_OTHER_APPLIANCE, ORDER_EXPIRED, ORDER_NONCE_UNKNOWN, ORDER_NONCE_USED; MM_ERR_EXISTS
 * ORDER_EXISTS; MM_ERR_EXHAUSTED TOO_MANY_ORDERS over MM_LIVE_ORDERS_MAX. */
int mm_store_import_order(struct mm_store *s, const Mintmark__Internal__ImportOrder *job,
                          Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;

/* A revocation or a receipt. Errors of documents as above; MM_ERR_NOT_FOUND UNKNOWN_ORDER;
 * MM_ERR_PRECONDITION NO_IDENTITY, ORDER_OTHER_APPLIANCE, ORDER_REVOKED, RECEIPT_STALE,
 * RECEIPT_IN_FUTURE, RECEIPT_AHEAD. */
int mm_store_import_document(struct mm_store *s, const Mintmark__Internal__ImportDocument *job,
                             Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_ORDER; MM_ERR_INVALID ORDER_VALIDITY; MM_ERR_PRECONDITION
 * ORDER_SUSPENDED, ORDER_NOT_SUSPENDED, ORDER_CLOSED, ORDER_REVOKED, ORDER_RAISED,
 * ORDER_BELOW_USED. */
int mm_store_change_order(struct mm_store *s, const Mintmark__Internal__ChangeOrder *job,
                          Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_ORDER; MM_ERR_INVALID when the order is another profile's;
 * the errors of mm_order_check at opened_time_ms, but for the day's limit; MM_ERR_EXHAUSTED
 * ORDER_BATCH_LIMIT, TOO_MANY_BATCHES over MM_OPEN_BATCHES_MAX, TOO_MANY_OWN_BATCHES over
 * station_max; MM_ERR_EXISTS BATCH_EXISTS. */
int mm_store_open_batch(struct mm_store *s, const Mintmark__Internal__OpenBatch *job,
                        Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei) MM_MUST_USE;

/* The transaction that everything rests on. MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_INVALID
 * REQUEST_ID_REUSED when the request came with other arguments; MM_ERR_PRECONDITION BATCH_RELEASED,
 * REQUEST_COMPLETE; the errors of mm_order_check; MM_ERR_EXHAUSTED BATCH_FULL, ORDER_BATCH_LIMIT;
 * MM_ERR_EXISTS DUPLICATE_HW_SERIAL, DUPLICATE_DEVICE. */
int mm_store_spend_and_record(struct mm_store *s, const Mintmark__Internal__SpendAndRecord *job,
                              Mintmark__Internal__Recorded **ret_recorded,
                              struct mm_errinfo *ei) MM_MUST_USE;

/* The same for keys that devices made (EnrollAndRecord says how); devices that are refused alone
 * are in the result. Errors as mm_store_spend_and_record, when any key is new; and MM_ERR_NOT_FOUND
 * UNKNOWN_BATCH, MM_ERR_INVALID REQUEST_ID_REUSED. */
int mm_store_enroll_and_record(struct mm_store *s, const Mintmark__Internal__EnrollAndRecord *job,
                               Mintmark__Internal__Enrolled **ret_enrolled,
                               struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH, UNKNOWN_DEVICE (also for another batch's); MM_ERR_PRECONDITION
 * BATCH_RELEASED, ALREADY_REPORTED. A repeated report of the same state changes nothing. The order
 * comes out when units were given back to it, NULL otherwise. */
int mm_store_report_devices(struct mm_store *s, const Mintmark__Internal__ReportDevices *job,
                            Mintmark__V1__BatchCounts **ret_counts, Mintmark__V1__Order **ret_order,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_PRECONDITION BATCH_RELEASED, DEVICES_WAITING. */
int mm_store_release_batch(struct mm_store *s, const Mintmark__Internal__ReleaseBatch *job,
                           Mintmark__V1__ProductionReport **ret_report,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* Keeps the audit key's signature of a report, and enters it in the ledger; the second time it
 * changes nothing. The errors of mm_store_get_report; MM_ERR_INVALID SIGNATURE_BAD;
 * MM_ERR_PRECONDITION NO_IDENTITY. */
int mm_store_add_report(struct mm_store *s, const Mintmark__Internal__AddReport *job,
                        Mintmark__Internal__ReportFound **ret_found,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* Enters a signature in the ledger. */
int mm_store_add_signed(struct mm_store *s, const Mintmark__Internal__AddSigned *job,
                        Mintmark__Internal__SignedAdded **ret_added,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* Devices whose certificates come from elsewhere: recorded with a request (SpendAndRecord.waiting),
 * given out to be enrolled, then certified, failed, or left to an officer. Nothing of them is
 * delivered before they are certified. */

/* Those that are due, given out for a while. */
int mm_store_take_waiting(struct mm_store *s, const Mintmark__Internal__TakeWaiting *job,
                          Mintmark__Internal__WaitingPage **ret_page,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* What is wrong with one certificate is in its answer: MM_ERR_NOT_FOUND UNKNOWN_DEVICE;
 * MM_ERR_PRECONDITION NOT_WAITING; MM_ERR_INVALID CERTIFICATE_MALFORMED, CERTIFICATE_KEY;
 * MM_ERR_EXISTS CERTIFICATE_KNOWN, CERTIFICATE_REVOKED. */
int mm_store_certify(struct mm_store *s, const Mintmark__Internal__CertifyDevices *job,
                     Mintmark__Internal__Certified **ret_certified,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE; MM_ERR_PRECONDITION NOT_WAITING, NOT_PARKED. A device that fails
 * is KO in its batch, if that is open; the order comes out when its unit was given back. */
int mm_store_change_enrolment(struct mm_store *s, const Mintmark__Internal__ChangeEnrolment *job,
                              Mintmark__Internal__Settled **ret_settled,
                              Mintmark__V1__Order **ret_order, struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE; MM_ERR_PRECONDITION NO_CERTIFICATE; MM_ERR_EXISTS
 * ALREADY_REVOKED, CERTIFICATE_KNOWN; MM_ERR_INVALID CERTIFICATE_MALFORMED. */
int mm_store_revoke(struct mm_store *s, const Mintmark__Internal__RevokeDevice *job,
                    Mintmark__Internal__RevocationsPage **ret_page,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* Those that the authority is to be told of now, given out for a while; and what came of one.
 * MM_ERR_NOT_FOUND UNKNOWN_REVOCATION. */
int mm_store_take_revocations(struct mm_store *s, const Mintmark__Internal__TakeRevocations *job,
                              Mintmark__Internal__RevocationsPage **ret_page,
                              struct mm_errinfo *ei) MM_MUST_USE;
int mm_store_end_revocation(struct mm_store *s, const Mintmark__Internal__EndRevocation *job,
                            Mintmark__Internal__RevocationsPage **ret_page,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* Deletes the next private keys that are due by now_ms and the site's keep_keys_days, if any. Where
 * it stopped is in the database. */
int mm_store_delete_keys(struct mm_store *s, const Mintmark__Internal__DeleteKeys *job,
                         Mintmark__Internal__KeysPage **ret_page,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The ledger's guard (guard.h); what each has come to is in *ret_guard. Without a section appliance
 * MM_ERR_PRECONDITION LEDGER_NOT_GUARDED. */

/* Holds ledger and clock against each other and against the token's anchor: afterwards the store is
 * to be anchored, or it is locked. */
int mm_store_check_anchor(struct mm_store *s, const Mintmark__Internal__CheckAnchor *job,
                          Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_INVALID CHECKPOINT_BAD. */
int mm_store_add_checkpoint(struct mm_store *s, const Mintmark__Internal__AddCheckpoint *job,
                            Mintmark__Internal__Guard **ret_guard,
                            struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_PRECONDITION LEDGER_NOT_LOCKED, NO_OFFICERS, UNLOCK_STALE; errors of the document. */
int mm_store_unlock(struct mm_store *s, const Mintmark__Internal__UnlockLedger *job,
                    Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei) MM_MUST_USE;
/* A reload brings another audit key, or another file of its certificate: a record, where the key
 * is another, and from it on only that key's checkpoints are taken. MM_ERR_PRECONDITION
 * LEDGER_NOT_OPEN, and the errors of audit_key.h. */
int mm_store_change_audit_key(struct mm_store *s, const Mintmark__Internal__ChangeAuditKey *job,
                              Mintmark__Internal__Guard **ret_guard,
                              struct mm_errinfo *ei) MM_MUST_USE;
/* A reload has read other certificates of OEM and officers: takes them from the launcher, and logs
 * what has changed; on failure those before stay. Nothing of it is in the database, so it stands
 * outside of groups. MM_ERR_INVALID TRUST_INVALID; the errors of mm_trusted_next;
 * MM_ERR_UNSUPPORTED NO_LAUNCHER. */
int mm_store_take_trusted(struct mm_store *s, Mintmark__Internal__TrustedTaken **ret_taken,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* One page of a walk over the whole ledger, which begins again after its end. */
int mm_store_verify_ledger(struct mm_store *s, Mintmark__Internal__Guard **ret_guard,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* Reading verbs. */

/* One order, and the document that it came in. MM_ERR_NOT_FOUND UNKNOWN_ORDER. */
int mm_store_get_order(struct mm_store *s, const Mintmark__Internal__GetOrder *job,
                       Mintmark__Internal__OrderFound **ret_order,
                       struct mm_errinfo *ei) MM_MUST_USE;
/* Both change nothing in the database. MM_ERR_PRECONDITION LEDGER_NOT_OPEN. */
int mm_store_prepare_anchor(struct mm_store *s, const Mintmark__Internal__PrepareAnchor *job,
                            Mintmark__Internal__Guard **ret_guard,
                            struct mm_errinfo *ei) MM_MUST_USE;
int mm_store_anchored(struct mm_store *s, const Mintmark__Internal__Anchored *job,
                      Mintmark__Internal__Guard **ret_guard, struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH; MM_ERR_PRECONDITION BATCH_OPEN, REPORT_TOO_OLD. */
int mm_store_get_report(struct mm_store *s, const Mintmark__Internal__GetReport *job,
                        Mintmark__Internal__ReportFound **ret_found,
                        struct mm_errinfo *ei) MM_MUST_USE;
/* The same errors. */
int mm_store_report_page(struct mm_store *s, const Mintmark__Internal__ReportPage *job,
                         Mintmark__Internal__ReportPiece **ret_piece,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The errors of mm_store_get_report; MM_ERR_PRECONDITION NO_IDENTITY. */
int mm_store_manifest_page(struct mm_store *s, const Mintmark__Internal__ManifestPage *job,
                           Mintmark__Internal__ManifestPiece **ret_piece,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_INVALID for a first record that is not there. */
int mm_store_begin_export(struct mm_store *s, const Mintmark__Internal__BeginExport *job,
                          Mintmark__Internal__ExportBegun **ret_begun,
                          struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_CORRUPT LEDGER_GAP. */
int mm_store_export_page(struct mm_store *s, const Mintmark__Internal__ExportPage *job,
                         Mintmark__Internal__ExportPiece **ret_piece,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* Devices without a certificate, newest first. MM_ERR_INVALID as below. */
int mm_store_list_withheld(struct mm_store *s, const Mintmark__Internal__ListWithheld *job,
                           Mintmark__Internal__WithheldDevices **ret_list,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* For the comparison with an authority's certificates. */
int mm_store_page_enrolments(struct mm_store *s, const Mintmark__Internal__PageEnrolments *job,
                             Mintmark__Internal__EnrolmentsPage **ret_page,
                             struct mm_errinfo *ei) MM_MUST_USE;
int mm_store_match_certificates(struct mm_store *s,
                                const Mintmark__Internal__MatchCertificates *job,
                                Mintmark__Internal__MatchedCertificates **ret_matched,
                                struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE: also for one that never waited for a certificate. */
int mm_store_find_enrolment(struct mm_store *s, const Mintmark__Internal__FindEnrolment *job,
                            Mintmark__Internal__EnrolmentFound **ret_found,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* What the front begins with. */
int mm_store_ready(struct mm_store *s, Mintmark__Internal__StoreReady **ret_ready,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Newest first. MM_ERR_INVALID for a page token that is none of this listing's. */
int mm_store_list_orders(struct mm_store *s, const Mintmark__Internal__ListOrders *job,
                         Mintmark__Internal__Orders **ret_orders,
                         struct mm_errinfo *ei) MM_MUST_USE;
int mm_store_list_batches(struct mm_store *s, const Mintmark__Internal__ListBatches *job,
                          Mintmark__Internal__Batches **ret_batches,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_BATCH. */
int mm_store_get_batch(struct mm_store *s, const Mintmark__Internal__GetBatch *job,
                       Mintmark__V1__Batch **ret_batch, struct mm_errinfo *ei) MM_MUST_USE;

/* A request that is not known has 0 recorded. MM_ERR_INVALID REQUEST_ID_REUSED; with serials also
 * MM_ERR_NOT_FOUND UNKNOWN_BATCH and MM_ERR_EXISTS DUPLICATE_HW_SERIAL. */
int mm_store_find_request(struct mm_store *s, const Mintmark__Internal__FindRequest *job,
                          Mintmark__Internal__RequestFound **ret_found,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_REQUEST; MM_ERR_PRECONDITION KEYS_DELETED. */
int mm_store_fetch_request(struct mm_store *s, const Mintmark__Internal__FetchRequest *job,
                           Mintmark__Internal__Fetched **ret_fetched,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_NOT_FOUND UNKNOWN_DEVICE; MM_ERR_PRECONDITION KEYS_DELETED. */
int mm_store_get_device(struct mm_store *s, const Mintmark__Internal__GetDevice *job,
                        Mintmark__Internal__DeviceFound **ret_device,
                        struct mm_errinfo *ei) MM_MUST_USE;
