/* SPDX-License-Identifier: Apache-2.0 */
/* The function list; what mintmark never calls says that it is not supported. */
#include "tests/mock/mock.h"

typedef CK_SESSION_HANDLE S;
typedef CK_OBJECT_HANDLE O;
typedef CK_ATTRIBUTE *A;
typedef CK_MECHANISM *M;
typedef CK_ULONG L;
typedef CK_ULONG *LP;
typedef unsigned char *B;

/* Forty functions that ignore all they are given. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define NOT_SUPPORTED                                                                              \
    {                                                                                              \
        return CKR_FUNCTION_NOT_SUPPORTED;                                                         \
    }                                                                                              \
    struct mock_absent /* what the semicolon after the macro ends */
#define ABSENT1(f, a)             CK_RV f(a p) NOT_SUPPORTED
#define ABSENT2(f, a, b)          CK_RV f(a p, b q) NOT_SUPPORTED
#define ABSENT3(f, a, b, c)       CK_RV f(a p, b q, c r) NOT_SUPPORTED
#define ABSENT4(f, a, b, c, d)    CK_RV f(a p, b q, c r, d s) NOT_SUPPORTED
#define ABSENT5(f, a, b, c, d, e) CK_RV f(a p, b q, c r, d s, e t) NOT_SUPPORTED

ABSENT2(C_GetSlotInfo, CK_SLOT_ID, CK_SLOT_INFO *);
ABSENT3(C_GetMechanismList, CK_SLOT_ID, CK_MECHANISM_TYPE *, LP);
ABSENT1(C_CloseAllSessions, CK_SLOT_ID);
ABSENT3(C_GetOperationState, S, B, LP);
ABSENT5(C_SetOperationState, S, B, L, O, O);
ABSENT5(C_CopyObject, S, O, A, L, O *);
ABSENT3(C_GetObjectSize, S, O, LP);
ABSENT4(C_SetAttributeValue, S, O, A, L);
ABSENT3(C_EncryptInit, S, M, O);
ABSENT5(C_Encrypt, S, B, L, B, LP);
ABSENT5(C_EncryptUpdate, S, B, L, B, LP);
ABSENT3(C_EncryptFinal, S, B, LP);
ABSENT5(C_DecryptUpdate, S, B, L, B, LP);
ABSENT3(C_DecryptFinal, S, B, LP);
ABSENT2(C_DigestInit, S, M);
ABSENT5(C_Digest, S, B, L, B, LP);
ABSENT3(C_DigestUpdate, S, B, L);
ABSENT2(C_DigestKey, S, O);
ABSENT3(C_DigestFinal, S, B, LP);
ABSENT3(C_SignUpdate, S, B, L);
ABSENT3(C_SignFinal, S, B, LP);
ABSENT3(C_SignRecoverInit, S, M, O);
ABSENT5(C_SignRecover, S, B, L, B, LP);
ABSENT3(C_VerifyInit, S, M, O);
ABSENT5(C_Verify, S, B, L, B, L);
ABSENT3(C_VerifyUpdate, S, B, L);
ABSENT3(C_VerifyFinal, S, B, L);
ABSENT3(C_VerifyRecoverInit, S, M, O);
ABSENT5(C_VerifyRecover, S, B, L, B, LP);
ABSENT5(C_DigestEncryptUpdate, S, B, L, B, LP);
ABSENT5(C_DecryptDigestUpdate, S, B, L, B, LP);
ABSENT5(C_SignEncryptUpdate, S, B, L, B, LP);
ABSENT5(C_DecryptVerifyUpdate, S, B, L, B, LP);
ABSENT3(C_SeedRandom, S, B, L);
ABSENT1(C_GetFunctionStatus, S);
ABSENT1(C_CancelFunction, S);
ABSENT3(C_WaitForSlotEvent, CK_FLAGS, CK_SLOT_ID *, void *);

static CK_FUNCTION_LIST list = {
    .version = {2, 40},
#define ENTRY(name) .name = name
    ENTRY(C_Initialize),
    ENTRY(C_Finalize),
    ENTRY(C_GetInfo),
    ENTRY(C_GetFunctionList),
    ENTRY(C_GetSlotList),
    ENTRY(C_GetSlotInfo),
    ENTRY(C_GetTokenInfo),
    ENTRY(C_GetMechanismList),
    ENTRY(C_GetMechanismInfo),
    ENTRY(C_InitToken),
    ENTRY(C_InitPIN),
    ENTRY(C_SetPIN),
    ENTRY(C_OpenSession),
    ENTRY(C_CloseSession),
    ENTRY(C_CloseAllSessions),
    ENTRY(C_GetSessionInfo),
    ENTRY(C_GetOperationState),
    ENTRY(C_SetOperationState),
    ENTRY(C_Login),
    ENTRY(C_Logout),
    ENTRY(C_CreateObject),
    ENTRY(C_CopyObject),
    ENTRY(C_DestroyObject),
    ENTRY(C_GetObjectSize),
    ENTRY(C_GetAttributeValue),
    ENTRY(C_SetAttributeValue),
    ENTRY(C_FindObjectsInit),
    ENTRY(C_FindObjects),
    ENTRY(C_FindObjectsFinal),
    ENTRY(C_EncryptInit),
    ENTRY(C_Encrypt),
    ENTRY(C_EncryptUpdate),
    ENTRY(C_EncryptFinal),
    ENTRY(C_DecryptInit),
    ENTRY(C_Decrypt),
    ENTRY(C_DecryptUpdate),
    ENTRY(C_DecryptFinal),
    ENTRY(C_DigestInit),
    ENTRY(C_Digest),
    ENTRY(C_DigestUpdate),
    ENTRY(C_DigestKey),
    ENTRY(C_DigestFinal),
    ENTRY(C_SignInit),
    ENTRY(C_Sign),
    ENTRY(C_SignUpdate),
    ENTRY(C_SignFinal),
    ENTRY(C_SignRecoverInit),
    ENTRY(C_SignRecover),
    ENTRY(C_VerifyInit),
    ENTRY(C_Verify),
    ENTRY(C_VerifyUpdate),
    ENTRY(C_VerifyFinal),
    ENTRY(C_VerifyRecoverInit),
    ENTRY(C_VerifyRecover),
    ENTRY(C_DigestEncryptUpdate),
    ENTRY(C_DecryptDigestUpdate),
    ENTRY(C_SignEncryptUpdate),
    ENTRY(C_DecryptVerifyUpdate),
    ENTRY(C_GenerateKey),
    ENTRY(C_GenerateKeyPair),
    ENTRY(C_WrapKey),
    ENTRY(C_UnwrapKey),
    ENTRY(C_DeriveKey),
    ENTRY(C_SeedRandom),
    ENTRY(C_GenerateRandom),
    ENTRY(C_GetFunctionStatus),
    ENTRY(C_CancelFunction),
    ENTRY(C_WaitForSlotEvent),
#undef ENTRY
};

MM_PUBLIC CK_RV C_GetFunctionList(CK_FUNCTION_LIST **ret_list)
{
    *ret_list = &list;
    return CKR_OK;
}
