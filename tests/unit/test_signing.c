/* SPDX-License-Identifier: Apache-2.0 */
/* Signing and random bytes with a token that lies, fails, loses its sessions, or whose keys are not
 * what the configuration says. */
#include "daemon/base/clock.h"
#include "daemon/conf/mechanism.h"
#include "daemon/token/random.h"
#include "daemon/token/signing.h"
#include "tests/unit/minter_site.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static const char config[] = SITE_HEAD SITE_ISSUER
    "client 'c' { uri = 'urn:c' roles = {'station'} }\n"
    "signing 'small' { token = 't' key = 'pkcs11:object=small' clients = {'c'}\n"
    "    mechanisms = {'ECDSA', 'ECDSA-SHA256', 'ECDSA-SHA384', 'ECDSA-SHA512'} }\n"
    "signing 'big' { token = 't' key = 'pkcs11:object=big' curve = 'p384' clients = {'c'}\n"
    "    mechanisms = {'ECDSA', 'ECDSA-SHA256', 'ECDSA-SHA384', 'ECDSA-SHA512'} }\n"
    "signing 'certified' { token = 't' key = 'pkcs11:object=small' clients = {'c'}\n"
    "    mechanisms = {'ECDSA-SHA256'} certificate = 'leaf.pem' }\n";

static EVP_PKEY *small, *big; /* the public keys, as libcrypto has them */

static EVP_PKEY *public_key(struct mm_token *t, mm_handle key)
{
    uint8_t point[MM_POINT_MAX];
    EVP_PKEY *pkey = EVP_PKEY_new(), *other;
    enum mm_curve curve;
    size_t len;

    ck_ok(mm_token_public_point(t, key, &curve, point, &len, &ei));
    other = EVP_EC_gen(len == 65 ? "P-256" : "P-384");
    ck_assert_int_eq(EVP_PKEY_copy_parameters(pkey, other), 1);
    EVP_PKEY_free(other);
    ck_assert_int_eq(EVP_PKEY_set1_encoded_public_key(pkey, point, len), 1);
    return pkey;
}

/* A certificate for a public key, signed by a key that nobody keeps. */
static void write_certificate(const char *name, EVP_PKEY *key, const char *basic, const char *usage)
{
    EVP_PKEY *ca = EVP_EC_gen("P-256");
    X509 *c = X509_new();
    FILE *out = fopen(path(name), "w");
    X509_EXTENSION *extensions[] = {X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, basic),
                                    X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, usage)};

    ck_assert(ca && c && out);
    X509_set_version(c, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c), 7);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_ASC,
                               (const unsigned char *)"firmware", -1, -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(c), 0);
    X509_gmtime_adj(X509_getm_notAfter(c), 86400);
    X509_set_pubkey(c, key);
    for (size_t i = 0; i < MM_ARRAY_SIZE(extensions); i++) {
        ck_assert_int_eq(X509_add_ext(c, extensions[i], -1), 1);
        X509_EXTENSION_free(extensions[i]);
    }
    ck_assert_int_gt(X509_sign(c, ca, EVP_sha256()), 0);
    ck_assert_int_eq(PEM_write_X509(out, c), 1);
    fclose(out);
    X509_free(c);
    EVP_PKEY_free(ca);
}

static void make_keys(struct mm_token *t)
{
    mm_handle key;

    site_make_ca(t);
    ck_ok(mm_token_create_signing_key(t, "small", MM_CURVE_P256, &key, &ei));
    small = public_key(t, key);
    ck_ok(mm_token_create_signing_key(t, "big", MM_CURVE_P384, &key, &ei));
    big = public_key(t, key);
    write_certificate("leaf.pem", small, "critical,CA:FALSE", "critical,digitalSignature");
}

static void setup(void)
{
    site_setup(config, make_keys);
}

static void setup_open(void)
{
    setup();
    open_minter();
}

static void teardown(void)
{
    EVP_PKEY_free(small);
    EVP_PKEY_free(big);
    site_teardown();
}

/* ---- signing ----------------------------------------------------------------------------- */

static const uint8_t message[] = "firmware of a fire alarm";
static const uint8_t digest[MM_SIGN_DIGEST_MAX] = {1, 2, 3};

static struct mm_signed made;

static int sign(const char *profile, const char *mechanism, struct mm_bytes digest_in,
                struct mm_bytes message_in, int64_t deadline)
{
    const struct mm_conf_signing *section = mm_conf_signing_get(conf, profile);
    static char empty[] = "";
    Mintmark__Internal__SignJob job;

    mintmark__internal__sign_job__init(&job);
    job.signing_profile = (char *)(uintptr_t)profile;
    job.mechanism = (char *)(uintptr_t)mechanism;
    job.key = section ? section->key : empty;
    job.digest = (ProtobufCBinaryData){digest_in.len, (uint8_t *)(uintptr_t)digest_in.data};
    job.message = (ProtobufCBinaryData){message_in.len, (uint8_t *)(uintptr_t)message_in.data};
    memset(&made, 0, sizeof(made));
    ei = (struct mm_errinfo){0};
    return mm_sign(minter, &job, deadline, &made, &ei);
}

static int sign_digest(const char *profile, const char *mechanism, size_t len)
{
    return sign(profile, mechanism, (struct mm_bytes){digest, len}, (struct mm_bytes){NULL, 0}, 0);
}

static int sign_message(const char *profile, const char *mechanism)
{
    return sign(profile, mechanism, (struct mm_bytes){NULL, 0},
                (struct mm_bytes){message, sizeof(message)}, 0);
}

/* Hashes and verifies in one, as somebody would who has the message and the public key. */
static void check_message(EVP_PKEY *key, const char *hash)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();

    ck_assert_int_eq(EVP_DigestVerifyInit_ex(ctx, NULL, hash, NULL, NULL, key, NULL), 1);
    ck_assert_int_eq(
        EVP_DigestVerify(ctx, made.signature, made.signature_len, message, sizeof(message)), 1);
    EVP_MD_CTX_free(ctx);
}

static void check_digest(EVP_PKEY *key, size_t len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);

    ck_assert_int_eq(EVP_PKEY_verify_init(ctx), 1);
    ck_assert_int_eq(EVP_PKEY_verify(ctx, made.signature, made.signature_len, digest, len), 1);
    EVP_PKEY_CTX_free(ctx);
}

START_TEST(sign_all_mechanisms_verify)
{
    const char *profile = _i ? "big" : "small";
    EVP_PKEY *key = _i ? big : small;

    for (size_t i = 0; mm_mechanism_names[i]; i++) {
        const struct mm_mechanism *m = mm_mechanism_get(mm_mechanism_names[i]);
        const size_t len = mm_mechanism_digest_len(m, _i ? "p384" : "p256");

        if (!mm_mechanism_fits(m, _i ? "p384" : "p256"))
            continue;
        ck_ok(sign_digest(profile, m->name, len));
        ck_assert_uint_eq(made.digest_len, len);
        ck_assert_mem_eq(made.digest, digest, len);
        check_digest(key, len);
        if (!m->hash)
            continue;
        ck_ok(sign_message(profile, m->name));
        ck_assert_uint_eq(made.digest_len, m->digest_len);
        check_message(key, m->hash);
    }
}
END_TEST

START_TEST(sign_gives_the_certificate_of_its_section)
{
    ck_ok(sign_message("certified", "ECDSA-SHA256"));
    ck_assert_int_eq(sk_X509_num(made.by->certificates), 1);
    check_message(small, "SHA256");
    ck_ok(sign_message("small", "ECDSA-SHA256"));
    ck_assert_ptr_null(made.by->certificates);
}
END_TEST

START_TEST(sign_wrong_signature_is_kept_back)
{
    static const char *const rules[] = {"bad=signature", "short=signature"};

    mock_rules(rules[_i]);
    ck_err(sign_message("small", "ECDSA-SHA256"), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
    ck_assert_uint_eq(made.signature_len, 0);
    /* The token itself is taken for well: the worker stays. */
    ck_assert_int_eq(mm_token_failure_class(&ei), MM_TOKEN_OK);
}
END_TEST

START_TEST(sign_wrong_requests_are_refused_without_the_token)
{
    const struct mm_bytes none = {NULL, 0}, short_digest = {digest, 31};
    MM_FREE uint8_t *too_long = calloc(1, MM_SIGN_MESSAGE_MAX + 1);
    unsigned long before;

    mock_rules(NULL);
    before = mock_calls("*");
    ck_err(sign_message("other", "ECDSA-SHA256"), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.reason, "UNKNOWN_SIGNING_PROFILE");
    ck_err(sign_digest("certified", "ECDSA-SHA384", 48), MM_ERR_PERMISSION);
    ck_assert_str_eq(ei.reason, "MECHANISM_NOT_ALLOWED");
    ck_err(sign_digest("small", "RSA-PKCS1-SHA256", 32), MM_ERR_PERMISSION);
    ck_err(sign("small", "ECDSA-SHA256", short_digest, none, 0), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "digest");
    ck_err(sign_digest("big", "ECDSA", 32), MM_ERR_INVALID);
    ck_err(sign("small", "ECDSA-SHA256", none, none, 0), MM_ERR_INVALID);
    ck_assert_str_eq(ei.field, "message");
    ck_err(sign_message("small", "ECDSA"), MM_ERR_INVALID);
    ck_err(sign("small", "ECDSA-SHA256", none, (struct mm_bytes){too_long, MM_SIGN_MESSAGE_MAX + 1},
                0),
           MM_ERR_INVALID);
    ck_err(
        sign("small", "ECDSA-SHA256", (struct mm_bytes){digest, 32}, none, mm_clock_mono_us() - 1),
        MM_ERR_TIMEOUT);
    ck_assert_uint_eq(mock_calls("*"), before);
}
END_TEST

START_TEST(sign_key_of_another_configuration_is_refused)
{
    MM_UNUSED MM_CONF_CLEANUP struct mm_conf *old = MM_TAKE(conf);

    edit("pkcs11:object=small' clients", "pkcs11:object=new' clients");
    parse();
    ck_err(sign_message("small", "ECDSA-SHA256"), MM_ERR_UNAVAILABLE);
    ck_assert_str_eq(ei.reason, "SIGNING_PROFILE_CHANGED");
    drop_minter();
}
END_TEST

START_TEST(sign_recovers_from_each_failing_call)
{
    static const char *const actions[] = {"0x05", "sessions", "0x101"};
    unsigned long calls;
    char rules[40];

    mock_rules(NULL);
    ck_ok(sign_message("small", "ECDSA-SHA256"));
    calls = mock_calls("*");
    ck_assert_uint_gt(calls, 0);
    for (unsigned long n = 1; n <= calls; n++) {
        snprintf(rules, sizeof(rules), "*:%lu=%s", n, actions[_i]);
        mock_rules(rules);
        ck_ok(sign_message("small", "ECDSA-SHA256"));
        check_message(small, "SHA256");
    }
}
END_TEST

START_TEST(sign_gives_up_in_the_end)
{
    mock_rules("C_SignInit:1+=0x05");
    ck_err(sign_message("small", "ECDSA-SHA256"), MM_ERR_UNAVAILABLE);
    ck_assert_uint_eq(mock_calls("C_SignInit"), 1 + MM_RECOVERIES_MAX);
    mock_rules("C_SignInit=0x30");
    ck_err(sign_message("small", "ECDSA-SHA256"), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_failure_class(&ei), MM_TOKEN_RESTART);
    ck_assert_uint_eq(mock_calls("C_SignInit"), 1);
}
END_TEST

/* ---- starting ---------------------------------------------------------------------------- */

static void refuse(const char *from, const char *to, const char *reason)
{
    edit(from, to);
    parse();
    ck_assert_int_lt(mm_minter_open(conf, "t", &login, &minter, &ei), 0);
    ck_assert_str_eq(ei.reason, reason);
    ck_assert_ptr_nonnull(strstr(ei.text, "signing \""));
}

START_TEST(open_key_of_a_ca_is_refused)
{
    /* By a URI that is not the issuer's, byte for byte. */
    refuse("pkcs11:object=small' clients", "pkcs11:object=pai;type=private' clients",
           "SIGNING_KEY_IS_CA");
}
END_TEST

START_TEST(open_certificate_of_another_key_is_refused)
{
    write_certificate("leaf.pem", big, "critical,CA:FALSE", "critical,digitalSignature");
    refuse("'ECDSA-SHA256'} certificate", "'ECDSA-SHA384'} certificate", "SIGNING_KEY_MISMATCH");
}
END_TEST

START_TEST(open_certificate_of_a_ca_is_refused)
{
    write_certificate("leaf.pem", small, "critical,CA:TRUE", "critical,digitalSignature");
    refuse("'ECDSA-SHA256'} certificate", "'ECDSA-SHA384'} certificate", "SIGNING_KEY_IS_CA");
}
END_TEST

START_TEST(open_certificate_that_may_not_sign_is_refused)
{
    write_certificate("leaf.pem", small, "critical,CA:FALSE", "critical,keyAgreement");
    refuse("'ECDSA-SHA256'} certificate", "'ECDSA-SHA384'} certificate",
           "SIGNING_CERTIFICATE_INVALID");
}
END_TEST

START_TEST(open_key_on_another_curve_is_refused)
{
    refuse("curve = 'p384' ", "", "SIGNING_KEY_MISMATCH");
}
END_TEST

START_TEST(open_key_that_is_not_there_is_refused)
{
    refuse("object=big", "object=none", "TOKEN_OBJECT_NOT_FOUND");
}
END_TEST

START_TEST(open_key_against_its_policy_is_refused)
{
    static const char *const rules[] = {"attr:0x162=1", "attr:0x163=0", "attr:0x105=1"};

    edit("issuer 'pai' { token = 't' key = 'pkcs11:object=pai' certificate = 'chain.pem' }\n", "");
    parse();
    mock_rules(rules[_i]); /* CKA_EXTRACTABLE, CKA_LOCAL, CKA_DECRYPT */
    ck_err(mm_minter_open(conf, "t", &login, &minter, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_KEY_POLICY");
    ck_assert_ptr_nonnull(strstr(ei.text, "signing keys"));
}
END_TEST

/* ---- random ------------------------------------------------------------------------------ */

START_TEST(random_gives_what_was_asked_for)
{
    static const size_t lengths[] = {1, 15, 16, 1000, 1024, 1025, MM_RANDOM_MAX};
    struct mm_buf first = MM_BUF_INIT(MM_WITNESS_LEN + MM_RANDOM_MAX), second = first;

    for (size_t i = 0; i < MM_ARRAY_SIZE(lengths); i++) {
        ck_ok(mm_random(minter, lengths[i], 0, &first, &ei));
        ck_ok(mm_random(minter, lengths[i], 0, &second, &ei));
        ck_assert_uint_eq(first.len, lengths[i]);
        ck_assert_uint_eq(second.len, lengths[i]);
        ck_assert(lengths[i] < 15 || memcmp(first.data, second.data, lengths[i]) != 0);
        mm_buf_reset(&first);
        mm_buf_reset(&second);
    }
    mm_buf_done(&first);
    mm_buf_done(&second);
}
END_TEST

static void refuse_random(size_t length, int64_t deadline, enum mm_err code, const char *reason)
{
    struct mm_buf out = MM_BUF_INIT(MM_WITNESS_LEN + MM_RANDOM_MAX);

    ck_err(mm_random(minter, length, deadline, &out, &ei), code);
    ck_assert_str_eq(ei.reason, reason);
    ck_assert_uint_eq(out.len, 0);
    mm_buf_done(&out);
}

START_TEST(random_stuck_generator_is_found)
{
    mock_rules("random=zero");
    refuse_random(1, 0, MM_ERR_CORRUPT, "TOKEN_RANDOM_FAULTY");
    refuse_random(MM_RANDOM_MAX, 0, MM_ERR_CORRUPT, "TOKEN_RANDOM_FAULTY");
}
END_TEST

/* Sound in itself, and the same each time. */
START_TEST(random_generator_that_begins_anew_is_found)
{
    struct mm_buf out = MM_BUF_INIT(MM_WITNESS_LEN + MM_RANDOM_MAX);

    mock_rules("random=same");
    ck_ok(mm_random(minter, 32, 0, &out, &ei));
    mm_buf_done(&out);
    refuse_random(32, 0, MM_ERR_CORRUPT, "TOKEN_RANDOM_FAULTY");
    mock_rules(NULL);
    ck_ok(mm_random(minter, 32, 0, &out, &ei));
    mm_buf_done(&out);
}
END_TEST

START_TEST(random_wrong_requests_are_refused)
{
    refuse_random(0, 0, MM_ERR_INVALID, "INVALID_FIELD");
    refuse_random(MM_RANDOM_MAX + 1, 0, MM_ERR_INVALID, "INVALID_FIELD");
    refuse_random(1, mm_clock_mono_us() - 1, MM_ERR_TIMEOUT, "DEADLINE_EXCEEDED");
}
END_TEST

START_TEST(random_recovers_or_says_why)
{
    static const char *const actions[] = {"0x05", "sessions", "0x101"};
    struct mm_buf out = MM_BUF_INIT(MM_WITNESS_LEN + MM_RANDOM_MAX);
    char rules[40];

    for (size_t i = 0; i < MM_ARRAY_SIZE(actions); i++) {
        snprintf(rules, sizeof(rules), "C_GenerateRandom:2=%s", actions[i]);
        mock_rules(rules);
        ck_ok(mm_random(minter, 3000, 0, &out, &ei));
        ck_assert_uint_eq(out.len, 3000);
        mm_buf_reset(&out);
    }
    mock_rules("C_GenerateRandom=0x121"); /* CKR_RANDOM_NO_RNG */
    refuse_random(1, 0, MM_ERR_INTERNAL, "TOKEN_REFUSED");
    mm_buf_done(&out);
}
END_TEST

START_TEST(random_is_sound_tells_repetitions)
{
    uint8_t data[64];

    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(37 * i + i / 7);
    ck_assert(mm_random_is_sound(data, sizeof(data)));
    ck_assert(mm_random_is_sound(data, 0));
    for (size_t at = 0; at + 6 <= sizeof(data); at++) {
        uint8_t stuck[sizeof(data)];

        memcpy(stuck, data, sizeof(data));
        memset(stuck + at, 0xa5, 5);
        ck_assert(mm_random_is_sound(stuck, sizeof(stuck)));
        stuck[at + 5] = 0xa5;
        ck_assert(!mm_random_is_sound(stuck, sizeof(stuck)));
    }
    memcpy(data + 32, data + 16, 16);
    ck_assert(!mm_random_is_sound(data, sizeof(data)));
    ck_assert(mm_random_is_sound(data, 47));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signing");
    TCase *t = tcase_create("open"), *s = tcase_create("start");

    tcase_add_checked_fixture(t, setup_open, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, sign_all_mechanisms_verify, 0, 2);
    tcase_add_test(t, sign_gives_the_certificate_of_its_section);
    tcase_add_loop_test(t, sign_wrong_signature_is_kept_back, 0, 2);
    tcase_add_test(t, sign_wrong_requests_are_refused_without_the_token);
    tcase_add_test(t, sign_key_of_another_configuration_is_refused);
    tcase_add_loop_test(t, sign_recovers_from_each_failing_call, 0, 3);
    tcase_add_test(t, sign_gives_up_in_the_end);
    tcase_add_test(t, random_gives_what_was_asked_for);
    tcase_add_test(t, random_stuck_generator_is_found);
    tcase_add_test(t, random_generator_that_begins_anew_is_found);
    tcase_add_test(t, random_wrong_requests_are_refused);
    tcase_add_test(t, random_recovers_or_says_why);
    tcase_add_test(t, random_is_sound_tells_repetitions);
    tcase_add_checked_fixture(s, setup, teardown);
    tcase_set_timeout(s, 60);
    tcase_add_test(s, open_key_of_a_ca_is_refused);
    tcase_add_test(s, open_certificate_of_another_key_is_refused);
    tcase_add_test(s, open_certificate_of_a_ca_is_refused);
    tcase_add_test(s, open_certificate_that_may_not_sign_is_refused);
    tcase_add_test(s, open_key_on_another_curve_is_refused);
    tcase_add_test(s, open_key_that_is_not_there_is_refused);
    tcase_add_loop_test(s, open_key_against_its_policy_is_refused, 0, 3);
    suite_add_tcase(suite, t);
    suite_add_tcase(suite, s);
    return run_suite(suite);
}
