-- sh_produce_batch(): arrays of records in one call.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set ECHO none
\i sql/records.psql
\set ECHO all
SELECT count(*) AS created FROM sh_create_topic('batch.four', 4, '{"compression.type": "uncompressed"}');
SELECT count(*) AS created FROM sh_create_topic('batch.spread', 4);
SELECT count(*) AS created FROM sh_create_topic('batch.compact', 1, '{"cleanup.policy": "compact"}');

-- Keys decide; a row for each partition, the records of each following each other in the order of the arrays.
SELECT * FROM sh_produce_batch('batch.four', ARRAY['one', 'two', 'three', 'four', NULL], ARRAY['21', 'foobar', 'abc', '21', 'foobar']);
SELECT partition, "offset", key, value FROM pg_temp.records('batch.four') ORDER BY 1, 2;
-- A partition for all; values of every type, keys too.
SELECT * FROM sh_produce_batch('batch.four', ARRAY['{"a": 1}', '2', 'null']::jsonb[], partition => 1);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['\x00', '\x01ff']::bytea[], ARRAY['\xff', NULL]::bytea[], 1);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['text'], ARRAY['\xfe']::bytea[], 1);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['\xfd']::bytea[], ARRAY['text'], 1);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['with'], NULL::text[], 1, ARRAY['{"h": "1"}']::jsonb[], ARRAY['2020-01-01Z']::timestamptz[]);
SELECT "offset", key, value, headers, to_timestamp(ts / 1000.0) < '2021-01-01' AS is_old FROM pg_temp.records('batch.four') WHERE partition = 1 ORDER BY 1;
-- Without keys all go to one partition, and so do those without one among others.
SELECT count(*) AS partitions, sum(records) FROM sh_produce_batch('batch.spread', ARRAY['a', 'b', 'c']);
SELECT count(*) BETWEEN 1 AND 2 AS partitions, sum(records) FROM sh_produce_batch('batch.spread', ARRAY['a', 'b', 'c'], ARRAY['21', NULL, NULL]);
-- Nothing at all.
SELECT * FROM sh_produce_batch('batch.four', ARRAY[]::text[]);
SELECT * FROM sh_produce_batch('batch.four', NULL::text[]);

-- Calls of one transaction, of both kinds, in their order; a rollback to a savepoint takes a whole call with it.
BEGIN;
SELECT * FROM sh_produce_batch('batch.four', ARRAY['first', 'second'], partition => 0);
SELECT * FROM sh_produce('batch.four', 'third', partition => 0);
SAVEPOINT here;
SELECT * FROM sh_produce_batch('batch.four', ARRAY['undone', 'undone'], partition => 0);
ROLLBACK TO here;
SELECT * FROM sh_produce_batch('batch.four', ARRAY['fourth', 'fifth'], partition => 0);
COMMIT;
SELECT value FROM pg_temp.records('batch.four') WHERE partition = 0 AND value ~ '^(first|second|third|undone|fourth|fifth)$' ORDER BY "offset";

-- What is wrong with one record is wrong with all; arrays have one length.
SELECT * FROM sh_produce_batch('batch.four', ARRAY['a', 'b'], ARRAY['k']);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['a', 'b'], ts => ARRAY[now()]);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['a'], partition => 4);
SELECT * FROM sh_produce_batch('batch.four', ARRAY['a'], partition => -1);
SELECT * FROM sh_produce_batch('batch.compact', ARRAY['a', 'b'], ARRAY['k', NULL]);
SELECT * FROM sh_produce_batch('batch.none', ARRAY['a']);
SELECT count(*) FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'batch.compact';

-- Many records: batches of about a megabyte, whole and in order.
SELECT records FROM sh_produce_batch('batch.four', ARRAY(SELECT n || repeat(' ', 100) FROM generate_series(1, 30000) AS n), partition => 2);
SELECT batches > 2 AS many, end_offset - base_offset AS records FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id)
WHERE name = 'batch.four' AND partition = 2 ORDER BY end_offset DESC LIMIT 1;

SELECT sh_delete_topic('batch.four'), sh_delete_topic('batch.spread'), sh_delete_topic('batch.compact');
