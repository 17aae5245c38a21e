/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that make up the calls of StationService share. */
#pragma once

#include "mintmark/v1/station.pb-c.h"

/* A string as protobuf-c wants it, though it only reads it; NULL becomes "". Borrowed. */
char *mm_station_text(const char *text);
