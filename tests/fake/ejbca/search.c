/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/search.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"

#include <stdio.h>
#include <string.h>

enum { PAGE_MAX = 1000, DAY_MS = 86400000 };

/* base64, as a certificate is in an answer of enrolment. */
static json_t *base64_of(struct mm_bytes bytes)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(2 * CERT_DER_MAX);

    cert_base64(bytes, &text);
    return json_stringn((const char *)text.data, text.len);
}

/* base64 of base64 in lines, as a certificate is in the answers of both searches: EJBCA encodes it,
 * and its JSON writer does so again. */
static json_t *twice_base64_of(struct mm_bytes bytes)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(2 * CERT_DER_MAX);

    for (size_t at = 0; at < bytes.len; at += 48) {
        if (at)
            mm_buf_append_u8(&text, '\n');
        cert_base64((struct mm_bytes){bytes.data + at, bytes.len - at < 48 ? bytes.len - at : 48},
                    &text);
    }
    return base64_of((struct mm_bytes){text.data, text.len});
}

static json_t *hit_v1(const struct issued *row)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:s}", "certificate", twice_base64_of(row->der),
                     "serial_number", row->serial, "response_format", "DER", "certificate_profile",
                     row->certificate_profile, "end_entity_profile", row->end_entity_profile);
}

void search_v1(struct call *call)
{
    const json_t *criteria = json_object_get(call->body, "criteria"),
                 *max = json_object_get(call->body, "max_number_of_results");
    const json_int_t most = json_integer_value(max);
    json_t *list;
    struct hits hits;

    if (!json_is_integer(max))
        call_error(call, 400, "Invalid maximum number of results, cannot be null.");
    else if (most <= 0)
        call_error(call, 400,
                   "Invalid maximum number of results, cannot be less or equal to zero.");
    else if (most > setting_int(call->fake->scenario, "max_query_count"))
        call_error(call, 400, "Invalid maximum number of results, cannot be more than 400.");
    else if (criteria_check(call, criteria)) {
        criteria_find(call, criteria, &hits);
        list = json_array();
        for (size_t i = 0; i < hits.count && (json_int_t)i < most; i++) {
            json_array_append_new(list, hit_v1(hits.rows[i]));
            if (setting_bool(call->fake->scenario, "list_twice"))
                json_array_append_new(list, hit_v1(hits.rows[i]));
        }
        call_json(call, 200,
                  json_pack("{s:o, s:b}", "certificates", list, "more_results",
                            (json_int_t)hits.count > most));
        free(hits.rows);
    }
}

static json_t *hit_v2(const struct issued *row)
{
    char fingerprint[2 * EVP_MAX_MD_SIZE + 1], ca_fingerprint[2 * EVP_MAX_MD_SIZE + 1];
    struct mm_buf key_id MM_BUF_CLEANUP = MM_BUF_INIT(64);
    uint8_t hash[EVP_MAX_MD_SIZE];
    json_t *hit;

    EVP_Digest(row->der.data, row->der.len, hash, NULL, EVP_sha1(), NULL);
    mm_hex_encode(hash, 20, fingerprint);
    EVP_Digest(row->ca->certificate.data, row->ca->certificate.len, hash, NULL, EVP_sha1(), NULL);
    mm_hex_encode(hash, 20, ca_fingerprint);
    cert_key_id(row->view.spki, hash);
    cert_base64((struct mm_bytes){hash, KEY_ID_LEN}, &key_id);
    hit = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s}", "fingerprint", fingerprint,
                    "cAFingerprint", ca_fingerprint, "issuerDN", row->ca->subject_text, "subjectDN",
                    row->subject, "subjectKeyId", mm_buf_cstr(&key_id), "certificateProfileId",
                    profile_id(row->certificate_profile), "endEntityProfileId",
                    profile_id(row->end_entity_profile), "certificateProfile",
                    row->certificate_profile, "endEntityProfile", row->end_entity_profile);
    json_object_update_new(
        hit, json_pack("{s:I, s:I, s:I, s:i, s:s, s:i, s:i, s:I, s:s, s:o, s:i}", "notBefore",
                       (json_int_t)(1000 * row->view.not_before), "expireDate",
                       (json_int_t)(1000 * row->view.not_after), "revocationDate",
                       (json_int_t)row->revoked_ms, "revocationReason", row->reason, "serialNumber",
                       row->serial, "status", row->reason == NOT_REVOKED ? 20 : 40, "type", 1,
                       "udpateTime", (json_int_t)row->updated_ms, "username", row->user->name,
                       "base64Cert", twice_base64_of(row->der), "crlPartitionIndex", 0));
    if (row->sans[0])
        json_object_set_new(hit, "subjectAltName", json_string(row->sans));
    return hit;
}

static int by_username(const void *a, const void *b)
{
    const struct issued *const *x = a, *const *y = b;
    const int order = strcmp((*x)->user->name, (*y)->user->name);

    return order ? order : (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

/* By username if that is asked for, otherwise as issued; and the other way round. */
static void sort_hits(const struct call *call, struct hits *hits)
{
    const json_t *sort = json_object_get(call->body, "sort");
    const char *property = json_string_value(json_object_get(sort, "property")),
               *operation = json_string_value(json_object_get(sort, "operation"));

    if (hits->count && property && strcmp(property, "USERNAME") == 0)
        qsort(hits->rows, hits->count, sizeof(*hits->rows), by_username);
    if (!operation || strcmp(operation, "DESC") != 0)
        return;
    for (size_t i = 0; i < hits->count / 2; i++) {
        struct issued *row = hits->rows[i];

        hits->rows[i] = hits->rows[hits->count - 1 - i];
        hits->rows[hits->count - 1 - i] = row;
    }
}

/* Sorting all of them anew for each page would make a list of a million take hours. Who asks may
 * see other things than somebody else. */
static struct hits find_sorted(struct call *call, const json_t *criteria)
{
    struct fake *fake = call->fake;
    json_t *parts = json_pack("{s:s, s:O, s:O?}", "who", call->who.subject, "criteria", criteria,
                              "sort", json_object_get(call->body, "sort"));
    char *question = json_dumps(parts, JSON_COMPACT | JSON_SORT_KEYS);
    struct hits hits;

    json_decref(parts);
    if (!fake->list.question || !question || strcmp(question, fake->list.question) != 0 ||
        fake->list.changes != state_changes(fake->state)) {
        criteria_find(call, criteria, &hits);
        sort_hits(call, &hits);
        free(fake->list.rows);
        free(fake->list.question);
        fake->list.question = question ? strdup(question) : NULL;
        fake->list.changes = state_changes(fake->state);
        fake->list.rows = hits.rows;
        fake->list.count = hits.count;
    }
    free(question);
    return (struct hits){fake->list.rows, fake->list.count};
}

static json_t *page_of(const struct hits *hits, json_int_t size, json_int_t page)
{
    json_t *list = json_array();
    const size_t first = (size_t)((page - 1) * size);

    for (size_t i = first; i < hits->count && i < first + (size_t)size; i++)
        json_array_append_new(list, hit_v2(hits->rows[i]));
    return json_pack("{s:o, s:{s:I, s:I}}", "certificates", list, "pagination_summary", "page_size",
                     size, "current_page", page);
}

void search_v2(struct call *call)
{
    const json_t *criteria = json_object_get(call->body, "criteria"),
                 *pagination = json_object_get(call->body, "pagination");
    const json_int_t size = json_integer_value(json_object_get(pagination, "page_size")),
                     page = json_integer_value(json_object_get(pagination, "current_page"));
    struct hits hits;

    if (page != -1 && (page < 1 || size < 1 || size > PAGE_MAX || page > INT32_MAX)) {
        call_error(call, 400, "Invalid pagination, page size or current page is out of range.");
        return;
    }
    if (!criteria_check(call, criteria))
        return;
    hits = find_sorted(call, criteria);
    if (page == -1)
        call_json(call, 200,
                  json_pack("{s:[], s:{s:I}}", "certificates", "pagination_summary", "total_certs",
                            (json_int_t)hits.count));
    else
        call_json(call, 200, page_of(&hits, size, page));
}

static int64_t parameter(const struct call *call, const char *name, int64_t otherwise)
{
    char text[32];
    uint64_t value;

    if (!http_parameter(&call->x->request, name, text, sizeof(text)) ||
        mm_text_to_u64(text, 0, INT32_MAX, &value) < 0)
        return otherwise;
    return (int64_t)value;
}

void search_expire(struct call *call)
{
    const int64_t limit = mm_clock_wall_ms() + parameter(call, "days", 0) * DAY_MS,
                  offset = parameter(call, "offset", 0),
                  most = parameter(call, "maxNumberOfResults", 100);
    json_t *list = json_array();
    int64_t count = 0;

    for (size_t i = 0; i < state_count(call->fake->state); i++) {
        const struct issued *row = state_at(call->fake->state, i);

        if (row->reason != NOT_REVOKED || 1000 * row->view.not_after > limit)
            continue;
        if (count >= offset && count < offset + most)
            json_array_append_new(list, json_pack("{s:o, s:s, s:s}", "certificate",
                                                  base64_of(row->der), "serial_number", row->serial,
                                                  "response_format", "DER"));
        count++;
    }
    call_json(call, 200,
              json_pack("{s:{s:b, s:I, s:I}, s:{s:o}}", "pagination_rest_response_component",
                        "more_results", count > offset + most, "next_offset",
                        (json_int_t)(offset + most), "number_of_results",
                        (json_int_t)(count - (offset + most)), "certificates_rest_response",
                        "certificates", list));
}

void search_count(struct call *call)
{
    char text[8];
    const bool active = http_parameter(&call->x->request, "isActive", text, sizeof(text)) &&
                        strcmp(text, "true") == 0;
    json_int_t count = 0;

    for (size_t i = 0; i < state_count(call->fake->state); i++)
        count += !active || state_at(call->fake->state, i)->reason == NOT_REVOKED;
    call_json(call, 200, json_pack("{s:I}", "count", count));
}
