/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random groups of jobs with a fixed seed, against a model in memory that knows nothing of SQL:
 * each answer, and in the end each count and state, must be the model's. Now and then the disk
 * fails, and the group must not have been.
 */
#include "daemon/base/clock.h"
#include "tests/unit/check_main.h"
#include "tests/unit/fault_vfs.h"
#include "tests/unit/store_fixture.h"

#include <stdio.h>
#include <string.h>

enum { ORDERS = 3, BATCHES = 8, REQUESTS = 40, DEVICES = 4000, SERIALS = 300, JOBS = 6 };
enum { GROUPS = 600 };

struct model {
    uint64_t used[ORDERS];
    struct {
        unsigned order;
        bool open, released;
        uint64_t issued, ok, ko;
    } batches[BATCHES];
    struct {
        unsigned batch; /* 0: not known; else batch + 1 */
        uint32_t recorded;
    } requests[REQUESTS];
    struct {
        unsigned batch; /* as above */
        unsigned serial;
        int state;
    } devices[DEVICES];
    unsigned serial_owner[SERIALS]; /* device number, 0: free; serial 0 is none */
    unsigned next;                  /* device number */
};

static const uint64_t order_quantity[ORDERS] = {150, 300, 10000};
static const char *const order_ids[ORDERS] = {"order-0", "order-1", "order-2"};
/* The first order ends early. */
static const int64_t order_end[ORDERS] = {T0 + 5000, T_END, T_END};
static const uint64_t batch_quantity[BATCHES] = {100, 90, 200, 60, 500, 500, 40, 2000};

static struct fixture f;
static struct model model;
static uint64_t seed = 0x6d696e746d61726bULL;
static int64_t now_ms = T0 + 100;

static unsigned pick(unsigned n)
{
    return (unsigned)(test_random(&seed) % n);
}

static int64_t wall_ms(void)
{
    return now_ms;
}

static int64_t mono_us(void)
{
    return 1000;
}

/* One job of a group: what is asked, and what the model says to it. */
struct step {
    union {
        struct batch_job batch;
        struct spend_job spend;
        struct report_job report;
        struct small_job small;
    };
    const Mintmark__Internal__StoreJob *job;
    char request_id[16];
    const char *reason; /* "" when the model takes it */
};

static const char *refuse_time(unsigned order)
{
    return now_ms >= order_end[order] ? "ORDER_EXPIRED" : NULL;
}

static const char *model_open(unsigned b)
{
    const unsigned o = b % ORDERS;

    if (refuse_time(o))
        return refuse_time(o);
    if (order_quantity[o] - model.used[o] < batch_quantity[b])
        return "QUOTA_EXHAUSTED";
    if (model.batches[b].open || model.batches[b].released)
        return "BATCH_EXISTS";
    model.batches[b].order = o;
    model.batches[b].open = true;
    return "";
}

static void step_open(struct step *s)
{
    const unsigned b = pick(BATCHES);

    make_batch(&s->batch, b, batch_quantity[b]);
    s->batch.batch.order_id = TEXT(order_ids[b % ORDERS]);
    s->batch.batch.opened_time_ms = now_ms;
    s->job = &s->batch.job;
    s->reason = model_open(b);
}

/* Which refusal, if any, meets the request before its devices are looked at. */
static const char *model_spend_checks(unsigned b, unsigned r, uint32_t count, unsigned n)
{
    const unsigned o = model.batches[b].order;

    if (!model.batches[b].open && !model.batches[b].released)
        return "UNKNOWN_BATCH";
    if (model.requests[r].batch && model.requests[r].batch != b + 1)
        return "REQUEST_ID_REUSED";
    if (model.requests[r].recorded + n > count)
        return "REQUEST_COMPLETE";
    if (model.batches[b].released)
        return "BATCH_RELEASED";
    if (refuse_time(o))
        return refuse_time(o);
    if (model.used[o] + n > order_quantity[o])
        return "QUOTA_EXHAUSTED";
    if (model.batches[b].issued + n > batch_quantity[b])
        return "BATCH_FULL";
    return NULL;
}

static bool model_serials_free(const unsigned *serials, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (serials[i] == 0)
            continue;
        if (model.serial_owner[serials[i]])
            return false;
        for (unsigned k = 0; k < i; k++) {
            if (serials[k] == serials[i])
                return false;
        }
    }
    return true;
}

static const char *model_spend(unsigned b, unsigned r, uint32_t count, unsigned n,
                               const unsigned *serials)
{
    const char *refusal = model_spend_checks(b, r, count, n);

    if (refusal)
        return refusal;
    if (!model_serials_free(serials, n))
        return "DUPLICATE_HW_SERIAL";
    model.requests[r].batch = b + 1;
    model.requests[r].recorded += n;
    model.used[model.batches[b].order] += n;
    model.batches[b].issued += n;
    for (unsigned i = 0; i < n; i++, model.next++) {
        model.devices[model.next].batch = b + 1;
        model.devices[model.next].serial = serials[i];
        model.devices[model.next].state = MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_ISSUED;
        if (serials[i])
            model.serial_owner[serials[i]] = model.next;
    }
    return "";
}

static void step_spend(struct step *s)
{
    const unsigned b = pick(BATCHES), r = pick(REQUESTS), n = 1 + pick(16);
    const uint32_t count = 20 + r;
    const bool with_serials = pick(2);
    unsigned serials[16] = {0};
    char text[16];

    snprintf(s->request_id, sizeof(s->request_id), "r%u", r);
    make_spend(&s->spend, b, s->request_id, count, model.next, n);
    s->spend.spend.now_ms = now_ms;
    for (unsigned i = 0; with_serials && i < n; i++) {
        serials[i] = 1 + pick(SERIALS - 1);
        snprintf(text, sizeof(text), "SN-%u", serials[i]);
        set_hw_serial(&s->spend, i, text);
    }
    s->job = &s->spend.job;
    s->reason = model_spend(b, r, count, n, serials);
}

static const char *model_report(unsigned b, unsigned first, unsigned n, int state)
{
    if (!model.batches[b].open && !model.batches[b].released)
        return "UNKNOWN_BATCH";
    if (model.batches[b].released)
        return "BATCH_RELEASED";
    for (unsigned d = first; d < first + n; d++) {
        if (model.devices[d].batch != b + 1)
            return "UNKNOWN_DEVICE";
        if (model.devices[d].state != MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_ISSUED &&
            model.devices[d].state != state)
            return "ALREADY_REPORTED";
    }
    for (unsigned d = first; d < first + n; d++) {
        if (model.devices[d].state == state)
            continue;
        model.devices[d].state = state;
        if (state == MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK) {
            model.batches[b].ok++;
        } else {
            model.batches[b].ko++;
            model.serial_owner[model.devices[d].serial] = 0;
        }
    }
    return "";
}

static void step_report(struct step *s)
{
    const unsigned first = 1 + pick(model.next + 2), n = 1 + pick(5);
    const unsigned b =
        model.devices[first].batch && pick(8) ? model.devices[first].batch - 1 : pick(BATCHES);
    const bool ok = pick(3) > 0;

    make_report(&s->report, b, first, n, ok ? "" : "no contact");
    s->job = &s->report.job;
    s->reason = model_report(b, first, n,
                             ok ? MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_OK
                                : MINTMARK__V1__DEVICE_STATE__DEVICE_STATE_KO);
}

static void step_release(struct step *s)
{
    const unsigned b = pick(BATCHES);

    make_release(&s->small, b);
    s->job = &s->small.job;
    if (model.batches[b].released) {
        s->reason = "BATCH_RELEASED";
    } else if (!model.batches[b].open) {
        s->reason = "UNKNOWN_BATCH";
    } else {
        model.batches[b].open = false;
        model.batches[b].released = true;
        s->reason = "";
    }
}

static void make_step(struct step *s)
{
    const unsigned kind = pick(100);

    if (kind < 5)
        step_open(s);
    else if (kind < 65)
        step_spend(s);
    else if (kind < 99)
        step_report(s);
    else
        step_release(s);
}

static void compare(void)
{
    static const char device[] = "SELECT state FROM devices WHERE number = %u";
    char sql[128];

    for (unsigned o = 0; o < ORDERS; o++) {
        snprintf(sql, sizeof(sql), "SELECT used FROM orders WHERE order_id = 'order-%u'", o);
        ck_assert_int_eq(fixture_int(&f, sql), (int64_t)model.used[o]);
    }
    for (unsigned b = 0; b < BATCHES; b++) {
        struct small_job get;
        const Mintmark__V1__BatchCounts *c;

        make_get_batch(&get, b);
        if (!model.batches[b].open && !model.batches[b].released) {
            ck_assert_int_eq(fixture_do(&f, &get.job), MM_ERR_NOT_FOUND);
            continue;
        }
        ck_assert_int_eq(fixture_do(&f, &get.job), MM_OK);
        c = f.results[0]->batch->counts;
        ck_assert_uint_eq(c->issued, model.batches[b].issued);
        ck_assert_uint_eq(c->ok, model.batches[b].ok);
        ck_assert_uint_eq(c->ko, model.batches[b].ko);
    }
    ck_assert_int_eq(fixture_int(&f, "SELECT count(*) FROM devices"), model.next - 1);
    for (unsigned d = 1; d < model.next; d++) {
        snprintf(sql, sizeof(sql), device, d);
        ck_assert_int_eq(fixture_int(&f, sql), model.devices[d].state);
    }
}

/* Makes a group, does it, compares the answers. With a failing disk the model goes back. */
static void do_group(struct step *steps, bool disk_fails)
{
    const Mintmark__Internal__StoreJob *jobs[JOBS];
    const unsigned n = 1 + pick(JOBS);
    struct model before = model;

    for (unsigned i = 0; i < n; i++) {
        make_step(&steps[i]);
        jobs[i] = steps[i].job;
    }
    if (disk_fails)
        fault_arm(FAULT_WRITE, 1, SQLITE_FULL);
    fixture_run(&f, jobs, n);
    if (fault_fired()) {
        model = before;
        for (unsigned i = 0; i < n; i++)
            steps[i].reason = "STORE_FULL";
    }
    fault_disarm();
    for (unsigned i = 0; i < n; i++)
        ck_assert_msg(strcmp(fixture_reason(&f, i), steps[i].reason) == 0, "%s, not %s",
                      fixture_reason(&f, i), steps[i].reason);
}

START_TEST(random_groups_agree_with_the_model)
{
    static struct step steps[JOBS];

    for (unsigned o = 0; o < ORDERS; o++) {
        struct order_job order;

        make_order(&order, order_ids[o], order_quantity[o]);
        order.order.not_after_time_ms = order_end[o];
        sign_order(&order);
        ck_assert_int_eq(fixture_do(&f, &order.job), MM_OK);
    }
    for (unsigned g = 0; g < GROUPS && model.next < DEVICES - 100; g++) {
        now_ms += pick(40);
        do_group(steps, pick(12) == 0);
        if (g % 200 == 199) {
            fixture_check_invariants(&f);
            fixture_close(&f);
            fixture_open(&f);
        }
    }
    fixture_check_invariants(&f);
    compare();
    ck_assert_uint_gt(model.next, 300); /* it did get somewhere */
}
END_TEST

static void setup(void)
{
    fixture_setup(&f);
    mm_clock_replace(wall_ms, mono_us);
    model.next = 1;
}

static void teardown(void)
{
    fixture_teardown(&f);
}

int main(void)
{
    Suite *suite = suite_create("store_model");
    TCase *random_jobs = tcase_create("random");

    fault_install();
    tcase_set_timeout(random_jobs, 60);
    tcase_add_checked_fixture(random_jobs, setup, teardown);
    tcase_add_test(random_jobs, random_groups_agree_with_the_model);
    suite_add_tcase(suite, random_jobs);
    return run_suite(suite);
}
