-- A topic as a table: sh_read(), sh_read_text(), sh_read_json(), sh_create_view(). Batches are made by hand, as in fetch.sql.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET search_path = public;
\i sql/batches.psql

CREATE FUNCTION pg_temp.json(values_ text[], base_ms int8) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.batch(cardinality(values_), (SELECT string_agg(pg_temp.made(n::int - 1, (n - 1) * 100, convert_to('k' || n, 'UTF8'), convert_to(v, 'UTF8')), '' ORDER BY n) FROM unnest(values_) WITH ORDINALITY AS u (v, n)), 0, NULL, base_ms)
$$;
-- Partition 0: three records at 0, 100 and 200 ms of 2026-01-01, then two a day later; partition 1: one at noon; partition 2: none.
SELECT (t).name FROM sh_create_topic('packages', 3) AS t;
SELECT pg_temp.put('packages', 0, 3, pg_temp.json('{"{\"Package\": \"vim\", \"Section\": \"editors\", \"Installed-Size\": 3500}","{\"Package\": \"nano\", \"Section\": \"editors\", \"Installed-Size\": 2900, \"Tag\": [\"a\", 1]}","{\"Package\": \"gcc\", \"Section\": \"devel\"}"}', 1767225600000), 1767225600200);
SELECT pg_temp.put('packages', 0, 2, pg_temp.json('{null,"[1]"}', 1767312000000), 1767312000100);
SELECT pg_temp.put('packages', 1, 1, pg_temp.json('{"{\"Package\": \"make\", \"Section\": \"devel\", \"Installed-Size\": \"1800\"}"}', 1767268800000), 1767268800000);

SELECT topic, partition, "offset", "timestamp", convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value FROM sh_read('packages');
SELECT * FROM sh_read_text('packages', '{1}');
SELECT value ->> 'Section' AS section, count(*) FROM sh_read_json('packages') GROUP BY 1 ORDER BY 1;
-- Some partitions, from an offset on, in a range of time: from its beginning, before its end.
SELECT partition, "offset" FROM sh_read('packages', '{1,0}', from_offset => 0);
SELECT partition, "offset" FROM sh_read('packages', from_offset => 3);
SELECT partition, "offset" FROM sh_read('packages', from_time => '2026-01-01 00:00:00.1');
SELECT partition, "offset" FROM sh_read('packages', from_time => '2026-01-01 00:00:00.1', to_time => '2026-01-01 00:00:00.2');
SELECT partition, "offset" FROM sh_read('packages', from_time => '2026-01-01 00:00:00.100001', to_time => '2026-01-01 00:00:00.200001');
SELECT partition, "offset" FROM sh_read('packages', from_time => '2026-01-01 06:00', to_time => '2026-01-02');
SELECT partition, "offset" FROM sh_read('packages', from_time => '2027-01-01');
SELECT count(*) FROM sh_read('packages', from_time => '-infinity', to_time => 'infinity');
-- Bytes of a time that nobody wants are not even looked at: these are gone.
BEGIN;
UPDATE streamhouse.segment SET object_id = -1 WHERE end_offset = 3;
SELECT partition, "offset" FROM sh_read('packages', from_time => '2026-01-01 06:00', to_time => '2026-01-02');
ROLLBACK;
SELECT * FROM sh_read('packages', '{3}');
SELECT * FROM sh_read('packages', '{NULL}');
SELECT * FROM sh_read(NULL);
SELECT * FROM sh_read('no such topic');
SELECT * FROM sh_read('packages', '{}');
SELECT * FROM sh_read('packages', '{2}');

-- What is no JSON, and what is no text.
SELECT pg_temp.put('packages', 2, 4, pg_temp.batch(4, pg_temp.made(0, 0, '\xff', '{"a": 1}') || pg_temp.made(1, 0, 'k', '{"a": ') || pg_temp.made(2, 0, 'k', '\xff') || pg_temp.made(3, 0, 'k', '"\\u0000"')));
SELECT "offset", key, value FROM sh_read_json('packages', '{2}');
SELECT "offset", key, value FROM sh_read_json('packages', '{2}', from_offset => 2);
SELECT "offset", key, value FROM sh_read_json('packages', '{2}', from_offset => 3);
SELECT "offset", key, value FROM sh_read_json('packages', '{2}', invalid_as_null => true);
SELECT "offset", key, value FROM sh_read_text('packages', '{2}');
SELECT "offset", key, value FROM sh_read_text('packages', '{2}', invalid_as_null => true);

-- A typed view.
DELETE FROM streamhouse.segment AS s USING streamhouse.topic AS t WHERE s.topic_id = t.topic_id AND t.name = 'packages' AND s.partition = 2;
SELECT sh_create_view('packages', '{"Package": "text", "Section": "varchar(20)", "Installed-Size": "int", "Tag": "jsonb", "it''s \"odd\"": "pg_catalog.timestamptz"}');
\d packages
SELECT * FROM packages ORDER BY partition, "offset";
SELECT "Section", sum("Installed-Size") FROM packages GROUP BY 1 ORDER BY 1;
SELECT sh_create_view('packages', name => 'Plain packages');
SELECT * FROM "Plain packages" WHERE partition = 1;
SELECT sh_create_view('packages');
SELECT sh_create_view('packages', '{"a": "int; DROP TABLE x"}', 'other');
SELECT sh_create_view('packages', '{"a": "no such type"}', 'other');
SELECT sh_create_view('packages', '["a"]', 'other');
SELECT sh_create_view(NULL);
DROP VIEW packages, "Plain packages";

-- A role without any right on tables or schemas reads, and its view is its own.
CREATE ROLE regress_reader;
GRANT CREATE ON SCHEMA public TO regress_reader;
SELECT sh_grant('packages', 'regress_reader', 'consume');
SET ROLE regress_reader;
SELECT count(*) FROM sh_read('packages');
SELECT count(*) FROM sh_fetch('packages', 0);
SELECT sh_create_view('packages', '{"Package": "text"}', 'readers');
SELECT "Package" FROM readers ORDER BY partition, "offset";
SELECT relowner::regrole FROM pg_class WHERE oid = 'readers'::regclass;
SELECT * FROM streamhouse.fetch_many('{1}', '{0}', '{0}', 1, 1);
RESET ROLE;
DROP VIEW readers;
REVOKE CREATE ON SCHEMA public FROM regress_reader;
DROP ROLE regress_reader;

-- JSON that is no jsonb: a number that numeric has not, and more nesting than the stack has room for
SELECT (sh_create_topic('beyond', 1)).name;
SELECT count(sh_enqueue('beyond', v)) FROM unnest(ARRAY['1', '1e400000', repeat('[', 200000) || repeat(']', 200000), '{"a": 2}']) AS v;
SELECT "offset", value FROM sh_read_json('beyond', invalid_as_null => true);
SELECT "offset", value FROM sh_read_json('beyond');
SELECT sh_delete_topic('beyond');

-- a cursor goes back in what went to disk
SELECT (sh_create_topic('scrolled', 1)).name;
SELECT count(sh_enqueue('scrolled', repeat('x', 1000) || n)) FROM generate_series(1, 500) AS n;
SET work_mem = '64kB';
BEGIN;
DECLARE scrolled SCROLL CURSOR FOR SELECT "offset", length(value) FROM sh_read('scrolled');
MOVE 200 IN scrolled;
FETCH BACKWARD 2 FROM scrolled;
FETCH ABSOLUTE 10 FROM scrolled;
COMMIT;
RESET work_mem;
SELECT sh_delete_topic('scrolled');

SELECT sh_delete_topic('packages');
DELETE FROM streamhouse.inline_1;
