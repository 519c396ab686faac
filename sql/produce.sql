-- sh_produce(): where a record goes, what is written, and what is refused.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY default
\set ECHO none
\i sql/records.psql
\set ECHO all
SELECT count(*) AS created FROM sh_create_topic('produce.one', 1, '{"compression.type": "uncompressed"}');
SELECT count(*) AS created FROM sh_create_topic('produce.four', 4, '{"compression.type": "uncompressed"}');
UPDATE streamhouse.lease SET epoch = 7 WHERE topic_id = (SELECT topic_id FROM streamhouse.topic WHERE name = 'produce.one');

-- As typed: an untyped literal is text.
SELECT sh_produce('produce.one', 'hello');
SELECT * FROM sh_produce('produce.one', value => '{"a": 1}'::jsonb, key => 'k1');
SELECT * FROM sh_produce('produce.one', '\x00ff'::bytea, '\x01'::bytea);
SELECT * FROM sh_produce('produce.one', '[1, 2]'::jsonb, '\xfe'::bytea);
SELECT * FROM sh_produce('produce.one', 'text'::text, 'bytes'::bytea);
SELECT * FROM sh_produce('produce.one', 'bytes'::bytea, 'text'::text);
-- A null value is a tombstone; empty is something else.
SELECT * FROM sh_produce('produce.one', NULL, 'k1');
SELECT * FROM sh_produce('produce.one', '', '');
-- Headers: strings, null, the same name twice; a timestamp of the producer's.
SELECT * FROM sh_produce('produce.one', 'x', headers => '{"trace": "abc", "none": null, "twice": ["one", "two", null], "empty": ""}');
SELECT * FROM sh_produce('produce.one', 'x', headers => '{}', ts => '2020-01-02 03:04:05.678Z');
SELECT "offset", key, value, headers FROM pg_temp.records('produce.one');
SELECT "offset", to_timestamp(ts / 1000.0) AT TIME ZONE 'UTC' AS ts FROM pg_temp.records('produce.one') WHERE "offset" = 9;
-- Without ts it is the current time.
SELECT bool_and(to_timestamp(ts / 1000.0) BETWEEN now() - interval '1 min' AND now() + interval '1 s') AS is_now
FROM pg_temp.records('produce.one') WHERE "offset" < 9;
-- A segment a transaction, under the partition's leader epoch; the running maximum does not fall with an old timestamp.
SELECT base_offset, end_offset, slot > 0 AS is_inline, batches, leader_epoch, running_max_timestamp >= max_timestamp AS runs
FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'produce.one' AND base_offset >= 8;

-- Keys go where Kafka's Java client sends them: murmur2 of '21', 'foobar', 'abc' modulo 4.
SELECT key, (sh_produce('produce.four', 'x', key)).partition FROM unnest(ARRAY['21', 'foobar', 'abc', 'a-little-bit-long-string']) AS key;
-- A partition that is asked for comes before the key.
SELECT * FROM sh_produce('produce.four', 'x', '21', partition => 3);
-- Without a key one partition takes all records of the transaction.
BEGIN;
SELECT count(DISTINCT (sh_produce('produce.four', n::text)).partition) AS partitions FROM generate_series(1, 50) AS n;
ROLLBACK;
-- Which one it is changes.
CREATE TEMP TABLE chosen (partition int);
DO $$ BEGIN FOR n IN 1 .. 60 LOOP INSERT INTO chosen SELECT partition FROM sh_produce('produce.four', 'x'); COMMIT; END LOOP; END $$;
SELECT count(DISTINCT partition) > 1 AS changes, count(*) FROM chosen;

-- Offsets within a transaction follow each other, and are what is read later.
BEGIN;
SELECT "offset" FROM sh_produce('produce.one', 'first');
SELECT sh_enqueue('produce.one', 'second');
SELECT "offset" FROM sh_produce('produce.one', 'third');
SELECT count(*) AS visible_before_commit FROM pg_temp.records('produce.one') WHERE "offset" >= 10;
COMMIT;
SELECT "offset", value FROM pg_temp.records('produce.one') WHERE "offset" >= 10;

-- What is rolled back leaves nothing, and no gap.
BEGIN;
SELECT "offset" FROM sh_produce('produce.one', 'undone');
ROLLBACK;
BEGIN;
SELECT "offset" FROM sh_produce('produce.one', 'kept');
SAVEPOINT here;
SELECT "offset" FROM sh_produce('produce.one', 'undone');
SELECT "offset" FROM sh_produce('produce.one', 'undone');
ROLLBACK TO here;
SELECT "offset" FROM sh_produce('produce.one', 'kept, too');
RELEASE here;
SELECT "offset" FROM sh_produce('produce.one', 'and this');
COMMIT;
SELECT "offset", value FROM pg_temp.records('produce.one') WHERE "offset" >= 13;
-- A lock that was taken after a savepoint goes with it, and is taken anew.
BEGIN;
SAVEPOINT here;
SELECT "offset" FROM sh_produce('produce.one', 'undone');
ROLLBACK TO here;
SELECT "offset" FROM sh_produce('produce.one', 'locked anew');
COMMIT;
-- An exception that is caught is such a rollback.
DO $$
BEGIN
    PERFORM sh_produce('produce.one', 'before');
    FOR n IN 1 .. 3 LOOP
        BEGIN
            PERFORM sh_produce('produce.one', 'caught ' || n);
            IF n <> 2 THEN RAISE EXCEPTION 'no'; END IF;
        EXCEPTION WHEN raise_exception THEN
            PERFORM sh_produce('produce.one', 'in the handler of ' || n);
        END;
    END LOOP;
END $$;
SELECT "offset", value FROM pg_temp.records('produce.one') WHERE "offset" >= 16;
-- Deep nesting: the innermost is kept when all around it are, and only then.
BEGIN;
SAVEPOINT a; SELECT "offset" FROM sh_produce('produce.one', 'in a');
SAVEPOINT b; SELECT "offset" FROM sh_produce('produce.one', 'in b');
SAVEPOINT c; SELECT "offset" FROM sh_produce('produce.one', 'in c');
RELEASE c;
ROLLBACK TO b; SELECT "offset" FROM sh_produce('produce.one', 'in b again');
RELEASE b; RELEASE a;
COMMIT;
SELECT "offset", value FROM pg_temp.records('produce.one') WHERE "offset" >= 21;

-- A block that commits in between appends in between.
DO $$ BEGIN FOR n IN 1 .. 3 LOOP PERFORM sh_produce('produce.one', 'committed ' || n); COMMIT; END LOOP; PERFORM sh_produce('produce.one', 'gone'); ROLLBACK; END $$;
SELECT "offset", value FROM pg_temp.records('produce.one') WHERE "offset" >= 23;

-- Every isolation level reads the end under the lock, not in its snapshot.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT "offset" FROM sh_produce('produce.one', 'repeatable');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT "offset" FROM sh_produce('produce.one', 'serializable');
COMMIT;

-- Refused: no such topic, no such partition, null, headers that are not strings, timestamps that cannot be.
SELECT sh_produce('produce.none', 'x');
SELECT sh_produce(repeat('x', 250), 'x');
SELECT sh_produce(NULL, 'x');
SELECT sh_produce('produce.four', 'x', partition => 4);
SELECT sh_produce('produce.four', 'x', partition => -1);
SELECT sh_produce('produce.one', 'x', headers => '[]');
SELECT sh_produce('produce.one', 'x', headers => '"a"');
SELECT sh_produce('produce.one', 'x', headers => '{"a": 1}');
SELECT sh_produce('produce.one', 'x', headers => '{"a": {"b": "c"}}');
SELECT sh_produce('produce.one', 'x', headers => '{"a": [["b"]]}');
SELECT sh_produce('produce.one', 'x', ts => 'infinity');
SELECT sh_produce('produce.one', 'x', ts => '1969-12-31 23:59Z');
SELECT sh_produce('produce.one', 'x', ts => now() + interval '2 h');

-- Topics have their rules: a largest batch, keys where they are compacted, timestamps near to now or the broker's own.
SELECT count(*) AS created FROM sh_create_topic('produce.small', 1, '{"max.message.bytes": "200", "compression.type": "uncompressed"}');
SELECT "offset" FROM sh_produce('produce.small', repeat('x', 130));
SELECT sh_produce('produce.small', repeat('x', 135));
SELECT sh_produce('produce.small', repeat('x', 1000));
-- Batches are cut to that size: three records of 50 bytes make two.
BEGIN;
SELECT "offset" FROM sh_produce('produce.small', repeat('y', 50)), generate_series(1, 1);
SELECT "offset" FROM sh_produce('produce.small', repeat('y', 50));
SELECT "offset" FROM sh_produce('produce.small', repeat('y', 50));
COMMIT;
SELECT base_offset, end_offset, batches FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'produce.small' ORDER BY 1;
SELECT "offset", length(value) FROM pg_temp.records('produce.small');
SELECT count(*) AS created FROM sh_create_topic('produce.compact', 1, '{"cleanup.policy": "delete,compact", "message.timestamp.before.max.ms": "1000"}');
SELECT sh_produce('produce.compact', 'x');
SELECT sh_produce('produce.compact', 'x', 'k', ts => now() - interval '1 min');
SELECT sh_produce('produce.compact', 'x', 'k');
SELECT count(*) AS created FROM sh_create_topic('produce.append', 1, '{"message.timestamp.type": "LogAppendTime", "compression.type": "uncompressed"}');
SELECT sh_produce('produce.append', 'x', ts => '2001-01-01Z');
SELECT to_timestamp(ts / 1000.0) > now() - interval '1 min' AS is_now FROM pg_temp.records('produce.append');
SELECT max_timestamp = running_max_timestamp AND to_timestamp(max_timestamp / 1000.0) > now() - interval '1 min' AS is_now
FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'produce.append';
-- The topic's codec, where it names one, else lz4; a codec that makes nothing smaller is left out.
SELECT count(*) AS created FROM unnest(ARRAY['gzip', 'snappy', 'lz4', 'zstd', 'uncompressed', 'producer']) AS codec,
       LATERAL sh_create_topic('produce.codec.' || codec, 1, jsonb_build_object('compression.type', codec));
SELECT count(sh_produce(name, repeat('squeeze ', 200))) AS produced FROM streamhouse.topic WHERE name LIKE 'produce.codec.%';
SELECT count(sh_produce(name, 'x')) AS produced FROM streamhouse.topic WHERE name LIKE 'produce.codec.%';
SELECT name, base_offset, get_byte(r.bytes, 22) & 7 AS codec, byte_length < 400 AS is_small
FROM streamhouse.segment AS s JOIN streamhouse.topic USING (topic_id),
     sh_read_inline(ARRAY[object_id], ARRAY[slot], ARRAY[byte_start], ARRAY[byte_length]) AS r
WHERE name LIKE 'produce.codec.%' ORDER BY name COLLATE "C", base_offset;

-- A transaction that only reads, or is to be prepared, cannot.
BEGIN READ ONLY;
SELECT sh_produce('produce.one', 'x');
ROLLBACK;
BEGIN;
SELECT "offset" FROM sh_produce('produce.one', 'prepared');
PREPARE TRANSACTION 'produce';
SELECT count(*) AS left FROM pg_temp.records('produce.one') WHERE value = 'prepared';
BEGIN;
SAVEPOINT here;
SELECT "offset" FROM sh_produce('produce.one', 'undone');
ROLLBACK TO here;
COMMIT;

-- Topics change while a session lives: the next transaction knows; one that has begun may learn it at its end.
SELECT count(*) AS created FROM sh_create_topic('produce.changing', 1);
SELECT sh_produce('produce.changing', 'x');
SELECT sh_add_partitions('produce.changing', 2);
SELECT sh_produce('produce.changing', 'x', partition => 1);
SELECT sh_delete_topic('produce.changing');
SELECT sh_produce('produce.changing', 'x');
SELECT count(*) AS created FROM sh_create_topic('produce.changing', 1);
SELECT sh_produce('produce.changing', 'x');
BEGIN;
SAVEPOINT here;
SELECT count(*) AS created FROM sh_create_topic('produce.undone', 1);
SELECT sh_produce('produce.undone', 'x');
ROLLBACK TO here;
SELECT sh_produce('produce.undone', 'x');
ROLLBACK;

BEGIN;
SELECT sh_produce('produce.changing', 'x');
SELECT sh_delete_topic('produce.changing');
COMMIT;
-- Offsets that were promised are kept: what the transaction appends in another way is noticed.
BEGIN;
SELECT sh_produce('produce.changing', 'x');
UPDATE streamhouse.partition SET floor_offset = 100 WHERE topic_id = (SELECT topic_id FROM streamhouse.topic WHERE name = 'produce.changing' AND deleted_at IS NULL);
COMMIT;

-- A role without any right to a table produces, where rights to topics allow it.
CREATE ROLE produce_nobody;
GRANT USAGE ON SCHEMA public TO produce_nobody;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamhouse_producer') THEN
        GRANT streamhouse_producer TO produce_nobody;
    END IF;
END $$;
SET ROLE produce_nobody;
SELECT "offset" FROM sh_produce('produce.one', 'from nobody');
SELECT count(*) FROM streamhouse.segment;
RESET ROLE;
SELECT value FROM pg_temp.records('produce.one') ORDER BY "offset" DESC LIMIT 1;
DROP OWNED BY produce_nobody;
DROP ROLE produce_nobody;

SELECT count(*) AS deleted FROM streamhouse.topic, LATERAL sh_delete_topic(name) WHERE name LIKE 'produce.%' AND deleted_at IS NULL;
