/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/integration/verify_folder.h"

#include <check.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const uids[DEVICES] = {"0193537b-1f4c-7abc-8def-000000000001",
                                          "0193537b-1f4c-7abc-8def-000000000002",
                                          "0193537b-1f4c-7abc-8def-000000000003"};
static const char *const cns[DEVICES] = {"Device_1", "Device_2", "Device_3"};
static const char *const serials[DEVICES] = {"SN-1", "SN-2", "SN-3"};

const char *folder_path(const struct verify_folder *f, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", f->path, name);
    return path;
}

void folder_put(const struct verify_folder *f, const char *name, const void *data, size_t len)
{
    FILE *file = fopen(folder_path(f, name), "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

void folder_edit(const struct verify_folder *f, const char *name, const char *from, const char *to)
{
    char text[16384], *at;
    FILE *file = fopen(folder_path(f, name), "rb");
    size_t len;

    ck_assert_ptr_nonnull(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[len] = 0;
    at = strstr(text, from);
    ck_assert_msg(at, "no \"%s\" in %s", from, name);
    file = fopen(folder_path(f, name), "wb");
    fwrite(text, 1, (size_t)(at - text), file);
    fputs(to, file);
    fputs(at + strlen(from), file);
    ck_assert_int_eq(fclose(file), 0);
}

/* Made once, before the tests' processes part: RSA keys take their time. */
static EVP_PKEY *recipient_key;

void folder_prepare(void)
{
    recipient_key = EVP_RSA_gen(2048);
    if (!recipient_key)
        abort();
}

void folder_good(struct verify_folder *f)
{
    const struct spec ca = {
        .vid = "FFF1",
        .not_before = "20250101000000Z",
        .not_after = "20500101000000Z",
        .basic_constraints = "critical,CA:TRUE,pathlen:1",
        .key_usage = "critical,keyCertSign,cRLSign",
        .ski = "hash",
        .group = "P-256",
        .md = "SHA256",
        .version = X509_VERSION_3,
    };

    *f = (struct verify_folder){.path = "/tmp/mm-verify-XXXXXX", .paa = ca, .pai = ca};
    ck_assert_ptr_nonnull(mkdtemp(f->path));
    f->paa.cn = "Test PAA";
    f->pai.cn = "Test PAI";
    f->pai.basic_constraints = "critical,CA:TRUE,pathlen:0";
    f->pai.aki = "keyid";
    for (int i = 0; i < DEVICES; i++) {
        struct device_files *d = &f->devices[i];

        *d = (struct device_files){.spec = ca, .uid = uids[i], .hw_serial = serials[i]};
        d->spec.cn = cns[i];
        d->spec.pid = "8000";
        d->spec.aki = "keyid";
        d->spec.not_after = "99991231235959Z";
        d->spec.basic_constraints = "critical,CA:FALSE";
        d->spec.key_usage = "critical,digitalSignature";
        d->delivery = "WRAPPED";
        d->number = i + 1;
    }
    memset(f->transport_key, 0x5a, sizeof(f->transport_key));
}

void folder_idevid(struct verify_folder *f)
{
    for (int i = 0; i < DEVICES; i++) {
        f->devices[i].spec.vid = NULL;
        f->devices[i].spec.pid = NULL;
        f->devices[i].spec.serial_number = serials[i];
    }
}

static void add_attribute(X509_NAME *name, const char *oid, const char *value)
{
    ASN1_OBJECT *type = OBJ_txt2obj(oid, 1);

    if (value)
        ck_assert_int_eq(X509_NAME_add_entry_by_OBJ(name, type, V_ASN1_UTF8STRING,
                                                    (const unsigned char *)value, -1, -1, 0),
                         1);
    ASN1_OBJECT_free(type);
}

static void fill_name(X509_NAME *name, const struct spec *s)
{
    add_attribute(name, "2.5.4.3", s->cn);
    add_attribute(name, "2.5.4.5", s->serial_number);
    add_attribute(name, "1.3.6.1.4.1.37244.2.1", s->vid);
    add_attribute(name, "1.3.6.1.4.1.37244.2.1", s->second_vid);
    add_attribute(name, "1.3.6.1.4.1.37244.2.2", s->pid);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *text)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    if (!text)
        return;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    e = X509V3_EXT_nconf_nid(NULL, &ctx, nid, text);
    ck_assert_msg(e, "extension %s", text);
    ck_assert_int_eq(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

static void add_extensions(const struct spec *s, X509 *cert, X509 *issuer)
{
    add_extension(cert, issuer, NID_basic_constraints, s->basic_constraints);
    add_extension(cert, issuer, NID_key_usage, s->key_usage);
    add_extension(cert, issuer, NID_subject_key_identifier, s->ski);
    add_extension(cert, issuer, NID_authority_key_identifier, s->aki);
    add_extension(cert, issuer, NID_subject_alt_name, s->san);
}

/* Version 1 goes without extensions: from OpenSSL 3.5 on, signing would make it version 3. */
static X509 *make_certificate(const struct spec *s, EVP_PKEY *key, X509 *issuer,
                              EVP_PKEY *issuer_key, int serial)
{
    X509 *cert = X509_new();

    X509_set_version(cert, s->version);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), s->serial ? s->serial : serial);
    fill_name(X509_get_subject_name(cert), s);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
    ck_assert_int_eq(ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), s->not_before), 1);
    ck_assert_int_eq(ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), s->not_after), 1);
    X509_set_pubkey(cert, key);
    if (s->version == X509_VERSION_3)
        add_extensions(s, cert, issuer ? issuer : cert);
    ck_assert_int_gt(X509_sign(cert, issuer_key, EVP_get_digestbyname(s->md)), 0);
    return cert;
}

static int encode_certificate(const struct device_files *d, EVP_PKEY *pai_key, X509 *pai,
                              uint8_t **der)
{
    X509 *cert = make_certificate(&d->spec, d->key, pai, pai_key, 100 + d->number);
    const int len = i2d_X509(cert, der);

    X509_free(cert);
    return len;
}

static int encode_request(const struct device_files *d, uint8_t **der)
{
    X509_REQ *req = X509_REQ_new();
    int len;

    fill_name(X509_REQ_get_subject_name(req), &d->spec);
    X509_REQ_set_pubkey(req, d->key);
    ck_assert_int_gt(X509_REQ_sign(req, d->key, EVP_sha256()), 0);
    len = i2d_X509_REQ(req, der);
    X509_REQ_free(req);
    return len;
}

static size_t wrap(const uint8_t key[32], const uint8_t *plain, size_t len, uint8_t *out)
{
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP-PAD", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;

    ck_assert_int_eq(EVP_EncryptInit_ex2(ctx, cipher, key, NULL, NULL), 1);
    ck_assert_int_eq(EVP_EncryptUpdate(ctx, out, &n, plain, (int)len), 1);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(cipher);
    return (size_t)n;
}

static void write_key(const struct verify_folder *f, const struct device_files *d)
{
    EVP_PKEY *key = d->delivered_key ? d->delivered_key : d->key;
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    uint8_t *der = NULL, wrapped[512];
    const int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
    char name[64];

    snprintf(name, sizeof(name), "%s%s", d->uid,
             strcmp(d->delivery, "PLAIN") == 0 ? ".key.der" : ".key.wrapped");
    if (strcmp(d->delivery, "PLAIN") == 0)
        folder_put(f, name, der, (size_t)len);
    else if (strcmp(d->delivery, "WRAPPED") == 0)
        folder_put(f, name, wrapped, wrap(f->transport_key, der, (size_t)len, wrapped));
    OPENSSL_free(der);
    PKCS8_PRIV_KEY_INFO_free(info);
}

static void hex(const uint8_t *data, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", data[i]);
}

static void sha256_hex(const uint8_t *data, size_t len, char out[65])
{
    uint8_t digest[32];

    ck_assert_int_eq(EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL), 1);
    hex(digest, sizeof(digest), out);
}

static void write_device(const struct verify_folder *f, const struct device_files *d, X509 *pai,
                         FILE *lines)
{
    uint8_t *der = NULL;
    const int len =
        d->request ? encode_request(d, &der) : encode_certificate(d, f->pai_key, pai, &der);
    char name[64], digest[65];

    snprintf(name, sizeof(name), "%s%s", d->uid, d->request ? ".csr" : ".crt");
    folder_put(f, name, der, (size_t)len);
    sha256_hex(der, (size_t)len, digest);
    fprintf(lines,
            "{\"device_uid\": \"%s\", \"number\": %d, \"hw_serial\": \"%s\", \"%s_sha256\": "
            "\"%s\", \"key_delivery\": \"%s\", \"key_id\": \"%s\", \"issued_time_ms\": 1}\n",
            d->uid, d->number, d->hw_serial, d->request ? "csr" : "certificate", digest,
            d->delivery, strcmp(d->delivery, "RETAINED") == 0 ? "pkcs11:object=x" : "");
    OPENSSL_free(der);
    write_key(f, d);
}

static void write_pem(const struct verify_folder *f, const char *name, X509 *first, X509 *second)
{
    FILE *file = fopen(folder_path(f, name), "w");

    if (first)
        PEM_write_X509(file, first);
    PEM_write_X509(file, second);
    ck_assert_int_eq(fclose(file), 0);
}

static void check_value_hex(const struct verify_folder *f, char out[17])
{
    uint8_t counting[32], wrapped[48], digest[32];
    size_t len;

    for (size_t i = 0; i < sizeof(counting); i++)
        counting[i] = (uint8_t)i;
    len = wrap(f->transport_key, counting, sizeof(counting), wrapped);
    ck_assert_int_eq(EVP_Digest(wrapped, len, digest, NULL, EVP_sha256(), NULL), 1);
    hex(digest, 8, out);
}

static void write_transport(const struct verify_folder *f)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(f->recipient, NULL);
    uint8_t wrapped[256], *spki = NULL;
    size_t len = sizeof(wrapped);
    const int spki_len = i2d_PUBKEY(f->recipient, &spki);
    char text[2048], wrapped_hex[513], check[17], recipient[65];

    ck_assert_int_eq(EVP_PKEY_encrypt_init(ctx), 1);
    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
    ck_assert_int_eq(
        EVP_PKEY_encrypt(ctx, wrapped, &len, f->transport_key, sizeof(f->transport_key)), 1);
    hex(wrapped, len, wrapped_hex);
    check_value_hex(f, check);
    sha256_hex(spki, (size_t)spki_len, recipient);
    snprintf(text, sizeof(text),
             "{\"format\": \"mintmark-transport-key\", \"version\": 1, \"transport_key\": "
             "\"centre\", \"algorithm\": \"AES-256-KWP\", \"check_value\": \"%s\", "
             "\"recipient_sha256\": \"%s\", \"wrap\": \"RSA-OAEP-SHA1\", \"wrapped_key\": \"%s\"}",
             check, recipient, wrapped_hex);
    folder_put(f, "transport.json", text, strlen(text));
    snprintf(text, sizeof(text),
             "{\"transport_key\": \"centre\", \"algorithm\": \"AES-256-KWP\", \"check_value\": "
             "\"%s\"}\n",
             check);
    folder_put(f, "key-wrap.json", text, strlen(text));
    OPENSSL_free(spki);
    EVP_PKEY_CTX_free(ctx);
}

void folder_write(struct verify_folder *f)
{
    X509 *paa, *pai;
    FILE *file;

    f->paa_key = EVP_EC_gen(f->paa.group);
    f->pai_key = EVP_EC_gen(f->pai.group);
    f->recipient = recipient_key;
    EVP_PKEY_up_ref(recipient_key);
    paa = make_certificate(&f->paa, f->paa_key, NULL, f->paa_key, 1);
    pai = make_certificate(&f->pai, f->pai_key, paa, f->paa_key, 2);
    write_pem(f, "chain.pem", pai, paa);
    write_pem(f, "root.pem", NULL, paa);
    file = fopen(folder_path(f, "devices.jsonl"), "w");
    for (int i = 0; i < DEVICES; i++) {
        if (!f->devices[i].key)
            f->devices[i].key = EVP_EC_gen(f->devices[i].spec.group);
        write_device(f, &f->devices[i], pai, file);
    }
    ck_assert_int_eq(fclose(file), 0);
    write_transport(f);
    file = fopen(folder_path(f, "recipient.pem"), "w");
    PEM_write_PrivateKey(file, f->recipient, NULL, NULL, 0, NULL, NULL);
    ck_assert_int_eq(fclose(file), 0);
    X509_free(paa);
    X509_free(pai);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void folder_done(struct verify_folder *f)
{
    nftw(f->path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    EVP_PKEY_free(f->paa_key);
    EVP_PKEY_free(f->pai_key);
    EVP_PKEY_free(f->recipient);
    for (int i = 0; i < DEVICES; i++) {
        EVP_PKEY_free(f->devices[i].key);
        EVP_PKEY_free(f->devices[i].delivered_key);
    }
}

/* Runs the program with the arguments; returns its exit status, and what it printed. */
int verify_run(const char *const *args, char *output, size_t size)
{
    const char *argv[24] = {getenv("MM_VERIFY"), "identities"};
    int fds[2], status;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    for (size_t i = 0; args[i]; i++)
        argv[i + 2] = args[i];
    ck_assert_int_eq(pipe(fds), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(fds[1]);
    while ((n = read(fds[0], output + len, size - 1 - len)) > 0)
        len += (size_t)n;
    output[len] = 0;
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

void folder_judge(const struct verify_folder *f, const char *rules, int expected,
                  const char *part_of_output)
{
    const char *args[] = {"--dir",
                          f->path,
                          "--root",
                          folder_path(f, "root.pem"),
                          "--rules",
                          rules,
                          "--transport-key",
                          folder_path(f, "transport.json"),
                          "--recipient-key",
                          folder_path(f, "recipient.pem"),
                          "--count",
                          "3",
                          NULL};
    char output[16384];
    const int status = verify_run(args, output, sizeof(output));

    ck_assert_msg(status == expected, "exit %d, not %d: %s", status, expected, output);
    ck_assert_msg(strstr(output, part_of_output), "no \"%s\" in: %s", part_of_output, output);
}
