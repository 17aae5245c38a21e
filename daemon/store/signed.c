/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures that stations had made: nothing but a record of the ledger each. */
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"

#include <string.h>

static int enter_in_ledger(struct mm_store *s, const Mintmark__Internal__AddSigned *job,
                           struct mm_errinfo *ei)
{
    Mintmark__V1__Signed event = MINTMARK__V1__SIGNED__INIT;
    Mintmark__V1__LedgerRecord record = MM_LEDGER_RECORD(SIGNED, signed_, &event);

    event.station = job->station;
    event.signing_profile = job->signing_profile;
    event.mechanism = job->mechanism;
    event.digest = job->digest;
    return mm_ledger_append(s, &record, ei);
}

int mm_store_add_signed(struct mm_store *s, const Mintmark__Internal__AddSigned *job,
                        Mintmark__Internal__SignedAdded **ret_added, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__SignedAdded *added =
        mm_message_new(&mintmark__internal__signed_added__descriptor);
    int r;

    if (!added)
        return mm_fail_memory(ei);
    added->response.data = malloc(job->response.len);
    if (!added->response.data)
        return mm_fail_memory(ei);
    memcpy(added->response.data, job->response.data, job->response.len);
    added->response.len = job->response.len;
    r = mm_sql_verb_begin(s, ei);
    if (r < 0)
        return r;
    r = mm_sql_verb_finish(s, enter_in_ledger(s, job, ei), ei);
    if (r < 0)
        return r;
    *ret_added = MM_TAKE(added);
    return MM_OK;
}
