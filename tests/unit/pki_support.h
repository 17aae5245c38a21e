/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of profiles share: settings, a clock, the reference chain. */
#pragma once

#include "daemon/base/clock.h"
#include "daemon/base/io.h"
#include "daemon/pki/profile.h"

#include <check.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

/* 2026-11-22 00:00:00, inside the reference chain's validity. */
static const int64_t now_ms = 1795305600000;

static inline int64_t test_wall_ms(void)
{
    return now_ms;
}

static inline int64_t test_mono_us(void)
{
    return 0;
}

static inline void text(char **field, const char *value)
{
    *field = (char *)(uintptr_t)value;
}

/* A profile's settings with nothing set; strings are literals. */
static inline struct mm_conf_profile settings(const char *preset, const char *issuer)
{
    struct mm_conf_profile c = {.subject_key_identifier = true, .authority_key_identifier = true};

    text(&c.name, "Test");
    text(&c.preset, preset);
    text(&c.issuer, issuer);
    text(&c.token, "");
    text(&c.key, "p256");
    text(&c.delivery, "wrapped");
    text(&c.transport, "");
    text(&c.subject, "");
    text(&c.san, "");
    text(&c.vid, "FFF1");
    text(&c.pid, "8000");
    text(&c.not_before, "now");
    text(&c.validity, "");
    text(&c.basic_constraints, "");
    return c;
}

static inline X509 *load(const char *name)
{
    char path[512];
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    const uint8_t *at;
    X509 *cert;

    snprintf(path, sizeof(path), "%s/tests/data/matter-chain/%s.der", getenv("MM_SOURCE_ROOT"),
             name);
    ck_assert_int_eq(mm_io_read_file(path, MM_CERT_DER_MAX, &der, NULL), MM_OK);
    at = der.data;
    cert = d2i_X509(NULL, &at, (long)der.len);
    ck_assert_ptr_nonnull(cert);
    mm_buf_done(&der);
    return cert;
}
