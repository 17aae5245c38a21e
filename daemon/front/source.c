/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: read, parsed, and everything checked that needs no token. What passes
 * here and fails in a worker would be a service that never gets ready, or a reload that comes to
 * nothing a moment after it was called good. */
#include "daemon/base/io.h"
#include "daemon/document/document.h"
#include "daemon/front/daemon.h"
#include "daemon/pki/profile.h"
#include "internal/store.pb-c.h"

static void chain_free(STACK_OF(X509) * chain)
{
    sk_X509_pop_free(chain, X509_free);
}
MM_DEFINE_CLEANUP(STACK_OF(X509) *, chain_free)

static int read_chain(const char *path, STACK_OF(X509) * *ret_chain, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf pem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    int r = mm_io_read_file(path, MM_PEM_FILE_MAX, &pem, ei);

    if (r == MM_OK)
        r = mm_pki_parse_chain((struct mm_bytes){pem.data, pem.len}, ret_chain, ei);
    return r < 0 ? mm_err_prefix(ei, "%s", path) : MM_OK;
}

static int check_profile(const struct mm_conf *conf, const struct mm_conf_profile *p,
                         struct mm_errinfo *ei)
{
    const struct mm_conf_issuer *issuer = mm_conf_issuer_get(conf, p->issuer);
    MM_CLEANUP(chain_free_p) STACK_OF(X509) *chain = NULL;
    struct mm_profile *compiled = NULL;
    int r;

    if (issuer && read_chain(issuer->certificate, &chain, ei) < 0)
        return mm_err_prefix(ei, "%s:%d: issuer '%s'", conf->path, issuer->line, issuer->name);
    r = mm_profile_compile(p, chain ? sk_X509_value(chain, 0) : NULL, &compiled, ei);
    if (r < 0) /* it names the profile */
        return mm_err_prefix(ei, "%s:%d", conf->path, p->line);
    mm_profile_free(compiled);
    return MM_OK;
}

/* As the store will parse it: nothing stands in the file but what counts from the next moment on.
 */
static int read_certificates(const struct mm_conf *conf, const char *setting, const char *path,
                             struct mm_buf *pem, struct mm_errinfo *ei)
{
    MM_TRUST_CLEANUP struct mm_trust *trust = NULL;
    int r;

    if (!*path)
        return MM_OK;
    r = mm_io_read_file(path, MM_PEM_FILE_MAX, pem, ei);
    if (r == MM_OK)
        r = mm_trust_new((struct mm_bytes){pem->data, pem->len}, &trust, ei);
    return r < 0 ? mm_err_prefix(ei, "%s:%d: appliance.%s: %.100s", conf->path,
                                 conf->appliance.line, setting, path)
                 : MM_OK;
}

static int read_trusted(const struct mm_conf *conf, struct mm_buf *set, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf oem = MM_BUF_INIT(MM_PEM_FILE_MAX);
    MM_BUF_CLEANUP struct mm_buf officers = MM_BUF_INIT(MM_PEM_FILE_MAX);
    Mintmark__Internal__TrustedFiles files = MINTMARK__INTERNAL__TRUSTED_FILES__INIT;
    const struct mm_conf_appliance *a = &conf->appliance;
    uint8_t *to;
    size_t len;
    int r = MM_OK;

    if (!a->given)
        return MM_OK;
    r = read_certificates(conf, "oem_certificates", a->oem_certificates, &oem, ei);
    if (r == MM_OK)
        r = read_certificates(conf, "officer_certificates", a->officer_certificates, &officers, ei);
    if (r < 0)
        return r;
    files.oem = (ProtobufCBinaryData){oem.len, oem.data};
    files.officers = (ProtobufCBinaryData){officers.len, officers.data};
    len = mintmark__internal__trusted_files__get_packed_size(&files);
    to = mm_buf_reserve(set, len);
    if (!to)
        return mm_fail_memory(ei);
    mm_buf_grew(set, mintmark__internal__trusted_files__pack(&files, to));
    return MM_OK;
}

void mm_source_done(struct mm_source *s)
{
    mm_conf_free(s->conf);
    s->conf = NULL;
    mm_buf_done(&s->text);
    mm_buf_done(&s->trusted);
}

int mm_source_load(const char *path, struct mm_source *source, struct mm_errinfo *ei)
{
    int r = mm_conf_read(path, MM_UNSET_REFUSED, &source->text, ei);

    if (r == MM_OK)
        r = mm_conf_parse(path, (const char *)source->text.data, source->text.len, &source->conf,
                          ei);
    if (r == MM_OK)
        r = mm_conf_check_files(source->conf, ei);
    if (r == MM_OK)
        r = read_trusted(source->conf, &source->trusted, ei);
    for (size_t i = 0; r == MM_OK && i < source->conf->n_profiles; i++)
        r = check_profile(source->conf, &source->conf->profiles[i], ei);
    return r;
}
