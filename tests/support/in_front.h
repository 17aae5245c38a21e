/* SPDX-License-Identifier: Apache-2.0 */
/* What PKCS#11 modules of tests share that stand in front of another one: how they find it, and
 * which of its functions they have in place of its own. The others go straight through. */
#pragma once

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

/* All that the service calls. */
#define IN_FRONT_FUNCTIONS(X)                                                                      \
    X(C_Initialize)                                                                                \
    X(C_Finalize)                                                                                  \
    X(C_GetSlotList)                                                                               \
    X(C_GetTokenInfo)                                                                              \
    X(C_GetMechanismInfo)                                                                          \
    X(C_OpenSession)                                                                               \
    X(C_CloseSession)                                                                              \
    X(C_GetSessionInfo)                                                                            \
    X(C_Login)                                                                                     \
    X(C_Logout)                                                                                    \
    X(C_CreateObject)                                                                              \
    X(C_DestroyObject)                                                                             \
    X(C_GetAttributeValue)                                                                         \
    X(C_FindObjectsInit)                                                                           \
    X(C_FindObjects)                                                                               \
    X(C_FindObjectsFinal)                                                                          \
    X(C_GenerateKey)                                                                               \
    X(C_GenerateKeyPair)                                                                           \
    X(C_WrapKey)                                                                                   \
    X(C_UnwrapKey)                                                                                 \
    X(C_DeriveKey)                                                                                 \
    X(C_SignInit)                                                                                  \
    X(C_Sign)                                                                                      \
    X(C_GenerateRandom)

/* Loads the module that an environment variable names; *ret_own is its list of functions with ours
 * in their places. name is for complaints. */
static inline CK_RV in_front_of(const char *variable, const char *name, CK_FUNCTION_LIST **ret_real,
                                CK_FUNCTION_LIST *ret_own)
{
    const char *path = getenv(variable);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) : NULL;
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
    CK_RV rv;

    if (library)
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    if (!get) {
        fprintf(stderr, "%s: no module behind it: %s\n", name, path ? dlerror() : "none named");
        return CKR_GENERAL_ERROR;
    }
    rv = get(ret_real);
    if (rv != CKR_OK)
        return rv;
    *ret_own = **ret_real;
#define IN_FRONT_OURS(function) ret_own->function = (function);
    IN_FRONT_FUNCTIONS(IN_FRONT_OURS)
#undef IN_FRONT_OURS
    return CKR_OK;
}
