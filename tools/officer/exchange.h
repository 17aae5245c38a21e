/* SPDX-License-Identifier: Apache-2.0 */
/* The appliance's side of an exchange: the key that opens packages, and who the appliance is. */
#pragma once

#include "pkcs11/exchange.h"
#include "tools/officer/officer.h"

#include <openssl/x509.h>

enum { MM_IDENTITY_BYTES = 32 };

struct mm_exchange {
    mm_handle key;
    bool rsa;
    X509 *certificate;                   /* of that key */
    uint8_t identity[MM_IDENTITY_BYTES]; /* SHA-256 of the identity key's SubjectPublicKeyInfo */
};
void mm_exchange_done(struct mm_exchange *x);
#define MM_EXCHANGE_CLEANUP MM_CLEANUP(mm_exchange_done)

/* Opens the appliance's token, finds the exchange key and holds key and certificate against each
 * other. Who the appliance is comes from the identity key in the token, not from a file. */
int mm_exchange_open(struct mm_officer *o, struct mm_exchange *x,
                     struct mm_errinfo *ei) MM_MUST_USE;
