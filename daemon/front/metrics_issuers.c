/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes of each EJBCA, as their workers said last. Labels are of the configuration. */
#include "daemon/front/metrics_issuers.h"

#include "daemon/front/app.h"

struct nodes {
    struct mm_exposition *e;
    void (*sample)(struct mm_exposition *e, const char *const *labels,
                   const struct mm_issuer_node *node);
};

static void add_node(void *arg, const struct mm_issuer_node *node)
{
    const struct nodes *n = arg;
    const char *const labels[] = {node->issuer, node->name};

    n->sample(n->e, labels, node);
}

static void each_node(struct mm_exposition *e, const void *source,
                      void (*sample)(struct mm_exposition *e, const char *const *labels,
                                     const struct mm_issuer_node *node))
{
    struct nodes n = {e, sample};

    mm_issuers_each_node(((const struct mm_app *)source)->issuers, NULL, add_node, &n);
}

static void sample_up(struct mm_exposition *e, const char *const *labels,
                      const struct mm_issuer_node *node)
{
    mm_sample(e, labels, node->breaker == MINTMARK__INTERNAL__ISSUER_STATE__BREAKER__CLOSED);
}

static void sample_limit(struct mm_exposition *e, const char *const *labels,
                         const struct mm_issuer_node *node)
{
    mm_sample(e, labels, node->limit);
}

static void sample_in_flight(struct mm_exposition *e, const char *const *labels,
                             const struct mm_issuer_node *node)
{
    mm_sample(e, labels, node->in_flight);
}

static void sample_latency(struct mm_exposition *e, const char *const *labels,
                           const struct mm_issuer_node *node)
{
    mm_sample_seconds(e, labels, node->latency_us);
}

static void sample_requests(struct mm_exposition *e, const char *const *labels,
                            const struct mm_issuer_node *node)
{
    mm_sample(e, labels, node->requests);
}

static void sample_failures(struct mm_exposition *e, const char *const *labels,
                            const struct mm_issuer_node *node)
{
    mm_sample(e, labels, node->failures);
}

static void up(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_up);
}

static void limit(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_limit);
}

static void in_flight(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_in_flight);
}

static void latency(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_latency);
}

static void requests(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_requests);
}

static void failures(struct mm_exposition *e, const void *source)
{
    each_node(e, source, sample_failures);
}

const struct mm_metric mm_issuer_metrics[] = {
    {"mintmark_issuer_node_up",
     MM_GAUGE,
     "Is the node of EJBCA in use: its breaker is closed.",
     {"issuer", "node"},
     up},
    {"mintmark_issuer_node_limit",
     MM_GAUGE,
     "Requests that may be in flight to the node.",
     {"issuer", "node"},
     limit},
    {"mintmark_issuer_node_in_flight",
     MM_GAUGE,
     "Requests in flight to the node.",
     {"issuer", "node"},
     in_flight},
    {"mintmark_issuer_node_latency_seconds",
     MM_GAUGE,
     "How long the node takes for an enrolment, smoothed.",
     {"issuer", "node"},
     latency},
    {"mintmark_issuer_node_requests_total",
     MM_COUNTER,
     "Requests sent to the node since its worker's start.",
     {"issuer", "node"},
     requests},
    {"mintmark_issuer_node_failures_total",
     MM_COUNTER,
     "Those that failed by the node's fault.",
     {"issuer", "node"},
     failures},
};
const size_t mm_n_issuer_metrics = MM_ARRAY_SIZE(mm_issuer_metrics);
