/* SPDX-License-Identifier: Apache-2.0 */
/* The folder that `mintmark provision --out` writes. */
#include "tools/verify/verify.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static FILE *open_lines(const char *dir)
{
    char *path;
    FILE *f;

    if (asprintf(&path, "%s/devices.jsonl", dir) < 0)
        return NULL;
    f = fopen(path, "re");
    if (!f)
        fprintf(stderr, "mintmark-verify: %s: %s\n", path, strerror(errno));
    free(path);
    return f;
}

static void check_lines(struct verify *v, FILE *f)
{
    char *line = NULL;
    size_t room = 0;
    uint64_t number = 0;

    for (ssize_t len; (len = getline(&line, &room, f)) > 0;) {
        number++;
        if (len > LINE_MAX_BYTES)
            report_fail(&v->report, "devices.jsonl", "line %llu is longer than %d bytes",
                        (unsigned long long)number, LINE_MAX_BYTES);
        else
            device_check(v, line, (size_t)len, number);
    }
    if (ferror(f))
        report_fail(&v->report, "devices.jsonl", "cannot be read to its end");
    free(line);
}

/* A device's file, by its name's end. */
static bool is_device_file(const char *name)
{
    static const char *const suffixes[] = {".crt", ".csr", ".key.wrapped", ".key.der"};
    const size_t len = strlen(name);

    for (size_t i = 0; i < COUNT(suffixes); i++) {
        const size_t n = strlen(suffixes[i]);

        if (len > n && strcmp(name + len - n, suffixes[i]) == 0)
            return true;
    }
    return false;
}

/* What lies there without a line was delivered and not counted. */
static void check_strays(struct verify *v)
{
    DIR *dir = opendir(v->dir);

    if (!dir) {
        report_fail(&v->report, v->dir, "%s", strerror(errno));
        return;
    }
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (is_device_file(e->d_name) &&
            (strlen(e->d_name) < UID_LEN || !seen_has(&v->seen, SEEN_UID, e->d_name, UID_LEN)))
            report_fail(&v->report, e->d_name, "no line in devices.jsonl speaks of it");
    }
    closedir(dir);
}

bool folder_check(struct verify *v)
{
    FILE *f = open_lines(v->dir);

    if (!f)
        return false;
    check_lines(v, f);
    fclose(f);
    check_strays(v);
    return true;
}
