/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A station that measures: the load side of tools/bench, on the public client library.
 *
 *   station bulk    --batch UID --seconds S                 one stream, as fast as it goes
 *   station single  --batch UID --seconds S --connections C [--rate R]
 *   station burst   --batch UID --seconds S --per-call N   one call after S seconds of rest
 *
 * bulk repeats Provision calls of --per-call devices until the time is over, after one of --warm
 * that is not counted (256 if not given). single asks for one device a call on C connections (a
 * process each): without --rate each connection calls again at once (capacity); with --rate the
 * calls come at random times, R a second in all, and a latency counts from the moment the call was
 * due, so that a stall is seen by all who would have called meanwhile. Prints one JSON object.
 */
#include "client/mintmark.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LATENCIES_MAX = 1 << 20, CONNECTIONS_MAX = 256 };

struct settings {
    struct mintmark_options client;
    const char *batch;
    double seconds, rate;
    unsigned connections, per_call, warm;
};

/* Connections begin together, once all are there: each says so by a byte, and the parent's end of
 * go is closed. */
struct start {
    int ready[2], go[2];
};

/* What a connection's process leaves behind, in memory shared with the parent. */
struct tally {
    uint64_t calls;
    uint64_t failed;
    uint32_t latency_us[];
};

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int count_bundle(void *arg, const struct mintmark_bundle *bundle,
                        const struct mintmark_withheld *withheld)
{
    uint64_t *devices = arg;

    (void)withheld;
    *devices += bundle ? 1 : 0;
    return 0;
}

static int provision(struct mintmark *client, const struct settings *s, uint32_t count,
                     uint64_t *devices)
{
    const struct mintmark_provision request = {.batch_uid = s->batch, .count = count};
    struct mintmark_error error;

    if (mintmark_provision(client, &request, count_bundle, devices, &error) == 0)
        return 0;
    fprintf(stderr, "station: %s: %s\n", error.reason, error.message);
    return -1;
}

static struct mintmark *open_client(const struct settings *s)
{
    struct mintmark_error error;
    struct mintmark *client = NULL;

    if (mintmark_new(&s->client, &client, &error) != 0) {
        fprintf(stderr, "station: %s\n", error.message);
        exit(EXIT_FAILURE);
    }
    return client;
}

static int bulk(const struct settings *s)
{
    struct mintmark *client = open_client(s);
    uint64_t devices = 0, warm = 0;
    double began, took;
    int r = s->warm ? provision(client, s, s->warm, &warm) : 0;

    began = now_s();
    do {
        if (r == 0)
            r = provision(client, s, s->per_call, &devices);
        took = now_s() - began;
    } while (r == 0 && took < s->seconds);
    printf("{\"devices\": %llu, \"seconds\": %.3f, \"per_s\": %.1f}\n", (unsigned long long)devices,
           took, (double)devices / took);
    mintmark_free(client);
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void sleep_until(double due);

/* The station comes back from a pause, and wants a panel at once. */
static int burst(const struct settings *s)
{
    struct mintmark *client = open_client(s);
    uint64_t devices = 0, warm = 0;
    double began, took;
    int r = provision(client, s, 1, &warm);

    sleep_until(now_s() + s->seconds);
    began = now_s();
    if (r == 0)
        r = provision(client, s, s->per_call, &devices);
    took = now_s() - began;
    printf("{\"devices\": %llu, \"ms\": %.3f, \"per_s\": %.1f}\n", (unsigned long long)devices,
           took * 1e3, (double)devices / took);
    mintmark_free(client);
    return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void sleep_until(double due)
{
    const struct timespec at = {.tv_sec = (time_t)due, .tv_nsec = (long)((due - floor(due)) * 1e9)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

/* All 48 bits: seeds that differ in their lowest alone give nearly the same first draws. */
static void seed_of(unsigned index, unsigned short ret_seed[3])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];

    SHA256((const unsigned char *)&index, sizeof(index), digest);
    memcpy(ret_seed, digest, 3 * sizeof(*ret_seed));
}

static bool await_others(const struct start *start)
{
    char byte = 0;
    bool told;

    close(start->go[1]);
    told = write(start->ready[1], &byte, 1) == 1;
    close(start->ready[1]);
    return told && read(start->go[0], &byte, 1) == 0;
}

/* In the parent. A connection that fails says nothing, and closes what it could say it by. */
static void let_go(struct start *start, unsigned connections)
{
    char byte;

    close(start->ready[1]);
    while (connections > 0 && read(start->ready[0], &byte, 1) == 1)
        connections--;
    close(start->go[1]);
}

/* One connection's process: calls at exponentially distributed times, or back to back. */
static void single_connection(const struct settings *s, unsigned index, const struct start *start,
                              struct tally *tally)
{
    struct mintmark *client = open_client(s);
    unsigned short seed[3];
    uint64_t devices = 0;
    const double rate = s->rate / s->connections;
    double due, end;

    seed_of(index, seed);
    if (provision(client, s, 1, &devices) != 0 || !await_others(start))
        exit(EXIT_FAILURE);
    due = now_s();
    end = due + s->seconds;
    while (due < end && tally->calls < LATENCIES_MAX) {
        if (s->rate > 0) {
            due -= log(1 - erand48(seed)) / rate;
            sleep_until(due);
        } else {
            due = now_s();
        }
        if (provision(client, s, 1, &devices) != 0) {
            tally->failed++;
            continue;
        }
        tally->latency_us[tally->calls++] = (uint32_t)((now_s() - due) * 1e6);
    }
    mintmark_free(client);
    exit(EXIT_SUCCESS);
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void print_latencies(const struct settings *s, struct tally *const *tallies)
{
    uint64_t calls = 0, failed = 0, at = 0;
    uint32_t *all;

    for (unsigned i = 0; i < s->connections; i++) {
        calls += tallies[i]->calls;
        failed += tallies[i]->failed;
    }
    all = calloc(calls + 1, sizeof(*all));
    if (!all)
        exit(EXIT_FAILURE);
    for (unsigned i = 0; i < s->connections; i++) {
        memcpy(all + at, tallies[i]->latency_us, tallies[i]->calls * sizeof(*all));
        at += tallies[i]->calls;
    }
    qsort(all, calls, sizeof(*all), compare_u32);
    printf("{\"calls\": %llu, \"failed\": %llu, \"per_s\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": "
           "%.3f}\n",
           (unsigned long long)calls, (unsigned long long)failed, (double)calls / s->seconds,
           (double)all[calls / 2] / 1e3, (double)all[calls * 99 / 100] / 1e3);
    free(all);
}

static int single(const struct settings *s)
{
    const size_t size = sizeof(struct tally) + LATENCIES_MAX * sizeof(uint32_t);
    struct tally *tallies[CONNECTIONS_MAX];
    struct start start;
    int status, bad = 0;

    if (pipe(start.ready) < 0 || pipe(start.go) < 0)
        return EXIT_FAILURE;
    for (unsigned i = 0; i < s->connections; i++) {
        tallies[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (tallies[i] == MAP_FAILED)
            return EXIT_FAILURE;
        if (fork() == 0)
            single_connection(s, i, &start, tallies[i]);
    }
    let_go(&start, s->connections);
    for (unsigned i = 0; i < s->connections; i++) {
        if (wait(&status) < 0 || status != 0)
            bad = 1;
    }
    print_latencies(s, tallies);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* 0, which main refuses, when it is no number. */
static unsigned positive(const char *text)
{
    return (unsigned)strtoul(text, NULL, 10);
}

static int usage(void)
{
    fputs("usage: station bulk|single|burst --target HOST:PORT --ca FILE --certificate FILE\n"
          "               --key FILE --batch UID --seconds S [--per-call N] [--warm N]\n"
          "               [--connections C] [--rate R]\n",
          stderr);
    return 64;
}

static const struct option options[] = {
    {"target", required_argument, NULL, 't'},
    {"ca", required_argument, NULL, 'a'},
    {"certificate", required_argument, NULL, 'c'},
    {"key", required_argument, NULL, 'k'},
    {"batch", required_argument, NULL, 'b'},
    {"seconds", required_argument, NULL, 's'},
    {"per-call", required_argument, NULL, 'p'},
    {"warm", required_argument, NULL, 'w'},
    {"connections", required_argument, NULL, 'n'},
    {"rate", required_argument, NULL, 'r'},
    {0},
};

static const struct {
    const char *name;
    int (*run)(const struct settings *s);
} modes[] = {{"bulk", bulk}, {"single", single}, {"burst", burst}};

int main(int argc, char **argv)
{
    struct settings s = {.seconds = 5, .connections = 8, .per_call = 20000, .warm = 256};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 't':
            s.client.target = optarg;
            break;
        case 'a':
            s.client.ca_file = optarg;
            break;
        case 'c':
            s.client.certificate_file = optarg;
            break;
        case 'k':
            s.client.key_file = optarg;
            break;
        case 'b':
            s.batch = optarg;
            break;
        case 's':
            s.seconds = strtod(optarg, NULL);
            break;
        case 'p':
            s.per_call = positive(optarg);
            break;
        case 'w':
            s.warm = positive(optarg);
            break;
        case 'n':
            s.connections = positive(optarg);
            break;
        case 'r':
            s.rate = strtod(optarg, NULL);
            break;
        default:
            return usage();
        }
    }
    if (optind != argc - 1 || !s.batch || s.seconds <= 0 || s.connections == 0 ||
        s.connections > CONNECTIONS_MAX || s.per_call == 0)
        return usage();
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(argv[optind], modes[i].name) == 0)
            return modes[i].run(&s);
    }
    return usage();
}
