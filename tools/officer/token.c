/* SPDX-License-Identifier: Apache-2.0 */
/* token status, test and bench: what a token is, and whether it does what mintmark needs. */
#include "daemon/base/text.h"
#include "tools/officer/keys.h"
#include "tools/officer/officer.h"

#include <string.h>

static const char *pin_state(const struct mm_token_info *info)
{
    if (info->pin_locked)
        return "locked";
    if (info->pin_final_try)
        return "one try left";
    return info->pin_count_low ? "wrong PIN was tried" : "good";
}

static int describe_token(struct mm_officer *o, const struct mm_token_info *info,
                          struct mm_errinfo *ei)
{
    char flags[24];

    snprintf(flags, sizeof(flags), "0x%08lx", info->flags);
    return mm_officer_answer(
        o, "token",
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:b, s:s, s:I}", "label", mm_out_text(info->label),
                  "serial", mm_out_text(info->serial), "model", mm_out_text(info->model),
                  "manufacturer", mm_out_text(info->manufacturer), "flags", flags, "initialised",
                  info->initialized, "user_pin", pin_state(info), "max_sessions",
                  (json_int_t)info->max_sessions),
        ei);
}

static int describe_mechanisms(struct mm_officer *o, struct mm_errinfo *ei)
{
    const struct mm_token_mechanisms *const m = mm_token_mechanisms(o->token);
    char kwp[24] = "no";

    if (m->aes_kwp)
        snprintf(kwp, sizeof(kwp), "0x%04lx", m->aes_kwp);
    return mm_officer_answer(o, "mechanisms",
                             json_pack("{s:b, s:b, s:b, s:b, s:b, s:s}", "ec_key_generation",
                                       m->ec_key_gen, "ecdsa", m->ecdsa, "ecdh", m->ecdh,
                                       "rsa_oaep", m->rsa_oaep, "aes_key_generation",
                                       m->aes_key_gen, "aes_key_wrap_padded", kwp),
                             ei);
}

static void print_status(const struct mm_officer *o)
{
    static const struct mm_column token[] = {
        {"label", "label"},
        {"serial", "serial"},
        {"model", "model"},
        {"manufacturer", "manufacturer"},
        {"flags", "flags"},
        {"user_pin", "user PIN"},
        {"max_sessions", "sessions at most (0: not known)"},
    };
    static const struct mm_column mechanisms[] = {
        {"ec_key_generation", "EC key pairs"},
        {"ecdsa", "ECDSA"},
        {"ecdh", "ECDH"},
        {"rsa_oaep", "RSA OAEP"},
        {"aes_key_generation", "AES keys"},
        {"aes_key_wrap_padded", "AES key wrap (RFC 5649)"},
    };

    mm_out_fields(stdout, json_object_get(o->answer, "token"), token, MM_ARRAY_SIZE(token));
    putchar('\n');
    mm_out_fields(stdout, json_object_get(o->answer, "mechanisms"), mechanisms,
                  MM_ARRAY_SIZE(mechanisms));
    putchar('\n');
    mm_keys_print(json_object_get(o->answer, "keys"));
}

int mm_cmd_token_status(struct mm_officer *o, struct mm_errinfo *ei)
{
    struct mm_token_info info;
    int r;

    r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_token_info(o->token, &info, ei);
    if (r < 0)
        return r;
    r = describe_token(o, &info, ei);
    if (r < 0)
        return r;
    r = describe_mechanisms(o, ei);
    if (r < 0)
        return r;
    r = mm_keys_answer(o, ei);
    if (r == MM_OK && !o->args.json)
        print_status(o);
    return r;
}

/* Collects the self-test's lines; a line that finds no memory makes the whole fail. */
static void collect_line(void *arg, const struct mm_selftest_line *line)
{
    json_t *const rows = arg;
    const char *const result = !line->supported ? "not there" : line->passed ? "good" : "FAILED";

    (void)json_array_append_new(
        rows, json_pack("{s:s, s:b, s:b, s:s, s:f, s:s}", "operation", line->operation, "supported",
                        line->supported, "passed", line->passed, "result", result, "per_second",
                        line->per_second, "note", line->note));
}

static int run_selftest(struct mm_officer *o, double seconds, const struct mm_column *columns,
                        size_t n, struct mm_errinfo *ei)
{
    json_t *const rows = json_array();
    int r;

    r = mm_officer_answer(o, "operations", rows, ei);
    if (r < 0)
        return r;
    if (!o->token)
        r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r < 0)
        return r;
    r = mm_token_selftest(o->token, seconds, collect_line, rows, ei);
    if (!o->args.json)
        mm_out_table(stdout, rows, columns, n);
    return r;
}

static void collect_mechanism(void *arg, const struct mm_mechanism_line *line)
{
    json_t *const rows = arg;
    char number[24], sizes[48] = "";

    snprintf(number, sizeof(number), "0x%04lx", line->number);
    if (line->max_key)
        snprintf(sizes, sizeof(sizes), "%lu to %lu", line->min_key, line->max_key);
    (void)json_array_append_new(
        rows, json_pack("{s:s, s:s, s:b, s:s, s:s, s:s, s:s}", "mechanism", line->name, "number",
                        number, "listed", line->listed, "there", line->listed ? "yes" : "no",
                        "key_sizes", sizes, "flags", line->flags, "used_for", line->used_for));
}

static int matrix(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {
        {"mechanism", "mechanism"}, {"number", "number"}, {"there", "there"},
        {"key_sizes", "key sizes"}, {"flags", "does"},    {"used_for", "used for"}};
    json_t *const rows = json_array();
    int r = mm_officer_answer(o, "matrix", rows, ei);

    if (r == MM_OK)
        r = mm_officer_token(o, NULL, MM_OFFICER_USER, ei);
    if (r == MM_OK)
        r = mm_token_mechanism_matrix(o->token, collect_mechanism, rows, ei);
    if (r == MM_OK && !o->args.json) {
        mm_out_table(stdout, rows, columns, MM_ARRAY_SIZE(columns));
        putchar('\n');
    }
    return r;
}

int mm_cmd_token_test(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {
        {"operation", "operation"}, {"result", "result"}, {"note", "note"}};
    int r = matrix(o, ei);

    return r < 0 ? r : run_selftest(o, 0, columns, MM_ARRAY_SIZE(columns), ei);
}

int mm_token_bench_each(struct mm_officer *o, struct mm_errinfo *ei)
{
    static const struct mm_column columns[] = {{"operation", "operation"},
                                               {"result", "result"},
                                               {"per_second", "a second"},
                                               {"note", "note"}};
    uint64_t seconds = 2;

    if (o->args.seconds && mm_text_to_u64(o->args.seconds, 1, 60, &seconds) < 0)
        return mm_officer_usage(o, ei, "--seconds is a number from 1 to 60");
    return run_selftest(o, (double)seconds, columns, MM_ARRAY_SIZE(columns), ei);
}
