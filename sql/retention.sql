-- Retention: old segments go, by time or by size, from the beginning of the log and no further than something keeps them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION IF EXISTS streamhouse;
CREATE EXTENSION streamhouse;
RESET client_min_messages;
CREATE FUNCTION starts(topic text) RETURNS TABLE (partition int, log_start_offset int8, high_watermark int8) LANGUAGE sql
AS $$ SELECT partition, log_start_offset, high_watermark FROM sh_describe_topic(topic) ORDER BY partition $$;
-- by time: ten, nine … one days old, in segments of their own
SELECT FROM sh_create_topic('aged', 2);
DO $$ BEGIN FOR n IN 1 .. 10 LOOP PERFORM sh_produce('aged', n::text, partition => 0, ts => now() - make_interval(days => 11 - n)); COMMIT; END LOOP; END $$;
SELECT sh_retention() AS more;
SELECT * FROM starts('aged');
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('aged', 0, 3, 1);
SELECT count(*) FROM streamhouse.segment;
SELECT sh_retention() AS more;
SELECT FROM sh_alter_topic('aged', '{"retention.ms": "129600000"}');
SELECT sh_retention() AS more;
SELECT * FROM starts('aged');
-- -1 keeps for ever, and offsets go on when everything has gone
SELECT FROM sh_alter_topic('aged', '{"retention.ms": "-1"}');
SELECT sh_retention() AS more;
SELECT * FROM starts('aged');
SELECT FROM sh_alter_topic('aged', '{"retention.ms": "0"}');
SELECT pg_sleep(0.01);
SELECT sh_retention() AS more;
SELECT * FROM starts('aged');
SELECT "offset" FROM sh_produce('aged', 'next', partition => 0);
-- one young segment keeps what is behind it
SELECT FROM sh_create_topic('mixed', 1);
SELECT "offset" FROM sh_produce('mixed', 'old', ts => now() - interval '10 days');
SELECT "offset" FROM sh_produce('mixed', 'young');
SELECT "offset" FROM sh_produce('mixed', 'old again', ts => now() - interval '10 days');
SELECT sh_retention() AS more;
SELECT * FROM starts('mixed');
-- by size: whole segments, as long as so many bytes stay
SELECT FROM sh_create_topic('sized', 1, '{"retention.bytes": "1000", "compression.type": "uncompressed", "retention.ms": "-1"}');
DO $$ BEGIN FOR n IN 1 .. 10 LOOP PERFORM sh_produce('sized', repeat('x', 330)); COMMIT; END LOOP; END $$;
SELECT sh_retention() AS more;
SELECT * FROM starts('sized');
SELECT sum(byte_length) >= 1000 AS enough, sum(byte_length) - min(byte_length) < 1000 AS no_more FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'sized';
-- a compacted topic keeps everything unless it also deletes
SELECT FROM sh_create_topic('compacted', 1, '{"cleanup.policy": "compact", "retention.ms": "1000"}');
SELECT "offset" FROM sh_produce('compacted', 'old', 'key', ts => now() - interval '10 days');
SELECT sh_retention() AS more;
SELECT * FROM starts('compacted');
SELECT FROM sh_alter_topic('compacted', '{"cleanup.policy": "compact,delete"}');
SELECT sh_retention() AS more;
SELECT * FROM starts('compacted');
-- the cluster's default counts for topics without one
SELECT FROM sh_create_topic('default', 1);
SELECT "offset" FROM sh_produce('default', 'old', ts => now() - interval '2 days');
SELECT sh_retention() AS more;
SELECT * FROM starts('default');
SELECT FROM sh_alter_broker_config('{"log.retention.hours": "24"}');
SELECT sh_retention() AS more;
SELECT * FROM starts('default');
-- so many partitions at a time
SELECT FROM sh_create_topic('many', 25);
SELECT count(sh_produce('many', 'old', partition => n, ts => now() - interval '10 days')) FROM generate_series(0, 24) AS n;
SELECT sh_retention() AS more;
SELECT count(*) FROM starts('many') WHERE log_start_offset = 1;
SELECT sh_retention() AS more;
SELECT count(*) FROM starts('many') WHERE log_start_offset = 1;
-- and in no other isolation than the one that sees what was appended meanwhile
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sh_retention() AS more;
COMMIT;
-- what cannot be promised is refused
SELECT FROM sh_create_topic('lagging', 1, '{"max.compaction.lag.ms": "1000"}');
\echo :LAST_ERROR_SQLSTATE
SELECT FROM sh_create_topic('lagging', 1, '{"max.compaction.lag.ms": "9223372036854775807", "min.insync.replicas": "2"}');
DROP FUNCTION starts;
