/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/token/login.h"

#include "daemon/base/io.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <unistd.h>

enum {
    LOOK_MS = 500,   /* at the file */
    KEPT_LOOKS = 10, /* then the token is asked again whether it takes a PIN */
};

void mm_login_done(struct mm_login *l)
{
    mm_secret_free(MM_TAKE(l->refused));
}

static int read_pin(const struct mm_conf_token *conf, struct mm_secret **ret_pin,
                    struct mm_errinfo *ei)
{
    if (*conf->pin_file)
        return mm_pin_from_file(conf->pin_file, ret_pin, ei);
    return mm_pin_from_credential(conf->pin_credential, ret_pin, ei);
}

/* -1 where that cannot be: whoever has the file for so long must not keep the site from working. */
static int hold(const struct mm_conf_token *conf)
{
    char path[PATH_MAX];
    struct mm_errinfo ignored;
    int held = -1;
    int r = MM_OK;

    if (!*conf->pin_file)
        r = mm_pin_credential_path(conf->pin_credential, path, sizeof(path), &ignored);
    if (r == MM_OK)
        r = mm_pin_hold(*conf->pin_file ? conf->pin_file : path, &held, &ignored);
    return r < 0 ? -1 : held;
}

static void note(struct mm_login *l, struct mm_token *t)
{
    struct mm_secret *refused = mm_token_take_refused(t);

    if (!refused)
        return;
    mm_secret_free(l->refused);
    l->refused = refused;
}

int mm_login_first(struct mm_login *l, const struct mm_conf_token *section, struct mm_token *t,
                   struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    MM_UNUSED MM_CLOSE int held = hold(section);
    int r = read_pin(section, &pin, ei);

    if (r == MM_OK)
        r = mm_token_login(t, &pin, ei);
    note(l, t);
    return r;
}

int mm_login_again(struct mm_login *l, const struct mm_conf_token *section, struct mm_token *t,
                   int (*how)(struct mm_token *t, struct mm_errinfo *ei), struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    MM_UNUSED MM_CLOSE int held = hold(section);
    struct mm_errinfo ignored;
    int r;

    if (read_pin(section, &pin, &ignored) == MM_OK)
        mm_token_keep_pin(t, &pin);
    r = how(t, ei);
    note(l, t);
    return r;
}

static bool same(struct mm_secret *a, struct mm_secret *b)
{
    return a && b && mm_secret_len(a) == mm_secret_len(b) &&
           CRYPTO_memcmp(mm_secret_data(a), mm_secret_data(b), mm_secret_len(a)) == 0;
}

/* A file that is being written may hold half a PIN for a moment: what counts was seen twice. */
bool mm_login_await(struct mm_login *l, const struct mm_conf_token *section, int fd)
{
    MM_SECRET_CLEANUP struct mm_secret *seen = NULL;
    struct pollfd p = {.fd = fd};

    for (unsigned looks = 0;; looks++) {
        MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
        struct mm_errinfo ignored;

        if (poll(&p, 1, LOOK_MS) > 0)
            return false;
        if (!l->refused && looks >= KEPT_LOOKS)
            return true;
        if (!l->refused || read_pin(section, &pin, &ignored) < 0)
            continue;
        if (!same(pin, l->refused) && same(pin, seen))
            return true;
        mm_secret_free(MM_TAKE(seen));
        seen = MM_TAKE(pin);
    }
}
