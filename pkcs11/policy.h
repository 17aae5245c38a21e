/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "pkcs11/internal.h"

enum { MM_POLICY_ATTRS_MAX = 20 };

/* How much of the policy a template says, from the least to everything: some tokens refuse one that
 * names rights which a key of its type cannot have anyway, or attributes that they do not know. */
enum mm_policy_extent { MM_TEMPLATE_LEAST, MM_TEMPLATE_CHECKED, MM_TEMPLATE_ALL };

/* The attributes that a key of this use is made with; returns their number. The curve tells what a
 * key that signs signs by, and matters to no other. */
CK_ULONG mm_policy_template(enum mm_key_use use, enum mm_curve curve, enum mm_policy_extent extent,
                            CK_ATTRIBUTE *attrs, CK_ULONG max);
