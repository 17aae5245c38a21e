/* SPDX-License-Identifier: Apache-2.0 */
/* A manifest's pages: each device's x5c has the chain that it was issued under. Chains and pages
 * also while every allocation fails in turn: ours, SQLite's, OpenSSL's and libprotobuf-c's. */
#include "daemon/base/json.h"
#include "daemon/base/text.h"
#include "tests/unit/guard_support.h"
#include "tests/unit/store_sweep.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

/* ---- what there is ----------------------------------------------------------------------- */

static struct spend_job j;

struct chain {
    uint8_t packed[MM_CHAIN_BYTES_MAX], sha256[MM_SHA256_BYTES];
    size_t len;
    char *text; /* as x5c has it after the device's certificate */
};
static struct chain of_a, of_b;

static void make_chain(struct chain *c, const ProtobufCBinaryData *certificates, size_t n)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(2 * MM_CHAIN_BYTES_MAX);
    Mintmark__Internal__Chain chain = MINTMARK__INTERNAL__CHAIN__INIT;

    chain.n_certificates = n;
    chain.certificates = (ProtobufCBinaryData *)(uintptr_t)certificates;
    c->len = mintmark__internal__chain__get_packed_size(&chain);
    ck_assert_uint_le(c->len, sizeof(c->packed));
    mintmark__internal__chain__pack(&chain, c->packed);
    ck_assert_int_eq(EVP_Digest(c->packed, c->len, c->sha256, NULL, EVP_sha256(), NULL), 1);
    for (size_t i = 0; i < n; i++) {
        mm_buf_append_str(&text, ",\"");
        mm_json_base64(&text, (struct mm_bytes){certificates[i].data, certificates[i].len});
        mm_buf_append_str(&text, "\"");
    }
    free(c->text);
    c->text = strdup(mm_buf_cstr(&text));
}

/* The issuer of every device here: the officer's certificate, whose name the devices' have. */
static ProtobufCBinaryData issuer_der(void)
{
    static uint8_t der[2048];
    uint8_t *at = der;
    const int len = i2d_X509(officer.certificate, &at);

    ck_assert(len > 0 && (size_t)len <= sizeof(der));
    return (ProtobufCBinaryData){(size_t)len, der};
}

static ASN1_OCTET_STRING *make_key_id(uint8_t key_id)
{
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();

    ck_assert_int_eq(ASN1_OCTET_STRING_set(id, &key_id, 1), 1);
    return id;
}

static uint8_t issuer_key_id; /* of the devices to be; 0: they do not name it */

static void name_issuer_key(X509 *x)
{
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();

    authority->keyid = make_key_id(issuer_key_id);
    ck_assert_int_eq(X509_add1_ext_i2d(x, NID_authority_key_identifier, authority, 0, 0), 1);
    AUTHORITY_KEYID_free(authority);
}

static size_t make_bundle(const uint8_t raw[16], uint8_t ret_bundle[1024])
{
    Mintmark__V1__Bundle bundle = MINTMARK__V1__BUNDLE__INIT;
    char uid[MM_UID_LEN + 1];
    X509 *x = X509_new();
    uint8_t *der = NULL;
    int len;

    mm_uuid_format(raw, uid);
    bundle.device_uid = uid;
    bundle.issued_time_ms = T0;
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), raw[15] + 1);
    X509_set_issuer_name(x, X509_get_subject_name(officer.certificate));
    ASN1_TIME_set(X509_getm_notBefore(x), 1);
    ASN1_TIME_set(X509_getm_notAfter(x), 86400 * 365);
    X509_set_pubkey(x, audit.key);
    if (issuer_key_id)
        name_issuer_key(x);
    ck_assert_int_gt(X509_sign(x, officer.key, EVP_sha256()), 0);
    len = i2d_X509(x, &der);
    ck_assert_int_gt(len, 0);
    bundle.certificate = (ProtobufCBinaryData){(size_t)len, der};
    ck_assert_uint_le(mintmark__v1__bundle__get_packed_size(&bundle), 1024);
    len = (int)mintmark__v1__bundle__pack(&bundle, ret_bundle);
    OPENSSL_free(der);
    X509_free(x);
    return (size_t)len;
}

static void make_spend_under(const struct chain *chain, const char *request_id, unsigned count,
                             unsigned first, unsigned n)
{
    static uint8_t bundles[MM_CHUNK_DEVICES][1024];

    ck_assert_uint_le(n, MM_CHUNK_DEVICES);
    make_spend(&j, 1, request_id, count, first, n);
    j.spend.chain = j.spend.chain_sha256 = (ProtobufCBinaryData){0};
    if (chain) {
        j.spend.chain = (ProtobufCBinaryData){chain->len, (uint8_t *)(uintptr_t)chain->packed};
        j.spend.chain_sha256 =
            (ProtobufCBinaryData){sizeof(chain->sha256), (uint8_t *)(uintptr_t)chain->sha256};
    }
    for (unsigned i = 0; i < n; i++)
        j.devices[i].bundle = (ProtobufCBinaryData){make_bundle(j.uids[i], bundles[i]), bundles[i]};
}

static void spend_under(const struct chain *chain, const char *request_id, unsigned count,
                        unsigned first, unsigned n)
{
    make_spend_under(chain, request_id, count, first, n);
    ck_assert_msg(fixture_do(&f, &j.job) == MM_OK, "%s", fixture_reason(&f, 0));
}

static void release(void)
{
    struct small_job small;

    make_release(&small, 1);
    ck_assert_int_eq(fixture_do(&f, &small.job), MM_OK);
}

/* ---- what is said ------------------------------------------------------------------------ */

struct place {
    uint64_t request, row;
};

/* A page from there on; what is after it is where the next begins, and the answer whether there is
 * one. f.results[0] has it. */
static bool page(struct place *at, const struct chain *in_force)
{
    Mintmark__Internal__ReportPlace place = MINTMARK__INTERNAL__REPORT_PLACE__INIT;
    const Mintmark__Internal__ManifestPiece *piece;
    struct small_job small;

    make_manifest_page(&small, 1);
    place.request = at->request;
    place.row = at->row;
    if (at->request)
        small.manifest_page.place = &place;
    if (in_force)
        small.manifest_page.chain =
            (ProtobufCBinaryData){in_force->len, (uint8_t *)(uintptr_t)in_force->packed};
    ck_assert_msg(fixture_do(&f, &small.job) == MM_OK, "%s", fixture_reason(&f, 0));
    piece = f.results[0]->manifest_piece;
    if (piece->next)
        *at = (struct place){piece->next->request, piece->next->row};
    return piece->next;
}

static void decode(const char *base64url, char *text, size_t room)
{
    const size_t n = strlen(base64url);
    char *base64 = malloc(n + 4);
    int len;

    ck_assert_ptr_nonnull(base64);
    ck_assert_uint_lt(n, room);
    for (size_t i = 0; i < n; i++)
        base64[i] = base64url[i] == '-' ? '+' : base64url[i] == '_' ? '/' : base64url[i];
    memset(base64 + n, '=', 3);
    len = EVP_DecodeBlock((uint8_t *)text, (uint8_t *)base64, (int)((n + 3) / 4 * 4));
    ck_assert_int_gt(len, 0);
    text[(size_t)len - (4 - n % 4) % 4] = 0;
    free(base64);
}

/* Of the i-th of the page: this chain, and nothing after it. */
static void is_under(size_t i, const struct chain *chain)
{
    static char text[512 * 1024];
    const char *x5c, *rest;

    decode(f.results[0]->manifest_piece->entries[i]->payload, text, sizeof(text));
    x5c = strstr(text, "\"x5c\":[\"");
    ck_assert_ptr_nonnull(x5c);
    rest = strchr(x5c + strlen("\"x5c\":[\""), '"');
    ck_assert_ptr_nonnull(rest);
    if (chain) {
        ck_assert_uint_ge(strlen(rest), 1 + strlen(chain->text));
        ck_assert_mem_eq(rest + 1, chain->text, strlen(chain->text));
        rest += strlen(chain->text);
    }
    ck_assert_str_eq(rest + 1, "]}]}}");
}

static size_t entries(void)
{
    return f.results[0]->manifest_piece->n_entries;
}

/* ---- tests ------------------------------------------------------------------------------- */

static void begin(void)
{
    const ProtobufCBinaryData a[] = {issuer_der(), {4, (uint8_t *)TEXT("root")}};
    const ProtobufCBinaryData b[] = {{4, (uint8_t *)TEXT("ca b")}, {6, (uint8_t *)TEXT("root b")}};

    make_chain(&of_a, a, MM_ARRAY_SIZE(a));
    make_chain(&of_b, b, MM_ARRAY_SIZE(b));
    start();
    fixture_populate(&f, 1000);
}

static void end(void)
{
    free(of_a.text);
    free(of_b.text);
    of_a.text = of_b.text = NULL;
    teardown();
}

START_TEST(each_device_has_the_chain_that_is_recorded_with_it)
{
    struct place at = {0};

    begin();
    spend_under(&of_a, "r1", 5, 1, 2);
    spend_under(&of_b, "r1", 5, 3, 2);
    spend_under(&of_a, "r1", 5, 5, 1);
    release();
    /* Whichever is in force now. */
    for (int i = 0; i < 3; i++) {
        const struct chain *in_force[] = {&of_a, &of_b, NULL};

        ck_assert(!page(&at, in_force[i]));
        ck_assert_uint_eq(entries(), 5);
        for (size_t k = 0; k < 5; k++)
            is_under(k, k == 2 || k == 3 ? &of_b : &of_a);
    }
}
END_TEST

START_TEST(a_device_that_none_is_recorded_with_has_the_one_in_force_if_that_issued_it)
{
    struct place at = {0};

    begin();
    spend_under(NULL, "r1", 1, 1, 1);
    release();
    page(&at, &of_a);
    is_under(0, &of_a);
    page(&at, NULL);
    is_under(0, NULL);
    page(&at, &of_b); /* no certificate that anybody can read */
    is_under(0, NULL);
    {
        /* Another CA's. */
        uint8_t *der = NULL;
        const int len = i2d_X509(audit.certificate, &der);
        const ProtobufCBinaryData other = {(size_t)len, der};

        ck_assert_int_gt(len, 0);
        make_chain(&of_b, &other, 1);
        OPENSSL_free(der);
    }
    page(&at, &of_b);
    is_under(0, NULL);
}
END_TEST

/* Of the issuer, as if this were its key. */
static void make_chain_of_key(struct chain *c, uint8_t key_id)
{
    X509 *x = X509_dup(officer.certificate);
    ASN1_OCTET_STRING *id = make_key_id(key_id);
    ProtobufCBinaryData one = {0};

    ck_assert_int_eq(X509_add1_ext_i2d(x, NID_subject_key_identifier, id, 0, 0), 1);
    ck_assert_int_gt(X509_sign(x, officer.key, EVP_sha256()), 0);
    one.len = (size_t)i2d_X509(x, &one.data);
    make_chain(c, &one, 1);
    OPENSSL_free(one.data);
    ASN1_OCTET_STRING_free(id);
    X509_free(x);
}

START_TEST(a_device_of_before_the_ca_has_a_new_key_has_not_the_chain_in_force)
{
    struct place at = {0};

    begin();
    issuer_key_id = 1;
    spend_under(NULL, "r1", 1, 1, 1);
    issuer_key_id = 0;
    release();
    make_chain_of_key(&of_b, 1);
    page(&at, &of_b);
    is_under(0, &of_b);
    make_chain_of_key(&of_b, 2);
    page(&at, &of_b);
    is_under(0, NULL);
    page(&at, &of_a); /* that does not say which its key is */
    is_under(0, &of_a);
}
END_TEST

enum { LONG = 2 * K };

START_TEST(a_page_of_long_chains_has_fewer_devices)
{
    static uint8_t big[MM_CHAIN_BYTES_MAX - 64];
    const ProtobufCBinaryData one = {sizeof(big), big};
    struct place at = {0};
    size_t seen = 0, pages = 0;
    bool more = true;

    memset(big, 0x5a, sizeof(big));
    begin();
    make_chain(&of_b, &one, 1);
    for (unsigned i = 0; i < LONG + MM_CHUNK_DEVICES; i += K) {
        spend_under(i < LONG ? &of_b : &of_a, "r1", LONG + MM_CHUNK_DEVICES, 1 + i, K);
        anchor(false, false);
    }
    release();
    while (more) {
        size_t bytes = 0;

        more = page(&at, &of_a);
        for (size_t i = 0; i < entries(); i++) {
            is_under(i, seen + i < LONG ? &of_b : &of_a);
            bytes += strlen(f.results[0]->manifest_piece->entries[i]->payload);
        }
        /* 1 MiB and one more device, in base64url. */
        ck_assert_uint_le(bytes, (1024 + 128) * 1024 / 3 * 4);
        seen += entries();
        pages++;
    }
    ck_assert_uint_eq(seen, LONG + MM_CHUNK_DEVICES);
    ck_assert_uint_ge(pages, 3);
}
END_TEST

START_TEST(a_chain_that_is_none_is_refused)
{
    static uint8_t none[] = {0xff, 0xff}, huge[MM_CHAIN_BYTES_MAX + 1];
    struct small_job small;

    begin();
    spend_under(&of_a, "r1", 1, 1, 1);
    release();
    make_manifest_page(&small, 1);
    small.manifest_page.chain = (ProtobufCBinaryData){sizeof(none), none};
    fixture_refused(&f, &small.job, MM_ERR_INVALID, "INVALID_FIELD");
    small.manifest_page.chain = (ProtobufCBinaryData){sizeof(huge), huge};
    fixture_refused(&f, &small.job, MM_ERR_INVALID, "INVALID_FIELD");
}
END_TEST

/* ---- short of memory --------------------------------------------------------------------- */

static int attempt(const Mintmark__Internal__StoreJob *job, unsigned nth, bool *ret_failed)
{
    const int code = do_short_of_memory(&f, job, nth, ret_failed);

    done_or_short_of_memory(code, nth, *ret_failed);
    return code;
}

/* Each time a new one, whose certificate has a byte more. */
START_TEST(chains_short_of_memory_are_recorded_or_not)
{
    static uint8_t der[1000];
    int64_t recorded = 0;
    bool failed = true;
    unsigned nth;

    begin();
    for (nth = 1; failed; nth++) {
        const ProtobufCBinaryData one = {nth, der};

        ck_assert_uint_le(nth, sizeof(der));
        make_chain(&of_b, &one, 1);
        make_spend_under(&of_b, "r1", 1000, nth, 1);
        recorded += attempt(&j.job, nth, &failed) == MM_OK;
        ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM chains"), recorded);
    }
    ck_assert_uint_gt(nth, 30);
}
END_TEST

/* A device that waits for its certificate. */
static void spend_with_request(const char *request_id, unsigned number)
{
    static uint8_t packed[1024];
    Mintmark__V1__Bundle bundle = MINTMARK__V1__BUNDLE__INIT;
    X509_REQ *request = X509_REQ_new();
    uint8_t *der = NULL;
    char uid[MM_UID_LEN + 1];

    make_spend(&j, 1, request_id, 1, number, 1);
    mm_uuid_format(j.uids[0], uid);
    bundle.device_uid = uid;
    X509_REQ_set_pubkey(request, audit.key);
    ck_assert_int_gt(X509_REQ_sign(request, audit.key, EVP_sha256()), 0);
    bundle.csr.len = (size_t)i2d_X509_REQ(request, &der);
    bundle.csr.data = der;
    ck_assert_uint_le(mintmark__v1__bundle__get_packed_size(&bundle), sizeof(packed));
    j.devices[0].bundle.len = mintmark__v1__bundle__pack(&bundle, packed);
    j.devices[0].bundle.data = packed;
    ck_assert_msg(fixture_do(&f, &j.job) == MM_OK, "%s", fixture_reason(&f, 0));
    OPENSSL_free(der);
    X509_REQ_free(request);
}

static char *payloads[3];

static void check_payloads(const Mintmark__Internal__StoreResult *result)
{
    const Mintmark__Internal__ManifestPiece *piece = result->manifest_piece;

    ck_assert_uint_eq(piece->n_entries, MM_ARRAY_SIZE(payloads));
    for (size_t i = 0; i < piece->n_entries; i++)
        ck_assert_str_eq(piece->entries[i]->payload, payloads[i]);
}

/* With a chain that is recorded, with the one in force, and with a request. */
START_TEST(pages_short_of_memory_say_all_or_are_not_given_out)
{
    struct small_job small;
    struct place at = {0};
    bool failed = true;
    unsigned nth;

    begin();
    spend_under(&of_b, "r1", 1, 1, 1);
    spend_under(NULL, "r2", 1, 2, 1);
    spend_with_request("r3", 3);
    release();
    page(&at, &of_a);
    is_under(0, &of_b);
    is_under(1, &of_a);
    for (size_t i = 0; i < MM_ARRAY_SIZE(payloads); i++)
        payloads[i] = strdup(f.results[0]->manifest_piece->entries[i]->payload);
    make_manifest_page(&small, 1);
    small.manifest_page.chain = (ProtobufCBinaryData){of_a.len, of_a.packed};
    for (nth = 1; failed; nth++) {
        if (attempt(&small.job, nth, &failed) == MM_OK)
            check_answer(check_payloads);
    }
    ck_assert_uint_gt(nth, 50);
    for (size_t i = 0; i < MM_ARRAY_SIZE(payloads); i++)
        free(payloads[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_manifest");
    TCase *pages = tcase_create("pages"), *memory = tcase_create("memory");

    hook_sqlite();
    hook_openssl();
    tcase_set_timeout(memory, 180);
    tcase_add_checked_fixture(pages, setup, end);
    tcase_add_checked_fixture(memory, setup, end);
    tcase_add_test(pages, each_device_has_the_chain_that_is_recorded_with_it);
    tcase_add_test(pages,
                   a_device_that_none_is_recorded_with_has_the_one_in_force_if_that_issued_it);
    tcase_add_test(pages, a_device_of_before_the_ca_has_a_new_key_has_not_the_chain_in_force);
    tcase_add_test(pages, a_page_of_long_chains_has_fewer_devices);
    tcase_add_test(pages, a_chain_that_is_none_is_refused);
    tcase_add_test(memory, chains_short_of_memory_are_recorded_or_not);
    tcase_add_test(memory, pages_short_of_memory_say_all_or_are_not_given_out);
    suite_add_tcase(suite, pages);
    suite_add_tcase(suite, memory);
    return run_suite(suite);
}
