/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages from a file that may have been tampered with. They are walked first, by their
 * descriptor: protobuf-c by itself bounds no depth, passes over fields that it does not know, takes
 * the last of two values, and hides what follows a NUL.
 */
#include "tools/verify/audit.h"

#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, FIELDS_MAX = 64 };

/* ---- memory ------------------------------------------------------------------------------ */

struct arena_block {
    struct arena_block *next;
    size_t size, used;
    _Alignas(16) uint8_t data[];
};

static size_t aligned(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* The first block has; else there is another in front of it. */
static bool has_room(struct arena *a, size_t size)
{
    enum { BLOCK_MIN = 64 * 1024 };
    struct arena_block *b = a->blocks;

    if (b && aligned(b->used) <= b->size && size <= b->size - aligned(b->used))
        return true;
    b = malloc(sizeof(*b) + (size < BLOCK_MIN ? BLOCK_MIN : size));
    if (!b)
        return false;
    *b = (struct arena_block){.next = a->blocks, .size = size < BLOCK_MIN ? BLOCK_MIN : size};
    a->blocks = b;
    return true;
}

static void *arena_alloc(void *data, size_t size)
{
    struct arena *a = data;
    const size_t at = aligned(a->used);

    if (size > a->cap || at > a->cap - size || !has_room(a, size))
        return NULL;
    a->used = at + size;
    a->blocks->used = aligned(a->blocks->used) + size;
    return a->blocks->data + a->blocks->used - size;
}

static void arena_release(void *data, void *pointer)
{
    (void)data;
    (void)pointer; /* all goes at once */
}

void arena_begin(struct arena *a, size_t cap)
{
    *a = (struct arena){.cap = cap};
    a->allocator = (ProtobufCAllocator){arena_alloc, arena_release, a};
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;

        free(b);
        b = next;
    }
}

/* One block stays, for the next message. */
static void empty(struct arena *a)
{
    a->used = 0;
    if (!a->blocks)
        return;
    free_blocks(a->blocks->next);
    a->blocks->next = NULL;
    a->blocks->used = 0;
}

void arena_done(struct arena *a)
{
    free_blocks(a->blocks);
    *a = (struct arena){.cap = 0};
}

/* ---- the walk ---------------------------------------------------------------------------- */

struct field {
    uint32_t number;
    uint8_t wire;
    struct slice bytes; /* WIRE_BYTES */
};

static bool read_varint(struct slice *in, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && in->len > 0; shift += 7) {
        const uint8_t byte = *in->data++;

        in->len--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct slice *in, uint64_t n)
{
    if (n > in->len)
        return false;
    in->data += n;
    in->len -= n;
    return true;
}

static bool read_field(struct slice *in, struct field *ret_field)
{
    uint64_t tag, value;

    if (!read_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
        return false;
    *ret_field = (struct field){.number = (uint32_t)(tag >> 3), .wire = tag & 7};
    switch (ret_field->wire) {
    case WIRE_VARINT:
        return read_varint(in, &value);
    case WIRE_64:
        return skip(in, 8);
    case WIRE_32:
        return skip(in, 4);
    case WIRE_BYTES:
        if (!read_varint(in, &value))
            return false;
        ret_field->bytes = (struct slice){in->data, (size_t)value};
        return skip(in, value);
    default:
        return false;
    }
}

static uint8_t wire_of(const ProtobufCFieldDescriptor *f)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_32;
    default:
        return WIRE_VARINT;
    }
}

/* jansson's reader of UTF-8 is the one that has been tried most. */
static bool is_text(struct slice s)
{
    json_t *text;
    bool ascii = true;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == 0)
            return false;
        if (s.data[i] >= 0x80)
            ascii = false;
    }
    if (ascii)
        return true;
    text = json_stringn((const char *)s.data, s.len);
    json_decref(text);
    return text;
}

static bool walk(const ProtobufCMessageDescriptor *descriptor, struct slice in, unsigned depth,
                 bool *unknown);

/* Was another member of the field's oneof there before? */
static bool oneof_taken(const ProtobufCMessageDescriptor *descriptor,
                        const ProtobufCFieldDescriptor *f, uint64_t seen)
{
    for (unsigned i = 0; i < descriptor->n_fields && i < FIELDS_MAX; i++) {
        const ProtobufCFieldDescriptor *other = &descriptor->fields[i];

        if (other != f && seen & 1ULL << i && other->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
            other->quantifier_offset == f->quantifier_offset)
            return true;
    }
    return false;
}

/* seen: the fields of this message that came before, by their index; of a oneof one may come. */
static bool check_field(const ProtobufCMessageDescriptor *descriptor, const struct field *field,
                        uint64_t *seen, unsigned depth, bool *unknown)
{
    const ProtobufCFieldDescriptor *f =
        protobuf_c_message_descriptor_get_field(descriptor, field->number);
    size_t index;

    if (!f) {
        *unknown = true;
        return true;
    }
    index = (size_t)(f - descriptor->fields);
    if (f->label == PROTOBUF_C_LABEL_REPEATED && f->type < PROTOBUF_C_TYPE_STRING &&
        field->wire == WIRE_BYTES)
        return true; /* packed numbers */
    if (field->wire != wire_of(f) || index >= FIELDS_MAX)
        return false;
    if (f->label != PROTOBUF_C_LABEL_REPEATED && *seen & 1ULL << index)
        return false;
    *seen |= 1ULL << index;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && oneof_taken(descriptor, f, *seen))
        return false;
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return is_text(field->bytes);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return walk(f->descriptor, field->bytes, depth + 1, unknown);
    return true;
}

static bool walk(const ProtobufCMessageDescriptor *descriptor, struct slice in, unsigned depth,
                 bool *unknown)
{
    uint64_t seen = 0;
    struct field field;

    if (depth > MESSAGE_DEPTH)
        return false;
    while (in.len > 0) {
        if (!read_field(&in, &field) || !check_field(descriptor, &field, &seen, depth, unknown))
            return false;
    }
    return true;
}

enum message_fault message_read(struct arena *a, const ProtobufCMessageDescriptor *descriptor,
                                const void *data, size_t len, ProtobufCMessage **ret_message)
{
    ProtobufCMessage *message;
    bool unknown = false;

    empty(a);
    if (len > MESSAGE_MAX || !walk(descriptor, (struct slice){data, len}, 0, &unknown))
        return MESSAGE_BAD;
    message = protobuf_c_message_unpack(descriptor, &a->allocator, len, data);
    if (!message)
        return MESSAGE_BAD;
    *ret_message = message;
    return unknown ? MESSAGE_UNKNOWN : MESSAGE_GOOD;
}
