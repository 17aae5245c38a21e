/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mutations that know what an HTTP/2 frame is (RFC 9113 section 4.1), for targets whose input is a
 * byte of their own and then frames: bytes changed at random seldom leave a frame's length right,
 * and all that follows would be lost. Linked into the libFuzzer programs alone.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

enum {
    OWN = 1,      /* the target's own byte */
    HEADER = 9,   /* of a frame */
    FRAMES = 256, /* that are looked at */
    BLOCK = 1024, /* of a made header block */
    TYPES = 10,
};

static uint32_t state;

/* 0 … n - 1, by xorshift: what libFuzzer does must follow from its seed. */
static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state % n;
}

/* ---- frames in an input ------------------------------------------------------------------ */

struct frames {
    size_t at[FRAMES + 1]; /* where each begins; the last: where they end */
    size_t n;
};

static size_t frame_size(const uint8_t *p)
{
    return HEADER + ((size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]);
}

/* A frame that is cut off, and what follows it, is left out. */
static void find_frames(const uint8_t *data, size_t size, struct frames *ret)
{
    size_t at = OWN;

    ret->n = 0;
    while (ret->n < FRAMES && at + HEADER <= size && frame_size(data + at) <= size - at) {
        ret->at[ret->n++] = at;
        at += frame_size(data + at);
    }
    ret->at[ret->n] = at;
}

/* Puts bytes at a place; returns the new size, or the old one where they do not fit. */
static size_t insert(uint8_t *data, size_t size, size_t max_size, size_t at, const uint8_t *bytes,
                     size_t len)
{
    if (len > max_size - size)
        return size;
    memmove(data + at + len, data + at, size - at);
    memcpy(data + at, bytes, len);
    return size + len;
}

static size_t cut(uint8_t *data, size_t size, size_t from, size_t to)
{
    memmove(data + from, data + to, size - to);
    return size - (to - from);
}

/* ---- frames that make sense -------------------------------------------------------------- */

static size_t begin_frame(uint8_t *out, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
    const uint8_t header[HEADER] = {(uint8_t)(len >> 16),
                                    (uint8_t)(len >> 8),
                                    (uint8_t)len,
                                    type,
                                    flags,
                                    (uint8_t)(stream >> 24),
                                    (uint8_t)(stream >> 16),
                                    (uint8_t)(stream >> 8),
                                    (uint8_t)stream};

    memcpy(out, header, HEADER);
    return HEADER + len;
}

/* HPACK (RFC 7541 section 6.2.2): a literal that is not indexed, and not Huffman-coded. */
static size_t put_field(uint8_t *out, size_t at, const char *name, const char *value)
{
    const size_t name_len = strlen(name), value_len = strlen(value);

    if (at + 3 + name_len + value_len > BLOCK)
        return at;
    out[at++] = 0;
    out[at++] = (uint8_t)name_len;
    memcpy(out + at, name, name_len);
    at += name_len;
    out[at++] = (uint8_t)value_len;
    memcpy(out + at, value, value_len);
    return at + value_len;
}

#define PICK(list) list[below((uint32_t)(sizeof(list) / sizeof(list[0])))]

static size_t request_fields(uint8_t *out)
{
    static const char *const paths[] = {
        "/f/U",
        "/f/S",
        "/f/C",
        "/f/B",
        "/f/P",
        "/f/O",
        "/f/none",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"};
    static const char *const contents[] = {"application/grpc", "application/grpc",
                                           "application/grpc+proto", "application/grpc+json",
                                           "application/json"};
    size_t at = 0;

    at = put_field(out, at, ":method", below(10) ? "POST" : "GET");
    at = put_field(out, at, ":scheme", "http");
    at = put_field(out, at, ":path", PICK(paths));
    if (below(4))
        at = put_field(out, at, ":authority", "a");
    return put_field(out, at, "content-type", PICK(contents));
}

static size_t response_fields(uint8_t *out)
{
    static const char *const statuses[] = {"200", "200", "200", "100", "404", "503"};
    static const char *const codes[] = {"0", "0", "8", "14", "16", "17", "x"};
    size_t at = 0;

    if (below(3))
        at = put_field(out, at, ":status", PICK(statuses));
    if (below(2))
        at = put_field(out, at, "content-type", "application/grpc");
    if (below(2))
        at = put_field(out, at, "grpc-status", PICK(codes));
    return at;
}

static size_t more_fields(uint8_t *out, size_t at)
{
    static const struct {
        const char *name, *value;
    } fields[] = {{"te", "trailers"},
                  {"grpc-timeout", "1S"},
                  {"grpc-timeout", "1n"},
                  {"grpc-timeout", "99999999H"},
                  {"grpc-encoding", "gzip"},
                  {"grpc-encoding", "br"},
                  {"grpc-accept-encoding", "identity, gzip"},
                  {"grpc-message", "100%25 %E2%82%AC %"},
                  {"grpc-status-details-bin", "CAgSA2Zvbw"},
                  {"grpc-retry-pushback-ms", "100"},
                  {"x-text", "some text"},
                  {"x-some-bin", "AAEC,AA==, /w"},
                  {"x-some-bin", "*"},
                  {"content-length", "5"}};

    for (uint32_t n = below(5); n > 0; n--) {
        const uint32_t i = below((uint32_t)(sizeof(fields) / sizeof(fields[0])));

        at = put_field(out, at, fields[i].name, fields[i].value);
    }
    return at;
}

static uint32_t some_stream(void)
{
    return below(8) ? 1 + 2 * below(6) : below(4);
}

static size_t make_headers(uint8_t *out)
{
    uint8_t block[BLOCK];
    const size_t len =
        more_fields(block, below(2) ? request_fields(block) : response_fields(block));
    const uint8_t flags = (uint8_t)((below(8) ? 4 : 0) | (below(3) ? 0 : 1));

    memcpy(out + HEADER, block, len);
    return begin_frame(out, len, 1, flags, some_stream());
}

static size_t make_data(uint8_t *out)
{
    /* Prefixed messages: field 1 a string; empty; compressed; one with more to come. */
    static const uint8_t text[] = {0, 0, 0, 0, 5, 10, 3, 'a', 'b', 'c'}, none[] = {0, 0, 0, 0, 0},
                         longer[] = {0, 0, 0, 0, 200, 10, 197, 1, 'x'},
                         zipped[] = {1,    0,    0,    0,    25,   0x1f, 0x8b, 0x08, 0x00, 0x00,
                                     0x00, 0x00, 0x00, 0x02, 0x03, 0xe3, 0x62, 0x4e, 0x4c, 0x4a,
                                     0x06, 0x00, 0x82, 0xd8, 0x42, 0x54, 0x05, 0x00, 0x00, 0x00};
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } messages[] = {{text, sizeof(text)},
                    {none, sizeof(none)},
                    {longer, sizeof(longer)},
                    {zipped, sizeof(zipped)},
                    {text, 0},
                    {text, 3}};
    const uint32_t i = below((uint32_t)(sizeof(messages) / sizeof(messages[0])));

    memcpy(out + HEADER, messages[i].bytes, messages[i].len);
    return begin_frame(out, messages[i].len, 0, below(2) ? 1 : 0, some_stream());
}

/* SETTINGS, WINDOW_UPDATE, PING, RST_STREAM, GOAWAY; answers to some. */
static size_t make_control(uint8_t *out)
{
    static const uint32_t values[] = {0,     1,          5,          100,       16384,
                                      65535, 0x7fffffff, 0x80000000, 0xffffffff};
    const uint32_t value = PICK(values);
    const uint8_t four[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                            (uint8_t)value};
    uint8_t *payload = out + HEADER;

    memset(payload, 0, 16);
    memcpy(payload, four, 4);
    switch (below(7)) {
    case 0:
        payload[0] = 0;
        payload[1] = (uint8_t)(1 + below(6));
        memcpy(payload + 2, four, 4);
        return begin_frame(out, 6, 4, 0, 0);
    case 1:
        return begin_frame(out, 0, 4, (uint8_t)below(2), 0);
    case 2:
        return begin_frame(out, 4, 8, 0, below(2) ? 0 : some_stream());
    case 3:
        memcpy(payload, below(2) ? "mmalive" : "mmdrain", 8);
        return begin_frame(out, 8, 6, (uint8_t)below(2), 0);
    case 4:
        payload[0] = payload[1] = payload[2] = 0;
        payload[3] = (uint8_t)below(14);
        return begin_frame(out, 4, 3, 0, some_stream());
    case 5:
        return begin_frame(out, 8, 7, 0, 0);
    default:
        return begin_frame(out, 5, 2, 0, some_stream());
    }
}

static size_t make_frame(uint8_t *out)
{
    switch (below(4)) {
    case 0:
        return make_headers(out);
    case 1:
        return make_data(out);
    case 2: /* a call, or an answer, as a whole */
    {
        const uint32_t stream = some_stream();
        size_t at = make_headers(out), second;

        out[4] = 4;
        begin_frame(out, at - HEADER, 1, 4, stream);
        second = make_data(out + at);
        begin_frame(out + at, second - HEADER, 0, 1, stream);
        return at + second;
    }
    default:
        return make_control(out);
    }
}

/* ---- mutations --------------------------------------------------------------------------- */

static size_t add_made(uint8_t *data, size_t size, size_t max_size, size_t at)
{
    uint8_t made[2 * (HEADER + BLOCK)];

    return insert(data, size, max_size, at, made, make_frame(made));
}

static size_t copy_frame(uint8_t *data, size_t size, size_t max_size, const struct frames *f,
                         uint32_t from, uint32_t to)
{
    uint8_t copy[4096];
    const size_t len = f->at[from + 1] - f->at[from];

    if (len > sizeof(copy))
        return size;
    memcpy(copy, data + f->at[from], len);
    return insert(data, size, max_size, f->at[to], copy, len);
}

/* Lets libFuzzer at the payload, and puts the length right. */
static size_t change_payload(uint8_t *data, size_t size, size_t max_size, size_t at)
{
    const size_t old = frame_size(data + at) - HEADER;
    uint8_t payload[4096];
    size_t len;

    if (old > sizeof(payload) / 2)
        return size;
    memcpy(payload, data + at + HEADER, old);
    len = LLVMFuzzerMutate(payload, old, sizeof(payload));
    if (len > old && len - old > max_size - size)
        return size;
    size = cut(data, size, at + HEADER, at + HEADER + old);
    size = insert(data, size, max_size, at + HEADER, payload, len);
    begin_frame(data + at, len, data[at + 3], data[at + 4],
                (uint32_t)data[at + 5] << 24 | (uint32_t)data[at + 6] << 16 |
                    (uint32_t)data[at + 7] << 8 | data[at + 8]);
    return size;
}

static void change_header(uint8_t *frame)
{
    switch (below(3)) {
    case 0:
        frame[3] = (uint8_t)below(TYPES + 1);
        break;
    case 1:
        frame[4] ^= (uint8_t)(1U << below(6));
        break;
    default:
        memset(frame + 5, 0, 3);
        frame[8] = (uint8_t)some_stream();
        break;
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
    struct frames f;
    uint32_t one;

    state = seed * 2654435761U + 1;
    if (size < OWN || max_size < 64 || below(8) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    find_frames(data, size, &f);
    if (f.n == 0)
        return add_made(data, size, max_size, f.at[0] <= size ? f.at[0] : size);
    one = below((uint32_t)f.n);
    switch (below(7)) {
    case 0:
        return cut(data, size, f.at[one], f.at[one + 1]);
    case 1:
        return copy_frame(data, size, max_size, &f, one, below((uint32_t)f.n + 1));
    case 2:
        change_header(data + f.at[one]);
        return size;
    case 3:
        data[0] = (uint8_t)below(256);
        return size;
    case 4:
        return change_payload(data, size, max_size, f.at[one]);
    default:
        return add_made(data, size, max_size, f.at[below((uint32_t)f.n + 1)]);
    }
}
