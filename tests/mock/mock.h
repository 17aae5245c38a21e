/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PKCS#11 token in plain C, in memory, for what SoftHSM cannot do in a test: fail the n-th call,
 * lie, hang, crash, lose its sessions, be pulled out. Complete for what pkcs11/ calls, and strict:
 * it refuses what the standard forbids. Its cryptography is libcrypto's, in a library context of
 * its own. One thread.
 *
 * Slots: 1 holds the token "mock" (serial 0001, SO PIN "so-pin", user PIN "1234", three tries),
 * 2 a blank token (serial 0002), 3 a second token "mock" (serial 0003) with the rule "twin".
 *
 * Rules come from $MM_MOCK_P11_RULES at C_Initialize, or from mm_mock_p11_rules, as a list of items
 * with ';' between them: those of tests/mock/calls.h with four words, and more:
 *
 *   FUNCTION…=sessions    all sessions are lost, the login and session objects with them
 *   FUNCTION…=removed     the token is gone from its slot, for good
 *   FUNCTION…=lie         from here on as bad=signature
 *   FUNCTION…=repeat      from here on C_GenerateKeyPair makes the pair that it made before
 *   attr:TYPE=VALUE       reading the boolean attribute gives VALUE, whatever was set
 *   noattr:TYPE           no object has the attribute, and a template naming it is refused
 *   pin=final | locked | low
 *   kwp=NUMBER            the mechanism that does RFC 5649; default 0x210a. 0: none
 *   pkcs7=NUMBER          a mechanism that pads as PKCS#7 and wraps as RFC 3394
 *   point=bare | short | off | small   small: of Ed25519, of small order
 *   oaep=sha1             no other hash
 *   import=no             C_CreateObject takes public keys only
 *   twin                  slot 3 has a token
 *   slots=more            there are more slots than there is room for, it says
 *   counter=NUMBER        the token has a monotonic counter, and it stands there
 *   nomech:NUMBER         the mechanism is not there
 *   short=signature | wrap | secret  the answer, or what ECDH comes to, is cut by a byte
 *   edwards=oid | name    there is Ed25519, and the curve is called by its OID, or by its name
 *   mldsa=standin | real  there is ML-DSA: a stand-in for it, or libcrypto's
 *   short=key             its public keys are cut by a byte
 *   wrap=nothing | clear | same  wrapping says that it did, and did not; gives the key as it is;
 *                         gives what it gave at first
 *   bad=signature         signatures are of the right form, and wrong
 *   random=zero | same    random bytes are all zero, or the same from call to call
 *   cheap                 P-256 takes next to no processor time, and keeps no secrets: cheap.c
 *
 * $MM_MOCK_P11_STATE names a file that token objects are kept in, from process to process.
 */
#pragma once

#include "daemon/base/macros.h"

#include <openssl/evp.h>
#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    MOCK_SLOTS = 3,
    MOCK_OBJECTS = 4096,
    MOCK_SESSIONS = 64,
    MOCK_ATTRS = 40,
    MOCK_PIN_MAX = 32,
    MOCK_TRIES = 3,
    MOCK_SIGNATURE_MAX = 4627,
    MOCK_P256_BYTES = 32,
    MOCK_P256_POINT = 65, /* uncompressed */
};

struct mock_attr {
    CK_ATTRIBUTE_TYPE type;
    uint8_t *value;
    CK_ULONG len;
};

struct mock_object {
    bool used;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session; /* that a session object dies with */
    struct mock_attr attrs[MOCK_ATTRS];
    size_t n_attrs;
    EVP_PKEY *key; /* EC and RSA keys */
};

struct mock_slot {
    bool present;
    bool initialised;
    char label[33];
    char serial[17];
    char so_pin[MOCK_PIN_MAX + 1], user_pin[MOCK_PIN_MAX + 1];
    unsigned tries; /* left */
    bool logged_in, so;
};

struct mock_session {
    bool open;
    CK_SLOT_ID slot;
    bool rw;
    CK_OBJECT_HANDLE sign_key; /* of a C_SignInit */
    CK_MECHANISM_TYPE sign_by;
    CK_OBJECT_HANDLE decrypt_key; /* of a C_DecryptInit */
    bool decrypt_sha256;
    CK_OBJECT_HANDLE *found; /* of a C_FindObjectsInit */
    CK_ULONG n_found, at_found;
    bool searching;
};

struct mock_state {
    bool initialised;
    OSSL_LIB_CTX *libctx;
    EVP_PKEY *last_pair;                    /* that C_GenerateKeyPair made */
    struct mock_slot slots[MOCK_SLOTS + 1]; /* by slot id; 0 is none */
    struct mock_session sessions[MOCK_SESSIONS + 1];
    struct mock_object objects[MOCK_OBJECTS + 1];
    CK_SESSION_HANDLE session_base; /* handles are never used twice */
};
extern struct mock_state mock;

/* What the rules say beyond failing calls. */
struct mock_behaviour {
    CK_MECHANISM_TYPE kwp, pkcs7;
    enum { POINT_WRAPPED, POINT_BARE, POINT_SHORT, POINT_OFF, POINT_SMALL } point;
    enum { EDWARDS_NONE, EDWARDS_OID, EDWARDS_NAME } edwards;
    enum { ML_DSA_NONE, ML_DSA_STANDIN, ML_DSA_REAL } ml_dsa;
    bool counter; /* to be made, or set, before the next search */
    unsigned long counter_value;
    bool slots_more;
    bool wrap_nothing, wrap_clear, wrap_same;
    bool oaep_sha1_only, no_import, twin, short_signature, short_wrap, short_secret, short_key;
    bool cheap, bad_signature, random_zero, random_same, repeat_pair;
    enum { PIN_NORMAL, PIN_LOW, PIN_FINAL, PIN_LOCKED } pin;
    struct {
        CK_ATTRIBUTE_TYPE type;
        int value; /* -1: not there */
    } attrs[16];
    size_t n_attrs;
    CK_MECHANISM_TYPE no_mechanisms[8];
    size_t n_no_mechanisms;
};
extern struct mock_behaviour mock_behaviour;

/* Every C_ function begins with this: counts the call and does what the rules say. CKR_OK: go on.
 */
CK_RV mock_enter(const char *function);
#define MOCK_ENTER()                                                                               \
    do {                                                                                           \
        const CK_RV mock_rv_ = mock_enter(__func__);                                               \
        if (mock_rv_ != CKR_OK)                                                                    \
            return mock_rv_;                                                                       \
    } while (0)

/* ---- for tests, by dlsym ----------------------------------------------------------------- */

/* Puts new rules in place of all others and starts counting calls at 0. NULL: none. Returns false,
 * with no rules in force, when they cannot be read. */
MM_PUBLIC bool mm_mock_p11_rules(const char *text);
/* Calls of a function, "*" of all, since the rules were set. */
MM_PUBLIC unsigned long mm_mock_p11_calls(const char *function);
/* The function that a rule failed last; "" if none since the rules were set. */
MM_PUBLIC const char *mm_mock_p11_failed(void);
/* Session objects alive, and objects of any kind. */
MM_PUBLIC size_t mm_mock_p11_session_objects(void);
MM_PUBLIC size_t mm_mock_p11_objects(void);
/* Sessions open. */
MM_PUBLIC size_t mm_mock_p11_sessions(void);

/* ---- sessions.c -------------------------------------------------------------------------- */

struct mock_session *mock_session(CK_SESSION_HANDLE handle);
void mock_lose_sessions(void);
void mock_remove_tokens(void);

/* ---- objects.c --------------------------------------------------------------------------- */

/* NULL when the handle is none, or the object is private and nobody is logged in. */
struct mock_object *mock_object(const struct mock_session *s, CK_OBJECT_HANDLE handle);
/* A new object with the template's attributes in it; 0 when there is no room. */
CK_RV mock_object_new(CK_SESSION_HANDLE session, const CK_ATTRIBUTE *attrs, CK_ULONG n,
                      CK_OBJECT_HANDLE *ret_handle);
void mock_object_destroy(CK_OBJECT_HANDLE handle);
void mock_objects_of_session(CK_SESSION_HANDLE session);
void mock_objects_all(void);
struct mock_object *mock_object_at(CK_OBJECT_HANDLE handle);

bool mock_set(struct mock_object *o, CK_ATTRIBUTE_TYPE type, const void *value, CK_ULONG len);
bool mock_set_bool(struct mock_object *o, CK_ATTRIBUTE_TYPE type, bool value);
/* Only when the template has not said. */
bool mock_default_bool(struct mock_object *o, CK_ATTRIBUTE_TYPE type, bool value);
bool mock_set_ulong(struct mock_object *o, CK_ATTRIBUTE_TYPE type, CK_ULONG value);
const struct mock_attr *mock_get(const struct mock_object *o, CK_ATTRIBUTE_TYPE type);
bool mock_get_bool(const struct mock_object *o, CK_ATTRIBUTE_TYPE type);
CK_ULONG mock_get_ulong(const struct mock_object *o, CK_ATTRIBUTE_TYPE type);

/* Attributes that a new key has by itself: its history, and the rights that nobody named. */
bool mock_key_defaults(struct mock_object *o, bool local);
/* The end of making a key: its handle, or what is wrong with its template. */
CK_RV mock_finish_key(CK_OBJECT_HANDLE handle, bool good, CK_OBJECT_HANDLE *ret_handle);
/* Sets the curve and the scalar of an EC private key. */
bool mock_ec_private(struct mock_object *o, EVP_PKEY *key);
/* Makes o->key of the attributes (EC private and public keys, RSA public keys). */
bool mock_key_from_attrs(struct mock_object *o);

/* ---- keys.c ------------------------------------------------------------------------------ */

/* CKR_OK when the mechanism is there. */
CK_RV mock_mechanism(CK_MECHANISM_TYPE type);

/* A new key of libcrypto's, or, as the rules may say, the last one again. group: NULL for types
 * that have none. */
EVP_PKEY *mock_new_pair(const char *type, const char *group);
/* 32 random bytes of libcrypto. */
bool mock_seed(uint8_t seed[32]);

/* ---- pure.c ------------------------------------------------------------------------------ */

/* Is it one of its mechanisms, and there by the rules? */
bool mock_pure_mechanism(CK_MECHANISM_TYPE type);
/* Is it the mechanism that such keys sign by? */
bool mock_pure_signs(CK_MECHANISM_TYPE mechanism, CK_ULONG key_type);
/* As keys.c has it for ECDSA's. */
bool mock_pure_fill_pair(CK_MECHANISM_TYPE type, struct mock_object *public_key,
                         struct mock_object *private_key);
bool mock_pure_from_attrs(struct mock_object *o);
CK_RV mock_pure_sign(const struct mock_object *o, const uint8_t *data, CK_ULONG len,
                     uint8_t signature[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len);

/* ---- cheap.c ----------------------------------------------------------------------------- */

bool mock_cheap_pair(uint8_t encoded[MOCK_P256_POINT], uint8_t scalar[MOCK_P256_BYTES]);
bool mock_cheap_sign(const uint8_t scalar[MOCK_P256_BYTES], const uint8_t *digest, size_t len,
                     uint8_t signature[2 * MOCK_P256_BYTES]);
/* PKCS#8; returns its length. */
int mock_cheap_pkcs8(const uint8_t scalar[MOCK_P256_BYTES], const uint8_t encoded[MOCK_P256_POINT],
                     uint8_t *out);

/* ---- exchange.c -------------------------------------------------------------------------- */

/* The RSA pair of the public key's CKA_MODULUS_BITS: the same for all in a process. */
bool mock_rsa_fill_pair(struct mock_object *public_key, struct mock_object *private_key);
/* CKM_SHA256_RSA_PKCS. */
CK_RV mock_rsa_sign(const struct mock_object *o, const uint8_t *data, CK_ULONG len,
                    uint8_t signature[MOCK_SIGNATURE_MAX], CK_ULONG *ret_len);

/* ---- state.c ----------------------------------------------------------------------------- */

bool mock_state_load(void);
void mock_state_save(void);
