/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/store/trusted.h"

#include "daemon/base/log.h"
#include "daemon/ipc/trusted.h"
#include "daemon/store/message.h"
#include "daemon/store/sqlite.h"
#include "proto/grpc/unpack.h"

#include <openssl/crypto.h>

enum { FINGERPRINT_TEXT = 3 * MM_SHA256_BYTES, NAME_TEXT = 200 };

static void drop(struct mm_store_trusted *t)
{
    mm_trust_free(t->oem);
    mm_trust_free(t->officers);
    t->oem = t->officers = NULL;
}

/* ---- parsing ----------------------------------------------------------------------------- */

/* Nothing: the configuration names no such file, and nobody is trusted. A file with nothing in it
 * is refused where it is read. */
static int parse_one(const ProtobufCBinaryData *pem, const char *setting,
                     struct mm_trust **ret_trust, struct mm_errinfo *ei)
{
    const int r =
        pem->len ? mm_trust_new((struct mm_bytes){pem->data, pem->len}, ret_trust, ei) : MM_OK;

    return r < 0 ? mm_err_prefix(ei, "%s", setting) : MM_OK;
}

/* Both or neither. */
static int parse(const struct mm_buf *set, struct mm_store_trusted *ret_trusted,
                 struct mm_errinfo *ei)
{
    MM_ARENA_CLEANUP struct mm_arena arena = MM_ARENA_INIT;
    struct mm_store_trusted t = {NULL, NULL, NULL};
    const Mintmark__Internal__TrustedFiles *files;
    ProtobufCMessage *message;
    int r = mm_grpc_unpack(&mintmark__internal__trusted_files__descriptor, set->data, set->len,
                           &arena, &message, ei);

    if (r == MM_ERR_MEMORY)
        return r;
    if (r < 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "TRUST_INVALID", "what came is no set of certificates");
    files = (const Mintmark__Internal__TrustedFiles *)message;
    r = parse_one(&files->oem, "oem_certificates", &t.oem, ei);
    if (r == MM_OK)
        r = parse_one(&files->officers, "officer_certificates", &t.officers, ei);
    if (r < 0) {
        drop(&t);
        return r;
    }
    ret_trusted->oem = t.oem;
    ret_trusted->officers = t.officers;
    return MM_OK;
}

/* ---- the log ----------------------------------------------------------------------------- */

static void log_one(enum mm_log_level level, const char *event, const char *whose, X509 *cert)
{
    char subject[NAME_TEXT] = "", sha256[FINGERPRINT_TEXT] = "";
    uint8_t md[MM_SHA256_BYTES];
    BIO *text = BIO_new(BIO_s_mem());
    int len = 0;

    if (text && X509_NAME_print_ex(text, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253) >= 0)
        len = BIO_read(text, subject, sizeof(subject) - 1);
    subject[len > 0 ? len : 0] = 0;
    BIO_free(text);
    if (X509_digest(cert, EVP_sha256(), md, NULL) == 1)
        (void)OPENSSL_buf2hexstr_ex(sha256, sizeof(sha256), NULL, md, sizeof(md), ':');
    mm_log(level, event, MM_STR("whose", whose), MM_STR("subject", subject),
           MM_STR("sha256", sha256));
}

static bool has(const struct mm_trust *trust, const X509 *cert)
{
    const STACK_OF(X509) *certs = trust ? mm_trust_certificates(trust) : NULL;

    for (int i = 0; certs && i < sk_X509_num(certs); i++) {
        if (X509_cmp(sk_X509_value(certs, i), cert) == 0)
            return true;
    }
    return false;
}

/* Each certificate that the one has and the other has not. */
static void log_beyond(const struct mm_trust *trust, const struct mm_trust *other,
                       enum mm_log_level level, const char *event, const char *whose)
{
    const STACK_OF(X509) *certs = trust ? mm_trust_certificates(trust) : NULL;

    for (int i = 0; certs && i < sk_X509_num(certs); i++) {
        if (!has(other, sk_X509_value(certs, i)))
            log_one(level, event, whose, sk_X509_value(certs, i));
    }
}

static void log_change(const struct mm_store_trusted *before, const struct mm_store_trusted *now)
{
    static const char added[] = "certificate_trusted", gone[] = "certificate_not_trusted";

    log_beyond(now->oem, before->oem, MM_LOG_WARNING, added, "oem");
    log_beyond(before->oem, now->oem, MM_LOG_WARNING, gone, "oem");
    log_beyond(now->officers, before->officers, MM_LOG_WARNING, added, "officer");
    log_beyond(before->officers, now->officers, MM_LOG_WARNING, gone, "officer");
}

/* ---- taking ------------------------------------------------------------------------------ */

static void put_in_force(struct mm_store *s, const struct mm_store_trusted *next)
{
    struct mm_store_trusted *t = &s->trusted;

    drop(t);
    t->oem = next->oem;
    t->officers = next->officers;
    s->site.oem = t->oem;
    s->site.officers = t->officers;
}

int mm_store_trust(struct mm_store *s, int fd, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf set = MM_BUF_INIT(MM_TRUSTED_MAX);
    struct mm_store_trusted next;
    int r;

    s->trusted.line = calloc(1, sizeof(*s->trusted.line));
    if (!s->trusted.line)
        return mm_fail_memory(ei);
    s->trusted.line->fd = fd;
    r = mm_trusted_first(s->trusted.line, &set, ei);
    if (r == MM_OK)
        r = parse(&set, &next, ei);
    if (r < 0)
        return r;
    log_beyond(next.oem, NULL, MM_LOG_INFO, "certificate_trusted", "oem");
    log_beyond(next.officers, NULL, MM_LOG_INFO, "certificate_trusted", "officer");
    put_in_force(s, &next);
    return MM_OK;
}

void mm_store_trust_nobody(struct mm_store *s)
{
    drop(&s->trusted);
    free(s->trusted.line);
    s->trusted.line = NULL;
}

/* The launcher's word last, and nothing that may fail after it: a store that is started anew has
 * what this one has. */
static int take(struct mm_store *s, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf set = MM_BUF_INIT(MM_TRUSTED_MAX);
    struct mm_store_trusted next;
    int r;

    if (!s->trusted.line)
        return mm_fail(ei, MM_ERR_UNSUPPORTED, "NO_LAUNCHER",
                       "nobody says whose signatures count here");
    r = mm_trusted_next(s->trusted.line, &set, ei);
    if (r == MM_OK)
        r = parse(&set, &next, ei);
    if (r < 0)
        return r;
    r = mm_trusted_take(s->trusted.line, ei);
    if (r < 0) {
        drop(&next);
        return r;
    }
    log_change(&s->trusted, &next);
    put_in_force(s, &next);
    return MM_OK;
}

int mm_store_take_trusted(struct mm_store *s, Mintmark__Internal__TrustedTaken **ret_taken,
                          struct mm_errinfo *ei)
{
    MM_MESSAGE_CLEANUP Mintmark__Internal__TrustedTaken *taken =
        mm_message_new(&mintmark__internal__trusted_taken__descriptor);
    int r;

    if (!taken)
        return mm_fail_memory(ei);
    r = take(s, ei);
    if (r == MM_OK)
        *ret_taken = MM_TAKE(taken);
    return r;
}
