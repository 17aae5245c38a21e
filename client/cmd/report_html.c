/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page about a production report. The report has a line for each device, so it is read line by
 * line, twice: once for the times of the first and the last, and once for the plot between them.
 */
#include "client/cmd/report.h"

#include "daemon/base/buf.h"
#include "daemon/base/clock.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

MM_DEFINE_CLEANUP(json_t *, json_decref)
#define JSON_CLEANUP MM_CLEANUP(json_decref_p)

enum { BUCKETS = 60, FAILURES_SHOWN = 25, PLOT_WIDTH = 720, PLOT_HEIGHT = 160 };
enum state { STATE_OK, STATE_KO, STATE_UNREPORTED, STATES };

struct failure {
    char *reason;
    uint64_t devices;
};

struct report {
    json_t *head, *totals;
    struct failure failures[FAILURES_SHOWN]; /* the most frequent, in that order */
    size_t n_failures;
    uint64_t other_reasons, other_devices;
    int64_t first_ms, last_ms; /* of the devices' making; 0: there are none */
    uint64_t buckets[BUCKETS][STATES];
};

/* ---- reading ----------------------------------------------------------------------------- */

static int malformed(struct mm_errinfo *ei, const char *what)
{
    return mm_fail(ei, MM_ERR_INVALID, "REPORT_MALFORMED", "the report has no %s", what);
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

static uint64_t number_of(const json_t *object, const char *key)
{
    const json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

/* 0 when it is none. */
static int64_t time_of(const json_t *object, const char *key)
{
    const char *text = string_of(object, key);
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    unsigned ms = 0;

    if (!rest || sscanf(rest, ".%3uZ", &ms) != 1)
        return 0;
    return (int64_t)timegm(&tm) * 1000 + ms;
}

/* An item's line, with or without its comma. */
static json_t *item_of(char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == ','))
        len--;
    return json_loadb(line, len, 0, NULL);
}

struct lines {
    FILE *file;
    char *line;
    size_t size;
    ssize_t len;
};

static bool next_line(struct lines *l)
{
    l->len = getline(&l->line, &l->size, l->file);
    return l->len > 0;
}

static void lines_done(struct lines *l)
{
    free(l->line);
}

static bool is_line(const struct lines *l, const char *text)
{
    return strcmp(l->line, text) == 0;
}

/* Up to the devices; *ret_head is an object without them. */
static int read_head(struct lines *l, json_t **ret_head, struct mm_errinfo *ei)
{
    MM_BUF_CLEANUP struct mm_buf text = MM_BUF_INIT(64 * 1024);

    while (next_line(l) && !is_line(l, "\"devices\":[\n"))
        mm_buf_append(&text, l->line, (size_t)l->len);
    mm_buf_append_str(&text, "\"devices\":[]}");
    if (mm_buf_err(&text) < 0)
        return malformed(ei, "head");
    *ret_head = json_loadb((const char *)text.data, text.len, 0, NULL);
    if (!*ret_head || strcmp(string_of(*ret_head, "schema"), "mintmark-report-1") != 0)
        return malformed(ei, "head of schema mintmark-report-1");
    return MM_OK;
}

static int each_device(struct lines *l, struct report *r,
                       void (*each)(struct report *r, const json_t *device), struct mm_errinfo *ei)
{
    while (next_line(l) && l->line[0] != ']') {
        JSON_CLEANUP json_t *device = item_of(l->line, (size_t)l->len);

        if (!json_is_object(device))
            return malformed(ei, "device in a line of its devices");
        each(r, device);
    }
    return l->len > 0 ? MM_OK : malformed(ei, "end");
}

static void note_time(struct report *r, const json_t *device)
{
    const int64_t made = time_of(device, "made");

    if (made == 0)
        return;
    if (r->first_ms == 0 || made < r->first_ms)
        r->first_ms = made;
    if (made > r->last_ms)
        r->last_ms = made;
}

static void note_bucket(struct report *r, const json_t *device)
{
    const int64_t made = time_of(device, "made"), span = r->last_ms - r->first_ms + 1;
    const char *state = string_of(device, "state");

    if (made < r->first_ms || made > r->last_ms)
        return;
    r->buckets[(made - r->first_ms) * BUCKETS / span][strcmp(state, "ok") == 0 ? STATE_OK
                                                      : strcmp(state, "ko") == 0
                                                          ? STATE_KO
                                                          : STATE_UNREPORTED]++;
}

/* Among the most frequent, or with the others. */
static int note_failure(struct report *r, const json_t *item, struct mm_errinfo *ei)
{
    struct failure f = {strdup(string_of(item, "reason")), number_of(item, "devices")};
    size_t at = r->n_failures;

    if (!f.reason)
        return mm_fail_memory(ei);
    while (at > 0 && r->failures[at - 1].devices < f.devices)
        at--;
    if (r->n_failures == FAILURES_SHOWN) {
        const struct failure last = at == FAILURES_SHOWN ? f : r->failures[FAILURES_SHOWN - 1];

        r->other_reasons++;
        r->other_devices += last.devices;
        free(last.reason);
        if (at == FAILURES_SHOWN)
            return MM_OK;
        r->n_failures--;
    }
    memmove(&r->failures[at + 1], &r->failures[at], (r->n_failures - at) * sizeof(f));
    r->failures[at] = f;
    r->n_failures++;
    return MM_OK;
}

static int read_failures(struct lines *l, struct report *r, struct mm_errinfo *ei)
{
    int rc = MM_OK;

    if (!next_line(l) || !is_line(l, "\"failures\":[\n"))
        return malformed(ei, "failures");
    while (rc == MM_OK && next_line(l) && l->line[0] != ']') {
        JSON_CLEANUP json_t *item = item_of(l->line, (size_t)l->len);

        rc = json_is_object(item) ? note_failure(r, item, ei)
                                  : malformed(ei, "failure in a line of its failures");
    }
    return rc;
}

static int read_totals(struct lines *l, struct report *r, struct mm_errinfo *ei)
{
    MM_FREE char *text = NULL;
    JSON_CLEANUP json_t *end = NULL;

    if (!next_line(l) || asprintf(&text, "{%s", l->line) < 0)
        return malformed(ei, "totals");
    end = json_loads(text, 0, NULL);
    r->totals = json_incref(json_object_get(end, "totals"));
    return json_is_object(r->totals) ? MM_OK : malformed(ei, "totals");
}

static int read_report(FILE *file, struct report *r, struct mm_errinfo *ei)
{
    MM_CLEANUP(lines_done) struct lines l = {.file = file};
    JSON_CLEANUP json_t *again = NULL;
    int rc = read_head(&l, &r->head, ei);

    if (rc == MM_OK)
        rc = each_device(&l, r, note_time, ei);
    if (rc == MM_OK)
        rc = read_failures(&l, r, ei);
    if (rc == MM_OK)
        rc = read_totals(&l, r, ei);
    if (rc < 0)
        return rc;
    rewind(file);
    rc = read_head(&l, &again, ei);
    return rc < 0 ? rc : each_device(&l, r, note_bucket, ei);
}

/* ---- writing ----------------------------------------------------------------------------- */

static void put_escaped(FILE *page, const char *text)
{
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;

        if (strchr("&<>\"'", c))
            fprintf(page, "&#%u;", c);
        else
            fputc(c < 0x20 || c == 0x7f ? ' ' : c, page);
    }
}

/* Text, never markup; what turns the direction of writing does so within it. */
static void put_text(FILE *page, const char *text)
{
    fputs("<bdi>", page);
    put_escaped(page, text);
    fputs("</bdi>", page);
}

static void put_fact(FILE *page, const char *name, const char *value)
{
    fprintf(page, "<tr><th>%s</th><td>", name);
    put_text(page, value);
    fputs("</td></tr>\n", page);
}

static void put_figure(FILE *page, const char *name, uint64_t value)
{
    fprintf(page, "<div class=\"figure\"><b>%" PRIu64 "</b>%s</div>\n", value, name);
}

static void put_top(FILE *page, const json_t *batch)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta http-equiv=\"Content-Security-Policy\""
          " content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
          "<title>Production report: ",
          page);
    put_escaped(page, string_of(batch, "name"));
    fputs("</title>\n<style>\n"
          "body{font:15px/1.45 system-ui,sans-serif;color:#1b1f24;max-width:760px;margin:2em auto;"
          "padding:0 1em}\n"
          "h1{font-size:1.6em;margin:0}h2{font-size:1.1em;margin:1.8em 0 .5em}\n"
          ".figures{display:flex;flex-wrap:wrap;gap:.6em;margin:1.2em 0}\n"
          ".figure{border:1px solid #d0d7de;border-radius:6px;padding:.5em .9em;min-width:6em}\n"
          ".figure b{display:block;font-size:1.5em}\n"
          "table{border-collapse:collapse;width:100%}\n"
          "th,td{text-align:left;padding:.25em .6em .25em 0;border-bottom:1px solid #eaeef2;"
          "vertical-align:top;overflow-wrap:anywhere}\n"
          "th{font-weight:600;width:12em}td.n{text-align:right;width:6em}\n"
          ".ok{fill:#2da44e}.ko{fill:#cf222e}.un{fill:#afb8c1}.axis{font-size:11px;fill:#57606a}\n"
          "code{font-size:.8em}footer{margin-top:2em;color:#57606a;font-size:.85em}\n"
          "@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}\n"
          "</style></head><body>\n<h1>",
          page);
    put_text(page, string_of(batch, "name"));
    fputs("</h1>\n", page);
}

static void put_figures(FILE *page, const struct report *r)
{
    const json_t *order = json_object_get(r->head, "order");
    const uint64_t ok = number_of(r->totals, "ok"), ko = number_of(r->totals, "ko");
    const uint64_t quantity = number_of(order, "quantity"), used = number_of(order, "used");

    fputs("<div class=\"figures\">\n", page);
    put_figure(page, "devices made", number_of(r->totals, "issued"));
    put_figure(page, "OK", ok);
    put_figure(page, "KO", ko);
    put_figure(page, "not reported", number_of(r->totals, "unreported"));
    if (ok + ko > 0)
        fprintf(page,
                "<div class=\"figure\"><b>%.2f&nbsp;%%</b>yield (OK of those reported)</div>\n",
                100.0 * (double)ok / (double)(ok + ko));
    fprintf(page,
            "<div class=\"figure\"><b>%" PRIu64 "</b>left of the order&#39;s %" PRIu64 "</div>\n",
            quantity > used ? quantity - used : 0, quantity);
    put_figure(page, "given back for KO devices", number_of(r->totals, "refunded"));
    fputs("</div>\n", page);
}

static uint64_t bucket_total(const struct report *r, size_t i)
{
    return r->buckets[i][STATE_OK] + r->buckets[i][STATE_KO] + r->buckets[i][STATE_UNREPORTED];
}

static void put_bar(FILE *page, const struct report *r, size_t i, uint64_t most)
{
    static const char *const classes[STATES] = {"ok", "ko", "un"};
    const double width = (double)PLOT_WIDTH / BUCKETS;
    double y = PLOT_HEIGHT;

    for (size_t s = 0; s < STATES; s++) {
        const double height = (double)PLOT_HEIGHT * (double)r->buckets[i][s] / (double)most;

        y -= height;
        if (r->buckets[i][s] > 0)
            fprintf(page,
                    "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
                    classes[s], width * (double)i, y, width - 1, height);
    }
}

static void put_plot(FILE *page, const struct report *r)
{
    const double minutes = (double)(r->last_ms - r->first_ms + 1) / BUCKETS / 60000;
    char first[MM_CLOCK_TEXT], last[MM_CLOCK_TEXT];
    uint64_t most = 0;

    if (r->first_ms == 0)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        most = bucket_total(r, i) > most ? bucket_total(r, i) : most;
    if (most == 0)
        return;
    fprintf(page,
            "<h2>Rate over time</h2>\n<svg viewBox=\"0 -16 %d %d\" role=\"img\""
            " aria-label=\"devices over time\">\n<text class=\"axis\" x=\"0\" y=\"-4\">"
            "top: %.1f devices a minute; green OK, red KO, grey not reported</text>\n",
            PLOT_WIDTH, PLOT_HEIGHT + 34, (double)most / minutes);
    for (size_t i = 0; i < BUCKETS; i++)
        put_bar(page, r, i, most);
    fprintf(page,
            "<text class=\"axis\" x=\"0\" y=\"%d\">%s</text>\n"
            "<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n</svg>\n",
            PLOT_HEIGHT + 14, mm_clock_text(r->first_ms, first), PLOT_WIDTH, PLOT_HEIGHT + 14,
            mm_clock_text(r->last_ms, last));
}

static void put_failures(FILE *page, const struct report *r)
{
    if (r->n_failures == 0)
        return;
    fputs("<h2>Failures by reason</h2>\n<table>\n", page);
    for (size_t i = 0; i < r->n_failures; i++) {
        fprintf(page, "<tr><td class=\"n\">%" PRIu64 "</td><td>", r->failures[i].devices);
        put_text(page, r->failures[i].reason);
        fprintf(page,
                "<svg viewBox=\"0 0 400 6\" width=\"100%%\" height=\"6\""
                " preserveAspectRatio=\"none\"><rect class=\"ko\" width=\"%.1f\" height=\"6\"/>"
                "</svg></td></tr>\n",
                400.0 * (double)r->failures[i].devices / (double)r->failures[0].devices);
    }
    if (r->other_reasons > 0)
        fprintf(page,
                "<tr><td class=\"n\">%" PRIu64 "</td><td><i>for %" PRIu64
                " other reasons</i></td></tr>\n",
                r->other_devices, r->other_reasons);
    fputs("</table>\n", page);
}

static void put_facts(FILE *page, const struct report *r)
{
    const json_t *batch = json_object_get(r->head, "batch");
    const json_t *order = json_object_get(r->head, "order");

    fputs("<h2>Batch and order</h2>\n<table>\n", page);
    put_fact(page, "product", string_of(order, "product"));
    put_fact(page, "device type", string_of(batch, "device_type"));
    put_fact(page, "profile", string_of(batch, "profile"));
    put_fact(page, "OEM", string_of(order, "oem"));
    put_fact(page, "order", string_of(order, "id"));
    put_fact(page, "batch", string_of(batch, "uid"));
    put_fact(page, "opened", string_of(batch, "opened"));
    put_fact(page, "by", string_of(batch, "station"));
    put_fact(page, "released", string_of(batch, "released"));
    put_fact(page, "by", string_of(batch, "released_by"));
    fputs("</table>\n", page);
}

static void put_end(FILE *page, const struct report *r, const char *sha256)
{
    const json_t *ledger = json_object_get(r->head, "ledger");
    const json_t *released = json_object_get(ledger, "released");

    fputs("<h2>Evidence</h2>\n<table>\n", page);
    put_fact(page, "SHA-256 of the report", sha256);
    put_fact(page, "appliance", string_of(r->head, "appliance"));
    put_fact(page, "ledger", string_of(r->head, "ledger_id"));
    fprintf(page, "<tr><th>ledger&#39;s head at release</th><td>record %" PRIu64 ", ",
            number_of(released, "sequence"));
    put_text(page, string_of(released, "head"));
    fputs("</td></tr>\n", page);
    put_fact(page, "made by", string_of(r->head, "service"));
    fputs("</table>\n<footer>This page is for reading, and is not signed. What is signed is"
          " <code>report.json</code>, by <code>report.json.p7s</code>.</footer>\n</body></html>\n",
          page);
}

static void report_done(struct report *r)
{
    for (size_t i = 0; i < r->n_failures; i++)
        free(r->failures[i].reason);
    json_decref(r->head);
    json_decref(r->totals);
}

int mm_report_html(FILE *report, const char *sha256, FILE *page, struct mm_errinfo *ei)
{
    MM_CLEANUP(report_done) struct report r = {0};
    int rc = read_report(report, &r, ei);

    if (rc < 0)
        return rc;
    put_top(page, json_object_get(r.head, "batch"));
    put_figures(page, &r);
    put_plot(page, &r);
    put_failures(page, &r);
    put_facts(page, &r);
    put_end(page, &r, sha256);
    return ferror(page) ? mm_fail(ei, MM_ERR_IO, "FILE_NOT_WRITTEN", "the page cannot be written")
                        : MM_OK;
}
