/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random bytes of the token's generator, for devices and for clients, with a test of what comes
 * out. The generator tests its own noise source; what is caught here is one that is stuck, repeats
 * itself, or begins anew at each call.
 */
#pragma once

#include "daemon/token/minter.h"

/* The test. Repetition count over bytes (NIST SP 800-90B section 4.4.1, with H = 8 bits and a false
 * alarm of 2^-40 a byte: six equal bytes in a row fail); and no block of 16 bytes may equal the one
 * before it. */
bool mm_random_is_sound(const uint8_t *data, size_t len);

/* The same, and no drawing may begin as the one before did; *before keeps how this one begins.
 * MM_ERR_CORRUPT TOKEN_RANDOM_FAULTY. len is MM_WITNESS_LEN or more. */
int mm_random_check(struct mm_witness *before, const uint8_t *data, size_t len,
                    struct mm_errinfo *ei) MM_MUST_USE;

/* len bytes, up to MM_SUPPLY_LEN, for the UIDs and serial numbers of devices, which are no secrets.
 * The token is asked for MM_SUPPLY_LEN at a time, since a call to an HSM across a network takes as
 * long as any other; each byte is given once. Errors as of mm_token_random and mm_random_check. */
int mm_random_take(struct mm_minter *m, uint8_t *out, size_t len,
                   struct mm_errinfo *ei) MM_MUST_USE;

/* Draws length bytes (1 to MM_RANDOM_MAX), and MM_WITNESS_LEN before them that are given to nobody:
 * these must differ from those of the job before. out is empty, and wiped on failure.
 * MM_ERR_INVALID for a wrong length; MM_ERR_TIMEOUT once deadline_mono_us (0: none) has passed;
 * MM_ERR_CORRUPT TOKEN_RANDOM_FAULTY when a test failed; else the token's error, as of mm_mint. */
int mm_random(struct mm_minter *m, size_t length, int64_t deadline_mono_us, struct mm_buf *out,
              struct mm_errinfo *ei) MM_MUST_USE;
