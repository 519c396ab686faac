-- Records as rows: sh_fetch(), streamhouse.fetch_many(). Batches are made by hand here, byte by byte.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
SET timezone = 'UTC';
SET datestyle = 'ISO';
\i sql/batches.psql
SELECT to_hex(pg_temp.crc32c('123456789')) AS check_value;

SELECT (t).name FROM sh_create_topic('fetched', 2) AS t;
-- Nothing yet.
SELECT * FROM sh_fetch('fetched', 0);
-- Every kind of key, value, headers and timestamp.
SELECT pg_temp.put('fetched', 0, 6, pg_temp.batch(6,
    pg_temp.made(0, 0, 'key', 'value') || pg_temp.made(1, 1500, NULL, NULL) || pg_temp.made(2, -2000, '', '')
    || pg_temp.made(3, 3, '\x00ff', '\xdeadbeef', ARRAY['a', 'text', 'nothing', NULL]::bytea[])
    || pg_temp.made(4, 4, 'k', 'v', ARRAY['b', '\xff00', 'é', 'ü', 'c', '1', 'c', '2', 'c', NULL]::bytea[])
    || pg_temp.made(5, 5, 'k', 'v', ARRAY['\xfe', '']::bytea[])));
SELECT * FROM sh_fetch('fetched', 0);
-- No timestamp; the broker's timestamp; timestamps beyond what a timestamptz holds.
SELECT pg_temp.put('fetched', 0, 1, pg_temp.batch(1, pg_temp.made(0, 0, NULL, 'no time'), 0, NULL, -1));
SELECT pg_temp.put('fetched', 0, 1, pg_temp.batch(1, pg_temp.made(0, 0, NULL, 'append time'), 8));
SELECT pg_temp.put('fetched', 0, 1, pg_temp.batch(1, pg_temp.made(0, 0, NULL, 'late'), 0, NULL, 9223372036854774000));
SELECT "offset", "timestamp", convert_from(value, 'UTF8') AS value FROM sh_fetch('fetched', 0, 6);
-- A control batch takes an offset and is no record; compaction leaves gaps, and batches without any record.
SELECT pg_temp.put('fetched', 1, 10, pg_temp.batch(1, pg_temp.made(0, 0, '\x00000001', '\x000000000000'), 32) || pg_temp.batch(2, pg_temp.made(1, 0, NULL, '2') || pg_temp.made(3, 0, NULL, '4'), 0, 4)
    || pg_temp.batch(0, '', 0, 1) || pg_temp.batch(1, pg_temp.made(1, 0, NULL, '9'), 0, 1));
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('fetched', 1);
-- From every offset on: never one skipped, never one before.
SELECT n AS from_offset, (SELECT string_agg(f."offset"::text, ' ' ORDER BY f."offset") FROM sh_fetch('fetched', 1, n) AS f) AS offsets FROM generate_series(0, 10) AS n;
-- gzip, as a client sends it.
SELECT pg_temp.put('fetched', 1, 2, pg_temp.batch(2, '\x1f8b08000000000002039363606060ca16282e2c4d4dad4a4d615001721925605c8592fc7c060088f453a923000000', 1));
SELECT "offset", key, convert_from(value, 'UTF8') AS value FROM sh_fetch('fetched', 1, 10);

-- Limits: records; bytes, the first record always.
SELECT "offset" FROM sh_fetch('fetched', 0, 0, max_records => 2);
SELECT "offset" FROM sh_fetch('fetched', 0, 0, max_bytes => 1);
SELECT "offset" FROM sh_fetch('fetched', 0, 0, max_bytes => 8);
SELECT "offset" FROM sh_fetch('fetched', 0, 0, max_bytes => 9);
SELECT * FROM sh_fetch('fetched', 0, 0, max_records => 0);
SELECT * FROM sh_fetch('fetched', 0, 0, max_bytes => NULL);

-- The end of the partition, and beyond; before its start; no such partition, no such topic.
SELECT * FROM sh_fetch('fetched', 0, 9);
SELECT * FROM sh_fetch('fetched', 0, 9, wait => '10 ms');
SELECT * FROM sh_fetch('fetched', 0, 9, wait => '-10 ms');
SELECT * FROM sh_fetch('fetched', 0, 10);
UPDATE streamhouse.partition AS p SET log_start_offset = 4 FROM streamhouse.topic AS t WHERE t.topic_id = p.topic_id AND t.name = 'fetched' AND p.partition = 0;
SELECT * FROM sh_fetch('fetched', 0, 3);
SELECT "offset" FROM sh_fetch('fetched', 0, max_records => 1);
SELECT * FROM sh_fetch('fetched', 2);
SELECT * FROM sh_fetch('fetched', -1);
SELECT * FROM sh_fetch('no such topic', 0);
SELECT * FROM sh_fetch(NULL, 0);

-- Many partitions at once, in the order asked for; places outside give nothing.
CREATE FUNCTION pg_temp.many(partitions int[], offsets int8[], max_records int, max_bytes int DEFAULT 1000000) RETURNS TABLE (topic text, partition int, "offset" int8) LANGUAGE sql AS $$
    SELECT topic, partition, "offset" FROM streamhouse.fetch_many(
        array_fill((SELECT topic_id FROM streamhouse.topic WHERE name = 'fetched' AND deleted_at IS NULL), ARRAY[cardinality(partitions)]), partitions, offsets, max_records, max_bytes)
$$;
SELECT * FROM pg_temp.many('{1,0}', '{4,7}', 100);
SELECT * FROM pg_temp.many('{0,1}', '{7,4}', 3);
SELECT * FROM pg_temp.many('{0,0,0,5,1}', '{-1,3,9,0,11}', 100);
SELECT * FROM pg_temp.many('{0,1}', '{7,0}', 100, 0);
SELECT * FROM streamhouse.fetch_many('{0}', '{0}', '{0}', 10, 10);
SELECT * FROM streamhouse.fetch_many('{0}', '{0,1}', '{0}', 10, 10);

-- In a transaction one sees what it wrote itself, and not after a rollback.
BEGIN;
SELECT pg_temp.put('fetched', 1, 1, pg_temp.batch(1, pg_temp.made(0, 0, NULL, 'mine')));
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('fetched', 1, 12, wait => '10 s');
ROLLBACK;
SELECT * FROM sh_fetch('fetched', 1, 12);

-- Broken bytes are errors that say where, never a crash.
CREATE FUNCTION pg_temp.broken(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sh_delete_topic('broken');
    PERFORM sh_create_topic('broken');
    PERFORM pg_temp.put('broken', 0, 1, bytes);
    PERFORM sh_fetch('broken', 0);
    RETURN 'read';
EXCEPTION WHEN data_corrupted THEN
    RETURN regexp_replace(SQLERRM, '^.*speaks of: ', '');
END $$;
CREATE TEMP TABLE sound AS SELECT pg_temp.batch(1, pg_temp.made(0, 0, 'k', 'v')) AS bytes;
SELECT pg_temp.broken(bytes) FROM sound;
SELECT pg_temp.broken(set_byte(bytes, 17, get_byte(bytes, 17) # 1)) AS checksum FROM sound;
SELECT pg_temp.broken(substr(bytes, 1, length(bytes) - 1)) AS cut FROM sound;
SELECT pg_temp.broken(bytes || '\x00') AS long FROM sound;
SELECT pg_temp.broken(substr(bytes, 1, 30)) AS cut_in_header FROM sound;
SELECT pg_temp.broken(set_byte(bytes, 8, 255)) AS negative_length FROM sound;
SELECT pg_temp.broken(set_byte(bytes, 16, 1)) AS old_format FROM sound;
SELECT pg_temp.broken(pg_temp.batch(2, pg_temp.made(0, 0, 'k', 'v'), 0, 0)) AS record_missing;
SELECT pg_temp.broken(pg_temp.batch(1, pg_temp.made(0, 0, 'k', 'v') || '\x00')) AS bytes_after;
SELECT pg_temp.broken(pg_temp.batch(2, pg_temp.made(0, 0, 'k', 'v') || pg_temp.made(1, 0, 'k', 'v'))) AS too_many_offsets;
SELECT pg_temp.broken(pg_temp.batch(1, 'not gzip', 1)) AS gzip;
SELECT pg_temp.broken(pg_temp.batch(1, pg_temp.made(0, 0, 'k', 'v'), 7)) AS codec;

-- Bytes that are gone although the pointer says otherwise: looked up once more, then an error.
SELECT sh_delete_topic('broken');
SELECT (t).name FROM sh_create_topic('broken') AS t;
SELECT pg_temp.put('broken', 0, 1, bytes) FROM sound;
DELETE FROM streamhouse.inline_1 WHERE object_id = (SELECT max(object_id) FROM streamhouse.inline_1);
\set VERBOSITY terse
SELECT * FROM sh_fetch('broken', 0);
\set VERBOSITY default
SELECT sh_delete_topic('broken'), sh_delete_topic('fetched');
DELETE FROM streamhouse.inline_1;

-- A record at a time: what is left of a batch is kept, compressed or not, and nothing is lost, doubled or mixed up; also
-- where limits leave a record for the next time, where positions go back, and where topics take turns.
SELECT (sh_create_topic('bit', 2)).name, (sh_alter_topic('bit', '{"compression.type": "zstd"}')).config;
SELECT (sh_create_topic('plain', 1)).name, (sh_alter_topic('plain', '{"compression.type": "uncompressed"}')).config;
SELECT count(sh_enqueue('bit', repeat('v', n % 7) || n, partition => n % 2)) FROM generate_series(1, 200) AS n;
SELECT count(sh_enqueue('plain', repeat('p', n % 7) || n)) FROM generate_series(1, 100) AS n;
CREATE FUNCTION pg_temp.by_bits(topic text, partition int, records int, bytes int) RETURNS TABLE ("offset" int8, value bytea) LANGUAGE plpgsql AS $$
DECLARE
    next int8 := 0;
    given record;
BEGIN
    LOOP
        FOR given IN SELECT f."offset", f.value FROM sh_fetch(topic, partition, next, records, bytes) AS f LOOP
            "offset" := given."offset";
            value := given.value;
            RETURN NEXT;
        END LOOP;
        EXIT WHEN given."offset" IS NULL OR given."offset" + 1 = next;
        next := given."offset" + 1;
        PERFORM sh_fetch('plain', 0, next / 2, 1) WHERE next % 5 = 0;
    END LOOP;
END $$;
SELECT topic, partition, records, bytes, (SELECT count(*) FROM pg_temp.by_bits(topic, partition, records, bytes)) AS given,
       (SELECT array_agg(b) FROM pg_temp.by_bits(topic, partition, records, bytes) AS b)
       = (SELECT array_agg((r."offset", r.value)) FROM sh_read(topic, ARRAY[partition]) AS r) AS same
FROM (VALUES ('bit', 0), ('bit', 1), ('plain', 0)) AS t (topic, partition), (VALUES (1, 1000), (3, 1000), (1000, 1), (1000, 20)) AS l (records, bytes);
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('bit', 0, 50, 1) UNION ALL SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('bit', 0, 49, 2)
UNION ALL SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('bit', 0, 60, 1) UNION ALL SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('bit', 1, 61, 1);
SELECT count(*) FROM sh_read('bit', NULL, now() + interval '1 day');
SELECT sh_delete_topic('bit'), sh_delete_topic('plain');
DELETE FROM streamhouse.inline_1;
