/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration as all processes see it: plain values, checked, with defaults filled in. One
 * schema table (schema.c) drives the parser, the defaults, the range checks, --dump-config and the
 * test that holds mintmark.conf(5) against it.
 *
 * A struct mm_conf is immutable once loaded. Strings are never NULL: what is not set is "".
 * Relative paths in the file are taken from the file's own folder; here all paths are absolute.
 */
#pragma once

#include "daemon/base/buf.h"
#include "daemon/base/err.h"
#include "daemon/base/limits.h"
#include "daemon/base/log.h"

#include <stdbool.h>
#include <stdio.h>

/* Roles are a bit set; the names in the file are "station", "officer", "auditor", "monitor". */
enum mm_role {
    MM_ROLE_STATION = 1,
    MM_ROLE_OFFICER = 2,
    MM_ROLE_AUDITOR = 4,
    MM_ROLE_MONITOR = 8,
    MM_ROLE_ALL = 15,
};

struct mm_conf_listen {
    int line;
    char *address;     /* numeric IPv4 or IPv6; default 127.0.0.1 */
    unsigned port;     /* 0..65535, default 7443; 0: the kernel chooses, and the log says which */
    char *certificate; /* PEM file: server certificate, then its chain */
    char *key;         /* PEM file of its private key, mode 0600 or stricter */
    char *client_ca;   /* PEM file: CAs whose client certificates are taken */
};

/* client "NAME" { uri = 'urn:…' or subject = 'CN=…'; roles = {'station'} } */
struct mm_conf_client {
    char *name;
    int line;      /* of the file, where the section begins */
    char *uri;     /* SAN uniformResourceIdentifier, compared byte for byte; or */
    char *subject; /* subject DN, RFC 2253 as OpenSSL's XN_FLAG_RFC2253 prints it */
    unsigned roles;
};

struct mm_conf_token {
    char *name;
    int line;
    char *module;   /* path of the PKCS#11 module */
    char *uri;      /* RFC 7512 URI that selects the token: token=, serial=, manufacturer=… */
    char *pin_file; /* path; or */
    char *pin_credential; /* name of a systemd credential (LoadCredential=); or neither: refused */
    unsigned workers;     /* processes; 0 (default): one per core */
    char **environment;   /* "NAME=value", for the module only, e.g. SOFTHSM2_CONF */
    size_t n_environment;
    char *parameters; /* text for the module's C_Initialize (pReserved); "": none */
    bool network; /* the module reaches its HSM over a network; default false: sockets refused */
    unsigned job_timeout_ms; /* a job that takes longer gets its worker killed; default 10000 */
};

struct mm_conf_store {
    int line;
    char *path;              /* SQLite database file, on a local file system */
    unsigned keep_keys_days; /* after a batch's release; 0: for ever; default 0 */
};

/* Who the appliance is, and how its ledger is held fast: docs/ledger.md. */
struct mm_conf_appliance {
    int line;
    bool given;                 /* the section is in the file; otherwise nothing is anchored */
    char *token;                /* name of a token section */
    char *identity_key;         /* label of a P-256 key in it; default mintmark-identity */
    char *audit_key;            /* the same; default mintmark-audit */
    char *identity_certificate; /* PEM file */
    char *audit_certificate;    /* PEM file */
    char *oem_certificates;     /* PEM file: whose signatures on orders count; "" */
    char *officer_certificates; /* PEM file: whose signatures on an unlock count; "" */
    char *exchange_key; /* label of the key that opens packages; default mintmark-exchange */
    char *exchange_certificate;  /* PEM file: its certificate; "" */
    char *exchange_folder;       /* where what arrives in packages is kept; "" */
    unsigned anchor_devices;     /* spent at most beyond the last anchor; default 4096 */
    unsigned anchor_seconds;     /* a new anchor after so long, if anything changed; default 60 */
    unsigned unclean_starts_max; /* then the service locks; default 16 */
};

/* What plant operators read: daemon/front/monitor.h. */
struct mm_conf_metrics {
    int line;
    bool given;    /* the section is in the file; otherwise there is no such listener */
    char *address; /* numeric; default 127.0.0.1; loopback only, unless remote */
    unsigned port; /* 0..65535, default 9464; 0: the kernel chooses, and the log says which */
    bool remote;   /* default false */
};

/* A key in a token that device keys are wrapped under. */
struct mm_conf_transport {
    char *name;
    int line;
    char **tokens; /* setting token: names of token sections, each with this key; at least one */
    size_t n_tokens;
    char *key;         /* RFC 7512 URI of an AES-256 secret key: pkcs11:object=… */
    const char *token; /* tokens[0] */
};

/* An issuing CA. kind "local": the CA's key is in a token. kind "ejbca": an EJBCA has it, and the
 * appliance is its Registration Authority (daemon/issuer/). */
struct mm_conf_issuer {
    char *name;
    int line;
    char *kind;    /* "local" (default) or "ejbca" */
    char **tokens; /* local, setting token: the token sections that have the key */
    size_t n_tokens;
    const char *token; /* tokens[0]; "" without */
    char *key;         /* local: RFC 7512 URI of the CA's private key */
    char *certificate; /* PEM file: the issuing CA's certificate, then its chain up to the root */
    char *backup;      /* local: of the key: "never" (default), "allowed" or "required" */

    /* The rest is for ejbca. */
    char **nodes; /* URLs of its REST API, tried in this order; at least one */
    size_t n_nodes;
    char *server_ca;                  /* PEM file: the CAs of the nodes' own certificates */
    char *client_p12;                 /* PKCS#12 file of the appliance's key and certificate; or */
    char *client_key;                 /* RFC 7512 URI of the key, and */
    char *client_token;               /* the token section that has it, and */
    char *client_certificate;         /* PEM file: its certificate, then its chain */
    char *client_password_file;       /* of the PKCS#12 file; or */
    char *client_password_credential; /* name of a systemd credential */
    unsigned requests_start;          /* in flight to a node, at first; default 4 */
    unsigned requests_max;            /* and at the most; default 24 */
    unsigned jobs;                /* that the worker has; default 0: 4 × what may be in flight */
    unsigned per_s;               /* devices given to it in a second; default 0: no bound */
    unsigned connect_timeout_ms;  /* default 5000 */
    unsigned request_timeout_ms;  /* default 30000 */
    unsigned breaker_failures;    /* in a row that take a node out of use; default 5 */
    unsigned breaker_wait_ms;     /* until it is tried again; doubles; default 1000 */
    unsigned breaker_wait_max_ms; /* but no more than this; default 60000 */
};

/* Is it one whose certificates come from an EJBCA? */
static inline bool mm_conf_issuer_is_ejbca(const struct mm_conf_issuer *issuer)
{
    return issuer && issuer->kind[0] == 'e';
}

struct mm_conf_item {
    char *name;
    int line;
    char *file;         /* content to deliver, at most MM_ITEM_INLINE_MAX; or */
    char *reference;    /* where the station finds it */
    char *sha256;       /* of a referenced item: 64 hex digits */
    unsigned long size; /* of a referenced item, bytes */
};

/* A kind of identity. daemon/pki/profile.h compiles it. */
struct mm_conf_profile {
    char *name;
    int line;
    char *preset;  /* "matter-dac", "ieee8021ar-idevid", "matter-pai", "matter-paa" or "" */
    char *issuer;  /* name of an issuer section, or "none": a CSR in place of a certificate */
    char **tokens; /* setting token: where device keys are made; default: where the issuer's key
                    * is, or the only one. At least one once the file is checked */
    size_t n_tokens;
    char *token;    /* tokens[0] */
    char *key;      /* "p256" (default), "p384", "ed25519", "mldsa44", "mldsa65" or "mldsa87" */
    char *delivery; /* "wrapped" (default), "retained", "plain" or "on-device" */
    unsigned keys_ahead; /* pairs that each idle worker makes in advance; default 0 */
    char *manifest;      /* of released batches: "none" (default) or "jws" */
    char *transport;     /* name of a transport section; for "wrapped" */
    char *subject;       /* template, e.g. 'CN=WifiFireAlarm_${number:20},VID=${vid},PID=${pid}' */
    char *san; /* comma-separated templates: 'DNS:…', 'URI:…', 'hwmodule:OID:${hw_serial}' */
    char *vid; /* 4 upper-case hexadecimal digits */
    char *pid;
    char *not_before; /* "now" (default) or YYYYMMDDHHMMSSZ */
    char *validity;   /* "20y", "365d", "12h", or YYYYMMDDHHMMSSZ, e.g. 99991231235959Z */
    char **key_usage; /* RFC 5280 names: digitalSignature, keyCertSign, … */
    size_t n_key_usage;
    char **extended_key_usage; /* OIDs or OpenSSL short names */
    size_t n_extended_key_usage;
    /* "end-entity" (default), "none", "ca", "ca:0", "ca:1"; "" when the preset decides */
    char *basic_constraints;
    bool subject_key_identifier;   /* default true */
    bool authority_key_identifier; /* default true */

    /* For an issuer of kind ejbca. */
    bool ejbca; /* its issuer is one: not a setting, found when the file is checked */
    char *ca;   /* names in EJBCA: of the CA, */
    char *certificate_profile; /* the certificate profile */
    char *end_entity_profile;  /* and the end entity profile */
    char *username;            /* template of the end entity's name; default '${device_uid}' */
    bool include_chain;        /* ask for the chain with each certificate; default false */
    char *when_away;           /* EJBCA is: "wait" (default) or "fail" */
    unsigned waiting_max;      /* devices that wait for their certificate; default 100000 */
    bool revoke_bad;           /* certificates that fail the check; default true */
    bool revoke_ko;            /* those of devices reported KO; default false */

    struct mm_conf_item *items;
    size_t n_items;
};

/* A key in a token that signs what clients bring: firmware, for one. */
struct mm_conf_signing {
    char *name;
    int line;
    char *token;
    char *key;         /* RFC 7512 URI of the private key; no issuer's */
    char *curve;       /* "p256" (default), "p384" or "ed25519" */
    char **mechanisms; /* names of daemon/conf/mechanism.h, at least one */
    size_t n_mechanisms;
    char **clients; /* names of client sections with the role station, at least one */
    size_t n_clients;
    char *certificate; /* PEM file: the key's certificate, then its chain; "": none */
};

struct mm_conf_limits {
    int line;
    unsigned connections;            /* default 256, at most MM_CONNECTIONS_MAX */
    unsigned streams_per_connection; /* default 64, at most MM_STREAMS_PER_CONNECTION */
    unsigned calls_per_client;       /* Provision calls in flight per client; default 16 */
    unsigned jobs_per_worker;        /* at a worker at a time; default 0: 2, or 1 of many workers */
    unsigned jobs_per_client;        /* that workers have at once; default 0: mm_app_limit_jobs */
    unsigned jobs;                   /* the same, of all clients */
    unsigned queue_per_client;       /* jobs waiting for a token worker; default 4096 */
    unsigned queue;                  /* the same, of all clients; default 16384 */
    unsigned drain_timeout_ms;       /* SIGTERM to the end; default 30000 */
    unsigned handshake_timeout_ms;   /* default 10000 */
    unsigned idle_timeout_ms;        /* a connection without calls; default 0: for days */
    unsigned connection_age_ms;      /* then it is drained, give or take 10 %; default 0: never */
    unsigned keepalive_ms;           /* silence until the server asks; default 300000; 0: never */
    unsigned keepalive_timeout_ms;   /* for the answer; default 20000 */
    unsigned ping_interval_ms;       /* between a client's pings, at least; default 10000 */
    unsigned write_stall_ms;         /* a socket that takes nothing is closed; default 30000 */
    unsigned request_timeout_ms;     /* for what has begun of a request; default 60000; 0: any */
};

struct mm_conf {
    char *path; /* of the file, absolute */
    char *site; /* name of the site; default "mintmark" */
    enum mm_log_level log_level;
    struct mm_conf_listen listen;
    struct mm_conf_store store;
    struct mm_conf_limits limits;
    struct mm_conf_metrics metrics;
    struct mm_conf_appliance appliance;
    struct mm_conf_token *tokens;
    size_t n_tokens;
    struct mm_conf_transport *transports;
    size_t n_transports;
    struct mm_conf_issuer *issuers;
    size_t n_issuers;
    struct mm_conf_profile *profiles;
    size_t n_profiles;
    struct mm_conf_signing *signings;
    size_t n_signings;
    struct mm_conf_client *clients;
    size_t n_clients;
};

/* A variable that no exchange package has brought: refused, or left as it stands, for the tools
 * with which a site is set up before its first package. */
enum mm_unset { MM_UNSET_REFUSED, MM_UNSET_KEPT };

/* Appends the file's text, at most MM_CONF_FILE_MAX bytes, to text, which is empty. Each
 * ${exchange:NAME} has become what the file variables/NAME below appliance.exchange_folder holds;
 * lines stay where they are. Errors as of mm_conf_parse. */
int mm_conf_read(const char *path, enum mm_unset unset, struct mm_buf *text,
                 struct mm_errinfo *ei) MM_MUST_USE;
/* Parses text (its length without a NUL) as the file at path. On failure *ei has one sentence:
 * "FILE:LINE: what is wrong, and what would be right". Main thread only (libconfuse's lexer is
 * global). Checks what can be checked without opening other files; see mm_conf_check_files. */
int mm_conf_parse(const char *path, const char *text, size_t len, struct mm_conf **ret_conf,
                  struct mm_errinfo *ei) MM_MUST_USE;
/* Both, with unset variables kept. */
int mm_conf_load(const char *path, struct mm_conf **ret_conf, struct mm_errinfo *ei) MM_MUST_USE;
void mm_conf_free(struct mm_conf *conf);
MM_DEFINE_CLEANUP(struct mm_conf *, mm_conf_free)
#define MM_CONF_CLEANUP MM_CLEANUP(mm_conf_free_p)

/* Every file that the configuration names is there and readable, secrets are not readable by
 * others. What --check-config adds to parsing. Errors as above, with the line of the section. */
int mm_conf_check_files(const struct mm_conf *conf, struct mm_errinfo *ei) MM_MUST_USE;

/* May a running service go from one to the other? MM_ERR_PRECONDITION NOT_RELOADABLE names the
 * setting that takes a restart. */
int mm_conf_check_reload(const struct mm_conf *running, const struct mm_conf *next,
                         struct mm_errinfo *ei) MM_MUST_USE;

/* Writes the whole configuration with its defaults, in the file's own syntax; parsing it again
 * gives the same. */
int mm_conf_dump(const struct mm_conf *conf, FILE *out, struct mm_errinfo *ei) MM_MUST_USE;

/* By name; NULL if there is none. Borrowed. */
const struct mm_conf_token *mm_conf_token_get(const struct mm_conf *c, const char *name);
const struct mm_conf_transport *mm_conf_transport_get(const struct mm_conf *c, const char *name);
const struct mm_conf_issuer *mm_conf_issuer_get(const struct mm_conf *c, const char *name);
const struct mm_conf_profile *mm_conf_profile_get(const struct mm_conf *c, const char *name);
const struct mm_conf_signing *mm_conf_signing_get(const struct mm_conf *c, const char *name);

/* Are device keys of the profile made in that token section? */
bool mm_conf_profile_in_token(const struct mm_conf_profile *p, const char *token);

/* May that client have it sign, and by that mechanism? */
bool mm_conf_signing_client(const struct mm_conf_signing *s, const char *client);
bool mm_conf_signing_mechanism(const struct mm_conf_signing *s, const char *mechanism);
