/* SPDX-License-Identifier: Apache-2.0 */
/* What comes down the store's channel: frames, and in them jobs. A job that passes the check has
 * what the verbs take for granted, and passes it again after it was packed anew; one that does not
 * says why. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/limits.h"
#include "daemon/ipc/channel.h"
#include "daemon/store/job.h"

#include <stdlib.h>
#include <string.h>

static void look_at_spend(const Mintmark__Internal__SpendAndRecord *s)
{
    assert(s->n_devices >= 1 && s->n_devices <= MM_CHUNK_DEVICES);
    assert(s->digest.len == 32 && strlen(s->request_id) <= MM_REQUEST_ID_MAX);
    for (size_t i = 0; i < s->n_devices; i++) {
        const Mintmark__Internal__DeviceRecord *d = s->devices[i];

        assert(d->uid.len == 16 && d->spki_sha256.len == 32 && d->serial.len <= 20);
        assert(d->bundle.len >= 1 && d->bundle.len <= MM_BUNDLE_MAX);
        assert(strlen(d->hw_serial) <= MM_HW_SERIAL_MAX && d->number < INT64_MAX);
    }
}

static void look_at(const Mintmark__Internal__StoreJob *job)
{
    switch (job->job_case) {
    case MINTMARK__INTERNAL__STORE_JOB__JOB_SPEND_AND_RECORD:
        look_at_spend(job->spend_and_record);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ENROLL_AND_RECORD:
        look_at_spend(job->enroll_and_record->spend);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_CHANGE_ORDER:
        assert(job->change_order->action != MINTMARK__V1__ORDER_ACTION__ORDER_ACTION_LOWER ||
               job->change_order->limits);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_ADD_NONCE:
        assert(job->add_nonce->nonce.len == 16);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_OPEN_BATCH:
        assert(job->open_batch->batch->quantity >= 1);
        assert(job->open_batch->station_max >= 1);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_REPORT_DEVICES:
        for (size_t i = 0; i < job->report_devices->n_reports; i++)
            assert(job->report_devices->reports[i]->uid.len == 16);
        break;
    case MINTMARK__INTERNAL__STORE_JOB__JOB_GET_DEVICE:
        assert(job->get_device->uid.len == 16);
        break;
    default:
        assert(mm_job_writes(job) ==
               (job->job_case == MINTMARK__INTERNAL__STORE_JOB__JOB_RELEASE_BATCH ||
                job->job_case == MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_ORDER ||
                job->job_case == MINTMARK__INTERNAL__STORE_JOB__JOB_IMPORT_DOCUMENT));
        break;
    }
}

static void pack_again(const Mintmark__Internal__StoreJob *job)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    const size_t len = mintmark__internal__store_job__get_packed_size(job);
    uint8_t *packed = malloc(len ? len : 1);
    Mintmark__Internal__StoreJob *again;
    struct mm_errinfo ei = {0};

    assert(packed);
    mintmark__internal__store_job__pack(job, packed);
    assert(mm_job_unpack((struct mm_bytes){packed, len}, &arena, &again, &ei) == MM_OK);
    assert(mm_job_check(again, &ei) == MM_OK);
    free(packed);
}

static void take_frame(struct mm_bytes payload)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__Internal__StoreJob *job;
    struct mm_errinfo ei = {0};

    if (mm_job_unpack(payload, &arena, &job, &ei) < 0) {
        assert(*ei.text);
        return;
    }
    if (mm_job_check(job, &ei) < 0) {
        assert(*ei.text);
        return;
    }
    look_at(job);
    pack_again(job);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MM_BUF_CLEANUP struct mm_buf in = MM_BUF_INIT(1 << 20);
    struct mm_bytes payload;
    size_t frame_len;

    mm_buf_append(&in, data, size);
    while (mm_channel_next(&in, &payload, &frame_len) == MM_OK) {
        take_frame(payload);
        mm_buf_consume(&in, frame_len);
    }
    return 0;
}
