/* SPDX-License-Identifier: Apache-2.0 */
/* Each allocation of pkcs11/ fails in turn. */
#include "tests/unit/memory.h"
#include "tests/unit/mock_token.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

static int ignore_key(void *arg, const struct mm_key_info *key)
{
    (void)arg;
    (void)key;
    return 0;
}

/* Uses nothing of Check, which would take a share of the failures. */
static int live(struct mm_bytes recipient)
{
    MM_TOKEN_CLEANUP struct mm_token *t = NULL;
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(8192);
    struct mm_secret *pin;
    mm_handle ca, kek;
    int r = mm_token_open(&how, &t, &ei);

    if (r < 0)
        return r;
    r = mm_secret_new(4, &pin);
    if (r < 0)
        return r;
    memcpy(mm_secret_data(pin), MOCK_PIN, 4);
    r = mm_token_login(t, &pin, &ei);
    if (r == MM_OK)
        r = mm_token_create_ca_key(t, "ca", MM_CURVE_P256, &ca, &ei);
    if (r == MM_OK)
        r = mm_token_create_transport_key(t, "kek", &kek, &ei);
    if (r == MM_OK)
        r = mm_token_find(t, "pkcs11:object=ca", MM_KEY_PRIVATE, &ca, &ei);
    if (r == MM_OK)
        r = mm_token_list(t, ignore_key, NULL, &ei);
    if (r == MM_OK)
        r = mm_token_export_transport(t, kek, "line-a", recipient, &text, &ei);
    return r;
}

START_TEST(every_failing_allocation_is_reported)
{
    EVP_PKEY *recipient = EVP_EC_gen("P-256");
    unsigned char *spki = NULL;
    const int len = i2d_PUBKEY(recipient, &spki);
    char entry[] = "MM_MOCK_P11_UNUSED=1";
    char *environment[] = {entry};
    unsigned failures = 0;
    int r;

    mock_rules(NULL);
    how.environment = environment;
    how.n_environment = 1;
    for (memory_fail_at(1); (r = live((struct mm_bytes){spki, (size_t)len})) < 0;
         memory_fail_next()) {
        memory_fail_at(0);
        ck_assert_msg(r == MM_ERR_MEMORY && ei.code == MM_ERR_MEMORY, "%u: %s", failures, ei.text);
        ck_assert_uint_eq(mock_session_objects(), 0);
        memory_fail_at(++failures);
    }
    ck_assert(!memory_failed());
    memory_fail_at(0);
    ck_assert_uint_ge(failures, 6);
    OPENSSL_free(spki);
    EVP_PKEY_free(recipient);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("token_memory");
    TCase *tc = tcase_create("memory");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_failing_allocation_is_reported);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
