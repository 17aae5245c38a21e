/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/json.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <string.h>

void mm_json_string(struct mm_buf *b, const char *text)
{
    if (!text) {
        mm_buf_append_str(b, "null");
        return;
    }
    mm_buf_append_u8(b, '"');
    while (*text) {
        const size_t plain = strcspn(text, "\"\\\x01\x02\x03\x04\x05\x06\x07\b\t\n\v\f\r\x0e\x0f"
                                           "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c"
                                           "\x1d\x1e\x1f");

        mm_buf_append(b, text, plain);
        text += plain;
        if (!*text)
            break;
        if (*text == '"' || *text == '\\')
            mm_buf_printf(b, "\\%c", *text);
        else
            mm_buf_printf(b, "\\u%04x", (unsigned)*text);
        text++;
    }
    mm_buf_append_u8(b, '"');
}

void mm_json_hex(struct mm_buf *b, struct mm_bytes bytes)
{
    uint8_t *to;

    if (bytes.len == 0) {
        mm_buf_append_str(b, "null");
        return;
    }
    mm_buf_append_u8(b, '"');
    to = mm_buf_reserve(b, 2 * bytes.len + 1);
    if (to) {
        mm_hex_encode(bytes.data, bytes.len, (char *)to);
        mm_buf_grew(b, 2 * bytes.len);
    }
    mm_buf_append_u8(b, '"');
}

void mm_json_time(struct mm_buf *b, int64_t wall_ms)
{
    char text[MM_CLOCK_TEXT];

    if (wall_ms)
        mm_buf_printf(b, "\"%s\"", mm_clock_text(wall_ms, text));
    else
        mm_buf_append_str(b, "null");
}

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char for_urls[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void encode(struct mm_buf *b, struct mm_bytes bytes, const char *alphabet, bool padding)
{
    uint8_t *to = mm_buf_reserve(b, (bytes.len + 2) / 3 * 4);
    size_t len = 0;

    for (size_t i = 0; to && i < bytes.len; i += 3) {
        const size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        const uint32_t v = (uint32_t)bytes.data[i] << 16 |
                           (n > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                           (n > 2 ? bytes.data[i + 2] : 0);

        to[len++] = (uint8_t)alphabet[v >> 18];
        to[len++] = (uint8_t)alphabet[v >> 12 & 63];
        if (n > 1 || padding)
            to[len++] = (uint8_t)(n > 1 ? alphabet[v >> 6 & 63] : '=');
        if (n > 2 || padding)
            to[len++] = (uint8_t)(n > 2 ? alphabet[v & 63] : '=');
    }
    mm_buf_grew(b, len);
}

void mm_json_base64(struct mm_buf *b, struct mm_bytes bytes)
{
    encode(b, bytes, standard, true);
}

void mm_json_base64url(struct mm_buf *b, struct mm_bytes bytes)
{
    encode(b, bytes, for_urls, false);
}
