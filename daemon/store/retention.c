/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys of devices are deleted some days after their batch's release: each bundle is written
 * anew without its key, a page of devices at a time, in the order of requests and rows. Where the
 * last page ended is in the batch's row, and changes in the page's transaction.
 */
#include "daemon/base/text.h"
#include "daemon/store/message.h"
#include "daemon/store/rows.h"

#include <openssl/crypto.h>
#include <string.h>

static const int64_t day_ms = 24ll * 3600 * 1000;

struct page {
    struct mm_store *s;
    struct mm_arena arena;
    int64_t batch; /* its row */
    uint8_t uid[16];
    uint64_t devices; /* of it */
    int64_t request;  /* the last one's row; 0: none yet */
    uint64_t row;     /* the last device's; 0: none of that request yet */
    unsigned n;       /* devices in this page */
    bool done;        /* that was the batch's last */
};

int mm_keys_fail_deleted(struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_PRECONDITION, "KEYS_DELETED",
                   "the private key was deleted so many days after the batch's release");
}

/* 1: p is about a batch whose keys are due; 0: there is none. */
static int find_due(struct page *p, int64_t released_by_ms, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_BATCH_KEYS_DUE);
    struct mm_bytes uid;
    int r;

    mm_sql_bind_int(&q, released_by_ms);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    uid = mm_sql_blob(&q, 1);
    p->batch = mm_sql_int(&q, 0);
    p->devices = mm_sql_uint(&q, 2);
    p->request = mm_sql_int(&q, 3);
    p->row = mm_sql_uint(&q, 4);
    r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    if (uid.len != sizeof(p->uid))
        return mm_fail(ei, MM_ERR_CORRUPT, "STORE_CORRUPT", "a batch's UID is none");
    memcpy(p->uid, uid.data, sizeof(p->uid));
    return 1;
}

/* 1: p stands before the devices of the batch's next request; 0: there is none. */
static int next_request(struct page *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_REPORT_REQUEST);
    int r;

    mm_sql_bind_int(&q, p->batch);
    mm_sql_bind_int(&q, p->request);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    p->request = mm_sql_int(&q, 0);
    p->row = 0;
    return 1;
}

static int write_bundle(struct page *p, Mintmark__V1__Bundle *bundle, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_DEVICE_DELETE_KEY);
    const size_t len = mintmark__v1__bundle__get_packed_size(bundle);
    uint8_t *packed = mm_arena_alloc(&p->arena, len);

    if (!packed)
        return mm_fail_memory(ei);
    mintmark__v1__bundle__pack(bundle, packed);
    mm_sql_bind_uint(&q, p->row);
    mm_sql_bind_blob(&q, packed, len);
    return mm_sql_run(&q, ei);
}

/* What a device made itself, and a key that stays in the token, has nothing to be deleted. */
static int delete_key(struct page *p, Mintmark__V1__Bundle *bundle, struct mm_errinfo *ei)
{
    if (bundle->private_key.len == 0)
        return MM_OK;
    OPENSSL_cleanse(bundle->private_key.data, bundle->private_key.len);
    bundle->private_key = (ProtobufCBinaryData){0, NULL};
    return write_bundle(p, bundle, ei);
}

/* 1: p stands on the request's next device, whose key is deleted; 0: there is none. */
static int delete_next(struct page *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_DEVICE_KEY_NEXT);
    Mintmark__V1__Bundle *bundle;
    struct mm_bytes data;
    int r;

    mm_sql_bind_int(&q, p->request);
    mm_sql_bind_uint(&q, p->row);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    p->row = mm_sql_uint(&q, 0);
    data = mm_sql_blob(&q, 1);
    r = mm_sql_end(&q, ei);
    if (r < 0)
        return r;
    r = mm_bundle_unpack(data, &p->arena, &bundle, ei);
    if (r < 0)
        return r;
    r = delete_key(p, bundle, ei);
    return r < 0 ? r : 1;
}

static int delete_page(struct page *p, struct mm_errinfo *ei)
{
    int r = p->request > 0 ? 1 : next_request(p, ei);

    while (r == 1 && p->n < MM_KEYS_PAGE_MAX) {
        r = delete_next(p, ei);
        mm_arena_reset(&p->arena);
        if (r == 0)
            r = next_request(p, ei);
        else
            p->n++;
    }
    p->done = r == 0;
    return r < 0 ? r : MM_OK;
}

static int note_place(struct page *p, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(p->s, MM_SQL_BATCH_KEYS_DONE);

    mm_sql_bind_int(&q, p->batch);
    mm_sql_bind_int(&q, p->request);
    mm_sql_bind_uint(&q, p->row);
    mm_sql_bind_int(&q, p->done);
    return mm_sql_run(&q, ei);
}

static int enter_in_ledger(struct page *p, Mintmark__Internal__KeysPage *page,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__KeysDeleted event = MINTMARK__V1__KEYS_DELETED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(KEYS_DELETED, keys_deleted, &event);
    char *uid = malloc(MM_UID_LEN + 1);

    if (!uid)
        return mm_fail_memory(ei);
    mm_uuid_format(p->uid, uid);
    page->batch_uid = uid;
    page->devices = p->devices;
    event.batch_uid = uid;
    event.devices = p->devices;
    return mm_ledger_append(p->s, &record, ei);
}

static int delete_due(struct page *p, int64_t now_ms, Mintmark__Internal__KeysPage *page,
                      struct mm_errinfo *ei)
{
    int r = find_due(p, now_ms - p->s->site.keep_keys_days * day_ms, ei);

    if (r <= 0)
        return r;
    r = delete_page(p, ei);
    if (r == MM_OK)
        r = note_place(p, ei);
    if (r == MM_OK && p->done)
        r = enter_in_ledger(p, page, ei);
    page->more = true;
    return r;
}

int mm_store_delete_keys(struct mm_store *s, const Mintmark__Internal__DeleteKeys *job,
                         Mintmark__Internal__KeysPage **ret_page, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__KeysPage *page =
        mm_message_new(&mintmark__internal__keys_page__descriptor);
    struct page p = {.s = s, .arena = MM_ARENA_INIT};
    int r;

    if (!page)
        return mm_fail_memory(ei);
    if (s->site.keep_keys_days > 0) {
        r = mm_sql_verb_begin(s, ei);
        if (r == MM_OK)
            r = mm_sql_verb_finish(s, delete_due(&p, job->now_ms, page, ei), ei);
        mm_arena_done(&p.arena);
        if (r < 0)
            return r;
    }
    *ret_page = MM_TAKE(page);
    return MM_OK;
}
