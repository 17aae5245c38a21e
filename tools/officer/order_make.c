/* SPDX-License-Identifier: Apache-2.0 */
/* What the OEM does off site: order create, sign, show, revoke, receipt. No configuration, no
 * service. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tools/officer/date.h"
#include "tools/officer/paper.h"
#include "tools/officer/signer.h"

#include <string.h>

int mm_order_number(struct mm_officer *o, enum mm_option option, const char *value,
                    uint64_t *ret_value, struct mm_errinfo *ei)
{
    if (!value || mm_text_to_u64(value, 1, MM_ORDER_QUANTITY_MAX, ret_value) == MM_OK)
        return MM_OK;
    return mm_officer_usage(o, ei, "--%s is a number from 1 to %d", mm_cli_option_name(option),
                            MM_ORDER_QUANTITY_MAX);
}

/* ---- order create ------------------------------------------------------------------------ */

static int limits(struct mm_officer *o, Mintmark__V1__ProductionOrder *order, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    uint64_t hours = 0;
    int r = mm_order_number(o, MM_OPT_quantity, a->quantity, &order->quantity, ei);

    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_per_batch, a->per_batch, &order->per_batch_max, ei);
    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_per_day, a->per_day, &order->per_day_max, ei);
    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_unreported, a->unreported, &order->unreported_devices_max,
                            ei);
    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_replacements, a->replacements, &order->replacements_max, ei);
    if (r == MM_OK && a->report_hours &&
        mm_text_to_u64(a->report_hours, 1, MM_ORDER_HOURS_MAX, &hours) < 0)
        r = mm_officer_usage(o, ei, "--report-hours is a number from 1 to %d", MM_ORDER_HOURS_MAX);
    order->report_within_hours = (uint32_t)hours;
    return r;
}

/* "a,b,c" in place; names holds MM_ORDER_STATIONS_MAX. */
static int stations(struct mm_officer *o, char **names, Mintmark__V1__ProductionOrder *order,
                    struct mm_errinfo *ei)
{
    char *rest = o->args.stations, *name;

    order->stations = names;
    while ((name = strsep(&rest, ","))) {
        if (order->n_stations == MM_ORDER_STATIONS_MAX)
            return mm_officer_usage(o, ei, "--stations takes at most %d names",
                                    MM_ORDER_STATIONS_MAX);
        names[order->n_stations++] = name;
    }
    return MM_OK;
}

static int validity(struct mm_officer *o, Mintmark__V1__ProductionOrder *order,
                    struct mm_errinfo *ei)
{
    int r = mm_date_parse(o->args.not_after, MM_DATE_END, &order->not_after_time_ms, ei);

    order->not_before_time_ms = mm_clock_wall_ms();
    if (r == MM_OK && o->args.not_before)
        r = mm_date_parse(o->args.not_before, MM_DATE_START, &order->not_before_time_ms, ei);
    return r;
}

/* The request's own signature shows that it is whole; that it is the right appliance's, only its
 * hash against what the OEM has known from before. */
static int take_request(struct mm_officer *o, struct mm_paper *paper,
                        Mintmark__V1__ProductionOrder *order, struct mm_errinfo *ei)
{
    uint8_t identity[MM_DOCUMENT_HASH_BYTES];
    const Mintmark__V1__OrderRequest *request;
    int r = mm_paper_read(o->args.request, paper, ei);

    if (r < 0)
        return r;
    if (!paper->is_signed ||
        paper->content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REQUEST)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_KIND", "%.180s: no signed request",
                       o->args.request);
    request = paper->content->order_request;
    r = mm_document_key_hash(paper->document.signer, identity, ei);
    if (r < 0)
        return r;
    if (request->appliance_sha256.len != sizeof(identity) ||
        memcmp(request->appliance_sha256.data, identity, sizeof(identity)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_SIGNATURE",
                       "%.160s: not signed by the appliance that it names", o->args.request);
    order->appliance_sha256 = request->appliance_sha256;
    order->nonce = request->nonce;
    return MM_OK;
}

static int write_unsigned(struct mm_officer *o, const Mintmark__V1__SignedDocument *content,
                          struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf packed = MM_BUF_INIT(MM_DOCUMENT_MAX);
    const size_t len = protobuf_c_message_get_packed_size(&content->base);
    uint8_t *room = mm_buf_reserve(&packed, len);

    if (!room)
        return mm_fail_memory(ei);
    mm_buf_grew(&packed, protobuf_c_message_pack(&content->base, room));
    return mm_io_create_file(o->args.out, 0644, packed.data, packed.len, ei);
}

/* Shows the content; signer is NULL when it is not signed. */
static int show(struct mm_officer *o, const Mintmark__V1__SignedDocument *content,
                const struct mm_document *document, const char *trusted, struct mm_errinfo *ei)
{
    json_t *const description = mm_paper_describe(content);
    const json_t *signer;
    int r = mm_officer_answer(o, "document", description, ei);

    if (r == MM_OK && document)
        r = mm_officer_answer(o, "signer", mm_paper_signer(document), ei);
    if (r == MM_OK && trusted)
        r = mm_officer_answer(o, "signature", json_string(trusted), ei);
    if (r < 0 || o->args.json)
        return r;
    mm_paper_print(description);
    signer = json_object_get(o->answer, "signer");
    if (signer)
        printf("signed by:       %s\n  certificate:   SHA-256 %s\n",
               json_string_value(json_object_get(signer, "subject")),
               json_string_value(json_object_get(signer, "sha256")));
    if (trusted)
        printf("signature:       %s\n", trusted);
    return MM_OK;
}

int mm_cmd_order_create(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__ProductionOrder order = MINTMARK__V1__PRODUCTION_ORDER__INIT;
    char *names[MM_ORDER_STATIONS_MAX];
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = take_request(o, &paper, &order, ei);
    if (r == MM_OK)
        r = limits(o, &order, ei);
    if (r == MM_OK)
        r = stations(o, names, &order, ei);
    if (r == MM_OK)
        r = validity(o, &order, ei);
    if (r < 0)
        return r;
    order.order_id = o->args.id;
    order.oem = o->args.oem;
    order.product = o->args.product;
    order.profile = o->args.profile;
    r = mm_order_terms_check(&order, ei);
    if (r < 0)
        return r;
    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER;
    content.production_order = &order;
    r = write_unsigned(o, &content, ei);
    return r < 0 ? r : show(o, &content, NULL, "not signed yet", ei);
}

/* ---- order sign -------------------------------------------------------------------------- */

int mm_cmd_order_sign(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    MM_CLEANUP(mm_signer_done) struct mm_signer signer = {.certificates = NULL};
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_paper_read(o->args.in, &paper, ei);
    if (r == MM_OK && paper.is_signed)
        r = mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_SIGNERS", "%.180s: signed already", o->args.in);
    if (r == MM_OK &&
        paper.content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER)
        r = mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_KIND", "%.180s: no production order", o->args.in);
    if (r == MM_OK)
        r = mm_order_terms_check(paper.content->production_order, ei);
    if (r == MM_OK)
        r = mm_signer_open(o, &signer, ei);
    if (r == MM_OK)
        r = mm_signer_write(o, &signer, paper.content, ei);
    return r < 0 ? r : show(o, paper.content, NULL, "signed", ei);
}

/* ---- order show FILE --------------------------------------------------------------------- */

int mm_order_show_file(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    MM_TRUST_CLEANUP struct mm_trust *trust = NULL;
    const char *trusted = "right; who the signer is, is not checked without --trust";
    int r = mm_paper_read(o->args.operand, &paper, ei);

    if (r < 0)
        return r;
    if (!paper.is_signed)
        return show(o, paper.content, NULL, "not signed", ei);
    if (o->args.trust) {
        r = mm_trust_read(o->args.trust, &trust, ei);
        if (r == MM_OK)
            r = mm_document_check_signer(&paper.document, trust, mm_clock_wall_ms(), ei);
        if (r < 0)
            return r;
        trusted = "right, and the signer is trusted";
    }
    return show(o, paper.content, &paper.document, trusted, ei);
}

/* ---- order revoke, order receipt --------------------------------------------------------- */

/* The signed order that they are about. */
static int take_order(struct mm_officer *o, struct mm_paper *paper,
                      const Mintmark__V1__ProductionOrder **ret_order, struct mm_errinfo *ei)
{
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = mm_paper_read(o->args.in, paper, ei);
    if (r < 0)
        return r;
    if (paper->content->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_PRODUCTION_ORDER)
        return mm_fail(ei, MM_ERR_INVALID, "DOCUMENT_KIND", "%.180s: no production order",
                       o->args.in);
    *ret_order = paper->content->production_order;
    return MM_OK;
}

static int sign_and_show(struct mm_officer *o, const Mintmark__V1__SignedDocument *content,
                         struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_signer_done) struct mm_signer signer = {.certificates = NULL};
    int r = mm_signer_open(o, &signer, ei);

    if (r == MM_OK)
        r = mm_signer_write(o, &signer, content, ei);
    return r < 0 ? r : show(o, content, NULL, "signed", ei);
}

int mm_cmd_order_revoke(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__OrderRevocation revocation = MINTMARK__V1__ORDER_REVOCATION__INIT;
    const Mintmark__V1__ProductionOrder *order = NULL;
    int r = take_order(o, &paper, &order, ei);

    if (r < 0)
        return r;
    if (strlen(o->args.reason) > MM_REASON_TEXT_MAX)
        return mm_officer_usage(o, ei, "--reason has at most %d bytes", MM_REASON_TEXT_MAX);
    revocation.order_id = order->order_id;
    revocation.appliance_sha256 = order->appliance_sha256;
    revocation.reason = o->args.reason;
    revocation.time_ms = mm_clock_wall_ms();
    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_ORDER_REVOCATION;
    content.order_revocation = &revocation;
    return sign_and_show(o, &content, ei);
}

int mm_cmd_order_receipt(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_PAPER_CLEANUP struct mm_paper paper = MM_PAPER_INIT;
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__ReportReceipt receipt = MINTMARK__V1__REPORT_RECEIPT__INIT;
    const Mintmark__V1__ProductionOrder *order = NULL;
    int r = take_order(o, &paper, &order, ei);

    if (r == MM_OK)
        r = mm_order_number(o, MM_OPT_devices, o->args.devices, &receipt.devices, ei);
    if (r < 0)
        return r;
    receipt.order_id = order->order_id;
    receipt.appliance_sha256 = order->appliance_sha256;
    receipt.time_ms = mm_clock_wall_ms();
    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_REPORT_RECEIPT;
    content.report_receipt = &receipt;
    return sign_and_show(o, &content, ei);
}
