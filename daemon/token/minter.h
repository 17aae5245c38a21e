/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a token worker keeps between jobs: the token, logged in, and per profile the compiled
 * profile, the handles of its keys and what its deliveries share.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/pki/ecdsa.h"
#include "daemon/pki/profile.h"
#include "daemon/token/appliance.h"
#include "daemon/token/login.h"
#include "internal/token.pb-c.h"
#include "pkcs11/token.h"

enum {
    MM_WITNESS_LEN = 16,
    MM_CHECK_VALUE_LEN = 8, /* mintmark.v1.KeyWrap.check_value */
    MM_RECOVERIES_MAX = 3,  /* in one job */
    MM_KEYS_REMEMBERED = 256,
    MM_SUPPLY_LEN = 2016, /* for 56 devices; some tokens give no more than 2 KiB at once */
};

/* How the drawing of random bytes before began. */
struct mm_witness {
    uint8_t bytes[MM_WITNESS_LEN];
    bool filled;
};

/* Random bytes of the token's that no device has got yet: the last ones of bytes. */
struct mm_supply {
    uint8_t bytes[MM_SUPPLY_LEN];
    size_t left;
};

/* One profile, ready to mint. Handles are those of the open session. */
struct mm_minting {
    const struct mm_conf_profile *conf;
    struct mm_profile *profile;
    enum mm_curve curve;
    enum mm_profile_delivery delivery;
    mm_handle ca_key;                        /* 0 for profiles that make requests */
    enum mm_curve ca_curve;                  /* of that key */
    mm_handle transport_key;                 /* 0 unless wrapped */
    uint8_t check_value[MM_CHECK_VALUE_LEN]; /* its; unset unless wrapped */
    bool backed_up;               /* so noted in the token; matters where a backup is required */
    struct mm_verifier *verifier; /* of the CA's key; NULL for profiles that make requests */
    struct mm_buf shared;         /* ProfileShared.delivery */
    struct mm_keypair *ahead;     /* conf->keys_ahead of them, made in advance */
    size_t n_ahead;
};

/* One signing section, ready to sign. The handle is that of the open session. */
struct mm_signing {
    const struct mm_conf_signing *conf;
    mm_handle key;
    enum mm_curve curve;           /* of the key */
    struct mm_verifier *verifier;  /* of the key */
    STACK_OF(X509) * certificates; /* the key's, then its chain; NULL if there is none */
};

struct mm_minter {
    const struct mm_conf *conf; /* borrowed */
    struct mm_login *login;     /* borrowed */
    const struct mm_conf_token *section;
    struct mm_token *token;
    struct mm_appliance *appliance; /* NULL when it is another token's, or nobody's */
    struct mm_token_info info;
    struct mm_minting *profiles;
    size_t n_profiles;
    struct mm_signing *signings;
    size_t n_signings;
    struct mm_checks *checks;
    /* Of bytes for clients (given to nobody: daemon/token/random.h), and of those for devices. */
    struct mm_witness given, drawn, wrapped;
    struct mm_supply supply;
    /* SHA-256 of the SubjectPublicKeyInfo of the keys made last (daemon/token/trust.h). */
    uint8_t remembered[MM_KEYS_REMEMBERED][32];
    unsigned n_keys;   /* made so far */
    bool ahead_failed; /* daemon/token/ahead.h */
    unsigned chunks;   /* minted so far, for sampling */
};

/* Opens the token of that section and logs in; compiles and checks every profile whose keys are
 * made there: key policies, the CA key against its certificate, chains, items; and every signing
 * section whose key is there. conf and login are borrowed; a PIN that is refused, then or later, is
 * left in login. */
int mm_minter_open(const struct mm_conf *conf, const char *section, struct mm_login *login,
                   struct mm_minter **ret_minter, struct mm_errinfo *ei) MM_MUST_USE;
void mm_minter_free(struct mm_minter *m);
MM_DEFINE_CLEANUP(struct mm_minter *, mm_minter_free)

/* Looks the handles up, again after a reopen. On failure those not found are 0, which no token
 * takes for a key. */
int mm_minter_find_keys(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;

/* After a failed step of a job: brings the token back where that may help. MM_OK: the step may be
 * tried again; handles are those of a new session when the class of *ei was not MM_TOKEN_RETRY.
 * Else the error that ends the job. The caller counts, up to MM_RECOVERIES_MAX. */
int mm_minter_recover(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_PRECONDITION CA_KEY_NOT_BACKED_UP while the issuer requires a backup of the profile's CA
 * key, and the token has no note of one. Looked up at each call until there is one. */
int mm_minter_check_backup(struct mm_minter *m, struct mm_minting *p,
                           struct mm_errinfo *ei) MM_MUST_USE;

/* What an idle worker is asked: do the token and the keys answer that jobs would need, and are the
 * keys still what they must be? Recovers as jobs do. */
int mm_minter_probe(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;

/* Renews the token's module and looks the handles up again. */
int mm_minter_renew(struct mm_minter *m, struct mm_errinfo *ei) MM_MUST_USE;

/* NULL when this token has no such profile. */
struct mm_minting *mm_minter_profile(struct mm_minter *m, const char *name);

/* Serialises what all deliveries of a profile share (mintmark.v1.Delivery without bundles): chain
 * (NULL: none), how keys are wrapped, items with their files' content. check_value: of the
 * transport key, 8 bytes; NULL unless wrapped. */
int mm_delivery_shared(const struct mm_conf_profile *conf, const STACK_OF(X509) * chain,
                       const uint8_t *check_value, struct mm_buf *ret_delivery,
                       struct mm_errinfo *ei) MM_MUST_USE;
