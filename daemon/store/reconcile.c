/* SPDX-License-Identifier: Apache-2.0 */
/* What an authority's certificates are compared with: devices by their rows, and whose a
 * certificate is. */
#include "daemon/store/enrolments.h"
#include "daemon/store/message.h"

/* From the columns of RECONCILE_COLUMNS (sqlite_sql.c). */
static int take_enrolment(struct mm_sql *q, bool brief, Mintmark__Internal__EnrolmentRow **ret_e,
                          struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__EnrolmentRow *e =
        mm_message_new(&mintmark__internal__enrolment_row__descriptor);
    int r;

    if (!e)
        return mm_fail_memory(ei);
    e->row = mm_sql_uint(q, 0);
    e->state = (Mintmark__V1__CertificateState)mm_sql_int(q, 1);
    e->profile = mm_sql_dup_text(q, 2);
    if (!brief) {
        e->uid = mm_sql_dup_blob(q, 3);
        e->username = mm_sql_dup_text(q, 4);
        e->serial = mm_sql_dup_blob(q, 5);
        e->spki_sha256 = mm_sql_dup_blob(q, 6);
        e->begun = mm_sql_int(q, 7) != 0;
    }
    r = mm_sql_end(q, ei);
    if (r == MM_OK)
        *ret_e = MM_TAKE(e);
    return r;
}

int mm_store_page_enrolments(struct mm_store *s, const Mintmark__Internal__PageEnrolments *job,
                             Mintmark__Internal__EnrolmentsPage **ret_page, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__EnrolmentsPage *page =
        mm_message_new(&mintmark__internal__enrolments_page__descriptor);
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_RECONCILE_PAGE);
    int r;

    if (!page)
        return mm_fail_memory(ei);
    mm_sql_bind_uint(&q, job->after_row);
    mm_sql_bind_uint(&q, job->limit);
    while ((r = mm_sql_step(&q, ei)) > 0) {
        Mintmark__Internal__EnrolmentRow **room =
            mm_message_room(page->enrolments, page->n_enrolments, sizeof(*room));

        if (!room)
            return mm_fail_memory(ei);
        page->enrolments = room;
        r = take_enrolment(&q, job->brief, &room[page->n_enrolments], ei);
        if (r < 0)
            return r;
        page->n_enrolments++;
    }
    if (r < 0)
        return r;
    *ret_page = MM_TAKE(page);
    return MM_OK;
}

/* ---- whose a certificate is -------------------------------------------------------------- */

static int match_device(struct mm_sql *q,
                        const Mintmark__Internal__MatchCertificates__Certificate *c,
                        Mintmark__Internal__EnrolmentRow **ret_device, struct mm_errinfo *ei)
{
    int r;

    mm_sql_again(q, 0);
    mm_sql_bind_text(q, c->username);
    mm_sql_bind_blob(q, c->serial.data, c->serial.len);
    mm_sql_bind_blob(q, c->spki_sha256.data, c->spki_sha256.len);
    r = mm_sql_step(q, ei);
    return r <= 0 ? r : take_enrolment(q, false, ret_device, ei);
}

static int match_revocation(struct mm_sql *q, const ProtobufCBinaryData *serial,
                            protobuf_c_boolean *ret_revoked, protobuf_c_boolean *ret_done,
                            struct mm_errinfo *ei)
{
    int r;

    mm_sql_again(q, 0);
    mm_sql_bind_blob(q, serial->data, serial->len);
    r = mm_sql_step(q, ei);
    if (r <= 0)
        return r;
    *ret_revoked = true;
    *ret_done = mm_sql_int(q, 0) != 0;
    return mm_sql_end(q, ei);
}

static int match_all(struct mm_store *s, const Mintmark__Internal__MatchCertificates *job,
                     Mintmark__Internal__MatchedCertificates *to, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql device = mm_sql_start(s, MM_SQL_RECONCILE_MATCH);
    MM_SQL_CLEANUP struct mm_sql revocation = mm_sql_start(s, MM_SQL_RECONCILE_REVOCATION);
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < job->n_certificates; i++) {
        const Mintmark__Internal__MatchCertificates__Certificate *c = job->certificates[i];
        Mintmark__Internal__MatchedCertificates__Match **room =
            mm_message_room(to->matches, to->n_matches, sizeof(*room));
        Mintmark__Internal__MatchedCertificates__Match *m;

        if (!room)
            return mm_fail_memory(ei);
        to->matches = room;
        m = mm_message_new(&mintmark__internal__matched_certificates__match__descriptor);
        if (!m)
            return mm_fail_memory(ei);
        room[to->n_matches++] = m;
        r = match_device(&device, c, &m->device, ei);
        if (r == MM_OK)
            r = match_revocation(&revocation, &c->serial, &m->revoked, &m->revocation_done, ei);
    }
    return r;
}

int mm_store_match_certificates(struct mm_store *s,
                                const Mintmark__Internal__MatchCertificates *job,
                                Mintmark__Internal__MatchedCertificates **ret_matched,
                                struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__MatchedCertificates *matched =
        mm_message_new(&mintmark__internal__matched_certificates__descriptor);
    int r;

    if (!matched)
        return mm_fail_memory(ei);
    r = match_all(s, job, matched, ei);
    if (r < 0)
        return r;
    *ret_matched = MM_TAKE(matched);
    return MM_OK;
}

/* ---- one device -------------------------------------------------------------------------- */

static int find_refused(struct mm_store *s, Mintmark__Internal__EnrolmentFound *found,
                        struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql q = mm_sql_start(s, MM_SQL_REVOCATIONS_OF);
    int r;

    mm_sql_bind_uint(&q, found->device->row);
    r = mm_sql_step(&q, ei);
    if (r <= 0)
        return r;
    found->issuer_name = mm_sql_dup_blob(&q, 0);
    found->refused = (uint32_t)mm_sql_uint(&q, 1);
    found->refused_text = mm_sql_dup_text(&q, 2);
    return mm_sql_end(&q, ei);
}

static int find(struct mm_store *s, const ProtobufCBinaryData *uid,
                Mintmark__Internal__EnrolmentFound *found, struct mm_errinfo *ei)
{
    MM_SQL_CLEANUP struct mm_sql device = mm_sql_start(s, MM_SQL_RECONCILE_DEVICE);
    MM_SQL_CLEANUP struct mm_sql revocation = mm_sql_start(s, MM_SQL_RECONCILE_REVOCATION);
    int r;

    mm_sql_bind_blob(&device, uid->data, uid->len);
    r = mm_sql_step(&device, ei);
    if (r == 0)
        return mm_device_fail_unknown(uid, ei);
    if (r > 0)
        r = take_enrolment(&device, false, &found->device, ei);
    if (r == MM_OK)
        r = find_refused(s, found, ei);
    if (r < 0 || found->device->serial.len == 0)
        return r;
    return match_revocation(&revocation, &found->device->serial, &found->revoked,
                            &found->revocation_done, ei);
}

int mm_store_find_enrolment(struct mm_store *s, const Mintmark__Internal__FindEnrolment *job,
                            Mintmark__Internal__EnrolmentFound **ret_found, struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__EnrolmentFound *found =
        mm_message_new(&mintmark__internal__enrolment_found__descriptor);
    int r;

    if (!found)
        return mm_fail_memory(ei);
    r = find(s, &job->uid, found, ei);
    if (r < 0)
        return r;
    *ret_found = MM_TAKE(found);
    return MM_OK;
}
