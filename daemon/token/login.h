/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a token worker logs in: with the PIN that its file, or credential, holds at that moment,
 * since an officer may have changed it (mintmark-officer token pin). The file is held (flock) from
 * reading it until the token has answered, so that a change is seen as a whole, and workers log in
 * one after the other. A PIN that the token refused is not tried again, by no process: the worker
 * tells the front, and waits until the file holds another.
 */
#pragma once

#include "daemon/conf/conf.h"
#include "pkcs11/token.h"

/* Zero before its first use. */
struct mm_login {
    struct mm_secret *refused; /* the PIN that the token refused */
};
void mm_login_done(struct mm_login *l);

/* As mm_token_login, for a token that has been opened only now. */
int mm_login_first(struct mm_login *l, const struct mm_conf_token *section, struct mm_token *t,
                   struct mm_errinfo *ei) MM_MUST_USE;
/* how is mm_token_reopen or mm_token_renew. While the file cannot be read the PIN that is known is
 * used. */
int mm_login_again(struct mm_login *l, const struct mm_conf_token *section, struct mm_token *t,
                   int (*how)(struct mm_token *t, struct mm_errinfo *ei),
                   struct mm_errinfo *ei) MM_MUST_USE;

/* After MM_ERR_PIN: sleeps until it makes sense to try again. True: the file holds another PIN than
 * the refused one, and has for half a second; or no PIN was refused, only kept back (locked, last
 * try), and some seconds have passed. False: fd, the channel to the front, was closed. */
bool mm_login_await(struct mm_login *l, const struct mm_conf_token *section, int fd);
