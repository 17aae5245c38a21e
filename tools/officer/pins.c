/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/officer/pins.h"

#include "daemon/base/io.h"
#include "daemon/base/text.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/random.h>

/* 128 bits, as 32 hexadecimal digits: taken by every token we know. */
enum { RANDOM_PIN_BYTES = 16 };

static int typed_twice(const char *whose, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *first = NULL;
    MM_SECRET_CLEANUP struct mm_secret *again = NULL;
    char prompt[64];
    int r;

    snprintf(prompt, sizeof(prompt), "New %s PIN: ", whose);
    r = mm_pin_from_terminal(prompt, &first, ei);
    if (r < 0)
        return r;
    snprintf(prompt, sizeof(prompt), "New %s PIN, again: ", whose);
    r = mm_pin_from_terminal(prompt, &again, ei);
    if (r < 0)
        return r;
    if (mm_secret_len(first) != mm_secret_len(again) ||
        CRYPTO_memcmp(mm_secret_data(first), mm_secret_data(again), mm_secret_len(first)) != 0)
        return mm_fail(ei, MM_ERR_INVALID, "PIN_MISTYPED", "the two %s PINs differ", whose);
    *ret_pin = MM_TAKE(first);
    return MM_OK;
}

static int random_pin(struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *bytes = NULL;
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;

    if (mm_secret_new(RANDOM_PIN_BYTES, &bytes) < 0 ||
        mm_secret_new(2 * RANDOM_PIN_BYTES + 1, &pin) < 0)
        return mm_fail_memory(ei);
    if (getrandom(mm_secret_data(bytes), RANDOM_PIN_BYTES, 0) != RANDOM_PIN_BYTES)
        return mm_fail(ei, MM_ERR_INTERNAL, "RANDOM", "the system has no random bytes");
    mm_hex_encode(mm_secret_data(bytes), RANDOM_PIN_BYTES, (char *)mm_secret_data(pin));
    mm_secret_truncate(pin, 2 * RANDOM_PIN_BYTES);
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

/* On disk before the token has it: a token must never hold a PIN that nobody knows. */
static int generate(struct mm_pin_source *source, struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    MM_SECRET_CLEANUP struct mm_secret *pin = NULL;
    int r;

    r = random_pin(&pin, ei);
    if (r < 0)
        return r;
    r = mm_io_create_file(source->generate, 0600, mm_secret_data(pin), mm_secret_len(pin), ei);
    if (r < 0)
        return r;
    source->generated = true;
    *ret_pin = MM_TAKE(pin);
    return MM_OK;
}

int mm_pin_source_get(struct mm_officer *o, struct mm_pin_source *source,
                      struct mm_secret **ret_pin, struct mm_errinfo *ei)
{
    uint64_t fd;

    if (source->generate)
        return generate(source, ret_pin, ei);
    if (source->file)
        return mm_pin_from_file(source->file, ret_pin, ei);
    if (!source->fd)
        return typed_twice(source->whose, ret_pin, ei);
    if (mm_text_to_u64(source->fd, 0, 1 << 20, &fd) < 0)
        return mm_officer_usage(o, ei, "'%s' is not the number of an open descriptor", source->fd);
    return mm_pin_from_fd((int)fd, ret_pin, ei);
}

int mm_pin_source_check(struct mm_officer *o, const struct mm_pin_source *source,
                        struct mm_errinfo *ei)
{
    if (!!source->file + !!source->fd + !!source->generate > 1)
        return mm_officer_usage(o, ei, "give the %s PIN in one way only", source->whose);
    return source->generate ? mm_officer_absent(source->generate, ei) : MM_OK;
}
