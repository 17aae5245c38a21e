/* SPDX-License-Identifier: Apache-2.0 */
/* Every RPC: path, shape, who may call it, what it takes, and its function. */
#include "daemon/front/service/service.h"

#include "mintmark/v1/officer.pb-c.h"
#include "mintmark/v1/station.pb-c.h"

#define STATION(method) "/mintmark.v1.StationService/" method
#define OFFICER(method) "/mintmark.v1.OfficerService/" method

enum {
    NOT_MONITOR = MM_ROLE_ALL & ~MM_ROLE_MONITOR,
    NOT_STATION = MM_ROLE_ALL & ~MM_ROLE_STATION,
};

/* New ones stand last: the corpus of tests/fuzz/fuzz_requests.c names them by their place. */
const struct mm_rpc mm_rpcs[] = {
    {STATION("Ping"), MM_RPC_UNARY, MM_ROLE_ALL, &mintmark__v1__ping_request__descriptor,
     .message = mm_rpc_ping},
    {STATION("OpenBatch"), MM_RPC_UNARY, MM_ROLE_STATION,
     &mintmark__v1__open_batch_request__descriptor, .message = mm_rpc_open_batch},
    {STATION("GetBatch"), MM_RPC_UNARY, NOT_MONITOR, &mintmark__v1__get_batch_request__descriptor,
     .message = mm_rpc_get_batch},
    {STATION("ListBatches"), MM_RPC_UNARY, NOT_MONITOR,
     &mintmark__v1__list_batches_request__descriptor, .message = mm_rpc_list_batches},
    {STATION("Provision"), MM_RPC_SERVER_STREAM, MM_ROLE_STATION,
     &mintmark__v1__provision_request__descriptor, .message = mm_rpc_provision},
    {STATION("GetProvisioningData"), MM_RPC_UNARY, MM_ROLE_STATION,
     &mintmark__v1__get_provisioning_data_request__descriptor,
     .message = mm_rpc_get_provisioning_data},
    {STATION("ReportDevices"), MM_RPC_UNARY, MM_ROLE_STATION,
     &mintmark__v1__report_devices_request__descriptor, .message = mm_rpc_report_devices},
    /* Officers release what stations have left open that are configured no more. */
    {STATION("ReleaseBatch"), MM_RPC_UNARY, MM_ROLE_STATION | MM_ROLE_OFFICER,
     &mintmark__v1__release_batch_request__descriptor, .message = mm_rpc_release_batch},
    {OFFICER("MakeOrderRequest"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__make_order_request_request__descriptor, .message = mm_rpc_make_order_request},
    {OFFICER("ListOrders"), MM_RPC_UNARY, NOT_STATION,
     &mintmark__v1__list_orders_request__descriptor, .message = mm_rpc_list_orders},
    {OFFICER("GetStatus"), MM_RPC_UNARY, NOT_STATION, &mintmark__v1__get_status_request__descriptor,
     .message = mm_rpc_get_status},
    {STATION("Enroll"), MM_RPC_BIDI, MM_ROLE_STATION, &mintmark__v1__enroll_request__descriptor,
     .message = mm_rpc_enroll, .half_closed = mm_rpc_enroll_half_closed},
    {STATION("Sign"), MM_RPC_UNARY, MM_ROLE_STATION, &mintmark__v1__sign_request__descriptor,
     .message = mm_rpc_sign},
    {STATION("Random"), MM_RPC_UNARY, MM_ROLE_STATION, &mintmark__v1__random_request__descriptor,
     .message = mm_rpc_random},
    {OFFICER("ImportOrder"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__import_order_request__descriptor, .message = mm_rpc_import_order},
    {OFFICER("ImportDocument"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__import_document_request__descriptor, .message = mm_rpc_import_document},
    {OFFICER("ChangeOrder"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__change_order_request__descriptor, .message = mm_rpc_change_order},
    {OFFICER("GetOrder"), MM_RPC_UNARY, NOT_STATION, &mintmark__v1__get_order_request__descriptor,
     .message = mm_rpc_get_order},
    {OFFICER("UnlockLedger"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__unlock_ledger_request__descriptor, .message = mm_rpc_unlock_ledger},
    {OFFICER("VerifyLedger"), MM_RPC_UNARY, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__verify_ledger_request__descriptor, .message = mm_rpc_verify_ledger},
    {STATION("GetReport"), MM_RPC_SERVER_STREAM, NOT_MONITOR,
     &mintmark__v1__get_report_request__descriptor, .message = mm_rpc_get_report},
    {OFFICER("ExportLedger"), MM_RPC_SERVER_STREAM, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__export_ledger_request__descriptor, .message = mm_rpc_export_ledger},
    {STATION("GetManifest"), MM_RPC_SERVER_STREAM, NOT_MONITOR,
     &mintmark__v1__get_manifest_request__descriptor, .message = mm_rpc_get_manifest},
    {OFFICER("CheckIssuer"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__check_issuer_request__descriptor, .message = mm_rpc_check_issuer},
    {OFFICER("ListWithheld"), MM_RPC_UNARY, NOT_STATION,
     &mintmark__v1__list_withheld_request__descriptor, .message = mm_rpc_list_withheld},
    {OFFICER("ChangeEnrolment"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__change_enrolment_request__descriptor, .message = mm_rpc_change_enrolment},
    {OFFICER("RevokeDevice"), MM_RPC_UNARY, MM_ROLE_OFFICER,
     &mintmark__v1__revoke_device_request__descriptor, .message = mm_rpc_revoke_device},
    {OFFICER("Reconcile"), MM_RPC_SERVER_STREAM, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__reconcile_request__descriptor, .message = mm_rpc_reconcile},
    {OFFICER("GetRevocation"), MM_RPC_UNARY, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__get_revocation_request__descriptor, .message = mm_rpc_get_revocation},
    {OFFICER("GetCaChain"), MM_RPC_UNARY, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__get_ca_chain_request__descriptor, .message = mm_rpc_get_ca_chain},
    {OFFICER("GetCrl"), MM_RPC_SERVER_STREAM, MM_ROLE_OFFICER | MM_ROLE_AUDITOR,
     &mintmark__v1__get_crl_request__descriptor, .message = mm_rpc_get_crl},
};
const size_t mm_n_rpcs = MM_ARRAY_SIZE(mm_rpcs);
