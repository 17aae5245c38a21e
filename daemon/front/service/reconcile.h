/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The comparison of EJBCA's certificates with the devices recorded here, step by step and in any
 * order of either side, so that no collation of EJBCA's database matters:
 *
 *   1. all devices by row: a bit for each that has its certificate;
 *   2. EJBCA's certificates page by page, each with the device that the store says is its: takes
 *      the device's bit away, or is a difference;
 *   3. the devices whose bits are left: EJBCA has nothing of them.
 *
 * A device is recorded before EJBCA hears of it, and the store is asked after EJBCA, so what is
 * issued meanwhile is known when it is compared; and a device that gets its certificate after step
 * 1 has no bit. What is kept is one bit a device, and one page's certificates whose device may
 * still turn out to have the recorded one too. Pure functions: no I/O.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "internal/issuer.pb-c.h"
#include "internal/store.pb-c.h"
#include "mintmark/v1/officer.pb-c.h"

struct mm_compare_profile {
    char name[MM_NAME_MAX + 1];
    Mintmark__V1__ReconciledProfile counts;
};

/* What was found, to be told: heap messages, freed by mm_found_clear. */
struct mm_found {
    Mintmark__V1__Difference **list;
    size_t n;
};
void mm_found_clear(struct mm_found *f);

/* A certificate that is not the recorded one of its device, which has not been seen yet. */
struct mm_compare_held {
    uint64_t row;
    Mintmark__V1__Difference *difference;
};

struct mm_compare {
    struct mm_compare_profile *profiles;
    size_t n_profiles;
    uint8_t *unseen; /* bit row: issued here, and no certificate of it seen there */
    uint64_t rows;   /* bits of it */
    uint64_t devices, certificates;
    /* Of the page before: their devices' own may have come with the page after it. */
    struct mm_compare_held held[MM_RECONCILE_PAGE_MAX];
    size_t n_held;
    /* The waiting device whose certificate came last. */
    uint64_t waiting_row;
    uint8_t waiting_serial[20];
    size_t waiting_serial_len;
};

/* names: of the profiles that are compared. MM_ERR_MEMORY. */
int mm_compare_new(const char *const *names, size_t n, struct mm_compare **ret_compare) MM_MUST_USE;
void mm_compare_free(struct mm_compare *c);

/* Step 1. Devices of other profiles are passed over. MM_ERR_MEMORY; MM_ERR_EXHAUSTED
 * RECONCILE_TOO_MANY. */
int mm_compare_device(struct mm_compare *c, const Mintmark__Internal__EnrolmentRow *device,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Step 2: one page, with as many matches as entries. profile: whose those of no device are. */
int mm_compare_page(struct mm_compare *c, const char *profile,
                    const Mintmark__Internal__Listed *page,
                    const Mintmark__Internal__MatchedCertificates *matched, struct mm_found *found,
                    struct mm_errinfo *ei) MM_MUST_USE;
/* After the last page of all. */
int mm_compare_listed(struct mm_compare *c, struct mm_found *found,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Step 3: the row of the next device after that one whose bit is left; 0: none. */
uint64_t mm_compare_next(const struct mm_compare *c, uint64_t after);
/* A device by step 3, if its bit is left. */
int mm_compare_rest(struct mm_compare *c, const Mintmark__Internal__EnrolmentRow *device,
                    struct mm_found *found, struct mm_errinfo *ei) MM_MUST_USE;
