/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/issue.h"

#include "tests/fake/ejbca/name.h"

#include "daemon/base/clock.h"

#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>

enum { DAY = 86400, BACK_DATING = 600, PURPOSES_MAX = 8 };

void order_done(struct order *order)
{
    mm_buf_done(&order->der);
    mm_buf_done(&order->subject);
}

static bool lists(const json_t *list, const char *name)
{
    json_t *entry;
    size_t i;

    json_array_foreach(list, i, entry) {
        if (json_is_string(entry) && strcmp(json_string_value(entry), name) == 0)
            return true;
    }
    return false;
}

/* The request's subject, in the order that the profile says. */
static bool take_subject(struct order *order)
{
    const char *how = json_string_value(json_object_get(order->profile, "subject_order"));

    if (order->subject.len)
        return true;
    if (how && strcmp(how, "request") != 0)
        return name_rebuild(order->csr.subject, strcmp(how, "x500") == 0, &order->subject);
    mm_buf_append(&order->subject, order->csr.subject.data, order->csr.subject.len);
    return true;
}

bool order_parse(struct call *call, struct order *order)
{
    const char *text = call_text(call, "certificate_request");

    if (text && csr_decode(text, &order->der) &&
        csr_parse((struct mm_bytes){order->der.data, order->der.len}, &order->csr))
        return true;
    call_error(call, 400, "Invalid certificate request");
    return false;
}

bool order_verify(struct call *call, const struct order *order)
{
    if (!setting_bool(call->fake->scenario, "popo") || csr_verifies(&order->csr))
        return true;
    call_error(call, 400, "POPO verification failed.");
    return false;
}

bool order_key(struct call *call, struct order *order)
{
    char kind[32];
    int bits;

    csr_key_kind(&order->csr, kind, &bits);
    if (!lists(json_object_get(order->profile, "key_algorithms"), kind))
        call_error(call, 400, "Illegal key algorithm, not authorized by certificate profile: %s",
                   kind);
    else if (bits < json_integer_value(json_object_get(order->profile, "min_bits")))
        call_error(call, 400, "Illegal key length, not authorized by certificate profile: %d.",
                   bits);
    else if (!take_subject(order))
        call_error(call, 400, "Subject DN is illegal.");
    else
        return true;
    return false;
}

const char *order_ca_status(const struct call *call, const struct order *order)
{
    const json_t *settings = setting_in(call->fake->scenario, "cas", order->ca->name);
    const char *status = json_string_value(json_object_get(settings, "status"));

    return status ? status : "active";
}

bool order_ca_works(struct call *call, const struct order *order)
{
    const json_t *settings = setting_in(call->fake->scenario, "cas", order->ca->name);
    const char *status = order_ca_status(call, order);

    if (json_is_true(json_object_get(settings, "approval")))
        call_error(call, 400,
                   "Single transaction enrollment request rejected since approvals are enabled for "
                   "this CA (%d) or Certificate Profile (%d).",
                   order->ca->id, profile_id(order->certificate_profile));
    else if (strcmp(status, "offline") == 0)
        call_error(call, 400, "CA token is offline for CA '%s'.", order->ca->subject_text);
    else if (strcmp(status, "active") != 0)
        call_error(call, 400, "signsession.canotactive, %s", order->ca->subject_text);
    else
        return true;
    return false;
}

/* Other users with this subject, as EJBCA lists them. */
static void list_users(const struct issued *row, const struct order *order, struct mm_buf *names)
{
    for (; row; row = row->next_of_subject) {
        if (row->ca != order->ca || strcmp(row->user->name, order->username) == 0)
            continue;
        mm_buf_printf(names, "%s'%s'", names->len ? ", " : "", row->user->name);
        if (names->len > TEXT_SIZE / 2)
            return;
    }
}

bool order_is_unique(struct call *call, const struct order *order)
{
    const json_t *settings = setting_in(call->fake->scenario, "cas", order->ca->name);
    struct mm_buf names MM_BUF_CLEANUP = MM_BUF_INIT(TEXT_SIZE);
    struct mm_buf subject MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX * 4);
    uint8_t hash[KEY_HASH_LEN];

    cert_key_hash(order->csr.spki, hash);
    for (const struct issued *row = state_by_key(call->fake->state, hash); row;
         row = row->next_of_key) {
        if (row->ca != order->ca)
            continue;
        if (json_is_true(json_object_get(settings, "enforce_key_renewal"))) {
            call_error(call, 400,
                       "User '%s' is not allowed to use same key as another certificate is using.",
                       order->username);
            return false;
        }
        if (json_is_true(json_object_get(settings, "enforce_unique_public_keys")) &&
            strcmp(row->user->name, order->username) != 0) {
            call_error(call, 400,
                       "User '%s' is not allowed to use same key as another user is using.",
                       order->username);
            return false;
        }
    }
    if (!json_is_true(json_object_get(settings, "enforce_unique_dn")) ||
        !name_to_text((struct mm_bytes){order->subject.data, order->subject.len}, &subject))
        return true;
    list_users(state_by_subject(call->fake->state, mm_buf_cstr(&subject)), order, &names);
    if (!names.len)
        return true;
    call_error(
        call, 400,
        "User '%s' is not allowed to use same subject DN as the user(s) %s is/are using while "
        "issued by the same CA (even if CN postfix is used). See setting for 'Enforce unique "
        "DN' in the section Certification Authorities.",
        order->username, mm_buf_cstr(&names));
    return false;
}

static uint8_t usage_bits(const json_t *names)
{
    static const struct {
        const char *name;
        uint8_t bit;
    } usages[] = {{"digitalSignature", USAGE_DIGITAL_SIGNATURE},
                  {"nonRepudiation", USAGE_NON_REPUDIATION},
                  {"keyEncipherment", USAGE_KEY_ENCIPHERMENT},
                  {"keyAgreement", USAGE_KEY_AGREEMENT}};
    uint8_t bits = 0;

    for (size_t i = 0; i < MM_ARRAY_SIZE(usages); i++)
        if (lists(names, usages[i].name))
            bits |= usages[i].bit;
    return bits;
}

static void set_validity(const struct order *order, struct cert_spec *spec)
{
    const int64_t now = mm_clock_wall_ms() / 1000;
    const json_int_t days = json_integer_value(json_object_get(order->profile, "validity_days"));
    const bool back = json_is_true(json_object_get(order->profile, "back_dating"));

    spec->not_before = order->not_before ? order->not_before : now - (back ? BACK_DATING : 0);
    spec->not_after = order->not_after ? order->not_after
                      : days < 0       ? CERT_NEVER
                                       : spec->not_before + days * DAY;
    if (spec->not_after > order->ca->not_after)
        spec->not_after = order->ca->not_after;
}

/* A key that nobody asked for. */
static struct mm_bytes other_spki(const struct fake *fake)
{
    const struct ca *other = &fake->cas.ca[fake->cas.count - 1];

    return (struct mm_bytes){other->spki.data, other->spki.len};
}

/* Changes what is to be signed as the scenario wants; the key that signs. */
static const struct cert_signer *falsify(const struct call *call, struct cert_spec *spec,
                                         const struct order *order, struct mm_buf *subject)
{
    const struct fake *fake = call->fake;
    const struct ca *other = &fake->cas.ca[fake->cas.count - 1];
    const struct issued *before = state_at(fake->state, state_count(fake->state) - 1);

    switch (call->plan.fault) {
    case FAULT_WRONG_KEY:
        spec->spki = other_spki(fake);
        break;
    case FAULT_WRONG_ISSUER:
        spec->issuer = (struct mm_bytes){other->subject.data, other->subject.len};
        spec->issuer_key_id = other->key_id;
        return &other->signer;
    case FAULT_FORGED_ISSUER:
        return &other->signer;
    case FAULT_WRONG_SUBJECT:
        if (name_from_text("CN=somebody else,O=Example,C=SE", subject))
            spec->subject = (struct mm_bytes){subject->data, subject->len};
        break;
    case FAULT_REPEATED_SERIAL:
        if (before && before->view.serial.len == SERIAL_MAX)
            memcpy(spec->serial, before->view.serial.data, SERIAL_MAX);
        break;
    case FAULT_EXPIRED_CERTIFICATE:
        spec->not_before -= 3 * DAY;
        spec->not_after = spec->not_before + DAY;
        break;
    default:
        break;
    }
    return &order->ca->signer;
}

static bool build(const struct call *call, const struct order *order, struct mm_buf *der)
{
    const json_t *purposes = json_object_get(order->profile, "extended_key_usage");
    const char *dotted[PURPOSES_MAX + 1] = {NULL};
    struct mm_buf subject MM_BUF_CLEANUP = MM_BUF_INIT(CA_DN_MAX);
    struct cert_spec spec = {
        .issuer = {order->ca->subject.data, order->ca->subject.len},
        .subject = {order->subject.data, order->subject.len},
        .spki = order->csr.spki,
        .sans = order->csr.sans,
        .issuer_key_id = order->ca->key_id,
        .usage = usage_bits(json_object_get(order->profile, "key_usage")),
        .purposes = dotted,
    };

    for (size_t i = 0; i < PURPOSES_MAX; i++)
        dotted[i] = json_string_value(json_array_get(purposes, i));
    RAND_bytes(spec.serial, sizeof(spec.serial));
    spec.serial[0] = (uint8_t)((spec.serial[0] & 0x7f) | 0x01);
    set_validity(order, &spec);
    if (!cert_build(&spec, falsify(call, &spec, order, &subject), der))
        return false;
    if (call->plan.fault == FAULT_BAD_SIGNATURE)
        der->data[der->len - 5] ^= 1; /* in s */
    return true;
}

/* CA certificates, the issuing one first, as the scenario wants them. */
static size_t chain_of(const struct call *call, const struct ca *ca, struct mm_bytes chain[CA_MAX])
{
    const struct cas *cas = &call->fake->cas;
    size_t n = 0;

    if (call->plan.fault == FAULT_WRONG_CHAIN)
        ca = &cas->ca[cas->count - 1];
    for (;; ca = ca->issuer) {
        const struct mm_buf *der =
            call->plan.fault == FAULT_EXPIRED_CHAIN && n == 0 ? &ca->expired : &ca->certificate;

        chain[n++] = (struct mm_bytes){der->data, der->len};
        if (ca->issuer == ca || n == CA_MAX)
            return n;
    }
}

static json_t *base64_of(struct mm_bytes bytes)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(8 * CERT_DER_MAX);

    cert_base64(bytes, &text);
    return json_stringn((const char *)text.data, text.len);
}

/* base64 of a PKCS#7 in PEM with these certificates: what 9.x answers for "PKCS7". */
static json_t *pkcs7_of(const struct mm_bytes *certificates, size_t count)
{
    PKCS7 *p7 = PKCS7_new();
    BIO *out = BIO_new(BIO_s_mem());
    json_t *text = NULL;
    char *pem;
    bool good = p7 && out && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
                PKCS7_content_new(p7, NID_pkcs7_data) == 1 && PKCS7_set_detached(p7, 1) == 1;

    for (size_t i = 0; good && i < count; i++) {
        const unsigned char *at = certificates[i].data;
        X509 *x509 = d2i_X509(NULL, &at, (long)certificates[i].len);

        good = x509 && PKCS7_add_certificate(p7, x509) == 1;
        X509_free(x509);
    }
    if (good && PEM_write_bio_PKCS7(out, p7) == 1) {
        const long len = BIO_get_mem_data(out, &pem);

        text = base64_of((struct mm_bytes){(const uint8_t *)pem, (size_t)len});
    }
    PKCS7_free(p7);
    BIO_free(out);
    return text;
}

static void answer(struct call *call, const struct order *order, const struct issued *row)
{
    const bool pkcs7 = order->format && strcmp(order->format, "PKCS7") == 0;
    const json_t *wanted = json_object_get(call->body, "include_chain");
    struct mm_bytes all[CA_MAX + 1] = {row->der};
    const size_t count = chain_of(call, order->ca, all + 1);
    json_t *body, *chain = json_array();

    if (json_is_true(wanted) ||
        (json_is_string(wanted) && strcmp(json_string_value(wanted), "true") == 0)) {
        for (size_t i = 0; !pkcs7 && i < count; i++)
            json_array_append_new(chain, base64_of(all[1 + i]));
        if (pkcs7)
            json_array_append_new(chain, pkcs7_of(all + 1, count));
    }
    body = json_pack("{s:o, s:s, s:s}", "certificate",
                     pkcs7 ? pkcs7_of(all, 1 + count) : base64_of(row->der), "serial_number",
                     row->serial, "response_format", pkcs7 ? "PKCS7" : "DER");
    if (json_array_size(chain))
        json_object_set(body, "certificate_chain", chain);
    json_decref(chain);
    call_json(call, 201, body);
}

void order_issue(struct call *call, struct order *order)
{
    struct mm_buf der MM_BUF_CLEANUP = MM_BUF_INIT(CERT_DER_MAX);
    struct issue issue = {.username = order->username,
                          .certificate_profile = order->certificate_profile,
                          .end_entity_profile = order->end_entity_profile,
                          .ca = order->ca};

    if (!build(call, order, &der)) {
        call_error(call, 500, "General failure.");
        return;
    }
    issue.der = (struct mm_bytes){der.data, der.len};
    call->issued = state_issue(call->fake->state, &issue);
    if (!call->issued) {
        call_error(call, 500, "General failure.");
        return;
    }
    call->fake->issued++;
    answer(call, order, call->issued);
}
