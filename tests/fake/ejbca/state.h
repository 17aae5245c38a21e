/* SPDX-License-Identifier: Apache-2.0 */
/* What the fake has issued, and to whom: EJBCA's tables of end entities and certificates. Kept in
 * memory, and in a journal that is written before anything is answered, so that a SIGKILL loses
 * nothing that a client may have seen. */
#pragma once

#include "tests/fake/ejbca/ca.h"

#include <jansson.h>

struct user;

/* CRLReason, and as EJBCA has it: -1 for a certificate that is not revoked. */
enum { NOT_REVOKED = -1, REASON_HOLD = 6, REASON_REMOVE_FROM_CRL = 8 };

struct issued {
    size_t number; /* 0, 1, 2 … in the order of issuing */
    struct mm_bytes der;
    struct cert_view view;           /* into der */
    char serial[2 * SERIAL_MAX + 1]; /* upper-case hex without leading zeros */
    char *subject, *sans;            /* EJBCA's text */
    char *certificate_profile, *end_entity_profile;
    struct user *user;
    struct ca *ca;           /* that was asked for it */
    const struct ca *issuer; /* whose name is in it */
    uint8_t key_hash[KEY_HASH_LEN];
    int64_t issued_ms, revoked_ms, updated_ms; /* wall clock; revoked_ms is -1 while not revoked */
    int reason;
    bool answered; /* an answer with it was handed to the connection; not kept over a restart */
    struct issued *next_of_user, *next_of_key, *next_of_subject, *next_of_serial;
};

struct user {
    char *name;
    char *password; /* NULL: any */
    char *subject;
    int status;                  /* EndEntityConstants: 10 new, 40 generated */
    struct issued *certificates; /* the newest first */
    size_t count;
};

struct state;

/* The folder holds the journal; one that is there is read. */
int state_open(const char *folder, struct cas *cas, struct state **ret_state,
               struct mm_errinfo *ei) MM_MUST_USE;
void state_close(struct state *state);

struct user *state_user(struct state *state, const char *name);
/* Adds an end entity without a certificate, status NEW, or edits the one that is there; NULL for
 * subject or password keeps what it has. */
struct user *state_put_user(struct state *state, const char *name, const char *subject,
                            const char *password);

struct issue {
    const char *username, *certificate_profile, *end_entity_profile;
    struct ca *ca;
    struct mm_bytes der;
};
/* Records a certificate; NULL (nothing changed) when the journal cannot be written. */
struct issued *state_issue(struct state *state, const struct issue *issue);
/* Revokes, with all that have the same issuer and serial number, or with NOT_REVOKED takes a hold
 * back; false when the journal cannot be written. */
bool state_revoke(struct state *state, struct issued *issued, int reason, int64_t when_ms);

/* Goes up with whatever changes. */
uint64_t state_changes(const struct state *state);
size_t state_count(const struct state *state);
size_t state_users(const struct state *state);
/* Usernames that have more than one certificate. */
size_t state_doubles(const struct state *state);
struct issued *state_at(struct state *state, size_t number);
/* serial: upper-case hex without leading zeros. The first of the issuer's that has it. */
struct issued *state_by_serial(struct state *state, const struct ca *issuer, const char *serial);
/* The first of the list that goes on by next_of_key or next_of_subject; NULL: none. */
struct issued *state_by_key(struct state *state, const uint8_t hash[KEY_HASH_LEN]);
struct issued *state_by_subject(struct state *state, const char *subject);

/* Upper-case hex without leading zeros of a big-endian number. */
void serial_text(struct mm_bytes serial, char ret_text[2 * SERIAL_MAX + 1]);
