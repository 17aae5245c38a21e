/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/site.h"

#include "daemon/document/document.h"

static bool profile_known(const void *user, const char *name)
{
    return mm_conf_profile_get(user, name) != NULL;
}

static int read_identity(const char *path, struct mm_store_site *site, struct mm_errinfo *ei)
{
    MM_TRUST_CLEANUP struct mm_trust *certificates = NULL;
    uint8_t *der = NULL;
    const X509 *certificate;
    int len, r = mm_trust_read(path, &certificates, ei);

    if (r < 0)
        return r;
    certificate = sk_X509_value(mm_trust_certificates(certificates), 0);
    len = i2d_X509(certificate, &der);
    if (len < 0)
        return mm_fail_memory(ei);
    site->identity_certificate = (struct mm_bytes){der, (size_t)len};
    return mm_document_key_hash(certificate, site->identity, ei);
}

int mm_site_read(const struct mm_conf *conf, struct mm_store_site *site, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *a = &conf->appliance;
    int r = MM_OK;

    *site = (struct mm_store_site){.profile_known = profile_known,
                                   .user = conf,
                                   .name = conf->site,
                                   .keep_keys_days = conf->store.keep_keys_days};
    if (!a->given)
        return MM_OK;
    r = read_identity(a->identity_certificate, site, ei);
    if (r < 0)
        return r;
    site->has_identity = true;
    return MM_OK;
}

void mm_site_done(struct mm_store_site *site)
{
    OPENSSL_free((void *)(uintptr_t)site->identity_certificate.data);
    site->identity_certificate = (struct mm_bytes){NULL, 0};
}
