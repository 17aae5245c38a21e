/* SPDX-License-Identifier: Apache-2.0 */
/* key backup: CA keys leave the token, wrapped; the key they are wrapped under leaves in shares. */
#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "tools/officer/backup_file.h"
#include "tools/officer/officer.h"
#include "tools/officer/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/rand.h>
#include <string.h>
#include <unistd.h>

enum { TYPING_TRIES = 3 };

struct ceremony {
    struct mm_officer *o;
    struct mm_backup backup;
    struct mm_secret *so_pin, *key;
    struct mm_secret *shares[MM_SHARES_MAX];
};

static void ceremony_done(struct ceremony *c)
{
    for (size_t i = 0; i < MM_SHARES_MAX; i++)
        mm_secret_free(c->shares[i]);
    mm_secret_free(c->so_pin);
    mm_secret_free(c->key);
    mm_backup_done(&c->backup);
}

/* ---- what is asked for ------------------------------------------------------------------- */

static int parse_numbers(struct ceremony *c, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &c->o->args;
    uint64_t shares, threshold;

    if (mm_text_to_u64(a->shares, MM_SHARES_MIN_THRESHOLD, MM_SHARES_MAX, &shares) < 0 ||
        mm_text_to_u64(a->threshold, MM_SHARES_MIN_THRESHOLD, shares, &threshold) < 0)
        return mm_officer_usage(c->o, ei,
                                "--shares is a number from 2 to %d, and --threshold one from 2 to "
                                "that",
                                MM_SHARES_MAX);
    c->backup.n_shares = (unsigned)shares;
    c->backup.threshold = (unsigned)threshold;
    return MM_OK;
}

static int share_path(const struct ceremony *c, unsigned i, char path[PATH_MAX],
                      struct mm_errinfo *ei)
{
    if (snprintf(path, PATH_MAX, "%s/share-%u.txt", c->o->args.shares_dir, i + 1) >= PATH_MAX)
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: path too long",
                       c->o->args.shares_dir);
    return MM_OK;
}

static int check_files(struct ceremony *c, struct mm_errinfo *ei)
{
    char path[PATH_MAX];
    int r = mm_officer_absent(c->o->args.out, ei);

    for (unsigned i = 0; r == MM_OK && c->o->args.shares_dir && i < c->backup.n_shares; i++) {
        r = share_path(c, i, path, ei);
        if (r == MM_OK)
            r = mm_officer_absent(path, ei);
    }
    return r;
}

/* One label after the other of --label A,B. */
static int describe_keys(struct ceremony *c, struct mm_errinfo *ei)
{
    char labels[MM_BACKUP_KEYS_MAX * (MM_NAME_MAX + 1)];
    char *rest = NULL;
    int r = MM_OK;

    if (snprintf(labels, sizeof(labels), "%s", c->o->args.label) >= (int)sizeof(labels))
        return mm_officer_usage(c->o, ei, "--label names too many keys");
    for (char *label = strtok_r(labels, ",", &rest); r == MM_OK && label;
         label = strtok_r(NULL, ",", &rest)) {
        mm_handle handle;

        r = mm_officer_name(c->o, MM_OPT_label, label, ei);
        if (r == MM_OK && c->backup.n_keys == MM_BACKUP_KEYS_MAX)
            r = mm_officer_usage(c->o, ei, "--label names more than %d keys", MM_BACKUP_KEYS_MAX);
        if (r == MM_OK)
            r = mm_officer_find(c->o, label, MM_KEY_PRIVATE, &handle, ei);
        if (r == MM_OK)
            r = mm_token_backup_describe(c->o->token, handle, &c->backup.keys[c->backup.n_keys],
                                         ei);
        c->backup.n_keys += r == MM_OK;
    }
    if (r == MM_OK && c->backup.n_keys == 0)
        r = mm_officer_usage(c->o, ei, "--label names no key");
    return r;
}

/* ---- the key and its shares -------------------------------------------------------------- */

/* Of two generators: as good as the better one. */
static int make_key(struct ceremony *c, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *other = NULL;
    int r;

    if (mm_secret_new(MM_BACKUP_KEY_BYTES, &c->key) < 0 ||
        mm_secret_new(MM_BACKUP_KEY_BYTES, &other) < 0)
        return mm_fail_memory(ei);
    r = mm_token_random(c->o->token, mm_secret_data(c->key), MM_BACKUP_KEY_BYTES, ei);
    if (r < 0)
        return r;
    if (RAND_priv_bytes(mm_secret_data(other), MM_BACKUP_KEY_BYTES) != 1 ||
        RAND_bytes(c->backup.set, sizeof(c->backup.set)) != 1)
        return mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "libcrypto has no random bytes");
    for (size_t i = 0; i < MM_BACKUP_KEY_BYTES; i++)
        mm_secret_data(c->key)[i] ^= mm_secret_data(other)[i];
    return MM_OK;
}

static int show_on(int tty, struct mm_secret *text, struct mm_errinfo *ei)
{
    int r = mm_io_write_all(tty, mm_secret_data(text), MM_SHARE_TEXT, ei);

    return r < 0 ? r : mm_io_write_all(tty, "\n", 1, ei);
}

/* What was typed back is the share? */
static int typed_back(unsigned i, struct mm_secret *share, bool *ret_same, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *text = NULL;
    MM_SECRET_CLEANUP struct mm_secret *typed = NULL;
    struct mm_errinfo why;
    char prompt[96];
    int r;

    snprintf(prompt, sizeof(prompt), "Share %u, from your paper (not shown): ", i + 1);
    r = mm_pin_from_terminal(prompt, &text, ei);
    if (r < 0)
        return r;
    *ret_same = mm_share_parse(text, &typed, &why) == MM_OK &&
                memcmp(mm_secret_data(typed), mm_secret_data(share), MM_SHARE_BYTES) == 0;
    return MM_OK;
}

/* Shown, wiped from the screen, and typed back. */
static int give_on_terminal(struct ceremony *c, unsigned i, struct mm_secret *text,
                            struct mm_errinfo *ei)
{
    static const char wipe[] = "\033[2J\033[3J\033[H";
    MM_CLOSE int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    char prompt[160], line[MM_PROMPT_LINE_MAX];
    bool same = false;
    int r = MM_OK;

    if (tty < 0)
        return mm_officer_usage(c->o, ei,
                                "there is no terminal to show the shares on; --shares-dir writes "
                                "them to files");
    for (int tries = 0; r == MM_OK && !same && tries < TYPING_TRIES; tries++) {
        snprintf(prompt, sizeof(prompt),
                 "Share %u of %u. Its officer alone is to see the screen now; press Enter: ", i + 1,
                 c->backup.n_shares);
        r = mm_prompt_line(prompt, line, sizeof(line), ei);
        if (r == MM_OK)
            r = show_on(tty, text, ei);
        if (r == MM_OK)
            r = mm_prompt_line("Write it down, dashes left out or not; press Enter to wipe it: ",
                               line, sizeof(line), ei);
        if (r == MM_OK)
            r = mm_io_write_all(tty, wipe, sizeof(wipe) - 1, ei);
        if (r == MM_OK)
            r = typed_back(i, c->shares[i], &same, ei);
    }
    if (r == MM_OK && !same)
        return mm_fail(ei, MM_ERR_INVALID, "SHARE_MISTYPED", "share %u was not written down",
                       i + 1);
    return r;
}

static int give_share(struct ceremony *c, unsigned i, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *text = NULL;
    char path[PATH_MAX];
    int r = mm_share_text(c->shares[i], &text, ei);

    if (r == MM_OK && !c->o->args.shares_dir) {
        r = give_on_terminal(c, i, text, ei);
    } else if (r == MM_OK) {
        r = share_path(c, i, path, ei);
        mm_secret_data(text)[MM_SHARE_TEXT] = '\n';
        if (r == MM_OK)
            r = mm_io_create_file(path, 0600, mm_secret_data(text), MM_SHARE_TEXT + 1, ei);
    }
    if (r == MM_OK)
        mm_ceremony_say(c->o, "share", "%u of %u given%s%s", i + 1, c->backup.n_shares,
                        c->o->args.shares_dir ? ", in the file " : "",
                        c->o->args.shares_dir ? path : "");
    return r;
}

/* ---- in the token ------------------------------------------------------------------------ */

/* Wraps every key, and unwraps it again into a session object that has to sign. */
static int wrap_keys(struct ceremony *c, mm_handle wrapping, struct mm_errinfo *ei)
{
    mm_handle unwrapping = 0;
    int r = mm_token_restore_begin(c->o->token, c->key, &unwrapping, ei);

    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++) {
        struct mm_backup_key *const key = &c->backup.keys[i];
        mm_handle handle;

        r = mm_officer_find(c->o, key->label, MM_KEY_PRIVATE, &handle, ei);
        if (r == MM_OK)
            r = mm_token_backup_wrap(c->o->token, wrapping, handle, key, ei);
        if (r == MM_OK)
            r = mm_token_backup_try(c->o->token, unwrapping, key, ei);
        if (r < 0)
            r = mm_err_prefix(ei, "key '%s'", key->label);
    }
    mm_token_backup_end(c->o->token, unwrapping);
    return r;
}

static int wrap_all(struct ceremony *c, struct mm_errinfo *ei)
{
    mm_handle wrapping = 0;
    int r = make_key(c, ei);

    if (r == MM_OK)
        r = mm_token_backup_begin(c->o->token, c->so_pin, c->key, &wrapping, ei);
    if (r < 0)
        return r;
    r = wrap_keys(c, wrapping, ei);
    mm_token_backup_end(c->o->token, wrapping);
    return r;
}

/* Shares first: a file without them is worth nothing, and they nothing without it. */
static int give_all(struct ceremony *c, struct mm_errinfo *ei)
{
    int r = mm_shares_split(c->key, c->backup.set, c->backup.threshold, c->backup.n_shares,
                            c->shares, ei);

    for (unsigned i = 0; r == MM_OK && i < c->backup.n_shares; i++)
        r = give_share(c, i, ei);
    return r;
}

static int write_file(struct ceremony *c, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_BACKUP_FILE_MAX);
    struct mm_token_info info;
    struct mm_backup_origin origin = {.site = c->o->conf->site, .wall_ms = mm_clock_wall_ms()};
    int r = mm_token_info(c->o->token, &info, ei);

    origin.token_label = info.label;
    origin.token_serial = info.serial;
    if (r == MM_OK)
        r = mm_backup_write(&c->backup, &origin, c->key, c->shares, &text, ei);
    if (r == MM_OK)
        r = mm_io_create_file(c->o->args.out, 0600, text.data, text.len, ei);
    for (size_t i = 0; r == MM_OK && i < c->backup.n_keys; i++)
        r = mm_token_backup_note(c->o->token, c->backup.keys[i].point, c->backup.keys[i].point_len,
                                 c->backup.set, origin.wall_ms, ei);
    return r;
}

static int answer(struct ceremony *c, struct mm_errinfo *ei)
{
    json_t *const labels = json_array();
    char set[2 * MM_BACKUP_SET_BYTES + 1];

    mm_hex_encode(c->backup.set, sizeof(c->backup.set), set);
    for (size_t i = 0; i < c->backup.n_keys; i++) {
        mm_ceremony_say(c->o, "backed up", "key %s", c->backup.keys[i].label);
        (void)json_array_append_new(labels, json_string(c->backup.keys[i].label));
    }
    mm_ceremony_say(c->o, "backup", "file %s, set %s, any %u of %u shares restore it",
                    c->o->args.out, set, c->backup.threshold, c->backup.n_shares);
    return mm_officer_answer(c->o, "backup",
                             json_pack("{s:s, s:s, s:i, s:i, s:o}", "file", c->o->args.out, "set",
                                       set, "threshold", (int)c->backup.threshold, "shares",
                                       (int)c->backup.n_shares, "keys", labels),
                             ei);
}

static int read_so_pin(struct ceremony *c, struct mm_errinfo *ei)
{
    const struct mm_args *const a = &c->o->args;
    uint64_t fd;

    if (a->so_pin_file && a->so_pin_fd)
        return mm_officer_usage(c->o, ei, "give one of --so-pin-file and --so-pin-fd");
    if (a->so_pin_file)
        return mm_pin_from_file(a->so_pin_file, &c->so_pin, ei);
    if (!a->so_pin_fd)
        return mm_pin_from_terminal("Security officer's PIN: ", &c->so_pin, ei);
    if (mm_text_to_u64(a->so_pin_fd, 0, 1 << 20, &fd) < 0)
        return mm_officer_usage(c->o, ei, "--so-pin-fd takes the number of an open descriptor");
    return mm_pin_from_fd((int)fd, &c->so_pin, ei);
}

static int backup(struct ceremony *c, struct mm_errinfo *ei)
{
    int r = parse_numbers(c, ei);

    if (r == MM_OK)
        r = check_files(c, ei);
    if (r == MM_OK)
        r = mm_officer_token(c->o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = describe_keys(c, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(c->o, ei,
                                "Wrap %zu key(s) (%s) of token '%s' into %s, under a new key in %u "
                                "shares, of which any %u restore them?",
                                c->backup.n_keys, c->o->args.label, c->o->conf_token->name,
                                c->o->args.out, c->backup.n_shares, c->backup.threshold);
    if (r == MM_OK)
        r = read_so_pin(c, ei);
    if (r == MM_OK)
        r = wrap_all(c, ei);
    if (r == MM_OK)
        r = give_all(c, ei);
    if (r == MM_OK)
        r = write_file(c, ei);
    return r < 0 ? r : answer(c, ei);
}

int mm_cmd_key_backup(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct ceremony c = {.o = o};
    const int r = backup(&c, ei);

    ceremony_done(&c);
    return r;
}
