/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target is one file, fuzz_<name>.c, with this function, and a folder corpus/<name>/. With
 * -Dfuzzers=true (clang) it is a libFuzzer program; without, replay.c runs the corpus through it in
 * every test run. It must return 0, whatever the input, and holds with assert() what must be true.
 * An input that once broke something is kept in the corpus, named after the cause.
 */
#pragma once

#undef NDEBUG
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
