/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/folder.h"

#include "client/cmd/device.h"
#include "client/cmd/list.h"
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/sha.h>

enum {
    NAME_BYTES = 160,
    READ_BYTES = 4096,
    CHAIN_NAME_DIGITS = 16,
    LIST_BYTES = MM_PROVISION_MAX * 1024,
};
static const char withheld_name[] = "withheld.jsonl";

/* A file for all devices whose content the first one decides. What an earlier run left there may
 * be of a device that comes later now. */
enum of_first { FIRST_OPEN, FIRST_OF_LATER, FIRST_WRITTEN };

struct mm_folder {
    char *path;
    int fd;
    int items_fd; /* -1 until there is an item */
    bool made;    /* it was not there before */
    bool resumed;
    bool items_written;
    enum of_first wrap, of_chain;     /* key-wrap.json, chain.pem */
    struct mm_buf first_chain, chain; /* in DER: chain.pem's, and the last device's */
    char chain_file[NAME_BYTES];      /* where that is; "": in chain.pem */
    struct mm_list devices, withheld; /* devices.jsonl, withheld.jsonl */
    struct mm_withheld_counts counts;
};

static int fail_name(const struct mm_folder *folder, const char *name, struct mm_errinfo *ei)
{
    return mm_fail_errno(ei, errno, "%s/%s", folder->path, name);
}

static int fail_other(const struct mm_folder *folder, const char *name, struct mm_errinfo *ei)
{
    return mm_fail(ei, MM_ERR_EXISTS, "FILE_EXISTS",
                   "%s/%s: exists already with other content, not overwritten", folder->path, name);
}

static int open_folder(struct mm_folder *folder, struct mm_errinfo *ei)
{
    folder->made = mkdir(folder->path, 0700) == 0;
    if (!folder->made && errno != EEXIST)
        return mm_fail_errno(ei, errno, "%s: cannot make the folder", folder->path);
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0)
        return mm_fail_errno(ei, errno, "%s", folder->path);
    if (flock(folder->fd, LOCK_EX | LOCK_NB) == 0)
        return MM_OK;
    folder->made = false; /* it is another's by now */
    if (errno == EWOULDBLOCK)
        return mm_fail(ei, MM_ERR_PRECONDITION, "FOLDER_BUSY", "%s: another process writes to it",
                       folder->path);
    return mm_fail_errno(ei, errno, "%s", folder->path);
}

int mm_folder_open(const char *path, struct mm_folder **ret_folder, struct mm_errinfo *ei)
{
    MM_CLEANUP(mm_folder_free_p) struct mm_folder *folder = calloc(1, sizeof(*folder));
    int r;

    if (!folder)
        return mm_fail_memory(ei);
    folder->fd = folder->items_fd = -1;
    folder->first_chain = folder->chain = MM_BUF_INIT((size_t)MM_CHAIN_MAX * MM_CERT_DER_MAX);
    folder->path = strdup(path);
    if (!folder->path)
        return mm_fail_memory(ei);
    r = open_folder(folder, ei);
    if (r < 0)
        return r;
    *ret_folder = MM_TAKE(folder);
    return MM_OK;
}

void mm_folder_resume(struct mm_folder *folder)
{
    folder->resumed = true;
}

void mm_folder_free(struct mm_folder *folder)
{
    if (!folder)
        return;
    mm_list_done(&folder->devices);
    mm_list_done(&folder->withheld);
    mm_buf_done(&folder->first_chain);
    mm_buf_done(&folder->chain);
    if (folder->fd >= 0)
        close(folder->fd);
    if (folder->items_fd >= 0)
        close(folder->items_fd);
    if (folder->made)
        (void)rmdir(folder->path); /* which leaves one alone that something is in */
    free(folder->path);
    free(folder);
}

enum found { FOUND_NONE, FOUND_SAME, FOUND_TORN, FOUND_OTHER };

/* Compares an open file with what it should be. */
static int compare(int fd, const uint8_t *data, size_t len, enum found *ret_found)
{
    uint8_t chunk[READ_BYTES];
    enum found found = FOUND_SAME;
    size_t at = 0;
    ssize_t n;

    while ((n = read(fd, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        if ((size_t)n > len - at || memcmp(chunk, data + at, (size_t)n) != 0) {
            found = FOUND_OTHER;
            break;
        }
        at += (size_t)n;
    }
    explicit_bzero(chunk, sizeof(chunk));
    if (n < 0)
        return -1;
    *ret_found = found == FOUND_SAME && at < len ? FOUND_TORN : found;
    return 0;
}

static int look(const struct mm_folder *folder, int dir, const char *name, const void *data,
                size_t len, enum found *ret_found, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 && errno == ENOENT) {
        *ret_found = FOUND_NONE;
        return MM_OK;
    }
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_name(folder, name, ei);
    *ret_found = FOUND_OTHER;
    if (S_ISREG(st.st_mode) && compare(fd, data, len, ret_found) < 0)
        return fail_name(folder, name, ei);
    return MM_OK;
}

/* What a file is called while it is written. */
struct temporary {
    char name[NAME_BYTES + 8];
};

static struct temporary temporary_of(const char *name)
{
    struct temporary temporary;

    snprintf(temporary.name, sizeof(temporary.name), ".%s.tmp", name);
    return temporary;
}

static int open_temporary(const struct mm_folder *folder, int dir, const char *name, mode_t mode,
                          int *ret_fd, struct mm_errinfo *ei)
{
    const struct temporary temporary = temporary_of(name);
    int fd;

    /* Left by a run that was cut off: nobody else writes here. */
    if (unlinkat(dir, temporary.name, 0) < 0 && errno != ENOENT)
        return fail_name(folder, name, ei);
    fd = openat(dir, temporary.name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return fail_name(folder, name, ei);
    *ret_fd = fd;
    return MM_OK;
}

/* Gives it its name; on disk when this returns if sync says so. */
static int name_temporary(const struct mm_folder *folder, int dir, const char *name, int fd,
                          bool sync, struct mm_errinfo *ei)
{
    const struct temporary temporary = temporary_of(name);

    if ((sync && fsync(fd) < 0) || renameat(dir, temporary.name, dir, name) < 0 ||
        (sync && fsync(dir) < 0))
        return fail_name(folder, name, ei);
    return MM_OK;
}

static int write_new(struct mm_folder *folder, int dir, const char *name, mode_t mode,
                     const void *data, size_t len, bool sync, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = -1;
    int r = open_temporary(folder, dir, name, mode, &fd, ei);

    if (r < 0)
        return r;
    r = mm_folder_append(folder, name, fd, data, len, ei);
    if (r == MM_OK)
        r = name_temporary(folder, dir, name, fd, sync, ei);
    if (r < 0)
        (void)unlinkat(dir, temporary_of(name).name, 0);
    return r;
}

static int put(struct mm_folder *folder, int dir, const char *name, mode_t mode, const void *data,
               size_t len, bool sync, struct mm_errinfo *ei)
{
    enum found found;
    int r = look(folder, dir, name, data, len, &found, ei);

    if (r < 0 || found == FOUND_SAME)
        return r;
    if (found == FOUND_OTHER)
        return fail_other(folder, name, ei);
    return write_new(folder, dir, name, mode, data, len, sync, ei);
}

/* *state says whether this is the device that has decided. */
static int put_first(struct mm_folder *folder, const char *name, const struct mm_buf *text,
                     enum of_first *state, struct mm_errinfo *ei)
{
    enum found found = FOUND_NONE;
    int r = MM_OK;

    if (folder->resumed)
        r = look(folder, folder->fd, name, text->data, text->len, &found, ei);
    if (r == MM_OK && found == FOUND_OTHER) {
        *state = FIRST_OF_LATER;
        return MM_OK;
    }
    if (r == MM_OK)
        r = put(folder, folder->fd, name, 0644, text->data, text->len, false, ei);
    if (r == MM_OK)
        *state = FIRST_WRITTEN;
    return r;
}

int mm_folder_put(struct mm_folder *folder, const char *name, mode_t mode, const void *data,
                  size_t len, struct mm_errinfo *ei)
{
    return put(folder, folder->fd, name, mode, data, len, true, ei);
}

int mm_folder_begin(struct mm_folder *folder, const char *name, mode_t mode, int *ret_fd,
                    struct mm_errinfo *ei)
{
    return open_temporary(folder, folder->fd, name, mode, ret_fd, ei);
}

int mm_folder_append(struct mm_folder *folder, const char *name, int fd, const void *data,
                     size_t len, struct mm_errinfo *ei)
{
    if (mm_io_write_all(fd, data, len, ei) < 0)
        return mm_err_prefix(ei, "%s/%s", folder->path, name);
    return MM_OK;
}

void mm_folder_drop(struct mm_folder *folder, const char *name)
{
    (void)unlinkat(folder->fd, temporary_of(name).name, 0);
}

/* Are the two files, read from their beginnings, the same? -1: one cannot be read. */
static int is_same(int a, int b)
{
    uint8_t x[READ_BYTES], y[READ_BYTES];
    off_t at = 0;

    for (;;) {
        const ssize_t n = pread(a, x, sizeof(x), at), m = pread(b, y, sizeof(y), at);

        if (n < 0 || m < 0)
            return -1;
        if (n != m || memcmp(x, y, (size_t)n) != 0)
            return 0;
        if (n == 0)
            return 1;
        at += n;
    }
}

int mm_folder_commit(struct mm_folder *folder, const char *name, int fd, bool replace,
                     struct mm_errinfo *ei)
{
    MM_CLOSE int there = openat(folder->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    int same;

    if (there < 0 && errno != ENOENT)
        return fail_name(folder, name, ei);
    if (there >= 0 && !replace) {
        same = is_same(there, fd);
        if (same < 0 || unlinkat(folder->fd, temporary_of(name).name, 0) < 0)
            return fail_name(folder, name, ei);
        return same ? MM_OK : fail_other(folder, name, ei);
    }
    return name_temporary(folder, folder->fd, name, fd, true, ei);
}

int mm_folder_read(struct mm_folder *folder, const char *name, struct mm_buf *buf,
                   struct mm_errinfo *ei)
{
    MM_FREE char *path = NULL;

    if (asprintf(&path, "%s/%s", folder->path, name) < 0) {
        path = NULL;
        return mm_fail_memory(ei);
    }
    return mm_io_read_file(path, buf->max, buf, ei);
}

static int add_items(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                     struct mm_errinfo *ei)
{
    for (size_t i = 0; i < bundle->n_items; i++) {
        const struct mintmark_item *item = &bundle->items[i];
        int r;

        if (item->reference[0])
            continue; /* the station has it from elsewhere */
        if (folder->items_fd < 0) {
            if (mkdirat(folder->fd, "items", 0700) < 0 && errno != EEXIST)
                return fail_name(folder, "items", ei);
            folder->items_fd =
                openat(folder->fd, "items", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (folder->items_fd < 0)
                return fail_name(folder, "items", ei);
        }
        r = put(folder, folder->items_fd, item->name, 0600, item->content.data, item->content.len,
                false, ei);
        if (r < 0)
            return r;
    }
    return MM_OK;
}

static bool is_chain(const struct mm_buf *known, const struct mintmark_bundle *bundle)
{
    size_t at = 0;

    for (size_t i = 0; i < bundle->n_chain; i++) {
        const struct mintmark_data *der = &bundle->chain[i];

        if (der->len > known->len - at || memcmp(known->data + at, der->data, der->len) != 0)
            return false;
        at += der->len;
    }
    return at == known->len;
}

static int keep_chain(struct mm_buf *to, const struct mintmark_bundle *bundle,
                      struct mm_errinfo *ei)
{
    mm_buf_reset(to);
    for (size_t i = 0; i < bundle->n_chain; i++)
        mm_buf_append(to, bundle->chain[i].data, bundle->chain[i].len);
    return mm_buf_err(to) < 0 ? mm_fail_memory(ei) : MM_OK;
}

/* The first device's is chain.pem. Another one, of devices that were made under another CA, gets a
 * file of its own, named by its hash, and the devices' lines say so. */
static int put_chain(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                     struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(MM_CHAIN_MAX * MM_CERT_DER_MAX * 2);
    uint8_t hash[SHA256_DIGEST_LENGTH];
    char digits[2 * SHA256_DIGEST_LENGTH + 1];
    int r = mm_certificates_pem(bundle->chain, bundle->n_chain, &text, ei);

    *folder->chain_file = '\0';
    if (r == MM_OK && folder->of_chain != FIRST_WRITTEN) {
        r = put_first(folder, "chain.pem", &text, &folder->of_chain, ei);
        if (r == MM_OK && folder->of_chain == FIRST_WRITTEN)
            return keep_chain(&folder->first_chain, bundle, ei);
    }
    if (r < 0 || is_chain(&folder->first_chain, bundle))
        return r;
    SHA256(folder->chain.data, folder->chain.len, hash);
    mm_hex_encode(hash, sizeof(hash), digits);
    snprintf(folder->chain_file, sizeof(folder->chain_file), "chain-%.*s.pem", CHAIN_NAME_DIGITS,
             digits);
    return put(folder, folder->fd, folder->chain_file, 0644, text.data, text.len, false, ei);
}

static int add_chain(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                     struct mm_errinfo *ei)
{
    int r;

    if (bundle->n_chain == 0 || is_chain(&folder->chain, bundle))
        return MM_OK;
    r = keep_chain(&folder->chain, bundle, ei);
    return r < 0 ? r : put_chain(folder, bundle, ei);
}

/* The first device's, too: the others' lines say what theirs is. */
static int add_wrap(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                    struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(READ_BYTES);
    int r;

    if (!bundle->transport_key || folder->wrap == FIRST_WRITTEN)
        return MM_OK;
    r = mm_device_key_wrap_json(bundle, &text, ei);
    return r < 0 ? r : put_first(folder, "key-wrap.json", &text, &folder->wrap, ei);
}

static int put_of_device(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                         const char *ending, mode_t mode, const struct mintmark_data *data,
                         struct mm_errinfo *ei)
{
    char name[NAME_BYTES];

    snprintf(name, sizeof(name), "%.*s.%s", MM_UID_LEN, bundle->device_uid, ending);
    return put(folder, folder->fd, name, mode, data->data, data->len, false, ei);
}

int mm_folder_add(struct mm_folder *folder, const struct mintmark_bundle *bundle,
                  struct mm_errinfo *ei)
{
    const bool wrapped = bundle->key_delivery == MINTMARK_KEY_WRAPPED;
    int r = add_wrap(folder, bundle, ei);

    if (r == MM_OK && !folder->items_written)
        r = add_items(folder, bundle, ei);
    if (r == MM_OK)
        r = add_chain(folder, bundle, ei);
    if (r < 0)
        return r;
    folder->items_written = true;
    r = bundle->certificate.len > 0
            ? put_of_device(folder, bundle, "crt", 0644, &bundle->certificate, ei)
            : put_of_device(folder, bundle, "csr", 0644, &bundle->csr, ei);
    if (r == MM_OK && bundle->private_key.len > 0)
        r = put_of_device(folder, bundle, wrapped ? "key.wrapped" : "key.der", 0600,
                          &bundle->private_key, ei);
    if (r < 0)
        return r;
    return mm_list_add(&folder->devices, bundle->number,
                       mm_device_json_line(bundle, *folder->chain_file ? folder->chain_file : NULL),
                       ei);
}

int mm_folder_withhold(struct mm_folder *folder, const struct mintmark_withheld *withheld,
                       struct mm_errinfo *ei)
{
    mm_withheld_count(&folder->counts, withheld);
    return mm_list_add(&folder->withheld, withheld->number, mm_withheld_json_line(withheld), ei);
}

const struct mm_withheld_counts *mm_folder_withheld(const struct mm_folder *folder)
{
    return &folder->counts;
}

size_t mm_folder_repeated(const struct mm_folder *folder)
{
    return folder->devices.repeated;
}

/* The file may become this text. */
static int check_list(struct mm_folder *folder, const char *name, const struct mm_buf *text,
                      struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf there = MM_BUF_INIT(LIST_BYTES);
    const int r = mm_folder_read(folder, name, &there, ei);

    if (r < 0)
        return r;
    return mm_list_goes_on(&there, text) ? MM_OK : fail_other(folder, name, ei);
}

int mm_folder_put_list(struct mm_folder *folder, const char *name, const struct mm_buf *text,
                       struct mm_errinfo *ei)
{
    enum found found;
    int r = look(folder, folder->fd, name, text->data, text->len, &found, ei);

    if (r == MM_OK && found == FOUND_OTHER)
        r = check_list(folder, name, text, ei);
    if (r < 0 || found == FOUND_SAME)
        return r;
    return write_new(folder, folder->fd, name, 0644, text->data, text->len, true, ei);
}

static int put_list(struct mm_folder *folder, const char *name, struct mm_list *list,
                    struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(LIST_BYTES);
    const int r = mm_list_text(list, &text, ei);

    return r < 0 ? r : mm_folder_put_list(folder, name, &text, ei);
}

static int put_withheld(struct mm_folder *folder, struct mm_errinfo *ei)
{
    const struct mm_buf none = MM_BUF_INIT(0);
    int r;

    if (folder->withheld.n > 0)
        return put_list(folder, withheld_name, &folder->withheld, ei);
    r = check_list(folder, withheld_name, &none, ei);
    if (r == MM_OK && unlinkat(folder->fd, withheld_name, 0) < 0)
        return fail_name(folder, withheld_name, ei);
    return r == MM_ERR_NOT_FOUND ? MM_OK : r;
}

int mm_folder_finish(struct mm_folder *folder, struct mm_errinfo *ei)
{
    int r;

    if (folder->of_chain == FIRST_OF_LATER || folder->wrap == FIRST_OF_LATER)
        return fail_other(folder, folder->wrap == FIRST_OF_LATER ? "key-wrap.json" : "chain.pem",
                          ei);
    /* One sync for all files, in place of one for each. */
    if (syncfs(folder->fd) < 0)
        return mm_fail_errno(ei, errno, "%s: cannot sync", folder->path);
    r = put_withheld(folder, ei);
    return r < 0 ? r : put_list(folder, "devices.jsonl", &folder->devices, ei);
}
