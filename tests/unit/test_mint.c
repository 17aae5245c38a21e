/* SPDX-License-Identifier: Apache-2.0 */
/* Minting with a token that fails, loses its sessions, is pulled out, or is not what it should be.
 */
#include "daemon/token/mint.h"

#include "daemon/base/clock.h"
#include "daemon/token/trust.h"
#include "tests/unit/chunk_fixture.h"

enum { DEVICES_OF_A_DRAW = MM_SUPPLY_LEN / (MM_UUID_BYTES + MM_SERIAL_BYTES) };

static const char *const profiles[] = {"wrapped", "kept", "bare", "csr"};

static size_t kept_objects(const char *profile, size_t devices)
{
    return strcmp(profile, "kept") == 0 ? 2 * devices : 0;
}

START_TEST(mint_makes_all_kinds_and_leaves_nothing)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(profiles); i++) {
        const size_t before = mock_objects();

        ck_ok(mint(profiles[i], 0));
        check_chunk();
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_assert_uint_eq(mock_objects(), before + kept_objects(profiles[i], COUNT));
    }
}
END_TEST

START_TEST(mint_samples_one_chunk_in_16)
{
    unsigned sampled = 0;

    for (int i = 0; i < 32; i++) {
        ck_ok(mint("wrapped", 0));
        sampled += mm_chunk_message(chunk)->sampled_devices;
    }
    ck_assert_uint_eq(sampled, 2 * COUNT);
}
END_TEST

/* Calls that one chunk takes. */
static unsigned long calls_of(const char *profile)
{
    fresh_session(NULL);
    ck_ok(mint(profile, 0));
    return mock_calls("*");
}

/* Each call in turn fails for good: the job fails, and nothing stays. */
START_TEST(mint_refused_call_fails_the_job_and_leaves_nothing)
{
    const char *profile = profiles[_i];
    const unsigned long calls = calls_of(profile);
    char rules[40];

    for (unsigned long n = 1; n <= calls; n++) {
        size_t before;
        int r;

        snprintf(rules, sizeof(rules), "*:%lu=0xd1", n);
        fresh_session(rules);
        before = mock_objects();
        r = mint(profile, 0);
        if (destroying_failed())
            continue;
        ck_assert_msg(r < 0, "call %lu, %s, got lost", n, mock_failed());
        ck_assert_uint_eq(ei.detail, 0xd1);
        ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_FATAL);
        ck_assert_msg(mock_objects() == before, "call %lu, %s: objects left", n, mock_failed());
    }
}
END_TEST

/* Each call in turn fails once, or loses all sessions: the job is done all the same. */
static void recover_from_each_call(const char *profile, const char *action)
{
    const unsigned long calls = calls_of(profile);
    char rules[40];

    for (unsigned long n = 1; n <= calls; n++) {
        size_t before;

        snprintf(rules, sizeof(rules), "*:%lu=%s", n, action);
        fresh_session(rules);
        before = mock_objects();
        ck_assert_msg(mint(profile, 0) == MM_OK, "call %lu, %s: %s", n, mock_failed(), ei.text);
        check_chunk();
        if (destroying_failed())
            continue;
        ck_assert_uint_eq(mock_session_objects(), 0);
        ck_assert_msg(mock_objects() == before + kept_objects(profile, COUNT),
                      "call %lu, %s: %zu objects, not %zu more than %zu", n, mock_failed(),
                      mock_objects(), kept_objects(profile, COUNT), before);
    }
}

START_TEST(mint_recovers_from_a_hiccup)
{
    recover_from_each_call(profiles[_i], "0x05");
}
END_TEST

START_TEST(mint_recovers_from_lost_sessions)
{
    recover_from_each_call(profiles[_i], "sessions");
}
END_TEST

START_TEST(mint_recovers_from_a_lost_login)
{
    recover_from_each_call(profiles[_i], "0x101");
}
END_TEST

static void destroy(const char *uri, enum mm_key_class class)
{
    struct mm_keypair pair = {.curve = MM_CURVE_P256};

    ck_ok(mm_token_find(minter->token, uri, class, &pair.private_key, &ei));
    mm_token_destroy(minter->token, &pair);
}

/* An officer removes keys while the service runs; the handles' numbers get other owners. */
START_TEST(mint_uses_no_stale_handle_of_a_key_that_is_gone)
{
    const struct mm_minting *p = mm_minter_profile(minter, _i ? "kept" : "wrapped");
    size_t before;

    destroy(_i ? "pkcs11:object=pai" : "pkcs11:object=centre", _i ? MM_KEY_PRIVATE : MM_KEY_SECRET);
    ck_assert_int_eq(mm_minter_renew(minter, &ei), MM_ERR_NOT_FOUND);
    ck_assert_uint_eq(_i ? p->ca_key : p->transport_key, 0);
    before = mock_objects();
    ck_assert_int_eq(mint(p->conf->name, 0), MM_ERR_NOT_FOUND);
    ck_assert_str_eq(ei.reason, "TOKEN_OBJECT_NOT_FOUND");
    ck_assert_uint_eq(mock_objects(), before);
}
END_TEST

START_TEST(mint_gives_a_busy_token_up_after_a_few_tries)
{
    mock_rules("C_GenerateKeyPair:1+=0x05");
    ck_assert_int_eq(mint("wrapped", 0), MM_ERR_UNAVAILABLE);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_RETRY);
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 4);
}
END_TEST

START_TEST(mint_token_pulled_out_is_a_case_for_restart)
{
    mock_rules("C_Sign:2=removed");
    ck_assert_int_lt(mint("kept", 0), 0);
    ck_assert_int_eq(mm_token_error_class(ei.detail), MM_TOKEN_RESTART);
}
END_TEST

/* A lost session, and a token that has locked the PIN meanwhile. */
START_TEST(mint_pin_refused_at_reopen_is_said)
{
    mock_rules("C_Sign:2=sessions;pin=locked");
    ck_assert_int_eq(mint("wrapped", 0), MM_ERR_PIN);
    ck_assert_uint_eq(mock_calls("C_Login"), 0);
}
END_TEST

START_TEST(mint_signature_that_does_not_verify_is_found)
{
    static const char *const verified[] = {"wrapped", "kept"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(verified); i++) {
        struct mm_minting *p = mm_minter_profile(minter, verified[i]);
        struct mm_bytes other;
        const size_t before = mock_objects();

        mm_verifier_free(p->verifier);
        ck_ok(mm_pki_certificate_point(chain.paa, &other, &ei));
        ck_ok(mm_verifier_new(other.data, other.len, &p->verifier, &ei));
        ck_assert_int_eq(mint(verified[i], 0), MM_ERR_CORRUPT);
        ck_assert_uint_eq(mock_objects(), before);
    }
}
END_TEST

/* Everything that a token may lie about: the job fails, nothing is left in the token, and the
 * trust is lost. The fault comes late, so that a sample of what comes first does not find it. */
START_TEST(mint_lie_is_found_wherever_it_comes)
{
    static const struct {
        const char *profile, *rules, *reason;
    } lies[] = {
        {"wrapped", "C_Sign:3=lie", "TOKEN_SIGNATURE_INVALID"},
        {"kept", "C_Sign:3=lie", "TOKEN_SIGNATURE_INVALID"},
        {"bare", "C_Sign:3=lie", "TOKEN_SIGNATURE_INVALID"},
        {"csr", "C_Sign:3=lie", "TOKEN_SIGNATURE_INVALID"},
        {"wrapped", "C_GenerateKeyPair:3=repeat", "TOKEN_KEY_REPEATED"},
        {"kept", "C_GenerateKeyPair:3=repeat", "TOKEN_KEY_REPEATED"},
        {"csr", "C_GenerateKeyPair:3=repeat", "TOKEN_KEY_REPEATED"},
        {"wrapped", "point=off", "TOKEN_POINT_INVALID"},
        {"wrapped", "random=zero", "TOKEN_RANDOM_FAULTY"},
        {"wrapped", "attr:0x103=0", "TOKEN_ATTRIBUTE_MISMATCH"},
        {"wrapped", "short=wrap", "TOKEN_WRAP_INVALID"},
        {"wrapped", "wrap=nothing", "TOKEN_WRAP_INVALID"},
        {"wrapped", "wrap=clear", "TOKEN_WRAP_INVALID"},
        {"wrapped", "wrap=same", "TOKEN_WRAP_INVALID"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(lies); i++) {
        const size_t before = mock_objects();

        fresh_session(lies[i].rules);
        ck_assert_int_eq(mint(lies[i].profile, 0), MM_ERR_CORRUPT);
        ck_assert_str_eq(ei.reason, lies[i].reason);
        ck_assert(mm_trust_is_lost(&ei));
        ck_assert_uint_eq(chunk->n_made, 0);
        ck_assert_uint_eq(mock_objects(), before);
    }
}
END_TEST

/* Many signatures are verified three at a time, and by a table of a CA's key once it has signed
 * 1,024 times. */
START_TEST(mint_lie_in_a_large_chunk_is_found)
{
    static const char *const kinds[] = {"wrapped", "csr"};
    static const char *const rules[] = {"C_Sign:1=lie", "C_Sign:77=lie", "C_Sign:120=lie"};

    for (size_t i = 0; i < MM_ARRAY_SIZE(kinds); i++) {
        for (size_t n = 0; n < 1024 + MM_CHUNK_DEVICES; n += MM_CHUNK_DEVICES)
            ck_ok(mint_some(kinds[i], MM_CHUNK_DEVICES, 0));
        for (size_t k = 0; k < MM_ARRAY_SIZE(rules); k++) {
            fresh_session(rules[k]);
            ck_assert_int_eq(mint_some(kinds[i], MM_CHUNK_DEVICES, 0), MM_ERR_CORRUPT);
            ck_assert_str_eq(ei.reason, "TOKEN_SIGNATURE_INVALID");
            ck_assert_uint_eq(chunk->n_made, 0);
        }
        mock_rules(NULL);
        ck_ok(mint_some(kinds[i], MM_CHUNK_DEVICES, 0));
    }
}
END_TEST

/* A generator that begins anew at each call, and a key that comes back in a later job. */
START_TEST(mint_lie_across_jobs_is_found)
{
    fresh_session("random=same");
    ck_ok(mint_some("wrapped", DEVICES_OF_A_DRAW, 0));
    ck_assert_int_eq(mint("wrapped", 0), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_RANDOM_FAULTY");
    mock_rules("C_GenerateKeyPair:1=repeat");
    ck_assert_int_eq(mint("wrapped", 0), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_KEY_REPEATED");
}
END_TEST

/* One call of the token's for many devices, over jobs; and nothing of it is given twice. */
START_TEST(mint_random_bytes_are_drawn_for_many_devices)
{
    static uint8_t uids[2 * DEVICES_OF_A_DRAW + 1][MM_UUID_BYTES];
    size_t n = 0;

    fresh_session(NULL);
    for (size_t size = 1; n < MM_ARRAY_SIZE(uids); size = 2 * size % 61) {
        const size_t left = MM_ARRAY_SIZE(uids) - n;
        const size_t count = size < left ? size : left;

        ck_ok(mint_some("wrapped", count, 0));
        for (size_t i = 0; i < count; i++)
            memcpy(uids[n++], chunk->devices[i].uid, MM_UUID_BYTES);
        ck_assert_uint_eq(mock_calls("C_GenerateRandom"),
                          (n + DEVICES_OF_A_DRAW - 1) / DEVICES_OF_A_DRAW);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            ck_assert_mem_ne(uids[i], uids[k], MM_UUID_BYTES);
    }
}
END_TEST

START_TEST(trust_keys_are_remembered_in_turn)
{
    uint8_t hash[32] = {0};
    unsigned n = 0;

    for (; n < 5 * MM_KEYS_REMEMBERED; n++) {
        memcpy(hash, &n, sizeof(n));
        ck_ok(mm_trust_new_key(minter, hash, &ei));
        ck_assert_int_eq(mm_trust_new_key(minter, hash, &ei), MM_ERR_CORRUPT);
    }
    n -= MM_KEYS_REMEMBERED;
    memcpy(hash, &n, sizeof(n));
    ck_assert_int_eq(mm_trust_new_key(minter, hash, &ei), MM_ERR_CORRUPT);
    ck_assert_str_eq(ei.reason, "TOKEN_KEY_REPEATED");
    n--;
    memcpy(hash, &n, sizeof(n));
    ck_ok(mm_trust_new_key(minter, hash, &ei));
}
END_TEST

START_TEST(trust_proof_passes_and_leaves_nothing)
{
    const size_t before = mock_objects();

    ck_ok(mm_trust_prove(minter, &ei));
    ck_assert_uint_eq(mock_objects(), before);
}
END_TEST

START_TEST(trust_proof_of_a_token_that_lies_fails)
{
    static const struct {
        const char *rules, *reason;
    } lies[] = {
        {"bad=signature", "TOKEN_SIGNATURE_INVALID"},
        {"C_Sign:3=lie", "TOKEN_SIGNATURE_INVALID"}, /* the CA's */
        {"C_GenerateKeyPair:2=repeat", "TOKEN_KEY_REPEATED"},
        {"point=off", "TOKEN_POINT_INVALID"},
        {"random=zero", "TOKEN_RANDOM_FAULTY"},
        {"random=same", "TOKEN_RANDOM_FAULTY"},
        {"attr:0x103=0", "TOKEN_ATTRIBUTE_MISMATCH"},
    };
    const size_t before = mock_objects();

    for (size_t i = 0; i < MM_ARRAY_SIZE(lies); i++) {
        mock_rules(lies[i].rules);
        ck_err(mm_trust_prove(minter, &ei), MM_ERR_CORRUPT);
        ck_assert_str_eq(ei.reason, lies[i].reason);
        ck_assert(mm_trust_is_lost(&ei));
        ck_assert_uint_eq(mock_objects(), before);
    }
    mock_rules("");
    ck_ok(mm_trust_prove(minter, &ei));
}
END_TEST

START_TEST(mint_for_devices_that_make_their_keys_is_refused)
{
    mock_rules("");
    ck_assert_int_eq(mint("own", 0), MM_ERR_PRECONDITION);
    ck_assert_str_eq(ei.reason, "PROFILE_ON_DEVICE");
    ck_assert_uint_eq(mock_calls("*"), 0);
}
END_TEST

static int64_t now_us;

static int64_t fake_wall_ms(void)
{
    return 1795305600000;
}

/* A millisecond passes with every look at the clock. */
static int64_t fake_mono_us(void)
{
    return now_us += 1000;
}

START_TEST(mint_stops_at_the_deadline)
{
    mm_clock_replace(fake_wall_ms, fake_mono_us);
    now_us = 10000;
    mock_rules("");
    ck_assert_int_eq(mint("wrapped", 10000), MM_ERR_TIMEOUT);
    ck_assert_uint_eq(mock_calls("*"), 0);
    now_us = 10000;
    ck_assert_int_eq(mint("wrapped", 13000), MM_ERR_TIMEOUT);
    ck_assert_uint_eq(mock_calls("C_GenerateKeyPair"), 2);
    ck_assert_uint_eq(mock_session_objects(), 0);
    ck_assert_str_eq(ei.reason, "DEADLINE_EXCEEDED");
    mm_clock_replace(NULL, NULL);
}
END_TEST

/* ---- what is refused at start ------------------------------------------------------------ */

START_TEST(open_key_against_its_policy_is_refused)
{
    mock_rules("attr:0x162=1"); /* CKA_EXTRACTABLE */
    refuse(MM_ERR_CORRUPT, "CKA_EXTRACTABLE");
}
END_TEST

START_TEST(open_token_without_key_wrap_is_refused)
{
    mock_rules("kwp=0");
    refuse(MM_ERR_UNSUPPORTED, "RFC 5649");
}
END_TEST

START_TEST(open_certificate_of_another_key_is_refused)
{
    struct matter_chain other;
    struct mm_bytes point;

    ck_ok(mm_pki_certificate_point(chain.paa, &point, &ei));
    matter_chain_make(&other, point.data);
    matter_chain_write(&other, path("chain.pem"));
    matter_chain_done(&other);
    refuse(MM_ERR_INVALID, "not that of the certificate");
}
END_TEST

START_TEST(open_chain_without_its_root_is_refused)
{
    struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    const char *second;

    ck_ok(mm_io_read_file(path("chain.pem"), MM_PEM_FILE_MAX, &pem, &ei));
    second = strstr(mm_buf_cstr(&pem) + 1, "-----BEGIN");
    ck_ok(mm_io_write_file(path("chain.pem"), 0600, pem.data,
                           (size_t)((const uint8_t *)second - pem.data), &ei));
    mm_buf_done(&pem);
    refuse(MM_ERR_INVALID, "up to a self-signed root");
}
END_TEST

START_TEST(open_profile_that_does_not_compile_is_refused)
{
    edit("vid = 'FFF1'", "vid = 'FFF2'");
    parse();
    refuse(MM_ERR_INVALID, "vendor id is not the issuer's");
}
END_TEST

START_TEST(open_failing_call_is_said)
{
    unsigned long calls;
    char rules[40];

    mock_rules(NULL);
    open_minter();
    calls = mock_calls("*");
    drop_minter();
    for (unsigned long n = 1; n <= calls; n++) {
        snprintf(rules, sizeof(rules), "*:%lu=0x30", n);
        mock_rules(rules);
        ei = (struct mm_errinfo){0};
        if (mm_minter_open(conf, "t", &login, &minter, &ei) < 0)
            ck_assert_msg(ei.text[0] && ei.reason[0], "call %lu, %s: empty", n, mock_failed());
        drop_minter();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mint");
    TCase *t = tcase_create("open"), *s = tcase_create("start");

    tcase_add_checked_fixture(t, setup_open, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, mint_makes_all_kinds_and_leaves_nothing);
    tcase_add_test(t, mint_samples_one_chunk_in_16);
    tcase_add_loop_test(t, mint_refused_call_fails_the_job_and_leaves_nothing, 0,
                        (int)MM_ARRAY_SIZE(profiles));
    tcase_add_loop_test(t, mint_recovers_from_a_hiccup, 0, (int)MM_ARRAY_SIZE(profiles));
    tcase_add_loop_test(t, mint_recovers_from_lost_sessions, 0, (int)MM_ARRAY_SIZE(profiles));
    tcase_add_loop_test(t, mint_recovers_from_a_lost_login, 0, (int)MM_ARRAY_SIZE(profiles));
    tcase_add_test(t, mint_gives_a_busy_token_up_after_a_few_tries);
    tcase_add_loop_test(t, mint_uses_no_stale_handle_of_a_key_that_is_gone, 0, 2);
    tcase_add_test(t, mint_token_pulled_out_is_a_case_for_restart);
    tcase_add_test(t, mint_pin_refused_at_reopen_is_said);
    tcase_add_test(t, mint_signature_that_does_not_verify_is_found);
    tcase_add_test(t, mint_lie_is_found_wherever_it_comes);
    tcase_add_test(t, mint_lie_in_a_large_chunk_is_found);
    tcase_add_test(t, mint_lie_across_jobs_is_found);
    tcase_add_test(t, mint_random_bytes_are_drawn_for_many_devices);
    tcase_add_test(t, trust_keys_are_remembered_in_turn);
    tcase_add_test(t, trust_proof_passes_and_leaves_nothing);
    tcase_add_test(t, trust_proof_of_a_token_that_lies_fails);
    tcase_add_test(t, mint_for_devices_that_make_their_keys_is_refused);
    tcase_add_test(t, mint_stops_at_the_deadline);
    tcase_add_checked_fixture(s, setup, teardown);
    tcase_set_timeout(s, 60);
    tcase_add_test(s, open_key_against_its_policy_is_refused);
    tcase_add_test(s, open_token_without_key_wrap_is_refused);
    tcase_add_test(s, open_certificate_of_another_key_is_refused);
    tcase_add_test(s, open_chain_without_its_root_is_refused);
    tcase_add_test(s, open_profile_that_does_not_compile_is_refused);
    tcase_add_test(s, open_failing_call_is_said);
    suite_add_tcase(suite, t);
    suite_add_tcase(suite, s);
    return run_suite(suite);
}
