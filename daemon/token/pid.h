/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's id without a system call. libcrypto asks for it whenever it draws random numbers,
 * to notice that it is in a fork; a module that is built on it does so 18 times for a device
 * (SoftHSM), and the C library has kept no copy since glibc 2.25.
 * docs/adr/0035-the-process-id-is-kept.md
 */
#pragma once

/* From here on getpid() of the whole process, the module's and libcrypto's calls included, answers
 * from a page that the kernel wipes in every child, however it was forked (madvise(2),
 * MADV_WIPEONFORK). Where there is no such page, it asks the kernel as before. Once, before there
 * are threads. */
void mm_pid_keep(void);
