/* SPDX-License-Identifier: Apache-2.0 */
/* mintmark-token: the only process that sees the PIN and the PKCS#11 module. */
#include "daemon/token/job.h"
#include "daemon/token/pid.h"

#include <openssl/crypto.h>

int main(void)
{
    mm_pid_keep();
    /* Before anything else of OpenSSL: a host's openssl.cnf must not put providers into the context
     * that the module may share with us. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        return MM_EXIT_FAILED;
    return mm_worker_main(&mm_token_worker_ops);
}
