/* SPDX-License-Identifier: Apache-2.0 */
/* A shared object that is no PKCS#11 module. */
#include "daemon/base/macros.h"

MM_PUBLIC extern const int mm_nothing;
const int mm_nothing = 1;
