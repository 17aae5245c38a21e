/* SPDX-License-Identifier: Apache-2.0 */
#include "client/call.h"

#include "client/retry.h"
#include "daemon/base/clock.h"

#include <errno.h>
#include <limits.h>
#include <openssl/rand.h>
#include <string.h>

enum {
    MOVES = 1,      /* of a call to another connection, without anybody's asking (gRFC A6) */
    LINKS = 16,     /* that are polled; those beyond, which can only be leaving, */
    BEYOND_MS = 20, /* are looked at so often */
};

struct mm_client_call {
    LIST_ENTRY(mm_client_call) entry;
    struct mintmark *client;
    struct mm_client_link *link; /* NULL: waits for one, or has ended */
    struct mm_stream *stream;
    int64_t deadline_us;
    unsigned moves;
    bool cancelled;           /* here */
    bool expired;             /* a wait has ended for its deadline's sake */
    bool over;                /* mm_client_call_next has said how it ended */
    struct mm_stream_end end; /* where it is not the stream's */
};

/* Connections. */

static void drop_link(struct mm_client_link *link)
{
    LIST_REMOVE(link, entry);
    mm_link_free(link->link);
    free(link);
}

/* Its stream must have left it. */
static void release_link(struct mm_client_call *call)
{
    struct mm_client_link *link = call->link;

    call->link = NULL;
    if (!link)
        return;
    link->calls--;
    /* What the stream has said on leaving should go now, not with the next call. */
    mm_link_flush(link->link);
    if (link->calls == 0 && !mm_link_usable(link->link))
        drop_link(link);
}

static uint32_t random_number(void)
{
    uint32_t random = 0;

    /* Without randomness the pause is just shorter. */
    (void)RAND_bytes((unsigned char *)&random, sizeof(random));
    return random;
}

static void note_failure(struct mintmark *client, const struct mintmark_error *why)
{
    client->failure = *why;
    client->failures++;
    client->next_connect_us =
        mm_clock_mono_us() + (int64_t)mm_retry_connect_ms(client->failures, random_number()) * 1000;
}

static int add_link(struct mintmark *client, struct mintmark_error *error)
{
    const struct mm_link_options options = {
        .context = client->tls,
        .lookup = client->lookup,
        .host = client->host,
        .port = client->port,
        .server_name = client->server_name,
        .authority = client->authority,
        .keepalive_ms = client->keepalive_ms,
        .keepalive_timeout_ms = client->keepalive_timeout_ms,
    };
    struct mm_client_link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return mm_client_fail_memory(error);
    r = mm_link_new(&options, &link->link, error);
    if (r < 0)
        free(link);
    else
        LIST_INSERT_HEAD(&client->links, link, entry);
    return r;
}

static bool is_connecting(const struct mintmark *client)
{
    const struct mm_client_link *first = LIST_FIRST(&client->links);

    return first && mm_link_state(first->link) == MM_LINK_CONNECTING;
}

static struct mm_client_link *usable_link(const struct mintmark *client)
{
    struct mm_client_link *first = LIST_FIRST(&client->links);

    return first && mm_link_usable(first->link) ? first : NULL;
}

/* Takes note of what has become of a connection. */
static void look_at(struct mintmark *client, struct mm_client_link *link)
{
    static const struct mintmark_error unwilling = {
        .status = MINTMARK_UNAVAILABLE,
        .reason = "CONNECT_FAILED",
        .message = "the server takes no calls on a new connection",
    };
    const struct mm_session *session = mm_link_session(link->link);
    const bool greeted = session && mm_session_greeted(session);

    if (greeted && mm_link_usable(link->link)) {
        client->failures = 0;
        client->next_connect_us = 0;
    }
    if (greeted && mm_session_pings_refused(session) && !link->counted) {
        /* gRFC A8. */
        client->keepalive_ms =
            client->keepalive_ms < UINT32_MAX / 2 ? client->keepalive_ms * 2 : UINT32_MAX;
    }
    if (link->counted || mm_link_state(link->link) == MM_LINK_CONNECTING ||
        mm_link_usable(link->link))
        return;
    link->counted = true;
    /* One that served is just made again. */
    if (mm_link_state(link->link) == MM_LINK_BROKEN && !(link->served && greeted))
        note_failure(client, mm_link_error(link->link));
    else if (!link->served)
        note_failure(client, &unwilling);
}

static bool run_links(struct mintmark *client)
{
    struct mm_client_link *link, *next;
    bool moved = false;

    for (link = LIST_FIRST(&client->links); link; link = next) {
        next = LIST_NEXT(link, entry);
        moved |= mm_link_run(link->link);
        look_at(client, link);
        if (link->calls == 0 && mm_link_state(link->link) != MM_LINK_CONNECTING &&
            !mm_link_usable(link->link))
            drop_link(link);
    }
    return moved;
}

/* Calls. */

static bool is_waiting(const struct mm_client_call *call)
{
    return !call->link && !call->over && !mm_stream_ended(call->stream);
}

static void start_call(struct mm_client_call *call, struct mm_client_link *link)
{
    struct mintmark_error error;
    int64_t timeout_us = INT64_MAX;

    if (call->deadline_us != INT64_MAX)
        timeout_us = call->deadline_us - mm_clock_mono_us();
    if (mm_stream_start(call->stream, mm_link_session(link->link), timeout_us, &error) < 0) {
        mm_stream_cancel(call->stream, &error);
        return;
    }
    call->link = link;
    link->calls++;
    link->served = true;
}

static void fail_call(struct mm_client_call *call, const struct mintmark_error *why)
{
    mm_stream_refuse(call->stream, why);
}

/* Finds every waiting call a connection, or an end. true: something was done. */
static bool place_calls(struct mintmark *client)
{
    struct mm_client_call *call;
    struct mintmark_error error;
    bool moved = false;

    LIST_FOREACH(call, &client->calls, entry) {
        struct mm_client_link *link = usable_link(client);
        const int64_t now = mm_clock_mono_us();

        if (!is_waiting(call) || (!link && is_connecting(client)))
            continue;
        moved = true;
        if (link) {
            start_call(call, link);
        } else if (now < client->next_connect_us) {
            error = client->failure;
            error.retry_ms = (uint32_t)((client->next_connect_us - now + 999) / 1000);
            fail_call(call, &error);
        } else if (add_link(client, &error) < 0) {
            note_failure(client, &error);
            fail_call(call, &error);
        }
    }
    return moved;
}

/* All that can be done without waiting. true: a call may have something new. */
static bool pump(struct mintmark *client)
{
    bool moved = run_links(client);

    while (place_calls(client)) {
        moved = true;
        moved |= run_links(client);
    }
    return moved;
}

int mm_client_call_new(struct mintmark *client, const struct mm_client_call_options *options,
                       struct mm_client_call **ret_call, struct mintmark_error *error)
{
    struct mm_client_call *call = calloc(1, sizeof(*call));
    int r;

    if (!call)
        return mm_client_fail_memory(error);
    r = mm_stream_new(&options->stream, &call->stream, error);
    if (r < 0) {
        free(call);
        return r;
    }
    call->client = client;
    call->deadline_us = options->deadline_us;
    LIST_INSERT_HEAD(&client->calls, call, entry);
    *ret_call = call;
    return 0;
}

void mm_client_call_free(struct mm_client_call *call)
{
    if (!call)
        return;
    LIST_REMOVE(call, entry);
    mm_stream_free(call->stream);
    release_link(call);
    free(call);
}

int mm_client_call_send(struct mm_client_call *call, const struct mm_bytes *message, bool compress)
{
    return mm_stream_send(call->stream, message, compress);
}

void mm_client_call_half_close(struct mm_client_call *call)
{
    mm_stream_half_close(call->stream);
}

void mm_client_call_cancel(struct mm_client_call *call)
{
    struct mintmark_error error;

    call->cancelled = true;
    (void)mm_client_fail_cancelled(&error);
    mm_stream_cancel(call->stream, &error);
}

const struct mm_stream *mm_client_call_stream(const struct mm_client_call *call)
{
    return call->stream;
}

/* It has ended without the server's having acted on it: once more, on another connection. */
static bool move_call(struct mm_client_call *call)
{
    if (call->moves >= MOVES || !call->link || !mm_stream_restartable(call->stream) ||
        mm_clock_mono_us() >= call->deadline_us)
        return false;
    call->moves++;
    mm_stream_rewind(call->stream);
    release_link(call);
    return true;
}

int mm_client_call_next(struct mm_client_call *call, struct mm_bytes *ret_message,
                        const struct mm_stream_end **ret_end)
{
    struct mintmark_error error;
    int r;

    if (mm_clock_mono_us() >= call->deadline_us && !call->over) {
        (void)mm_client_fail_deadline(&error);
        mm_stream_cancel(call->stream, &error);
    }
    r = mm_stream_next(call->stream, ret_message, ret_end);
    if (r != MM_ERR_EOF)
        return r;
    if (!call->over && move_call(call))
        return MM_ERR_AGAIN;
    call->over = true;
    /* A server whose clock is ahead of ours by a little. */
    if ((*ret_end)->error.status == MINTMARK_CANCELLED && !call->cancelled &&
        mm_clock_mono_us() >= call->deadline_us) {
        call->end = **ret_end;
        (void)mm_client_fail_deadline(&call->end.error);
        *ret_end = &call->end;
    }
    return MM_ERR_EOF;
}

/* Waiting. */

static int64_t earliest_deadline(const struct mintmark *client)
{
    const struct mm_client_call *call;
    int64_t at = INT64_MAX;

    LIST_FOREACH(call, &client->calls, entry) {
        if (!call->over && !call->expired && call->deadline_us < at)
            at = call->deadline_us;
    }
    return at;
}

/* A deadline ends one wait: its call may not be looked at for long, as from within a callback. */
static bool note_expired(struct mintmark *client)
{
    const int64_t now = mm_clock_mono_us();
    struct mm_client_call *call;
    bool noted = false;

    LIST_FOREACH(call, &client->calls, entry) {
        if (!call->over && !call->expired && now >= call->deadline_us)
            noted = call->expired = true;
    }
    return noted;
}

static int timeout_until(int64_t at_us)
{
    int64_t left;

    if (at_us == INT64_MAX)
        return -1;
    left = at_us - mm_clock_mono_us();
    if (left <= 0)
        return 0;
    /* Rounded up, so that the time has come when poll comes back with nothing. */
    left = (left + 999) / 1000;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static int poll_links(const struct mintmark *client, int64_t until_us, struct mintmark_error *error)
{
    struct pollfd fds[1 + LINKS] = {{.fd = client->cancel_fd, .events = POLLIN}};
    const struct mm_client_link *link;
    int64_t at_us = earliest_deadline(client);
    nfds_t n = 1;

    if (until_us < at_us)
        at_us = until_us;
    LIST_FOREACH(link, &client->links, entry) {
        int64_t link_at_us;

        if (n < MM_ARRAY_SIZE(fds))
            mm_link_interest(link->link, &fds[n++], &link_at_us);
        else
            link_at_us = mm_clock_mono_us() + BEYOND_MS * 1000;
        if (link_at_us < at_us)
            at_us = link_at_us;
    }
    if (poll(fds, n, timeout_until(at_us)) < 0 && errno != EINTR)
        return mm_client_fail(error, MINTMARK_INTERNAL, "POLL", "poll: %s", strerror(errno));
    return 0;
}

int mm_client_wait(struct mintmark *client, int64_t until_us, struct mintmark_error *error)
{
    for (;;) {
        bool moved;
        int r;

        if (mm_client_cancelled(client))
            return mm_client_fail_cancelled(error);
        moved = pump(client);
        if (mm_clock_mono_us() >= until_us)
            return mm_client_fail_deadline(error);
        if (note_expired(client) || moved)
            return 0;
        r = poll_links(client, until_us, error);
        if (r < 0)
            return r;
    }
}
