/* SPDX-License-Identifier: Apache-2.0 */
/* Packages bring passwords and private keys, and libcrypto and jansson copy them as they work. */
#pragma once

#include "daemon/base/err.h"

/* From now on, whatever libcrypto or jansson free is wiped. Before anything else calls libcrypto.
 */
int mm_wipe_libraries(struct mm_errinfo *ei) MM_MUST_USE;
