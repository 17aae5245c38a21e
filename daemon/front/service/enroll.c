/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enroll: what is its own of the stages and chunks; see provision.h. Each message of the station is
 * a chunk: a worker judges its requests and certifies the good ones, the store tells keys that are
 * new from those that are not and records the new ones, and the answer has a result for each. A
 * repeated call sends its requests again, so there is nothing to replay: the store answers what it
 * has.
 */
#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/provision.h"
#include "daemon/front/service/service.h"
#include "daemon/ipc/channel.h"
#include "proto/grpc/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- FINDING, MINTING -------------------------------------------------------------------- */

/* The first message has come before the batch's profile is known, and waits in to_mint. */
static void admit(struct mm_provision *p)
{
    const char *known = mm_view_batch_profile(p->app->view, p->args.batch_uid);
    char profile[MM_NAME_MAX + 1];
    struct mm_errinfo ei = {0};

    if (!known && p->recorded == 0) {
        mm_provision_check_batch(p);
        return;
    }
    /* A batch that was released since: what was enrolled in it is answered all the same. */
    snprintf(profile, sizeof(profile), "%s", known ? known : p->profile);
    if (mm_provision_choose_ready(p, profile, &ei) < 0) {
        mm_provision_end(p, &ei);
        return;
    }
    p->stage = MM_PROVISION_MINTING;
    mm_chunks_begin(p);
}

static void found(struct mm_provision *p, const Mintmark__Internal__RequestFound *found)
{
    p->recorded = (uint32_t)found->recorded;
    snprintf(p->profile, sizeof(p->profile), "%s", found->profile);
    admit(p);
}

static bool complete(const struct mm_provision *p)
{
    return p->half_closed;
}

static void read_on(struct mm_provision *p)
{
    if (p->chunks < mm_chunks_window(p))
        mm_call_resume(p->call);
    else
        mm_call_pause(p->call);
}

/* ---- at a worker ------------------------------------------------------------------------- */

/* A repeated call may ask for what is recorded, which takes no room: the store decides then. */
static int reserve(struct mm_chunk *c, struct mm_errinfo *ei)
{
    const struct mm_provision *p = c->p;
    const int64_t now_ms = mm_clock_wall_ms();
    struct mm_errinfo ignored;
    int r;

    if (c->reservation.n > 0)
        return MM_OK;
    r = mm_view_reserve(p->app->view, p->args.batch_uid, p->station, c->count, now_ms,
                        &c->reservation, ei);
    if (r == MM_OK || p->recorded == 0)
        return r;
    (void)!mm_view_reserve(p->app->view, p->args.batch_uid, p->station, 0, now_ms, &c->reservation,
                           &ignored);
    return MM_OK;
}

static int mint(struct mm_chunk *c, struct mm_pool *pool, struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    Mintmark__Internal__EnrollJob body = MINTMARK__INTERNAL__ENROLL_JOB__INIT;
    Mintmark__Internal__TokenJob job = MM_TOKEN_JOB(ENROLL, enroll, &body);
    Mintmark__Internal__EnrollJob__Device devices[MM_ENROLL_DEVICES], *list[MM_ENROLL_DEVICES];
    const int r = reserve(c, ei);

    if (r < 0)
        return r;
    body.profile = p->profile;
    body.batch_uid = p->args.batch_uid;
    body.first_number = c->number;
    body.devices = list;
    for (size_t i = 0; i < c->csrs->n; i++) {
        struct mm_csrs_device *from = &c->csrs->devices[i];
        Mintmark__Internal__EnrollJob__Device *to = &devices[body.n_devices];

        if (from->refused)
            continue;
        mintmark__internal__enroll_job__device__init(to);
        to->csr = (ProtobufCBinaryData){from->csr.len, (uint8_t *)(uintptr_t)from->csr.data};
        to->hw_serial = from->hw_serial;
        list[body.n_devices++] = to;
    }
    return mm_chunk_submit(c, pool, &job, ei);
}

/* One of the two, and the device is the one that was asked for. */
static bool is_enrolment_of(const Mintmark__Internal__Enrolment *e,
                            const struct mm_csrs_device *asked, uint64_t number)
{
    if (!e->device || e->error)
        return !e->device && e->error;
    return e->device->number == number && strcmp(e->device->hw_serial, asked->hw_serial) == 0;
}

static int take_minted(struct mm_chunk *c, const Mintmark__Internal__TokenResult *r,
                       struct mm_errinfo *ei)
{
    const Mintmark__Internal__EnrollResult *result = r->enroll;
    size_t at = 0;

    if (r->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_ENROLL)
        return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "the worker gave another kind of answer");
    if (result->n_enrolments != c->count)
        return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "%zu devices in place of %u",
                       result->n_enrolments, c->count);
    for (size_t i = 0; i < c->csrs->n; i++) {
        if (c->csrs->devices[i].refused)
            continue;
        if (!is_enrolment_of(result->enrolments[at], &c->csrs->devices[i], c->number + at))
            return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "another device than asked for");
        at++;
    }
    mm_pool_account(&c->job, result->token_cpu_us, result->sampled_devices);
    c->certified = result;
    return MM_OK;
}

/* ---- at the store ------------------------------------------------------------------------ */

static int record(struct mm_chunk *c, struct mm_errinfo *ei)
{
    Mintmark__Internal__EnrollAndRecord body = MINTMARK__INTERNAL__ENROLL_AND_RECORD__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(ENROLL_AND_RECORD, enroll_and_record, &body);
    Mintmark__Internal__SpendAndRecord spend;
    Mintmark__Internal__Waiting waiting;
    Mintmark__Internal__DeviceRecord *devices[MM_ENROLL_DEVICES];

    mm_chunk_spend(c, &spend);
    mm_elsewhere_spend(c->p, &waiting, &spend);
    spend.request_count = MM_PROVISION_MAX;
    spend.devices = devices;
    for (size_t i = 0; i < c->count; i++) {
        if (c->certified->enrolments[i]->device)
            devices[spend.n_devices++] = c->certified->enrolments[i]->device;
    }
    if (spend.n_devices == 0) {
        mm_chunk_finish(c);
        return MM_OK;
    }
    body.spend = &spend;
    return mm_chunk_record(c, &job, ei);
}

static size_t count_devices(const struct mm_chunk *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++)
        n += c->certified->enrolments[i]->device ? 1 : 0;
    return n;
}

static int take_recorded(struct mm_chunk *c, const Mintmark__Internal__StoreResult *r,
                         struct mm_errinfo *ei)
{
    struct mm_app *app = c->p->app;
    uint64_t fresh = 0, again = 0;

    if (r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_ENROLLED ||
        r->enrolled->n_keys != count_devices(c))
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER",
                       "the store gave another kind of answer");
    for (size_t i = 0; i < r->enrolled->n_keys; i++) {
        const Mintmark__Internal__EnrolledKey *key = r->enrolled->keys[i];

        if (key->chain > r->enrolled->n_chains)
            return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store names no chain");
        again += key->bundle.len > 0;
        fresh += key->bundle.len == 0 && !key->error && !key->withheld;
    }
    if (r->enrolled->recorded) {
        mm_view_recorded(app->view, &c->reservation, fresh, r->enrolled->recorded);
        mm_anchoring_recorded(&app->anchoring, r->enrolled->recorded->unanchored);
        mm_elsewhere_recorded(c->p, r->enrolled->recorded, (uint32_t)fresh);
    }
    mm_view_release(app->view, &c->reservation, c->reservation.n);
    app->devices_issued += fresh;
    app->devices_replayed += c->asked_again ? 0 : again;
    c->awaited = c->p->elsewhere ? (uint32_t)fresh : 0;
    c->enrolled = r->enrolled;
    return MM_OK;
}

/* ---- sending ----------------------------------------------------------------------------- */

/* The answer to one message. Errors are packed one behind the other, in memory that moves while it
 * grows, so that they are pointed to at the end. */
struct answer {
    Mintmark__Internal__RawEnrollResult results[MM_ENROLL_DEVICES], *list[MM_ENROLL_DEVICES];
    const Mintmark__Internal__Chain *chains[MM_ENROLL_DEVICES]; /* of bundles; NULL: that of now */
    size_t n;
    struct mm_buf errors;
    size_t error_start[MM_ENROLL_DEVICES];
};

static void add_error(struct answer *a, const struct mm_errinfo *ei)
{
    Mintmark__Internal__RawEnrollResult *result = &a->results[a->n];

    result->outcome_case = MINTMARK__INTERNAL__RAW_ENROLL_RESULT__OUTCOME_ERROR;
    a->error_start[a->n] = a->errors.len;
    mm_grpc_details_pack(ei, &a->errors);
    result->error.len = a->errors.len - a->error_start[a->n];
}

static void add_their_error(struct answer *a, const Mintmark__Internal__Error *error)
{
    struct mm_errinfo ei;

    mm_channel_error_from(error, &ei);
    add_error(a, &ei);
}

static void add_bundle(struct answer *a, ProtobufCBinaryData bundle)
{
    a->results[a->n].outcome_case = MINTMARK__INTERNAL__RAW_ENROLL_RESULT__OUTCOME_BUNDLE;
    a->results[a->n].bundle = bundle;
}

static void add_withheld(struct answer *a, Mintmark__V1__Withheld *withheld)
{
    a->results[a->n].outcome_case = MINTMARK__INTERNAL__RAW_ENROLL_RESULT__OUTCOME_WITHHELD;
    mm_hide_paths_of_withheld(&withheld, 1);
    a->results[a->n].withheld = withheld;
}

/* NULL for the one of now: what is recorded and what is new go together. */
static const Mintmark__Internal__Chain *former_chain(const struct mm_provision *p,
                                                     const Mintmark__Internal__Chain *chain)
{
    return chain->sha256.len == sizeof(p->shared->chain_sha256) &&
                   memcmp(chain->sha256.data, p->shared->chain_sha256, chain->sha256.len) == 0
               ? NULL
               : chain;
}

/* What worker and store have made of one device; *key is the store's next answer. */
static void add_judged(struct answer *a, const struct mm_chunk *c,
                       const Mintmark__Internal__Enrolment *e, size_t *key)
{
    const Mintmark__Internal__EnrolledKey *enrolled;

    if (e->error) {
        add_their_error(a, e->error);
        return;
    }
    enrolled = c->enrolled->keys[(*key)++];
    if (enrolled->error)
        add_their_error(a, enrolled->error);
    else if (enrolled->withheld)
        add_withheld(a, enrolled->withheld);
    else
        add_bundle(a, enrolled->bundle.len > 0 ? enrolled->bundle : e->device->bundle);
    if (enrolled->chain > 0)
        a->chains[a->n] = former_chain(c->p, c->enrolled->chains[enrolled->chain - 1]);
}

static void fill(struct answer *a, const struct mm_chunk *c)
{
    size_t at = 0, key = 0;
    struct mm_errinfo ei;

    for (; a->n < c->csrs->n; a->n++) {
        Mintmark__Internal__RawEnrollResult *result = &a->results[a->n];

        mintmark__internal__raw_enroll_result__init(result);
        result->index = c->csrs->first + a->n;
        a->list[a->n] = result;
        if (mm_csrs_check(&c->csrs->devices[a->n], &ei) < 0)
            add_error(a, &ei);
        else
            add_judged(a, c, c->certified->enrolments[at++], &key);
    }
    for (size_t i = 0; i < a->n; i++) {
        if (a->results[i].outcome_case == MINTMARK__INTERNAL__RAW_ENROLL_RESULT__OUTCOME_ERROR)
            a->results[i].error.data = a->errors.data + a->error_start[i];
    }
}

static bool is_bundle(const struct answer *a, size_t i)
{
    return a->results[i].outcome_case == MINTMARK__INTERNAL__RAW_ENROLL_RESULT__OUTCOME_BUNDLE;
}

/* Where the results from `first` on end that can go in one message: before a bundle whose chain is
 * not that of the bundles before. */
static size_t end_of_chain(const struct answer *a, size_t first,
                           const Mintmark__Internal__Chain **ret_chain)
{
    const Mintmark__Internal__Chain *chain = NULL;
    bool any = false;
    size_t i;

    for (i = first; i < a->n; i++) {
        if (!is_bundle(a, i))
            continue;
        if (any && a->chains[i] != chain)
            break;
        chain = a->chains[i];
        any = true;
    }
    *ret_chain = chain;
    return i;
}

static bool send_part(struct mm_provision *p, struct answer *a, size_t first, size_t end,
                      const Mintmark__Internal__Chain *chain)
{
    Mintmark__Internal__RawEnrollResponse message;
    struct mm_announcement announcement;

    mintmark__internal__raw_enroll_response__init(&message);
    mm_provision_announce(p, chain, &announcement);
    message.results = a->list + first;
    message.n_results = end - first;
    message.chain = announcement.chain;
    message.n_chain = announcement.n_chain;
    message.items = announcement.items;
    message.n_items = announcement.n_items;
    return mm_provision_send(p, &message.base, end - first);
}

/* One message, but for devices of several chains. */
static bool send_answer(struct mm_provision *p, struct answer *a)
{
    const Mintmark__Internal__Chain *chain;

    for (size_t first = 0, end; first < a->n; first = end) {
        end = end_of_chain(a, first, &chain);
        if (!send_part(p, a, first, end, chain))
            return false;
    }
    return true;
}

static bool send_chunk(struct mm_provision *p, const struct mm_chunk *c)
{
    struct answer a = {.errors = MM_BUF_INIT(MM_GRPC_MESSAGE_MAX)};
    struct mm_errinfo ei;
    bool sent = false;

    fill(&a, c);
    if (mm_buf_err(&a.errors) < 0) {
        mm_fail_memory(&ei);
        mm_provision_end(p, &ei);
    } else {
        sent = send_answer(p, &a);
    }
    mm_buf_done(&a.errors);
    return sent;
}

const struct mm_provision_kind mm_provision_enrolling = {
    .name = "Enroll",
    .on_device = true,
    .found = found,
    .admit = admit,
    .complete = complete,
    .read_on = read_on,
    .mint = mint,
    .take_minted = take_minted,
    .record = record,
    .take_recorded = take_recorded,
    .send = send_chunk,
};

/* ---- receive ----------------------------------------------------------------------------- */

static int add_chunk(struct mm_provision *p, struct mm_csrs *csrs, struct mm_errinfo *ei)
{
    struct mm_chunk *c = mm_chunk_new(p);

    if (!c) {
        free(csrs);
        return mm_fail_memory(ei);
    }
    c->csrs = csrs;
    for (size_t i = 0; i < csrs->n; i++)
        c->count += !csrs->devices[i].refused;
    p->args.count += (uint32_t)csrs->n;
    if (c->count > 0)
        TAILQ_INSERT_TAIL(&p->to_mint, c, link);
    else
        TAILQ_INSERT_TAIL(&p->to_send, c, link);
    return MM_OK;
}

static int take(struct mm_provision *p, const Mintmark__V1__EnrollRequest *request,
                struct mm_errinfo *ei)
{
    struct mm_csrs *csrs;
    int r;

    if (request->n_devices > MM_PROVISION_MAX - p->args.count)
        return mm_fail_field(ei, "devices", "a stream has at most %d devices", MM_PROVISION_MAX);
    r = mm_csrs_take(request, p->args.count, &csrs, ei);
    return r < 0 ? r : add_chunk(p, csrs, ei);
}

/* No more comes before it is known what is to be done with this. */
static void begin(struct mm_call *call, const Mintmark__V1__EnrollRequest *request)
{
    struct mm_provision *p = mm_provision_new(&mm_provision_enrolling, call);
    struct mm_errinfo ei = {0};
    int r;

    if (!p) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    mm_call_pause(call);
    r = mm_provision_args_enroll(request, &p->args, &ei);
    if (r == MM_OK)
        r = take(p, request, &ei);
    if (r == MM_OK)
        r = mm_provision_begin(p, &ei);
    if (r < 0) {
        mm_call_finish(call, &ei);
        mm_provision_destroy(p);
    }
}

/* Later messages may leave batch and request out, and may not name others. */
static int check_later(const struct mm_provision *p, const Mintmark__V1__EnrollRequest *request,
                       struct mm_errinfo *ei)
{
    if (*request->batch_uid && strcasecmp(request->batch_uid, p->args.batch_uid) != 0)
        return mm_fail_field(ei, "batch_uid", "a stream is for one batch");
    if (*request->request_id && strcmp(request->request_id, p->args.request_id) != 0)
        return mm_fail_field(ei, "request_id", "a stream is one request");
    return MM_OK;
}

void mm_rpc_enroll(struct mm_call *call, const ProtobufCMessage *message)
{
    const Mintmark__V1__EnrollRequest *request = (const Mintmark__V1__EnrollRequest *)message;
    struct mm_provision *p = mm_call_user(call);
    struct mm_errinfo ei = {0};
    int r;

    if (!p) {
        begin(call, request);
        return;
    }
    r = check_later(p, request, &ei);
    if (r == MM_OK)
        r = take(p, request, &ei);
    if (r == MM_OK)
        mm_chunks_send(p);
    else
        mm_provision_end(p, &ei);
}

void mm_rpc_enroll_half_closed(struct mm_call *call)
{
    struct mm_provision *p = mm_call_user(call);
    struct mm_errinfo ei = {0};

    if (p) {
        p->half_closed = true;
        mm_chunks_send(p);
        return;
    }
    mm_fail_field(&ei, "batch_uid", "the stream has no message");
    mm_call_finish(call, &ei);
}
