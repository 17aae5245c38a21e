/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration and the token that a command works with. */
#include "daemon/base/text.h"
#include "tools/officer/officer.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

int mm_officer_usage(struct mm_officer *o, struct mm_errinfo *ei, const char *fmt, ...)
{
    char text[MM_ERR_TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    o->exit_code = MM_EXIT_USAGE;
    return mm_fail(ei, MM_ERR_INVALID, "USAGE", "%s", text);
}

int mm_officer_load(struct mm_officer *o, struct mm_errinfo *ei)
{
    const int r = mm_conf_load(o->args.config, &o->conf, ei);

    if (r < 0)
        o->exit_code = MM_EXIT_CONFIG;
    return r;
}

int mm_officer_name(struct mm_officer *o, enum mm_option option, const char *value,
                    struct mm_errinfo *ei)
{
    if (mm_name_valid(value, MM_NAME_MAX))
        return MM_OK;
    return mm_officer_usage(o, ei,
                            "--%s takes letters, digits, '.', '_' and '-', at most %d, beginning "
                            "with a letter or digit",
                            mm_cli_option_name(option), MM_NAME_MAX);
}

int mm_officer_absent(const char *path, struct mm_errinfo *ei)
{
    struct stat st;

    if (lstat(path, &st) == 0)
        return mm_fail(ei, MM_ERR_EXISTS, "FILE_EXISTS", "%s: exists already, not overwritten",
                       path);
    if (errno != ENOENT)
        return mm_fail_errno(ei, errno, "%s", path);
    return MM_OK;
}

static const struct {
    const char *setting, *name;
} curves[] = {
    [MM_CURVE_P256] = {"p256", "P-256"},
    [MM_CURVE_P384] = {"p384", "P-384"},
    [MM_CURVE_ED25519] = {"ed25519", "Ed25519"},
    [MM_CURVE_ML_DSA_44] = {"mldsa44", "ML-DSA-44"},
    [MM_CURVE_ML_DSA_65] = {"mldsa65", "ML-DSA-65"},
    [MM_CURVE_ML_DSA_87] = {"mldsa87", "ML-DSA-87"},
};

static bool find_curve(const char *setting, enum mm_curve *ret_curve)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(curves); i++) {
        if (strcmp(setting, curves[i].setting) == 0) {
            *ret_curve = (enum mm_curve)i;
            return true;
        }
    }
    return false;
}

int mm_officer_curve(struct mm_officer *o, enum mm_curve *ret_curve, struct mm_errinfo *ei)
{
    const char *const curve = o->args.curve;

    if (!curve)
        *ret_curve = MM_CURVE_P256;
    else if (!find_curve(curve, ret_curve))
        return mm_officer_usage(
            o, ei, "--curve is p256, p384, ed25519, mldsa44, mldsa65 or mldsa87, not '%s'", curve);
    if (o->args.backup && *ret_curve != MM_CURVE_P256 && *ret_curve != MM_CURVE_P384)
        return mm_officer_usage(o, ei, "a key that is backed up is on p256 or p384");
    return MM_OK;
}

const char *mm_officer_curve_setting(enum mm_curve curve)
{
    return curves[curve].setting;
}

const char *mm_officer_curve_name(enum mm_curve curve)
{
    return curves[curve].name;
}

const char *mm_officer_one_of(const struct mm_officer *o, char *const *tokens, size_t n)
{
    for (size_t i = 0; i < n && o->args.token; i++)
        if (strcmp(tokens[i], o->args.token) == 0)
            return tokens[i];
    return n > 0 ? tokens[0] : "";
}

int mm_officer_choose_token(struct mm_officer *o, const char *name, struct mm_errinfo *ei)
{
    const char *const given = o->args.token;

    if (name && given && strcmp(name, given) != 0)
        return mm_officer_usage(o, ei, "the key is in token '%s', not in '%s'", name, given);
    if (!name)
        name = given;
    if (!name && o->conf->n_tokens != 1)
        return mm_officer_usage(o, ei, "%s has %zu token sections: choose one with --token NAME",
                                o->conf->path, o->conf->n_tokens);
    o->conf_token = name ? mm_conf_token_get(o->conf, name) : &o->conf->tokens[0];
    if (!o->conf_token) {
        o->exit_code = MM_EXIT_CONFIG;
        return mm_fail(ei, MM_ERR_NOT_FOUND, "UNKNOWN_TOKEN", "%s has no token section '%s'",
                       o->conf->path, name);
    }
    return MM_OK;
}

struct mm_token_open mm_officer_how(const struct mm_conf_token *conf_token)
{
    return (struct mm_token_open){
        .module = conf_token->module,
        .uri = conf_token->uri,
        .environment = conf_token->environment,
        .n_environment = conf_token->n_environment,
        .parameters = conf_token->parameters,
    };
}

static int read_pin_fd(struct mm_officer *o, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    uint64_t fd;

    if (mm_text_to_u64(o->args.pin_fd, 0, 1 << 20, &fd) < 0)
        return mm_officer_usage(o, ei, "--pin-fd takes the number of an open descriptor");
    return mm_pin_from_fd((int)fd, ret_pin, ei);
}

int mm_officer_pin(struct mm_officer *o, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &o->args;
    char prompt[MM_NAME_MAX + 32];

    if (!!a->pin_file + !!a->pin_fd + !!a->pin_credential + a->pin_prompt > 1)
        return mm_officer_usage(o, ei,
                                "give one of --pin-file, --pin-fd, --pin-credential and "
                                "--pin-prompt");
    if (a->pin_file)
        return mm_pin_from_file(a->pin_file, ret_pin, ei);
    if (a->pin_fd)
        return read_pin_fd(o, ret_pin, ei);
    if (a->pin_credential)
        return mm_pin_from_credential(a->pin_credential, ret_pin, ei);
    if (!a->pin_prompt && *o->conf_token->pin_file)
        return mm_pin_from_file(o->conf_token->pin_file, ret_pin, ei);
    if (!a->pin_prompt && *o->conf_token->pin_credential)
        return mm_pin_from_credential(o->conf_token->pin_credential, ret_pin, ei);
    snprintf(prompt, sizeof(prompt), "User PIN of token %s: ", o->conf_token->name);
    return mm_pin_from_terminal(prompt, ret_pin, ei);
}

/* Asked before the PIN is: nobody types one in vain. */
static int refuse_last_try(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_token_info info;
    const int r = mm_token_info(o->token, &info, ei);

    if (r < 0)
        return r;
    if (info.pin_locked)
        return mm_fail(ei, MM_ERR_PIN, "PIN_LOCKED",
                       "the user PIN of token '%s' is locked after too many wrong tries; the "
                       "security officer has to set a new one",
                       info.label);
    if (info.pin_final_try)
        return mm_fail(ei, MM_ERR_PIN, "PIN_FINAL_TRY",
                       "one more wrong user PIN would lock token '%s', so none was tried; log in "
                       "once with the vendor's own tool, with a PIN that is surely right",
                       info.label);
    return MM_OK;
}

static int log_in(struct mm_officer *o, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    int r;

    r = refuse_last_try(o, ei);
    if (r < 0)
        return r;
    r = mm_officer_pin(o, &pin, ei);
    if (r < 0)
        return r;
    return mm_token_login(o->token, &pin, ei);
}

int mm_officer_token(struct mm_officer *o, const char *name, enum mm_officer_login login,
                     struct mm_errinfo *ei)
{
    struct mm_token_open how;
    int r;

    r = mm_officer_choose_token(o, name, ei);
    if (r < 0)
        return r;
    how = mm_officer_how(o->conf_token);
    r = mm_token_open(&how, &o->token, ei);
    if (r < 0)
        return r;
    return login == MM_OFFICER_USER ? log_in(o, ei) : MM_OK;
}

int mm_officer_find(struct mm_officer *o, const char *label, enum mm_key_class class,
                    mm_handle *ret_handle, struct mm_errinfo *ei)
{
    /* A label that passes mm_name_valid needs no percent-encoding (RFC 7512 section 2.3). */
    char uri[MM_NAME_MAX + 32];

    snprintf(uri, sizeof(uri), "pkcs11:object=%s", label);
    return mm_token_find(o->token, uri, class, ret_handle, ei);
}

int mm_officer_answer(struct mm_officer *o, const char *key, json_t *value, struct mm_errinfo *ei)
{
    if (json_object_set_new(o->answer, key, value) < 0)
        return mm_fail_memory(ei);
    return MM_OK;
}

void mm_officer_done(struct mm_officer *o)
{
    mm_token_free(o->token);
    mm_transcript_free(o->transcript);
    mm_conf_free(o->conf);
    json_decref(o->answer);
    *o = (struct mm_officer){0};
}
