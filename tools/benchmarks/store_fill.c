/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fills a database with devices, while its service is away: by the store's own verb, so that order,
 * batch, requests and ledger are as a service would have left them. All have the bundle of one
 * file; UIDs, keys and serial numbers are random.
 *
 * usage: store_fill DATABASE BATCH_UID FIRST_NUMBER DEVICES BUNDLE_FILE
 *
 * Prints one line of JSON: {"devices": …, "seconds": …}
 */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"
#include "daemon/store/message.h"
#include "daemon/store/store.h"

#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = MM_CHUNK_DEVICES, CHUNKS_PER_REQUEST = 256, CHUNKS_PER_COMMIT = 1024 };

struct random {
    uint8_t uid[16], spki_sha256[32], serial[20];
};

struct fill {
    struct mm_store *store;
    struct mm_buf bundle;
    struct random random[CHUNK];
    Mintmark__Internal__DeviceRecord devices[CHUNK];
    Mintmark__Internal__DeviceRecord *list[CHUNK];
    Mintmark__Internal__SpendAndRecord job;
    char request_id[MM_UID_LEN + 1];
    uint8_t digest[32]; /* of the request */
    uint8_t chain[2 * 640], chain_sha256[32];
};

static struct mm_errinfo ei;
static char station[] = "fill", empty[] = "";

static void check(int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "store_fill: %s: %s\n", ei.reason, ei.text);
    exit(EXIT_FAILURE);
}

static void draw(void *to, size_t len)
{
    if (RAND_bytes(to, (int)len) == 1)
        return;
    fputs("store_fill: no random bytes\n", stderr);
    exit(EXIT_FAILURE);
}

static void new_request(struct fill *f, uint64_t devices_left)
{
    const uint64_t most = (uint64_t)CHUNK * CHUNKS_PER_REQUEST;
    uint8_t uuid[16];

    draw(uuid, sizeof(uuid));
    draw(f->digest, sizeof(f->digest));
    mm_uuid7_stamp(uuid, mm_clock_wall_ms());
    mm_uuid_format(uuid, f->request_id);
    f->job.request_count = (uint32_t)(devices_left < most ? devices_left : most);
}

/* One for all, of the size of two certificates. */
static void make_chain(struct fill *f)
{
    Mintmark__Internal__Chain chain = MINTMARK__INTERNAL__CHAIN__INIT;
    uint8_t certificates[2][600];
    ProtobufCBinaryData list[2];

    draw(certificates, sizeof(certificates));
    for (size_t i = 0; i < 2; i++)
        list[i] = (ProtobufCBinaryData){sizeof(certificates[i]), certificates[i]};
    chain.certificates = list;
    chain.n_certificates = 2;
    f->job.chain =
        (ProtobufCBinaryData){mintmark__internal__chain__pack(&chain, f->chain), f->chain};
    SHA256(f->chain, f->job.chain.len, f->chain_sha256);
    f->job.chain_sha256 = (ProtobufCBinaryData){sizeof(f->chain_sha256), f->chain_sha256};
}

static void record_chunk(struct fill *f, uint64_t first_number, size_t n)
{
    Mintmark__Internal__Recorded *recorded = NULL;

    draw(f->random, sizeof(f->random));
    f->job.now_ms = mm_clock_wall_ms();
    for (size_t i = 0; i < n; i++) {
        struct random *r = &f->random[i];

        mm_uuid7_stamp(r->uid, f->job.now_ms);
        r->serial[0] = (r->serial[0] & 0x7f) | 0x40;
        mintmark__internal__device_record__init(&f->devices[i]);
        f->devices[i].bundle = (ProtobufCBinaryData){f->bundle.len, f->bundle.data};
        f->devices[i].uid = (ProtobufCBinaryData){sizeof(r->uid), r->uid};
        f->devices[i].spki_sha256 = (ProtobufCBinaryData){sizeof(r->spki_sha256), r->spki_sha256};
        f->devices[i].serial = (ProtobufCBinaryData){sizeof(r->serial), r->serial};
        f->devices[i].number = first_number + i;
        f->devices[i].hw_serial = empty;
        f->list[i] = &f->devices[i];
    }
    f->job.devices = f->list;
    f->job.n_devices = n;
    check(mm_store_spend_and_record(f->store, &f->job, &recorded, &ei));
    mm_message_free(recorded);
}

static void fill(struct fill *f, uint64_t first_number, uint64_t devices)
{
    uint64_t chunks = 0;

    for (uint64_t done = 0; done < devices; chunks++) {
        const uint64_t left = devices - done;
        const size_t n = left < CHUNK ? (size_t)left : CHUNK;

        if (chunks % CHUNKS_PER_COMMIT == 0)
            check(mm_store_begin(f->store, &ei));
        if (chunks % CHUNKS_PER_REQUEST == 0)
            new_request(f, left);
        record_chunk(f, first_number + done, n);
        done += n;
        if (chunks % CHUNKS_PER_COMMIT == CHUNKS_PER_COMMIT - 1 || done == devices)
            check(mm_store_commit(f->store, &ei));
    }
}

int main(int argc, char **argv)
{
    static struct fill f;
    uint64_t first = 0, devices = 0;
    int64_t began_us;

    if (argc != 6 || mm_text_to_u64(argv[3], 1, UINT32_MAX, &first) < 0 ||
        mm_text_to_u64(argv[4], 1, UINT32_MAX, &devices) < 0) {
        fputs("usage: store_fill DATABASE BATCH_UID FIRST_NUMBER DEVICES BUNDLE_FILE\n", stderr);
        return 64;
    }
    f.bundle = MM_BUF_INIT(MM_BUNDLE_MAX);
    check(mm_io_read_file(argv[5], MM_BUNDLE_MAX, &f.bundle, &ei));
    mintmark__internal__spend_and_record__init(&f.job);
    f.job.batch_uid = argv[2];
    f.job.station = station;
    f.job.request_id = f.request_id;
    f.job.digest = (ProtobufCBinaryData){sizeof(f.digest), f.digest};
    make_chain(&f);
    check(mm_store_open(argv[1], &f.store, &ei));
    began_us = mm_clock_mono_us();
    fill(&f, first, devices);
    printf("{\"devices\": %llu, \"seconds\": %.3f}\n", (unsigned long long)devices,
           (double)(mm_clock_mono_us() - began_us) / 1e6);
    mm_store_free(f.store);
    mm_buf_done(&f.bundle);
    return EXIT_SUCCESS;
}
