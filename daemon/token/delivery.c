/* SPDX-License-Identifier: Apache-2.0 */
/* What all deliveries of a profile have in common, made once. */
#include "daemon/token/minter.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"
#include "mintmark/v1/types.pb-c.h"

#include <openssl/evp.h>

enum { SHA256_LEN = 32, CHECK_VALUE_LEN = 8, CHAIN_LEN_MAX = MM_CHAIN_MAX + 1 };

/* A Delivery and everything that it points to. */
struct draft {
    Mintmark__V1__Delivery delivery;
    ProtobufCBinaryData chain[CHAIN_LEN_MAX]; /* OPENSSL_free */
    Mintmark__V1__KeyWrap key_wrap;
    Mintmark__V1__Item items[MM_ITEMS_MAX];
    Mintmark__V1__Item *item_list[MM_ITEMS_MAX];
    struct mm_buf contents[MM_ITEMS_MAX];
    uint8_t digests[MM_ITEMS_MAX][SHA256_LEN];
};

static int add_chain(struct draft *d, const STACK_OF(X509) * chain, struct mm_errinfo *ei)
{
    d->delivery.chain = d->chain;
    for (int i = 0; chain && i < sk_X509_num(chain) && i < CHAIN_LEN_MAX; i++) {
        ProtobufCBinaryData *to = &d->chain[i];
        const int len = i2d_X509(sk_X509_value(chain, i), &to->data);

        if (len <= 0)
            return mm_fail_memory(ei);
        to->len = (size_t)len;
        d->delivery.n_chain++;
    }
    return MM_OK;
}

static int read_content(struct draft *d, size_t i, const char *path, struct mm_errinfo *ei)
{
    Mintmark__V1__Item *item = &d->items[i];
    struct mm_buf *content = &d->contents[i];
    int r = mm_io_read_file(path, MM_ITEM_INLINE_MAX, content, ei);

    if (r < 0)
        return r;
    if (!EVP_Digest(content->data, content->len, d->digests[i], NULL, EVP_sha256(), NULL))
        return mm_fail_memory(ei);
    item->content = (ProtobufCBinaryData){content->len, content->data};
    item->size = content->len;
    return MM_OK;
}

static int add_item(struct draft *d, size_t i, const struct mm_conf_item *conf,
                    struct mm_errinfo *ei)
{
    Mintmark__V1__Item *item = &d->items[i];
    int r = MM_OK;

    mintmark__v1__item__init(item);
    item->name = conf->name;
    d->item_list[i] = item;
    d->delivery.n_items++;
    if (*conf->file) {
        r = read_content(d, i, conf->file, ei);
    } else {
        item->reference = conf->reference;
        item->size = conf->size;
        if (mm_hex_decode(conf->sha256, d->digests[i], SHA256_LEN) < 0)
            r = mm_fail_field(ei, "sha256", "sha256 must be 64 hexadecimal digits");
    }
    item->sha256 = (ProtobufCBinaryData){SHA256_LEN, d->digests[i]};
    return r < 0 ? mm_err_prefix(ei, "item \"%s\"", conf->name) : MM_OK;
}

static int add_items(struct draft *d, const struct mm_conf_profile *conf, struct mm_errinfo *ei)
{
    if (conf->n_items > MM_ITEMS_MAX)
        return mm_fail(ei, MM_ERR_TOO_BIG, "TOO_MANY_ITEMS", "more than %d items", MM_ITEMS_MAX);
    d->delivery.items = d->item_list;
    for (size_t i = 0; i < conf->n_items; i++) {
        const int r = add_item(d, i, &conf->items[i], ei);

        if (r < 0)
            return r;
    }
    return MM_OK;
}

static void add_key_wrap(struct draft *d, const struct mm_conf_profile *conf, uint8_t *check_value)
{
    static char algorithm[] = "AES-256-KWP";

    mintmark__v1__key_wrap__init(&d->key_wrap);
    d->key_wrap.transport_key = conf->transport;
    d->key_wrap.algorithm = algorithm;
    d->key_wrap.check_value = (ProtobufCBinaryData){CHECK_VALUE_LEN, check_value};
    d->delivery.key_wrap = &d->key_wrap;
}

static void draft_free(struct draft *d)
{
    for (size_t i = 0; i < CHAIN_LEN_MAX; i++)
        OPENSSL_free(d->chain[i].data);
    for (size_t i = 0; i < MM_ITEMS_MAX; i++)
        mm_buf_done(&d->contents[i]);
    free(d);
}

static int pack(const struct draft *d, struct mm_buf *out, struct mm_errinfo *ei)
{
    const size_t len = mintmark__v1__delivery__get_packed_size(&d->delivery);
    uint8_t *to = mm_buf_reserve(out, len);

    if (!to)
        return mm_fail(ei, out->err, "DELIVERY_TOO_BIG",
                       "chain and items are %zu bytes, more than %zu", len, out->max);
    mm_buf_grew(out, mintmark__v1__delivery__pack(&d->delivery, to));
    return MM_OK;
}

int mm_delivery_shared(const struct mm_conf_profile *conf, const STACK_OF(X509) * chain,
                       const uint8_t *check_value, struct mm_buf *ret_delivery,
                       struct mm_errinfo *ei)
{
    struct draft *d = calloc(1, sizeof(*d));
    uint8_t value[CHECK_VALUE_LEN];
    int r;

    if (!d)
        return mm_fail_memory(ei);
    mintmark__v1__delivery__init(&d->delivery);
    for (size_t i = 0; i < MM_ITEMS_MAX; i++)
        d->contents[i] = MM_BUF_INIT(MM_ITEM_INLINE_MAX);
    r = add_chain(d, chain, ei);
    if (r == MM_OK)
        r = add_items(d, conf, ei);
    if (check_value) {
        for (size_t i = 0; i < CHECK_VALUE_LEN; i++)
            value[i] = check_value[i];
        add_key_wrap(d, conf, value);
    }
    if (r == MM_OK)
        r = pack(d, ret_delivery, ei);
    draft_free(d);
    return r;
}
