/* SPDX-License-Identifier: Apache-2.0 */
/* token audit: every key of the token, attribute by attribute, against the policy of what the
 * configuration uses it for; and what else the token holds. */
#include "daemon/base/text.h"
#include "pkcs11/anchor.h"
#include "pkcs11/backup.h"
#include "pkcs11/exchange.h"
#include "tools/officer/officer.h"

#include <string.h>

enum { NAMED_MAX = 256 };

static const char *const uses[] = {[MM_USE_CA] = "ca",
                                   [MM_USE_TRANSPORT] = "transport",
                                   [MM_USE_SIGNING] = "signing",
                                   [MM_USE_DEVICE] = "device",
                                   [MM_USE_EXCHANGE] = "exchange",
                                   [MM_USE_EXCHANGE_RSA] = "exchange (RSA)",
                                   [MM_USE_IMPORTED] = "imported",
                                   [MM_USE_CA_BACKUP] = "ca, for backup",
                                   [MM_USE_CA_RESTORED] = "ca, restored"};

/* A key that the configuration names, and finds. */
struct named {
    struct mm_key_info info;
    enum mm_key_use use;
    const char *section, *name;
};

struct audit {
    struct mm_officer *o;
    json_t *keys, *unknown;
    size_t deviations;
    size_t devices; /* retained keys */
    struct named named[NAMED_MAX];
    size_t n_named;
    /* Ids of the private keys, to tell whose public keys there are. */
    struct mm_buf ids;
    json_t *lines; /* of the key in hand */
    bool broken;   /* it is */
};

/* ---- what the configuration names -------------------------------------------------------- */

static int append(json_t *array, json_t *value, struct mm_errinfo *ei)
{
    return json_array_append_new(array, value) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int missing(struct audit *a, const char *section, const char *name, enum mm_key_use use,
                   const struct mm_errinfo *why, struct mm_errinfo *ei)
{
    a->deviations++;
    return append(a->keys,
                  json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:[]}", "label", mm_out_text(name),
                            "section", section, "name", name, "use", uses[use], "verdict",
                            "MISSING", "reason", why->text, "attributes"),
                  ei);
}

static int name_key(struct audit *a, const char *section, const char *name, const char *token,
                    const char *uri, enum mm_key_use use, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    struct named *const n = &a->named[a->n_named];
    mm_handle handle;
    int r;

    if (strcmp(token, a->o->conf_token->name) != 0)
        return MM_OK;
    if (a->n_named == NAMED_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "TOO_MANY_KEYS",
                       "the configuration names more than %d keys of the token", NAMED_MAX);
    r = mm_token_find(a->o->token, uri, use == MM_USE_TRANSPORT ? MM_KEY_SECRET : MM_KEY_PRIVATE,
                      &handle, &why);
    if (r == MM_ERR_NOT_FOUND || r == MM_ERR_EXISTS)
        return missing(a, section, name, use, &why, ei);
    if (r == MM_OK)
        r = mm_token_key_info(a->o->token, handle, &n->info, &why);
    if (r < 0) {
        *ei = why;
        return r;
    }
    /* Where backups are wanted the key may be of any of a CA's three rows. */
    if (use == MM_USE_CA_BACKUP)
        r = mm_token_ca_use(a->o->token, handle, &use, ei);
    if (r < 0)
        return r;
    n->use = use;
    n->section = section;
    n->name = name;
    a->n_named++;
    return MM_OK;
}

static int name_appliance(struct audit *a, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const c = &a->o->conf->appliance;
    char uri[MM_NAME_MAX + 32];
    int r;

    if (!c->given)
        return MM_OK;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", c->identity_key);
    r = name_key(a, "appliance", c->identity_key, c->token, uri, MM_USE_CA, ei);
    if (r < 0)
        return r;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", c->audit_key);
    return name_key(a, "appliance", c->audit_key, c->token, uri, MM_USE_CA, ei);
}

/* EC or RSA, as the token has it. */
static int name_exchange(struct audit *a, struct mm_errinfo *ei)
{
    const struct mm_conf_appliance *const c = &a->o->conf->appliance;
    const size_t before = a->n_named;
    char uri[MM_NAME_MAX + 32];
    int r;

    if (!c->given || !*c->exchange_certificate)
        return MM_OK;
    snprintf(uri, sizeof(uri), "pkcs11:object=%s", c->exchange_key);
    r = name_key(a, "appliance", c->exchange_key, c->token, uri, MM_USE_EXCHANGE, ei);
    if (r == MM_OK && a->n_named > before && a->named[before].info.decrypt)
        a->named[before].use = MM_USE_EXCHANGE_RSA;
    return r;
}

/* The key that the appliance shows to EJBCA, when it came in a package. One that an operator has
 * brought in another way is not for us to judge. */
static int name_client(struct audit *a, const struct mm_conf_issuer *issuer, struct mm_errinfo *ei)
{
    struct mm_errinfo why = {0};
    mm_handle handle;

    if (!*issuer->client_key || strcmp(issuer->client_token, a->o->conf_token->name) != 0 ||
        mm_token_find(a->o->token, issuer->client_key, MM_KEY_PRIVATE, &handle, &why) < 0 ||
        mm_token_check_policy(a->o->token, handle, MM_USE_IMPORTED, &why) < 0)
        return MM_OK;
    return name_key(a, "issuer", issuer->name, issuer->client_token, issuer->client_key,
                    MM_USE_IMPORTED, ei);
}

static int name_keys(struct audit *a, struct mm_errinfo *ei)
{
    const struct mm_conf *const c = a->o->conf;
    int r = name_appliance(a, ei);

    if (r == MM_OK)
        r = name_exchange(a, ei);

    for (size_t i = 0; r == MM_OK && i < c->n_issuers; i++)
        if (mm_conf_issuer_is_ejbca(&c->issuers[i]))
            r = name_client(a, &c->issuers[i], ei);
        else
            r = name_key(a, "issuer", c->issuers[i].name, c->issuers[i].token, c->issuers[i].key,
                         strcmp(c->issuers[i].backup, "never") == 0 ? MM_USE_CA : MM_USE_CA_BACKUP,
                         ei);
    for (size_t i = 0; r == MM_OK && i < c->n_transports; i++)
        r = name_key(a, "transport", c->transports[i].name, c->transports[i].token,
                     c->transports[i].key, MM_USE_TRANSPORT, ei);
    for (size_t i = 0; r == MM_OK && i < c->n_signings; i++)
        r = name_key(a, "signing", c->signings[i].name, c->signings[i].token, c->signings[i].key,
                     MM_USE_SIGNING, ei);
    return r;
}

/* ---- what the token holds ---------------------------------------------------------------- */

static int collect_line(void *arg, const struct mm_policy_line *line)
{
    static const char *const verdicts[] = {[MM_POLICY_GOOD] = "good",
                                           [MM_POLICY_SHOWN] = "",
                                           [MM_POLICY_WISH] = "not held",
                                           [MM_POLICY_BROKEN] = "BROKEN"};
    struct audit *const a = arg;

    a->broken = a->broken || line->verdict == MM_POLICY_BROKEN;
    return json_array_append_new(a->lines, json_pack("{s:s, s:s, s:s, s:s, s:s}", "attribute",
                                                     line->attribute, "expected", line->expected,
                                                     "rank", line->rank, "actual", line->actual,
                                                     "verdict", verdicts[line->verdict])) < 0
               ? MM_ERR_MEMORY
               : MM_OK;
}

static int judge(struct audit *a, const struct mm_key_info *key, enum mm_key_use use,
                 const char *section, const char *name, struct mm_errinfo *ei)
{
    json_t *lines = json_array();
    char reason[MM_ERR_TEXT_MAX] = "";
    struct mm_errinfo why = {0};
    int r;

    if (!lines)
        return mm_fail_memory(ei);
    a->lines = lines;
    a->broken = false;
    r = mm_token_audit_key(a->o->token, key->handle, use, collect_line, a, &why);
    if (r == MM_ERR_CORRUPT) {
        a->broken = true;
        snprintf(reason, sizeof(reason), "%s", why.text);
    } else if (r < 0) {
        json_decref(lines);
        *ei = why;
        return r == MM_ERR_MEMORY ? mm_fail_memory(ei) : r;
    }
    a->deviations += a->broken;
    a->devices += use == MM_USE_DEVICE;
    if (use == MM_USE_DEVICE && !a->broken) { /* there may be thousands */
        json_decref(lines);
        return MM_OK;
    }
    return append(a->keys,
                  json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:o}", "label", mm_out_text(key->label),
                            "section", section, "name", name, "use", uses[use], "verdict",
                            a->broken ? "BROKEN" : "good", "reason", reason, "attributes", lines),
                  ei);
}

static bool same_key(const struct mm_key_info *a, const struct mm_key_info *b)
{
    return a->class == b->class && a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0 &&
           strcmp(a->label, b->label) == 0;
}

static int unknown(struct audit *a, const char *kind, const char *label, const uint8_t *id,
                   size_t id_len, const char *type, struct mm_errinfo *ei)
{
    char hex[2 * 64 + 1];

    mm_hex_encode(id, id_len, hex);
    return append(a->unknown,
                  json_pack("{s:s, s:o, s:s, s:s}", "kind", kind, "label", mm_out_text(label), "id",
                            hex, "type", type),
                  ei);
}

struct walk {
    struct audit *a;
    struct mm_errinfo *ei;
};

static int walk_key(void *arg, const struct mm_key_info *key)
{
    const struct walk *const w = arg;
    struct audit *const a = w->a;
    const uint8_t len = (uint8_t)key->id_len;
    uint8_t uid[16];
    size_t found = 0;
    int r = MM_OK;

    if (key->class == MM_KEY_PRIVATE) {
        mm_buf_append(&a->ids, &len, 1);
        mm_buf_append(&a->ids, key->id, key->id_len);
        if (mm_buf_err(&a->ids))
            return mm_fail_memory(w->ei);
    }
    for (size_t i = 0; r == MM_OK && i < a->n_named; i++) {
        if (!same_key(&a->named[i].info, key))
            continue;
        found++;
        r = judge(a, key, a->named[i].use, a->named[i].section, a->named[i].name, w->ei);
    }
    if (r < 0 || found > 0)
        return r;
    if (key->class == MM_KEY_PRIVATE && mm_uuid_parse(key->label, uid) == MM_OK)
        return judge(a, key, MM_USE_DEVICE, "", "", w->ei);
    return unknown(a, key->class == MM_KEY_PRIVATE ? "private key" : "secret key", key->label,
                   key->id, key->id_len, key->type, w->ei);
}

static bool has_private(const struct audit *a, const struct mm_object_info *object)
{
    for (size_t at = 0; at < a->ids.len; at += 1 + (size_t)a->ids.data[at])
        if (a->ids.data[at] == object->id_len &&
            memcmp(a->ids.data + at + 1, object->id, object->id_len) == 0)
            return true;
    return false;
}

static int walk_other(void *arg, const struct mm_object_info *object)
{
    const struct walk *const w = arg;
    const bool ours =
        strcmp(object->kind, "data") == 0
            ? strcmp(object->label, MM_ANCHOR_LABEL) == 0 ||
                  strncmp(object->label, MM_BACKUP_LABEL "-", strlen(MM_BACKUP_LABEL "-")) == 0 ||
                  strcmp(object->label, MM_PACKAGE_MARK_LABEL) == 0
            : strcmp(object->kind, "public key") == 0 && object->id_len > 0 &&
                  has_private(w->a, object);

    return ours ? MM_OK
                : unknown(w->a, object->kind, object->label, object->id, object->id_len, "", w->ei);
}

/* ---- the answer -------------------------------------------------------------------------- */

static void print(const json_t *answer)
{
    static const struct mm_column columns[] = {{"attribute", "attribute"},
                                               {"expected", "expected"},
                                               {"rank", "rank"},
                                               {"actual", "actual"},
                                               {"verdict", "verdict"}};
    static const struct mm_column others[] = {
        {"kind", "unknown object"}, {"label", "label"}, {"type", "type"}, {"id", "id"}};
    const json_t *unknown_objects = json_object_get(answer, "unknown");
    const json_t *key;
    size_t i;

    json_array_foreach(json_object_get(answer, "keys"), i, key) {
        const char *const reason = json_string_value(json_object_get(key, "reason"));

        printf("%s key '%s' (%s %s): %s%s%s\n", json_string_value(json_object_get(key, "use")),
               json_string_value(json_object_get(key, "label")),
               json_string_value(json_object_get(key, "section")),
               json_string_value(json_object_get(key, "name")),
               json_string_value(json_object_get(key, "verdict")), *reason ? ": " : "", reason);
        if (json_array_size(json_object_get(key, "attributes")) > 0)
            mm_out_table(stdout, json_object_get(key, "attributes"), columns,
                         MM_ARRAY_SIZE(columns));
        putchar('\n');
    }
    if (json_array_size(unknown_objects) > 0)
        mm_out_table(stdout, unknown_objects, others, MM_ARRAY_SIZE(others));
    printf("retained device keys: %lld\ndeviations: %lld\n",
           (long long)json_integer_value(json_object_get(answer, "device_keys")),
           (long long)json_integer_value(json_object_get(answer, "deviations")));
}

static int walk(struct audit *a, struct mm_errinfo *ei)
{
    struct walk w = {a, ei};
    int r = name_keys(a, ei);

    if (r == MM_OK)
        r = mm_token_list(a->o->token, walk_key, &w, ei);
    return r < 0 ? r : mm_token_list_others(a->o->token, walk_other, &w, ei);
}

int mm_cmd_token_audit(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct audit a = {.o = o,
                      .keys = json_array(),
                      .unknown = json_array(),
                      .ids = MM_BUF_INIT(MM_TOKEN_KEYS_MAX * sizeof(uint8_t[65]))};
    int r = mm_officer_answer(o, "keys", a.keys, ei);

    if (r == MM_OK)
        r = mm_officer_answer(o, "unknown", a.unknown, ei);
    if (r == MM_OK)
        r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = walk(&a, ei);
    mm_buf_done(&a.ids);
    if (r == MM_OK)
        r = mm_officer_answer(o, "device_keys", json_integer((json_int_t)a.devices), ei);
    if (r == MM_OK)
        r = mm_officer_answer(o, "deviations", json_integer((json_int_t)a.deviations), ei);
    if (r < 0)
        return r;
    if (!o->args.json)
        print(o->answer);
    o->exit_code = MM_EXIT_FAILED;
    return a.deviations == 0 ? MM_OK
                             : mm_fail(ei, MM_ERR_CORRUPT, "TOKEN_POLICY_BROKEN",
                                       "%zu of the token's keys deviate from the policy of "
                                       "docs/keys.md, or are not there",
                                       a.deviations);
}
