/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/base/heap.h"

#include "daemon/base/limits.h"

#include <malloc.h>

void mm_heap_give_back(void)
{
    /* Setting either ends the automatic growth of both (mallopt(3)). */
    (void)mallopt(M_MMAP_THRESHOLD, MM_HEAP_BLOCK);
    (void)mallopt(M_TRIM_THRESHOLD, MM_HEAP_BLOCK);
}
