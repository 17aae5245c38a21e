/* SPDX-License-Identifier: Apache-2.0 */
/* Templates, names, alternative names, validities. */
#include "check_main.h"
#include "daemon/base/text.h"
#include "daemon/pki/name.h"
#include "daemon/pki/san.h"
#include "daemon/pki/validity.h"

#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static const struct mm_template_fixed fixed = {"FFF1", "8000", "WifiFireAlarm"};
static const struct mm_subject device = {
    .number = 42,
    .hw_serial = "SN-7",
    .device_uid = "0193537b-1f4c-7abc-8def-001122334455",
};

static const char *expand(const char *text)
{
    static char out[MM_TEMPLATE_VALUE_MAX + 1];
    struct mm_template t;
    struct mm_errinfo ei;
    size_t len;

    ck_assert_msg(mm_template_scan(&text, "", &fixed, &t, &ei) == MM_OK, "%s", ei.text);
    ck_assert_int_eq(*text, 0);
    ck_assert_msg(mm_template_expand(&t, &device, out, &len, &ei) == MM_OK, "%s", ei.text);
    out[len] = 0;
    return out;
}

START_TEST(template_variables_are_replaced)
{
    ck_assert_str_eq(expand("a${number}b"), "a42b");
    ck_assert_str_eq(expand("${number:6}"), "000042");
    ck_assert_str_eq(expand("${number:1}"), "42");
    ck_assert_str_eq(expand("${number:20}"), "00000000000000000042");
    ck_assert_str_eq(expand("${hw_serial}/${device_uid}"),
                     "SN-7/0193537b-1f4c-7abc-8def-001122334455");
    ck_assert_str_eq(expand("${profile}-${vid}-${pid}"), "WifiFireAlarm-FFF1-8000");
    ck_assert_str_eq(expand("\\$\\\\\\,\\+"), "$\\,+");
    ck_assert_str_eq(expand(""), "");
}
END_TEST

static void refuse_template(const char *text, const char *part_of_message)
{
    struct mm_template t;
    struct mm_errinfo ei;
    const char *at = text;

    ck_assert_int_eq(mm_template_scan(&at, ",+", &fixed, &t, &ei), MM_ERR_INVALID);
    ck_assert_msg(strstr(ei.text, part_of_message), "\"%s\" says \"%s\"", text, ei.text);
    ck_assert_ptr_eq(at, text);
}

START_TEST(template_malformed_is_refused)
{
    refuse_template("${nummer}", "no variable ${nummer}");
    refuse_template("${number:0}", "width of 1 to 20");
    refuse_template("${number:21}", "width of 1 to 20");
    refuse_template("${number:}", "width of 1 to 20");
    refuse_template("${number: 5}", "width of 1 to 20");
    refuse_template("${number", "'}'");
    refuse_template("${", "'}'");
    refuse_template("${averyveryverylongvariablenamehere}", "'}'");
    refuse_template("a$b", "'\\$'");
    refuse_template("a\\", "backslash");
    refuse_template("a\\n", "backslash");
}
END_TEST

START_TEST(template_without_setting_is_refused)
{
    const struct mm_template_fixed none = {"", "", "p"};
    struct mm_template t;
    struct mm_errinfo ei;
    const char *at = "${vid}";

    ck_assert_int_eq(mm_template_scan(&at, "", &none, &t, &ei), MM_ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(ei.text, "sets no vid"));
}
END_TEST

/* n times `what`, with `before` in front; borrowed until the next call. */
static const char *repeated(const char *before, const char *what, int n)
{
    static struct mm_buf b;

    mm_buf_done(&b);
    b = MM_BUF_INIT(4096);
    mm_buf_append_str(&b, before);
    for (int i = 0; i < n; i++)
        mm_buf_append_str(&b, what);
    return mm_buf_cstr(&b);
}

START_TEST(template_limits_are_kept)
{
    struct mm_template t;
    const char *at = repeated("", "a", MM_TEMPLATE_VALUE_MAX);

    ck_assert_int_eq(mm_template_scan(&at, "", &fixed, &t, NULL), MM_OK);
    refuse_template(repeated("", "a", MM_TEMPLATE_VALUE_MAX + 1), "bytes of text");
    at = repeated("", "${number}", MM_TEMPLATE_PARTS_MAX);
    ck_assert_int_eq(mm_template_scan(&at, "", &fixed, &t, NULL), MM_OK);
    refuse_template(repeated("", "${number}", MM_TEMPLATE_PARTS_MAX + 1), "parts");
    refuse_template(repeated("", "a${number}", MM_TEMPLATE_PARTS_MAX), "parts");
}
END_TEST

START_TEST(template_expanded_beyond_limit_is_refused)
{
    char out[MM_TEMPLATE_VALUE_MAX];
    const char *at = repeated("${number}", "a", MM_TEMPLATE_VALUE_MAX - 1);
    struct mm_template t;
    size_t len;

    ck_assert_int_eq(mm_template_scan(&at, "", &fixed, &t, NULL), MM_OK);
    ck_assert_int_eq(mm_template_expand(&t, &device, out, &len, NULL), MM_ERR_TOO_BIG);
}
END_TEST

/* The name as OpenSSL reads it, one line. */
static const char *name_text(const char *text, const struct mm_subject *s, int expected)
{
    static char line[1024];
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_name name = {.n_rdns = 0};
    struct mm_errinfo ei = {.code = MM_OK};
    int r = mm_name_parse(text, &fixed, &name, &ei);

    if (r == MM_OK)
        r = mm_name_der(&name, s, &der, &ei);
    ck_assert_msg(r == expected, "%s: %d %s", text, r, ei.text);
    snprintf(line, sizeof(line), "%s", ei.text);
    if (r == MM_OK) {
        const uint8_t *at = der.data;
        X509_NAME *parsed = d2i_X509_NAME(NULL, &at, (long)der.len);
        BIO *bio = BIO_new(BIO_s_mem());
        int n;

        ck_assert_ptr_nonnull(parsed);
        ck_assert_ptr_eq(at, der.data + der.len);
        X509_NAME_print_ex(bio, parsed, 0,
                           (XN_FLAG_ONELINE & ~(unsigned long)XN_FLAG_SPC_EQ) |
                               ASN1_STRFLGS_SHOW_TYPE);
        n = BIO_read(bio, line, sizeof(line) - 1);
        line[n < 0 ? 0 : n] = 0;
        BIO_free(bio);
        X509_NAME_free(parsed);
    }
    mm_name_done(&name);
    mm_buf_done(&der);
    return line;
}

START_TEST(name_attributes_have_their_types)
{
    ck_assert_str_eq(
        name_text("CN=${profile}_${number:4}, O=Ex\\, Inc.,OU=Ünit,C=DE,L=Bonn,ST=NRW,"
                  "serialNumber=${hw_serial},UID=u1",
                  &device, MM_OK),
        "CN=UTF8STRING:WifiFireAlarm_0042, O=UTF8STRING:\"Ex, Inc.\", OU=UTF8STRING:\\C3\\9Cnit, "
        "C=PRINTABLESTRING:DE, L=UTF8STRING:Bonn, ST=UTF8STRING:NRW, "
        "serialNumber=PRINTABLESTRING:SN-7, UID=UTF8STRING:u1");
    ck_assert_str_eq(name_text("VID=${vid},PID=${pid}", &device, MM_OK),
                     "1.3.6.1.4.1.37244.2.1=UTF8STRING:FFF1, "
                     "1.3.6.1.4.1.37244.2.2=UTF8STRING:8000");
    ck_assert_str_eq(name_text("1.2.3.4=x,2.5.4.6=FR", &device, MM_OK),
                     "1.2.3.4=UTF8STRING:x, C=PRINTABLESTRING:FR");
    ck_assert_str_eq(name_text("", &device, MM_OK), "");
}
END_TEST

START_TEST(name_matter_vendor_id_has_reference_encoding)
{
    static const uint8_t want[] = {0x30, 0x16, 0x31, 0x14, 0x30, 0x12, 0x06, 0x0a,
                                   0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xa2, 0x7c,
                                   0x02, 0x01, 0x0c, 0x04, 0x46, 0x46, 0x46, 0x31};
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_name name = {.n_rdns = 0};

    ck_assert_int_eq(mm_name_parse("VID=FFF1", &fixed, &name, NULL), MM_OK);
    ck_assert_int_eq(mm_name_der(&name, &device, &der, NULL), MM_OK);
    ck_assert_uint_eq(der.len, sizeof(want));
    ck_assert_mem_eq(der.data, want, sizeof(want));
    mm_name_done(&name);
    mm_buf_done(&der);
}
END_TEST

static void refuse_name(const char *text, const char *part_of_message)
{
    const char *message = name_text(text, &device, MM_ERR_INVALID);

    ck_assert_msg(strstr(message, part_of_message), "\"%s\" says \"%s\"", text, message);
}

START_TEST(name_malformed_is_refused)
{
    refuse_name("CN", "expected TYPE=value");
    refuse_name("CN=a,", "expected TYPE=value");
    refuse_name(",CN=a", "expected TYPE=value");
    refuse_name("XX=a", "no attribute \"XX\"");
    refuse_name("1.=a", "no attribute");
    refuse_name("CN=", "must not be empty");
    refuse_name("CN= a", "begin or end with a blank");
    refuse_name("CN=a ,O=b", "begin or end with a blank");
    refuse_name("CN=a+O=b", "'\\+'");
    refuse_name("CN=a\tb", "control characters");
    refuse_name("CN=\xff", "not UTF-8");
    refuse_name("C=Germany", "too long");
    refuse_name("C=de", "2 upper-case letters");
    refuse_name("VID=fff1", "4 upper-case hexadecimal digits");
    refuse_name("VID=FFF", "4 upper-case hexadecimal digits");
    refuse_name("1.3.6.1.4.1.37244.2.2=800g", "4 upper-case hexadecimal digits");
    refuse_name("serialNumber=a_b", "PrintableString");
    refuse_name("O=0123456789012345678901234567890123456789012345678901234567890123a", "too long");
}
END_TEST

START_TEST(name_upper_bound_counts_characters)
{
    (void)name_text(repeated("CN=", "ü", 64), &device, MM_OK);
    refuse_name(repeated("CN=", "ü", 65), "too long");
}
END_TEST

START_TEST(name_too_many_attributes_is_refused)
{
    (void)name_text(repeated("O=a", ",O=a", MM_RDNS_MAX - 1), &device, MM_OK);
    refuse_name(repeated("O=a", ",O=a", MM_RDNS_MAX), "more than");
}
END_TEST

START_TEST(name_station_value_cannot_add_an_attribute)
{
    struct mm_subject s = device;

    s.hw_serial = "x,O=Evil+OU=${number}\\";
    ck_assert_str_eq(name_text("CN=${hw_serial}", &s, MM_OK),
                     "CN=UTF8STRING:\"x,O=Evil+OU=${number}\\\\\"");
}
END_TEST

START_TEST(name_bad_station_value_names_the_field)
{
    static const char *const bad[] = {"", "a\nb", " a", "a ", "a_b", "\xc0\x80"};
    struct mm_name name = {.n_rdns = 0};
    struct mm_buf der = MM_BUF_INIT(MM_CERT_DER_MAX);
    struct mm_errinfo ei;
    struct mm_subject s = device;

    ck_assert_int_eq(mm_name_parse("serialNumber=${hw_serial}", &fixed, &name, NULL), MM_OK);
    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        s.hw_serial = bad[i];
        ck_assert_int_eq(mm_name_der(&name, &s, &der, &ei), MM_ERR_INVALID);
        ck_assert_str_eq(ei.field, "hw_serial");
        ck_assert_uint_eq(der.len, 0);
    }
    mm_name_done(&name);
    mm_buf_done(&der);
}
END_TEST

/* Value of the extension in hex, or the error. */
static const char *san_hex(const char *text, const char *hw_serial, int expected)
{
    static char hex[1024];
    struct mm_subject s = device;
    struct mm_san san = {.n_entries = 0};
    struct mm_errinfo ei = {.code = MM_OK};
    X509_EXTENSION *extension = NULL;
    int r;

    s.hw_serial = hw_serial;
    r = mm_san_parse(text, &fixed, &san, &ei);
    if (r == MM_OK)
        r = mm_san_extension(&san, &s, true, &extension, &ei);
    ck_assert_msg(r == expected, "%s: %d %s", text, r, ei.text);
    snprintf(hex, sizeof(hex), "%s", ei.text);
    if (r == MM_OK) {
        const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);

        ck_assert_int_eq(X509_EXTENSION_get_critical(extension), 1);
        mm_hex_encode(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value), hex);
    }
    X509_EXTENSION_free(extension);
    mm_san_done(&san);
    return hex;
}

START_TEST(san_hardware_module_name_has_reference_encoding)
{
    ck_assert_str_eq(san_hex("hwmodule:1.3.6.1.4.1.32473.1:hex:${hw_serial}", "0102aaBB", MM_OK),
                     "3021a01f06082b06010505070804a013301106092b0601040181fd590104040102aabb");
    ck_assert_str_eq(san_hex("hwmodule:1.3.6.1.4.1.32473.1:${hw_serial}", "SN-7", MM_OK),
                     "3021a01f06082b06010505070804a013301106092b0601040181fd59010404534e2d37");
}
END_TEST

START_TEST(san_names_keep_their_order)
{
    ck_assert_str_eq(san_hex("DNS:${hw_serial}.example, URI:urn:x:${number}", "a-1", MM_OK),
                     "3017820b612d312e6578616d706c65860875726e3a783a3432");
}
END_TEST

START_TEST(san_malformed_is_refused)
{
    static const struct {
        const char *text, *serial, *message;
    } bad[] = {
        {"IP:1.2.3.4", "x", "expected DNS:"},
        {"DNS:a,", "x", "expected DNS:"},
        {"hwmodule:1.2.x:a", "x", "OID in dots"},
        {"hwmodule:1.2.3", "x", "OID in dots"},
        {"DNS:", "x", "domain name"},
        {"DNS:${hw_serial}", "a b", "domain name"},
        {"DNS:${hw_serial}", "a..b", "domain name"},
        {"DNS:${hw_serial}", "-a", "domain name"},
        {"URI:${hw_serial}", "no-scheme", "absolute URI"},
        {"URI:urn:${hw_serial}", "a b", "absolute URI"},
        {"URI:urn:${hw_serial}", "\xc3\xbc", "absolute URI"},
        {"hwmodule:1.2.3:hex:${hw_serial}", "012", "hexadecimal"},
        {"hwmodule:1.2.3:hex:${hw_serial}", "0g", "hexadecimal"},
        {"hwmodule:1.2.3:${hw_serial}", "", "needs a hw_serial"},
    };

    for (size_t i = 0; i < MM_ARRAY_SIZE(bad); i++) {
        const char *message = san_hex(bad[i].text, bad[i].serial, MM_ERR_INVALID);

        ck_assert_msg(strstr(message, bad[i].message), "\"%s\" says \"%s\"", bad[i].text, message);
    }
}
END_TEST

static void check_validity(const char *not_before, const char *validity, int64_t want_begin,
                           int64_t want_end)
{
    struct mm_validity v;
    struct mm_errinfo ei;
    int64_t begin, end;

    ck_assert_msg(mm_validity_parse(not_before, validity, &v, &ei) == MM_OK, "%s", ei.text);
    ck_assert_int_eq(mm_validity_at(&v, 1709164800999, &begin, &end, &ei), MM_OK);
    ck_assert_int_eq(begin, want_begin);
    ck_assert_int_eq(end, want_end);
}

START_TEST(validity_durations_follow_the_calendar)
{
    const int64_t now = 1709164800; /* 2024-02-29 00:00:00 */

    check_validity("now", "1y", now, 1740700800);          /* 2025-02-28 */
    check_validity("now", "4y", now, 1835395200);          /* 2028-02-29 */
    check_validity("now", "365d", now, now + 365 * 86400); /* 2025-02-28 */
    check_validity("now", "12h", now, now + 12 * 3600);
    check_validity("20240301000000Z", "99991231235959Z", 1709251200, MM_VALIDITY_FOREVER);
}
END_TEST

START_TEST(validity_malformed_is_refused)
{
    static const char *const times[] = {"",
                                        "Now",
                                        "20240230000000Z",
                                        "2024010100000Z",
                                        "20240101000000",
                                        "20240101000000+0100",
                                        "19691231235959Z",
                                        "20241301000000Z"};
    static const char *const durations[] = {"",    "y",     "0y",  "-1y",  "1m",
                                            "1 y", "9001y", "1y ", "1.5y", "99999999999999y"};
    struct mm_validity v;

    for (size_t i = 0; i < MM_ARRAY_SIZE(times); i++)
        ck_assert_int_eq(mm_validity_parse(times[i], "1y", &v, NULL), MM_ERR_INVALID);
    for (size_t i = 0; i < MM_ARRAY_SIZE(durations); i++)
        ck_assert_int_eq(mm_validity_parse("now", durations[i], &v, NULL), MM_ERR_INVALID);
}
END_TEST

START_TEST(validity_ending_before_beginning_is_refused)
{
    struct mm_validity v;
    int64_t begin, end;

    ck_assert_int_eq(mm_validity_parse("now", "20200101000000Z", &v, NULL), MM_OK);
    ck_assert_int_eq(mm_validity_at(&v, 1709164800000, &begin, &end, NULL), MM_ERR_INVALID);
    ck_assert_int_eq(mm_validity_parse("20240101000000Z", "7990y", &v, NULL), MM_OK);
    ck_assert_int_eq(mm_validity_at(&v, 0, &begin, &end, NULL), MM_ERR_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pki_name");
    TCase *t = tcase_create("all");

    tcase_add_test(t, template_variables_are_replaced);
    tcase_add_test(t, template_malformed_is_refused);
    tcase_add_test(t, template_without_setting_is_refused);
    tcase_add_test(t, template_limits_are_kept);
    tcase_add_test(t, template_expanded_beyond_limit_is_refused);
    tcase_add_test(t, name_attributes_have_their_types);
    tcase_add_test(t, name_matter_vendor_id_has_reference_encoding);
    tcase_add_test(t, name_malformed_is_refused);
    tcase_add_test(t, name_upper_bound_counts_characters);
    tcase_add_test(t, name_too_many_attributes_is_refused);
    tcase_add_test(t, name_station_value_cannot_add_an_attribute);
    tcase_add_test(t, name_bad_station_value_names_the_field);
    tcase_add_test(t, san_hardware_module_name_has_reference_encoding);
    tcase_add_test(t, san_names_keep_their_order);
    tcase_add_test(t, san_malformed_is_refused);
    tcase_add_test(t, validity_durations_follow_the_calendar);
    tcase_add_test(t, validity_malformed_is_refused);
    tcase_add_test(t, validity_ending_before_beginning_is_refused);
    suite_add_tcase(suite, t);
    return run_suite(suite);
}
