/* SPDX-License-Identifier: Apache-2.0 */
/* What a server sends, as a client with two calls sees it. The first byte says how many bytes come
 * at once. Whatever comes, every call ends, no message is over its limit, and once the server is
 * gone nothing more is awaited. */
#include "tests/fuzz/fuzz.h"

#include "client/session.h"
#include "daemon/base/limits.h"

#include <string.h>

enum { CALLS = 2 };

struct call {
    struct mm_stream *stream; /* NULL once it has ended */
};

static void check_end(const struct mm_stream_end *end)
{
    assert(end->error.status <= MINTMARK_UNAUTHENTICATED);
    assert(memchr(end->error.message, 0, sizeof(end->error.message)));
    assert(memchr(end->error.reason, 0, sizeof(end->error.reason)));
    assert(memchr(end->error.field, 0, sizeof(end->error.field)));
    assert(!end->unprocessed || end->error.status != MINTMARK_OK);
}

/* What the server said around the messages can be walked at any time. */
static void check_fields(const struct mm_buf *fields)
{
    struct mm_bytes name, value;
    size_t pos = 0, bytes = 0;

    while (mm_fields_next(fields, &pos, &name, &value))
        bytes += name.len + value.len;
    assert(bytes <= MM_HEADER_LIST_MAX);
}

/* Reads all messages that are there. true: the call goes on. */
static bool drain(struct call *call)
{
    const struct mm_stream_end *end;
    struct mm_bytes message;
    int r;

    if (!call->stream)
        return false;
    while ((r = mm_stream_next(call->stream, &message, &end)) == MM_OK)
        assert(message.len <= MM_GRPC_MESSAGE_MAX);
    if (r == MM_ERR_AGAIN)
        return true;
    assert(r == MM_ERR_EOF);
    check_end(end);
    check_fields(mm_stream_headers(call->stream));
    check_fields(mm_stream_trailers(call->stream));
    assert(!mm_stream_restartable(call->stream) || end->unprocessed);
    mm_stream_free(call->stream);
    call->stream = NULL;
    return false;
}

/* false: the session has found that the connection is of no more use. */
static bool answer(struct mm_session *session)
{
    struct mm_buf out = MM_BUF_INIT(4 * MM_SESSION_SEND);
    bool ok;

    do {
        mm_buf_reset(&out);
        ok = mm_session_send(session, &out, NULL) == 0;
    } while (ok && out.len > 0);
    mm_buf_done(&out);
    return ok;
}

/* What a call does next: the input's first byte says. */
static void go_on(struct mm_stream *stream, uint8_t how)
{
    const struct mm_bytes request = {(const uint8_t *)"more", 4};
    struct mintmark_error why;
    int r;

    if (how % 8 == 0)
        mm_stream_half_close(stream);
    if (how % 8 == 1) {
        mm_client_fail(&why, MINTMARK_CANCELLED, "CANCELLED", "enough");
        mm_stream_cancel(stream, &why);
        return;
    }
    r = mm_stream_send(stream, &request, how % 2);
    assert(r == MM_OK || r == MM_ERR_AGAIN || r == MM_ERR_EOF || r == MM_ERR_MEMORY);
}

static void feed(struct mm_session *session, struct call calls[CALLS], const uint8_t *data,
                 size_t size, size_t step)
{
    while (size > 0) {
        const size_t n = step && step < size ? step : size;

        if (mm_session_receive(session, data, n, NULL) < 0)
            return;
        for (int i = 0; i < CALLS; i++)
            if (drain(&calls[i]))
                go_on(calls[i].stream, *data);
        if (!answer(session))
            return;
        data += n;
        size -= n;
    }
}

/* NULL without memory. Every other call takes requests for longer. */
static struct mm_stream *start(struct mm_session *session, bool open)
{
    const struct mm_bytes request = {(const uint8_t *)"request", 7};
    struct mm_stream *stream;

    if (mm_stream_new(&(struct mm_stream_options){.path = "/S/M", .gzip = open, .single = !open},
                      &stream, NULL) < 0)
        return NULL;
    if (mm_stream_send(stream, &request, false) == MM_OK &&
        mm_stream_start(stream, session, 1000000, NULL) == 0) {
        if (!open)
            mm_stream_half_close(stream);
        return stream;
    }
    mm_stream_free(stream);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct call calls[CALLS] = {{NULL}};
    struct mm_session *session;
    struct mintmark_error gone;

    if (size == 0 || mm_session_new("https", "host:1", &session, NULL) < 0)
        return 0;
    for (int i = 0; i < CALLS; i++)
        calls[i].stream = start(session, i % 2);
    if (answer(session))
        feed(session, calls, data + 1, size - 1, data[0]);
    mm_client_fail(&gone, MINTMARK_UNAVAILABLE, "CONNECTION_LOST", "gone");
    mm_session_lost(session, &gone);
    assert(!mm_session_usable(session));
    for (int i = 0; i < CALLS; i++)
        assert(!drain(&calls[i]));
    mm_session_free(session);
    return 0;
}
