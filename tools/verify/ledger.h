/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An export of the ledger (docs/export.md), read once from its beginning to its end. What every
 * record may say follows from those before it; the reader keeps orders and batches, and a digest of
 * each value that must not come twice.
 */
#pragma once

#include "tools/verify/audit.h"

#include "mintmark/v1/account.pb-c.h"
#include "mintmark/v1/ledger.pb-c.h"

#include <openssl/evp.h>
#include <stdio.h>

#define TIME_MAX_MS 253402300799999LL /* the end of the year 9999 */

enum {
    ITEM_MAX = 16 * 1024 * 1024, /* bytes of one item */
    WITNESSES_MAX = 64,
    DAY_MS = 24 * 60 * 60 * 1000,
    HOUR_MS = 60 * 60 * 1000,
    TOLERANCE_MS = 5 * 60 * 1000, /* that the OEM's clock may be ahead of the appliance's */
};

/* ---- export.c: the file ---------------------------------------------------------------------- */

struct export_file {
    FILE *file;
    EVP_MD_CTX *sha256; /* over all bytes before the item that is current */
    uint8_t *item;
    size_t item_len, room;
    bool pending; /* the current item is not in sha256 yet */
};
/* The file stays the caller's. false without memory. */
bool export_begin(struct export_file *e, FILE *file);
/* 1: the next item is there; 0: the file ends; -1: it is cut off, or no export. */
int export_next(struct export_file *e);
/* SHA-256 over everything before the current item's length. */
bool export_hash(const struct export_file *e, uint8_t ret_sha256[SHA256_LEN]);
void export_close(struct export_file *e);

/* ---- what is kept ---------------------------------------------------------------------------- */

enum hold { HOLD_NONE = 1, HOLD_SUSPENDED = 2, HOLD_CLOSED = 3, HOLD_REVOKED = 4 };

/* A production order, as the records say. */
struct order {
    char *id, *profile;
    char *stations; /* ",a,b,"; empty: every station */
    enum hold hold;
    uint64_t quantity, used, refunded, per_batch_max, per_day_max;
    uint64_t unreported_max, reported, replacements_max;
    uint32_t report_hours;
    int64_t not_before_ms, not_after_ms, added_ms, reported_ms;
    int64_t day; /* since 1970, UTC: the last on which devices were made */
    uint64_t day_used;
    bool complete; /* its whole history is in the export, or a checkpoint has its totals */
    struct order *next;
};

/* A record, by its place and hash. */
struct place {
    uint64_t sequence; /* 0: not in the export */
    int64_t time_ms;
    uint8_t hash[SHA256_LEN];
};

/* One Spent record. */
struct spend {
    uint64_t sequence, first_row;
    uint32_t count;
    uint8_t devices_sha256[SHA256_LEN];
    bool compared; /* its devices were there, and are those that it binds */
};

struct batch {
    char uid[UID_LEN + 1];
    char *station, *name, *device_type;
    struct order *order;
    uint64_t quantity, issued, ok, ko, refunded;
    struct place opened, released;
    Mintmark__V1__BatchReleased account; /* numbers only */
    bool account_whole;                  /* with the numbers of the order */
    struct spend *spends;                /* by first_row */
    size_t n_spends;
    uint8_t report_sha256[SHA256_LEN];
    uint64_t report_size;
    uint64_t reported_at; /* sequence of its ReportSigned; 0: none */
    bool complete;        /* opened in the export */
    bool keys_deleted;    /* there is a KeysDeleted of it */
    struct batch *next;
};

/* Somebody kept that a record had this hash. */
struct witness {
    char *name; /* of the file */
    uint64_t sequence;
    uint8_t head[SHA256_LEN];
    bool met;
};

/* From this record on one audit key signs. */
struct period {
    uint64_t from;
    bool known; /* a signature, or a change, has said which: */
    uint8_t key[SHA256_LEN];
    X509 *certificate; /* that a change has brought; NULL: the auditor's, or a CA's of his */
};

enum {
    TABLE_BITS = 12,
    DUE_REPORT = -1, /* beside the numbers of document_case */
};

struct ledger {
    struct verdict *v;
    struct trust audit, oem, officers, identity;
    struct witness witnesses[WITNESSES_MAX];
    size_t n_witnesses;
    struct arena item_arena, record_arena, document_arena, total_arena;
    struct seen seen;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;

    /* The export. */
    Mintmark__V1__LedgerExportHeader header; /* without pointers but ledger_id */
    uint8_t id[16];
    bool has_header, ended, partial; /* partial: it does not begin at record 1 */
    bool seeded;                     /* partial, but a checkpoint says what came before */
    bool adopting;                   /* nothing yet but orders of before the ledger began */
    uint64_t items_read;

    /* The last record. */
    struct place at;
    int event; /* its event_case */
    uint64_t records, devices, exported_devices, epoch;
    uint32_t unclean_starts, unclean_max;
    bool locked, locked_by_walk;
    char lock_reason[64];
    uint64_t first_sequence;

    struct period *periods; /* by from; none before the first signature */
    size_t n_periods;
    uint64_t key_changes;

    struct order *orders[1 << TABLE_BITS];
    struct batch *batches[1 << TABLE_BITS];
    size_t n_orders, n_batches;
    struct batch *spent_batch; /* of the last record, when it is Spent */
    /* What the last record says of a signed document that may follow it; DUE_REPORT: of a report's
     * signature. */
    struct {
        uint64_t sequence; /* 0: none may */
        int64_t time_ms;
        int kind;                    /* its document_case, or DUE_REPORT */
        uint8_t sha256[SHA256_LEN];  /* of the document, if it is known */
        bool has_sha256;             /* it is */
        uint8_t content[SHA256_LEN]; /* of the packed message inside */
        uint8_t nonce[16];           /* kind is a request */
        char signer[256];            /* as the record says */
        uint64_t released;           /* of a report: the record of the release; 0: not known */
    } due;

    /* For the sentences at the end. */
    uint64_t spends, spends_compared, documents_signed, documents_missing, orders_unsigned;
    uint64_t reports_signed, device_reports, unlocks, unlocks_proved, passed_over, keys_deleted;
    uint64_t certified;                    /* devices with certificates from elsewhere */
    uint64_t checkpoints, checkpoint_last; /* good ones; sequence of the last */
    uint64_t statement;                    /* sequence that the statement at the end signs */
};

/* ---- ledger.c -------------------------------------------------------------------------------- */

/* The arenas and tables; the trusts and witnesses are loaded by then, or empty. arena is what one
 * item may become: ARENA_MAX. */
bool ledger_begin(struct ledger *l, struct verdict *v, size_t arena);
/* Reads it all; findings and sentences go to the verdict. false, with a message on stderr, when the
 * file cannot be read. */
bool ledger_read(struct ledger *l, const char *path);
bool ledger_read_file(struct ledger *l, FILE *file);
void ledger_done(struct ledger *l);

struct order *order_find(const struct ledger *l, const char *id);
struct order *order_add(struct ledger *l, const char *id);
struct batch *batch_find(const struct ledger *l, const char *uid);
struct batch *batch_add(struct ledger *l, const char *uid);
/* Ends the program without memory. */
void *allocate(size_t n, size_t size);
char *copy_text(const char *text);

/* A finding about the record at hand. */
void wrong(struct ledger *l, const char *code, const char *fmt, ...) PRINTF(3, 4);
/* seen_add, whatever number comes; ends the program without memory. */
int64_t see(struct ledger *l, enum seen_kind kind, const void *value, size_t len, uint64_t at);
bool same_bytes(const ProtobufCBinaryData *a, const void *b, size_t len);

void digest_begin(struct ledger *l);
void digest_add(struct ledger *l, const void *data, size_t len);
void digest_end(struct ledger *l, uint8_t ret_sha256[SHA256_LEN]);
void digest_of(struct ledger *l, const void *data, size_t len, uint8_t ret_sha256[SHA256_LEN]);
/* Over the message as protobuf-c packs it. */
void digest_message(struct ledger *l, const ProtobufCMessage *m, uint8_t ret_sha256[SHA256_LEN]);

/* ---- ledger_chain.c: links, times, the service ------------------------------------------------
 */

void ledger_record(struct ledger *l, const uint8_t *data, size_t len);

/* ---- ledger_orders.c, ledger_spend.c, ledger_batches.c: what the records say -------------------
 */

void order_imported(struct ledger *l, const Mintmark__V1__OrderImported *e, int64_t time_ms);
void order_changed(struct ledger *l, const Mintmark__V1__OrderChanged *e);
void document_accepted(struct ledger *l, const Mintmark__V1__DocumentAccepted *e, int64_t time_ms);
void request_made(struct ledger *l, const Mintmark__V1__RequestMade *e);
/* May the station work on it now, and make n devices? */
void order_allows(struct ledger *l, const struct order *o, const char *station, uint64_t n,
                  int64_t time_ms);
void batch_opened(struct ledger *l, const Mintmark__V1__BatchOpened *e, const struct place *here);
void spent(struct ledger *l, const Mintmark__V1__Spent *e, int64_t time_ms);
void spent_devices(struct ledger *l, const Mintmark__V1__LedgerExportDevices *devices);
void devices_reported(struct ledger *l, const Mintmark__V1__DevicesReported *e);
void device_failed(struct ledger *l, const Mintmark__V1__DeviceFailed *e);
void refunded(struct ledger *l, const Mintmark__V1__Refunded *e);
void batch_released(struct ledger *l, const Mintmark__V1__BatchReleased *e,
                    const struct place *here);
void report_signed(struct ledger *l, const Mintmark__V1__ReportSigned *e, uint64_t sequence);
void keys_deleted(struct ledger *l, const Mintmark__V1__KeysDeleted *e);
void certified(struct ledger *l, const Mintmark__V1__Certified *e);
/* Of SEEN_CERTIFIED_SERIAL and SEEN_ELSEWHERE: whose, at most 32 bytes, and a serial number of at
 * most 20. */
struct certified_key {
    uint8_t bytes[SHA256_LEN + 20];
    size_t len;
};
void certified_key(struct certified_key *ret_key, const void *whose, size_t whose_len,
                   const void *serial, size_t serial_len);

/* ---- ledger_audit.c: the audit key ------------------------------------------------------------
 */

/* Is the signer the audit key that the ledger has from record first to record last (any that it had
 * meanwhile)? Its certificate must be the auditor's, of a CA of his, or have come with a change. As
 * trust_check; AUDIT_KEY_UNJUSTIFIED: an audit key, but another one's turn. */
const char *audit_key_check(struct ledger *l, X509 *signer, STACK_OF(X509) * others, uint64_t first,
                            uint64_t last, int64_t time_ms, char why[TEXT_MAX]);
void audit_key_changed(struct ledger *l, const Mintmark__V1__AuditKeyChanged *e);
/* After an unlock another key may sign, if the auditor names it. */
void audit_keys_unlocked(struct ledger *l);
void audit_keys_done(struct ledger *l);

/* ---- ledger_signed.c: signatures --------------------------------------------------------------
 */

/* Another record follows, or none: what the OEM signed for the last one is in the export, or that
 * is a finding. */
void ledger_document_due(struct ledger *l);
/* The document that follows a record which names it. */
void ledger_document(struct ledger *l, const Mintmark__V1__LedgerExportDocument *d);
void ledger_checkpoint(struct ledger *l, const Mintmark__V1__LedgerExportCheckpoint *c);
/* The statement at the end; before is SHA-256 over all that stands before it. */
void ledger_statement(struct ledger *l, struct slice cms, const uint8_t before[SHA256_LEN]);
void service_unlocked(struct ledger *l, const Mintmark__V1__ServiceUnlocked *e,
                      const struct place *before, int64_t time_ms);
/* A checkpoint, or an older export, that was kept. false, with a message on stderr. */
bool witness_load(struct ledger *l, const char *path);
