/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exchange packages: what the OEM sends to one appliance, signed by the OEM and encrypted to the
 * appliance's exchange certificate. docs/exchange.md has the format.
 */
#pragma once

#include "daemon/base/limits.h"
#include "daemon/document/document.h"
#include "tools/officer/exchange.h"

enum mm_item_type { MM_ITEM_PKCS12, MM_ITEM_DATA, MM_ITEM_VARIABLE };

struct mm_item {
    enum mm_item_type type;
    char name[MM_NAME_MAX + 1];
    struct mm_buf bytes;        /* the file, the data or the value */
    struct mm_secret *password; /* pkcs12: ends with a NUL */
};

struct mm_package {
    char id[MM_NAME_MAX + 1];
    uint8_t appliance[MM_IDENTITY_BYTES];
    int64_t created_ms, not_after_ms;
    struct mm_item *items;
    size_t n_items;
};
void mm_package_done(struct mm_package *p);
#define MM_PACKAGE_CLEANUP MM_CLEANUP(mm_package_done)

/* "pkcs12", "data" or "variable". */
const char *mm_item_type_name(enum mm_item_type type);

/* Reads the signed content, JSON (RFC 8259), and takes nothing that it does not know.
 * MM_ERR_INVALID PACKAGE_CONTENT with what is wrong. */
int mm_package_parse(struct mm_bytes json, struct mm_package *ret_package,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* A package that was opened with the token's key, whose signer is trusted. */
struct mm_opened {
    struct mm_document document;
    struct mm_package package;
    uint8_t sha256[32]; /* of the signed content */
};
void mm_opened_done(struct mm_opened *o);
#define MM_OPENED_CLEANUP MM_CLEANUP(mm_opened_done)

/* Opens the file --in: envelope, signature, signer, content, in this order, each of which must be
 * right before the next is looked at. The reasons are those of envelope.h, document.h and above,
 * and MM_ERR_PERMISSION PACKAGE_APPLIANCE when it is for another appliance. */
int mm_package_open(struct mm_officer *o, const struct mm_exchange *x, struct mm_opened *ret_opened,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* The time has not run out, and no package that was made later has been installed; nor this one.
 * MM_ERR_PRECONDITION PACKAGE_EXPIRED, PACKAGE_FROM_FUTURE, PACKAGE_OLDER; MM_ERR_EXISTS
 * PACKAGE_REPLAYED. */
int mm_package_fresh(struct mm_officer *o, const struct mm_opened *opened,
                     struct mm_errinfo *ei) MM_MUST_USE;
