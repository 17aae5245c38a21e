/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in gRPC's headers: whatever can be read can be written and read again. */
#include "tests/fuzz/fuzz.h"

#include "proto/grpc/status.h"
#include "proto/grpc/text.h"

#include <string.h>

enum { OUT_MAX = 1 << 22 };

static void try_timeout(const uint8_t *data, size_t size)
{
    char text[MM_GRPC_TIMEOUT_TEXT];
    int64_t us, again;

    if (mm_grpc_timeout_parse(data, size, &us) < 0)
        return;
    assert(us >= 0);
    mm_grpc_timeout_format(us, text);
    assert(mm_grpc_timeout_parse(text, strlen(text), &again) == MM_OK);
    assert(again >= us || again == 99999999 * INT64_C(3600000000));
}

static void try_percent(const uint8_t *data, size_t size)
{
    struct mm_buf encoded = MM_BUF_INIT(OUT_MAX), decoded = MM_BUF_INIT(OUT_MAX);

    mm_grpc_percent_decode(&decoded, data, size);
    assert(decoded.len <= size);
    mm_buf_reset(&decoded);
    mm_grpc_percent_encode(&encoded, data, size);
    for (size_t i = 0; i < encoded.len; i++)
        assert(encoded.data[i] >= 0x20 && encoded.data[i] <= 0x7e);
    mm_grpc_percent_decode(&decoded, encoded.data, encoded.len);
    assert(decoded.len == size && (size == 0 || memcmp(decoded.data, data, size) == 0));
    mm_buf_done(&encoded);
    mm_buf_done(&decoded);
}

static void try_base64(const uint8_t *data, size_t size)
{
    struct mm_buf encoded = MM_BUF_INIT(OUT_MAX), decoded = MM_BUF_INIT(OUT_MAX);

    if (mm_grpc_base64_decode(&decoded, data, size) == MM_OK) {
        mm_grpc_base64_encode(&encoded, decoded.data, decoded.len);
        /* Canonical but for padding. */
        assert(encoded.len <= size &&
               (encoded.len == 0 || !memcmp(encoded.data, data, encoded.len)));
        for (size_t i = encoded.len; i < size; i++)
            assert(data[i] == '=');
    }
    assert(decoded.len == 0 || decoded.err == MM_OK);
    mm_buf_done(&encoded);
    mm_buf_done(&decoded);
}

static void try_details(const uint8_t *data, size_t size)
{
    struct mm_buf packed = MM_BUF_INIT(OUT_MAX);
    struct mm_errinfo ei = {.code = MM_ERR_INVALID}, again = {.code = MM_ERR_INVALID};

    if (mm_grpc_details_unpack(data, size, &ei) < 0)
        return;
    mm_grpc_details_pack(&ei, &packed);
    assert(mm_buf_err(&packed) == MM_OK);
    assert(mm_grpc_details_unpack(packed.data, packed.len, &again) == MM_OK);
    assert(again.retry_ms == ei.retry_ms);
    mm_buf_done(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_timeout(data, size);
    try_percent(data, size);
    try_base64(data, size);
    try_details(data, size);
    assert(mm_grpc_status_parse(data, size) <= MM_GRPC_UNAUTHENTICATED);
    assert(mm_grpc_content_parse(data, size) <= MM_GRPC_CONTENT_SUBTYPE);
    /* Who names gzip alone takes it. */
    assert(mm_grpc_coding_parse(data, size) != MM_GRPC_CODING_GZIP ||
           mm_grpc_accepts_gzip(data, size));
    return 0;
}
