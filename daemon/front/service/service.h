/* SPDX-License-Identifier: Apache-2.0 */
/* The RPCs: each is the message function of its line in service/table.c. */
#pragma once

#include "daemon/front/app.h"

#include "mintmark/v1/officer.pb-c.h"

void mm_rpc_ping(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_open_batch(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_batch(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_list_batches(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_provision(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_enroll(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_enroll_half_closed(struct mm_call *call);
void mm_rpc_get_provisioning_data(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_report_devices(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_release_batch(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_report(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_manifest(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_sign(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_random(struct mm_call *call, const ProtobufCMessage *request);

void mm_rpc_make_order_request(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_import_order(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_import_document(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_change_order(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_order(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_list_orders(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_check_issuer(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_status(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_unlock_ledger(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_verify_ledger(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_export_ledger(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_list_withheld(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_change_enrolment(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_revoke_device(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_reconcile(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_revocation(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_ca_chain(struct mm_call *call, const ProtobufCMessage *request);
void mm_rpc_get_crl(struct mm_call *call, const ProtobufCMessage *request);

/* The ledger as the API shows it; borrows from the app's anchoring. */
void mm_ledger_status(const struct mm_app *app, Mintmark__V1__LedgerStatus *ret_status);

/* Why an EJBCA did not do what it was asked: MM_ERR_UNAVAILABLE when it is worth asking again, else
 * MM_ERR_PRECONDITION; with EJBCA's reason and text. */
int mm_issuer_fail(const Mintmark__Internal__IssuerFailure *f, struct mm_errinfo *ei);

/* Logs what has become of an order, and tells the view. */
void mm_learn_order(struct mm_app *app, const char *call_id, const char *event,
                    const Mintmark__V1__Order *order);

/* In the texts, for a station: mm_text_hide_paths. */
void mm_hide_paths_of_withheld(Mintmark__V1__Withheld **withheld, size_t n);

/* protobuf-c has no const strings, and packing only reads them. */
static inline char *mm_for_packing(const char *s)
{
    return (char *)(uintptr_t)s;
}
