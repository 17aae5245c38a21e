/* SPDX-License-Identifier: Apache-2.0 */
/* Every statement that the store runs once it is open. The schema is in sqlite_schema.c. */
#include "daemon/store/sqlite.h"

/* The columns of mm_order_row_take, mm_order_append and mm_batch_append, in the order in which
 * those read them. */
#define ORDER_ROW                                                                                  \
    "o.row, o.profile, o.order_id, o.hold, o.quantity, o.used, o.refunded, o.not_before_ms,"       \
    " o.not_after_ms, o.added_ms, o.per_batch_max, o.per_day_max, o.day, o.day_used,"              \
    " o.unreported_max, o.reported, o.reported_ms, o.report_hours, o.replacements_max, o.stations"
#define ORDER_COLUMNS                                                                              \
    "SELECT " ORDER_ROW ", p.name, o.added_by, o.oem, o.product, o.signer, o.changed_ms,"          \
    " o.changed_by, o.change_reason FROM orders o JOIN profiles p ON p.row = o.profile "
#define BATCH_COLUMNS                                                                              \
    "SELECT b.row, b.uid, b.name, p.name, b.device_type, b.quantity, b.heads, o.order_id,"         \
    " b.state, b.station, b.opened_ms, b.released_ms, b.issued, b.ok, b.ko"                        \
    " FROM batches b JOIN orders o ON o.row = b.order_row JOIN profiles p ON p.row = o.profile "

/* Of mm_withheld_append. */
#define WITHHELD_COLUMNS                                                                           \
    "d.uid, d.hw_serial, d.number, e.state, e.text, e.next_ms, e.attempts, d.key_deleted,"         \
    " d.chain"                                                                                     \
    " FROM enrolments e JOIN devices d ON d.row = e.device"

/* Of take_enrolment (reconcile.c). */
#define RECONCILE_COLUMNS                                                                          \
    "e.device, e.state, (SELECT name FROM profiles WHERE row = e.profile), d.uid, e.username,"     \
    " e.serial, d.spki_sha256, e.begun FROM enrolments e JOIN devices d ON d.row = e.device"

const char *const mm_sql_text[MM_SQL_COUNT] = {
    [MM_SQL_BEGIN] = "BEGIN IMMEDIATE",
    [MM_SQL_COMMIT] = "COMMIT",
    [MM_SQL_ROLLBACK] = "ROLLBACK",
    [MM_SQL_SAVEPOINT] = "SAVEPOINT verb",
    [MM_SQL_RELEASE] = "RELEASE verb",
    [MM_SQL_ROLLBACK_TO] = "ROLLBACK TO verb",

    [MM_SQL_PROFILE_FIND] = "SELECT row FROM profiles WHERE name = ?1",
    [MM_SQL_PROFILE_ADD] = "INSERT INTO profiles (name) VALUES (?1)",
    [MM_SQL_PROFILE_ADVANCE] =
        "UPDATE profiles SET next_number = ?2 WHERE row = ?1 AND next_number < ?2",
    [MM_SQL_PROFILES] = "SELECT name, next_number, waiting, parked, certified, failed"
                        " FROM profiles ORDER BY row",
    [MM_SQL_PROFILE_COUNT] = "UPDATE profiles SET waiting = waiting + ?2, parked = parked + ?3,"
                             " certified = certified + ?4, failed = failed + ?5 WHERE row = ?1"
                             " RETURNING name, waiting, parked, certified, failed",

    [MM_SQL_ORDER_ADD] =
        "INSERT INTO orders (order_id, profile, quantity, not_before_ms, not_after_ms, added_ms,"
        " added_by, per_batch_max, per_day_max, unreported_max, report_hours, replacements_max,"
        " stations, oem, product, signer, document) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
        " ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) ON CONFLICT (order_id) DO NOTHING",
    [MM_SQL_ORDER_FIND] = "SELECT " ORDER_ROW ", p.name"
                          " FROM orders o JOIN profiles p ON p.row = o.profile"
                          " WHERE o.order_id = ?1",
    [MM_SQL_ORDER_GET] = ORDER_COLUMNS "WHERE o.order_id = ?1",
    [MM_SQL_ORDER_DOCUMENT] = "SELECT document FROM orders WHERE order_id = ?1",
    [MM_SQL_ORDER_SPEND] = "UPDATE orders SET used = used + ?2, day = ?3, day_used = ?4"
                           " WHERE row = ?1 AND hold = 1 AND used + ?2 <= quantity",
    [MM_SQL_ORDER_REFUND] = "UPDATE orders SET used = used - ?2, refunded = refunded + ?2"
                            " WHERE row = ?1 AND refunded + ?2 <= replacements_max AND ?2 <= used",
    [MM_SQL_ORDER_CHANGE] =
        "UPDATE orders SET hold = ?2, quantity = ?3, not_after_ms = ?4, per_batch_max = ?5,"
        " per_day_max = ?6, reported = ?7, reported_ms = ?8 WHERE row = ?1",
    [MM_SQL_ORDER_CHANGED] =
        "UPDATE orders SET changed_ms = ?2, changed_by = ?3, change_reason = ?4 WHERE row = ?1",
    [MM_SQL_ORDERS_COUNT_LIVE] =
        "SELECT count(*) FROM orders"
        " WHERE used < quantity AND not_after_ms > ?1 AND hold BETWEEN 1 AND 2",
    [MM_SQL_ORDERS_READY] = ORDER_COLUMNS
    "WHERE (o.used < o.quantity AND o.not_after_ms > ?1 AND o.hold BETWEEN 1 AND 2)"
    " OR o.row IN (SELECT order_row FROM batches WHERE state = 1)"
    " ORDER BY o.row",
    [MM_SQL_ORDERS_PAGE] = ORDER_COLUMNS "WHERE o.row < ?1 ORDER BY o.row DESC LIMIT ?2",

    [MM_SQL_BATCH_ADD] =
        "INSERT INTO batches (uid, name, device_type, quantity, heads, order_row, station,"
        " opened_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (uid) DO NOTHING",
    [MM_SQL_BATCH_FIND] = "SELECT b.row, b.state, b.quantity, b.issued, " ORDER_ROW
                          " FROM batches b JOIN orders o ON o.row = b.order_row WHERE b.uid = ?1",
    [MM_SQL_BATCH_GET] = BATCH_COLUMNS "WHERE b.uid = ?1",
    [MM_SQL_BATCH_ISSUE] =
        "UPDATE batches SET issued = issued + ?2, last_issued_ms = max(last_issued_ms, ?3),"
        " first_issued_ms = CASE issued WHEN 0 THEN ?3 ELSE first_issued_ms END"
        " WHERE row = ?1 AND issued + ?2 <= quantity",
    [MM_SQL_BATCH_REPORT] =
        "UPDATE batches SET ok = ok + ?2, ko = ko + ?3, refunded = refunded + ?4 WHERE row = ?1"
        " RETURNING issued, ok, ko",
    [MM_SQL_BATCH_WAITING] =
        "SELECT coalesce(sum(waiting + parked), 0) FROM requests WHERE batch = ?1",
    [MM_SQL_BATCH_RELEASE] = "UPDATE batches SET state = 2, released_ms = ?2 WHERE row = ?1",
    [MM_SQL_BATCH_OPENED] = "UPDATE batches SET opened_sequence = ?2 WHERE row = ?1",
    [MM_SQL_BATCH_RELEASED] = "UPDATE batches SET released_sequence = ?2 WHERE row = ?1",
    [MM_SQL_BATCH_ACCOUNT] =
        "SELECT o.quantity, o.used, b.first_issued_ms, b.last_issued_ms, b.refunded"
        " FROM batches b JOIN orders o ON o.row = b.order_row WHERE b.row = ?1",
    /* By its index: released ones are many. */
    [MM_SQL_BATCHES_COUNT_OPEN] = "SELECT count(*), total(station = ?1)"
                                  " FROM batches INDEXED BY batches_open WHERE state = 1",
    [MM_SQL_BATCHES_PAGE] = BATCH_COLUMNS "WHERE b.row < ?1 ORDER BY b.row DESC LIMIT ?2",
    [MM_SQL_BATCHES_PAGE_OPEN] =
        BATCH_COLUMNS "WHERE b.row < ?1 AND b.state = 1 ORDER BY b.row DESC LIMIT ?2",

    [MM_SQL_REQUEST_FIND] = "SELECT row, batch, digest, count, recorded, waiting, parked"
                            " FROM requests"
                            " WHERE station = ?1 AND request_id = ?2",
    [MM_SQL_REQUEST_ADD] = "INSERT INTO requests (station, request_id, batch, digest, count)"
                           " VALUES (?1, ?2, ?3, ?4, ?5)",
    [MM_SQL_REQUEST_RECORD] = "UPDATE requests SET recorded = recorded + ?2 WHERE row = ?1",
    [MM_SQL_REQUEST_SERIALS] = "SELECT hw_serial FROM devices WHERE request = ?1 ORDER BY row",
    [MM_SQL_REQUEST_PROFILE] = "SELECT p.name FROM batches b JOIN orders o ON o.row = b.order_row"
                               " JOIN profiles p ON p.row = o.profile WHERE b.row = ?1",
    [MM_SQL_REQUEST_BUNDLES] = "SELECT d.row, d.bundle, d.key_deleted, d.chain FROM devices d"
                               " LEFT JOIN enrolments e ON e.device = d.row"
                               " WHERE d.request = ?1 AND d.row > ?2 AND coalesce(e.state, 2) = 2"
                               " ORDER BY d.row LIMIT ?3",
    [MM_SQL_REQUEST_SETTLED] =
        "SELECT e.settled, d.bundle, " WITHHELD_COLUMNS " WHERE e.request = ?1 AND e.settled > ?2"
        " ORDER BY e.settled LIMIT ?3",
    [MM_SQL_REQUEST_WITHHELD] = "SELECT e.device, NULL, " WITHHELD_COLUMNS
                                " WHERE e.request = ?1 AND e.settled IS NULL AND e.device > ?2"
                                " ORDER BY e.device LIMIT ?3",
    [MM_SQL_REQUEST_COUNT] =
        "UPDATE requests SET waiting = waiting + ?2, parked = parked + ?3 WHERE row = ?1",

    [MM_SQL_CHAIN_FIND] = "SELECT row FROM chains WHERE sha256 = ?1",
    [MM_SQL_CHAIN_ADD] = "INSERT INTO chains (sha256, certificates) VALUES (?1, ?2)",
    [MM_SQL_CHAIN_GET] = "SELECT sha256, certificates FROM chains WHERE row = ?1",
    [MM_SQL_DEVICE_ADD] =
        "INSERT INTO devices (request, profile, chain, uid, number, hw_serial, spki_sha256, serial,"
        " bundle) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    [MM_SQL_DEVICE_FIND] = "SELECT d.row, r.batch, d.state, coalesce(e.state, 0)"
                           " FROM devices d JOIN requests r ON r.row = d.request"
                           " LEFT JOIN enrolments e ON e.device = d.row WHERE d.uid = ?1",
    [MM_SQL_DEVICE_GET] = "SELECT d.bundle, p.name, d.state, d.key_deleted, d.chain"
                          " FROM devices d JOIN profiles p ON p.row = d.profile WHERE d.uid = ?1",
    [MM_SQL_DEVICE_CERTIFY] = "UPDATE devices SET bundle = ?2, chain = ?3 WHERE row = ?1",
    [MM_SQL_DEVICE_REPORT] =
        "UPDATE devices SET state = ?2, reason = ?3, reported_ms = ?4 WHERE row = ?1",
    [MM_SQL_DEVICE_BY_HW_SERIAL] =
        "SELECT request FROM devices WHERE profile = ?1 AND hw_serial = ?2 AND state <> 3",
    [MM_SQL_DEVICE_DELETE_KEY] = "UPDATE devices SET bundle = ?2, key_deleted = 1 WHERE row = ?1",
    [MM_SQL_DEVICE_KEY_NEXT] =
        "SELECT row, bundle FROM devices WHERE request = ?1 AND row > ?2 ORDER BY row LIMIT 1",
    [MM_SQL_BATCH_KEYS_DUE] =
        "SELECT row, uid, issued, keys_request, keys_row FROM batches"
        " WHERE state = 2 AND keys_deleted = 0 AND released_ms <= ?1 AND NOT EXISTS (SELECT 1"
        " FROM requests r WHERE r.batch = batches.row AND r.waiting + r.parked > 0)"
        " ORDER BY released_ms LIMIT 1",
    [MM_SQL_BATCH_KEYS_DONE] = "UPDATE batches SET keys_request = ?2, keys_row = ?3,"
                               " keys_deleted = ?4 WHERE row = ?1",
    [MM_SQL_KEY_FIND] =
        "SELECT d.request, d.hw_serial, d.bundle, d.uid, d.chain FROM enrolled_keys k"
        " JOIN devices d ON d.row = k.device WHERE k.spki_sha256 = ?1",
    [MM_SQL_KEY_ADD] = "INSERT INTO enrolled_keys (spki_sha256, device)"
                       " SELECT ?1, row FROM devices WHERE uid = ?2",
    [MM_SQL_MINTED_ALL] = "SELECT row, keys FROM key_log ORDER BY row",
    [MM_SQL_MINTED_ROWS] = "SELECT keys FROM key_log WHERE row BETWEEN ?1 AND ?2",
    [MM_SQL_MINTED_NEXT] = "SELECT coalesce(max(row), 0) + 1 FROM key_log",
    [MM_SQL_MINTED_ADD] = "INSERT INTO key_log (keys) VALUES (?1)",
    [MM_SQL_FAILURE_COUNT] = "INSERT INTO failures (batch, reason, devices) VALUES (?1, ?2, 1)"
                             " ON CONFLICT (batch, reason) DO UPDATE SET devices = devices + 1",
    [MM_SQL_FAILURES] = "SELECT reason, devices FROM failures WHERE batch = ?1"
                        " ORDER BY devices DESC, reason LIMIT ?2",

    [MM_SQL_REPORT_HEAD] =
        "SELECT b.name, p.name, b.device_type, b.quantity, b.heads, b.station, b.opened_ms,"
        " b.released_ms, o.order_id, o.oem, o.product, b.opened_sequence, b.released_sequence,"
        " b.first_issued_ms, b.last_issued_ms"
        " FROM batches b JOIN orders o ON o.row = b.order_row JOIN profiles p ON p.row = o.profile"
        " WHERE b.row = ?1",
    [MM_SQL_REPORT_REQUEST] =
        "SELECT row FROM requests WHERE batch = ?1 AND row > ?2 ORDER BY row LIMIT 1",
    [MM_SQL_REPORT_DEVICES] =
        "SELECT d.row, d.uid, d.number, d.hw_serial, d.serial, d.spki_sha256, d.state, d.reason,"
        " d.reported_ms, d.bundle, e.serial"
        " FROM devices d LEFT JOIN enrolments e ON e.device = d.row AND e.state = 2"
        " WHERE d.request = ?1 AND d.row > ?2 ORDER BY d.row LIMIT ?3",
    [MM_SQL_MANIFEST_DEVICES] =
        "SELECT row, uid, hw_serial, bundle, chain FROM devices"
        " WHERE request = ?1 AND row > ?2 AND state <> 3 ORDER BY row LIMIT ?3",
    [MM_SQL_REPORT_FAILURES] = "SELECT reason, devices FROM failures"
                               " WHERE batch = ?1 AND reason > ?2 ORDER BY reason LIMIT ?3",
    [MM_SQL_REPORT_FIND] = "SELECT sha256, size, document FROM reports WHERE batch = ?1",
    [MM_SQL_REPORT_ADD] =
        "INSERT INTO reports (batch, sha256, size, document) VALUES (?1, ?2, ?3, ?4)",

    [MM_SQL_DOCUMENT_ADD] = "INSERT INTO documents (sequence, document) VALUES (?1, ?2)",
    [MM_SQL_EXPORT_DEVICES] = "SELECT uid, spki_sha256, number, serial, hw_serial, state, reason,"
                              " reported_ms FROM devices WHERE row BETWEEN ?1 AND ?2 ORDER BY row",
    [MM_SQL_EXPORT_ORDER] =
        "SELECT document FROM orders WHERE order_id = ?1 AND document IS NOT NULL",
    [MM_SQL_EXPORT_REQUEST] = "SELECT document FROM nonces WHERE nonce = ?1",
    [MM_SQL_EXPORT_REPORT] = "SELECT r.document FROM reports r JOIN batches b ON b.row = r.batch"
                             " WHERE b.uid = ?1",
    [MM_SQL_EXPORT_DOCUMENT] = "SELECT document FROM documents WHERE sequence = ?1",
    [MM_SQL_EXPORT_CHECKPOINT] =
        "SELECT sequence, document, orders FROM checkpoints WHERE sequence = ?1",
    [MM_SQL_EXPORT_CHECKPOINT_BEFORE] = "SELECT sequence, document, orders FROM checkpoints"
                                        " WHERE sequence < ?1 ORDER BY sequence DESC LIMIT 1",
    [MM_SQL_ENROLMENT_ADD] =
        "INSERT INTO enrolments (profile, request, begun, next_ms, device, username)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [MM_SQL_ENROLMENT_FIND] =
        "SELECT e.device, e.profile, e.request, e.state, e.issuer, e.serial, d.spki_sha256,"
        " d.bundle, b.uid, b.state, o.order_id FROM devices d"
        " JOIN enrolments e ON e.device = d.row JOIN requests r ON r.row = e.request"
        " JOIN batches b ON b.row = r.batch JOIN orders o ON o.row = b.order_row"
        " WHERE d.uid = ?1",
    [MM_SQL_ENROLMENT_WITHHELD] = "SELECT " WITHHELD_COLUMNS " WHERE d.uid = ?1 AND e.state <> 2",
    [MM_SQL_ENROLMENT_KNOWN] = "SELECT device FROM enrolments WHERE serial = ?1 AND issuer = ?2",
    [MM_SQL_ENROLMENT_SETTLE] =
        "UPDATE enrolments SET state = ?2, issuer = ?4, serial = ?5, text = ?6, next_ms = 0,"
        " settled = (SELECT coalesce(max(settled), 0) + 1 FROM enrolments"
        " WHERE request = ?3 AND settled IS NOT NULL) WHERE device = ?1",
    [MM_SQL_ENROLMENT_CHANGE] =
        "UPDATE enrolments SET state = ?2, next_ms = ?4, text = ?5, begun = ?6,"
        /* ?3 is an EnrolmentAction: 4 begins anew, 5 was no attempt */
        " attempts = CASE ?3 WHEN 4 THEN 0 WHEN 5 THEN attempts ELSE attempts + 1 END"
        " WHERE device = ?1",
    [MM_SQL_ENROLMENTS_DUE] =
        "SELECT e.device, d.uid, d.bundle, d.hw_serial, d.number, e.begun, e.attempts, e.request,"
        " e.username"
        " FROM enrolments e JOIN devices d ON d.row = e.device"
        " WHERE e.profile = ?1 AND e.state = 1 AND e.next_ms <= ?2"
        " ORDER BY e.next_ms, e.device LIMIT ?3",
    [MM_SQL_ENROLMENT_GIVE_OUT] = "UPDATE enrolments SET begun = 1, next_ms = ?1 WHERE device = ?2",
    [MM_SQL_ENROLMENTS_NEXT] =
        "SELECT coalesce(min(next_ms), 0) FROM enrolments WHERE profile = ?1 AND state = 1",
    [MM_SQL_ENROLMENTS_PAGE] =
        "SELECT e.device, (SELECT name FROM profiles WHERE row = e.profile), " WITHHELD_COLUMNS
        " WHERE e.state <> 2 AND e.state = ?1 AND e.device < ?2 ORDER BY e.device DESC LIMIT ?3",
    [MM_SQL_ENROLMENT_CERTIFICATE] =
        "SELECT e.issuer, e.serial, d.bundle FROM devices d JOIN enrolments e ON e.device = d.row"
        " WHERE d.uid = ?1",
    [MM_SQL_DEVICE_FAIL] = "UPDATE devices SET state = 3, reason = ?2, reported_ms = ?3"
                           " WHERE row = ?1 AND state = 1",

    [MM_SQL_REVOCATION_ADD] =
        "INSERT INTO revocations (device, profile, issuer, serial, reason, by, made_ms, next_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (serial, issuer) DO NOTHING",
    [MM_SQL_REVOCATION_KNOWN] = "SELECT 1 FROM revocations WHERE serial = ?1 AND issuer = ?2",
    [MM_SQL_REVOCATIONS_DUE] =
        "SELECT v.row, p.name, v.serial, v.reason, v.attempts, v.issuer, d.uid"
        " FROM revocations v JOIN profiles p ON p.row = v.profile JOIN devices d ON d.row = "
        "v.device"
        " WHERE v.done_ms IS NULL AND v.refused = 0 AND v.next_ms <= ?1"
        " ORDER BY v.next_ms, v.row LIMIT ?2",
    [MM_SQL_REVOCATION_GIVE_OUT] = "UPDATE revocations SET next_ms = ?1 WHERE row = ?2",
    [MM_SQL_REVOCATIONS_NEXT] =
        "SELECT coalesce(min(next_ms), 0), count(*), (SELECT count(*) FROM revocations"
        " WHERE done_ms IS NULL AND refused = 1) FROM revocations"
        " WHERE done_ms IS NULL AND refused = 0",
    [MM_SQL_REVOCATION_END] =
        "UPDATE revocations SET done_ms = ?2, next_ms = ?3, text = ?4, refused = ?5,"
        " attempts = attempts + 1 WHERE row = ?1 AND done_ms IS NULL",
    [MM_SQL_REVOCATION_REFUSED] =
        "SELECT row, issuer, serial, reason FROM revocations"
        " WHERE device = ?1 AND done_ms IS NULL AND refused = 1 ORDER BY row LIMIT 1",
    [MM_SQL_REVOCATION_AGAIN] =
        "UPDATE revocations SET refused = 0, attempts = 0, next_ms = ?2 WHERE row = ?1",
    [MM_SQL_REVOCATIONS_OF] =
        "SELECT (SELECT issuer FROM enrolments WHERE device = ?1), count(*),"
        " coalesce((SELECT text FROM revocations WHERE device = ?1 AND done_ms IS NULL"
        " AND refused = 1 ORDER BY row DESC LIMIT 1), '')"
        " FROM revocations WHERE device = ?1 AND done_ms IS NULL AND refused = 1",
    /* As MM_SQL_ENROLMENTS_PAGE. */
    [MM_SQL_REVOCATIONS_PAGE] =
        "SELECT v.row, (SELECT name FROM profiles WHERE row = v.profile), d.uid, d.hw_serial,"
        " d.number, e.state, v.text, 0, v.attempts"
        " FROM revocations v JOIN devices d ON d.row = v.device"
        " JOIN enrolments e ON e.device = v.device"
        " WHERE v.done_ms IS NULL AND v.refused = 1 AND v.row < ?2 ORDER BY v.row DESC LIMIT ?3",

    [MM_SQL_RECONCILE_PAGE] =
        "SELECT " RECONCILE_COLUMNS " WHERE e.device > ?1 ORDER BY e.device LIMIT ?2",
    [MM_SQL_RECONCILE_MATCH] =
        "SELECT " RECONCILE_COLUMNS " WHERE e.username = ?1 ORDER BY e.serial IS ?2 DESC,"
        " d.spki_sha256 = ?3 DESC, e.device DESC LIMIT 1",
    [MM_SQL_RECONCILE_DEVICE] = "SELECT " RECONCILE_COLUMNS " WHERE d.uid = ?1",
    [MM_SQL_RECONCILE_REVOCATION] =
        "SELECT max(done_ms IS NOT NULL) FROM revocations WHERE serial = ?1 HAVING count(*) > 0",

    [MM_SQL_NONCE_ADD] = "INSERT INTO nonces (nonce, made_ms, made_by, document)"
                         " VALUES (?1, ?2, ?3, ?4)"
                         " ON CONFLICT (nonce) DO NOTHING",
    [MM_SQL_NONCE_FIND] = "SELECT n.order_row IS NOT NULL, coalesce(o.order_id, '')"
                          " FROM nonces n LEFT JOIN orders o ON o.row = n.order_row"
                          " WHERE n.nonce = ?1",
    [MM_SQL_NONCE_USE] = "UPDATE nonces SET order_row = ?2 WHERE nonce = ?1 AND order_row IS NULL",
    [MM_SQL_NONCES_COUNT] = "SELECT count(*) FROM nonces WHERE order_row IS NULL",

    [MM_SQL_LEDGER_APPEND] = "INSERT INTO ledger (sequence, record) VALUES (?1, ?2)",
    [MM_SQL_LEDGER_PAGE] =
        "SELECT sequence, record FROM ledger WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
    [MM_SQL_LEDGER_ADOPT] = "SELECT o.order_id, p.name, o.quantity, o.used, o.not_before_ms,"
                            " o.not_after_ms, o.added_by, o.added_ms"
                            " FROM orders o JOIN profiles p ON p.row = o.profile ORDER BY o.row",
    [MM_SQL_LEDGER_ORDERS] = "SELECT " ORDER_ROW " FROM orders o ORDER BY o.order_id",
    [MM_SQL_LEDGER_DEVICES] = "SELECT uid, spki_sha256, number, serial, hw_serial FROM devices"
                              " WHERE row BETWEEN ?1 AND ?2 ORDER BY row",

    [MM_SQL_CHECKPOINT_ADD] =
        "INSERT OR REPLACE INTO checkpoints (sequence, baseline, document, orders)"
        " VALUES (?1, ?2, ?3, ?4)",
    [MM_SQL_CHECKPOINT_SHORTEN] = "UPDATE checkpoints SET orders = x''"
                                  " WHERE sequence < ?1 AND baseline = 0 AND length(orders) > ?2",
    [MM_SQL_CHECKPOINT_LAST] =
        "SELECT sequence, document, orders FROM checkpoints ORDER BY sequence DESC LIMIT 1",
    [MM_SQL_CHECKPOINT_BASELINE] = "SELECT sequence, document, orders FROM checkpoints"
                                   " WHERE baseline = 1 ORDER BY sequence DESC LIMIT 1",
};
