/* SPDX-License-Identifier: Apache-2.0 */
/* Documents as files: orders and what follows from them, signed (CMS) or not yet (protobuf), read,
 * described for people and as JSON. Needs no site. */
#pragma once

#include "daemon/document/document.h"
#include "tools/officer/officer.h"

struct mm_paper {
    struct mm_buf bytes; /* of the file */
    struct mm_arena arena;
    bool is_signed;
    struct mm_document document;                 /* when signed */
    const Mintmark__V1__SignedDocument *content; /* either way */
};
#define MM_PAPER_INIT                                                                              \
    ((struct mm_paper){.bytes = MM_BUF_INIT(MM_DOCUMENT_MAX),                                      \
                       .arena = MM_ARENA_INIT,                                                     \
                       .document = MM_DOCUMENT_INIT})
void mm_paper_done(struct mm_paper *paper);
#define MM_PAPER_CLEANUP MM_CLEANUP(mm_paper_done)

/* A file of more than MM_DOCUMENT_MAX bytes is MM_ERR_TOO_BIG, unread. Otherwise the errors of
 * mm_document_open. */
int mm_paper_read(const char *path, struct mm_paper *paper, struct mm_errinfo *ei) MM_MUST_USE;

/* kind, and every field under its own name; times also as text. NULL without memory. */
json_t *mm_paper_describe(const Mintmark__V1__SignedDocument *content);
/* subject and SHA-256 of the signer's certificate. NULL without memory. */
json_t *mm_paper_signer(const struct mm_document *document);
/* The same for people. */
void mm_paper_print(const json_t *description);

/* order show FILE. */
int mm_order_show_file(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;
/* A number of devices from an option; one that was not given leaves *ret_value as it is. */
int mm_order_number(struct mm_officer *o, enum mm_option option, const char *value,
                    uint64_t *ret_value, struct mm_errinfo *ei) MM_MUST_USE;
