/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/conf/schema.h"

#include "daemon/conf/format.h"
#include "daemon/conf/mechanism.h"

#include <limits.h>
#include <string.h>

#define SINGLE(field) .offset = offsetof(struct mm_conf, field)
#define ARRAY(parent_struct, field, element)                                                       \
    .titled = true, .offset = offsetof(struct parent_struct, field),                               \
    .count_offset = offsetof(struct parent_struct, n_##field), .size = sizeof(struct element)

static const struct mm_section sections[MM_SECTIONS] = {
    [MM_SECTION_ROOT] = {.name = ""},
    [MM_SECTION_LISTEN] = {.name = "listen",
                           SINGLE(listen),
                           .help = "Where stations and officers connect."},
    [MM_SECTION_STORE] = {.name = "store",
                          SINGLE(store),
                          .help = "Where orders, batches and devices are recorded."},
    [MM_SECTION_LIMITS] = {.name = "limits", SINGLE(limits), .help = "What clients may use up."},
    [MM_SECTION_METRICS] = {.name = "metrics",
                            .optional = true,
                            SINGLE(metrics),
                            .help = "Where plant operators' tools read; without it, nowhere."},
    [MM_SECTION_APPLIANCE] = {.name = "appliance",
                              .optional = true,
                              SINGLE(appliance),
                              .help = "Who the appliance is, and how its ledger is anchored."},
    [MM_SECTION_TOKEN] = {.name = "token",
                          ARRAY(mm_conf, tokens, mm_conf_token),
                          .max = MM_TOKENS_MAX,
                          .help = "A PKCS#11 token, and the processes that work with it."},
    [MM_SECTION_TRANSPORT] = {.name = "transport",
                              ARRAY(mm_conf, transports, mm_conf_transport),
                              .max = MM_TRANSPORTS_MAX,
                              .help = "A key in a token that device keys are wrapped under."},
    [MM_SECTION_ISSUER] = {.name = "issuer",
                           ARRAY(mm_conf, issuers, mm_conf_issuer),
                           .max = MM_ISSUERS_MAX,
                           .help = "An issuing CA: its key is in a token, or an EJBCA has it."},
    [MM_SECTION_PROFILE] = {.name = "profile",
                            ARRAY(mm_conf, profiles, mm_conf_profile),
                            .max = MM_PROFILES_MAX,
                            .help = "A kind of identity."},
    [MM_SECTION_ITEM] = {.name = "item",
                         .parent = MM_SECTION_PROFILE,
                         ARRAY(mm_conf_profile, items, mm_conf_item),
                         .max = MM_ITEMS_MAX,
                         .help = "A named binary item that stations program with the identity."},
    [MM_SECTION_SIGNING] = {.name = "signing",
                            ARRAY(mm_conf, signings, mm_conf_signing),
                            .max = MM_SIGNINGS_MAX,
                            .help = "A key in a token that signs for clients: firmware, for one."},
    [MM_SECTION_CLIENT] = {.name = "client",
                           ARRAY(mm_conf, clients, mm_conf_client),
                           .max = MM_CLIENTS_MAX,
                           .help = "Who may call, and in which roles."},
};

static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const roles[] = {"station", "officer", "auditor", "monitor", NULL};
static const char *const presets[] = {"matter-paa", "matter-pai", "matter-dac", "ieee8021ar-idevid",
                                      NULL};
static const char *const kinds[] = {"local", "ejbca", NULL};
static const char *const backups[] = {"never", "allowed", "required", NULL};
static const char *const aways[] = {"wait", "fail", NULL};
static const char *const curves[] = {"p256", "p384", "ed25519", NULL};
static const char *const keys[] = {"p256",    "p384",    "ed25519", "mldsa44",
                                   "mldsa65", "mldsa87", NULL};
static const char *const manifests[] = {"none", "jws", NULL};
static const char *const deliveries[] = {"wrapped", "retained", "plain", "on-device", NULL};
static const char *const constraints[] = {"end-entity", "none", "ca", "ca:0", "ca:1", NULL};
/* RFC 5280 section 4.2.1.3 */
static const char *const key_usages[] = {
    "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
    "keyCertSign",      "cRLSign",        "encipherOnly",    "decipherOnly",     NULL};

#define PKCS11_URI                                                                                 \
    .min = 1, .max = MM_URI_MAX, .format = mm_format_pkcs11_uri,                                   \
    .expects = "an RFC 7512 URI, like 'pkcs11:object=my-key'"
#define A_NAME                                                                                     \
    .min = 1, .max = MM_NAME_MAX, .format = mm_format_name,                                        \
    .expects = "a name: letters, digits, '.', '_' and '-', at most 64"
#define AN_EJBCA_NAME                                                                              \
    .min = 1, .max = MM_ISSUER_NAME_MAX, .format = mm_format_printable,                            \
    .expects = "a name without control characters"
#define A_PATH .type = MM_SETTING_PATH, .min = 1, .max = PATH_MAX - 1

#define S(id, type_struct, field)                                                                  \
    .section = MM_SECTION_##id, .key = #field, .offset = offsetof(struct type_struct, field)
#define LISTEN(field)    S(LISTEN, mm_conf_listen, field)
#define STORE(field)     S(STORE, mm_conf_store, field)
#define LIMITS(field)    S(LIMITS, mm_conf_limits, field)
#define METRICS(field)   S(METRICS, mm_conf_metrics, field)
#define APPLIANCE(field) S(APPLIANCE, mm_conf_appliance, field)
#define TOKEN(field)     S(TOKEN, mm_conf_token, field)
#define TRANSPORT(field) S(TRANSPORT, mm_conf_transport, field)
#define ISSUER(field)    S(ISSUER, mm_conf_issuer, field)
#define PROFILE(field)   S(PROFILE, mm_conf_profile, field)
#define ITEM(field)      S(ITEM, mm_conf_item, field)
#define SIGNING(field)   S(SIGNING, mm_conf_signing, field)
#define CLIENT(field)    S(CLIENT, mm_conf_client, field)
#define LIST_OF(type_struct, field)                                                                \
    .type = MM_SETTING_LIST, .count_offset = offsetof(struct type_struct, n_##field)

/* `token` where it may be several: the same key is in each. */
#define TOKENS(id, type_struct)                                                                    \
    .section = MM_SECTION_##id, .key = "token", .offset = offsetof(struct type_struct, tokens),    \
    LIST_OF(type_struct, tokens), .max = MM_TOKENS_MAX, .format = mm_format_name,                  \
    .expects = "a name: letters, digits, '.', '_' and '-', at most 64"

static const struct mm_setting settings[] = {
    {S(ROOT, mm_conf, site), A_NAME, .fallback = "mintmark", .help = "Name of the site."},
    {S(ROOT, mm_conf, log_level), .type = MM_SETTING_LEVEL, .choices = levels, .fallback = "info",
     .help = "Least severe log lines that are written."},

    {LISTEN(address), .min = 1, .max = 64, .fallback = "127.0.0.1", .format = mm_format_address,
     .expects = "a numeric IPv4 or IPv6 address, like '127.0.0.1' or '::1'", .restart = true,
     .help = "Numeric address to listen on."},
    {LISTEN(port), .type = MM_SETTING_UINT, .max = 65535, .fallback = "7443", .restart = true,
     .help = "TCP port; 0: the kernel chooses, and the log says which."},
    {LISTEN(certificate), A_PATH, .required = true, .restart = true,
     .help = "PEM file of the server's certificate, then its chain."},
    {LISTEN(key), A_PATH, .required = true, .restart = true,
     .help = "PEM file of its private key; nobody else may read it."},
    {LISTEN(client_ca), A_PATH, .required = true, .restart = true,
     .help = "PEM file of the CAs whose client certificates are taken."},

    {STORE(path), A_PATH, .required = true, .restart = true,
     .help = "SQLite database file, on a local file system."},
    {STORE(keep_keys_days), .type = MM_SETTING_UINT, .max = 36500, .fallback = "0", .unit = "days",
     .restart = true,
     .help = "So long after a batch's release the private keys of its devices are kept; 0: for "
             "ever."},

    {LIMITS(connections), .type = MM_SETTING_UINT, .min = 1, .max = MM_CONNECTIONS_MAX,
     .fallback = "256", .help = "Connections at one time."},
    {LIMITS(streams_per_connection), .type = MM_SETTING_UINT, .min = 1,
     .max = MM_STREAMS_PER_CONNECTION, .fallback = "64",
     .help = "Calls at one time on one connection."},
    {LIMITS(calls_per_client), .type = MM_SETTING_UINT, .min = 1, .max = 1024, .fallback = "16",
     .help = "Provision calls at one time by one client."},
    {LIMITS(jobs_per_worker), .type = MM_SETTING_UINT, .max = 16, .fallback = "0",
     .help = "Jobs given to a token worker before its first answer; 0: two, or one of 8 workers or "
             "more."},
    {LIMITS(jobs_per_client), .type = MM_SETTING_UINT, .max = MM_JOBS_MAX, .fallback = "0",
     .help = "Jobs of one client that workers have at one time; 0: by the number of workers."},
    {LIMITS(jobs), .type = MM_SETTING_UINT, .max = MM_JOBS_MAX, .fallback = "0",
     .help = "The same of all clients; 0: by the number of workers."},
    {LIMITS(queue_per_client), .type = MM_SETTING_UINT, .min = 1, .max = MM_QUEUE_MAX,
     .fallback = "4096", .help = "Jobs of one client that wait for a token worker."},
    {LIMITS(queue), .type = MM_SETTING_UINT, .min = 1, .max = MM_QUEUE_MAX, .fallback = "16384",
     .help = "The same of all clients."},
    {LIMITS(drain_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 3600000,
     .fallback = "30000", .unit = "ms",
     .help = "From SIGTERM until calls that still run are cancelled."},
    {LIMITS(handshake_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 600000,
     .fallback = "10000", .unit = "ms", .help = "For a new connection's TLS handshake."},
    {LIMITS(idle_timeout_ms), .type = MM_SETTING_UINT, .max = 604800000, .fallback = "0",
     .unit = "ms", .help = "A connection without calls is closed after it; 0: never."},
    {LIMITS(connection_age_ms), .type = MM_SETTING_UINT, .max = 604800000, .fallback = "0",
     .unit = "ms",
     .help = "Clients are asked to connect anew after it, give or take 10 %; 0: never."},
    {LIMITS(keepalive_ms), .type = MM_SETTING_UINT, .max = 7200000, .fallback = "300000",
     .unit = "ms", .help = "A client silent for so long is asked whether it lives; 0: never."},
    {LIMITS(keepalive_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 600000,
     .fallback = "20000", .unit = "ms", .help = "For its answer; then the connection is closed."},
    {LIMITS(ping_interval_ms), .type = MM_SETTING_UINT, .max = 7200000, .fallback = "10000",
     .unit = "ms", .help = "Least time between pings of a client that is sent nothing."},
    {LIMITS(write_stall_ms), .type = MM_SETTING_UINT, .min = 100, .max = 600000,
     .fallback = "30000", .unit = "ms",
     .help = "A client that reads nothing of what is sent for so long is closed."},
    {LIMITS(request_timeout_ms), .type = MM_SETTING_UINT, .max = 3600000, .fallback = "60000",
     .unit = "ms",
     .help = "For a request's headers, or one of its messages, once begun; 0: any time."},

    {METRICS(address), .min = 1, .max = 64, .fallback = "127.0.0.1", .format = mm_format_address,
     .expects = "a numeric IPv4 or IPv6 address, like '127.0.0.1' or '::1'",
     .help = "Numeric address to listen on, a loopback one unless remote is set."},
    {METRICS(port), .type = MM_SETTING_UINT, .max = 65535, .fallback = "9464",
     .help = "TCP port; 0: the kernel chooses, and the log says which."},
    {METRICS(remote), .type = MM_SETTING_BOOL, .fallback = "false",
     .help = "Let address be one that other machines reach; anybody there may read."},

    {APPLIANCE(token), A_NAME, .required = true, .restart = true,
     .help = "The token section that holds the appliance's keys and the anchor."},
    {APPLIANCE(identity_key), A_NAME, .fallback = "mintmark-identity", .restart = true,
     .help = "Label of the key that says which appliance this is."},
    {APPLIANCE(audit_key), A_NAME, .fallback = "mintmark-audit",
     .help = "Label of the key that signs checkpoints and reports."},
    {APPLIANCE(identity_certificate), A_PATH, .required = true, .restart = true,
     .help = "PEM file of the identity key's certificate."},
    {APPLIANCE(audit_certificate), A_PATH, .required = true,
     .help = "PEM file of the audit key's certificate."},
    {APPLIANCE(oem_certificates), A_PATH,
     .help = "PEM file of those whose signatures on production orders count."},
    {APPLIANCE(officer_certificates), A_PATH,
     .help = "PEM file of those whose signatures unlock the service."},
    {APPLIANCE(exchange_key), A_NAME, .fallback = "mintmark-exchange",
     .help = "Label of the key that opens exchange packages."},
    {APPLIANCE(exchange_certificate), A_PATH,
     .help = "PEM file of the exchange key's certificate; mintmark-officer makes it."},
    {APPLIANCE(exchange_folder), A_PATH, .restart = true,
     .help = "Folder that mintmark-officer installs the contents of packages in."},
    {APPLIANCE(anchor_devices), .type = MM_SETTING_UINT, .min = 1024, .max = 1000000,
     .fallback = "4096", .unit = "devices", .restart = true,
     .help = "Most devices recorded beyond the last anchor in the token."},
    {APPLIANCE(anchor_seconds), .type = MM_SETTING_UINT, .min = 1, .max = 86400, .fallback = "60",
     .unit = "s", .help = "A change waits no longer than this for its anchor."},
    {APPLIANCE(unclean_starts_max), .type = MM_SETTING_UINT, .min = 1, .max = 1000,
     .fallback = "16", .restart = true,
     .help = "Starts after an unclean end until an officer has to unlock the service."},

    {TOKEN(module), A_PATH, .required = true, .help = "Path of the PKCS#11 module."},
    {TOKEN(uri), .min = 1, .max = MM_URI_MAX, .format = mm_format_token_uri,
     .expects = "an RFC 7512 URI of token, serial, manufacturer or model, never of a slot, like "
                "'pkcs11:token=factory'",
     .required = true,
     .help = "RFC 7512 URI that selects the token: token=, serial=, manufacturer=, model=."},
    {TOKEN(pin_file), A_PATH,
     .help = "File that holds the user PIN; nobody else may read it. This or pin_credential."},
    {TOKEN(pin_credential), A_NAME,
     .help = "Name of the systemd credential (LoadCredential=) that holds the user PIN."},
    {TOKEN(workers), .type = MM_SETTING_UINT, .max = MM_TOKEN_WORKERS_MAX, .fallback = "0",
     .help =
         "Processes that work with the token, a session each; 0: one for each processor core, or "
         "as many as an HSM takes, 32 at the most."},
    {TOKEN(environment), LIST_OF(mm_conf_token, environment), .max = 32,
     .format = mm_format_environment,
     .expects = "NAME=value, like 'SOFTHSM2_CONF=/etc/softhsm2.conf'",
     .help = "Environment of the module, a list of NAME=value."},
    {TOKEN(parameters), .max = MM_TOKEN_PARAMETERS_MAX,
     .help = "Text that the module is given at C_Initialize (pReserved), as NSS softokn wants it."},
    {TOKEN(network), .type = MM_SETTING_BOOL, .fallback = "false",
     .help = "Let the module open network sockets, to reach its HSM."},
    {TOKEN(job_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 3600000,
     .fallback = "10000", .unit = "ms",
     .help = "A worker whose job takes longer is killed and started again."},

    {TOKENS(TRANSPORT, mm_conf_transport), .required = true,
     .help = "The token section that holds the key; or a list of several that hold the same."},
    {TRANSPORT(key), PKCS11_URI, .required = true, .help = "RFC 7512 URI of an AES-256 key."},

    {ISSUER(kind), .type = MM_SETTING_CHOICE, .choices = kinds, .fallback = "local",
     .help = "Who has the CA's key: a token here, or an EJBCA."},
    {TOKENS(ISSUER, mm_conf_issuer),
     .help = "local: the token section that holds the CA's private key; or a list of several."},
    {ISSUER(key), PKCS11_URI, .help = "local: RFC 7512 URI of the CA's private key."},
    {ISSUER(certificate), A_PATH, .required = true,
     .help = "PEM file of the CA's certificate, then its chain up to the root."},
    {ISSUER(backup), .type = MM_SETTING_CHOICE, .choices = backups, .fallback = "never",
     .help = "local: whether the CA's key may be one that is backed up, or must have been."},
    {ISSUER(nodes), LIST_OF(mm_conf_issuer, nodes), .max = MM_ISSUER_NODES_MAX,
     .format = mm_format_https, .expects = "a URL, like 'https://ejbca.example:8443'",
     .help = "ejbca: URLs of its nodes, a list; the first that works is asked."},
    {ISSUER(server_ca), A_PATH,
     .help = "ejbca: PEM file of the CAs that the nodes' own certificates are from."},
    {ISSUER(client_p12), A_PATH,
     .help = "ejbca: PKCS#12 file of the appliance's key and certificate. This or client_key."},
    {ISSUER(client_password_file), A_PATH,
     .help = "ejbca: file that holds the PKCS#12 file's password; nobody else may read it."},
    {ISSUER(client_password_credential), A_NAME,
     .help = "ejbca: name of the systemd credential (LoadCredential=) that holds it."},
    {ISSUER(client_key), PKCS11_URI,
     .help = "ejbca: RFC 7512 URI of the appliance's private key for TLS, in a token."},
    {ISSUER(client_token), A_NAME, .help = "ejbca: the token section that holds client_key."},
    {ISSUER(client_certificate), A_PATH,
     .help = "ejbca: PEM file of client_key's certificate, then its chain."},
    {ISSUER(requests_start), .type = MM_SETTING_UINT, .min = 1, .max = MM_ISSUER_REQUESTS_MAX,
     .fallback = "4", .help = "ejbca: requests in flight to a node, to begin with."},
    {ISSUER(requests_max), .type = MM_SETTING_UINT, .min = 1, .max = MM_ISSUER_REQUESTS_MAX,
     .fallback = "24", .help = "ejbca: the same, at the most."},
    {ISSUER(jobs), .type = MM_SETTING_UINT, .max = MM_ISSUER_JOBS_MAX, .fallback = "0",
     .help = "ejbca: jobs that the worker has; 0: four times what may be in flight."},
    {ISSUER(per_s), .type = MM_SETTING_UINT, .max = MM_ISSUER_PER_S_MAX, .fallback = "0",
     .unit = "1/s",
     .help = "ejbca: devices given to it in a second, those that waited too; 0: no bound."},
    {ISSUER(connect_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 600000,
     .fallback = "5000", .unit = "ms", .help = "ejbca: for a connection and its TLS handshake."},
    {ISSUER(request_timeout_ms), .type = MM_SETTING_UINT, .min = 100, .max = 600000,
     .fallback = "30000", .unit = "ms", .help = "ejbca: for a request, until its whole answer."},
    {ISSUER(breaker_failures), .type = MM_SETTING_UINT, .min = 1, .max = 1000, .fallback = "5",
     .help = "ejbca: failures in a row after which a node is left alone."},
    {ISSUER(breaker_wait_ms), .type = MM_SETTING_UINT, .min = 10, .max = 3600000,
     .fallback = "1000", .unit = "ms",
     .help = "ejbca: until it is tried again; each failure doubles it."},
    {ISSUER(breaker_wait_max_ms), .type = MM_SETTING_UINT, .min = 10, .max = 3600000,
     .fallback = "60000", .unit = "ms", .help = "ejbca: the same, at the most."},

    {PROFILE(preset), .type = MM_SETTING_CHOICE, .choices = presets,
     .help = "What the settings that are not given come from."},
    {PROFILE(issuer), A_NAME, .required = true,
     .help = "An issuer section; or none: devices get a certification request."},
    {TOKENS(PROFILE, mm_conf_profile),
     .help = "The token sections where device keys are made; default: the issuer's, or the only "
             "one."},
    {PROFILE(key), .type = MM_SETTING_CHOICE, .choices = keys, .fallback = "p256",
     .help = "The devices' kind of key."},
    {PROFILE(delivery), .type = MM_SETTING_CHOICE, .choices = deliveries, .fallback = "wrapped",
     .help = "How a device's private key leaves the token; retained: not at all; on-device: the "
             "device makes it."},
    {PROFILE(keys_ahead), .type = MM_SETTING_UINT, .min = 0, .max = MM_KEYS_AHEAD_MAX,
     .fallback = "0",
     .help = "Session key pairs that each idle worker of the token makes in advance."},
    {PROFILE(manifest), .type = MM_SETTING_CHOICE, .choices = manifests, .fallback = "none",
     .help = "The manifest of released batches; jws: one signed object for each device."},
    {PROFILE(transport), A_NAME,
     .help = "The transport section whose key wraps the devices' keys; for delivery wrapped."},
    {PROFILE(subject), .min = 1, .max = 1024, .format = mm_format_dn,
     .expects = "a name template, like 'CN=Widget ${number:8},O=Example'",
     .help = "Template of the subject name."},
    {PROFILE(san), .min = 1, .max = 1024,
     .help = "Templates of the subject alternative names, with commas between."},
    {PROFILE(vid), .min = 4, .max = 4, .format = mm_format_hex4,
     .expects = "four upper-case hexadecimal digits, like 'FFF1'", .help = "Matter vendor id."},
    {PROFILE(pid), .min = 4, .max = 4, .format = mm_format_hex4,
     .expects = "four upper-case hexadecimal digits, like '8000'", .help = "Matter product id."},
    {PROFILE(not_before), .min = 1, .max = 15, .format = mm_format_not_before, .fallback = "now",
     .expects = "'now' or a time as YYYYMMDDHHMMSSZ", .help = "Beginning of the validity."},
    {PROFILE(validity), .min = 1, .max = 15, .format = mm_format_validity,
     .expects = "a number with y, d or h, like '20y', or a time as YYYYMMDDHHMMSSZ",
     .help = "How long certificates are valid, or until when."},
    {PROFILE(key_usage), LIST_OF(mm_conf_profile, key_usage), .max = 9, .choices = key_usages,
     .help = "Key usage bits, by their RFC 5280 names."},
    {PROFILE(extended_key_usage), LIST_OF(mm_conf_profile, extended_key_usage), .max = 16,
     .help = "Extended key usages: OIDs, or OpenSSL's short names such as clientAuth."},
    {PROFILE(basic_constraints), .type = MM_SETTING_CHOICE, .choices = constraints,
     .fallback = "end-entity", .preset = true,
     .help = "The basic constraints extension; none: leave it out."},
    {PROFILE(subject_key_identifier), .type = MM_SETTING_BOOL, .fallback = "true",
     .help = "Put the subject key identifier in."},
    {PROFILE(authority_key_identifier), .type = MM_SETTING_BOOL, .fallback = "true",
     .help = "Put the authority key identifier in."},
    {PROFILE(ca), AN_EJBCA_NAME, .help = "Name of the CA in EJBCA; for issuers of kind ejbca."},
    {PROFILE(certificate_profile), AN_EJBCA_NAME,
     .help = "Name of the certificate profile in EJBCA; likewise."},
    {PROFILE(end_entity_profile), AN_EJBCA_NAME,
     .help = "Name of the end entity profile in EJBCA; likewise."},
    {PROFILE(username), .min = 1, .max = MM_ISSUER_NAME_MAX, .fallback = "${device_uid}",
     .format = mm_format_username,
     .expects = "a template of letters, digits, '.', '_', '-', '@', '+' and variables that differ "
                "for every device",
     .help = "Template of the end entity's username in EJBCA; another one for each device."},
    {PROFILE(include_chain), .type = MM_SETTING_BOOL, .fallback = "false",
     .help = "Ask EJBCA for the chain with each certificate, and compare it."},
    {PROFILE(when_away), .type = MM_SETTING_CHOICE, .choices = aways, .fallback = "wait",
     .help = "What becomes of devices while EJBCA is away."},
    {PROFILE(waiting_max), .type = MM_SETTING_UINT, .min = 1, .max = MM_WAITING_MAX,
     .fallback = "100000", .help = "Devices that may wait for their certificates."},
    {PROFILE(revoke_bad), .type = MM_SETTING_BOOL, .fallback = "true",
     .help = "Revoke certificates that are not what the profile demands."},
    {PROFILE(revoke_ko), .type = MM_SETTING_BOOL, .fallback = "false",
     .help = "Revoke the certificates of devices that are reported KO."},

    {ITEM(file), A_PATH, .help = "File whose content is delivered. This or reference."},
    {ITEM(reference), .min = 1, .max = 1024, .help = "Where the station finds the content."},
    {ITEM(sha256), .min = 64, .max = 64, .format = mm_format_sha256,
     .expects = "64 hexadecimal digits", .help = "SHA-256 of the referenced content."},
    {ITEM(size), .type = MM_SETTING_SIZE, .min = 1, .max = 1ull << 40, .unit = "bytes",
     .help = "Size of the referenced content."},

    {SIGNING(token), A_NAME, .required = true, .help = "The token section that holds the key."},
    {SIGNING(key), PKCS11_URI, .required = true,
     .help = "RFC 7512 URI of the private key; never that of an issuer."},
    {SIGNING(curve), .type = MM_SETTING_CHOICE, .choices = curves, .fallback = "p256",
     .help = "The key's curve, compared with the key at start."},
    {SIGNING(mechanisms), LIST_OF(mm_conf_signing, mechanisms), .max = 5,
     .choices = mm_mechanism_names, .required = true, .help = "What the key may be used for."},
    {SIGNING(clients), LIST_OF(mm_conf_signing, clients), .max = MM_CLIENTS_MAX,
     .format = mm_format_name, .expects = "the name of a client section", .required = true,
     .help = "The client sections that may have it sign; all others are refused."},
    {SIGNING(certificate), A_PATH,
     .help = "PEM file of the key's certificate, then its chain; sent with each signature."},

    {CLIENT(uri), .min = 1, .max = MM_URI_MAX, .format = mm_format_uri,
     .expects = "a URI, like 'urn:mintmark:station:line-1'",
     .help = "URI in the certificate's subject alternative name. This or subject."},
    {CLIENT(subject), .min = 1, .max = 1024, .format = mm_format_dn,
     .expects = "a name, like 'CN=line-1,O=Example'",
     .help = "The certificate's subject, as openssl x509 -nameopt RFC2253 prints it."},
    {CLIENT(roles), .type = MM_SETTING_ROLES, .choices = roles, .required = true,
     .help = "What the client may do, a list."},
};

const struct mm_section *mm_schema_section(enum mm_section_id id)
{
    return &sections[id];
}

const struct mm_setting *mm_schema_settings(size_t *ret_n)
{
    *ret_n = MM_ARRAY_SIZE(settings);
    return settings;
}

const struct mm_setting *mm_schema_find(enum mm_section_id section, const char *key)
{
    for (size_t i = 0; i < MM_ARRAY_SIZE(settings); i++)
        if (settings[i].section == section && !strcmp(settings[i].key, key))
            return &settings[i];
    return NULL;
}

enum { SUGGEST_MAX = 40, SUGGEST_DISTANCE = 3 };

/* Levenshtein's distance, for names up to SUGGEST_MAX bytes; longer ones are far from everything.
 */
static size_t distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    size_t row[SUGGEST_MAX + 1];

    if (n > SUGGEST_MAX || m > SUGGEST_MAX)
        return SUGGEST_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t change = diagonal + (a[i - 1] != b[j - 1]);
            const size_t drop = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

            diagonal = row[j];
            row[j] = change < drop ? change : drop;
        }
    }
    return row[m];
}

static void nearer(const char *name, const char *known, const char **best, size_t *best_distance)
{
    const size_t d = distance(name, known);

    if (d < *best_distance && d < strlen(known)) {
        *best = known;
        *best_distance = d;
    }
}

const char *mm_schema_suggest(enum mm_section_id section, const char *name, char *buf, size_t size)
{
    const char *best = NULL;
    size_t best_distance = SUGGEST_DISTANCE;

    for (size_t i = 0; i < MM_ARRAY_SIZE(settings); i++)
        if (settings[i].section == section)
            nearer(name, settings[i].key, &best, &best_distance);
    for (enum mm_section_id id = 1; id < MM_SECTIONS; id++)
        if (sections[id].parent == section)
            nearer(name, sections[id].name, &best, &best_distance);
    if (best) {
        snprintf(buf, size, "did you mean '%s'?", best);
        return buf;
    }
    for (size_t i = 0; i < MM_ARRAY_SIZE(settings); i++) {
        if (strcmp(settings[i].key, name) != 0)
            continue;
        if (settings[i].section == MM_SECTION_ROOT)
            snprintf(buf, size, "it belongs outside of sections");
        else
            snprintf(buf, size, "it belongs into a section '%s'",
                     sections[settings[i].section].name);
        return buf;
    }
    return NULL;
}
