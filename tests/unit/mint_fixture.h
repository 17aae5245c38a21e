/* SPDX-License-Identifier: Apache-2.0 */
/* A minter on the mock token, with a chain and a profile of each kind. */
#pragma once

#include "daemon/token/mint.h"
#include "tests/unit/minter_site.h"

static const char config[] = SITE_HEAD
    "transport 'centre' { token = 't' key = 'pkcs11:object=centre' }\n" SITE_ISSUER
    "profile 'wrapped' { preset = 'matter-dac' issuer = 'pai' transport = 'centre'\n"
    "    vid = 'FFF1' pid = '8000' item 'i' { file = 'pin' } }\n"
    "profile 'kept' { preset = 'matter-dac' issuer = 'pai' delivery = 'retained'\n"
    "    vid = 'FFF1' pid = '8000' }\n"
    "profile 'bare' { preset = 'matter-dac' issuer = 'pai' delivery = 'plain'\n"
    "    vid = 'FFF1' pid = '8000' }\n"
    "profile 'csr' { issuer = 'none' transport = 'centre' subject = 'CN=x${number}' }\n"
    "profile 'own' { preset = 'matter-dac' issuer = 'pai' delivery = 'on-device'\n"
    "    vid = 'FFF1' pid = '8000' subject = 'CN=${hw_serial},VID=${vid},PID=${pid}' }\n"
    "profile 'own-csr' { issuer = 'none' delivery = 'on-device' subject = 'CN=x${number}' }\n";

static struct mm_chunk *chunk;

static inline void make_keys(struct mm_token *t)
{
    mm_handle key;

    ck_ok(mm_token_create_transport_key(t, "centre", &key, &ei));
    site_make_ca(t);
}

static inline void setup(void)
{
    site_setup(config, make_keys);
    ck_assert_int_eq(mm_chunk_new(&chunk), MM_OK);
}

static inline void setup_open(void)
{
    setup();
    open_minter();
}

static inline void teardown(void)
{
    mm_chunk_free(chunk);
    site_teardown();
}

/* The minter does not open, with this code and a text that has this in it. */
static inline void refuse(int code, const char *part_of_text)
{
    drop_minter();
    ei = (struct mm_errinfo){0};
    ck_assert_msg(mm_minter_open(conf, "t", &login, &minter, &ei) == code, "%d %s", ei.code,
                  ei.text);
    ck_assert_msg(strstr(ei.text, part_of_text), "%s", ei.text);
    ck_assert_ptr_null(minter);
}

/* Into the chunk. deadline: of CLOCK_MONOTONIC in microseconds, or 0 for none. */
static inline int mint_some(const char *profile, size_t count, int64_t deadline)
{
    Mintmark__Internal__MintJob job;
    char name[16], batch[] = "0193537b-1f4c-7abc-8def-001122334455";

    mintmark__internal__mint_job__init(&job);
    snprintf(name, sizeof(name), "%s", profile);
    job.profile = name;
    job.batch_uid = batch;
    job.first_number = 1;
    job.count = (uint32_t)count;
    ei = (struct mm_errinfo){0};
    return mm_mint(minter, &job, deadline, chunk, &ei);
}

/* A failed call can leave a session with an operation begun, or with an object that could not be
 * destroyed; the next round is not about those, and draws its random bytes itself. Then the rule.
 */
static inline void fresh_session(const char *rules)
{
    mock_rules(NULL);
    ck_ok(mm_token_reopen(minter->token, &ei));
    ck_ok(mm_minter_find_keys(minter, &ei));
    minter->supply.left = 0;
    mock_rules(rules);
}

/* Nobody can clean up what cannot be destroyed: it goes with its session. */
static inline bool destroying_failed(void)
{
    return strcmp(mock_failed(), "C_DestroyObject") == 0;
}
