/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The appliance's audit keys as the file appliance.audit_certificate has them, and the changes from
 * one to the next (docs/ledger.md): which key signs, and whether the former one has said so.
 */
#pragma once

#include "daemon/document/document.h"
#include "daemon/store/ledger.h"

enum { MM_AUDIT_CHANGES_MAX = MM_TRUST_MAX }; /* of one file */

/* One such file. Those that were in force live on to the store's end: what undoes a group of verbs
 * may come back to one. */
struct mm_audit_keys {
    struct mm_audit_keys *next; /* an earlier one */
    struct mm_trust *trust;     /* the certificate of the key in force first; former ones behind */
    uint8_t key[MM_SHA256_BYTES];         /* SHA-256 of its SubjectPublicKeyInfo */
    uint8_t certificate[MM_SHA256_BYTES]; /* SHA-256 of the certificate */
    Mintmark__V1__AuditKeyChanged *changes[MM_AUDIT_CHANGES_MAX];
    size_t n_changes;
};

/* Reads PEM: certificates, and blocks "MINTMARK AUDIT KEY CHANGE" around an AuditKeyChanged.
 * MM_ERR_INVALID TRUST_INVALID, AUDIT_CHANGE_BAD. */
int mm_audit_keys_new(struct mm_bytes pem, struct mm_audit_keys **ret_keys,
                      struct mm_errinfo *ei) MM_MUST_USE;
/* The same of a file. */
int mm_audit_keys_read(const char *path, struct mm_audit_keys **ret_keys,
                       struct mm_errinfo *ei) MM_MUST_USE;
void mm_audit_keys_free(struct mm_audit_keys *keys);
MM_DEFINE_CLEANUP(struct mm_audit_keys *, mm_audit_keys_free)

/* Do changes of the file lead from this key to the file's own? Each is verified; with enter, within
 * a verb, each is made a record too. Nothing to do when the keys are the same. MM_ERR_PRECONDITION
 * AUDIT_KEY_UNJUSTIFIED (no such change); MM_ERR_INVALID AUDIT_CHANGE_BAD (a signature, another
 * ledger's), AUDIT_CERTIFICATE (the file's certificate is not the one that the change names, or not
 * in date). */
int mm_audit_keys_lead(struct mm_store *s, const struct mm_audit_keys *keys,
                       const uint8_t from[MM_SHA256_BYTES], bool enter,
                       struct mm_errinfo *ei) MM_MUST_USE;

/* A walk is at such a record. MM_ERR_CORRUPT LEDGER_EDITED. */
int mm_audit_key_walk(struct mm_store *s, struct mm_ledger_walk *walk,
                      const Mintmark__V1__LedgerRecord *record, struct mm_errinfo *ei) MM_MUST_USE;
