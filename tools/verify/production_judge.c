/* SPDX-License-Identifier: Apache-2.0 */
/* Does a report add up, in itself, with the order, and with the ledger? */
#include "tools/verify/production.h"

#include "tools/verify/manifest.h"

#include "mintmark/v1/document.pb-c.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ULL(n) ((unsigned long long)(n))

static void bad(struct production_judge *j, const char *code, const char *fmt, ...) PRINTF(3, 4);
static void bad(struct production_judge *j, const char *code, const char *fmt, ...)
{
    char what[TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    finding(j->v, code, j->path, "%s", what);
}

/* ---- the head ---------------------------------------------------------------------------- */

static void judge_place(struct production_judge *j, const struct production *p)
{
    const Mintmark__V1__ProductionOrder *o = j->order;
    bool station = o->n_stations == 0;

    for (size_t i = 0; i < o->n_stations; i++)
        station = station || strcmp(o->stations[i], p->station) == 0;
    if (!station)
        bad(j, "ORDER_STATION", "the order is not for station %s", p->station);
    if (p->opened_ms < o->not_before_time_ms || p->opened_ms >= o->not_after_time_ms)
        bad(j, "ORDER_EXPIRED", "the batch was opened outside of the order's validity");
    if (!p->has_appliance || !same_bytes(&o->appliance_sha256, p->appliance, SHA256_LEN))
        bad(j, "ORDER_OTHER_APPLIANCE", "the order is for another appliance");
}

static void judge_signed_order(struct production_judge *j, const struct production *p)
{
    const Mintmark__V1__ProductionOrder *o = j->order;

    if (strcmp(o->order_id, p->order_id) != 0) {
        bad(j, "REPORT_OTHER_ORDER", "it is on order %s, and not on %s", p->order_id, o->order_id);
        return;
    }
    if (strcmp(o->oem, p->oem) != 0 || strcmp(o->product, p->product) != 0 ||
        strcmp(o->profile, p->order_profile) != 0)
        bad(j, "ORDER_NOT_AS_SIGNED", "OEM, product or profile are not what the order says");
    if (p->order_quantity > o->quantity)
        bad(j, "ORDER_NOT_AS_SIGNED", "it says that %llu were ordered; the OEM signed %llu",
            ULL(p->order_quantity), ULL(o->quantity));
    if (p->order_used > o->quantity)
        bad(j, "QUOTA_EXHAUSTED", "%llu units are used, and the OEM signed %llu",
            ULL(p->order_used), ULL(o->quantity));
    if (p->order_refunded > o->replacements_max)
        bad(j, "REFUND_TOO_MANY", "%llu units were given back, and the OEM signed %llu",
            ULL(p->order_refunded), ULL(o->replacements_max));
    if (o->per_batch_max > 0 && p->quantity > o->per_batch_max)
        bad(j, "ORDER_BATCH_LIMIT", "the batch was opened for %llu devices, the OEM signed %llu",
            ULL(p->quantity), ULL(o->per_batch_max));
    judge_place(j, p);
}

/* Text that the ledger has for a batch that was opened in it. */
static void judge_opened(struct production_judge *j, const struct production *p)
{
    const struct batch *b = j->batch;

    if (!b->complete)
        return;
    if (b->quantity != p->quantity || strcmp(b->name, p->name) != 0 ||
        strcmp(b->device_type, p->device_type) != 0 || strcmp(b->station, p->station) != 0)
        bad(j, "REPORT_NOT_AS_RECORDED", "the batch is not as it was opened");
    if (p->opened.sequence != b->opened.sequence ||
        memcmp(p->opened.hash, b->opened.hash, SHA256_LEN) != 0)
        bad(j, "REPORT_OTHER_LEDGER", "its first head is not the record that opened the batch");
}

static void judge_ledger(struct production_judge *j, const struct production *p)
{
    const struct ledger *l = j->ledger;

    if (memcmp(p->ledger_id, l->id, sizeof(l->id)) != 0) {
        bad(j, "LEDGER_FOREIGN", "it is of another ledger");
        return;
    }
    if (p->released.sequence > l->at.sequence) {
        bad(j, "LEDGER_TRUNCATED", "it knows of record %llu, but the export ends at record %llu",
            ULL(p->released.sequence), ULL(l->at.sequence));
        return;
    }
    j->batch = batch_find(l, p->uid);
    if (!j->batch || j->batch->released.sequence == 0) {
        j->batch = NULL;
        if (p->released.sequence >= l->first_sequence)
            bad(j, "REPORT_OTHER_LEDGER", "the ledger knows no such batch, or not its release");
        else
            unproved(j->v, "%s: its batch was released before the export begins.", j->path);
        return;
    }
    if (p->released.sequence != j->batch->released.sequence ||
        memcmp(p->released.hash, j->batch->released.hash, SHA256_LEN) != 0)
        bad(j, "REPORT_OTHER_LEDGER", "its last head is not the record that released the batch");
    if (j->batch->order && strcmp(j->batch->order->id, p->order_id) != 0)
        bad(j, "REPORT_OTHER_ORDER", "the batch draws on order %s, and not on %s",
            j->batch->order->id, p->order_id);
    judge_opened(j, p);
}

static void take_head(void *context, const struct production *p)
{
    struct production_judge *j = context;
    uint8_t uid[16];

    j->p = p;
    if (!uid_parse(p->uid, uid))
        bad(j, "REPORT_FORM", "the batch has no UID");
    if (strcmp(p->profile, p->order_profile) != 0)
        bad(j, "SUM_WRONG", "the batch's profile is not its order's");
    if (p->order_used > p->order_quantity)
        bad(j, "QUOTA_EXHAUSTED", "%llu units are used of an order of %llu", ULL(p->order_used),
            ULL(p->order_quantity));
    if (p->released_ms < p->opened_ms)
        bad(j, "TIME_WENT_BACK", "the batch was released before it was opened");
    if (p->opened.sequence >= p->released.sequence)
        bad(j, "REPORT_OTHER_LEDGER", "its heads are in the wrong order");
    if (j->order)
        judge_signed_order(j, p);
    if (j->ledger)
        judge_ledger(j, p);
}

/* ---- devices ----------------------------------------------------------------------------- */

static void once(struct production_judge *j, const struct production_device *d, enum seen_kind kind,
                 const void *value, size_t len, const char *code, const char *what)
{
    const int64_t before = seen_add(&j->seen, kind, value, len, j->devices_in_all);

    if (before > 0)
        bad(j, code, "device %s has the %s of another device", d->uid_text, what);
    else if (before < 0)
        bad(j, "MEMORY", "there is not enough memory to compare all devices");
}

static void judge_once(struct production_judge *j, const struct production_device *d)
{
    char serial[2 * STRING_MAX];
    int n;

    once(j, d, SEEN_UID, d->uid, sizeof(d->uid), "DUPLICATE_UID", "UID");
    once(j, d, SEEN_ROW, &d->row, sizeof(d->row), "DUPLICATE_ROW", "row");
    once(j, d, SEEN_KEY, d->spki_sha256, sizeof(d->spki_sha256), "DUPLICATE_KEY", "public key");
    if (d->serial_len > 0)
        once(j, d, SEEN_SERIAL, d->serial, d->serial_len, "DUPLICATE_SERIAL",
             "certificate serial number");
    n = snprintf(serial, sizeof(serial), "%s/%llu", j->p->profile, ULL(d->number));
    once(j, d, SEEN_NUMBER, serial, n > 0 ? (size_t)n : 0, "DUPLICATE_NUMBER", "number");
    if (!*d->hw_serial || d->state == DEVICE_KO)
        return;
    n = snprintf(serial, sizeof(serial), "%s/%s", j->p->profile, d->hw_serial);
    once(j, d, SEEN_HW_SERIAL, serial, n > 0 ? (size_t)n : 0, "DUPLICATE_HW_SERIAL",
         "hardware serial number");
}

static void judge_state(struct production_judge *j, const struct production_device *d)
{
    const bool reported = d->reported_ms > 0;

    j->states[d->state]++;
    if (reported != (d->state != DEVICE_UNREPORTED) || (*d->reason && d->state != DEVICE_KO))
        bad(j, "SUM_WRONG", "device %s: state, reason and time of the report do not agree",
            d->uid_text);
    if (d->made_ms == 0 || d->made_ms > j->p->released_ms + TOLERANCE_MS ||
        (reported && d->reported_ms > j->p->released_ms + TOLERANCE_MS))
        bad(j, "TIME_WENT_BACK", "device %s was made or reported after the release", d->uid_text);
    if (d->state == DEVICE_KO)
        json_object_set_new(
            j->reasons, d->reason,
            json_integer(json_integer_value(json_object_get(j->reasons, d->reason)) + 1));
}

static struct spend *spend_at(const struct batch *b, uint64_t first_row)
{
    size_t low = 0, high = b->n_spends;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (b->spends[middle].first_row == first_row)
            return &b->spends[middle];
        if (b->spends[middle].first_row < first_row)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void add_short(struct ledger *l, const void *data, size_t len)
{
    const uint8_t byte = (uint8_t)len;

    digest_add(l, &byte, 1);
    digest_add(l, data, len);
}

static void end_spend(struct production_judge *j)
{
    uint8_t hash[SHA256_LEN];

    digest_end(j->ledger, hash);
    j->spend->compared = memcmp(hash, j->spend->devices_sha256, SHA256_LEN) == 0;
    if (j->spend->compared)
        j->spends_compared++;
    else
        bad(j, "DEVICES_CHANGED", "the devices of rows %llu on are not those of record %llu",
            ULL(j->spend->first_row), ULL(j->spend->sequence));
    j->spend = NULL;
}

/* A certificate from elsewhere came later than the record that binds the device; another record
 * says which it was. */
static void judge_certified(struct production_judge *j, const struct production_device *d)
{
    struct certified_key key;

    if (d->certified_len > 0 && d->serial_len > 0) {
        bad(j, "DEVICES_CHANGED", "device %s has two certificates", d->uid_text);
    } else if (d->certified_len > 0) {
        certified_key(&key, d->uid, sizeof(d->uid), d->certified, d->certified_len);
        if (!seen_has(&j->ledger->seen, SEEN_CERTIFIED_SERIAL, key.bytes, key.len))
            bad(j, "DEVICES_CHANGED", "no record says that device %s got that certificate",
                d->uid_text);
    } else if (seen_has(&j->ledger->seen, SEEN_CERTIFIED, d->uid, sizeof(d->uid))) {
        bad(j, "DEVICES_CHANGED", "device %s got a certificate, which the report leaves out",
            d->uid_text);
    }
}

/* The devices of one record stand together. */
static void judge_recorded(struct production_judge *j, const struct production_device *d)
{
    struct ledger *l = j->ledger;
    uint8_t number[8];

    if (!j->spend) {
        j->spend = spend_at(j->batch, d->row);
        j->in_spend = 0;
        if (j->spend)
            digest_begin(l);
    }
    if (!j->spend || d->row != j->spend->first_row + j->in_spend) {
        bad(j, "DEVICES_CHANGED", "the device of row %llu is none that was recorded for the batch",
            ULL(d->row));
        j->spend = NULL;
        return;
    }
    for (int i = 0; i < 8; i++)
        number[i] = (uint8_t)(d->number >> (56 - 8 * i));
    judge_certified(j, d);
    digest_add(l, d->uid, sizeof(d->uid));
    digest_add(l, d->spki_sha256, SHA256_LEN);
    digest_add(l, number, sizeof(number));
    add_short(l, d->serial, d->serial_len);
    add_short(l, d->hw_serial, strlen(d->hw_serial) & 255);
    if (++j->in_spend == j->spend->count)
        end_spend(j);
}

static void list(struct production_judge *j, const struct production_device *d)
{
    struct listed_device *room;

    if ((j->n_listed & (j->n_listed - 1)) == 0) {
        room = allocate(j->n_listed ? j->n_listed * 2 : 1, sizeof(*room));
        if (j->n_listed)
            memcpy(room, j->listed, j->n_listed * sizeof(*room));
        free(j->listed);
        j->listed = room;
    }
    room = &j->listed[j->n_listed++];
    memcpy(room->spki_sha256, d->spki_sha256, SHA256_LEN);
    room->due = d->state != DEVICE_KO;
}

static void take_device(void *context, const struct production_device *d)
{
    struct production_judge *j = context;

    j->devices++;
    j->devices_in_all++;
    if (j->list)
        list(j, d);
    judge_once(j, d);
    judge_state(j, d);
    if (j->batch)
        judge_recorded(j, d);
}

static void take_failure(void *context, const char *reason, uint64_t devices)
{
    struct production_judge *j = context;
    const json_t *counted = json_object_get(j->reasons, reason);

    if (j->failures > 0 && strcmp(j->last_reason, reason) >= 0)
        bad(j, "REPORT_FORM", "failures are not in the order of their reasons");
    if (!counted || (uint64_t)json_integer_value(counted) != devices)
        bad(j, "SUM_WRONG", "%llu devices are said to be KO for \"%s\", and %lld are", ULL(devices),
            reason, (long long)json_integer_value(counted));
    snprintf(j->last_reason, sizeof(j->last_reason), "%s", reason);
    j->failures++;
}

/* ---- totals ------------------------------------------------------------------------------ */

static void judge_totals(struct production_judge *j, const struct production *p)
{
    if (p->issued != j->devices || p->ok != j->states[DEVICE_OK] || p->ko != j->states[DEVICE_KO] ||
        p->unreported != j->states[DEVICE_UNREPORTED])
        bad(j, "SUM_WRONG",
            "it counts %llu devices: %llu OK, %llu KO, %llu unreported; it has %llu: %llu, %llu, "
            "%llu",
            ULL(p->issued), ULL(p->ok), ULL(p->ko), ULL(p->unreported), ULL(j->devices),
            ULL(j->states[DEVICE_OK]), ULL(j->states[DEVICE_KO]),
            ULL(j->states[DEVICE_UNREPORTED]));
    if (j->failures != json_object_size(j->reasons))
        bad(j, "SUM_WRONG", "it counts %llu reasons for failures, and devices have %zu",
            ULL(j->failures), json_object_size(j->reasons));
    if (p->issued > p->quantity)
        bad(j, "BATCH_FULL", "%llu devices in a batch for %llu", ULL(p->issued), ULL(p->quantity));
    if (p->issued > p->order_used + p->order_refunded)
        bad(j, "QUOTA_EXHAUSTED", "it has more devices than its order has units used");
    if (p->refunded > p->ko || p->refunded > p->order_refunded)
        bad(j, "REFUND_TOO_MANY", "%llu units were given back for %llu KO devices",
            ULL(p->refunded), ULL(p->ko));
    if ((p->first_ms == 0) != (p->issued == 0) || p->first_ms > p->last_ms)
        bad(j, "SUM_WRONG", "the times of its first and last device cannot be");
}

static void judge_account(struct production_judge *j, const struct production *p)
{
    const struct batch *b = j->batch;
    const Mintmark__V1__BatchReleased *a = &b->account;
    size_t missing = 0;

    if (j->spend)
        bad(j, "DEVICES_CHANGED", "devices of record %llu are missing", ULL(j->spend->sequence));
    for (size_t i = 0; i < b->n_spends; i++)
        missing += !b->spends[i].compared;
    if (missing > 0 && b->complete)
        bad(j, "DEVICES_CHANGED", "the devices of %zu records of the batch are missing or changed",
            missing);
    if (p->issued != a->issued || p->ok != a->ok || p->ko != a->ko)
        bad(j, "REPORT_NOT_AS_RECORDED", "its totals are not those of the batch's release");
    if (b->account_whole &&
        (p->order_quantity != a->order_quantity || p->order_used != a->order_used ||
         p->order_refunded != a->order_refunded || p->refunded != a->refunded))
        bad(j, "REPORT_NOT_AS_RECORDED", "its sums of the order are not those of the release");
}

static void judge_file(struct production_judge *j, const uint8_t sha256[SHA256_LEN], uint64_t size)
{
    const struct batch *b = j->batch;

    if (b->reported_at == 0)
        unproved(j->v,
                 "%s: that it is the only report on its batch: the export has no record of its "
                 "signature.",
                 j->path);
    else if (memcmp(b->report_sha256, sha256, SHA256_LEN) != 0 || b->report_size != size)
        bad(j, "REPORT_OTHER_LEDGER", "record %llu names another report as the one that was signed",
            ULL(b->reported_at));
}

/* ---- the file ---------------------------------------------------------------------------- */

/* The signature, over the bytes as they are. They are read again afterwards, so their hash is
 * kept. */
static bool judge_signature(struct production_judge *j, struct signature *s, FILE *file,
                            const char *signature, uint8_t ret_sha256[SHA256_LEN])
{
    BIO *content = BIO_new_fp(file, BIO_NOCLOSE), *hash = BIO_new(BIO_f_md());
    char why[TEXT_MAX];
    size_t len;
    uint8_t *cms = file_read(NULL, signature, &len);
    const char *code = NULL;
    EVP_MD_CTX *ctx = NULL;

    if (!cms)
        unreadable(signature, strerror(errno));
    if (cms && content && hash && BIO_set_md(hash, EVP_sha256()) > 0) {
        BIO_push(hash, content);
        code = signature_open(s, cms, len, hash, why);
        if (code) {
            bad(j, code, "the signature: %s", why);
            s->signer = NULL; /* nobody, then */
        }
        if (BIO_get_md_ctx(hash, &ctx) <= 0 || !EVP_DigestFinal_ex(ctx, ret_sha256, NULL))
            memset(ret_sha256, 0, SHA256_LEN);
    }
    free(cms);
    BIO_free(hash);
    BIO_free(content);
    ERR_clear_error();
    return cms;
}

/* The report may have been signed long after the release, by a key that is younger. */
static int64_t signing_time(const X509 *signer, int64_t released_ms)
{
    struct tm tm;
    int64_t begin_ms;

    if (ASN1_TIME_to_tm(X509_get0_notBefore(signer), &tm) != 1)
        return released_ms;
    begin_ms = (int64_t)timegm(&tm) * 1000;
    return begin_ms > released_ms ? begin_ms : released_ms;
}

/* A ledger beside it says which keys there were. */
static void judge_signer(struct production_judge *j, const struct signature *s, int64_t released_ms)
{
    const int64_t time_ms = signing_time(s->signer, released_ms);
    char why[TEXT_MAX];
    const char *code = j->ledger ? audit_key_check(j->ledger, s->signer, s->certificates, 0,
                                                   UINT64_MAX, time_ms, why)
                                 : trust_check(j->audit, s->signer, s->certificates, time_ms, why);

    if (code)
        bad(j, code, "signed by %s: %s", s->signer_name, why);
}

void production_judge_begin(struct production_judge *j, const char *path)
{
    j->path = path;
    j->p = NULL;
    j->batch = NULL;
    j->spend = NULL;
    j->devices = j->failures = j->spends_compared = 0;
    memset(j->states, 0, sizeof(j->states));
    json_decref(j->reasons);
    j->reasons = json_object();
    j->last_reason[0] = 0;
    j->reports++;
}

void production_judge_text(struct production_judge *j, FILE *file, const struct signature *s,
                           const uint8_t signed_sha256[SHA256_LEN])
{
    const struct production_reader reader = {j, take_head, take_device, take_failure};
    struct scan *scan = allocate(1, sizeof(*scan));
    struct production *p = allocate(1, sizeof(*p));
    uint8_t sha256[SHA256_LEN];

    if (!scan_begin(scan, file))
        bad(j, "MEMORY", "there is not enough memory");
    else if (!production_read(scan, p, &reader))
        bad(j, "REPORT_FORM", "at byte %llu: %s", ULL(scan->at), scan->why);
    else
        judge_totals(j, p);
    if (scan->sha256 && scan_end(scan, sha256) && !scan->bad) {
        if (s->signer)
            judge_signer(j, s, p->released_ms);
        if (s->signer && memcmp(sha256, signed_sha256, SHA256_LEN) != 0)
            bad(j, "REPORT_FORM", "the file changed while it was read");
        if (j->batch)
            judge_account(j, p);
        if (j->batch)
            judge_file(j, sha256, scan->at);
    }
    free(scan);
    free(p);
    j->p = NULL;
}

bool production_judge(struct production_judge *j, const char *path, const char *signature)
{
    struct signature s = {.cms = NULL};
    uint8_t sha256[SHA256_LEN] = {0};
    FILE *file = fopen(path, "re");
    char *beside = NULL;
    bool readable = file;

    production_judge_begin(j, path);
    if (!file)
        unreadable(path, strerror(errno));
    if (!signature && asprintf(&beside, "%s.p7s", path) < 0)
        beside = NULL;
    if (file)
        readable = judge_signature(j, &s, file, signature ? signature : beside, sha256);
    if (readable) {
        rewind(file);
        production_judge_text(j, file, &s, sha256);
    }
    signature_done(&s);
    free(beside);
    if (file)
        fclose(file);
    return readable;
}

/* ---- the manifest ------------------------------------------------------------------------ */

static void take_element(void *context, const struct manifest_device *d)
{
    struct production_judge *j = context;
    const int64_t at = seen_get(&j->seen, SEEN_UID, d->uid, sizeof(d->uid));
    struct listed_device *listed = at > 0 && (size_t)at <= j->n_listed ? &j->listed[at - 1] : NULL;

    if (!listed)
        bad(j, "MANIFEST_DEVICE", "the manifest has device %s, and the report has not",
            d->uid_text);
    else if (!listed->due)
        bad(j, "MANIFEST_DEVICE", "the manifest has device %s, which is KO, or there twice",
            d->uid_text);
    else if (memcmp(listed->spki_sha256, d->spki_sha256, SHA256_LEN) != 0)
        bad(j, "MANIFEST_KEY", "the manifest has another key for device %s", d->uid_text);
    if (listed)
        listed->due = false;
}

bool production_judge_manifest(struct production_judge *j, const char *path)
{
    struct manifest m = {
        .v = j->v, .path = path, .audit = j->audit, .context = j, .device = take_element};
    const bool readable = manifest_read(&m);
    uint64_t missing = 0;

    for (size_t i = 0; i < j->n_listed; i++)
        missing += j->listed[i].due;
    if (readable && missing > 0)
        bad(j, "MANIFEST_DEVICE", "%llu devices of the report are not in the manifest",
            ULL(missing));
    manifest_done(&m);
    return readable;
}

void production_judge_done(struct production_judge *j)
{
    free(j->listed);
    seen_done(&j->seen);
    json_decref(j->reasons);
}
