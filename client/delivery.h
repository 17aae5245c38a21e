/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery messages as devices for a callback. What a server sends is checked before it gets
 * there: a device's UID is a UUID in canonical text, an item's name is a name (both become file
 * names), contents match their digests, and what key delivery promises is there.
 */
#pragma once

#include "client/mintmark.h"
#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "mintmark/v1/station.pb-c.h"
#include "proto/grpc/arena.h"

#include <stdbool.h>

struct mm_delivery {
    struct mm_arena first_arena;   /* holds the first message, for as long as its stream */
    struct mm_arena next_arena;    /* and each later one in turn */
    struct mm_buf later_chain;     /* of the later message that last announced one */
    bool begun;                    /* the first message has come */
    struct mintmark_bundle shared; /* the stream's part of the bundles that come now */
    struct mintmark_data chain[MM_CHAIN_MAX];
    struct mintmark_item items[MM_ITEMS_MAX];
};

/* A new stream begins; also the first one, on a zeroed struct. */
void mm_delivery_begin(struct mm_delivery *delivery);
/* Wipes and frees. */
void mm_delivery_done(struct mm_delivery *delivery);

/* Reads one message; the result is valid until the next one. A chain in it is that of its bundles
 * and of those that follow, up to the next chain. DATA_LOSS if it is not as it should
 * be. */
int mm_delivery_read(struct mm_delivery *delivery, const struct mm_bytes *message,
                     const Mintmark__V1__Delivery **ret_message, struct mintmark_error *error);

/* The same for a message of Enroll; its results' bundles are read by mm_delivery_bundle. */
int mm_delivery_read_enrolled(struct mm_delivery *delivery, const struct mm_bytes *message,
                              const Mintmark__V1__EnrollResponse **ret_message,
                              struct mintmark_error *error);

/* One device of a message; batch_uid is what it must belong to, NULL: any. The UID in binary goes
 * to ret_uid. */
int mm_delivery_bundle(const struct mm_delivery *delivery, const Mintmark__V1__Bundle *bundle,
                       const char *batch_uid, struct mintmark_bundle *ret_bundle,
                       uint8_t ret_uid[16], struct mintmark_error *error);

/* The same for one that has no certificate; of what may be printed its text alone was made fit for
 * that. */
int mm_delivery_withheld(const Mintmark__V1__Withheld *from, struct mintmark_withheld *ret_withheld,
                         uint8_t ret_uid[16], struct mintmark_error *error);
