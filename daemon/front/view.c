/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/view.h"

#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM         1
#define HASH_FUNCTION             HASH_FNV /* the default falls through its cases */
#define uthash_nonfatal_oom(item) ((item)->hashed = false)
#include <uthash.h>

struct order {
    UT_hash_handle hh;
    bool hashed;
    char id[MM_NAME_MAX + 1];
    char profile[MM_NAME_MAX + 1];
    char *stations; /* ",a,b,", or "" for all */
    struct mm_order_terms terms;
    uint64_t reserved;
};

/* Of batches that are open. */
struct station {
    UT_hash_handle hh;
    bool hashed;
    char name[MM_NAME_MAX + 1];
    uint32_t batches; /* at least one */
};

struct batch {
    UT_hash_handle hh;
    bool hashed;
    struct station *station;
    char uid[MM_UID_LEN + 1];
    char order_id[MM_NAME_MAX + 1];
    char profile[MM_NAME_MAX + 1];
    uint64_t quantity, issued, reserved;
};

struct number {
    UT_hash_handle hh;
    bool hashed;
    char profile[MM_NAME_MAX + 1];
    uint64_t next;
};

struct mm_view {
    struct order *orders;
    struct batch *batches;
    struct station *stations;
    struct number *numbers;
    uint64_t generation; /* how often it has been loaded */
};

/* Names and UIDs were checked where they came in, so they fit. */
static void copy(char *to, size_t size, const char *from)
{
    const size_t len = strnlen(from, size - 1);

    memcpy(to, from, len);
    to[len] = 0;
}

int mm_view_new(struct mm_view **ret_view)
{
    struct mm_view *v = calloc(1, sizeof(*v));

    if (!v)
        return MM_ERR_MEMORY;
    *ret_view = v;
    return MM_OK;
}

static struct station *find_station(const struct mm_view *v, const char *name)
{
    struct station *s;

    HASH_FIND_STR(v->stations, name, s);
    return s;
}

/* One batch more of the station; NULL when out of memory. */
static struct station *hold_station(struct mm_view *v, const char *name)
{
    struct station *s = find_station(v, name);

    if (s) {
        s->batches++;
        return s;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    copy(s->name, sizeof(s->name), name);
    s->batches = 1;
    s->hashed = true;
    HASH_ADD_STR(v->stations, name, s);
    if (s->hashed)
        return s;
    free(s);
    return NULL;
}

static void let_station_go(struct mm_view *v, struct station *s)
{
    if (--s->batches > 0)
        return;
    HASH_DEL(v->stations, s);
    free(s);
}

uint32_t mm_view_station_batches(const struct mm_view *v, const char *station)
{
    const struct station *s = find_station(v, station);

    return s ? s->batches : 0;
}

static void drop_batch(struct mm_view *v, struct batch *b)
{
    let_station_go(v, b->station);
    HASH_DEL(v->batches, b);
    free(b);
}

static void clear(struct mm_view *v)
{
    struct order *o, *next_o;
    struct batch *b, *next_b;
    struct number *n, *next_n;

    HASH_ITER(hh, v->orders, o, next_o)
    {
        HASH_DEL(v->orders, o);
        free(o->stations);
        free(o);
    }
    HASH_ITER(hh, v->batches, b, next_b)
    {
        drop_batch(v, b);
    }
    HASH_ITER(hh, v->numbers, n, next_n)
    {
        HASH_DEL(v->numbers, n);
        free(n);
    }
}

void mm_view_free(struct mm_view *v)
{
    if (!v)
        return;
    clear(v);
    free(v);
}

static struct order *find_order(const struct mm_view *v, const char *id)
{
    struct order *o;

    HASH_FIND_STR(v->orders, id, o);
    return o;
}

static struct batch *find_batch(const struct mm_view *v, const char *uid)
{
    struct batch *b;

    HASH_FIND_STR(v->batches, uid, b);
    return b;
}

static struct order *new_order(struct mm_view *v, const char *order_id)
{
    struct order *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    copy(o->id, sizeof(o->id), order_id);
    o->hashed = true;
    HASH_ADD_STR(v->orders, id, o);
    if (o->hashed)
        return o;
    free(o);
    return NULL;
}

int mm_view_put_order(struct mm_view *v, const Mintmark__V1__Order *order)
{
    char text[MM_ORDER_STATIONS_TEXT];
    struct order *o = find_order(v, order->order_id);
    char *stations;

    /* The store's own, so they fit; if not, nobody is allowed. */
    if (!mm_order_stations_join(order->stations, order->n_stations, text))
        copy(text, sizeof(text), ",");
    stations = strdup(text);
    if (!o && stations)
        o = new_order(v, order->order_id);
    if (!o || !stations) {
        free(stations);
        return MM_ERR_MEMORY;
    }
    free(o->stations);
    o->stations = stations;
    copy(o->profile, sizeof(o->profile), order->profile);
    mm_order_terms_take(&o->terms, order);
    return MM_OK;
}

static struct batch *new_batch(struct mm_view *v, const Mintmark__V1__Batch *batch)
{
    struct batch *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    copy(b->uid, sizeof(b->uid), batch->batch_uid);
    b->station = hold_station(v, batch->station);
    b->hashed = b->station;
    if (b->station)
        HASH_ADD_STR(v->batches, uid, b);
    if (b->hashed)
        return b;
    if (b->station)
        let_station_go(v, b->station);
    free(b);
    return NULL;
}

int mm_view_put_batch(struct mm_view *v, const Mintmark__V1__Batch *batch)
{
    struct batch *b = find_batch(v, batch->batch_uid);

    if (!b)
        b = new_batch(v, batch);
    if (!b)
        return MM_ERR_MEMORY;
    copy(b->order_id, sizeof(b->order_id), batch->order_id);
    copy(b->profile, sizeof(b->profile), batch->profile);
    b->quantity = batch->quantity;
    b->issued = batch->counts ? batch->counts->issued : 0;
    return MM_OK;
}

void mm_view_drop_batch(struct mm_view *v, const char *batch_uid)
{
    struct batch *b = find_batch(v, batch_uid);

    if (b)
        drop_batch(v, b);
}

/* NULL when out of memory. */
static struct number *number_of(struct mm_view *v, const char *profile)
{
    struct number *n;

    HASH_FIND_STR(v->numbers, profile, n);
    if (n)
        return n;
    n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    copy(n->profile, sizeof(n->profile), profile);
    n->next = 1;
    n->hashed = true;
    HASH_ADD_STR(v->numbers, profile, n);
    if (!n->hashed) {
        free(n);
        return NULL;
    }
    return n;
}

static int load(struct mm_view *v, const Mintmark__Internal__StoreReady *ready)
{
    for (size_t i = 0; i < ready->n_orders; i++) {
        if (mm_view_put_order(v, ready->orders[i]) < 0)
            return MM_ERR_MEMORY;
    }
    for (size_t i = 0; i < ready->n_batches; i++) {
        if (mm_view_put_batch(v, ready->batches[i]) < 0)
            return MM_ERR_MEMORY;
    }
    for (size_t i = 0; i < ready->n_next_numbers; i++) {
        struct number *n = number_of(v, ready->next_numbers[i]->profile);

        if (!n)
            return MM_ERR_MEMORY;
        n->next = ready->next_numbers[i]->next;
    }
    return MM_OK;
}

int mm_view_load(struct mm_view *v, const Mintmark__Internal__StoreReady *ready)
{
    clear(v);
    v->generation++;
    if (load(v, ready) == MM_OK)
        return MM_OK;
    clear(v);
    return MM_ERR_MEMORY;
}

static uint64_t left(uint64_t quantity, uint64_t used, uint64_t reserved)
{
    return used + reserved < quantity ? quantity - used - reserved : 0;
}

static void describe(const struct order *o, struct mm_view_order *ret_order)
{
    *ret_order = (struct mm_view_order){
        .order_id = o->id,
        .profile = o->profile,
        .stations = o->stations,
        .terms = o->terms,
        .quantity = o->terms.quantity,
        .used = o->terms.used,
        .left = left(o->terms.quantity, o->terms.used, o->reserved),
        .reserved = o->reserved,
    };
}

bool mm_view_find_order(const struct mm_view *v, const char *order_id,
                        struct mm_view_order *ret_order)
{
    const struct order *o = find_order(v, order_id);

    if (!o)
        return false;
    describe(o, ret_order);
    return true;
}

int mm_view_live_order(const struct mm_view *v, const char *profile, const char *station,
                       int64_t now_ms, struct mm_view_order *ret_order, struct mm_errinfo *ei)
{
    const struct order *best = NULL;
    struct mm_view_order order;
    struct mm_errinfo why = {0};

    for (const struct order *o = v->orders; o; o = o->hh.next) {
        if (strcmp(o->profile, profile) != 0 ||
            (best && best->terms.not_after_ms <= o->terms.not_after_ms))
            continue;
        describe(o, &order);
        if (mm_view_check_order(&order, station, 1, now_ms, &why) == MM_OK)
            best = o;
    }
    if (best) {
        describe(best, ret_order);
        return MM_OK;
    }
    return mm_fail(ei, MM_ERR_PRECONDITION, "NO_LIVE_ORDER",
                   "profile %s has no live production order for station %s%s%.160s", profile,
                   station, *why.text ? ": " : "", why.text);
}

void mm_view_each_order(const struct mm_view *v,
                        void (*each)(void *arg, const struct mm_view_order *order), void *arg)
{
    struct mm_view_order order;

    for (const struct order *o = v->orders; o; o = o->hh.next) {
        describe(o, &order);
        each(arg, &order);
    }
}

size_t mm_view_open_batches(const struct mm_view *v)
{
    return HASH_COUNT(v->batches);
}

/* What is set aside counts as made: today, if the day has a limit. */
int mm_view_check_order(const struct mm_view_order *order, const char *station, uint64_t n,
                        int64_t now_ms, struct mm_errinfo *ei)
{
    struct mm_order_terms t = order->terms;
    int r;

    t.day = mm_order_day(&order->terms, now_ms);
    t.day_used = mm_order_day_used(&order->terms, t.day) + order->reserved;
    t.used += order->reserved;
    r = mm_order_check(&t, order->stations, station, n, now_ms, ei);
    if (r < 0)
        mm_err_prefix(ei, "order %s", order->order_id);
    return r == MM_ERR_EXHAUSTED ? mm_err_subject(ei, "order", order->order_id) : r;
}

const char *mm_view_batch_profile(const struct mm_view *v, const char *batch_uid)
{
    const struct batch *b = find_batch(v, batch_uid);

    return b ? b->profile : NULL;
}

int mm_view_reserve(struct mm_view *v, const char *batch_uid, const char *station, uint64_t n,
                    int64_t now_ms, struct mm_reservation *ret_reservation, struct mm_errinfo *ei)
{
    struct batch *b = find_batch(v, batch_uid);
    struct order *o = b ? find_order(v, b->order_id) : NULL;
    struct mm_view_order order;
    uint64_t room;
    int r;

    if (!o)
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_BATCH", "no open batch %s", batch_uid);
    describe(o, &order);
    r = mm_view_check_order(&order, station, 0, now_ms, ei);
    if (r < 0)
        return r;
    room = left(b->quantity, b->issued, b->reserved);
    if (n > room) {
        mm_fail(ei, MM_ERR_EXHAUSTED, "BATCH_FULL",
                "%llu devices asked for, but batch %s has %llu left", (unsigned long long)n, b->uid,
                (unsigned long long)room);
        return mm_err_subject(ei, "batch", b->uid);
    }
    r = mm_view_check_order(&order, station, n, now_ms, ei);
    if (r < 0)
        return r;
    b->reserved += n;
    o->reserved += n;
    *ret_reservation = (struct mm_reservation){.n = n, .generation = v->generation};
    copy(ret_reservation->batch_uid, sizeof(ret_reservation->batch_uid), b->uid);
    copy(ret_reservation->order_id, sizeof(ret_reservation->order_id), o->id);
    return MM_OK;
}

void mm_view_release(struct mm_view *v, struct mm_reservation *reservation, uint64_t n)
{
    struct batch *b;
    struct order *o;

    if (n > reservation->n)
        n = reservation->n;
    reservation->n -= n;
    if (reservation->generation != v->generation)
        return;
    b = find_batch(v, reservation->batch_uid);
    if (b)
        b->reserved -= n;
    o = find_order(v, reservation->order_id);
    if (o)
        o->reserved -= n;
}

void mm_view_recorded(struct mm_view *v, struct mm_reservation *reservation, uint64_t n,
                      const Mintmark__Internal__Recorded *recorded)
{
    struct batch *b;
    struct order *o;

    mm_view_release(v, reservation, n);
    if (reservation->generation != v->generation)
        return;
    b = find_batch(v, reservation->batch_uid);
    if (b && recorded->batch_issued > b->issued)
        b->issued = recorded->batch_issued;
    o = find_order(v, reservation->order_id);
    if (!o)
        return;
    /* The store answers in the order in which it did things. */
    o->terms.used = recorded->order_used;
    o->terms.day = recorded->order_day;
    o->terms.day_used = recorded->order_day_used;
}

int mm_view_take_numbers(struct mm_view *v, const char *profile, uint64_t n, uint64_t *ret_first)
{
    struct number *number = number_of(v, profile);

    if (!number)
        return MM_ERR_MEMORY;
    *ret_first = number->next;
    number->next += n;
    return MM_OK;
}
