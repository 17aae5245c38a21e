/* SPDX-License-Identifier: Apache-2.0 */
/* key create, list and transport export. */
#include "tools/officer/keys.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "pkcs11/backup.h"
#include "tools/officer/pem.h"

#include <string.h>

/* By what it may do: whose policy it is to be held against. */
static enum mm_key_use use_of(const struct mm_key_info *key)
{
    if (key->class == MM_KEY_SECRET)
        return MM_USE_TRANSPORT;
    if (key->derive)
        return MM_USE_EXCHANGE;
    if (key->decrypt)
        return MM_USE_EXCHANGE_RSA;
    /* Where nobody says who made a key, one of EC is as likely the token's own. */
    return key->local || (key->local_unknown && strncmp(key->type, "RSA", 3) != 0)
               ? MM_USE_CA
               : MM_USE_IMPORTED;
}

/* One key as an object; NULL without memory. */
static json_t *describe(struct mm_officer *o, const struct mm_key_info *key)
{
    enum mm_key_use use = use_of(key), ca = MM_USE_CA;
    struct mm_errinfo verdict = {0};
    char id[2 * sizeof(key->id) + 1];

    if (key->class != MM_KEY_SECRET &&
        mm_token_ca_use(o->token, key->handle, &ca, &verdict) == MM_OK && ca != MM_USE_CA)
        use = ca;
    if (mm_token_check_policy(o->token, key->handle, use, &verdict) == MM_OK)
        snprintf(verdict.text, sizeof(verdict.text), "%s",
                 use == MM_USE_IMPORTED ? "good, but not made in the token: from a package"
                                        : "good");
    mm_hex_encode(key->id, key->id_len, id);
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b}", "label",
                     mm_out_text(key->label), "id", id, "type", key->type, "class",
                     key->class == MM_KEY_SECRET ? "secret" : "private", "policy", verdict.text,
                     "sensitive", key->sensitive, "always_sensitive", key->always_sensitive,
                     "extractable", key->extractable, "never_extractable", key->never_extractable,
                     "local", key->local, "sign", key->sign, "wrap", key->wrap);
}

struct listing {
    struct mm_officer *o;
    json_t *keys;
};

static int list_one(void *arg, const struct mm_key_info *key)
{
    struct listing *const l = arg;

    return json_array_append_new(l->keys, describe(l->o, key)) < 0 ? MM_ERR_MEMORY : MM_OK;
}

int mm_keys_answer(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct listing l = {o, json_array()};
    int r;

    r = mm_officer_answer(o, "keys", l.keys, ei);
    if (r < 0)
        return r;
    r = mm_token_list(o->token, list_one, &l, ei);
    return r == MM_ERR_MEMORY ? mm_fail_memory(ei) : r;
}

void mm_keys_print(const json_t *keys)
{
    static const struct mm_column columns[] = {
        {"label", "key"}, {"type", "type"}, {"id", "id"}, {"policy", "policy"}};

    if (json_array_size(keys) == 0)
        puts("no keys");
    else
        mm_out_table(stdout, keys, columns, MM_ARRAY_SIZE(columns));
}

int mm_cmd_key_list(struct mm_officer *o, struct mm_errinfo *ei)
{
    int r;

    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_keys_answer(o, ei);
    if (r == MM_OK && !o->args.json)
        mm_keys_print(json_object_get(o->answer, "keys"));
    return r;
}

int mm_ceremony_key(struct mm_officer *o, mm_handle key, struct mm_errinfo *ei)
{
    struct mm_key_info info;
    char id[2 * sizeof(info.id) + 1];
    int r;

    r = mm_token_key_info(o->token, key, &info, ei);
    if (r < 0)
        return r;
    mm_hex_encode(info.id, info.id_len, id);
    mm_ceremony_say(o, "key", "label %s, id %s, %s", info.label, id, info.type);
    mm_ceremony_say(o, "attributes",
                    "sensitive=%d always_sensitive=%d extractable=%d never_extractable=%d local=%d "
                    "sign=%d wrap=%d",
                    info.sensitive, info.always_sensitive, info.extractable, info.never_extractable,
                    info.local, info.sign, info.wrap);
    return mm_officer_answer(o, "key", describe(o, &info), ei);
}

static int refuse_existing(struct mm_officer *o, enum mm_key_class class, struct mm_errinfo *ei)
{
    mm_handle found;
    const int r = mm_officer_find(o, o->args.label, class, &found, ei);

    if (r == MM_OK || r == MM_ERR_EXISTS)
        return mm_fail(ei, MM_ERR_EXISTS, "KEY_EXISTS",
                       "the token has a key labelled '%s' already; it is left as it is",
                       o->args.label);
    return r == MM_ERR_NOT_FOUND ? MM_OK : r;
}

/* What --use may be, by the enum's numbers. */
static const char *const uses[] = {
    [MM_USE_CA] = "ca", [MM_USE_TRANSPORT] = "transport", [MM_USE_SIGNING] = "signing"};

static int parse_use(struct mm_officer *o, enum mm_key_use *ret_use, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(uses); i++) {
        if (strcmp(o->args.use, uses[i]) == 0) {
            *ret_use = (enum mm_key_use)i;
            return MM_OK;
        }
    }
    return mm_officer_usage(o, ei, "--use is ca, transport or signing, not '%s'", o->args.use);
}

static int create_key(struct mm_officer *o, enum mm_key_use use, enum mm_curve curve,
                      mm_handle *ret_key, struct mm_errinfo *ei)
{
    if (use == MM_USE_TRANSPORT)
        return mm_token_create_transport_key(o->token, o->args.label, ret_key, ei);
    if (o->args.backup)
        return mm_token_create_ca_backup_key(o->token, o->args.label, curve, ret_key, ei);
    if (use == MM_USE_SIGNING)
        return mm_token_create_signing_key(o->token, o->args.label, curve, ret_key, ei);
    return mm_token_create_ca_key(o->token, o->args.label, curve, ret_key, ei);
}

static int choose_curve(struct mm_officer *o, enum mm_key_use use, enum mm_curve *ret_curve,
                        struct mm_errinfo *ei)
{
    int r;

    if (use == MM_USE_TRANSPORT && o->args.curve)
        return mm_officer_usage(o, ei, "a transport key is AES-256: it has no --curve");
    if (o->args.backup && use != MM_USE_CA)
        return mm_officer_usage(o, ei, "--backup is for CA keys: other keys are made anew");
    r = mm_officer_curve(o, ret_curve, ei);
    if (r == MM_OK && use == MM_USE_SIGNING && *ret_curve >= MM_CURVE_ML_DSA_44)
        return mm_officer_usage(o, ei, "keys that sign for clients are on p256, p384 or ed25519");
    return r;
}

int mm_cmd_key_create(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const char *const whats[] = {[MM_USE_CA] = "CA key pair",
                                        [MM_USE_TRANSPORT] = "transport key",
                                        [MM_USE_SIGNING] = "signing key pair"};
    enum mm_key_use use = MM_USE_CA;
    bool transport;
    enum mm_curve curve;
    mm_handle key;
    int r = parse_use(o, &use, ei);

    if (r < 0)
        return r;
    transport = use == MM_USE_TRANSPORT;
    r = mm_officer_name(o, MM_OPT_label, o->args.label, ei);
    if (r == MM_OK)
        r = choose_curve(o, use, &curve, ei);
    if (r < 0)
        return r;
    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = refuse_existing(o, transport ? MM_KEY_SECRET : MM_KEY_PRIVATE, ei);
    if (r < 0)
        return r;
    r = mm_ceremony_confirm(o, ei, "Make a %s (%s) labelled '%s' in token '%s'?", whats[use],
                            transport ? "AES-256" : mm_officer_curve_name(curve), o->args.label,
                            o->conf_token->name);
    if (r < 0)
        return r;
    r = create_key(o, use, curve, &key, ei);
    if (r < 0)
        return r;
    return mm_ceremony_key(o, key, ei);
}

/* The export speaks of this key and this recipient; nothing else may leave under their names. */
static int check_export(const struct mm_buf *text, const char *check_value,
                        const char *recipient_sha256, struct mm_errinfo *ei)
{
    json_error_t error;
    json_t *const json = json_loadb((const char *)text->data, text->len, 0, &error);
    const char *const value = json_string_value(json_object_get(json, "check_value"));
    const char *const recipient = json_string_value(json_object_get(json, "recipient_sha256"));
    const bool good = value && recipient && strcmp(value, check_value) == 0 &&
                      strcmp(recipient, recipient_sha256) == 0;

    json_decref(json);
    return good ? MM_OK
                : mm_fail(ei, MM_ERR_INTERNAL, "EXPORT",
                          "the exported key does not name its key and recipient: not written");
}

static int export_to(struct mm_officer *o, mm_handle key, const struct mm_public_key *recipient,
                     struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_PEM_FILE_MAX);
    uint8_t value[8];
    char check_value[2 * sizeof(value) + 1];
    int r;

    r = mm_token_check_value(o->token, key, value, ei);
    if (r < 0)
        return r;
    mm_hex_encode(value, sizeof(value), check_value);
    r = mm_ceremony_confirm(o, ei,
                            "Export transport key '%s' (check value %s), wrapped to the %s key "
                            "with SHA-256 %s, to %s?",
                            o->args.name, check_value, recipient->type, recipient->sha256,
                            o->args.out);
    if (r < 0)
        return r;
    r = mm_token_export_transport(o->token, key, o->args.name,
                                  (struct mm_bytes){recipient->spki.data, recipient->spki.len},
                                  &text, ei);
    if (r < 0)
        return r;
    r = check_export(&text, check_value, recipient->sha256, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(o->args.out, 0600, text.data, text.len, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "exported", "transport key %s, check value %s, recipient %s, file %s",
                    o->args.name, check_value, recipient->sha256, o->args.out);
    return mm_officer_answer(o, "export",
                             json_pack("{s:s, s:s, s:s, s:s}", "transport_key", o->args.name,
                                       "check_value", check_value, "recipient_sha256",
                                       recipient->sha256, "file", o->args.out),
                             ei);
}

int mm_cmd_key_export(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_conf_transport *const transport = mm_conf_transport_get(o->conf, o->args.name);
    MM_CLEANUP(mm_public_key_done) struct mm_public_key recipient = MM_PUBLIC_KEY_INIT;
    mm_handle key;
    int r;

    if (!transport) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_TRANSPORT",
                       "%s has no transport section '%s'", o->conf->path, o->args.name);
    }
    r = mm_public_key_read(o->args.recipient, &recipient, ei);
    if (r < 0)
        return r;
    r = mm_officer_absent(o->args.out, ei);
    if (r < 0)
        return r;
    r = mm_officer_token(o, mm_officer_one_of(o, transport->tokens, transport->n_tokens),
                         MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_token_find(o->token, transport->key, MM_KEY_SECRET, &key, ei);
    if (r < 0)
        return r;
    r = mm_token_check_policy(o->token, key, MM_USE_TRANSPORT, ei);
    if (r < 0)
        return r;
    return export_to(o, key, &recipient, ei);
}
