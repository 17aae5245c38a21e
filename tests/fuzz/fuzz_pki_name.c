/* SPDX-License-Identifier: Apache-2.0 */
/* First line: a subject template; second: a san template; the rest: a station's serial number.
 * Whatever the station says, the name keeps the number of attributes that the template has. */
#include "tests/fuzz/fuzz.h"

#include "daemon/pki/name.h"
#include "daemon/pki/san.h"

#include <stdlib.h>
#include <string.h>

static const struct mm_template_fixed fixed = {"FFF1", "8000", "Fuzz"};

static void try_subject(const char *text, const struct mm_subject *s)
{
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_errinfo ei;
    struct mm_name name = {.n_rdns = 0};

    if (mm_name_parse(text, &fixed, &name, &ei) < 0)
        return;
    if (mm_name_der(&name, s, &der, &ei) == MM_OK) {
        const uint8_t *at = der.data;
        X509_NAME *parsed = d2i_X509_NAME(NULL, &at, (long)der.len);

        assert(parsed && at == der.data + der.len);
        assert((size_t)X509_NAME_entry_count(parsed) == name.n_rdns);
        X509_NAME_free(parsed);
    }
    mm_name_done(&name);
    mm_buf_done(&der);
}

static void try_san(const char *text, const struct mm_subject *s)
{
    X509_EXTENSION *extension = NULL;
    struct mm_errinfo ei;
    struct mm_san san = {.n_entries = 0};

    if (mm_san_parse(text, &fixed, &san, &ei) < 0)
        return;
    if (mm_san_extension(&san, s, false, &extension, &ei) == MM_OK)
        assert(extension);
    X509_EXTENSION_free(extension);
    mm_san_done(&san);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 3), *rest = text;
    const char *subject, *san;
    struct mm_subject s = {.number = 7, .device_uid = "0193537b-1f4c-7abc-8def-001122334455"};

    if (!text)
        return 0;
    if (size)
        memcpy(text, data, size);
    subject = strsep(&rest, "\n");
    san = rest ? strsep(&rest, "\n") : "";
    s.hw_serial = rest ? rest : "";
    try_subject(subject, &s);
    try_san(san, &s);
    free(text);
    return 0;
}
