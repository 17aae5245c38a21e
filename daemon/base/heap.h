/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's heap, told to give back what is free. */
#pragma once

/* Blocks of MM_HEAP_BLOCK bytes and more are mapped each by itself, and go back to the kernel when
 * they are freed; so does what is free at the heap's end, beyond as much. glibc by itself raises
 * both bounds to 32 MiB with what was freed once, and a flood's memory would stay for ever. Call it
 * first thing in main. */
void mm_heap_give_back(void);
