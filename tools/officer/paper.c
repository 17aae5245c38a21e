/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/paper.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "proto/grpc/unpack.h"

#include <string.h>

/* A CMS document begins with a SEQUENCE, and no SignedDocument does. */
enum { DER_SEQUENCE = 0x30 };

void mm_paper_done(struct mm_paper *paper)
{
    mm_document_done(&paper->document);
    mm_arena_done(&paper->arena);
    mm_buf_done(&paper->bytes);
}

static int read_unsigned(const char *path, struct mm_paper *paper, struct mm_errinfo *ei)
{
    ProtobufCMessage *message;
    const Mintmark__V1__SignedDocument *d;
    int r = mm_grpc_unpack(&mintmark__v1__signed_document__descriptor, paper->bytes.data,
                           paper->bytes.len, &paper->arena, &message, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    d = r == MM_OK ? (const Mintmark__V1__SignedDocument *)message : NULL;
    if (!d || d->document_case == MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT__NOT_SET)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_CONTENT",
                       "%.180s: no document of mintmark, signed or not", path);
    paper->content = d;
    return MM_OK;
}

int mm_paper_read(const char *path, struct mm_paper *paper, struct mm_errinfo *ei)
{
    const struct mm_buf *b = &paper->bytes;
    int r = mm_io_read_file(path, MM_DOCUMENT_MAX, &paper->bytes, ei);

    if (r == MM_ERR_TOO_BIG)
        return mm_fail(ei, r, "DOCUMENT_TOO_BIG", "%.160s: a document has at most %d bytes", path,
                       MM_DOCUMENT_MAX);
    if (r < 0)
        return r;
    paper->is_signed = b->len > 0 && b->data[0] == DER_SEQUENCE;
    if (!paper->is_signed)
        return read_unsigned(path, paper, ei);
    r = mm_document_open((struct mm_bytes){b->data, b->len}, &paper->arena, &paper->document, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%.100s", path);
    paper->content = paper->document.content;
    return MM_OK;
}

/* ---- as JSON ----------------------------------------------------------------------------- */

static json_t *hex(const ProtobufCBinaryData *data)
{
    char buf[2 * 64 + 1] = "";

    if (data->len <= 64)
        mm_hex_encode(data->data, data->len, buf);
    return json_string(buf);
}

static json_t *list(char *const *names, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++)
        json_array_append_new(array, mm_out_text(names[i]));
    return array;
}

static json_t *describe_order(const Mintmark__V1__ProductionOrder *o)
{
    json_t *terms = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:o, s:I, s:I}", "kind", "production order",
        "order_id", mm_out_text(o->order_id), "oem", mm_out_text(o->oem), "product",
        mm_out_text(o->product), "profile", mm_out_text(o->profile), "quantity",
        (json_int_t)o->quantity, "not_before_time_ms", (json_int_t)o->not_before_time_ms,
        "not_before", mm_out_time(o->not_before_time_ms), "not_after_time_ms",
        (json_int_t)o->not_after_time_ms, "not_after", mm_out_time(o->not_after_time_ms),
        "per_batch_max", (json_int_t)o->per_batch_max, "per_day_max", (json_int_t)o->per_day_max);
    json_t *more = json_pack(
        "{s:o, s:I, s:I, s:I, s:o, s:o}", "stations", list(o->stations, o->n_stations),
        "unreported_devices_max", (json_int_t)o->unreported_devices_max, "report_within_hours",
        (json_int_t)o->report_within_hours, "replacements_max", (json_int_t)o->replacements_max,
        "appliance_sha256", hex(&o->appliance_sha256), "nonce", hex(&o->nonce));

    if (terms && (!more || json_object_update(terms, more) < 0)) {
        json_decref(terms);
        terms = NULL;
    }
    json_decref(more);
    return terms;
}

json_t *mm_paper_describe(const Mintmark__V1__SignedDocument *d)
{
    switch (d->document_case) {
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER:
        return describe_order(d->production_order);
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION:
        return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o}", "kind", "revocation", "order_id",
                         mm_out_text(d->order_revocation->order_id), "appliance_sha256",
                         hex(&d->order_revocation->appliance_sha256), "reason",
                         mm_out_text(d->order_revocation->reason), "time_ms",
                         (json_int_t)d->order_revocation->time_ms, "time",
                         mm_out_time(d->order_revocation->time_ms));
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT:
        return json_pack("{s:s, s:o, s:o, s:I, s:I, s:o}", "kind", "receipt", "order_id",
                         mm_out_text(d->report_receipt->order_id), "appliance_sha256",
                         hex(&d->report_receipt->appliance_sha256), "devices",
                         (json_int_t)d->report_receipt->devices, "time_ms",
                         (json_int_t)d->report_receipt->time_ms, "time",
                         mm_out_time(d->report_receipt->time_ms));
    case MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST:
        return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:o}", "kind", "request",
                         "appliance_sha256", hex(&d->order_request->appliance_sha256), "nonce",
                         hex(&d->order_request->nonce), "site", mm_out_text(d->order_request->site),
                         "requested_by", mm_out_text(d->order_request->requested_by), "time_ms",
                         (json_int_t)d->order_request->time_ms, "time",
                         mm_out_time(d->order_request->time_ms));
    default:
        return json_pack("{s:s}", "kind", "another document");
    }
}

json_t *mm_paper_signer(const struct mm_document *document)
{
    char sha256[2 * MM_DOCUMENT_HASH_BYTES + 1];

    mm_hex_encode(document->signer_sha256, MM_DOCUMENT_HASH_BYTES, sha256);
    return json_pack("{s:o, s:s}", "subject", mm_out_text(document->signer_name), "sha256", sha256);
}

/* ---- for people -------------------------------------------------------------------------- */

static void print_limit(const json_t *d, const char *key, const char *title, const char *none)
{
    const json_t *value = json_object_get(d, key);

    if (!value)
        return;
    if (json_integer_value(value) == 0)
        printf("%s %s\n", title, none);
    else
        printf("%s %" JSON_INTEGER_FORMAT "\n", title, json_integer_value(value));
}

static void print_stations(const json_t *stations)
{
    size_t i;
    json_t *station;

    if (!stations)
        return;
    printf("stations:        %s", json_array_size(stations) ? "" : "every one");
    json_array_foreach((json_t *)(uintptr_t)stations, i, station)
        printf("%s%s", i ? ", " : "", json_string_value(station));
    putchar('\n');
}

void mm_paper_print(const json_t *d)
{
    static const struct mm_column fields[] = {
        {"kind", "kind"},       {"order_id", "order"},
        {"oem", "OEM"},         {"product", "product"},
        {"profile", "profile"}, {"quantity", "quantity"},
        {"devices", "devices"}, {"not_before", "from"},
        {"not_after", "until"}, {"reason", "reason"},
        {"site", "site"},       {"requested_by", "requested by"},
        {"time", "time"},       {"appliance_sha256", "appliance"},
        {"nonce", "nonce"}};

    mm_out_fields(stdout, d, fields, MM_ARRAY_SIZE(fields));
    print_limit(d, "per_batch_max", "in a batch:     ", "no limit but the order's");
    print_limit(d, "per_day_max", "in a day (UTC): ", "no limit but the order's");
    print_stations(json_object_get(d, "stations"));
    print_limit(d, "unreported_devices_max", "unreported:     ", "no limit");
    print_limit(d, "report_within_hours", "hours between reports:", "no limit");
    print_limit(d, "replacements_max", "replacements:   ", "none: KO devices stay spent");
}
