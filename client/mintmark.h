/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmintmark: a programming station's side of mintmark, in C. Blocking calls over one connection,
 * which is made when first needed and made again when it was lost.
 *
 * One struct mintmark is used by one thread at a time. Strings are UTF-8. Nothing here prints or
 * ends the process. SIGPIPE is never raised. What a request points to stays the caller's, and must
 * stay as it is until the call returns. Limits stand with what they limit; the service holds them
 * too (docs/integration.md). Times are milliseconds since 1970, UTC; 0: it has not come to that.
 *
 * Functions that return int return 0, or, when they fail, minus the status, which also stands in
 * *error; error may be NULL. A callback ends its call by returning something other than 0, which
 * the function then returns: let it be positive, to be told from a failure. A callback may call
 * functions for the same client: they run on the same connection, beside the call that called back,
 * which goes on afterwards. But not mintmark_free().
 */
#ifndef MINTMARK_H
#define MINTMARK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* gRPC status codes (https://grpc.io/docs/guides/status-codes/); 0 is success. */
enum mintmark_status {
    MINTMARK_OK = 0,
    MINTMARK_CANCELLED = 1,
    MINTMARK_UNKNOWN = 2,
    MINTMARK_INVALID_ARGUMENT = 3,
    MINTMARK_DEADLINE_EXCEEDED = 4,
    MINTMARK_NOT_FOUND = 5,
    MINTMARK_ALREADY_EXISTS = 6,
    MINTMARK_PERMISSION_DENIED = 7,
    MINTMARK_RESOURCE_EXHAUSTED = 8,
    MINTMARK_FAILED_PRECONDITION = 9,
    MINTMARK_ABORTED = 10,
    MINTMARK_OUT_OF_RANGE = 11,
    MINTMARK_UNIMPLEMENTED = 12,
    MINTMARK_INTERNAL = 13,
    MINTMARK_UNAVAILABLE = 14,
    MINTMARK_DATA_LOSS = 15,
    MINTMARK_UNAUTHENTICATED = 16,
};

/* Filled by every call that fails. */
struct mintmark_error {
    enum mintmark_status status;
    char reason[64];   /* ErrorInfo.reason, e.g. "QUOTA_EXHAUSTED"; "" if the server gave none */
    char field[64];    /* the request's field at fault; "" if none */
    char message[256]; /* a sentence */
    uint32_t retry_ms; /* when to come back; 0: no advice */
};

struct mintmark;

/* target is "host:port" or "[address]:port"; the files are PEM, the key without a passphrase.
 * server_name is what the server's certificate must be for; NULL: the host of target. Opens no
 * connection yet; reads and checks the files. Nothing of the options is needed afterwards. On
 * success the client is the caller's, for mintmark_free(). */
struct mintmark_options {
    const char *target;
    const char *server_name;
    const char *ca_file;
    const char *certificate_file;
    const char *key_file;
    uint32_t timeout_ms; /* deadline of each call; 0: 60 s. Provision, Enroll: of each message */
    uint32_t attempts;   /* tries of a call that may safely be repeated; 0: 5 */
    /* When calls run and the server has been silent for so long (at least 10 s), it is pinged, and
     * has keepalive_timeout_ms to answer (0: 20 s). For lines that forget connections or hide their
     * end. 0: never; a server may refuse pings that come more often than it allows. */
    uint32_t keepalive_ms;
    uint32_t keepalive_timeout_ms;
    int compress; /* large requests go compressed (gzip): for slow lines */
};
int mintmark_new(const struct mintmark_options *options, struct mintmark **ret_client,
                 struct mintmark_error *error);
/* Closes the connection. NULL is fine. */
void mintmark_free(struct mintmark *client);
/* Ends the call that is running (of calls in callbacks, the innermost), or else the next one, with
 * MINTMARK_CANCELLED. May be called from another thread and from a signal handler. */
void mintmark_cancel(struct mintmark *client);

struct mintmark_ping {
    int64_t time_ms;  /* the service's clock */
    int ready;        /* it can work */
    char version[32]; /* the service's */
    char detail[256]; /* why it is not ready */
    char client[65];  /* the name that the service knows the caller by */
};
int mintmark_ping(struct mintmark *client, struct mintmark_ping *ret_ping,
                  struct mintmark_error *error);

/* Devices of a batch: issued are ok, ko and unreported together. */
struct mintmark_counts {
    uint64_t issued, ok, ko, unreported;
};
struct mintmark_batch {
    char uid[37];
    char name[65];
    char profile[65];
    char device_type[65];
    char order_id[65];
    char station[65];
    uint64_t quantity;
    uint32_t heads;
    int released;
    int64_t opened_time_ms, released_time_ms;
    struct mintmark_counts counts;
};
struct mintmark_open_batch {
    const char *name, *profile, *device_type; /* 1 to 64 letters, digits, '.', '_', '-' */
    const char *order_id;                     /* NULL: the live order that expires first */
    uint64_t quantity; /* the most devices that it may hold: 1 to 10,000,000 */
    uint32_t heads;    /* sockets of the station: 1 to 4,096 */
};
/* Not repeated when the connection is lost with the call on its way, so that no second batch is
 * opened: UNAVAILABLE then leaves open whether there is one. mintmark_list_batches() tells. */
int mintmark_open_batch(struct mintmark *client, const struct mintmark_open_batch *request,
                        struct mintmark_batch *ret_batch, struct mintmark_error *error);
int mintmark_get_batch(struct mintmark *client, const char *batch_uid,
                       struct mintmark_batch *ret_batch, struct mintmark_error *error);
/* Calls each for every batch, newest first; a non-zero return ends the listing and is handed on. */
int mintmark_list_batches(struct mintmark *client, int open_only,
                          int (*each)(void *arg, const struct mintmark_batch *batch), void *arg,
                          struct mintmark_error *error);

enum mintmark_key_delivery {
    MINTMARK_KEY_WRAPPED = 1,
    MINTMARK_KEY_RETAINED = 2,
    MINTMARK_KEY_PLAIN = 3,
    MINTMARK_KEY_ON_DEVICE = 4
};

struct mintmark_data {
    const uint8_t *data;
    size_t len;
};
struct mintmark_item {
    const char *name;
    uint64_t size;
    const uint8_t *sha256;        /* 32 bytes */
    struct mintmark_data content; /* empty when referred to */
    const char *reference;
};
/* One device, with at most 4 certificates in its chain, 16 items, and 8 KiB of certificate or CSR;
 * everything is borrowed and valid during the callback only. Items are those of the
 * stream, repeated here for every device. The chain is what the device's certificate was issued
 * under, transport_key and check_value are those that its key was wrapped under; both may be others
 * than the next one's: an older device is delivered as it was made. */
struct mintmark_bundle {
    const char *device_uid;
    const char *hw_serial;
    uint64_t number;
    int64_t issued_time_ms;
    struct mintmark_data certificate; /* one of the two is empty */
    struct mintmark_data csr;
    enum mintmark_key_delivery key_delivery;
    struct mintmark_data private_key;
    const char *key_id;
    const struct mintmark_data *chain; /* issuing CA first */
    size_t n_chain;
    const char *transport_key;
    const char *wrap_algorithm;
    struct mintmark_data check_value;
    const struct mintmark_item *items;
    size_t n_items;
};

/* Why a device that is recorded has no certificate, where another authority issues them; by the
 * numbers of the API's CertificateState. */
enum mintmark_certificate_state {
    MINTMARK_CERTIFICATE_WAITING = 1, /* repeat the call later, with the same request id */
    MINTMARK_CERTIFICATE_FAILED = 3,  /* refused for good; the device is KO, and needs no report */
    MINTMARK_CERTIFICATE_PARKED = 4,  /* an officer decides; then repeat the call */
};
/* Such a device: nothing of it is delivered. Borrowed, and valid during the callback only. */
struct mintmark_withheld {
    const char *device_uid;
    const char *hw_serial;
    uint64_t number;
    enum mintmark_certificate_state state;
    char text[256];       /* what the authority said last; "" if nothing */
    int64_t next_time_ms; /* waiting: not before then is it worth asking again */
    uint32_t attempts;    /* tries that came to nothing, so far */
};

struct mintmark_provision {
    const char *batch_uid;
    uint32_t count;         /* 1 to 100,000 */
    const char *request_id; /* at most 64 letters, digits, '.', '_', '-'. NULL: a random one. Keep
                             * it to repeat after a crash */
    const char *const *hw_serials; /* NULL or count of them: 1 to 64 printable ASCII characters */
};
/* Makes count devices; each gets every device exactly once, also when the connection was lost and
 * the call repeated with the same request id in between: with a bundle, or, when it has
 * no certificate, with NULL and why. A non-zero return of each cancels the call and is handed on.
 */
int mintmark_provision(struct mintmark *client, const struct mintmark_provision *request,
                       int (*each)(void *arg, const struct mintmark_bundle *bundle,
                                   const struct mintmark_withheld *withheld),
                       void *arg, struct mintmark_error *error);

struct mintmark_csr {
    const char *hw_serial;    /* as mintmark_provision's; NULL: none */
    struct mintmark_data csr; /* PKCS#10, DER; at most 8 KiB */
};
struct mintmark_enroll {
    const char *batch_uid;
    const char *request_id; /* as mintmark_provision's */
    const struct mintmark_csr *devices;
    size_t n_devices; /* 1 to 100,000 */
};
/* Has keys certified that devices made, for profiles with delivery "on-device". each gets every
 * device exactly once, by its index, in no promised order, also when the connection was lost and
 * the call repeated in between. One of the three is not NULL: its bundle; or why it is recorded and
 * has no certificate, for now or for good; or why the service refused that device alone, which is
 * not recorded. A non-zero return of each cancels the call and is handed on. */
int mintmark_enroll(struct mintmark *client, const struct mintmark_enroll *request,
                    int (*each)(void *arg, size_t index, const struct mintmark_bundle *bundle,
                                const struct mintmark_withheld *withheld,
                                const struct mintmark_error *refusal),
                    void *arg, struct mintmark_error *error);
/* One recorded device again; each gets it as mintmark_provision's does. */
int mintmark_get_device(struct mintmark *client, const char *device_uid,
                        int (*each)(void *arg, const struct mintmark_bundle *bundle,
                                    const struct mintmark_withheld *withheld),
                        void *arg, struct mintmark_error *error);

struct mintmark_report {
    const char *device_uid;
    int ok;
    const char *reason; /* KO: why, 1 to 200 bytes; OK: NULL */
};
/* Reports 1 to 10,000 devices: all are taken or none. The same report again is fine. ret_counts may
 * be NULL. */
int mintmark_report_devices(struct mintmark *client, const char *batch_uid,
                            const struct mintmark_report *reports, size_t n_reports,
                            struct mintmark_counts *ret_counts, struct mintmark_error *error);

struct mintmark_production_report {
    struct mintmark_batch batch;
    uint64_t order_quantity, order_used;
    uint64_t refunded;  /* units given back to the order for KO devices of the batch */
    int report_pending; /* released, but the report could not be signed yet: get it later */
    int64_t first_issued_time_ms, last_issued_time_ms;
    size_t n_failures; /* the most frequent reasons, each with its devices */
    struct {
        char reason[201];
        uint64_t devices;
    } failures[100];
};
int mintmark_release_batch(struct mintmark *client, const char *batch_uid,
                           struct mintmark_production_report *ret_report,
                           struct mintmark_error *error);

/* The signed report on a released batch (docs/report.md). */
struct mintmark_report_info {
    uint64_t size;                  /* bytes */
    const uint8_t *sha256;          /* over them, 32 bytes */
    struct mintmark_data signature; /* CMS, detached, DER */
    int manifest;                   /* there is one, for mintmark_get_manifest */
};
/* Streams a report: begin says what it is, then data gets its bytes, in order. When the connection
 * is lost and the call repeated, begin comes again, and what came before is void. Succeeds only
 * when the bytes are those that were signed for. A non-zero return cancels the call and is handed
 * on. */
int mintmark_get_report(struct mintmark *client, const char *batch_uid,
                        int (*begin)(void *arg, const struct mintmark_report_info *info),
                        int (*data)(void *arg, const struct mintmark_data *data), void *arg,
                        struct mintmark_error *error);

/* Streams the manifest of a released batch (docs/manifest.md), as mintmark_get_report does; begin
 * says that its bytes come, from the first. */
int mintmark_get_manifest(struct mintmark *client, const char *batch_uid, int (*begin)(void *arg),
                          int (*data)(void *arg, const struct mintmark_data *data), void *arg,
                          struct mintmark_error *error);

/* By the numbers of the API's SignMechanism. */
enum mintmark_mechanism {
    MINTMARK_ECDSA = 1, /* over a digest of the curve's own size; takes no message */
    MINTMARK_ECDSA_SHA256 = 2,
    MINTMARK_ECDSA_SHA384 = 3,
    MINTMARK_ECDSA_SHA512 = 4,
    MINTMARK_ED25519 = 5 /* over a message; takes no digest */
};
struct mintmark_sign {
    const char *signing_profile;
    enum mintmark_mechanism mechanism;
    struct mintmark_data digest;  /* one of the two; the other is empty */
    struct mintmark_data message; /* at most 4 MiB less 1 KiB; the service or token hashes it */
};
/* Borrowed, and valid during the callback only. */
struct mintmark_signature {
    struct mintmark_data signature;    /* DER ECDSA-Sig-Value (RFC 3279); Ed25519: 64 bytes */
    struct mintmark_data digest;       /* what was signed; Ed25519: SHA-512 over the message */
    struct mintmark_data certificate;  /* of the key, DER; empty if the service has none */
    const struct mintmark_data *chain; /* above it, its issuer first */
    size_t n_chain;
};
/* Has the service sign; done gets the signature, and what it returns is handed on. */
int mintmark_sign(struct mintmark *client, const struct mintmark_sign *request,
                  int (*done)(void *arg, const struct mintmark_signature *signature), void *arg,
                  struct mintmark_error *error);
/* length random bytes, 1 to 65536, of the generator of a token section; NULL: of the first. What
 * the library had of them is wiped. */
int mintmark_random(struct mintmark *client, const char *token, uint8_t *ret_data, uint32_t length,
                    struct mintmark_error *error);

struct mintmark_transport_key;
/* Opens an exported transport key (docs/transport-key.md) with the recipient's private key (PEM
 * file, without a passphrase). It is the caller's, for mintmark_transport_free(), which wipes it;
 * by one thread at a time. */
int mintmark_transport_open(const char *export_file, const char *recipient_key_file,
                            struct mintmark_transport_key **ret_key, struct mintmark_error *error);
/* NULL is fine. */
void mintmark_transport_free(struct mintmark_transport_key *key);
/* Unwraps a device's key: ret_pkcs8, of size bytes, gets it as DER PKCS#8, and *ret_len its length,
 * which is below wrapped->len. The caller wipes it. */
int mintmark_unwrap(struct mintmark_transport_key *key, const struct mintmark_data *wrapped,
                    uint8_t *ret_pkcs8, size_t size, size_t *ret_len, struct mintmark_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
