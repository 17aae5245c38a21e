/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that make up the calls of StationService share. */
#pragma once

#include "client/error.h"
#include "daemon/base/limits.h"
#include "mintmark/v1/station.pb-c.h"

#define MM_STATION "/mintmark.v1.StationService/"

/* A string as protobuf-c wants it, though it only reads it; NULL becomes "". Borrowed. */
char *mm_station_text(const char *text);
/* Bytes, likewise. */
ProtobufCBinaryData mm_station_bytes(const struct mintmark_data *data);
/* The other way round. Borrowed. */
struct mintmark_data mm_station_data(const ProtobufCBinaryData *data);

/* The request id that a caller gave, or for NULL a random one. */
int mm_station_request_id(const char *given, char ret_id[MM_REQUEST_ID_MAX + 1],
                          struct mintmark_error *error) MM_MUST_USE;
