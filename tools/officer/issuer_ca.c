/* SPDX-License-Identifier: Apache-2.0 */
/* issuer chain and issuer crl: what EJBCA has of a profile's CA, into files. */
#include "daemon/base/io.h"
#include "mintmark/v1/officer.pb-c.h"
#include "tools/officer/pem.h"
#include "tools/officer/service.h"

#include <openssl/pem.h>
#include <string.h>

static const struct mm_method get_ca_chain = {
    .path = "/mintmark.v1.OfficerService/GetCaChain",
    .response = &mintmark__v1__get_ca_chain_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
};
static const struct mm_method get_crl = {
    .path = "/mintmark.v1.OfficerService/GetCrl",
    .response = &mintmark__v1__get_crl_response__descriptor,
    .repeat = MM_REPEAT_SAFE,
    .streams = true,
};

static int write_file(struct mm_officer *o, const struct mm_buf *data, struct mm_errinfo *ei)
{
    int r = mm_io_create_file(o->args.out, 0644, data->data, data->len, ei);

    return r < 0 ? r : mm_officer_answer(o, "out", json_string(o->args.out), ei);
}

/* ---- issuer chain ------------------------------------------------------------------------ */

static int append_certificate(const ProtobufCBinaryData *der, struct mm_buf *pem, json_t *list,
                              struct mm_errinfo *ei)
{
    MM_CLEANUP(X509_free_p) X509 *cert = NULL;
    const uint8_t *at = der->data;
    int r;

    cert = d2i_X509(NULL, &at, (long)der->len);
    if (!cert || at != der->data + der->len)
        return mm_fail(ei, MM_ERR_CORRUPT, "ANSWER", "what EJBCA has there is no certificate");
    r = mm_cert_append_pem(cert, pem, ei);
    if (r < 0)
        return r;
    return json_array_append_new(list, mm_cert_describe(cert)) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int take_chain(struct mm_officer *o, const Mintmark__V1__GetCaChainResponse *response,
                      struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(1 << 20);
    json_t *const list = json_array();
    size_t i;
    json_t *each;
    int r = mm_officer_answer(o, "certificates", list, ei);

    for (i = 0; r == MM_OK && i < response->n_certificates; i++)
        r = append_certificate(&response->certificates[i], &pem, list, ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "pinned", json_boolean(response->pinned), ei);
    if (r == MM_OK)
        r = write_file(o, &pem, ei);
    if (r < 0)
        return r;
    if (!o->args.json)
        json_array_foreach(list, i, each)
            mm_cert_print(each);
    if (response->pinned)
        return MM_OK;
    return mm_fail(ei, MM_ERR_PRECONDITION, "NOT_PINNED",
                   "this is not the chain of the issuer's setting certificate");
}

int mm_cmd_issuer_chain(struct mm_officer *o, struct mm_errinfo *ei)
{
    Mintmark__V1__GetCaChainRequest request = MINTMARK__V1__GET_CA_CHAIN_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *message = NULL;
    int r = mm_officer_absent(o->args.out, ei);

    request.profile = o->args.profile;
    if (r == MM_OK)
        r = mm_service_open(o, &client, ei);
    if (r == MM_OK)
        r = mm_service_call(client, &get_ca_chain, &request.base, &arena, &message, ei);
    return r < 0 ? r : take_chain(o, (const Mintmark__V1__GetCaChainResponse *)message, ei);
}

/* ---- issuer crl -------------------------------------------------------------------------- */

static void begin(void *arg)
{
    mm_buf_reset(arg);
}

static int take(void *arg, const struct mm_bytes *message, int *ret_progress,
                struct mintmark_error *error)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    ProtobufCMessage *unpacked = NULL;
    struct mm_buf *crl = arg;
    int r = mm_rpc_unpack(get_crl.response, message, &arena, &unpacked, error);

    (void)ret_progress;
    if (r < 0)
        return r;
    mm_buf_append(crl, ((const Mintmark__V1__GetCrlResponse *)unpacked)->data.data,
                  ((const Mintmark__V1__GetCrlResponse *)unpacked)->data.len);
    return mm_buf_err(crl) < 0;
}

static int fetch_crl(struct mm_officer *o, struct mm_buf *crl, struct mm_errinfo *ei)
{
    Mintmark__V1__GetCrlRequest request = MINTMARK__V1__GET_CRL_REQUEST__INIT;
    MM_CLEANUP(mintmark_free_p) struct mintmark *client = NULL;
    const struct mm_rpc_sink sink = {begin, take, crl};
    struct mintmark_error error = {0};
    int r = mm_service_open(o, &client, ei);

    if (r < 0)
        return r;
    request.profile = o->args.profile;
    request.delta = o->args.delta;
    r = mm_rpc_call(client, &get_crl, &request.base, &sink, &error);
    if (r < 0)
        return mm_service_error(&error, ei);
    return r > 0 || mm_buf_err(crl) < 0
               ? mm_fail(ei, MM_ERR_TOO_BIG, "ANSWER", "the CRL is larger than it may be")
               : MM_OK;
}

static json_t *time_text(const ASN1_TIME *time)
{
    struct tm tm;
    char text[32] = "";

    if (time && ASN1_TIME_to_tm(time, &tm) == 1)
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static int describe_crl(struct mm_officer *o, const struct mm_buf *der, struct mm_errinfo *ei)
{
    static const struct mm_column fields[] = {
        {"issuer", "issuer"}, {"issued", "issued"}, {"next", "next"}, {"revoked", "revoked"}};
    const uint8_t *at = der->data;
    X509_CRL *const crl = d2i_X509_CRL(NULL, &at, (long)der->len);
    char name[512] = "";
    json_t *d;
    int r;

    if (!crl)
        return mm_fail(ei, MM_ERR_CORRUPT, "ANSWER", "what EJBCA has there is no CRL");
    X509_NAME_oneline(X509_CRL_get_issuer(crl), name, sizeof(name));
    d = json_pack("{s:o, s:o, s:o, s:i}", "issuer", mm_out_text(name), "issued",
                  time_text(X509_CRL_get0_lastUpdate(crl)), "next",
                  time_text(X509_CRL_get0_nextUpdate(crl)), "revoked",
                  (int)sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)));
    r = mm_officer_answer(o, "crl", d, ei);
    X509_CRL_free(crl);
    if (r == MM_OK && !o->args.json)
        mm_out_fields(stdout, d, fields, MM_ARRAY_SIZE(fields));
    return r;
}

int mm_cmd_issuer_crl(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf crl = MM_BUF_INIT(MM_ISSUER_CRL_MAX);
    int r = mm_officer_absent(o->args.out, ei);

    if (r == MM_OK)
        r = fetch_crl(o, &crl, ei);
    if (r == MM_OK)
        r = describe_crl(o, &crl, ei);
    return r < 0 ? r : write_file(o, &crl, ei);
}
