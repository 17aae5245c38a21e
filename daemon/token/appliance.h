/* SPDX-License-Identifier: Apache-2.0 */
/* The appliance's own keys and the ledger's anchor, in the token worker of the token that section
 * appliance of the configuration names. The identity key signs what is made here; the audit key
 * signs, and the token keeps as anchor, what comes with the store's proof (daemon/ipc/seal.h). */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/ipc/seal.h"
#include "internal/token.pb-c.h"
#include "pkcs11/anchor.h"

#include <openssl/x509.h>

enum { MM_APPLIANCE_IDENTITY, MM_APPLIANCE_AUDIT, MM_APPLIANCE_KEYS };

struct mm_appliance {
    const struct mm_conf_appliance *conf; /* borrowed */
    struct mm_token *token;               /* borrowed */
    struct mm_secret *seal;               /* borrowed; NULL: nothing is signed by the audit key */
    char *audit_key, *audit_certificate;  /* in use: the configuration's, or what a job named */
    X509 *certificates[MM_APPLIANCE_KEYS];
    mm_handle keys[MM_APPLIANCE_KEYS];
};

/* Finds the keys, checks their policy, and that each certificate is its key's, and no CA's. */
int mm_appliance_open(const struct mm_conf_appliance *conf, struct mm_token *token,
                      struct mm_appliance **ret_appliance, struct mm_errinfo *ei) MM_MUST_USE;
void mm_appliance_free(struct mm_appliance *a);
/* Looks the handles up, again after a reopen. */
int mm_appliance_find_keys(struct mm_appliance *a, struct mm_errinfo *ei) MM_MUST_USE;

/* Does an AnchorRead, AnchorWrite, SignDocument or AuditKeyRead, and fills the result's oneof; what
 * the result points to is in *room. MM_ERR_PERMISSION NOT_OF_THE_STORE, before the token is asked
 * to sign or write, when what it should has no proof of the store's; MM_ERR_PRECONDITION
 * ANCHOR_OLDER. */
struct mm_appliance_room {
    Mintmark__Internal__AnchorFound found;
    Mintmark__Internal__SignedContent content;
    struct mm_anchor anchor;
    struct mm_errinfo why;
    struct mm_buf document;
    Mintmark__Internal__AuditKeyFound key;
    struct mm_buf pem;
};
#define MM_APPLIANCE_ROOM_INIT                                                                     \
    ((struct mm_appliance_room){.document = MM_BUF_INIT(MM_DOCUMENT_MAX),                          \
                                .pem = MM_BUF_INIT(MM_PEM_FILE_MAX)})
void mm_appliance_room_done(struct mm_appliance_room *room);
int mm_appliance_job(struct mm_appliance *a, const Mintmark__Internal__TokenJob *job,
                     struct mm_appliance_room *room, Mintmark__Internal__TokenResult *result,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* Signs each digest with the audit key, and checks the signature. MM_ERR_PERMISSION
 * NOT_OF_THE_STORE as above. */
enum { MM_APPLIANCE_SIGNATURE = 64 };
int mm_appliance_sign_digests(struct mm_appliance *a, const Mintmark__Internal__SignDigests *job,
                              uint8_t ret_signatures[][MM_APPLIANCE_SIGNATURE],
                              struct mm_errinfo *ei) MM_MUST_USE;

/* Signs the content with one of the keys: a document (daemon/document/draft.h), checked before it
 * is given. */
int mm_appliance_sign(struct mm_appliance *a, unsigned key, struct mm_bytes content,
                      struct mm_buf *der, struct mm_errinfo *ei) MM_MUST_USE;
