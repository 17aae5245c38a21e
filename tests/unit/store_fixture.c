/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store_fixture.h"

#include "daemon/base/clock.h"
#include "daemon/store/message.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

void fixture_open(struct fixture *f)
{
    struct mm_errinfo ei = {0};
    const int r = mm_store_open(f->path, &f->store, &ei);

    ck_assert_msg(r == MM_OK, "open: %s: %s", ei.reason, ei.text);
    fixture_set_site(f);
}

void fixture_close(struct fixture *f)
{
    mm_store_free(f->store);
    f->store = NULL;
}

int64_t fixture_clock_ms;

static int64_t wall_ms(void)
{
    return fixture_clock_ms;
}

static int64_t mono_us(void)
{
    return 1000;
}

void fixture_setup(struct fixture *f)
{
    fixture_clock_ms = T0 + 100;
    mm_clock_replace(wall_ms, mono_us);
    *f = (struct fixture){.dir = "/tmp/mintmark-store-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/store.db", f->dir);
    fixture_open(f);
}

static void drop_results(struct fixture *f)
{
    for (size_t i = 0; i < f->n_results; i++)
        mm_message_free(f->results[i]);
    f->n_results = 0;
}

void fixture_done(struct fixture *f)
{
    drop_results(f);
    mm_group_done(&f->group);
    fixture_close(f);
}

void fixture_teardown(struct fixture *f)
{
    static const char *const suffixes[] = {"", "-wal", "-journal"};
    char path[128];

    fixture_done(f);
    for (size_t i = 0; i < MM_ARRAY_SIZE(suffixes); i++) {
        snprintf(path, sizeof(path), "%s%s", f->path, suffixes[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(f->dir), 0);
}

static void dump_table(struct fixture *f, const char *table, FILE *out)
{
    sqlite3_stmt *st;
    char sql[64];
    int rc;

    snprintf(sql, sizeof(sql), "SELECT * FROM %s ORDER BY 1, 2", table);
    ck_assert_int_eq(sqlite3_prepare_v2(f->store->db, sql, -1, &st, NULL), SQLITE_OK);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        fprintf(out, "%s", table);
        for (int i = 0; i < sqlite3_column_count(st); i++) {
            const uint8_t *data = sqlite3_column_blob(st, i);
            const int len = sqlite3_column_bytes(st, i);

            fputc('|', out);
            for (int k = 0; k < len; k++) {
                if (data[k] > ' ' && data[k] < 0x7f)
                    fputc(data[k], out);
                else
                    fprintf(out, "\\%02x", data[k]);
            }
        }
        fputc('\n', out);
    }
    ck_assert_int_eq(rc, SQLITE_DONE);
    sqlite3_finalize(st);
}

char *fixture_dump(struct fixture *f)
{
    static const char *const tables[] = {"profiles",      "orders",     "batches",    "requests",
                                         "devices",       "failures",   "ledger",     "nonces",
                                         "enrolled_keys", "enrolments", "revocations"};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < MM_ARRAY_SIZE(tables); i++)
        dump_table(f, tables[i], out);
    fclose(out);
    return text;
}

int64_t fixture_int(struct fixture *f, const char *sql)
{
    struct mm_errinfo ei = {0};
    int64_t value = -1;
    const int r = mm_sql_get_int(f->store, sql, &value, &ei);

    ck_assert_msg(r == MM_OK, "%s: %s", sql, ei.text);
    return value;
}

void fixture_check_ledger(struct fixture *f)
{
    MM_LEDGER_WALK_CLEANUP struct mm_ledger_walk walk = {.devices = true};
    struct mm_errinfo ei = {0};
    int r;

    do
        r = mm_ledger_walk(f->store, &walk, 7, UINT64_MAX, &ei);
    while (r > 0);
    ck_assert_msg(r == MM_OK, "%s: %s", ei.reason, ei.text);
}

void fixture_check_invariants(struct fixture *f)
{
    static const char *const wrong[] = {
        "SELECT count(*) FROM orders WHERE used > quantity",
        "SELECT count(*) FROM batches WHERE issued > quantity OR ok + ko > issued",
        "SELECT count(*) FROM requests WHERE recorded > count",
        "SELECT (SELECT sum(used + refunded) FROM orders) <> (SELECT count(*) FROM devices)",
        "SELECT count(*) FROM orders o WHERE used + refunded <>"
        " (SELECT coalesce(sum(issued), 0) FROM batches WHERE order_row = o.row)",
        "SELECT count(*) FROM batches b WHERE issued <> (SELECT count(*) FROM devices d"
        " JOIN requests r ON r.row = d.request WHERE r.batch = b.row)",
        "SELECT count(*) FROM requests r WHERE recorded <>"
        " (SELECT count(*) FROM devices WHERE request = r.row)",
        "SELECT count(*) FROM batches b WHERE ko <>"
        " (SELECT coalesce(sum(devices), 0) FROM failures WHERE batch = b.row)",
        "SELECT count(*) FROM profiles p WHERE next_number <= (SELECT coalesce(max(number), 0)"
        " FROM devices WHERE profile = p.row)",
        "SELECT count(*) FROM enrolled_keys k LEFT JOIN devices d ON d.row = k.device"
        " WHERE d.spki_sha256 IS NOT k.spki_sha256",
        "SELECT count(*) FROM profiles p WHERE waiting <> (SELECT count(*) FROM enrolments"
        " WHERE profile = p.row AND state = 1) OR certified <> (SELECT count(*) FROM enrolments"
        " WHERE profile = p.row AND state = 2) OR failed <> (SELECT count(*) FROM enrolments"
        " WHERE profile = p.row AND state = 3) OR parked <> (SELECT count(*) FROM enrolments"
        " WHERE profile = p.row AND state = 4)",
        "SELECT count(*) FROM requests r WHERE waiting <> (SELECT count(*) FROM enrolments"
        " WHERE request = r.row AND state = 1) OR parked <> (SELECT count(*) FROM enrolments"
        " WHERE request = r.row AND state = 4)",
        "SELECT count(*) FROM requests r WHERE (SELECT coalesce(max(settled), 0) FROM enrolments"
        " WHERE request = r.row) <> (SELECT count(settled) FROM enrolments WHERE request = r.row)",
        "SELECT integrity_check <> 'ok' FROM pragma_integrity_check",
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(wrong); i++)
        ck_assert_msg(fixture_int(f, wrong[i]) == 0, "%s", wrong[i]);
    fixture_check_ledger(f);
}

static int keep_result(void *user, const Mintmark__Internal__StoreResult *result,
                       MM_UNUSED struct mm_errinfo *ei)
{
    struct fixture *f = user;
    const size_t len = mintmark__internal__store_result__get_packed_size(result);
    uint8_t *packed = malloc(len + 1);

    ck_assert_ptr_nonnull(packed);
    mintmark__internal__store_result__pack(result, packed);
    f->results[f->n_results] = mintmark__internal__store_result__unpack(NULL, len, packed);
    ck_assert_ptr_nonnull(f->results[f->n_results]);
    ck_assert_uint_eq(result->id, f->n_results + 1);
    f->n_results++;
    free(packed);
    return MM_OK;
}

void fixture_run(struct fixture *f, const Mintmark__Internal__StoreJob *const *jobs, size_t n)
{
    struct mm_errinfo ei = {0};
    int r = MM_OK;

    drop_results(f);
    for (size_t i = 0; r == MM_OK && i < n; i++) {
        Mintmark__Internal__StoreJob job = *jobs[i];
        uint8_t *packed;
        size_t len;

        job.id = i + 1;
        len = mintmark__internal__store_job__get_packed_size(&job);
        packed = malloc(len);
        ck_assert_ptr_nonnull(packed);
        mintmark__internal__store_job__pack(&job, packed);
        r = mm_group_add(&f->group, (struct mm_bytes){packed, len}, &ei);
        free(packed);
    }
    if (r == MM_OK)
        r = mm_group_run(&f->group, f->store, keep_result, f, &ei);
    ck_assert_msg(r == MM_OK, "%s", ei.text);
    ck_assert_uint_eq(f->n_results, n);
}

int fixture_code(const struct fixture *f, size_t i)
{
    return f->results[i]->error ? f->results[i]->error->code : MM_OK;
}

const char *fixture_reason(const struct fixture *f, size_t i)
{
    return f->results[i]->error ? f->results[i]->error->reason : "";
}

int fixture_do(struct fixture *f, const Mintmark__Internal__StoreJob *job)
{
    fixture_run(f, &job, 1);
    return fixture_code(f, 0);
}

void fixture_refused(struct fixture *f, const Mintmark__Internal__StoreJob *job, int code,
                     const char *reason)
{
    char *before = fixture_dump(f), *after;
    const int got = fixture_do(f, job);

    ck_assert_msg(got == code, "%s, not %s", mm_err_name(got), mm_err_name(code));
    ck_assert_str_eq(fixture_reason(f, 0), reason);
    ck_assert(f->results[0]->error->text[0]);
    after = fixture_dump(f);
    ck_assert_str_eq(before, after);
    free(before);
    free(after);
}

const char *batch_uid(unsigned number)
{
    static char text[8][MM_UID_LEN + 1];
    static unsigned next;
    char *to = text[next++ % 8];

    snprintf(to, sizeof(text[0]), "01890000-0000-7000-8000-%012x", number);
    return to;
}

static void device_uid(unsigned number, uint8_t uid[16])
{
    memset(uid, 0, 16);
    uid[0] = 1;
    uid[6] = 0x70;
    for (int i = 0; i < 4; i++)
        uid[12 + i] = (uint8_t)(number >> (24 - 8 * i));
}

static void init_job(Mintmark__Internal__StoreJob *job,
                     Mintmark__Internal__StoreJob__JobCase job_case)
{
    mintmark__internal__store_job__init(job);
    job->job_case = job_case;
}

void make_batch(struct batch_job *j, unsigned number, uint64_t quantity)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH);
    j->job.open_batch = &j->open;
    mintmark__internal__open_batch__init(&j->open);
    j->open.batch = &j->batch;
    j->open.station_max = MM_OPEN_BATCHES_MAX;
    mintmark__v1__batch__init(&j->batch);
    memcpy(j->uid, batch_uid(number), sizeof(j->uid));
    j->batch.batch_uid = j->uid;
    j->batch.name = TEXT("monday");
    j->batch.profile = TEXT(PROFILE);
    j->batch.device_type = TEXT("alarm");
    j->batch.quantity = quantity;
    j->batch.heads = 4;
    j->batch.order_id = TEXT(ORDER);
    j->batch.station = TEXT(STATION);
    j->batch.opened_time_ms = T0;
}

void fixture_chain(unsigned number, ProtobufCBinaryData *ret_chain, ProtobufCBinaryData *ret_sha256)
{
    static uint8_t packed[4][64], hashes[4][MM_SHA256_BYTES];
    Mintmark__Internal__Chain chain = MINTMARK__INTERNAL__CHAIN__INIT;
    char text[] = "issuing CA 0";
    ProtobufCBinaryData certificates[2] = {{strlen(text), (uint8_t *)text},
                                           {4, (uint8_t *)TEXT("root")}};

    *ret_chain = *ret_sha256 = (ProtobufCBinaryData){0};
    if (number == 0)
        return;
    text[strlen(text) - 1] = (char)('0' + number);
    chain.certificates = certificates;
    chain.n_certificates = MM_ARRAY_SIZE(certificates);
    *ret_chain = (ProtobufCBinaryData){mintmark__internal__chain__pack(&chain, packed[number]),
                                       packed[number]};
    ck_assert_int_eq(
        EVP_Digest(packed[number], ret_chain->len, hashes[number], NULL, EVP_sha256(), NULL), 1);
    *ret_sha256 = (ProtobufCBinaryData){MM_SHA256_BYTES, hashes[number]};
}

void make_spend(struct spend_job *j, unsigned batch, const char *request_id, uint32_t request_count,
                unsigned first, unsigned n)
{
    static uint8_t serial[20] = {0x40};
    Mintmark__Internal__SpendAndRecord *s = &j->spend;

    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD);
    j->job.spend_and_record = s;
    mintmark__internal__spend_and_record__init(s);
    s->batch_uid = TEXT(batch_uid(batch));
    s->station = TEXT(STATION);
    s->request_id = TEXT(request_id);
    memset(j->digest, (int)request_count & 0xff, sizeof(j->digest));
    s->digest = (ProtobufCBinaryData){sizeof(j->digest), j->digest};
    s->request_count = request_count;
    s->now_ms = T0 + 5;
    fixture_chain(1, &s->chain, &s->chain_sha256);
    s->devices = j->pointers;
    s->n_devices = n;
    for (unsigned i = 0; i < n; i++) {
        Mintmark__Internal__DeviceRecord *d = &j->devices[i];
        const int len =
            snprintf(j->bundles[i], sizeof(j->bundles[i]), "bundle of device %u", first + i);

        j->pointers[i] = d;
        mintmark__internal__device_record__init(d);
        device_uid(first + i, j->uids[i]);
        d->bundle = (ProtobufCBinaryData){(size_t)len, (uint8_t *)j->bundles[i]};
        d->uid = (ProtobufCBinaryData){16, j->uids[i]};
        d->number = first + i;
        /* No token makes one twice, and other processes' devices may be there. */
        memset(j->keys[i], 0xa5, sizeof(j->keys[i]));
        ck_assert_int_eq(getrandom(j->keys[i], 8, 0), 8);
        d->spki_sha256 = (ProtobufCBinaryData){sizeof(j->keys[i]), j->keys[i]};
        d->serial = (ProtobufCBinaryData){sizeof(serial), serial};
    }
}

void set_key(struct spend_job *j, unsigned i, unsigned number)
{
    memset(j->keys[i], 0x5a, sizeof(j->keys[i]));
    memcpy(j->keys[i], &number, sizeof(number));
    j->devices[i].spki_sha256 = (ProtobufCBinaryData){sizeof(j->keys[i]), j->keys[i]};
}

void make_enroll(struct spend_job *j, unsigned batch, const char *request_id, unsigned first,
                 unsigned n)
{
    make_spend(j, batch, request_id, MM_PROVISION_MAX, first, n);
    for (unsigned i = 0; i < n; i++)
        set_key(j, i, first + i);
    mintmark__internal__enroll_and_record__init(&j->enroll);
    j->enroll.spend = &j->spend;
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD;
    j->job.enroll_and_record = &j->enroll;
}

void set_hw_serial(struct spend_job *j, unsigned i, const char *hw_serial)
{
    snprintf(j->hw_serials[i], sizeof(j->hw_serials[i]), "%s", hw_serial);
    j->devices[i].hw_serial = j->hw_serials[i];
}

void make_report(struct report_job *j, unsigned batch, unsigned first, unsigned n,
                 const char *reason)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES);
    j->job.report_devices = &j->devices;
    mintmark__internal__report_devices__init(&j->devices);
    j->devices.batch_uid = TEXT(batch_uid(batch));
    j->devices.station = TEXT(STATION);
    j->devices.now_ms = T0 + 7;
    j->devices.reports = j->pointers;
    j->devices.n_reports = n;
    for (unsigned i = 0; i < n; i++) {
        Mintmark__Internal__ReportDevices__Report *r = &j->reports[i];

        j->pointers[i] = r;
        mintmark__internal__report_devices__report__init(r);
        device_uid(first + i, j->uids[i]);
        r->uid = (ProtobufCBinaryData){16, j->uids[i]};
        r->state = *reason ? MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO
                           : MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK;
        r->reason = TEXT(reason);
    }
}

void make_get_report(struct small_job *j, unsigned batch)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_GET_REPORT;
    j->job.get_report = &j->get_report;
    mintmark__internal__get_report__init(&j->get_report);
    j->get_report.batch_uid = TEXT(batch_uid(batch));
}

void make_report_page(struct small_job *j, unsigned batch)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_PAGE;
    j->job.report_page = &j->report_page;
    mintmark__internal__report_page__init(&j->report_page);
    j->report_page.batch_uid = TEXT(batch_uid(batch));
}

void make_manifest_page(struct small_job *j, unsigned batch)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_MANIFEST_PAGE;
    j->job.manifest_page = &j->manifest_page;
    mintmark__internal__manifest_page__init(&j->manifest_page);
    j->manifest_page.batch_uid = TEXT(batch_uid(batch));
}

static uint8_t ones[32] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                           1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

void make_add_report(struct small_job *j, unsigned batch)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_REPORT;
    j->job.add_report = &j->add_report;
    mintmark__internal__add_report__init(&j->add_report);
    j->add_report.batch_uid = TEXT(batch_uid(batch));
    j->add_report.size = 1;
    j->add_report.sha256 = j->add_report.document = (ProtobufCBinaryData){sizeof(ones), ones};
}

void make_add_signed(struct small_job *j)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_SIGNED;
    j->job.add_signed = &j->add_signed;
    mintmark__internal__add_signed__init(&j->add_signed);
    j->add_signed.station = TEXT(STATION);
    j->add_signed.signing_profile = TEXT("firmware");
    j->add_signed.mechanism = TEXT("ECDSA-SHA256");
    j->add_signed.digest = j->add_signed.response = (ProtobufCBinaryData){sizeof(ones), ones};
}

void make_begin_export(struct small_job *j, uint64_t first_sequence)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_BEGIN_EXPORT;
    j->job.begin_export = &j->begin_export;
    mintmark__internal__begin_export__init(&j->begin_export);
    j->begin_export.first_sequence = first_sequence;
    j->begin_export.now_ms = T0;
    j->begin_export.by = TEXT("auditor");
}

void make_export_page(struct small_job *j, uint64_t after, uint64_t last)
{
    mintmark__internal__store_job__init(&j->job);
    j->job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_EXPORT_PAGE;
    j->job.export_page = &j->export_page;
    mintmark__internal__export_page__init(&j->export_page);
    j->export_page.after = after;
    j->export_page.last = last;
}

void make_release(struct small_job *j, unsigned batch)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH);
    j->job.release_batch = &j->release;
    mintmark__internal__release_batch__init(&j->release);
    j->release.batch_uid = TEXT(batch_uid(batch));
    j->release.station = TEXT(STATION);
    j->release.now_ms = T0 + 9;
}

void make_delete_keys(struct small_job *j)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_DELETE_KEYS);
    j->job.delete_keys = &j->delete_keys;
    mintmark__internal__delete_keys__init(&j->delete_keys);
}

void make_get_batch(struct small_job *j, unsigned batch)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_GET_BATCH);
    j->job.get_batch = &j->get_batch;
    mintmark__internal__get_batch__init(&j->get_batch);
    j->get_batch.batch_uid = TEXT(batch_uid(batch));
}

void make_find(struct small_job *j, const char *request_id)
{
    static uint8_t digest[32];

    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_FIND_REQUEST);
    j->job.find_request = &j->find;
    mintmark__internal__find_request__init(&j->find);
    j->find.station = TEXT(STATION);
    j->find.request_id = TEXT(request_id);
    j->find.digest = (ProtobufCBinaryData){sizeof(digest), digest};
}

void make_fetch(struct small_job *j, const char *request_id, uint64_t after_row, uint32_t limit)
{
    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_FETCH_REQUEST);
    j->job.fetch_request = &j->fetch;
    mintmark__internal__fetch_request__init(&j->fetch);
    j->fetch.station = TEXT(STATION);
    j->fetch.request_id = TEXT(request_id);
    j->fetch.after_row = after_row;
    j->fetch.limit = limit;
}

void make_get_device(struct small_job *j, unsigned number)
{
    static uint8_t uid[16];

    init_job(&j->job, MINTMARK__INTERNAL__STORE_JOB__JOB_GET_DEVICE);
    j->job.get_device = &j->get_device;
    mintmark__internal__get_device__init(&j->get_device);
    device_uid(number, uid);
    j->get_device.uid = (ProtobufCBinaryData){sizeof(uid), uid};
}

void fixture_populate(struct fixture *f, uint64_t quantity)
{
    struct order_job order;
    struct batch_job batch;
    const Mintmark__Internal__StoreJob *jobs[] = {&order.job, &batch.job};

    make_order(&order, ORDER, quantity);
    make_batch(&batch, 1, quantity);
    fixture_run(f, jobs, MM_ARRAY_SIZE(jobs));
    ck_assert_str_eq(fixture_reason(f, 0), "");
    ck_assert_str_eq(fixture_reason(f, 1), "");
}

void fixture_spend(struct fixture *f, unsigned batch, const char *request_id, uint32_t count,
                   unsigned first, unsigned n)
{
    struct spend_job j;

    make_spend(&j, batch, request_id, count, first, n);
    ck_assert_msg(fixture_do(f, &j.job) == MM_OK, "%s", fixture_reason(f, 0));
}
