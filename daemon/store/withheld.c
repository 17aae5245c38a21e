/* SPDX-License-Identifier: Apache-2.0 */
/* Devices that are recorded and not delivered, as stations and officers see them. */
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"
#include "daemon/store/page.h"

static int take(struct mm_sql *q, int column, Mintmark__V1__Withheld **ret_withheld,
                struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__V1__Withheld *w =
        mm_message_new(&mintmark__v1__withheld__descriptor);
    int r;

    if (!w)
        return mm_fail_memory(ei);
    w->device_uid = mm_sql_dup_uuid(q, column);
    w->hw_serial = mm_sql_dup_text(q, column + 1);
    w->number = mm_sql_uint(q, column + 2);
    w->state = (Mintmark__V1__CertificateState)mm_sql_int(q, column + 3);
    w->text = mm_sql_dup_text(q, column + 4);
    if (w->state == MINTMARK__V1__CERTIFICATE_STATE__CERTIFICATE_STATE_WAITING)
        w->next_time_ms = mm_sql_int(q, column + 5);
    w->attempts = (uint32_t)mm_sql_uint(q, column + 6);
    r = mm_sql_end(q, ei);
    if (r == MM_OK)
        *ret_withheld = MM_TAKE(w);
    return r;
}

int mm_withheld_append(struct mm_sql *q, int column, size_t *n, Mintmark__V1__Withheld ***list,
                       struct mm_errinfo *ei)
{
    Mintmark__V1__Withheld **room = mm_message_room(*list, *n, sizeof(*room));
    int r;

    if (!room)
        return mm_fail_memory(ei);
    *list = room;
    r = take(q, column, &room[*n], ei);
    if (r == MM_OK)
        (*n)++;
    return r;
}

int mm_withheld_find(struct mm_store *s, struct mm_bytes uid, Mintmark__V1__Withheld **ret_withheld,
                     struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_ENROLMENT_WITHHELD);
    int r;

    mm_sql_bind_blob(&q, uid.data, uid.len);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    r = take(&q, 0, ret_withheld, ei);
    return r < 0 ? r : 1;
}

static int append_listed(struct mm_sql *q, Mintmark__Internal__WithheldDevices *list,
                         struct mm_errinfo *ei)
{
    int r = mm_withheld_append(q, 2, &list->n_devices, &list->devices, ei);

    if (r < 0)
        return r;
    list->devices[list->n_devices - 1]->profile = mm_sql_dup_text(q, 1);
    return mm_sql_end(q, ei);
}

int mm_store_list_withheld(struct mm_store *s, const Mintmark__Internal__ListWithheld *job,
                           Mintmark__Internal__WithheldDevices **ret_list, struct mm_errinfo *ei)
{
    /* A token of one state's listing is none of another's. */
    const char kind = job->unrevoked ? 'v' : (char)('p' + (int)job->state);
    MM_MESSAGE_CLEANUP Mintmark__Internal__WithheldDevices *list =
        mm_message_new(&mintmark__internal__withheld_devices__descriptor);
    MM_SQL_CLEANUP struct mm_sql q =
        mm_sql_start(s, job->unrevoked ? MM_SQL_REVOCATIONS_PAGE : MM_SQL_ENROLMENTS_PAGE);
    struct mm_page page;
    int64_t last = 0;
    int r = mm_page_parse(kind, job->page_size, job->page_token, &page, ei);

    if (r < 0)
        return r;
    if (!list)
        return mm_fail_memory(ei);
    mm_sql_bind_int(&q, job->state);
    mm_sql_bind_int(&q, page.before);
    mm_sql_bind_int(&q, (int64_t)page.size + 1);
    while ((r = mm_sql_step(&q, ei)) > 0 && list->n_devices < page.size) {
        last = mm_sql_int(&q, 0);
        r = append_listed(&q, list, ei);
        if (r < 0)
            return r;
    }
    if (r > 0)
        r = mm_page_token(&page, last, &list->next_page_token, ei);
    if (r < 0)
        return r;
    *ret_list = MM_TAKE(list);
    return MM_OK;
}
