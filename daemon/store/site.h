/* SPDX-License-Identifier: Apache-2.0 */
/* What the store knows of its site, out of the configuration and the files that it names. */
#pragma once

#include "daemon/conf/conf.h"
#include "daemon/store/store.h"

/* Reads appliance.identity_certificate, once, before the store gives up all files but its
 * database's. conf is borrowed as long as site is used. Whose signatures count is not read here:
 * daemon/store/trusted.h. */
int mm_site_read(const struct mm_conf *conf, struct mm_store_site *site,
                 struct mm_errinfo *ei) MM_MUST_USE;
void mm_site_done(struct mm_store_site *site);
