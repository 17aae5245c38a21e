/* SPDX-License-Identifier: Apache-2.0 */
/* The session without memory: each allocation fails in turn. The peer gets an answer, a reset or a
 * lost connection, and nothing is left behind. nghttp2 has its own memory, which does not fail. */
#include "tests/unit/h2_peer.h"
#include "tests/unit/memory.h"

static void make_peer(void)
{
    peer = (struct peer){.request = MM_BUF_INIT(1 << 16)};
    must(mm_buf_reserve(&peer.request, 1000)); /* it grows no more */
}

/* One call on a connection of its own. */
static void run(const char *path, const char *text)
{
    make_client(true);
    peer.ended = false;
    if (start_server()) {
        call(path, text, "1S");
        pump();
        if (seen.held) {
            Grpc__Health__V1__HealthCheckRequest message;

            grpc__health__v1__health_check_request__init(&message);
            if (mm_call_send(seen.held, &message.base) == MM_OK)
                mm_health_set(core, "t", true);
            pump();
            pass_ms(1000);
            pump();
        }
        mm_h2_drain(h2, MM_DRAIN_SHUTDOWN);
        pump();
        must(!seen.held);
    }
    if (h2) {
        mm_h2_free(h2);
        must(core->stats.calls_in_flight == 0);
    }
    h2 = NULL;
    stop_server();
    nghttp2_session_del(peer.http2);
}

static const struct {
    const char *path, *text;
} walks[] = {
    {"/t/Echo", "hello"},
    {"/t/Nothing", ""},
    {"/t/Officer", ""},
    {"/t/None", ""},
    {"/t/Echo", "\xff"},
    {"/t/Hold", ""},
    {"/t/Chat", "hello"},
    {"/grpc.health.v1.Health/Check", "nobody"},
    {"/grpc.health.v1.Health/List", ""},
    {"/grpc.health.v1.Health/Watch", "t"},
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "host"},
};

START_TEST(walk_without_memory_leaves_nothing_behind)
{
    unsigned failures = 0;

    make_peer();
    for (memory_fail_at(1);; memory_fail_next(), failures++) {
        run(walks[_i].path, walks[_i].text);
        if (!memory_failed())
            break;
    }
    memory_fail_at(0);
    ck_assert_uint_gt(failures, 5);
    mm_buf_done(&peer.request);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h2_memory");
    TCase *tc = tcase_create("walks");

    tcase_add_loop_test(tc, walk_without_memory_leaves_nothing_behind, 0, MM_ARRAY_SIZE(walks));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
