/* SPDX-License-Identifier: Apache-2.0 */
/* Runs every file of the folders named as arguments through the fuzz target that is linked in. */
#include "tests/fuzz/fuzz.h"

#include "daemon/base/io.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { INPUT_MAX = 1024 * 1024 };

static int replay_file(const char *path)
{
    MM_BUF_CLEANUP struct mm_buf input = MM_BUF_INIT(INPUT_MAX);
    struct mm_errinfo ei;
    uint8_t *exact;

    if (mm_io_read_file(path, INPUT_MAX, &input, &ei) < 0) {
        fprintf(stderr, "%s: %s\n", path, ei.text);
        return -1;
    }
    /* A block of just that size, so that a sanitizer sees the first byte read beyond it. */
    exact = malloc(input.len ? input.len : 1);
    if (!exact)
        return -1;
    for (size_t i = 0; i < input.len; i++)
        exact[i] = input.data[i];
    LLVMFuzzerTestOneInput(exact, input.len);
    free(exact);
    return 0;
}

/* Number of files, or -1. */
static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    int n = 0;

    if (!dir) {
        perror(folder);
        return -1;
    }
    for (struct dirent *e = readdir(dir); e && n >= 0; e = readdir(dir)) {
        char path[4096];
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
        if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        n = replay_file(path) < 0 ? -1 : n + 1;
    }
    closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const int n = replay_folder(argv[i]);

        if (n <= 0) {
            fprintf(stderr, "%s: no corpus\n", argv[i]);
            return EXIT_FAILURE;
        }
        printf("%s: %d inputs\n", argv[i], n);
    }
    return argc > 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
