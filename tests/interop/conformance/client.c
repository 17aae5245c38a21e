/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmintmark's calls as the client under test of connectconformance (connectrpc.com): reads
 * ClientCompatRequest messages from stdin, each after its length in 32 bits, big-endian, makes the
 * call that each describes, and writes a ClientCompatResponse in the same form to stdout. One after
 * the other; ends at the end of stdin.
 */
#include "tests/interop/conformance/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { REQUEST_MAX = 64 * 1024 * 1024 };

/* false: the end. Half a message ends the program. */
static bool read_all(uint8_t *to, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(STDIN_FILENO, to + have, len - have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && have == 0)
            return false;
        if (n <= 0) {
            fprintf(stderr, "conformance client: the input ends inside a message\n");
            exit(1);
        }
        have += (size_t)n;
    }
    return true;
}

static void write_all(const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);

        if (n < 0 && errno != EINTR) {
            perror("conformance client: write");
            exit(1);
        }
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
}

static void serve(const uint8_t *data, size_t len)
{
    MM_BUF_CLEANUP struct mm_buf out = MM_BUF_INIT(2 * REQUEST_MAX);
    uint8_t prefix[4];

    if (!exchange_run(data, len, &out) || mm_buf_err(&out) < 0) {
        fprintf(stderr, "conformance client: no ClientCompatRequest, or no memory\n");
        exit(1);
    }
    for (unsigned i = 0; i < 4; i++)
        prefix[i] = (uint8_t)(out.len >> (24 - 8 * i));
    write_all(prefix, sizeof(prefix));
    write_all(out.data, out.len);
}

int main(void)
{
    uint8_t prefix[4];

    while (read_all(prefix, sizeof(prefix))) {
        const size_t len =
            (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
        MM_FREE uint8_t *data = len <= REQUEST_MAX ? malloc(len + 1) : NULL;

        if (!data || (len > 0 && !read_all(data, len))) {
            fprintf(stderr, "conformance client: a request of %zu bytes\n", len);
            return 1;
        }
        serve(data, len);
    }
    return 0;
}
