/* SPDX-License-Identifier: Apache-2.0 */
/* An exchange package from whoever brings it: the envelope, with the private key at hand, the
 * document in it; and, behind the signature that a fuzzer cannot make, its content. */
#include "tests/fuzz/fuzz.h"

#include "tests/support/exchange_key.h"
#include "tests/support/soft_exchange.h"
#include "tools/officer/package.h"

#include <string.h>

static void read_content(struct mm_bytes content)
{
    MM_PACKAGE_CLEANUP struct mm_package package = {.n_items = 0};
    struct mm_errinfo ei;

    if (mm_package_parse(content, &package, &ei) < 0) {
        assert(package.n_items == 0 && !package.items);
        return;
    }
    assert(package.n_items >= 1 && package.n_items <= MM_PACKAGE_ITEMS_MAX && *package.id);
    assert(package.not_after_ms > package.created_ms);
    for (size_t i = 0; i < package.n_items; i++) {
        const struct mm_item *const item = &package.items[i];

        assert(*item->name && *item->name != '.' && !strchr(item->name, '/'));
        assert(item->bytes.len > 0 && !item->password == (item->type != MM_ITEM_PKCS12));
    }
}

static void read_envelope(struct mm_bytes der)
{
    MM_BUF_CLEANUP struct mm_buf inner = MM_BUF_INIT(MM_PACKAGE_MAX + MM_ENVELOPE_IV_MAX);
    MM_BUF_CLEANUP struct mm_buf content = MM_BUF_INIT(MM_PACKAGE_MAX);
    MM_DOCUMENT_CLEANUP struct mm_document document = MM_DOCUMENT_INIT;
    struct soft_exchange *const key = soft_exchange();
    struct mm_envelope envelope;
    struct mm_errinfo ei;

    if (mm_envelope_read(der, key->certificate, &envelope, &ei) < 0)
        return;
    assert(envelope.recipients >= 1 && envelope.recipients <= MM_PACKAGE_RECIPIENTS_MAX);
    assert(envelope.ciphertext.len > 0 && envelope.ciphertext.len < der.len);
    if (mm_envelope_open(&envelope, &key->holder, &inner, &ei) < 0) {
        assert(inner.len == 0);
        return;
    }
    if (mm_document_open_bytes((struct mm_bytes){inner.data, inner.len}, MM_PACKAGE_MAX, &document,
                               &content, &ei) == MM_OK)
        read_content((struct mm_bytes){content.data, content.len});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_envelope((struct mm_bytes){data, size});
    read_content((struct mm_bytes){data, size});
    return 0;
}
