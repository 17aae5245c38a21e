/* SPDX-License-Identifier: Apache-2.0 */
/* Which audit key signs from which record on: what the auditor named, and what the ledger itself
 * justifies by a change that the key before has signed (docs/ledger.md). */
#include "tools/verify/ledger.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* A new one from this record on. */
static struct period *add_period(struct ledger *l, uint64_t from)
{
    struct period *all = realloc(l->periods, (l->n_periods + 1) * sizeof(*all));

    if (!all) {
        unreadable("memory", "there is not enough");
        exit(EXIT_DATA);
    }
    l->periods = all;
    all[l->n_periods] = (struct period){.from = from};
    return &all[l->n_periods++];
}

void audit_keys_done(struct ledger *l)
{
    for (size_t i = 0; i < l->n_periods; i++)
        X509_free(l->periods[i].certificate);
    free(l->periods);
    l->periods = NULL;
    l->n_periods = 0;
}

static const char *date_fault(const X509 *cert, int64_t time_ms, char why[TEXT_MAX])
{
    time_t when = (time_t)(time_ms / 1000);

    if (X509_cmp_time(X509_get0_notAfter(cert), &when) < 0) {
        snprintf(why, TEXT_MAX, "its certificate had expired");
        return "SIGNER_EXPIRED";
    }
    if (X509_cmp_time(X509_get0_notBefore(cert), &when) > 0) {
        snprintf(why, TEXT_MAX, "its certificate was not valid yet");
        return "SIGNER_NOT_YET_VALID";
    }
    return NULL;
}

/* A certificate that a change has brought is as good as one that the auditor named. */
static const char *certificate_fault(const struct ledger *l, X509 *signer, STACK_OF(X509) * others,
                                     int64_t time_ms, char why[TEXT_MAX])
{
    for (size_t i = 0; i < l->n_periods; i++) {
        if (l->periods[i].certificate && X509_cmp(l->periods[i].certificate, signer) == 0)
            return date_fault(signer, time_ms, why);
    }
    return trust_check(&l->audit, signer, others, time_ms, why);
}

static void pin(struct ledger *l, size_t i, const uint8_t key[SHA256_LEN])
{
    struct period *p = &l->periods[i];

    if (p->known)
        return;
    p->known = true;
    memcpy(p->key, key, SHA256_LEN);
    if (i > 0 && l->periods[i - 1].known && memcmp(l->periods[i - 1].key, key, SHA256_LEN) != 0)
        unproved(l->v,
                 "That the audit key from record %llu on is the appliance's: no key before it "
                 "handed over; it came with an officer's unlock, and --audit names it.",
                 (unsigned long long)p->from);
}

const char *audit_key_check(struct ledger *l, X509 *signer, STACK_OF(X509) * others, uint64_t first,
                            uint64_t last, int64_t time_ms, char why[TEXT_MAX])
{
    const char *fault = certificate_fault(l, signer, others, time_ms, why);
    uint8_t key[SHA256_LEN];

    if (fault)
        return fault;
    if (l->n_periods == 0)
        add_period(l, 0);
    if (!certificate_key_hash(signer, key)) {
        snprintf(why, TEXT_MAX, "its certificate has no key");
        return "SIGNER_UNKNOWN";
    }
    for (size_t i = 0; i < l->n_periods; i++) {
        const bool ended = i + 1 < l->n_periods && l->periods[i + 1].from <= first;

        if (ended || l->periods[i].from > last ||
            (l->periods[i].known && memcmp(l->periods[i].key, key, SHA256_LEN) != 0))
            continue;
        pin(l, i, key);
        return NULL;
    }
    snprintf(why, TEXT_MAX, "it is an audit key, but not the one that the ledger has there");
    return "AUDIT_KEY_UNJUSTIFIED";
}

void audit_keys_unlocked(struct ledger *l)
{
    if (l->n_periods == 0)
        add_period(l, 0);
    add_period(l, l->at.sequence);
}

/* ---- a change ---------------------------------------------------------------------------- */

static X509 *parse_certificate(const ProtobufCBinaryData *der)
{
    const unsigned char *at = der->data;
    X509 *cert = der->len > 0 ? d2i_X509(NULL, &at, (long)der->len) : NULL;

    ERR_clear_error();
    if (cert && at == der->data + der->len)
        return cert;
    X509_free(cert);
    return NULL;
}

/* NULL, or what is wrong with the key that comes. */
static const char *new_key_fault(struct ledger *l, const Mintmark__V1__AuditKeyChanged *e,
                                 X509 *cert, const uint8_t former[SHA256_LEN],
                                 uint8_t ret_key[SHA256_LEN])
{
    const struct slice cms = {e->acceptance.data, e->acceptance.len};
    uint8_t hash[SHA256_LEN], by[SHA256_LEN];
    struct signature s;
    char why[TEXT_MAX];
    bool accepted;

    if (!cert || !certificate_key_hash(cert, ret_key) || X509_check_ca(cert) != 0 ||
        !(X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE))
        return "it names no certificate of a key that signs";
    if (X509_digest(cert, EVP_sha256(), hash, NULL) != 1 ||
        !same_bytes(&e->certificate_sha256, hash, sizeof(hash)))
        return "the record has the hash of another certificate than was signed for";
    if (memcmp(ret_key, former, SHA256_LEN) == 0)
        return "the key that comes is the one that goes";
    digest_of(l, e->document.data, e->document.len, hash);
    accepted = !signature_open_digest(&s, cms.data, cms.len, hash, why) &&
               certificate_key_hash(s.signer, by) && memcmp(by, ret_key, sizeof(by)) == 0;
    signature_done(&s);
    return accepted ? NULL : "the key that comes has not accepted it";
}

static const char *former_key_fault(struct ledger *l, const Mintmark__V1__AuditKeyChanged *e,
                                    const Mintmark__V1__AuditKeyChange *said,
                                    const struct signature *s, uint8_t ret_former[SHA256_LEN],
                                    char why[TEXT_MAX])
{
    const uint64_t before = l->at.sequence - 1;

    if (!same_bytes(&said->ledger_id, l->id, sizeof(l->id)) || said->sequence == 0 ||
        said->sequence > before)
        return "it was signed for another ledger, or another place in it";
    if (!certificate_key_hash(s->signer, ret_former) ||
        !same_bytes(&said->former_key_sha256, ret_former, SHA256_LEN) ||
        !same_bytes(&e->former_key_sha256, ret_former, SHA256_LEN))
        return "the key that goes has not signed it";
    if (audit_key_check(l, s->signer, s->certificates, before, before, said->time_ms, why))
        return why;
    return NULL;
}

void audit_key_changed(struct ledger *l, const Mintmark__V1__AuditKeyChanged *e)
{
    const struct slice cms = {e->document.data, e->document.len};
    const Mintmark__V1__SignedDocument *d = NULL;
    uint8_t former[SHA256_LEN], key[SHA256_LEN];
    X509 *cert = NULL;
    struct signature s;
    struct period *p;
    char why[TEXT_MAX];
    const char *fault =
        document_open(&s, &l->document_arena, cms.data, cms.len, &d, why) ? why : NULL;

    if (!fault && d->document_case != MINTMARK__V1__SIGNED_DOCUMENT__DOCUMENT_AUDIT_KEY_CHANGE)
        fault = "the document in it is another";
    if (!fault)
        fault = former_key_fault(l, e, d->audit_key_change, &s, former, why);
    if (!fault) {
        cert = parse_certificate(&d->audit_key_change->certificate);
        fault = new_key_fault(l, e, cert, former, key);
    }
    if (fault) {
        wrong(l, "AUDIT_KEY_UNJUSTIFIED", "a change of the audit key: %s", fault);
        X509_free(cert);
    } else {
        p = add_period(l, l->at.sequence);
        p->known = true;
        p->certificate = cert;
        memcpy(p->key, key, sizeof(key));
        l->key_changes++;
    }
    signature_done(&s);
}
