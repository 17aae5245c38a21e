/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the key policy of pkcs11/policy.c as the table of docs/keys.md. */
#include "daemon/base/macros.h"
#include "pkcs11/token.h"

#include <stdio.h>
#include <string.h>

static const struct {
    enum mm_key_use use;
    const char *title;
} columns[] = {
    {MM_USE_CA, "CA key (EC)"},
    {MM_USE_CA_BACKUP, "CA key for backup (EC)"},
    {MM_USE_CA_RESTORED, "Restored CA key (EC)"},
    {MM_USE_SIGNING, "Signing key (EC)"},
    {MM_USE_TRANSPORT, "Transport key (AES-256)"},
    {MM_USE_DEVICE, "Retained device key (EC)"},
    {MM_USE_EXCHANGE, "Exchange key (EC)"},
    {MM_USE_EXCHANGE_RSA, "Exchange key (RSA)"},
    {MM_USE_IMPORTED, "Key from a package (EC, RSA)"},
};

enum { ROWS_MAX = 64, COLUMNS = MM_ARRAY_SIZE(columns) };

static struct {
    const char *attribute;
    char cell[COLUMNS][64];
} rows[ROWS_MAX];
static size_t n_rows;

static int add(void *arg, const struct mm_policy_line *line)
{
    const size_t column = *(const size_t *)arg;
    size_t row = 0;

    while (row < n_rows && strcmp(rows[row].attribute, line->attribute) != 0)
        row++;
    if (row == ROWS_MAX)
        return MM_ERR_TOO_BIG;
    rows[row].attribute = line->attribute;
    n_rows += row == n_rows;
    snprintf(rows[row].cell[column], sizeof(rows[row].cell[column]), "%s, %s", line->expected,
             line->rank);
    return MM_OK;
}

int main(void)
{
    for (size_t i = 0; i < COLUMNS; i++)
        if (mm_token_policy(columns[i].use, add, &i) < 0)
            return 1;
    fputs("| Attribute |", stdout);
    for (size_t i = 0; i < COLUMNS; i++)
        printf(" %s |", columns[i].title);
    fputs("\n|---|", stdout);
    for (size_t i = 0; i < COLUMNS; i++)
        fputs("---|", stdout);
    for (size_t row = 0; row < n_rows; row++) {
        printf("\n| %s |", rows[row].attribute);
        for (size_t i = 0; i < COLUMNS; i++)
            printf(" %s |", *rows[row].cell[i] ? rows[row].cell[i] : "–");
    }
    putchar('\n');
    return 0;
}
