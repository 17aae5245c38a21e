/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/service/reconcile.h"

#include "daemon/base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIND(name)   MINTMARK__V1__DIFFERENCE_KIND__DIFFERENCE_KIND_##name
#define CSTATE(name) MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_##name

enum { UID_BYTES = 16, ROWS_MIN = 1 << 16 };

int mm_compare_new(const char *const *names, size_t n, struct mm_compare **ret_compare)
{
    struct mm_compare *c = calloc(1, sizeof(*c));

    if (!c)
        return MM_ERR_MEMORY;
    c->profiles = calloc(n + 1, sizeof(*c->profiles));
    if (!c->profiles) {
        free(c);
        return MM_ERR_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        struct mm_compare_profile *p = &c->profiles[c->n_profiles++];

        snprintf(p->name, sizeof(p->name), "%s", names[i]);
        mintmark__v1__reconciled_profile__init(&p->counts);
        p->counts.profile = p->name;
    }
    *ret_compare = c;
    return MM_OK;
}

static void free_difference(Mintmark__V1__Difference *d)
{
    mintmark__v1__difference__free_unpacked(d, NULL);
}

void mm_compare_free(struct mm_compare *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_held; i++)
        free_difference(c->held[i].difference);
    free(c->unseen);
    free(c->profiles);
    free(c);
}

void mm_found_clear(struct mm_found *f)
{
    for (size_t i = 0; i < f->n; i++)
        free_difference(f->list[i]);
    free(f->list);
    *f = (struct mm_found){0};
}

static struct mm_compare_profile *find_profile(struct mm_compare *c, const char *name)
{
    for (size_t i = 0; i < c->n_profiles; i++) {
        if (strcmp(c->profiles[i].name, name) == 0)
            return &c->profiles[i];
    }
    return NULL;
}

/* ---- the bits ---------------------------------------------------------------------------- */

static bool is_unseen(const struct mm_compare *c, uint64_t row)
{
    return row < c->rows && (c->unseen[row / 8] >> (row % 8) & 1);
}

static void see(struct mm_compare *c, uint64_t row)
{
    if (row < c->rows)
        c->unseen[row / 8] &= (uint8_t) ~(1U << (row % 8));
}

static int make_room(struct mm_compare *c, uint64_t row, struct mm_errinfo *ei)
{
    uint64_t rows = c->rows ? c->rows : ROWS_MIN;
    uint8_t *grown;

    if (row < c->rows)
        return MM_OK;
    if (row >= MM_RECONCILE_ROW_MAX)
        return mm_fail(ei, MM_ERR_EXHAUSTED, "RECONCILE_TOO_MANY",
                       "there are more devices than can be compared at a time");
    while (rows <= row)
        rows *= 2;
    grown = realloc(c->unseen, rows / 8);
    if (!grown)
        return mm_fail_memory(ei);
    memset(grown + c->rows / 8, 0, (rows - c->rows) / 8);
    c->unseen = grown;
    c->rows = rows;
    return MM_OK;
}

uint64_t mm_compare_next(const struct mm_compare *c, uint64_t after)
{
    for (uint64_t row = after + 1; row < c->rows; row++) {
        if (row % 8 == 0 && c->unseen[row / 8] == 0)
            row += 7; /* the whole byte */
        else if (is_unseen(c, row))
            return row;
    }
    return 0;
}

int mm_compare_device(struct mm_compare *c, const Mintmark__Internal__EnrolmentRow *device,
                      struct mm_errinfo *ei)
{
    struct mm_compare_profile *p = find_profile(c, device->profile);
    int r;

    c->devices++;
    if (!p)
        return MM_OK;
    p->counts.issued += device->state == CSTATE(ISSUED);
    p->counts.waiting += device->state == CSTATE(WAITING);
    p->counts.parked += device->state == CSTATE(PARKED);
    p->counts.failed += device->state == CSTATE(FAILED);
    if (device->state != CSTATE(ISSUED))
        return MM_OK;
    r = make_room(c, device->row, ei);
    if (r == MM_OK)
        c->unseen[device->row / 8] |= (uint8_t)(1U << (device->row % 8));
    return r;
}

/* ---- differences ------------------------------------------------------------------------- */

static char *dup_uid(const ProtobufCBinaryData *uid)
{
    char text[MM_UID_LEN + 1] = "";

    if (uid->len == UID_BYTES)
        mm_uuid_format(uid->data, text);
    return strdup(text);
}

static bool dup_bytes(const ProtobufCBinaryData *from, ProtobufCBinaryData *to)
{
    if (from->len == 0)
        return true;
    to->data = malloc(from->len);
    if (!to->data)
        return false;
    memcpy(to->data, from->data, from->len);
    to->len = from->len;
    return true;
}

/* entry or device may be NULL. */
static Mintmark__V1__Difference *new_difference(Mintmark__V1__DifferenceKind kind,
                                                const char *profile,
                                                const Mintmark__Internal__Listed__Entry *entry,
                                                const Mintmark__Internal__EnrolmentRow *device)
{
    Mintmark__V1__Difference *d = malloc(sizeof(*d));
    bool good;

    if (!d)
        return NULL;
    mintmark__v1__difference__init(d);
    d->kind = kind;
    d->profile = strdup(device ? device->profile : profile);
    d->username = strdup(entry ? entry->username : device ? device->username : "");
    good = d->profile && d->username;
    if (entry) {
        good = good && dup_bytes(&entry->serial, &d->serial);
        d->revoked = entry->revoked;
    }
    if (device) {
        d->device_uid = dup_uid(&device->uid);
        good = good && d->device_uid && dup_bytes(&device->serial, &d->recorded_serial);
        d->state = device->state;
    }
    if (good)
        return d;
    free_difference(d);
    return NULL;
}

/* Takes d, which may be NULL: for want of memory. */
static int tell(struct mm_compare *c, Mintmark__V1__Difference *d, struct mm_found *found,
                struct mm_errinfo *ei)
{
    struct mm_compare_profile *p;
    Mintmark__V1__Difference **list;

    if (!d)
        return mm_fail_memory(ei);
    list = realloc(found->list, (found->n + 1) * sizeof(*list));
    if (!list) {
        free_difference(d);
        return mm_fail_memory(ei);
    }
    found->list = list;
    list[found->n++] = d;
    p = find_profile(c, d->profile);
    if (p)
        p->counts.differences++;
    return MM_OK;
}

/* ---- one certificate --------------------------------------------------------------------- */

/* What is compared at a time. */
struct pair {
    const char *profile;
    const Mintmark__Internal__Listed__Entry *entry;
    const Mintmark__Internal__MatchedCertificates__Match *match;
    const Mintmark__Internal__EnrolmentRow *device; /* NULL: none */
};

/* Serial numbers without leading zeros. */
static bool same_serial(ProtobufCBinaryData a, ProtobufCBinaryData b)
{
    for (; a.len > 0 && a.data[0] == 0; a.len--)
        a.data++;
    for (; b.len > 0 && b.data[0] == 0; b.len--)
        b.data++;
    return a.len > 0 && a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* An entry whose key could not be read is taken for the device's. */
static bool other_key(const struct pair *p)
{
    const ProtobufCBinaryData *a = &p->entry->spki_sha256, *b = &p->device->spki_sha256;

    return a->len > 0 && (a->len != b->len || memcmp(a->data, b->data, a->len) != 0);
}

static bool is_recorded(const struct pair *p)
{
    return p->device && p->device->state == CSTATE(ISSUED) &&
           same_serial(p->entry->serial, p->device->serial);
}

static int tell_pair(struct mm_compare *c, const struct pair *p, Mintmark__V1__DifferenceKind kind,
                     struct mm_found *found, struct mm_errinfo *ei)
{
    return tell(c, new_difference(kind, p->profile, p->entry, p->device), found, ei);
}

/* MM_OK too when both sides say the same, or EJBCA has not been told yet. */
static int compare_revocation(struct mm_compare *c, const struct pair *p, struct mm_found *found,
                              struct mm_errinfo *ei)
{
    if (p->entry->revoked && !p->match->revoked)
        return tell_pair(c, p, KIND(REVOKED_THERE), found, ei);
    if (!p->entry->revoked && p->match->revocation_done)
        return tell_pair(c, p, KIND(REVOKED_HERE), found, ei);
    return MM_OK;
}

/* One that a waiting device will take when it is looked up: the first, and that once. */
static bool is_under_way(struct mm_compare *c, const struct pair *p)
{
    const ProtobufCBinaryData *serial = &p->entry->serial;
    const ProtobufCBinaryData last = {c->waiting_serial_len, c->waiting_serial};

    if (p->device->state != CSTATE(WAITING) || !p->device->begun || p->entry->revoked)
        return false;
    if (c->waiting_row == p->device->row)
        return same_serial(*serial, last);
    c->waiting_row = p->device->row;
    c->waiting_serial_len =
        serial->len < sizeof(c->waiting_serial) ? serial->len : sizeof(c->waiting_serial);
    memcpy(c->waiting_serial, serial->data, c->waiting_serial_len);
    return true;
}

/* Of a device that has no certificate here. */
static int compare_withheld(struct mm_compare *c, const struct pair *p, struct mm_found *found,
                            struct mm_errinfo *ei)
{
    struct mm_compare_profile *profile = find_profile(c, p->device->profile);

    /* The device has failed for it, and it is out of force: that is how it ends. */
    if (other_key(p) && p->device->state == CSTATE(FAILED) && p->entry->revoked)
        return MM_OK;
    if (other_key(p))
        return tell_pair(c, p, KIND(OTHER_KEY), found, ei);
    if (is_under_way(c, p)) {
        if (profile)
            profile->counts.under_way++;
        return MM_OK;
    }
    if (p->device->state != CSTATE(WAITING) || !p->device->begun)
        return tell_pair(c, p, KIND(WITHHELD), found, ei);
    return tell_pair(c, p, p->entry->revoked ? KIND(REVOKED_THERE) : KIND(DOUBLE), found, ei);
}

/* Its device's own certificate has not been seen: it may be in the next page. */
static int hold(struct mm_compare *c, const struct pair *p, struct mm_errinfo *ei)
{
    struct mm_compare_held *h = &c->held[c->n_held];

    h->row = p->device->row;
    h->difference = new_difference(other_key(p) ? KIND(OTHER_KEY) : KIND(OTHER_SERIAL), p->profile,
                                   p->entry, p->device);
    if (!h->difference)
        return mm_fail_memory(ei);
    c->n_held++;
    return MM_OK;
}

static int compare(struct mm_compare *c, const struct pair *p, struct mm_found *found,
                   struct mm_errinfo *ei)
{
    if (p->device && is_recorded(p))
        return other_key(p) ? tell_pair(c, p, KIND(OTHER_KEY), found, ei)
                            : compare_revocation(c, p, found, ei);
    /* A wrong one, of which everything is known: it is revoked, or is about to be. */
    if (p->match->revoked)
        return compare_revocation(c, p, found, ei);
    if (!p->device)
        return tell_pair(c, p, KIND(UNKNOWN), found, ei);
    if (p->device->state != CSTATE(ISSUED))
        return compare_withheld(c, p, found, ei);
    return is_unseen(c, p->device->row) ? hold(c, p, ei) : tell_pair(c, p, KIND(DOUBLE), found, ei);
}

/* ---- pages ------------------------------------------------------------------------------- */

static void count(struct mm_compare *c, const struct pair *p)
{
    struct mm_compare_profile *profile =
        find_profile(c, p->device ? p->device->profile : p->profile);

    c->certificates++;
    if (!profile)
        return;
    profile->counts.certificates++;
    profile->counts.revoked += p->entry->revoked ? 1 : 0;
}

/* Those of the page before, now that this one has been seen. */
static int settle_held(struct mm_compare *c, struct mm_found *found, struct mm_errinfo *ei)
{
    int r = MM_OK;

    while (r == MM_OK && c->n_held > 0) {
        const struct mm_compare_held h = c->held[--c->n_held];

        if (!is_unseen(c, h.row))
            h.difference->kind = KIND(DOUBLE);
        see(c, h.row);
        r = tell(c, h.difference, found, ei);
    }
    return r;
}

int mm_compare_page(struct mm_compare *c, const char *profile,
                    const Mintmark__Internal__Listed *page,
                    const Mintmark__Internal__MatchedCertificates *matched, struct mm_found *found,
                    struct mm_errinfo *ei)
{
    struct pair p = {.profile = profile};
    int r;

    if (page->n_entries != matched->n_matches || page->n_entries > MM_RECONCILE_PAGE_MAX)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ANSWER", "the store matched other certificates");
    for (size_t i = 0; i < page->n_entries; i++) {
        p.entry = page->entries[i];
        p.match = matched->matches[i];
        p.device = p.match->device;
        count(c, &p);
        if (is_recorded(&p))
            see(c, p.device->row);
    }
    r = settle_held(c, found, ei);
    for (size_t i = 0; r == MM_OK && i < page->n_entries; i++) {
        p.entry = page->entries[i];
        p.match = matched->matches[i];
        p.device = p.match->device;
        r = compare(c, &p, found, ei);
    }
    return r;
}

int mm_compare_listed(struct mm_compare *c, struct mm_found *found, struct mm_errinfo *ei)
{
    return settle_held(c, found, ei);
}

int mm_compare_rest(struct mm_compare *c, const Mintmark__Internal__EnrolmentRow *device,
                    struct mm_found *found, struct mm_errinfo *ei)
{
    if (!is_unseen(c, device->row))
        return MM_OK;
    see(c, device->row);
    return tell(c, new_difference(KIND(MISSING), "", NULL, device), found, ei);
}
