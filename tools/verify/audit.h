/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the auditor's commands share: a verdict, certificates that are trusted, protobuf and CMS as
 * strictly as they are written. The rules are stated here anew, after docs/orders.md and
 * docs/ledger.md; of the rest of the project only the code that protoc-c makes of proto/mintmark/v1
 * is used.
 *
 * Strings that findings and sentences are made of may come from an adversary: the verdict leaves
 * nothing in them that a terminal acts upon.
 */
#pragma once

#include "tools/verify/verify.h"

#include <jansson.h>
#include <openssl/cms.h>
#include <protobuf-c/protobuf-c.h>

enum {
    DOCUMENT_MAX = 64 * 1024,       /* bytes of a signed document */
    SIGNATURE_MAX = 64 * 1024,      /* of a detached signature */
    TRUST_MAX = 64,                 /* certificates in one file of them */
    MESSAGE_MAX = 16 * 1024 * 1024, /* bytes of one message in a file */
    MESSAGE_DEPTH = 8,
    ARENA_DOCUMENT = 4 * 1024 * 1024, /* that a signed document's content may become */
    ARENA_MAX = 64 * 1024 * 1024,     /* that one message may become */
    FINDINGS_SHOWN = 50,
    SENTENCES_MAX = 200, /* proved, and not proved */
    TEXT_MAX = 512,      /* bytes of a sentence, with the NUL */
    TIME_TEXT = 32,
    HEX_MAX = 2 * SHA256_LEN + 1,
};

struct slice {
    const uint8_t *data;
    size_t len;
};

/* ---- verdict.c ------------------------------------------------------------------------------- */

/* What a command found, proved, and could not prove. */
struct verdict {
    const char *command;
    bool json;
    uint64_t findings;
    json_t *first;    /* {code, where, what}: the first FINDINGS_SHOWN */
    json_t *counts;   /* by code */
    json_t *facts;    /* by name, in the order in which they were added */
    json_t *proved;   /* sentences */
    json_t *unproved; /* sentences */
};
void verdict_begin(struct verdict *v, const char *command, bool json);
/* Something is wrong: a code in capitals, where (a file, a record), and a sentence. */
void finding(struct verdict *v, const char *code, const char *where, const char *fmt, ...)
    PRINTF(4, 5);
void proved(struct verdict *v, const char *fmt, ...) PRINTF(2, 3);
void unproved(struct verdict *v, const char *fmt, ...) PRINTF(2, 3);
void fact_number(struct verdict *v, const char *name, uint64_t value);
void fact_text(struct verdict *v, const char *name, const char *value);
void fact_time(struct verdict *v, const char *name, int64_t time_ms);
/* Prints it all; the exit status. */
int verdict_end(struct verdict *v);
/* Without printing. */
void verdict_drop(struct verdict *v);

/* 2026-11-22T01:02:03.456Z; a number where that cannot be written so. Returns text. */
const char *time_text(int64_t time_ms, char text[TIME_TEXT]);
/* "2026-11-22", or with a time of the day as above, with or without milliseconds. */
bool time_parse(const char *text, int64_t *ret_time_ms);
/* Lower case; len at most SHA256_LEN. Returns text. */
const char *hex_text(const uint8_t *data, size_t len, char text[HEX_MAX]);
/* A UUID of 16 bytes. Returns text. */
const char *uid_text(const uint8_t *data, char text[UID_LEN + 1]);
bool uid_parse(const char *text, uint8_t ret_uid[16]);

/* ---- message.c ------------------------------------------------------------------------------- */

/* Memory for one message after another. */
struct arena {
    struct arena_block *blocks;
    size_t cap, used; /* of all blocks */
    ProtobufCAllocator allocator;
};
void arena_begin(struct arena *a, size_t cap);
void arena_done(struct arena *a);

enum message_fault {
    MESSAGE_GOOD,
    MESSAGE_BAD,     /* no such message; strings that are not UTF-8, fields that come twice */
    MESSAGE_UNKNOWN, /* well formed, but with a field that this program does not know */
};
/* Unpacks into the arena, which is emptied first. The message is set also with MESSAGE_UNKNOWN. */
enum message_fault message_read(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                                const void *data, size_t len, ProtobufCMessage **ret_message);

/* ---- trust.c --------------------------------------------------------------------------------- */

struct trust {
    const char *path; /* NULL: nothing was named */
    STACK_OF(X509) * certificates;
    X509_STORE *store;
};
/* PEM; at least one. false, with a message on stderr. */
bool trust_load(struct trust *t, const char *path);
void trust_done(struct trust *t);
/* Is the signer one of them, or issued by a CA of them (through the others that came along), all
 * valid at that time? NULL, or the finding's code, with its words in why. */
const char *trust_check(const struct trust *t, X509 *signer, STACK_OF(X509) * others,
                        int64_t time_ms, char why[TEXT_MAX]);
/* SHA-256 of the DER SubjectPublicKeyInfo. */
bool certificate_key_hash(const X509 *cert, uint8_t ret_sha256[SHA256_LEN]);

/* ---- der.c, cms.c ---------------------------------------------------------------------------- */

/* NULL, or why the bytes are not one element of DER and nothing else (X.690 section 10). */
const char *der_fault(const uint8_t *der, size_t len);
/* The version numbers of a SignedData and its first SignerInfo, in DER; -1: none. libcrypto reads
 * them and does not look at them, and no signature is over them. false: it is no SignedData. */
bool der_cms_versions(const uint8_t *der, size_t len, int *ret_signed_data, int *ret_signer_info);

/* A signature that is right. */
struct signature {
    CMS_ContentInfo *cms;
    STACK_OF(X509) * certificates;
    X509 *signer; /* one of them */
    char signer_name[256];
    const uint8_t *content; /* attached; within cms */
    size_t content_len;
};
/* Reads a CMS SignedData with attached content, or, with content, one that is detached and signs
 * what the BIO gives. NULL when its one signature is right; or the finding's code (as
 * docs/orders.md has them), with its words in why. */
const char *signature_open(struct signature *s, const uint8_t *der, size_t len, BIO *content,
                           char why[TEXT_MAX]);
/* A detached one over content that is not at hand, but its SHA-256. */
const char *signature_open_digest(struct signature *s, const uint8_t *der, size_t len,
                                  const uint8_t sha256[SHA256_LEN], char why[TEXT_MAX]);
void signature_done(struct signature *s);

/* ---- document.c ------------------------------------------------------------------------------ */

struct Mintmark__V1__SignedDocument;
struct Mintmark__V1__ProductionOrder;
/* An attached document: signature, then content. Codes as above, DOCUMENT_CONTENT too. */
const char *document_open(struct signature *s, struct arena *a, const uint8_t *der, size_t len,
                          const struct Mintmark__V1__SignedDocument **ret_document,
                          char why[TEXT_MAX]);
/* NULL when the terms can be kept; else a code. */
const char *order_terms_fault(const struct Mintmark__V1__ProductionOrder *order,
                              char why[TEXT_MAX]);
/* A name as orders, stations and profiles have: 1 to 64 of letters, digits, '.', '_', '-'. */
bool name_valid(const char *name);

/* ---- the commands ---------------------------------------------------------------------------- */

/* argv[0] is the command's name. The exit status. */
int identities_command(int argc, char **argv);
int order_command(int argc, char **argv);
int ledger_command(int argc, char **argv);
int report_command(int argc, char **argv);
int manifest_command(int argc, char **argv);
int usage_error(const char *what, const char *value);

/* An option with a value; the last one counts. With n it may be given up to max times, and *n says
 * how often it was. */
struct option_spec {
    const char *name;
    const char **values;
    size_t *n, max;
};
/* Takes at most eight of them, --json and --help from argv; optind is behind them. -1: go on; else
 * the exit status. */
int options_parse(int argc, char **argv, const char *usage_text, const struct option_spec *specs,
                  size_t n_specs, bool *json);
int unreadable(const char *path, const char *why); /* says so on stderr; EXIT_DATA */
