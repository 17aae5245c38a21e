/* SPDX-License-Identifier: Apache-2.0 */
/* appliance init: the two keys that speak for the appliance, and their certificates. */
#include "tools/officer/appliance.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "daemon/document/document.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

static int duties(struct mm_officer *o, struct mm_duty duty[2], struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *a = &o->conf->appliance;
    int r = MM_OK;

    if (!a->given) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_APPLIANCE",
                       "%s has no section appliance: it names the token, the keys and the files",
                       o->conf->path);
    }
    duty[0] = (struct mm_duty){
        .name = "identity", .label = a->identity_key, .certificate = a->identity_certificate};
    duty[1] = (struct mm_duty){
        .name = "audit", .label = a->audit_key, .certificate = a->audit_certificate};
    for (size_t i = 0; r == MM_OK && i < 2; i++) {
        const int n =
            o->args.csr ? snprintf(duty[i].request, PATH_MAX, "%s.csr", duty[i].certificate) : 0;

        if (n >= PATH_MAX)
            return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: path too long",
                           duty[i].certificate);
        r = mm_officer_absent(duty[i].certificate, ei);
        if (r == MM_OK && o->args.csr)
            r = mm_officer_absent(duty[i].request, ei);
    }
    return r;
}

int mm_duty_refuse_existing(struct mm_officer *o, const struct mm_duty *duty, struct mm_errinfo *ei)
{
    mm_handle found;
    const int r = mm_officer_find(o, duty->label, MM_KEY_PRIVATE, &found, ei);

    if (r == MM_OK || r == MM_ERR_EXISTS)
        return mm_fail(ei, MM_ERR_EXISTS, "KEY_EXISTS",
                       "the token has a key labelled '%s' already; it is left as it is",
                       duty->label);
    return r == MM_ERR_NOT_FOUND ? MM_OK : r;
}

/* Its own signature is all that such a certificate has: who relies on it compares its hash, which
 * the transcript holds, or has it replaced by one of a CA (--csr). */
static int compile(struct mm_officer *o, const struct mm_duty *duty, bool request,
                   struct mm_profile **ret_profile, struct mm_errinfo *ei)
{
    char subject[MM_NAME_MAX + 64], usage[] = "digitalSignature", empty[] = "", curve[] = "p256";
    char validity[] = "99991231235959Z", not_before[] = "now", constraints[] = "end-entity";
    char delivery[] = "retained", self[] = "self", none[] = "none", *usages[] = {usage};
    struct mm_conf_profile conf = {
        .name = self,
        .preset = empty,
        .issuer = request ? none : self,
        .token = empty,
        .transport = empty,
        .key = curve,
        .delivery = delivery,
        .subject = subject,
        .san = empty,
        .vid = empty,
        .pid = empty,
        .not_before = not_before,
        .validity = validity,
        .basic_constraints = constraints,
        .key_usage = usages,
        .n_key_usage = 1,
        .subject_key_identifier = true,
    };

    snprintf(subject, sizeof(subject), "CN=%s %s,O=mintmark appliance", o->conf->site, duty->name);
    return mm_profile_compile(&conf, NULL, ret_profile, ei);
}

int mm_duty_make_key(struct mm_officer *o, struct mm_duty *duty, struct mm_errinfo *ei)
{
    char uri[MM_NAME_MAX + 32];
    mm_handle handle;
    int r = mm_token_create_ca_key(o->token, duty->label, MM_CURVE_P256, &handle, ei);

    if (r == MM_OK)
        r = mm_ceremony_key(o, handle, ei);
    if (r < 0)
        return r;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", duty->label);
    return mm_ca_key_find(o, uri, &duty->key, ei);
}

int mm_duty_record(struct mm_officer *o, const struct mm_duty *duty, X509 *certificate,
                   struct mm_errinfo *ei)
{
    char fingerprint[MM_FINGERPRINT_TEXT], spki[2 * MM_DOCUMENT_HASH_BYTES + 1];
    uint8_t hash[MM_DOCUMENT_HASH_BYTES];
    int r = mm_cert_fingerprint(certificate, fingerprint, ei);

    if (r == MM_OK)
        r = mm_document_key_hash(certificate, hash, ei);
    if (r < 0)
        return r;
    mm_hex_encode(hash, sizeof(hash), spki);
    mm_ceremony_say(o, duty->name, "certificate %s, SHA-256 %s", duty->certificate, fingerprint);
    mm_ceremony_say(o, duty->name, "public key SHA-256 %s", spki);
    return mm_officer_answer(o, duty->name,
                             json_pack("{s:s, s:s, s:s}", "file", duty->certificate, "sha256",
                                       fingerprint, "public_key_sha256", spki),
                             ei);
}

int mm_duty_certify(struct mm_officer *o, struct mm_duty *duty, X509 **ret_certificate,
                    struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_profile_free_p) struct mm_profile *profile = NULL;
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_CLEANUP(X509_free_p) X509 *certificate = NULL;
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_subject subject;
    const unsigned char *p;
    int r = compile(o, duty, false, &profile, ei);

    if (r == MM_OK)
        r = mm_ca_subject(o, &duty->key, &subject, ei);
    if (r == MM_OK)
        r = mm_profile_certificate_tbs(profile, &subject, &tbs, ei);
    if (r == MM_OK)
        r = mm_ca_sign(o, &tbs, &duty->key, &der, ei);
    mm_buf_done(&tbs.der);
    if (r == MM_OK)
        r = mm_profile_check_certificate(profile, &subject, (struct mm_bytes){der.data, der.len},
                                         ei);
    if (r < 0)
        return r;
    p = der.data;
    certificate = d2i_X509(NULL, &p, (long)der.len);
    if (!certificate || X509_verify(certificate, X509_get0_pubkey(certificate)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "CERTIFICATE", "the new certificate does not verify");
    *ret_certificate = MM_TAKE(certificate);
    return MM_OK;
}

static int write_certificate(struct mm_officer *o, struct mm_duty *duty, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_CLEANUP(X509_free_p) X509 *certificate = NULL;
    int r = mm_duty_certify(o, duty, &certificate, ei);

    if (r == MM_OK)
        r = mm_cert_append_pem(certificate, &pem, ei);
    if (r == MM_OK)
        r = mm_io_create_file(duty->certificate, 0644, pem.data, pem.len, ei);
    return r < 0 ? r : mm_duty_record(o, duty, certificate, ei);
}

int mm_duty_request(struct mm_officer *o, struct mm_duty *duty, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_profile_free_p) struct mm_profile *profile = NULL;
    MM_BUF_CLEANUP struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    struct mm_tbs tbs = MM_TBS_INIT;
    struct mm_subject subject;
    int r = compile(o, duty, true, &profile, ei);

    if (r == MM_OK)
        r = mm_ca_subject(o, &duty->key, &subject, ei);
    if (r == MM_OK)
        r = mm_profile_csr_tbs(profile, &subject, &tbs, ei);
    if (r == MM_OK)
        r = mm_ca_sign(o, &tbs, &duty->key, &der, ei);
    mm_buf_done(&tbs.der);
    if (r == MM_OK)
        r = mm_csr_append_pem(&der, &pem, ei);
    if (r == MM_OK)
        r = mm_io_create_file(duty->request, 0644, pem.data, pem.len, ei);
    if (r == MM_OK)
        mm_ceremony_say(o, "request", "%s, for a CA that is to vouch for the %s key", duty->request,
                        duty->name);
    return r;
}

/* Everything that can be found wrong is found before the question. */
int mm_cmd_appliance_init(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_duty duty[2];
    int r = duties(o, duty, ei);

    if (r < 0)
        return r;
    r = mm_officer_token(o, o->conf->appliance.token, MM_OFFICER_USER, ei);
    for (size_t i = 0; r == MM_OK && i < 2; i++)
        r = mm_duty_refuse_existing(o, &duty[i], ei);
    if (r < 0)
        return r;
    r = mm_ceremony_confirm(
        o, ei, "Make the appliance's keys '%s' and '%s' in token '%s', and write %s and %s?",
        duty[0].label, duty[1].label, o->conf_token->name, duty[0].certificate,
        duty[1].certificate);
    for (size_t i = 0; r == MM_OK && i < 2; i++) {
        r = mm_duty_make_key(o, &duty[i], ei);
        if (r == MM_OK)
            r = write_certificate(o, &duty[i], ei);
        if (r == MM_OK && o->args.csr)
            r = mm_duty_request(o, &duty[i], ei);
    }
    return r;
}
