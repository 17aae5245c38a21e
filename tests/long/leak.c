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
#include "tests/long/leak.h"

#include "daemon/token/ahead.h"
#include "tests/unit/mint_fixture.h"

enum { FAULT_EVERY = 97 };

/* Pairs made ahead are there on purpose. */
static struct footprint measure(void)
{
    size_t ahead = 0;

    for (size_t i = 0; i < minter->n_profiles; i++)
        ahead += minter->profiles[i].n_ahead;
    return (struct footprint){mock_objects() - 2 * ahead, mock_sessions(), count_fds(),
                              read_rss_kb()};
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
        const uint32_t count = next_count(devices - made);

        arm(++number);
        if (mint_chunk(minter, mixed[number % MM_ARRAY_SIZE(mixed)], count, chunk, &ei) == MM_OK)
            made += count;
        mm_chunk_clear(chunk);
        mm_ahead_resume(minter);
        for (int i = 0; i < 4 && mm_ahead_wants(minter) && mm_ahead_make(minter, &ei) == MM_OK; i++)
            ;
    }
    return made;
}

START_TEST(minting_leaves_nothing_behind)
{
    judge(run, measure);
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
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup_ahead, teardown);
    tcase_add_test(t, minting_leaves_nothing_behind);
    return leak_main(argc, argv, "leak", 1000000, t);
}
