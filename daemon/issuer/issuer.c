/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/issuer/issuer.h"

#include "daemon/base/io.h"
#include "internal/store.pb-c.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <string.h>

/* ---- the pinned CA ----------------------------------------------------------------------- */

static int encode_chain(struct mm_issuer *i, struct mm_errinfo *ei)
{
    struct mm_ders *d = &i->chain_der;

    for (int k = 0; k < sk_X509_num(i->chain); k++) {
        uint8_t *der = NULL;
        const int len = i2d_X509(sk_X509_value(i->chain, k), &der);

        if (len < 0)
            return mm_fail_memory(ei);
        d->at[d->n] = d->bytes.len;
        d->len[d->n++] = (size_t)len;
        mm_buf_append(&d->bytes, der, (size_t)len);
        OPENSSL_free(der);
    }
    return mm_buf_err(&d->bytes) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* As it is recorded with what is issued under it. */
static int pack_chain(struct mm_issuer *i, struct mm_errinfo *ei)
{
    Mintmark__Internal__Chain chain = MINTMARK__INTERNAL__CHAIN__INIT;
    ProtobufCBinaryData certificates[1 + MM_CHAIN_MAX];
    uint8_t *to;

    chain.certificates = certificates;
    for (; chain.n_certificates < i->chain_der.n; chain.n_certificates++) {
        const struct mm_bytes der = mm_ders_get(&i->chain_der, chain.n_certificates);

        certificates[chain.n_certificates] =
            (ProtobufCBinaryData){der.len, (uint8_t *)(uintptr_t)der.data};
    }
    to = mm_buf_reserve(&i->chain_packed, mintmark__internal__chain__get_packed_size(&chain));
    if (!to)
        return mm_fail_memory(ei);
    mm_buf_grew(&i->chain_packed, mintmark__internal__chain__pack(&chain, to));
    SHA256(i->chain_packed.data, i->chain_packed.len, i->chain_sha256);
    return MM_OK;
}

static int read_chain(struct mm_issuer *i, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r = mm_io_read_file(i->section->certificate, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_pki_parse_chain((struct mm_bytes){pem.data, pem.len}, &i->chain, ei);
    if (r == MM_OK)
        r = mm_ca_key_new(sk_X509_value(i->chain, 0), &i->ca_key, ei);
    if (r == MM_OK)
        r = encode_chain(i, ei);
    if (r == MM_OK)
        r = pack_chain(i, ei);
    return r < 0 ? mm_err_prefix(ei, "%.120s", i->section->certificate) : MM_OK;
}

bool mm_issuer_is_chain(const struct mm_issuer *i, const struct mm_ders *ders, size_t from)
{
    const struct mm_ders *pinned = &i->chain_der;

    if (ders->n - from != pinned->n)
        return false;
    for (size_t k = 0; k < pinned->n; k++) {
        if (ders->len[from + k] != pinned->len[k] ||
            memcmp(mm_ders_get(ders, from + k).data, mm_ders_get(pinned, k).data, pinned->len[k]) !=
                0)
            return false;
    }
    return true;
}

/* ---- profiles ---------------------------------------------------------------------------- */

static struct mm_issuer_ca *ca_of(struct mm_issuer *i, const char *name)
{
    for (size_t k = 0; k < i->n_cas; k++) {
        if (strcmp(i->cas[k].name, name) == 0)
            return &i->cas[k];
    }
    i->cas[i->n_cas].name = name;
    return &i->cas[i->n_cas++];
}

static int compile(struct mm_issuer *i, const struct mm_conf *conf, struct mm_errinfo *ei)
{
    int r = MM_OK;

    i->profiles = calloc(conf->n_profiles + 1, sizeof(*i->profiles));
    i->cas = calloc(conf->n_profiles + 1, sizeof(*i->cas));
    if (!i->profiles || !i->cas)
        return mm_fail_memory(ei);
    for (size_t k = 0; r == MM_OK && k < conf->n_profiles; k++) {
        struct mm_issuing *p = &i->profiles[i->n_profiles];

        if (strcmp(conf->profiles[k].issuer, i->section->name) != 0)
            continue;
        p->conf = &conf->profiles[k];
        p->ca = ca_of(i, p->conf->ca);
        i->n_profiles++;
        r = mm_profile_compile(p->conf, sk_X509_value(i->chain, 0), &p->profile, ei);
    }
    return r;
}

struct mm_issuing *mm_issuer_profile(struct mm_issuer *i, const char *name)
{
    for (size_t k = 0; k < i->n_profiles; k++) {
        if (strcmp(i->profiles[k].conf->name, name) == 0)
            return &i->profiles[k];
    }
    return NULL;
}

/* ---- both -------------------------------------------------------------------------------- */

static int open_all(struct mm_issuer *i, struct mm_errinfo *ei)
{
    const struct mm_conf *conf = i->worker->conf;
    int r;

    i->section = mm_conf_issuer_get(conf, i->worker->section);
    if (!mm_conf_issuer_is_ejbca(i->section))
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_ISSUER",
                       "no issuer section \"%s\" of kind ejbca", i->worker->section);
    r = read_chain(i, ei);
    if (r == MM_OK)
        r = compile(i, conf, ei);
    if (r == MM_OK)
        r = mm_credential_open(conf, i->section, &i->credential, ei);
    if (r == MM_OK)
        r = mm_client_new(i->section, &i->credential, &i->client, ei);
    return r < 0 ? mm_err_prefix(ei, "issuer \"%s\"", i->section->name) : MM_OK;
}

int mm_issuer_open(struct mm_worker *w, struct mm_issuer **ret_issuer, struct mm_errinfo *ei)
{
    struct mm_issuer *i = calloc(1, sizeof(*i));
    int r;

    if (!i)
        return mm_fail_memory(ei);
    i->worker = w;
    LIST_INIT(&i->tasks);
    i->chain_der = MM_DERS_INIT;
    i->chain_packed = MM_BUF_INIT(MM_CHAIN_BYTES_MAX);
    r = open_all(i, ei);
    if (r < 0) {
        mm_issuer_free(i);
        return r;
    }
    *ret_issuer = i;
    return MM_OK;
}

void mm_issuer_free(struct mm_issuer *i)
{
    if (!i)
        return;
    mm_client_free(i->client);
    mm_issuer_drop_tasks(i);
    mm_credential_done(&i->credential);
    for (size_t k = 0; k < i->n_profiles; k++)
        mm_profile_free(i->profiles[k].profile);
    free(i->profiles);
    free(i->cas);
    sk_X509_pop_free(i->chain, X509_free);
    mm_ders_done(&i->chain_der);
    mm_buf_done(&i->chain_packed);
    mm_ca_key_free(i->ca_key);
    free(i);
}
