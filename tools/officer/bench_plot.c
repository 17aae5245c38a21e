/* SPDX-License-Identifier: Apache-2.0 */
/* Two panels over one axis of workers: the rate above, the latencies (p50, p99) below. */
#include "tools/officer/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    WIDTH = 760,
    HEIGHT = 600,
    LEFT = 80,
    RIGHT = 24,
    TOP = 60,
    PANEL = 200,
    GAP = 60,
    TICKS = 5,
};

struct panel {
    double top, min, max; /* upper edge in the picture; what the panel reaches from and to */
    bool logarithmic;     /* from decade to decade: a p99 may be a hundred times the p50 */
    const char *title;
};

/* 1, 2 or 5 times a power of ten, so that `count` of them reach value. */
static double tick(double value, int count)
{
    static const double steps[] = {1, 2, 5, 10};
    double power = 1e-6;

    if (value <= 0)
        return 1;
    for (;;) {
        for (size_t i = 0; i < MM_ARRAY_SIZE(steps); i++)
            if (steps[i] * power * count >= value)
                return steps[i] * power;
        power *= 10;
    }
}

static double x_of(size_t i, size_t n)
{
    const double room = WIDTH - LEFT - RIGHT;

    return LEFT + room * ((double)i + 0.5) / (double)n;
}

static double y_of(const struct panel *p, double value)
{
    double part = (value - p->min) / (p->max - p->min);

    if (p->logarithmic)
        part = log10((value > p->min ? value : p->min) / p->min) / log10(p->max / p->min);
    return p->top + PANEL - PANEL * part;
}

static void escaped(struct mm_buf *svg, const char *text)
{
    for (; *text; text++) {
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            mm_buf_printf(svg, "&#%d;", *text);
        else
            mm_buf_append_u8(svg, (unsigned char)*text < 0x20 ? '?' : (uint8_t)*text);
    }
}

static void frame(struct mm_buf *svg, const struct panel *p, const struct mm_bench_step *steps,
                  size_t n)
{
    const double step = tick(p->max, TICKS);
    double at = p->min;

    mm_buf_printf(svg, "<text x=\"%d\" y=\"%.1f\" font-weight=\"bold\">%s</text>\n", LEFT,
                  p->top - 10, p->title);
    while (at <= p->max * 1.0001) {
        const double y = y_of(p, at);

        mm_buf_printf(svg,
                      "<path d=\"M%d %.1fH%d\" stroke=\"%s\"/><text x=\"%d\" y=\"%.1f\" "
                      "text-anchor=\"end\">%g</text>\n",
                      LEFT, y, WIDTH - RIGHT, at > p->min ? "#ccc" : "#000", LEFT - 8, y + 4, at);
        at = p->logarithmic ? at * 10 : at + step;
    }
    for (size_t i = 0; i < n; i++)
        mm_buf_printf(svg,
                      "<path d=\"M%.1f %.1fv5\" stroke=\"#000\"/><text x=\"%.1f\" y=\"%.1f\" "
                      "text-anchor=\"middle\">%u</text>\n",
                      x_of(i, n), p->top + PANEL, x_of(i, n), p->top + PANEL + 20,
                      steps[i].workers);
}

static double value_of(const struct mm_bench_step *step, char what)
{
    return what == 'r' ? step->rate : what == '5' ? step->p50_ms : step->p99_ms;
}

/* Lines differ in dashes and marks, not in colour alone. */
static void line(struct mm_buf *svg, const struct panel *p, const struct mm_bench_step *steps,
                 size_t n, char what, const char *colour)
{
    mm_buf_printf(svg, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s d=\"", colour,
                  what == '9' ? " stroke-dasharray=\"7 4\"" : "");
    for (size_t i = 0; i < n; i++)
        mm_buf_printf(svg, "%c%.1f %.1f", i ? 'L' : 'M', x_of(i, n),
                      y_of(p, value_of(&steps[i], what)));
    mm_buf_append_str(svg, "\"/>\n");
    for (size_t i = 0; i < n; i++) {
        const double x = x_of(i, n), y = y_of(p, value_of(&steps[i], what));

        if (what == '9')
            mm_buf_printf(svg, "<path fill=\"%s\" d=\"M%.1f %.1fh8v8h-8z\"/>\n", colour, x - 4,
                          y - 4);
        else
            mm_buf_printf(svg, "<circle fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", colour, x,
                          y);
        mm_buf_printf(svg,
                      "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"11\">"
                      "%.*f</text>\n",
                      x, what == '5' ? y + 17 : y - 9, what == 'r' ? 0 : 2,
                      value_of(&steps[i], what));
    }
}

static void legend(struct mm_buf *svg, double y)
{
    mm_buf_printf(svg,
                  "<path stroke=\"#1f5f8b\" stroke-width=\"2\" d=\"M%d %.1fh30\"/>"
                  "<circle fill=\"#1f5f8b\" cx=\"%d\" cy=\"%.1f\" r=\"4\"/>"
                  "<text x=\"%d\" y=\"%.1f\">p50</text>\n",
                  WIDTH - 200, y, WIDTH - 185, y, WIDTH - 162, y + 4);
    mm_buf_printf(svg,
                  "<path stroke=\"#a33\" stroke-width=\"2\" stroke-dasharray=\"7 4\" "
                  "d=\"M%d %.1fh30\"/><path fill=\"#a33\" d=\"M%d %.1fh8v8h-8z\"/>"
                  "<text x=\"%d\" y=\"%.1f\">p99</text>\n",
                  WIDTH - 110, y, WIDTH - 99, y - 4, WIDTH - 72, y + 4);
}

/* Makes the panel's decades reach around the value, and room for the numbers beside it. */
static void widen(struct panel *p, double value)
{
    while (value > 0.001 && p->min > value / 2)
        p->min /= 10;
    while (p->max < value * 2)
        p->max *= 10;
}

int mm_bench_plot(const struct mm_bench_step *steps, size_t n, size_t recommended,
                  const char *title, struct mm_buf *svg, struct mm_errinfo *ei)
{
    struct panel rate = {TOP + 20, 0, 0, false, "a second, all workers together"};
    struct panel latency = {TOP + 20 + PANEL + GAP, 1000, 0.001, true, "latency of one, ms"};

    for (size_t i = 0; i < n; i++) {
        rate.max = steps[i].rate > rate.max ? steps[i].rate : rate.max;
        widen(&latency, steps[i].p50_ms);
        widen(&latency, steps[i].p99_ms);
    }
    /* Room above the highest mark for its number. */
    rate.max = rate.max > 0 ? rate.max * 1.15 : 1;
    mm_buf_printf(svg,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
                  "height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
                  "<text x=\"%d\" y=\"30\" font-size=\"17\" font-weight=\"bold\">",
                  WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    escaped(svg, title);
    mm_buf_append_str(svg, "</text>\n");
    mm_buf_printf(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"44\" height=\"%.1f\" fill=\"#eee\"/>\n",
                  x_of(recommended, n) - 22, rate.top, latency.top + PANEL - rate.top);
    frame(svg, &rate, steps, n);
    frame(svg, &latency, steps, n);
    line(svg, &rate, steps, n, 'r', "#1f5f8b");
    line(svg, &latency, steps, n, '5', "#1f5f8b");
    line(svg, &latency, steps, n, '9', "#a33");
    legend(svg, latency.top - 14);
    mm_buf_printf(svg,
                  "<text x=\"%d\" y=\"%.1f\">workers (shaded: recommended, workers = %u)</text>\n",
                  LEFT, latency.top + PANEL + 44, steps[recommended].workers);
    mm_buf_append_str(svg, "</svg>\n");
    return mm_buf_err(svg) < 0 ? mm_fail_memory(ei) : MM_OK;
}
