/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guarded store in a test: a token that is a few bytes, keys that sign, the front's part of the
 * work, and copies of the database that are put back.
 */
#pragma once

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { K = 20, M = 3 };

#define OPEN   MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_OPEN
#define LOCKED MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_LOCKED

/* Two keys that live as long as the program. */
struct person {
    EVP_PKEY *key;
    X509 *certificate;
    char path[96]; /* of the PEM file */
};

static struct fixture f;
static struct person audit = {.path = "audit.pem"}, officer = {.path = "officer.pem"};
static struct mm_conf_appliance conf;
static struct mm_trust *officers; /* who may unlock */
static int64_t now_ms;

/* What the token holds. */
static struct {
    uint8_t anchor[1024];
    size_t len;
} token;

static inline int64_t wall_ms(void)
{
    return now_ms;
}

static inline int64_t mono_us(void)
{
    return 1000;
}

static inline void make_person(struct person *p, const char *name)
{
    X509_NAME *subject;

    p->key = EVP_EC_gen("P-256");
    p->certificate = X509_new();
    ck_assert(p->key && p->certificate);
    subject = X509_get_subject_name(p->certificate);
    X509_set_version(p->certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(p->certificate), 7);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
    X509_set_issuer_name(p->certificate, subject);
    /* The clock of these tests begins soon after 1970. */
    ASN1_TIME_set(X509_getm_notBefore(p->certificate), 1);
    ASN1_TIME_set(X509_getm_notAfter(p->certificate), 86400 * 365);
    X509_set_pubkey(p->certificate, p->key);
    ck_assert_int_gt(X509_sign(p->certificate, p->key, EVP_sha256()), 0);
}

static inline void write_person(struct person *p, const char *file)
{
    FILE *out;

    snprintf(p->path, sizeof(p->path), "%s/%s", f.dir, file);
    out = fopen(p->path, "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(PEM_write_X509(out, p->certificate), 1);
    fclose(out);
}

static inline void setup(void)
{
    struct mm_errinfo ei = {0};

    if (!audit.key) {
        make_person(&audit, "audit");
        make_person(&officer, "officer");
    }
    fixture_setup(&f);
    now_ms = T0 + 100;
    mm_clock_replace(wall_ms, mono_us);
    write_person(&audit, "audit.pem");
    write_person(&officer, "officer.pem");
    ck_assert_msg(mm_trust_read(officer.path, &officers, &ei) == MM_OK, "%s", ei.text);
    conf = (struct mm_conf_appliance){.given = true,
                                      .audit_certificate = audit.path,
                                      .anchor_devices = K,
                                      .unclean_starts_max = M};
    token.len = 0;
}

static inline void teardown(void)
{
    unlink(audit.path);
    unlink(officer.path);
    fixture_teardown(&f);
    mm_trust_free(officers);
    officers = NULL;
}

/* ---- the front's part -------------------------------------------------------------------- */

static const Mintmark__Internal__Guard *guard_now(void)
{
    ck_assert_int_eq(f.results[0]->result_case, MINTMARK__INTERNAL__STORE_RESULT__RESULT_GUARD);
    return f.results[0]->guard;
}

static inline void init(Mintmark__Internal__StoreJob *job,
                        Mintmark__Internal__StoreJob__JobCase job_case)
{
    mintmark__internal__store_job__init(job);
    job->job_case = job_case;
}

static inline int check_anchor(void)
{
    Mintmark__Internal__StoreJob job;
    Mintmark__Internal__CheckAnchor body = MINTMARK__INTERNAL__CHECK_ANCHOR__INIT;

    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR);
    job.check_anchor = &body;
    body.anchor = (ProtobufCBinaryData){token.len, token.anchor};
    return fixture_do(&f, &job);
}

static inline void sign(const struct person *p, const Mintmark__V1__SignedDocument *content,
                        struct mm_buf *cms)
{
    const struct mm_document_signer signer = {.key = p->key, .certificate = p->certificate};
    struct mm_errinfo ei = {0};

    ck_assert_msg(mm_document_sign(&signer, content, cms, &ei) == MM_OK, "%s", ei.text);
}

static inline int add_checkpoint(const struct person *by, const ProtobufCBinaryData *content)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    Mintmark__Internal__AddCheckpoint body = MINTMARK__INTERNAL__ADD_CHECKPOINT__INIT;
    Mintmark__Internal__StoreJob job;
    Mintmark__V1__SignedDocument *document =
        mintmark__v1__signed_document__unpack(NULL, content->len, content->data);

    ck_assert_ptr_nonnull(document);
    sign(by, document, &cms);
    mintmark__v1__signed_document__free_unpacked(document, NULL);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_CHECKPOINT);
    job.add_checkpoint = &body;
    body.document = (ProtobufCBinaryData){cms.len, cms.data};
    return fixture_do(&f, &job);
}

/* One cycle: prepare, sign, add, write, confirm. */
static inline void anchor(bool clean, bool checkpoint)
{
    Mintmark__Internal__PrepareAnchor prepare = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__Anchored anchored = MINTMARK__INTERNAL__ANCHORED__INIT;
    Mintmark__Internal__Guard *prepared;
    Mintmark__Internal__StoreJob job;

    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &prepare;
    prepare.clean = clean;
    prepare.checkpoint = checkpoint;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    prepared = f.results[0]->guard;
    f.results[0]->guard = NULL;
    f.results[0]->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT__NOT_SET;
    if (prepared->checkpoint.len > 0)
        ck_assert_int_eq(add_checkpoint(&audit, &prepared->checkpoint), MM_OK);
    ck_assert_uint_le(prepared->anchor.len, sizeof(token.anchor));
    memcpy(token.anchor, prepared->anchor.data, prepared->anchor.len);
    token.len = prepared->anchor.len;
    anchored.sequence = prepared->sequence;
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED);
    job.anchored = &anchored;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    mintmark__internal__guard__free_unpacked(prepared, NULL);
}

static inline void turn_on(void)
{
    struct mm_errinfo ei = {0};

    ck_assert_msg(mm_store_guard(f.store, &conf, &ei) == MM_OK, "%s", ei.text);
    f.store->site.officers = officers;
}

static inline void open_guarded(void)
{
    if (!f.store)
        fixture_open(&f);
    turn_on();
    ck_assert_int_eq(check_anchor(), MM_OK);
}

static inline void start(void)
{
    open_guarded();
    ck_assert_msg(guard_now()->state != LOCKED, "%s: %s", guard_now()->reason, guard_now()->text);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
}

static inline void starts_locked(const char *reason)
{
    open_guarded();
    ck_assert_int_eq(guard_now()->state, LOCKED);
    ck_assert_str_eq(guard_now()->reason, reason);
    ck_assert_uint_gt(strlen(guard_now()->text), 0);
}

static inline void stop(void)
{
    anchor(true, true);
    fixture_close(&f);
}

/* ---- copies of the database -------------------------------------------------------------- */

struct copy {
    struct mm_buf main, wal;
};
#define COPY_INIT ((struct copy){MM_BUF_INIT(1 << 24), MM_BUF_INIT(1 << 24)})

static inline void copy_file(const char *suffix, struct mm_buf *to)
{
    struct mm_errinfo ei = {0};
    char path[128];

    snprintf(path, sizeof(path), "%s%s", f.path, suffix);
    mm_buf_reset(to);
    if (access(path, F_OK) == 0)
        ck_assert_int_eq(mm_io_read_file(path, 1 << 24, to, &ei), MM_OK);
}

static inline void copy_take(struct copy *c)
{
    copy_file("", &c->main);
    copy_file("-wal", &c->wal);
}

static inline void put_file(const char *suffix, const struct mm_buf *from)
{
    struct mm_errinfo ei = {0};
    char path[128];

    snprintf(path, sizeof(path), "%s%s", f.path, suffix);
    unlink(path);
    if (from->len > 0)
        ck_assert_int_eq(mm_io_write_file(path, 0600, from->data, from->len, &ei), MM_OK);
}

/* As after kill -9 with the disk put back. */
static inline void copy_put(const struct copy *c)
{
    fixture_close(&f);
    put_file("", &c->main);
    put_file("-wal", &c->wal);
}

static inline void copy_done(struct copy *c)
{
    mm_buf_done(&c->main);
    mm_buf_done(&c->wal);
}

static inline int spend(const char *request, unsigned first, unsigned n)
{
    static struct spend_job j;

    make_spend(&j, 1, request, 1000, first, n);
    return fixture_do(&f, &j.job);
}

static inline int unlock_by(const struct person *p, uint64_t skew)
{
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_DOCUMENT_MAX);
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__Unlock u = MINTMARK__V1__UNLOCK__INIT;
    Mintmark__Internal__UnlockLedger body = MINTMARK__INTERNAL__UNLOCK_LEDGER__INIT;
    Mintmark__Internal__Guard *g = mm_guard_message(f.store);
    Mintmark__Internal__StoreJob job;
    static uint8_t nonce[16];

    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_UNLOCK;
    content.unlock = &u;
    u.ledger_id = g->ledger_id;
    u.database_sequence = g->sequence + skew;
    u.database_head = g->head;
    u.anchor_sequence = g->anchor_sequence;
    u.anchor_head = g->anchor_head;
    u.lock_reason = g->reason;
    u.reason = TEXT("the disk was restored from Monday's backup");
    u.time_ms = now_ms;
    u.nonce = (ProtobufCBinaryData){sizeof(nonce), nonce};
    sign(p, &content, &cms);
    mintmark__internal__guard__free_unpacked(g, NULL);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_UNLOCK);
    job.unlock = &body;
    body.document = (ProtobufCBinaryData){cms.len, cms.data};
    return fixture_do(&f, &job);
}
