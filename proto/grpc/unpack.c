/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/grpc/unpack.h"

#include "daemon/base/limits.h"
#include "daemon/base/text.h"

/* https://protobuf.dev/programming-guides/encoding/ */
enum { TAG_BITS = 3, TAG_NUMBER_MAX = (1 << 29) - 1, VARINT_BYTES_MAX = 10 };

/* What the arena may take: protobuf-c keeps 32 bytes for each scanned member, in slabs that double,
 * and then the members themselves, whose C form is up to eight times their wire form (a repeated
 * string of one character). */
enum { BUDGET_BASE = 64 * 1024, BUDGET_PER_BYTE = 8, BUDGET_PER_FIELD = 128 };

struct scan {
    const uint8_t *p;
    size_t fields;
    unsigned depth; /* of the message that p is in; the outermost is 0 */
    struct {
        const ProtobufCMessageDescriptor *descriptor;
        const uint8_t *end;
    } level[MM_PROTO_DEPTH_MAX];
    struct mm_errinfo *ei;
};

static int malformed(struct scan *s)
{
    mm_fail(s->ei, MM_ERR_CORRUPT, "MALFORMED_MESSAGE", "not a well-formed %s",
            s->level[0].descriptor->name);
    return MM_ERR_CORRUPT;
}

static size_t left(const struct scan *s)
{
    return (size_t)(s->level[s->depth].end - s->p);
}

static int count(struct scan *s, size_t n)
{
    if (n > MM_PROTO_FIELDS_MAX - s->fields)
        return mm_fail(s->ei, MM_ERR_TOO_BIG, "TOO_MANY_FIELDS",
                       "the message has more than %d fields", MM_PROTO_FIELDS_MAX);
    s->fields += n;
    return MM_OK;
}

static int read_varint(struct scan *s, uint64_t *ret_value)
{
    const size_t max = left(s) < VARINT_BYTES_MAX ? left(s) : VARINT_BYTES_MAX;
    uint64_t value = 0;

    for (size_t i = 0; i < max; i++) {
        value |= (uint64_t)(s->p[i] & 0x7f) << (7 * i);
        if (s->p[i] < 0x80) {
            s->p += i + 1;
            *ret_value = value;
            return MM_OK;
        }
    }
    return malformed(s);
}

static int skip(struct scan *s, uint64_t n)
{
    if (n > left(s))
        return malformed(s);
    s->p += n;
    return MM_OK;
}

/* Elements of a packed field: a few bytes become many integers. */
static size_t packed_elements(ProtobufCType type, const uint8_t *data, size_t len)
{
    size_t n = 0;

    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return len / 4;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return len / 8;
    default:
        for (size_t i = 0; i < len; i++)
            n += data[i] < 0x80;
        return n;
    }
}

static int enter(struct scan *s, const ProtobufCMessageDescriptor *descriptor, size_t len)
{
    if (s->depth + 1 >= MM_PROTO_DEPTH_MAX)
        return mm_fail(s->ei, MM_ERR_TOO_BIG, "TOO_DEEP", "messages nested more than %d deep",
                       MM_PROTO_DEPTH_MAX);
    s->depth++;
    s->level[s->depth].descriptor = descriptor;
    s->level[s->depth].end = s->p + len;
    return MM_OK;
}

static int scan_delimited(struct scan *s, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *data;
    uint64_t len;
    int r;

    r = read_varint(s, &len);
    if (r < 0)
        return r;
    if (len > left(s))
        return malformed(s);
    if (field && field->type == PROTOBUF_C_TYPE_MESSAGE)
        return enter(s, field->descriptor, len);
    data = s->p;
    s->p += len;
    if (!field || field->type == PROTOBUF_C_TYPE_BYTES)
        return MM_OK;
    if (field->type != PROTOBUF_C_TYPE_STRING)
        return count(s, packed_elements(field->type, data, len));
    if (!mm_utf8_valid(data, len))
        return mm_fail_field(s->ei, field->name, "%s is not UTF-8 without NUL", field->name);
    return MM_OK;
}

static int scan_field(struct scan *s)
{
    uint64_t tag, number, ignored;
    int r;

    r = read_varint(s, &tag);
    if (r < 0)
        return r;
    number = tag >> TAG_BITS;
    if (number == 0 || number > TAG_NUMBER_MAX)
        return malformed(s);
    r = count(s, 1);
    if (r < 0)
        return r;
    switch (tag & ((1 << TAG_BITS) - 1)) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return read_varint(s, &ignored);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        return skip(s, 8);
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        return skip(s, 4);
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        return scan_delimited(s, protobuf_c_message_descriptor_get_field(
                                     s->level[s->depth].descriptor, (unsigned)number));
    default:
        return malformed(s); /* groups, and numbers that mean nothing */
    }
}

int mm_grpc_scan(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len,
                 size_t *ret_fields, struct mm_errinfo *ei)
{
    struct scan s = {.p = data, .ei = ei};
    int r;

    s.level[0].descriptor = descriptor;
    s.level[0].end = len > 0 ? s.p + len : s.p;
    for (;;) {
        while (s.depth > 0 && s.p == s.level[s.depth].end)
            s.depth--;
        if (s.p == s.level[s.depth].end)
            break;
        r = scan_field(&s);
        if (r < 0)
            return r;
    }
    if (ret_fields)
        *ret_fields = s.fields;
    return MM_OK;
}

static void *alloc_in_arena(void *arena, size_t size)
{
    return mm_arena_alloc(arena, size);
}

static void free_in_arena(MM_UNUSED void *arena, MM_UNUSED void *pointer)
{
    /* The arena takes everything back at once. */
}

int mm_grpc_unpack(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len,
                   struct mm_arena *arena, ProtobufCMessage **ret_message, struct mm_errinfo *ei)
{
    static const uint8_t nothing[1];
    ProtobufCAllocator allocator = {
        .alloc = alloc_in_arena, .free = free_in_arena, .allocator_data = arena};
    ProtobufCMessage *message;
    size_t fields;
    int r;

    r = mm_grpc_scan(descriptor, data, len, &fields, ei);
    if (r < 0)
        return r;
    mm_arena_allow(arena, BUDGET_BASE + len * BUDGET_PER_BYTE + fields * BUDGET_PER_FIELD);
    arena->refused = false;
    message = protobuf_c_message_unpack(descriptor, &allocator, len, len > 0 ? data : nothing);
    if (!message && arena->refused)
        return mm_fail_memory(ei);
    if (!message)
        return mm_fail(ei, MM_ERR_CORRUPT, "MALFORMED_MESSAGE", "not a well-formed %s",
                       descriptor->name);
    *ret_message = message;
    return MM_OK;
}
