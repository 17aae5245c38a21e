/* SPDX-License-Identifier: Apache-2.0 */
/* An export from its first item to its last. */
#include "tools/verify/ledger.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- what everything stands on ------------------------------------------------------------ */

void *allocate(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p) {
        unreadable("memory", "there is not enough");
        exit(EXIT_DATA);
    }
    return p;
}

char *copy_text(const char *text)
{
    const size_t len = strlen(text) + 1;
    char *copy = allocate(1, len);

    memcpy(copy, text, len);
    return copy;
}

bool ledger_begin(struct ledger *l, struct verdict *v, size_t arena)
{
    l->v = v;
    l->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    l->digest = EVP_MD_CTX_new();
    arena_begin(&l->item_arena, arena);
    arena_begin(&l->record_arena, arena);
    arena_begin(&l->document_arena, ARENA_DOCUMENT);
    arena_begin(&l->total_arena, arena);
    return l->sha256 && l->digest;
}

static void free_order(struct order *o)
{
    free(o->id);
    free(o->profile);
    free(o->stations);
    free(o);
}

static void free_batch(struct batch *b)
{
    free(b->station);
    free(b->name);
    free(b->device_type);
    free(b->spends);
    free(b);
}

void ledger_done(struct ledger *l)
{
    for (size_t i = 0; i < 1 << TABLE_BITS; i++) {
        while (l->orders[i]) {
            struct order *o = l->orders[i];

            l->orders[i] = o->next;
            free_order(o);
        }
        while (l->batches[i]) {
            struct batch *b = l->batches[i];

            l->batches[i] = b->next;
            free_batch(b);
        }
    }
    for (size_t i = 0; i < l->n_witnesses; i++)
        free(l->witnesses[i].name);
    audit_keys_done(l);
    trust_done(&l->audit);
    trust_done(&l->oem);
    trust_done(&l->officers);
    trust_done(&l->identity);
    arena_done(&l->item_arena);
    arena_done(&l->record_arena);
    arena_done(&l->document_arena);
    arena_done(&l->total_arena);
    seen_done(&l->seen);
    EVP_MD_free(l->sha256);
    EVP_MD_CTX_free(l->digest);
}

/* FNV-1a */
static size_t slot_of(const char *text)
{
    uint64_t hash = 14695981039346656037ULL;

    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 1099511628211ULL;
    return (size_t)(hash >> (64 - TABLE_BITS));
}

struct order *order_find(const struct ledger *l, const char *id)
{
    struct order *o = l->orders[slot_of(id)];

    while (o && strcmp(o->id, id) != 0)
        o = o->next;
    return o;
}

struct order *order_add(struct ledger *l, const char *id)
{
    struct order **slot = &l->orders[slot_of(id)], *o = allocate(1, sizeof(*o));

    o->id = copy_text(id);
    o->profile = copy_text("");
    o->stations = copy_text("");
    o->hold = HOLD_NONE;
    o->next = *slot;
    *slot = o;
    l->n_orders++;
    return o;
}

struct batch *batch_find(const struct ledger *l, const char *uid)
{
    struct batch *b = l->batches[slot_of(uid)];

    while (b && strcmp(b->uid, uid) != 0)
        b = b->next;
    return b;
}

struct batch *batch_add(struct ledger *l, const char *uid)
{
    struct batch **slot = &l->batches[slot_of(uid)], *b = allocate(1, sizeof(*b));

    /* A UID of another length was found fault with; it is told apart by its beginning. */
    snprintf(b->uid, sizeof(b->uid), "%s", uid);
    b->station = copy_text("");
    b->name = copy_text("");
    b->device_type = copy_text("");
    b->next = *slot;
    *slot = b;
    l->n_batches++;
    return b;
}

void wrong(struct ledger *l, const char *code, const char *fmt, ...)
{
    char where[40], what[TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    snprintf(where, sizeof(where), "record %llu", (unsigned long long)l->at.sequence);
    finding(l->v, code, where, "%s", what);
}

int64_t see(struct ledger *l, enum seen_kind kind, const void *value, size_t len, uint64_t at)
{
    /* Numbers that nobody has counted to are no way past the comparison. */
    const uint64_t place = at & INT64_MAX;
    const int64_t before = seen_add(&l->seen, kind, value, len, place ? place : 1);

    if (before < 0) {
        unreadable("memory", "there is not enough to compare all that is in the ledger");
        exit(EXIT_DATA);
    }
    return before;
}

bool same_bytes(const ProtobufCBinaryData *a, const void *b, size_t len)
{
    return a->len == len && (len == 0 || memcmp(a->data, b, len) == 0);
}

/* libcrypto's SHA-256 fails for want of memory only. */
static void must(int done)
{
    if (done != 1) {
        unreadable("libcrypto", "SHA-256 failed");
        exit(EXIT_DATA);
    }
}

void digest_begin(struct ledger *l)
{
    must(EVP_DigestInit_ex2(l->digest, l->sha256, NULL));
}

void digest_add(struct ledger *l, const void *data, size_t len)
{
    if (len > 0)
        must(EVP_DigestUpdate(l->digest, data, len));
}

void digest_end(struct ledger *l, uint8_t ret_sha256[SHA256_LEN])
{
    must(EVP_DigestFinal_ex(l->digest, ret_sha256, NULL));
}

void digest_of(struct ledger *l, const void *data, size_t len, uint8_t ret_sha256[SHA256_LEN])
{
    digest_begin(l);
    digest_add(l, data, len);
    digest_end(l, ret_sha256);
}

void digest_message(struct ledger *l, const ProtobufCMessage *m, uint8_t ret_sha256[SHA256_LEN])
{
    const size_t len = protobuf_c_message_get_packed_size(m);
    uint8_t *packed = allocate(1, len + 1);

    protobuf_c_message_pack(m, packed);
    digest_of(l, packed, len, ret_sha256);
    free(packed);
}

/* ---- items ------------------------------------------------------------------------------- */

static void form(struct ledger *l, const char *what)
{
    char where[40];

    snprintf(where, sizeof(where), "item %llu", (unsigned long long)l->items_read);
    finding(l->v, "EXPORT_FORM", where, "%s", what);
}

static void take_header(struct ledger *l, const Mintmark__V1__LedgerExportHeader *h)
{
    if (l->has_header) {
        form(l, "a second header");
        return;
    }
    l->has_header = true;
    if (h->format != 1 || h->ledger_id.len != sizeof(l->id) || h->previous.len != SHA256_LEN ||
        h->first_sequence < 1) {
        form(l, "the header is not of format 1");
        return;
    }
    memcpy(l->id, h->ledger_id.data, sizeof(l->id));
    l->first_sequence = h->first_sequence;
    l->partial = l->adopting = h->first_sequence > 1;
    l->header.last_sequence = h->last_sequence;
    l->at.sequence = h->first_sequence - 1;
    memcpy(l->at.hash, h->previous.data, SHA256_LEN);
    fact_text(l->v, "site", h->site);
    fact_text(l->v, "version", h->version);
    fact_time(l->v, "exported", h->time_ms);
}

static void take_end(struct ledger *l, const struct export_file *e, struct slice cms)
{
    uint8_t before[SHA256_LEN];

    l->ended = true;
    ledger_document_due(l);
    if (export_hash(e, before))
        ledger_statement(l, cms, before);
}

static void take(struct ledger *l, const struct export_file *e,
                 const Mintmark__V1__LedgerExportItem *item)
{
    if (l->ended) {
        form(l, "something stands behind the end");
        return;
    }
    if (!l->has_header && item->item_case != MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_HEADER) {
        form(l, "there is no header");
        l->has_header = true;
    }
    switch (item->item_case) {
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_HEADER:
        take_header(l, item->header);
        return;
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_RECORD:
        ledger_record(l, item->record.data, item->record.len);
        return;
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_DEVICES:
        spent_devices(l, item->devices);
        return;
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_DOCUMENT:
        ledger_document(l, item->document);
        return;
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_CHECKPOINT:
        ledger_checkpoint(l, item->checkpoint);
        return;
    case MINTMARK__V1__LEDGER_EXPORT_ITEM__ITEM_END:
        take_end(l, e, (struct slice){item->end.data, item->end.len});
        return;
    default:
        form(l, "an item of no kind");
    }
}

static void read_item(struct ledger *l, const struct export_file *e)
{
    ProtobufCMessage *message;

    l->items_read++;
    switch (message_read(&l->item_arena, &mintmark__v1__ledger_export_item__descriptor, e->item,
                         e->item_len, &message)) {
    case MESSAGE_GOOD:
        take(l, e, (const Mintmark__V1__LedgerExportItem *)message);
        return;
    case MESSAGE_UNKNOWN:
        form(l, "an item with a field that this program does not know");
        return;
    default:
        form(l, "no item of an export");
    }
}

static void check_witnesses(struct ledger *l)
{
    for (size_t i = 0; i < l->n_witnesses; i++) {
        const struct witness *w = &l->witnesses[i];
        const unsigned long long sequence = (unsigned long long)w->sequence;

        if (w->sequence > l->at.sequence)
            finding(l->v, "LEDGER_TRUNCATED", w->name,
                    "it knows of record %llu, but the export ends at record %llu", sequence,
                    (unsigned long long)l->at.sequence);
        else if (w->met)
            proved(l->v,
                   "Record %llu is the one that %s names: nothing before it was changed "
                   "since that was made.",
                   sequence, w->name);
        else if (w->sequence + 1 < l->first_sequence)
            unproved(l->v,
                     "Whether it goes on from %s, which names record %llu: the export begins "
                     "at record %llu.",
                     w->name, sequence, (unsigned long long)l->first_sequence);
    }
}

static void check_end(struct ledger *l, int last)
{
    if (last < 0 || !l->ended)
        finding(l->v, "EXPORT_CUT", "end",
                "the file is cut off after record %llu; its header names "
                "record %llu as the last",
                (unsigned long long)l->at.sequence, (unsigned long long)l->header.last_sequence);
    if (l->has_header && l->records == 0)
        finding(l->v, "EXPORT_FORM", "end", "there is no record in it");
    if (l->header.last_sequence != l->at.sequence)
        finding(l->v, "LEDGER_TRUNCATED", "end",
                "the last record is %llu, but the header names %llu",
                (unsigned long long)l->at.sequence, (unsigned long long)l->header.last_sequence);
    check_witnesses(l);
}

bool ledger_read_file(struct ledger *l, FILE *file)
{
    struct export_file e;
    int more = 0;
    const bool begun = export_begin(&e, file);

    while (begun && (more = export_next(&e)) > 0)
        read_item(l, &e);
    if (begun)
        check_end(l, more);
    export_close(&e);
    return begun;
}

bool ledger_read(struct ledger *l, const char *path)
{
    FILE *file = fopen(path, "re");
    const bool read = file && ledger_read_file(l, file);

    if (!read)
        unreadable(path, file ? "out of memory" : strerror(errno));
    if (file)
        fclose(file);
    return read;
}
