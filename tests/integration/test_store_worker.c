/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-store as a process, on a channel as the front's. */
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/ipc/trusted.h"
#include "daemon/ipc/worker.h"
#include "tests/support/handed.h"
#include "tests/support/trusted_set.h"
#include "tests/unit/check_main.h"
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char config[] =
    "listen { certificate = 'tls.pem' key = 'tls.key' client_ca = 'tls.pem' }\n"
    "store { path = 'store.db' }\n"
    "token 'factory' { module = '/nowhere.so' uri = 'pkcs11:token=factory' pin_file = 'pin' }\n"
    "appliance { token = 'factory' identity_certificate = 'oem.pem' audit_certificate = 'oem.pem'"
    " oem_certificates = 'oem.pem' }\n"
    "profile 'matter' { issuer = 'none' delivery = 'retained' subject = 'CN=${number}' }\n"
    "client 'station' { uri = 'urn:station' roles = {'station'} }\n";

struct worker {
    pid_t pid;
    int fd;
    size_t line; /* to the launcher */
    Mintmark__Internal__StoreResult *ready;
};

static struct fixture site; /* its folder, and the reading of its database */
static struct mm_errinfo ei;
static struct mm_trusted_keeper keeper; /* the launcher's part */
static uint8_t token[1024];             /* what it holds */
static size_t token_len;

static void ok(int r)
{
    ck_assert_msg(r == MM_OK, "%s: %s", ei.reason, ei.text);
}

static void oem_path(char path[128])
{
    snprintf(path, 128, "%s/oem.pem", site.dir);
}

static void setup(void)
{
    char path[128];

    fixture_setup(&site);
    fixture_close(&site);
    token_len = 0;
    oem_path(path);
    ok(mm_io_write_file(path, 0600, fixture_oem_pem(), strlen(fixture_oem_pem()), &ei));
    mm_trusted_keep(&keeper, trusted_set_make(fixture_oem_pem(), NULL));
}

static void teardown(void)
{
    char path[128];

    oem_path(path);
    ck_assert_int_eq(unlink(path), 0);
    mm_trusted_offer(&keeper, -1);
    close(keeper.in_force);
    fixture_open(&site);
    fixture_check_invariants(&site);
    fixture_teardown(&site);
}

static void become_worker(int fd, int trusted, int handed)
{
    const char *program = getenv("MM_STORE_WORKER");

    if (program && handed_take(fd, trusted, handed))
        execl(program, "mintmark-store", (char *)NULL);
    _exit(127);
}

/* NULL when the worker has closed the channel. */
static Mintmark__Internal__StoreResult *receive(struct worker *w)
{
    MM_BUF_CLEANUP struct mm_buf payload = MM_BUF_INIT(MM_IPC_MESSAGE_MAX);
    Mintmark__Internal__StoreResult *result;
    const int r = mm_channel_read(w->fd, &payload, &ei);

    if (r == MM_ERR_EOF)
        return NULL;
    ok(r);
    result = mintmark__internal__store_result__unpack(NULL, payload.len, payload.data);
    ck_assert_ptr_nonnull(result);
    return result;
}

static void drop(Mintmark__Internal__StoreResult *result)
{
    mintmark__internal__store_result__free_unpacked(result, NULL);
}

static int hand(const char *text)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/mintmark.conf", site.dir);
    return handed_pipe(path, (struct mm_bytes){(const uint8_t *)text, strlen(text)});
}

/* Takes what the worker is handed. */
static struct worker start_with(int handed)
{
    Mintmark__Internal__WorkerStart message;
    struct worker w = {0};
    char path[128];
    int fds[2], trusted;

    mintmark__internal__worker_start__init(&message);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ok(mm_trusted_open(&keeper, &w.line, &trusted, &ei));
    w.pid = fork();
    ck_assert_int_ge(w.pid, 0);
    if (w.pid == 0)
        become_worker(fds[1], trusted, handed);
    close(handed);
    close(fds[1]);
    close(trusted);
    w.fd = fds[0];
    snprintf(path, sizeof(path), "%s/mintmark.conf", site.dir);
    message.config = (ProtobufCBinaryData){sizeof(config) - 1, (uint8_t *)TEXT(config)};
    message.config_path = path;
    message.name = TEXT("store");
    ok(mm_channel_write(w.fd, &message.base, &ei));
    w.ready = receive(&w);
    ck_assert_ptr_nonnull(w.ready);
    ck_assert_uint_eq(w.ready->id, 0);
    return w;
}

static struct worker start(void)
{
    return start_with(hand(config));
}

static int ended(struct worker *w)
{
    int status;

    ck_assert_int_eq(waitpid(w->pid, &status, 0), w->pid);
    close(w->fd);
    mm_trusted_close(&keeper, w->line);
    drop(w->ready);
    ck_assert_msg(WIFEXITED(status), "the worker was ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

static int stop(struct worker *w)
{
    shutdown(w->fd, SHUT_WR);
    return ended(w);
}

static void send_job(struct worker *w, uint64_t id, Mintmark__Internal__StoreJob *job)
{
    job->id = id;
    ok(mm_channel_write(w->fd, &job->base, &ei));
}

static Mintmark__Internal__StoreResult *ask(struct worker *w, Mintmark__Internal__StoreJob *job)
{
    Mintmark__Internal__StoreResult *result;

    send_job(w, 1, job);
    result = receive(w);
    ck_assert_ptr_nonnull(result);
    ck_assert_ptr_null(result->error);
    return result;
}

/* What the front does before all else: the token's anchor is checked, if it has one, and gets a new
 * one. */
static void anchor(struct worker *w)
{
    Mintmark__Internal__StoreJob job = MINTMARK__INTERNAL__STORE_JOB__INIT;
    Mintmark__Internal__CheckAnchor check = MINTMARK__INTERNAL__CHECK_ANCHOR__INIT;
    Mintmark__Internal__PrepareAnchor prepare = MINTMARK__INTERNAL__PREPARE_ANCHOR__INIT;
    Mintmark__Internal__Anchored anchored = MINTMARK__INTERNAL__ANCHORED__INIT;
    Mintmark__Internal__StoreResult *result;

    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_CHECK_ANCHOR;
    job.check_anchor = &check;
    check.anchor = (ProtobufCBinaryData){token_len, token};
    drop(ask(w, &job));
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_PREPARE_ANCHOR;
    job.prepare_anchor = &prepare;
    result = ask(w, &job);
    token_len = result->guard->anchor.len;
    ck_assert(token_len > 0 && token_len <= sizeof(token));
    memcpy(token, result->guard->anchor.data, token_len);
    anchored.sequence = result->guard->sequence;
    drop(result);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_ANCHORED;
    job.anchored = &anchored;
    result = ask(w, &job);
    ck_assert_int_eq(result->guard->state, MINTMARK__INTERNAL__GUARD_STATE__GUARD_STATE_OPEN);
    drop(result);
}

static void populate(struct worker *w)
{
    struct order_job order;
    struct batch_job batch;

    make_order(&order, ORDER, 1000);
    order.order.not_after_time_ms = 1LL << 44;
    sign_order(&order);
    make_batch(&batch, 1, 1000);
    anchor(w);
    send_job(w, 1, &order.job);
    send_job(w, 2, &batch.job);
    for (uint64_t id = 1; id <= 2; id++) {
        Mintmark__Internal__StoreResult *result = receive(w);

        ck_assert_ptr_nonnull(result);
        ck_assert_uint_eq(result->id, id);
        ck_assert_ptr_null(result->error);
        drop(result);
    }
}

START_TEST(worker_started_again_is_ready_with_what_was_recorded)
{
    static struct spend_job spend;
    struct worker w = start();
    Mintmark__Internal__StoreResult *result;

    ck_assert_uint_eq(w.ready->ready->n_orders, 0);
    populate(&w);
    make_spend(&spend, 1, "r1", 5, 1, 5);
    send_job(&w, 3, &spend.job);
    result = receive(&w);
    ck_assert_uint_eq(result->recorded->order_used, 5);
    drop(result);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
    w = start();
    ck_assert_uint_eq(w.ready->ready->n_orders, 1);
    ck_assert_uint_eq(w.ready->ready->orders[0]->used, 5);
    ck_assert_uint_eq(w.ready->ready->n_batches, 1);
    ck_assert_uint_eq(w.ready->ready->batches[0]->counts->issued, 5);
    ck_assert_uint_eq(w.ready->ready->next_numbers[0]->next, 6);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
}
END_TEST

/* More than two messages' worth, asked for at once, so that they cannot wait in one buffer. */
START_TEST(worker_with_many_big_answers_sends_them_all)
{
    static struct spend_job spend;
    static uint8_t bundle[MM_BUNDLE_MAX];
    static struct small_job fetch;
    struct worker w = start();

    populate(&w);
    make_spend(&spend, 1, "r1", MM_CHUNK_DEVICES, 1, MM_CHUNK_DEVICES);
    for (int i = 0; i < MM_CHUNK_DEVICES; i++)
        spend.devices[i].bundle = (ProtobufCBinaryData){sizeof(bundle), bundle};
    send_job(&w, 3, &spend.job);
    make_fetch(&fetch, "r1", 0, MM_CHUNK_DEVICES);
    for (uint64_t id = 4; id < 20; id++)
        send_job(&w, id, &fetch.job);
    for (uint64_t id = 3; id < 20; id++) {
        Mintmark__Internal__StoreResult *result = receive(&w);

        ck_assert_ptr_nonnull(result);
        ck_assert_uint_eq(result->id, id);
        if (id > 3)
            ck_assert_uint_eq(result->fetched->n_bundles, MM_CHUNK_DEVICES);
        drop(result);
    }
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(worker_beside_another_is_refused)
{
    struct worker first = start(), second = start();

    ck_assert_str_eq(second.ready->error->reason, "STORE_IN_USE");
    ck_assert_ptr_nonnull(strstr(second.ready->error->text, "store.db"));
    ck_assert_int_eq(stop(&second), MM_EXIT_FAILED);
    populate(&first);
    ck_assert_int_eq(stop(&first), MM_EXIT_OK);
}
END_TEST

START_TEST(worker_with_a_database_that_others_may_read_is_refused)
{
    struct worker w;

    ck_assert_int_eq(chmod(site.path, 0644), 0);
    w = start();
    ck_assert_int_eq(chmod(site.path, 0600), 0);
    ck_assert_str_eq(w.ready->error->reason, "STORE_PERMISSIONS");
    ck_assert_int_eq(stop(&w), MM_EXIT_FAILED);
}
END_TEST

/* What a front that has been taken over might send: a database of its own. */
START_TEST(worker_takes_no_configuration_that_was_not_checked)
{
    struct worker w = start_with(hand("listen { }"));

    ck_assert_str_eq(w.ready->error->reason, "CONFIG_NOT_CHECKED");
    ck_assert_int_eq(w.ready->error->code, MM_ERR_PERMISSION);
    ck_assert_int_eq(stop(&w), MM_EXIT_FAILED);
}
END_TEST

START_TEST(worker_that_is_handed_nothing_is_refused)
{
    struct worker w = start_with(open("/dev/null", O_RDONLY | O_CLOEXEC));

    ck_assert_str_eq(w.ready->error->reason, "HANDED_BAD");
    ck_assert_int_eq(stop(&w), MM_EXIT_CHANNEL);
}
END_TEST

START_TEST(worker_that_is_sent_no_job_ends)
{
    struct worker w = start();

    populate(&w);
    /* A frame of three bytes that are no protobuf. */
    ck_assert_int_eq(write(w.fd, "\0\0\0\0\3\xff\xff\xff", 8), 8);
    ck_assert_ptr_null(receive(&w));
    ck_assert_int_eq(ended(&w), MM_EXIT_CHANNEL);
}
END_TEST

static void serve_line(const struct worker *w)
{
    struct pollfd p = {.fd = keeper.lines[w->line].fd, .events = POLLIN};

    ck_assert_int_eq(poll(&p, 1, 60000), 1);
    mm_trusted_serve(&keeper, w->line);
}

/* As a reload does it; so many requests of the store are answered. */
static Mintmark__Internal__StoreResult *take(struct worker *w, int set, int requests)
{
    Mintmark__Internal__StoreJob job = MINTMARK__INTERNAL__STORE_JOB__INIT;
    Mintmark__Internal__TakeTrusted body = MINTMARK__INTERNAL__TAKE_TRUSTED__INIT;

    mm_trusted_offer(&keeper, set);
    job.job_case = MINTMARK__INTERNAL__STORE_JOB__JOB_TAKE_TRUSTED;
    job.take_trusted = &body;
    send_job(w, 7, &job);
    for (int i = 0; i < requests; i++)
        serve_line(w);
    return receive(w);
}

static void taken(struct worker *w, int set)
{
    Mintmark__Internal__StoreResult *result = take(w, set, 2);

    ck_assert_ptr_nonnull(result);
    ck_assert_int_eq(result->result_case, MINTMARK__INTERNAL__STORE_RESULT__RESULT_TRUSTED_TAKEN);
    drop(result);
}

static void not_taken(struct worker *w, int set, const char *reason, const char *text)
{
    Mintmark__Internal__StoreResult *result = take(w, set, 1);

    ck_assert(result && result->error);
    ck_assert_str_eq(result->error->reason, reason);
    ck_assert_msg(strstr(result->error->text, text), "%s", result->error->text);
    drop(result);
}

/* NULL: it is taken. */
static void bring(struct worker *w, const char *order_id, const char *reason)
{
    struct order_job order;
    Mintmark__Internal__StoreResult *result;

    make_order(&order, order_id, 10);
    order.order.not_after_time_ms = 1LL << 44;
    sign_order(&order);
    send_job(w, 1, &order.job);
    result = receive(w);
    ck_assert_ptr_nonnull(result);
    if (reason)
        ck_assert_str_eq(result->error->reason, reason);
    else
        ck_assert_msg(!result->error, "%s", result->error->text);
    drop(result);
}

START_TEST(worker_takes_other_certificates_from_the_launcher_only)
{
    struct worker w = start();

    populate(&w);
    bring(&w, "one", NULL);
    taken(&w, trusted_set_make(NULL, fixture_oem_pem()));
    bring(&w, "two", "SIGNER_UNKNOWN");
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
    /* The next store has what this one took. */
    w = start();
    anchor(&w);
    bring(&w, "two", "SIGNER_UNKNOWN");
    taken(&w, trusted_set_make(fixture_oem_pem(), NULL));
    bring(&w, "two", NULL);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(worker_takes_all_or_nothing)
{
    struct worker w = start();

    populate(&w);
    not_taken(&w, trusted_set_make(NULL, "nothing of use"), "TRUST_INVALID",
              "officer_certificates");
    not_taken(&w, trusted_set_make(fixture_oem_pem(), "nothing of use"), "TRUST_INVALID",
              "officer_certificates");
    not_taken(&w, trusted_set_make("-----BEGIN CERTIFICATE-----\n", NULL), "TRUST_INVALID",
              "oem_certificates");
    not_taken(&w, -1, "NOTHING_TO_TRUST", "no reload");
    bring(&w, "one", NULL);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
    w = start();
    anchor(&w);
    bring(&w, "two", NULL);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(worker_whose_launcher_has_hung_up_keeps_what_it_has)
{
    struct worker w = start();
    Mintmark__Internal__StoreResult *result;

    populate(&w);
    close(keeper.lines[w.line].fd);
    keeper.lines[w.line].fd = -1;
    result = take(&w, -1, 0);
    ck_assert(result && result->error);
    drop(result);
    bring(&w, "one", NULL);
    ck_assert_int_eq(stop(&w), MM_EXIT_OK);
}
END_TEST

START_TEST(worker_is_refused_with_a_damaged_set)
{
    struct worker w;

    close(keeper.in_force);
    keeper.in_force = trusted_set_make("nothing of use", NULL);
    w = start();
    ck_assert_str_eq(w.ready->error->reason, "TRUST_INVALID");
    ck_assert_int_eq(stop(&w), MM_EXIT_FAILED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_worker");
    TCase *worker = tcase_create("worker");

    tcase_set_timeout(worker, 60);
    tcase_add_checked_fixture(worker, setup, teardown);
    tcase_add_test(worker, worker_started_again_is_ready_with_what_was_recorded);
    tcase_add_test(worker, worker_with_many_big_answers_sends_them_all);
    tcase_add_test(worker, worker_beside_another_is_refused);
    tcase_add_test(worker, worker_with_a_database_that_others_may_read_is_refused);
    tcase_add_test(worker, worker_takes_no_configuration_that_was_not_checked);
    tcase_add_test(worker, worker_that_is_handed_nothing_is_refused);
    tcase_add_test(worker, worker_that_is_sent_no_job_ends);
    tcase_add_test(worker, worker_takes_other_certificates_from_the_launcher_only);
    tcase_add_test(worker, worker_takes_all_or_nothing);
    tcase_add_test(worker, worker_whose_launcher_has_hung_up_keeps_what_it_has);
    tcase_add_test(worker, worker_is_refused_with_a_damaged_set);
    suite_add_tcase(suite, worker);
    return run_suite(suite);
}
