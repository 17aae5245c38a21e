/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a configuration names. */
#include "daemon/conf/conf.h"
#include "tests/unit/check_main.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder with every file that the configuration names. */
struct folder {
    char path[64];
    struct mm_conf *conf;
};

static void put(const struct folder *f, const char *name, mode_t mode)
{
    char path[256];
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fputs("x\n", out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void drop(const struct folder *f, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    unlink(path);
}

static const char *const folder_files[] = {"s.pem", "s.key", "ca.pem", "m.so",
                                           "pin",   "i.bin", "m.conf"};

static struct folder folder_new(void)
{
    static const char text[] =
        "listen { certificate = 's.pem'\n key = 's.key'\n client_ca = 'ca.pem' }\n"
        "store { path = 'm.db' }\n"
        "token 't' { module = 'm.so' uri = 'pkcs11:token=t' pin_file = 'pin' }\n"
        "issuer 'ca' { token = 't' key = 'pkcs11:object=ca' certificate = 'ca.pem' }\n"
        "profile 'p' { issuer = 'ca' preset = 'matter-dac' delivery = 'plain'\n"
        " item 'i' { file = 'i.bin' } }\n";
    struct folder f = {.path = "/tmp/mintmark-test-conf-XXXXXX"};
    struct mm_errinfo ei = {0};
    char path[128];

    ck_assert_ptr_nonnull(mkdtemp(f.path));
    for (size_t i = 0; i < MM_ARRAY_SIZE(folder_files); i++)
        put(&f, folder_files[i], 0600);
    snprintf(path, sizeof(path), "%s/m.conf", f.path);
    ck_assert_int_eq(mm_conf_parse(path, text, sizeof(text) - 1, &f.conf, &ei), MM_OK);
    return f;
}

static void folder_free(struct folder *f)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(folder_files); i++)
        drop(f, folder_files[i]);
    rmdir(f->path);
    mm_conf_free(f->conf);
}

static void expect_bad_file(const struct folder *f, int code, const char *part)
{
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_conf_check_files(f->conf, &ei), code);
    ck_assert_msg(strstr(ei.text, part) != NULL, "%s", ei.text);
}

START_TEST(check_tells_missing_files_and_modes)
{
    static const char *const open_to_all[] = {"m.conf", "m.so", "ca.pem", "i.bin"};
    struct folder f = folder_new();
    struct mm_errinfo ei = {0};

    ck_assert_int_eq(mm_conf_check_files(f.conf, &ei), MM_OK);
    put(&f, "pin", 0640);
    expect_bad_file(&f, MM_ERR_PERMISSION, "/m.conf:5: token 't'.pin_file: ");
    expect_bad_file(&f, MM_ERR_PERMISSION, "has mode 640: chmod 600 it");
    put(&f, "pin", 0400);
    put(&f, "s.key", 0604);
    expect_bad_file(&f, MM_ERR_PERMISSION, "listen.key: ");
    put(&f, "s.key", 0600);
    for (size_t i = 0; i < MM_ARRAY_SIZE(open_to_all); i++) {
        put(&f, open_to_all[i], 0646);
        expect_bad_file(&f, MM_ERR_PERMISSION, "can be written by all: chmod o-w it");
        put(&f, open_to_all[i], 0664);
        ck_assert_int_eq(mm_conf_check_files(f.conf, &ei), MM_OK);
    }
    drop(&f, "i.bin");
    expect_bad_file(&f, MM_ERR_IO, "/m.conf:7: item 'i'.file: ");
    put(&f, "i.bin", 0644);
    drop(&f, "m.so");
    expect_bad_file(&f, MM_ERR_IO, "token 't'.module: ");
    folder_free(&f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conf_files");
    TCase *tc = tcase_create("files");

    tcase_add_test(tc, check_tells_missing_files_and_modes);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
