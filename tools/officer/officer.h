/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of mintmark-officer share: the configuration, the token, the ceremony with its
 * transcript, and the answer. main loads the configuration and begins the ceremony where the
 * command's line in the table asks for them; a command opens the token itself.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "pkcs11/token.h"
#include "tools/officer/cli.h"
#include "tools/officer/output.h"
#include "tools/officer/transcript.h"

struct mm_officer {
    const struct mm_command *command;
    struct mm_args args;
    struct mm_conf *conf;                   /* --config; NULL without */
    const struct mm_conf_token *conf_token; /* set by mm_officer_token */
    struct mm_token *token;                 /* open after mm_officer_token */
    struct mm_transcript *transcript;       /* ceremonies only */
    json_t *answer;                         /* what --json prints; an object */
    enum mm_exit exit_code;                 /* of a failure, when the error does not tell it */
};

/* Logs in too: PIN_USER asks for the user PIN as options and configuration say, once. */
enum mm_officer_login { MM_OFFICER_PUBLIC, MM_OFFICER_USER };

/* Loads --config. The exit code of a failure is MM_EXIT_CONFIG. */
int mm_officer_load(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;

/* Of token sections that hold the same key the one that --token names, or else the first; "" when
 * there are none. */
const char *mm_officer_one_of(const struct mm_officer *o, char *const *tokens, size_t n);

/* The token section that --token names, or the only one; also checks that --token fits when another
 * section (of a transport key, of an issuer) has named one already. name may be NULL. */
int mm_officer_choose_token(struct mm_officer *o, const char *name,
                            struct mm_errinfo *ei) MM_MUST_USE;

/* Opens the chosen token, and logs in. A wrong PIN is tried once, and none when it would be the
 * last try. */
int mm_officer_token(struct mm_officer *o, const char *name, enum mm_officer_login login,
                     struct mm_errinfo *ei) MM_MUST_USE;

/* The user PIN of the chosen token, from where options and configuration say; the token is not
 * asked.
 */
int mm_officer_pin(struct mm_officer *o, struct mm_secret **ret_pin,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* How to open it; borrows from the configuration. */
struct mm_token_open mm_officer_how(const struct mm_conf_token *conf_token);

/* MM_ERR_INVALID with exit code MM_EXIT_USAGE. */
int mm_officer_usage(struct mm_officer *o, struct mm_errinfo *ei, const char *fmt, ...)
    MM_PRINTF(3, 4);

/* MM_ERR_INVALID unless the option's value is a name (letters, digits, '.', '_', '-'). */
int mm_officer_name(struct mm_officer *o, enum mm_option option, const char *value,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* MM_ERR_EXISTS when path is there already: asked before anything is changed. */
int mm_officer_absent(const char *path, struct mm_errinfo *ei) MM_MUST_USE;

/* Curve of --curve; p256 without. */
int mm_officer_curve(struct mm_officer *o, enum mm_curve *ret_curve,
                     struct mm_errinfo *ei) MM_MUST_USE;
/* What --curve calls it, and what people do. */
const char *mm_officer_curve_setting(enum mm_curve curve);
const char *mm_officer_curve_name(enum mm_curve curve);

/* Finds a key by its label in the open token. */
int mm_officer_find(struct mm_officer *o, const char *label, enum mm_key_class class,
                    mm_handle *ret_handle, struct mm_errinfo *ei) MM_MUST_USE;

/* Puts a value into the answer (taken); MM_ERR_MEMORY when value is NULL or there is no memory. */
int mm_officer_answer(struct mm_officer *o, const char *key, json_t *value,
                      struct mm_errinfo *ei) MM_MUST_USE;

void mm_officer_done(struct mm_officer *o);

/* ---- ceremonies -------------------------------------------------------------------------- */

/* Asks for the operator's name if none was given, opens the transcript and writes its head. */
int mm_ceremony_begin(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;

/* An entry; shown on the terminal too, unless --json or --yes keeps that quiet. */
void mm_ceremony_say(struct mm_officer *o, const char *key, const char *fmt, ...) MM_PRINTF(3, 4);

/* Asks the operator, then the witness if there is one, to type "yes". Afterwards the transcript is
 * on disk. MM_ERR_CANCELLED when one of them declines. */
int mm_ceremony_confirm(struct mm_officer *o, struct mm_errinfo *ei, const char *fmt, ...)
    MM_PRINTF(3, 4) MM_MUST_USE;

/* A key's attributes, read back from the token, for the transcript and the answer. */
int mm_ceremony_key(struct mm_officer *o, mm_handle key, struct mm_errinfo *ei) MM_MUST_USE;

/* Writes the outcome (result is what the command returned, *failure its reason), and puts path and
 * SHA-256 of the transcript into the answer. */
int mm_ceremony_end(struct mm_officer *o, int result, const struct mm_errinfo *failure,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* ---- commands ---------------------------------------------------------------------------- */

int mm_cmd_token_init(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_token_pin(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_token_status(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_token_test(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_token_audit(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_token_bench(struct mm_officer *o, struct mm_errinfo *ei);
/* Its --operation each: every operation of the self-test, one after the other, in one process. */
int mm_token_bench_each(struct mm_officer *o, struct mm_errinfo *ei) MM_MUST_USE;
int mm_cmd_key_create(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_key_list(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_key_public(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_key_export(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_key_backup(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_key_restore(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ca_create_root(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ca_create_sub(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ca_import(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ca_show(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_appliance_init(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_appliance_audit_key(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_exchange_create(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_exchange_replace(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_exchange_delete(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_exchange_certificate(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_package_create(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_package_show(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_package_import(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_request(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_create(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_sign(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_import(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_show(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_suspend(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_resume(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_close(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_lower(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_revoke(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_receipt(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_oem_add(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_oem_list(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_order_list(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_status(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ledger_unlock(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ledger_export(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_ledger_verify(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_issuer_check(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_issuer_reconcile(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_issuer_chain(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_issuer_crl(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_list(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_retry(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_drop(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_revoke(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_revoke_again(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_device_status(struct mm_officer *o, struct mm_errinfo *ei);
int mm_cmd_config_check(struct mm_officer *o, struct mm_errinfo *ei);
