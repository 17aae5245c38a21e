/* SPDX-License-Identifier: Apache-2.0 */
/* Production reports (docs/report.md): read byte by byte as they must be written, in one pass. */
#pragma once

#include "tools/verify/ledger.h"

enum { STRING_MAX = 1024 /* bytes of a string in a report, with the NUL */ };

/* ---- scan.c: a strict reader of text ----------------------------------------------------------
 */

struct scan {
    FILE *file;
    EVP_MD_CTX *sha256; /* over all that was read */
    uint64_t at;        /* bytes that were taken */
    uint8_t buffer[32 * 1024];
    size_t used, filled;
    bool bad; /* sticky: all that follows fails, too */
    char why[TEXT_MAX];
};
/* The file stays the caller's, and is read from where it stands. */
bool scan_begin(struct scan *s, FILE *file);
/* SHA-256 of the bytes that were taken. */
bool scan_end(struct scan *s, uint8_t ret_sha256[SHA256_LEN]);
/* Exactly this text. */
void scan_text(struct scan *s, const char *text);
/* This text, if it is what stands there; told by the first byte. */
bool scan_either(struct scan *s, const char *text);
uint64_t scan_number(struct scan *s);
/* A string in its quotes; or null, and then false. */
bool scan_string(struct scan *s, char ret_text[STRING_MAX]);
/* Likewise. As many bytes as there are, at most max; or, with exact, so many. */
size_t scan_hex(struct scan *s, uint8_t *ret_bytes, size_t max, bool exact);
/* 0: null */
int64_t scan_time(struct scan *s);
bool scan_at_end(struct scan *s);
void scan_fail(struct scan *s, const char *what);

/* ---- production.c ---------------------------------------------------------------------------- */

enum device_state { DEVICE_UNREPORTED, DEVICE_OK, DEVICE_KO };

struct production_device {
    uint64_t row, number;
    uint8_t uid[16], serial[255], spki_sha256[SHA256_LEN];
    uint8_t certified[20];            /* serial number of a certificate from elsewhere */
    size_t serial_len, certified_len; /* 0: null, or not there */
    char uid_text[STRING_MAX], hw_serial[STRING_MAX], reason[STRING_MAX]; /* "": null */
    enum device_state state;
    int64_t made_ms, reported_ms; /* 0: null */
};

/* All but the devices and failures. */
struct production {
    char service[STRING_MAX];
    uint8_t appliance[SHA256_LEN], ledger_id[16];
    bool has_appliance;
    char uid[STRING_MAX], name[STRING_MAX], profile[STRING_MAX], device_type[STRING_MAX];
    char station[STRING_MAX], released_by[STRING_MAX];
    uint64_t quantity, heads;
    int64_t opened_ms, released_ms;
    char order_id[STRING_MAX], oem[STRING_MAX], product[STRING_MAX], order_profile[STRING_MAX];
    uint64_t order_quantity, order_used, order_refunded;
    struct place opened, released; /* opened.sequence 0: null */
    uint64_t issued, ok, ko, unreported, refunded;
    int64_t first_ms, last_ms; /* 0: null */
};

struct production_reader {
    void *context;
    void (*head)(void *context, const struct production *p); /* all but the totals */
    void (*device)(void *context, const struct production_device *d);
    void (*failure)(void *context, const char *reason, uint64_t devices);
};
/* false, with s->why and s->at, when the text is not as docs/report.md has it. */
bool production_read(struct scan *s, struct production *ret_production,
                     const struct production_reader *reader);

/* ---- production_judge.c ---------------------------------------------------------------------- */

/* What reports are held against; all but seen may be missing. */
struct listed_device {
    uint8_t spki_sha256[SHA256_LEN];
    bool due; /* not KO, and not met in the manifest yet */
};

struct production_judge {
    struct verdict *v;
    struct seen seen; /* of all reports of this call */
    const struct trust *audit;
    struct ledger *ledger;                             /* has been read */
    const struct Mintmark__V1__ProductionOrder *order; /* signed by somebody who is trusted */
    /* The report at hand. */
    const char *path;
    const struct production *p;
    struct batch *batch; /* in the ledger */
    struct spend *spend; /* whose devices are being read */
    uint32_t in_spend;
    uint64_t devices, states[3], spends_compared;
    json_t *reasons; /* KO devices by reason */
    char last_reason[STRING_MAX];
    bool list;                    /* keep what a manifest is held against */
    struct listed_device *listed; /* by their number in this call, from 1 */
    size_t n_listed;
    uint64_t failures, devices_in_all, reports;
};
/* signature NULL: path with ".p7s" behind it. Findings go to the verdict; false, with a message on
 * stderr, when a file cannot be read. */
bool production_judge(struct production_judge *j, const char *path, const char *signature);
/* The two halves of it, for those who have no file by name: the second one reads the text. s has no
 * signer when the signature is wrong. */
void production_judge_begin(struct production_judge *j, const char *path);
void production_judge_text(struct production_judge *j, FILE *file, const struct signature *s,
                           const uint8_t signed_sha256[SHA256_LEN]);
/* Holds a manifest against the report that was read last, with list set. */
bool production_judge_manifest(struct production_judge *j, const char *path);
void production_judge_done(struct production_judge *j);
