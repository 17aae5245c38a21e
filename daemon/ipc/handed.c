/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ipc/handed.h"

#include "daemon/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Two halves of one version: the struct is its own wire format. The key comes behind the configs.
 */
struct head {
    uint32_t n_configs;
    uint32_t has_key;
};

int mm_handed_draw(struct mm_handed *h, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;

    if (mm_secret_new(MM_HANDED_KEY, &key) < 0)
        return mm_fail_memory(ei);
    if (getrandom(mm_secret_data(key), MM_HANDED_KEY, 0) != MM_HANDED_KEY)
        return mm_fail_errno(ei, errno, "cannot draw a key");
    h->key = MM_TAKE(key);
    return MM_OK;
}

void mm_handed_done(struct mm_handed *h)
{
    mm_secret_free(MM_TAKE(h->key));
}

static bool find(const struct mm_handed *h, const uint8_t config[MM_HANDED_DIGEST], uint32_t *ret_i)
{
    for (uint32_t i = 0; i < h->n_configs; i++) {
        if (memcmp(h->configs[i], config, MM_HANDED_DIGEST) == 0) {
            *ret_i = i;
            return true;
        }
    }
    return false;
}

bool mm_handed_knows(const struct mm_handed *h, const uint8_t config[MM_HANDED_DIGEST])
{
    uint32_t i;

    return find(h, config, &i);
}

void mm_handed_add(struct mm_handed *h, const uint8_t config[MM_HANDED_DIGEST])
{
    uint32_t i = 0;

    if (find(h, config, &i) || h->n_configs == MM_HANDED_CONFIGS) {
        h->n_configs--;
        memmove(h->configs[i], h->configs[i + 1],
                (size_t)(h->n_configs - i) * sizeof(h->configs[0]));
    }
    memcpy(h->configs[h->n_configs++], config, MM_HANDED_DIGEST);
}

int mm_handed_pipe(const struct mm_handed *h, bool with_key, int *ret_fd, struct mm_errinfo *ei)
{
    const struct head head = {h->n_configs, with_key && h->key};
    MM_CLOSE int from = -1, to = -1;
    int fd[2];
    int r;

    /* All of it is less than a page, which every pipe holds. */
    if (pipe2(fd, O_CLOEXEC) < 0)
        return mm_fail_errno(ei, errno, "cannot make a pipe");
    from = fd[0];
    to = fd[1];
    r = mm_io_write_all(to, &head, sizeof(head), ei);
    if (r == MM_OK)
        r = mm_io_write_all(to, h->configs, h->n_configs * sizeof(h->configs[0]), ei);
    if (r == MM_OK && head.has_key)
        r = mm_io_write_all(to, mm_secret_data(h->key), MM_HANDED_KEY, ei);
    if (r < 0)
        return r;
    *ret_fd = from;
    from = -1;
    return MM_OK;
}

static int read_key(int fd, struct mm_secret **ret_key, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *key = NULL;
    int r;

    if (mm_secret_new(MM_HANDED_KEY, &key) < 0)
        return mm_fail_memory(ei);
    r = mm_io_read_all(fd, mm_secret_data(key), MM_HANDED_KEY, ei);
    if (r == MM_OK)
        *ret_key = MM_TAKE(key);
    return r;
}

int mm_handed_read(int fd, struct mm_handed *ret_handed, struct mm_errinfo *ei)
{
    struct mm_handed h = {0};
    struct head head = {0};
    struct mm_errinfo why = {0};
    int r = mm_io_read_all(fd, &head, sizeof(head), &why);

    if (r == MM_OK && (head.n_configs > MM_HANDED_CONFIGS || head.has_key > 1))
        r = mm_fail(&why, MM_ERR_CORRUPT, "HANDED_BAD", "it is something else");
    h.n_configs = head.n_configs;
    if (r == MM_OK && h.n_configs > 0)
        r = mm_io_read_all(fd, h.configs, h.n_configs * sizeof(h.configs[0]), &why);
    if (r == MM_OK && head.has_key)
        r = read_key(fd, &h.key, &why);
    if (r == MM_ERR_MEMORY)
        return mm_fail_memory(ei);
    if (r < 0)
        return mm_fail(ei, MM_ERR_CORRUPT, "HANDED_BAD",
                       "what the launcher hands a worker is not there: %.120s", why.text);
    *ret_handed = h;
    return MM_OK;
}
