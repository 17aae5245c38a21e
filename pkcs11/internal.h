/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of pkcs11/ share; nothing outside includes it. */
#pragma once

#include "daemon/base/limits.h"
#include "pkcs11/token.h"
#include "pkcs11/watch.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <time.h>

/* PKCS#11 v3.0 section 2.14.3; p11-kit 0.24 knows no 0x210B. In v2.40 0x210A's padding is left
 * open, and tokens differ: mechanism.c tries before it trusts. */
#define MM_CKM_AES_KEY_WRAP_PAD 0x210AUL
#define MM_CKM_AES_KEY_WRAP_KWP 0x210BUL

/* PKCS#11 v3.2, which p11-kit's header does not know (0.24 and 0.25). */
#define MM_CKK_ML_DSA              0x4AUL
#define MM_CKM_ML_DSA_KEY_PAIR_GEN 0x1CUL
#define MM_CKM_ML_DSA              0x1DUL
#define MM_CKA_PARAMETER_SET       0x61DUL
#define MM_CKP_ML_DSA_44           0x1UL
#define MM_CKP_ML_DSA_65           0x2UL
#define MM_CKP_ML_DSA_87           0x3UL

enum {
    MM_AES_256_BYTES = 32,
    MM_KEY_CACHE_MAX = 32, /* keys that stay and are looked up by a process: CAs and KEKs */
};

struct mm_cached_key {
    char *uri;
    enum mm_key_class class;
    mm_handle handle;
};

/* What is known of a make of tokens that others do not have. 0, or false: nothing. */
struct mm_quirks {
    const char *manufacturer; /* beginning of CK_TOKEN_INFO.manufacturerID */
    CK_MECHANISM_TYPE kwp;    /* one more number that may mean RFC 5649; tried before it is used */
    unsigned renew_after_objects; /* session objects made until the module is started again */
    bool no_officer;              /* C_InitToken does nothing; CKU_SO has an empty PIN */
    bool no_data_objects;         /* CKO_DATA cannot be stored */
    bool no_local;                /* CKA_LOCAL is false whatever made the key */
    CK_RV template_refusal;       /* beside the standard's codes */
};
/* Never NULL. */
const struct mm_quirks *mm_quirks_of(const CK_TOKEN_INFO *info);
/* MM_ERR_UNSUPPORTED TOKEN_NO_OFFICER: nobody can make a wrapping key a trusted one. */
int mm_token_require_officer(const struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;

struct mm_token {
    CK_FUNCTION_LIST *ck; /* p11-kit's managed view of the module; NULL until loaded */
    bool proxy;           /* ck is p11-kit's own proxy, which manages itself */
    char *parameters;     /* for C_Initialize; NULL: none */
    bool initialised;     /* C_Initialize succeeded: C_Finalize is owed */
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session; /* 0: none */
    CK_TOKEN_INFO info;        /* as it was when opened; what identifies the token */
    struct mm_secret *pin;     /* NULL unless logged in with it */
    struct mm_secret *refused; /* the last that was refused; for mm_token_take_refused */
    struct mm_token_mechanisms mechanisms;
    CK_MECHANISM_TYPE kwp_candidates[4]; /* numbers that may mean RFC 5649; 0 ends the list */
    struct mm_cached_key cache[MM_KEY_CACHE_MAX];
    size_t n_cached;
    bool metering;
    uint64_t metered_ns;
    uint64_t call_started_ns;
    unsigned session_objects; /* made since C_Initialize */
    bool edwards_by_name;     /* it takes Edwards curves by name, not by OID */
};

static inline uint64_t mm_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline void mm_call_begin(struct mm_token *t, const char *call)
{
    if (mm_watch_on)
        mm_watch_enter(call);
    if (t->metering)
        t->call_started_ns = mm_cpu_ns();
}

static inline CK_RV mm_call_end(struct mm_token *t, CK_RV rv)
{
    if (t->metering)
        t->metered_ns += mm_cpu_ns() - t->call_started_ns;
    if (mm_watch_on)
        mm_watch_leave();
    return rv;
}

/* The one way to call the module: rv = MM_CK(t, C_Sign(t->session, …)). */
#define MM_CK(t, call) (mm_call_begin((t), #call), mm_call_end((t), (t)->ck->call))

/* A template entry for a variable; PKCS#11 takes the value through a pointer to non-const. */
#define MM_ATTR(attr, variable) ((CK_ATTRIBUTE){(attr), &(variable), sizeof(variable)})
#define MM_ATTR_BYTES(attr, pointer, length)                                                       \
    ((CK_ATTRIBUTE){(attr), (void *)(uintptr_t)(pointer), (length)})

/* ---- error.c ----------------------------------------------------------------------------- */

/* Fills *ei from a CK_RV: code and reason by its class, detail = rv, text "what: CKR_NAME". */
int mm_token_fail(struct mm_errinfo *ei, CK_RV rv, const char *what, ...) MM_PRINTF(3, 4);

/* ---- uri.c ------------------------------------------------------------------------------- */

/* Parses a URI that names a token (RFC 7512), or, with objects, keys in one. Refuses what would
 * select by slot or carry a PIN, and what it does not know. */
int mm_uri_parse(const char *text, bool objects, P11KitUri **ret_uri,
                 struct mm_errinfo *ei) MM_MUST_USE;
MM_DEFINE_CLEANUP(P11KitUri *, p11_kit_uri_free)
#define MM_URI_CLEANUP MM_CLEANUP(p11_kit_uri_free_p)

/* ---- module.c ---------------------------------------------------------------------------- */

/* Loads and initialises the module into a new token without slot or session. */
int mm_module_open(const struct mm_token_open *how, struct mm_token **ret_token,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* Ends the module and frees *t; no session may be open any more. */
void mm_module_close(struct mm_token *t);
/* C_Initialize and C_Finalize of a module that is loaded; a second start, or end, does nothing. */
int mm_module_start(struct mm_token *t, const char *what, struct mm_errinfo *ei) MM_MUST_USE;
void mm_module_end(struct mm_token *t);

struct mm_slot_match {
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    size_t matches; /* tokens that matched; slot and info are the last one's */
};
/* Walks the slots that hold a token, and matches those whose CKF_TOKEN_INITIALIZED is as wanted
 * against the URI (NULL: any). A slot that cannot be read is passed over, but when nothing matched
 * its error is returned. */
int mm_slot_find(struct mm_token *t, P11KitUri *uri, bool initialised, struct mm_slot_match *ret,
                 struct mm_errinfo *ei) MM_MUST_USE;

/* Opens t->session, read-write. */
int mm_session_open(struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;

/* C_GetTokenInfo of t->slot. */
int mm_slot_info(struct mm_token *t, CK_TOKEN_INFO *ret_info, struct mm_errinfo *ei) MM_MUST_USE;

/* ---- mechanism.c ------------------------------------------------------------------------- */

int mm_mechanisms_probe(struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;
/* Determines mechanisms.aes_kwp by a known answer; needs the login. */
int mm_mechanisms_probe_kwp(struct mm_token *t, struct mm_errinfo *ei) MM_MUST_USE;

/* ---- known.c ----------------------------------------------------------------------------- */

/* Puts an AES-256 key of known value into the token as a session object. right is CKA_WRAP,
 * CKA_UNWRAP or 0 (a key to be wrapped). MM_ERR_UNSUPPORTED when the token takes no keys from
 * outside. */
int mm_known_key_import(struct mm_token *t, const uint8_t value[MM_AES_256_BYTES],
                        CK_ATTRIBUTE_TYPE right, CK_OBJECT_HANDLE *ret_key,
                        struct mm_errinfo *ei) MM_MUST_USE;

/* ---- object.c ---------------------------------------------------------------------------- */

/* One attribute; *ret_len is CK_UNAVAILABLE_INFORMATION when the object has none. */
int mm_object_read(struct mm_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *value,
                   size_t size, CK_ULONG *ret_len, struct mm_errinfo *ei) MM_MUST_USE;
/* A CK_BBOOL: 0, 1, or -1 when the object has no such attribute. */
int mm_object_read_bool(struct mm_token *t, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                        int *ret_value, struct mm_errinfo *ei) MM_MUST_USE;
/* The objects that match; at most max, *ret_n says how many of them there are. */
int mm_object_find(struct mm_token *t, CK_ATTRIBUTE *template, CK_ULONG n_template,
                   CK_OBJECT_HANDLE *ret_objects, CK_ULONG max, CK_ULONG *ret_n,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* A token object of class CKO_DATA that only who has logged in sees. What C_CreateObject says. */
CK_RV mm_object_create_data(struct mm_token *t, const char *label, const void *value, size_t len);
int mm_object_destroy(struct mm_token *t, CK_OBJECT_HANDLE object,
                      struct mm_errinfo *ei) MM_MUST_USE;
/* The same for what is on its way out anyway: the outcome does not matter. */
void mm_object_drop(struct mm_token *t, CK_OBJECT_HANDLE object);
void mm_cache_clear(struct mm_token *t);

/* ---- keys.c ------------------------------------------------------------------------------ */

/* The public key of a private key, found by its CKA_ID. */
int mm_token_public_half(struct mm_token *t, mm_handle private_key, mm_handle *ret_public,
                         struct mm_errinfo *ei) MM_MUST_USE;
/* Labels and ids of keys that stay. MM_ERR_EXISTS when there is a key of that label. */
int mm_key_refuse_duplicate(struct mm_token *t, const char *label,
                            struct mm_errinfo *ei) MM_MUST_USE;
/* Did the token dislike the template, rather than fail? */
bool mm_key_template_refused(const struct mm_token *t, CK_RV rv);

/* ---- curve.c ----------------------------------------------------------------------------- */

/* params: DER of the named curve's OID, as CKA_EC_PARAMS holds it (RFC 5480 section 2.1.1.1). */
struct mm_curve_info {
    enum mm_curve curve;
    const char *name;  /* "P-256" */
    const char *group; /* libcrypto's name */
    size_t bytes;      /* of a coordinate, and of the private value; ML-DSA: 0 */
    const uint8_t *params;
    size_t params_len;
    const uint8_t *named; /* Edwards: the other form of params, a PrintableString; else NULL */
    size_t named_len;
    CK_ULONG set; /* ML-DSA: CKA_PARAMETER_SET in place of params; else 0 */
    size_t point_len, signature_len;
    CK_MECHANISM_TYPE key_gen, sign;
    bool pure; /* it signs messages, which the token hashes; else digests */
};
const struct mm_curve_info *mm_curve_get(enum mm_curve curve);
/* NULL when the parameters name none of ours. */
const struct mm_curve_info *mm_curve_by_params(const uint8_t *params, size_t len);
/* NULL when the set is none of ML-DSA's. */
const struct mm_curve_info *mm_curve_by_set(CK_ULONG set);
const struct mm_curve_info *mm_curve_by_group(const char *group);

/* Where a public key object holds what mm_point_decode takes. */
static inline CK_ATTRIBUTE_TYPE mm_point_attr(const struct mm_curve_info *curve)
{
    return curve->set ? CKA_VALUE : CKA_EC_POINT;
}

/* An ephemeral pair of session objects that can only agree on keys (ECDH); mm_token_destroy it. */
int mm_ephemeral_pair(struct mm_token *t, const struct mm_curve_info *curve,
                      struct mm_keypair *ret_pair, struct mm_errinfo *ei) MM_MUST_USE;
/* Makes a pair, with CKA_EC_PARAMS or CKA_PARAMETER_SET added to a template that has room for it.
 */
CK_RV mm_curve_generate(struct mm_token *t, const struct mm_curve_info *curve,
                        CK_ATTRIBUTE *public_key, CK_ULONG n_public, CK_ATTRIBUTE *private_key,
                        CK_ULONG n_private, CK_OBJECT_HANDLE *ret_public,
                        CK_OBJECT_HANDLE *ret_private);

/* CKA_EC_POINT: the point in an OCTET STRING (PKCS#11 v2.40 mechanisms 2.3.3), or bare as some
 * tokens give it; uncompressed, of the curve's size and on the curve either way. Ed25519: the 32
 * bytes of RFC 8032 section 5.1.5, likewise. ML-DSA has CKA_VALUE instead, the bytes of FIPS 204's
 * pkEncode; all strings of that length are keys. */
enum { MM_EC_POINT_ATTR_MAX = MM_POINT_MAX + 3 };
int mm_point_decode(const uint8_t *value, size_t len, const struct mm_curve_info *curve,
                    uint8_t point[MM_POINT_MAX], size_t *ret_len,
                    struct mm_errinfo *ei) MM_MUST_USE;
