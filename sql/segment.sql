-- Where offsets are: sh_find_segments(), sh_list_offsets(), sh_offsets_for_leader_epochs().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;

-- Partition 0 has three segments of 100 bytes from offset 10 on, with a gap at 30-39; partition 1 is empty; partition 2 has one large one.
INSERT INTO streamhouse.partition (topic_id, partition, floor_offset, log_start_offset) VALUES (900004, 0, 0, 10), (900004, 1, 7, 7), (900004, 2, 0, 0);
INSERT INTO streamhouse.lease (topic_id, partition, agent_id, epoch) SELECT 900004, p, 901, 9 FROM generate_series(0, 2) AS p;
INSERT INTO streamhouse.object (object_id, key, state, agent_id, expires_at) OVERRIDING SYSTEM VALUE
SELECT 900004000 + i, 'test/segment/' || i, 'live', 901, now() FROM generate_series(1, 2) AS i;
INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp)
VALUES (900004, 0, 10, 20, 900004001, 0, 100, 1, 5, 1000, 1000), (900004, 0, 20, 30, 900004001, 100, 100, 1, 5, 900, 1000),
       (900004, 0, 40, 50, 900004002, 0, 100, 2, 6, 2000, 2000), (900004, 2, 0, 1000, 900004002, 100, 500000, 9, 6, -1, -1);
CREATE FUNCTION pg_temp.find(partitions int[], offsets int8[], max_bytes int[], request_bytes int8 DEFAULT 1000000000)
RETURNS TABLE (request int, base_offset int8, end_offset int8, object_key text, byte_start int, byte_length int, leader_epoch int, log_start_offset int8, high_watermark int8)
LANGUAGE sql AS $$
    SELECT request, base_offset, end_offset, object_key, byte_start, byte_length, leader_epoch, log_start_offset, high_watermark
    FROM sh_find_segments(array_fill(900004, ARRAY[cardinality(partitions)]), partitions, offsets, max_bytes, request_bytes)
$$;

-- From the start, from inside of a segment, from a gap.
SELECT * FROM pg_temp.find('{0}', '{10}', '{1000}');
SELECT base_offset FROM pg_temp.find('{0}', '{29}', '{1000}');
SELECT base_offset FROM pg_temp.find('{0}', '{33}', '{1000}');
-- Before the log's start, at its end, beyond it, in an empty partition: nothing, but the two ends.
SELECT * FROM pg_temp.find('{0,0,0,1}', '{9,50,51,7}', '{1000,1000,1000,1000}');
-- A partition that does not exist gives no row, and the others their own.
SELECT request, base_offset FROM pg_temp.find('{0,5,0}', '{45,0,46}', '{1000,1000,1000}');
-- The segment that crosses a partition's limit is the last one given.
SELECT request, base_offset FROM pg_temp.find('{0,0,0}', '{10,10,10}', '{100,101,250}');
-- The request's limit goes over all partitions, in their order.
SELECT request, base_offset, high_watermark FROM pg_temp.find('{0,2,0}', '{10,0,10}', '{1000,1000,1000}', 300);
SELECT request, base_offset FROM pg_temp.find('{0,2,0}', '{10,0,10}', '{1000,1000,1000}', 301);
-- The first of the call is given above every limit, so that readers get on.
SELECT request, base_offset FROM pg_temp.find('{1,2,0}', '{7,0,10}', '{0,0,0}', 0);
-- Arrays of unequal length, nulls.
SELECT * FROM sh_find_segments('{1}', '{1,2}', '{1}', '{1}', 1);
SELECT * FROM sh_find_segments('{NULL}', '{1}', '{1}', '{1}', 1);
SELECT * FROM sh_find_segments('{}', '{}', '{}', '{}', 1);

CREATE FUNCTION pg_temp.list(partition int, VARIADIC timestamps int8[])
RETURNS TABLE (asked int8, "offset" int8, "timestamp" int8, leader_epoch int, log_start_offset int8, base_offset int8, end_offset int8, object_key text)
LANGUAGE sql AS $$
    SELECT timestamps[request], "offset", "timestamp", leader_epoch, log_start_offset, base_offset, end_offset, object_key
    FROM sh_list_offsets(array_fill(900004, ARRAY[cardinality(timestamps)]), array_fill(partition, ARRAY[cardinality(timestamps)]), timestamps)
$$;
-- Latest, earliest, earliest local, largest timestamp, by time, after the last time.
SELECT * FROM pg_temp.list(0, -1, -2, -4, -3, 0, 950, 1000, 1001, 2000, 2001);
SELECT * FROM pg_temp.list(1, -1, -2, -3, 0);
-- No record has a timestamp.
SELECT * FROM pg_temp.list(2, -1, -2, -3, 0);
-- The segment that reached 1000 is deleted: a later one is found by its own timestamps.
BEGIN;
DELETE FROM streamhouse.segment WHERE topic_id = 900004 AND end_offset = 20;
UPDATE streamhouse.partition SET log_start_offset = 20 WHERE (topic_id, partition) = (900004, 0);
SELECT * FROM pg_temp.list(0, -2, -3, 900, 950);
DELETE FROM streamhouse.segment WHERE topic_id = 900004 AND end_offset = 50;
SELECT * FROM pg_temp.list(0, -3, 900, 901);
ROLLBACK;

-- Leader epochs 2, 5, 6 and 9, the last without a record.
INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
VALUES (900004, 0, 2, 0), (900004, 0, 5, 10), (900004, 0, 6, 40), (900004, 0, 9, 50);
SELECT e AS asked, o.leader_epoch, o.end_offset
FROM generate_series(1, 10) AS e, sh_offsets_for_leader_epochs('{900004}', '{0}', ARRAY[e]) AS o;
SELECT * FROM sh_offsets_for_leader_epochs('{900004,900004,900004,900005}', '{0,1,99,1}', '{5,5,5,5}');

DELETE FROM streamhouse.segment WHERE topic_id = 900004;
DELETE FROM streamhouse.partition WHERE topic_id = 900004;
DELETE FROM streamhouse.lease WHERE topic_id = 900004;
DELETE FROM streamhouse.partition_epoch WHERE topic_id = 900004;

-- 100,000 segments in 1,000 partitions, with timestamps that go up and down and gaps between offsets: what the functions
-- give is what a scan finds, and they do not scan.
SELECT setseed(0.5);
INSERT INTO streamhouse.partition (topic_id, partition) SELECT 900004, generate_series(0, 999);
INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset) SELECT 900004, p, e, e * 100 FROM generate_series(0, 999) AS p, generate_series(0, 9) AS e;
INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches, leader_epoch, max_timestamp, running_max_timestamp)
SELECT 900004, p, s * 10, s * 10 + 9, 900004001, 0, 10, 1, 0, t, max(t) OVER (PARTITION BY p ORDER BY s)
FROM (SELECT p, s, s * 10 + floor(random() * 200)::int8 AS t FROM generate_series(0, 999) AS p, generate_series(0, 99) AS s) AS made;
-- Some partitions lose early segments; some of those, the one that made the maximum.
DELETE FROM streamhouse.segment WHERE topic_id = 900004 AND partition % 3 = 0 AND end_offset < partition;
UPDATE streamhouse.partition SET log_start_offset = partition WHERE topic_id = 900004 AND partition % 3 = 0;
ANALYZE streamhouse.segment, streamhouse.partition, streamhouse.partition_epoch;

CREATE TABLE pg_temp.asked AS
SELECT row_number() OVER () AS request, p AS partition, floor(random() * 1000)::int8 AS "offset", floor(random() * 1300)::int8 - 3 AS "timestamp", floor(random() * 11)::int AS epoch
FROM generate_series(0, 999) AS p;
CREATE TABLE pg_temp.arrays AS
SELECT array_agg(900004 ORDER BY request) AS topics, array_agg(partition ORDER BY request) AS partitions, array_agg("offset" ORDER BY request) AS offsets,
       array_agg(20 ORDER BY request) AS bytes, array_agg("timestamp" ORDER BY request) AS timestamps, array_agg(epoch ORDER BY request) AS epochs FROM pg_temp.asked;

BEGIN;
CREATE TABLE pg_temp.found AS SELECT f.* FROM pg_temp.arrays, sh_find_segments(topics, partitions, offsets, bytes, 1000000000) AS f;
CREATE TABLE pg_temp.listed AS SELECT l.* FROM pg_temp.arrays, sh_list_offsets(topics, partitions, timestamps) AS l;
CREATE TABLE pg_temp.epochs AS SELECT e.* FROM pg_temp.arrays, sh_offsets_for_leader_epochs(topics, partitions, epochs) AS e;
-- Every look at a table went through an index.
SELECT t AS scanned, pg_stat_get_xact_numscans(t::regclass) AS seq_scans
FROM unnest('{streamhouse.segment,streamhouse.partition,streamhouse.partition_epoch,streamhouse.object}'::text[]) AS t;
COMMIT;

-- Segments: the two from the offset on, if it is in the log.
SELECT count(DISTINCT request) AS requests, count(base_offset) > 1000 AS many_segments FROM pg_temp.found;
WITH expected AS (
    SELECT a.request, s.base_offset, row_number() OVER (PARTITION BY a.request ORDER BY s.end_offset) AS number
    FROM pg_temp.asked AS a JOIN streamhouse.partition AS p ON (p.topic_id, p.partition) = (900004, a.partition)
    JOIN streamhouse.segment AS s ON (s.topic_id, s.partition) = (900004, a.partition) AND s.end_offset > a."offset" AND a."offset" >= p.log_start_offset
), wanted AS (SELECT request, base_offset FROM expected WHERE number <= 2),
given AS (SELECT request, base_offset FROM pg_temp.found WHERE base_offset IS NOT NULL)
SELECT count(*) AS differences FROM ((TABLE wanted EXCEPT TABLE given) UNION ALL (TABLE given EXCEPT TABLE wanted)) AS d;
-- Times: the first segment whose own records reach them.
SELECT count(*) AS requests, count("offset") > 500 AS many_found, count(*) - count("offset") > 50 AS many_not FROM pg_temp.listed;
WITH wanted AS (
    SELECT a.request, CASE a."timestamp" WHEN -1 THEN p.high WHEN -2 THEN p.log_start_offset
               WHEN -3 THEN (SELECT s.base_offset FROM streamhouse.segment AS s WHERE (s.topic_id, s.partition) = (900004, a.partition) AND s.end_offset > p.log_start_offset
                             ORDER BY s.max_timestamp DESC, s.end_offset LIMIT 1)
               ELSE (SELECT min(s.base_offset) FROM streamhouse.segment AS s WHERE (s.topic_id, s.partition) = (900004, a.partition)
                     AND s.end_offset > p.log_start_offset AND s.max_timestamp >= a."timestamp") END AS "offset"
    FROM pg_temp.asked AS a
    JOIN (SELECT partition, log_start_offset, (SELECT max(end_offset) FROM streamhouse.segment AS s WHERE (s.topic_id, s.partition) = (900004, p.partition)) AS high
          FROM streamhouse.partition AS p WHERE topic_id = 900004) AS p USING (partition)
), given AS (SELECT request, "offset" FROM pg_temp.listed)
SELECT count(*) AS differences FROM ((TABLE wanted EXCEPT TABLE given) UNION ALL (TABLE given EXCEPT TABLE wanted)) AS d;
-- Epochs: where the next began, or the log's end; 10 is not known yet.
WITH wanted AS (
    SELECT request, CASE WHEN epoch > 9 THEN -1 ELSE epoch END, CASE WHEN epoch > 9 THEN -1 WHEN epoch = 9 THEN 999 ELSE (epoch + 1) * 100 END FROM pg_temp.asked
), given AS (TABLE pg_temp.epochs)
SELECT count(*) AS differences FROM ((TABLE wanted EXCEPT TABLE given) UNION ALL (TABLE given EXCEPT TABLE wanted)) AS d;

DELETE FROM streamhouse.segment WHERE topic_id = 900004;
DELETE FROM streamhouse.partition WHERE topic_id = 900004;
DELETE FROM streamhouse.partition_epoch WHERE topic_id = 900004;
DELETE FROM streamhouse.object WHERE key LIKE 'test/segment/%';
