/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing the database, and the settings that its promises rest on. */
#include "daemon/store/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A predecessor that was killed may still be about to let go of the file. */
enum { LOCK_WAIT_MS = 2000 };

/* SQLite would make the file with the umask's mode; it holds whatever is delivered, and where a
 * profile says "plain" that includes private keys. The WAL takes the file's mode. */
static int create_file(const char *path, struct mm_errinfo *ei)
{
    MM_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return mm_fail_errno(ei, errno, "cannot open the database");
    if (!S_ISREG(st.st_mode))
        return mm_fail(ei, MM_ERR_INVALID, "NOT_A_FILE", "not a regular file");
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return mm_fail(ei, MM_ERR_PERMISSION, "STORE_PERMISSIONS",
                       "mode %04o lets others in; want 0600", (unsigned)st.st_mode & 07777);
    return MM_OK;
}

static int connect_file(struct mm_store *s, const char *path, struct mm_errinfo *ei)
{
    static const struct {
        int option;
        int value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},   {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1}, {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0}, {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
    };
    int rc = sqlite3_open_v2(
        path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);

    if (rc != SQLITE_OK)
        return mm_sql_fail(s, rc, ei);
    for (size_t i = 0; i < MM_ARRAY_SIZE(options); i++) {
        int now = -1;

        rc = sqlite3_db_config(s->db, options[i].option, options[i].value, &now);
        if (rc != SQLITE_OK || now != options[i].value)
            return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ERROR",
                           "this SQLite (%s) does not take option %d", sqlite3_libversion(),
                           options[i].option);
    }
    (void)sqlite3_limit(s->db, SQLITE_LIMIT_ATTACHED, 0);
    (void)sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, MM_IPC_MESSAGE_MAX);
    (void)sqlite3_busy_timeout(s->db, LOCK_WAIT_MS);
    return MM_OK;
}

/*
 * Exclusive: from the first read on the file is locked until it is closed, so a second store fails
 * at once instead of meeting the first one's writes, and the WAL's index stands in this process's
 * memory. The lock is the kernel's, and dies with the process.
 */
static const char settings_before[] = "PRAGMA locking_mode = EXCLUSIVE;"
                                      "PRAGMA temp_store = MEMORY;"
                                      "PRAGMA mmap_size = 0;"
                                      "PRAGMA cell_size_check = ON;";
/* Figures: docs/adr/0010-sqlite-settings.md. */
static const char settings_after[] = "PRAGMA synchronous = FULL;"
                                     "PRAGMA secure_delete = ON;"
                                     "PRAGMA cache_size = -4096;"
                                     "PRAGMA wal_autocheckpoint = 1000;"
                                     "PRAGMA journal_size_limit = 67108864;";

/* What our promises rest on, read back: SQLite ignores a PRAGMA that it does not know or like. */
static int verify_settings(struct mm_store *s, struct mm_errinfo *ei)
{
    static const struct {
        const char *sql;
        int64_t want;
    } settings[] = {
        {"PRAGMA synchronous", 2},
        {"PRAGMA foreign_keys", 1},
        {"PRAGMA trusted_schema", 0},
        {"PRAGMA secure_delete", 1}, /* keys that were deleted do not stay in free space */
        {"SELECT journal_mode = 'wal' FROM pragma_journal_mode", 1},
        {"SELECT locking_mode = 'exclusive' FROM pragma_locking_mode", 1},
    };
    int64_t value;
    int r;

    for (size_t i = 0; i < MM_ARRAY_SIZE(settings); i++) {
        r = mm_sql_get_int(s, settings[i].sql, &value, ei);
        if (r < 0)
            return r;
        if (value != settings[i].want)
            return mm_fail(ei, MM_ERR_UNAVAILABLE, "STORE_SETTING",
                           "SQLite does not take a setting: %s is %lld", settings[i].sql,
                           (long long)value);
    }
    return MM_OK;
}

/*
 * A predecessor that was killed between writing a commit and syncing it leaves one that stands, and
 * that a power cut would still undo. Devices in it were never answered for; a retry would find them
 * and deliver them, without anything being written that would be synced. So what was found is made
 * durable before anybody hears of it. model: SYNC
 */
static int sync_found(struct mm_store *s, struct mm_errinfo *ei)
{
    sqlite3_file *wal = NULL;
    int rc = sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);

    if (rc == SQLITE_OK && wal && wal->pMethods)
        rc = wal->pMethods->xSync(wal, SQLITE_SYNC_NORMAL);
    else if (rc == SQLITE_OK)
        return mm_fail(ei, MM_ERR_INTERNAL, "STORE_ERROR", "SQLite shows no write-ahead log");
    return rc == SQLITE_OK ? MM_OK : mm_sql_fail(s, rc, ei);
}

static int prepare_all(struct mm_store *s, struct mm_errinfo *ei)
{
    for (int i = 0; i < MM_SQL_COUNT; i++) {
        const int rc = sqlite3_prepare_v3(s->db, mm_sql_text[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &s->statements[i], NULL);

        if (rc != SQLITE_OK) {
            mm_sql_fail(s, rc, ei);
            return mm_err_prefix(ei, "%s", mm_sql_text[i]);
        }
    }
    return MM_OK;
}

static int set_up(struct mm_store *s, const char *path, struct mm_errinfo *ei)
{
    int r = create_file(path, ei);

    if (r == MM_OK)
        r = connect_file(s, path, ei);
    if (r == MM_OK)
        r = mm_sql_exec(s, settings_before, ei);
    if (r == MM_OK)
        r = mm_sql_migrate(s, ei);
    if (r == MM_OK)
        r = mm_sql_exec(s, settings_after, ei);
    if (r == MM_OK)
        r = verify_settings(s, ei);
    if (r == MM_OK)
        r = sync_found(s, ei);
    if (r == MM_OK)
        r = mm_sql_check(s, ei);
    if (r == MM_OK)
        r = prepare_all(s, ei);
    if (r == MM_OK)
        r = mm_ledger_open(s, ei);
    if (r == MM_OK)
        r = mm_minted_open(s, ei);
    return r;
}

/* For the whole process, which has one thread: without SQLite's own locks and memory statistics a
 * device costs a sixth less. Refused, and not needed, when SQLite runs already. */
static void configure_library(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int mm_store_open(const char *path, struct mm_store **ret_store, struct mm_errinfo *ei)
{
    MM_STORE_CLEANUP struct mm_store *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return mm_fail_memory(ei);
    configure_library();
    r = set_up(s, path, ei);
    if (r < 0)
        return mm_err_prefix(ei, "%s", path);
    *ret_store = MM_TAKE(s);
    return MM_OK;
}

void mm_store_free(struct mm_store *s)
{
    if (!s)
        return;
    mm_guard_done(s);
    mm_store_trust_nobody(s);
    mm_tallies_done(&s->tallies);
    mm_ledger_close(s);
    mm_minted_close(s);
    for (int i = 0; i < MM_SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    (void)sqlite3_close(s->db);
    free(s);
}
