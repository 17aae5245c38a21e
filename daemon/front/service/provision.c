/* SPDX-License-Identifier: Apache-2.0 */
/* Provision: what is its own of the stages and chunks; see provision.h. */
#include "daemon/front/service/provision.h"

#include "daemon/base/clock.h"
#include "daemon/front/job.h"
#include "daemon/front/service/service.h"

#include <string.h>

static void replay(struct mm_provision *p);
static void admit(struct mm_provision *p);

/* ---- FINDING ----------------------------------------------------------------------------- */

/* What is recorded already decides what is left to make. */
static int take_found(struct mm_provision *p, const Mintmark__Internal__RequestFound *found,
                      struct mm_errinfo *ei)
{
    if (found->recorded > p->args.count)
        return mm_fail(ei, MM_ERR_CORRUPT, "REQUEST_CORRUPT",
                       "the store has more devices under this request than it asks for");
    p->recorded = (uint32_t)found->recorded;
    p->request = found->request;
    p->to_make = p->args.count - p->recorded;
    if (!p->args.hw_serials || p->recorded == 0)
        return MM_OK;
    return mm_provision_args_drop(&p->args, found->hw_serials, found->n_hw_serials, ei);
}

static void found(struct mm_provision *p, const Mintmark__Internal__RequestFound *found)
{
    struct mm_errinfo ei = {0};
    int r = take_found(p, found, &ei);

    if (r == MM_OK && p->recorded > 0)
        r = mm_provision_choose(p, found->profile, &ei);
    if (r < 0) {
        mm_provision_end(p, &ei);
    } else if (p->recorded > 0) {
        p->stage = MM_PROVISION_REPLAYING;
        replay(p);
    } else {
        admit(p);
    }
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Bundles that this call had made. */
static bool send_made(struct mm_provision *p, ProtobufCBinaryData *bundles, size_t n)
{
    Mintmark__Internal__Fetched page = MINTMARK__INTERNAL__FETCHED__INIT;

    page.bundles = bundles;
    page.n_bundles = n;
    return mm_provision_send_page(p, &page);
}

bool mm_provision_send_page(struct mm_provision *p, const Mintmark__Internal__Fetched *page)
{
    Mintmark__Internal__RawDelivery message;
    struct mm_announcement a;

    mintmark__internal__raw_delivery__init(&message);
    mm_provision_announce(p, page->chain, &a);
    message.chain = a.chain;
    message.n_chain = a.n_chain;
    message.key_wrap = a.key_wrap;
    message.items = a.items;
    message.n_items = a.n_items;
    message.bundles = page->bundles;
    message.n_bundles = page->n_bundles;
    mm_hide_paths_of_withheld(page->withheld, page->n_withheld);
    message.withheld = page->withheld;
    message.n_withheld = page->n_withheld;
    return mm_provision_send(p, &message.base, page->n_bundles);
}

_Static_assert((MM_BUNDLE_MAX + 8) * MM_CHUNK_DEVICES + (MM_ITEM_INLINE_MAX + 256) * MM_ITEMS_MAX +
                       MM_CHAIN_MAX * MM_CERT_DER_MAX + 4096 <=
                   MM_GRPC_MESSAGE_MAX,
               "a chunk's bundles, chain and items fit a message");

static bool send_chunk(struct mm_provision *p, const struct mm_chunk *c)
{
    ProtobufCBinaryData bundles[MM_CHUNK_DEVICES];

    if (p->elsewhere) /* nothing leaves before it has its certificate */
        return true;
    for (size_t i = 0; i < c->count; i++)
        bundles[i] = c->minted->devices[i]->bundle;
    return send_made(p, bundles, c->count);
}

/* ---- REPLAYING --------------------------------------------------------------------------- */

static void on_fetched(struct mm_job *job, const ProtobufCMessage *result,
                       const struct mm_errinfo *error)
{
    struct mm_provision *p =
        mm_provision_answered(job, result, MINTMARK__INTERNAL__STORE_RESULT__RESULT_FETCHED, error);
    const Mintmark__Internal__Fetched *page;

    if (!p)
        return;
    page = ((const Mintmark__Internal__StoreResult *)result)->fetched;
    if (page->n_bundles > 0 && !mm_provision_send_page(p, page))
        return;
    p->app->devices_replayed += page->n_bundles;
    p->after_row = page->last_row;
    if (!page->more)
        admit(p);
    else if (!p->blocked)
        replay(p);
}

static void replay(struct mm_provision *p)
{
    Mintmark__Internal__FetchRequest body = MINTMARK__INTERNAL__FETCH_REQUEST__INIT;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(FETCH_REQUEST, fetch_request, &body);

    if (p->elsewhere) {
        mm_elsewhere_fetch(p);
        return;
    }
    body.station = p->station;
    body.request_id = p->args.request_id;
    body.after_row = p->after_row;
    body.limit = MM_CHUNK_DEVICES;
    mm_provision_ask(p, &job, on_fetched);
}

/* ---- MINTING --------------------------------------------------------------------------- */

static int reserve(struct mm_provision *p, const char *profile, struct mm_errinfo *ei)
{
    const int r = mm_provision_choose_ready(p, profile, ei);

    return r < 0 ? r
                 : mm_view_reserve(p->app->view, p->args.batch_uid, p->station, p->to_make,
                                   mm_clock_wall_ms(), &p->reservation, ei);
}

/* All is recorded. */
static void made(struct mm_provision *p)
{
    if (p->elsewhere)
        mm_elsewhere_await(p);
    else
        mm_provision_end(p, NULL);
}

/* All that is recorded has been streamed; is there room for the rest? */
static void admit(struct mm_provision *p)
{
    const char *profile = mm_view_batch_profile(p->app->view, p->args.batch_uid);
    struct mm_errinfo ei = {0};

    if (p->to_make == 0) {
        made(p);
        return;
    }
    if (!profile) {
        mm_provision_check_batch(p);
        return;
    }
    if (reserve(p, profile, &ei) < 0) {
        mm_provision_end(p, &ei);
        return;
    }
    p->stage = MM_PROVISION_MINTING;
    mm_chunks_begin(p);
}

/* The tail of a call is shared out among the workers, so that they end together. */
static uint32_t chunk_size(const struct mm_provision *p, const struct mm_lane *lane)
{
    const uint32_t left = p->to_make - p->planned;
    const uint32_t workers = mm_lanes_ready(p);
    const uint32_t most = mm_cost_units(lane->flow.cost, mm_mint_chunk_us(lane->flow.mint));
    uint32_t size = workers > 0 ? (left + workers - 1) / workers : left;

    if (size < MM_PROVISION_CHUNK_MIN)
        size = MM_PROVISION_CHUNK_MIN;
    if (size > most)
        size = most;
    return size < left ? size : left;
}

static struct mm_chunk *next(struct mm_provision *p, const struct mm_lane *lane)
{
    struct mm_chunk *c = mm_chunk_new(p);

    if (!c)
        return NULL;
    c->first = p->planned;
    c->count = chunk_size(p, lane);
    p->planned += c->count;
    return c;
}

static bool complete(const struct mm_provision *p)
{
    return p->planned == p->to_make;
}

static int mint(struct mm_chunk *c, struct mm_pool *pool, struct mm_errinfo *ei)
{
    struct mm_provision *p = c->p;
    Mintmark__Internal__MintJob body = MINTMARK__INTERNAL__MINT_JOB__INIT;
    Mintmark__Internal__TokenJob job = MM_TOKEN_JOB(MINT, mint, &body);

    body.profile = p->profile;
    body.batch_uid = p->args.batch_uid;
    body.first_number = c->number;
    body.count = c->count;
    if (p->args.hw_serials) {
        body.hw_serials = p->args.hw_serials + c->first;
        body.n_hw_serials = c->count;
    }
    return mm_chunk_submit(c, pool, &job, ei);
}

/* The devices must be those of the chunk. */
static int check_minted(const struct mm_chunk *c, const Mintmark__Internal__MintResult *r,
                        struct mm_errinfo *ei)
{
    char *const *serials = c->p->args.hw_serials ? c->p->args.hw_serials + c->first : NULL;

    if (r->n_devices != c->count)
        return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "%zu devices in place of %u",
                       r->n_devices, c->count);
    for (size_t i = 0; i < r->n_devices; i++) {
        const Mintmark__Internal__DeviceRecord *d = r->devices[i];

        if (d->number != c->number + i || strcmp(d->hw_serial, serials ? serials[i] : "") != 0)
            return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "another device than asked for");
    }
    return MM_OK;
}

static int take_minted(struct mm_chunk *c, const Mintmark__Internal__TokenResult *r,
                       struct mm_errinfo *ei)
{
    int rc;

    if (r->result_case != MINTMARK__INTERNAL__TOKEN_RESULT__RESULT_MINT)
        return mm_fail(ei, MM_ERR_CORRUPT, "MINT_RESULT", "the worker gave another kind of answer");
    rc = check_minted(c, r->mint, ei);
    if (rc < 0)
        return rc;
    mm_pool_account(&c->job, r->mint->token_cpu_us, r->mint->sampled_devices);
    c->minted = r->mint;
    return MM_OK;
}

static int record(struct mm_chunk *c, struct mm_errinfo *ei)
{
    Mintmark__Internal__SpendAndRecord body;
    Mintmark__Internal__StoreJob job = MM_STORE_JOB(SPEND_AND_RECORD, spend_and_record, &body);
    Mintmark__Internal__Waiting waiting;

    mm_chunk_spend(c, &body);
    mm_elsewhere_spend(c->p, &waiting, &body);
    body.request_count = c->p->args.count;
    body.devices = c->minted->devices;
    body.n_devices = c->minted->n_devices;
    return mm_chunk_record(c, &job, ei);
}

static int take_recorded(struct mm_chunk *c, const Mintmark__Internal__StoreResult *r,
                         struct mm_errinfo *ei)
{
    struct mm_app *app = c->p->app;

    if (r->result_case != MINTMARK__INTERNAL__STORE_RESULT__RESULT_RECORDED)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER",
                       "the store gave another kind of answer");
    mm_view_recorded(app->view, &c->p->reservation, c->count, r->recorded);
    mm_anchoring_recorded(&app->anchoring, r->recorded->unanchored);
    app->devices_issued += c->count;
    mm_elsewhere_recorded(c->p, r->recorded, c->count);
    return MM_OK;
}

const struct mm_provision_kind mm_provision_minting = {
    .name = "Provision",
    .found = found,
    .replay = replay,
    .admit = admit,
    .complete = complete,
    .made = made,
    .next = next,
    .mint = mint,
    .take_minted = take_minted,
    .record = record,
    .take_recorded = take_recorded,
    .send = send_chunk,
};

/* ---- receive ----------------------------------------------------------------------------- */

void mm_rpc_provision(struct mm_call *call, const ProtobufCMessage *request)
{
    struct mm_provision *p = mm_provision_new(&mm_provision_minting, call);
    struct mm_errinfo ei = {0};
    int r;

    if (!p) {
        mm_fail_memory(&ei);
        mm_call_finish(call, &ei);
        return;
    }
    r = mm_provision_args_take((const Mintmark__V1__ProvisionRequest *)request, &p->args, &ei);
    if (r == MM_OK)
        r = mm_provision_begin(p, &ei);
    if (r < 0) {
        mm_call_finish(call, &ei);
        mm_provision_destroy(p);
    }
}
