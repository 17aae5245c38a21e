/* SPDX-License-Identifier: Apache-2.0 */
/* Records as they are, for those who verify them elsewhere. */
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"

static int append(struct mm_sql *q, Mintmark__Internal__LedgerRecords *page, struct mm_errinfo *ei)
{
    ProtobufCBinaryData *room = mm_message_room(page->records, page->n_records, sizeof(*room));

    if (!room)
        return mm_fail_memory(ei);
    page->records = room;
    room[page->n_records++] = mm_sql_dup_blob(q, 1);
    return mm_sql_end(q, ei);
}

int mm_store_ledger_page(struct mm_store *s, const Mintmark__Internal__LedgerPage *job,
                         Mintmark__Internal__LedgerRecords **ret_records, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__LedgerRecords *page =
        mm_message_new(&mintmark__internal__ledger_records__descriptor);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_LEDGER_PAGE);
    size_t bytes = 0;
    int r;

    if (!page)
        return mm_fail_memory(ei);
    mm_sql_bind_uint(&q, job->after + 1);
    mm_sql_bind_int(&q, (int64_t)job->limit + 1);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        if (page->n_records == job->limit || bytes >= MM_LEDGER_PAGE_BYTES)
            break;
        bytes += mm_sql_blob(&q, 1).len;
        r = append(&q, page, ei);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    page->more = r > 0;
    *ret_records = MM_TAKE(page);
    return MM_OK;
}
