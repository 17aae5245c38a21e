/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a start verifies a ledger of so many records: the whole chain, and from the last
 * checkpoint that a busy service would have left. The records are those that spending makes; the
 * devices behind them are not needed for it. The file is in the system's cache, as after writing.
 *
 * usage: ledger_start FOLDER RECORDS
 */
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/store/checkpoint.h"
#include "daemon/store/sqlite.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GROUP = 5000, PAGE = 4096, SINCE_CHECKPOINT = 20000 };

static struct mm_errinfo ei;
static struct mm_store *store;
static EVP_PKEY *key;
static X509 *certificate;
static char name[] = "order", profile[] = "dac", station[] = "station", request[] = "request";
static char uid[] = "01890000-0000-7000-8000-000000000001";

static void check(int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "ledger_start: %s: %s\n", ei.reason, ei.text);
    exit(EXIT_FAILURE);
}

static void make_audit_key(const char *path)
{
    FILE *out = fopen(path, "w");

    key = EVP_EC_gen("P-256");
    certificate = X509_new();
    if (!out || !key || !certificate)
        exit(EXIT_FAILURE);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const uint8_t *)"audit", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    if (X509_sign(certificate, key, EVP_sha256()) <= 0 || PEM_write_X509(out, certificate) != 1)
        exit(EXIT_FAILURE);
    fclose(out);
}

static void append(Mintmark__V1__LedgerRecord record)
{
    check(mm_sql_verb_begin(store, &ei));
    check(mm_sql_verb_finish(store, mm_ledger_append(store, &record, &ei), &ei));
}

static void import_order(uint64_t quantity)
{
    Mintmark__V1__OrderImported event = MINTMARK__V1__ORDER_IMPORTED__INIT;

    event.order_id = name;
    event.profile = profile;
    event.quantity = quantity;
    event.by = station;
    event.not_after_time_ms = 1;
    check(mm_store_begin(store, &ei));
    append(MM_LEDGER_RECORD(ORDER_IMPORTED, order_imported, &event));
    check(mm_store_commit(store, &ei));
}

static void spend(uint64_t records)
{
    static uint8_t devices[MM_SHA256_BYTES];

    for (uint64_t i = 0; i < records; i++) {
        Mintmark__V1__Spent event = MINTMARK__V1__SPENT__INIT;

        event.order_id = name;
        event.batch_uid = uid;
        event.station = station;
        event.request_id = request;
        event.kind = MINTMARK__V1__SPEND_KIND__SPEND_KIND_PROVISION;
        event.first_row = store->ledger.now.devices + 1;
        event.count = 64;
        event.order_used_after = store->ledger.now.devices + 64;
        event.devices_sha256 = (ProtobufCBinaryData){sizeof(devices), devices};
        if (i % GROUP == 0)
            check(mm_store_begin(store, &ei));
        append(MM_LEDGER_RECORD(SPENT, spent, &event));
        if (i % GROUP == GROUP - 1 || i + 1 == records)
            check(mm_store_commit(store, &ei));
    }
}

/* What spending would have left in the orders' table. */
static void count_in_orders(uint64_t quantity)
{
    const unsigned long long devices = store->ledger.now.devices;
    char sql[512];

    snprintf(sql, sizeof(sql),
             "INSERT OR IGNORE INTO profiles (row, name) VALUES (1, 'dac');"
             "INSERT OR REPLACE INTO orders (row, order_id, profile, quantity, used, not_before_ms,"
             " not_after_ms, added_ms, added_by, day, day_used)"
             " VALUES (1, '%s', 1, %llu, %llu, 0, 1, 0, 'o', %lld, %llu)",
             name, (unsigned long long)quantity, devices,
             (long long)(store->ledger.now.time_ms / 86400000), devices);
    check(mm_sql_exec(store, sql, &ei));
}

static void add_checkpoint(void)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    const struct mm_document_signer signer = {.key = key, .certificate = certificate};
    ProtobufCBinaryData content;
    Mintmark__V1__SignedDocument *document;

    check(mm_checkpoint_pack(store, &content, &ei));
    document = mintmark__v1__signed_document__unpack(NULL, content.len, content.data);
    check(document ? mm_document_sign(&signer, document, &cms, &ei) : MM_ERR_MEMORY);
    check(mm_store_begin(store, &ei));
    check(mm_sql_verb_begin(store, &ei));
    check(mm_sql_verb_finish(
        store, mm_checkpoint_add(store, (struct mm_bytes){cms.data, cms.len}, &ei), &ei));
    check(mm_store_commit(store, &ei));
    mintmark__v1__signed_document__free_unpacked(document, NULL);
    free(content.data);
}

static double walk(bool whole)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk w = {0};
    const int64_t began_us = mm_clock_mono_us();
    int r;

    check(mm_checkpoint_begin_walk(store, whole, &w, &ei));
    do {
        r = mm_ledger_walk(store, &w, PAGE, UINT64_MAX, &ei);
        check(r);
    } while (r > 0);
    return (double)(mm_clock_mono_us() - began_us) / 1e6;
}

int main(int argc, char **argv)
{
    static struct mm_conf_appliance conf = {.given = true, .anchor_devices = 4096};
    char database[512], audit[512];
    uint64_t records = 0;
    double whole, checkpoint;

    if (argc != 3 || mm_text_to_u64(argv[2], SINCE_CHECKPOINT + 1, 100000000, &records) < 0) {
        fputs("usage: ledger_start FOLDER RECORDS\n", stderr);
        return 64;
    }
    snprintf(database, sizeof(database), "%s/ledger.db", argv[1]);
    snprintf(audit, sizeof(audit), "%s/audit.pem", argv[1]);
    make_audit_key(audit);
    conf.audit_certificate = audit;
    check(mm_store_open(database, &store, &ei));
    check(mm_store_guard(store, &conf, &ei));
    import_order(64 * records);
    spend(records - SINCE_CHECKPOINT);
    count_in_orders(64 * records);
    add_checkpoint();
    spend(SINCE_CHECKPOINT);
    count_in_orders(64 * records);
    whole = walk(true);
    checkpoint = walk(false);
    printf("{\"records\": %llu, \"whole_s\": %.3f, \"since_checkpoint\": %d, "
           "\"checkpoint_s\": %.3f}\n",
           (unsigned long long)records, whole, SINCE_CHECKPOINT, checkpoint);
    mm_store_free(store);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return EXIT_SUCCESS;
}
