-- Deleting records: the log begins later, for every reader, and what is below goes bit by bit.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS streamhouse;
CREATE EXTENSION streamhouse;
RESET client_min_messages;
SELECT topic_id FROM sh_create_topic('d', 2) \gset
-- four segments of three, three, three and one record
SELECT count(sh_produce('d', n::text, partition => 0)) FROM generate_series(1, 3) AS n;
SELECT count(sh_produce('d', n::text, partition => 0)) FROM generate_series(4, 6) AS n;
SELECT count(sh_produce('d', n::text, partition => 0)) FROM generate_series(7, 9) AS n;
SELECT count(sh_produce('d', '10', partition => 0));
SELECT base_offset, end_offset FROM streamhouse.segment ORDER BY end_offset;
CALL sh_watch(0, 0) \gset
-- within a segment: those before it go, it stays
SELECT sh_delete_records('d', 0, 4);
SELECT base_offset, end_offset FROM streamhouse.segment ORDER BY end_offset;
SELECT log_start_offset, high_watermark FROM sh_describe_topic('d');
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('d', 0, 4, 2);
SELECT count(*) FROM sh_fetch('d', 0, 3, 2);
\echo :LAST_ERROR_SQLSTATE
SELECT "offset", timestamp FROM sh_list_offsets(ARRAY[:topic_id], '{0}', '{-2}');
-- whoever watches is told
CALL sh_watch(:cursor, 5000) \gset
SELECT :'topic_ids'::int[] = ARRAY[:topic_id] AS topic, :'partitions'::int[] AS partitions, (:'end_offsets'::int8[])[1] - (-9223372036854775808) AS log_start;
-- what is deleted already is no error, and nothing
SELECT sh_delete_records('d', 0, 2);
SELECT sh_delete_records('d', 0, 0);
CALL sh_watch(:cursor, 0) \gset
\echo :{?topic_ids}
-- beyond the end, below -1, and where there is nothing
SELECT sh_delete_records('d', 0, 11);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_delete_records('d', 0, -2);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_delete_records('d', 2, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_delete_records('d', NULL, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_delete_records('nothing', 0, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_delete_records('d', 1);
-- everything: the next record gets the offset that it would have got
SELECT sh_delete_records('d', 0);
SELECT count(*) FROM streamhouse.segment;
SELECT log_start_offset, high_watermark FROM sh_describe_topic('d');
SELECT sh_produce('d', 'eleven', partition => 0);
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('d', 0, 10);
-- a topic that is only compacted keeps its records
SELECT (sh_alter_topic('d', '{"cleanup.policy": "compact"}')).config;
SELECT sh_delete_records('d', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT (sh_alter_topic('d', '{"cleanup.policy": "compact,delete"}')).config;
SELECT sh_delete_records('d', 0);
-- several at once, in any order, each with its own answer
SELECT sh_produce('d', 'more', key => 'k', partition => 1);
SELECT sh_produce('d', 'more', key => 'k', partition => 1);
SELECT * FROM sh_delete_records_of(ARRAY[:topic_id, :topic_id, :topic_id, 999], '{1,7,0,0}', '{1,0,99,0}') ORDER BY request;
-- an older snapshot would not see what was appended meanwhile
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sh_delete_records('d', 0);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
-- many segments go some at a time, and objects without one are the reaper's
SELECT topic_id FROM sh_create_topic('many') \gset
SELECT agent_id FROM sh_agent_heartbeat('a', '00000000-0000-0000-0000-00000000000a', 'localhost', 9092, NULL, NULL, NULL, '1', 600000, 0) \gset
SELECT object_id FROM sh_reserve_objects(:agent_id, 1) \gset
UPDATE streamhouse.object SET state = 'live', bytes = 1000, expires_at = now() - interval '1 minute' WHERE object_id = :object_id;
INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp)
SELECT :topic_id, 0, n, n + 1, :object_id, n, 1, 1, 0, n, n FROM generate_series(0, 299) AS n;
SELECT sh_delete_records('many', 0, 299);
SELECT count(*) FROM streamhouse.segment WHERE topic_id = :topic_id;
SET streamhouse.reap_rows_max = 150;
SELECT sh_prune() AS more;
SELECT count(*) FROM streamhouse.segment WHERE topic_id = :topic_id;
SELECT sh_prune() AS more;
SELECT count(*), min(base_offset) FROM streamhouse.segment WHERE topic_id = :topic_id;
SELECT emptied_at IS NULL AS in_use FROM streamhouse.object WHERE object_id = :object_id;
SELECT sh_delete_records('many', 0);
SELECT emptied_at IS NULL AS in_use FROM streamhouse.object WHERE object_id = :object_id;
SELECT count(*) > 0 AS noted FROM streamhouse.partition_trim;
SELECT sh_prune() AS more;
SELECT count(*) FROM streamhouse.partition_trim;
-- elections: a leader for what has none, or nothing to do
SELECT * FROM sh_elect_leaders(ARRAY[:topic_id, 999], '{0,0}');
UPDATE streamhouse.lease SET agent_id = NULL WHERE topic_id = :topic_id;
SELECT * FROM sh_elect_leaders(ARRAY[:topic_id], '{0}');
SELECT agent_id, epoch FROM streamhouse.lease WHERE topic_id = :topic_id;
-- sizes, in all and of some topics
SELECT topic, partition, leader, bytes > 0 AS has_bytes FROM sh_partition_sizes();
SELECT topic, partition, bytes FROM sh_partition_sizes('{many,nothing}');
-- producers that a partition remembers
INSERT INTO streamhouse.producer VALUES (:topic_id, 0, 7, 5, 1, '{3,2}', '{4,2}', '{3,2}', '2026-01-01 00:00:00Z'), (:topic_id, 0, 7, 9, 2, '{0}', '{8}', '{5}', '2026-01-02 00:00:00Z');
SELECT * FROM sh_describe_producers(ARRAY[:topic_id, :topic_id], '{0,1}');
