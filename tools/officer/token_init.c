/* SPDX-License-Identifier: Apache-2.0 */
/* token init: a new token gets its label, its security officer's PIN and its user PIN. */
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tools/officer/officer.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    RANDOM_PIN_BYTES = 16, /* 128 bits, as 32 hexadecimal digits: taken by every token we know */
    LABEL_MAX = 32,        /* CK_TOKEN_INFO.label */
};

/* Where one of the two PINs comes from. */
struct pin_source {
    const char *whose;
    const char *file;
    const char *fd;
    const char *generate;
    bool generated; /* the file is ours */
};

static int typed_twice(const char *whose, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *first = NULL;
    MM_SECRET_CLEANUP struct mm_secret *again = NULL;
    char prompt[64];
    int r;

    snprintf(prompt, sizeof(prompt), "New %s PIN: ", whose);
    r = mm_pin_from_terminal(prompt, &first, ei);
    if (r < 0)
        return r;
    snprintf(prompt, sizeof(prompt), "New %s PIN, again: ", whose);
    r = mm_pin_from_terminal(prompt, &again, ei);
    if (r < 0)
        return r;
    if (mm_secret_len(first) != mm_secret_len(again) ||
        CRYPTO_memcmp(mm_secret_data(first), mm_secret_data(again), mm_secret_len(first)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "PIN_MISTYPED", "the two %s PINs differ", whose);
    *ret_pin = MM_TAKE(first);
    return MM_OK;
}

static int random_pin(struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *bytes = NULL;
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;

    if (mm_secret_new(RANDOM_PIN_BYTES, &bytes) < 0 ||
        mm_secret_new(2 * RANDOM_PIN_BYTES + 1, &pin) < 0)
        return mm_fail_memory(ei);
    if (getrandom(mm_secret_data(bytes), RANDOM_PIN_BYTES, 0) != RANDOM_PIN_BYTES)
        return mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "the system has no random bytes");
    mm_hex_encode(mm_secret_data(bytes), RANDOM_PIN_BYTES, (char *)mm_secret_data(pin));
    mm_secret_truncate(pin, 2 * RANDOM_PIN_BYTES);
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

/* On disk before the token has it: a token must never hold a PIN that nobody knows. */
static int generate(struct pin_source *source, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    int r;

    r = random_pin(&pin, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(source->generate, 0600, mm_secret_data(pin), mm_secret_len(pin), ei);
    if (r < 0)
        return r;
    source->generated = true;
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

static int obtain(struct mm_officer *o, struct pin_source *source, struct mm_secret **ret_pin,
                  struct mm_errinfo *ei)
{
    uint64_t fd;

    if (source->generate)
        return generate(source, ret_pin, ei);
    if (source->file)
        return mm_pin_from_file(source->file, ret_pin, ei);
    if (!source->fd)
        return typed_twice(source->whose, ret_pin, ei);
    if (mm_text_to_u64(source->fd, 0, 1 << 20, &fd) < 0)
        return mm_officer_usage(o, ei, "'%s' is not the number of an open descriptor", source->fd);
    return mm_pin_from_fd((int)fd, ret_pin, ei);
}

static int check_sources(struct mm_officer *o, const struct pin_source *source,
                         struct mm_errinfo *ei)
{
    if (!!source->file + !!source->fd + !!source->generate > 1)
        return mm_officer_usage(o, ei, "give the %s PIN in one way only", source->whose);
    return source->generate ? mm_officer_absent(source->generate, ei) : MM_OK;
}

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

static int initialise(struct mm_officer *o, struct pin_source *so, struct pin_source *user,
                      struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *so_pin = NULL;
    MM_SECRET_CLEANUP struct mm_secret *user_pin = NULL;
    struct mm_token_open how = mm_officer_how(o->conf_token);
    char blank[MM_URI_MAX + 1];
    int r;

    uri_of_blank(how.uri, blank);
    how.uri = blank;
    r = obtain(o, so, &so_pin, ei);
    if (r < 0)
        return r;
    r = obtain(o, user, &user_pin, ei);
    if (r < 0)
        return r;
    if (mm_secret_len(so_pin) == mm_secret_len(user_pin) &&
        CRYPTO_memcmp(mm_secret_data(so_pin), mm_secret_data(user_pin), mm_secret_len(so_pin)) == 0)
        return mm_fail(ei, MM_ERR_INVALID, "SAME_PIN",
                       "the security officer's PIN and the user PIN must differ");
    return mm_token_initialise(&how, o->args.label, so_pin, user_pin, ei);
}

/* Files of PINs that no token has got. When the token may have one, its file stays. */
static void remove_unused(const struct mm_officer *o, const struct pin_source *source)
{
    const struct mm_token_open how = mm_officer_how(o->conf_token);
    struct mm_errinfo ignored;

    if (source->generated && refuse_initialised(&how, &ignored) == MM_OK)
        unlink(source->generate);
}

int mm_cmd_token_init(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct pin_source so = {"security officer's", o->args.so_pin_file, o->args.so_pin_fd,
                            o->args.generate_so_pin_file, false};
    struct pin_source user = {"user", o->args.pin_file, o->args.pin_fd, o->args.generate_pin_file,
                              false};
    struct mm_token_open how;
    int r;

    r = mm_officer_choose_token(o, NULL, ei);
    if (r == MM_OK)
        r = check_label(o, ei);
    if (r == MM_OK)
        r = check_sources(o, &so, ei);
    if (r == MM_OK)
        r = check_sources(o, &user, ei);
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
