/* SPDX-License-Identifier: Apache-2.0 */
/* token init: a new token gets its label, its security officer's PIN and its user PIN. */
#include "daemon/base/text.h"
#include "tools/officer/officer.h"
#include "tools/officer/pins.h"

#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_MAX = 32 }; /* of CK_TOKEN_INFO */

/* The text of an attribute of a PKCS#11 URI (RFC 7512 section 2.3), percent-decoded, if it has
 * one. A text that does not fit is left out too: no label is that long. */
static bool uri_attribute(const char *uri, const char *name, char *text, size_t size)
{
    const size_t name_len = strlen(name);
    const char *c = uri + strcspn(uri, ":");
    size_t n = 0;

    while (*c && (strncmp(c + 1, name, name_len) != 0 || c[1 + name_len] != '='))
        c += 1 + strcspn(c + 1, ";?");
    if (!*c)
        return false;
    for (c += 1 + name_len + 1; *c && *c != ';' && *c != '?'; c++) {
        uint8_t byte = (uint8_t)*c;

        if (*c == '%') {
            const char hex[3] = {c[1], c[1] ? c[2] : '\0', '\0'};

            if (mm_hex_decode(hex, &byte, 1) < 0)
                return false;
            c += 2;
        }
        if (n + 1 >= size)
            return false;
        text[n++] = (char)byte;
    }
    text[n] = '\0';
    return true;
}

/* The URI without its label, which the blank token does not bear yet; out is as long as uri. */
static void uri_of_blank(const char *uri, char *out)
{
    size_t n = strlen("pkcs11:");
    const char *c = uri + strcspn(uri, ":");

    memcpy(out, "pkcs11:", n);
    while (*c && *c != '?') {
        const size_t len = strcspn(++c, ";?");

        if (len > 0 && strncmp(c, "token=", strlen("token=")) != 0) {
            if (out[n - 1] != ':')
                out[n++] = ';';
            memcpy(out + n, c, len);
            n += len;
        }
        c += len;
    }
    out[n] = '\0';
}

/* A label under which the configuration would not find the token again is refused beforehand. */
static int check_label(struct mm_officer *o, struct mm_errinfo *ei)
{
    const char *const label = o->args.label;
    char wanted[LABEL_MAX + 1];

    if (strlen(label) > LABEL_MAX || !mm_utf8_valid(label, strlen(label)))
        return mm_officer_usage(o, ei, "--label takes at most %d bytes of UTF-8", LABEL_MAX);
    if (uri_attribute(o->conf_token->uri, "token", wanted, sizeof(wanted)) &&
        strcmp(wanted, label) != 0)
        return mm_officer_usage(o, ei,
                                "the configuration looks for a token labelled '%s' (%s), so it "
                                "would not find one labelled '%s'",
                                wanted, o->conf_token->uri, label);
    return MM_OK;
}

static int refuse_initialised(const struct mm_token_open *how, struct mm_errinfo *ei)
{
    MM_TOKEN_CLEANUP struct mm_token *token = NULL;
    struct mm_token_info info;
    int r;

    r = mm_token_open(how, &token, ei);
    if (r == MM_ERR_NOT_FOUND)
        return MM_OK;
    if (r < 0)
        return r;
    r = mm_token_info(token, &info, ei);
    if (r < 0)
        return r;
    return mm_fail(ei, MM_ERR_EXISTS, "TOKEN_INITIALISED",
                   "token '%s' (serial %s) is initialised already; it is left as it is", info.label,
                   info.serial);
}

/* The token as it is now; it must be the one that the configuration selects. */
static int read_back(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_token_info info;
    int r;

    r = mm_officer_token(o, NULL, MM_OFFICER_PUBLIC, ei);
    if (r < 0)
        return mm_err_prefix(ei, "the token is initialised, but %s does not find it",
                             o->conf_token->uri);
    r = mm_token_info(o->token, &info, ei);
    if (r < 0)
        return r;
    mm_ceremony_say(o, "token", "label %s, serial %s, model %s, manufacturer %s", info.label,
                    info.serial, info.model, info.manufacturer);
    return mm_officer_answer(o, "token",
                             json_pack("{s:s, s:s, s:s, s:s}", "label", info.label, "serial",
                                       info.serial, "model", info.model, "manufacturer",
                                       info.manufacturer),
                             ei);
}

static int initialise(struct mm_officer *o, struct mm_pin_source *so, struct mm_pin_source *user,
                      struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *so_pin = NULL;
    MM_SECRET_CLEANUP struct mm_secret *user_pin = NULL;
    struct mm_token_open how = mm_officer_how(o->conf_token);
    char blank[MM_URI_MAX + 1];
    int r;

    uri_of_blank(how.uri, blank);
    how.uri = blank;
    r = mm_pin_source_get(o, so, &so_pin, ei);
    if (r < 0)
        return r;
    r = mm_pin_source_get(o, user, &user_pin, ei);
    if (r < 0)
        return r;
    if (mm_secret_len(so_pin) == mm_secret_len(user_pin) &&
        CRYPTO_memcmp(mm_secret_data(so_pin), mm_secret_data(user_pin), mm_secret_len(so_pin)) == 0)
        return mm_fail(ei, MM_ERR_INVALID, "SAME_PIN",
                       "the security officer's PIN and the user PIN must differ");
    return mm_token_initialise(&how, o->args.label, so_pin, user_pin, ei);
}

/* Files of PINs that no token has got. When the token may have one, its file stays. */
static void remove_unused(const struct mm_officer *o, const struct mm_pin_source *source)
{
    const struct mm_token_open how = mm_officer_how(o->conf_token);
    struct mm_errinfo ignored;

    if (source->generated && refuse_initialised(&how, &ignored) == MM_OK)
        unlink(source->generate);
}

int mm_cmd_token_init(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_pin_source so = {"security officer's", o->args.so_pin_file, o->args.so_pin_fd,
                               o->args.generate_so_pin_file, false};
    struct mm_pin_source user = {"user", o->args.pin_file, o->args.pin_fd,
                                 o->args.generate_pin_file, false};
    struct mm_token_open how;
    int r;

    r = mm_officer_choose_token(o, NULL, ei);
    if (r == MM_OK)
        r = check_label(o, ei);
    if (r == MM_OK)
        r = mm_pin_source_check(o, &so, ei);
    if (r == MM_OK)
        r = mm_pin_source_check(o, &user, ei);
    if (r < 0)
        return r;
    how = mm_officer_how(o->conf_token);
    r = refuse_initialised(&how, ei);
    if (r < 0)
        return r;
    r = mm_ceremony_confirm(o, ei, "Initialise a token as '%s' in module %s?", o->args.label,
                            o->conf_token->module);
    if (r < 0)
        return r;
    r = initialise(o, &so, &user, ei);
    if (r < 0) {
        remove_unused(o, &so);
        remove_unused(o, &user);
        return r;
    }
    return read_back(o, ei);
}
