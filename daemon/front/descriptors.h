/* SPDX-License-Identifier: Apache-2.0 */
/* The .proto files of a server as reflection gives them away: FileDescriptorProto bytes as protoc
 * made them, indexed at build time by proto/descriptors.py. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct mm_descriptor_file {
    const char *name; /* "mintmark/v1/station.proto" */
    const uint8_t *data;
    size_t len;
    const uint16_t *needed; /* this file, then all that it imports, directly or not */
    size_t n_needed;
};

struct mm_descriptor_symbol {
    const char *name; /* full name of a service, method, message, field, enum or enum value */
    uint16_t file;
};

struct mm_descriptors {
    const struct mm_descriptor_file *files;
    size_t n_files;
    const struct mm_descriptor_symbol *symbols; /* in strcmp's order */
    size_t n_symbols;
};

/* The product's own: mintmark/v1, health, reflection and the error details. */
extern const struct mm_descriptors mm_descriptors_mintmark;
