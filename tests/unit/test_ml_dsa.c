/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ML-DSA (FIPS 204, PKCS#11 v3.2) on the mock token. With libcrypto 3.5 or newer the mock's keys
 * are real ones, and what they sign is verified. Older ones have none: then a stand-in shows the
 * probe, the sizes and the refusals, and that nothing is minted which nobody could verify.
 */
#include "daemon/pki/csr.h"
#include "daemon/pki/internal.h"
#include "daemon/token/mint.h"
#include "daemon/token/trust.h"
#include "mintmark/v1/types.pb-c.h"
#include "tests/unit/mint_fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

static const struct {
    const char *setting, *name;
    enum mm_curve curve;
    size_t key_len, signature_len;
} sets[] = {
    {"mldsa44", "ML-DSA-44", MM_CURVE_ML_DSA_44, 1312, 2420},
    {"mldsa65", "ML-DSA-65", MM_CURVE_ML_DSA_65, 1952, 3309},
    {"mldsa87", "ML-DSA-87", MM_CURVE_ML_DSA_87, 2592, 4627},
};
enum { SETS = 3 };

/* Does this libcrypto know it? Then its rules are "real". */
static bool verifiable(void)
{
    EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(NULL, "ML-DSA-65", NULL);
    const bool good = signature != NULL;

    EVP_SIGNATURE_free(signature);
    return good;
}

/* ---- keys in the token ------------------------------------------------------------------- */

static int compare(void *arg, const struct mm_policy_line *line)
{
    bool *seen = arg;

    ck_assert_int_ne(line->verdict, MM_POLICY_BROKEN);
    if (strcmp(line->attribute, "CKA_ALLOWED_MECHANISMS") == 0) {
        ck_assert_str_eq(line->actual, "CKM_ML_DSA alone");
        *seen = true;
    }
    return MM_OK;
}

START_TEST(create_ca_key_keeps_the_policy_and_signs)
{
    static const uint8_t message[] = "message";
    uint8_t point[MM_POINT_MAX], signature[MM_SIGNATURE_MAX];
    struct mm_key_info info;
    enum mm_curve curve;
    struct mm_token *t;
    bool seen = false;
    mm_handle key;
    size_t len;

    mock_rules("mldsa=standin");
    t = open_and_login();
    ck_assert(mm_token_mechanisms(t)->ml_dsa);
    ck_ok(mm_token_create_ca_key(t, "pq", sets[_i].curve, &key, &ei));
    ck_ok(mm_token_check_policy(t, key, MM_USE_CA, &ei));
    ck_err(mm_token_check_policy(t, key, MM_USE_SIGNING, &ei), MM_ERR_CORRUPT);
    ck_err(mm_token_check_policy(t, key, MM_USE_CA_BACKUP, &ei), MM_ERR_CORRUPT);
    ck_ok(mm_token_audit_key(t, key, MM_USE_CA, compare, &seen, &ei));
    ck_assert(seen);
    ck_ok(mm_token_key_info(t, key, &info, &ei));
    ck_assert_str_eq(info.type, sets[_i].name);
    ck_ok(mm_token_public_point(t, key, &curve, point, &len, &ei));
    ck_assert_int_eq(curve, sets[_i].curve);
    ck_assert_uint_eq(len, sets[_i].key_len);
    ck_ok(mm_token_sign_message(t, curve, key, (struct mm_bytes){message, sizeof(message)},
                                signature, &len, &ei));
    ck_assert_uint_eq(len, sets[_i].signature_len);
    mm_token_free(t);
}
END_TEST

START_TEST(answers_of_wrong_sizes_are_refused)
{
    static const uint8_t message[] = "message";
    uint8_t signature[MM_SIGNATURE_MAX];
    struct mm_keypair pair;
    struct mm_token *t;
    size_t len;

    mock_rules("mldsa=standin");
    t = open_and_login();
    mock_rules("mldsa=standin;short=key");
    ck_err(mm_token_generate(t, sets[_i].curve, MM_DEVICE_WRAPPED, NULL, &pair, &ei),
           MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_POINT_INVALID");
    ck_assert_uint_eq(mock_objects(), 0);
    mock_rules("mldsa=standin;short=signature");
    ck_ok(mm_token_generate(t, sets[_i].curve, MM_DEVICE_PLAIN, NULL, &pair, &ei));
    ck_err(mm_token_sign_message(t, pair.curve, pair.private_key,
                                 (struct mm_bytes){message, sizeof(message)}, signature, &len, &ei),
           MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
    mm_token_free(t);
}
END_TEST

START_TEST(create_without_the_mechanisms_is_refused_by_their_names)
{
    static const char *const rules[] = {NULL, "mldsa=standin;nomech:0x1c",
                                        "mldsa=standin;nomech:0x1d"};
    struct mm_token *t;
    mm_handle key;

    mock_rules(rules[_i]);
    t = open_and_login();
    ck_assert(!mm_token_mechanisms(t)->ml_dsa);
    ck_err(mm_token_create_ca_key(t, "pq", MM_CURVE_ML_DSA_65, &key, &ei), MM_ERR_UNSUPPORTED);
    ck_assert_str_eq(ei.reason, "TOKEN_MECHANISM_UNSUPPORTED");
    ck_assert_ptr_nonnull(strstr(ei.text, "CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_DSA"));
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 0);
    mm_token_free(t);
}
END_TEST

static struct mm_selftest_line shown;

static void find_line(void *arg, const struct mm_selftest_line *line)
{
    (void)arg;
    if (strcmp(line->operation, "ML-DSA") == 0)
        shown = *line;
}

/* A stand-in's signatures are none: found where libcrypto can tell, and never said to be good. */
START_TEST(selftest_says_what_could_be_verified)
{
    static const char *const rules[] = {"mldsa=standin", "mldsa=real", NULL};
    struct mm_token *t;

    if (_i == 1 && !verifiable())
        return;
    mock_rules(rules[_i]);
    t = open_and_login();
    shown = (struct mm_selftest_line){.operation = NULL};
    ck_assert_int_eq(mm_token_selftest(t, 0, find_line, NULL, &ei),
                     _i == 0 && verifiable() ? MM_ERR_CORRUPT : MM_OK);
    ck_assert_ptr_nonnull(shown.operation);
    ck_assert_int_eq(shown.passed, _i == 1);
    ck_assert_int_eq(shown.supported, _i < 2 && verifiable());
    if (_i == 2)
        ck_assert_ptr_nonnull(strstr(shown.note, "the token lacks mechanism 0x1c"));
    else if (!verifiable())
        ck_assert_str_eq(shown.note,
                         "the token has ML-DSA-44, ML-DSA-65, ML-DSA-87; this libcrypto "
                         "cannot verify it, OpenSSL 3.5 can");
    else
        ck_assert_str_eq(shown.note, _i == 1 ? "ML-DSA-44, ML-DSA-65, ML-DSA-87"
                                             : "libcrypto does not accept the ML-DSA-44 signature");
    mm_token_free(t);
}
END_TEST

/* ---- in DER ------------------------------------------------------------------------------ */

/* RFC 9881 appendix C.2 begins its public keys like this; and what is signed has room. */
START_TEST(spki_and_certificates_are_as_rfc_9881_has_them)
{
    static const uint8_t prefixes[][22] = {
        {0x30, 0x82, 0x05, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
         0x01, 0x65, 0x03, 0x04, 0x03, 0x11, 0x03, 0x82, 0x05, 0x21, 0x00},
        {0x30, 0x82, 0x07, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
         0x01, 0x65, 0x03, 0x04, 0x03, 0x12, 0x03, 0x82, 0x07, 0xa1, 0x00},
        {0x30, 0x82, 0x0a, 0x32, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
         0x01, 0x65, 0x03, 0x04, 0x03, 0x13, 0x03, 0x82, 0x0a, 0x21, 0x00},
    };
    static uint8_t point[MM_POINT_MAX], signature[MM_SIGNATURE_MAX];
    struct mm_buf spki = MM_BUF_INIT(MM_CERT_DER_MAX), der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_tbs tbs = MM_TBS_INIT;
    const struct mm_bytes algorithm = {prefixes[_i] + 4, 13};
    uint8_t head[4] = {0x30, 0x82, 0, 0}, names[512] = {0x04, 0x82, 0x01, 0xfc};
    size_t len;

    ck_ok(mm_pki_spki(point, sets[_i].key_len, &spki, &ei));
    ck_assert_uint_eq(spki.len, 22 + sets[_i].key_len);
    ck_assert_mem_eq(spki.data, prefixes[_i], 22);
    tbs.signer = mm_ec_by_conf_name(sets[_i].setting);
    ck_assert(mm_ec_is_algorithm(tbs.signer, algorithm));
    ck_assert(!mm_ec_is_algorithm(tbs.signer, (struct mm_bytes){algorithm.data, 12}));
    ck_assert(!mm_ec_is_algorithm(mm_ec_by_conf_name("ed25519"), algorithm));
    len = sizeof(names) + spki.len;
    head[2] = (uint8_t)(len >> 8);
    head[3] = (uint8_t)len;
    mm_buf_append(&tbs.der, head, sizeof(head));
    mm_buf_append(&tbs.der, names, sizeof(names));
    mm_buf_append(&tbs.der, spki.data, spki.len);
    ck_ok(mm_pki_assemble(&tbs, signature, sets[_i].signature_len, &der, &ei));
    ck_assert_mem_eq(der.data + 4 + tbs.der.len, algorithm.data, algorithm.len);
    ck_err(mm_pki_assemble(&tbs, signature, sets[_i].signature_len - 1, &der, &ei), MM_ERR_CORRUPT);
    mm_buf_done(&tbs.der);
    mm_buf_done(&spki);
    mm_buf_done(&der);
}
END_TEST

/* ---- the service ------------------------------------------------------------------------- */

static void use_set(size_t i)
{
    char to[80];

    snprintf(to, sizeof(to), "profile 'csr' { key = '%s' delivery = 'retained' token = 't'",
             sets[i].setting);
    edit("profile 'csr' {", to);
    edit("issuer = 'none' transport = 'centre'", "issuer = 'none'");
    parse();
}

START_TEST(parse_what_ml_dsa_keys_cannot_be_is_refused)
{
    static const struct {
        const char *profile, *text;
    } cases[] = {
        {"key = 'mldsa65'",
         "keys of mldsa65 are delivered 'retained' or 'on-device', not 'wrapped'"},
        {"key = 'mldsa87' delivery = 'plain'",
         "keys of mldsa87 are delivered 'retained' or 'on-device', not 'plain'"},
        {"key = 'mldsa44' delivery = 'retained' token = 't' manifest = 'jws'",
         "a manifest names no keys of mldsa44"},
    };
    struct mm_conf *refused = NULL;
    char to[120];

    snprintf(to, sizeof(to), "profile 'csr' { %s", cases[_i].profile);
    edit("profile 'csr' {", to);
    if (_i > 0)
        edit("issuer = 'none' transport = 'centre'", "issuer = 'none'");
    ck_err(mm_conf_parse(path("mintmark.conf"), (const char *)text.data, text.len, &refused, &ei),
           MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, cases[_i].text) != NULL, "%s", ei.text);
    ck_assert_ptr_null(refused);
}
END_TEST

START_TEST(open_without_a_libcrypto_or_token_that_can_is_refused)
{
    use_set(1);
    mock_rules(NULL);
    ck_err(mm_minter_open(conf, "t", &login, &minter, &ei), MM_ERR_UNSUPPORTED);
    if (verifiable()) {
        ck_assert_str_eq(ei.reason, "TOKEN_MECHANISM_UNSUPPORTED");
        ck_assert_ptr_nonnull(strstr(ei.text, "CKM_ML_DSA_KEY_PAIR_GEN, CKM_ML_DSA"));
    } else {
        ck_assert_str_eq(ei.reason, "ALGORITHM_UNVERIFIABLE");
        ck_assert_ptr_nonnull(strstr(ei.text, "ML-DSA-65 is not to be had"));
        mock_rules("mldsa=standin");
        ck_err(mm_minter_open(conf, "t", &login, &minter, &ei), MM_ERR_UNSUPPORTED);
        ck_assert_str_eq(ei.reason, "ALGORITHM_UNVERIFIABLE");
    }
    ck_assert_ptr_null(minter);
}
END_TEST

/* Of those below: what this libcrypto cannot verify was refused above. */
START_TEST(mint_requests_are_signed_by_their_keys)
{
    const Mintmark__Internal__MintResult *m;
    size_t objects;

    if (!verifiable())
        return;
    use_set((size_t)_i);
    mock_rules("mldsa=real");
    open_minter();
    ck_ok(mint_some("csr", MM_CHUNK_DEVICES, 0));
    m = mm_chunk_message(chunk);
    ck_assert_uint_eq(m->n_devices, MM_CHUNK_DEVICES);
    ck_assert_uint_lt(mintmark__internal__mint_result__get_packed_size(m), MM_GRPC_MESSAGE_MAX);
    for (size_t i = 0; i < MM_CHUNK_DEVICES; i++) {
        const ProtobufCBinaryData *packed = &m->devices[i]->bundle;
        Mintmark__V1__Bundle *b = mintmark__v1__bundle__unpack(NULL, packed->len, packed->data);
        const unsigned char *at = b->csr.data;
        X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)b->csr.len);

        ck_assert(EVP_PKEY_is_a(X509_REQ_get0_pubkey(request), sets[_i].name));
        ck_assert_int_eq(X509_REQ_verify(request, X509_REQ_get0_pubkey(request)), 1);
        X509_REQ_free(request);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    objects = mock_objects();
    mock_rules("mldsa=standin"); /* new keys of it sign nothing true */
    ck_err(mint_some("csr", 2, 0), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
    ck_assert(mm_trust_is_lost(&ei));
    ck_assert_uint_eq(mock_objects(), objects);
}
END_TEST

static void write_pem(const struct mm_buf *der, const char *name)
{
    const unsigned char *at = der->data;
    X509 *certificate = d2i_X509(NULL, &at, (long)der->len);
    FILE *out = fopen(path(name), "w");

    ck_assert_ptr_nonnull(certificate);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(PEM_write_X509(out, certificate), 1);
    fclose(out);
    X509_free(certificate);
}

/* A root of ML-DSA-87, signed by its own key in the token. */
static void make_root(void)
{
    static const char profile_text[] =
        "profile 'root' { issuer = 'pai' key = 'mldsa87' delivery = 'retained' subject = 'CN=pq'\n"
        "    validity = '99991231235959Z' basic_constraints = 'ca'\n"
        "    key_usage = {'keyCertSign', 'cRLSign'} }\n";
    struct mm_token_open opening = {.module = MM_MOCK_MODULE,
                                    .uri = "pkcs11:token=mock;serial=0001",
                                    .environment = environment,
                                    .n_environment = 1};
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_subject s = {.serial = {1}, .now_ms = 1790000000000, .hw_serial = ""};
    uint8_t point[MM_POINT_MAX], signature[MM_SIGNATURE_MAX];
    struct mm_secret *pin = secret(MOCK_PIN);
    struct mm_profile *profile = NULL;
    struct mm_tbs tbs = MM_TBS_INIT;
    enum mm_curve curve;
    struct mm_token *t;
    mm_handle key;
    size_t len;

    ck_ok(mm_token_open(&opening, &t, &ei));
    ck_ok(mm_token_login(t, &pin, &ei));
    ck_ok(mm_token_create_ca_key(t, "pq", MM_CURVE_ML_DSA_87, &key, &ei));
    ck_ok(mm_token_public_point(t, key, &curve, point, &s.point_len, &ei));
    s.point = point;
    mm_buf_append_str(&text, profile_text);
    parse();
    ck_ok(mm_profile_compile(mm_conf_profile_get(conf, "root"), NULL, &profile, &ei));
    ck_ok(mm_profile_certificate_tbs(profile, &s, &tbs, &ei));
    ck_ok(mm_token_sign_message(t, curve, key, mm_tbs_signed(&tbs), signature, &len, &ei));
    ck_ok(mm_pki_assemble(&tbs, signature, len, &der, &ei));
    write_pem(&der, "pq.pem");
    edit(profile_text, "");
    mm_profile_free(profile);
    mm_token_free(t);
    mm_buf_done(&tbs.der);
    mm_buf_done(&der);
}

START_TEST(mint_certificates_under_an_ml_dsa_ca)
{
    const Mintmark__Internal__MintResult *m;
    FILE *in;
    X509 *ca;

    if (!verifiable())
        return;
    mock_rules("mldsa=real");
    make_root();
    mm_buf_append_str(
        &text, "issuer 'pq' { token = 't' key = 'pkcs11:object=pq' certificate = 'pq.pem' }\n"
               "profile 'under' { issuer = 'pq' key = 'mldsa87' delivery = 'retained'\n"
               "    subject = 'CN=x${number}' validity = '10d' }\n");
    parse();
    in = fopen(path("pq.pem"), "r");
    ca = PEM_read_X509(in, NULL, NULL, NULL);
    fclose(in);
    open_minter();
    ck_ok(mm_trust_prove(minter, &ei));
    ck_ok(mint_some("under", 3, 0));
    m = mm_chunk_message(chunk);
    for (size_t i = 0; i < m->n_devices; i++) {
        const ProtobufCBinaryData *packed = &m->devices[i]->bundle;
        Mintmark__V1__Bundle *b = mintmark__v1__bundle__unpack(NULL, packed->len, packed->data);
        const unsigned char *at = b->certificate.data;
        X509 *certificate = d2i_X509(NULL, &at, (long)b->certificate.len);

        ck_assert(EVP_PKEY_is_a(X509_get0_pubkey(certificate), "ML-DSA-87"));
        ck_assert_int_eq(X509_verify(certificate, X509_get0_pubkey(ca)), 1);
        X509_free(certificate);
        mintmark__v1__bundle__free_unpacked(b, NULL);
    }
    mock_rules("mldsa=real;bad=signature");
    ck_err(mint_some("under", 1, 0), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
    X509_free(ca);
}
END_TEST

START_TEST(check_csr_takes_the_key_that_signed)
{
    struct mm_profile *profile = NULL;
    struct mm_conf_profile *own;
    X509_REQ *request = X509_REQ_new();
    struct mm_bytes point;
    uint8_t *der = NULL;
    EVP_PKEY *key;
    int len;

    edit("profile 'own-csr' {", "profile 'own-csr' { key = 'mldsa65'");
    parse();
    own = (struct mm_conf_profile *)(uintptr_t)mm_conf_profile_get(conf, "own-csr");
    if (!verifiable()) {
        ck_err(mm_profile_compile(own, NULL, &profile, &ei), MM_ERR_UNSUPPORTED);
        X509_REQ_free(request);
        return;
    }
    ck_ok(mm_profile_compile(own, NULL, &profile, &ei));
    key = EVP_PKEY_Q_keygen(NULL, NULL, "ML-DSA-65");
    ck_assert_int_eq(X509_REQ_set_pubkey(request, key), 1);
    ck_assert_int_gt(X509_REQ_sign(request, key, NULL), 0);
    len = i2d_X509_REQ(request, &der);
    ck_assert_int_gt(len, 4096);
    ck_ok(mm_profile_check_csr(profile, (struct mm_bytes){der, (size_t)len}, &point, &ei));
    ck_assert_uint_eq(point.len, 1952);
    der[len - 1] ^= 1;
    ck_err(mm_profile_check_csr(profile, (struct mm_bytes){der, (size_t)len}, &point, &ei),
           MM_ERR_INVALID);
    ck_assert_str_eq(ei.reason, "CSR_SIGNATURE");
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    X509_REQ_free(request);
    mm_profile_free(profile);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ml_dsa");
    TCase *t = tcase_create("minter"), *o = tcase_create("token");

    if (!verifiable())
        puts("this libcrypto has no ML-DSA: its signatures are a stand-in's, and none is verified");
    tcase_add_checked_fixture(o, fresh_mock, NULL);
    tcase_add_loop_test(o, create_ca_key_keeps_the_policy_and_signs, 0, SETS);
    tcase_add_loop_test(o, answers_of_wrong_sizes_are_refused, 0, SETS);
    tcase_add_loop_test(o, create_without_the_mechanisms_is_refused_by_their_names, 0, 3);
    tcase_add_loop_test(o, selftest_says_what_could_be_verified, 0, 3);
    tcase_add_loop_test(o, spki_and_certificates_are_as_rfc_9881_has_them, 0, SETS);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, parse_what_ml_dsa_keys_cannot_be_is_refused, 0, 3);
    tcase_add_test(t, open_without_a_libcrypto_or_token_that_can_is_refused);
    tcase_add_loop_test(t, mint_requests_are_signed_by_their_keys, 0, SETS);
    tcase_add_test(t, mint_certificates_under_an_ml_dsa_ca);
    tcase_add_test(t, check_csr_takes_the_key_that_signed);
    suite_add_tcase(suite, o);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
