-- The inline ring: commits whose bytes PostgreSQL keeps, reading them, moving them to objects, and the slots' turning.
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS streamhouse; -- what other tests left in the ring
CREATE EXTENSION streamhouse;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT agent_id AS agent FROM sh_agent_heartbeat('inline', gen_random_uuid(), 'h', 1, NULL, NULL, NULL, NULL, 600000, NULL) \gset
SELECT topic_id AS topic FROM sh_create_topic('inline', 2) \gset
UPDATE streamhouse.lease SET agent_id = :agent, epoch = 5 WHERE topic_id = :topic;
SELECT sh_reserve_inline() AS call \gset
SELECT sh_reserve_inline() - :call AS apart;

-- Two batches of ten bytes for partition 0, one for partition 1.
CREATE TEMP TABLE batch AS
SELECT streamhouse.pack_commit_row(:topic, 0, 5, batch => 0, byte_start => 0, byte_length => 10, offset_count => 3, max_timestamp => 7)
    || streamhouse.pack_commit_row(:topic, 0, 5, batch => 1, byte_start => 10, byte_length => 10, offset_count => 2, max_timestamp => 5)
    || streamhouse.pack_commit_row(:topic, 1, 5, batch => 2, byte_start => 20, byte_length => 10) AS rows;
SELECT c.* FROM batch, sh_commit_inline(:agent, :call, '0123456789abcdefghijABCDEFGHIJ', rows) AS c;
SELECT partition, base_offset, end_offset, byte_start, byte_length, batches, leader_epoch, max_timestamp, slot
FROM streamhouse.segment WHERE topic_id = :topic ORDER BY partition, end_offset;

-- Asked again, also in part, it answers the same and writes nothing.
SELECT c.* FROM batch, sh_commit_inline(:agent, :call, '0123456789abcdefghijABCDEFGHIJ', rows) AS c;
SELECT c.* FROM sh_commit_inline(:agent, :call, 'ABCDEFGHIJ', streamhouse.pack_commit_row(:topic, 1, 5, batch => 2, byte_start => 0, byte_length => 10)) AS c;
SELECT count(*) FROM streamhouse.inline_1;

-- A call of which nothing is taken leaves no bytes.
SELECT status, error_code FROM sh_commit_inline(:agent, :call + 1, 'x', streamhouse.pack_commit_row(:topic, 0, 4, byte_length => 1));
SELECT count(*) FROM streamhouse.inline_1;

-- What it refuses.
SELECT * FROM sh_commit_inline(:agent, 0, 'x', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 1));
SELECT * FROM sh_commit_inline(:agent, :call + 2, 'x', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 2));
SELECT * FROM sh_commit_inline(:agent, :call + 2, '', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 1));
SELECT * FROM batch, sh_commit_inline(:agent, :call + 2, '0123456789abcdefghijABCDEFGHIJ', rows, wait_ms => 10);
SELECT * FROM sh_commit_inline(:agent, :call + 2, 'x', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 1), wait_ms => 60001);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM sh_commit_inline(:agent, :call + 2, 'x', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 1));
ROLLBACK;

-- A rollback leaves nothing.
BEGIN;
SELECT status, base_offset FROM sh_commit_inline(:agent, :call + 3, 'x', streamhouse.pack_commit_row(:topic, 1, 5, byte_length => 1));
ROLLBACK;
SELECT count(*) FROM streamhouse.inline_1;

-- Readers find it, and read it.
SELECT request, f.base_offset, f.end_offset, object_key, byte_start, byte_length, leader_epoch, high_watermark, slot
FROM sh_find_segments(ARRAY[:topic, :topic], '{0,1}', '{1,0}', '{1000,1000}', 1000) AS f;
SELECT request, "offset", "timestamp", object_key, byte_start, slot FROM sh_list_offsets(ARRAY[:topic], '{0}', '{6}');
SELECT object_id AS id FROM streamhouse.segment WHERE topic_id = :topic LIMIT 1 \gset
SELECT request, convert_from(bytes, 'UTF8') FROM sh_read_inline(ARRAY[:id, :id, :id, 1], '{1,1,2,1}', '{0,25,0,0}', '{20,100,10,10}');
SELECT * FROM sh_read_inline(ARRAY[:id], '{9}', '{0}', '{1}');
SELECT * FROM sh_read_inline(ARRAY[:id], '{1}', '{-1}', '{1}');
SELECT * FROM sh_read_inline(ARRAY[:id], '{1,1}', '{0}', '{1}');
-- Bytes that are too long for a page are cut out of it all the same.
SELECT status FROM sh_commit_inline(:agent, :call + 4, convert_to(repeat('0123456789', 10000), 'UTF8'), streamhouse.pack_commit_row(:topic, 1, 5, byte_length => 100000));
SELECT convert_from(r.bytes, 'UTF8') FROM streamhouse.segment AS s, sh_read_inline(ARRAY[s.object_id], ARRAY[s.slot], '{99995}', '{5}') AS r
WHERE s.topic_id = :topic AND s.byte_length = 100000;

-- Nothing moves while it is young and little; then all of it, in the order of the log.
SELECT turned, moves FROM sh_inline_turn(:agent);
SELECT count(*) FROM sh_inline_plan(:agent);
SELECT moves FROM sh_inline_turn(:agent, max_bytes => 100030);
SELECT moves FROM sh_inline_turn(:agent, max_bytes => 100031);
SET streamhouse.inline_move_age = 0;
SELECT moves FROM sh_inline_turn(:agent);
CREATE TEMP TABLE plan AS SELECT * FROM sh_inline_plan(:agent);
SELECT topic_id = :topic AS here, partition, base_offset, end_offset, slot, byte_start, byte_length, leader_epoch FROM plan;
SELECT count(*) FROM sh_inline_plan(:agent, max_bytes => 1);
-- Another agent has nothing to do, until the first one's time is up.
SELECT agent_id AS other FROM sh_agent_heartbeat('inline-2', gen_random_uuid(), 'h', 1, NULL, NULL, NULL, NULL, 600000, NULL) \gset
UPDATE streamhouse.lease SET agent_id = :agent, epoch = 5 WHERE topic_id = :topic;
SELECT count(*) FROM sh_inline_plan(:other);
SELECT count(*) > 0 AS has_it FROM sh_inline_plan(:agent, ttl_ms => 1);
SELECT pg_sleep(0.01);
SELECT count(*) > 0 AS has_it FROM sh_inline_plan(:other, ttl_ms => 1);
SELECT pg_sleep(0.01);

-- Pointers are swapped; neighbours become one segment.
SELECT object_id AS object FROM sh_reserve_objects(:agent, 1) \gset
SELECT sh_commit_move(:other, :object, 1000, '{1}', '{1}', '{1}', '{1}', '{1}');
SELECT sh_commit_move(:agent, :object, 1000, '{1}', '{}', '{1}', '{1}', '{1}');
SELECT sh_commit_move(:agent, :object, 200000, array_agg(topic_id), array_agg(partition), array_agg(end_offset), array_agg(object_id),
                      array_agg(place)) AS moved
FROM (SELECT *, (48 + sum(byte_length) OVER (ORDER BY partition, end_offset) - byte_length)::int AS place FROM plan) AS p;
SELECT partition, base_offset, end_offset, object_id = :object AS moved, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp, slot
FROM streamhouse.segment WHERE topic_id = :topic ORDER BY partition, end_offset;
SELECT state, bytes FROM streamhouse.object WHERE object_id = :object;
-- Once more finds nothing, and leaves the object to the reaper.
SELECT object_id AS late FROM sh_reserve_objects(:agent, 1) \gset
SELECT sh_commit_move(:agent, :late, 200000, array_agg(topic_id), array_agg(partition), array_agg(end_offset), array_agg(object_id), array_agg(48)) AS moved FROM plan;
SELECT state FROM streamhouse.object WHERE object_id = :late;
SELECT moves FROM sh_inline_turn(:agent);
SELECT count(*) FROM sh_inline_plan(:agent);
-- The next commit goes on where the log ends.
SELECT status, base_offset FROM sh_commit_inline(:agent, :call + 5, 'x', streamhouse.pack_commit_row(:topic, 0, 5, byte_length => 1));

-- Slots turn: filling, draining, sealed, moved after its last segment, empty after the grace.
SET streamhouse.inline_slot_age = 1;
SET streamhouse.inline_grace = 0;
UPDATE streamhouse.inline_slot SET changed_at = now() - interval '1 h' WHERE slot = 1;
SELECT turned FROM sh_inline_turn(:agent);
SELECT slot, state FROM streamhouse.inline_slot WHERE state <> 'empty' ORDER BY slot;
SELECT status FROM sh_commit_inline(:agent, :call + 6, 'y', streamhouse.pack_commit_row(:topic, 1, 5, byte_length => 1));
SELECT count(*) AS in_slot_2 FROM streamhouse.inline_2;
SELECT turned FROM sh_inline_turn(:agent);
SELECT turned FROM sh_inline_turn(:agent);
SELECT slot, state FROM streamhouse.inline_slot WHERE state <> 'empty' ORDER BY slot;
UPDATE streamhouse.segment SET slot = 2 WHERE topic_id = :topic AND slot = 1;
SELECT turned, ring_bytes > waiting_bytes AS less_waits FROM sh_inline_turn(:agent);
SELECT slot, state FROM streamhouse.inline_slot WHERE state <> 'empty' ORDER BY slot;
SELECT turned, ring_bytes > waiting_bytes AS less_waits, ring_bytes = pg_total_relation_size('streamhouse.inline_2') AS one_is_left FROM sh_inline_turn(:agent);
SELECT slot, state FROM streamhouse.inline_slot WHERE state <> 'empty' ORDER BY slot;
SELECT count(*) AS in_slot_1 FROM streamhouse.inline_1;
-- A ring of full slots keeps filling the last one.
UPDATE streamhouse.inline_slot SET state = 'sealed' WHERE slot NOT IN (1, 2);
UPDATE streamhouse.inline_slot SET changed_at = now() - interval '1 h', state = 'filling' WHERE slot = 2;
UPDATE streamhouse.inline_slot SET state = 'draining' WHERE slot = 1;
INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp, slot)
SELECT 900009, n, 0, 1, n, 0, 1, 1, 1, 1, 1, n FROM generate_series(1, 8) AS n;
SELECT turned FROM sh_inline_turn(:agent);
SELECT turned FROM sh_inline_turn(:agent);
SELECT slot, state FROM streamhouse.inline_slot ORDER BY slot;
DELETE FROM streamhouse.segment WHERE topic_id = 900009;
UPDATE streamhouse.inline_slot SET state = 'empty' WHERE slot <> 2;
SELECT sh_inline_turn(0);
SELECT * FROM sh_inline_plan(:agent, max_bytes => 0);

SELECT moves FROM sh_inline_turn(:agent);
SELECT sh_delete_topic('inline');
SELECT moves FROM sh_inline_turn(:agent); -- those of deleted topics are not worth it
SELECT count(*) FROM sh_inline_plan(:agent, whatever => true);
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
