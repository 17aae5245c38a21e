/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/log.h"

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4096 };

static const char *log_module = "mintmark";
static enum mm_log_level log_level = MM_LOG_INFO;
static const char *const level_names[] = {"error", "warning", "info", "debug"};
/* syslog priorities, as systemd reads them from the start of a line: sd-daemon(3) */
static const int level_priorities[] = {3, 4, 6, 7};

void mm_log_setup(const char *module, enum mm_log_level level)
{
    log_module = module;
    log_level = level;
}

/* Bytes of the control character at s; 0: it is none. Some terminals obey U+0080 to U+009F, too. */
static size_t control(const char *s)
{
    const unsigned char c = (unsigned char)s[0], next = c ? (unsigned char)s[1] : 0;

    if (c < ' ' || c == 0x7f)
        return 1;
    return c == 0xc2 && next >= 0x80 && next < 0xa0 ? 2 : 0;
}

static bool plain(const char *s)
{
    if (!*s)
        return false;
    for (; *s; s++) {
        if (control(s) || *s == ' ' || *s == '"' || *s == '=' || *s == '\\')
            return false;
    }
    return true;
}

static void append_value(struct mm_buf *line, const char *s)
{
    if (!s)
        s = "";
    if (plain(s)) {
        mm_buf_append_str(line, s);
        return;
    }
    mm_buf_append_u8(line, '"');
    for (; *s; s++) {
        const size_t n = control(s);

        if (*s == '"' || *s == '\\')
            mm_buf_printf(line, "\\%c", *s);
        else if (n == 0)
            mm_buf_append_u8(line, (uint8_t)*s);
        for (size_t i = 0; i < n; i++)
            mm_buf_printf(line, "\\x%02x", (unsigned char)s[i]);
        s += n == 2;
    }
    mm_buf_append_u8(line, '"');
}

static void append_kv(struct mm_buf *line, const struct mm_kv *kv)
{
    mm_buf_printf(line, " %s=", kv->key);
    switch (kv->type) {
    case MM_KV_STR:
        append_value(line, kv->str);
        break;
    case MM_KV_INT:
        mm_buf_printf(line, "%" PRId64, kv->i);
        break;
    case MM_KV_UINT:
        mm_buf_printf(line, "%" PRIu64, kv->u);
        break;
    case MM_KV_HEX:
        mm_buf_printf(line, "0x%" PRIx64, kv->u);
        break;
    }
}

void mm_log_emit(enum mm_log_level level, const char *event, const struct mm_kv *kv)
{
    MM_BUF_CLEANUP struct mm_buf line = MM_BUF_INIT(LINE_MAX_BYTES);
    char ts[MM_CLOCK_TEXT];

    if (level > log_level)
        return;
    mm_buf_printf(&line, "<%d>ts=%s level=%s module=%s event=%s", level_priorities[level],
                  mm_clock_text(mm_clock_wall_ms(), ts), level_names[level], log_module, event);
    for (; kv->key; kv++)
        append_kv(&line, kv);
    /* An over-long line is cut, never lost; its newline always fits because the cut stops early. */
    line.err = MM_OK;
    if (line.len == LINE_MAX_BYTES)
        line.len--;
    mm_buf_append_u8(&line, '\n');
    if (write(STDERR_FILENO, line.data, line.len) < 0)
        return; /* nowhere left to say so */
}

void mm_log_error(const char *event, const char *request_id, const struct mm_errinfo *ei)
{
    mm_log(MM_LOG_ERROR, event, MM_STR("request", request_id ? request_id : "-"),
           MM_STR("code", mm_err_name(ei->code)), MM_STR("reason", ei->reason),
           MM_HEX("detail", ei->detail), MM_STR("text", ei->text));
}
