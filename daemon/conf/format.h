/* SPDX-License-Identifier: Apache-2.0 */
/* What a single text setting may look like; each says yes or no to a NUL-terminated text. */
#pragma once

#include <stdbool.h>

/* letters, digits, '.', '_', '-'; at most MM_NAME_MAX bytes */
bool mm_format_name(const char *s);
/* numeric IPv4 or IPv6 address */
bool mm_format_address(const char *s);
/* one of them that only this machine reaches: 127.0.0.0/8, ::1 */
bool mm_format_loopback(const char *s);
/* begins with "pkcs11:" (RFC 7512); the token layer parses the rest */
bool mm_format_pkcs11_uri(const char *s);
/* as above, and of what selects a token nothing but token, serial, manufacturer and model: a slot's
 * number changes behind our back. A URI with a PIN is taken: the token layer refuses it unshown. */
bool mm_format_token_uri(const char *s);
/* scheme ":" rest (RFC 3986 section 3.1) */
bool mm_format_uri(const char *s);
/* attribute "=" value, the beginning of an RFC 2253 name */
bool mm_format_dn(const char *s);
/* NAME=value as putenv(3) takes it */
bool mm_format_environment(const char *s);
/* four upper-case hexadecimal digits, as Matter writes vendor and product ids */
bool mm_format_hex4(const char *s);
/* 64 hexadecimal digits */
bool mm_format_sha256(const char *s);
/* "now" or YYYYMMDDHHMMSSZ */
bool mm_format_not_before(const char *s);
/* a number above 0 with y, d or h after it, or YYYYMMDDHHMMSSZ */
bool mm_format_validity(const char *s);
/* "https://HOST", ":PORT" and a path after it as may be; no user, query or fragment */
bool mm_format_https(const char *s);
/* UTF-8 without control characters, and no space at either end */
bool mm_format_printable(const char *s);
/* a template that differs between devices, of characters that EJBCA leaves in usernames */
bool mm_format_username(const char *s);
