/* SPDX-License-Identifier: Apache-2.0 */
#include "client/cmd/csrs.h"

#include "daemon/base/io.h"
#include "daemon/base/limits.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* More than a request may have, in PEM, with text around it: what is too big shall be told by the
 * service, as what it is. */
enum { FILE_MAX = 256 * 1024 };

MM_DEFINE_CLEANUP(BIO *, BIO_free)

void mm_csrs_done(struct mm_csrs *csrs)
{
    for (size_t i = 0; i < csrs->n; i++) {
        free((char *)(uintptr_t)csrs->devices[i].hw_serial);
        free((uint8_t *)(uintptr_t)csrs->devices[i].csr.data);
        free(csrs->names[i]);
    }
    free(csrs->devices);
    free(csrs->names);
    *csrs = (struct mm_csrs){.n = 0};
}

/* One block of PEM, in place of which its content goes to *buf. */
static int from_pem(const char *path, struct mm_buf *buf, struct mm_errinfo *ei)
{
    MM_CLEANUP(BIO_free_p) BIO *bio = BIO_new_mem_buf(buf->data, (int)buf->len);
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    long len = 0;
    bool good;

    if (!bio)
        return mm_fail_memory(ei);
    good = PEM_read_bio(bio, &name, &header, &data, &len) == 1 &&
           (strcmp(name, PEM_STRING_X509_REQ) == 0 || strcmp(name, PEM_STRING_X509_REQ_OLD) == 0);
    mm_buf_reset(buf);
    if (good)
        mm_buf_append(buf, data, (size_t)len);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    if (!good)
        return mm_fail(ei, MM_ERR_INVALID, "BAD_CSR_FILE", "%s: no CERTIFICATE REQUEST in PEM",
                       path);
    return mm_buf_err(buf) < 0 ? mm_fail_memory(ei) : MM_OK;
}

static int read_csr(const char *path, struct mintmark_data *ret_csr, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf buf = MM_BUF_INIT(FILE_MAX);
    uint8_t *csr;
    int r = mm_io_read_file(path, FILE_MAX, &buf, ei);

    if (r == MM_OK && memmem(buf.data ? buf.data : (const uint8_t *)"", buf.len, "-----BEGIN", 10))
        r = from_pem(path, &buf, ei);
    if (r < 0)
        return r;
    csr = malloc(buf.len + 1);
    if (!csr)
        return mm_fail_memory(ei);
    if (buf.len > 0)
        memcpy(csr, buf.data, buf.len);
    *ret_csr = (struct mintmark_data){csr, buf.len};
    return MM_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static char *without_ending(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && dot != name ? strndup(name, (size_t)(dot - name)) : strdup(name);
}

static int add_file(struct mm_csrs *csrs, const char *path, bool serial_names,
                    struct mm_errinfo *ei)
{
    struct mintmark_csr *device = &csrs->devices[csrs->n];
    int r;

    if (csrs->n == MM_PROVISION_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "TOO_MANY", "more than %d requests", MM_PROVISION_MAX);
    r = read_csr(path, &device->csr, ei);
    if (r < 0)
        return r;
    csrs->names[csrs->n] = strdup(base_name(path));
    if (serial_names)
        device->hw_serial = without_ending(base_name(path));
    csrs->n++;
    return csrs->names[csrs->n - 1] && (!serial_names || device->hw_serial) ? MM_OK
                                                                            : mm_fail_memory(ei);
}

static int is_request(const struct dirent *entry)
{
    static const char *const endings[] = {".csr", ".req", ".der", ".pem"};
    const char *dot = strrchr(entry->d_name, '.');

    for (size_t i = 0; dot && dot != entry->d_name && i < MM_ARRAY_SIZE(endings); i++) {
        if (strcasecmp(dot, endings[i]) == 0)
            return 1;
    }
    return 0;
}

/* By bytes, whatever the locale: a repetition must find the same order. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_folder(struct mm_csrs *csrs, const char *folder, bool serial_names,
                      struct mm_errinfo *ei)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_request, by_name);
    int r = MM_OK;

    if (n < 0)
        return mm_fail_errno(ei, errno, "%s", folder);
    if (n == 0)
        r = mm_fail(ei, MM_ERR_NOT_FOUND, "NO_CSR_FILE",
                    "%s: no file that ends in .csr, .req, .der or .pem", folder);
    for (int i = 0; i < n; i++) {
        MM_FREE char *path = NULL;

        if (r == MM_OK && asprintf(&path, "%s/%s", folder, entries[i]->d_name) < 0) {
            path = NULL;
            r = mm_fail_memory(ei);
        }
        if (r == MM_OK)
            r = add_file(csrs, path, serial_names, ei);
        free(entries[i]);
    }
    free(entries);
    return r;
}

int mm_csrs_read(char *const *paths, size_t n_paths, bool serial_names, struct mm_csrs *ret_csrs,
                 struct mm_errinfo *ei)
{
    struct mm_csrs csrs = {
        .devices = calloc(MM_PROVISION_MAX + 1, sizeof(*csrs.devices)),
        .names = calloc(MM_PROVISION_MAX + 1, sizeof(*csrs.names)),
    };
    int r = csrs.devices && csrs.names ? MM_OK : mm_fail_memory(ei);

    for (size_t i = 0; r == MM_OK && i < n_paths; i++) {
        struct stat st;

        if (stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode))
            r = add_folder(&csrs, paths[i], serial_names, ei);
        else
            r = add_file(&csrs, paths[i], serial_names, ei);
    }
    if (r < 0)
        mm_csrs_done(&csrs);
    else
        *ret_csrs = csrs;
    return r;
}

/* Each with its length before it, so that no two lists look the same. */
static bool hash_one(EVP_MD_CTX *ctx, const void *data, size_t len)
{
    const uint64_t bytes = htobe64(len);

    return EVP_DigestUpdate(ctx, &bytes, sizeof(bytes)) == 1 &&
           EVP_DigestUpdate(ctx, data, len) == 1;
}

int mm_csrs_hash(const struct mm_csrs *csrs, uint8_t ret_sha256[MM_CSRS_HASH],
                 struct mm_errinfo *ei)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestInit_ex2(ctx, EVP_sha256(), NULL) == 1;

    for (size_t i = 0; good && i < csrs->n; i++)
        good = hash_one(ctx, csrs->names[i], strlen(csrs->names[i])) &&
               hash_one(ctx, csrs->devices[i].csr.data, csrs->devices[i].csr.len);
    good = good && EVP_DigestFinal_ex(ctx, ret_sha256, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return good ? MM_OK : mm_fail_memory(ei);
}
