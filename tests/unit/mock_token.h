/* SPDX-License-Identifier: Apache-2.0 */
/* The mock token in a test: its module, its rules, and a token that is open and logged in. */
#pragma once

#include "pkcs11/token.h"
#include "tests/unit/check_main.h"

#include <dlfcn.h>
#include <string.h>

#ifndef MM_MOCK_MODULE
#define MM_MOCK_MODULE "" /* its path comes from the build, as dep_mock */
#endif
#define MOCK_PIN "1234"
#ifndef MM_MOCK_MODULE
#define MM_MOCK_MODULE "" /* the build says where it is */
#endif

static struct mm_errinfo ei;

/* A cheap proof of life. */
static inline int draw(struct mm_token *t)
{
    uint8_t byte;

    return mm_token_random(t, &byte, 1, &ei);
}
static struct mm_token_open how = {.module = MM_MOCK_MODULE, .uri = "pkcs11:token=mock"};

#define ck_ok(call)       ck_assert_msg((call) == MM_OK, "%s: %s", #call, ei.text)
#define ck_err(call, err) ck_assert_msg((call) == (err), "%s: %s", #call, ei.text)

/* A function that the mock exports (tests/mock/mock.h). */
static inline void *mock_function(const char *name)
{
    static void *module;
    void *f;

    if (!module)
        module = dlopen(MM_MOCK_MODULE, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    ck_assert_msg(module != NULL, "%s", dlerror());
    f = dlsym(module, name);
    ck_assert_ptr_nonnull(f);
    return f;
}

static inline void mock_rules(const char *text)
{
    bool (*set)(const char *) = (bool (*)(const char *))mock_function("mm_mock_p11_rules");

    ck_assert_msg(set(text), "the mock does not take the rules '%s'", text ? text : "");
}

static inline unsigned long mock_calls(const char *function)
{
    return ((unsigned long (*)(const char *))mock_function("mm_mock_p11_calls"))(function);
}

static inline const char *mock_failed(void)
{
    return ((const char *(*)(void))mock_function("mm_mock_p11_failed"))();
}

static inline size_t mock_objects(void)
{
    return ((size_t(*)(void))mock_function("mm_mock_p11_objects"))();
}

static inline size_t mock_session_objects(void)
{
    return ((size_t(*)(void))mock_function("mm_mock_p11_session_objects"))();
}

static inline size_t mock_sessions(void)
{
    return ((size_t(*)(void))mock_function("mm_mock_p11_sessions"))();
}

/* Before each test, which may run in one process with the others. */
static inline void fresh_mock(void)
{
    how.uri = "pkcs11:token=mock";
    mock_rules(NULL);
}

static inline struct mm_secret *secret(const char *text)
{
    struct mm_secret *s;

    ck_assert_int_eq(mm_secret_new(strlen(text), &s), MM_OK);
    memcpy(mm_secret_data(s), text, strlen(text));
    return s;
}

static inline struct mm_token *open_token(void)
{
    struct mm_token *t;

    ck_ok(mm_token_open(&how, &t, &ei));
    return t;
}

static inline struct mm_token *open_and_login(void)
{
    struct mm_secret *pin = secret(MOCK_PIN);
    struct mm_token *t = open_token();

    ck_ok(mm_token_login(t, &pin, &ei));
    ck_assert_ptr_null(pin);
    return t;
}
