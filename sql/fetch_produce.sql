-- What SQL produces, SQL reads back: every type, nulls, headers, timestamps, keys, many at once.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';

SELECT (t).name FROM sh_create_topic('returned', 2) AS t;
SELECT * FROM sh_produce('returned', 'text', 'key', 0, '{"one": "1", "null": null, "many": ["a", "b", null], "é": "☃"}', '2026-01-02 03:04:05.678');
SELECT * FROM sh_produce('returned', '\x00ff'::bytea, '\xff00'::bytea, 0, NULL, '1970-01-01 00:00:00.001');
SELECT * FROM sh_produce('returned', '{"a": [1, null]}'::jsonb, 'json', 0, '{}', '2026-01-02');
SELECT * FROM sh_produce('returned', NULL::text, 'tombstone', 0, NULL, '2026-01-02');
SELECT * FROM sh_produce('returned', '', '', 0, '{"empty": ""}', '2026-01-02');
SELECT * FROM sh_fetch('returned', 0);
SELECT "offset", key, value FROM sh_read_text('returned', '{0}', invalid_as_null => true);
SELECT "offset", value FROM sh_read_json('returned', '{0}', from_offset => 2, invalid_as_null => true);

-- Headers go round: what was read can be produced again.
SELECT f."offset" AS read, p.* FROM sh_fetch('returned', 0) AS f, LATERAL sh_produce('returned', f.value, f.key, 1, f.headers, f."timestamp") AS p;
SELECT count(*) AS differences FROM sh_fetch('returned', 0) AS a FULL JOIN sh_fetch('returned', 1) AS b USING ("offset")
WHERE (a.key, a.value, a.headers, a."timestamp") IS DISTINCT FROM (b.key, b.value, b.headers, b."timestamp");

-- Records are in the log once their transaction has committed: not before, not after a rollback.
BEGIN;
SELECT * FROM sh_produce('returned', 'mine', partition => 1);
SELECT sh_enqueue('returned', 'later', partition => 1);
SELECT count(*) FROM sh_fetch('returned', 1, 5);
ROLLBACK;
SELECT count(*) FROM sh_fetch('returned', 1, 5);
BEGIN;
SELECT count(sh_enqueue('returned', 'value ' || n, partition => 1)) FROM generate_series(1, 10000) AS n;
COMMIT;
SELECT count(*), min("offset"), max("offset"), count(DISTINCT value) FROM sh_fetch('returned', 1, 5, 100000, 10000000);
SELECT convert_from(value, 'UTF8') AS value FROM sh_fetch('returned', 1, 5000, 1);
SELECT sh_delete_topic('returned');
