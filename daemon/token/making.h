/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a chunk of devices is made of, and how; minting (mint.h) and enrolling (enroll.h) are the
 * two jobs that make one. They differ in where a device's public key comes from, and share the
 * rest: random bytes, certificate, signature, bundle, recovery from a token's hiccup.
 */
#pragma once

#include "daemon/token/minter.h"
#include "mintmark/v1/types.pb-c.h"

enum { MM_UUID_BYTES = 16, MM_SERIAL_BYTES = 20 };

/* What becomes of one device. */
struct mm_device {
    uint8_t uid[MM_UUID_BYTES], serial[MM_SERIAL_BYTES], spki_sha256[32];
    char uid_text[MM_UID_LEN + 1];
    char username[MM_ISSUER_NAME_MAX + 1]; /* in EJBCA; "" with other issuers */
    struct mm_keypair pair; /* minted; retained keys: kept until the whole chunk is done */
    size_t bundle_start, bundle_len;
    uint8_t digest[MM_DIGEST_MAX], signature[MM_SIGNATURE_MAX];
    size_t digest_len, signature_len; /* 0: nothing was signed for it */
    struct mm_errinfo refusal;        /* enrolled: code is not MM_OK when its request was refused */
};

/* A chunk, at work or finished. A message points into it and holds until the next job. */
struct mm_chunk {
    struct mm_device devices[MM_CHUNK_DEVICES];
    size_t n_made;
    struct mm_buf bundles, der, key;
    struct mm_tbs tbs;
    Mintmark__Internal__DeviceRecord records[MM_CHUNK_DEVICES];
    Mintmark__Internal__DeviceRecord *record_list[MM_CHUNK_DEVICES];
    Mintmark__Internal__MintResult minted;
    Mintmark__Internal__Enrolment enrolments[MM_CHUNK_DEVICES];
    Mintmark__Internal__Enrolment *enrolment_list[MM_CHUNK_DEVICES];
    Mintmark__Internal__Error errors[MM_CHUNK_DEVICES];
    Mintmark__Internal__EnrollResult enrolled;
};
int mm_chunk_new(struct mm_chunk **ret_chunk) MM_MUST_USE;
/* Wipes; NULL is fine. */
void mm_chunk_free(struct mm_chunk *c);
/* Wipes what was packed: for profiles "plain" it holds private keys. */
void mm_chunk_clear(struct mm_chunk *c);

/* One job at work. */
struct mm_making {
    struct mm_minter *minter;
    struct mm_minting *profile;
    struct mm_chunk *chunk;
    char *batch_uid;
    uint64_t first_number; /* the devices get first_number, first_number + 1, … */
    size_t count;
    const char *hw_serials[MM_CHUNK_DEVICES]; /* "" if none */
    int64_t now_ms, deadline_mono_us;
    /* Makes device i, which is the next; it may be called again for a device that failed. */
    int (*make)(struct mm_making *m, size_t i, struct mm_errinfo *ei);
    /* The session was lost while device i was being made: what of it stays in the token goes. NULL
     * where nothing stays. */
    void (*lost)(struct mm_making *m, size_t i);
    const void *job;
    bool named;    /* the device at hand has its UID and serial number */
    bool reopened; /* handles of pairs made so far are stale */
};

/* Errors that both jobs have in common: profile, batch size, numbers, serials' lengths. */
int mm_making_check(const struct mm_making *m, const char *profile,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* Makes all devices, and verifies every signature that was made for them. A token's hiccup (retry,
 * reopen, log in) is cured and the device at hand begun again, a few times a job. On failure
 * chunk->n_made devices are made. */
int mm_making_run(struct mm_making *m, struct mm_errinfo *ei) MM_MUST_USE;

/* Fills chunk->tbs for device i, whose public key is point: of its certificate, or of its request
 * where the profile makes those. */
int mm_making_tbs(struct mm_making *m, size_t i, const uint8_t *point, size_t point_len,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* Does device i's own request ask for what the profile gives it? As mm_profile_check_csr_content.
 */
int mm_making_check_request(struct mm_making *m, size_t i, struct mm_bytes request,
                            struct mm_errinfo *ei) MM_MUST_USE;
/* Signs chunk->tbs for device i and fills chunk->der with the finished certificate or request; the
 * signature is verified with the chunk's others when all are made. pair: whose key signs requests,
 * device i's; NULL where the CA's signs. */
int mm_making_sign(struct mm_making *m, size_t i, const struct mm_keypair *pair,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* Packs device i's bundle, in bundle as far as the job has filled it; the rest is filled here. */
int mm_making_pack(struct mm_making *m, size_t i, Mintmark__V1__Bundle *bundle,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* The record of device i; only once all are made, since the bundles' memory moves while it grows.
 */
Mintmark__Internal__DeviceRecord *mm_making_record(struct mm_making *m, size_t i);

/* Is the time inside the token measured for this job? */
bool mm_making_sampled(struct mm_making *m);
