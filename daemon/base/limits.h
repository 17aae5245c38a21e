/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every maximum that a peer, a file or an operator can meet, in one place. A limit that an operator
 * may lower or raise is a setting (daemon/conf) whose upper bound stands here.
 */
#pragma once

enum {
    /* Names and texts, in bytes without the NUL. */
    MM_NAME_MAX = 64,         /* profile, batch, device type, order, issuer, token, client names */
    MM_HW_SERIAL_MAX = 64,    /* a device's hardware serial number */
    MM_REQUEST_ID_MAX = 64,   /* a station's idempotency key */
    MM_REASON_TEXT_MAX = 200, /* why a device is KO */
    MM_URI_MAX = 1024,        /* a PKCS#11 URI, a SAN URI */
    MM_TOKEN_PARAMETERS_MAX = 1024, /* what a module is given at C_Initialize */
    MM_PIN_MAX = 255,               /* a PIN, and a line in a PIN file */
    MM_UID_LEN = 36,                /* a UUID in its canonical text form (RFC 9562 section 4) */

    /* Work. */
    MM_CHUNK_DEVICES = 120,     /* devices in one token job and in one store transaction entry; so
                                 * many Bundles, with what they share, fit a gRPC message */
    MM_CHUNK_TARGET_US = 50000, /* worker time of a chunk: dear devices come fewer at a time */
    MM_CHUNK_APART_US = 8000,   /* the same for each worker while small calls come, so that one ends
                                 * a chunk so often */
    MM_ENROLL_DEVICES = 64,     /* devices in one message of Enroll, and so in its token job */
    MM_PROVISION_MAX = 100000,  /* devices in one Provision call */
    MM_REPORT_MAX = 10000,      /* devices in one ReportDevices call */
    MM_BATCH_QUANTITY_MAX = 10000000,
    MM_ORDER_QUANTITY_MAX = 1000000000,
    MM_SIGN_MESSAGE_MAX = 4 * 1024 * 1024 - 1024, /* bytes of a message to sign; with the rest of
                                                   * the request it fits a gRPC message */
    MM_SIGN_WAITING_MAX = 32 * 1024 * 1024, /* bytes of messages in Sign calls under way, in all */
    MM_SIGNATURE_DER_MAX = 104,             /* an ECDSA-Sig-Value on P-384 */
    MM_RANDOM_MAX = 64 * 1024,              /* bytes in one Random call */
    MM_PAGE_MAX = 1000,                     /* rows in one page of a listing */
    MM_HEADS_MAX = 4096,
    MM_ORDER_TEXT_MAX = 100,          /* who gives an order, and for which product; bytes */
    MM_ORDER_STATIONS_MAX = 32,       /* stations that an order names */
    MM_ORDER_HOURS_MAX = 87600,       /* between two reports on an order: ten years */
    MM_TRUST_MAX = 32,                /* certificates whose holders may sign documents */
    MM_OPEN_BATCHES_MAX = 8192,       /* with the live orders they fit the store's ready message */
    MM_OPEN_BATCHES_RETRY_MS = 60000, /* to come back when there is no room: people release them */
    MM_LIVE_ORDERS_MAX = 1024,
    MM_ORDER_REQUESTS_MAX = 1024,         /* nonces that wait for their order */
    MM_REPORT_FAILURES_MAX = 100,         /* reasons in a production report */
    MM_GROUP_JOBS_MAX = 64,               /* store jobs that one transaction commits */
    MM_GROUP_BYTES_MAX = 4 * 1024 * 1024, /* of their messages, but for the last one's */
    MM_LEDGER_RECORD_MAX = 16384,         /* bytes of one record of the ledger */
    MM_ENROLMENT_TEXT_MAX = 255,          /* why a device has no certificate */
    MM_KEYS_AHEAD_MAX = 1024,             /* keys_ahead of a profile, in each worker */
    MM_KEYS_PAGE_MAX = 256,               /* devices whose keys one job deletes */
    MM_TALLIES_MAX = 1024,                /* reports and exports that the store hashes at a time */
    MM_UNLOCK_MAX = 8192,                 /* bytes of a signed unlock, which goes into a record */

    /* Messages, in bytes. */
    MM_GRPC_MESSAGE_MAX = 4 * 1024 * 1024, /* one gRPC message, either way (gRPC's own default) */
    MM_IPC_MESSAGE_MAX = 8 * 1024 * 1024,  /* one message between front and worker */
    MM_HEADER_LIST_MAX = 16 * 1024,        /* a header list, as RFC 9113 section 6.5.2 counts it */
    MM_METADATA_MAX = 16,                  /* entries that a service adds to headers or trailers */
    MM_CERT_DER_MAX = 8 * 1024,            /* one certificate or CSR */
    MM_CHAIN_BYTES_MAX = 48 * 1024,        /* a chain up to its root, as it is recorded */
    MM_CSR_DER_MAX = 8 * 1024,             /* one CSR of a key that a device made */
    MM_POINT_MAX = 2592,                   /* a public key: ML-DSA-87's; P-384's point has 97 */
    MM_SIGNATURE_MAX = 4627,               /* a signature: ML-DSA-87's; P-384's r || s has 96 */
    MM_KEY_IDENTIFIER_MAX = 64,            /* bytes of a CA's subject key identifier */
    MM_CSR_DEPTH_MAX = 16,                 /* elements within elements of it */
    MM_BUNDLE_MAX = 24 * 1024,             /* one device's Bundle */
    MM_DOCUMENT_MAX = 64 * 1024,           /* a signed document: order, revocation, receipt */
    MM_PACKAGE_MAX = 12 * 1024 * 1024,     /* an exchange package, with all that is around it */
    MM_PACKAGE_ITEMS_MAX = 64,             /* items in it */
    MM_PACKAGE_VALUE_MAX = 4096,           /* bytes of a variable's value */
    MM_PACKAGE_RECIPIENTS_MAX = 16,        /* certificates that it is encrypted to */
    MM_PACKAGE_DAYS_MAX = 366,             /* from created to not_after */
    MM_CHAIN_MAX = 4,                      /* certificates above a leaf */
    MM_CA_RSA_BITS_MIN = 2048,             /* of an issuing CA elsewhere: 112 bits of security */
    MM_CA_RSA_BITS_MAX = 4096,             /* of the same: what checking a signature may cost */
    MM_ITEM_INLINE_MAX = 64 * 1024,        /* a profile's named item that travels in the stream */
    MM_ITEMS_MAX = 16,                     /* named items in a profile */

    /* Names in certificates. */
    MM_RDNS_MAX = 16,            /* attributes of a subject template */
    MM_SANS_MAX = 8,             /* subject alternative names of a profile */
    MM_TEMPLATE_PARTS_MAX = 16,  /* texts and variables of one template */
    MM_TEMPLATE_VALUE_MAX = 512, /* bytes of a template's literal text, and of what it expands to */
    MM_KEY_USAGES_MAX = 16,      /* extended_key_usage entries of a profile */

    /* Reading protobuf from strangers. */
    MM_PROTO_DEPTH_MAX = 32,       /* messages within messages */
    MM_PROTO_FIELDS_MAX = 262144,  /* fields and elements in one message, all levels together */
    MM_ARENA_KEEP_MAX = 64 * 1024, /* bytes that an arena keeps for its next use */
    MM_ARENA_CHUNK_MAX = 1024 * 1024,
    MM_HEAP_BLOCK = 128 * 1024, /* from here on a block goes back to the kernel when it is freed */

    /* Between front and workers. */
    MM_PROCESSES_MAX = 4 * 8 * 128 + 4 * 64 + 1, /* workers, old and new while they are replaced */
    MM_LINK_QUEUE_MAX = 16 * 1024 * 1024,        /* bytes waiting for one worker to read them */
    MM_STORE_JOBS_MAX = 1024,                    /* jobs waiting for the store's answer */
    MM_JOBS_MAX = 4096,   /* jobs that workers have, of one client or of all */
    MM_QUEUE_MAX = 65536, /* jobs that wait for a worker, likewise */

    /* EJBCA, and what comes from it. */
    MM_ISSUER_NODES_MAX = 8,             /* of one issuer section */
    MM_ISSUER_REQUESTS_MAX = 256,        /* in flight to one node */
    MM_ISSUER_PER_S_MAX = 10000,         /* the bound of devices given to an issuer in a second */
    MM_ISSUER_JOBS_MAX = 4096,           /* that an issuer's worker has at one time */
    MM_ISSUER_BODY_MAX = 256 * 1024,     /* bytes of an answer, but for a list's and a CRL's */
    MM_ISSUER_CRL_MAX = 4 * 1024 * 1024, /* bytes of a CRL */
    MM_ISSUER_LIST_BODY_MAX = 4 * 1024 * 1024, /* bytes of a page of certificates */
    MM_ISSUER_PAGE_MAX = 200,                  /* certificates in such a page */
    MM_RECONCILE_PAGE_MAX = 256,               /* devices or certificates in one step of it */
    MM_RECONCILE_ROW_MAX = 1 << 30,            /* devices that it can tell apart: 128 MiB of bits */
    MM_ISSUER_TEXT_MAX = 512,                  /* bytes of EJBCA's text in an error */
    MM_ISSUER_NAME_MAX = 250,                  /* a CA's or profile's name, a username; bytes */
    MM_ISSUER_CHECKS_MAX = 1024,               /* lines in the answer to a check */
    MM_WAITING_MAX = 10000000,                 /* devices of a profile that wait for certificates */

    /* Files. */
    MM_CONF_FILE_MAX = 1024 * 1024,
    MM_PEM_FILE_MAX = 256 * 1024,
    MM_FILES_TIMEOUT_MS = 5000, /* for the launcher to open a file, or check all, on a reload */

    /* Connections. */
    MM_CONNECTIONS_MAX = 1024,
    MM_STREAMS_PER_CONNECTION = 128,
    MM_HANDSHAKES_MAX = 64, /* TLS handshakes under way at once */
    MM_LISTEN_BACKLOG = 128,
    MM_H2_STREAM_WINDOW = 256 * 1024, /* bytes that a client may send ahead on a stream */
    MM_H2_CONNECTION_WINDOW = 1024 * 1024,
    MM_H2_CONTINUATIONS_MAX = 8, /* after one HEADERS */
    MM_H2_SETTINGS_MAX = 32,     /* entries in one SETTINGS */
    MM_H2_ACKS_MAX = 256,        /* PING and SETTINGS answers waiting to be sent */
    MM_H2_ODD_BURST = 600,       /* resets, SETTINGS, empty DATA and other frames that an */
    MM_H2_ODD_PER_S = 30,        /* honest client seldom sends: at once, and a second */
    MM_H2_UPDATES_PER_DATA = 10, /* WINDOW_UPDATEs for a DATA frame of ours; more are odd */
    MM_H2_UPDATES_SPARE = 1024,  /* besides, and as many as may be saved up */
    MM_H2_PING_STRIKES = 2,      /* pings that came too soon and were let pass */
    MM_CONNECTION_RECEIVE_MAX = 8 * 1024 * 1024, /* unfinished request messages, all streams */
    MM_RECEIVE_MAX = 128 * 1024 * 1024,          /* the same, all connections; */
    MM_RECEIVE_SHARE = 128 * 1024,   /* but who has no more than this is never refused for it */
    MM_CALL_QUEUE_MARK = 256 * 1024, /* responses waiting on a call: then mm_call_send says stop */
    MM_CALL_QUEUE_LOW = 16 * 1024,   /* a call with less may always send one more */
    MM_CONNECTION_QUEUE_MARK = 1024 * 1024, /* as above, all calls of a connection */
    MM_READ_PER_TURN = 512 * 1024, /* bytes from one connection before others get their turn */

    /* The HTTP listener for metrics and probes. */
    MM_HTTP_CONNECTIONS_MAX = 8,            /* at once: then the oldest makes room */
    MM_HTTP_REQUEST_MAX = 4 * 1024,         /* bytes of a request */
    MM_HTTP_PATH_MAX = 63,                  /* of a path that could be one of ours */
    MM_HTTP_LINGER_MAX = 64 * 1024,         /* bytes read after the answer and thrown away */
    MM_HTTP_TIME_MS = 5000,                 /* a connection's whole life */
    MM_METRICS_BYTES_MAX = 2 * 1024 * 1024, /* of a page */
    MM_METRICS_ORDERS_MAX = 1000,           /* orders on it */
    MM_METRICS_CLIENTS_MAX = 1000,          /* clients on it */
    MM_METRICS_BURST = 32,                  /* pages at once, */
    MM_METRICS_PER_S = 8,                   /* and a second: each costs the front a millisecond */

    /* Times of the transport, in milliseconds. */
    MM_GOAWAY_MS = 5000,     /* from the first GOAWAY to the second, at most */
    MM_CALL_GRACE_MS = 5000, /* for a status to leave after its deadline; then RST_STREAM */
    MM_LINGER_MS = 1000,     /* for a closing peer to read what was sent last */

    MM_TOKEN_PROBE_MS = 10000, /* between two looks at a token that has no work */
    MM_TOKEN_WORKERS_MAX = 128,
    MM_TOKEN_WORKERS_AUTO = 32, /* of a token that is hardware, with workers = 0 */
    MM_TOKENS_MAX = 8,
    MM_TOKEN_KEYS_MAX = 4000000, /* keys that a listing of one token walks */

    /* Sections of the configuration. */
    MM_TRANSPORTS_MAX = 64,
    MM_ISSUERS_MAX = 64,
    MM_PROFILES_MAX = 256,
    MM_SIGNINGS_MAX = 64,
    MM_CLIENTS_MAX = 4096,
};
