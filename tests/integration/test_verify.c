/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-verify: good folders pass, and every rule can fail. */
#include "tests/integration/verify_folder.h"
#include "tests/unit/check_main.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct verify_folder f;

static void setup(void)
{
    folder_good(&f);
}

static void teardown(void)
{
    folder_done(&f);
}

#define judge(rules, expected, part_of_output) folder_judge(&f, rules, expected, part_of_output)

START_TEST(good_matter_folder_passes)
{
    folder_write(&f);
    judge("matter-dac", 0,
          "OK: 3 devices, 3 certificates, 0 requests, 3 private keys proven, rules matter-dac, "
          "0 failures");
    judge("none", 0, "rules none, 0 failures");
    judge("ieee8021ar", 1, "neither serialNumber nor hardwareModuleName");
}
END_TEST

START_TEST(good_matter_folder_with_ids_in_common_names_passes)
{
    static const char *const names[DEVICES] = {"A Mvid:FFF1 Mpid:8000", "B Mvid:FFF1 Mpid:8000",
                                               "C Mpid:8000,Mvid:FFF1"};

    for (int i = 0; i < DEVICES; i++) {
        f.devices[i].spec.cn = names[i];
        f.devices[i].spec.vid = NULL;
        f.devices[i].spec.pid = NULL;
    }
    folder_write(&f);
    judge("matter-dac", 0, "0 failures");
}
END_TEST

START_TEST(good_idevid_folder_passes)
{
    folder_idevid(&f);
    f.devices[0].delivery = "PLAIN";
    f.devices[1].delivery = "RETAINED";
    folder_write(&f);
    judge("ieee8021ar", 0, "2 private keys proven");
}
END_TEST

START_TEST(good_requests_pass_without_a_root)
{
    const char *args[] = {"--dir", f.path, "--json", NULL};
    char output[4096];

    for (int i = 0; i < DEVICES; i++)
        f.devices[i].request = true;
    folder_write(&f);
    ck_assert_int_eq(remove(folder_path(&f, "chain.pem")), 0);
    judge("none", 0, "0 certificates, 3 requests, 3 private keys proven");
    ck_assert_int_eq(verify_run(args, output, sizeof(output)), 0);
    ck_assert_ptr_nonnull(strstr(output, "\"keys_not_opened\": 3"));
    ck_assert_ptr_nonnull(strstr(output, "\"ok\": true"));
}
END_TEST

START_TEST(good_folder_without_private_keys_passes_and_says_so)
{
    for (int i = 0; i < DEVICES; i++)
        f.devices[i].delivery = "ON_DEVICE";
    f.devices[1].request = true;
    folder_write(&f);
    judge("none", 0, "0 private keys proven, 3 in their devices");
    folder_put(&f, "0193537b-1f4c-7abc-8def-000000000002.key.der", "key", 3);
    judge("none", 1, "000002: .key.der is there, but the device made its key");
}
END_TEST

/* ---- keys, files, lines ------------------------------------------------------------------ */

START_TEST(other_private_key_is_found)
{
    f.devices[1].delivered_key = EVP_EC_gen("P-256");
    folder_write(&f);
    judge("matter-dac", 1, "000002: the private key is not that of the public key");
}
END_TEST

START_TEST(damaged_wrapped_key_is_found)
{
    folder_write(&f);
    folder_put(&f, "0193537b-1f4c-7abc-8def-000000000002.key.wrapped", "not wrapped at all", 18);
    judge("matter-dac", 1, "000002: the private key does not unwrap");
    ck_assert_int_eq(remove(folder_path(&f, "0193537b-1f4c-7abc-8def-000000000002.key.wrapped")),
                     0);
    judge("matter-dac", 1, ".key.wrapped: No such file");
}
END_TEST

START_TEST(request_signed_by_another_key_is_found)
{
    char name[] = "0193537b-1f4c-7abc-8def-000000000002.csr";
    uint8_t der[4096];
    size_t len;
    FILE *file;

    for (int i = 0; i < DEVICES; i++)
        f.devices[i].request = true;
    folder_write(&f);
    file = fopen(folder_path(&f, name), "rb");
    len = fread(der, 1, sizeof(der), file);
    fclose(file);
    der[len - 1] ^= 1;
    folder_put(&f, name, der, len);
    judge("none", 1, "the request's signature does not verify");
    judge("none", 1, ".csr is not the file that devices.jsonl has the SHA-256 of");
}
END_TEST

START_TEST(wrong_lines_are_found)
{
    static const struct {
        const char *from, *to, *output;
    } edits[] = {
        {"certificate_sha256\": \"", "certificate_sha256\": \"0", "64 hexadecimal digits"},
        {"\"certificate_sha256\"", "\"sha256\"", "must have certificate_sha256 or csr_sha256"},
        {"\"number\": 1", "\"number\": 0", "number is not 1 or more"},
        {"WRAPPED", "SOMEHOW", "key_delivery is not"},
        {"WRAPPED", "RETAINED", "retained key without a key_id"},
        {"0193537b-1f4c", "../../../etc/", "no JSON object with a device_uid"},
        {"{\"device_uid\"", "[\"device_uid\"", "no JSON object"},
        {"\"number\": 1,", "\"number\": 1, \"number\": 2,", "no JSON object"},
    };

    for (size_t i = 0; i < COUNT(edits); i++) {
        folder_write(&f);
        folder_edit(&f, "devices.jsonl", edits[i].from, edits[i].to);
        judge("matter-dac", 1, edits[i].output);
        folder_done(&f);
        folder_good(&f);
    }
}
END_TEST

START_TEST(stray_and_missing_files_are_found)
{
    folder_write(&f);
    folder_put(&f, "0193537b-1f4c-7abc-8def-00000000000f.crt", "x", 1);
    judge("matter-dac", 1, "no line in devices.jsonl speaks of it");
    remove(folder_path(&f, "0193537b-1f4c-7abc-8def-00000000000f.crt"));
    folder_put(&f, "0193537b-1f4c-7abc-8def-000000000001.crt", "x", 1);
    judge("matter-dac", 1, "no X.509 certificate in DER");
    remove(folder_path(&f, "0193537b-1f4c-7abc-8def-000000000001.crt"));
    judge("matter-dac", 1, ".crt: No such file");
}
END_TEST

START_TEST(chain_file_is_judged)
{
    folder_write(&f);
    folder_edit(&f, "chain.pem", "-----END CERTIFICATE-----\n", "");
    judge("matter-dac", 1, "chain.pem: ");
    remove(folder_path(&f, "chain.pem"));
    judge("matter-dac", 1, "chain.pem: No such file");
}
END_TEST

START_TEST(chain_that_a_line_names_is_the_devices)
{
    static const char number[] = "\"number\": 2, ";
    static const char named[] = "chain-0123456789abcdef.pem";

    folder_write(&f);
    folder_edit(&f, "devices.jsonl", number,
                "\"number\": 2, \"chain\": \"chain-0123456789abcdef.pem\", ");
    judge("matter-dac", 1, "chain-0123456789abcdef.pem: No such file");
    ck_assert_int_eq(link(folder_path(&f, "chain.pem"), folder_path(&f, named)), 0);
    judge("matter-dac", 0, "0 failures");
    /* And not that of the others. */
    ck_assert_int_eq(remove(folder_path(&f, named)), 0);
    folder_put(&f, named, "none", 4);
    judge("matter-dac", 1, "chain-0123456789abcdef.pem: holds no certificate");
    folder_edit(&f, "devices.jsonl", named, "../0123456789abcdef/x.pem");
    judge("matter-dac", 1, "chain is not the name of a chain's file");
}
END_TEST

START_TEST(weak_hash_in_the_chain_is_found)
{
    f.pai.md = "SHA1";
    folder_write(&f);
    judge("none", 1, "chain, now: CA signature digest algorithm too weak");
}
END_TEST

START_TEST(other_root_is_found)
{
    struct verify_folder other;
    const char *args[] = {"--dir", f.path, "--root", NULL, NULL};
    char output[8192];

    folder_write(&f);
    folder_good(&other);
    folder_write(&other);
    args[3] = folder_path(&other, "root.pem");
    ck_assert_int_eq(verify_run(args, output, sizeof(output)), 1);
    ck_assert_ptr_nonnull(strstr(output, "the last certificate is not the trusted root"));
    ck_assert_ptr_nonnull(strstr(output, "chain, now:"));
    folder_done(&other);
}
END_TEST

START_TEST(key_wrap_file_is_judged)
{
    static const struct {
        const char *from, *to, *output;
    } edits[] = {
        {"\"centre\"", "\"middle\"", "names transport key \"middle\""},
        {"AES-256-KWP", "AES-128-KWP", "algorithm is not AES-256-KWP"},
        {"\"check_value\": \"", "\"check_value\": \"0", "the check value is another key's"},
        {"{", "[", "is not JSON"},
    };

    for (size_t i = 0; i < COUNT(edits); i++) {
        folder_write(&f);
        folder_edit(&f, "key-wrap.json", edits[i].from, edits[i].to);
        judge("matter-dac", 1, edits[i].output);
        folder_done(&f);
        folder_good(&f);
    }
}
END_TEST

START_TEST(transport_export_unusable_is_bad_input)
{
    static const struct {
        const char *from, *to, *output;
    } edits[] = {
        {"\"version\": 1", "\"version\": 2", "no mintmark-transport-key export of version 1"},
        {"\"check_value\": \"", "\"check_value\": \"00", "of version 1"},
        {"recipient_sha256\": \"", "recipient_sha256\": \"00", "of version 1"},
        {"RSA-OAEP-SHA1", "RSA-OAEP-SHA256", "cannot be opened with the recipient's key"},
        {"RSA-OAEP-SHA1", "ROT13", "cannot be opened with the recipient's key"},
        {"{", "", "not JSON"},
    };

    for (size_t i = 0; i < COUNT(edits); i++) {
        folder_write(&f);
        folder_edit(&f, "transport.json", edits[i].from, edits[i].to);
        judge("matter-dac", 65, edits[i].output);
        folder_done(&f);
        folder_good(&f);
    }
}
END_TEST

/* The vectors of docs/transport-key.md. */
static const struct vector {
    const char *group, *private_key, *recipient, *ephemeral, *wrapped, *wrap;
} vectors[] = {
    {"P-256", "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
     "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e9562"
     "8"
     "bc64f2f1b20c2d7e9f5177a3c294d4462299",
     "049a781ca6d055a7f30d0c9ff87936c739f6816ef5f5e72b4b946404b0a1a83b2ac19f842945ea2bf65aa1649b2b0"
     "2"
     "ff79854c8d5ecfcd403862e8a97ea66c71c1",
     "a0f52952b4bb64095a7782b0edc14c1b6c47a6fc587b694bb9a23a7fac2edd8903513f004ae8434f",
     "ECDH-P256+KWP"},
    {"P-384",
     "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2e"
     "d"
     "f5",
     "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a25451548"
     "0"
     "bc138015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd253"
     "3"
     "264720",
     "04f4a711a797b0abad2eb7848c8aa01de2f92036fc41858894cc456ec7c83519b2e568ccca265749f0bd14bfc18b4"
     "9"
     "60016aea3f521d87d5d82fa4640ace12997a91bdbcd6c06afb61d448389431d657215aa9ce7f2591cf5f71bccb243"
     "8"
     "ff05a8",
     "a1e1f998f322c20a9b375a01ce1e5712e0123b1d9691e6dc94cdfc96b36e2a3c55976b8d9045750e",
     "ECDH-P384+KWP"},
};

/* The recipient's key as PEM; gives the SHA-256 of its SubjectPublicKeyInfo in hexadecimal. */
static void write_recipient(const struct vector *v, char sha256[65])
{
    uint8_t point[97], digest[32], *spki = NULL;
    long point_len = 0;
    BIGNUM *d = NULL;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    uint8_t *bytes = OPENSSL_hexstr2buf(v->recipient, &point_len);
    FILE *file = fopen(folder_path(&f, "recipient.pem"), "w");
    int len;

    memcpy(point, bytes, (size_t)point_len);
    BN_hex2bn(&d, v->private_key);
    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, v->group, 0);
    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, (size_t)point_len);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d);
    params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_fromdata_init(ctx);
    ck_assert_int_eq(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, params), 1);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    len = i2d_PUBKEY(key, &spki);
    ck_assert_int_eq(EVP_Digest(spki, (size_t)len, digest, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", digest[i]);
    OPENSSL_free(bytes);
    OPENSSL_free(spki);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);
    BN_free(d);
}

START_TEST(transport_export_by_ecdh_is_opened)
{
    const struct vector *v = &vectors[_i];
    char text[2048], sha256[65];

    for (int i = 0; i < 32; i++)
        f.transport_key[i] = (uint8_t)(0x40 + i);
    folder_write(&f);
    folder_edit(&f, "key-wrap.json", "centre", "line-a");
    write_recipient(v, sha256);
    snprintf(text, sizeof(text),
             "{\"format\": \"mintmark-transport-key\", \"version\": 1, \"transport_key\": "
             "\"line-a\", \"algorithm\": \"AES-256-KWP\", \"check_value\": "
             "\"944b28e65d009105\", \"recipient_sha256\": \"%s\", \"wrap\": \"%s\", "
             "\"ephemeral_point\": \"%s\", \"wrapped_key\": \"%s\"}",
             sha256, v->wrap, v->ephemeral, v->wrapped);
    folder_put(&f, "transport.json", text, strlen(text));
    judge("matter-dac", 0, "3 private keys proven");
    folder_edit(&f, "transport.json", "line-a", "line-b");
    judge("matter-dac", 65, "cannot be opened");
}
END_TEST

START_TEST(count_and_usage_are_checked)
{
    static const struct {
        const char *args[8];
        int status;
        const char *output;
    } calls[] = {
        {{"--count", "4"}, 1, "3 devices, not 4"},
        {{"--count", "-1"}, 64, "--count is a number"},
        {{"--rules", "x509"}, 64, "--rules is none"},
        {{"--transport-key", "x"}, 64, "belong together"},
        {{"--frob"}, 64, "unknown option"},
        {{"more"}, 64, "'identities' takes options only"},
        {{"--root", "/dev/null"}, 65, "/dev/null"},
        {{"--dir", "/nonexistent"}, 65, "/nonexistent/devices.jsonl"},
        {{"--transport-key", "/nonexistent", "--recipient-key", "/nonexistent"},
         65,
         "No such file"},
        {{"--help"}, 0, "usage: mintmark-verify"},
    };
    char output[8192];

    folder_write(&f);
    for (size_t i = 0; i < COUNT(calls); i++) {
        const char *args[16] = {"--dir", f.path, "--root", folder_path(&f, "root.pem")};

        for (size_t a = 0; calls[i].args[a]; a++)
            args[4 + a] = calls[i].args[a];
        ck_assert_int_eq(verify_run(args, output, sizeof(output)), calls[i].status);
        ck_assert_msg(strstr(output, calls[i].output), "%s", output);
    }
}
END_TEST

START_TEST(certificates_without_a_root_fail)
{
    const char *args[] = {"--dir", f.path, NULL};
    char output[8192];

    folder_write(&f);
    ck_assert_int_eq(verify_run(args, output, sizeof(output)), 1);
    ck_assert_ptr_nonnull(strstr(output, "no --root to judge it by"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("verify");
    TCase *t = tcase_create("all");

    folder_prepare();
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, good_matter_folder_passes);
    tcase_add_test(t, good_matter_folder_with_ids_in_common_names_passes);
    tcase_add_test(t, good_idevid_folder_passes);
    tcase_add_test(t, good_requests_pass_without_a_root);
    tcase_add_test(t, good_folder_without_private_keys_passes_and_says_so);
    tcase_add_test(t, other_private_key_is_found);
    tcase_add_test(t, damaged_wrapped_key_is_found);
    tcase_add_test(t, request_signed_by_another_key_is_found);
    tcase_add_test(t, wrong_lines_are_found);
    tcase_add_test(t, stray_and_missing_files_are_found);
    tcase_add_test(t, chain_file_is_judged);
    tcase_add_test(t, chain_that_a_line_names_is_the_devices);
    tcase_add_test(t, weak_hash_in_the_chain_is_found);
    tcase_add_test(t, other_root_is_found);
    tcase_add_test(t, key_wrap_file_is_judged);
    tcase_add_test(t, transport_export_unusable_is_bad_input);
    tcase_add_loop_test(t, transport_export_by_ecdh_is_opened, 0, (int)COUNT(vectors));
    tcase_add_test(t, count_and_usage_are_checked);
    tcase_add_test(t, certificates_without_a_root_fail);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
