/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders for mintmark-verify to judge, made with libcrypto alone, good by default; a test changes
 * one thing. Failures end the test.
 */
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

enum { DEVICES = 3 };

/* A certificate to be made. Extensions are OpenSSL's configuration texts; NULL leaves one out. */
struct spec {
    const char *cn, *vid, *pid, *serial_number; /* of the subject; NULL: no such attribute */
    const char *second_vid;
    const char *not_before, *not_after; /* as ASN1_TIME_set_string takes them */
    const char *basic_constraints, *key_usage, *ski, *aki, *san;
    const char *group, *md;
    int serial; /* 0: its number */
    long version;
};

struct device_files {
    struct spec spec;
    bool request;
    const char *uid, *hw_serial, *delivery;
    int number;
    EVP_PKEY *key, *delivered_key; /* delivered_key: NULL for the same */
};

struct verify_folder {
    char path[32];
    struct spec paa, pai;
    EVP_PKEY *paa_key, *pai_key, *recipient;
    struct device_files devices[DEVICES];
    uint8_t transport_key[32];
};

/* First thing in main. */
void folder_prepare(void);
/* Everything as it should be: Matter certificates, keys wrapped. */
void folder_good(struct verify_folder *f);
/* Turns the devices into IDevIDs. */
void folder_idevid(struct verify_folder *f);
/* Writes it all: devices, chain.pem, root.pem, key-wrap.json, transport.json, recipient.pem. */
void folder_write(struct verify_folder *f);
void folder_done(struct verify_folder *f);

/* Path of a file there; good until the next call but three. */
const char *folder_path(const struct verify_folder *f, const char *name);
void folder_put(const struct verify_folder *f, const char *name, const void *data, size_t len);
/* Replaces the first `from` in a text file. */
void folder_edit(const struct verify_folder *f, const char *name, const char *from, const char *to);

/* Runs the program with the arguments, NULL last; gives its exit status and what it printed. */
int verify_run(const char *const *args, char *output, size_t size);
/* Runs it over the folder with everything that it needs; the exit status and a part of the output
 * must be these. */
void folder_judge(const struct verify_folder *f, const char *rules, int expected,
                  const char *part_of_output);
