/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "pkcs11/internal.h"

enum { MM_POLICY_ATTRS_MAX = 20 };

/* The attributes that a key of this use is made with; returns their number. Without `optional`,
 * only those that every token knows: some refuse a template that names rights which a key of its
 * type cannot have anyway. */
CK_ULONG mm_policy_template(enum mm_key_use use, bool optional, CK_ATTRIBUTE *attrs, CK_ULONG max);

/* Takes the attributes out that are only wished for; returns how many are left. */
CK_ULONG mm_policy_without_wishes(enum mm_key_use use, CK_ATTRIBUTE *attrs, CK_ULONG n);
