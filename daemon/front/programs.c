/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/front/programs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[MM_PROGRAMS] = {
    [MM_PROGRAM_TOKEN] = "mintmark-token",
    [MM_PROGRAM_STORE] = "mintmark-store",
    [MM_PROGRAM_ISSUER] = "mintmark-issuer",
};
/* Their folders in a build tree, seen from this program's. */
static const char *const build_folders[MM_PROGRAMS] = {
    [MM_PROGRAM_TOKEN] = "../token",
    [MM_PROGRAM_STORE] = "../store",
    [MM_PROGRAM_ISSUER] = "../issuer",
};

static bool take(struct mm_programs *p, size_t i, const char *folder, const char *below)
{
    const int n = snprintf(p->paths[i], sizeof(p->paths[i]), "%s%s%s/%s", folder,
                           below[0] ? "/" : "", below, names[i]);

    return n > 0 && (size_t)n < sizeof(p->paths[i]) && access(p->paths[i], X_OK) == 0;
}

/* The folder that this program is in. */
static bool own_folder(char folder[PATH_MAX])
{
    const ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *slash;

    if (n <= 0)
        return false;
    folder[n] = 0;
    slash = strrchr(folder, '/');
    if (!slash)
        return false;
    *slash = 0;
    return true;
}

int mm_programs_find(struct mm_programs *ret_programs, struct mm_errinfo *ei)
{
    const char *override = getenv("MINTMARK_LIBEXECDIR");
    char own[PATH_MAX];
    const bool has_own = own_folder(own);

    for (size_t i = 0; i < MM_PROGRAMS; i++) {
        if (override ? take(ret_programs, i, override, "")
                     : (has_own && take(ret_programs, i, own, build_folders[i])) ||
                           take(ret_programs, i, MM_LIBEXECDIR, ""))
            continue;
        /* Only who has an EJBCA needs it; a pool without its program says so. */
        if (i == MM_PROGRAM_ISSUER) {
            ret_programs->paths[i][0] = 0;
            continue;
        }
        return mm_fail(ei, MM_ERR_NOT_FOUND, "NO_WORKER", "cannot find %s in %s", names[i],
                       override ? override : MM_LIBEXECDIR);
    }
    return MM_OK;
}
