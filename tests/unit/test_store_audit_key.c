/* SPDX-License-Identifier: Apache-2.0 */
/* The audit key changes: only as the key before it has signed, as a record, and for good. */
#include "tests/unit/guard_support.h"

#include "daemon/document/draft.h"
#include "daemon/store/audit_key.h"

static struct person second = {.path = "second.pem"}, forger = {.path = "forger.pem"};
static struct person first; /* the audit key as it was when the test began */

/* How a change is made wrong. */
struct wrong {
    const struct person *signer, *acceptor; /* NULL: the right ones */
    bool other_ledger, other_head, other_hash;
    uint64_t sequence; /* 0: the right one */
};

static void setup_keys(void)
{
    setup();
    if (!second.key) {
        make_person(&second, "second");
        make_person(&forger, "forger");
        first = audit;
    }
    memcpy(first.path, audit.path, sizeof(first.path));
    write_person(&second, "second.pem");
    start();
}

static void teardown_keys(void)
{
    audit = first;
    conf.audit_certificate = first.path;
    unlink(second.path);
    teardown();
}

static void key_hash(const struct person *p, uint8_t hash[32])
{
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_document_key_hash(p->certificate, hash, &ei), MM_OK);
}

/* As CMS that stands beside a file. */
static void accept_change(const struct person *p, const struct mm_buf *document, struct mm_buf *der)
{
    BIO *bio = BIO_new_mem_buf(document->data, (int)document->len);
    CMS_ContentInfo *cms =
        CMS_sign(p->certificate, p->key, NULL, bio, CMS_DETACHED | CMS_BINARY | CMS_NOSMIMECAP);
    uint8_t *data = NULL;
    int len;

    ck_assert_ptr_nonnull(cms);
    len = i2d_CMS_ContentInfo(cms, &data);
    ck_assert_int_gt(len, 0);
    mm_buf_append(der, data, (size_t)len);
    OPENSSL_free(data);
    CMS_ContentInfo_free(cms);
    BIO_free(bio);
}

struct made {
    struct mm_buf document, acceptance;
    uint8_t former[32], certificate[32];
    Mintmark__V1__AuditKeyChanged event;
};
static struct made made;

static void make_document(const struct person *to, const struct wrong *w)
{
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__AuditKeyChange change = MINTMARK__V1__AUDIT_KEY_CHANGE__INIT;
    Mintmark__Internal__Guard *g = mm_guard_message(f.store);
    uint8_t *der = NULL;
    const int len = i2d_X509(to->certificate, &der);

    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_AUDIT_KEY_CHANGE;
    content.audit_key_change = &change;
    g->ledger_id.data[0] ^= w->other_ledger;
    g->head.data[0] ^= w->other_head;
    change.ledger_id = g->ledger_id;
    change.sequence = w->sequence ? w->sequence : g->sequence;
    change.head = g->head;
    change.former_key_sha256 = (ProtobufCBinaryData){sizeof(made.former), made.former};
    change.certificate = (ProtobufCBinaryData){(size_t)len, der};
    change.time_ms = now_ms;
    sign(w->signer ? w->signer : &audit, &content, &made.document);
    OPENSSL_free(der);
    mintmark__internal__guard__free_unpacked(g, NULL);
}

static void make_key_change(const struct person *to, const struct wrong *w)
{
    mm_buf_done(&made.document);
    mm_buf_done(&made.acceptance);
    made.document = made.acceptance = MM_BUF_INIT(MM_DOCUMENT_MAX);
    key_hash(&audit, made.former);
    ck_assert_int_eq(X509_digest(to->certificate, EVP_sha256(), made.certificate, NULL), 1);
    made.certificate[0] ^= w->other_hash;
    make_document(to, w);
    accept_change(w->acceptor ? w->acceptor : to, &made.document, &made.acceptance);
    mintmark__v1__audit_key_changed__init(&made.event);
    made.event.former_key_sha256 = (ProtobufCBinaryData){sizeof(made.former), made.former};
    made.event.certificate_sha256 =
        (ProtobufCBinaryData){sizeof(made.certificate), made.certificate};
    made.event.document = (ProtobufCBinaryData){made.document.len, made.document.data};
    made.event.acceptance = (ProtobufCBinaryData){made.acceptance.len, made.acceptance.data};
}

static void done_key_change(void)
{
    mm_buf_done(&made.document);
    mm_buf_done(&made.acceptance);
}

/* The file that the ceremony writes, in place of to's own; with the change that was made last, or
 * without. */
static void write_keys(const struct person *to, bool with_change)
{
    const size_t len = mintmark__v1__audit_key_changed__get_packed_size(&made.event);
    uint8_t *packed = malloc(len + 1);
    FILE *out = fopen(to->path, "w");

    ck_assert(packed && out);
    mintmark__v1__audit_key_changed__pack(&made.event, packed);
    PEM_write_X509(out, to->certificate);
    if (with_change)
        PEM_write(out, "MINTMARK AUDIT KEY CHANGE", "", packed, (long)len);
    PEM_write_X509(out, first.certificate);
    fclose(out);
    free(packed);
}

static int change_key(const struct person *to)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    Mintmark__Internal__ChangeAuditKey body = MINTMARK__INTERNAL__CHANGE_AUDIT_KEY__INIT;
    Mintmark__Internal__StoreJob job;
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_io_read_file(to->path, MM_PEM_FILE_MAX, &pem, &ei), MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_AUDIT_KEY);
    job.change_audit_key = &body;
    body.pem = (ProtobufCBinaryData){pem.len, pem.data};
    return fixture_do(&f, &job);
}

static uint64_t records(void)
{
    Mintmark__Internal__Guard *g = mm_guard_message(f.store);
    const uint64_t n = g->sequence;

    mintmark__internal__guard__free_unpacked(g, NULL);
    return n;
}

static void sign_from_now_on(struct person *p)
{
    audit = *p;
    conf.audit_certificate = p->path;
}

static const struct wrong nothing;

START_TEST(change_is_a_record_and_only_the_new_key_signs_after_it)
{
    const uint64_t before = records();

    make_key_change(&second, &nothing);
    write_keys(&second, true);
    ck_assert_msg(change_key(&second) == MM_OK, "%s", fixture_reason(&f, 0));
    ck_assert_uint_eq(records(), before + 1);
    /* The same file again says nothing new. */
    ck_assert_int_eq(change_key(&second), MM_OK);
    ck_assert_uint_eq(records(), before + 1);
    sign_from_now_on(&second);
    anchor(false, true);
    stop();
    start();
    done_key_change();
}
END_TEST

START_TEST(checkpoint_by_the_former_key_is_refused)
{
    Mintmark__Internal__PrepareAnchor prepare = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__Guard *prepared;
    Mintmark__Internal__StoreJob job;

    make_key_change(&second, &nothing);
    write_keys(&second, true);
    ck_assert_int_eq(change_key(&second), MM_OK);
    init(&job, MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR);
    job.prepare_anchor = &prepare;
    prepare.checkpoint = true;
    ck_assert_int_eq(fixture_do(&f, &job), MM_OK);
    prepared = f.results[0]->guard;
    f.results[0]->guard = NULL;
    f.results[0]->result_case = MINTMARK__INTERNAL__STORE_RESULT__RESULT__NOT_SET;
    ck_assert_int_eq(add_checkpoint(&first, &prepared->checkpoint), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "CHECKPOINT_BAD");
    ck_assert_int_eq(add_checkpoint(&second, &prepared->checkpoint), MM_OK);
    mintmark__internal__guard__free_unpacked(prepared, NULL);
    done_key_change();
}
END_TEST

/* What an insider may try who has the database, the files and keys, but not the audit key. */
static const struct {
    struct wrong wrong;
    bool by_forger, accepted_by_forger;
} forgeries[] = {
    {.by_forger = true},
    {.accepted_by_forger = true},
    {.wrong = {.other_ledger = true}},
    {.wrong = {.other_head = true}},
    {.wrong = {.other_hash = true}},
    {.wrong = {.sequence = 1000000}},
};

START_TEST(forged_change_is_refused_and_changes_nothing)
{
    const uint64_t before = records();
    struct wrong w = forgeries[_i].wrong;

    w.signer = forgeries[_i].by_forger ? &forger : NULL;
    w.acceptor = forgeries[_i].accepted_by_forger ? &forger : NULL;
    make_key_change(&second, &w);
    write_keys(&second, true);
    ck_assert_int_eq(change_key(&second), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "AUDIT_CHANGE_BAD");
    ck_assert_uint_eq(records(), before);
    anchor(false, true); /* under the first key */
    stop();
    start();
    done_key_change();
}
END_TEST

START_TEST(key_without_a_change_is_refused)
{
    make_key_change(&second, &nothing);
    write_keys(&second, false);
    ck_assert_int_eq(change_key(&second), MM_ERR_PRECONDITION);
    ck_assert_str_eq(fixture_reason(&f, 0), "AUDIT_KEY_UNJUSTIFIED");
    /* Nor does the change to one key lead to another. */
    write_person(&forger, "forger.pem");
    write_keys(&forger, true);
    ck_assert_int_lt(change_key(&forger), 0);
    unlink(forger.path);
    done_key_change();
}
END_TEST

START_TEST(certificate_out_of_date_is_refused)
{
    make_key_change(&second, &nothing);
    write_keys(&second, true);
    now_ms = (int64_t)86400 * 400 * 1000;
    ck_assert_int_eq(change_key(&second), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "AUDIT_CERTIFICATE");
    done_key_change();
}
END_TEST

/* Killed at any moment between naming the key and the first checkpoint under it. */
START_TEST(start_takes_a_change_that_no_reload_took)
{
    make_key_change(&second, &nothing);
    write_keys(&second, true);
    fixture_close(&f);
    sign_from_now_on(&second);
    open_guarded();
    ck_assert_int_ne(guard_now()->state, LOCKED);
    fixture_close(&f); /* before its checkpoint */
    open_guarded();
    ck_assert_int_ne(guard_now()->state, LOCKED);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
    done_key_change();
}
END_TEST

START_TEST(start_with_a_key_that_nobody_justified_locks_until_unlocked)
{
    make_key_change(&second, &nothing);
    write_keys(&second, false);
    fixture_close(&f);
    sign_from_now_on(&second);
    starts_locked("AUDIT_KEY_UNJUSTIFIED");
    fixture_close(&f);
    /* The right file again: it opens by itself. */
    sign_from_now_on(&first);
    start();
    fixture_close(&f);
    sign_from_now_on(&second);
    starts_locked("AUDIT_KEY_UNJUSTIFIED");
    ck_assert_int_eq(unlock_by(&officer, 0), MM_OK);
    anchor(false, false);
    ck_assert_int_eq(guard_now()->state, OPEN);
    stop();
    start();
    done_key_change();
}
END_TEST

/* The insider's record in the chain itself, with every hash right: the store's own code writes it.
 */
START_TEST(forged_record_in_the_chain_locks)
{
    Mintmark__V1__LedgerRecord record =
        MM_LEDGER_RECORD(AUDIT_KEY_CHANGED, audit_key_changed, &made.event);
    struct mm_errinfo ei = {0};

    make_key_change(&second, &(struct wrong){.signer = &forger});
    ck_assert_int_eq(mm_store_begin(f.store, &ei), MM_OK);
    ck_assert_int_eq(mm_sql_verb_begin(f.store, &ei), MM_OK);
    ck_assert_int_eq(mm_sql_verb_finish(f.store, mm_ledger_append(f.store, &record, &ei), &ei),
                     MM_OK);
    ck_assert_int_eq(mm_store_commit(f.store, &ei), MM_OK);
    fixture_close(&f);
    starts_locked("LEDGER_EDITED");
    done_key_change();
}
END_TEST

START_TEST(file_that_is_none_is_refused)
{
    static const char *const files[] = {
        "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    FILE *out = fopen(second.path, "w");

    fputs(files[_i], out);
    fclose(out);
    ck_assert_int_eq(change_key(&second), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "TRUST_INVALID");
}
END_TEST

START_TEST(block_that_is_no_change_is_refused)
{
    FILE *out = fopen(second.path, "w");

    PEM_write_X509(out, second.certificate);
    PEM_write(out, "MINTMARK AUDIT KEY CHANGE", "", (const uint8_t *)"\x0a\xff", 2);
    fclose(out);
    ck_assert_int_eq(change_key(&second), MM_ERR_INVALID);
    ck_assert_str_eq(fixture_reason(&f, 0), "AUDIT_CHANGE_BAD");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_audit_key");
    TCase *c = tcase_create("change");

    tcase_add_checked_fixture(c, setup_keys, teardown_keys);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, change_is_a_record_and_only_the_new_key_signs_after_it);
    tcase_add_test(c, checkpoint_by_the_former_key_is_refused);
    tcase_add_loop_test(c, forged_change_is_refused_and_changes_nothing, 0,
                        (int)MM_ARRAY_SIZE(forgeries));
    tcase_add_test(c, key_without_a_change_is_refused);
    tcase_add_test(c, certificate_out_of_date_is_refused);
    tcase_add_test(c, start_takes_a_change_that_no_reload_took);
    tcase_add_test(c, start_with_a_key_that_nobody_justified_locks_until_unlocked);
    tcase_add_test(c, forged_record_in_the_chain_locks);
    tcase_add_loop_test(c, file_that_is_none_is_refused, 0, 2);
    tcase_add_test(c, block_that_is_no_change_is_refused);
    suite_add_tcase(s, c);
    return run_suite(s);
}
