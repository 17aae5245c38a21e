/* SPDX-License-Identifier: Apache-2.0 */
/* key restore: shares come together, and the keys of a backup go into a token. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "tools/officer/backup_file.h"
#include "tools/officer/officer.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { TYPING_TRIES = 5 };

struct ceremony {
    struct mm_officer *o;
    struct mm_backup backup;
    struct mm_secret *shares[MM_SHARES_MAX];
    unsigned n_shares;
    struct mm_secret *key;
    struct mm_keypair made[MM_BACKUP_KEYS_MAX];
};

static void ceremony_done(struct ceremony *c)
{
    for (size_t i = 0; i < MM_SHARES_MAX; i++)
        mm_secret_free(c->shares[i]);
    mm_secret_free(c->key);
    mm_backup_done(&c->backup);
}

/* ---- shares ------------------------------------------------------------------------------ */

/* Takes a share that fits; one by one, so that its officer hears what is wrong with it. */
static int take_share(struct ceremony *c, struct mm_secret *text, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *share = NULL;
    int r = mm_share_parse(text, &share, ei);

    if (r == MM_OK)
        r = mm_backup_check_share(&c->backup, share, ei);
    for (unsigned i = 0; r == MM_OK && i < c->n_shares; i++)
        if (mm_share_index(c->shares[i]) == mm_share_index(share))
            r = mm_fail(ei, MM_ERR_INVALID, "SHARE_TWICE", "share %u has been given already",
                        mm_share_index(share));
    if (r == MM_OK) {
        mm_ceremony_say(c->o, "share", "%u was given", mm_share_index(share));
        c->shares[c->n_shares++] = MM_TAKE(share);
    }
    return r;
}

static int shares_of_files(struct ceremony *c, struct mm_errinfo *ei)
{
    char paths[PATH_MAX];
    char *rest = NULL;
    int r = MM_OK;

    if (snprintf(paths, sizeof(paths), "%s", c->o->args.share_files) >= (int)sizeof(paths))
        return mm_officer_usage(c->o, ei, "--share-files is too long");
    for (char *path = strtok_r(paths, ",", &rest); r == MM_OK && path;
         path = strtok_r(NULL, ",", &rest)) {
        MM_SECRET_CLEANUP struct mm_secret *text = NULL;

        if (c->n_shares == c->backup.threshold)
            break;
        r = mm_pin_from_file(path, &text, ei);
        if (r == MM_OK)
            r = take_share(c, text, ei);
        if (r < 0)
            r = mm_err_prefix(ei, "%s", path);
    }
    return r;
}

static int share_from_terminal(struct ceremony *c, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *text = NULL;
    char prompt[96];
    int r;

    snprintf(prompt, sizeof(prompt), "Share, %u of the %u needed (not shown): ", c->n_shares + 1,
             c->backup.threshold);
    r = mm_pin_from_terminal(prompt, &text, ei);
    if (r == MM_ERR_UNAVAILABLE)
        return mm_officer_usage(c->o, ei,
                                "there is no terminal to type shares on; --share-files names "
                                "files of them");
    return r < 0 ? r : take_share(c, text, ei);
}

static int shares_of_people(struct ceremony *c, struct mm_errinfo *ei)
{
    int r = MM_OK;

    for (int wrong = 0; c->n_shares < c->backup.threshold;) {
        r = share_from_terminal(c, ei);
        if (r == MM_ERR_INVALID && c->o->exit_code != MM_EXIT_USAGE && ++wrong < TYPING_TRIES) {
            mm_ceremony_say(c->o, "refused", "%s", ei->text);
            continue;
        }
        if (r < 0)
            break;
    }
    return r;
}

static int collect(struct ceremony *c, struct mm_errinfo *ei)
{
    int r = c->o->args.share_files ? shares_of_files(c, ei) : shares_of_people(c, ei);

    if (r < 0)
        return r;
    if (c->n_shares < c->backup.threshold)
        return mm_fail(ei, MM_ERR_INVALID, "SHARES_TOO_FEW",
                       "%u shares were given, and it takes %u", c->n_shares, c->backup.threshold);
    r = mm_shares_join(c->shares, c->n_shares, &c->key, ei);
    return r < 0 ? r : mm_backup_check_key(&c->backup, c->key, ei);
}

/* ---- the token --------------------------------------------------------------------------- */

static int refuse_existing(struct ceremony *c, struct mm_errinfo *ei)
{
    for (size_t i = 0; i < c->backup.n_keys; i++) {
        mm_handle found;
        const int r = mm_officer_find(c->o, c->backup.keys[i].label, MM_KEY_PRIVATE, &found, ei);

        if (r == MM_OK || r == MM_ERR_EXISTS)
            return mm_fail(ei, MM_ERR_EXISTS, "KEY_EXISTS",
                           "the token has a key labelled '%s' already; nothing is restored",
                           c->backup.keys[i].label);
        if (r != MM_ERR_NOT_FOUND)
            return r;
    }
    return MM_OK;
}

/* Is there a half of that key, or its note? Before, there was neither. */
static bool remains(struct ceremony *c, const struct mm_backup_key *key)
{
    struct mm_errinfo ignored;
    mm_handle found;

    return mm_officer_find(c->o, key->label, MM_KEY_PRIVATE, &found, &ignored) !=
               MM_ERR_NOT_FOUND ||
           mm_officer_find(c->o, key->label, MM_KEY_PUBLIC, &found, &ignored) != MM_ERR_NOT_FOUND ||
           mm_token_backup_noted(c->o->token, key->point, key->point_len, &ignored) !=
               MM_ERR_NOT_FOUND;
}

static void remove_key(struct ceremony *c, const struct mm_backup_key *key)
{
    struct mm_keypair pair = {.curve = key->curve};
    struct mm_errinfo ignored;

    (void)!mm_officer_find(c->o, key->label, MM_KEY_PRIVATE, &pair.private_key, &ignored);
    (void)!mm_officer_find(c->o, key->label, MM_KEY_PUBLIC, &pair.public_key, &ignored);
    mm_token_destroy(c->o->token, &pair);
    mm_token_backup_forget(c->o->token, key->point, key->point_len);
}

/* All of them or none. What failed may be the session, and the handles with it: in a new one each
 * key is looked for by its label, which no key had before. */
static void take_back(struct ceremony *c)
{
    struct mm_errinfo ignored;
    const bool open = mm_token_reopen(c->o->token, &ignored) == MM_OK;

    for (size_t i = 0; i < c->backup.n_keys; i++) {
        const struct mm_backup_key *const key = &c->backup.keys[i];

        if (open)
            remove_key(c, key);
        if (!open || remains(c, key))
            mm_ceremony_say(c->o, "LEFT BEHIND",
                            "key '%s', or a part of it, may be in the token; remove it before you "
                            "try again",
                            key->label);
    }
}

static int restore_keys(struct ceremony *c, struct mm_errinfo *ei)
{
    mm_handle unwrapping = 0;
    int r = mm_token_restore_begin(c->o->token, c->key, &unwrapping, ei);

    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++) {
        const struct mm_backup_key *const key = &c->backup.keys[i];

        r = mm_token_restore_key(c->o->token, unwrapping, key, &c->made[i], ei);
        if (r < 0)
            r = mm_err_prefix(ei, "key '%s'", key->label);
    }
    /* So that a site which wants a backup before first use takes the key here too. */
    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++)
        r = mm_token_backup_note(c->o->token, c->backup.keys[i].point, c->backup.keys[i].point_len,
                                 c->backup.set, mm_clock_wall_ms(), ei);
    mm_token_backup_end(c->o->token, unwrapping);
    if (r < 0)
        take_back(c);
    return r;
}

static int answer(struct ceremony *c, struct mm_errinfo *ei)
{
    json_t *const labels = json_array();
    int r = MM_OK;

    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++) {
        (void)json_array_append_new(labels, json_string(c->backup.keys[i].label));
        r = mm_ceremony_key(c->o, c->made[i].private_key, ei);
    }
    if (r < 0) {
        json_decref(labels);
        return r;
    }
    return mm_officer_answer(c->o, "restored", labels, ei);
}

static int read_backup(struct ceremony *c, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_BACKUP_FILE_MAX);
    int r = mm_io_read_file(c->o->args.in, MM_BACKUP_FILE_MAX, &text, ei);

    if (r == MM_OK)
        r = mm_backup_parse((struct mm_bytes){text.data, text.len}, &c->backup, ei);
    return r < 0 ? mm_err_prefix(ei, "%s", c->o->args.in) : MM_OK;
}

static int restore(struct ceremony *c, struct mm_errinfo *ei)
{
    int r = read_backup(c, ei);

    if (r == MM_OK)
        r = mm_officer_token(c->o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = refuse_existing(c, ei);
    if (r == MM_OK)
        r = collect(c, ei);
    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++)
        mm_ceremony_say(c->o, "in the backup", "key %s", c->backup.keys[i].label);
    if (r == MM_OK)
        r = mm_ceremony_confirm(c->o, ei, "Put %zu key(s) of %s into token '%s'?", c->backup.n_keys,
                                c->o->args.in, c->o->conf_token->name);
    if (r == MM_OK)
        r = restore_keys(c, ei);
    return r < 0 ? r : answer(c, ei);
}

int mm_cmd_key_restore(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct ceremony c = {.o = o};
    const int r = restore(&c, ei);

    ceremony_done(&c);
    return r;
}
