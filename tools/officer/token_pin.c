/* SPDX-License-Identifier: Apache-2.0 */
/* token pin: a new user PIN, in the token and in the file that the service reads it from. */
#include "daemon/base/io.h"
#include "tools/officer/officer.h"
#include "tools/officer/pins.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The site's own PIN file, and the new one that is to take its place: written before the token is
 * asked, so that at no moment the token alone knows its PIN. */
struct staged {
    const char *path; /* NULL: there is no such file to replace */
    char new_path[PATH_MAX];
    bool there;
    int held; /* path, so that no worker logs in with the old PIN in between; -1: not yet */
};

static bool old_pin_is_the_sites(const struct mm_officer *o)
{
    const struct mm_args *const a = &o->args;

    return *o->conf_token->pin_file && !a->pin_file && !a->pin_fd && !a->pin_credential &&
           !a->pin_prompt;
}

static int stage_check(struct mm_officer *o, struct staged *s, struct mm_errinfo *ei)
{
    int r;

    if (!old_pin_is_the_sites(o))
        return MM_OK;
    s->path = o->conf_token->pin_file;
    if (snprintf(s->new_path, sizeof(s->new_path), "%s.new", s->path) >= (int)sizeof(s->new_path))
        return mm_fail(ei, MM_ERR_INVALID, "PATH_TOO_LONG", "%s: path too long", s->path);
    r = mm_officer_absent(s->new_path, ei);
    return r == MM_ERR_EXISTS ? mm_err_prefix(ei, "left over from a change that was cut off; it "
                                                  "may be the token's PIN")
                              : r;
}

/* With the owner of the old file: the service has to read it. */
static int stage(struct staged *s, struct mm_secret *pin, struct mm_errinfo *ei)
{
    struct stat st;
    int r;

    if (!s->path)
        return MM_OK;
    if (stat(s->path, &st) < 0)
        return mm_fail_errno(ei, errno, "%s", s->path);
    r = mm_io_create_file(s->new_path, 0600, mm_secret_data(pin), mm_secret_len(pin), ei);
    if (r < 0)
        return r;
    s->there = true;
    if ((st.st_uid != geteuid() || st.st_gid != getegid()) &&
        chown(s->new_path, st.st_uid, st.st_gid) < 0)
        return mm_fail_errno(ei, errno, "%s: cannot be given to the owner of %s", s->new_path,
                             s->path);
    return mm_pin_hold(s->path, &s->held, ei);
}

/* What no token has got is of no use. What the token may have taken stays. */
static int undo(struct mm_officer *o, const struct staged *s, const struct mm_pin_source *source,
                bool unchanged, struct mm_errinfo *ei)
{
    if (!unchanged) {
        mm_ceremony_say(o, "in doubt", "whether token '%s' has taken the new PIN%s%s",
                        o->conf_token->name, s->there ? ", which is in " : "",
                        s->there ? s->new_path : "");
        return ei->code;
    }
    if (s->there)
        unlink(s->new_path);
    if (source->generated)
        unlink(source->generate);
    return ei->code;
}

static int put_in_place(const struct staged *s, struct mm_errinfo *ei)
{
    if (s->path && rename(s->new_path, s->path) < 0)
        return mm_fail_errno(ei, errno,
                             "the token has the new PIN, which is in %s: rename it to %s",
                             s->new_path, s->path);
    return MM_OK;
}

static int change(struct mm_officer *o, struct staged *s, struct mm_pin_source *source,
                  struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    int r = mm_pin_source_get(o, source, &pin, ei);

    if (r == MM_OK)
        r = stage(s, pin, ei);
    if (r < 0)
        return undo(o, s, source, true, ei);
    r = mm_token_set_pin(o->token, &pin, ei);
    if (r < 0)
        return undo(o, s, source, mm_token_pin_unchanged(ei), ei);
    r = put_in_place(s, ei);
    mm_ceremony_say(o, "changed", "the user PIN of token '%s'", o->conf_token->name);
    return r;
}

static int tell(struct mm_officer *o, const struct staged *s, struct mm_errinfo *ei)
{
    if (s->path)
        mm_ceremony_say(o, "file", "%s has the new PIN; a service that runs goes on", s->path);
    else
        mm_ceremony_say(o, "to do", "put the new PIN where the service reads it%s",
                        *o->conf_token->pin_credential ? ", and restart the service: credentials "
                                                         "are handed out at its start only"
                                                       : "");
    return mm_officer_answer(
        o, "pin",
        json_pack("{s:s, s:s}", "token", o->conf_token->name, "file", s->path ? s->path : ""), ei);
}

int mm_cmd_token_pin(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_pin_source source = {"user", o->args.new_pin_file, o->args.new_pin_fd,
                                   o->args.generate_pin_file, false};
    struct staged s = {.held = -1};
    int r = mm_pin_source_check(o, &source, ei);

    if (r == MM_OK)
        r = mm_officer_choose_token(o, NULL, ei);
    if (r == MM_OK)
        r = stage_check(o, &s, ei);
    if (r == MM_OK)
        r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = mm_ceremony_confirm(o, ei, "Change the user PIN of token '%s'%s%s?",
                                o->conf_token->name, s.path ? ", and replace " : "",
                                s.path ? s.path : "");
    if (r == MM_OK)
        r = change(o, &s, &source, ei);
    if (s.held >= 0)
        close(s.held);
    return r < 0 ? r : tell(o, &s, ei);
}
