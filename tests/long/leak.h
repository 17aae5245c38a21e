/* SPDX-License-Identifier: Apache-2.0 */
/* What leak.c and leak_softhsm.c share: minting on and on, and what is there before and after. */
#pragma once

#include "daemon/base/text.h"
#include "daemon/token/making.h"
#include "daemon/token/mint.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { GROWTH_MAX_KB = 2048 };

static uint64_t cycles; /* devices to make */

struct footprint {
    size_t objects, sessions, fds;
    long rss_kb;
};

static inline long read_rss_kb(void)
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

static inline size_t count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static inline uint32_t next_count(uint64_t left)
{
    return left < MM_CHUNK_DEVICES ? (uint32_t)left : (uint32_t)MM_CHUNK_DEVICES;
}

static inline int mint_chunk(struct mm_minter *m, const char *profile, uint32_t count,
                             struct mm_chunk *to, struct mm_errinfo *error)
{
    Mintmark__Internal__MintJob job;
    char batch[] = "0193537b-1f4c-7abc-8def-001122334455", name[16];

    mintmark__internal__mint_job__init(&job);
    snprintf(name, sizeof(name), "%s", profile);
    job.profile = name;
    job.batch_uid = batch;
    job.first_number = 1;
    job.count = count;
    return mm_mint(m, &job, 0, to, error);
}

/* Runs a tenth, and the rest, and prints and judges what the rest has left behind. */
static inline struct footprint judge(uint64_t (*run)(uint64_t devices),
                                     struct footprint (*measure)(void))
{
    uint64_t made = run(cycles / 10);
    const struct footprint before = measure();
    struct footprint after;
    ssize_t objects, sessions, fds;

    made += run(cycles - cycles / 10);
    after = measure();
    objects = (ssize_t)(after.objects - before.objects);
    sessions = (ssize_t)(after.sessions - before.sessions);
    fds = (ssize_t)(after.fds - before.fds);
    printf("RESULT cycles=%llu objects=%zd sessions=%zd fds=%zd rss_growth_kb=%ld\n",
           (unsigned long long)made, objects, sessions, fds, after.rss_kb - before.rss_kb);
    ck_assert(objects == 0 && sessions == 0 && fds == 0);
    ck_assert_int_le(after.rss_kb - before.rss_kb, GROWTH_MAX_KB);
    return before;
}

static inline int leak_main(int argc, char **argv, const char *name, uint64_t usual, TCase *t)
{
    Suite *suite = suite_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;

    cycles = usual;
    if (argc > 2 || (argc == 2 && mm_text_to_u64(argv[1], 1000, UINT64_MAX / 2, &cycles) < 0)) {
        fprintf(stderr, "usage: %s [CYCLES]\n", name);
        return 64;
    }
    suite_add_tcase(suite, t);
    /* All in this process: it is what is measured. */
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
