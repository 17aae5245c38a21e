/* SPDX-License-Identifier: Apache-2.0 */
/* A line a metric at the end, and above it what collects its samples. Labels come from closed sets:
 * RPCs, gRPC statuses, protections, reasons of a drain. */
#include "daemon/front/metrics_transport.h"

#define ONE(value) ((const char *const[]){value})

static struct mm_server_stats stats_of(const void *source)
{
    struct mm_server_stats stats;

    mm_server_stats(source, &stats);
    return stats;
}

/* "mintmark.v1.StationService/Ping" */
static const char *method_name(const struct mm_method *m)
{
    return m->rpc ? m->rpc->path + 1 : "unknown";
}

/* OK is always there, so that rates have a beginning; the other statuses once they have come. */
static void calls(struct mm_exposition *e, const void *source)
{
    size_t n;
    const struct mm_method *m = mm_server_methods(source, &n);

    for (; n > 0; n--, m++) {
        for (size_t status = 0; status < MM_GRPC_STATUSES; status++) {
            const char *values[] = {method_name(m),
                                    mm_grpc_status_name((enum mm_grpc_status)status)};

            if (m->statuses[status] > 0 || status == MM_GRPC_OK)
                mm_sample(e, values, m->statuses[status]);
        }
    }
}

static void call_seconds(struct mm_exposition *e, const void *source)
{
    size_t n;
    const struct mm_method *m = mm_server_methods(source, &n);

    for (; n > 0; n--, m++)
        mm_sample_histogram(e, ONE(method_name(m)), &m->latency);
}

static void calls_in_flight(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).calls_in_flight);
}

static void connections(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).connections);
}

static void connections_total(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).connections_total);
}

static void connections_refused(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).connections_refused);
}

static void handshakes_failed(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).handshakes_failed);
}

static void received_bytes(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).received_bytes);
}

static void sent_bytes(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).sent_bytes);
}

static void limit_hits(struct mm_exposition *e, const void *source)
{
    static const char *const names[] = {
        [MM_LIMIT_CONNECTIONS] = "connections",
        [MM_LIMIT_HANDSHAKES] = "handshakes",
        [MM_LIMIT_HANDSHAKE_TIME] = "handshake_time",
        [MM_LIMIT_WRITE_STALL] = "write_stall",
        [MM_LIMIT_KEEPALIVE] = "keepalive",
        [MM_LIMIT_RESETS] = "resets",
        [MM_LIMIT_SETTINGS] = "settings",
        [MM_LIMIT_EMPTY_DATA] = "empty_data",
        [MM_LIMIT_WINDOW_UPDATES] = "window_updates",
        [MM_LIMIT_OTHER_FRAMES] = "other_frames",
        [MM_LIMIT_PINGS] = "pings",
        [MM_LIMIT_PROTOCOL] = "protocol",
        [MM_LIMIT_STREAMS] = "streams",
        [MM_LIMIT_REQUEST_TIME] = "request_time",
        [MM_LIMIT_HEADER_LIST] = "header_list",
        [MM_LIMIT_MESSAGE_SIZE] = "message_size",
        [MM_LIMIT_RECEIVE] = "receive",
        [MM_LIMIT_RECEIVE_TOTAL] = "receive_total",
        [MM_LIMIT_MESSAGE_FIELDS] = "message_fields",
        [MM_LIMIT_STRINGS] = "strings",
    };
    const struct mm_server_stats stats = stats_of(source);

    static_assert(MM_ARRAY_SIZE(names) == MM_LIMITS, "every protection has a name");
    for (size_t i = 0; i < MM_LIMITS; i++)
        mm_sample(e, ONE(names[i]), stats.limits[i]);
}

static void drains(struct mm_exposition *e, const void *source)
{
    const struct mm_server_stats stats = stats_of(source);

    for (size_t i = 0; i < MM_DRAINS; i++)
        mm_sample(e, ONE(mm_drain_names[i]), stats.drains[i]);
}

static void waits(struct mm_exposition *e, const void *source)
{
    mm_sample(e, NULL, stats_of(source).waits);
}

static void gzip_messages(struct mm_exposition *e, const void *source)
{
    const struct mm_gzip_stats gzip = stats_of(source).gzip;
    const struct {
        const char *labels[MM_METRIC_LABELS];
        uint64_t n;
    } samples[] = {{{"received", "inflated"}, gzip.inflated},
                   {{"received", "refused"}, gzip.refused},
                   {{"sent", "compressed"}, gzip.compressed},
                   {{"sent", "plain"}, gzip.plain}};

    for (size_t i = 0; i < MM_ARRAY_SIZE(samples); i++)
        mm_sample(e, samples[i].labels, samples[i].n);
}

static void gzip_saved(struct mm_exposition *e, const void *source)
{
    const struct mm_gzip_stats gzip = stats_of(source).gzip;

    mm_sample(e, ONE("received"), gzip.received_saved_bytes);
    mm_sample(e, ONE("sent"), gzip.sent_saved_bytes);
}

const struct mm_metric mm_transport_metrics[] = {
    {"mintmark_calls_total", MM_COUNTER, "Calls that ended.", {"method", "status"}, calls},
    {"mintmark_call_seconds",
     MM_HISTOGRAM,
     "From a call's headers to the end of its stream.",
     {"method"},
     call_seconds},
    {"mintmark_calls_in_flight", MM_GAUGE, "Calls that run.", {NULL}, calls_in_flight},
    {"mintmark_connections", MM_GAUGE, "Connections of clients.", {NULL}, connections},
    {"mintmark_connections_total", MM_COUNTER, "Connections accepted.", {NULL}, connections_total},
    {"mintmark_connections_refused_total",
     MM_COUNTER,
     "Connections closed for being too many.",
     {NULL},
     connections_refused},
    {"mintmark_handshakes_failed_total",
     MM_COUNTER,
     "TLS handshakes that failed.",
     {NULL},
     handshakes_failed},
    {"mintmark_received_bytes_total",
     MM_COUNTER,
     "HTTP/2 bytes from clients, inside TLS.",
     {NULL},
     received_bytes},
    {"mintmark_sent_bytes_total",
     MM_COUNTER,
     "HTTP/2 bytes to clients, inside TLS.",
     {NULL},
     sent_bytes},
    {"mintmark_limit_hits_total",
     MM_COUNTER,
     "Peers and calls that ran into a protection.",
     {"limit"},
     limit_hits},
    {"mintmark_connections_drained_total",
     MM_COUNTER,
     "Connections that were asked to end.",
     {"reason"},
     drains},
    {"mintmark_call_waits_total",
     MM_COUNTER,
     "Times that a call waited until its client had read.",
     {NULL},
     waits},
    {"mintmark_gzip_messages_total",
     MM_COUNTER,
     "Messages of the gzip coding.",
     {"direction", "outcome"},
     gzip_messages},
    {"mintmark_gzip_saved_bytes_total",
     MM_COUNTER,
     "Bytes that gzip kept off the wire.",
     {"direction"},
     gzip_saved},
};
const size_t mm_n_transport_metrics = MM_ARRAY_SIZE(mm_transport_metrics);
