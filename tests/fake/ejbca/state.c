/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/ejbca/state.h"

#include "tests/fake/ejbca/name.h"

#include "daemon/base/clock.h"
#include "daemon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
/* The default falls through its cases. */
#define HASH_FUNCTION HASH_FNV
#include <uthash.h>

enum { JOURNAL_MAX = 1 << 30, PATH_TEXT = 1024, TEXT_MAX = 8192 };

/* The lists of certificates that share a key, subject or serial; keyed by what they share. */
struct shared {
    struct issued *first;
    UT_hash_handle hh;
    char key[]; /* KEY_HASH_LEN bytes, or a text */
};

struct user_entry {
    struct user user;
    UT_hash_handle hh;
};

struct state {
    struct cas *cas;
    int journal;
    struct issued **rows;
    size_t count, room, doubles, users;
    uint64_t changes;
    struct user_entry *by_name;
    struct shared *by_key, *by_subject, *by_serial;
};

static char *copy(const char *text)
{
    char *to = strdup(text ? text : "");

    if (!to)
        abort();
    return to;
}

void serial_text(struct mm_bytes serial, char ret_text[2 * SERIAL_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = ret_text;

    for (size_t i = 0; i < serial.len && i <= SERIAL_MAX; i++) {
        if (i == 0 && serial.len > SERIAL_MAX)
            continue; /* the octet that keeps it positive */
        if (to > ret_text || serial.data[i] >> 4)
            *to++ = digits[serial.data[i] >> 4];
        if (to > ret_text || serial.data[i] & 15)
            *to++ = digits[serial.data[i] & 15];
    }
    if (to == ret_text)
        *to++ = '0';
    *to = 0;
}

static struct shared *list_of(struct shared **table, const void *key, size_t len, bool make)
{
    struct shared *found;

    HASH_FIND(hh, *table, key, len, found);
    if (found || !make)
        return found;
    found = calloc(1, sizeof(*found) + len + 1);
    if (!found)
        abort();
    memcpy(found->key, key, len);
    HASH_ADD_KEYPTR(hh, *table, found->key, len, found);
    return found;
}

struct user *state_user(struct state *state, const char *name)
{
    struct user_entry *found;

    HASH_FIND_STR(state->by_name, name, found);
    return found ? &found->user : NULL;
}

static struct user *put_user(struct state *state, const char *name)
{
    struct user_entry *entry;

    HASH_FIND_STR(state->by_name, name, entry);
    if (entry)
        return &entry->user;
    entry = calloc(1, sizeof(*entry));
    if (!entry)
        abort();
    entry->user.name = copy(name);
    entry->user.subject = copy("");
    entry->user.status = 10;
    HASH_ADD_KEYPTR(hh, state->by_name, entry->user.name, strlen(entry->user.name), entry);
    state->users++;
    return &entry->user;
}

static void edit_user(struct user *user, const char *subject, const char *password)
{
    if (subject) {
        free(user->subject);
        user->subject = copy(subject);
    }
    if (password) {
        free(user->password);
        user->password = copy(password);
    }
    user->status = 10;
}

static bool write_journal(struct state *state, json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    struct mm_errinfo ei;
    size_t len;
    bool good;

    json_decref(line);
    if (!text)
        return false;
    state->changes++;
    len = strlen(text);
    text[len] = '\n'; /* in the place of the NUL, so that a line is one write */
    good = mm_io_write_all(state->journal, text, len + 1, &ei) >= 0;
    free(text);
    return good;
}

struct user *state_put_user(struct state *state, const char *name, const char *subject,
                            const char *password)
{
    struct user *user;

    if (!write_journal(state, json_pack("{s:s, s:s*, s:s*}", "user", name, "subject", subject,
                                        "password", password)))
        return NULL;
    user = put_user(state, name);
    edit_user(user, subject, password);
    return user;
}

static void append_row(struct state *state, struct issued *row)
{
    if (state->count == state->room) {
        state->room = state->room ? 2 * state->room : 1024;
        state->rows = reallocarray(state->rows, state->room, sizeof(*state->rows));
        if (!state->rows)
            abort();
    }
    row->number = state->count;
    state->rows[state->count++] = row;
}

static void link_row(struct state *state, struct issued *row)
{
    struct shared *list = list_of(&state->by_key, row->key_hash, KEY_HASH_LEN, true);

    row->next_of_key = list->first;
    list->first = row;
    list = list_of(&state->by_subject, row->subject, strlen(row->subject), true);
    row->next_of_subject = list->first;
    list->first = row;
    list = list_of(&state->by_serial, row->serial, strlen(row->serial), true);
    if (list->first) {
        row->next_of_serial = list->first->next_of_serial;
        list->first->next_of_serial = row;
    } else {
        list->first = row;
    }
    row->next_of_user = row->user->certificates;
    row->user->certificates = row;
    if (++row->user->count == 2)
        state->doubles++;
}

static void revoke_row(struct issued *row, int reason, int64_t when_ms, int64_t now_ms)
{
    row->reason = reason;
    row->revoked_ms = reason == NOT_REVOKED ? -1 : when_ms;
    row->updated_ms = now_ms;
}

/* All that have the issuer and serial number: a CRL cannot tell them apart. */
static void revoke_number(struct state *state, const struct issued *issued, int reason,
                          int64_t when_ms, int64_t now_ms)
{
    for (struct issued *row = state_by_serial(state, issued->issuer, issued->serial); row;
         row = row->next_of_serial) {
        if (row->issuer == issued->issuer)
            revoke_row(row, reason, when_ms, now_ms);
    }
}

/* A number that has been revoked stays so, whatever is issued with it. */
static void inherit_revocation(struct state *state, struct issued *row)
{
    const struct issued *first = state_by_serial(state, row->issuer, row->serial);

    if (first && first != row && first->reason != NOT_REVOKED)
        revoke_row(row, first->reason, first->revoked_ms, row->updated_ms);
}

static char *text_of(struct mm_bytes der, bool sans)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(TEXT_MAX);

    if (sans)
        name_sans_to_text(der, &text);
    else if (!name_to_text(der, &text))
        return copy("");
    return copy(mm_buf_cstr(&text));
}

static struct issued *add_row(struct state *state, const struct issue *issue, int64_t now_ms)
{
    uint8_t *der = malloc(issue->der.len);
    struct issued *row = calloc(1, sizeof(*row));

    if (!der || !row)
        abort();
    memcpy(der, issue->der.data, issue->der.len);
    row->der = (struct mm_bytes){der, issue->der.len};
    if (!cert_read(row->der, &row->view)) {
        free(der);
        free(row);
        return NULL;
    }
    serial_text(row->view.serial, row->serial);
    cert_key_hash(row->view.spki, row->key_hash);
    row->subject = text_of(row->view.subject, false);
    row->sans = text_of(row->view.sans, true);
    row->certificate_profile = copy(issue->certificate_profile);
    row->end_entity_profile = copy(issue->end_entity_profile);
    row->ca = issue->ca;
    row->issuer = ca_by_subject(state->cas, row->view.issuer);
    row->user = put_user(state, issue->username);
    edit_user(row->user, row->subject, NULL);
    row->user->status = 40;
    row->issued_ms = row->updated_ms = now_ms;
    row->revoked_ms = -1;
    row->reason = NOT_REVOKED;
    append_row(state, row);
    link_row(state, row);
    inherit_revocation(state, row);
    return row;
}

struct issued *state_issue(struct state *state, const struct issue *issue)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(2 * CERT_DER_MAX);
    const int64_t now_ms = mm_clock_wall_ms();

    cert_base64(issue->der, &text);
    if (!write_journal(state, json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "issued",
                                        mm_buf_cstr(&text), "user", issue->username, "ca",
                                        issue->ca->name, "certificate_profile",
                                        issue->certificate_profile, "end_entity_profile",
                                        issue->end_entity_profile, "at", (json_int_t)now_ms)))
        return NULL;
    return add_row(state, issue, now_ms);
}

bool state_revoke(struct state *state, struct issued *issued, int reason, int64_t when_ms)
{
    const int64_t now_ms = mm_clock_wall_ms();

    if (!write_journal(state, json_pack("{s:I, s:i, s:I, s:I}", "revoked",
                                        (json_int_t)issued->number, "reason", reason, "when",
                                        (json_int_t)when_ms, "at", (json_int_t)now_ms)))
        return false;
    revoke_number(state, issued, reason, when_ms, now_ms);
    return true;
}

static bool replay_issued(struct state *state, json_t *line)
{
    const char *base64, *user, *ca, *certificate_profile, *end_entity_profile;
    uint8_t der[CERT_DER_MAX];
    json_int_t at;
    size_t len;
    struct issue issue;

    if (json_unpack(line, "{s:s, s:s, s:s, s:s, s:s, s:I}", "issued", &base64, "user", &user, "ca",
                    &ca, "certificate_profile", &certificate_profile, "end_entity_profile",
                    &end_entity_profile, "at", &at) < 0)
        return false;
    len = strlen(base64);
    if (len < 4 || len / 4 * 3 > sizeof(der) ||
        EVP_DecodeBlock(der, (const unsigned char *)base64, (int)len) < 0)
        return false;
    issue = (struct issue){
        .username = user,
        .certificate_profile = certificate_profile,
        .end_entity_profile = end_entity_profile,
        .ca = ca_by_name(state->cas, ca),
        .der = {der, len / 4 * 3 - (base64[len - 1] == '=') - (base64[len - 2] == '=')}};
    return issue.ca && add_row(state, &issue, at);
}

static bool replay(struct state *state, json_t *line)
{
    const char *user, *subject = NULL, *password = NULL;
    json_int_t number, when, at;
    int reason;

    if (json_object_get(line, "issued"))
        return replay_issued(state, line);
    if (json_unpack(line, "{s:I, s:i, s:I, s:I}", "revoked", &number, "reason", &reason, "when",
                    &when, "at", &at) == 0) {
        if (number < 0 || (size_t)number >= state->count)
            return false;
        revoke_number(state, state->rows[number], reason, when, at);
        return true;
    }
    if (json_unpack(line, "{s:s, s?s, s?s}", "user", &user, "subject", &subject, "password",
                    &password) < 0)
        return false;
    edit_user(put_user(state, user), subject, password);
    return true;
}

/* Every whole line; a last one that was cut off is cut away. */
static int read_journal(struct state *state, const char *path, struct mm_errinfo *ei)
{
    struct mm_buf text MM_BUF_CLEANUP = MM_BUF_INIT(JOURNAL_MAX);
    const char *at, *end;
    int r = mm_io_read_file(path, JOURNAL_MAX, &text, ei);

    if (r == MM_ERR_NOT_FOUND)
        return MM_OK;
    if (r < 0)
        return r;
    if (!mm_buf_cstr(&text))
        return mm_fail_memory(ei);
    for (at = (const char *)text.data; (end = strchr(at, '\n')); at = end + 1) {
        json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);
        const bool good = line && replay(state, line);

        json_decref(line);
        if (!good)
            return mm_fail(ei, MM_ERR_CORRUPT, "FAKE_JOURNAL", "%s is no journal", path);
    }
    if (truncate(path, at - (const char *)text.data) < 0)
        return mm_fail_errno(ei, errno, "%s", path);
    return MM_OK;
}

int state_open(const char *folder, struct cas *cas, struct state **ret_state, struct mm_errinfo *ei)
{
    struct state *state = calloc(1, sizeof(*state));
    char path[PATH_TEXT];
    int r;

    if (!state)
        return mm_fail_memory(ei);
    state->cas = cas;
    snprintf(path, sizeof(path), "%s/journal", folder);
    r = read_journal(state, path, ei);
    state->journal = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (r >= 0 && state->journal < 0)
        r = mm_fail_errno(ei, errno, "%s", path);
    if (r < 0)
        state_close(state);
    else
        *ret_state = state;
    return r;
}

static void free_lists(struct shared **table)
{
    struct shared *list, *next;

    HASH_ITER(hh, *table, list, next)
    {
        HASH_DEL(*table, list);
        free(list);
    }
}

void state_close(struct state *state)
{
    struct user_entry *user, *next;

    if (!state)
        return;
    for (size_t i = 0; i < state->count; i++) {
        struct issued *row = state->rows[i];

        free((void *)(uintptr_t)row->der.data);
        free(row->subject);
        free(row->sans);
        free(row->certificate_profile);
        free(row->end_entity_profile);
        free(row);
    }
    HASH_ITER(hh, state->by_name, user, next)
    {
        HASH_DEL(state->by_name, user);
        free(user->user.name);
        free(user->user.subject);
        free(user->user.password);
        free(user);
    }
    free_lists(&state->by_key);
    free_lists(&state->by_subject);
    free_lists(&state->by_serial);
    if (state->journal >= 0)
        close(state->journal);
    free(state->rows);
    free(state);
}

uint64_t state_changes(const struct state *state)
{
    return state->changes;
}

size_t state_count(const struct state *state)
{
    return state->count;
}

size_t state_users(const struct state *state)
{
    return state->users;
}

size_t state_doubles(const struct state *state)
{
    return state->doubles;
}

struct issued *state_at(struct state *state, size_t number)
{
    return number < state->count ? state->rows[number] : NULL;
}

struct issued *state_by_serial(struct state *state, const struct ca *issuer, const char *serial)
{
    struct shared *list = list_of(&state->by_serial, serial, strlen(serial), false);
    struct issued *row = list ? list->first : NULL;

    while (row && row->issuer != issuer)
        row = row->next_of_serial;
    return row;
}

struct issued *state_by_key(struct state *state, const uint8_t hash[KEY_HASH_LEN])
{
    struct shared *list = list_of(&state->by_key, hash, KEY_HASH_LEN, false);

    return list ? list->first : NULL;
}

struct issued *state_by_subject(struct state *state, const char *subject)
{
    struct shared *list = list_of(&state->by_subject, subject, strlen(subject), false);

    return list ? list->first : NULL;
}
