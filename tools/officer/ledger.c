/* SPDX-License-Identifier: Apache-2.0 */
/* ledger unlock and verify: what the running service is asked, and what an officer signs. */
#include "tools/officer/ledger.h"
#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "daemon/document/document.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/service.h"
#include "tools/officer/signer.h"

#include <openssl/rand.h>
#include <string.h>

static const struct mm_method get_status = {
    .path = "/mintmark.v1.OfficerService/GetStatus",
    .response = &mintmark__v1__get_status_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};
static const struct mm_method unlock_ledger = {
    .path = "/mintmark.v1.OfficerService/UnlockLedger",
    .response = &mintmark__v1__unlock_ledger_response__descriptor,
    .repeat = MM_REPEAT_UNPROCESSED,
};
static const struct mm_method verify_ledger = {
    .path = "/mintmark.v1.OfficerService/VerifyLedger",
    .response = &mintmark__v1__verify_ledger_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};

/* ---- describing -------------------------------------------------------------------------- */

static json_t *hex(const ProtobufCBinaryData *bytes)
{
    char digits[2 * MM_DOCUMENT_HASH_BYTES + 1] = "";

    if (bytes->len <= MM_DOCUMENT_HASH_BYTES)
        mm_hex_encode(bytes->data, bytes->len, digits);
    return json_string(digits);
}

static const char *state_name(Mintmark__V1__LedgerState state)
{
    static const char *const names[] = {
        [MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_UNGUARDED] = "unguarded",
        [MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_CHECKING] = "checking",
        [MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_OPEN] = "open",
        [MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_CLOSED] = "closed",
        [MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_LOCKED] = "locked",
    };

    return state < MM_ARRAY_SIZE(names) && names[state] ? names[state] : "unknown";
}

json_t *mm_ledger_describe(const Mintmark__V1__LedgerStatus *l)
{
    Mintmark__V1__LedgerStatus none = MINTMARK__V1__LEDGER_STATUS__INIT;

    if (!l)
        l = &none;
    return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:b, s:I}",
                     "state", state_name(l->state), "lock_reason", mm_out_text(l->lock_reason),
                     "lock_text", mm_out_text(l->lock_text), "ledger_id", hex(&l->ledger_id),
                     "sequence", (json_int_t)l->sequence, "head", hex(&l->head), "devices",
                     (json_int_t)l->devices, "anchor_sequence", (json_int_t)l->anchor_sequence,
                     "anchor_head", hex(&l->anchor_head), "unanchored", (json_int_t)l->unanchored,
                     "epoch", (json_int_t)l->epoch, "unclean_starts", (json_int_t)l->unclean_starts,
                     "anchors", (json_int_t)l->anchors, "verifying", l->verifying,
                     "verified_sequence", (json_int_t)l->verified_sequence);
}

void mm_ledger_print(const json_t *ledger)
{
    static const struct mm_column fields[] = {{"state", "ledger"},
                                              {"lock_reason", "locked for"},
                                              {"lock_text", "because"},
                                              {"sequence", "records"},
                                              {"devices", "devices"},
                                              {"anchor_sequence", "anchored record"},
                                              {"unanchored", "devices beyond"},
                                              {"unclean_starts", "unclean starts"},
                                              {"verified_sequence", "verified record"}};

    mm_out_fields(stdout, ledger, fields, MM_ARRAY_SIZE(fields));
}

static int answer(struct mm_officer *o, const Mintmark__V1__LedgerStatus *ledger,
                  struct mm_errinfo *ei)
{
    int r = mm_officer_answer(o, "ledger", mm_ledger_describe(ledger), ei);

    if (r == MM_OK && !o->args.json)
        mm_ledger_print(json_object_get(o->answer, "ledger"));
    return r;
}

/* ---- ledger unlock ----------------------------------------------------------------------- */

static int ask(struct mm_officer *o, const Mintmark__V1__LedgerStatus *l, struct mm_errinfo *ei)
{
    if (l->state != MINTMARK__V1__LEDGER_STATE__LEDGER_STATE_LOCKED)
        return mm_fail(ei, MM_ERR_PRECONDITION, "LEDGER_NOT_LOCKED", "the ledger is not locked");
    mm_ceremony_say(o, "lock", "%s: %s", l->lock_reason, l->lock_text);
    mm_ceremony_say(o, "database", "record %llu, %llu devices", (unsigned long long)l->sequence,
                    (unsigned long long)l->devices);
    mm_ceremony_say(o, "anchor", "record %llu", (unsigned long long)l->anchor_sequence);
    return mm_ceremony_confirm(o, ei, "Take the database as it is, and let the service go on (%s)?",
                               o->args.reason);
}

static int sign(struct mm_officer *o, const Mintmark__V1__LedgerStatus *l, struct mm_buf *cms,
                struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_signer_done) struct mm_signer signer = {0};
    Mintmark__V1__SignedDocument content = MINTMARK__V1__SIGNED_DOCUMENT__INIT;
    Mintmark__V1__Unlock unlock = MINTMARK__V1__UNLOCK__INIT;
    uint8_t nonce[MM_NONCE_BYTES];
    int r = mm_signer_open(o, &signer, ei);

    if (r < 0)
        return r;
    if (RAND_bytes(nonce, sizeof(nonce)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "libcrypto has no random bytes");
    content.document_case = MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_UNLOCK;
    content.unlock = &unlock;
    unlock.ledger_id = l->ledger_id;
    unlock.database_sequence = l->sequence;
    unlock.database_head = l->head;
    unlock.anchor_sequence = l->anchor_sequence;
    unlock.anchor_head = l->anchor_head;
    unlock.lock_reason = l->lock_reason;
    unlock.reason = (char *)(uintptr_t)o->args.reason; /* packing only reads it */
    unlock.time_ms = mm_clock_wall_ms();
    unlock.nonce = (ProtobufCBinaryData){sizeof(nonce), nonce};
    return mm_signer_sign(&signer, &content, cms, ei);
}

static int send_unlock(struct mm_officer *o, struct mintmark *client, const struct mm_buf *cms,
                       struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    Mintmark__V1__UnlockLedgerRequest request = MINTMARK__V1__UNLOCK_LEDGER_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    int r;

    request.document = (ProtobufCBinaryData){cms->len, cms->data};
    r = mm_service_call(client, &unlock_ledger, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "unlocked", "the service goes on once the token has a new anchor");
    return answer(o, ((const Mintmark__V1__UnlockLedgerResponse *)message)->ledger, ei);
}

int mm_cmd_ledger_unlock(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__GetStatusRequest request = MINTMARK__V1__GET_STATUS_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    MM_BUF_CLEANUP struct mm_buf cms = MM_BUF_INIT(MM_UNLOCK_MAX);
    const Mintmark__V1__GetStatusResponse *status;
    ProtobufCMessage *message = NULL;
    int r;

    if (strlen(o->args.reason) > MM_REASON_TEXT_MAX)
        return mm_officer_usage(o, ei, "--reason has at most %d bytes", MM_REASON_TEXT_MAX);
    r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_service_call(client, &get_status, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    status = (const Mintmark__V1__GetStatusResponse *)message;
    if (!status->ledger)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "NO_LEDGER", "the service has no ledger");
    r = ask(o, status->ledger, ei);
    if (r == MM_OK)
        r = sign(o, status->ledger, &cms, ei);
    return r < 0 ? r : send_unlock(o, client, &cms, ei);
}

/* ---- ledger verify ----------------------------------------------------------------------- */

int mm_cmd_ledger_verify(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__VerifyLedgerRequest request = MINTMARK__V1__VERIFY_LEDGER_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r = mm_service_open(o, &client, ei);

    if (r == MM_OK)
        r = mm_service_call(client, &verify_ledger, &request.base, &arena, &message, ei);
    if (r < 0)
        return r;
    return answer(o, ((const Mintmark__V1__VerifyLedgerResponse *)message)->ledger, ei);
}
