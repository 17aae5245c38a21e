/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests (docs/manifest.md): one JWS (RFC 7515) a device, one line each. */
#pragma once

#include "tools/verify/audit.h"

#include <stdio.h>

enum { MANIFEST_LINE_MAX = 192 * 1024, MANIFEST_CHAIN_MAX = 8 };

struct manifest_device {
    uint8_t uid[16], spki_sha256[SHA256_LEN];
    const char *uid_text;
    uint8_t serial[32]; /* of its certificate */
    size_t serial_len;  /* 0: it has none */
};

struct manifest {
    struct verdict *v;
    const char *path;
    const struct trust *audit;
    void *context;
    void (*device)(void *context, const struct manifest_device *d); /* may be NULL */
    struct seen seen;
    uint64_t devices, certificates;
    uint64_t line;
    /* What was the same in the line before need not be looked at again. */
    char *protected_text, *group;
    EVP_PKEY *key; /* that the protected header names; borrowed */
    json_t *x5c;   /* whose certificates, but for the device's, have been judged */
    X509 *issuer;  /* the first of these */
};
/* Reads it all. false, with a message on stderr, when there is no such file. */
bool manifest_read(struct manifest *m);
void manifest_read_file(struct manifest *m, FILE *file);
void manifest_done(struct manifest *m);
