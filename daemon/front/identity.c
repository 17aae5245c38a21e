/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/identity.h"

#include <openssl/bio.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static bool has_uri(const GENERAL_NAMES *names, const char *uri)
{
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        const ASN1_IA5STRING *text;

        if (name->type != GEN_URI)
            continue;
        text = name->d.uniformResourceIdentifier;
        /* Lengths first: a NUL inside the name must not end the comparison. */
        if ((size_t)ASN1_STRING_length(text) == strlen(uri) &&
            memcmp(ASN1_STRING_get0_data(text), uri, strlen(uri)) == 0)
            return true;
    }
    return false;
}

static bool matches(const struct mm_conf_client *client, const GENERAL_NAMES *names,
                    const char *subject, size_t subject_len)
{
    if (!client->uri[0] && !client->subject[0])
        return false;
    if (client->uri[0] && !has_uri(names, client->uri))
        return false;
    return !client->subject[0] || (strlen(client->subject) == subject_len &&
                                   memcmp(client->subject, subject, subject_len) == 0);
}

static void find(const struct mm_conf *conf, const GENERAL_NAMES *names, const char *subject,
                 size_t subject_len, struct mm_peer *peer)
{
    peer->name[0] = 0;
    peer->roles = 0;
    for (size_t i = 0; i < conf->n_clients; i++) {
        const struct mm_conf_client *client = &conf->clients[i];

        if (matches(client, names, subject, subject_len)) {
            snprintf(peer->name, sizeof(peer->name), "%s", client->name);
            peer->roles = client->roles;
            return;
        }
    }
}

int mm_identity_find(X509 *certificate, const struct mm_conf *conf, struct mm_peer *peer)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    char *subject = NULL;
    long subject_len;
    int r = MM_ERR_MEMORY;

    /* No names at all is an empty list: the sk_ functions take NULL for that. */
    if (bio &&
        X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
        subject_len = BIO_get_mem_data(bio, &subject);
        find(conf, names, subject, subject_len > 0 ? (size_t)subject_len : 0, peer);
        r = MM_OK;
    }
    BIO_free(bio);
    GENERAL_NAMES_free(names);
    return r;
}
