/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick: the PKCS#11 calls of a device and nothing else, in as many processes as there are
 * token workers, with a module loaded as theirs is. Shares no code with pkcs11/, so that what that
 * layer costs shows in the comparison. With --close-sessions the objects of a chunk of devices are
 * not destroyed one by one, but die with a session that the chunk has for itself. One line of JSON:
 *   {"devices": …, "seconds": …, "per_s": …, "cpu_us_per_device": …}
 */
#include "daemon/base/io.h"
#include "daemon/base/limits.h"
#include "daemon/base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    PROCESSES_MAX = MM_TOKEN_WORKERS_MAX,
    CHUNK_MAX = MM_CHUNK_DEVICES,
    RANDOM_PER_DEVICE = 36, /* 16 bytes of the UID, 20 of the serial number */
    EXIT_USAGE = 64,
};

struct options {
    const char *module, *uri, *pin_file, *ca_label, *transport_label;
    uint64_t processes, chunk;
    double seconds;
    bool close_sessions;
    bool csr; /* the device signs its request in place of the CA its certificate */
};

struct outcome {
    uint64_t devices;
    double seconds, cpu_us;
};

struct loop {
    CK_FUNCTION_LIST *ck;
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE ca, transport;
    CK_MECHANISM_TYPE kwp;
};

static double now_us(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void check(CK_RV rv, const char *what)
{
    if (rv == CKR_OK)
        return;
    fprintf(stderr, "bare_loop: %s: 0x%lx\n", what, rv);
    exit(EXIT_FAILURE);
}

static void die(const char *what)
{
    fprintf(stderr, "bare_loop: %s\n", what);
    exit(EXIT_FAILURE);
}

/* ---- getting ready ----------------------------------------------------------------------- */

static void find_slot(struct loop *l, const char *text)
{
    P11KitUri *uri = p11_kit_uri_new();
    CK_SLOT_ID slots[64];
    CK_ULONG n = 64, found = 0;

    if (!uri || p11_kit_uri_parse(text, P11_KIT_URI_FOR_TOKEN, uri) != P11_KIT_URI_OK)
        die("--uri is no PKCS#11 URI");
    check(l->ck->C_GetSlotList(CK_TRUE, slots, &n), "C_GetSlotList");
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;

        if (l->ck->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            (info.flags & CKF_TOKEN_INITIALIZED) && p11_kit_uri_match_token_info(uri, &info)) {
            l->slot = slots[i];
            found++;
        }
    }
    p11_kit_uri_free(uri);
    if (found != 1)
        die("--uri does not name exactly one token");
}

static void open_session(struct loop *l)
{
    check(
        l->ck->C_OpenSession(l->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &l->session),
        "C_OpenSession");
}

static void login(struct loop *l, const char *pin_file)
{
    MM_CLOSE int fd = open(pin_file, O_RDONLY | O_CLOEXEC);
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    struct mm_errinfo ei;

    if (fd < 0)
        die("--pin-file cannot be opened");
    if (mm_io_read_secret(fd, MM_PIN_MAX, &pin, &ei) < 0)
        die(ei.text);
    check(l->ck->C_Login(l->session, CKU_USER, mm_secret_data(pin), mm_secret_len(pin)), "C_Login");
}

static CK_OBJECT_HANDLE find_key(struct loop *l, CK_OBJECT_CLASS class, const char *label)
{
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof(class)},
                               {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)}};
    CK_OBJECT_HANDLE key;
    CK_ULONG n = 0;

    check(l->ck->C_FindObjectsInit(l->session, template, 2), "C_FindObjectsInit");
    check(l->ck->C_FindObjects(l->session, &key, 1, &n), "C_FindObjects");
    check(l->ck->C_FindObjectsFinal(l->session), "C_FindObjectsFinal");
    if (n != 1)
        die("--ca-label or --transport-label names no key");
    return key;
}

static void get_ready(struct loop *l, const struct options *o)
{
    CK_MECHANISM_INFO info;

    l->ck = p11_kit_module_load(o->module, P11_KIT_MODULE_CRITICAL);
    if (!l->ck)
        die(p11_kit_message());
    check(p11_kit_module_initialize(l->ck), "C_Initialize");
    find_slot(l, o->uri);
    open_session(l);
    login(l, o->pin_file);
    l->ca = find_key(l, CKO_PRIVATE_KEY, o->ca_label);
    l->transport = find_key(l, CKO_SECRET_KEY, o->transport_label);
    l->kwp = l->ck->C_GetMechanismInfo(l->slot, 0x210B, &info) == CKR_OK ? 0x210B : 0x210A;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void generate(struct loop *l, CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    static uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
    CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
    CK_ATTRIBUTE public_t[] = {{CKA_TOKEN, &no, sizeof(no)},
                               {CKA_EC_PARAMS, p256, sizeof(p256)},
                               {CKA_VERIFY, &yes, sizeof(yes)}};
    CK_ATTRIBUTE private_t[] = {
        {CKA_TOKEN, &no, sizeof(no)},       {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)}, {CKA_EXTRACTABLE, &yes, sizeof(yes)},
        {CKA_SIGN, &yes, sizeof(yes)},      {CKA_DERIVE, &no, sizeof(no)},
    };

    check(l->ck->C_GenerateKeyPair(l->session, &mechanism, public_t, 3, private_t, 6, public_key,
                                   private_key),
          "C_GenerateKeyPair");
}

static void read_back(struct loop *l, CK_OBJECT_HANDLE public_key, CK_OBJECT_HANDLE private_key)
{
    CK_BBOOL sensitive, extractable, local;
    uint8_t point[100];
    CK_ATTRIBUTE private_t[] = {{CKA_SENSITIVE, &sensitive, sizeof(sensitive)},
                                {CKA_EXTRACTABLE, &extractable, sizeof(extractable)},
                                {CKA_LOCAL, &local, sizeof(local)}};
    CK_ATTRIBUTE public_t = {CKA_EC_POINT, point, sizeof(point)};

    check(l->ck->C_GetAttributeValue(l->session, private_key, private_t, 3), "C_GetAttributeValue");
    check(l->ck->C_GetAttributeValue(l->session, public_key, &public_t, 1), "C_GetAttributeValue");
}

static void one_device(struct loop *l, const struct options *o, uint8_t digest[32])
{
    CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0}, wrap = {l->kwp, NULL, 0};
    CK_OBJECT_HANDLE public_key, private_key;
    uint8_t signature[96], wrapped[512];
    CK_ULONG signature_len = sizeof(signature), wrapped_len = sizeof(wrapped);

    generate(l, &public_key, &private_key);
    read_back(l, public_key, private_key);
    check(l->ck->C_SignInit(l->session, &ecdsa, o->csr ? private_key : l->ca), "C_SignInit");
    check(l->ck->C_Sign(l->session, digest, 32, signature, &signature_len), "C_Sign");
    check(l->ck->C_WrapKey(l->session, &wrap, l->transport, private_key, wrapped, &wrapped_len),
          "C_WrapKey");
    memcpy(digest, signature, 32);
    if (o->close_sessions)
        return;
    check(l->ck->C_DestroyObject(l->session, private_key), "C_DestroyObject");
    check(l->ck->C_DestroyObject(l->session, public_key), "C_DestroyObject");
}

static void one_chunk(struct loop *l, const struct options *o)
{
    const CK_SESSION_HANDLE login = l->session; /* the last one's end would be a logout */
    uint8_t random[CHUNK_MAX * RANDOM_PER_DEVICE];

    if (o->close_sessions)
        open_session(l);
    check(l->ck->C_GenerateRandom(l->session, random, o->chunk * RANDOM_PER_DEVICE),
          "C_GenerateRandom");
    for (uint64_t i = 0; i < o->chunk; i++)
        one_device(l, o, random);
    if (!o->close_sessions)
        return;
    check(l->ck->C_CloseSession(l->session), "C_CloseSession");
    l->session = login;
}

static struct outcome run_loop(struct loop *l, const struct options *o)
{
    const double start = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    const double end = start + o->seconds * 1e6;
    struct outcome out = {0};

    do {
        one_chunk(l, o);
        out.devices += o->chunk;
    } while (now_us(CLOCK_MONOTONIC) < end);
    out.seconds = (now_us(CLOCK_MONOTONIC) - start) / 1e6;
    out.cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    return out;
}

/* ---- processes --------------------------------------------------------------------------- */

/* Says that it is ready by a byte, starts when one comes back, and sends what came of it. */
static void child(const struct options *o, int go, int back)
{
    struct loop l = {0};
    struct outcome out;
    char byte = 0;

    get_ready(&l, o);
    if (write(back, &byte, 1) != 1 || read(go, &byte, 1) != 1)
        die("the parent is gone");
    out = run_loop(&l, o);
    if (write(back, &out, sizeof(out)) != sizeof(out))
        die("the parent is gone");
    check(l.ck->C_CloseSession(l.session), "C_CloseSession");
    p11_kit_module_finalize(l.ck);
    p11_kit_module_release(l.ck);
}

/* Returns where the child's answers come from: a pipe of its own, which ends with it. */
static int start_child(const struct options *o, const int go[2])
{
    int back[2];
    pid_t pid;

    if (pipe2(back, O_CLOEXEC) < 0)
        die("no pipe");
    pid = fork();
    if (pid < 0)
        die("fork failed");
    if (pid == 0) {
        close(go[1]);
        close(back[0]);
        child(o, go[0], back[1]);
        exit(EXIT_SUCCESS);
    }
    close(back[1]);
    return back[0];
}

static void read_or_die(int fd, void *data, size_t len)
{
    struct mm_errinfo ei;

    if (mm_io_read_all(fd, data, len, &ei) < 0)
        die("a process failed");
}

/* Forks before anything of PKCS#11 is loaded: modules do not survive a fork. */
static struct outcome run(const struct options *o)
{
    struct outcome one, sum = {0};
    int go[2], back[PROCESSES_MAX], status;
    char byte = 0;

    if (pipe2(go, O_CLOEXEC) < 0)
        die("no pipe");
    /* One after another: SoftHSM's login rewrites the token's file, and a process that loads it at
     * that moment finds no token. */
    for (uint64_t i = 0; i < o->processes; i++) {
        back[i] = start_child(o, go);
        read_or_die(back[i], &byte, 1);
    }
    for (uint64_t i = 0; i < o->processes; i++) {
        if (write(go[1], &byte, 1) != 1)
            die("the processes are gone");
    }
    for (uint64_t i = 0; i < o->processes; i++) {
        read_or_die(back[i], &one, sizeof(one));
        sum.devices += one.devices;
        sum.cpu_us += one.cpu_us;
        if (one.seconds > sum.seconds)
            sum.seconds = one.seconds;
    }
    while (wait(&status) > 0) {
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            die("a process ended badly");
    }
    return sum;
}

/* ---- options ----------------------------------------------------------------------------- */

static void usage(FILE *out)
{
    fputs("usage: bare_loop --module PATH --uri URI --pin-file FILE --ca-label LABEL\n"
          "                 --transport-label LABEL [--processes N] [--seconds S] [--csr]\n"
          "                 [--chunk DEVICES] [--close-sessions]\n",
          out);
}

static bool parse_number(const char *text, double *ret)
{
    char *end;

    errno = 0;
    *ret = strtod(text, &end);
    return errno == 0 && end != text && *end == 0 && *ret > 0 && *ret <= 86400;
}

static bool parse_options(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"module", required_argument, NULL, 'm'},
        {"uri", required_argument, NULL, 'u'},
        {"pin-file", required_argument, NULL, 'p'},
        {"ca-label", required_argument, NULL, 'c'},
        {"transport-label", required_argument, NULL, 't'},
        {"processes", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"csr", no_argument, NULL, 'r'},
        {"chunk", required_argument, NULL, 'k'},
        {"close-sessions", no_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    bool good = true;

    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        switch (c) {
        case 'm':
            o->module = optarg;
            break;
        case 'u':
            o->uri = optarg;
            break;
        case 'p':
            o->pin_file = optarg;
            break;
        case 'c':
            o->ca_label = optarg;
            break;
        case 't':
            o->transport_label = optarg;
            break;
        case 'n':
            good = good && mm_text_to_u64(optarg, 1, PROCESSES_MAX, &o->processes) == MM_OK;
            break;
        case 's':
            good = good && parse_number(optarg, &o->seconds);
            break;
        case 'k':
            good = good && mm_text_to_u64(optarg, 1, CHUNK_MAX, &o->chunk) == MM_OK;
            break;
        case 'e':
            o->close_sessions = true;
            break;
        case 'r':
            o->csr = true;
            break;
        default:
            good = false;
        }
    }
    return good && optind == argc && o->module && o->uri && o->pin_file && o->ca_label &&
           o->transport_label;
}

int main(int argc, char **argv)
{
    struct options o = {.processes = 1, .chunk = CHUNK_MAX, .seconds = 5};
    struct outcome sum;

    if (!parse_options(argc, argv, &o)) {
        usage(stderr);
        return EXIT_USAGE;
    }
    sum = run(&o);
    printf("{\"devices\": %" PRIu64
           ", \"seconds\": %.3f, \"per_s\": %.1f, \"cpu_us_per_device\": %.2f}\n",
           sum.devices, sum.seconds, (double)sum.devices / sum.seconds,
           sum.cpu_us / (double)sum.devices);
    return EXIT_SUCCESS;
}
