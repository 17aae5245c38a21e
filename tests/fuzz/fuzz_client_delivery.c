/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from a server: each is a length of two bytes, big-endian, and so many bytes. The
 * length's highest bit says that it is an EnrollResponse; else it is a Delivery. What gets through
 * can be used as a file name, and is within its limits. */
#include "tests/fuzz/fuzz.h"

#include "client/delivery.h"
#include "client/response.h"
#include "daemon/base/text.h"

#include <string.h>

static void check_bundle(const struct mintmark_bundle *b)
{
    assert(strlen(b->device_uid) == MM_UID_LEN && !strchr(b->device_uid, '/'));
    assert((b->certificate.len > 0) != (b->csr.len > 0));
    assert(b->key_delivery >= MINTMARK_KEY_WRAPPED && b->key_delivery <= MINTMARK_KEY_ON_DEVICE);
    assert((b->private_key.len == 0) ==
           (b->key_delivery == MINTMARK_KEY_RETAINED || b->key_delivery == MINTMARK_KEY_ON_DEVICE));
    assert(b->key_delivery != MINTMARK_KEY_WRAPPED || (b->transport_key && b->wrap_algorithm));
    assert(b->n_chain <= MM_CHAIN_MAX && b->n_items <= MM_ITEMS_MAX);
    for (size_t i = 0; i < b->n_items; i++)
        assert(mm_name_valid(b->items[i].name, MM_NAME_MAX) && b->items[i].sha256);
}

static void read_bundle(struct mm_delivery *delivery, const Mintmark__V1__Bundle *from)
{
    struct mintmark_bundle bundle;
    struct mintmark_error error;
    uint8_t uid[16];

    if (mm_delivery_bundle(delivery, from, NULL, &bundle, uid, &error) == 0)
        check_bundle(&bundle);
}

static void read_withheld(const Mintmark__V1__Withheld *from)
{
    struct mintmark_withheld withheld;
    struct mintmark_error error;
    uint8_t uid[16];

    if (mm_delivery_withheld(from, &withheld, uid, &error) < 0)
        return;
    assert(strlen(withheld.device_uid) == MM_UID_LEN && !strchr(withheld.device_uid, '/'));
    assert(memchr(withheld.text, 0, sizeof(withheld.text)));
    assert(withheld.state == MINTMARK_CERTIFICATE_WAITING ||
           withheld.state == MINTMARK_CERTIFICATE_FAILED ||
           withheld.state == MINTMARK_CERTIFICATE_PARKED);
}

static void read_delivery(struct mm_delivery *delivery, const struct mm_bytes *bytes)
{
    const Mintmark__V1__Delivery *message;
    struct mintmark_error error;

    if (mm_delivery_read(delivery, bytes, &message, &error) < 0)
        return;
    for (size_t i = 0; i < message->n_bundles; i++)
        read_bundle(delivery, message->bundles[i]);
    for (size_t i = 0; i < message->n_withheld; i++)
        read_withheld(message->withheld[i]);
}

static void read_enrolled(struct mm_delivery *delivery, const struct mm_bytes *bytes)
{
    const Mintmark__V1__EnrollResponse *message;
    struct mintmark_error error;

    if (mm_delivery_read_enrolled(delivery, bytes, &message, &error) < 0)
        return;
    for (size_t i = 0; i < message->n_results; i++) {
        const Mintmark__V1__EnrollResult *result = message->results[i];

        if (result->outcome_case == MINTMARK__V1__ENROLL_RESULT__OUTCOME_BUNDLE)
            read_bundle(delivery, result->bundle);
        if (result->outcome_case == MINTMARK__V1__ENROLL_RESULT__OUTCOME_WITHHELD)
            read_withheld(result->withheld);
        if (result->outcome_case == MINTMARK__V1__ENROLL_RESULT__OUTCOME_ERROR &&
            mm_response_status(result->error, &error) == 0)
            assert(memchr(error.message, 0, sizeof(error.message)) &&
                   error.status <= MINTMARK_UNAUTHENTICATED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mm_delivery delivery = {.begun = false};

    mm_delivery_begin(&delivery);
    while (size >= 2) {
        const size_t announced = (size_t)(data[0] & 0x7f) << 8 | data[1];
        const struct mm_bytes bytes = {data + 2, announced < size - 2 ? announced : size - 2};

        if (data[0] & 0x80)
            read_enrolled(&delivery, &bytes);
        else
            read_delivery(&delivery, &bytes);
        data += 2 + bytes.len;
        size -= 2 + bytes.len;
    }
    mm_delivery_done(&delivery);
    return 0;
}
