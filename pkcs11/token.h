/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 token as mintmark uses it: one module, one token, one login, one session, keys looked
 * up once. Blocking; one thread. Nothing above this layer calls a C_ function or sees a CK_ type,
 * except handles, which are opaque numbers here.
 *
 * Sources: PKCS#11 v2.40 base specification; RFC 7512 (URIs); RFC 5649 (AES-KWP).
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/limits.h"
#include "daemon/base/secret.h"

struct mm_token;

/* An object in the token or the session; 0 is none. Valid until the session is reopened. */
typedef unsigned long mm_handle;

/* What a key pair is of: a curve, or, with ML-DSA (FIPS 204), a parameter set. */
enum mm_curve {
    MM_CURVE_P256,
    MM_CURVE_P384,
    MM_CURVE_ED25519,
    MM_CURVE_ML_DSA_44,
    MM_CURVE_ML_DSA_65,
    MM_CURVE_ML_DSA_87,
};

enum {
    MM_DIGEST_MAX = 48,
    MM_WRAPPED_KEY_MAX = 512, /* a wrapped PKCS#8 private key; P-256 on SoftHSM: 80 */
};

/* What to do about a failed call (see mm_token_failure_class). */
enum mm_token_class {
    MM_TOKEN_OK,
    MM_TOKEN_RETRY,   /* the same call again, after a pause, a few times */
    MM_TOKEN_REOPEN,  /* new session, keys looked up again, one retry */
    MM_TOKEN_LOGIN,   /* log in again, once; never after a wrong PIN */
    MM_TOKEN_RESTART, /* the module is beyond repair in this process: end the worker */
    MM_TOKEN_FATAL,   /* this request cannot succeed; the token is well */
    MM_TOKEN_PIN,     /* PIN wrong, locked or expired: stop, and do not start again by itself */
};
/* The class of a failure that passed through this layer. MM_TOKEN_OK when no CK_RV caused it (its
 * detail is 0, or the errno of MM_ERR_IO): nothing is wrong with the token, and the request fails.
 * MM_ERR_PIN is MM_TOKEN_PIN whatever the detail. Who sees MM_TOKEN_RETRY again and again should
 * take it for MM_TOKEN_RESTART. */
enum mm_token_class mm_token_failure_class(const struct mm_errinfo *ei);
/* The class of a CK_RV; one that no table knows is MM_TOKEN_RETRY. */
enum mm_token_class mm_token_error_class(unsigned long ck_rv);
/* "CKR_DEVICE_ERROR" and so on; "CKR_?" when unknown. */
const char *mm_token_rv_name(unsigned long ck_rv);

/*
 * Loads the module (p11-kit), initialises it, finds the one token that the URI names and opens a
 * read-write session; not logged in yet. environment is set (setenv) before the module is loaded;
 * may be NULL. parameters are handed to C_Initialize (pReserved) as some modules want them; NULL
 * or "": none. The module's code stays mapped after mm_token_free, until the process ends.
 * MM_ERR_INVALID for a bad URI, or one with a slot-id, pin-value or pin-source; MM_ERR_NOT_FOUND
 * when no token matches; MM_ERR_EXISTS when more than one does; MM_ERR_UNAVAILABLE when the module
 * does not load, and otherwise as the module's CK_RV says.
 */
struct mm_token_open {
    const char *module; /* absolute path */
    const char *uri;
    char *const *environment; /* "NAME=value" */
    size_t n_environment;
    const char *parameters; /* copied */
};
int mm_token_open(const struct mm_token_open *how, struct mm_token **ret_token,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* Logs out, closes, finalises, unloads; wipes the kept PIN. NULL is fine. */
void mm_token_free(struct mm_token *t);
MM_DEFINE_CLEANUP(struct mm_token *, mm_token_free)
#define MM_TOKEN_CLEANUP MM_CLEANUP(mm_token_free_p)

/* Logs the user in. MM_ERR_PIN, without trying, when the token says that the next try is the last
 * (CKF_USER_PIN_FINAL_TRY) or that the PIN is locked; MM_ERR_PIN once the token has refused it;
 * MM_ERR_PRECONDITION, without trying, when the token has no user PIN, or not at the moment. The
 * PIN is kept in *t (moved: *pin becomes NULL) for logging in again after a lost login, and is
 * dropped, never tried again, once refused. */
int mm_token_login(struct mm_token *t, struct mm_secret **pin, struct mm_errinfo *ei) MM_MUST_USE;

/* Changes the user PIN; the user is logged in, and the PIN of that login is the old one. The new
 * one is kept for logging in again (moved: *new_pin becomes NULL). On failure the old one holds,
 * unless the token fails in a way that leaves it open (mm_token_pin_unchanged). MM_ERR_INVALID
 * TOKEN_PIN_SAME, or as the token says: TOKEN_PIN_LENGTH, TOKEN_PIN_TOO_WEAK. */
int mm_token_set_pin(struct mm_token *t, struct mm_secret **new_pin,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* Is it certain, after that failure of mm_token_set_pin, that the old PIN holds? */
bool mm_token_pin_unchanged(const struct mm_errinfo *ei);
/* The PIN for the next time that the token is logged in to, not tried now; moved. Without effect on
 * a token that is not logged in, or has refused its PIN. */
void mm_token_keep_pin(struct mm_token *t, struct mm_secret **pin);
/* The PIN that the token has refused, or said was locked, if it has; the caller's from now on. */
struct mm_secret *mm_token_take_refused(struct mm_token *t);

/* Brings the token back after MM_TOKEN_REOPEN or MM_TOKEN_LOGIN: new session, login if it was
 * logged in. All handles are stale afterwards. When the token counts wrong PINs since the last good
 * one (CKF_USER_PIN_COUNT_LOW) the kept one is in doubt, and is not tried: MM_ERR_UNAVAILABLE
 * TOKEN_LOGIN_LOST. Who starts workers one at a time tries it once. */
int mm_token_reopen(struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;

/* Some modules keep memory for every session object until C_Finalize, however it was destroyed. Has
 * this one, of a kind known for it, made enough of them to be renewed? */
bool mm_token_wants_renewal(const struct mm_token *t);
/* Ends the module and starts it again in place: C_Finalize, C_Initialize, the same token, a
 * session, the login. All handles are stale afterwards. On failure the token is of no more use. */
int mm_token_renew(struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;

/* A PIN: from a file of at most MM_PIN_MAX bytes (refused when others may read it), an open
 * descriptor, a systemd credential ($CREDENTIALS_DIRECTORY/name), or the terminal without echo
 * (opens /dev/tty; MM_ERR_UNAVAILABLE when there is none). Never argv, never the environment. */
int mm_pin_from_file(const char *path, struct mm_secret **ret_pin,
                     struct mm_errinfo *ei) MM_MUST_USE;
int mm_pin_from_fd(int fd, struct mm_secret **ret_pin, struct mm_errinfo *ei) MM_MUST_USE;
int mm_pin_from_credential(const char *name, struct mm_secret **ret_pin,
                           struct mm_errinfo *ei) MM_MUST_USE;
int mm_pin_from_terminal(const char *prompt, struct mm_secret **ret_pin,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* The path of a systemd credential. */
int mm_pin_credential_path(const char *name, char *path, size_t size,
                           struct mm_errinfo *ei) MM_MUST_USE;
/* Opens the PIN's file and holds it (flock) until the descriptor is closed, so that who logs in
 * with it and who changes the PIN wait for each other. MM_ERR_TIMEOUT PIN_FILE_BUSY after 5 s of
 * that. A file system without locks is no failure. */
int mm_pin_hold(const char *path, int *ret_held, struct mm_errinfo *ei) MM_MUST_USE;

/* What the token says of itself; strings without PKCS#11's blank padding. */
struct mm_token_info {
    char label[33], manufacturer[33], model[17], serial[17];
    unsigned long flags;        /* CKF_… of CK_TOKEN_INFO */
    unsigned long max_sessions; /* 0: no limit known */
    unsigned long sessions;     /* open now, this process's own among them; 0: not known */
    bool pin_final_try, pin_locked, pin_count_low, initialized;
};
int mm_token_info(struct mm_token *t, struct mm_token_info *ret_info,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* What the token can do, probed once with C_GetMechanismInfo when it was opened; aes_kwp by a known
 * answer, for which session keys are made, when it was logged in (0 until then): some tokens read
 * 0x210A as another padding. */
struct mm_token_mechanisms {
    bool ec_key_gen, ecdsa, ecdh, rsa_oaep, aes_key_gen;
    bool ecdh1, rsa_key_gen; /* for exchange keys; ecdh is more than ecdh1 */
    bool ml_dsa;             /* the same: PKCS#11 v3.2; which parameter sets is not known */
    bool ed25519;          /* key pairs and signatures: PKCS#11 v3.0 mechanisms 2.3.12 and 2.3.15 */
    bool hardware;         /* CKF_HW: EC key pairs are made by a device */
    unsigned long aes_kwp; /* the number under which this token does RFC 5649, 0: it cannot */
};
const struct mm_token_mechanisms *mm_token_mechanisms(const struct mm_token *t);
/* MM_ERR_UNSUPPORTED TOKEN_MECHANISM_UNSUPPORTED, naming the mechanisms, when the token lists none
 * for keys of that kind. */
int mm_token_require_curve(const struct mm_token *t, enum mm_curve curve,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* ---- keys that stay ---------------------------------------------------------------------- */

enum mm_key_class { MM_KEY_PRIVATE, MM_KEY_PUBLIC, MM_KEY_SECRET };

/* The one object of that class that an RFC 7512 URI (object=, id=) names in this token.
 * MM_ERR_NOT_FOUND, or MM_ERR_EXISTS when several match. Results are cached until a reopen. */
int mm_token_find(struct mm_token *t, const char *uri, enum mm_key_class class,
                  mm_handle *ret_handle, struct mm_errinfo *ei) MM_MUST_USE;

/* The policy of a key that stays, by what it is for; docs/keys.md has the table of attributes. */
enum mm_key_use {
    MM_USE_CA,           /* EC: signs certificates. Sensitive, never extractable, sign only */
    MM_USE_TRANSPORT,    /* AES-256: wraps device keys. Sensitive, extractable only under a wrap */
    MM_USE_SIGNING,      /* EC: signs what clients bring. As a CA's, and never one */
    MM_USE_DEVICE,       /* EC: a device's retained key; made by mm_token_generate */
    MM_USE_EXCHANGE,     /* EC: opens packages by ECDH, no more. Sensitive, never extractable */
    MM_USE_EXCHANGE_RSA, /* RSA: the same by OAEP */
    MM_USE_IMPORTED,     /* EC or RSA: came in a package. Sensitive, not extractable, sign only */
    MM_USE_CA_BACKUP,    /* EC: as a CA's, but extractable, under a trusted wrapping key alone */
    MM_USE_CA_RESTORED,  /* EC: what a CA's key from a backup is: not extractable, not local */
};
struct mm_key_info {
    mm_handle handle;
    enum mm_key_class class;
    char label[65];
    uint8_t id[64];
    size_t id_len;
    char type[16]; /* "EC P-256", "Ed25519", "ML-DSA-65", "AES-256", "RSA-2048" */
    bool sensitive, always_sensitive, extractable, never_extractable, local, sign, wrap;
    bool derive, decrypt;
    bool local_unknown; /* local is false, but this make of tokens never says who made a key */
};

/* Makes a token key pair (CA, signing) or a secret key (transport) with that label and a random
 * 16-byte id. MM_ERR_EXISTS when a key with the label is there already. The attributes are read
 * back and checked against the policy; on a mismatch the key is destroyed and MM_ERR_CORRUPT
 * returned. */
int mm_token_create_ca_key(struct mm_token *t, const char *label, enum mm_curve curve,
                           mm_handle *ret_private, struct mm_errinfo *ei) MM_MUST_USE;
/* One that may be backed up (pkcs11/backup.h): MM_USE_CA_BACKUP. */
int mm_token_create_ca_backup_key(struct mm_token *t, const char *label, enum mm_curve curve,
                                  mm_handle *ret_private, struct mm_errinfo *ei) MM_MUST_USE;
int mm_token_create_signing_key(struct mm_token *t, const char *label, enum mm_curve curve,
                                mm_handle *ret_private, struct mm_errinfo *ei) MM_MUST_USE;
int mm_token_create_transport_key(struct mm_token *t, const char *label, mm_handle *ret_key,
                                  struct mm_errinfo *ei) MM_MUST_USE;

/* Calls each for every key in the token (private and secret); a negative return ends the walk and
 * is handed on. */
int mm_token_list(struct mm_token *t, int (*each)(void *arg, const struct mm_key_info *key),
                  void *arg, struct mm_errinfo *ei) MM_MUST_USE;
int mm_token_key_info(struct mm_token *t, mm_handle key, struct mm_key_info *ret_info,
                      struct mm_errinfo *ei) MM_MUST_USE;
/* MM_ERR_CORRUPT, naming the attribute, when a key found in the token breaks its use's policy, as
 * docs/keys.md has it (CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_LOCAL, CKA_NEVER_EXTRACTABLE, rights).
 */
int mm_token_check_policy(struct mm_token *t, mm_handle key, enum mm_key_use use,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* ---- the policy, attribute by attribute (docs/keys.md) --- */

enum { MM_POLICY_VALUE_MAX = 96 };
enum mm_policy_verdict {
    MM_POLICY_GOOD,
    MM_POLICY_SHOWN,  /* not judged */
    MM_POLICY_WISH,   /* wished for, and not so: the token does not hold it, or dropped it */
    MM_POLICY_BROKEN, /* what mm_token_check_policy refuses */
};
struct mm_policy_line {
    const char *attribute; /* "CKA_SENSITIVE" */
    const char *expected;  /* "true", "false", "32", "CKM_ECDSA alone", "any" */
    const char *rank;      /* "required", "refused", "wished", "when made", "shown" */
    const char *actual;    /* as expected, or "unknown to the token" */
    enum mm_policy_verdict verdict;
};
/* Each attribute of a key, held against its use's policy. A negative return of each ends it and is
 * handed on. MM_ERR_CORRUPT when the key is not even of the use's kind. */
int mm_token_audit_key(struct mm_token *t, mm_handle key, enum mm_key_use use,
                       int (*each)(void *arg, const struct mm_policy_line *line), void *arg,
                       struct mm_errinfo *ei) MM_MUST_USE;
/* The policy itself; actual is "". */
int mm_token_policy(enum mm_key_use use, int (*each)(void *arg, const struct mm_policy_line *line),
                    void *arg) MM_MUST_USE;

/* An object that stays and is no private or secret key. */
struct mm_object_info {
    const char *kind; /* "public key", "certificate", "data" */
    char label[65];
    uint8_t id[64];
    size_t id_len;
};
int mm_token_list_others(struct mm_token *t,
                         int (*each)(void *arg, const struct mm_object_info *object), void *arg,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* The public point, or key, of a pair found by the private key's CKA_ID. */
int mm_token_public_point(struct mm_token *t, mm_handle private_key, enum mm_curve *ret_curve,
                          uint8_t point[MM_POINT_MAX], size_t *ret_len,
                          struct mm_errinfo *ei) MM_MUST_USE;

/* ---- the hot path ------------------------------------------------------------------------ */

/* A device's key pair: session objects, or token objects when retained. */
struct mm_keypair {
    mm_handle private_key, public_key;
    enum mm_curve curve;
    uint8_t point[MM_POINT_MAX]; /* uncompressed, without the OCTET STRING around it; Ed25519 and
                                  * ML-DSA: the public key's bytes */
    size_t point_len;
    uint8_t id[16]; /* retained keys: CKA_ID, the 16 bytes of the device UID */
};
enum mm_device_key {
    MM_DEVICE_WRAPPED,  /* session objects, sensitive, extractable (to be wrapped) */
    MM_DEVICE_RETAINED, /* token objects, sensitive, never extractable; label is the device UID */
    MM_DEVICE_PLAIN,    /* session objects, extractable and not sensitive: profile says "plain" */
};
/* Makes the pair; reads CKA_SENSITIVE, CKA_EXTRACTABLE and CKA_LOCAL back and checks them. label is
 * for retained keys, a UUID in its canonical form; else NULL. */
int mm_token_generate(struct mm_token *t, enum mm_curve curve, enum mm_device_key kind,
                      const char *label, struct mm_keypair *ret_pair,
                      struct mm_errinfo *ei) MM_MUST_USE;
/* Destroys both objects; for errors after generate, and after wrapping. Failures are kept back: the
 * objects die with the session. */
void mm_token_destroy(struct mm_token *t, struct mm_keypair *pair);

/* Raw ECDSA (CKM_ECDSA) over a digest; signature is r || s (PKCS#11 v2.40 mechanisms 2.3.1). */
int mm_token_sign(struct mm_token *t, mm_handle key, const uint8_t *digest, size_t digest_len,
                  uint8_t signature[MM_SIGNATURE_MAX], size_t *ret_len,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* Over a message, which the token hashes itself: Ed25519 (CKM_EDDSA; RFC 8032 section 5.1.6), whose
 * signature is R || S, 64 bytes, or ML-DSA (CKM_ML_DSA; FIPS 204 section 5.2, with an empty context
 * and random bytes where the token likes them). curve is the key's. */
int mm_token_sign_message(struct mm_token *t, enum mm_curve curve, mm_handle key,
                          struct mm_bytes message, uint8_t signature[MM_SIGNATURE_MAX],
                          size_t *ret_len, struct mm_errinfo *ei) MM_MUST_USE;
/* Bytes of a digest that a key on the curve signs as it is: of its order. 0: it signs messages, and
 * no digests (mm_token_sign_message). */
size_t mm_curve_digest_len(enum mm_curve curve);

/* The private key as DER PKCS#8, wrapped under a secret key by RFC 5649. */
int mm_token_wrap(struct mm_token *t, mm_handle wrapping_key, mm_handle key,
                  uint8_t wrapped[MM_WRAPPED_KEY_MAX], size_t *ret_len,
                  struct mm_errinfo *ei) MM_MUST_USE;

/* The private value of a MM_DEVICE_PLAIN key: big-endian scalar of the curve's size, or Ed25519's
 * seed, as a secret. */
int mm_token_read_private(struct mm_token *t, const struct mm_keypair *pair,
                          struct mm_secret **ret_scalar, struct mm_errinfo *ei) MM_MUST_USE;

/* len random bytes of the token's generator. */
int mm_token_random(struct mm_token *t, uint8_t *out, size_t len,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* Says which key it is, no more (mintmark.v1.KeyWrap.check_value): first 8 bytes of SHA-256 over
 * the RFC 5649 wrap, under the key, of the 32 bytes 00 01 02 … 1f. Needs no right of the key but
 * CKA_WRAP. Imports a session key for it: MM_ERR_UNSUPPORTED when the token takes none. */
int mm_token_check_value(struct mm_token *t, mm_handle key, uint8_t ret_value[8],
                         struct mm_errinfo *ei) MM_MUST_USE;

/* CPU spent inside C_ functions, for the service's own account. Off by default, since reading the
 * clock costs too; turned on for sampled jobs. take returns the sum and starts again at 0. */
void mm_token_meter(struct mm_token *t, bool on);
uint64_t mm_token_meter_take_us(struct mm_token *t);

/* ---- officer's side ---------------------------------------------------------------------- */

/* Initialises an uninitialised token: finds the one free slot's token of the module (or the token
 * that the URI names, only if it is not initialised), sets label, SO PIN and user PIN. Never
 * touches an initialised token: MM_ERR_EXISTS. */
int mm_token_initialise(const struct mm_token_open *how, const char *label,
                        struct mm_secret *so_pin, struct mm_secret *user_pin,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* A mechanism that mintmark knows of, and what the token says of it. */
struct mm_mechanism_line {
    const char *name, *used_for; /* "CKM_ECDSA", "every signature" ("": nothing yet) */
    unsigned long number;
    bool listed;
    unsigned long min_key, max_key; /* in bits or bytes, as the mechanism has it; 0 if not listed */
    char flags[96];                 /* "hw sign verify" */
};
int mm_token_mechanism_matrix(struct mm_token *t,
                              void (*each)(void *arg, const struct mm_mechanism_line *line),
                              void *arg, struct mm_errinfo *ei) MM_MUST_USE;

/* One line of the self-test: an operation, done by the token and checked by libcrypto. */
struct mm_selftest_line {
    const char *operation; /* "P-256 key pair", "ECDSA", "AES key wrap (RFC 5649)", … */
    bool supported, passed;
    double per_second; /* 0 when not measured */
    char note[128];
};
/* Runs every check with session objects only; each is told of every line. MM_ERR_CORRUPT when one
 * failed, or is not there and mintmark never goes without it. seconds > 0 also measures the rate,
 * for so long each, of the operations that the service does. */
int mm_token_selftest(struct mm_token *t, double seconds,
                      void (*each)(void *arg, const struct mm_selftest_line *line), void *arg,
                      struct mm_errinfo *ei) MM_MUST_USE;

/* Wraps the transport key to a recipient's public key (DER SubjectPublicKeyInfo; RSA of 2048 bits
 * or more, or EC P-256 or P-384), inside the token. The text is the export file, JSON; its format
 * is in docs/transport-key.md. */
int mm_token_export_transport(struct mm_token *t, mm_handle key, const char *name,
                              struct mm_bytes recipient_spki, struct mm_buf *ret_text,
                              struct mm_errinfo *ei) MM_MUST_USE;
