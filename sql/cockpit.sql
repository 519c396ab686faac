-- The cockpit: samples, agents' reports, sizes, costs, the overview.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;

-- Before anything was measured nothing is said.
SELECT * FROM streamhouse.throughput;
SELECT sh_sample(0);
SELECT topic FROM streamhouse.throughput;

SELECT (sh_create_topic('orders', 2)).topic_id AS orders \gset
SELECT (sh_create_topic('clicks', 1)).topic_id AS clicks \gset
CREATE FUNCTION pg_temp.append(topic_id int, partition int, base int8, count int8, bytes int, slot int DEFAULT 0) RETURNS void LANGUAGE sql AS $$
    INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches,
                                     leader_epoch, max_timestamp, running_max_timestamp, slot)
    VALUES (topic_id, partition, base, base + count, 1, 0, bytes, 1, 0, 0, 0, slot)
$$;
-- Runs that lie in the past, so that times are known.
CREATE FUNCTION pg_temp.sample(ago interval) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    written int := streamhouse.sample_topics(now() - ago, (SELECT max(sampled_at) FROM streamhouse.sampling));
BEGIN
    INSERT INTO streamhouse.sampling VALUES (now() - ago, (SELECT max(sampled_at) FROM streamhouse.sampling));
    RETURN written;
END $$;
DELETE FROM streamhouse.sampling;
BEGIN;
UPDATE streamhouse.topic SET created_at = now() - interval '70 s';
SELECT pg_temp.append(:orders, 0, 0, 1000, 5000);
-- what was there before the first sample is not counted
SELECT pg_temp.sample('80 s');
-- 100 records in ten seconds, in both partitions
SELECT pg_temp.append(:orders, 0, 1000, 60, 600), pg_temp.append(:orders, 1, 0, 40, 400);
SELECT pg_temp.sample('70 s');
SELECT topic, records_per_s, bytes_per_s, speed, records, bytes, size, extract(epoch FROM sampled_at - since)::int AS seconds FROM streamhouse.throughput ORDER BY topic;
-- nothing for a minute, then 600 records in ten seconds, by one segment that has counted records before it
SELECT pg_temp.sample('10 s');
UPDATE streamhouse.segment SET end_offset = 1660, byte_length = 6600 WHERE end_offset = 1060;
SELECT pg_temp.sample('0 s');
SELECT topic, records_per_s, bytes_per_s, speed, records, bytes, size, extract(epoch FROM sampled_at - since)::int AS seconds FROM streamhouse.throughput ORDER BY topic;
SELECT topic_id = :orders AS orders, records, bytes FROM streamhouse.sample ORDER BY sampled_at;
COMMIT;

-- A topic that is made after a sample is counted from its beginning, a partition likewise, a deleted one no more.
SELECT sh_sample(0);
SELECT (sh_create_topic('new')).topic_id AS new \gset
SELECT sh_add_partitions('clicks', 2);
SELECT pg_temp.append(:new, 0, 0, 7, 70), pg_temp.append(:clicks, 1, 0, 3, 30);
SELECT sh_sample(0);
SELECT topic, records, bytes FROM streamhouse.throughput ORDER BY topic;
SELECT sh_delete_topic('new');
SELECT sh_sample(0);
SELECT topic FROM streamhouse.throughput ORDER BY topic;
SELECT count(*) FROM streamhouse.sample_position;

-- It waits its interval, and keeps an hour.
SELECT pg_temp.append(:clicks, 1, 3, 3, 30);
SELECT sh_sample();
SELECT sh_sample(0);
UPDATE streamhouse.sampling SET sampled_at = sampled_at - interval '2 hours';
UPDATE streamhouse.sample SET sampled_at = sampled_at - interval '2 hours';
SELECT sh_sample(0);
SELECT count(*) AS runs, (SELECT count(*) FROM streamhouse.sample) AS samples FROM streamhouse.sampling;
SELECT sh_sample(-1);
\echo :LAST_ERROR_SQLSTATE

-- Agents' reports: counters become speeds, everything that is not a number is left out.
CREATE FUNCTION pg_temp.beat(stats jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, '0', 60000, 0, stats)
$$;
SELECT pg_temp.beat(NULL);
SELECT reported_at, produce_bytes_per_s, fetch_bytes_per_s, flushes_inline, memory_bytes, memory FROM streamhouse.agents;
SELECT pg_temp.beat('{"produce_bytes": 1000, "fetch_bytes": 0, "flushes_inline": 3, "flushes_object": 1, "commit_p99_ms": 1.75, "connections": 2, "memory_bytes": 33554432, "mood": "good", "more": {}}');
SELECT stats FROM streamhouse.agent_stats;
SELECT reported_at IS NOT NULL AS reported, produce_bytes_per_s, fetch_bytes_per_s, flushes_inline, flushes_object, commit_p99_ms, connections, memory_bytes, memory FROM streamhouse.agents;
UPDATE streamhouse.agent_stats SET reported_at = reported_at - interval '4 s';
SELECT pg_temp.beat('{"produce_bytes": 5000, "fetch_bytes": 400}');
SELECT produce_bytes_per_s BETWEEN 900 AND 1000 AS produce, fetch_bytes_per_s BETWEEN 90 AND 100 AS fetch, connections FROM streamhouse.agents;
-- the earlier report stays for ten seconds, then the next takes its place
SELECT pg_temp.beat('{"produce_bytes": 5001}');
SELECT earlier_stats -> 'produce_bytes' AS earlier FROM streamhouse.agent_stats;
UPDATE streamhouse.agent_stats SET reported_at = reported_at - interval '15 s', earlier_at = earlier_at - interval '15 s';
SELECT pg_temp.beat('{"produce_bytes": 7000}');
SELECT earlier_stats -> 'produce_bytes' AS earlier FROM streamhouse.agent_stats;
-- a counter that began anew says nothing
SELECT pg_temp.beat('{"produce_bytes": 10}');
SELECT produce_bytes_per_s FROM streamhouse.agents;
SELECT pg_temp.beat('[1]'), pg_temp.beat('7'), pg_temp.beat('null');
SELECT stats FROM streamhouse.agent_stats;

-- Sizes: inline bytes beside all of them, slots and objects by state.
SELECT pg_temp.append(:orders, 1, 40, 5, 50, 3);
SELECT topic, segments, bytes, inline_bytes FROM streamhouse.topics ORDER BY topic;
SELECT partition, bytes, inline_bytes FROM streamhouse.partitions WHERE topic = 'orders' ORDER BY partition;
INSERT INTO streamhouse.object (key, state, bytes, agent_id, expires_at)
SELECT 'k' || n, (CASE WHEN n <= 3 THEN 'live' WHEN n = 4 THEN 'intent' ELSE 'deleting' END)::streamhouse.object_state, CASE WHEN n <> 4 THEN 1000000000 END, 1, now()
FROM generate_series(1, 5) AS n;
SELECT name, rows, bytes, size FROM streamhouse.storage WHERE kind = 'objects' ORDER BY name;
SELECT name, rows, state FROM streamhouse.storage WHERE kind = 'inline' ORDER BY name;
SELECT kind, count(*) > 10 AS many, bool_and(bytes >= 0 AND size = pg_size_pretty(bytes)) AS sizes FROM streamhouse.storage WHERE kind IN ('table', 'indexes') GROUP BY kind ORDER BY kind;

-- Costs: four objects written in an hour, 4 GB stored.
UPDATE streamhouse.object SET created_at = now() - interval '2 hours' WHERE key = 'k1';
SELECT item, round(amount_per_month) AS amount, unit, dollars_per_month FROM sh_cost(put_dollars_per_1000 => 1000) WHERE item <> 'PostgreSQL storage' AND item <> 'total';
SELECT item, amount_per_month < 1 AS little, dollars_per_month > 0 AS something FROM sh_cost(postgres_dollars_per_gb_month => 100) WHERE item IN ('PostgreSQL storage', 'total');
SELECT sum(dollars_per_month) FILTER (WHERE item <> 'total') = sum(dollars_per_month) FILTER (WHERE item = 'total') AS adds_up FROM sh_cost(store_dollars_per_gb_month => 1);

-- Lag: what a group has still to read of each partition.
SELECT (sh_create_topic('watched', 2)).partitions;
SELECT count(*) FROM (SELECT sh_produce('watched', 'x', partition => 0) FROM generate_series(1, 5)) AS p;
SELECT count(*) FROM sh_poll('readers', '{watched}', 3);
SELECT "group", topic, partition, committed_offset, log_start_offset, high_watermark, lag, committed_at IS NOT NULL AS committed
FROM streamhouse.lag ORDER BY topic, partition;
SELECT what, value FROM sh_overview() WHERE what IN ('groups', 'furthest behind');
SELECT sh_leave('readers');
SELECT sh_delete_group('readers');
SELECT count(*) FROM streamhouse.lag;

-- The overview, on one page.
SELECT what, CASE WHEN what IN ('cluster since', 'written', 'busiest topic', 'inline', 'metadata', 'cost') THEN '…' ELSE value END AS value
FROM sh_overview() WHERE value !~ 'shared_preload_libraries' AND what <> 'slowest commit'; -- there is one where the machine is slow
UPDATE streamhouse.agent SET heartbeat_at = now() - interval '1 s', expires_at = now() - interval '1 s' - interval '1 us';
SELECT value FROM sh_overview() WHERE what = 'warning' AND value !~ 'shared_preload_libraries';

-- Readers see it all; nobody else does.
CREATE ROLE regress_nobody;
SET ROLE streamhouse_reader;
SELECT count(*) > 5 AS overview FROM sh_overview();
SELECT count(*) AS cost FROM sh_cost();
SELECT count(*) FROM streamhouse.throughput;
SELECT count(*) FROM streamhouse.lag;
SELECT count(*) > 5 AS storage FROM streamhouse.storage;
SELECT count(*) >= 0 AS slow_commits FROM streamhouse.slow_commits;
SELECT connections FROM streamhouse.agents;
SELECT sh_sample();
SET ROLE regress_nobody;
SELECT sh_overview();
SELECT * FROM streamhouse.throughput;
RESET ROLE;
DROP ROLE regress_nobody;

-- What somebody else calls sh_cost() does not run as the owner.
SELECT format('%s.sh_cost()', extnamespace::regnamespace) AS trap FROM pg_extension WHERE extname = 'streamhouse' \gset
CREATE FUNCTION :trap RETURNS TABLE (item text, dollars_per_month numeric) LANGUAGE sql AS $$ SELECT 'total', -1.5 $$;
SELECT value ~ '-1.5' AS trapped FROM sh_overview() WHERE what = 'cost';
DROP FUNCTION :trap;
