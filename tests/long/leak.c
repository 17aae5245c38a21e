/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mints on and on in one process with the mock token, as a token worker does, through lost
 * sessions, failed calls and keys made ahead, and counts what is left behind at the end.
 *
 *   leak [CYCLES]    devices, default 1000000
 *
 * Ends with: RESULT cycles= objects= sessions= fds= rss_growth_kb=
 *   objects, sessions, fds   more in the token, or open, than after the first tenth
 *   rss_growth_kb            of resident memory since the first tenth
 * Exit status 0 when the first three are 0 and memory has grown by 2048 kB at most.
 */
#include "daemon/base/text.h"
#include "daemon/token/ahead.h"
#include "daemon/token/mint.h"
#include "tests/unit/mint_fixture.h"

#include <check.h>

#include <dirent.h>

enum { FAULT_EVERY = 97, GROWTH_MAX_KB = 2048 };

struct footprint {
    size_t objects, sessions, fds;
    long rss_kb;
};

static long read_rss_kb(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    long kb = -1;

    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "RssAnon: %ld", &kb) == 1)
            break;
    }
    if (f)
        fclose(f);
    return kb;
}

static size_t count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* Pairs made ahead are there on purpose. */
static struct footprint measure(void)
{
    size_t ahead = 0;

    for (size_t i = 0; i < minter->n_profiles; i++)
        ahead += minter->profiles[i].n_ahead;
    return (struct footprint){mock_objects() - 2 * ahead, mock_sessions(), count_fds(),
                              read_rss_kb()};
}

static int mint_chunk(const char *profile, uint32_t count)
{
    Mintmark__Internal__MintJob job;
    char name[16];
    char batch[] = "0193537b-1f4c-7abc-8def-001122334455";

    mintmark__internal__mint_job__init(&job);
    snprintf(name, sizeof(name), "%s", profile);
    job.profile = name;
    job.batch_uid = batch;
    job.first_number = 1;
    job.count = count;
    return mm_mint(minter, &job, 0, chunk, &ei);
}

/* Some chunks meet a fault: sessions lost, a login lost, a call refused, a false signature. */
static void arm(uint64_t number)
{
    static const char *const faults[] = {"C_Sign:7=sessions", "C_WrapKey:5=0x101",
                                         "C_GenerateKeyPair:3=0x31", "C_GenerateKeyPair:9=0xd1",
                                         "C_Sign:11=lie"};

    mock_rules(number % FAULT_EVERY == 0 ? faults[number / FAULT_EVERY % MM_ARRAY_SIZE(faults)]
                                         : "");
}

/* Devices made. */
static uint64_t run(uint64_t devices)
{
    static const char *const mixed[] = {"wrapped", "csr", "wrapped", "bare"};
    static uint64_t number;
    uint64_t made = 0;

    while (made < devices) {
        const uint32_t count = devices - made < MM_CHUNK_DEVICES ? (uint32_t)(devices - made)
                                                                 : (uint32_t)MM_CHUNK_DEVICES;

        arm(++number);
        if (mint_chunk(mixed[number % MM_ARRAY_SIZE(mixed)], count) == MM_OK)
            made += count;
        mm_chunk_clear(chunk);
        mm_ahead_resume(minter);
        for (int i = 0; i < 4 && mm_ahead_wants(minter) && mm_ahead_make(minter, &ei) == MM_OK; i++)
            ;
    }
    return made;
}

static uint64_t cycles = 1000000;

START_TEST(minting_leaves_nothing_behind)
{
    struct footprint before, after;
    ssize_t objects, sessions, fds;
    uint64_t made = run(cycles / 10);

    before = measure();
    made += run(cycles - cycles / 10);
    after = measure();
    objects = (ssize_t)(after.objects - before.objects);
    sessions = (ssize_t)(after.sessions - before.sessions);
    fds = (ssize_t)(after.fds - before.fds);
    printf("RESULT cycles=%llu objects=%zd sessions=%zd fds=%zd rss_growth_kb=%ld\n",
           (unsigned long long)made, objects, sessions, fds, after.rss_kb - before.rss_kb);
    ck_assert(objects == 0 && sessions == 0 && fds == 0);
    ck_assert_int_le(after.rss_kb - before.rss_kb, GROWTH_MAX_KB);
}
END_TEST

static void setup_ahead(void)
{
    setup();
    edit("profile 'wrapped' {", "profile 'wrapped' { keys_ahead = 16");
    parse();
    ck_ok(mm_minter_open(conf, "t", &login, &minter, &ei));
}

int main(int argc, char **argv)
{
    Suite *suite = suite_create("leak");
    TCase *t = tcase_create("all");
    SRunner *runner = srunner_create(suite);
    int failed;

    if (argc > 2 || (argc == 2 && mm_text_to_u64(argv[1], 1000, UINT64_MAX / 2, &cycles) < 0)) {
        fputs("usage: leak [CYCLES]\n", stderr);
        return 64;
    }
    tcase_add_checked_fixture(t, setup_ahead, teardown);
    tcase_add_test(t, minting_leaves_nothing_behind);
    suite_add_tcase(suite, t);
    /* All in this process: it is what is measured. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
