/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/ca.h"

#include "daemon/base/clock.h"
#include "daemon/base/text.h"
#include "pkcs11/backup.h"
#include "tools/officer/date.h"

#include <string.h>
#include <time.h>

/* ---- the key ----------------------------------------------------------------------------- */

static int load_key(struct mm_officer *o, mm_handle handle, struct mm_ca_key *key,
                    struct mm_errinfo *ei)
{
    int r;

    enum mm_key_use use;

    r = mm_token_ca_use(o->token, handle, &use, ei);
    if (r == MM_OK)
        r = mm_token_check_policy(o->token, handle, use, ei);
    if (r < 0)
        return r;
    r = mm_token_public_point(o->token, handle, &key->curve, key->point, &key->point_len, ei);
    if (r < 0)
        return r;
    key->handle = handle;
    return MM_OK;
}

int mm_ca_key_find(struct mm_officer *o, const char *uri, struct mm_ca_key *key,
                   struct mm_errinfo *ei)
{
    mm_handle handle;
    const int r = mm_token_find(o->token, uri, MM_KEY_PRIVATE, &handle, ei);

    return r < 0 ? r : load_key(o, handle, key, ei);
}

int mm_ca_key_prepare(struct mm_officer *o, struct mm_ca_key *key, struct mm_errinfo *ei)
{
    enum mm_curve wanted;
    mm_handle handle;
    int r;

    r = mm_officer_name(o, MM_OPT_label, o->args.label, ei);
    if (r < 0)
        return r;
    r = mm_officer_curve(o, &wanted, ei);
    if (r < 0)
        return r;
    key->curve = wanted;
    r = mm_officer_find(o, o->args.label, MM_KEY_PRIVATE, &handle, ei);
    if (o->args.backup && !o->args.create_key)
        return mm_officer_usage(o, ei,
                                "--backup says how a key is made: it goes with --create-key");
    if (o->args.create_key && r == MM_ERR_NOT_FOUND)
        return mm_token_require_curve(o->token, wanted, ei);
    if (o->args.create_key && (r == MM_OK || r == MM_ERR_EXISTS))
        return mm_fail(
            ei, MM_ERR_EXISTS, "KEY_EXISTS",
            "the token has a key labelled '%s' already; leave --create-key out to use it",
            o->args.label);
    if (r == MM_ERR_NOT_FOUND)
        return mm_fail(ei, r, "KEY_NOT_FOUND",
                       "the token has no private key labelled '%s'; --create-key makes one",
                       o->args.label);
    if (r < 0)
        return r;
    r = load_key(o, handle, key, ei);
    if (r == MM_OK && o->args.curve && key->curve != wanted)
        return mm_officer_usage(o, ei, "key '%s' is on another curve than --curve", o->args.label);
    return r;
}

int mm_ca_key_make(struct mm_officer *o, struct mm_ca_key *key, struct mm_errinfo *ei)
{
    mm_handle handle;
    int r;

    if (key->handle)
        return mm_ceremony_key(o, key->handle, ei);
    r = o->args.backup
            ? mm_token_create_ca_backup_key(o->token, o->args.label, key->curve, &handle, ei)
            : mm_token_create_ca_key(o->token, o->args.label, key->curve, &handle, ei);
    if (r < 0)
        return r;
    r = mm_ceremony_key(o, handle, ei);
    if (r < 0)
        return r;
    return load_key(o, handle, key, ei);
}

/* ---- the profile ------------------------------------------------------------------------- */

/* Settings of a CA profile are built in place of a section of the configuration, where strings are
 * never NULL and belong to the configuration; these belong to the caller's frame. */
struct ca_settings {
    struct mm_conf_profile conf;
    char empty[1];
    char name[16];
    char issuer[8];
    char key[12];
    char delivery[16];
    char not_before[24];
    char basic_constraints[8];
    char usages[2][16];
    char *usage_list[2];
};

static int set_not_before(struct mm_officer *o, struct ca_settings *s, struct mm_errinfo *ei)
{
    int64_t ms;
    time_t sec;
    struct tm tm;
    int r;

    snprintf(s->not_before, sizeof(s->not_before), "now");
    if (!o->args.not_before)
        return MM_OK;
    r = mm_date_parse(o->args.not_before, MM_DATE_START, &ms, ei);
    if (r < 0)
        return r;
    sec = (time_t)(ms / 1000);
    gmtime_r(&sec, &tm);
    strftime(s->not_before, sizeof(s->not_before), "%Y%m%d%H%M%SZ", &tm);
    return MM_OK;
}

static int set_free_ca(struct mm_officer *o, struct ca_settings *s, struct mm_errinfo *ei)
{
    const char *const levels = o->args.path_length;

    if (!o->args.subject || !o->args.validity)
        return mm_officer_usage(o, ei,
                                "a CA without --preset or --profile needs --subject and "
                                "--validity");
    if (levels && strcmp(levels, "0") != 0 && strcmp(levels, "1") != 0)
        return mm_officer_usage(o, ei, "--path-length is 0 or 1");
    snprintf(s->basic_constraints, sizeof(s->basic_constraints), "ca%s%s", levels ? ":" : "",
             levels ? levels : "");
    snprintf(s->usages[0], sizeof(s->usages[0]), "keyCertSign");
    snprintf(s->usages[1], sizeof(s->usages[1]), "cRLSign");
    s->usage_list[0] = s->usages[0];
    s->usage_list[1] = s->usages[1];
    s->conf.basic_constraints = s->basic_constraints;
    s->conf.key_usage = s->usage_list;
    s->conf.n_key_usage = MM_ARRAY_SIZE(s->usage_list);
    return MM_OK;
}

static int settings_from_options(struct mm_officer *o, struct ca_settings *s, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    int r;

    snprintf(s->name, sizeof(s->name), "ca");
    s->conf = (struct mm_conf_profile){
        .name = s->name,
        .preset = a->preset ? a->preset : s->empty,
        .token = s->empty,
        .transport = s->empty,
        .subject = a->subject ? a->subject : s->empty,
        .san = s->empty,
        .vid = a->vid ? a->vid : s->empty,
        .pid = a->pid ? a->pid : s->empty,
        .validity = a->validity ? a->validity : s->empty,
        .basic_constraints = s->empty,
        .subject_key_identifier = true,
        .authority_key_identifier = true,
    };
    r = set_not_before(o, s, ei);
    if (r < 0)
        return r;
    s->conf.not_before = s->not_before;
    if (a->preset && a->path_length)
        return mm_officer_usage(o, ei, "a preset decides on the path length");
    return a->preset ? MM_OK : set_free_ca(o, s, ei);
}

static int settings_from_section(struct mm_officer *o, struct ca_settings *s, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    const struct mm_conf_profile *const section = mm_conf_profile_get(o->conf, a->profile);

    if (a->preset || a->subject || a->vid || a->pid || a->validity || a->not_before ||
        a->path_length)
        return mm_officer_usage(o, ei,
                                "--profile has it all: it goes with no --preset, --subject, "
                                "--vid, --pid, --validity, --not-before, --path-length");
    if (!section) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_PROFILE", "%s has no profile section '%s'",
                       o->conf->path, a->profile);
    }
    s->conf = *section;
    return MM_OK;
}

int mm_ca_profile(struct mm_officer *o, enum mm_ca_kind kind, enum mm_curve curve, X509 *issuer,
                  struct mm_profile **ret_profile, struct mm_errinfo *ei)
{
    struct ca_settings s = {0};
    int r;

    r = o->args.profile ? settings_from_section(o, &s, ei) : settings_from_options(o, &s, ei);
    if (r < 0)
        return r;
    snprintf(s.issuer, sizeof(s.issuer), "%s", kind == MM_CA_REQUEST ? "none" : "ca");
    snprintf(s.key, sizeof(s.key), "%s", mm_officer_curve_setting(curve));
    snprintf(s.delivery, sizeof(s.delivery), "retained");
    s.conf.issuer = s.issuer;
    s.conf.key = s.key;
    s.conf.delivery = s.delivery;
    return mm_profile_compile(&s.conf, issuer, ret_profile, ei);
}

/* ---- the signature ----------------------------------------------------------------------- */

int mm_ca_subject(struct mm_officer *o, const struct mm_ca_key *key, struct mm_subject *ret_subject,
                  struct mm_errinfo *ei)
{
    struct mm_subject subject = {
        .number = 1,
        .hw_serial = "",
        .device_uid = "",
        .point = key->point,
        .point_len = key->point_len,
        .now_ms = mm_clock_wall_ms(),
    };
    const int r = mm_token_random(o->token, subject.serial, sizeof(subject.serial), ei);

    if (r == MM_OK)
        *ret_subject = subject;
    return r;
}

int mm_ca_sign(struct mm_officer *o, const struct mm_tbs *tbs, const struct mm_ca_key *signer,
               struct mm_buf *der, struct mm_errinfo *ei)
{
    const struct mm_bytes what = mm_tbs_signed(tbs);
    uint8_t signature[MM_SIGNATURE_MAX];
    struct mm_verifier *verifier = NULL;
    size_t len;
    int r;

    r = tbs->digest_len > 0 ? mm_token_sign(o->token, signer->handle, tbs->digest, tbs->digest_len,
                                            signature, &len, ei)
                            : mm_token_sign_message(o->token, signer->curve, signer->handle, what,
                                                    signature, &len, ei);
    if (r < 0)
        return r;
    r = mm_verifier_new(signer->point, signer->point_len, &verifier, ei);
    if (r < 0)
        return r;
    r = mm_verifier_check(verifier, what.data, what.len, signature, len, ei);
    mm_verifier_free(verifier);
    if (r < 0)
        return mm_err_prefix(ei, "the token's signature");
    return mm_pki_assemble(tbs, signature, len, der, ei);
}
