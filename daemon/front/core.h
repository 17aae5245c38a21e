/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all HTTP/2 sessions of a server share. No I/O: a session (h2.h) on a core takes bytes and
 * gives bytes, so that tests and fuzzers drive it without a socket.
 */
#pragma once

#include "daemon/front/bucket.h"
#include "daemon/front/call.h"
#include "daemon/front/descriptors.h"
#include "daemon/front/server.h"
#include "proto/grpc/arena.h"

#include <sys/queue.h>

struct mm_health_entry;
TAILQ_HEAD(mm_health_entries, mm_health_entry);

struct mm_core {
    /* The server's RPCs and the built-in ones, by path, and one more for what is none of them. */
    struct mm_method *methods;
    size_t n_methods; /* without that one */
    void *app;
    const struct mm_descriptors *descriptors;
    const char **services; /* full names in methods, each once */
    size_t n_services;
    struct mm_health_entry *health;       /* [0] is "", then as services */
    struct mm_health_entries more_health; /* beside them: mm_health_replace */
    size_t n_more_health;
    size_t message_max; /* bytes of a request message */
    bool bare_errors;   /* no google.rpc details with a struct mm_errinfo */
    unsigned max_streams;
    unsigned idle_timeout_ms; /* this and the next two, 0: never */
    unsigned connection_age_ms;
    unsigned keepalive_ms;
    unsigned keepalive_timeout_ms;
    unsigned ping_interval_ms;
    unsigned request_timeout_ms; /* 0: never */
    uint32_t last_connection;    /* number of the newest session */
    struct mm_arena arena;       /* of the request message that is being handled */
    size_t receiving;            /* bytes of unfinished requests in all sessions */
    struct mm_server_stats stats;
    uint64_t last_call; /* number of the newest call */
    uint32_t epoch;     /* tells this process's call ids from those before a restart */
    struct mm_bucket log_bucket;
    uint64_t log_suppressed;
};

struct mm_core_options {
    const struct mm_rpc *rpcs; /* borrowed */
    size_t n_rpcs;
    void *app;
    const struct mm_descriptors *descriptors; /* borrowed */
    size_t message_max; /* bytes of a request message, inflated; 0: MM_GRPC_MESSAGE_MAX */
    bool bare_errors;
};

/* MM_ERR_INTERNAL when two RPCs share a path. */
int mm_core_new(const struct mm_core_options *options, struct mm_core **ret_core,
                struct mm_errinfo *ei) MM_MUST_USE;
void mm_core_free(struct mm_core *core);
MM_DEFINE_CLEANUP(struct mm_core *, mm_core_free)
#define MM_CORE_CLEANUP MM_CLEANUP(mm_core_free_p)

/* The RPC of a path; if there is none, the entry whose rpc is NULL. */
struct mm_method *mm_core_method(const struct mm_core *core, const char *path, size_t len);

/* Whether an event that a stranger can cause as often as he likes may still be logged; if so,
 * *ret_suppressed says how many were not since the last one. */
bool mm_core_may_log(struct mm_core *core, uint64_t *ret_suppressed);

struct mm_call;
struct mm_core *mm_call_core(const struct mm_call *call);

/* The built-in services, which serve whatever the state of the others, and hold up no drain. */
bool mm_core_is_builtin(const struct mm_rpc *rpc);
bool mm_core_is_builtin_service(const char *service);
extern const struct mm_rpc mm_health_rpcs[];
extern const size_t mm_n_health_rpcs;
extern const struct mm_rpc mm_reflection_rpcs[];
extern const size_t mm_n_reflection_rpcs;

TAILQ_HEAD(mm_health_watchers, mm_health_watcher);
struct mm_health_entry {
    const char *service;
    bool serving;
    struct mm_health_watchers watchers;
    /* Of more_health only. */
    TAILQ_ENTRY(mm_health_entry) link;
    char *name; /* service, owned */
    bool wanted;
};
/* Sets up core->health; the services must be known. */
int mm_health_init(struct mm_core *core) MM_MUST_USE;
void mm_health_done(struct mm_core *core);
/* Tells the watchers too. Names that are not known are ignored. */
void mm_health_set(struct mm_core *core, const char *service, bool serving);
/* Names that are no gRPC service's, all of them, in place of those of the last call. One that is
 * not among them any more is NOT_SERVING for those who watch it, and unknown to others. One that no
 * memory is left for stays unknown. */
void mm_health_replace(struct mm_core *core, const struct mm_health_state *states, size_t n);
/* Everything is NOT_SERVING from now on; watchers hear so. */
void mm_health_shutdown(struct mm_core *core);
