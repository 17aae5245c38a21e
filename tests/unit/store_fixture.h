/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store on a real database in a folder of its own, and jobs for it. Jobs go in as packed messages
 * through a group, and results come out packed and unpacked again: the way of the worker.
 */
#pragma once

#include "daemon/document/document.h"
#include "daemon/store/group.h"
#include "daemon/store/sqlite.h"

#include <check.h>

/* protobuf-c has no const strings; what is packed is only read. */
#define TEXT(s) ((char *)(uintptr_t)(s))

#define PROFILE "matter"
#define ORDER   "order-1"
#define STATION "station-1"

enum { T0 = 1000000, T_END = 2000000 }; /* validity of the orders that are made here, ms */

struct fixture {
    char dir[64];
    char path[96];
    struct mm_store *store;
    struct mm_group group;
    /* of the last group of jobs, in their order */
    size_t n_results;
    Mintmark__Internal__StoreResult *results[MM_GROUP_JOBS_MAX];
};

/* The clocks stand still: T0 + 100 ms, until a test sets it, and 1,000 µs. */
extern int64_t fixture_clock_ms;
/* Of the site, from the next fixture_open on; 0 until a test sets it. */
extern unsigned fixture_keep_keys_days;
void fixture_setup(struct fixture *f);
void fixture_teardown(struct fixture *f);
/* Closes, and frees what the fixture holds; its files stay. */
void fixture_done(struct fixture *f);
void fixture_open(struct fixture *f);
/* For a store that the test opened itself: whose signatures count, and nonces. */
void fixture_set_site(struct fixture *f);
void fixture_close(struct fixture *f);

/* The whole content of the database as text, on the heap. */
char *fixture_dump(struct fixture *f);
/* One number out of the database. */
int64_t fixture_int(struct fixture *f, const char *sql);
/* Every record of the ledger, against the database. */
void fixture_check_ledger(struct fixture *f);
/* What must hold at any time between two groups. */
void fixture_check_invariants(struct fixture *f);

/* Does the jobs as one group; the error code of each is fixture_code(f, i). */
void fixture_run(struct fixture *f, const Mintmark__Internal__StoreJob *const *jobs, size_t n);
int fixture_code(const struct fixture *f, size_t i);
const char *fixture_reason(const struct fixture *f, size_t i);
/* One job as a group of its own; returns its code. */
int fixture_do(struct fixture *f, const Mintmark__Internal__StoreJob *job);
/* Expects that code and reason, and that nothing has changed. */
void fixture_refused(struct fixture *f, const Mintmark__Internal__StoreJob *job, int code,
                     const char *reason);

/* Jobs with all that they point to. Fill in, change what the test is about, send j.job. */
struct order_job {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__ImportOrder import;
    Mintmark__V1__ProductionOrder order; /* sign_order again after a change */
    uint8_t nonce[MM_NONCE_BYTES];
    uint8_t document[16 * 1024];
};
struct document_job {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__ImportDocument import;
    union {
        Mintmark__V1__OrderRevocation revocation;
        Mintmark__V1__ReportReceipt receipt;
    };
    uint8_t document[4096];
};
struct batch_job {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__OpenBatch open;
    Mintmark__V1__Batch batch;
    char uid[MM_UID_LEN + 1];
};
struct spend_job {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__SpendAndRecord spend;
    Mintmark__Internal__EnrollAndRecord enroll;
    Mintmark__Internal__DeviceRecord devices[MM_CHUNK_DEVICES];
    Mintmark__Internal__DeviceRecord *pointers[MM_CHUNK_DEVICES];
    uint8_t uids[MM_CHUNK_DEVICES][16];
    uint8_t digest[32];
    char hw_serials[MM_CHUNK_DEVICES][MM_HW_SERIAL_MAX + 1];
    char bundles[MM_CHUNK_DEVICES][64];
    uint8_t keys[MM_CHUNK_DEVICES][32];
};
struct report_job {
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__ReportDevices devices;
    Mintmark__Internal__ReportDevices__Report reports[MM_CHUNK_DEVICES];
    Mintmark__Internal__ReportDevices__Report *pointers[MM_CHUNK_DEVICES];
    uint8_t uids[MM_CHUNK_DEVICES][16];
};
/* Jobs of one message that needs nothing beside it. */
struct small_job {
    Mintmark__Internal__StoreJob job;
    union {
        Mintmark__Internal__GetBatch get_batch;
        Mintmark__Internal__ListBatches list_batches;
        Mintmark__Internal__ListOrders list_orders;
        Mintmark__Internal__ReleaseBatch release;
        Mintmark__Internal__FindRequest find;
        Mintmark__Internal__FetchRequest fetch;
        Mintmark__Internal__GetDevice get_device;
        Mintmark__Internal__ChangeOrder change;
        Mintmark__Internal__GetOrder get_order;
        Mintmark__Internal__AddNonce add_nonce;
        Mintmark__Internal__GetReport get_report;
        Mintmark__Internal__ReportPage report_page;
        Mintmark__Internal__AddReport add_report;
        Mintmark__Internal__AddSigned add_signed;
        Mintmark__Internal__BeginExport begin_export;
        Mintmark__Internal__ExportPage export_page;
        Mintmark__Internal__ManifestPage manifest_page;
        Mintmark__Internal__DeleteKeys delete_keys;
    };
    Mintmark__V1__OrderLimits limits;
};

/* Signed by the OEM's key of this program, for this appliance, with a nonce that was made here and
 * is good for one order. */
void make_order(struct order_job *j, const char *order_id, uint64_t quantity);
void sign_order(struct order_job *j);
/* Signed by a key that nobody trusts. */
void sign_order_as_stranger(struct order_job *j);
void make_revocation(struct document_job *j, const char *order_id);
void make_receipt(struct document_job *j, const char *order_id, uint64_t devices, int64_t time_ms);
void sign_document(struct document_job *j);
void make_change(struct small_job *j, const char *order_id, Mintmark__V1__OrderAction action);
void make_get_order(struct small_job *j, const char *order_id);
/* The certificate of the OEM's key, in PEM. */
const char *fixture_oem_pem(void);
/* The identity hash of the appliance; all documents are for it. */
extern uint8_t fixture_identity[MM_SHA256_BYTES];
/* The uid ends in `number`. */
void make_batch(struct batch_job *j, unsigned number, uint64_t quantity);
/* Chain `number` as jobs have it; 0: none. Chains 1 to 3 exist. */
void fixture_chain(unsigned number, ProtobufCBinaryData *ret_chain,
                   ProtobufCBinaryData *ret_sha256);
/* n devices of chain 1, numbered from first; their uids, and the bundle's text, come from the
 * number. */
void make_spend(struct spend_job *j, unsigned batch, const char *request_id, uint32_t request_count,
                unsigned first, unsigned n);
/* The same as EnrollAndRecord; the keys come from the numbers. */
void make_enroll(struct spend_job *j, unsigned batch, const char *request_id, unsigned first,
                 unsigned n);
/* Gives device i of a make_enroll the key of that number. */
void set_key(struct spend_job *j, unsigned i, unsigned number);
/* Gives device i of a spend_job that serial. */
void set_hw_serial(struct spend_job *j, unsigned i, const char *hw_serial);
/* Reports the devices numbered from first: OK when reason is "", else KO. */
void make_report(struct report_job *j, unsigned batch, unsigned first, unsigned n,
                 const char *reason);
void make_release(struct small_job *j, unsigned batch);
void make_get_batch(struct small_job *j, unsigned batch);
void make_get_report(struct small_job *j, unsigned batch);
void make_report_page(struct small_job *j, unsigned batch);
void make_manifest_page(struct small_job *j, unsigned batch);
/* Over 32 bytes of 1; its signature is none. */
void make_add_report(struct small_job *j, unsigned batch);
void make_add_signed(struct small_job *j);
void make_begin_export(struct small_job *j, uint64_t first_sequence);
void make_export_page(struct small_job *j, uint64_t after, uint64_t last);
void make_delete_keys(struct small_job *j);
void make_find(struct small_job *j, const char *request_id);
void make_fetch(struct small_job *j, const char *request_id, uint64_t after_row, uint32_t limit);
void make_get_device(struct small_job *j, unsigned number);
const char *batch_uid(unsigned number);

/* An order of that quantity, and batch 1 of the same. */
void fixture_populate(struct fixture *f, uint64_t quantity);
/* As make_spend, done. */
void fixture_spend(struct fixture *f, unsigned batch, const char *request_id, uint32_t count,
                   unsigned first, unsigned n);
