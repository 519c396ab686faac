-- sh_commit_object(): what it answers and what it writes.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;

-- The columns are where src/tables.h says.
SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum) AS columns
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'streamhouse'::regnamespace
  AND c.relname IN ('topic', 'partition', 'lease', 'object', 'segment', 'producer', 'commit_answer')
GROUP BY c.relname ORDER BY c.relname;

-- A topic without a name, two partitions led by agent 901 under epoch 3, one led by nobody.
INSERT INTO streamhouse.partition (topic_id, partition) SELECT 900001, p FROM generate_series(0, 3) AS p;
INSERT INTO streamhouse.lease (topic_id, partition, agent_id, epoch) VALUES (900001, 0, 901, 3), (900001, 1, 901, 3), (900001, 2, NULL, 3);

CREATE FUNCTION pg_temp.reserve(name text, owner int DEFAULT 901, life interval DEFAULT '1 h') RETURNS void LANGUAGE sql AS $$
    INSERT INTO streamhouse.object (key, agent_id, expires_at) VALUES ('test/commit/' || name, owner, clock_timestamp() + life)
$$;
CREATE FUNCTION pg_temp.object(name text) RETURNS int8 LANGUAGE sql AS $$
    SELECT object_id FROM streamhouse.object WHERE key = 'test/commit/' || name
$$;
-- Commits to a reserved object, or to a new one.
CREATE FUNCTION pg_temp.commit(name text, rows bytea)
RETURNS TABLE (batch int, status streamhouse.commit_status, error_code int2, base_offset int8, leader_epoch int, log_start_offset int8)
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_temp.object(name) IS NULL THEN PERFORM pg_temp.reserve(name); END IF;
    RETURN QUERY SELECT * FROM sh_commit_object(901, pg_temp.object(name), 10000, rows);
END
$$;
-- One batch of a producer, in partition 1.
CREATE FUNCTION pg_temp.produced(id int8, epoch int, first_sequence int, count int, ordinal int DEFAULT 0, lease int DEFAULT 3) RETURNS bytea LANGUAGE sql AS $$
    SELECT streamhouse.pack_commit_row(900001, 1, lease, batch => ordinal, byte_start => ordinal * 100, offset_count => count,
                                       producer_id => id, producer_epoch => epoch, first_sequence => first_sequence)
$$;

-- Packed rows come back as they were.
SELECT * FROM streamhouse.unpack_commit_rows(
    streamhouse.pack_commit_row(1, 2, 3, batch => 4, byte_start => 5000000000, byte_length => 6, offset_count => 7, base_timestamp => -1,
                                max_timestamp => 1700000000000, producer_id => 9, producer_epoch => -1, first_sequence => 2147483647, attributes => -32768)
    || streamhouse.pack_commit_row(-1, -2, -3));
SELECT streamhouse.pack_commit_rows(ARRAY(SELECT r FROM streamhouse.unpack_commit_rows(packed) AS r)) = packed AS same, length(packed)
FROM (SELECT streamhouse.pack_commit_row(1, 2, 3) || streamhouse.pack_commit_row(4, 5, 6, attributes => 8)) AS p (packed);

-- Offsets are dense; batches that touch in the object become one segment, others another.
SELECT * FROM pg_temp.commit('dense',
    streamhouse.pack_commit_row(900001, 0, 3, batch => 0, byte_start => 0, offset_count => 10, max_timestamp => 50)
    || streamhouse.pack_commit_row(900001, 1, 3, batch => 1, byte_start => 100, offset_count => 3)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 2, byte_start => 200, offset_count => 5, max_timestamp => 40)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 3, byte_start => 300, offset_count => 1, max_timestamp => 60));
SELECT partition, base_offset, end_offset, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp
FROM streamhouse.segment WHERE topic_id = 900001 ORDER BY partition, end_offset;
SELECT state, bytes FROM streamhouse.object WHERE object_id = pg_temp.object('dense');

-- Asked again, in part and in another order, it answers the same and writes nothing.
SELECT * FROM pg_temp.commit('dense',
    streamhouse.pack_commit_row(900001, 0, 3, batch => 3, byte_start => 300, offset_count => 1)
    || streamhouse.pack_commit_row(900001, 1, 3, batch => 1, byte_start => 100, offset_count => 3)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 0, byte_start => 0, offset_count => 10));
SELECT count(*) AS segments FROM streamhouse.segment WHERE topic_id = 900001;
SELECT batch, batches, statuses, error_codes, base_offsets FROM streamhouse.commit_answer WHERE object_id = pg_temp.object('dense');

-- A batch that was not asked for the first time is decided the second time.
SELECT * FROM pg_temp.commit('dense',
    streamhouse.pack_commit_row(900001, 0, 3, batch => 0, byte_start => 0, offset_count => 10)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 4, byte_start => 400, offset_count => 4));

-- Fenced: under an older or a newer epoch, with no leader, with no lease. What is fenced fails alone.
SELECT * FROM pg_temp.commit('fenced',
    streamhouse.pack_commit_row(900001, 0, 2, batch => 0) || streamhouse.pack_commit_row(900001, 0, 4, batch => 1, byte_start => 100)
    || streamhouse.pack_commit_row(900001, 2, 3, batch => 2, byte_start => 200) || streamhouse.pack_commit_row(900001, 3, 3, batch => 3, byte_start => 300)
    || streamhouse.pack_commit_row(900001, 1, 3, batch => 4, byte_start => 400));
-- An object of which nothing was taken stays an intent.
SELECT * FROM pg_temp.commit('all-fenced', streamhouse.pack_commit_row(900001, 0, 2));
SELECT state, bytes FROM streamhouse.object WHERE object_id = pg_temp.object('all-fenced');
-- A fenced answer is final even when the lease comes back.
UPDATE streamhouse.lease SET epoch = 2 WHERE (topic_id, partition) = (900001, 0);
SELECT status, error_code, base_offset FROM pg_temp.commit('all-fenced', streamhouse.pack_commit_row(900001, 0, 2));
UPDATE streamhouse.lease SET epoch = 3 WHERE (topic_id, partition) = (900001, 0);

-- Unknown: neither a topic nor a partition that does not exist hurts the others.
SELECT * FROM pg_temp.commit('unknown',
    streamhouse.pack_commit_row(-5, 0, 3, batch => 0) || streamhouse.pack_commit_row(900001, 77, 3, batch => 1, byte_start => 100)
    || streamhouse.pack_commit_row(900001, 1, 3, batch => 2, byte_start => 200));

-- A raised floor is where offsets go on; the log's start comes with every answer.
UPDATE streamhouse.partition SET floor_offset = 1000, log_start_offset = 900 WHERE (topic_id, partition) = (900001, 0);
SELECT base_offset, log_start_offset FROM pg_temp.commit('floor', streamhouse.pack_commit_row(900001, 0, 3));

-- Producers. One that nothing is known of may start anywhere; then sequences must follow.
SELECT status, error_code, base_offset FROM pg_temp.commit('anywhere', pg_temp.produced(1, 0, 77, 3));
SELECT status, error_code, base_offset FROM pg_temp.commit('follows', pg_temp.produced(1, 0, 80, 3));
SELECT status, error_code, base_offset FROM pg_temp.commit('gap', pg_temp.produced(1, 0, 84, 3));
SELECT status, error_code, base_offset FROM pg_temp.commit('duplicate', pg_temp.produced(1, 0, 77, 3));
-- Half of a known batch is no duplicate.
SELECT status, error_code, base_offset FROM pg_temp.commit('half', pg_temp.produced(1, 0, 77, 2));
-- Five batches are remembered.
SELECT batch, status, error_code, base_offset - min(base_offset) OVER () AS place FROM pg_temp.commit('ring',
    pg_temp.produced(2, 0, 0, 1, 0) || pg_temp.produced(2, 0, 1, 1, 1) || pg_temp.produced(2, 0, 2, 1, 2)
    || pg_temp.produced(2, 0, 3, 1, 3) || pg_temp.produced(2, 0, 4, 1, 4) || pg_temp.produced(2, 0, 5, 1, 5));
SELECT status, error_code FROM pg_temp.commit('sixth', pg_temp.produced(2, 0, 0, 1));
SELECT status, error_code FROM pg_temp.commit('fifth', pg_temp.produced(2, 0, 1, 1));
SELECT first_sequences, last_sequences, producer_epoch FROM streamhouse.producer
WHERE (topic_id, partition, producer_id) = (900001, 1, 2) ORDER BY end_offset;
-- A new epoch starts at 0 and forgets; an old one is refused.
SELECT status, error_code FROM pg_temp.commit('epoch-at-6', pg_temp.produced(2, 1, 6, 1));
SELECT status, error_code FROM pg_temp.commit('epoch-at-0', pg_temp.produced(2, 1, 0, 1));
SELECT status, error_code FROM pg_temp.commit('epoch-old', pg_temp.produced(2, 0, 6, 1));
SELECT first_sequences, producer_epoch FROM streamhouse.producer
WHERE (topic_id, partition, producer_id) = (900001, 1, 2) ORDER BY end_offset DESC LIMIT 1;
-- 0 follows 2147483647, also inside of a batch.
SELECT batch, status, error_code FROM pg_temp.commit('wrap',
    pg_temp.produced(3, 0, 2147483640, 8, 0) || pg_temp.produced(3, 0, 0, 5, 1));
SELECT batch, status, error_code FROM pg_temp.commit('wrap-inside',
    pg_temp.produced(4, 0, 2147483640, 10, 0) || pg_temp.produced(4, 0, 2, 5, 1) || pg_temp.produced(4, 0, 2147483640, 10, 2));
-- Once fenced, fenced to the end of the call: sequence 10 does not pass where 0 was fenced. Other producers do. A producer with
-- state is judged by that: what was to come next is taken, though one that comes later was refused before it.
SELECT batch, status, error_code FROM pg_temp.commit('falls',
    pg_temp.produced(5, 0, 0, 10, 0, lease => 2) || pg_temp.produced(5, 0, 10, 10, 1) || pg_temp.produced(6, 0, 10, 10, 2));
SELECT batch, status, error_code FROM pg_temp.commit('falls-after-gap', pg_temp.produced(1, 0, 90, 3, 0) || pg_temp.produced(1, 0, 83, 3, 1));
-- Also when the refusal was an earlier call's.
SELECT batch, status, error_code FROM pg_temp.commit('falls',
    pg_temp.produced(5, 0, 0, 10, 0, lease => 2) || pg_temp.produced(5, 0, 20, 10, 3));
-- No record, a transaction's, a control batch, a producer without epoch or sequence.
SELECT batch, status, error_code FROM pg_temp.commit('invalid',
    streamhouse.pack_commit_row(900001, 0, 3, batch => 0, offset_count => 0)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 1, byte_start => 100, attributes => 16)
    || streamhouse.pack_commit_row(900001, 0, 3, batch => 2, byte_start => 200, attributes => 32)
    || pg_temp.produced(7, -1, 0, 1, 3) || pg_temp.produced(8, 0, -1, 1, 4));

-- Objects that cannot be committed.
SELECT pg_temp.reserve('foreign', owner => 902), pg_temp.reserve('expired', life => '-1 s'), pg_temp.reserve('dying');
UPDATE streamhouse.object SET state = 'deleting' WHERE object_id = pg_temp.object('dying');
\set VERBOSITY sqlstate
SELECT * FROM pg_temp.commit('foreign', streamhouse.pack_commit_row(900001, 0, 3));
SELECT * FROM pg_temp.commit('expired', streamhouse.pack_commit_row(900001, 0, 3));
SELECT * FROM pg_temp.commit('dying', streamhouse.pack_commit_row(900001, 0, 3));
\set VERBOSITY default
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(900001, 0, 3));

-- Rows that are not rows are errors, before anything is locked.
SELECT * FROM sh_commit_object(901, -1, 10000, '');
SELECT * FROM sh_commit_object(901, -1, 10000, '\x00');
SELECT * FROM sh_commit_object(901, -1, 0, streamhouse.pack_commit_row(1, 0, 0));
SELECT * FROM sh_commit_object(901, -1, 2147483648, streamhouse.pack_commit_row(1, 0, 0));
SELECT * FROM sh_commit_object(901, -1, 99, streamhouse.pack_commit_row(1, 0, 0));
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0, byte_start => 9223372036854775807));
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0, byte_length => 0));
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0, batch => -1));
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0, producer_id => -2));
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0) || streamhouse.pack_commit_row(1, 1, 0));
SELECT * FROM sh_commit_object(901, -1, 10000, convert_to(repeat('x', 64 * 131073), 'UTF8'));

-- Only READ COMMITTED can see what was committed before a lock was had.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0));
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM sh_commit_object(901, -1, 10000, streamhouse.pack_commit_row(1, 0, 0));
ROLLBACK;
-- Partitions stay locked to the end, so the end may not be put off.
SELECT pg_temp.reserve('prepared');
BEGIN;
SELECT status FROM sh_commit_object(901, (SELECT object_id FROM streamhouse.object WHERE key = 'test/commit/prepared'), 10000, streamhouse.pack_commit_row(900001, 0, 3));
PREPARE TRANSACTION 'commit';

-- Several calls in one transaction see each other; what is rolled back leaves nothing.
BEGIN;
SELECT base_offset AS first FROM pg_temp.commit('one', streamhouse.pack_commit_row(900001, 0, 3, offset_count => 5)) \gset
SELECT base_offset - :first AS after FROM pg_temp.commit('two', streamhouse.pack_commit_row(900001, 0, 3, offset_count => 5));
SAVEPOINT before;
SELECT base_offset - :first AS after FROM pg_temp.commit('three', streamhouse.pack_commit_row(900001, 0, 3, offset_count => 5));
ROLLBACK TO before;
SELECT base_offset - :first AS after FROM pg_temp.commit('four', streamhouse.pack_commit_row(900001, 0, 3, offset_count => 5));
ROLLBACK;
SELECT base_offset - :first AS after FROM pg_temp.commit('five', streamhouse.pack_commit_row(900001, 0, 3));

-- synchronous_commit is raised for the transaction, and cannot be lowered again before its end.
SET synchronous_commit = off;
BEGIN;
SELECT status FROM pg_temp.commit('durable', streamhouse.pack_commit_row(900001, 0, 3));
SHOW synchronous_commit;
SET LOCAL synchronous_commit = off;
SELECT pg_current_wal_insert_lsn() AS written \gset
COMMIT;
SELECT pg_current_wal_flush_lsn() > :'written'::pg_lsn AS is_flushed;
-- Likewise when all of it was answered before: a repeated answer waits for a standby, too.
BEGIN;
SELECT status FROM pg_temp.commit('durable', streamhouse.pack_commit_row(900001, 0, 3));
SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS has_xid, pg_current_wal_insert_lsn() AS written \gset
COMMIT;
SELECT :'has_xid' AS has_xid, pg_current_wal_flush_lsn() > :'written'::pg_lsn AS is_flushed;
SHOW synchronous_commit;
SET synchronous_commit = remote_apply;
BEGIN;
SELECT status FROM pg_temp.commit('durable', streamhouse.pack_commit_row(900001, 0, 3));
SHOW synchronous_commit;
COMMIT;
RESET synchronous_commit;

-- An agent commits, though it may not touch the tables; others may not even ask.
SELECT pg_temp.reserve('role');
SELECT pg_temp.object('role') AS object, streamhouse.pack_commit_row(900001, 0, 3) AS rows \gset
SET ROLE streamhouse_agent;
SELECT status FROM sh_commit_object(901, :object, 10000, :'rows');
SELECT producer_epoch FROM sh_init_producer();
SELECT count(*) FROM streamhouse.segment;
SET ROLE streamhouse_admin;
SELECT status FROM sh_commit_object(901, :object, 10000, '');
RESET ROLE;

-- A producer id is given once.
SELECT b.producer_id > a.producer_id AS rises, a.producer_epoch, b.producer_epoch FROM sh_init_producer() AS a, sh_init_producer() AS b;

DELETE FROM streamhouse.commit_answer WHERE object_id IN (SELECT object_id FROM streamhouse.object WHERE key LIKE 'test/commit/%');
DELETE FROM streamhouse.object WHERE key LIKE 'test/commit/%';
DELETE FROM streamhouse.segment WHERE topic_id = 900001;
DELETE FROM streamhouse.producer WHERE topic_id = 900001;
DELETE FROM streamhouse.lease WHERE topic_id = 900001;
DELETE FROM streamhouse.partition WHERE topic_id = 900001;
