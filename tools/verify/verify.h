/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mintmark-verify: judges what the rest has made, and shares no code with it. Only libc, libcrypto,
 * jansson and what protoc-c generates of proto/mintmark/v1; nothing else of daemon/, pkcs11/,
 * client/ or proto/ is included here. This header is of the identities that a station has received;
 * audit.h of what auditors look at.
 *
 * A check that fails is reported and the next one goes on; a negative return means that there is
 * nothing to judge (input unreadable: exit 65).
 */
#pragma once

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT(a)          (sizeof(a) / sizeof((a)[0]))

enum {
    UID_LEN = 36,
    SHA256_LEN = 32,
    FILE_MAX = 1024 * 1024,     /* bytes of any file but devices.jsonl */
    LINE_MAX_BYTES = 64 * 1024, /* of devices.jsonl */
    FAILURES_SHOWN = 20,
    CHAIN_MAX = 8,
    CHAIN_NAME_LEN = 26, /* of chain-, 16 digits, .pem */
    TRANSPORT_KEY_LEN = 32,
    CHECK_VALUE_LEN = 8,
};

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 64,
    EXIT_DATA = 65,
    EXIT_OUTPUT = 74
};

enum rules { RULES_NONE, RULES_MATTER_DAC, RULES_IEEE8021AR };

/* ---- report.c: what was found --------------------------------------------------------------- */

struct report {
    bool json;
    uint64_t failures;
    char *shown[FAILURES_SHOWN];
};
/* One more failure; `who` is a device's UID or a file's name. The first few are kept. */
void report_fail(struct report *r, const char *who, const char *fmt, ...) PRINTF(3, 4);
void report_done(struct report *r);

/* ---- seen.c: is a value new? ---------------------------------------------------------------- */

enum seen_kind {
    SEEN_UID,
    SEEN_KEY,
    SEEN_SERIAL,
    SEEN_CN,
    SEEN_SUBJECT,
    SEEN_NUMBER,
    SEEN_HW_SERIAL,
    SEEN_ROW,
    SEEN_REQUEST,
    SEEN_NONCE,
    SEEN_NONCE_USED,
    SEEN_CERTIFIED,        /* UID of a device with a certificate from elsewhere */
    SEEN_CERTIFIED_SERIAL, /* the same, and the certificate's serial number */
    SEEN_ELSEWHERE         /* hash of the issuer's name, and serial number */
};
enum { SEEN_KEY_LEN = 16 };
struct seen_slot {
    uint8_t key[SEEN_KEY_LEN];
    uint64_t device; /* what it was added with; 0: free */
};
struct seen {
    struct seen_slot *slots;
    size_t cap, used;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
};
/* 0 when the value is new and now remembered for that device (counted from 1), else the device that
 * had it; -1 without memory. */
int64_t seen_add(struct seen *s, enum seen_kind kind, const void *value, size_t len,
                 uint64_t device);
/* What it was added with; 0: it was not. */
int64_t seen_get(struct seen *s, enum seen_kind kind, const void *value, size_t len);
bool seen_has(struct seen *s, enum seen_kind kind, const void *value, size_t len);
void seen_done(struct seen *s);

/* ---- file.c --------------------------------------------------------------------------------- */

/* The whole file DIR/name (dir NULL: name alone), at most FILE_MAX bytes; free() it. NULL, with
 * errno, when it cannot be read (EFBIG: too long). */
uint8_t *file_read(const char *dir, const char *name, size_t *ret_len);
/* Lower or upper case, exactly 2 * len digits. */
bool hex_decode(const char *hex, uint8_t *out, size_t len);

/* ---- certificate.c: what a certificate says -------------------------------------------------- */

/* DER without anything behind it; NULL otherwise. */
X509 *certificate_parse(const uint8_t *der, size_t len);
/* -1: not there; -2: there more than once; else whether it is critical. */
int certificate_extension(const X509 *cert, int nid);
/* The extension's DER value is exactly these bytes. */
bool certificate_extension_is(const X509 *cert, int nid, const uint8_t *value, size_t len);
bool certificate_key_is_on(X509 *cert, int curve_nid);
/* SHA-1 of the public key's BIT STRING (RFC 5280 section 4.2.1.2, method 1). */
bool certificate_ski_is_sha1(X509 *cert);
/* The authority key identifier is the issuer's subject key identifier. */
bool certificate_aki_matches(X509 *cert, X509 *issuer);
/* The issuer's subject and the certificate's issuer are the same bytes. */
bool certificate_issuer_is(const X509 *cert, const X509 *issuer);
/* RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime after. */
bool certificate_times_well_encoded(const X509 *cert);
/* Positive, at most 20 octets. */
bool certificate_serial_is_proper(const X509 *cert);

/* ---- chain.c -------------------------------------------------------------------------------- */

struct chain {
    X509 *root;                    /* what is trusted; NULL: nothing was named */
    STACK_OF(X509) * delivered;    /* of the device judged now: issuing CA first, root last */
    char name[CHAIN_NAME_LEN + 1]; /* its file; "": none has been looked at */
    X509_STORE *store;
};
/* Reads the root (PEM or DER). false, with a message on stderr, when it cannot be read. */
bool chain_load_root(struct chain *c, const char *path);
/* chain.pem, or the file of another chain: chain-0123456789abcdef.pem. */
bool chain_is_name(const char *name);
/* Reads DIR/name and checks it: in order, up to the root. Done with the first certificate, and with
 * one of another chain than the one before: a folder of requests needs none. */
void chain_load_delivered(struct chain *c, const char *dir, const char *name, struct report *r);
/* libcrypto's own path validation, strict, at now and at the certificate's notBefore. */
bool chain_verify(const struct chain *c, X509 *cert, const char *who, struct report *r);
void chain_done(struct chain *c);

/* ---- matter.c, idevid.c: the rules of a kind of certificate ---------------------------------- */

/* PAI and PAA, once. */
void matter_check_issuers(const struct chain *c, struct report *r);
/* One device attestation certificate below them. */
void matter_check_device(const struct chain *c, X509 *cert, size_t der_len, const char *who,
                         struct report *r);
/* IEEE 802.1AR-2018 clause 8. */
void idevid_check(const struct chain *c, X509 *cert, const char *who, struct report *r);

/* ---- transport.c, key.c: private keys -------------------------------------------------------- */

struct transport {
    bool opened;
    char name[65];
    uint8_t key[TRANSPORT_KEY_LEN], check_value[CHECK_VALUE_LEN];
};
/* Opens an export file (docs/transport-key.md) with the recipient's private key (PEM). false, with
 * a message on stderr, when that does not work. */
bool transport_open(struct transport *t, const char *export_path, const char *recipient_path);
/* Is that, in hexadecimal, this key's check value? */
bool transport_is(const struct transport *t, const char *check_value);
/* Does DIR/key-wrap.json speak of this key? For folders whose lines don't say it. */
void transport_check_folder(const struct transport *t, const char *dir, struct report *r);
void transport_done(struct transport *t);

/* RFC 5649. false when it does not unwrap; *ret_len at most len. */
bool key_unwrap(const uint8_t key[TRANSPORT_KEY_LEN], const uint8_t *wrapped, size_t len,
                uint8_t *out, size_t *ret_len);
/* The DER PKCS#8 private key signs what the public key verifies. */
bool key_matches(const uint8_t *pkcs8, size_t len, EVP_PKEY *public_key);

/* ---- folder.c, device.c ---------------------------------------------------------------------- */

struct verify {
    const char *dir;
    enum rules rules;
    bool wrap_checked; /* key-wrap.json has been looked at */
    struct chain chain;
    struct transport transport;
    struct report report;
    struct seen seen;
    char (*uids)[UID_LEN + 1]; /* by index, to name the other of two alike */
    uint64_t devices, certificates, requests, keys_checked, keys_unopened, keys_of_others,
        keys_on_device;
};

/* Every line of DIR/devices.jsonl, then the files that no line speaks of. false, with a message on
 * stderr, when there is no such file. */
bool folder_check(struct verify *v);
/* One line. */
void device_check(struct verify *v, const char *line, size_t len, uint64_t line_number);
