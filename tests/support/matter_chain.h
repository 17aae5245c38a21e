/* SPDX-License-Identifier: Apache-2.0 */
/* A Matter PAA in software and a PAI below it for a key that is elsewhere. Failures end the test.
 */
#pragma once

#include <openssl/x509.h>

struct matter_chain {
    X509 *paa, *pai;
};

/* pai_point: 65 bytes, the PAI's public key. */
void matter_chain_make(struct matter_chain *c, const uint8_t *pai_point);
/* PAI, then PAA. */
void matter_chain_write(const struct matter_chain *c, const char *path);
void matter_chain_done(struct matter_chain *c);
